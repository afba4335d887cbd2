//! Finishing touches on Trunk's output.
//!
//! 1. Modules lose what only tools read: the names of functions alone would double the download.
//! 2. Modules that changed after Trunk named them get the name of what they are now.
//! 3. What the first paint waits for, the style sheet and the classic script, moves into the page: a browser on a slow line
//!    would ask for each only once it has the page. The relay allows them by their hashes.
//! 4. The service worker learns the files to keep for use offline, and an id that changes exactly when they do.

use anyhow::{Result, bail};

use super::bundle::{Bundle, INDEX, short_hash};

/// The worker's file, and what its source may say where the list and the id belong. Each placeholder may be followed by
/// a literal (`/*PRECACHE*/ []`, `/*BUILD_ID*/ "dev"`), which keeps the source valid JavaScript; it is replaced too.
const WORKER: &str = "sw.js";
const LIST: &str = "/*PRECACHE*/";
const BUILD_ID: &str = "/*BUILD_ID*/";

pub(super) fn finish(bundle: &mut Bundle) -> Result<()> {
    strip_modules(bundle);
    rename_modules(bundle)?;
    move_into_page(bundle)?;
    fill_worker(bundle)
}

fn strip_modules(bundle: &mut Bundle) {
    for (name, content) in &mut bundle.files {
        if name.ends_with(".wasm")
            && let Some(stripped) = without_custom_sections(content)
        {
            *content = stripped;
        }
    }
}

/// The module without its custom sections (WebAssembly core specification 5.5.3), none if it is no module.
fn without_custom_sections(module: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 8;
    let (header, mut rest) = module.split_at_checked(HEADER)?;
    let mut stripped = header.to_vec();
    while let Some(id) = rest.first() {
        let (length, prefix) = leb128(rest.get(1..)?)?;
        let (section, behind) = rest.split_at_checked(1 + prefix + length)?;
        if *id != 0 {
            stripped.extend_from_slice(section);
        }
        rest = behind;
    }
    header.starts_with(b"\0asm").then_some(stripped)
}

/// An unsigned number and how many bytes it took.
fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

fn rename_modules(bundle: &mut Bundle) -> Result<()> {
    let modules: Vec<String> =
        bundle.files.keys().filter(|name| name.ends_with("_bg.wasm")).cloned().collect();
    for old in modules {
        let Some(content) = bundle.files.remove(&old) else { continue };
        // Trunk: `name-<hash>_bg.wasm`.
        let stem = old.trim_end_matches("_bg.wasm");
        let name = stem.rsplit_once('-').map_or(stem, |(name, _)| name);
        let new = format!("{name}-{}_bg.wasm", short_hash(&content));
        let page = bundle.text(INDEX)?.replace(&old, &new);
        bundle.files.insert(INDEX.into(), page.into_bytes());
        for (file, text) in &mut bundle.files {
            let Ok(script) = std::str::from_utf8(text) else { continue };
            if file.ends_with(".js") && script.contains(&old) {
                *text = script.replace(&old, &new).into_bytes();
            }
        }
        bundle.files.insert(new, content);
    }
    Ok(())
}

fn move_into_page(bundle: &mut Bundle) -> Result<()> {
    let style = |tag: &str| {
        let sheet = attribute(tag, "rel").is_some_and(|rel| rel == "stylesheet");
        attribute(tag, "href").filter(|_| sheet)
    };
    replace_tags(bundle, "<link", "", "style", style)?;
    let script = |tag: &str| {
        let later = ["type", "async", "defer"].iter().any(|name| attribute(tag, name).is_some());
        attribute(tag, "src").filter(|_| !later)
    };
    replace_tags(bundle, "<script", "</script>", "script", script)
}

/// Puts `element`s with their files' content where tags name them; `named` tells a tag's file.
fn replace_tags(
    bundle: &mut Bundle,
    open: &str,
    close: &str,
    element: &str,
    named: impl Fn(&str) -> Option<String>,
) -> Result<()> {
    let page = bundle.text(INDEX)?;
    let (mut finished, mut rest) = (String::with_capacity(page.len()), page.as_str());
    while let Some(start) = find_tag(rest, open) {
        let Some(end) = rest[start..].find('>').map(|offset| start + offset + 1) else { break };
        let file = named(&rest[start..end]).map(|name| name.trim_start_matches('/').to_owned());
        let file = file.filter(|name| bundle.files.contains_key(name));
        let Some(name) = file.filter(|_| rest[end..].starts_with(close)) else {
            finished.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        };
        let content = bundle.text(&name)?;
        if content.contains(&format!("</{element}")) {
            bail!("{name} cannot stand in the page: it contains `</{element}`");
        }
        finished.push_str(&rest[..start]);
        finished.push_str(&format!("<{element}>{}</{element}>", content.trim()));
        bundle.files.remove(&name);
        rest = &rest[end + close.len()..];
    }
    finished.push_str(rest);
    bundle.files.insert(INDEX.into(), finished.into_bytes());
    Ok(())
}

/// Where a tag of this name starts; `<script` is not the start of `<scripted>`.
fn find_tag(text: &str, tag: &str) -> Option<usize> {
    text.match_indices(tag)
        .map(|(at, _)| at)
        .find(|at| text[at + tag.len()..].starts_with(|c: char| c.is_whitespace() || c == '>'))
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut from = 0;
    while let Some(at) = tag[from..].find(name).map(|offset| from + offset) {
        from = at + name.len();
        if !tag[..at].ends_with(char::is_whitespace) {
            continue;
        }
        let Some(value) = tag[from..].trim_start().strip_prefix('=') else {
            return Some(String::new());
        };
        let value = value.trim_start();
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split(quote).next(),
            _ => value.split(|c: char| c.is_whitespace() || c == '>').next(),
        };
        return value.map(str::to_owned);
    }
    None
}

fn fill_worker(bundle: &mut Bundle) -> Result<()> {
    if !bundle.files.contains_key(WORKER) {
        return Ok(());
    }
    let worker = bundle.text(WORKER)?;
    if !worker.contains(LIST) {
        bail!("web/{WORKER} says nowhere {LIST}, where the list of files to keep for use offline belongs");
    }
    let kept: Vec<&String> = bundle.files.keys().filter(|name| *name != WORKER).collect();
    let mut content = Vec::new();
    for name in &kept {
        content.extend_from_slice(name.as_bytes());
        content.extend_from_slice(short_hash(&bundle.files[*name]).as_bytes());
    }
    let build_id = short_hash(&content);
    let list: Vec<String> =
        kept.iter().map(|name| if *name == INDEX { "/".to_owned() } else { format!("/{name}") }).collect();
    let list = serde_json::Value::from(list).to_string();
    let worker = replace_placeholder(&worker, LIST, &list);
    let worker = replace_placeholder(&worker, BUILD_ID, &format!("\"{build_id}\""));
    bundle.files.insert(WORKER.into(), worker.into_bytes());
    Ok(())
}

/// Replaces the placeholder and the literal behind it, if there is one.
fn replace_placeholder(text: &str, placeholder: &str, value: &str) -> String {
    let mut parts = text.split(placeholder);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        replaced.push_str(value);
        let behind = part.trim_start();
        let literal = match behind.chars().next() {
            Some('[') => behind.find(']').map(|end| end + 1),
            Some(quote @ ('"' | '\'')) => behind[1..].find(quote).map(|end| end + 2),
            _ => None,
        };
        replaced.push_str(literal.map_or(part, |end| &behind[end..]));
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<!DOCTYPE html><head><script type="application/json">{"a":1}</script>
<script type="module">
import init from '/app-1.js';
await init({ module_or_path: '/app-1_bg.wasm' });
</script><script src="/other.js"></script></head><body>hello</body>"#;

    fn bundle() -> Bundle {
        let mut bundle = Bundle::default();
        bundle.files.insert(INDEX.into(), PAGE.into());
        bundle.files.insert("app-1.js".into(), b"js".to_vec());
        bundle.files.insert("app-1_bg.wasm".into(), b"optimised".to_vec());
        bundle.files.insert(
            WORKER.into(),
            b"const ID = /*BUILD_ID*/ \"dev\"; const FILES = /*PRECACHE*/ [];".to_vec(),
        );
        bundle
    }

    #[test]
    fn what_the_first_paint_waits_for_stands_in_the_page() {
        let mut bundle = bundle();
        let page = bundle.text(INDEX).unwrap().replace("<body>", "<link href=/s-1.css rel=stylesheet><body>");
        bundle.files.insert(INDEX.into(), page.into_bytes());
        bundle.files.insert("s-1.css".into(), b"p{}\n".to_vec());
        bundle.files.insert("other.js".into(), b"now()\n".to_vec());
        finish(&mut bundle).unwrap();
        let page = bundle.text(INDEX).unwrap();
        assert!(
            page.contains("<style>p{}</style><body>") && page.contains("<script>now()</script></head>"),
            "{page}"
        );
        assert!(!bundle.files.contains_key("s-1.css") && !bundle.files.contains_key("other.js"));
        assert!(page.contains("import init from '/app-1.js'"), "{page}");
    }

    #[test]
    fn an_optimised_module_gets_the_name_of_its_content() {
        let mut bundle = bundle();
        finish(&mut bundle).unwrap();
        let module = format!("app-{}_bg.wasm", short_hash(b"optimised"));
        let page = bundle.text(INDEX).unwrap();
        assert!(
            page.contains(&format!("module_or_path: '/{module}'")) && !page.contains("app-1_bg"),
            "{page}"
        );
        assert!(bundle.files.contains_key(&module));
    }

    #[test]
    fn a_module_loses_its_custom_sections_and_nothing_else() {
        let header = b"\0asm\x01\0\0\0".as_slice();
        let long = [[0, 0x81, 0x01].as_slice(), &[7; 129]].concat();
        let module = [header, &[1, 2, 8, 9], &long, &[0, 1, 5], &[10, 1, 4]].concat();
        assert_eq!(without_custom_sections(&module).unwrap(), [header, &[1, 2, 8, 9], &[10, 1, 4]].concat());
        assert_eq!(without_custom_sections(b"text"), None);
        assert_eq!(without_custom_sections(&module[..module.len() - 1]), None);
    }

    #[test]
    fn the_worker_lists_every_file_but_itself_and_its_id_follows_the_content() {
        let worker = |change: &[u8]| {
            let mut bundle = bundle();
            bundle.files.insert("style.css".into(), change.to_vec());
            finish(&mut bundle).unwrap();
            bundle.text(WORKER).unwrap()
        };
        let one = worker(b"a");
        assert!(one.contains(r#"const FILES = ["/app-1.js","/app-"#), "{one}");
        assert!(one.contains(r#""/","/style.css"];"#), "{one}");
        assert!(!one.contains("dev") && !one.contains("sw.js") && !one.contains("/*"), "{one}");
        assert_eq!(one, worker(b"a"));
        assert_ne!(one, worker(b"b"));
    }
}
