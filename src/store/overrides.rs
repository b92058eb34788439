//! Overrides: as the decision reads them, and with their history.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, WriteTx,
    due::{self, Due},
    sql::{Count, Json, Word},
    usage_rechecks,
};
use crate::{
    domain::{
        catalog::FeatureValue,
        keys::{EntitlementKey, TenantKey},
        overrides::{Effect, GovernedOverride, Override, OverrideEnd},
        time::Timestamp,
    },
    error::{Error, Result},
};

// Takes the first seven columns of each statement below.
fn read(row: &Row<'_>) -> rusqlite::Result<Override> {
    Ok(Override {
        tenant: row.get(0)?,
        id: row.get(1)?,
        key: row.get(2)?,
        effect: effect(row)?,
        expires_at: row.get(5)?,
        reason: row.get(6)?,
    })
}

/// The effect in the columns 3 and 4, as [`parts`] wrote it.
pub(super) fn effect(row: &Row<'_>) -> rusqlite::Result<Effect> {
    let enabled: bool = row.get(3)?;
    let value = row.get::<_, Option<Json<FeatureValue>>>(4)?.map(|json| json.0);
    Ok(match (enabled, value) {
        (false, _) => Effect::Disable,
        (true, None) => Effect::Enable,
        (true, Some(value)) => Effect::Set(value),
    })
}

// Takes all columns.
fn read_governed(row: &Row<'_>) -> rusqlite::Result<GovernedOverride> {
    let ended: Option<Word<OverrideEnd>> = row.get(7)?;
    Ok(GovernedOverride {
        exception: read(row)?,
        ended: match ended {
            Some(Word(end)) => Some((end, row.get(8)?)),
            None => None,
        },
        renewals: row.get(9)?,
        created_at: row.get(10)?,
        created_by: row.get(11)?,
        updated_at: row.get(12)?,
        revision: row.get::<_, Count>(13)?.0,
        is_announced: row.get(14)?,
        break_glass: row.get(15)?,
        last_used_at: row.get(16)?,
    })
}

/// Every override of a tenant that was not ended, also those that expired and wait for the worker.
pub(super) fn open(tx: &ReadTx<'_>, tenant: &TenantKey) -> rusqlite::Result<Vec<Override>> {
    tx.conn
        .prepare_cached(
            "SELECT tenant, id, key, enabled, value, expires_at, reason
             FROM overrides WHERE tenant = :tenant AND ended IS NULL",
        )?
        .query_map(named_params! {":tenant": tenant}, read)?
        .collect()
}

/// The override of a tenant on a key that was not ended.
pub fn find_open(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    key: &EntitlementKey,
) -> Result<Option<GovernedOverride>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT tenant, id, key, enabled, value, expires_at, reason, ended, ended_at, renewals,
                    created_at, created_by, updated_at, revision, announced, break_glass,
                    last_used_at
             FROM overrides WHERE tenant = :tenant AND key = :key AND ended IS NULL",
        )?
        .query_row(named_params! {":tenant": tenant, ":key": key}, read_governed)
        .optional()?;
    Ok(found)
}

/// One override by its id, open or ended.
pub fn get(tx: &ReadTx<'_>, id: &str) -> Result<GovernedOverride> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT tenant, id, key, enabled, value, expires_at, reason, ended, ended_at, renewals,
                    created_at, created_by, updated_at, revision, announced, break_glass,
                    last_used_at
             FROM overrides WHERE id = :id",
        )?
        .query_row(named_params! {":id": id}, read_governed)
        .optional()?;
    found.ok_or_else(|| Error::NotFound { kind: "override", key: id.to_owned() })
}

/// What a list of overrides is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct OverrideFilter {
    /// Of this tenant.
    pub tenant: Option<TenantKey>,
    /// On this module or feature.
    pub key: Option<EntitlementKey>,
    /// In this state; any if unset.
    pub state: Option<OverrideState>,
    /// That expire before this instant.
    pub expiring_before: Option<Timestamp>,
}

/// Where an override stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverrideState {
    /// It counts.
    Active,
    /// It ended by itself, whether or not the worker has recorded it.
    Expired,
    /// It was removed.
    Removed,
}

/// Up to `limit` overrides before `before`, newest first, by id.
pub fn list(
    tx: &ReadTx<'_>,
    filter: &OverrideFilter,
    now: Timestamp,
    before: Option<&str>,
    limit: usize,
) -> Result<Vec<GovernedOverride>> {
    let state = filter.state.map(|state| match state {
        OverrideState::Active => "active",
        OverrideState::Expired => "expired",
        OverrideState::Removed => "removed",
    });
    let sql = if filter.tenant.is_some() {
        "SELECT tenant, id, key, enabled, value, expires_at, reason, ended, ended_at, renewals,
                created_at, created_by, updated_at, revision, announced, break_glass,
                    last_used_at
         FROM overrides
         WHERE tenant = :tenant AND (:before IS NULL OR id < :before)
           AND (:key IS NULL OR key = :key) AND expires_at < :expiring_before
           AND (:state IS NULL OR :state = coalesce(
                ended, CASE WHEN expires_at > :now THEN 'active' ELSE 'expired' END))
         ORDER BY id DESC LIMIT :limit"
    } else {
        "SELECT tenant, id, key, enabled, value, expires_at, reason, ended, ended_at, renewals,
                created_at, created_by, updated_at, revision, announced, break_glass,
                    last_used_at
         FROM overrides INDEXED BY overrides_by_id
         WHERE :tenant IS NULL AND id < coalesce(:before, 'ovr_~')
           AND (:key IS NULL OR key = :key) AND expires_at < :expiring_before
           AND (:state IS NULL OR :state = coalesce(
                ended, CASE WHEN expires_at > :now THEN 'active' ELSE 'expired' END))
         ORDER BY id DESC LIMIT :limit"
    };
    let mut statement = tx.conn.prepare_cached(sql)?;
    let rows = statement.query_map(
        named_params! {
            ":tenant": filter.tenant,
            ":key": filter.key,
            ":state": state,
            ":expiring_before": filter.expiring_before.unwrap_or(Timestamp::MAX),
            ":now": now,
            ":before": before,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read_governed,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Overrides that expired by `until` and were not ended, oldest first.
pub fn due(
    tx: &ReadTx<'_>,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    due::due(
        tx,
        "SELECT expires_at, tenant, id FROM overrides INDEXED BY overrides_by_expiry
         WHERE ended IS NULL AND expires_at <= :until
           AND (expires_at, tenant, id) > (:at, :tenant, :id)
         ORDER BY expires_at, tenant, id LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// How many overrides are in effect at `now`.
pub fn count_open(tx: &ReadTx<'_>, now: Timestamp) -> Result<u64> {
    let count: i64 = tx
        .conn
        .prepare_cached(
            "SELECT count(*) FROM overrides INDEXED BY overrides_by_expiry
             WHERE ended IS NULL AND expires_at > :now",
        )?
        .query_row(named_params! {":now": now}, |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// When the next override expires.
pub fn next_due(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT expires_at FROM overrides INDEXED BY overrides_by_expiry
         WHERE ended IS NULL AND expires_at >= 0 ORDER BY expires_at LIMIT 1",
    )
}

/// Overrides that expire by `until` and whose end was not announced, oldest first.
pub fn due_for_notice(
    tx: &ReadTx<'_>,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    due::due(
        tx,
        "SELECT expires_at, tenant, id FROM overrides INDEXED BY overrides_by_notice
         WHERE ended IS NULL AND announced = 0 AND expires_at <= :until
           AND (expires_at, tenant, id) > (:at, :tenant, :id)
         ORDER BY expires_at, tenant, id LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// When the next override expires whose end was not announced.
pub fn next_for_notice(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT expires_at FROM overrides INDEXED BY overrides_by_notice
         WHERE ended IS NULL AND announced = 0 AND expires_at >= 0 ORDER BY expires_at LIMIT 1",
    )
}

/// Adds an override.
pub fn insert(tx: &WriteTx<'_>, new: &GovernedOverride) -> Result<()> {
    let (enabled, value) = parts(&new.exception.effect);
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO overrides (tenant, id, key, enabled, value, expires_at, reason, renewals,
                 created_at, created_by, updated_at, revision, announced, break_glass)
             VALUES (:tenant, :id, :key, :enabled, :value, :expires_at, :reason, :renewals,
                 :created_at, :created_by, :updated_at, :revision, :announced, :break_glass)",
        )?
        .execute(named_params! {
            ":tenant": new.exception.tenant,
            ":id": new.exception.id,
            ":key": new.exception.key,
            ":enabled": enabled,
            ":value": value.map(Json),
            ":expires_at": new.exception.expires_at,
            ":reason": new.exception.reason,
            ":renewals": new.renewals,
            ":created_at": new.created_at,
            ":created_by": new.created_by,
            ":updated_at": new.updated_at,
            ":revision": Count(new.revision),
            ":announced": new.is_announced,
            ":break_glass": new.break_glass,
        })?;
    tx.ends_at(new.exception.expires_at);
    usage_rechecks::queue_tenant(tx, &new.exception.tenant)?;
    Ok(())
}

/// Writes what can change about an override that was not ended, and how it ends.
pub fn update(tx: &WriteTx<'_>, changed: &GovernedOverride) -> Result<()> {
    let (enabled, value) = parts(&changed.exception.effect);
    tx.read
        .conn
        .prepare_cached(
            "UPDATE overrides
             SET enabled = :enabled, value = :value, expires_at = :expires_at, reason = :reason,
                 ended = :ended, ended_at = :ended_at, renewals = :renewals,
                 updated_at = :updated_at, revision = :revision, announced = :announced,
                 break_glass = :break_glass
             WHERE tenant = :tenant AND id = :id AND ended IS NULL",
        )?
        .execute(named_params! {
            ":tenant": changed.exception.tenant,
            ":id": changed.exception.id,
            ":enabled": enabled,
            ":value": value.map(Json),
            ":expires_at": changed.exception.expires_at,
            ":reason": changed.exception.reason,
            ":ended": changed.ended.map(|(end, _)| Word(end)),
            ":ended_at": changed.ended.map(|(_, at)| at),
            ":renewals": changed.renewals,
            ":updated_at": changed.updated_at,
            ":revision": Count(changed.revision),
            ":announced": changed.is_announced,
            ":break_glass": changed.break_glass,
        })?;
    if changed.ended.is_none() {
        tx.ends_at(changed.exception.expires_at);
    }
    usage_rechecks::queue_tenant(tx, &changed.exception.tenant)?;
    Ok(())
}

/// Notes that an override decided a check.
pub fn used(tx: &WriteTx<'_>, id: &str, at: Timestamp) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE overrides SET last_used_at = max(coalesce(last_used_at, 0), :at)
             WHERE id = :id",
        )?
        .execute(named_params! {":id": id, ":at": at})?;
    Ok(())
}

pub(super) fn parts(effect: &Effect) -> (bool, Option<&FeatureValue>) {
    match effect {
        Effect::Enable => (true, None),
        Effect::Set(value) => (true, Some(value)),
        Effect::Disable => (false, None),
    }
}
