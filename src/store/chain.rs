//! How the rows of the audit trail hold together: the hash of each covers the one before, and the
//! checkpoint that pruning left is named by an event among the rows that are left.
//!
//! Refuses to know: where rows come from. They may be those of a database or of an export.

use sha2::{Digest, Sha256};

use crate::domain::{
    audit::{AuditActor, AuditRecord, Checkpoint, Head, Sealed},
    keys::TenantKey,
};

/// The hash that the first row is chained to.
pub(super) const GENESIS: [u8; 32] = [0; 32];

/// The hash of a row: over the hash before it and every field, each with its length, so that no text
/// can move from one field to the next.
pub(super) fn chain(previous: &[u8; 32], sealed: &Sealed) -> [u8; 32] {
    let Sealed { record, before, after } = sealed;
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

/// What a walk over the whole trail found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// Every row is as it was written.
    Intact {
        /// How many rows there are.
        rows: u64,
        /// How many were pruned before them.
        pruned: u64,
        /// The last one: keep it to recognise a shortened tail. None where there is no row.
        head: Option<Head>,
    },
    /// This row was changed, or the one before it was removed or inserted, or it is not the one that
    /// is known to have stood there.
    Broken {
        /// Its place.
        seq: u64,
        /// What is the matter.
        problem: String,
    },
}

/// A row that is not as it should be.
#[derive(Debug)]
pub(super) struct Broken {
    seq: u64,
    problem: String,
}

impl Broken {
    pub fn at(seq: u64, problem: impl Into<String>) -> Self {
        Self { seq, problem: problem.into() }
    }
}

impl From<Broken> for Verification {
    fn from(Broken { seq, problem }: Broken) -> Self {
        Self::Broken { seq, problem }
    }
}

/// A walk over the trail, row by row from the oldest.
pub(super) struct Walk<'a> {
    start: Head,
    previous: Head,
    checkpoint: Option<Checkpoint>,
    /// What the last event about a pruning says.
    announced: Option<(u64, serde_json::Value)>,
    /// What is known to have been the end of the trail at some time.
    known: &'a [Head],
}

impl<'a> Walk<'a> {
    /// From the checkpoint, or from the first row ever.
    pub fn from(checkpoint: Option<Checkpoint>, known: &'a [Head]) -> Self {
        let start = checkpoint.map_or(Head { seq: 0, hash: GENESIS }, |checkpoint| checkpoint.last);
        Self { start, previous: start, checkpoint, announced: None, known }
    }

    /// The next row.
    pub fn step(&mut self, sealed: &Sealed) -> Result<(), Broken> {
        let record = &sealed.record;
        let seq = self.expect(record.seq)?;
        let hash = chain(&self.previous.hash, sealed);
        if hex::encode(hash) != record.hash {
            return Err(Broken::at(seq, "the row doesn't match its hash"));
        }
        if self.known.iter().any(|head| head.seq == seq && head.hash != hash) {
            return Err(Broken::at(seq, "another row stood at the end of the trail before"));
        }
        if record.event == Checkpoint::EVENT {
            self.announced = Some((seq, record.after.clone()));
        }
        self.previous = Head { seq, hash };
        Ok(())
    }

    /// The row that it has come to.
    pub fn here(&self) -> Head {
        self.previous
    }

    /// Whether `seq` is the place that comes next.
    pub fn expect(&self, seq: u64) -> Result<u64, Broken> {
        let expected = self.previous.seq + 1;
        if seq == expected {
            return Ok(seq);
        }
        Err(Broken::at(seq, format!("place {expected} should come here")))
    }

    /// After the last row.
    pub fn end(self) -> Result<Verification, Broken> {
        let Self { start, previous, checkpoint, announced, known } = self;
        match (checkpoint.map(|checkpoint| checkpoint.facts()), announced) {
            (None, None) => {}
            (Some(facts), Some((_, said))) if facts == said => {}
            (Some(_), _) => {
                return Err(Broken::at(start.seq, "no event names this checkpoint of a pruning"));
            }
            (None, Some((seq, _))) => {
                return Err(Broken::at(seq, "the checkpoint of this pruning is missing"));
            }
        }
        for head in known {
            if head.seq > previous.seq {
                let line = format!("the rows up to {} are missing", head.seq);
                return Err(Broken::at(previous.seq, line));
            }
            if head.seq == start.seq && head.hash != start.hash {
                return Err(Broken::at(start.seq, "another row stood here before it was pruned"));
            }
            if head.seq < start.seq {
                let line = "the row of the given head was pruned; give a newer head";
                return Err(Broken::at(head.seq, line));
            }
        }
        let head = (previous.seq > 0).then_some(previous);
        Ok(Verification::Intact { rows: previous.seq - start.seq, pruned: start.seq, head })
    }
}

/// Walks over exported rows, oldest first. Where the export begins after the first row, the event of
/// the pruning must be among them.
pub fn verify_rows(rows: &[Sealed], known: &[Head]) -> Verification {
    let first = rows.first().map_or(1, |sealed| sealed.record.seq);
    let checkpoint = match first {
        0 | 1 => None,
        _ => match announced(rows, first - 1) {
            Some(checkpoint) => Some(checkpoint),
            None => return Broken::at(first, "the rows before this one are missing").into(),
        },
    };
    let mut walk = Walk::from(checkpoint, known);
    let outcome = rows.iter().try_for_each(|sealed| walk.step(sealed)).and_then(|()| walk.end());
    outcome.unwrap_or_else(Verification::from)
}

/// The checkpoint behind place `seq`, as the events tell it.
fn announced(rows: &[Sealed], seq: u64) -> Option<Checkpoint> {
    let mut events = rows.iter().filter(|sealed| sealed.record.event == Checkpoint::EVENT);
    let after = &events.next_back()?.record.after;
    let mut hash = [0; 32];
    hex::decode_to_slice(after.get("hash")?.as_str()?, &mut hash).ok()?;
    let checkpoint = Checkpoint {
        last: Head { seq: after.get("seq")?.as_u64()?, hash },
        at: after.get("at")?.as_str()?.parse().ok()?,
        rows: after.get("rows")?.as_u64()?,
    };
    (checkpoint.last.seq == seq).then_some(checkpoint)
}
