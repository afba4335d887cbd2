//! Build tools that come as Rust source: taken from `PATH` where the version fits, else built once per machine.
//!
//! They are built without optimisation: building them takes minutes otherwise, and running them takes seconds either way.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::say;
use crate::context::Context;
use crate::process;

/// The newest Trunk that builds with the Rust version this workspace asks for.
const TRUNK: &str = "0.21.14";

pub(super) fn trunk(context: &mut Context) -> Result<()> {
    Tool {
        package: "trunk",
        binary: "trunk",
        version: TRUNK,
        accepted: &|found| found == TRUNK,
        flags: &["--locked", "--no-default-features", "--features", "rustls"],
        why: "it builds the web app; this takes about 3 minutes, once",
    }
    .ensure(context)
}

/// Must be the very version of the library in the lock file: both sides of the generated bindings have to agree.
pub(super) fn wasm_bindgen(context: &mut Context) -> Result<()> {
    let path = context.root.join("Cargo.lock");
    let lock = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some(version) = locked_version(&lock, "wasm-bindgen") else {
        bail!(
            "{} names no wasm-bindgen, which the web app needs; restore it with `git checkout Cargo.lock`",
            path.display()
        );
    };
    Tool {
        package: "wasm-bindgen-cli",
        binary: "wasm-bindgen",
        version,
        accepted: &|found| found == version,
        // Without --locked: its own lock file may name versions that have been withdrawn.
        flags: &[],
        why: "it makes the JavaScript side of the web app; this takes about 2 minutes, once",
    }
    .ensure(context)
}

pub(super) fn geckodriver(context: &mut Context) -> Result<()> {
    Tool {
        package: "geckodriver",
        binary: "geckodriver",
        version: "0.37",
        accepted: &|found| at_least(found, (0, 36)),
        flags: &[],
        why: "it lets the tests drive Firefox; this takes about 2 minutes, once",
    }
    .ensure(context)
}

struct Tool<'a> {
    package: &'a str,
    binary: &'a str,
    version: &'a str,
    /// Whether a version that is already here will do.
    accepted: &'a dyn Fn(&str) -> bool,
    flags: &'a [&'a str],
    why: &'a str,
}

impl Tool<'_> {
    fn ensure(&self, context: &mut Context) -> Result<()> {
        let install_dir = context.cache.join("tools").join(format!("{}-{}", self.package, self.version));
        let ours = install_dir.join("bin");
        let candidates =
            [Some(ours.join(self.binary)).filter(|path| path.is_file()), context.find(self.binary)];
        for candidate in candidates.into_iter().flatten() {
            if self.version_of(context, &candidate).is_some_and(|found| (self.accepted)(&found)) {
                if let Some(dir) = candidate.parent().filter(|dir| *dir == ours) {
                    context.add_tool_dir(dir.to_owned());
                }
                return Ok(());
            }
        }
        say(&format!("Building {} {}: {}.", self.package, self.version, self.why));
        let build_dir = context.cache.join("build");
        let requirement = if self.version.split('.').count() == 3 {
            self.version.to_owned()
        } else {
            format!("^{}", self.version)
        };
        let mut install = context.cargo();
        install
            // Away from the checkout, whose cargo configuration is for Felund.
            .current_dir(&context.cache)
            .env("CARGO_TARGET_DIR", &build_dir)
            .env_remove("RUSTFLAGS")
            .args(["install", self.package, "--version", &requirement, "--debug", "--force", "--root"])
            .arg(&install_dir)
            .args(self.flags);
        process::run(&mut install).with_context(|| {
            format!(
                "cannot build {} {}; the compiler's output above says why. Without a network, put that version on PATH by other means and repeat",
                self.package, self.version
            )
        })?;
        // The tool is in place; what it took to build it is only in the way.
        drop(fs::remove_dir_all(&build_dir));
        context.add_tool_dir(ours);
        Ok(())
    }

    fn version_of(&self, context: &Context, binary: &Path) -> Option<String> {
        let binary = binary.to_str()?;
        let said = process::capture(context.command(binary).arg("--version")).ok()?;
        said.split_whitespace().nth(1).map(str::to_owned)
    }
}

fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

fn at_least(version: &str, (major, minor): (u32, u32)) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_tells_the_exact_version() {
        let lock = "[[package]]\nname = \"wasm-bindgen-macro\"\nversion = \"9.9.9\"\n\n[[package]]\nname = \"wasm-bindgen\"\n\
                    version = \"0.2.130\"\nsource = \"x\"\n";
        assert_eq!(locked_version(lock, "wasm-bindgen"), Some("0.2.130"));
        assert_eq!(locked_version(lock, "wasm"), None);
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(at_least("0.37.1", (0, 36)));
        assert!(at_least("1.0.0", (0, 36)));
        assert!(!at_least("0.9.0", (0, 36)));
        assert!(!at_least("unknown", (0, 36)));
    }
}
