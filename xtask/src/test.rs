//! `cargo xtask test`: everything CI runs, in one order, each artefact built once.
//!
//! Two profiles are compiled: `dev` for native programs and `web` for what browsers load. A step that fails stops the
//! run with its name and the commands to repeat it; the last line is the sum of all tests, alone.

use std::panic::resume_unwind;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lexopt::prelude::*;

use crate::context::Context;
use crate::counts::Counts;
use crate::{boundaries, end_to_end, process, setup, web};

const WEB_TARGET: &str = "wasm32-unknown-unknown";
/// What the core's tests run on as WebAssembly: the same instructions, with files and a standard output, which the test
/// harness and the vectors in `docs/vectors` need.
const TEST_TARGET: &str = "wasm32-wasip1";
/// The crates that compile for browsers only.
const WEB_CRATES: [&str; 2] = ["felund-wasm", "felund-web"];

#[derive(Debug, Default)]
pub(crate) struct Options {
    only: Vec<String>,
    list: bool,
}

impl Options {
    pub(crate) fn parse(args: &mut lexopt::Parser) -> Result<Self> {
        let mut options = Self::default();
        while let Some(arg) = args.next()? {
            match arg {
                Long("only") => {
                    let name = args.value()?.string()?;
                    if !STEPS.iter().any(|step| step.name == name) {
                        bail!("there is no step `{name}`; `cargo xtask test --list` names them");
                    }
                    options.only.push(name);
                }
                Long("list") => options.list = true,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }
}

struct Step {
    name: &'static str,
    what: &'static str,
    /// What the step cannot do without, and a run of it alone does first.
    needs: &'static [&'static str],
    /// Runs beside the steps before it, as these or it mostly wait, and gives way to them where it does not.
    beside: bool,
    run: fn(&mut Context, &mut Counts) -> Result<()>,
}

impl Step {
    const fn new(
        name: &'static str,
        what: &'static str,
        needs: &'static [&'static str],
        run: fn(&mut Context, &mut Counts) -> Result<()>,
    ) -> Self {
        Self { name, what, needs, beside: false, run }
    }

    const fn beside(self) -> Self {
        Self { beside: true, ..self }
    }
}

const STEPS: [Step; 15] = [
    Step::new("setup", "tools, browsers and their drivers", &[], set_up),
    Step::new("format", "the lock file is current and rustfmt has nothing to change", &[], format),
    Step::new("boundaries", "the dependency edges hold", &[], check_boundaries),
    Step::new("web", "the web app builds and stays within its size", &["setup"], build_web),
    Step::new("lint", "clippy, native", &["web"], lint),
    Step::new("lint-web", "clippy, for browsers", &["setup"], lint_web),
    Step::new("programs", "the programs and all tests build", &["web"], programs),
    Step::new("unit", "tests of the native crates", &["web"], unit),
    Step::new("browser", "felund-wasm's tests in a browser", &["setup"], browser).beside(),
    Step::new("doc", "the documentation builds without warnings", &["web"], doc),
    Step::new("fuzzers", "the fuzzers build", &["setup"], fuzzers),
    Step::new("end-to-end", "real programs and browsers together", &["programs"], end_to_end),
    Step::new("sim", "a thousand stories in the simulator", &[], simulate).beside(),
    Step::new("core-wasm", "the core's tests as WebAssembly", &["setup"], core_wasm).beside(),
    Step::new("fuzz", "a minute of fuzzing for every decoder", &["fuzzers"], fuzz).beside(),
];

/// Answers failure when a step or a test failed.
pub(crate) fn test(context: &mut Context, options: &Options) -> Result<ExitCode> {
    if options.list {
        for step in &STEPS {
            println!("{:<12} {}", step.name, step.what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let started = Instant::now();
    let mut counts = Counts::default();
    let mut times = Vec::new();
    let mut failures = Vec::new();
    let chosen: Vec<&Step> = STEPS.iter().filter(|step| is_chosen(step.name, &options.only)).collect();
    for together in groups(&chosen) {
        for (step, outcome) in run(context, together) {
            times.push((step.name, outcome.took));
            counts += outcome.counts;
            if let Err(error) = outcome.result {
                counts.failed += u64::from(outcome.counts.failed == 0);
                failures.push((step.name, error));
            }
        }
        if !failures.is_empty() {
            break;
        }
    }
    eprintln!("\n{}", timing(&times, started.elapsed()));
    for (name, error) in &failures {
        eprintln!("The step `{name}` failed: {error:#}\nTo repeat it alone: cargo xtask test --only {name}");
    }
    println!("{counts}");
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The steps that run at once, in their order. None runs beside what it needs.
fn groups<'a>(chosen: &'a [&'a Step]) -> impl Iterator<Item = &'a [&'a Step]> {
    chosen.chunk_by(|before, next| next.beside && !next.needs.contains(&before.name))
}

struct Outcome {
    result: Result<()>,
    counts: Counts,
    took: Duration,
}

/// Runs steps at once; mostly there is one.
fn run<'a>(context: &mut Context, together: &[&'a Step]) -> Vec<(&'a Step, Outcome)> {
    let one = |step: &Step, context: &mut Context| {
        eprintln!("\n\x1b[1m== {}\x1b[0m  {}", step.name, step.what);
        let (begun, mut counts) = (Instant::now(), Counts::default());
        let result = (step.run)(context, &mut counts);
        Outcome { result, counts, took: begun.elapsed() }
    };
    let [first, beside @ ..] = together else { return Vec::new() };
    thread::scope(|scope| {
        let beside: Vec<_> = beside
            .iter()
            .map(|step| {
                let mut context = context.clone();
                context.log = Some(context.target.join("test-logs").join(step.name).with_extension("log"));
                (*step, scope.spawn(move || one(step, &mut context)))
            })
            .collect();
        let mut outcomes = vec![(*first, one(first, context))];
        for (step, running) in beside {
            // A step's panic is a fault of this program's own, and ends it as any other.
            outcomes.push((step, running.join().unwrap_or_else(|panic| resume_unwind(panic))));
        }
        outcomes
    })
}

fn is_chosen(name: &str, only: &[String]) -> bool {
    fn needs(step: &str, name: &str) -> bool {
        step == name
            || STEPS.iter().filter(|s| s.name == step).any(|s| s.needs.iter().any(|need| needs(need, name)))
    }
    only.is_empty() || only.iter().any(|step| needs(step, name))
}

fn timing(times: &[(&str, Duration)], total: Duration) -> String {
    let line = |(name, time): (&str, Duration)| format!("{name:<12} {:>7.1} s\n", time.as_secs_f64());
    times.iter().copied().map(line).collect::<String>() + &line(("total", total))
}

/// Tells the tests and tools in `felund-tests` which programs to drive.
pub(crate) fn program_paths(context: &Context, profile_dir: &str, command: &mut Command) {
    let dir = context.target.join(profile_dir);
    command.env("FELUND_BIN", dir.join("felund")).env("FELUND_RELAY_BIN", dir.join("felund-relay"));
}

fn set_up(context: &mut Context, _: &mut Counts) -> Result<()> {
    setup::build(context)?;
    setup::tests(context)
}

fn format(context: &mut Context, _: &mut Counts) -> Result<()> {
    process::run(context.cargo().args(["fetch", "--quiet", "--locked"]))?;
    process::run(context.cargo().args(["fmt", "--all", "--check"]))?;
    process::run(context.cargo().args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))
}

fn check_boundaries(context: &mut Context, _: &mut Counts) -> Result<()> {
    boundaries::check(context)
}

fn build_web(context: &mut Context, _: &mut Counts) -> Result<()> {
    let visit = web::build(context)?;
    visit.print();
    visit.check()
}

fn lint(context: &mut Context, _: &mut Counts) -> Result<()> {
    // The relay by itself first: it must compile against the part of the core that is meant for it, and no more.
    process::run(context.cargo().args([
        "clippy",
        "-p",
        "felund-relay",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    let mut all = native(context, "clippy");
    process::run(all.args(["--all-targets", "--", "-D", "warnings"]))
}

fn lint_web(context: &mut Context, _: &mut Counts) -> Result<()> {
    let mut core = context.cargo();
    process::run(core.args(["clippy", "-p", "felund-core", "--target", WEB_TARGET, "--", "-D", "warnings"]))?;
    let mut web = context.cargo();
    web.arg("clippy").args(WEB_CRATES.iter().flat_map(|name| ["-p", name]));
    process::run(web.args(["--all-targets", "--target", WEB_TARGET, "--", "-D", "warnings"]))
}

fn unit(context: &mut Context, counts: &mut Counts) -> Result<()> {
    let mut tests = native(context, "test");
    // The simulator's thousand stories are a step of their own.
    tests.env("FELUND_SIM_SEEDS", "8").args(["--exclude", end_to_end::PACKAGE, "--no-fail-fast"]);
    run_tests(context, &mut tests, counts)
}

fn simulate(context: &mut Context, counts: &mut Counts) -> Result<()> {
    let mut tests = native(context, "test");
    tests.env("FELUND_SIM_SEEDS", "1000").args(["--test", "sim"]);
    run_tests(context, &mut context.yielding(&tests), counts)
}

/// Cargo's command that builds and runs the core's tests as WebAssembly.
fn core_as_wasm(context: &Context) -> Command {
    // Node 20 forgets the code of functions that have not been called for a while, `wasi.start` among them; when minutes
    // of WebAssembly return to it, the process crashes.
    let runner =
        format!("node --no-warnings --no-flush-bytecode {}", context.root.join("xtask/wasi.mjs").display());
    let mut tests = context.cargo();
    tests.env("CARGO_TARGET_WASM32_WASIP1_RUNNER", runner).args([
        "test",
        "-p",
        "felund-core",
        "--target",
        TEST_TARGET,
        "--no-fail-fast",
    ]);
    tests
}

fn core_wasm(context: &mut Context, counts: &mut Counts) -> Result<()> {
    let tests = core_as_wasm(context);
    run_tests(context, &mut context.yielding(&tests), counts)
}

/// Cargo's command that builds and runs what needs a browser's own functions, in one.
fn in_browser(context: &Context) -> Command {
    let mut tests = context.cargo();
    if let Some(driver) = context.find("chromedriver") {
        tests.env("CHROMEDRIVER", driver);
    }
    tests
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", "wasm-bindgen-test-runner")
        .env("WASM_BINDGEN_TEST_TIMEOUT", "120")
        .args([
            "test",
            "-p",
            "felund-wasm",
            "-p",
            "felund-web",
            "--target",
            WEB_TARGET,
            "--tests",
            "--no-fail-fast",
        ]);
    tests
}

fn browser(context: &mut Context, counts: &mut Counts) -> Result<()> {
    run_tests(context, &mut in_browser(context), counts)
}

fn doc(context: &mut Context, _: &mut Counts) -> Result<()> {
    let mut all = native(context, "doc");
    process::run(all.env("RUSTDOCFLAGS", "-D warnings").arg("--no-deps"))?;
    let mut web = context.cargo();
    web.env("RUSTDOCFLAGS", "-D warnings").args([
        "doc",
        "--no-deps",
        "--target",
        WEB_TARGET,
        "-p",
        "felund-wasm",
    ]);
    process::run(&mut web)
}

fn programs(context: &mut Context, _: &mut Counts) -> Result<()> {
    process::run(native(context, "test").arg("--no-run"))?;
    // What runs beside others later finds everything built: two cargos would wait for each other.
    process::run(core_as_wasm(context).arg("--no-run"))?;
    process::run(in_browser(context).arg("--no-run"))
}

fn end_to_end(context: &mut Context, counts: &mut Counts) -> Result<()> {
    end_to_end::run(context, counts)
}

fn fuzzers(context: &mut Context, _: &mut Counts) -> Result<()> {
    setup::fuzz(context)?;
    crate::fuzz::build(context).map(drop)
}

fn fuzz(context: &mut Context, counts: &mut Counts) -> Result<()> {
    counts.passed += crate::fuzz::fuzz(context, &crate::fuzz::Options::changed())?;
    Ok(())
}

fn run_tests(context: &Context, command: &mut Command, counts: &mut Counts) -> Result<()> {
    let succeeded = match &context.log {
        None => process::stream(command, |line| counts.read_line(line))?,
        Some(log) => {
            let (succeeded, said) = process::logged(command, log)?;
            println!("\n{}", said.trim());
            said.lines().for_each(|line| counts.read_line(line));
            succeeded
        }
    };
    if !succeeded {
        bail!("`{}` failed; its output is above", process::display(command));
    }
    Ok(())
}

/// A command of cargo's over every native crate. All steps name the same crates, for cargo chooses the features of what they
/// share by the crates that are named, and compiles it again for every choice.
pub(crate) fn native(context: &Context, command: &str) -> Command {
    let mut cargo = context.cargo();
    cargo.args([command, "--workspace"]).args(WEB_CRATES.iter().flat_map(|name| ["--exclude", name]));
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_alone_runs_with_what_it_needs() {
        let only = [String::from("end-to-end")];
        let chosen: Vec<_> = STEPS.iter().map(|s| s.name).filter(|name| is_chosen(name, &only)).collect();
        assert_eq!(chosen, ["setup", "web", "programs", "end-to-end"]);
        assert!(STEPS.iter().all(|step| is_chosen(step.name, &[])));
    }

    #[test]
    fn no_step_runs_beside_one_it_needs() {
        for step in &STEPS {
            let only = [step.name.to_owned()];
            let chosen: Vec<&Step> = STEPS.iter().filter(|s| is_chosen(s.name, &only)).collect();
            for group in groups(&chosen) {
                let at_once: Vec<_> = group.iter().map(|step| step.name).collect();
                assert!(
                    !group.iter().any(|step| step.needs.iter().any(|need| at_once.contains(need))),
                    "{at_once:?}"
                );
            }
        }
        let all: Vec<&Step> = STEPS.iter().collect();
        let sizes: Vec<usize> = groups(&all).map(<[_]>::len).filter(|size| *size > 1).collect();
        assert_eq!(sizes, [2, 4], "in a browser beside native ones; much beside end to end");
    }

    #[test]
    fn every_need_is_a_step_that_comes_earlier() {
        for (at, step) in STEPS.iter().enumerate() {
            for need in step.needs {
                assert!(
                    STEPS[..at].iter().any(|earlier| earlier.name == *need),
                    "{} needs {need}",
                    step.name
                );
            }
        }
    }
}
