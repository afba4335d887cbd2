//! Packages of the distribution: installed where we may, named where we may not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Program, say};
use crate::context::Context;
use crate::process;

/// Suites that may carry a given version of Rust's source, likeliest first.
const SUITES: [&str; 7] =
    ["trixie-backports", "forky", "forky-backports", "sid", "experimental", "trixie", "bookworm-backports"];

/// Installs what is missing of `programs`, or says which packages to install.
pub(super) fn install(context: &Context, programs: &[Program]) -> Result<()> {
    let missing = |programs: &[Program]| -> Vec<String> {
        let absent = |program: &&Program| !program.names.iter().any(|name| context.find(name).is_some());
        programs
            .iter()
            .filter(absent)
            .map(|program| format!("{} ({})", program.package, program.why))
            .collect()
    };
    let wanted = missing(programs);
    if wanted.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = wanted.iter().filter_map(|text| text.split(' ').next()).collect();
    if can_install(context) {
        say(&format!("Installing packages: {}.", wanted.join(", ")));
        apt_install(context, &packages)?;
    }
    let still = missing(programs);
    if !still.is_empty() {
        bail!(
            "these programs are missing and cannot be installed from here: {}. On Debian or Ubuntu run \
             `sudo apt-get install {}`; elsewhere install what holds them, then repeat",
            still.join(", "),
            packages.join(" ")
        );
    }
    Ok(())
}

/// Whether there is apt and the right to use it.
pub(super) fn can_install(context: &Context) -> bool {
    context.find("apt-get").is_some() && privileged(context).is_some()
}

pub(super) fn apt_install(context: &Context, packages: &[&str]) -> Result<()> {
    // A stale index is the usual reason for a failing install; an index that cannot be refreshed may still serve.
    if let Err(error) = process::run(apt_get(context)?.args(["update", "-q"])) {
        say(&format!("The package index could not be refreshed ({error:#}); trying with the one at hand."));
    }
    let mut install = apt_get(context)?;
    process::run(install.args(["install", "-q", "-y", "--no-install-recommends"]).args(packages))
}

fn apt_get(context: &Context) -> Result<Command> {
    let Some(mut prefix) = privileged(context) else {
        bail!("apt-get needs root or a sudo that does not ask for a password");
    };
    prefix.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    let mut command = context.command(prefix[0]);
    command.args(&prefix[1..]);
    Ok(command)
}

/// What to put before a command that changes the system, if we may change it.
fn privileged(context: &Context) -> Option<Vec<&'static str>> {
    if process::capture(context.command("id").arg("-u")).ok()?.trim() == "0" {
        return Some(Vec::new());
    }
    context.find("sudo")?;
    process::capture(context.command("sudo").args(["-n", "true"])).ok()?;
    Some(vec!["sudo", "-n"])
}

/// Fetches the source of Rust `version` from the Debian archive this machine is configured for, and answers the
/// directory that holds `library/`. Touches neither the system's package index nor its packages.
pub(super) fn rust_source(context: &Context, version: &str) -> Result<PathBuf> {
    for program in ["apt-get", "apt-cache", "dpkg"] {
        if context.find(program).is_none() {
            bail!("this is not a Debian-like system ({program} is missing)");
        }
    }
    let dir = context.cache.join("rust-src");
    let apt = PrivateApt::new(context, &dir)?;
    let mut seen = Vec::new();
    for suite in SUITES {
        if let Err(error) = apt.use_suite(suite) {
            seen.push(format!("{suite}: {error:#}"));
            continue;
        }
        let policy = process::capture(apt.command("apt-cache").args(["madison", "rust-src"]))?;
        let versions: Vec<&str> =
            policy.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim).collect();
        if let Some(exact) = versions.iter().find(|found| upstream(found) == version) {
            let package = format!("rust-src={exact}");
            process::run(apt.command("apt-get").current_dir(&dir).args(["download", "-q", &package]))?;
            let unpacked = dir.join("unpacked");
            for file in fs::read_dir(&dir)?
                .flatten()
                .filter(|file| file.path().extension().is_some_and(|e| e == "deb"))
            {
                process::run(context.command("dpkg").arg("-x").arg(file.path()).arg(&unpacked))?;
            }
            return library_parent(&unpacked.join("usr/src"))
                .with_context(|| format!("{package} holds no library source"));
        }
        seen.push(format!(
            "{suite}: {}",
            if versions.is_empty() { "none".into() } else { versions.join(", ") }
        ));
    }
    bail!("no Debian suite has rust-src {version} ({})", seen.join("; "))
}

/// `1.95.0` of `1.95.0+dfsg1-1~bpo13+1`.
fn upstream(version: &str) -> &str {
    version.split(['+', '-', '~']).next().unwrap_or(version)
}

fn library_parent(sources: &Path) -> Option<PathBuf> {
    let holds_library = |dir: &PathBuf| dir.join("library/std/Cargo.toml").is_file();
    fs::read_dir(sources).ok()?.flatten().map(|entry| entry.path()).find(holds_library)
}

/// An apt of our own: its index and its sources lie in the cache.
struct PrivateApt<'a> {
    context: &'a Context,
    dir: &'a Path,
    archive: String,
}

impl<'a> PrivateApt<'a> {
    fn new(context: &'a Context, dir: &'a Path) -> Result<Self> {
        for sub in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(dir.join(sub)).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let format = "$(LABEL) $(COMPONENT) $(REPO_URI)";
        let mut indexes = context.command("apt-get");
        let indexes =
            process::capture(indexes.args(["indextargets", "--format", format, "Created-By: Packages"]))?;
        let archive = indexes.lines().find_map(|line| line.strip_prefix("Debian main "));
        let archive = archive.context("apt is not configured for a Debian archive")?.to_owned();
        Ok(Self { context, dir, archive })
    }

    fn use_suite(&self, suite: &str) -> Result<()> {
        const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let signed =
            if Path::new(KEYRING).exists() { format!("[signed-by={KEYRING}] ") } else { String::new() };
        let sources = format!("deb {signed}{} {suite} main\n", self.archive);
        fs::write(self.dir.join("sources.list"), sources).context("cannot write apt's sources")?;
        process::capture(self.command("apt-get").args(["update", "-q", "--error-on=any"]))
            .map(drop)
            .map_err(|_| anyhow::anyhow!("not in this archive"))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.context.command(program);
        let at = |name: &str| self.dir.join(name).display().to_string();
        for option in [
            format!("Dir::Etc::SourceList={}", at("sources.list")),
            "Dir::Etc::SourceParts=/dev/null".into(),
            "Dir::Etc::Preferences=/dev/null".into(),
            "Dir::Etc::PreferencesParts=/dev/null".into(),
            format!("Dir::State::Lists={}", at("lists")),
            format!("Dir::Cache={}", self.dir.display()),
            format!("Dir::Cache::Archives={}", at("archives")),
            "APT::Sandbox::User=root".into(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debian_version_names_its_upstream() {
        assert_eq!(upstream("1.95.0+dfsg1-1~bpo13+1"), "1.95.0");
        assert_eq!(upstream("1.95.0~beta.1+dfsg1-1"), "1.95.0");
        assert_eq!(upstream("1.95.0-1"), "1.95.0");
    }
}
