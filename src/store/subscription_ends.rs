//! What happens to subscriptions by itself: a scheduled one begins, one ends, a trial ends.

use rusqlite::named_params;

use super::{
    ReadTx, WriteTx,
    due::{self, Due},
    subscriptions, usage_rechecks,
};
use crate::{
    domain::{subscriptions::Subscription, time::Timestamp},
    error::Result,
};

/// Scheduled subscriptions that began by `until` without that being recorded, oldest first.
pub fn due_starts(
    tx: &ReadTx<'_>,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    due::due(
        tx,
        "SELECT effective_from, tenant, id FROM subscriptions INDEXED BY subscriptions_by_start
         WHERE start_recorded = 0 AND effective_from <= :until
           AND (effective_from, tenant, id) > (:at, :tenant, :id)
         ORDER BY effective_from, tenant, id LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// When the next scheduled subscription begins.
pub fn next_start(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT effective_from FROM subscriptions INDEXED BY subscriptions_by_start
         WHERE start_recorded = 0 AND effective_from >= 0 ORDER BY effective_from LIMIT 1",
    )
}

/// Subscriptions that ended by `until` without that being recorded, oldest first.
pub fn due_ends(
    tx: &ReadTx<'_>,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    due::due(
        tx,
        "SELECT effective_to, tenant, id FROM subscriptions INDEXED BY subscriptions_by_end
         WHERE end_recorded = 0 AND effective_to <= :until
           AND (effective_to, tenant, id) > (:at, :tenant, :id)
         ORDER BY effective_to, tenant, id LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// When the next subscription ends.
pub fn next_end(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT effective_to FROM subscriptions INDEXED BY subscriptions_by_end
         WHERE end_recorded = 0 AND effective_to >= 0 ORDER BY effective_to LIMIT 1",
    )
}

/// Subscriptions whose trial ended by `until` without that being recorded, oldest first.
pub fn due_trials(
    tx: &ReadTx<'_>,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    due::due(
        tx,
        "SELECT trial_expires_at, tenant, id FROM subscriptions INDEXED BY subscriptions_by_trial
         WHERE trial_recorded = 0 AND status = 'trialing'
           AND (effective_to IS NULL OR effective_to > trial_expires_at)
           AND trial_expires_at <= :until
           AND (trial_expires_at, tenant, id) > (:at, :tenant, :id)
         ORDER BY trial_expires_at, tenant, id LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// When the next trial ends.
pub fn next_trial(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT trial_expires_at FROM subscriptions INDEXED BY subscriptions_by_trial
         WHERE trial_recorded = 0 AND status = 'trialing'
           AND (effective_to IS NULL OR effective_to > trial_expires_at)
           AND trial_expires_at >= 0
         ORDER BY trial_expires_at LIMIT 1",
    )
}

/// The subscription of `due`, its start now marked as recorded; none where that was moved.
pub fn take_start(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Subscription>> {
    take(
        tx,
        "UPDATE subscriptions SET start_recorded = 1
         WHERE tenant = :tenant AND id = :id AND start_recorded = 0 AND effective_from <= :now",
        due,
    )
}

/// The subscription of `due`, its end now marked as recorded; none where that was moved.
pub fn take_end(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Subscription>> {
    take(
        tx,
        "UPDATE subscriptions SET end_recorded = 1
         WHERE tenant = :tenant AND id = :id AND end_recorded = 0 AND effective_to <= :now",
        due,
    )
}

/// The subscription of `due`, the end of its trial now marked as recorded; none where that was moved.
pub fn take_trial(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Subscription>> {
    take(
        tx,
        "UPDATE subscriptions SET trial_recorded = 1
         WHERE tenant = :tenant AND id = :id AND trial_recorded = 0 AND status = 'trialing'
           AND trial_expires_at <= :now",
        due,
    )
}

fn take(tx: &WriteTx<'_>, sql: &'static str, due: &Due) -> Result<Option<Subscription>> {
    let Some(tenant) = &due.tenant else { return Ok(None) };
    let marked = tx
        .read
        .conn
        .prepare_cached(sql)?
        .execute(named_params! {":tenant": tenant, ":id": due.id, ":now": tx.now()})?;
    if marked == 0 {
        return Ok(None);
    }
    usage_rechecks::queue_tenant(tx, tenant)?;
    subscriptions::get(&tx.read, due.owner()?, &due.id).map(Some)
}
