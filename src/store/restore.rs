//! Putting a backup in place of a database that isn't there.
//!
//! Invariants: everything is looked at, migrated and written down in a directory beside it, and the
//! database has its name only then; a restore that fails leaves the data directory as it was.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, named_params};

use super::{
    OpenError, StoreOptions, WriteTx,
    anchor::{self, AnchorError, Anchoring, Rollback},
    audit::{self, Provenance},
    backup::{self, BackupError, Contents, OnExisting, examine, folder, head_file, one_file},
    migrate::Migration,
    open::{self, Opened},
    outbox, ownership,
};
use crate::domain::{
    audit::{Event, Head},
    time::Timestamp,
};

/// What was put in place.
#[derive(Debug, Clone)]
pub struct Restored {
    /// What the backup held.
    pub contents: Contents,
    /// What brought it to this release's schema.
    pub applied: Vec<Migration>,
    /// The end of the audit trail now: the restore itself is in it.
    pub head: Head,
    /// That the backup doesn't hold the anchor in the data directory, which was accepted.
    pub rollback: Option<Rollback>,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is a database, or what is left of one.
    #[error("there is {} already; move it away first, and leave audit.head where it is", .0.display())]
    NotEmpty(PathBuf),
    /// Not a backup but the file of a database in use, or a plain copy of one.
    #[error(
        "{} lies beside it, so it is no backup but a database in use or a plain copy of one; make \
         one with entitled backup", .0.display()
    )]
    HasLog(PathBuf),
    /// The backup isn't sound, or can't be read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The file beside the backup can't be read.
    #[error("the file {} beside it is no end of an audit trail; remove it, or restore it", .0.display())]
    HeadDamaged(PathBuf),
    /// It is sound but can't be put in place.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The data directory can't be written.
    #[error("the data directory can't be written: {0}")]
    Target(#[from] io::Error),
}

/// Puts the backup in `from` where `options` say, which nobody may use meanwhile. It must hold
/// `expected`, and the head that lies beside it. `record` says what is written into its trail.
pub fn put_back(
    from: &Path,
    expected: Option<Head>,
    options: &StoreOptions,
    now: Timestamp,
    provenance: &Provenance,
    record: impl FnOnce(&Contents, Option<&Rollback>) -> Vec<Event>,
) -> Result<Restored, RestoreError> {
    let target = &options.path;
    for rest in ["", "-wal", "-shm", "-journal"] {
        let file = beside(target, rest);
        if file.try_exists()? {
            return Err(RestoreError::NotEmpty(file));
        }
    }
    let log = beside(from, "-wal");
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Err(RestoreError::HasLog(log));
    }
    let known: Vec<_> = expected.into_iter().chain(named_beside(from)?).collect();
    let work = backup::workplace(folder(target))?;
    let file = work.path().join("copy.db");
    duplicate(from, &file)?;
    // The copy and not the original: what is put in place is what was looked at.
    let contents = examine(&file, &known)?;
    let Opened { conn, applied, anchor } =
        open::open_and_migrate(&StoreOptions { path: file.clone(), ..options.clone() })?;
    let events = record(&contents, anchor.rollback());
    let head = write_down(&conn, now, provenance, &events)?;
    drop(conn);
    one_file(&file).map_err(OpenError::from)?;
    // Never through a link: whoever owns the directory could have put another file in its place.
    let finished = ownership::open(&file, fs::OpenOptions::new().read(true))?;
    ownership::give(&finished, folder(target))?;
    finished.sync_all()?;
    backup::put(&file, target, OnExisting::Refuse)?;
    File::open(folder(target))?.sync_all()?;
    // Last: until here the old anchor refuses what is not accepted.
    if let Anchoring::In(file, _) = &options.anchoring {
        anchor::write(file, &head)?;
    }
    Ok(Restored { contents, applied, head, rollback: anchor.rollback().cloned() })
}

fn beside(file: &Path, rest: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(rest);
    name.into()
}

/// The end of the trail that `entitled backup` wrote beside the backup, if it is still there.
fn named_beside(from: &Path) -> Result<Option<Head>, RestoreError> {
    let file = head_file(from);
    anchor::read(&file).map_err(|error| match error {
        AnchorError::Damaged => RestoreError::HeadDamaged(file),
        AnchorError::Io(error) => BackupError::Target(error).into(),
    })
}

fn duplicate(from: &Path, to: &Path) -> Result<(), RestoreError> {
    let unreadable = |error: io::Error| OpenError::Io(error);
    let mut source = File::open(from).map_err(unreadable)?;
    let mut copy = backup::create(to)?;
    io::copy(&mut source, &mut copy)?;
    Ok(copy.sync_all()?)
}

/// Writes `events` into the trail of a database that nobody uses; its end then.
fn write_down(
    conn: &Connection,
    now: Timestamp,
    provenance: &Provenance,
    events: &[Event],
) -> Result<Head, OpenError> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let (version, latest): (i64, Timestamp) =
        conn.query_row("SELECT version, latest_at FROM service_state WHERE id = 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let version = version.saturating_add(1);
    // Time never goes back, whatever the clock of the new machine says.
    let at = now.max(latest);
    let tx = WriteTx::new(conn, at, u64::try_from(version).unwrap_or_default());
    for event in events {
        audit::append(&tx, provenance, event)?;
    }
    outbox::start_over(&tx)?;
    conn.execute(
        "UPDATE service_state SET version = :version, latest_at = :now WHERE id = 1",
        named_params! { ":version": version, ":now": at },
    )?;
    let head = audit::last_row(&tx.read)?;
    conn.execute_batch("COMMIT")?;
    head.ok_or_else(|| OpenError::Damaged("nothing was written down".into()))
}
