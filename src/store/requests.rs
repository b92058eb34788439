//! Requests for overrides.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, WriteTx,
    due::{self, Due},
    overrides::{effect, parts},
    sql::{Count, Json, Word},
};
use crate::{
    domain::{
        keys::{EntitlementKey, TenantKey},
        requests::{OverrideRequest, Person, RequestFilter, RequestKind},
        time::Timestamp,
    },
    error::{Error, Result},
};

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<OverrideRequest> {
    let decided_by: Option<String> = row.get(16)?;
    Ok(OverrideRequest {
        tenant: row.get(0)?,
        id: row.get(1)?,
        key: row.get(2)?,
        effect: effect(row)?,
        expires_at: row.get(5)?,
        reason: row.get(6)?,
        kind: row.get::<_, Word<_>>(7)?.0,
        override_id: row.get(8)?,
        override_revision: row.get::<_, Option<Count>>(9)?.map(|revision| revision.0),
        state: row.get::<_, Word<_>>(10)?.0,
        requested_by: Person {
            id: row.get(11)?,
            role: row.get::<_, Word<_>>(12)?.0,
            impersonator: row.get(13)?,
        },
        requested_at: row.get(14)?,
        lapses_at: row.get(15)?,
        decided_by: match decided_by {
            Some(id) => {
                Some(Person { id, role: row.get::<_, Word<_>>(17)?.0, impersonator: row.get(18)? })
            }
            None => None,
        },
        decided_at: row.get(19)?,
        comment: row.get(20)?,
    })
}

/// One request by its id.
pub fn get(tx: &ReadTx<'_>, id: &str) -> Result<OverrideRequest> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT tenant, id, key, enabled, value, expires_at, reason, kind, override_id,
                    override_revision, state, requested_by, requested_role, requested_through,
                    requested_at, lapses_at, decided_by, decided_role, decided_through, decided_at,
                    comment
             FROM requests WHERE id = :id",
        )?
        .query_row(named_params! {":id": id}, read)
        .optional()?;
    found.ok_or_else(|| not_found(id))
}

/// That there is no such request, or none that the caller may know of.
#[must_use]
pub fn not_found(id: &str) -> Error {
    Error::NotFound { kind: "request", key: id.to_owned() }
}

/// The request of a person for a tenant and key that was not decided, also one that has run out.
pub fn find_open(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    key: &EntitlementKey,
    by: &Person,
) -> Result<Option<OverrideRequest>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT tenant, id, key, enabled, value, expires_at, reason, kind, override_id,
                    override_revision, state, requested_by, requested_role, requested_through,
                    requested_at, lapses_at, decided_by, decided_role, decided_through, decided_at,
                    comment
             FROM requests
             WHERE tenant = :tenant AND key = :key AND requested_by = :by
               AND requested_role = :role AND state = 'open'",
        )?
        .query_row(
            named_params! {":tenant": tenant, ":key": key, ":by": by.id, ":role": Word(by.role)},
            read,
        )
        .optional()?;
    Ok(found)
}

/// How many requests of a tenant wait at `now`: those that were asked for, or those that wait for a
/// second person.
pub fn count_open(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    kind: RequestKind,
    now: Timestamp,
) -> Result<u64> {
    let asked = match kind {
        RequestKind::Request => true,
        RequestKind::Create | RequestKind::Update => false,
    };
    let count: Count = tx
        .conn
        .prepare_cached(
            "SELECT count(*) FROM requests INDEXED BY requests_waiting
             WHERE tenant = :tenant AND state = 'open' AND lapses_at > :now
               AND (kind = 'request') = :asked",
        )?
        .query_row(named_params! {":tenant": tenant, ":now": now, ":asked": asked}, |row| {
            row.get(0)
        })?;
    Ok(count.0)
}

/// Up to `limit` requests before `before`, newest first, by id.
pub fn list(
    tx: &ReadTx<'_>,
    filter: &RequestFilter,
    now: Timestamp,
    before: Option<&str>,
    limit: usize,
) -> Result<Vec<OverrideRequest>> {
    let sql = if filter.tenant.is_some() {
        "SELECT tenant, id, key, enabled, value, expires_at, reason, kind, override_id,
                override_revision, state, requested_by, requested_role, requested_through,
                requested_at, lapses_at, decided_by, decided_role, decided_through, decided_at,
                comment
         FROM requests
         WHERE tenant = :tenant AND (:before IS NULL OR id < :before)
           AND (:key IS NULL OR key = :key) AND (:kind IS NULL OR kind = :kind)
           AND (:state IS NULL OR :state = CASE
                WHEN state = 'open' AND lapses_at <= :now THEN 'expired' ELSE state END)
         ORDER BY id DESC LIMIT :limit"
    } else {
        "SELECT tenant, id, key, enabled, value, expires_at, reason, kind, override_id,
                override_revision, state, requested_by, requested_role, requested_through,
                requested_at, lapses_at, decided_by, decided_role, decided_through, decided_at,
                comment
         FROM requests INDEXED BY requests_by_id
         WHERE :tenant IS NULL AND id < coalesce(:before, 'req_~')
           AND (:key IS NULL OR key = :key) AND (:kind IS NULL OR kind = :kind)
           AND (:state IS NULL OR :state = CASE
                WHEN state = 'open' AND lapses_at <= :now THEN 'expired' ELSE state END)
         ORDER BY id DESC LIMIT :limit"
    };
    let mut statement = tx.conn.prepare_cached(sql)?;
    let rows = statement.query_map(
        named_params! {
            ":tenant": filter.tenant,
            ":key": filter.key,
            ":kind": filter.kind.map(Word),
            ":state": filter.state.map(Word),
            ":now": now,
            ":before": before,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Open requests that lapsed by `until`, oldest first.
pub fn due(
    tx: &ReadTx<'_>,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    due::due(
        tx,
        "SELECT lapses_at, tenant, id FROM requests INDEXED BY requests_by_lapse
         WHERE state = 'open' AND lapses_at <= :until
           AND (lapses_at, tenant, id) > (:at, :tenant, :id)
         ORDER BY lapses_at, tenant, id LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// When the next request lapses.
pub fn next_due(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT lapses_at FROM requests INDEXED BY requests_by_lapse
         WHERE state = 'open' AND lapses_at >= 0 ORDER BY lapses_at LIMIT 1",
    )
}

/// Adds a request that is open.
pub fn insert(tx: &WriteTx<'_>, new: &OverrideRequest) -> Result<()> {
    let (enabled, value) = parts(&new.effect);
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO requests (tenant, id, kind, key, enabled, value, expires_at, reason,
                 override_id, override_revision, state, requested_by, requested_role,
                 requested_through, requested_at, lapses_at)
             VALUES (:tenant, :id, :kind, :key, :enabled, :value, :expires_at, :reason,
                 :override_id, :override_revision, :state, :requested_by, :requested_role,
                 :requested_through, :requested_at, :lapses_at)",
        )?
        .execute(named_params! {
            ":tenant": new.tenant,
            ":id": new.id,
            ":kind": Word(new.kind),
            ":key": new.key,
            ":enabled": enabled,
            ":value": value.map(Json),
            ":expires_at": new.expires_at,
            ":reason": new.reason,
            ":override_id": new.override_id,
            ":override_revision": new.override_revision.map(Count),
            ":state": Word(new.state),
            ":requested_by": new.requested_by.id,
            ":requested_role": Word(new.requested_by.role),
            ":requested_through": new.requested_by.impersonator,
            ":requested_at": new.requested_at,
            ":lapses_at": new.lapses_at,
        })?;
    tx.ends_at(new.lapses_at);
    Ok(())
}

/// Writes how an open request ended, and the expiry that was approved.
pub fn decide(tx: &WriteTx<'_>, decided: &OverrideRequest) -> Result<()> {
    let by = decided.decided_by.as_ref();
    tx.read
        .conn
        .prepare_cached(
            "UPDATE requests
             SET state = :state, expires_at = :expires_at, override_id = :override_id,
                 decided_by = :decided_by, decided_role = :decided_role,
                 decided_through = :decided_through, decided_at = :decided_at, comment = :comment
             WHERE tenant = :tenant AND id = :id AND state = 'open'",
        )?
        .execute(named_params! {
            ":tenant": decided.tenant,
            ":id": decided.id,
            ":state": Word(decided.state),
            ":expires_at": decided.expires_at,
            ":override_id": decided.override_id,
            ":decided_by": by.map(|person| &person.id),
            ":decided_role": by.map(|person| Word(person.role)),
            ":decided_through": by.and_then(|person| person.impersonator.as_ref()),
            ":decided_at": decided.decided_at,
            ":comment": decided.comment,
        })?;
    Ok(())
}
