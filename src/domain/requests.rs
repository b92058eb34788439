//! Requests for overrides: what a tenant asks for, and what waits for a second person.

use serde::{Deserialize, Serialize};

use crate::domain::{
    callers::{OperatorRole, Principal},
    keys::{EntitlementKey, TenantKey},
    overrides::Effect,
    time::Timestamp,
};

/// An override that somebody wants and somebody else decides about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OverrideRequest {
    /// Opaque id, unique in the service.
    pub id: String,
    /// What its approval does.
    pub kind: RequestKind,
    /// Whose override it is to be.
    pub tenant: TenantKey,
    /// The module or feature.
    pub key: EntitlementKey,
    /// What the override is to decide.
    pub effect: Effect,
    /// When the override is to expire.
    pub expires_at: Timestamp,
    /// Why it is wanted.
    pub reason: String,
    /// The override that is to change, or the one that came of it.
    pub override_id: Option<String>,
    /// The revision of the override that the change was written for.
    pub override_revision: Option<u64>,
    /// How it stands in the database; by the clock it may have run out already.
    pub state: RequestState,
    /// Who wants it.
    pub requested_by: Person,
    /// Since when.
    pub requested_at: Timestamp,
    /// Not to be decided from here on.
    pub lapses_at: Timestamp,
    /// Who decided it; nobody where it ran out.
    pub decided_by: Option<Person>,
    /// When it stopped being open.
    pub decided_at: Option<Timestamp>,
    /// What was said about the decision.
    pub comment: Option<String>,
}

impl OverrideRequest {
    /// Where it stands at an instant, whether or not the worker has run.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> RequestState {
        match self.state {
            RequestState::Open if self.lapses_at <= now => RequestState::Expired,
            state => state,
        }
    }
}

/// What the approval of a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// Somebody asked: an override is made, or the open one changed.
    Request,
    /// One person made an override, which waits for a second.
    Create,
    /// One person changed an override, which holds unchanged until a second approves.
    Update,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// It waits.
    Open,
    /// It became an override.
    Approved,
    /// Somebody said no.
    Declined,
    /// Who asked took it back.
    Withdrawn,
    /// Nobody decided in time.
    Expired,
}

impl RequestState {
    /// As it stands in answers and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Declined => "declined",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        }
    }
}

/// Somebody who asked or decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The caller's id.
    pub id: String,
    /// The role in which it was done.
    pub role: OperatorRole,
    /// Who really sat behind an impersonated caller.
    pub impersonator: Option<String>,
}

impl Person {
    /// The person behind a caller.
    #[must_use]
    pub fn of(principal: &Principal) -> Self {
        let Principal { id, role, tenant: _, mode: _, impersonator } = principal;
        Self { id: id.clone(), role: *role, impersonator: impersonator.clone() }
    }

    /// Whether one human may be behind both: the same id in whatever role, or in somebody's place.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        let ids = |person: &Self| [Some(person.id.clone()), person.impersonator.clone()];
        let theirs = ids(other);
        ids(self).iter().flatten().any(|id| theirs.iter().flatten().any(|their| their == id))
    }
}

/// What a list of requests is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// Of this tenant.
    pub tenant: Option<TenantKey>,
    /// On this module or feature.
    pub key: Option<EntitlementKey>,
    /// In this state; any if unset.
    pub state: Option<RequestState>,
    /// Of this kind; any if unset.
    pub kind: Option<RequestKind>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_human_is_known_in_every_role_and_place() {
        let person = |id: &str, role, through: Option<&str>| Person {
            id: id.into(),
            role,
            impersonator: through.map(str::to_owned),
        };
        let sue = person("sue", OperatorRole::Support, None);
        assert!(sue.may_be(&person("sue", OperatorRole::SuperAdmin, None)));
        assert!(sue.may_be(&person("ana", OperatorRole::TenantAdmin, Some("sue"))));
        assert!(person("ana", OperatorRole::Support, Some("sue")).may_be(&sue));
        let eve = person("eve", OperatorRole::Support, None);
        assert!(!sue.may_be(&eve));
        assert!(!person("ana", OperatorRole::TenantAdmin, None).may_be(&sue));
    }
}
