//! The standard library for WebAssembly, from rustup, or compiled from Debian's copy of Rust's source where rustup
//! cannot download.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use super::{debian, say};
use crate::context::Context;
use crate::process;

/// Where Debian's `wasi-libc` keeps the C library that Rust's WASI target links.
const WASI_LIBC: &str = "/usr/lib/wasm32-wasi";

pub(super) fn ensure(context: &Context, target: &str, why: &str) -> Result<()> {
    if works(context, target) {
        return Ok(());
    }
    let first = if context.find("rustup").is_some() {
        say(&format!("Adding the Rust target {target} with rustup, {why}."));
        match process::run(context.command("rustup").args(["target", "add", target])) {
            Ok(()) if works(context, target) => return Ok(()),
            Ok(()) => "rustup installed it, and yet an empty program does not compile for it".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    } else {
        "rustup is not installed".to_owned()
    };
    say(&format!(
        "That did not work; compiling Rust's standard library for {target} from Debian's package rust-src."
    ));
    match from_debian(context, target) {
        Ok(()) if works(context, target) => Ok(()),
        outcome => {
            let second = match outcome {
                Ok(()) => "it compiled, and yet an empty program does not link with it".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            bail!(
                "the Rust target {target} is missing ({why}), and there was no way to get it.\n  rustup: {first}\n  Debian: \
                 {second}\nConnect this machine to the network and run `rustup target add {target}`, or set \
                 RUSTUP_DIST_SERVER to a mirror it can reach, or use a Rust version that one of the suites above carries"
            )
        }
    }
}

/// Whether an empty program compiles and links for the target: a directory that is there may still be another
/// compiler's.
fn works(context: &Context, target: &str) -> bool {
    let dir = context.cache.join("probe");
    let source = dir.join("probe.rs");
    let prepared =
        fs::create_dir_all(&dir).and_then(|()| fs::write(&source, "fn main() { println!(\"{}\", 6 * 7); }"));
    let mut rustc = context.command("rustc");
    rustc.args(["--target", target, "-o"]).arg(dir.join("probe.wasm")).arg(&source);
    prepared.is_ok()
        && rustc.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn from_debian(context: &Context, target: &str) -> Result<()> {
    let rustc = process::capture(context.command("rustc").arg("-vV"))?;
    let version = rustc
        .lines()
        .find_map(|line| line.strip_prefix("release: "))
        .context("rustc -vV names no release")?;
    let sysroot =
        PathBuf::from(process::capture(context.command("rustc").args(["--print", "sysroot"]))?.trim());
    let source = debian::rust_source(context, version)?;
    let lib = sysroot.join("lib/rustlib").join(target).join("lib");
    fs::create_dir_all(&lib).with_context(|| format!("cannot write to {}", lib.display()))?;
    if target.contains("wasi") {
        copy_wasi_libc(context, &lib.join("self-contained"))?;
    }
    let built = with_linked_source(&sysroot, &source, || compile_std(context, target))?;
    // The rlibs of the standard library, not the one of the empty crate that made cargo build them.
    let mut copied = 0;
    for file in fs::read_dir(&built).with_context(|| format!("cannot read {}", built.display()))?.flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if name.starts_with("lib") && name.ends_with(".rlib") && !name.starts_with("libempty-") {
            fs::copy(file.path(), lib.join(&name))
                .with_context(|| format!("cannot write to {}", lib.display()))?;
            copied += 1;
        }
    }
    if copied == 0 {
        bail!("building the standard library left nothing in {}", built.display());
    }
    Ok(())
}

/// `-Z build-std` looks for the source at one place in the sysroot; links it there for the time of `build`.
fn with_linked_source<T>(sysroot: &Path, source: &Path, build: impl FnOnce() -> Result<T>) -> Result<T> {
    let place = sysroot.join("lib/rustlib/src/rust");
    if place.exists() {
        return build();
    }
    let parent = sysroot.join("lib/rustlib/src");
    fs::create_dir_all(&parent).with_context(|| format!("cannot write to {}", parent.display()))?;
    symlink(source, &place).with_context(|| format!("cannot write to {}", parent.display()))?;
    let outcome = build();
    drop(fs::remove_file(&place));
    outcome
}

/// Builds an empty crate for the target and the standard library with it; answers the directory of their rlibs.
fn compile_std(context: &Context, target: &str) -> Result<PathBuf> {
    let dir = context.cache.join("std").join(target);
    fs::create_dir_all(dir.join("src")).with_context(|| format!("cannot create {}", dir.display()))?;
    let manifest = "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n";
    fs::write(dir.join("Cargo.toml"), manifest).and_then(|()| fs::write(dir.join("src/lib.rs"), ""))?;
    let target_dir = dir.join("target");
    drop(fs::remove_dir_all(&target_dir));
    let mut build = context.cargo();
    build
        .current_dir(&dir)
        // The features of a stable compiler that build the standard library are open to the standard library only.
        .env("RUSTC_BOOTSTRAP", "1")
        // Without bitcode link-time optimisation across the standard library fails.
        .env("RUSTFLAGS", "-Cembed-bitcode=yes")
        .env("CARGO_TARGET_DIR", &target_dir)
        .args(["build", "--release", "-Z", "build-std=std,panic_abort,test", "--target", target]);
    process::run(&mut build)?;
    Ok(target_dir.join(target).join("release/deps"))
}

fn copy_wasi_libc(context: &Context, into: &Path) -> Result<()> {
    if !Path::new(WASI_LIBC).exists() && debian::can_install(context) {
        say("Installing the package wasi-libc: the WASI target links with it.");
        debian::apt_install(context, &["wasi-libc"])?;
    }
    fs::create_dir_all(into).with_context(|| format!("cannot write to {}", into.display()))?;
    for file in ["crt1-command.o", "crt1-reactor.o", "libc.a"] {
        let from = Path::new(WASI_LIBC).join(file);
        fs::copy(&from, into.join(file)).with_context(|| {
            format!("cannot copy {}; it comes with the Debian package wasi-libc", from.display())
        })?;
    }
    Ok(())
}

#[cfg(unix)]
fn symlink(source: &Path, place: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(source, place)
}

#[cfg(not(unix))]
fn symlink(_source: &Path, _place: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
