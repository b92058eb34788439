//! How a command ends: exit codes after BSD's sysexits, and failures of one line.

use std::process::{ExitCode, Termination};

use crate::{config::ConfigError, error::Error, store::OpenError};

/// The exit codes of every command; `docs/exit-codes.md` is the same for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; a check is allowed.
    Ok = 0,
    /// The answer is no: denied, broken, stale, invalid.
    No = 1,
    /// The command line can't be understood.
    Usage = 2,
    /// The server refused the request: what was asked or sent is wrong.
    Refused = 65,
    /// The server can't be reached or is not ready.
    Unreachable = 69,
    /// A fault of this program, or a change whose outcome is unknown.
    Internal = 70,
    /// The data directory can't be created, or another process has it.
    CantCreate = 73,
    /// The operating system refused: unwritable, unreadable, port in use.
    Io = 74,
    /// The database is newer, damaged, or not one of this service.
    Database = 76,
    /// The server doesn't accept the key, or it may not do this.
    NoPermission = 77,
    /// A setting is wrong.
    Config = 78,
    /// The audit trail in the database is not the one that was written.
    RolledBack = 79,
    /// Done, and something wants to be looked at: warnings of `doctor`, a change that waits for a
    /// second person.
    Warned = 80,
}

impl Exit {
    /// With what a database ends that can't be used.
    pub fn of_database(error: &OpenError) -> Self {
        match error {
            OpenError::NotOurs
            | OpenError::Newer { .. }
            | OpenError::Damaged(_)
            | OpenError::Migration(_) => Self::Database,
            OpenError::TrailShortened { .. }
            | OpenError::TrailRewritten { .. }
            | OpenError::AnchorDamaged(_) => Self::RolledBack,
            OpenError::Locked => Self::CantCreate,
            OpenError::ReadOnly | OpenError::Io(_) | OpenError::Sqlite(_) | OpenError::Pool(_) => {
                Self::Io
            }
            OpenError::BadSqlite(_) | OpenError::Inside(_) => Self::Internal,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What and what to do; one line for each fault.
    pub lines: Vec<String>,
}

impl Failure {
    /// A failure of one line.
    pub fn new(exit: Exit, line: impl Into<String>) -> Self {
        Self { exit, lines: vec![line.into()] }
    }

    /// To stderr.
    pub fn print(&self) {
        for line in &self.lines {
            // A message from elsewhere may have line breaks; ours is one line.
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            eprintln!("entitled: {line}");
        }
    }

    /// What went wrong with the database in `file`.
    pub fn database(file: &std::path::Path, error: &OpenError) -> Self {
        let line = format!("can't open the database {}: {error}", file.display());
        Self::new(Exit::of_database(error), line)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Config, error.0)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(Exit::Internal, error.to_string())
    }
}
