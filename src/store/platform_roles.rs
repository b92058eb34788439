//! Roles of the application's own staff, which cover every tenant.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, WriteTx,
    due::{self, Due},
    roles::{RoleFilter, follow},
    sql::Count,
};
use crate::{
    domain::{
        keys::{RoleKey, UserKey},
        people::{HeldOn, RoleAssignment},
        time::Timestamp,
    },
    error::Result,
};

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<RoleAssignment> {
    Ok(RoleAssignment {
        tenant: None,
        id: row.get(0)?,
        user: row.get(1)?,
        role: row.get(2)?,
        on: HeldOn::Platform,
        expires_at: row.get(3)?,
        created_at: row.get(4)?,
        created_by: row.get(5)?,
    })
}

/// One assignment, also one that has expired and waits for the worker.
pub fn find(tx: &ReadTx<'_>, id: &str) -> Result<Option<RoleAssignment>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT id, user, role, expires_at, created_at, created_by
             FROM platform_roles WHERE id = :id",
        )?
        .query_row(named_params! {":id": id}, read)
        .optional()?;
    Ok(found)
}

/// The assignment of a role to a user.
pub fn find_held(
    tx: &ReadTx<'_>,
    user: &UserKey,
    role: &RoleKey,
) -> Result<Option<RoleAssignment>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT id, user, role, expires_at, created_at, created_by
             FROM platform_roles WHERE user = :user AND role = :role",
        )?
        .query_row(named_params! {":user": user, ":role": role}, read)
        .optional()?;
    Ok(found)
}

/// How many roles a user has at platform level.
pub fn count_of(tx: &ReadTx<'_>, user: &UserKey) -> Result<u64> {
    let count: Count = tx
        .conn
        .prepare_cached("SELECT count(*) FROM platform_roles WHERE user = :user")?
        .query_row(named_params! {":user": user}, |row| row.get(0))?;
    Ok(count.0)
}

/// Up to `limit` assignments that hold at `now`, newest first, before `before`.
pub fn list(
    tx: &ReadTx<'_>,
    filter: &RoleFilter,
    now: Timestamp,
    before: Option<&str>,
    limit: usize,
) -> Result<Vec<RoleAssignment>> {
    let RoleFilter { user, role, context_type: _, context_id: _ } = filter;
    let sql = if user.is_some() {
        "SELECT id, user, role, expires_at, created_at, created_by
         FROM platform_roles INDEXED BY platform_roles_by_user
         WHERE user = :user AND (:before IS NULL OR id < :before)
           AND (:role IS NULL OR role = :role) AND (expires_at IS NULL OR expires_at > :now)
         ORDER BY id DESC LIMIT :limit"
    } else {
        "SELECT id, user, role, expires_at, created_at, created_by
         FROM platform_roles
         WHERE id < coalesce(:before, 'rol_~') AND :user IS NULL
           AND (:role IS NULL OR role = :role) AND (expires_at IS NULL OR expires_at > :now)
         ORDER BY id DESC LIMIT :limit"
    };
    let mut statement = tx.conn.prepare_cached(sql)?;
    let rows = statement.query_map(
        named_params! {
            ":user": user,
            ":role": role,
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
        "SELECT expires_at, NULL, id FROM platform_roles INDEXED BY platform_roles_by_expiry
         WHERE expires_at <= :until AND (expires_at, id) > (:at, :id) AND :tenant = ''
         ORDER BY expires_at, id LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// When the next assignment expires.
pub fn next_due(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT expires_at FROM platform_roles INDEXED BY platform_roles_by_expiry
         WHERE expires_at >= 0 ORDER BY expires_at LIMIT 1",
    )
}

/// Adds an assignment.
pub fn insert(tx: &WriteTx<'_>, new: &RoleAssignment) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO platform_roles (id, user, role, expires_at, created_at, created_by)
             VALUES (:id, :user, :role, :expires_at, :created_at, :created_by)",
        )?
        .execute(named_params! {
            ":id": new.id,
            ":user": new.user,
            ":role": new.role,
            ":expires_at": new.expires_at,
            ":created_at": new.created_at,
            ":created_by": new.created_by,
        })?;
    follow(tx, None, new)
}

/// Writes the expiry of an assignment.
pub fn set_expiry(tx: &WriteTx<'_>, changed: &RoleAssignment) -> Result<()> {
    tx.read
        .conn
        .prepare_cached("UPDATE platform_roles SET expires_at = :expires_at WHERE id = :id")?
        .execute(named_params! {":id": changed.id, ":expires_at": changed.expires_at})?;
    follow(tx, None, changed)
}

/// Removes an assignment.
pub fn delete(tx: &WriteTx<'_>, gone: &RoleAssignment) -> Result<()> {
    tx.read
        .conn
        .prepare_cached("DELETE FROM platform_roles WHERE id = :id")?
        .execute(named_params! {":id": gone.id})?;
    tx.touch_user(None, &gone.user)
}
