//! Felund's build scripting, run as `cargo xtask …`.
//!
//! Everything that building, running, testing and measuring needs beyond plain cargo lives here, in Rust, so that a
//! fresh machine with only a Rust toolchain has one command to type and CI runs exactly what a developer runs.
//! Deliberately absent: releasing and deploying, which the relay's own documentation covers.

mod boundaries;
mod context;
mod counts;
mod end_to_end;
mod fuzz;
mod process;
mod qr;
mod run;
mod setup;
mod sim;
mod test;
mod web;

use std::env;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use crate::context::Context;

const HELP: &str = "\
Felund's build scripting.

Usage: cargo xtask COMMAND [OPTIONS]

Commands:
  run                Build everything, start a relay with a first circle, and open the terminal client in it
      --listen ADDR:PORT   where the relay listens (default 127.0.0.1:8080)
      --data-dir DIR       where the relay and the terminal client keep their data (default target/felund-run)
      --no-terminal        do not open the terminal client: serve until interrupted
  test               Everything CI runs; ends with one line of counts
      --only STEP          run one step (and what it cannot do without); may be repeated
      --list               name the steps
  setup              Get the tools a build needs, skipping what is there
      --tests              also the browsers and programs the tests need
  web                Build the web app to web/dist and print what a first visit downloads
  check-boundaries   Check the dependency edges between the crates
  fuzz [TARGET]      Look for bytes that make a decoder panic, hang or eat memory (default: every target)
      --seconds N          how long each target runs (default 60)
      TARGET INPUT...      run these inputs once
  sim                Let generated stories happen in the simulator, and judge them
      --seeds N            this many (default 1000), a failing one with the command that replays it
      --from M             beginning with this seed (default 0)
      --seed N [--trace]   this one alone, told whole
  bench NAME         Run a benchmark: datachannel, mesh, relay, sync, tui or web
  profile            Find out what a first visit of the web app runs, and write web/first-visit.txt anew
  screenshots        Make the pictures in docs/images from the running programs
  help               Print this
";

fn main() -> ExitCode {
    match dispatch() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<ExitCode> {
    // Wherever it stands: there is one text for all commands.
    let asks_for_help = env::args_os().any(|arg| arg == "--help" || arg == "-h");
    let mut args = lexopt::Parser::from_env();
    let command = match args.next()? {
        _ if asks_for_help => String::from("help"),
        None => String::from("help"),
        Some(Value(value)) => value.string()?,
        Some(other) => return Err(other.unexpected().into()),
    };
    match command.as_str() {
        "help" => print!("{HELP}"),
        "run" => {
            let options = run::Options::parse(&mut args)?;
            run::run(&mut Context::discover()?, &options)?;
        }
        "test" => {
            let options = test::Options::parse(&mut args)?;
            return test::test(&mut Context::discover()?, &options);
        }
        "setup" => {
            let mut for_tests = false;
            while let Some(arg) = args.next()? {
                match arg {
                    Long("tests") => for_tests = true,
                    other => return Err(other.unexpected().into()),
                }
            }
            let mut context = Context::discover()?;
            setup::build(&mut context)?;
            if for_tests {
                setup::tests(&mut context)?;
            }
        }
        "web" => {
            no_more(&mut args)?;
            let mut context = Context::discover()?;
            setup::build(&mut context)?;
            web::build(&context)?.print();
        }
        "check-boundaries" => {
            no_more(&mut args)?;
            boundaries::check(&Context::discover()?)?;
        }
        "fuzz" => {
            let options = fuzz::Options::parse(&mut args)?;
            let mut context = Context::discover()?;
            setup::fuzz(&mut context)?;
            fuzz::fuzz(&context, &options)?;
        }
        "sim" => sim::sim(&Context::discover()?, args.raw_args()?.collect())?,
        "bench" => bench(&mut args)?,
        "profile" => {
            no_more(&mut args)?;
            profile()?;
        }
        "screenshots" => {
            no_more(&mut args)?;
            screenshots()?;
        }
        other => bail!("there is no command `{other}`; `cargo xtask help` lists them"),
    }
    Ok(ExitCode::SUCCESS)
}

fn no_more(args: &mut lexopt::Parser) -> Result<()> {
    match args.next()? {
        None => Ok(()),
        Some(other) => Err(other.unexpected().into()),
    }
}

/// Runs one benchmark; whatever follows the name goes to it.
fn bench(args: &mut lexopt::Parser) -> Result<()> {
    let name =
        args.value().context("name a benchmark: datachannel, mesh, relay, sync, tui or web")?.string()?;
    let rest: Vec<_> = args.raw_args()?.collect();
    let mut context = Context::discover()?;
    let package = match name.as_str() {
        "relay" => "felund-relay",
        "mesh" | "sync" => "felund-core",
        "tui" => "native-tui",
        "datachannel" | "web" => "felund-tests",
        other => {
            bail!("there is no benchmark `{other}`; there are datachannel, mesh, relay, sync, tui and web")
        }
    };
    if package != "felund-core" {
        setup::build(&mut context)?;
        web::build(&context)?;
    }
    if package == "felund-tests" {
        setup::tests(&mut context)?;
    }
    let mut bench = context.cargo();
    test::program_paths(&context, "release", &mut bench);
    if name == "tui" || package == "felund-tests" {
        process::run(context.cargo().args(["build", "--release", "-p", "felund-relay", "-p", "native-tui"]))?;
    }
    process::run(bench.args(["bench", "-p", package, "--bench", &name, "--"]).args(rest))
}

fn profile() -> Result<()> {
    let mut context = Context::discover()?;
    setup::build(&mut context)?;
    setup::tests(&mut context)?;
    process::run(context.cargo().args(["build", "-p", "felund-relay"]))?;
    let count = web::profile(&context, |app| {
        let mut visit = context.cargo();
        test::program_paths(&context, "debug", &mut visit);
        visit.args(["run", "--quiet", "-p", "felund-tests", "--bin", "first_visit", "--"]).arg(app);
        let seen = process::capture(&mut visit)?;
        seen.split_whitespace().map(|number| number.parse().context("not a function's number")).collect()
    })?;
    println!("A first visit runs {count} functions.");
    Ok(())
}

fn screenshots() -> Result<()> {
    let mut context = Context::discover()?;
    setup::build(&mut context)?;
    setup::tests(&mut context)?;
    web::build(&context)?;
    process::run(context.cargo().args(["build", "-p", "felund-relay", "-p", "native-tui"]))?;
    let mut shoot = context.cargo();
    test::program_paths(&context, "debug", &mut shoot);
    process::run(shoot.args(["run", "-p", "felund-tests", "--bin", "screenshots"]))
}
