//! How much room the database takes, and how much there is.

use std::path::Path;

/// Bytes on the file system of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The database.
    pub database: u64,
    /// Its log, which is copied into it from time to time.
    pub log: u64,
    /// What may still be written by this user.
    pub free: u64,
}

/// Asks the file system of the database at `file`.
///
/// # Errors
/// The file system doesn't say.
pub fn room(file: &Path) -> std::io::Result<Room> {
    let size = |file: &Path| std::fs::metadata(file).map_or(0, |found| found.len());
    let system = rustix::fs::statvfs(file.parent().unwrap_or(file))?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    Ok(Room { database: size(file), log: size(&file.with_extension("db-wal")), free })
}
