//! The audit trail: append-only, each row chained to the one before by its hash.

use rusqlite::{OptionalExtension, Row, named_params};

pub use super::chain::{Verification, verify_rows};
use super::{
    ReadTx, WriteTx,
    chain::{Broken, GENESIS, Walk, chain},
    retention,
    sql::{Count, Json},
};
use crate::{
    domain::{
        audit::{AuditActor, AuditRecord, Event, Head, Sealed},
        keys::TenantKey,
        time::Timestamp,
    },
    error::Result,
};

/// With what request an event came.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// Who.
    pub actor: AuditActor,
    /// The request.
    pub request_id: Option<String>,
    /// The address it came from.
    pub ip: Option<String>,
}

/// Adds an event to the trail.
pub fn append(tx: &WriteTx<'_>, provenance: &Provenance, event: &Event) -> Result<()> {
    let previous = head(&tx.read)?.unwrap_or(Head { seq: 0, hash: GENESIS });
    let record = AuditRecord {
        seq: previous.seq + 1,
        at: tx.real_now(),
        event: event.name.to_owned(),
        actor: provenance.actor.clone(),
        tenant: event.tenant.clone(),
        subject: event.subject.clone(),
        before: event.before.clone(),
        after: event.after.clone(),
        reason: event.reason.clone(),
        request_id: provenance.request_id.clone(),
        ip: provenance.ip.clone(),
        hash: String::new(),
    };
    let (before, after) = (record.before.to_string(), record.after.to_string());
    let sealed = Sealed { record, before, after };
    let hash = chain(&previous.hash, &sealed);
    let Sealed { record, before, after } = sealed;
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO audit (seq, at, event, actor, role, mode, impersonator, tenant, subject,
                 before, after, reason, request_id, ip, hash)
             VALUES (:seq, :at, :event, :actor, :role, :mode, :impersonator, :tenant, :subject,
                 :before, :after, :reason, :request_id, :ip, :hash)",
        )?
        .execute(named_params! {
            ":seq": Count(record.seq),
            ":at": record.at,
            ":event": record.event,
            ":actor": record.actor.id,
            ":role": record.actor.role,
            ":mode": record.actor.mode,
            ":impersonator": record.actor.impersonator,
            ":tenant": record.tenant,
            ":subject": record.subject,
            ":before": before,
            ":after": after,
            ":reason": record.reason,
            ":request_id": record.request_id,
            ":ip": record.ip,
            ":hash": hash.as_slice(),
        })?;
    Ok(())
}

/// The last row, also where it was pruned; nothing where there never was one.
pub fn head(tx: &ReadTx<'_>) -> Result<Option<Head>> {
    match last_row(tx)? {
        Some(head) => Ok(Some(head)),
        None => Ok(retention::checkpoint(tx)?.map(|checkpoint| checkpoint.last)),
    }
}

/// The last row that is there.
pub(super) fn last_row(tx: &ReadTx<'_>) -> Result<Option<Head>> {
    let last = tx
        .conn
        .prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok(Head { seq: row.get::<_, Count>(0)?.0, hash: row.get(1)? }))
        .optional()?;
    Ok(last)
}

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    let hash: [u8; 32] = row.get(14)?;
    Ok(AuditRecord {
        seq: row.get::<_, Count>(0)?.0,
        at: row.get(1)?,
        event: row.get(2)?,
        actor: AuditActor {
            id: row.get(3)?,
            role: row.get(4)?,
            mode: row.get(5)?,
            impersonator: row.get(6)?,
        },
        tenant: row.get(7)?,
        subject: row.get(8)?,
        before: row.get::<_, Json<_>>(9)?.0,
        after: row.get::<_, Json<_>>(10)?.0,
        reason: row.get(11)?,
        request_id: row.get(12)?,
        ip: row.get(13)?,
        hash: hex::encode(hash),
    })
}

/// As [`read`], with the texts of the states.
pub(super) fn read_sealed(row: &Row<'_>) -> rusqlite::Result<Sealed> {
    Ok(Sealed { record: read(row)?, before: row.get(9)?, after: row.get(10)? })
}

/// What a list of audit records is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// About this tenant.
    pub tenant: Option<TenantKey>,
    /// Events whose name starts so.
    pub event: Option<String>,
    /// By this caller.
    pub actor: Option<String>,
    /// At or after.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
}

/// Up to `limit` records before place `before`, newest first.
pub fn list(
    tx: &ReadTx<'_>,
    filter: &AuditFilter,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<AuditRecord>> {
    // One statement for each index that can carry the list; the rest narrows what it finds.
    let sql = match (&filter.tenant, &filter.actor) {
        (Some(_), _) => {
            "SELECT seq, at, event, actor, role, mode, impersonator, tenant, subject, before,
                    after, reason, request_id, ip, hash
             FROM audit INDEXED BY audit_by_tenant
             WHERE tenant = :tenant AND seq < :before
               AND (:actor IS NULL OR actor = :actor)
               AND (:event IS NULL OR substr(event, 1, length(:event)) = :event)
               AND at >= :from AND at < :to
             ORDER BY seq DESC LIMIT :limit"
        }
        (None, Some(_)) => {
            "SELECT seq, at, event, actor, role, mode, impersonator, tenant, subject, before,
                    after, reason, request_id, ip, hash
             FROM audit INDEXED BY audit_by_actor
             WHERE actor = :actor AND seq < :before AND :tenant IS NULL
               AND (:event IS NULL OR substr(event, 1, length(:event)) = :event)
               AND at >= :from AND at < :to
             ORDER BY seq DESC LIMIT :limit"
        }
        (None, None) => {
            "SELECT seq, at, event, actor, role, mode, impersonator, tenant, subject, before,
                    after, reason, request_id, ip, hash
             FROM audit
             WHERE seq < :before AND :tenant IS NULL AND :actor IS NULL
               AND (:event IS NULL OR substr(event, 1, length(:event)) = :event)
               AND at >= :from AND at < :to
             ORDER BY seq DESC LIMIT :limit"
        }
    };
    let mut statement = tx.conn.prepare_cached(sql)?;
    let rows = statement.query_map(
        named_params! {
            ":tenant": filter.tenant,
            ":actor": filter.actor,
            ":event": filter.event,
            ":from": filter.from.unwrap_or(Timestamp::EPOCH),
            ":to": filter.to.unwrap_or(Timestamp::MAX),
            ":before": before.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX)),
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many rows one page of an export looks at, so that a filter that finds little holds no view
/// open for long.
const WINDOW: u64 = 20_000;

/// Records after place `after` up to place `head`, oldest first: at most `limit`, and the place that
/// the next page begins after.
pub fn page(
    tx: &ReadTx<'_>,
    filter: &AuditFilter,
    after: u64,
    head: u64,
    limit: usize,
) -> Result<(Vec<Sealed>, u64)> {
    let to_seq = head.min(after.saturating_add(WINDOW));
    let mut statement = tx.conn.prepare_cached(
        "SELECT seq, at, event, actor, role, mode, impersonator, tenant, subject, before, after,
                reason, request_id, ip, hash
         FROM audit
         WHERE seq > :after AND seq <= :to_seq
           AND (:tenant IS NULL OR tenant = :tenant)
           AND (:actor IS NULL OR actor = :actor)
           AND (:event IS NULL OR substr(event, 1, length(:event)) = :event)
           AND +at >= :from AND +at < :to
         ORDER BY seq LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":tenant": filter.tenant,
            ":actor": filter.actor,
            ":event": filter.event,
            ":from": filter.from.unwrap_or(Timestamp::EPOCH),
            ":to": filter.to.unwrap_or(Timestamp::MAX),
            ":after": Count(after),
            ":to_seq": Count(to_seq),
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read_sealed,
    )?;
    let found = rows.collect::<Result<Vec<_>, _>>()?;
    let next = match found.last() {
        Some(last) if found.len() >= limit => last.record.seq,
        Some(_) | None => to_seq,
    };
    Ok((found, next))
}

/// Walks the whole trail and works out every hash again; `known` are ends of the trail that were
/// kept elsewhere.
pub fn verify(tx: &ReadTx<'_>, known: &[Head]) -> Result<Verification> {
    // The database may be an older one, such as a backup from before an upgrade.
    let can_be_pruned: bool = tx.conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'audit_checkpoint')",
        [],
        |row| row.get(0),
    )?;
    let checkpoint = if can_be_pruned { retention::checkpoint(tx)? } else { None };
    let mut walk = Walk::from(checkpoint, known);
    let mut statement = tx.conn.prepare(
        "SELECT seq, at, event, actor, role, mode, impersonator, tenant, subject, before, after,
                reason, request_id, ip, hash
         FROM audit ORDER BY seq",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Err(broken) = verify_row(&mut walk, row) {
            return Ok(broken.into());
        }
    }
    Ok(walk.end().unwrap_or_else(Verification::from))
}

/// A row that can't even be read is broken, and no error.
pub(super) fn verify_row(walk: &mut Walk<'_>, row: &Row<'_>) -> Result<Sealed, Broken> {
    let unreadable = |seq, error| Broken::at(seq, format!("the row can't be read: {error}"));
    let seq = row.get::<_, i64>(0).map_err(|error| unreadable(0, error))?;
    let seq = walk.expect(u64::try_from(seq).unwrap_or_default())?;
    let sealed = read_sealed(row).map_err(|error| unreadable(seq, error))?;
    walk.step(&sealed)?;
    Ok(sealed)
}

/// The place of the last row; 0 where there is none.
pub fn last_seq(tx: &ReadTx<'_>) -> Result<u64> {
    Ok(head(tx)?.map_or(0, |head| head.seq))
}
