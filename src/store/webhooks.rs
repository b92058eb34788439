//! Webhooks and their secrets.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, WriteTx,
    sql::{Count, Json, Word},
};
use crate::{
    domain::{time::Timestamp, webhooks::Webhook},
    error::{Error, Result},
};

/// The secrets of a webhook, in base64.
#[derive(Clone)]
pub struct Secrets {
    /// The present one.
    pub secret: String,
    /// The one before, and until when it signs too.
    pub old: Option<(String, Timestamp)>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<Webhook> {
    let disabled_at: Option<Timestamp> = row.get(6)?;
    let reason = row.get::<_, Option<Word<_>>>(7)?.map(|Word(reason)| reason);
    Ok(Webhook {
        id: row.get(0)?,
        url: row.get(1)?,
        description: row.get(2)?,
        events: row.get::<_, Json<_>>(3)?.0,
        tenant: row.get(4)?,
        old_secret_until: row.get(5)?,
        disabled: disabled_at.zip(reason),
        created_at: row.get(8)?,
        created_by: row.get(9)?,
        updated_at: row.get(10)?,
        revision: row.get::<_, Count>(11)?.0,
    })
}

/// One webhook.
pub fn get(tx: &ReadTx<'_>, id: &str) -> Result<Webhook> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT id, url, description, events, tenant, old_until, disabled_at, disabled_reason,
                    created_at, created_by, updated_at, revision
             FROM webhooks WHERE id = :id",
        )?
        .query_row(named_params! {":id": id}, read)
        .optional()?;
    found.ok_or_else(|| Error::NotFound { kind: "webhook", key: id.to_owned() })
}

/// Up to `limit` webhooks after one, by id.
pub fn list(tx: &ReadTx<'_>, after: Option<&str>, limit: usize) -> Result<Vec<Webhook>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT id, url, description, events, tenant, old_until, disabled_at, disabled_reason,
                created_at, created_by, updated_at, revision
         FROM webhooks WHERE id > :after ORDER BY id LIMIT :limit",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement
        .query_map(named_params! {":after": after.unwrap_or_default(), ":limit": limit}, read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many there are.
pub fn count(tx: &ReadTx<'_>) -> Result<u64> {
    let mut statement = tx.conn.prepare_cached("SELECT count(*) FROM webhooks")?;
    Ok(statement.query_row([], |row| row.get::<_, Count>(0))?.0)
}

/// The secrets of one.
pub fn secrets(tx: &ReadTx<'_>, id: &str) -> Result<Secrets> {
    let mut statement = tx
        .conn
        .prepare_cached("SELECT secret, old_secret, old_until FROM webhooks WHERE id = :id")?;
    let found = statement.query_row(named_params! {":id": id}, |row| {
        let (old, until): (Option<String>, Option<Timestamp>) = (row.get(1)?, row.get(2)?);
        Ok(Secrets { secret: row.get(0)?, old: old.zip(until) })
    });
    Ok(found?)
}

/// Adds one.
pub fn insert(tx: &WriteTx<'_>, new: &Webhook, secret: &str) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO webhooks (id, url, description, events, tenant, secret, created_at,
                 created_by, updated_at, revision)
             VALUES (:id, :url, :description, :events, :tenant, :secret, :created_at, :created_by,
                 :updated_at, :revision)",
        )?
        .execute(named_params! {
            ":id": new.id,
            ":url": new.url,
            ":description": new.description,
            ":events": Json(&new.events),
            ":tenant": new.tenant,
            ":secret": secret,
            ":created_at": new.created_at,
            ":created_by": new.created_by,
            ":updated_at": new.updated_at,
            ":revision": Count(new.revision),
        })?;
    Ok(())
}

/// Writes what can change about one.
pub fn update(tx: &WriteTx<'_>, webhook: &Webhook) -> Result<()> {
    let disabled = webhook.disabled;
    tx.read
        .conn
        .prepare_cached(
            "UPDATE webhooks
             SET url = :url, description = :description, events = :events,
                 disabled_at = :disabled_at, disabled_reason = :reason, updated_at = :updated_at,
                 revision = :revision
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": webhook.id,
            ":url": webhook.url,
            ":description": webhook.description,
            ":events": Json(&webhook.events),
            ":disabled_at": disabled.map(|(at, _)| at),
            ":reason": disabled.map(|(_, reason)| Word(reason)),
            ":updated_at": webhook.updated_at,
            ":revision": Count(webhook.revision),
        })?;
    Ok(())
}

/// Puts a new secret in the place of the present one, which signs too until `old_until`.
pub fn rotate(
    tx: &WriteTx<'_>,
    webhook: &Webhook,
    secret: &str,
    old_until: Timestamp,
) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE webhooks
             SET old_secret = secret, old_until = :old_until, secret = :secret,
                 updated_at = :updated_at, revision = :revision
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": webhook.id,
            ":secret": secret,
            ":old_until": old_until,
            ":updated_at": webhook.updated_at,
            ":revision": Count(webhook.revision),
        })?;
    Ok(())
}

/// Removes one with its deliveries.
pub fn delete(tx: &WriteTx<'_>, id: &str) -> Result<()> {
    let conn = tx.read.conn;
    let values = named_params! {":id": id};
    conn.prepare_cached("DELETE FROM webhook_deliveries WHERE webhook = :id")?.execute(values)?;
    conn.prepare_cached("DELETE FROM webhooks WHERE id = :id")?.execute(values)?;
    Ok(())
}
