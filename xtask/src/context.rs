//! Where things are: the checkout, cargo's output, the tool cache and the programs found so far.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Cargo's output directory, wherever the user's configuration puts it.
    pub(crate) target: PathBuf,
    /// Tools that setup built, outside the checkout so that every clone on this machine shares them.
    pub(crate) cache: PathBuf,
    /// Where what is said goes first that would otherwise mix with another step's.
    pub(crate) log: Option<PathBuf>,
    cargo: OsString,
    /// Searched before `PATH`, by us and by every program we start.
    tool_dirs: Vec<PathBuf>,
}

impl Context {
    pub(crate) fn discover() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root =
            Path::new(&manifest).parent().context("xtask must lie in a checkout of Felund")?.to_owned();
        let mut context = Self {
            target: root.join("target"),
            root,
            cache: cache_dir()?,
            log: None,
            cargo: env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
            tool_dirs: Vec::new(),
        };
        let metadata = process::capture(context.cargo().args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ]))?;
        let metadata: serde_json::Value =
            serde_json::from_str(&metadata).context("cargo metadata printed something that is not JSON")?;
        if let Some(target) = metadata["target_directory"].as_str() {
            context.target = target.into();
        }
        Ok(context)
    }

    /// A program of ours or from `PATH`, to run in the checkout.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.find(program).unwrap_or_else(|| program.into()));
        command.current_dir(&self.root).env("PATH", self.path());
        command
    }

    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(&self.root).env("PATH", self.path());
        // What cargo told us about our own package is not for the packages that a cargo of ours builds.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&*name);
            }
        }
        command
    }

    /// A program that gives way to everything else, where the system knows how to. Linux shares its processors out among
    /// sessions first, and `nice` counts only within one: it gets a session of its own, which is the lowest, too.
    pub(crate) fn yielding(&self, command: &Command) -> Command {
        const SESSION: &str = "echo 19 2>/dev/null >/proc/self/autogroup; exec nice -n 19 \"$@\"";
        let mut yielding = match (self.find("setsid"), self.find("nice")) {
            (Some(setsid), Some(_)) => {
                let mut yielding = Command::new(setsid);
                yielding.args(["--wait", "sh", "-c", SESSION, "sh"]).arg(command.get_program());
                yielding
            }
            (None, Some(nice)) => {
                let mut yielding = Command::new(nice);
                yielding.args(["-n", "19"]).arg(command.get_program());
                yielding
            }
            (_, None) => Command::new(command.get_program()),
        };
        yielding.args(command.get_args());
        if let Some(dir) = command.get_current_dir() {
            yielding.current_dir(dir);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => yielding.env(name, value),
                None => yielding.env_remove(name),
            };
        }
        yielding
    }

    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        // Unprivileged users often lack the last two, where Debian keeps `ip` and `tcpdump`.
        let dirs = self.tool_dirs.iter().cloned().chain(env::split_paths(&path));
        dirs.chain(["/usr/sbin".into(), "/sbin".into()])
            .map(|dir| dir.join(program))
            .find(|path| is_executable(path))
    }

    pub(crate) fn add_tool_dir(&mut self, dir: PathBuf) {
        if !self.tool_dirs.contains(&dir) {
            self.tool_dirs.push(dir);
        }
    }

    fn path(&self) -> OsString {
        let inherited = env::var_os("PATH").unwrap_or_default();
        let dirs = self.tool_dirs.iter().cloned().chain(env::split_paths(&inherited));
        env::join_paths(dirs).unwrap_or(inherited)
    }

    /// Stops early, with advice, where a build would fail halfway for want of space.
    pub(crate) fn require_disk_space(&self) -> Result<()> {
        const NEEDED_MIB: u64 = 1_536;
        let existing = self.target.ancestors().find(|dir| dir.exists()).unwrap_or(&self.root);
        let Ok(report) = process::capture(self.command("df").arg("-Pk").arg(existing)) else {
            return Ok(());
        };
        let free_mib = report
            .lines()
            .nth(1)
            .and_then(|line| line.split_whitespace().nth(3))
            .and_then(|kib| kib.parse::<u64>().ok())
            .map(|kib| kib / 1024);
        match free_mib {
            Some(free) if free < NEEDED_MIB => anyhow::bail!(
                "only {free} MiB are free where {} lies, and a build needs about {NEEDED_MIB}. Free some space, or set \
                 CARGO_TARGET_DIR to a directory on another disk",
                existing.display()
            ),
            _ => Ok(()),
        }
    }
}

fn cache_dir() -> Result<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    Ok(base
        .context("neither XDG_CACHE_HOME nor HOME is set, so there is no place for build tools; set one")?
        .join("felund"))
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.with_extension(env::consts::EXE_EXTENSION).is_file() || path.is_file()
}
