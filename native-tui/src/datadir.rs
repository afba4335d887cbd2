//! The data directory: where it is, who may read it, and which process owns it.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

const SOCKET: &str = "control.sock";
/// Below the smallest limit among the systems with Unix sockets, which is 103.
#[cfg(unix)]
const MAX_SOCKET_PATH: usize = 100;

/// The directory, its files, and the lock while this process holds it.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
}

/// Held by the one process that owns the directory; the system releases it when the process ends, however.
#[derive(Debug)]
pub struct Lock {
    file: File,
    database: PathBuf,
}

impl Lock {
    /// Remembers whether there is a database: an empty one is then known from a new one. The lock's file holds something as
    /// long as there is.
    ///
    /// # Errors
    /// When the database is empty that was not.
    pub(crate) fn look(&self) -> Result<(), String> {
        let remembered = self.file.metadata().is_ok_and(|file| file.len() > 0);
        match fs::metadata(&self.database).map(|file| file.len()) {
            Ok(0) if remembered => return Err(crate::storage::damaged(&self.database, "it is empty")),
            Ok(1..) if !remembered => {
                // Without room for it everything else works.
                let _ = (&self.file).write_all(b"felund.db\n");
            }
            // Somebody moved it away, to begin anew.
            Err(_) if remembered => {
                let _ = self.file.set_len(0);
            }
            _ => {}
        }
        Ok(())
    }
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
        self.path.join(SOCKET)
    }

    /// Opens or binds the socket, whose path the system limits to about a hundred bytes: a longer one is reached
    /// through a link that exists for that moment only.
    #[cfg(unix)]
    pub(crate) fn at_socket<T>(&self, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let path = self.socket();
        if path.as_os_str().len() <= MAX_SOCKET_PATH {
            return act(&path);
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let link = std::env::temp_dir().join(format!("felund-{}-{}", std::process::id(), now.as_nanos()));
        std::os::unix::fs::symlink(std::path::absolute(&self.path)?, &link)?;
        let result = act(&link.join(SOCKET));
        let _ = fs::remove_file(&link);
        result
    }

    /// Becomes the owner; `None` while another process is.
    ///
    /// # Errors
    /// A text for people.
    pub fn lock(&self) -> Result<Option<Lock>, String> {
        let path = self.path.join("felund.lock");
        let fail = |e: io::Error| {
            format!(
                "cannot write to {}: {e}. Nothing was changed; Felund needs a directory of your own that it can write to: \
                 choose another one with --data-dir",
                path.display()
            )
        };
        let file = private_file(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { file, database: self.database() })),
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

    #[test]
    fn an_empty_database_is_not_taken_for_a_new_one() {
        let temp = tempfile::tempdir().expect("tempdir");
        let dir = DataDir::open(Some(temp.path().to_owned())).expect("open");
        let look = || dir.lock().expect("lock").expect("nobody else").look();
        let write = |bytes: &[u8]| fs::write(dir.database(), bytes).expect("write");
        assert_eq!(look(), Ok(()));
        write(b"");
        assert_eq!(look(), Ok(()), "the first start came no further");
        write(b"pages");
        assert_eq!(look(), Ok(()));
        write(b"");
        for _ in 0..2 {
            assert!(look().is_err_and(|error| error.contains("felund.db is damaged")));
        }
        write(b"restored");
        assert_eq!(look(), Ok(()));
        fs::remove_file(dir.database()).expect("remove");
        assert_eq!(look(), Ok(()), "it was moved away");
        write(b"");
        assert_eq!(look(), Ok(()));
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
    fn a_directory_that_cannot_be_written_to_is_named_with_what_to_do() {
        let temp = tempfile::tempdir().expect("tempdir");
        let dir = DataDir::open(Some(temp.path().to_owned())).expect("open");
        // Whoever runs the tests may write everywhere; nobody may open this.
        fs::create_dir(temp.path().join("felund.lock")).expect("folder");
        let error = dir.lock().expect_err("refused");
        assert!(error.contains("felund.lock") && error.contains("--data-dir"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_deep_directory_has_a_socket_all_the_same() {
        use std::os::unix::net::{UnixListener, UnixStream};
        let temp = tempfile::tempdir().expect("tempdir");
        let dir = DataDir::open(Some(temp.path().join("deep".repeat(40)))).expect("open");
        let listener = dir.at_socket(|path| UnixListener::bind(path)).expect("bind");
        let _stream = dir.at_socket(|path| UnixStream::connect(path)).expect("connect");
        listener.accept().expect("accept");
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
