//! Messages to webhooks, which are the queue of what is to be sent and the log of what was.
//!
//! Invariants: of each lane of a webhook only the first message that waits has an instant at which
//! it is tried next; nothing is tried of a webhook that is disabled.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, WriteTx,
    sql::{Count, Json, Word},
};
use crate::{
    domain::{time::Timestamp, webhooks::Delivery},
    error::{Error, Result},
};

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        seq: row.get::<_, Count>(0)?.0,
        id: row.get(1)?,
        webhook: row.get(2)?,
        event: row.get(3)?,
        tenant: row.get(4)?,
        lane: row.get(5)?,
        body: row.get(6)?,
        created_at: row.get(7)?,
        state: row.get::<_, Word<_>>(8)?.0,
        tries: row.get(9)?,
        attempts: row.get::<_, Json<_>>(10)?.0,
        next_at: row.get(11)?,
        ended_at: row.get(12)?,
    })
}

/// Adds one, behind what already waits in its lane.
pub fn insert(tx: &WriteTx<'_>, new: &Delivery) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO webhook_deliveries (id, webhook, event, tenant, lane, body, created_at, state,
                 tries, attempts, next_at, ended_at)
             VALUES (:id, :webhook, :event, :tenant, :lane, :body, :created_at, 'waiting', 0, '[]',
                 CASE WHEN EXISTS (SELECT 1 FROM webhook_deliveries
                                   WHERE webhook = :webhook AND lane = :lane AND state = 'waiting')
                      THEN NULL ELSE :created_at END,
                 NULL)",
        )?
        .execute(named_params! {
            ":id": new.id,
            ":webhook": new.webhook,
            ":event": new.event,
            ":tenant": new.tenant,
            ":lane": new.lane,
            ":body": new.body,
            ":created_at": new.created_at,
        })?;
    tx.wake_senders();
    Ok(())
}

/// One of a webhook.
pub fn get(tx: &ReadTx<'_>, webhook: &str, id: &str) -> Result<Delivery> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT seq, id, webhook, event, tenant, lane, body, created_at, state, tries, attempts,
                    next_at, ended_at
             FROM webhook_deliveries WHERE id = :id AND webhook = :webhook",
        )?
        .query_row(named_params! {":id": id, ":webhook": webhook}, read)
        .optional()?;
    found.ok_or_else(|| Error::NotFound { kind: "delivery", key: id.to_owned() })
}

/// Up to `limit` of a webhook before a place, newest first.
pub fn list(
    tx: &ReadTx<'_>,
    webhook: &str,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<Delivery>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT seq, id, webhook, event, tenant, lane, body, created_at, state, tries, attempts,
                next_at, ended_at
         FROM webhook_deliveries INDEXED BY webhook_deliveries_by_webhook
         WHERE webhook = :webhook AND seq < :before ORDER BY seq DESC LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":webhook": webhook,
            ":before": before.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX)),
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Up to `limit` of a webhook that are tried next, soonest first.
pub fn soonest(tx: &ReadTx<'_>, webhook: &str, limit: usize) -> Result<Vec<Delivery>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT seq, id, webhook, event, tenant, lane, body, created_at, state, tries, attempts,
                next_at, ended_at
         FROM webhook_deliveries INDEXED BY webhook_deliveries_due
         WHERE webhook = :webhook AND next_at IS NOT NULL ORDER BY next_at LIMIT :limit",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(named_params! {":webhook": webhook, ":limit": limit}, read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether more than `most` wait for a webhook.
pub fn is_beyond(tx: &ReadTx<'_>, webhook: &str, most: u64) -> Result<bool> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT 1 FROM webhook_deliveries INDEXED BY webhook_deliveries_waiting
         WHERE webhook = :webhook AND state = 'waiting' LIMIT 1 OFFSET :most",
    )?;
    Ok(statement.exists(named_params! {":webhook": webhook, ":most": Count(most)})?)
}

/// Writes where one stands.
pub fn update(tx: &WriteTx<'_>, delivery: &Delivery) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE webhook_deliveries
             SET lane = :lane, state = :state, tries = :tries, attempts = :attempts,
                 next_at = :next_at, ended_at = :ended_at
             WHERE seq = :seq",
        )?
        .execute(named_params! {
            ":seq": Count(delivery.seq),
            ":lane": delivery.lane,
            ":state": Word(delivery.state),
            ":tries": delivery.tries,
            ":attempts": Json(&delivery.attempts),
            ":next_at": delivery.next_at,
            ":ended_at": delivery.ended_at,
        })?;
    tx.wake_senders();
    Ok(())
}

/// The first one that waits in a lane is to be tried now, unless it has an instant already.
pub fn advance(tx: &WriteTx<'_>, webhook: &str, lane: &str) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE webhook_deliveries SET next_at = :now
             WHERE next_at IS NULL AND seq = (
                 SELECT seq FROM webhook_deliveries INDEXED BY webhook_deliveries_waiting
                 WHERE webhook = :webhook AND lane = :lane AND state = 'waiting'
                 ORDER BY seq LIMIT 1)",
        )?
        .execute(named_params! {":now": tx.real_now(), ":webhook": webhook, ":lane": lane})?;
    tx.wake_senders();
    Ok(())
}

/// Nothing of a webhook is tried any more, until it goes on.
pub fn park(tx: &WriteTx<'_>, webhook: &str) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE webhook_deliveries SET next_at = NULL
             WHERE webhook = :webhook AND next_at IS NOT NULL",
        )?
        .execute(named_params! {":webhook": webhook})?;
    Ok(())
}

/// The first one of each lane of a webhook is tried now.
pub fn go_on(tx: &WriteTx<'_>, webhook: &str) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE webhook_deliveries SET next_at = :now, tries = 0
             WHERE seq IN (
                 SELECT min(seq) FROM webhook_deliveries INDEXED BY webhook_deliveries_waiting
                 WHERE webhook = :webhook AND state = 'waiting' GROUP BY lane)",
        )?
        .execute(named_params! {":now": tx.real_now(), ":webhook": webhook})?;
    tx.wake_senders();
    Ok(())
}

/// Whether one was over before an instant.
pub fn is_prunable(tx: &ReadTx<'_>, before: Timestamp) -> Result<bool> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT 1 FROM webhook_deliveries INDEXED BY webhook_deliveries_ended
         WHERE ended_at < :before LIMIT 1",
    )?;
    Ok(statement.exists(named_params! {":before": before})?)
}

/// Takes away some of those that were over before an instant.
pub fn prune(tx: &WriteTx<'_>, before: Timestamp) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "DELETE FROM webhook_deliveries WHERE seq IN (
                 SELECT seq FROM webhook_deliveries INDEXED BY webhook_deliveries_ended
                 WHERE ended_at < :before LIMIT 500)",
        )?
        .execute(named_params! {":before": before})?;
    Ok(())
}
