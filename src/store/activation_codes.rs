//! Activation codes: their digests, never the codes, and who redeemed them.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{ReadTx, WriteTx};
use crate::{
    domain::{
        activation_codes::{ActivationCode, CodeState, Redemption},
        keys::{PlanKey, TenantKey},
        time::Timestamp,
    },
    error::{Error, Result},
};

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<ActivationCode> {
    Ok(ActivationCode {
        id: row.get(0)?,
        plan: row.get(1)?,
        note: row.get(2)?,
        max_redemptions: row.get(3)?,
        redeemed: row.get(4)?,
        duration_days: row.get(5)?,
        expires_at: row.get(6)?,
        revoked_at: row.get(7)?,
        created_at: row.get(8)?,
        created_by: row.get(9)?,
    })
}

/// One code by its id, whatever became of it.
pub fn get(tx: &ReadTx<'_>, id: &str) -> Result<ActivationCode> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT id, plan, note, max_redemptions, redeemed, duration_days, expires_at,
                    revoked_at, created_at, created_by
             FROM activation_codes WHERE id = :id",
        )?
        .query_row(named_params! {":id": id}, read)
        .optional()?;
    found.ok_or_else(|| Error::NotFound { kind: "activation code", key: id.to_owned() })
}

/// The code with this digest, whatever became of it, with the digest as it is stored.
pub fn find(tx: &ReadTx<'_>, digest: &[u8; 32]) -> Result<Option<(ActivationCode, [u8; 32])>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT id, plan, note, max_redemptions, redeemed, duration_days, expires_at,
                    revoked_at, created_at, created_by, digest
             FROM activation_codes WHERE digest = :digest",
        )?
        .query_row(named_params! {":digest": digest.as_slice()}, |row| {
            Ok((read(row)?, row.get(10)?))
        })
        .optional()?;
    Ok(found)
}

/// What a list of codes is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct CodeFilter {
    /// For this plan.
    pub plan: Option<PlanKey>,
    /// In this state; any if unset.
    pub state: Option<CodeState>,
}

/// Up to `limit` codes before `before`, newest first, by id.
pub fn list(
    tx: &ReadTx<'_>,
    filter: &CodeFilter,
    now: Timestamp,
    before: Option<&str>,
    limit: usize,
) -> Result<Vec<ActivationCode>> {
    let sql = if filter.plan.is_some() {
        "SELECT id, plan, note, max_redemptions, redeemed, duration_days, expires_at, revoked_at,
                created_at, created_by
         FROM activation_codes
         WHERE plan = :plan AND id < coalesce(:before, 'act_~')
           AND (:state IS NULL OR :state = CASE
                WHEN revoked_at IS NOT NULL THEN 'revoked'
                WHEN redeemed >= max_redemptions THEN 'spent'
                WHEN expires_at <= :now THEN 'expired' ELSE 'active' END)
         ORDER BY id DESC LIMIT :limit"
    } else {
        "SELECT id, plan, note, max_redemptions, redeemed, duration_days, expires_at, revoked_at,
                created_at, created_by
         FROM activation_codes
         WHERE :plan IS NULL AND id < coalesce(:before, 'act_~')
           AND (:state IS NULL OR :state = CASE
                WHEN revoked_at IS NOT NULL THEN 'revoked'
                WHEN redeemed >= max_redemptions THEN 'spent'
                WHEN expires_at <= :now THEN 'expired' ELSE 'active' END)
         ORDER BY id DESC LIMIT :limit"
    };
    let mut statement = tx.conn.prepare_cached(sql)?;
    let rows = statement.query_map(
        named_params! {
            ":plan": filter.plan,
            ":state": filter.state.map(CodeState::as_str),
            ":now": now,
            ":before": before,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many codes for a plan can still be redeemed at `now`.
pub fn count_active(tx: &ReadTx<'_>, plan: &PlanKey, now: Timestamp) -> Result<u64> {
    let count: i64 = tx
        .conn
        .prepare_cached(
            "SELECT count(*) FROM activation_codes
             WHERE plan = :plan AND revoked_at IS NULL AND redeemed < max_redemptions
               AND (expires_at IS NULL OR expires_at > :now)",
        )?
        .query_row(named_params! {":plan": plan, ":now": now}, |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Adds a code.
pub fn insert(tx: &WriteTx<'_>, code: &ActivationCode, digest: &[u8; 32]) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO activation_codes (id, digest, plan, note, max_redemptions, redeemed,
                 duration_days, expires_at, revoked_at, created_at, created_by)
             VALUES (:id, :digest, :plan, :note, :max_redemptions, :redeemed, :duration_days,
                 :expires_at, :revoked_at, :created_at, :created_by)",
        )?
        .execute(named_params! {
            ":id": code.id,
            ":digest": digest.as_slice(),
            ":plan": code.plan,
            ":note": code.note,
            ":max_redemptions": code.max_redemptions,
            ":redeemed": code.redeemed,
            ":duration_days": code.duration_days,
            ":expires_at": code.expires_at,
            ":revoked_at": code.revoked_at,
            ":created_at": code.created_at,
            ":created_by": code.created_by,
        })?;
    Ok(())
}

/// Writes what can change about a code.
pub fn update(tx: &WriteTx<'_>, code: &ActivationCode) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE activation_codes SET redeemed = :redeemed, revoked_at = :revoked_at
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": code.id,
            ":redeemed": code.redeemed,
            ":revoked_at": code.revoked_at,
        })?;
    Ok(())
}

fn read_redemption(row: &Row<'_>) -> rusqlite::Result<Redemption> {
    Ok(Redemption {
        code: row.get(0)?,
        tenant: row.get(1)?,
        subscription: row.get(2)?,
        at: row.get(3)?,
        by: row.get(4)?,
    })
}

/// Whether a tenant has redeemed a code.
pub fn is_redeemed_by(tx: &ReadTx<'_>, tenant: &TenantKey, code: &str) -> Result<bool> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM activation_redemptions
                            WHERE tenant = :tenant AND code = :code)",
        )?
        .query_row(named_params! {":tenant": tenant, ":code": code}, |row| row.get(0))?;
    Ok(found)
}

/// Up to `limit` redemptions of a code before `before`, newest first.
pub fn redemptions(
    tx: &ReadTx<'_>,
    code: &str,
    before: Option<&(Timestamp, TenantKey)>,
    limit: usize,
) -> Result<Vec<Redemption>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT code, tenant, subscription, redeemed_at, redeemed_by
         FROM activation_redemptions
         WHERE code = :code AND (redeemed_at, tenant) < (:at, :tenant)
         ORDER BY redeemed_at DESC, tenant DESC LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":code": code,
            ":at": before.map_or(Timestamp::MAX, |(at, _)| *at),
            ":tenant": before.map(|(_, tenant)| tenant.as_str()).unwrap_or_default(),
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read_redemption,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Notes that a tenant redeemed a code.
pub fn insert_redemption(tx: &WriteTx<'_>, redemption: &Redemption) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO activation_redemptions (tenant, code, subscription, redeemed_at,
                 redeemed_by)
             VALUES (:tenant, :code, :subscription, :redeemed_at, :redeemed_by)",
        )?
        .execute(named_params! {
            ":tenant": redemption.tenant,
            ":code": redemption.code,
            ":subscription": redemption.subscription,
            ":redeemed_at": redemption.at,
            ":redeemed_by": redemption.by,
        })?;
    Ok(())
}
