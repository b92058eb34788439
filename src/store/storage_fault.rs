//! What it is that a disk refuses, and whether what was refused is surely not there.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rusqlite::{Error, ErrorCode, ffi};

use super::ownership;
use crate::error::StorageFault;

/// The fault of the disk that an error of SQLite tells of; none where it tells of something else.
pub(super) fn of(error: &Error) -> Option<StorageFault> {
    match error.sqlite_error_code()? {
        ErrorCode::DiskFull => Some(StorageFault::Full),
        ErrorCode::ReadOnly => Some(StorageFault::ReadOnly),
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen => Some(StorageFault::Failing),
        ErrorCode::DatabaseCorrupt => Some(StorageFault::Unreadable),
        // Many more, which tell of something else.
        _ => None,
    }
}

/// The error that tells of a fault.
pub(super) fn as_error(fault: StorageFault) -> Error {
    let code = match fault {
        StorageFault::Full => ffi::SQLITE_FULL,
        StorageFault::ReadOnly => ffi::SQLITE_READONLY,
        StorageFault::Failing => ffi::SQLITE_IOERR,
        StorageFault::Held => ffi::SQLITE_BUSY,
        StorageFault::Unreadable => ffi::SQLITE_CORRUPT,
    };
    Error::SqliteFailure(ffi::Error::new(code), None)
}

/// Whether a commit that failed so is surely not on disk.
///
/// In the log, a transaction counts from its last frame, which says that it is the last and is
/// covered by a checksum over all before. A write that failed left that frame incomplete or absent,
/// so neither this process nor the next one takes it. A flush that failed comes after that frame: then
/// nobody knows.
pub(super) fn is_surely_undone(error: &Error) -> bool {
    let is_write =
        error.sqlite_error().is_some_and(|cause| cause.extended_code == ffi::SQLITE_IOERR_WRITE);
    let before_the_log = matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseBusy
                | ErrorCode::ConstraintViolation
        )
    );
    is_write || before_the_log
}

/// What a group of changes was refused for. SQLite keeps the reason of a failed write to itself, so
/// a small file beside the database is tried.
pub(super) fn diagnose(error: &Error, database: &Path) -> StorageFault {
    let is_held = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    );
    match of(error) {
        None if is_held => StorageFault::Held,
        None | Some(StorageFault::Failing) => probe(database).unwrap_or(StorageFault::Failing),
        Some(fault) => fault,
    }
}

/// Why a small file can't be written beside the database; nothing where it can.
fn probe(database: &Path) -> Option<StorageFault> {
    let file = database.with_extension("probe");
    let mut how = OpenOptions::new();
    how.write(true).create(true).truncate(true).mode(0o600);
    let written = ownership::open(&file, &mut how)
        .and_then(|mut file| file.write_all(&[0; 4096]).and_then(|()| file.sync_all()));
    let _ = std::fs::remove_file(&file);
    match written.err()?.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(StorageFault::Full),
        ErrorKind::ReadOnlyFilesystem => Some(StorageFault::ReadOnly),
        _ => Some(StorageFault::Failing),
    }
}
