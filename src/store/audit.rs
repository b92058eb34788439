//! The audit trail: append-only, each row chained to the one before by its hash.

use rusqlite::{OptionalExtension, Row, named_params};
use sha2::{Digest, Sha256};

use super::{
    ReadTx, WriteTx,
    sql::{Count, Json},
};
use crate::{
    domain::{
        audit::{AuditActor, AuditRecord, Event},
        keys::TenantKey,
        time::Timestamp,
    },
    error::Result,
};

/// The hash that the first row is chained to.
const GENESIS: [u8; 32] = [0; 32];

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
    let (seq, previous) = tail(&tx.read)?;
    let mut record = AuditRecord {
        seq: seq + 1,
        at: tx.now,
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
    let hash = chain(&previous, &record, &before, &after);
    record.hash = hex::encode(hash);
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

/// The place and hash of the last row.
fn tail(tx: &ReadTx<'_>) -> Result<(u64, [u8; 32])> {
    let last = tx
        .conn
        .prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get::<_, Count>(0)?.0, row.get(1)?)))
        .optional()?;
    Ok(last.unwrap_or((0, GENESIS)))
}

/// The hash of a row: over the hash before it and every field, each with its length, so that no text
/// can move from one field to the next. The states count as the text that is stored: a number may
/// read back as an equal one that is written differently.
fn chain(previous: &[u8; 32], record: &AuditRecord, before: &str, after: &str) -> [u8; 32] {
    let AuditRecord {
        seq,
        at,
        event,
        actor: AuditActor { id, role, mode, impersonator },
        tenant,
        subject,
        before: _,
        after: _,
        reason,
        request_id,
        ip,
        hash: _,
    } = record;
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(seq.to_be_bytes());
    hasher.update(at.micros().to_be_bytes());
    let fields = [
        Some(event.as_str()),
        Some(id),
        Some(role),
        Some(mode),
        impersonator.as_deref(),
        tenant.as_ref().map(TenantKey::as_str),
        Some(subject),
        Some(before),
        Some(after),
        reason.as_deref(),
        request_id.as_deref(),
        ip.as_deref(),
    ];
    for field in fields {
        match field {
            // Nothing and an empty text are two different things.
            None => hasher.update([0]),
            Some(text) => {
                hasher.update([1]);
                hasher.update((text.len() as u64).to_be_bytes());
                hasher.update(text.as_bytes());
            }
        }
    }
    hasher.finalize().into()
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

/// What a walk over the whole trail found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// Every row is as it was written.
    Intact {
        /// How many rows.
        rows: u64,
        /// The hash of the last one, in hex: keep it to recognise a shortened tail.
        head: String,
    },
    /// This row was changed, or the one before it was removed or inserted.
    Broken {
        /// Its place.
        seq: u64,
        /// What is the matter.
        problem: String,
    },
}

/// Walks the whole trail and works out every hash again.
pub fn verify(tx: &ReadTx<'_>) -> Result<Verification> {
    let mut statement = tx.conn.prepare(
        "SELECT seq, at, event, actor, role, mode, impersonator, tenant, subject, before, after,
                reason, request_id, ip, hash
         FROM audit ORDER BY seq",
    )?;
    let mut rows = statement.query([])?;
    let (mut count, mut previous) = (0, GENESIS);
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        let expected = count + 1;
        let broken = |problem: String| {
            Ok(Verification::Broken { seq: u64::try_from(seq).unwrap_or_default(), problem })
        };
        if i64::try_from(expected) != Ok(seq) {
            return broken(format!("the row at place {expected} is missing"));
        }
        let record = match read(row) {
            Ok(record) => record,
            Err(error) => return broken(format!("the row can't be read: {error}")),
        };
        let (before, after): (String, String) = (row.get(9)?, row.get(10)?);
        let hash = chain(&previous, &record, &before, &after);
        if hex::encode(hash) != record.hash {
            return broken("the row doesn't match its hash".into());
        }
        (count, previous) = (expected, hash);
    }
    Ok(Verification::Intact { rows: count, head: hex::encode(previous) })
}

/// The place of the last row; 0 where there is none.
pub fn last_seq(tx: &ReadTx<'_>) -> Result<u64> {
    Ok(tail(tx)?.0)
}
