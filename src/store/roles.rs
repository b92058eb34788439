//! Roles that users hold in a tenant. Rows are what holds now; the trail says what was.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, WriteTx, contexts,
    due::{self, Due},
    sql::Count,
};
use crate::{
    domain::{
        contexts::ContextKey,
        keys::{ContextId, ContextType, RoleKey, TenantKey, UserKey},
        people::{HeldOn, RoleAssignment},
        time::Timestamp,
    },
    error::{Error, Result},
};

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<RoleAssignment> {
    Ok(RoleAssignment {
        tenant: Some(row.get(0)?),
        id: row.get(1)?,
        user: row.get(2)?,
        role: row.get(3)?,
        on: contexts::key(row, 4)?.map_or(HeldOn::Tenant, HeldOn::Context),
        expires_at: row.get(6)?,
        created_at: row.get(7)?,
        created_by: row.get(8)?,
    })
}

fn context_of(on: &HeldOn) -> Option<&ContextKey> {
    match on {
        HeldOn::Platform | HeldOn::Tenant => None,
        HeldOn::Context(context) => Some(context),
    }
}

/// One assignment, also one that has expired and waits for the worker.
pub fn find(tx: &ReadTx<'_>, tenant: &TenantKey, id: &str) -> Result<Option<RoleAssignment>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT tenant, id, user, role, context_type, context_id, expires_at, created_at,
                    created_by
             FROM role_assignments WHERE tenant = :tenant AND id = :id",
        )?
        .query_row(named_params! {":tenant": tenant, ":id": id}, read)
        .optional()?;
    Ok(found)
}

/// The assignment of a role to a user on one thing.
pub fn find_held(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    user: &UserKey,
    role: &RoleKey,
    on: &HeldOn,
) -> Result<Option<RoleAssignment>> {
    let context = context_of(on);
    let found = tx
        .conn
        .prepare_cached(
            "SELECT tenant, id, user, role, context_type, context_id, expires_at, created_at,
                    created_by
             FROM role_assignments INDEXED BY role_assignments_by_user
             WHERE tenant = :tenant AND user = :user AND role = :role
               AND coalesce(context_type, '') = :type AND coalesce(context_id, '') = :id",
        )?
        .query_row(
            named_params! {
                ":tenant": tenant,
                ":user": user,
                ":role": role,
                ":type": context.map_or("", |context| context.kind.as_str()),
                ":id": context.map_or("", |context| context.id.as_str()),
            },
            read,
        )
        .optional()?;
    Ok(found)
}

/// How many roles a user has in a tenant.
pub fn count_of(tx: &ReadTx<'_>, tenant: &TenantKey, user: &UserKey) -> Result<u64> {
    let count: Count = tx
        .conn
        .prepare_cached(
            "SELECT count(*) FROM role_assignments INDEXED BY role_assignments_by_user
             WHERE tenant = :tenant AND user = :user",
        )?
        .query_row(named_params! {":tenant": tenant, ":user": user}, |row| row.get(0))?;
    Ok(count.0)
}

/// Up to `limit` assignments on a context.
pub fn on_context(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    context: &ContextKey,
    limit: usize,
) -> Result<Vec<RoleAssignment>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT tenant, id, user, role, context_type, context_id, expires_at, created_at,
                created_by
         FROM role_assignments INDEXED BY role_assignments_by_context
         WHERE tenant = :tenant AND context_type = :type AND context_id = :id
         ORDER BY id LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":tenant": tenant,
            ":type": context.kind,
            ":id": context.id,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What a list of assignments is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct RoleFilter {
    /// Of this user.
    pub user: Option<UserKey>,
    /// Of this role.
    pub role: Option<RoleKey>,
    /// On contexts of this type.
    pub context_type: Option<ContextType>,
    /// On contexts with this id.
    pub context_id: Option<ContextId>,
}

/// Up to `limit` assignments of a tenant that hold at `now`, newest first, before `before`.
pub fn list(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    filter: &RoleFilter,
    now: Timestamp,
    before: Option<&str>,
    limit: usize,
) -> Result<Vec<RoleAssignment>> {
    let sql = if filter.user.is_some() {
        "SELECT tenant, id, user, role, context_type, context_id, expires_at, created_at,
                created_by
         FROM role_assignments INDEXED BY role_assignments_by_user
         WHERE tenant = :tenant AND user = :user AND (:before IS NULL OR id < :before)
           AND (:role IS NULL OR role = :role) AND (:type IS NULL OR context_type = :type)
           AND (:id IS NULL OR context_id = :id) AND (expires_at IS NULL OR expires_at > :now)
         ORDER BY id DESC LIMIT :limit"
    } else if filter.context_type.is_some() {
        "SELECT tenant, id, user, role, context_type, context_id, expires_at, created_at,
                created_by
         FROM role_assignments INDEXED BY role_assignments_by_context
         WHERE tenant = :tenant AND context_type = :type AND context_id IS NOT NULL
           AND (:id IS NULL OR context_id = :id) AND (:before IS NULL OR id < :before)
           AND (:role IS NULL OR role = :role) AND (expires_at IS NULL OR expires_at > :now)
           AND :user IS NULL
         ORDER BY id DESC LIMIT :limit"
    } else {
        "SELECT tenant, id, user, role, context_type, context_id, expires_at, created_at,
                created_by
         FROM role_assignments
         WHERE tenant = :tenant AND (:before IS NULL OR id < :before)
           AND (:role IS NULL OR role = :role) AND (expires_at IS NULL OR expires_at > :now)
           AND :user IS NULL AND :type IS NULL AND (:id IS NULL OR context_id = :id)
         ORDER BY id DESC LIMIT :limit"
    };
    let mut statement = tx.conn.prepare_cached(sql)?;
    let rows = statement.query_map(
        named_params! {
            ":tenant": tenant,
            ":user": filter.user,
            ":role": filter.role,
            ":type": filter.context_type,
            ":id": filter.context_id,
            ":now": now,
            ":before": before,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Assignments that expired by `until`, oldest first.
pub fn due(
    tx: &ReadTx<'_>,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    due::due(
        tx,
        "SELECT expires_at, tenant, id FROM role_assignments INDEXED BY role_assignments_by_expiry
         WHERE expires_at <= :until AND (expires_at, tenant, id) > (:at, :tenant, :id)
         ORDER BY expires_at, tenant, id LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// When the next assignment expires.
pub fn next_due(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT expires_at FROM role_assignments INDEXED BY role_assignments_by_expiry
         WHERE expires_at >= 0 ORDER BY expires_at LIMIT 1",
    )
}

/// Adds an assignment in a tenant.
pub fn insert(tx: &WriteTx<'_>, tenant: &TenantKey, new: &RoleAssignment) -> Result<()> {
    let context = context_of(&new.on);
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO role_assignments (tenant, id, user, role, context_type, context_id,
                 expires_at, created_at, created_by)
             VALUES (:tenant, :id, :user, :role, :context_type, :context_id, :expires_at,
                 :created_at, :created_by)",
        )?
        .execute(named_params! {
            ":tenant": tenant,
            ":id": new.id,
            ":user": new.user,
            ":role": new.role,
            ":context_type": context.map(|context| &context.kind),
            ":context_id": context.map(|context| &context.id),
            ":expires_at": new.expires_at,
            ":created_at": new.created_at,
            ":created_by": new.created_by,
        })?;
    follow(tx, Some(tenant), new)
}

/// Writes the expiry of an assignment.
pub fn set_expiry(tx: &WriteTx<'_>, tenant: &TenantKey, changed: &RoleAssignment) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE role_assignments SET expires_at = :expires_at
             WHERE tenant = :tenant AND id = :id",
        )?
        .execute(named_params! {
            ":tenant": tenant,
            ":id": changed.id,
            ":expires_at": changed.expires_at,
        })?;
    follow(tx, Some(tenant), changed)
}

/// Removes an assignment.
pub fn delete(tx: &WriteTx<'_>, tenant: &TenantKey, gone: &RoleAssignment) -> Result<()> {
    tx.read
        .conn
        .prepare_cached("DELETE FROM role_assignments WHERE tenant = :tenant AND id = :id")?
        .execute(named_params! {":tenant": tenant, ":id": gone.id})?;
    tx.touch_user(Some(tenant), &gone.user)
}

/// What else follows the writing of an assignment.
pub(super) fn follow(
    tx: &WriteTx<'_>,
    tenant: Option<&TenantKey>,
    written: &RoleAssignment,
) -> Result<()> {
    written.expires_at.into_iter().for_each(|at| tx.ends_at(at));
    tx.touch_user(tenant, &written.user)
}

/// That there is no such assignment, or none any more.
#[must_use]
pub fn not_found(id: &str) -> Error {
    Error::NotFound { kind: "role assignment", key: id.to_owned() }
}
