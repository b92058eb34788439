//! Audit events: what is written beside every change, in the same transaction.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
