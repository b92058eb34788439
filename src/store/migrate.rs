//! Schema migrations.

use rusqlite::{Connection, TransactionBehavior};

use super::OpenError;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// One migration that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Counts from 1.
    pub version: u32,
    /// What it did.
    pub name: String,
}

/// Brings `conn` to the newest schema; says what was applied.
///
/// Grouped, because otherwise refinery commits a migration and its record separately, and a crash
/// between the two leaves a database that can never be migrated. Immediate, so that a second process
/// waits instead of failing half-way. Foreign keys are off meanwhile (the pragma does nothing inside
/// a transaction, and a migration may rebuild a table) and checked afterwards.
pub(super) fn run(conn: &mut Connection) -> Result<Vec<Migration>, OpenError> {
    known_version(conn)?;
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.set_transaction_behavior(TransactionBehavior::Immediate);
    let report = embedded::migrations::runner().set_grouped(true).run(conn);
    conn.set_transaction_behavior(TransactionBehavior::Deferred);
    let report = report.map_err(|error| OpenError::Migration(Box::new(error)))?;
    if let Some(table) = orphan(conn)? {
        return Err(OpenError::Damaged(format!("a row of {table} points at nothing")));
    }
    conn.pragma_update(None, "foreign_keys", true)?;
    let applied = report.applied_migrations().iter();
    Ok(applied
        .map(|m| Migration {
            version: u32::try_from(m.version()).unwrap_or_default(),
            name: m.name().to_owned(),
        })
        .collect())
}

/// The newest migration that this release has.
pub(super) fn newest() -> i64 {
    let all = embedded::migrations::runner();
    let versions = all.get_migrations().iter().map(refinery::Migration::version);
    versions.max().map_or(0, i64::from)
}

/// The newest migration in a database, which this release must know.
pub(super) fn known_version(conn: &Connection) -> Result<u32, OpenError> {
    let (found, known) = (i64::from(schema_version(conn)?), newest());
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    Ok(u32::try_from(found).unwrap_or_default())
}

/// A table with a row that points at nothing.
pub(super) fn orphan(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
    statement.query_map([], |row| row.get::<_, String>(0))?.next().transpose()
}

/// The newest migration in a database; 0 where there is none.
pub(super) fn schema_version(conn: &Connection) -> rusqlite::Result<i32> {
    let known: bool = conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'refinery_schema_history')",
        [],
        |row| row.get(0),
    )?;
    if !known {
        return Ok(0);
    }
    conn.query_row("SELECT coalesce(max(version), 0) FROM refinery_schema_history", [], |row| {
        row.get(0)
    })
}
