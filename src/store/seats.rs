//! Seats in use.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, WriteTx,
    due::{self, Due},
    sql::Count,
};
use crate::{
    domain::{
        keys::{EntitlementKey, TenantKey, UserKey},
        people::{Seat, SeatFilter},
        time::Timestamp,
    },
    error::{Error, Result},
};

/// Where a page of seats ended: key, pool, holder, user.
pub type SeatCursor = (EntitlementKey, TenantKey, TenantKey, UserKey);

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<Seat> {
    Ok(Seat {
        tenant: row.get(0)?,
        key: row.get(1)?,
        holder: row.get(2)?,
        user: row.get(3)?,
        expires_at: row.get(4)?,
        allocated_at: row.get(5)?,
        allocated_by: row.get(6)?,
    })
}

/// The seat of a user, also one that has expired and was not recorded.
pub fn find(
    tx: &ReadTx<'_>,
    pool: &TenantKey,
    key: &EntitlementKey,
    holder: &TenantKey,
    user: &UserKey,
) -> Result<Option<Seat>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT tenant, key, holder, user, expires_at, allocated_at, allocated_by FROM seats
             WHERE tenant = :tenant AND key = :key AND holder = :holder AND user = :user",
        )?
        .query_row(
            named_params! {":tenant": pool, ":key": key, ":holder": holder, ":user": user},
            read,
        )
        .optional()?;
    Ok(found)
}

/// How many seats of a pool are in use, with those that have expired and were not recorded.
pub fn count(tx: &ReadTx<'_>, pool: &TenantKey, key: &EntitlementKey) -> Result<u64> {
    let found: Option<Count> = tx
        .conn
        .prepare_cached("SELECT allocated FROM seat_counts WHERE tenant = :tenant AND key = :key")?
        .query_row(named_params! {":tenant": pool, ":key": key}, |row| row.get(0))
        .optional()?;
    Ok(found.map_or(0, |count| count.0))
}

/// The keys of a tenant of which seats are in use.
pub fn keys_in_use(tx: &ReadTx<'_>, pool: &TenantKey) -> Result<Vec<EntitlementKey>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT key FROM seat_counts WHERE tenant = :tenant AND allocated > 0 ORDER BY key",
    )?;
    let rows = statement.query_map(named_params! {":tenant": pool}, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many of them have expired without that being recorded.
pub fn count_expired(
    tx: &ReadTx<'_>,
    pool: &TenantKey,
    key: &EntitlementKey,
    now: Timestamp,
) -> Result<u64> {
    let count: Count = tx
        .conn
        .prepare_cached(
            "SELECT count(*) FROM seats INDEXED BY seats_by_expiry
             WHERE expires_at <= :now AND tenant = :tenant AND key = :key",
        )?
        .query_row(named_params! {":tenant": pool, ":key": key, ":now": now}, |row| row.get(0))?;
    Ok(count.0)
}

/// Seats of a pool that have expired without that being recorded.
pub fn expired(
    tx: &ReadTx<'_>,
    pool: &TenantKey,
    key: &EntitlementKey,
    now: Timestamp,
) -> Result<Vec<Seat>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT tenant, key, holder, user, expires_at, allocated_at, allocated_by
         FROM seats INDEXED BY seats_by_expiry
         WHERE expires_at <= :now AND tenant = :tenant AND key = :key",
    )?;
    let rows =
        statement.query_map(named_params! {":tenant": pool, ":key": key, ":now": now}, read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Up to `limit` seats of a pool, the newest first.
pub fn newest(
    tx: &ReadTx<'_>,
    pool: &TenantKey,
    key: &EntitlementKey,
    limit: u64,
) -> Result<Vec<Seat>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT tenant, key, holder, user, expires_at, allocated_at, allocated_by
         FROM seats INDEXED BY seats_by_age
         WHERE tenant = :tenant AND key = :key
         ORDER BY allocated_at DESC, holder DESC, user DESC LIMIT :limit",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows =
        statement.query_map(named_params! {":tenant": pool, ":key": key, ":limit": limit}, read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Up to `limit` seats that count: those of a tenant's pool, and those that its users have of other
/// pools. By key, pool, holder and user.
pub fn list(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    filter: &SeatFilter,
    now: Timestamp,
    after: Option<&SeatCursor>,
    limit: usize,
) -> Result<Vec<Seat>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT tenant, key, holder, user, expires_at, allocated_at, allocated_by FROM seats
         WHERE tenant = :tenant AND (:key IS NULL OR key = :key)
           AND (:user IS NULL OR user = :user) AND (expires_at IS NULL OR expires_at > :now)
           AND (key, tenant, holder, user) > (:after_key, :after_pool, :after_holder, :after_user)
         UNION ALL
         SELECT tenant, key, holder, user, expires_at, allocated_at, allocated_by FROM seats
         WHERE holder = :tenant AND tenant <> :tenant AND (:key IS NULL OR key = :key)
           AND (:user IS NULL OR user = :user) AND (expires_at IS NULL OR expires_at > :now)
           AND (key, tenant, holder, user) > (:after_key, :after_pool, :after_holder, :after_user)
         ORDER BY 2, 1, 3, 4 LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":tenant": tenant,
            ":key": filter.key,
            ":user": filter.user,
            ":now": now,
            ":after_key": after.map_or("", |(key, ..)| key.as_str()),
            ":after_pool": after.map_or("", |(_, pool, ..)| pool.as_str()),
            ":after_holder": after.map_or("", |(_, _, holder, _)| holder.as_str()),
            ":after_user": after.map_or("", |(.., user)| user.as_str()),
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Allocates a seat, or moves the end of one.
pub fn upsert(tx: &WriteTx<'_>, seat: &Seat) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO seats (tenant, key, holder, user, expires_at, allocated_at, allocated_by)
             VALUES (:tenant, :key, :holder, :user, :expires_at, :allocated_at, :allocated_by)
             ON CONFLICT (tenant, key, holder, user) DO UPDATE
             SET expires_at = excluded.expires_at",
        )?
        .execute(named_params! {
            ":tenant": seat.tenant,
            ":key": seat.key,
            ":holder": seat.holder,
            ":user": seat.user,
            ":expires_at": seat.expires_at,
            ":allocated_at": seat.allocated_at,
            ":allocated_by": seat.allocated_by,
        })?;
    seat.expires_at.into_iter().for_each(|at| tx.ends_at(at));
    touch(tx, seat)
}

/// Gives a seat back to its pool.
pub fn delete(tx: &WriteTx<'_>, seat: &Seat) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "DELETE FROM seats
             WHERE tenant = :tenant AND key = :key AND holder = :holder AND user = :user",
        )?
        .execute(named_params! {
            ":tenant": seat.tenant,
            ":key": seat.key,
            ":holder": seat.holder,
            ":user": seat.user,
        })?;
    touch(tx, seat)
}

fn touch(tx: &WriteTx<'_>, seat: &Seat) -> Result<()> {
    tx.touch_user(Some(&seat.holder), &seat.user)?;
    tx.touch_tenant(&seat.tenant)
}

/// Seats that ended by `until` without that being recorded, oldest first. Their ids are
/// `key/holder/user`: none of these holds a `/`.
pub fn due(
    tx: &ReadTx<'_>,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    due::due(
        tx,
        "SELECT expires_at, tenant, key || '/' || holder || '/' || user
         FROM seats INDEXED BY seats_by_expiry
         WHERE expires_at <= :until
           AND (expires_at, tenant, key || '/' || holder || '/' || user) > (:at, :tenant, :id)
         ORDER BY expires_at, tenant, key || '/' || holder || '/' || user LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// When the next seat ends.
pub fn next_due(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT expires_at FROM seats INDEXED BY seats_by_expiry
         WHERE expires_at >= 0 ORDER BY expires_at LIMIT 1",
    )
}

/// The seat that an id of [`due`] names in a pool.
pub fn find_due(tx: &ReadTx<'_>, pool: &TenantKey, id: &str) -> Result<Option<Seat>> {
    let mut parts = id.splitn(3, '/');
    let mut part = || parts.next().ok_or_else(|| Error::internal("an id of a seat has 3 parts"));
    let (key, holder, user) = (part()?, part()?, part()?);
    let key = key.parse().map_err(Error::internal)?;
    let holder = holder.parse().map_err(Error::internal)?;
    let user = user.parse().map_err(Error::internal)?;
    find(tx, pool, &key, &holder, &user)
}
