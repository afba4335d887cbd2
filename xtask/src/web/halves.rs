//! The app in two parts: which functions a first visit runs, and the script that loads the rest.
//!
//! `web/first-visit.txt` lists the functions by hashes of their names. `cargo xtask profile` makes it anew, from what the
//! browsers ran: it is out of date when a first visit loads the rest before anybody touches the page, which a test sees.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    bundle::{Bundle, short_hash},
    split,
};

/// The module that is cut, as its name begins, and how the script beside it is called.
const APP: &str = "felund-web-";
const MODULE: &str = "_bg.wasm";
/// How the name of the rest begins.
const LATER: &str = "felund-rest-";
/// The placeholder for the rest's file in `web/rest.js`.
const REST: &str = "/*REST*/ \"\"";

/// What a watched app waits for never comes, so that it runs no further than a first visit does.
const NO_REST: &str =
    "globalThis.felundRest = () => new Promise((_, fail) => { globalThis.felundFail = fail; });\n";

const HEADER: &str = "\
# The functions that run in a first visit until somebody touches the page or has said their name, by hashes of their names.
# Made by `cargo xtask profile`.
";

/// Cuts the app's module in two.
pub(super) fn cut(bundle: &mut Bundle, web: &Path) -> Result<()> {
    let Some(name) = app(bundle) else { return Ok(()) };
    let first = read_profile(&profile(web))?;
    let halves = split::split(bundle.get(&name)?, |name| first.contains(&hash(name)))?;
    let rest = format!("{LATER}{}.wasm", short_hash(&halves.rest));
    let loader = fs::read_to_string(web.join("rest.js")).context("cannot read web/rest.js")?;
    ensure!(loader.contains(REST), "web/rest.js says nowhere {REST}");
    connect(bundle, &name, "load: restNow", &loader.replace(REST, &format!("\"{rest}\"")))?;
    let script = name.replace(MODULE, ".js");
    let text = bundle.text(&script)?;
    let started = "const { instance, module } = await __wbg_load(await module_or_path, imports);";
    ensure!(text.contains(started), "wasm-bindgen's script does not start the app as it used to");
    let text = text.replace(started, &format!("{started}\n    await restBegun(instance.exports);"));
    bundle.files.insert(script, text.into_bytes());
    bundle.files.insert(name, halves.first);
    bundle.files.insert(rest, halves.rest);
    Ok(())
}

/// Makes the app's module tell the page what it runs.
pub(super) fn watch(bundle: &mut Bundle) -> Result<()> {
    let name = app(bundle).context("there is no module of the app")?;
    let watched = split::instrument(bundle.get(&name)?)?;
    connect(bundle, &name, "seen: (at) => { (globalThis.felundSeen ||= new Set()).add(at); }", NO_REST)?;
    bundle.files.insert(name, watched);
    Ok(())
}

/// Gives the module one more import and its script more text.
fn connect(bundle: &mut Bundle, module: &str, import: &str, more: &str) -> Result<()> {
    let script = module.replace(MODULE, ".js");
    let text = bundle.text(&script)?;
    let imports = "_bg.js\": import0,";
    ensure!(text.contains(imports), "wasm-bindgen's script does not list its imports as it used to");
    let text = text.replace(imports, &format!("{imports} rest: {{ {import} }},"));
    bundle.files.insert(script, (text + more).into_bytes());
    Ok(())
}

/// Writes down what was run, by the functions' numbers.
pub(super) fn write_profile(module: &[u8], seen: &BTreeSet<u32>, web: &Path) -> Result<usize> {
    let names = split::names(module)?;
    let hashes: BTreeSet<String> = seen.iter().filter_map(|at| Some(hash(names.get(at)?))).collect();
    let mut text = HEADER.to_owned();
    for hash in &hashes {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{hash}");
    }
    let path = profile(web);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(hashes.len())
}

fn read_profile(path: &Path) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect())
}

fn profile(web: &Path) -> PathBuf {
    web.join("first-visit.txt")
}

/// Whether this file is loaded once somebody touches the page.
pub(super) fn is_rest(name: &str) -> bool {
    name.starts_with(LATER)
}

pub(super) fn app(bundle: &Bundle) -> Option<String> {
    bundle.files.keys().find(|name| name.starts_with(APP) && name.ends_with(MODULE)).cloned()
}

/// Eight hexadecimal digits for a function's name. What changes with every compiler and dependency is no part of it:
/// `core[c5930c85a12de822]::fmt` is `core::fmt`.
fn hash(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for (at, part) in name.split('[').enumerate() {
        let crate_id = part
            .split_once(']')
            .filter(|(id, _)| at > 0 && id.len() > 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match crate_id {
            Some((_, behind)) => plain.push_str(behind),
            None if at > 0 => plain.extend(["[", part]),
            None => plain.push_str(part),
        }
    }
    let mut digits = short_hash(plain.as_bytes());
    digits.truncate(8);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_functions_name_is_the_same_whatever_compiled_it() {
        let one = "<[[u8; 8usize]] as alloc[3ca501edff3f0c7c]::slice::Concat<u8>>::concat";
        assert_eq!(hash(one), hash(&one.replace("3ca501edff3f0c7c", "5cf2e0e8f5f8a1")));
        assert_ne!(hash(one), hash(&one.replace("8usize", "16usize")));
        assert_ne!(hash("a[b]"), hash("ab"));
    }
}
