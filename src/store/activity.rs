//! Activity: rows that are only added, counted, and pruned by age.

use rusqlite::{Row, named_params};

use super::{
    ReadTx, WriteTx,
    sql::{Count, Json},
};
use crate::{
    domain::{
        activity::{Activity, ActivityStats, Buckets, Counted},
        keys::{TenantKey, UserKey},
        time::Timestamp,
    },
    error::Result,
};

/// Most roles and actions that statistics name.
const MOST_NAMED: i64 = 100;

/// Adds what was done.
pub fn insert(tx: &WriteTx<'_>, done: &Activity) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO activity (tenant, at, user, role, action, context_type, context_id,
                 metadata)
             VALUES (:tenant, :at, :user, :role, :action, :context_type, :context_id, :metadata)",
        )?
        .execute(named_params! {
            ":tenant": done.tenant,
            ":at": done.at,
            ":user": done.user,
            ":role": done.role,
            ":action": done.action,
            ":context_type": done.context.as_ref().map(|context| &context.kind),
            ":context_id": done.context.as_ref().map(|context| &context.id),
            ":metadata": done.metadata.as_ref().map(Json),
        })?;
    Ok(())
}

/// How much was done in a tenant, by everybody or by one user.
pub fn stats(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    user: Option<&UserKey>,
    buckets: Buckets,
) -> Result<ActivityStats> {
    let narrowed = Narrowed { tx, tenant, user, buckets };
    let (of_all, of_one) = (
        "SELECT role, count(*) FROM activity INDEXED BY activity_by_time
         WHERE tenant = :tenant AND :user IS NULL AND at >= :from AND at < :until
           AND :step > 0
         GROUP BY role ORDER BY count(*) DESC, role LIMIT :limit",
        "SELECT role, count(*) FROM activity INDEXED BY activity_by_user
         WHERE tenant = :tenant AND user = :user AND at >= :from AND at < :until
           AND :step > 0
         GROUP BY role ORDER BY count(*) DESC, role LIMIT :limit",
    );
    let by_role = narrowed.counted(of_all, of_one, |row| row.get(0))?;
    let (of_all, of_one) = (
        "SELECT action, count(*) FROM activity INDEXED BY activity_by_time
         WHERE tenant = :tenant AND :user IS NULL AND at >= :from AND at < :until
           AND :step > 0
         GROUP BY action ORDER BY count(*) DESC, action LIMIT :limit",
        "SELECT action, count(*) FROM activity INDEXED BY activity_by_user
         WHERE tenant = :tenant AND user = :user AND at >= :from AND at < :until
           AND :step > 0
         GROUP BY action ORDER BY count(*) DESC, action LIMIT :limit",
    );
    let by_action = narrowed.counted(of_all, of_one, |row| row.get(0))?;
    let (of_all, of_one) = (
        "SELECT (at - :from) / :step, count(*) FROM activity INDEXED BY activity_by_time
         WHERE tenant = :tenant AND :user IS NULL AND at >= :from AND at < :until
         GROUP BY 1 ORDER BY 1 LIMIT :limit",
        "SELECT (at - :from) / :step, count(*) FROM activity INDEXED BY activity_by_user
         WHERE tenant = :tenant AND user = :user AND at >= :from AND at < :until
         GROUP BY 1 ORDER BY 1 LIMIT :limit",
    );
    let found: Vec<Counted<u32>> = narrowed.counted(of_all, of_one, |row| row.get(0))?;
    let count = |number| found.iter().find(|c| c.key == number).map_or(0, |c| c.count);
    let part = |number| Counted { key: buckets.start(number), count: count(number) };
    Ok(ActivityStats {
        total: found.iter().map(|counted| counted.count).sum(),
        by_role,
        by_action,
        over_time: (0..buckets.count).map(part).collect(),
    })
}

/// What statistics are about.
struct Narrowed<'a> {
    tx: &'a ReadTx<'a>,
    tenant: &'a TenantKey,
    user: Option<&'a UserKey>,
    buckets: Buckets,
}

impl Narrowed<'_> {
    fn counted<K>(
        &self,
        of_all: &'static str,
        of_one: &'static str,
        key: fn(&Row<'_>) -> rusqlite::Result<K>,
    ) -> Result<Vec<Counted<K>>> {
        let sql = if self.user.is_some() { of_one } else { of_all };
        let mut statement = self.tx.conn.prepare_cached(sql)?;
        let values = named_params! {
            ":tenant": self.tenant,
            ":user": self.user,
            ":from": self.buckets.from,
            ":until": self.buckets.until(),
            ":step": self.buckets.step.as_micros(),
            ":limit": MOST_NAMED,
        };
        let rows = statement.query_map(values, |row| {
            Ok(Counted { key: key(row)?, count: row.get::<_, Count>(1)?.0 })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Takes away up to `limit` of the oldest rows from before `before`; how many there were.
pub fn prune(tx: &WriteTx<'_>, before: Timestamp, limit: usize) -> Result<usize> {
    let pruned = tx
        .read
        .conn
        .prepare_cached(
            "DELETE FROM activity WHERE seq IN (
                 SELECT seq FROM activity INDEXED BY activity_by_age
                 WHERE at < :before ORDER BY at LIMIT :limit)",
        )?
        .execute(named_params! {
            ":before": before,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        })?;
    Ok(pruned)
}

/// Whether there is a row from before `before`.
pub fn is_older(tx: &ReadTx<'_>, before: Timestamp) -> Result<bool> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM activity INDEXED BY activity_by_age WHERE at < :before)",
        )?
        .query_row(named_params! {":before": before}, |row| row.get(0))?;
    Ok(found)
}
