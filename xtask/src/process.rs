//! Running other programs, with errors that carry the command to repeat.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, bail};

/// Runs to the end with our own input and output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("`{}` failed ({status}); its output is above", display(command));
    }
    Ok(())
}

/// Runs to the end and returns what it wrote to standard output.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| cannot_start(command))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {}", display(command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs to the end, passing standard output on line by line and showing each line to `watch`. Answers whether the
/// program succeeded.
pub(crate) fn stream(command: &mut Command, mut watch: impl FnMut(&str)) -> Result<bool> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| cannot_start(command))?;
    if let Some(output) = child.stdout.take() {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        let mut stdout = std::io::stdout().lock();
        while reader.read_until(b'\n', &mut line).context("cannot read a program's output")? > 0 {
            stdout
                .write_all(&line)
                .and_then(|()| stdout.flush())
                .context("cannot write to standard output")?;
            watch(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    }
    Ok(child.wait().with_context(|| format!("cannot wait for `{}`", display(command)))?.success())
}

/// As [`log`]; answers also what it said.
pub(crate) fn logged(command: &mut Command, file: &Path) -> Result<(bool, String)> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let succeeded = log(command, file)?;
    let said = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok((succeeded, String::from_utf8_lossy(&said).into_owned()))
}

/// Runs to the end with everything it says in a file. Answers whether the program succeeded.
pub(crate) fn log(command: &mut Command, file: &Path) -> Result<bool> {
    let output = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    let errors = output.try_clone().context("cannot share a file")?;
    let status = command.stdout(output).stderr(errors).status();
    Ok(status.with_context(|| cannot_start(command))?.success())
}

/// Does `work` on all items, so many at once and the rest in turn; all that it answered.
pub(crate) fn at_once<T: Sync, A: Send>(
    limit: usize,
    items: &[T],
    work: impl Fn(&T) -> Option<A> + Sync,
) -> Vec<A> {
    let (queue, answers) = (Mutex::new(items.iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..limit {
            scope.spawn(|| {
                loop {
                    // A thread that panicked ends the run anyway.
                    let Some(item) = queue.lock().ok().and_then(|mut queue| queue.next()) else { return };
                    let answer = work(item);
                    if let Ok(mut answers) = answers.lock() {
                        answers.extend(answer);
                    }
                }
            });
        }
    });
    answers.into_inner().unwrap_or_default()
}

/// The command as one would type it, with the environment variables set for it (but `PATH`).
pub(crate) fn display(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value.filter(|_| name != "PATH") {
            words.push(format!("{}={}", name.to_string_lossy(), quote(&value.to_string_lossy())));
        }
    }
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    words.push(program.to_string_lossy().into_owned());
    words.extend(command.get_args().map(|arg| quote(&arg.to_string_lossy())));
    words.join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`", display(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/somewhere/bin/tool");
        command.env("PATH", "/x").env("FLAGS", "-a b").args(["--name", "it's", "plain"]);
        assert_eq!(display(&command), r"FLAGS='-a b' tool --name 'it'\''s' plain");
    }
}
