//! Building the web app: Trunk compiles and bundles it, `finish` makes the bundle fit for a strict content security
//! policy and for use offline, and only what changed is copied to `web/dist`, so that the relay, which embeds that
//! directory, is compiled again only when there is something new to embed.

mod bundle;
mod finish;
mod halves;
mod module;
mod split;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::context::Context;
use crate::{process, setup};

use self::{bundle::Bundle, finish::Module};

/// What a first visit may download, compressed, before the app is usable.
const FIRST_VISIT_LIMIT: u64 = 200_000;

/// Sizes of what a browser loads before the app is usable.
#[derive(Debug)]
pub(crate) struct FirstVisit {
    /// By file, with the size as sent: compressed with brotli where it was possible to measure that.
    files: BTreeMap<String, u64>,
    /// The part of the app that is loaded once somebody touches the page.
    later: u64,
    compressed: bool,
}

impl FirstVisit {
    pub(crate) fn print(&self) {
        let how =
            if self.compressed { "brotli" } else { "uncompressed: install brotli to see the size as sent" };
        println!("A first visit loads {} bytes ({how}; it may load {FIRST_VISIT_LIMIT}):", self.total());
        for (file, size) in &self.files {
            println!("  {size:>9}  {file}");
        }
        println!("and {} bytes more as soon as somebody touches the page.", self.later);
    }

    /// Fails when a first visit costs more than it may.
    pub(crate) fn check(&self) -> Result<()> {
        if self.compressed && self.total() > FIRST_VISIT_LIMIT {
            bail!("a first visit loads {} bytes, and may load {FIRST_VISIT_LIMIT}", self.total());
        }
        Ok(())
    }

    fn total(&self) -> u64 {
        self.files.values().sum()
    }
}

/// Builds `web/dist`.
pub(crate) fn build(context: &Context) -> Result<FirstVisit> {
    let mut bundle = staged(context)?;
    let web = context.root.join("web");
    finish::finish(&mut bundle, Module::Cut(&web))?;
    bundle.write(&web.join("dist"))?;
    measure(context, &bundle)
}

/// Finds out what a first visit runs: builds the app so that it tells, has `visit` look at it, and writes down what that
/// answers.
pub(crate) fn profile(
    context: &Context,
    visit: impl FnOnce(&Path) -> Result<BTreeSet<u32>>,
) -> Result<usize> {
    let mut bundle = staged(context)?;
    let name = halves::app(&bundle).context("there is no module of the app")?;
    let module = bundle.get(&name)?.to_vec();
    finish::finish(&mut bundle, Module::Watched)?;
    let dist = context.target.join("web-profile");
    bundle.write(&dist)?;
    halves::write_profile(&module, &visit(&dist)?, &context.root.join("web"))
}

/// What Trunk makes of the app, shrunk.
fn staged(context: &Context) -> Result<Bundle> {
    // Two builds at once would write over each other's output.
    fs::create_dir_all(&context.target)
        .with_context(|| format!("cannot create {}", context.target.display()))?;
    let _lock = setup::lock_file(&context.target.join("web.lock"), "another build of the web app")?;
    // Trunk works offline, so that it never fetches tools of its own choice; the crates have to be here by then.
    process::run(context.cargo().args(["fetch", "--quiet"]))?;
    let stage = context.target.join("web-stage");
    let mut trunk = context.command("trunk");
    // Trunk understands other values of NO_COLOR than everyone else, and adds a backtrace to every compiler error.
    trunk.env_remove("NO_COLOR").env("RUST_LIB_BACKTRACE", "0").env("CARGO_TARGET_DIR", &context.target);
    process::run(
        trunk.args(["--config", "trunk.toml", "--log", "error", "build", "--offline", "--dist"]).arg(&stage),
    )?;
    add_scanner(context, &stage)?;
    let mut bundle = Bundle::read(&stage)?;
    optimise(context, &mut bundle)?;
    Ok(bundle)
}

/// Puts the module that reads QR codes, which Trunk knows nothing of, beside the app's.
fn add_scanner(context: &Context, stage: &Path) -> Result<()> {
    let (target, profile) = ("wasm32-unknown-unknown", "web");
    let mut cargo = context.cargo();
    cargo.env("CARGO_TARGET_DIR", &context.target);
    process::run(cargo.args([
        "build",
        "-p",
        "felund-web",
        "--lib",
        "--target",
        target,
        "--profile",
        profile,
    ]))?;
    let module = context.target.join(target).join(profile).join("felund_scan.wasm");
    let mut bindgen = context.command("wasm-bindgen");
    process::run(bindgen.args(["--target", "web", "--no-typescript", "--out-dir"]).arg(stage).arg(module))
}

/// Whether there is a wasm-opt that can be used. Release 108, which Debian 12 has, exports the wrong one of two
/// tables: the app would stop with a `TypeError` before its first line.
pub(crate) fn has_wasm_opt(context: &Context) -> bool {
    const OLDEST: u32 = 116;
    if context.find("wasm-opt").is_none() {
        return false;
    }
    let version = process::capture(context.command("wasm-opt").arg("--version")).unwrap_or_default();
    let number = version.split(|c: char| !c.is_ascii_digit()).find_map(|part| part.parse::<u32>().ok());
    number.is_some_and(|number| number >= OLDEST)
}

/// Shrinks every module with Binaryen. The features are those that rustc's WebAssembly targets use, and all browsers
/// that can run the app have had for years; naming them keeps older releases of wasm-opt from refusing them.
fn optimise(context: &Context, bundle: &mut Bundle) -> Result<()> {
    // Rust's modules begin with the stack, which grows downwards: in the first KiB there is never anything. Functions with
    // one caller stay apart if they are large: it compresses better, browsers compile only what is called, and there is
    // more to choose from when the module is cut. That is done by names.
    const OPTIONS: [&str; 6] = ["-Oz", "-ocimfs", "30", "--low-memory-unused", "--strip-producers", "-g"];
    const FEATURES: [&str; 6] = [
        "--enable-bulk-memory",
        "--enable-multivalue",
        "--enable-mutable-globals",
        "--enable-nontrapping-float-to-int",
        "--enable-reference-types",
        "--enable-sign-ext",
    ];
    if !has_wasm_opt(context) {
        return Ok(());
    }
    // The same module shrinks to the same result, and shrinking takes longer than all else when nothing changed.
    let dir = context.target.join("web-opt");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let version = process::capture(context.command("wasm-opt").arg("--version"))? + &OPTIONS.concat();
    for (name, content) in bundle.files.iter_mut().filter(|(name, _)| name.ends_with(".wasm")) {
        let key = bundle::short_hash(&[content.as_slice(), version.as_bytes()].concat());
        let small = dir.join(format!("{key}.wasm"));
        if !small.is_file() {
            let large = dir.join("input.wasm");
            let unfinished = dir.join("output.wasm");
            fs::write(&large, &*content).with_context(|| format!("cannot write {}", large.display()))?;
            let mut wasm_opt = context.command("wasm-opt");
            wasm_opt.args(OPTIONS).args(FEATURES).arg(&large).arg("-o").arg(&unfinished);
            process::run(&mut wasm_opt).with_context(|| format!("cannot shrink {name}"))?;
            fs::rename(&unfinished, &small).with_context(|| format!("cannot write {}", small.display()))?;
        }
        *content = fs::read(&small).with_context(|| format!("cannot read {}", small.display()))?;
    }
    Ok(())
}

fn measure(context: &Context, bundle: &Bundle) -> Result<FirstVisit> {
    let mut visit = FirstVisit { files: BTreeMap::new(), later: 0, compressed: true };
    let mut size = |file: &str| {
        let content = bundle.get(file)?;
        let size = brotli_size(context, content);
        visit.compressed &= size.is_some();
        anyhow::Ok(size.unwrap_or(content.len() as u64))
    };
    let first = bundle.first_visit()?;
    let files = first.into_iter().map(|file| Ok((file.clone(), size(&file)?))).collect::<Result<_>>()?;
    let rest = bundle.files.keys().filter(|name| halves::is_rest(name));
    let later = rest.map(|file| size(file)).sum::<Result<u64>>()?;
    (visit.files, visit.later) = (files, later);
    Ok(visit)
}

fn brotli_size(context: &Context, content: &[u8]) -> Option<u64> {
    context.find("brotli")?;
    let mut brotli = context.command("brotli");
    let mut child = brotli
        .args(["-c", "-q", "11", "-w", "22"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut input = child.stdin.take()?;
    // Compressed output of a file fits no pipe; feed from a thread while the result is read.
    let content = content.to_vec();
    let feeder = std::thread::spawn(move || input.write_all(&content));
    let output = child.wait_with_output().ok()?;
    feeder.join().ok()?.ok()?;
    output.status.success().then_some(output.stdout.len() as u64)
}

/// All files below `dir`, sorted.
fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry.with_context(|| format!("cannot read {}", dir.display()))?.path();
            if path.is_dir() { dirs.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}
