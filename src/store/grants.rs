//! Grants.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, WriteTx,
    due::{self, Due},
    sql::{Count, Json},
    usage_rechecks,
};
use crate::{
    domain::{
        catalog::FeatureValue,
        grants::{Grant, GrantState},
        keys::{EntitlementKey, TenantKey},
        time::Timestamp,
    },
    error::{Error, Result},
};

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<Grant> {
    let state: String = row.get(2)?;
    let seats: Option<Count> = row.get(4)?;
    Ok(Grant {
        tenant: row.get(0)?,
        key: row.get(1)?,
        state: match state.as_str() {
            "enabled" => GrantState::Enabled,
            "disabled" => GrantState::Disabled,
            // The table lets no fourth word in.
            _ => GrantState::Trial(row.get(5)?),
        },
        value: row.get::<_, Option<Json<FeatureValue>>>(3)?.map(|json| json.0),
        seats: seats.map(|count| count.0),
        reason: row.get(6)?,
        created_at: row.get(7)?,
        updated_at: row.get(8)?,
        revision: row.get::<_, Count>(9)?.0,
    })
}

/// The grant on one key.
pub fn find(tx: &ReadTx<'_>, tenant: &TenantKey, key: &EntitlementKey) -> Result<Option<Grant>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT tenant, key, state, value, seats, trial_expires_at, reason, created_at,
                    updated_at, revision
             FROM grants WHERE tenant = :tenant AND key = :key",
        )?
        .query_row(named_params! {":tenant": tenant, ":key": key}, read)
        .optional()?;
    Ok(found)
}

/// Every grant of a tenant, by key. Bounded by the catalog: one for each module or feature.
pub fn all(tx: &ReadTx<'_>, tenant: &TenantKey) -> rusqlite::Result<Vec<Grant>> {
    tx.conn
        .prepare_cached(
            "SELECT tenant, key, state, value, seats, trial_expires_at, reason, created_at,
                    updated_at, revision
             FROM grants WHERE tenant = :tenant ORDER BY key",
        )?
        .query_map(named_params! {":tenant": tenant}, read)?
        .collect()
}

/// Makes or replaces the grant on a key.
pub fn upsert(tx: &WriteTx<'_>, grant: &Grant) -> Result<()> {
    let (state, trial_expires_at) = match grant.state {
        GrantState::Enabled => ("enabled", None),
        GrantState::Disabled => ("disabled", None),
        GrantState::Trial(end) => ("trial", Some(end)),
    };
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO grants (tenant, key, state, value, seats, trial_expires_at, reason,
                 created_at, updated_at, revision)
             VALUES (:tenant, :key, :state, :value, :seats, :trial_expires_at, :reason,
                 :created_at, :updated_at, :revision)
             ON CONFLICT (tenant, key) DO UPDATE
             SET state = excluded.state, value = excluded.value, seats = excluded.seats,
                 trial_expires_at = excluded.trial_expires_at, reason = excluded.reason,
                 updated_at = excluded.updated_at, revision = excluded.revision,
                 trial_recorded = CASE WHEN trial_expires_at IS excluded.trial_expires_at
                     THEN trial_recorded ELSE 0 END",
        )?
        .execute(named_params! {
            ":tenant": grant.tenant,
            ":key": grant.key,
            ":state": state,
            ":value": grant.value.as_ref().map(Json),
            ":seats": grant.seats.map(Count),
            ":trial_expires_at": trial_expires_at,
            ":reason": grant.reason,
            ":created_at": grant.created_at,
            ":updated_at": grant.updated_at,
            ":revision": Count(grant.revision),
        })?;
    if let Some(end) = trial_expires_at {
        tx.ends_at(end);
    }
    usage_rechecks::queue_tenant(tx, &grant.tenant)?;
    Ok(())
}

/// Grants whose trial ended by `until` without that being recorded, oldest first.
pub fn due_trials(
    tx: &ReadTx<'_>,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    due::due(
        tx,
        "SELECT trial_expires_at, tenant, key FROM grants INDEXED BY grants_by_trial
         WHERE trial_recorded = 0 AND state = 'trial' AND trial_expires_at <= :until
           AND (trial_expires_at, tenant, key) > (:at, :tenant, :id)
         ORDER BY trial_expires_at, tenant, key LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// When the next trial of a grant ends.
pub fn next_trial(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT trial_expires_at FROM grants INDEXED BY grants_by_trial
         WHERE trial_recorded = 0 AND state = 'trial' AND trial_expires_at >= 0
         ORDER BY trial_expires_at LIMIT 1",
    )
}

/// The grant of `due`, now marked as recorded; none where there is no such trial any more.
pub fn take_trial(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Grant>> {
    let Some(tenant) = &due.tenant else { return Ok(None) };
    let marked = tx
        .read
        .conn
        .prepare_cached(
            "UPDATE grants SET trial_recorded = 1
             WHERE tenant = :tenant AND key = :key AND trial_recorded = 0 AND state = 'trial'
               AND trial_expires_at <= :now",
        )?
        .execute(named_params! {":tenant": tenant, ":key": due.id, ":now": tx.now()})?;
    if marked == 0 {
        return Ok(None);
    }
    usage_rechecks::queue_tenant(tx, tenant)?;
    find(&tx.read, tenant, &due.id.parse().map_err(Error::internal)?)
}

/// Removes the grant on a key.
pub fn delete(tx: &WriteTx<'_>, tenant: &TenantKey, key: &EntitlementKey) -> Result<()> {
    tx.read
        .conn
        .prepare_cached("DELETE FROM grants WHERE tenant = :tenant AND key = :key")?
        .execute(named_params! {":tenant": tenant, ":key": key})?;
    usage_rechecks::queue_tenant(tx, tenant)?;
    Ok(())
}
