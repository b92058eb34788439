//! Backups: a copy of one instant of a database that may be in use, examined before it gets its name.
//!
//! Invariants: a file has the name of a backup only when it is whole, flushed and examined, because
//! everything before happens in a directory beside it that goes away; a copy reads one view and so
//! never starts again, however much is written meanwhile.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};
use tempfile::{TempDir, TempPath};

use super::{
    OpenError, ReadTx, anchor,
    audit::{Verification, verify},
    migrate, open,
};
use crate::domain::audit::Head;

/// What a file of that name may lie in the way of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExisting {
    /// Leave it alone.
    Refuse,
    /// Replace it, as a whole.
    Replace,
}

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its size.
    pub bytes: u64,
    /// How many pages it has.
    pub pages: u64,
    /// The newest migration in it.
    pub schema_version: u32,
    /// How many audit events are in it; those that were pruned are not.
    pub events: u64,
    /// The end of its audit trail; none where nothing ever happened.
    pub head: Option<Head>,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database can't be opened, or is not sound.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// A file of that name is there.
    #[error("there is a file already; give another name, or replace it with --force")]
    Exists,
    /// The target is the database itself, which a copy must not replace.
    #[error("that is the database itself; give another name")]
    Itself,
    /// The target can't be written.
    #[error("it can't be written: {0}")]
    Target(#[from] io::Error),
    /// Copying stopped half-way.
    #[error("it can't be copied: {0}")]
    Copy(String),
    /// The audit trail in the copy isn't as it was written.
    #[error("the audit trail is broken at row {seq}: {problem}")]
    Trail {
        /// Where.
        seq: u64,
        /// What is the matter.
        problem: String,
    },
}

/// The file beside a backup that holds the end of its audit trail.
#[must_use]
pub fn head_file(backup: &Path) -> PathBuf {
    let mut name = OsString::from(backup);
    name.push(".head");
    name.into()
}

/// Copies the database in `database` to `target`. Its trail must hold the heads in `known`.
pub fn take(
    database: &Path,
    target: &Path,
    on_existing: OnExisting,
    known: &[Head],
) -> Result<Contents, BackupError> {
    if on_existing == OnExisting::Refuse && target.try_exists()? {
        return Err(BackupError::Exists);
    }
    if is_same(database, target)? {
        return Err(BackupError::Itself);
    }
    let work = workplace(folder(target))?;
    let file = work.path().join("copy.db");
    create(&file)?;
    copy(database, &file)?;
    File::open(&file)?.sync_all()?;
    let contents = examine(&file, known)?;
    publish(&file, target, on_existing, contents.head)?;
    Ok(contents)
}

/// Whether both are one file, under whatever names.
fn is_same(database: &Path, target: &Path) -> io::Result<bool> {
    let one = |file: &Path| match std::fs::metadata(file) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let target = one(target)?;
    Ok(target.is_some() && target == one(database)?)
}

/// The folder that a file is in.
pub(super) fn folder(file: &Path) -> &Path {
    file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// How the directories begin and end in which copies are made; one that a crash left may be deleted.
const WORKPLACE: (&str, &str) = (".entitled-", ".partial");

/// A directory beside what is to be made, for its owner alone, which goes away with its value.
pub(super) fn workplace(dir: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(WORKPLACE.0).suffix(WORKPLACE.1).permissions(Permissions::from_mode(0o700));
    builder.tempdir_in(dir)
}

/// Deletes what crashes left in `dir` of copies that were being made.
pub fn tidy_up(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name
            .to_str()
            .is_some_and(|name| name.starts_with(WORKPLACE.0) && name.ends_with(WORKPLACE.1));
        if is_ours && entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// An empty file for its owner alone.
pub(super) fn create(file: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)
}

fn copy(database: &Path, file: &Path) -> Result<(), BackupError> {
    let from = open::inspecting_connection(database)?;
    // Without a view of its own the copy would start again at each commit of another connection.
    from.execute_batch("BEGIN").map_err(OpenError::from)?;
    migrate::schema_version(&from).map_err(OpenError::from)?;
    let stopped = |error: rusqlite::Error| BackupError::Copy(error.to_string());
    {
        let mut to = Connection::open(file).map_err(stopped)?;
        // Nobody looks at it before it is flushed as a whole.
        to.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY")
            .map_err(stopped)?;
        let done = Backup::new(&from, &mut to).and_then(|backup| backup.step(-1));
        if done.map_err(stopped)? != StepResult::Done {
            return Err(BackupError::Copy("SQLite stopped half-way".into()));
        }
    }
    one_file(file).map_err(stopped)
}

/// Makes the database in `file` one that needs no log beside it.
pub(super) fn one_file(file: &Path) -> rusqlite::Result<()> {
    let conn = Connection::open(file)?;
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0))?;
    if mode == "delete" { Ok(()) } else { Err(rusqlite::Error::InvalidQuery) }
}

/// Looks at everything in `file` that can be wrong, without changing it. Its trail must hold the
/// heads in `known`.
pub fn examine(file: &Path, known: &[Head]) -> Result<Contents, BackupError> {
    let conn = open::inspecting_connection(file)?;
    sound(&conn)?;
    let schema_version = migrate::known_version(&conn)?;
    let verified = verify(&ReadTx { conn: &conn }, known).map_err(OpenError::from)?;
    let (events, head) = match verified {
        Verification::Intact { rows, pruned: _, head } => (rows, head),
        Verification::Broken { seq, problem } => return Err(BackupError::Trail { seq, problem }),
    };
    let pages = conn
        .query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))
        .map_err(OpenError::from)?;
    let pages = u64::try_from(pages).unwrap_or_default();
    Ok(Contents { bytes: std::fs::metadata(file)?.len(), pages, schema_version, events, head })
}

/// That every page and every reference in a database is sound.
pub(super) fn sound(conn: &Connection) -> Result<(), OpenError> {
    let problem: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if problem != "ok" {
        return Err(OpenError::Damaged(problem));
    }
    match migrate::orphan(conn)? {
        None => Ok(()),
        Some(table) => Err(OpenError::Damaged(format!("a row of {table} points at nothing"))),
    }
}

/// Gives an examined and flushed file its name, and the end of its trail a file beside it.
fn publish(
    file: &Path,
    target: &Path,
    on_existing: OnExisting,
    head: Option<Head>,
) -> Result<(), BackupError> {
    let beside = head_file(target);
    // Written before anything has its name, so that a full disk is noticed before.
    let next = head_file(file);
    head.map(|head| anchor::write(&next, &head)).transpose()?;
    if on_existing == OnExisting::Replace {
        // Of the old backup; a crash must not leave it beside the new one.
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    put(file, target, on_existing)?;
    if head.is_some() {
        std::fs::rename(&next, &beside)?;
    }
    Ok(File::open(folder(target))?.sync_all()?)
}

/// Moves `file` to `target`, in one step.
pub(super) fn put(file: &Path, target: &Path, on_existing: OnExisting) -> Result<(), BackupError> {
    let path = TempPath::try_from_path(file)?;
    let moved = match on_existing {
        OnExisting::Refuse => path.persist_noclobber(target),
        OnExisting::Replace => path.persist(target),
    };
    moved.map_err(|failed| match failed.error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists,
        _ => failed.error.into(),
    })
}
