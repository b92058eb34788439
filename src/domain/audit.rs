//! Audit events: what is written beside every change, in the same transaction.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::{keys::TenantKey, time::Timestamp};

/// One thing that happened, before it gets its place in the trail.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `entitlement.override.created` and the like.
    pub name: &'static str,
    /// Whose tenant it is about.
    pub tenant: Option<TenantKey>,
    /// What it is about: a key or an id.
    pub subject: String,
    /// The state before; null where there was none.
    pub before: Value,
    /// The state after; null where there is none.
    pub after: Value,
    /// The reason that was given.
    pub reason: Option<String>,
}

/// One row of the trail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its place; without gaps, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: String,
    /// Who.
    pub actor: AuditActor,
    /// Whose tenant.
    pub tenant: Option<TenantKey>,
    /// What it is about.
    pub subject: String,
    /// The state before.
    pub before: Value,
    /// The state after.
    pub after: Value,
    /// Why.
    pub reason: Option<String>,
    /// The request it came with.
    pub request_id: Option<String>,
    /// The address it came from.
    pub ip: Option<String>,
    /// SHA-256 over this row and the hash of the row before, in hex.
    pub hash: String,
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditActor {
    /// The caller's id.
    pub id: String,
    /// The caller's operator role, or `system`.
    pub role: String,
    /// How the caller worked.
    pub mode: String,
    /// Who really sat behind an impersonated caller.
    pub impersonator: Option<String>,
}

/// A record with its states as the texts that its hash covers: a number may read back as an equal
/// one that is written differently.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    /// The record.
    pub record: AuditRecord,
    /// Its state before, as JSON.
    pub before: String,
    /// Its state after, as JSON.
    pub after: String,
}

/// The end of the trail at some time: kept elsewhere, it shows a trail that was shortened or
/// rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The place of the row.
    pub seq: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

impl Head {
    /// As it stands in an audit event.
    #[must_use]
    pub fn facts(&self) -> Value {
        json!({"seq": self.seq, "hash": hex::encode(self.hash)})
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex::encode(self.hash))
    }
}

impl FromStr for Head {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HINT: &str = "must be a place and a hash of 64 hexadecimal digits: 17:0f3c…";
        let (seq, digits) = text.split_once(':').ok_or(HINT)?;
        let mut hash = [0; 32];
        hex::decode_to_slice(digits, &mut hash).map_err(|_| HINT)?;
        let head = Self { seq: seq.parse().map_err(|_| HINT)?, hash };
        // Exactly as it is written: not `+1`, not in capitals.
        if head.seq > 0 && head.to_string() == text { Ok(head) } else { Err(HINT) }
    }
}

/// What pruning leaves of the rows that it took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last row that was pruned.
    pub last: Head,
    /// When.
    pub at: Timestamp,
    /// How many rows the last pruning took.
    pub rows: u64,
}

impl Checkpoint {
    /// The event that stands in the trail beside it.
    pub const EVENT: &'static str = "entitlement.audit.pruned";

    /// As it stands in that event.
    #[must_use]
    pub fn facts(&self) -> Value {
        let Self { last: Head { seq, hash }, at, rows } = self;
        json!({"seq": seq, "hash": hex::encode(hash), "at": at, "rows": rows})
    }
}
