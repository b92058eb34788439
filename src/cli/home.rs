//! The data directory: made if missing, and never used by two processes.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{Exit, Failure};
use crate::store::{
    anchor::{Anchoring, OnRollback},
    ownership,
};

/// The data directory, which no other process has as long as this value lives.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    /// The system gives the lock back when the process ends, however it ends.
    _lock: File,
}

/// The anchor of the audit trail in `dir`.
pub fn anchor(dir: &Path) -> PathBuf {
    dir.join("audit.head")
}

/// The database in `dir`.
pub fn database(dir: &Path) -> PathBuf {
    dir.join("entitled.db")
}

impl Home {
    /// Makes `dir` if it is missing, for its owner alone, and locks it.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let shown = dir.display();
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
            let line = format!(
                "can't create the data directory {shown}: {error}; give a directory that can be \
                 created with --data"
            );
            Failure::new(Exit::CantCreate, line)
        })?;
        let file = dir.join("entitled.lock");
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = ownership::open(&file, &mut how).map_err(|error| unwritable(dir, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Failure::new(
                Exit::CantCreate,
                format!(
                    "another process uses the data directory {shown}; end it, or give another \
                     directory with --data"
                ),
            )),
            Err(TryLockError::Error(error)) => Err(unwritable(dir, &error)),
        }
    }

    /// The file of the database.
    pub fn database(&self) -> PathBuf {
        database(&self.dir)
    }

    /// The end of the audit trail is kept beside the database.
    pub fn anchoring(&self, on_rollback: OnRollback) -> Anchoring {
        Anchoring::In(anchor(&self.dir), on_rollback)
    }
}

fn unwritable(dir: &Path, error: &io::Error) -> Failure {
    let line = format!(
        "can't write to the data directory {}: {error}; make it writable for this user",
        dir.display()
    );
    Failure::new(Exit::Io, line)
}
