//! Opening the database: pragmas, migrations, and the errors an operator can act on.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use felund_core::{
    ids::{CircleHint, Cursor},
    relay_api::signing::ApiKey,
};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::{Circle, log};

const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_messages.sql"),
    include_str!("../../migrations/0002_journal_key.sql"),
    include_str!("../../migrations/0003_blocks.sql"),
];
/// The one after which what the first one made is moved over.
const BLOCKS: usize = 3;

/// Why the database cannot be used. The texts say what to do.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The file is not a database, or is damaged.
    Corrupt { path: PathBuf, what: String },
    /// A database of an earlier version cannot be converted for damage.
    Unconverted { path: PathBuf, what: String },
    /// Made by a later version of this program.
    Newer { path: PathBuf, found: usize },
    /// Anything else SQLite or the file system says.
    Other(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { path, what } => write!(
                f,
                "{} is damaged or not a relay database ({what}). It was left as it is. Restore a backup, or \
                 move it away to start with an empty relay: members keep what they have fetched, and what only the relay \
                 had is gone",
                path.display()
            ),
            Self::Unconverted { path, what } => write!(
                f,
                "{} is damaged ({what}), so that it cannot be converted for this version. It was left as it is: the earlier \
                 version of felund-relay still opens it and serves what is not damaged. Restore a backup, or let \
                 `sqlite3 relay.sqlite .recover` make a database of what can be read; or move it away to start with an \
                 empty relay: members keep what they have fetched, and what only the relay had is gone",
                path.display()
            ),
            Self::Newer { path, found } => write!(
                f,
                "{} was written by a later version of felund-relay (schema {found}, this one knows {}). It was \
                 left as it is; start the later version",
                path.display(),
                MIGRATIONS.len()
            ),
            Self::Other(what) => write!(f, "cannot open the database: {what}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    /// What SQLite says of the file, or of what it found in a file that no relay would have written.
    pub(super) fn of(path: &Path, e: &rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) | None => {
                Self::Corrupt { path: path.into(), what: e.to_string() }
            }
            _ => Self::Other(format!("{}: {e}", path.display())),
        }
    }
}

pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    prepare_writer(path).map_err(|e| match e {
        Failure::Newer(found) => OpenError::Newer { path: path.into(), found },
        Failure::Sql(e) => OpenError::of(path, &e),
        Failure::Convert(e) => match OpenError::of(path, &e) {
            OpenError::Corrupt { path, what } => OpenError::Unconverted { path, what },
            other => other,
        },
    })
}

enum Failure {
    Newer(usize),
    Sql(rusqlite::Error),
    Convert(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sql(e)
    }
}

fn prepare_writer(path: &Path) -> Result<Connection, Failure> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(if cfg!(test) { 2 } else { 5 }))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // An acknowledgement promises that the message survives a power loss: NORMAL would not.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -8_192)?;
    // Each row's circle is looked up before it is written, and never forgotten while it has rows.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > MIGRATIONS.len() {
        return Err(Failure::Newer(version));
    }
    for (migration, to) in MIGRATIONS.iter().zip(1..).skip(version) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        if to == BLOCKS {
            to_blocks(&transaction, version).map_err(Failure::Convert)?;
        }
        transaction.pragma_update(None, "user_version", to as i64)?;
        transaction.commit()?;
    }
    if (1..BLOCKS).contains(&version) {
        // The whole database went through its log.
        connection.pragma_update(None, "wal_checkpoint", "TRUNCATE")?;
    }
    Ok(connection)
}

fn to_blocks(connection: &Connection, from: usize) -> rusqlite::Result<()> {
    if from > 0 {
        tracing::warn!(
            "the database is being converted for this version, which may take minutes and, meanwhile, three times its size \
             on disk; if it is interrupted it is as before, and the next start begins again"
        );
        log::convert(connection)?;
    }
    connection.execute_batch("DROP TABLE messages")
}

pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "cache_size", -2_048)?;
    Ok(connection)
}

pub(super) fn load_circles(connection: &Connection) -> rusqlite::Result<HashMap<CircleHint, Arc<Circle>>> {
    let mut statement = connection.prepare("SELECT id, hint, signing_key FROM circles")?;
    let rows = statement.query_map([], |row| {
        let circle =
            Circle { id: row.get(0)?, hint: CircleHint(row.get(1)?), key: ApiKey::from_bytes(row.get(2)?) };
        Ok((circle.hint, Arc::new(circle)))
    })?;
    rows.collect()
}

/// What records of the journal are sealed under.
pub(super) fn journal_key(connection: &Connection) -> rusqlite::Result<[u8; 32]> {
    connection.query_row("SELECT key FROM journal_key", [], |row| row.get(0))
}

/// One of the numbers kept beside the messages.
pub(super) fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()
}

/// The first row number not given out yet.
pub(super) fn next_seq(connection: &Connection) -> rusqlite::Result<u64> {
    let stored = meta(connection, "next_seq")?;
    let last: Option<i64> = connection.query_row(
        "SELECT max((SELECT max(last) FROM blocks WHERE circle = circles.id)) FROM circles",
        [],
        |row| row.get(0),
    )?;
    let next = last.map_or(1, |last| last + 1).max(stored.unwrap_or(1));
    u64::try_from(next).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, next))
}

/// SQLite's integers are signed; what does not fit lies beyond every row there is.
pub(super) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A row number as it is given out.
pub(super) fn from_sql(seq: i64) -> Cursor {
    Cursor(seq.unsigned_abs())
}
