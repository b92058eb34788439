//! Contexts: the tree of each tenant.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{ContextChange, ReadTx, WriteTx, sql::Count};
use crate::{
    domain::{
        contexts::{Context, ContextKey, MAX_DEPTH},
        keys::{ContextId, ContextType, TenantKey},
    },
    engine::ContextTree,
    error::Result,
};

/// A key that stands in two columns, which are both set or both not.
pub(super) fn key(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<ContextKey>> {
    let kind: Option<ContextType> = row.get(first)?;
    let id: Option<ContextId> = row.get(first + 1)?;
    Ok(kind.zip(id).map(|(kind, id)| ContextKey { kind, id }))
}

/// The whole tree of a tenant.
pub fn tree(tx: &ReadTx<'_>, tenant: &TenantKey) -> Result<ContextTree> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT type, id, parent_type, parent_id FROM contexts WHERE tenant = :tenant",
    )?;
    let rows = statement.query_map(named_params! {":tenant": tenant}, |row| {
        let this = key(row, 0)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        Ok((this, key(row, 2)?))
    })?;
    let nodes: Vec<_> = rows.collect::<Result<_, _>>()?;
    Ok(ContextTree::new(nodes))
}

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<Context> {
    Ok(Context {
        tenant: row.get(0)?,
        key: ContextKey { kind: row.get(1)?, id: row.get(2)? },
        parent: key(row, 3)?,
        created_at: row.get(5)?,
        updated_at: row.get(6)?,
        revision: row.get::<_, Count>(7)?.0,
    })
}

/// One context.
pub fn find(tx: &ReadTx<'_>, tenant: &TenantKey, context: &ContextKey) -> Result<Option<Context>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT tenant, type, id, parent_type, parent_id, created_at, updated_at, revision
             FROM contexts WHERE tenant = :tenant AND type = :type AND id = :id",
        )?
        .query_row(
            named_params! {":tenant": tenant, ":type": context.kind, ":id": context.id},
            read,
        )
        .optional()?;
    Ok(found)
}

/// Makes or moves a context.
pub fn upsert(tx: &WriteTx<'_>, context: &Context) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO contexts (tenant, type, id, parent_type, parent_id, created_at,
                 updated_at, revision)
             VALUES (:tenant, :type, :id, :parent_type, :parent_id, :created_at, :updated_at,
                 :revision)
             ON CONFLICT (tenant, type, id) DO UPDATE
             SET parent_type = excluded.parent_type, parent_id = excluded.parent_id,
                 updated_at = excluded.updated_at, revision = excluded.revision",
        )?
        .execute(named_params! {
            ":tenant": context.tenant,
            ":type": context.key.kind,
            ":id": context.key.id,
            ":parent_type": context.parent.as_ref().map(|parent| &parent.kind),
            ":parent_id": context.parent.as_ref().map(|parent| &parent.id),
            ":created_at": context.created_at,
            ":updated_at": context.updated_at,
            ":revision": Count(context.revision),
        })?;
    tx.touch_context(ContextChange {
        tenant: context.tenant.clone(),
        key: context.key.clone(),
        parent: Some(context.parent.clone()),
    })
}

/// Removes a context that has nothing below it and on which nothing is held.
pub fn delete(tx: &WriteTx<'_>, tenant: &TenantKey, context: &ContextKey) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "DELETE FROM contexts WHERE tenant = :tenant AND type = :type AND id = :id",
        )?
        .execute(named_params! {":tenant": tenant, ":type": context.kind, ":id": context.id})?;
    tx.touch_context(ContextChange { tenant: tenant.clone(), key: context.clone(), parent: None })
}

/// How many contexts a tenant has.
pub fn count(tx: &ReadTx<'_>, tenant: &TenantKey) -> Result<u64> {
    let found = tx
        .conn
        .prepare_cached("SELECT contexts FROM context_counts WHERE tenant = :tenant")?
        .query_row(named_params! {":tenant": tenant}, |row| row.get::<_, Count>(0))
        .optional()?;
    Ok(found.map_or(0, |count| count.0))
}

/// One of the contexts right below another.
pub fn child(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    parent: &ContextKey,
) -> Result<Option<ContextKey>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT type, id FROM contexts INDEXED BY contexts_by_parent
             WHERE tenant = :tenant AND parent_type = :type AND parent_id = :id LIMIT 1",
        )?
        .query_row(
            named_params! {":tenant": tenant, ":type": parent.kind, ":id": parent.id},
            |row| Ok(ContextKey { kind: row.get(0)?, id: row.get(1)? }),
        )
        .optional()?;
    Ok(found)
}

/// How many levels a context and what is below it take: 1 where nothing is.
pub fn height(tx: &ReadTx<'_>, tenant: &TenantKey, top: &ContextKey) -> Result<usize> {
    let levels: Count = tx
        .conn
        .prepare_cached(
            "WITH RECURSIVE below (type, id, level) AS (
                 VALUES (:type, :id, 1)
                 UNION ALL
                 SELECT c.type, c.id, below.level + 1
                 FROM below CROSS JOIN contexts c INDEXED BY contexts_by_parent
                   ON c.tenant = :tenant AND c.parent_type = below.type AND c.parent_id = below.id
                 WHERE below.level <= :deepest)
             SELECT max(level) FROM below",
        )?
        .query_row(
            named_params! {
                ":tenant": tenant,
                ":type": top.kind,
                ":id": top.id,
                ":deepest": i64::try_from(MAX_DEPTH).unwrap_or(i64::MAX),
            },
            |row| row.get(0),
        )?;
    Ok(usize::try_from(levels.0).unwrap_or(usize::MAX))
}

/// What a list of contexts is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct ContextFilter {
    /// Of this type.
    pub kind: Option<ContextType>,
    /// Right below this one.
    pub parent: Option<ContextKey>,
}

/// Up to `limit` contexts of a tenant after `after`, by type and id.
pub fn list(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    filter: &ContextFilter,
    after: Option<&(String, String)>,
    limit: usize,
) -> Result<Vec<Context>> {
    let sql = if filter.parent.is_some() {
        "SELECT tenant, type, id, parent_type, parent_id, created_at, updated_at, revision
         FROM contexts INDEXED BY contexts_by_parent
         WHERE tenant = :tenant AND parent_type = :parent_type AND parent_id = :parent_id
           AND (type, id) > (:after_type, :after_id) AND (:type IS NULL OR type = :type)
         ORDER BY type, id LIMIT :limit"
    } else if filter.kind.is_some() {
        "SELECT tenant, type, id, parent_type, parent_id, created_at, updated_at, revision
         FROM contexts
         WHERE tenant = :tenant AND type = :type AND (type, id) > (:after_type, :after_id)
           AND :parent_type IS NULL AND :parent_id IS NULL
         ORDER BY type, id LIMIT :limit"
    } else {
        "SELECT tenant, type, id, parent_type, parent_id, created_at, updated_at, revision
         FROM contexts
         WHERE tenant = :tenant AND (type, id) > (:after_type, :after_id)
           AND :type IS NULL AND :parent_type IS NULL AND :parent_id IS NULL
         ORDER BY type, id LIMIT :limit"
    };
    let mut statement = tx.conn.prepare_cached(sql)?;
    let rows = statement.query_map(
        named_params! {
            ":tenant": tenant,
            ":type": filter.kind,
            ":parent_type": filter.parent.as_ref().map(|parent| &parent.kind),
            ":parent_id": filter.parent.as_ref().map(|parent| &parent.id),
            ":after_type": after.map_or("", |(kind, _)| kind),
            ":after_id": after.map_or("", |(_, id)| id),
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}
