//! What the decision reads of one user, whole.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, contexts,
    snapshots::{PlanShelf, is_damage},
    sql::Count,
};
use crate::{
    domain::{
        keys::{TenantKey, UserKey},
        people::HeldOn,
        subscriptions::{PinnedPlan, SubscriptionStatus},
        time::Timestamp,
    },
    engine::{
        Holding, UserFacts,
        people::{HeldRole, HeldSeat, OwnEntitlement},
    },
    error::Result,
};

/// Reads everything about a user that can decide a question from `now` on: in `tenant`, or what holds
/// outside of all. None where a row is damaged: the user is closed, the tenant is not.
pub fn load_user(
    tx: &ReadTx<'_>,
    shelf: &PlanShelf,
    tenant: Option<&TenantKey>,
    user: &UserKey,
    now: Timestamp,
) -> Result<Option<Arc<UserFacts>>> {
    match read_facts(tx, shelf, tenant, user, now) {
        Ok(facts) => Ok(Some(Arc::new(facts))),
        Err(error) if is_damage(&error) => {
            metrics::counter!("damaged_user_loads_total").increment(1);
            tracing::error!(%user, error = &error as &dyn std::error::Error, "a damaged user");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn read_facts(
    tx: &ReadTx<'_>,
    shelf: &PlanShelf,
    tenant: Option<&TenantKey>,
    user: &UserKey,
    now: Timestamp,
) -> rusqlite::Result<UserFacts> {
    Ok(UserFacts {
        roles: match tenant {
            Some(tenant) => roles(tx, tenant, user)?,
            None => platform_roles(tx, user)?,
        },
        tier: tier(tx, shelf, tenant, user, now)?,
        seats: tenant.map_or(Ok(Vec::new()), |tenant| seats(tx, tenant, user))?,
        entitlements: entitlements(tx, tenant, user)?,
        version: version(tx, tenant)?,
    })
}

fn roles(tx: &ReadTx<'_>, tenant: &TenantKey, user: &UserKey) -> rusqlite::Result<Vec<HeldRole>> {
    let role = |row: &Row<'_>| {
        let on = contexts::key(row, 1)?.map_or(HeldOn::Tenant, HeldOn::Context);
        Ok(HeldRole { role: row.get(0)?, on, expires_at: row.get(3)? })
    };
    tx.conn
        .prepare_cached(
            "SELECT role, context_type, context_id, expires_at
             FROM role_assignments INDEXED BY role_assignments_by_user
             WHERE tenant = :tenant AND user = :user",
        )?
        .query_map(named_params! {":tenant": tenant, ":user": user}, role)?
        .collect()
}

fn platform_roles(tx: &ReadTx<'_>, user: &UserKey) -> rusqlite::Result<Vec<HeldRole>> {
    let role = |row: &Row<'_>| {
        Ok(HeldRole { role: row.get(0)?, on: HeldOn::Platform, expires_at: row.get(1)? })
    };
    tx.conn
        .prepare_cached("SELECT role, expires_at FROM platform_roles WHERE user = :user")?
        .query_map(named_params! {":user": user}, role)?
        .collect()
}

fn tier(
    tx: &ReadTx<'_>,
    shelf: &PlanShelf,
    tenant: Option<&TenantKey>,
    user: &UserKey,
    now: Timestamp,
) -> rusqlite::Result<Option<Holding>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT id, plan, plan_version, effective_from, effective_to FROM tiers
             WHERE user = :user AND coalesce(tenant, '') = coalesce(:tenant, '') AND is_over = 0
               AND (effective_to IS NULL OR effective_to > :now)",
        )?
        .query_row(named_params! {":user": user, ":tenant": tenant, ":now": now}, |row| {
            let pinned = PinnedPlan { plan: row.get(1)?, version: row.get(2)? };
            Ok((row.get(0)?, pinned, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    let Some((id, pinned, from, to)) = found else { return Ok(None) };
    let plan = shelf.get(tx, &pinned)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(Some(Holding {
        id,
        plan,
        fallback: None,
        status: SubscriptionStatus::Active,
        from,
        to,
        trial_expires_at: None,
        overdue_since: None,
        quantity: 1,
    }))
}

fn seats(tx: &ReadTx<'_>, holder: &TenantKey, user: &UserKey) -> rusqlite::Result<Vec<HeldSeat>> {
    tx.conn
        .prepare_cached(
            "SELECT key, tenant, expires_at FROM seats
             WHERE holder = :holder AND user = :user ORDER BY key, tenant",
        )?
        .query_map(named_params! {":holder": holder, ":user": user}, |row| {
            Ok(HeldSeat { key: row.get(0)?, pool: row.get(1)?, expires_at: row.get(2)? })
        })?
        .collect()
}

fn entitlements(
    tx: &ReadTx<'_>,
    tenant: Option<&TenantKey>,
    user: &UserKey,
) -> rusqlite::Result<HashMap<crate::domain::keys::EntitlementKey, OwnEntitlement>> {
    tx.conn
        .prepare_cached(
            "SELECT key, id, expires_at, delegated FROM user_entitlements
             INDEXED BY user_entitlements_open
             WHERE user = :user AND coalesce(tenant, '') = coalesce(:tenant, '')
               AND status IN ('active', 'suspended') AND status = 'active'",
        )?
        .query_map(named_params! {":user": user, ":tenant": tenant}, |row| {
            let (id, expires_at, is_delegated) = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok((row.get(0)?, OwnEntitlement { id, expires_at, is_delegated }))
        })?
        .collect()
}

/// The version of the tenant; outside of all, that of the latest change to anything.
fn version(tx: &ReadTx<'_>, tenant: Option<&TenantKey>) -> rusqlite::Result<u64> {
    let version: Option<Count> = tx
        .conn
        .prepare_cached(
            "SELECT CASE WHEN :tenant IS NULL
                 THEN (SELECT version FROM service_state WHERE id = 1)
                 ELSE (SELECT version FROM tenants WHERE tenant = :tenant) END",
        )?
        .query_row(named_params! {":tenant": tenant}, |row| row.get(0))?;
    Ok(version.map_or(0, |count| count.0))
}
