//! Modules and features that are given to one user, with their history.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, WriteTx,
    due::{self, Due},
    sql::{Count, Word},
};
use crate::{
    domain::{
        keys::{EntitlementKey, TenantKey, UserKey},
        people::{UserEntitlement, UserEntitlementFilter},
        time::Timestamp,
    },
    error::Result,
};

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<UserEntitlement> {
    Ok(UserEntitlement {
        id: row.get(0)?,
        tenant: row.get(1)?,
        user: row.get(2)?,
        key: row.get(3)?,
        status: row.get::<_, Word<_>>(4)?.0,
        expires_at: row.get(5)?,
        reason: row.get(6)?,
        created_at: row.get(7)?,
        created_by: row.get(8)?,
        updated_at: row.get(9)?,
        updated_by: row.get(10)?,
        revision: row.get::<_, Count>(11)?.0,
        is_delegated: row.get(12)?,
    })
}

/// One user entitlement by its id, however it stands.
pub fn find(tx: &ReadTx<'_>, id: &str) -> Result<Option<UserEntitlement>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT id, tenant, user, key, status, expires_at, reason, created_at, created_by,
                    updated_at, updated_by, revision, delegated
             FROM user_entitlements WHERE id = :id",
        )?
        .query_row(named_params! {":id": id}, read)
        .optional()?;
    Ok(found)
}

/// The one that was not ended, also where it has expired without that being recorded.
pub fn find_open(
    tx: &ReadTx<'_>,
    tenant: Option<&TenantKey>,
    user: &UserKey,
    key: &EntitlementKey,
) -> Result<Option<UserEntitlement>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT id, tenant, user, key, status, expires_at, reason, created_at, created_by,
                    updated_at, updated_by, revision, delegated
             FROM user_entitlements INDEXED BY user_entitlements_open
             WHERE user = :user AND key = :key AND coalesce(tenant, '') = coalesce(:tenant, '')
               AND status IN ('active', 'suspended')",
        )?
        .query_row(named_params! {":tenant": tenant, ":user": user, ":key": key}, read)
        .optional()?;
    Ok(found)
}

/// Up to `limit` user entitlements before `before`, newest first, by id: of a tenant, or those that
/// the user of the filter has without one.
pub fn list(
    tx: &ReadTx<'_>,
    tenant: Option<&TenantKey>,
    filter: &UserEntitlementFilter,
    now: Timestamp,
    before: Option<&str>,
    limit: usize,
) -> Result<Vec<UserEntitlement>> {
    let sql = if tenant.is_some() {
        "SELECT id, tenant, user, key, status, expires_at, reason, created_at, created_by,
                updated_at, updated_by, revision, delegated
         FROM user_entitlements INDEXED BY user_entitlements_by_tenant
         WHERE tenant = :tenant AND (:before IS NULL OR id < :before)
           AND (:user IS NULL OR user = :user) AND (:key IS NULL OR key = :key)
           AND (:status IS NULL OR :status = CASE
                WHEN status IN ('active', 'suspended') AND expires_at <= :now THEN 'expired'
                ELSE status END)
         ORDER BY id DESC LIMIT :limit"
    } else {
        "SELECT id, tenant, user, key, status, expires_at, reason, created_at, created_by,
                updated_at, updated_by, revision, delegated
         FROM user_entitlements INDEXED BY user_entitlements_by_user
         WHERE user = :user AND tenant IS :tenant AND (:before IS NULL OR id < :before)
           AND (:key IS NULL OR key = :key)
           AND (:status IS NULL OR :status = CASE
                WHEN status IN ('active', 'suspended') AND expires_at <= :now THEN 'expired'
                ELSE status END)
         ORDER BY id DESC LIMIT :limit"
    };
    let mut statement = tx.conn.prepare_cached(sql)?;
    let rows = statement.query_map(
        named_params! {
            ":tenant": tenant,
            ":user": filter.user,
            ":key": filter.key,
            ":status": filter.status.map(Word),
            ":now": now,
            ":before": before,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds a user entitlement.
pub fn insert(tx: &WriteTx<'_>, own: &UserEntitlement) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO user_entitlements (id, tenant, user, key, status, expires_at, reason,
                 created_at, created_by, updated_at, updated_by, revision, delegated)
             VALUES (:id, :tenant, :user, :key, :status, :expires_at, :reason, :created_at,
                 :created_by, :updated_at, :updated_by, :revision, :delegated)",
        )?
        .execute(named_params! {
            ":id": own.id,
            ":tenant": own.tenant,
            ":user": own.user,
            ":key": own.key,
            ":status": Word(own.status),
            ":expires_at": own.expires_at,
            ":reason": own.reason,
            ":created_at": own.created_at,
            ":created_by": own.created_by,
            ":updated_at": own.updated_at,
            ":updated_by": own.updated_by,
            ":revision": Count(own.revision),
            ":delegated": own.is_delegated,
        })?;
    follow(tx, own)
}

/// Writes what can change about a user entitlement.
pub fn update(tx: &WriteTx<'_>, own: &UserEntitlement) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE user_entitlements
             SET status = :status, expires_at = :expires_at, reason = :reason,
                 updated_at = :updated_at, updated_by = :updated_by, revision = :revision
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": own.id,
            ":status": Word(own.status),
            ":expires_at": own.expires_at,
            ":reason": own.reason,
            ":updated_at": own.updated_at,
            ":updated_by": own.updated_by,
            ":revision": Count(own.revision),
        })?;
    follow(tx, own)
}

fn follow(tx: &WriteTx<'_>, own: &UserEntitlement) -> Result<()> {
    own.expires_at.into_iter().filter(|at| *at > tx.now()).for_each(|at| tx.ends_at(at));
    tx.touch_user(own.tenant.as_ref(), &own.user)
}

/// Those that ended by `until` without that being recorded, oldest first. The id names one in the
/// service, whatever the tenant says.
pub fn due(
    tx: &ReadTx<'_>,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    due::due(
        tx,
        "SELECT expires_at, coalesce(tenant, ''), id
         FROM user_entitlements INDEXED BY user_entitlements_by_expiry
         WHERE status IN ('active', 'suspended') AND expires_at <= :until
           AND (expires_at, coalesce(tenant, ''), id) > (:at, :tenant, :id)
         ORDER BY expires_at, coalesce(tenant, ''), id LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// When the next one ends.
pub fn next_due(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT expires_at FROM user_entitlements INDEXED BY user_entitlements_by_expiry
         WHERE status IN ('active', 'suspended') AND expires_at >= 0
         ORDER BY expires_at LIMIT 1",
    )
}
