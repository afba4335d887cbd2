//! The built web app in memory: a few files by their path below the site's root.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::files_below;

/// The page that everything else is reached from.
pub(super) const INDEX: &str = "index.html";

#[derive(Debug, Default)]
pub(super) struct Bundle {
    /// Paths with `/` between their parts, without a leading one.
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

impl Bundle {
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for path in files_below(dir)? {
            let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let relative = path.strip_prefix(dir).unwrap_or(&path);
            let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
            files.insert(parts.join("/"), content);
        }
        Ok(Self { files })
    }

    /// Makes `dir` hold exactly this bundle, leaving files alone that are the same already.
    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        for path in files_below(dir)? {
            let relative = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            if !self.files.contains_key(&relative) {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        for (name, content) in &self.files {
            let path = dir.join(name);
            if fs::read(&path).is_ok_and(|present| present == *content) {
                continue;
            }
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
            }
            fs::write(&path, content)
                .with_context(|| format!("cannot write {}; is the disk full?", path.display()))?;
        }
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Result<&[u8]> {
        self.files.get(name).map(Vec::as_slice).with_context(|| format!("the built web app has no {name}"))
    }

    pub(super) fn text(&self, name: &str) -> Result<String> {
        String::from_utf8(self.get(name)?.to_vec())
            .with_context(|| format!("{name} of the built web app is not UTF-8"))
    }

    /// What a browser loads before the app is usable: the page, what it names, and what those files need at once, style
    /// sheets by naming it and scripts by an import statement. What a script loads later does not count.
    pub(super) fn first_visit(&self) -> Result<BTreeSet<String>> {
        let mut loaded = BTreeSet::from([INDEX.to_owned()]);
        let mut unread = vec![INDEX.to_owned()];
        while let Some(file) = unread.pop() {
            let needs = match file.rsplit('.').next() {
                Some("html" | "css") => self.text(&file)?,
                Some("js") => imports(&self.text(&file)?),
                _ => continue,
            };
            for name in self.files.keys().filter(|name| names(&needs, name)) {
                if loaded.insert(name.clone()) {
                    unread.push(name.clone());
                }
            }
        }
        Ok(loaded)
    }
}

/// The static import statements of a script.
fn imports(script: &str) -> String {
    let starts_import =
        |line: &&str| line.trim_start().strip_prefix("import").is_some_and(|rest| !rest.starts_with('('));
    script.split([';', '\n']).filter(starts_import).collect::<Vec<_>>().join("\n")
}

/// Whether `text` names the file, and not one whose name merely ends the same way.
fn names(text: &str, file: &str) -> bool {
    text.match_indices(file).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + file.len()..].chars().next();
        let inside_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        !inside_word(before.filter(|c| *c != '.')) && !inside_word(after)
    })
}

/// Sixteen hexadecimal digits that stand for the content.
pub(super) fn short_hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().take(8).fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_visit_is_what_the_page_needs_at_once() {
        let mut bundle = Bundle::default();
        for (name, content) in [
            (
                "index.html",
                "<link href=\"/style-1.css\"><script src=\"./app-1.js\"></script><img src=/img/a.svg>",
            ),
            ("style-1.css", "@font-face { src: url(/mono.woff2) }"),
            ("app-1.js", "import { f } from './snippets/f.js';\nimport('/later-1.js')"),
            ("snippets/f.js", ""),
            ("later-1.js", ""),
            ("mono.woff2", ""),
            ("img/a.svg", ""),
            ("p-1.js", ""),
        ] {
            bundle.files.insert(name.into(), content.into());
        }
        let visit: Vec<_> = bundle.first_visit().unwrap().into_iter().collect();
        assert_eq!(
            visit,
            ["app-1.js", "img/a.svg", "index.html", "mono.woff2", "snippets/f.js", "style-1.css"]
        );
    }

    #[test]
    fn writing_leaves_what_is_the_same_and_removes_what_is_gone() {
        let dir = std::env::temp_dir().join(format!("felund-xtask-bundle-{}", std::process::id()));
        let mut bundle = Bundle::default();
        bundle.files.insert("index.html".into(), b"one".to_vec());
        bundle.files.insert("old/a.js".into(), b"a".to_vec());
        bundle.write(&dir).unwrap();
        let written = fs::metadata(dir.join("index.html")).unwrap().modified().unwrap();
        bundle.files.remove("old/a.js");
        bundle.files.insert("new/b.js".into(), b"b".to_vec());
        bundle.write(&dir).unwrap();
        assert_eq!(fs::metadata(dir.join("index.html")).unwrap().modified().unwrap(), written);
        assert_eq!(Bundle::read(&dir).unwrap().files, bundle.files);
        fs::remove_dir_all(&dir).unwrap();
    }
}
