//! Tenants: the customers of the application.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::{
    keys::TenantKey,
    time::{Span, Timestamp},
};

/// A customer organisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// Which tenant.
    pub key: TenantKey,
    /// Shown to people.
    pub name: String,
    /// The tenant above it.
    pub parent: Option<TenantKey>,
    /// Set while the tenant is suspended.
    pub suspension: Option<Suspension>,
    /// Whether it needs a subscription.
    pub billing: Billing,
    /// Everything is open to it.
    pub demo: bool,
    /// It has a clock of its own.
    pub sandbox: bool,
    /// How far the clock of a sandbox is ahead of the service's; nothing for any other tenant.
    #[serde(default)]
    pub ahead: Span,
    /// The caller's own data about it; never interpreted.
    pub attributes: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The version of its row, for `ETag`.
    pub revision: u64,
}

impl Tenant {
    /// What time it is for the tenant when it is `now` for the service.
    #[must_use]
    pub fn time(&self, now: Timestamp) -> Timestamp {
        now + self.ahead
    }
}

/// Who suspended a tenant, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// The caller who did it.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// Whether a tenant needs a subscription (SPEC 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Billing {
    /// Blocked without one.
    Subscription,
    /// What it has comes from grants; subscriptions give but never block.
    Direct,
}
