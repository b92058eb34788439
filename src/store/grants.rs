//! Grants.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, WriteTx,
    sql::{Count, Json},
};
use crate::{
    domain::{
        catalog::FeatureValue,
        grants::{Grant, GrantState},
        keys::{EntitlementKey, TenantKey},
    },
    error::Result,
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
                 updated_at = excluded.updated_at, revision = excluded.revision",
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
    Ok(())
}

/// Removes the grant on a key.
pub fn delete(tx: &WriteTx<'_>, tenant: &TenantKey, key: &EntitlementKey) -> Result<()> {
    tx.read
        .conn
        .prepare_cached("DELETE FROM grants WHERE tenant = :tenant AND key = :key")?
        .execute(named_params! {":tenant": tenant, ":key": key})?;
    Ok(())
}
