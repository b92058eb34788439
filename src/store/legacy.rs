//! The old maps `enabled_modules`, and how they are kept.

use std::collections::BTreeMap;

use rusqlite::{Row, named_params};

use super::{
    ReadTx, WriteTx,
    sql::{Count, Json},
};
use crate::{
    domain::{
        keys::{EntitlementKey, ModuleKey, TenantKey},
        legacy::{DualWrite, LegacyMap, LegacySettings, OldName, StoredLegacy},
        time::Timestamp,
    },
    error::Result,
};

fn dual_write(is_on: bool) -> DualWrite {
    if is_on { DualWrite::On } else { DualWrite::Off }
}

// Takes the columns in the order in which the statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<StoredLegacy> {
    let at: Option<Timestamp> = row.get(2)?;
    let by: Option<String> = row.get(3)?;
    Ok(StoredLegacy {
        settings: LegacySettings {
            dual_write: dual_write(row.get(0)?),
            names: row.get::<_, Json<BTreeMap<OldName, ModuleKey>>>(1)?.0,
        },
        updated: at.zip(by),
        revision: row.get::<_, Count>(4)?.0,
    })
}

/// How the maps are kept.
pub fn settings(tx: &ReadTx<'_>) -> Result<StoredLegacy> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT dual_write, names, updated_at, updated_by, revision
             FROM legacy_settings WHERE id = 1",
        )?
        .query_row([], read)?;
    Ok(found)
}

/// Whether the maps follow changes.
pub fn is_kept(tx: &ReadTx<'_>) -> Result<DualWrite> {
    let is_on = tx
        .conn
        .prepare_cached("SELECT dual_write FROM legacy_settings WHERE id = 1")?
        .query_row([], |row| row.get(0))?;
    Ok(dual_write(is_on))
}

/// Replaces the settings.
pub fn update_settings(tx: &WriteTx<'_>, settings: &LegacySettings, by: &str) -> Result<()> {
    let LegacySettings { dual_write, names } = settings;
    tx.read
        .conn
        .prepare_cached(
            "UPDATE legacy_settings
             SET dual_write = :dual_write, names = :names, updated_at = :now, updated_by = :by,
                 revision = revision + 1
             WHERE id = 1",
        )?
        .execute(named_params! {
            ":dual_write": *dual_write == DualWrite::On,
            ":names": Json(names),
            ":now": tx.now(),
            ":by": by,
        })?;
    Ok(())
}

/// The map of a tenant; empty where it has none.
pub fn map(tx: &ReadTx<'_>, tenant: &TenantKey) -> Result<LegacyMap> {
    let map = tx
        .conn
        .prepare_cached(
            "SELECT module, enabled FROM legacy_modules WHERE tenant = :tenant ORDER BY module",
        )?
        .query_map(named_params! {":tenant": tenant}, |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(map)
}

/// Puts another map in place of the present one.
pub fn replace(tx: &WriteTx<'_>, tenant: &TenantKey, map: &LegacyMap) -> Result<()> {
    tx.read
        .conn
        .prepare_cached("DELETE FROM legacy_modules WHERE tenant = :tenant")?
        .execute(named_params! {":tenant": tenant})?;
    let mut statement = tx.read.conn.prepare_cached(
        "INSERT INTO legacy_modules (tenant, module, enabled) VALUES (:tenant, :module, :enabled)",
    )?;
    for (module, is_on) in map {
        statement
            .execute(named_params! {":tenant": tenant, ":module": module, ":enabled": is_on})?;
    }
    Ok(())
}

/// Switches a module on in a tenant's map.
pub fn switch_on(tx: &WriteTx<'_>, tenant: &TenantKey, module: &EntitlementKey) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO legacy_modules (tenant, module, enabled) VALUES (:tenant, :module, 1)
             ON CONFLICT (tenant, module) DO UPDATE SET enabled = 1",
        )?
        .execute(named_params! {":tenant": tenant, ":module": module})?;
    Ok(())
}

/// Switches a module off in a tenant's map, if that names it.
pub fn switch_off(tx: &WriteTx<'_>, tenant: &TenantKey, module: &EntitlementKey) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE legacy_modules SET enabled = 0 WHERE tenant = :tenant AND module = :module",
        )?
        .execute(named_params! {":tenant": tenant, ":module": module})?;
    Ok(())
}

/// What the grants of a tenant say at `now`, on features too: whether each gives its key.
pub fn granted(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    now: Timestamp,
) -> Result<BTreeMap<String, bool>> {
    let granted = tx
        .conn
        .prepare_cached(
            "SELECT key, state = 'enabled' OR (state = 'trial' AND trial_expires_at > :now)
             FROM grants WHERE tenant = :tenant ORDER BY key",
        )?
        .query_map(named_params! {":tenant": tenant, ":now": now}, |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(granted)
}

/// Up to `limit` tenants behind `after`, by key.
pub fn tenants(tx: &ReadTx<'_>, after: &str, limit: usize) -> Result<Vec<TenantKey>> {
    let keys = tx
        .conn
        .prepare_cached(
            "SELECT tenant FROM tenants WHERE tenant > :after ORDER BY tenant LIMIT :limit",
        )?
        .query_map(named_params! {":after": after, ":limit": Count(limit as u64)}, |row| {
            row.get(0)
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(keys)
}

/// Up to `limit` tenants before `before`, the nearest first.
pub fn tenants_before(tx: &ReadTx<'_>, before: &str, limit: usize) -> Result<Vec<TenantKey>> {
    let keys = tx
        .conn
        .prepare_cached(
            "SELECT tenant FROM tenants WHERE tenant < :before ORDER BY tenant DESC LIMIT :limit",
        )?
        .query_map(named_params! {":before": before, ":limit": Count(limit as u64)}, |row| {
            row.get(0)
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(keys)
}

/// Up to `limit` tenants behind `after` that have a map, by key.
pub fn mapped(tx: &ReadTx<'_>, after: &str, limit: usize) -> Result<Vec<TenantKey>> {
    let keys = tx
        .conn
        .prepare_cached(
            "SELECT DISTINCT tenant FROM legacy_modules WHERE tenant > :after
             ORDER BY tenant LIMIT :limit",
        )?
        .query_map(named_params! {":after": after, ":limit": Count(limit as u64)}, |row| {
            row.get(0)
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(keys)
}
