//! Getting what a build or a test needs and this machine lacks, saying what and why.
//!
//! Every step first looks whether the thing is there and works, so that a warm setup takes a fraction of a second.
//! Programs that cargo builds go to a cache outside the checkout; a lock there keeps two setups apart.

mod debian;
mod tools;
mod wasm_target;

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::process;

/// What `run`, `web` and every benchmark need.
pub(crate) fn build(context: &mut Context) -> Result<()> {
    context.require_disk_space()?;
    let _lock = lock(context)?;
    c_compiler(context)?;
    wasm_target::ensure(context, "wasm32-unknown-unknown", "to compile the web app")?;
    tools::trunk(context)?;
    tools::wasm_bindgen(context)?;
    wasm_opt(context)
}

/// What `test` needs beyond that.
pub(crate) fn tests(context: &mut Context) -> Result<()> {
    let _lock = lock(context)?;
    debian::install(context, &TEST_PROGRAMS)?;
    tools::geckodriver(context)?;
    wasm_target::ensure(context, "wasm32-wasip1", "to run the core's tests as WebAssembly under Node")
}

/// What `fuzz` needs, and nothing else does.
pub(crate) fn fuzz(context: &mut Context) -> Result<()> {
    const COMPILER: [Program; 1] = [Program {
        names: &["c++", "g++", "clang++"],
        package: "build-essential",
        why: "the fuzzers' libFuzzer is C++",
    }];
    context.require_disk_space()?;
    let _lock = lock(context)?;
    debian::install(context, &COMPILER)
}

/// A program that comes from the distribution.
#[derive(Debug)]
pub(crate) struct Program {
    /// Any one of these on `PATH` will do.
    names: &'static [&'static str],
    /// The Debian package that holds it.
    package: &'static str,
    why: &'static str,
}

const TEST_PROGRAMS: [Program; 12] = [
    Program {
        names: &["chromium", "google-chrome"],
        package: "chromium",
        why: "the web app is tested in it",
    },
    Program { names: &["chromedriver"], package: "chromium-driver", why: "it lets the tests drive Chromium" },
    Program {
        names: &["firefox-esr", "firefox"],
        package: "firefox-esr",
        why: "the web app is tested in it",
    },
    Program {
        names: &["WebKitWebDriver"],
        package: "webkit2gtk-driver",
        why: "the nearest thing to Safari here",
    },
    Program { names: &["Xvfb"], package: "xvfb", why: "WebKitGTK wants a display" },
    Program { names: &["ip"], package: "iproute2", why: "tests build small networks with it" },
    Program { names: &["turnserver"], package: "coturn", why: "tests go through NATs with its help" },
    Program { names: &["nft"], package: "nftables", why: "the routers of these networks are made of it" },
    Program {
        names: &["tcpdump"],
        package: "tcpdump",
        why: "a test looks for plaintext in a packet capture",
    },
    Program { names: &["tshark"], package: "tshark", why: "it puts captured streams together again" },
    Program {
        names: &["brotli"],
        package: "brotli",
        why: "the size of a first visit is measured compressed",
    },
    Program { names: &["node"], package: "nodejs", why: "the core's tests run as WebAssembly under it" },
];

fn lock(context: &Context) -> Result<File> {
    let dir = &context.cache;
    fs::create_dir_all(dir).with_context(|| {
        format!("cannot create the tool cache {}; set XDG_CACHE_HOME elsewhere", dir.display())
    })?;
    lock_file(&dir.join("setup.lock"), "another setup on this machine")
}

/// Waits for whoever holds the lock; held until dropped.
pub(crate) fn lock_file(path: &Path, other: &str) -> Result<File> {
    let file = File::options().create(true).append(true).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say(&format!("Waiting for {other} to finish."));
            file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    Ok(file)
}

/// SQLite is C, and Rust links with the C compiler's driver.
fn c_compiler(context: &Context) -> Result<()> {
    const COMPILER: [Program; 1] = [Program {
        names: &["cc", "gcc", "clang"],
        package: "build-essential",
        why: "the embedded SQLite is C",
    }];
    debian::install(context, &COMPILER)
}

fn wasm_opt(context: &mut Context) -> Result<()> {
    const BINARYEN: &str = "binaryen@132.0.0";
    let npm_dir = context.cache.join("tools").join("binaryen");
    let npm_bin = npm_dir.join("node_modules").join(".bin");
    if npm_bin.join("wasm-opt").is_file() {
        context.add_tool_dir(npm_bin.clone());
    }
    if crate::web::has_wasm_opt(context) {
        return Ok(());
    }
    let why = "it makes what a browser downloads smaller";
    if context.find("wasm-opt").is_none() && debian::can_install(context) {
        say(&format!("Installing the package binaryen, which holds wasm-opt: {why}."));
        if debian::apt_install(context, &["binaryen"]).is_ok() && crate::web::has_wasm_opt(context) {
            return Ok(());
        }
    }
    if context.find("npm").is_some() {
        say(&format!("Getting wasm-opt from the npm package binaryen: {why}."));
        fs::create_dir_all(&npm_dir).with_context(|| format!("cannot create {}", npm_dir.display()))?;
        let mut npm = context.command("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
            .arg(&npm_dir)
            .arg(BINARYEN);
        process::run(&mut npm)?;
        context.add_tool_dir(npm_bin);
    }
    if !crate::web::has_wasm_opt(context) {
        say("There is no wasm-opt that is new enough: the web app works without it, and is larger.");
    }
    Ok(())
}

pub(crate) fn say(what: &str) {
    eprintln!("\x1b[1msetup\x1b[0m  {what}");
}
