//! Runs the simulator's scenarios: `cargo xtask sim` builds this optimised and passes its arguments on.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use felund_core::sim::{Report, Scenario, run};

const HELP: &str = "\
Runs scenarios in the simulator and judges them.

Usage: cargo xtask sim [--seeds N] [--from M] [--seed N [--trace]]

  --seeds N    this many seeds (default 1000)
  --from M     beginning with this one (default 0)
  --seed N     this seed alone: prints its story, and everything that happened with --trace
";

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Ok(options) if options.help => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Options { seed: Some(seed), trace, .. }) => one(seed, trace),
        Ok(options) => many(options.from, options.seeds),
        Err(what) => {
            eprintln!("{what}\n\n{HELP}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    seed: Option<u64>,
    seeds: u64,
    from: u64,
    trace: bool,
    help: bool,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { seed: None, seeds: 1_000, from: 0, trace: false, help: false };
        while let Some(arg) = args.next() {
            let mut number = || {
                let value = args.next().ok_or(format!("{arg} needs a number"))?;
                value.parse::<u64>().map_err(|_| format!("{arg} needs a number, not {value}"))
            };
            match arg.as_str() {
                "--seed" => options.seed = Some(number()?),
                "--seeds" => options.seeds = number()?,
                "--from" => options.from = number()?,
                "--trace" => options.trace = true,
                "--help" | "-h" => options.help = true,
                other => return Err(format!("there is no option {other}")),
            }
        }
        Ok(options)
    }
}

/// Tells one story whole.
fn one(seed: u64, trace: bool) -> ExitCode {
    let scenario = Scenario::generate(seed);
    println!("{scenario:#?}");
    let report = run(&scenario, trace);
    for line in &report.lines {
        println!("{line}");
    }
    println!(
        "seed {seed}: {} sent, {} crashes that tore {} batches, converged {:.1} s after healing, trace {}",
        report.sent,
        report.crashes,
        report.torn,
        report.converged_ms as f64 / 1_000.0,
        report.hash
    );
    for violation in &report.violations {
        println!("VIOLATED  {violation}");
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tries many, on every core.
fn many(from: u64, seeds: u64) -> ExitCode {
    let started = Instant::now();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(from);
    let (reports, done) = mpsc::channel::<Report>();
    let mut total = Total::default();
    thread::scope(|scope| {
        for _ in 0..workers {
            let (next, reports) = (&next, reports.clone());
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // Nobody listens any more only when the other side has panicked.
                    if seed >= from + seeds || reports.send(run(&Scenario::generate(seed), false)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(reports);
        let mut told = Instant::now();
        for report in done {
            total.add(&report);
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                eprintln!("{} of {seeds} seeds, {} failed", total.seeds, total.failed);
            }
        }
    });
    println!(
        "{} seeds, {} failed; {} messages sent, {} crashes that tore {} batches, {} anchors succeeded, {:.1} virtual hours in {:.1} s",
        total.seeds,
        total.failed,
        total.sent,
        total.crashes,
        total.torn,
        total.successions,
        total.virtual_ms as f64 / 3_600_000.0,
        started.elapsed().as_secs_f64()
    );
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Total {
    seeds: u64,
    failed: u64,
    sent: u64,
    crashes: u64,
    torn: u64,
    successions: u64,
    virtual_ms: u64,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.sent += report.sent;
        self.crashes += report.crashes;
        self.torn += report.torn;
        self.successions += report.successions;
        self.virtual_ms += report.virtual_ms;
        if !report.violations.is_empty() {
            self.failed += 1;
            println!("seed {} failed; replay it with: cargo xtask sim --seed {}", report.seed, report.seed);
            for violation in &report.violations {
                println!("  {violation}");
            }
        }
    }
}
