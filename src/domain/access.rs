//! Access: what holds for a tenant, or for a user, key by key, and what a write would change of it.
//!
//! Invariants: what is not there is not open, so a key that nobody knows yet and one that is refused
//! are no difference.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::{
    catalog::Limit,
    checks::Reason,
    contexts::ContextKey,
    keys::{TenantKey, UserKey},
    time::Timestamp,
};

/// What kind of thing a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum AccessKind {
    Module,
    Feature,
    Limit,
    Permission,
}

impl AccessKind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Feature => "feature",
            Self::Limit => "limit",
            Self::Permission => "permission",
        }
    }
}

/// One thing that can be open or closed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessKey {
    /// What kind of thing.
    pub kind: AccessKind,
    /// Which one.
    pub key: String,
    /// Where; only of a permission that is held on a context.
    pub context: Option<ContextKey>,
}

/// What holds for one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// What a check answers.
    pub enabled: bool,
    /// Why; none of a permission, to which there may be many ways.
    pub reason: Option<Reason>,
    /// Why it would be refused, where only the rollout keeps it open.
    pub would_reason: Option<Reason>,
    /// The value of a config feature.
    pub value: Option<Value>,
    /// How much there is of a limit.
    pub limit: Option<Limit>,
    /// When what decided ends; none of a limit or a permission.
    pub expires_at: Option<Timestamp>,
}

/// Everything that holds for somebody.
pub type AccessMap = BTreeMap<AccessKey, Access>;

/// What became of access to one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Closed before, open after.
    Gained,
    /// Open before, closed after.
    Lost,
    /// Open or closed as before, but otherwise: another value, limit, reason or end.
    Changed,
}

impl Change {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gained => "gained",
            Self::Lost => "lost",
            Self::Changed => "changed",
        }
    }

    /// What became of it; none where nobody could tell a difference.
    #[must_use]
    pub fn between(before: Option<&Access>, after: Option<&Access>) -> Option<Self> {
        let is_open = |access: Option<&Access>| access.is_some_and(|access| access.enabled);
        match (is_open(before), is_open(after)) {
            (false, true) => Some(Self::Gained),
            (true, false) => Some(Self::Lost),
            (true, true) | (false, false) => {
                let (before, after) = (before?, after?);
                (before != after).then_some(Self::Changed)
            }
        }
    }
}

/// Who is looked at: a tenant as a whole, a user in it, or a user without one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The tenant; none for a user without one.
    pub tenant: Option<TenantKey>,
    /// The user; none for the tenant as a whole.
    pub user: Option<UserKey>,
}

/// One thing that is different afterwards.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessChange {
    /// For whom.
    pub place: Place,
    /// What.
    pub key: AccessKey,
    /// What became of it.
    pub change: Change,
    /// What holds before; none where there is no such thing.
    pub before: Option<Access>,
    /// What holds after; none where there is no such thing.
    pub after: Option<Access>,
}

/// Everything that is different for one place, by kind, key and context.
#[must_use]
pub fn changes(place: &Place, before: &AccessMap, after: &AccessMap) -> Vec<AccessChange> {
    let mut keys: Vec<&AccessKey> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let of = |key: &AccessKey| {
        let (before, after) = (before.get(key), after.get(key));
        let change = Change::between(before, after)?;
        let (place, key) = (place.clone(), key.clone());
        Some(AccessChange { place, key, change, before: before.cloned(), after: after.cloned() })
    };
    keys.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(enabled: bool, reason: Reason) -> Access {
        Access {
            enabled,
            reason: Some(reason),
            would_reason: None,
            value: None,
            limit: None,
            expires_at: None,
        }
    }

    #[test]
    fn what_was_never_open_and_is_not_there_is_no_difference() {
        let refused = access(false, Reason::PlanLimit);
        assert_eq!(Change::between(None, Some(&refused)), None);
        assert_eq!(Change::between(Some(&refused), None), None);
        assert_eq!(Change::between(None, None), None);
        assert_eq!(Change::between(Some(&refused), Some(&refused.clone())), None);
    }

    #[test]
    fn who_gains_and_who_loses_is_told_by_the_answer_alone() {
        let (open, shut) = (access(true, Reason::Plan), access(false, Reason::PlanLimit));
        assert_eq!(Change::between(Some(&shut), Some(&open)), Some(Change::Gained));
        assert_eq!(Change::between(None, Some(&open)), Some(Change::Gained));
        assert_eq!(Change::between(Some(&open), Some(&shut)), Some(Change::Lost));
        assert_eq!(Change::between(Some(&open), None), Some(Change::Lost));
        let otherwise = access(true, Reason::Grant);
        assert_eq!(Change::between(Some(&open), Some(&otherwise)), Some(Change::Changed));
        let otherwise = access(false, Reason::Disabled);
        assert_eq!(Change::between(Some(&shut), Some(&otherwise)), Some(Change::Changed));
    }
}
