//! Units that are set aside, with what became of them.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, WriteTx,
    due::{self, Due},
    sql::{Count, Word},
    usage::{self, subject, tenant_text, user_text},
};
use crate::{
    domain::{keys::FeatureKey, reservations::Reservation, time::Timestamp, usage::CountedFor},
    error::Result,
};

// Takes the columns in the order in which the statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<Reservation> {
    Ok(Reservation {
        subject: subject(row, 0)?,
        feature: row.get(2)?,
        id: row.get(3)?,
        amount: row.get::<_, Count>(4)?.0,
        expires_at: row.get(5)?,
        state: row.get::<_, Word<_>>(6)?.0,
        settled: row.get::<_, Option<Count>>(7)?.map(|count| count.0),
        created_at: row.get(8)?,
        created_by: row.get(9)?,
        ended_at: row.get(10)?,
    })
}

/// A reservation by its id, open or ended.
pub fn find(tx: &ReadTx<'_>, id: &str) -> Result<Option<Reservation>> {
    Ok(tx
        .conn
        .prepare_cached(
            "SELECT tenant, user, feature, id, amount, expires_at, state, settled, created_at,
                    created_by, ended_at
             FROM reservations WHERE id = :id",
        )?
        .query_row(named_params! {":id": id}, read)
        .optional()?)
}

/// How many reservations of a feature count at an instant.
pub fn count_open(
    tx: &ReadTx<'_>,
    subject: &CountedFor,
    feature: &FeatureKey,
    at: Timestamp,
) -> Result<u64> {
    let count: Count = tx
        .conn
        .prepare_cached(
            "SELECT count(*) FROM reservations INDEXED BY reservations_open
             WHERE tenant = :tenant AND user = :user AND feature = :feature AND state = 'open'
               AND expires_at > :at",
        )?
        .query_row(
            named_params! {
                ":tenant": tenant_text(subject), ":user": user_text(subject),
                ":feature": feature, ":at": at,
            },
            |row| row.get(0),
        )?;
    Ok(count.0)
}

/// Adds a reservation.
pub fn insert(tx: &WriteTx<'_>, new: &Reservation) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO reservations (tenant, user, feature, id, amount, expires_at, state,
                 settled, created_at, created_by, ended_at)
             VALUES (:tenant, :user, :feature, :id, :amount, :expires_at, :state, :settled,
                 :created_at, :created_by, :ended_at)",
        )?
        .execute(named_params! {
            ":tenant": tenant_text(&new.subject),
            ":user": user_text(&new.subject),
            ":feature": new.feature,
            ":id": new.id,
            ":amount": Count(new.amount),
            ":expires_at": new.expires_at,
            ":state": Word(new.state),
            ":settled": new.settled.map(Count),
            ":created_at": new.created_at,
            ":created_by": new.created_by,
            ":ended_at": new.ended_at,
        })?;
    tx.ends_at(new.expires_at);
    usage::touch(tx, &new.subject, &new.feature)
}

/// Writes how an open reservation has ended.
pub fn end(tx: &WriteTx<'_>, ended: &Reservation) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE reservations SET state = :state, settled = :settled, ended_at = :ended_at
             WHERE id = :id AND state = 'open'",
        )?
        .execute(named_params! {
            ":id": ended.id,
            ":state": Word(ended.state),
            ":settled": ended.settled.map(Count),
            ":ended_at": ended.ended_at,
        })?;
    usage::touch(tx, &ended.subject, &ended.feature)
}

/// Forgets up to `limit` reservations that ended before `before`.
pub fn forget(tx: &WriteTx<'_>, before: Timestamp, limit: u32) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "DELETE FROM reservations WHERE id IN (
                 SELECT id FROM reservations INDEXED BY reservations_by_end
                 WHERE ended_at IS NOT NULL AND ended_at < :before
                 ORDER BY ended_at LIMIT :limit)",
        )?
        .execute(named_params! {":before": before, ":limit": limit})?;
    Ok(())
}

/// Reservations that expired by `until` without that being recorded, oldest first.
pub fn due(
    tx: &ReadTx<'_>,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    due::due(
        tx,
        "SELECT expires_at, tenant, id FROM reservations INDEXED BY reservations_by_expiry
         WHERE state = 'open' AND expires_at <= :until
           AND (expires_at, tenant, id) > (:at, :tenant, :id)
         ORDER BY expires_at, tenant, id LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// When the next reservation expires.
pub fn next_due(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT expires_at FROM reservations INDEXED BY reservations_by_expiry
         WHERE state = 'open' AND expires_at >= 0 ORDER BY expires_at LIMIT 1",
    )
}
