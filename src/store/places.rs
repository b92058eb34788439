//! Who there is: tenants by key, and the users that something is known of, in pages.

use rusqlite::named_params;

use super::ReadTx;
use crate::{
    domain::keys::{TenantKey, UserKey},
    error::Result,
};

/// Up to `limit` tenants behind `after`, by key.
pub fn tenants(tx: &ReadTx<'_>, after: Option<&TenantKey>, limit: usize) -> Result<Vec<TenantKey>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT tenant FROM tenants WHERE tenant > :after ORDER BY tenant LIMIT :limit",
    )?;
    let after = after.map_or("", TenantKey::as_str);
    let rows = statement
        .query_map(named_params! {":after": after, ":limit": count(limit)}, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Up to `limit` tenants below `tenant`, at any depth, by key; whether users of theirs have seats of
/// tenants further up.
pub fn borrowing_below(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    limit: usize,
) -> Result<Vec<(TenantKey, bool)>> {
    let mut statement = tx.conn.prepare_cached(
        "WITH RECURSIVE below (tenant) AS (
             SELECT tenant FROM tenants INDEXED BY tenants_by_parent WHERE parent = :tenant
             UNION
             SELECT child.tenant
             FROM below JOIN tenants child INDEXED BY tenants_by_parent
                 ON child.parent = below.tenant
             LIMIT :limit)
         SELECT tenant, EXISTS (
             SELECT 1 FROM seats INDEXED BY seats_by_holder
             WHERE holder = below.tenant AND seats.tenant <> below.tenant)
         FROM below ORDER BY tenant",
    )?;
    let named = named_params! {":tenant": tenant, ":limit": count(limit)};
    let rows = statement.query_map(named, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Up to `limit` users behind `after` of whom something is known in a tenant, by key.
pub fn users(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    after: Option<&UserKey>,
    limit: usize,
) -> Result<Vec<UserKey>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT user FROM (
             SELECT DISTINCT user FROM role_assignments INDEXED BY role_assignments_by_user
             WHERE tenant = :tenant AND user > :after ORDER BY user LIMIT :limit)
         UNION
         SELECT user FROM (
             SELECT DISTINCT user FROM seats INDEXED BY seats_by_holder
             WHERE holder = :tenant AND user > :after ORDER BY user LIMIT :limit)
         UNION
         SELECT user FROM (
             SELECT DISTINCT user FROM tiers INDEXED BY tiers_by_tenant
             WHERE is_over = 0 AND tenant = :tenant AND user > :after ORDER BY user LIMIT :limit)
         UNION
         SELECT user FROM (
             SELECT DISTINCT user
             FROM user_entitlements INDEXED BY user_entitlements_by_tenant_and_user
             WHERE status = 'active' AND tenant = :tenant AND user > :after
             ORDER BY user LIMIT :limit)
         ORDER BY 1 LIMIT :limit",
    )?;
    let after = after.map_or("", UserKey::as_str);
    let named = named_params! {":tenant": tenant, ":after": after, ":limit": count(limit)};
    let rows = statement.query_map(named, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Up to `limit` users of a tenant behind `after` who have seats of tenants further up, by key.
pub fn borrowers(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    after: Option<&UserKey>,
    limit: usize,
) -> Result<Vec<UserKey>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT DISTINCT user FROM seats INDEXED BY seats_by_holder
         WHERE holder = :tenant AND tenant <> :tenant AND user > :after
         ORDER BY user LIMIT :limit",
    )?;
    let after = after.map_or("", UserKey::as_str);
    let named = named_params! {":tenant": tenant, ":after": after, ":limit": count(limit)};
    let rows = statement.query_map(named, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Up to `limit` users behind `after` of whom something is known outside of all tenants, by key.
pub fn users_alone(tx: &ReadTx<'_>, after: Option<&UserKey>, limit: usize) -> Result<Vec<UserKey>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT user FROM (
             SELECT DISTINCT user FROM platform_roles INDEXED BY platform_roles_by_user
             WHERE user > :after ORDER BY user LIMIT :limit)
         UNION
         SELECT user FROM (
             SELECT DISTINCT user FROM tiers INDEXED BY tiers_by_tenant
             WHERE is_over = 0 AND tenant IS NULL AND user > :after ORDER BY user LIMIT :limit)
         UNION
         SELECT user FROM (
             SELECT DISTINCT user
             FROM user_entitlements INDEXED BY user_entitlements_by_tenant_and_user
             WHERE status = 'active' AND tenant IS NULL AND user > :after
             ORDER BY user LIMIT :limit)
         ORDER BY 1 LIMIT :limit",
    )?;
    let after = after.map_or("", UserKey::as_str);
    let rows = statement
        .query_map(named_params! {":after": after, ":limit": count(limit)}, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
