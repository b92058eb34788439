//! Callers: who speaks to this service, and what kind of caller that is (SPEC 14).

use serde::{Deserialize, Serialize};

use crate::domain::{checks::Mode, keys::TenantKey, time::Timestamp};

/// What a caller may do with this service itself. Not to be confused with the catalog's roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorRole {
    /// Everything.
    SuperAdmin,
    /// Sees all tenants and grants exceptions.
    Support,
    /// Reads everything but overrides, changes nothing.
    Auditor,
    /// An application's backend.
    Service,
    /// Manages the own tenant.
    TenantAdmin,
    /// Asks about oneself.
    TenantUser,
}

impl OperatorRole {
    /// All of them, the mightiest first.
    pub const ALL: [Self; 6] = [
        Self::SuperAdmin,
        Self::Support,
        Self::Auditor,
        Self::Service,
        Self::TenantAdmin,
        Self::TenantUser,
    ];

    /// As it stands in tokens, keys and the audit trail.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SuperAdmin => "super_admin",
            Self::Support => "support",
            Self::Auditor => "auditor",
            Self::Service => "service",
            Self::TenantAdmin => "tenant_admin",
            Self::TenantUser => "tenant_user",
        }
    }

    /// Whether a caller of this role is always bound to one tenant.
    #[must_use]
    pub fn needs_tenant(self) -> bool {
        match self {
            Self::TenantAdmin | Self::TenantUser => true,
            Self::SuperAdmin | Self::Support | Self::Auditor | Self::Service => false,
        }
    }

    /// Whether a caller of this role may be bound to one tenant.
    #[must_use]
    pub fn may_have_tenant(self) -> bool {
        self.needs_tenant() || self == Self::Service
    }
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's `sub`, or `key:<id>` of an API key.
    pub id: String,
    /// What it may do.
    pub role: OperatorRole,
    /// The one tenant it is bound to.
    pub tenant: Option<TenantKey>,
    /// How it works, as its token says.
    pub mode: Mode,
    /// Who really sits behind an impersonated caller.
    pub impersonator: Option<String>,
}

/// An API key without its secret, which is shown once and never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The public part of the key.
    pub id: String,
    /// For people.
    pub name: String,
    /// What its bearer may do.
    pub role: OperatorRole,
    /// The one tenant its bearer is bound to.
    pub tenant: Option<TenantKey>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Refused from here on.
    pub expires_at: Option<Timestamp>,
    /// Refused since.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it last got a new secret.
    pub rotated_at: Option<Timestamp>,
    /// The secret before that one is refused from here on.
    pub old_secret_until: Option<Timestamp>,
    /// How much its bearer may send, where it differs from what all may.
    pub rate: Option<Rate>,
}

/// How much a caller may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Requests a second.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}
