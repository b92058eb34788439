//! Pruning of the audit trail: the oldest rows go, behind a checkpoint that the rest is chained to.

use rusqlite::{OptionalExtension, named_params};

use super::{
    ReadTx, WriteTx,
    audit::verify_row,
    chain::{Verification, Walk},
    sql::Count,
};
use crate::{
    domain::{
        audit::{Checkpoint, Head},
        time::Timestamp,
    },
    error::{Error, Result},
};

/// Where the trail begins, if its beginning was pruned.
pub fn checkpoint(tx: &ReadTx<'_>) -> Result<Option<Checkpoint>> {
    let found = tx
        .conn
        .prepare_cached("SELECT seq, hash, at, rows FROM audit_checkpoint WHERE id = 1")?
        .query_row([], |row| {
            Ok(Checkpoint {
                last: Head { seq: row.get::<_, Count>(0)?.0, hash: row.get(1)? },
                at: row.get(2)?,
                rows: row.get::<_, Count>(3)?.0,
            })
        })
        .optional()?;
    Ok(found)
}

/// What may be pruned.
#[derive(Debug, Clone, Copy)]
pub struct Prunable {
    /// Older than this.
    pub before: Timestamp,
    /// Before this place: what the anchor outside the database names must stay.
    pub below: u64,
    /// At most so many rows at once.
    pub limit: usize,
}

/// The last row that would be pruned, and how many there are. A row that doesn't match its hash is
/// kept, with all after it: pruning must not do away with the traces.
pub fn due(tx: &ReadTx<'_>, prunable: Prunable) -> Result<Option<(Head, u64)>> {
    let Prunable { before, below, limit } = prunable;
    let first = checkpoint(tx)?;
    let mut walk = Walk::from(first, &[]);
    let mut statement = tx.conn.prepare_cached(
        "SELECT seq, at, event, actor, role, mode, impersonator, tenant, subject, before, after,
                reason, request_id, ip, hash
         FROM audit WHERE seq < :below ORDER BY seq LIMIT :limit",
    )?;
    let mut rows = statement.query(named_params! {
        ":below": i64::try_from(below).unwrap_or(i64::MAX),
        ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
    })?;
    let (mut count, mut others) = (0, 0);
    while let Some(row) = rows.next()? {
        if row.get::<_, Timestamp>(1)? >= before {
            break;
        }
        let sealed = verify_row(&mut walk, row).map_err(|broken| broken_trail(broken.into()))?;
        count += 1;
        others += u64::from(sealed.record.event != Checkpoint::EVENT);
    }
    // Else each pruning would leave an event that is the reason for the next one.
    let worth_it = others > 0 || usize::try_from(count) == Ok(limit);
    Ok((count > 0 && worth_it).then_some((walk.here(), count)))
}

fn broken_trail(found: Verification) -> Error {
    Error::internal(format!("the audit trail is not pruned: {found:?}; run `audit verify`"))
}

/// Takes away what is due and leaves a checkpoint; the one before and the new one.
pub fn prune(
    tx: &WriteTx<'_>,
    prunable: Prunable,
) -> Result<Option<(Option<Checkpoint>, Checkpoint)>> {
    let Some((last, rows)) = due(&tx.read, prunable)? else { return Ok(None) };
    let earlier = checkpoint(&tx.read)?;
    let checkpoint = Checkpoint { last, at: tx.real_now(), rows };
    let conn = tx.read.conn;
    let values = named_params! {
        ":seq": Count(last.seq),
        ":hash": last.hash.as_slice(),
        ":at": checkpoint.at,
        ":rows": Count(rows),
    };
    // Not an upsert: the trigger that keeps the table at one row would refuse it.
    let moved = conn
        .prepare_cached(
            "UPDATE audit_checkpoint SET seq = :seq, hash = :hash, at = :at, rows = :rows
             WHERE id = 1",
        )?
        .execute(values)?;
    if moved == 0 {
        conn.prepare_cached(
            "INSERT INTO audit_checkpoint (id, seq, hash, at, rows)
             VALUES (1, :seq, :hash, :at, :rows)",
        )?
        .execute(values)?;
    }
    conn.prepare_cached("DELETE FROM audit WHERE seq <= :seq")?
        .execute(named_params! { ":seq": Count(last.seq) })?;
    Ok(Some((earlier, checkpoint)))
}
