//! What was answered to requests that carry an idempotency key.

use rusqlite::{OptionalExtension, named_params};

use super::WriteTx;
use crate::{domain::time::Timestamp, error::Result};

/// What was kept under a caller's key: the fingerprint of the request and its result as JSON.
pub fn find(tx: &WriteTx<'_>, caller: &str, key: &str) -> Result<Option<([u8; 32], String)>> {
    let found = tx
        .read
        .conn
        .prepare_cached(
            "SELECT fingerprint, result FROM idempotency WHERE caller = :caller AND key = :key",
        )?
        .query_row(named_params! {":caller": caller, ":key": key}, |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    Ok(found)
}

/// Keeps a result.
pub fn insert(
    tx: &WriteTx<'_>,
    caller: &str,
    key: &str,
    fingerprint: &[u8; 32],
    result: &str,
) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO idempotency (caller, key, fingerprint, result, created_at)
             VALUES (:caller, :key, :fingerprint, :result, :now)",
        )?
        .execute(named_params! {
            ":caller": caller,
            ":key": key,
            ":fingerprint": fingerprint.as_slice(),
            ":result": result,
            ":now": tx.real_now(),
        })?;
    Ok(())
}

/// Forgets up to `limit` results from before `until`.
pub fn forget(tx: &WriteTx<'_>, until: Timestamp, limit: u32) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "DELETE FROM idempotency WHERE (caller, key) IN (
                 SELECT caller, key FROM idempotency WHERE created_at < :until LIMIT :limit)",
        )?
        .execute(named_params! {":until": until, ":limit": limit})?;
    Ok(())
}
