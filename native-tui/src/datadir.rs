//! The data directory: where it is, who may read it, and which process owns it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// The directory, its files, and the lock while this process holds it.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
}

/// Held by the one process that owns the directory; the system releases it when the process ends, however.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl DataDir {
    /// Opens `path`, or the platform's data directory; makes it, readable by the user alone, when it is absent.
    ///
    /// # Errors
    /// A text for people.
    pub fn open(path: Option<PathBuf>) -> Result<Self, String> {
        let path = match path {
            Some(path) => path,
            None => directories::ProjectDirs::from("", "", "felund")
                .map(|dirs| dirs.data_dir().to_owned())
                .ok_or("this system tells no data directory; give one with --data-dir")?,
        };
        create_private(&path).map_err(|e| {
            format!(
                "cannot use the data directory {}: {e}; choose another one with --data-dir",
                path.display()
            )
        })?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The one file that everything is kept in.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join("felund.db")
    }

    /// Where the owner listens for other processes of the same user.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// Becomes the owner; `None` while another process is.
    ///
    /// # Errors
    /// A text for people.
    pub fn lock(&self) -> Result<Option<Lock>, String> {
        let path = self.path.join("felund.lock");
        let fail = |e: io::Error| format!("cannot lock {}: {e}", path.display());
        let file = private_file(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(fail(e)),
        }
    }
}

/// Opens for writing, making it readable by the user alone when absent; nothing in it changes.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn create_private(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_at_a_time() {
        let temp = tempfile::tempdir().expect("tempdir");
        let dir = DataDir::open(Some(temp.path().join("a/b"))).expect("open");
        let lock = dir.lock().expect("lock");
        assert!(lock.is_some());
        assert!(dir.lock().expect("second").is_none());
        drop(lock);
        assert!(dir.lock().expect("third").is_some());
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().expect("tempdir");
        let dir = DataDir::open(Some(temp.path().join("felund"))).expect("open");
        let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode(dir.path()), 0o700);
        private_file(&dir.database()).expect("file");
        assert_eq!(mode(&dir.database()), 0o600);
    }

    #[test]
    fn an_unusable_directory_is_named() {
        let temp = tempfile::tempdir().expect("tempdir");
        let file = temp.path().join("file");
        fs::write(&file, "x").expect("write");
        let error = DataDir::open(Some(file.clone())).expect_err("refused");
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}
