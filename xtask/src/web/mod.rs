//! Building the web app: Trunk compiles and bundles it, `finish` makes the bundle fit for a strict content security
//! policy and for use offline, and only what changed is copied to `web/dist`, so that the relay, which embeds that
//! directory, is compiled again only when there is something new to embed.

mod bundle;
mod finish;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::context::Context;
use crate::process;

use self::bundle::Bundle;

/// What a first visit may download, compressed, before the app is usable.
const FIRST_VISIT_BUDGET: u64 = 200_000;

/// Sizes of what a browser loads before the app is usable.
#[derive(Debug)]
pub(crate) struct FirstVisit {
    /// By file, with the size as sent: compressed with brotli where it was possible to measure that.
    files: BTreeMap<String, u64>,
    compressed: bool,
}

impl FirstVisit {
    pub(crate) fn print(&self) {
        let how =
            if self.compressed { "brotli" } else { "uncompressed: install brotli to see the size as sent" };
        println!("A first visit loads {} bytes ({how}):", self.total());
        for (file, size) in &self.files {
            println!("  {size:>9}  {file}");
        }
    }

    /// Fails when a first visit costs more than it may.
    pub(crate) fn check(&self) -> Result<()> {
        if self.compressed && self.total() > FIRST_VISIT_BUDGET {
            bail!("a first visit loads {} bytes, and may load {FIRST_VISIT_BUDGET}", self.total());
        }
        Ok(())
    }

    fn total(&self) -> u64 {
        self.files.values().sum()
    }
}

/// Builds `web/dist`.
pub(crate) fn build(context: &Context) -> Result<FirstVisit> {
    let stage = context.target.join("web-stage");
    let mut trunk = context.command("trunk");
    trunk.env_remove("NO_COLOR").env("CARGO_TARGET_DIR", &context.target);
    process::run(trunk.args(["--config", "trunk.toml", "build", "--offline", "--dist"]).arg(&stage))?;
    optimise(context, &stage)?;
    let mut bundle = Bundle::read(&stage)?;
    finish::finish(&mut bundle)?;
    let dist = context.root.join("web").join("dist");
    bundle.write(&dist)?;
    measure(context, &bundle)
}

/// Shrinks every module with Binaryen. The features are those that rustc's WebAssembly targets use, and all browsers
/// that can run the app have had for years; naming them keeps older releases of wasm-opt from refusing them.
fn optimise(context: &Context, stage: &Path) -> Result<()> {
    const FEATURES: [&str; 6] = [
        "--enable-bulk-memory",
        "--enable-multivalue",
        "--enable-mutable-globals",
        "--enable-nontrapping-float-to-int",
        "--enable-reference-types",
        "--enable-sign-ext",
    ];
    for path in files_below(stage)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "wasm")) {
        let smaller = path.with_extension("wasm-opt");
        let mut wasm_opt = context.command("wasm-opt");
        wasm_opt.arg("-Oz").args(FEATURES).arg(&path).arg("-o").arg(&smaller);
        process::run(&mut wasm_opt)?;
        fs::rename(&smaller, &path).with_context(|| format!("cannot replace {}", path.display()))?;
    }
    Ok(())
}

fn measure(context: &Context, bundle: &Bundle) -> Result<FirstVisit> {
    let mut visit = FirstVisit { files: BTreeMap::new(), compressed: true };
    for file in bundle.first_visit()? {
        let content = bundle.get(&file)?;
        let size = match brotli_size(context, content) {
            Some(size) => size,
            None => {
                visit.compressed = false;
                content.len() as u64
            }
        };
        visit.files.insert(file, size);
    }
    Ok(visit)
}

fn brotli_size(context: &Context, content: &[u8]) -> Option<u64> {
    context.find("brotli")?;
    let mut brotli = context.command("brotli");
    let mut child = brotli
        .args(["-c", "-q", "11", "-w", "24"])
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
