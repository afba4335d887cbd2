//! The end-to-end tests: their programs, built by one cargo, run a few at a time. Most of their time they wait for a network
//! or a browser, and `cargo test` would run one after the other.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;

use anyhow::{Result, bail};

use crate::context::Context;
use crate::counts::Counts;
use crate::{process, test};

pub(crate) const PACKAGE: &str = "felund-tests";

/// Builds and runs them all, and prints what each said when it has ended.
pub(crate) fn run(context: &Context, counts: &mut Counts) -> Result<()> {
    let programs = build(context)?;
    let logs = context.target.join("end-to-end");
    let counts = Mutex::new(counts);
    let run = |(name, program): &(String, PathBuf)| {
        let log = logs.join(format!("{name}.log"));
        let outcome = run_one(context, program, turn(name) == Turn::Alone, &log).map(|(succeeded, said)| {
            println!("\n     Ran {name}\n{}", said.trim());
            if let Ok(mut counts) = counts.lock() {
                said.lines().for_each(|line| counts.read_line(line));
            }
            succeeded
        });
        match outcome {
            Ok(true) => None,
            Ok(false) => Some(name.clone()),
            Err(error) => Some(format!("{name} ({error:#})")),
        }
    };
    let turns = programs.chunk_by(|(one, _), (next, _)| turn(one) == turn(next));
    let failed: Vec<String> =
        turns.flat_map(|programs| process::at_once(turn(&programs[0].0).at_once(), programs, run)).collect();
    if !failed.is_empty() {
        let mut alone = test::native(context, "test");
        test::program_paths(context, "debug", &mut alone);
        bail!(
            "tests failed in {}; their output is above and in {}. Those of one program alone: {}",
            failed.join(", "),
            logs.display(),
            process::display(alone.args(["--test", "NAME"]))
        );
    }
    Ok(())
}

/// Answers whether all its tests passed, and what it said. `alone`: one test after another, too.
fn run_one(context: &Context, program: &Path, alone: bool, log: &Path) -> Result<(bool, String)> {
    let mut tests = context.command(&program.display().to_string());
    test::program_paths(context, "debug", &mut tests);
    if alone {
        tests.env("RUST_TEST_THREADS", "1");
    }
    process::logged(tests.current_dir(context.root.join("tests")), log)
}

/// When a program is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// First and by itself: it asks how well ICE does, of dozens of clients at once, and fares badly in a crowd.
    Alone,
    Early,
    /// Last, with others that run many browsers.
    Late,
}

impl Turn {
    /// Programs that run at once; each but the one alone runs as many of its tests at once as there are processors.
    const fn at_once(self) -> usize {
        match self {
            Self::Alone => 1,
            Self::Early => 3,
            Self::Late => 2,
        }
    }
}

fn turn(name: &str) -> Turn {
    match name {
        "nats" => Turn::Alone,
        "browsers" | "datachannel" | "mesh" | "paths" | "privacy" => Turn::Late,
        _ => Turn::Early,
    }
}

/// The test programs by name, in the order they are to be begun.
fn build(context: &Context) -> Result<Vec<(String, PathBuf)>> {
    let mut cargo = test::native(context, "test");
    cargo.args(["--no-run", "--message-format", "json-render-diagnostics"]);
    let ours = format!("#{PACKAGE}@");
    let said = process::capture(cargo.stderr(Stdio::inherit()))?;
    let mut programs = Vec::new();
    for message in said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
        let name = message["target"]["name"].as_str();
        if let (Some(name), Some(program)) = (name, message["executable"].as_str())
            && message["profile"]["test"] == true
            && message["package_id"].as_str().is_some_and(|id| id.contains(&ours))
        {
            programs.push((name.to_owned(), PathBuf::from(program)));
        }
    }
    if programs.is_empty() {
        bail!("cargo named no test program of {PACKAGE}");
    }
    programs.sort_by_cached_key(|(name, _)| (turn(name), name.clone()));
    Ok(programs)
}
