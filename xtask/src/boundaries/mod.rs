//! The edges between the crates that the architecture rests on, checked.
//!
//! - `felund-core` does no I/O: no runtime, no browser, no source of randomness among its dependencies, and neither
//!   platform conditions nor clocks, sockets, files or threads in its source.
//! - `felund-relay` sees the part of the core that is meant for it: no key, no plaintext, nothing that could open one.
//! - `felund-web` reaches the core through `felund-wasm` only.
//!
//! The compiler holds the second edge once the relay is compiled without the core's `node` feature; these checks hold
//! the feature.

mod source;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value as Json;

use crate::context::Context;
use crate::process;

use self::source::{paths_below, stripped, without_tests};

/// What the core must not depend on, optional or not.
const CORE_FORBIDDEN_CRATES: [&str; 12] = [
    "async-std",
    "getrandom",
    "gloo-timers",
    "js-sys",
    "mio",
    "rand",
    "smol",
    "socket2",
    "tokio",
    "wasm-bindgen",
    "wasm-bindgen-futures",
    "web-sys",
];
/// What the core's source must not name: doors to the outside.
const CORE_FORBIDDEN_PATHS: [&str; 9] =
    ["env", "fs", "io::stdin", "io::stdout", "net", "process", "thread", "time::Instant", "time::SystemTime"];
/// Words of platform conditions.
const PLATFORM_CONDITIONS: [&str; 6] =
    ["target_arch", "target_os", "target_family", "target_env", "target_vendor", "target_pointer_width"];

/// The core's feature with keys, plaintext and the node, and those that bring it along.
const MEMBER_FEATURES: [&str; 4] = ["node", "contract", "sim", "default"];
/// What the relay may name of the core.
const RELAY_MODULES: [&str; 5] = ["config", "envelope", "ids", "relay_api", "wire"];
/// Crates that only someone who opens an envelope or derives a key needs.
const RELAY_FORBIDDEN_CRATES: [&str; 7] =
    ["aes-gcm", "argon2", "chacha20poly1305", "hkdf", "hpke", "x25519-dalek", "felund-wasm"];
/// Types that hold a key or a plaintext.
const RELAY_FORBIDDEN_WORDS: [&str; 7] =
    ["SigningKey", "SecretKey", "StaticSecret", "CircleSecret", "Plaintext", "Opened", "Aes256Gcm"];

/// Fails with every violation there is.
pub(crate) fn check(context: &Context) -> Result<()> {
    let metadata =
        process::capture(context.cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Json =
        serde_json::from_str(&metadata).context("cargo metadata printed something that is not JSON")?;
    let mut violations = Vec::new();
    violations.extend(core_manifest(&metadata));
    violations.extend(web_manifest(&metadata));
    violations.extend(relay_manifest(&metadata));
    violations.extend(core_tree(&tree(context, "felund-core", &["--all-features"])?));
    violations.extend(relay_tree(&tree(context, "felund-relay", &[])?));
    for (file, text) in sources(&context.root.join("felund-core/src"))? {
        violations.extend(core_source(&text).into_iter().map(|what| format!("{file}: {what}")));
    }
    for (file, text) in sources(&context.root.join("relay/src"))? {
        violations.extend(relay_source(&text).into_iter().map(|what| format!("{file}: {what}")));
    }
    if !violations.is_empty() {
        bail!(
            "the crates' boundaries do not hold (ARCHITECTURE.md says why they matter):\n  {}",
            violations.join("\n  ")
        );
    }
    eprintln!("The crates' boundaries hold.");
    Ok(())
}

/// Every package that ends up in a build of `package`, one `name vX (features)` a line.
fn tree(context: &Context, package: &str, flags: &[&str]) -> Result<String> {
    let mut tree = context.cargo();
    tree.args(["tree", "--package", package, "--edges", "normal", "--target", "all", "--prefix", "none"]);
    process::capture(tree.args(["--no-dedupe", "--format", "{p} [{f}]"]).args(flags))
}

fn sources(dir: &Path) -> Result<Vec<(String, String)>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", dir.display()))?.path();
        if path.is_dir() {
            sources.extend(self::sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            sources.push((path.display().to_string(), text));
        }
    }
    Ok(sources)
}

/// The dependencies a package declares for its own code: not those of its tests and build script.
fn declared<'a>(metadata: &'a Json, package: &str) -> Vec<&'a Json> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let package = packages.iter().find(|candidate| candidate["name"] == package);
    let dependencies = package.and_then(|package| package["dependencies"].as_array());
    dependencies
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter(|dependency| dependency["kind"].is_null())
        .collect()
}

fn declared_names<'a>(metadata: &'a Json, package: &str) -> Vec<&'a str> {
    declared(metadata, package).into_iter().filter_map(|dependency| dependency["name"].as_str()).collect()
}

fn core_manifest(metadata: &Json) -> Vec<String> {
    let names = declared_names(metadata, "felund-core").into_iter();
    let forbidden = names.filter(|name| CORE_FORBIDDEN_CRATES.contains(name));
    forbidden.map(|name| format!("felund-core declares the dependency {name}")).collect()
}

fn core_tree(tree: &str) -> Vec<String> {
    forbidden_in_tree(tree, "felund-core", &CORE_FORBIDDEN_CRATES)
}

fn forbidden_in_tree(tree: &str, package: &str, forbidden: &[&str]) -> Vec<String> {
    let mut found: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    found.retain(|name| forbidden.contains(name));
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|name| format!("{package} is compiled with {name}")).collect()
}

fn web_manifest(metadata: &Json) -> Vec<String> {
    let names = declared_names(metadata, "felund-web");
    if names.contains(&"felund-core") {
        vec![
            "felund-web declares the dependency felund-core; it talks to the core through felund-wasm only"
                .into(),
        ]
    } else {
        Vec::new()
    }
}

fn relay_manifest(metadata: &Json) -> Vec<String> {
    let mut violations = Vec::new();
    for dependency in declared(metadata, "felund-relay") {
        if dependency["name"] != "felund-core" {
            continue;
        }
        if dependency["uses_default_features"] != false {
            violations.push("felund-relay depends on felund-core with its default features".into());
        }
        let features = dependency["features"].as_array().map(Vec::as_slice).unwrap_or_default();
        for feature in
            features.iter().filter_map(Json::as_str).filter(|feature| MEMBER_FEATURES.contains(feature))
        {
            violations.push(format!("felund-relay asks for felund-core's feature {feature}"));
        }
    }
    violations
}

fn relay_tree(tree: &str) -> Vec<String> {
    let mut violations = forbidden_in_tree(tree, "felund-relay", &RELAY_FORBIDDEN_CRATES);
    let core = tree.lines().find(|line| line.starts_with("felund-core "));
    let features = core
        .and_then(|line| line.rsplit_once('['))
        .map_or("", |(_, features)| features.trim_end_matches(']'));
    for feature in features.split(',').filter(|feature| MEMBER_FEATURES.contains(feature)) {
        violations.push(format!("felund-relay is compiled with felund-core's feature {feature}"));
    }
    violations
}

fn core_source(text: &str) -> Vec<String> {
    let code = stripped(text);
    let mut violations = Vec::new();
    for word in PLATFORM_CONDITIONS.iter().filter(|word| source::has_word(&code, word)) {
        violations.push(format!("a platform condition ({word}); platform code lives in the platform crates"));
    }
    for path in paths_below(&code, "std") {
        // Below what is forbidden, or a glob of what holds it.
        let glob = path.strip_suffix('*');
        let beyond = |forbidden: &&&str| {
            path == **forbidden
                || path.starts_with(&format!("{forbidden}::"))
                || glob.is_some_and(|above| forbidden.starts_with(above))
        };
        if let Some(forbidden) = CORE_FORBIDDEN_PATHS.iter().find(beyond) {
            violations.push(format!("names std::{forbidden}; the outside reaches the core as inputs"));
        }
    }
    violations
}

fn relay_source(text: &str) -> Vec<String> {
    let code = without_tests(&stripped(text));
    let mut violations = Vec::new();
    for path in paths_below(&code, "felund_core") {
        let module = path.split("::").next().unwrap_or_default();
        if !RELAY_MODULES.contains(&module) {
            violations
                .push(format!("names felund_core::{path}; the relay may name {}", RELAY_MODULES.join(", ")));
        }
    }
    for word in RELAY_FORBIDDEN_WORDS.iter().filter(|word| source::has_word(&code, word)) {
        violations.push(format!("names {word}, which holds a key or a plaintext"));
    }
    violations
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(package: &str, dependency: &Json) -> Json {
        json!({"packages": [{"name": "other", "dependencies": []}, {"name": package, "dependencies": [dependency]}]})
    }

    #[test]
    fn a_runtime_or_browser_dependency_of_the_core_is_caught_but_not_one_of_its_tests() {
        let optional = json!({"name": "tokio", "kind": null, "optional": true});
        assert_eq!(
            core_manifest(&metadata("felund-core", &optional)),
            ["felund-core declares the dependency tokio"]
        );
        let for_tests = json!({"name": "tokio", "kind": "dev"});
        assert!(core_manifest(&metadata("felund-core", &for_tests)).is_empty());
    }

    #[test]
    fn randomness_that_comes_in_by_another_crate_is_caught() {
        let tree = "felund-core v0.1.0 (path) [node]\nrand_core v0.10.0 []\ngetrandom v0.4.0 [std]\ngetrandom v0.4.0 []\n";
        assert_eq!(core_tree(tree), ["felund-core is compiled with getrandom"]);
    }

    #[test]
    fn the_web_app_may_not_reach_around_felund_wasm() {
        let direct = json!({"name": "felund-core", "kind": null});
        assert_eq!(web_manifest(&metadata("felund-web", &direct)).len(), 1);
        let proper = json!({"name": "felund-wasm", "kind": null});
        assert!(web_manifest(&metadata("felund-web", &proper)).is_empty());
    }

    #[test]
    fn the_member_side_of_the_core_is_kept_from_the_relay() {
        let by_default =
            json!({"name": "felund-core", "kind": null, "uses_default_features": true, "features": []});
        assert_eq!(relay_manifest(&metadata("felund-relay", &by_default)).len(), 1);
        let asked = json!({"name": "felund-core", "kind": null, "uses_default_features": false, "features": ["node"]});
        assert_eq!(relay_manifest(&metadata("felund-relay", &asked)).len(), 1);
        let blind = json!({"name": "felund-core", "kind": null, "uses_default_features": false, "features": ["openapi"]});
        assert!(relay_manifest(&metadata("felund-relay", &blind)).is_empty());

        let unified = "felund-relay v0.1.0 (path) []\nfelund-core v0.1.0 (path) [node,openapi]\naes-gcm v0.11.0 [aes]\n";
        assert_eq!(relay_tree(unified).len(), 2, "{:?}", relay_tree(unified));
        assert!(
            relay_tree("felund-relay v0.1.0 (path) []\nfelund-core v0.1.0 (path) [openapi]\n").is_empty()
        );
    }

    #[test]
    fn a_door_to_the_outside_in_the_core_is_caught_however_it_is_written() {
        for bad in [
            "#[cfg(target_arch = \"wasm32\")] fn f() {}",
            "#[cfg(all(test, not(target_os = \"linux\")))] mod m;",
            "use std::time::Instant;",
            "use std::time::{Duration, SystemTime};",
            "use std::{collections::BTreeMap, time::{Duration, Instant as Clock}};",
            "fn f() { let now = std::time::SystemTime::now(); }",
            "use std::{fmt, net};",
            "fn f() { ::std::thread::spawn(|| ()); }",
            "use std::fs::File;",
            "use std::time::*;",
        ] {
            assert_eq!(core_source(bad).len(), 1, "{bad}: {:?}", core_source(bad));
        }
    }

    #[test]
    fn what_only_looks_like_a_door_is_let_through() {
        for good in [
            "use std::time::Duration;",
            "// std::net is the drivers' business, and so is cfg(target_os).",
            "/* use std::fs; */ use std::fmt;",
            "fn f() -> &'static str { \"std::fs::read\" }",
            "use crate::time::Instant;",
            "fn f() { my_std::net::x(); }",
            "use std::{collections::{BTreeMap, BTreeSet}, fmt};",
        ] {
            assert_eq!(core_source(good), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn a_relay_that_names_a_key_or_the_node_is_caught() {
        assert_eq!(relay_source("use felund_core::{ids::CircleId, node::Node};").len(), 1);
        assert_eq!(relay_source("fn f(key: ed25519_dalek::SigningKey) {}").len(), 1);
        let test =
            "use felund_core::wire; #[cfg(test)] mod tests { use felund_core::keys; fn f(_: SigningKey) {} }";
        assert!(relay_source(test).is_empty(), "{:?}", relay_source(test));
        let after = "#[cfg(test)] mod tests { fn f() {} } fn g(_: SigningKey) {}";
        assert_eq!(relay_source(after).len(), 1);
    }
}
