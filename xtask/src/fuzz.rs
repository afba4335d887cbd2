//! `cargo xtask fuzz`: builds the programs in `fuzz/` for libFuzzer and runs them, two at a time, giving
//! way to whatever else the machine has to do.
//!
//! Without cargo-fuzz and without a nightly compiler: coverage instrumentation is a matter of stable flags, and the
//! address sanitizer, where its runtime comes with the toolchain, of one that has to be asked for. The layout is cargo-fuzz's all the
//! same. What a run learns is kept in `target/fuzz/corpus`, where the next one goes on. As a part of the tests a target that is
//! unchanged since it had its time gets what was learned once more, and looks for nothing new.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use crate::context::Context;
use crate::process;

/// How libFuzzer sees where an input leads.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// Compiled without it: no input leads anywhere else in constant-time arithmetic, and there it costs most.
const CONSTANT_TIME: [&str; 9] = [
    "aes",
    "chacha20",
    "curve25519-dalek",
    "ed25519-dalek",
    "ghash",
    "polyval",
    "sha2",
    "subtle",
    "x25519-dalek",
];
/// Programs that run at once.
const AT_ONCE: usize = 2;
/// A corpus with more inputs than this is reduced to those that cover something of their own before the run.
const MANY_INPUTS: usize = 4_000;
/// What finds no finding may take this long for one input, in seconds: a hundred times what the slowest takes.
const INPUT_TIMEOUT_S: u32 = 25;
/// Memory of one program, in MiB: the sanitizer's own is most of it.
const MEMORY_MIB: u32 = 1_536;
/// Longest input, in bytes.
const MAX_LEN: u32 = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Options {
    seconds: u32,
    /// Everything, if none is named.
    target: Option<String>,
    /// Run these once instead of looking for more.
    inputs: Vec<PathBuf>,
    /// Look for more only where the program has changed.
    changed_only: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { seconds: 60, target: None, inputs: Vec::new(), changed_only: false }
    }
}

impl Options {
    /// Everything that has not had its time as it is now.
    pub(crate) fn changed() -> Self {
        Self { changed_only: true, ..Self::default() }
    }

    pub(crate) fn parse(args: &mut lexopt::Parser) -> Result<Self> {
        let mut options = Self::default();
        while let Some(arg) = args.next()? {
            match arg {
                Long("seconds") => options.seconds = args.value()?.parse()?,
                Value(name) if options.target.is_none() => options.target = Some(name.string()?),
                Value(input) => options.inputs.push(input.into()),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }
}

/// Where the programs and what they learn lie.
#[derive(Debug)]
pub(crate) struct Place {
    programs: PathBuf,
    /// Committed inputs, a folder a target.
    seeds: PathBuf,
    /// What earlier runs on this machine have found.
    grown: PathBuf,
    artifacts: PathBuf,
    logs: PathBuf,
}

/// Builds, runs, and prints a line for each target; answers how many there were.
pub(crate) fn fuzz(context: &Context, options: &Options) -> Result<u64> {
    let all = targets(&context.root.join("fuzz/fuzz_targets"))?;
    let chosen: Vec<String> = match &options.target {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => bail!("there is no fuzz target `{name}`; there are {}", all.join(", ")),
    };
    let place = build(context)?;
    if let (Some(name), false) = (&options.target, options.inputs.is_empty()) {
        process::run(context.command(&program(&place, name)).args(&options.inputs))?;
        return Ok(1);
    }
    let failures = process::at_once(AT_ONCE, &chosen, |name| match run(context, &place, name, options) {
        Ok(line) => {
            println!("{line}");
            None
        }
        Err(error) => {
            eprintln!("{name}: {error:#}");
            Some(name.clone())
        }
    });
    if !failures.is_empty() {
        bail!("fuzzing found something in {}; what and how to repeat it is above", failures.join(", "));
    }
    Ok(chosen.len() as u64)
}

/// The targets' names: those of their programs' sources.
fn targets(sources: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(sources).with_context(|| format!("cannot read {}", sources.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Builds all programs.
pub(crate) fn build(context: &Context) -> Result<Place> {
    let about = process::capture(context.command("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let sysroot = process::capture(context.command("rustc").args(["--print", "sysroot"]))?;
    let runtimes = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("lib");
    let mut flags = vec!["--cfg=fuzzing"];
    let fuzz = context.root.join("fuzz");
    let dir = context.target.join("fuzz");
    let mut cargo = context.cargo();
    if has_address_sanitizer(&runtimes) {
        flags.push("-Zsanitizer=address");
    } else {
        eprintln!(
            "This toolchain comes without the address sanitizer: fuzzing finds panics and hangs, but no misuse of \
             memory in a dependency."
        );
    }
    // The versions that everything else is built with; cargo adds what only this crate needs.
    let (ours, theirs) = (context.root.join("Cargo.lock"), fuzz.join("Cargo.lock"));
    if is_newer(&ours, &theirs) {
        fs::copy(&ours, &theirs).with_context(|| format!("cannot write {}", theirs.display()))?;
    }
    // Flags by package are what a stable cargo is asked to let through; `--target` keeps the others from build scripts.
    cargo
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .args([
            "-Zprofile-rustflags",
            "--config",
            "profile.release.build-override.rustflags=[]",
            "--config",
            &format!("profile.release.rustflags={COVERAGE:?}"),
        ])
        .args(
            CONSTANT_TIME.iter().flat_map(|name| {
                ["--config".to_owned(), format!("profile.release.package.{name}.rustflags=[]")]
            }),
        )
        .args(["build", "--release", "--bins", "--target", host, "--manifest-path"])
        .arg(fuzz.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(dir.join("build"));
    process::run(&mut cargo)?;
    Ok(Place {
        programs: dir.join("build").join(host).join("release"),
        seeds: fuzz.join("corpus"),
        grown: dir.join("corpus"),
        artifacts: dir.join("artifacts"),
        logs: dir.join("logs"),
    })
}

fn has_address_sanitizer(runtimes: &Path) -> bool {
    let named = |entry: fs::DirEntry| entry.file_name().to_string_lossy().contains("rt.asan");
    fs::read_dir(runtimes).is_ok_and(|entries| entries.flatten().any(named))
}

fn is_newer(a: &Path, b: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    changed(a) > changed(b)
}

fn program(place: &Place, name: &str) -> String {
    place.programs.join(name).display().to_string()
}

/// Runs one target; the line that sums it up.
fn run(context: &Context, place: &Place, name: &str, options: &Options) -> Result<String> {
    let (grown, seeds) = (place.grown.join(name), place.seeds.join(name));
    let artifacts = place.artifacts.join(name);
    for dir in [&grown, &artifacts, &place.logs] {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    if fs::read_dir(&grown).is_ok_and(|entries| entries.count() > MANY_INPUTS) {
        reduce(context, place, name)?;
    }
    let log = place.logs.join(format!("{name}.log"));
    let program = program(place, name);
    let done = place.logs.join(format!("{name}.done"));
    let unchanged = options.changed_only && is_newer(&done, Path::new(&program));
    let mut fuzzer = context.command(&program);
    limits(&mut fuzzer)
        .arg(if unchanged { "-runs=0".to_owned() } else { format!("-max_total_time={}", options.seconds) })
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([&grown, &seeds]);
    let (succeeded, said) = process::logged(&mut context.yielding(&fuzzer), &log)?;
    if succeeded && unchanged {
        return Ok(summary(name, &said) + " (unchanged: all of these again)");
    }
    if succeeded {
        if options.seconds >= Options::default().seconds {
            fs::write(&done, "").with_context(|| format!("cannot write {}", done.display()))?;
        }
        return Ok(summary(name, &said));
    }
    let input = said.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path);
    let (found, log) = (findings(&said), log.display());
    match input {
        Some(input) => bail!(
            "{found}\nAll it said is in {log}.\nThe input that did it: {input}\nTo run it alone: cargo xtask fuzz {name} \
             {input}\nOnce mended, keep it in fuzz/corpus/{name}."
        ),
        None => bail!("{found}\nIt ended without naming an input; all it said is in {log}"),
    }
}

/// Of everything that libFuzzer and a panic say, what names the fault.
fn findings(said: &str) -> String {
    let mut lines = said.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.contains("panicked at") {
            found.extend([line, lines.next().unwrap_or_default()]);
        } else if line.contains("ERROR: ") || line.contains("SUMMARY: ") {
            found.push(line);
        }
    }
    found.join("\n")
}

fn limits(fuzzer: &mut Command) -> &mut Command {
    fuzzer
        .arg(format!("-timeout={INPUT_TIMEOUT_S}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-max_len={MAX_LEN}"))
}

/// Keeps of a grown corpus what covers something that the rest does not.
fn reduce(context: &Context, place: &Place, name: &str) -> Result<()> {
    let (grown, fresh) = (place.grown.join(name), place.grown.join(format!("{name}.new")));
    drop(fs::remove_dir_all(&fresh));
    fs::create_dir_all(&fresh).with_context(|| format!("cannot create {}", fresh.display()))?;
    let mut fuzzer = context.command(&program(place, name));
    limits(&mut fuzzer).arg("-merge=1").args([&fresh, &grown]);
    if process::log(&mut context.yielding(&fuzzer), &place.logs.join(format!("{name}.merge.log")))? {
        fs::remove_dir_all(&grown)
            .and_then(|()| fs::rename(&fresh, &grown))
            .context("cannot renew a corpus")?;
    }
    Ok(())
}

/// What libFuzzer says about a run, in one line.
fn summary(name: &str, said: &str) -> String {
    let after = |line: &str, label: &str| {
        let rest = line.split_once(label)?.1.trim_start();
        Some(rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().to_owned())
    };
    let unknown = || "?".to_owned();
    let of = |label| said.lines().rev().find_map(|line| after(line, label)).unwrap_or_else(unknown);
    format!(
        "{name:<12} {:>9} executions, {:>6} edges, {:>6} features, {:>5} inputs",
        of("stat::number_of_executed_units:"),
        of(" cov:"),
        of(" ft:"),
        of(" corp:"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_summed_up_by_its_last_figures() {
        let said = "#2\tINITED cov: 10 ft: 11 corp: 1/2b exec/s: 0 rss: 40Mb\n\
                    #9\tDONE   cov: 1234 ft: 5678 corp: 90/12Kb lim: 4096 exec/s: 7310 rss: 434Mb\n\
                    Done 9 runs in 21 second(s)\nstat::number_of_executed_units: 153515\n";
        let line = summary("envelope", said);
        let figures: Vec<&str> = line.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
        assert_eq!(figures, ["153515", "1234", "5678", "90"]);
        assert!(summary("envelope", "nothing").contains('?'));
    }

    #[test]
    fn of_a_crash_the_panic_and_the_verdict_are_told() {
        let said = "#4 NEW\nthread '<unnamed>' (1) panicked at src/a.rs:1:2:\nindex out of bounds\nnote: run\n\
                    ==1== ERROR: libFuzzer: deadly signal\n    #0 0x1 in x\nSUMMARY: libFuzzer: deadly signal\n";
        let found = findings(said);
        assert_eq!(found.lines().count(), 4, "{found}");
        assert!(found.contains("src/a.rs:1:2") && found.contains("index out of bounds"));
    }
}
