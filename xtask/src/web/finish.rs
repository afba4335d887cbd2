//! Finishing touches on Trunk's output.
//!
//! 1. Modules lose what only tools read: the names of functions alone would double the download.
//! 2. What wasm-bindgen calls the functions that a module imports, twice over 300 names with a hash, becomes short.
//!    Scripts lose comments and indentation.
//! 3. The app's module is cut in two, so that a first visit loads what it runs.
//! 4. Modules and their scripts get names by what they are now.
//! 5. What the first paint waits for, the style sheet and the classic script, moves into the page: a browser on a slow line
//!    would ask for each only once it has the page. The relay allows them by their hashes.
//! 6. The service worker learns the files to keep for use offline, and an id that changes exactly when they do.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{
    bundle::{Bundle, INDEX, short_hash},
    halves, module,
};

/// The worker's file, and what its source may say where the list and the id belong. Each placeholder may be followed by
/// a literal (`/*PRECACHE*/ []`, `/*BUILD_ID*/ "dev"`), which keeps the source valid JavaScript; it is replaced too.
const WORKER: &str = "sw.js";
const LIST: &str = "/*PRECACHE*/";
const FIRST: &str = "/*FIRST*/";
const BUILD_ID: &str = "/*BUILD_ID*/";

/// How the names of wasm-bindgen's modules end.
const MODULE: &str = "_bg.wasm";

/// What becomes of the app's module.
#[derive(Debug, Clone, Copy)]
pub(super) enum Module<'a> {
    /// It is cut in two, as the files of this folder say.
    Cut(&'a Path),
    /// It tells what it runs.
    Watched,
    #[cfg(test)]
    Whole,
}

pub(super) fn finish(bundle: &mut Bundle, module: Module<'_>) -> Result<()> {
    shorten_imports(bundle);
    match module {
        Module::Cut(web) => halves::cut(bundle, web).context("cannot cut the app's module in two")?,
        Module::Watched => halves::watch(bundle)?,
        #[cfg(test)]
        Module::Whole => {}
    }
    strip_modules(bundle);
    strip_scripts(bundle);
    rename_modules(bundle);
    move_into_page(bundle)?;
    fill_worker(bundle)
}

fn strip_modules(bundle: &mut Bundle) {
    for (name, content) in &mut bundle.files {
        if name.ends_with(".wasm")
            && let Some(stripped) = module::without_custom_sections(content)
        {
            *content = stripped;
        }
    }
}

/// Gives the imports of every module names of a few letters, in the module and in the script beside it.
fn shorten_imports(bundle: &mut Bundle) {
    for module in modules(bundle) {
        let script = module.replace(MODULE, ".js");
        let Ok(mut text) = bundle.text(&script) else { continue };
        let Some((shortened, names)) =
            bundle.files.get(&module).and_then(|module| module::with_short_imports(module))
        else {
            continue;
        };
        for (long, short) in &names {
            text = text.replace(long, short);
        }
        bundle.files.insert(module, shortened);
        bundle.files.insert(script, text.into_bytes());
    }
}

fn strip_scripts(bundle: &mut Bundle) {
    for (name, content) in &mut bundle.files {
        if name.ends_with(".js")
            && let Ok(script) = std::str::from_utf8(content)
        {
            *content = without_comments(script).into_bytes();
        }
    }
}

/// A script without comments that have lines of their own, indentation and empty lines. Where a template goes over
/// several lines all of it is left as it is: these are text.
fn without_comments(script: &str) -> String {
    if script.split('`').skip(1).step_by(2).any(|template| template.contains('\n')) {
        return script.to_owned();
    }
    let (mut stripped, mut comment) = (String::with_capacity(script.len()), false);
    for line in script.lines().map(str::trim) {
        comment |= line.starts_with("/**");
        if !comment && !line.is_empty() && !line.starts_with("//") {
            stripped.push_str(line);
            stripped.push('\n');
        }
        comment &= !line.ends_with("*/");
    }
    stripped
}

/// Names every module and the script beside it by what they are now. Either may be cached for ever, and they fit only
/// each other.
fn rename_modules(bundle: &mut Bundle) {
    for module in modules(bundle) {
        // Trunk: `name-<hash>_bg.wasm`, `name-<hash>.js`.
        let stem = module.trim_end_matches(MODULE);
        let name = stem.rsplit_once('-').map_or(stem, |(name, _)| name);
        for (old, end) in [(module.clone(), MODULE), (format!("{stem}.js"), ".js")] {
            let Some(content) = bundle.files.remove(&old) else { continue };
            let new = format!("{name}-{}{end}", short_hash(&content));
            for (file, text) in &mut bundle.files {
                let Ok(content) = std::str::from_utf8(text) else { continue };
                if (file == INDEX || file.ends_with(".js")) && content.contains(&old) {
                    *text = content.replace(&old, &new).into_bytes();
                }
            }
            bundle.files.insert(new, content);
        }
    }
}

fn modules(bundle: &Bundle) -> Vec<String> {
    bundle.files.keys().filter(|name| name.ends_with(MODULE)).cloned().collect()
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
    let first = bundle.first_visit()?;
    let list = |kept: &mut dyn Iterator<Item = &String>| {
        let path = |name: &String| if name == INDEX { "/".to_owned() } else { format!("/{name}") };
        serde_json::Value::from(kept.map(path).collect::<Vec<_>>()).to_string()
    };
    let worker = replace_placeholder(&worker, LIST, &list(&mut kept.iter().copied()));
    let loaded = |name: &&String| first.contains(*name);
    let worker = replace_placeholder(&worker, FIRST, &list(&mut kept.iter().copied().filter(loaded)));
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
        finish(&mut bundle, Module::Whole).unwrap();
        let page = bundle.text(INDEX).unwrap();
        assert!(
            page.contains("<style>p{}</style><body>") && page.contains("<script>now()</script></head>"),
            "{page}"
        );
        assert!(!bundle.files.contains_key("s-1.css") && !bundle.files.contains_key("other.js"));
        assert!(page.contains("import init from '/app-"), "{page}");
    }

    #[test]
    fn module_and_script_are_named_by_their_content() {
        let mut bundle = bundle();
        bundle.files.insert("app-1.js".into(), b"new URL('app-1_bg.wasm')".to_vec());
        finish(&mut bundle, Module::Whole).unwrap();
        let module = format!("app-{}_bg.wasm", short_hash(b"optimised"));
        let script = format!("new URL('{module}')\n");
        let name = format!("app-{}.js", short_hash(script.as_bytes()));
        assert_eq!(bundle.text(&name).unwrap(), script);
        assert!(bundle.files.contains_key(&module));
        let page = bundle.text(INDEX).unwrap();
        assert!(page.contains(&format!("module_or_path: '/{module}'")), "{page}");
        assert!(page.contains(&format!("from '/{name}'")) && !page.contains("app-1"), "{page}");
    }

    #[test]
    fn imports_get_short_names_in_module_and_script_alike() {
        let name = "__wbg_now_0123456789abcdef";
        let import = [&[1, 1, b'm', name.len() as u8], name.as_bytes(), &[0, 7]].concat();
        let module = [b"\0asm\x01\0\0\0\x02".as_slice(), &[import.len() as u8], &import].concat();
        let mut bundle = Bundle::default();
        bundle.files.insert("app-1_bg.wasm".into(), module);
        bundle.files.insert("app-1.js".into(), format!("{name}: now,").into_bytes());
        shorten_imports(&mut bundle);
        assert_eq!(bundle.text("app-1.js").unwrap(), "i0_: now,");
        assert_eq!(bundle.files["app-1_bg.wasm"], b"\0asm\x01\0\0\0\x02\x09\x01\x01m\x03i0_\0\x07");
    }

    #[test]
    fn scripts_lose_comments_and_nothing_that_runs() {
        let script =
            "/** What\n * it is. */\nf( // why\n\n  1);\n  // no\n  /**\n   * @returns\n   */\n  g();\n";
        assert_eq!(without_comments(script), "f( // why\n1);\ng();\n");
        let template = "const text = `\n  // kept`;\n";
        assert_eq!(without_comments(template), template);
    }

    #[test]
    fn the_worker_lists_every_file_but_itself_and_its_id_follows_the_content() {
        let worker = |change: &[u8]| {
            let mut bundle = bundle();
            bundle.files.insert("style.css".into(), change.to_vec());
            finish(&mut bundle, Module::Whole).unwrap();
            bundle.text(WORKER).unwrap()
        };
        let one = worker(b"a");
        assert!(one.contains(r#"const FILES = ["/app-"#), "{one}");
        assert!(one.contains(r#""/","/style.css"];"#), "{one}");
        assert!(!one.contains("dev") && !one.contains("sw.js") && !one.contains("/*"), "{one}");
        assert_eq!(one, worker(b"a"));
        assert_ne!(one, worker(b"b"));
    }
}
