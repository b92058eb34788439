//! Tenants.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, WriteTx,
    sql::{Count, Json, Word},
};
use crate::{
    domain::{
        keys::TenantKey,
        tenants::{Suspension, Tenant},
        time::Span,
    },
    error::{Error, Result},
};

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<Tenant> {
    let suspended_at = row.get::<_, Option<_>>(4)?;
    Ok(Tenant {
        key: row.get(0)?,
        name: row.get(1)?,
        parent: row.get(2)?,
        suspension: match suspended_at {
            Some(at) => Some(Suspension { by: row.get(3)?, at, reason: row.get(5)? }),
            None => None,
        },
        billing: row.get::<_, Word<_>>(6)?.0,
        demo: row.get(7)?,
        sandbox: row.get(8)?,
        attributes: row.get::<_, Json<_>>(9)?.0,
        created_at: row.get(10)?,
        updated_at: row.get(11)?,
        revision: row.get::<_, Count>(12)?.0,
        ahead: row.get(14)?,
    })
}

/// A tenant and the version of its latest change.
pub fn find_versioned(tx: &ReadTx<'_>, key: &TenantKey) -> rusqlite::Result<Option<(Tenant, u64)>> {
    tx.conn
        .prepare_cached(
            "SELECT tenant, name, parent, suspended_by, suspended_at, suspended_reason, billing,
                    demo, sandbox, attributes, created_at, updated_at, revision, version, clock_ahead
             FROM tenants WHERE tenant = :tenant",
        )?
        .query_row(named_params! {":tenant": key}, |row| {
            Ok((read(row)?, row.get::<_, Count>(13)?.0))
        })
        .optional()
}

/// A tenant, if there is one.
pub fn find(tx: &ReadTx<'_>, key: &TenantKey) -> Result<Option<Tenant>> {
    Ok(find_versioned(tx, key)?.map(|(tenant, _)| tenant))
}

/// A tenant that must be there.
pub fn get(tx: &ReadTx<'_>, key: &TenantKey) -> Result<Tenant> {
    find(tx, key)?.ok_or_else(|| Error::TenantNotFound(key.to_string()))
}

/// What a list of tenants is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct TenantFilter {
    /// Part of the key or the name; letters of ASCII in any case.
    pub text: Option<String>,
    /// Only suspended ones, or only those that are not.
    pub suspended: Option<bool>,
    /// Only tenants on this plan, base or add-on, now; after an ended trial on its fallback.
    pub plan: Option<String>,
}

/// Up to `limit` tenants after `after`, by key.
pub fn list(
    tx: &ReadTx<'_>,
    filter: &TenantFilter,
    after: Option<&str>,
    now: crate::domain::time::Timestamp,
    limit: usize,
) -> Result<Vec<Tenant>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT tenant, name, parent, suspended_by, suspended_at, suspended_reason, billing,
                demo, sandbox, attributes, created_at, updated_at, revision, version, clock_ahead
         FROM tenants
         WHERE tenant > :after
           AND (:text IS NULL OR instr(lower(tenant), lower(:text)) > 0
                OR instr(lower(name), lower(:text)) > 0)
           AND (:suspended IS NULL OR (suspended_at IS NOT NULL) = :suspended)
           AND (:plan IS NULL OR EXISTS (
                SELECT 1 FROM subscriptions s
                WHERE s.tenant = tenants.tenant AND s.effective_from <= :now + tenants.clock_ahead
                  AND :plan = CASE WHEN s.status = 'trialing' AND s.trial_expires_at <= :now + tenants.clock_ahead
                                   THEN s.fallback_plan ELSE s.plan END
                  AND (s.effective_to IS NULL OR s.effective_to > :now + tenants.clock_ahead)))
         ORDER BY tenant LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":after": after.unwrap_or_default(),
            ":text": filter.text,
            ":suspended": filter.suspended,
            ":plan": filter.plan,
            ":now": now,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes a tenant; whether there was none with its key.
pub fn insert(tx: &WriteTx<'_>, tenant: &Tenant) -> Result<bool> {
    let inserted = tx
        .read
        .conn
        .prepare_cached(
            "INSERT INTO tenants (tenant, name, parent, suspended_by, suspended_at,
                 suspended_reason, billing, demo, sandbox, attributes, created_at, updated_at,
                 revision, version)
             VALUES (:tenant, :name, :parent, NULL, NULL, NULL, :billing, :demo, :sandbox,
                 :attributes, :created_at, :updated_at, :revision, 0)
             ON CONFLICT (tenant) DO NOTHING",
        )?
        .execute(named_params! {
            ":tenant": tenant.key,
            ":name": tenant.name,
            ":parent": tenant.parent,
            ":billing": Word(tenant.billing),
            ":demo": tenant.demo,
            ":sandbox": tenant.sandbox,
            ":attributes": Json(&tenant.attributes),
            ":created_at": tenant.created_at,
            ":updated_at": tenant.updated_at,
            ":revision": Count(tenant.revision),
        })?;
    Ok(inserted == 1)
}

/// How far a tenant's clock is ahead; nothing where there is no such tenant.
pub(super) fn ahead(tx: &ReadTx<'_>, tenant: &TenantKey) -> Result<Span> {
    let found = tx
        .conn
        .prepare_cached("SELECT clock_ahead FROM tenants WHERE tenant = :tenant")?
        .query_row(named_params! {":tenant": tenant}, |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Whether a tenant is a sandbox.
pub fn is_sandbox(tx: &ReadTx<'_>, tenant: &TenantKey) -> Result<bool> {
    let found = tx
        .conn
        .prepare_cached("SELECT sandbox FROM tenants WHERE tenant = :tenant")?
        .query_row(named_params! {":tenant": tenant}, |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Every tenant whose clock is ahead, and by how much.
pub fn all_ahead(tx: &ReadTx<'_>) -> Result<HashMap<TenantKey, Span>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT tenant, clock_ahead FROM tenants INDEXED BY tenants_ahead WHERE clock_ahead > 0",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Moves a tenant's clock.
pub fn set_ahead(tx: &WriteTx<'_>, tenant: &TenantKey, ahead: Span) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE tenants SET clock_ahead = :ahead, revision = revision + 1, updated_at = :now
             WHERE tenant = :tenant",
        )?
        .execute(named_params! {":tenant": tenant, ":ahead": ahead, ":now": tx.real_now()})?;
    Ok(())
}

/// Writes what can change about a tenant.
pub fn update(tx: &WriteTx<'_>, tenant: &Tenant) -> Result<()> {
    let suspension = tenant.suspension.as_ref();
    tx.read
        .conn
        .prepare_cached(
            "UPDATE tenants
             SET name = :name, parent = :parent, suspended_by = :by, suspended_at = :at,
                 suspended_reason = :reason, billing = :billing, demo = :demo,
                 attributes = :attributes, updated_at = :updated_at, revision = :revision
             WHERE tenant = :tenant",
        )?
        .execute(named_params! {
            ":tenant": tenant.key,
            ":name": tenant.name,
            ":parent": tenant.parent,
            ":by": suspension.map(|s| &s.by),
            ":at": suspension.map(|s| s.at),
            ":reason": suspension.map(|s| &s.reason),
            ":billing": Word(tenant.billing),
            ":demo": tenant.demo,
            ":attributes": Json(&tenant.attributes),
            ":updated_at": tenant.updated_at,
            ":revision": Count(tenant.revision),
        })?;
    Ok(())
}

/// The version of the latest change steps to that of this change.
pub(super) fn set_version(tx: &WriteTx<'_>, tenant: &TenantKey) -> Result<()> {
    tx.read
        .conn
        .prepare_cached("UPDATE tenants SET version = :version WHERE tenant = :tenant")?
        .execute(named_params! {":tenant": tenant, ":version": Count(tx.version)})?;
    Ok(())
}
