//! Trials: which of them are open, and how many began, became the real thing and ended in each hour.

use rusqlite::named_params;

use super::{
    ReadTx, WriteTx,
    sql::{Count, Word},
};
use crate::{
    domain::{
        evidence::hour_of,
        keys::{ModuleKey, TenantKey},
        time::Timestamp,
        trials::{TrialCounts, TrialKind, TrialStep},
    },
    error::Result,
};

/// A trial begins.
pub fn start(tx: &WriteTx<'_>, tenant: &TenantKey, kind: TrialKind, key: &str) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO open_trials (tenant, kind, key, started_at)
             VALUES (:tenant, :kind, :key, :now)
             ON CONFLICT (tenant, kind, key) DO UPDATE SET started_at = excluded.started_at",
        )?
        .execute(named_params! {
            ":tenant": tenant,
            ":kind": Word(kind),
            ":key": key,
            ":now": tx.now(),
        })?;
    count(tx, tenant, kind, key, TrialStep::Started)
}

/// The tenant has properly what it had on trial, if it had: that is told once.
pub fn convert(tx: &WriteTx<'_>, tenant: &TenantKey, kind: TrialKind, key: &str) -> Result<()> {
    let closed = tx
        .read
        .conn
        .prepare_cached(
            "DELETE FROM open_trials WHERE tenant = :tenant AND kind = :kind AND key = :key",
        )?
        .execute(named_params! {":tenant": tenant, ":kind": Word(kind), ":key": key})?;
    if closed == 0 { Ok(()) } else { count(tx, tenant, kind, key, TrialStep::Converted) }
}

/// A trial has ended by itself. It may still become the real thing.
pub fn expire(tx: &WriteTx<'_>, tenant: &TenantKey, kind: TrialKind, key: &str) -> Result<()> {
    count(tx, tenant, kind, key, TrialStep::Expired)
}

fn count(
    tx: &WriteTx<'_>,
    tenant: &TenantKey,
    kind: TrialKind,
    key: &str,
    step: TrialStep,
) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO trial_hours (tenant, hour, kind, key, step, trials)
             VALUES (:tenant, :hour, :kind, :key, :step, 1)
             ON CONFLICT (tenant, hour, kind, key, step) DO UPDATE SET trials = trials + 1",
        )?
        .execute(named_params! {
            ":tenant": tenant,
            ":hour": hour_of(tx.real_now()),
            ":kind": Word(kind),
            ":key": key,
            ":step": Word(step),
        })?;
    tx.touched.borrow_mut().trials.push((kind, step));
    Ok(())
}

/// A tenant's trials that have not become the real thing.
pub fn open(tx: &ReadTx<'_>, tenant: &TenantKey) -> Result<Vec<(TrialKind, String)>> {
    let mut statement =
        tx.conn.prepare_cached("SELECT kind, key FROM open_trials WHERE tenant = :tenant")?;
    let rows = statement.query_map(named_params! {":tenant": tenant}, |row| {
        Ok((row.get::<_, Word<TrialKind>>(0)?.0, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many trials of each kind there were since `from`: of all, of one tenant, of one module.
pub fn counts(
    tx: &ReadTx<'_>,
    from: Timestamp,
    tenant: Option<&TenantKey>,
    module: Option<&ModuleKey>,
) -> Result<[(TrialKind, TrialCounts); 2]> {
    let (of_all, of_one) = (
        "SELECT kind, step, sum(trials) FROM trial_hours INDEXED BY trial_hours_by_hour
         WHERE hour >= :from AND :tenant IS NULL
           AND (:module IS NULL OR (kind = 'grant' AND key = :module))
         GROUP BY kind, step",
        "SELECT kind, step, sum(trials) FROM trial_hours
         WHERE tenant = :tenant AND hour >= :from
           AND (:module IS NULL OR (kind = 'grant' AND key = :module))
         GROUP BY kind, step",
    );
    let mut statement = tx.conn.prepare_cached(if tenant.is_some() { of_one } else { of_all })?;
    let mut rows = statement.query(named_params! {
        ":from": from,
        ":tenant": tenant,
        ":module": module.map(ModuleKey::as_str),
    })?;
    let (mut of_grants, mut of_subscriptions) = (TrialCounts::default(), TrialCounts::default());
    while let Some(row) = rows.next()? {
        let counts = match row.get::<_, Word<TrialKind>>(0)?.0 {
            TrialKind::Grant => &mut of_grants,
            TrialKind::Subscription => &mut of_subscriptions,
        };
        counts.add(row.get::<_, Word<TrialStep>>(1)?.0, row.get::<_, Count>(2)?.0);
    }
    Ok([(TrialKind::Grant, of_grants), (TrialKind::Subscription, of_subscriptions)])
}

/// Takes away up to `limit` rows of hours before `before`; how many there were.
pub fn prune(tx: &WriteTx<'_>, before: Timestamp, limit: usize) -> Result<usize> {
    let pruned = tx
        .read
        .conn
        .prepare_cached(
            "DELETE FROM trial_hours WHERE (tenant, hour, kind, key, step) IN (
                 SELECT tenant, hour, kind, key, step
                 FROM trial_hours INDEXED BY trial_hours_by_hour
                 WHERE hour < :before ORDER BY hour LIMIT :limit)",
        )?
        .execute(named_params! {
            ":before": before,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        })?;
    Ok(pruned)
}

/// Whether there is an hour before `before`.
pub fn is_older(tx: &ReadTx<'_>, before: Timestamp) -> Result<bool> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM trial_hours INDEXED BY trial_hours_by_hour
                            WHERE hour < :before)",
        )?
        .query_row(named_params! {":before": before}, |row| row.get(0))?;
    Ok(found)
}
