//! `cargo xtask sim`: the core's simulator, optimised.

use std::ffi::OsString;

use anyhow::Result;

use crate::context::Context;
use crate::process;

/// Builds the simulator and passes `arguments` on to it; `cargo xtask sim --help` names them.
pub(crate) fn sim(context: &Context, arguments: Vec<OsString>) -> Result<()> {
    let mut run = context.cargo();
    run.args([
        "run",
        "--quiet",
        "--release",
        "-p",
        "felund-core",
        "--features",
        "sim",
        "--example",
        "sim",
        "--",
    ]);
    process::run(run.args(arguments))
}
