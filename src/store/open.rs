//! Opening the database: the checks of start-up and the settings of each connection.

use std::{
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{
    anchor::{Anchor, Anchoring},
    migrate::{self, Migration},
};
use crate::error::Error;

/// `enti` in ASCII: marks a SQLite file as ours.
const APPLICATION_ID: i32 = 0x656e_7469;

/// Where the database lies and how much it may take.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The database file.
    pub path: PathBuf,
    /// Read-only connections.
    pub readers: u32,
    /// Changes that may wait; beyond it they are refused with 503.
    pub queue: usize,
    /// Changes that may share one commit.
    pub group: usize,
    /// Page cache of each connection.
    pub cache_kib: u32,
    /// Commits reach the disk before they are answered. Off only for throw-away instances.
    pub durability: Durability,
    /// Whether the end of the audit trail is kept outside the database.
    pub anchoring: Anchoring,
}

/// When a commit counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `synchronous=FULL`: it survives a power cut.
    PowerCut,
    /// `synchronous=OFF`: for instances that are thrown away.
    None,
}

impl StoreOptions {
    /// The defaults, for the database file at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            readers: 4,
            queue: 1024,
            group: 64,
            cache_kib: 8 * 1024,
            durability: Durability::PowerCut,
            anchoring: Anchoring::Off,
        }
    }
}

/// Why the database can't be opened. Each message is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is something else.
    #[error("it is not a database of this service; give another --data directory")]
    NotOurs,
    /// The file was written by a newer release.
    #[error(
        "its schema version {found} is newer than {known}, the newest this release knows; run the \
         newer release, or restore a backup made before the upgrade"
    )]
    Newer {
        /// In the file.
        found: i64,
        /// In this release.
        known: i64,
    },
    /// The file, or part of it, can't be read.
    #[error("it is damaged ({0}); restore the latest backup")]
    Damaged(String),
    /// It can't be written to.
    #[error("it can't be written; make the directory writable for this user")]
    ReadOnly,
    /// Something else has it.
    #[error("another program has it locked; end that program first")]
    Locked,
    /// SQLite is a release with a known fault.
    #[error("SQLite {0} can damage the write-ahead log; build with 3.51.3 or newer")]
    BadSqlite(&'static str),
    /// The audit trail ends before its anchor.
    #[error(
        "its audit trail ends at row {found}, but row {anchor} was written: rows were removed, or an \
         older copy was put back; put the right database back, or, if this is meant, start once with \
         --accept-rollback, which is audited"
    )]
    TrailShortened {
        /// The place that the anchor names.
        anchor: u64,
        /// The last place that there is.
        found: u64,
    },
    /// The audit trail has another row where its anchor is.
    #[error(
        "row {anchor} of its audit trail is not the one that was written: the trail was rewritten, or \
         a copy that went another way was put in place; put the right database back, or, if this is \
         meant, start once with --accept-rollback, which is audited"
    )]
    TrailRewritten {
        /// The place that the anchor names.
        anchor: u64,
    },
    /// The anchor can't be read.
    #[error(
        "the anchor of its audit trail, {}, is damaged; restore that file, or, if the database is \
         known to be the right one, start once with --accept-rollback, which is audited",
        .0.display()
    )]
    AnchorDamaged(PathBuf),
    /// A migration failed.
    #[error("its schema can't be brought up to date: {0}")]
    Migration(#[source] Box<refinery::Error>),
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// SQLite refused.
    #[error("SQLite says: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The pool of readers could not be filled.
    #[error("SQLite says: {0}")]
    Pool(#[from] r2d2::Error),
    /// What was to be done with it failed.
    #[error(transparent)]
    Inside(#[from] Error),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotOurs,
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged("SQLite can't read it".into()),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::ReadOnly
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            _ => Self::Sqlite(error),
        }
    }
}

/// Settings that live in the connection, not in the file.
fn prepare(conn: &Connection, cache_kib: u32) -> rusqlite::Result<()> {
    // First: every later pragma may need the lock.
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    // Negative means KiB, positive means pages.
    conn.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    conn.pragma_update(None, "mmap_size", 0)?;
    conn.set_prepared_statement_cache_capacity(256);
    Ok(())
}

pub(super) fn writer_connection(options: &StoreOptions) -> Result<(Connection, Anchor), OpenError> {
    let Opened { mut conn, anchor, .. } = open_and_migrate(options)?;
    let problem: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if problem != "ok" {
        return Err(OpenError::Damaged(problem));
    }
    // The last change of schema must not stay in the log alone.
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    conn.set_transaction_behavior(rusqlite::TransactionBehavior::Immediate);
    Ok((conn, anchor))
}

pub(super) fn migrate(options: &StoreOptions) -> Result<Vec<Migration>, OpenError> {
    open_and_migrate(options).map(|opened| opened.applied)
}

/// A connection to the newest schema.
pub(super) struct Opened {
    pub conn: Connection,
    pub applied: Vec<Migration>,
    pub anchor: Anchor,
}

pub(super) fn open_and_migrate(options: &StoreOptions) -> Result<Opened, OpenError> {
    // 3.7.0 to 3.51.2 can damage the log when a checkpoint meets a write at the wrong instant.
    if rusqlite::version_number() < 3_051_003 {
        return Err(OpenError::BadSqlite(rusqlite::version()));
    }
    // For its owner alone, and so are the log and the index beside it, which take its mode.
    let mut file = std::fs::OpenOptions::new();
    file.create(true).append(true).mode(0o600).open(&options.path)?;
    let mut conn = Connection::open(&options.path)?;
    prepare(&conn, options.cache_kib)?;
    let id: i32 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let is_empty: bool =
        conn.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))?;
    if id != APPLICATION_ID && (!is_empty || id != 0) {
        return Err(OpenError::NotOurs);
    }
    // Before the first change: a database that was put back by mistake is left as it is.
    let anchor = Anchor::check(&conn, &options.anchoring)?;
    if id != APPLICATION_ID {
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    // Stored in the file; answers with the mode in effect, which silently stays another one where
    // a log is impossible.
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::ReadOnly);
    }
    let synchronous = match options.durability {
        Durability::PowerCut => "full",
        Durability::None => "off",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "wal_autocheckpoint", 1000)?;
    conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
    let applied = migrate::run(&mut conn)?;
    Ok(Opened { conn, applied, anchor })
}

pub(super) fn reader_pool(
    options: &StoreOptions,
) -> Result<r2d2::Pool<SqliteConnectionManager>, OpenError> {
    let cache_kib = options.cache_kib;
    let manager = SqliteConnectionManager::file(&options.path)
        // A stray write is an error. r2d2 hands a connection to one thread at a time.
        .with_flags(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .with_init(move |conn| prepare(conn, cache_kib));
    Ok(r2d2::Pool::builder()
        .max_size(options.readers)
        // Nothing can break a local file handle: no test per checkout, no ageing of warm caches.
        .test_on_check_out(false)
        .max_lifetime(None)
        .idle_timeout(None)
        .connection_timeout(Duration::from_secs(5))
        .build(manager)?)
}

pub(super) fn inspecting_connection(path: &Path) -> Result<Connection, OpenError> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    prepare(&conn, 8 * 1024)?;
    let id: i32 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if id != APPLICATION_ID {
        return Err(OpenError::NotOurs);
    }
    Ok(conn)
}
