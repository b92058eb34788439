//! What subscribers are told about a change: whose answers may be others now.

use serde::{Deserialize, Serialize};

use crate::domain::{
    keys::{TenantKey, UserKey},
    time::Timestamp,
};

/// The cause of what happens by itself.
pub const TIME: &str = "time";

/// What a change alters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Answers can be others than before.
    Answers,
    /// Only what is recorded: for those who may read the audit trail.
    Records,
}

/// One committed change, as it concerns one tenant, everyone, or no tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its place: rises in the order of commits.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Whose tenant; none where it concerns everyone, or no tenant.
    pub tenant: Option<TenantKey>,
    /// The version that it made.
    pub version: u64,
    /// The audit event's name, or [`TIME`].
    pub cause: String,
    /// The modules and features that changed; empty where any may have.
    pub keys: Vec<String>,
    /// The users whose answers can be others now; none where anybody's can.
    pub users: Option<Vec<UserKey>>,
    /// What it alters.
    pub effect: Effect,
    /// Whether the tenant is a sandbox.
    pub sandbox: bool,
}

impl Change {
    /// Whether it can alter answers about any tenant.
    #[must_use]
    pub fn is_global(&self) -> bool {
        self.tenant.is_none() && self.effect == Effect::Answers
    }
}
