//! Catalog versions, the plan versions made with them, and what uses them.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{ReadTx, WriteTx, sql::Json};
use crate::{
    domain::{
        catalog::Format,
        keys::PlanKey,
        plans::{PlanContent, PlanVersion},
        subscriptions::PinnedPlan,
        time::Timestamp,
    },
    error::{Error, Result},
};

/// One applied catalog.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCatalog {
    /// Counts from 1.
    pub version: u32,
    /// As it was sent.
    pub document: String,
    /// What it is written in.
    pub format: Format,
    /// SHA-256 of its canonical form.
    pub digest: [u8; 32],
    /// When it was applied.
    pub applied_at: Timestamp,
    /// By whom.
    pub applied_by: String,
}

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<StoredCatalog> {
    let format: String = row.get(2)?;
    Ok(StoredCatalog {
        version: row.get(0)?,
        document: row.get(1)?,
        // The table lets no third word in.
        format: if format == "yaml" { Format::Yaml } else { Format::Json },
        digest: row.get(3)?,
        applied_at: row.get(4)?,
        applied_by: row.get(5)?,
    })
}

/// The newest catalog, if one was ever applied.
pub fn newest(tx: &ReadTx<'_>) -> Result<Option<StoredCatalog>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT version, document, format, digest, applied_at, applied_by
             FROM catalogs ORDER BY version DESC LIMIT 1",
        )?
        .query_row([], read)
        .optional()?;
    Ok(found)
}

/// The version of the newest catalog; 0 if none was ever applied.
pub fn newest_version(tx: &ReadTx<'_>) -> Result<u32> {
    let newest: Option<u32> = tx
        .conn
        .prepare_cached("SELECT max(version) FROM catalogs")?
        .query_row([], |row| row.get(0))?;
    Ok(newest.unwrap_or(0))
}

/// One version of the catalog.
pub fn get(tx: &ReadTx<'_>, version: u32) -> Result<StoredCatalog> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT version, document, format, digest, applied_at, applied_by
             FROM catalogs WHERE version = :version",
        )?
        .query_row(named_params! {":version": version}, read)
        .optional()?;
    found.ok_or_else(|| Error::NotFound { kind: "catalog version", key: version.to_string() })
}

/// Up to `limit` versions before `before`, newest first.
pub fn list(tx: &ReadTx<'_>, before: Option<u32>, limit: usize) -> Result<Vec<StoredCatalog>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT version, document, format, digest, applied_at, applied_by
         FROM catalogs WHERE version < :before ORDER BY version DESC LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":before": before.map_or(i64::MAX, i64::from),
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds a version.
pub fn insert(tx: &WriteTx<'_>, catalog: &StoredCatalog) -> Result<()> {
    let format = match catalog.format {
        Format::Yaml => "yaml",
        Format::Json => "json",
    };
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO catalogs (version, document, format, digest, applied_at, applied_by)
             VALUES (:version, :document, :format, :digest, :applied_at, :applied_by)",
        )?
        .execute(named_params! {
            ":version": catalog.version,
            ":document": catalog.document,
            ":format": format,
            ":digest": catalog.digest.as_slice(),
            ":applied_at": catalog.applied_at,
            ":applied_by": catalog.applied_by,
        })?;
    Ok(())
}

fn read_plan(row: &Row<'_>) -> rusqlite::Result<PlanVersion> {
    Ok(PlanVersion {
        plan: row.get(0)?,
        version: row.get(1)?,
        name: row.get(2)?,
        content: row.get::<_, Json<PlanContent>>(3)?.0,
    })
}

/// One version of a plan.
pub fn find_plan(tx: &ReadTx<'_>, pinned: &PinnedPlan) -> rusqlite::Result<Option<PlanVersion>> {
    tx.conn
        .prepare_cached(
            "SELECT plan, version, name, content FROM plan_versions
             WHERE plan = :plan AND version = :version",
        )?
        .query_row(named_params! {":plan": pinned.plan, ":version": pinned.version}, read_plan)
        .optional()
}

/// The newest version of a plan that was ever made.
pub fn newest_plan(tx: &ReadTx<'_>, plan: &PlanKey) -> Result<Option<PlanVersion>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT plan, version, name, content FROM plan_versions
             WHERE plan = :plan ORDER BY version DESC LIMIT 1",
        )?
        .query_row(named_params! {":plan": plan}, read_plan)
        .optional()?;
    Ok(found)
}

/// Adds a version of a plan.
pub fn insert_plan(tx: &WriteTx<'_>, plan: &PlanVersion, catalog_version: u32) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO plan_versions (plan, version, name, content, catalog_version)
             VALUES (:plan, :version, :name, :content, :catalog_version)",
        )?
        .execute(named_params! {
            ":plan": plan.plan,
            ":version": plan.version,
            ":name": plan.name,
            ":content": Json(&plan.content),
            ":catalog_version": catalog_version,
        })?;
    Ok(())
}

/// Something that uses a plan, a module or a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// `subscription`, `tier`, `grant`, `override`, `seat`, `user entitlement` or `legacy map`.
    pub kind: &'static str,
    /// How many.
    pub count: u64,
    /// One of the tenants, as an example; empty where there is none.
    pub tenant: String,
}

/// Every plan version that a subscription or tier not ended at `now` is pinned to, with one of its
/// tenants (empty for tiers outside of all) and how many there are.
pub fn pinned(tx: &ReadTx<'_>, now: Timestamp) -> Result<Vec<(PlanVersion, Use)>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT p.plan, p.version, p.name, p.content, used.holders, used.tenant, used.is_tier
         FROM plan_versions p
         JOIN (SELECT plan, version, is_tier, count(*) AS holders, max(tenant) AS tenant FROM (
                 SELECT plan, plan_version AS version, tenant, 0 AS is_tier FROM subscriptions
                 WHERE effective_to IS NULL OR effective_to > :now
                 UNION ALL
                 SELECT fallback_plan, fallback_version, tenant, 0 FROM subscriptions
                 WHERE fallback_plan IS NOT NULL AND (effective_to IS NULL OR effective_to > :now)
                 UNION ALL
                 SELECT plan, plan_version, coalesce(tenant, ''), 1
                 FROM tiers INDEXED BY tiers_by_plan
                 WHERE is_over = 0 AND (effective_to IS NULL OR effective_to > :now))
               GROUP BY plan, version, is_tier) used
           ON used.plan = p.plan AND used.version = p.version
         ORDER BY p.plan, p.version",
    )?;
    let rows = statement.query_map(named_params! {":now": now}, |row| {
        let count: i64 = row.get(4)?;
        let count = u64::try_from(count).unwrap_or_default();
        let kind = if row.get(6)? { "tier" } else { "subscription" };
        Ok((read_plan(row)?, Use { kind, count, tenant: row.get(5)? }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Grants, open overrides, seats in use, user entitlements and legacy maps on `key`.
pub fn uses_of_key(tx: &ReadTx<'_>, key: &str) -> Result<Vec<Use>> {
    let of_grants = "SELECT count(*), min(tenant) FROM grants WHERE key = :key";
    let of_overrides =
        "SELECT count(*), min(tenant) FROM overrides WHERE key = :key AND ended IS NULL";
    let of_legacy = "SELECT count(*), min(tenant) FROM legacy_modules WHERE module = :key";
    let mut uses = Vec::new();
    let of_seats = "SELECT count(*), min(tenant) FROM seats WHERE key = :key";
    let of_users = "SELECT count(*), min(coalesce(tenant, user))
         FROM user_entitlements INDEXED BY user_entitlements_by_key
         WHERE key = :key AND status IN ('active', 'suspended')";
    for (kind, sql) in [
        ("grant", of_grants),
        ("override", of_overrides),
        ("seat", of_seats),
        ("user entitlement", of_users),
        ("legacy map", of_legacy),
    ] {
        let (count, tenant): (i64, Option<String>) = tx
            .conn
            .prepare_cached(sql)?
            .query_row(named_params! {":key": key}, |row| Ok((row.get(0)?, row.get(1)?)))?;
        if let Some(tenant) = tenant {
            uses.push(Use { kind, count: u64::try_from(count).unwrap_or_default(), tenant });
        }
    }
    Ok(uses)
}

/// Assignments of `role`.
pub fn uses_of_role(tx: &ReadTx<'_>, role: &str) -> Result<Vec<Use>> {
    let of_tenants = "SELECT count(*), min(tenant) FROM role_assignments WHERE role = :role";
    let of_platform = "SELECT count(*), min(user) FROM platform_roles WHERE role = :role";
    let mut uses = Vec::new();
    for (kind, sql) in [("role assignment", of_tenants), ("platform role", of_platform)] {
        let (count, example): (i64, Option<String>) = tx
            .conn
            .prepare_cached(sql)?
            .query_row(named_params! {":role": role}, |row| Ok((row.get(0)?, row.get(1)?)))?;
        if let Some(tenant) = example {
            uses.push(Use { kind, count: u64::try_from(count).unwrap_or_default(), tenant });
        }
    }
    Ok(uses)
}
