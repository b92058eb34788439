//! Subscriptions. Closed rows are never written again: they are the history.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, WriteTx,
    sql::{Count, Word},
    usage_rechecks,
};
use crate::{
    domain::{
        keys::{PlanKey, TenantKey},
        subscriptions::{PinnedPlan, Subscription, SubscriptionStatus},
        time::Timestamp,
    },
    error::{Error, Result},
};

// Takes the columns in the order in which each statement below lists them.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Subscription> {
    let fallback_plan: Option<PlanKey> = row.get(9)?;
    Ok(Subscription {
        tenant: row.get(0)?,
        id: row.get(1)?,
        kind: row.get::<_, Word<_>>(2)?.0,
        plan: PinnedPlan { plan: row.get(3)?, version: row.get(4)? },
        status: row.get::<_, Word<_>>(5)?.0,
        effective_from: row.get(6)?,
        effective_to: row.get(7)?,
        trial_expires_at: row.get(8)?,
        trial_fallback: match fallback_plan {
            Some(plan) => Some(PinnedPlan { plan, version: row.get(10)? }),
            None => None,
        },
        overdue_since: row.get(11)?,
        quantity: row.get(12)?,
        change_reason: row.get(13)?,
        created_at: row.get(14)?,
        updated_at: row.get(15)?,
        revision: row.get::<_, Count>(16)?.0,
    })
}

/// One subscription of a tenant.
pub fn get(tx: &ReadTx<'_>, tenant: &TenantKey, id: &str) -> Result<Subscription> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT tenant, id, kind, plan, plan_version, status, effective_from, effective_to,
                    trial_expires_at, fallback_plan, fallback_version, overdue_since, quantity,
                    change_reason, created_at, updated_at, revision
             FROM subscriptions WHERE tenant = :tenant AND id = :id",
        )?
        .query_row(named_params! {":tenant": tenant, ":id": id}, read)
        .optional()?;
    found.ok_or_else(|| Error::NotFound { kind: "subscription", key: id.to_owned() })
}

/// Every subscription of a tenant that has not ended at `now`: in effect or scheduled.
pub(super) fn current(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    now: Timestamp,
) -> rusqlite::Result<Vec<Subscription>> {
    tx.conn
        .prepare_cached(
            "SELECT tenant, id, kind, plan, plan_version, status, effective_from, effective_to,
                    trial_expires_at, fallback_plan, fallback_version, overdue_since, quantity,
                    change_reason, created_at, updated_at, revision
             FROM subscriptions
             WHERE tenant = :tenant AND (effective_to IS NULL OR effective_to > :now)",
        )?
        .query_map(named_params! {":tenant": tenant, ":now": now}, read)?
        .collect()
}

/// Since when base subscriptions have followed each other without a gap, up to the first that has not
/// ended at `now`.
pub(super) fn base_since(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    now: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT effective_from, effective_to FROM subscriptions
         WHERE tenant = :tenant AND kind = 'base' ORDER BY effective_from, id",
    )?;
    let mut rows = statement.query(named_params! {":tenant": tenant})?;
    let mut run: Option<(Timestamp, Timestamp)> = None;
    while let Some(row) = rows.next()? {
        let (from, to): (Timestamp, Option<Timestamp>) = (row.get(0)?, row.get(1)?);
        let since = run.filter(|(_, end)| *end == from).map_or(from, |(since, _)| since);
        match to {
            // A subscription that was replaced before it began is no part of the history.
            Some(to) if to <= from => {}
            Some(to) if to <= now => run = Some((since, to)),
            Some(_) | None => return Ok(Some(since)),
        }
    }
    Ok(None)
}

/// The history of a tenant, newest first: up to `limit` rows before `before`, by id.
pub fn list(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    before: Option<&str>,
    limit: usize,
) -> Result<Vec<Subscription>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT tenant, id, kind, plan, plan_version, status, effective_from, effective_to,
                trial_expires_at, fallback_plan, fallback_version, overdue_since, quantity,
                change_reason, created_at, updated_at, revision
         FROM subscriptions
         WHERE tenant = :tenant AND (:before IS NULL OR id < :before)
         ORDER BY id DESC LIMIT :limit",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement
        .query_map(named_params! {":tenant": tenant, ":before": before, ":limit": limit}, read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Base subscriptions that have not ended at `now`, by start.
pub fn bases(tx: &ReadTx<'_>, tenant: &TenantKey, now: Timestamp) -> Result<Vec<Subscription>> {
    let mut bases = current(tx, tenant, now)?;
    bases.retain(|s| s.kind == crate::domain::catalog::PlanKind::Base);
    bases.sort_by_key(|s| s.effective_from);
    Ok(bases)
}

/// Plans that a tenant was ever on as a trial.
pub fn tried(tx: &ReadTx<'_>, tenant: &TenantKey) -> rusqlite::Result<Vec<PlanKey>> {
    tx.conn
        .prepare_cached(
            "SELECT DISTINCT plan FROM subscriptions WHERE tenant = :tenant AND tried = 1",
        )?
        .query_map(named_params! {":tenant": tenant}, |row| row.get(0))?
        .collect()
}

/// Adds a subscription.
pub fn insert(tx: &WriteTx<'_>, subscription: &Subscription) -> Result<()> {
    let tried = subscription.status == SubscriptionStatus::Trialing;
    let fallback = subscription.trial_fallback.as_ref();
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO subscriptions (tenant, id, kind, plan, plan_version, status,
                 effective_from, effective_to, trial_expires_at, fallback_plan, fallback_version,
                 overdue_since, quantity, change_reason, created_at, updated_at, revision, tried,
                 start_recorded)
             VALUES (:tenant, :id, :kind, :plan, :plan_version, :status, :effective_from,
                 :effective_to, :trial_expires_at, :fallback_plan, :fallback_version,
                 :overdue_since, :quantity, :change_reason, :created_at, :updated_at, :revision,
                 :tried, :effective_from <= :now)",
        )?
        .execute(named_params! {
            ":tenant": subscription.tenant,
            ":id": subscription.id,
            ":kind": Word(subscription.kind),
            ":plan": subscription.plan.plan,
            ":plan_version": subscription.plan.version,
            ":status": Word(subscription.status),
            ":effective_from": subscription.effective_from,
            ":effective_to": subscription.effective_to,
            ":trial_expires_at": subscription.trial_expires_at,
            ":fallback_plan": fallback.map(|f| &f.plan),
            ":fallback_version": fallback.map(|f| f.version),
            ":overdue_since": subscription.overdue_since,
            ":quantity": subscription.quantity,
            ":change_reason": subscription.change_reason,
            ":created_at": subscription.created_at,
            ":updated_at": subscription.updated_at,
            ":revision": Count(subscription.revision),
            ":tried": tried,
            ":now": tx.now(),
        })?;
    ends(tx, subscription);
    usage_rechecks::queue_tenant(tx, &subscription.tenant)?;
    Ok(())
}

/// Writes what can change about a subscription that has not ended.
pub fn update(tx: &WriteTx<'_>, subscription: &Subscription) -> Result<()> {
    let fallback = subscription.trial_fallback.as_ref();
    tx.read
        .conn
        .prepare_cached(
            "UPDATE subscriptions
             SET plan_version = :plan_version, status = :status, effective_to = :effective_to,
                 trial_expires_at = :trial_expires_at, fallback_plan = :fallback_plan,
                 fallback_version = :fallback_version, overdue_since = :overdue_since,
                 quantity = :quantity, change_reason = :change_reason, updated_at = :updated_at,
                 revision = :revision, tried = max(tried, :status = 'trialing'),
                 trial_recorded = CASE WHEN trial_expires_at IS :trial_expires_at
                     THEN trial_recorded ELSE 0 END,
                 end_recorded = coalesce(:effective_to <= :now, 0)
             WHERE tenant = :tenant AND id = :id",
        )?
        .execute(named_params! {
            ":tenant": subscription.tenant,
            ":id": subscription.id,
            ":plan_version": subscription.plan.version,
            ":status": Word(subscription.status),
            ":effective_to": subscription.effective_to,
            ":trial_expires_at": subscription.trial_expires_at,
            ":fallback_plan": fallback.map(|f| &f.plan),
            ":fallback_version": fallback.map(|f| f.version),
            ":overdue_since": subscription.overdue_since,
            ":quantity": subscription.quantity,
            ":change_reason": subscription.change_reason,
            ":updated_at": subscription.updated_at,
            ":revision": Count(subscription.revision),
            ":now": tx.now(),
        })?;
    ends(tx, subscription);
    usage_rechecks::queue_tenant(tx, &subscription.tenant)?;
    Ok(())
}

/// Tells the expiry worker about the boundaries of a subscription.
fn ends(tx: &WriteTx<'_>, subscription: &Subscription) {
    let Subscription { effective_from, effective_to, trial_expires_at, .. } = subscription;
    let bounds = [Some(*effective_from), *effective_to, *trial_expires_at];
    if let Some(next) = bounds.into_iter().flatten().filter(|at| *at > tx.now()).min() {
        tx.ends_at(next);
    }
}

/// Removes a subscription that was scheduled and has not begun.
pub fn delete(tx: &WriteTx<'_>, tenant: &TenantKey, id: &str) -> Result<()> {
    tx.read
        .conn
        .prepare_cached("DELETE FROM subscriptions WHERE tenant = :tenant AND id = :id")?
        .execute(named_params! {":tenant": tenant, ":id": id})?;
    usage_rechecks::queue_tenant(tx, tenant)?;
    Ok(())
}
