//! What can be found out about a database without changing it, also beside a running service.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use rusqlite::Connection;

use super::{
    OpenError, ReadTx, backup, migrate, open,
    snapshots::{Loaded, PlanShelf, load_tenant},
};
use crate::{
    domain::{keys::TenantKey, time::Timestamp},
    error::Result,
};

/// A database that is looked at.
pub struct Patient {
    conn: Connection,
}

/// Something stored that names a key of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// What names it.
    pub by: &'static str,
    /// The key.
    pub key: String,
}

/// How a schema differs from what this release makes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaDrift {
    /// Tables, indexes and triggers that are missing or other than they should be.
    pub missing: Vec<String>,
    /// What is there and doesn't belong.
    pub foreign: Vec<String>,
    /// SQLite's statistics are others, and with them its plans.
    pub has_own_statistics: bool,
}

impl Patient {
    /// Opens what is there for reading only.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { conn: open::inspecting_connection(path)? })
    }

    /// The newest migration in it, and the newest that this release has.
    pub fn schema_version(&self) -> Result<(i64, i64), OpenError> {
        Ok((migrate::schema_version(&self.conn)?.into(), migrate::newest()))
    }

    /// That every page and every index is sound, and that every reference points at something.
    pub fn sound(&self) -> Result<(), OpenError> {
        backup::sound(&self.conn)
    }

    /// Runs `body` in one consistent view.
    pub fn read<T>(&self, body: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T, OpenError> {
        self.conn.execute_batch("BEGIN")?;
        let outcome = body(&ReadTx { conn: &self.conn });
        self.conn.execute_batch("COMMIT")?;
        Ok(outcome?)
    }

    /// Holds tables, indexes and triggers against those of a database that is made anew.
    pub fn drift(&self) -> Result<SchemaDrift, OpenError> {
        let mut fresh = Connection::open_in_memory()?;
        migrate::run(&mut fresh)?;
        let (expected, mut found) = (objects(&fresh)?, objects(&self.conn)?);
        let mut drift = SchemaDrift::default();
        for (name, sql) in expected {
            if found.remove(&name) != Some(sql) {
                drift.missing.push(name);
            }
        }
        drift.has_own_statistics = statistics(&fresh)? != statistics(&self.conn)?;
        drift.foreign = found.into_keys().filter(|name| !is_of_litestream(name)).collect();
        Ok(drift)
    }
}

/// What Litestream, which may run beside the service, makes for itself. Migrations don't meet it.
fn is_of_litestream(name: &str) -> bool {
    matches!(name, "table _litestream_seq" | "table _litestream_lock")
}

/// Everything that a schema is made of, with the text that made it.
fn objects(conn: &Connection) -> rusqlite::Result<BTreeMap<String, Option<String>>> {
    let mut statement = conn.prepare("SELECT type || ' ' || name, sql FROM sqlite_schema")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// What the planner takes for the number of rows; migrations write it, so that plans stay as tested.
fn statistics(conn: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let sql = "SELECT tbl || ' ' || coalesce(idx, '') || ' ' || stat FROM sqlite_stat1";
    conn.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// Every tenant, page by page by its key; how many there are, and which can't be read.
pub fn damaged_tenants(tx: &ReadTx<'_>, now: Timestamp) -> Result<(u64, Vec<String>)> {
    let (shelf, mut count, mut damaged) = (PlanShelf::default(), 0, Vec::new());
    let mut statement = tx.conn.prepare("SELECT tenant FROM tenants ORDER BY tenant")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        count += 1;
        let text: String = row.get(0)?;
        let loaded = match text.parse::<TenantKey>() {
            Ok(key) => load_tenant(tx, &shelf, &key, now)?,
            Err(_) => Loaded::Damaged,
        };
        match loaded {
            Loaded::Facts(_) => {}
            Loaded::Missing | Loaded::Damaged => damaged.push(text),
        }
    }
    Ok((count, damaged))
}

/// The keys of modules and features that something in use names, once for each kind.
pub fn entitlements_in_use(tx: &ReadTx<'_>) -> Result<Vec<Named>> {
    let mut all = named(tx, "grant", "SELECT DISTINCT key FROM grants")?;
    let of_overrides = "SELECT DISTINCT key FROM overrides WHERE ended IS NULL";
    all.extend(named(tx, "override", of_overrides)?);
    all.extend(named(tx, "seat", "SELECT DISTINCT key FROM seats")?);
    let of_users = "SELECT DISTINCT key FROM user_entitlements
         WHERE status IN ('active', 'suspended')";
    all.extend(named(tx, "user entitlement", of_users)?);
    Ok(all)
}

/// The roles that somebody holds, once for each kind.
pub fn roles_in_use(tx: &ReadTx<'_>) -> Result<Vec<Named>> {
    let mut all = named(tx, "role assignment", "SELECT DISTINCT role FROM role_assignments")?;
    all.extend(named(tx, "platform role", "SELECT DISTINCT role FROM platform_roles")?);
    Ok(all)
}

fn named(tx: &ReadTx<'_>, by: &'static str, sql: &'static str) -> Result<Vec<Named>> {
    let mut statement = tx.conn.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok(Named { by, key: row.get(0)? }))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The latest instant that was used in a write.
pub fn latest_at(tx: &ReadTx<'_>) -> Result<Timestamp> {
    let sql = "SELECT latest_at FROM service_state WHERE id = 1";
    Ok(tx.conn.query_row(sql, [], |row| row.get(0))?)
}
