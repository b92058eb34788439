//! API keys: their digests, never their secrets.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{ReadTx, WriteTx, sql::Word};
use crate::{
    domain::{
        callers::{ApiKey, Rate},
        time::Timestamp,
    },
    error::{Error, Result},
};

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        id: row.get(0)?,
        name: row.get(1)?,
        role: row.get::<_, Word<_>>(2)?.0,
        tenant: row.get(3)?,
        created_at: row.get(4)?,
        expires_at: row.get(5)?,
        revoked_at: row.get(6)?,
        last_used_at: row.get(7)?,
        rotated_at: row.get(8)?,
        old_secret_until: row.get(9)?,
        rate: Option::zip(row.get(10)?, row.get(11)?)
            .map(|(per_second, burst)| Rate { per_second, burst }),
    })
}

/// A key with the digests of its secrets.
#[derive(Debug)]
pub struct Usable {
    /// Everything but the secrets.
    pub key: ApiKey,
    /// Of the secret that it has.
    pub digest: [u8; 32],
    /// Of the one before, if the key was rotated.
    pub old_digest: Option<[u8; 32]>,
}

/// Every key that is not revoked.
pub fn usable(tx: &ReadTx<'_>) -> Result<Vec<Usable>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT id, name, role, tenant, created_at, expires_at, revoked_at, last_used_at, rotated_at,
                old_secret_until, rate_per_second, rate_burst, digest, old_digest
         FROM api_keys WHERE revoked_at IS NULL ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Usable { key: read(row)?, digest: row.get(12)?, old_digest: row.get(13)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One key.
pub fn get(tx: &ReadTx<'_>, id: &str) -> Result<ApiKey> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT id, name, role, tenant, created_at, expires_at, revoked_at, last_used_at,
                    rotated_at, old_secret_until, rate_per_second, rate_burst
             FROM api_keys WHERE id = :id",
        )?
        .query_row(named_params! {":id": id}, read)
        .optional()?;
    found.ok_or_else(|| Error::NotFound { kind: "API key", key: id.to_owned() })
}

/// Up to `limit` keys after `after`, by id; revoked ones too.
pub fn list(tx: &ReadTx<'_>, after: Option<&str>, limit: usize) -> Result<Vec<ApiKey>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT id, name, role, tenant, created_at, expires_at, revoked_at, last_used_at, rotated_at,
                old_secret_until, rate_per_second, rate_burst
         FROM api_keys WHERE id > :after ORDER BY id LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":after": after.unwrap_or_default(),
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds a key.
pub fn insert(tx: &WriteTx<'_>, key: &ApiKey, digest: &[u8; 32], by: &str) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO api_keys (id, name, role, tenant, digest, created_at, created_by,
                 expires_at, rate_per_second, rate_burst)
             VALUES (:id, :name, :role, :tenant, :digest, :created_at, :created_by, :expires_at,
                 :rate_per_second, :rate_burst)",
        )?
        .execute(named_params! {
            ":id": key.id,
            ":name": key.name,
            ":role": Word(key.role),
            ":tenant": key.tenant,
            ":digest": digest.as_slice(),
            ":created_at": key.created_at,
            ":created_by": by,
            ":expires_at": key.expires_at,
            ":rate_per_second": key.rate.map(|rate| rate.per_second),
            ":rate_burst": key.rate.map(|rate| rate.burst),
        })?;
    Ok(())
}

/// Refuses the key from now on.
pub fn revoke(tx: &WriteTx<'_>, id: &str) -> Result<()> {
    tx.read
        .conn
        .prepare_cached("UPDATE api_keys SET revoked_at = :now WHERE id = :id")?
        .execute(named_params! {":id": id, ":now": tx.real_now()})?;
    Ok(())
}

/// Gives the key another secret. The one that it had is good until `key.old_secret_until`.
pub fn rotate(tx: &WriteTx<'_>, key: &ApiKey, digest: &[u8; 32]) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE api_keys
             SET old_digest = CASE WHEN :old_secret_until IS NULL THEN NULL ELSE digest END,
                 old_secret_until = :old_secret_until, digest = :digest,
                 rotated_at = :rotated_at, expires_at = :expires_at
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": key.id,
            ":digest": digest.as_slice(),
            ":old_secret_until": key.old_secret_until,
            ":rotated_at": key.rotated_at,
            ":expires_at": key.expires_at,
        })?;
    Ok(())
}

/// Notes that the key was used.
pub fn used(tx: &WriteTx<'_>, id: &str, at: Timestamp) -> Result<()> {
    tx.read
        .conn
        .prepare_cached("UPDATE api_keys SET last_used_at = :at WHERE id = :id")?
        .execute(named_params! {":id": id, ":at": at})?;
    Ok(())
}
