//! What the auto-rollback looks at: which tenants were checked and refused lately, under the present
//! settings of the rollout.
//!
//! Invariants: only checks that were enforced count, and only what happened under one revision of
//! the settings; a tenant counts once, however often it asks; memory is bounded by the number of
//! tenants and of seconds.

use std::collections::{BTreeMap, HashMap};

use crate::domain::{
    checks::{Decision, Reason, Source},
    keys::TenantKey,
    rollout::{RolloutFigures, RolloutMode, StoredRollout},
    time::Timestamp,
};

/// What was checked and refused lately.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Of the settings.
    revision: u64,
    /// How many checks there were in each second.
    checks: BTreeMap<i64, u64>,
    tenants: HashMap<TenantKey, Seen>,
}

/// The last seconds in which a tenant was checked, and was refused.
#[derive(Debug, Clone, Copy)]
struct Seen {
    checked: i64,
    refused: Option<i64>,
}

fn second(at: Timestamp) -> i64 {
    at.micros() / 1_000_000
}

/// Whether it is the rollout that makes a refusal count: it would be none in `shadow`.
fn is_by_rollout(decision: &Decision) -> bool {
    if decision.allowed {
        return false;
    }
    match decision.reason {
        // Refused whatever the rollout says. A subscription that is suspended reads the same as a
        // suspended tenant, and tells itself apart by its source.
        Reason::FeatureDisabled | Reason::PermissionDenied | Reason::Condition => false,
        Reason::Suspended => decision.source != Source::Tenant,
        Reason::NoSubscription
        | Reason::Cancelled
        | Reason::Overdue
        | Reason::Override
        | Reason::Disabled
        | Reason::TrialExpired
        | Reason::PlanLimit
        | Reason::NotGranted
        | Reason::SeatRequired
        | Reason::LimitReached => true,
        // Reasons of an allow.
        Reason::Demo
        | Reason::GatingDisabled
        | Reason::AlwaysOn
        | Reason::RbacOnly
        | Reason::Grant
        | Reason::Trial
        | Reason::Plan
        | Reason::AddOn
        | Reason::UserEntitlement
        | Reason::Role
        | Reason::Tier
        | Reason::SuperAdminBypass
        | Reason::Active => false,
    }
}

impl Recent {
    /// A check of a tenant was answered under these settings.
    pub fn note(
        &mut self,
        rollout: &StoredRollout,
        tenant: &TenantKey,
        decision: &Decision,
        now: Timestamp,
        limit: usize,
    ) {
        let settings = &rollout.settings;
        let is_watched = settings.auto_rollback.is_some() && settings.mode == RolloutMode::Enforce;
        if !is_watched || !decision.enforced || !self.is_under(rollout.revision) {
            return;
        }
        let at = second(now);
        *self.checks.entry(at).or_default() += 1;
        let refused = is_by_rollout(decision).then_some(at);
        if let Some(seen) = self.tenants.get_mut(tenant) {
            seen.merge(Seen { checked: at, refused });
        } else if self.tenants.len() < limit {
            self.tenants.insert(tenant.clone(), Seen { checked: at, refused });
        }
    }

    /// Whether something of this revision counts. A newer one begins anew.
    fn is_under(&mut self, revision: u64) -> bool {
        if revision > self.revision {
            *self = Self { revision, ..Self::default() };
        }
        revision == self.revision
    }

    /// Adds what a thread has seen.
    pub fn merge(&mut self, other: Self, limit: usize) {
        if !self.is_under(other.revision) {
            return;
        }
        for (at, checks) in other.checks {
            *self.checks.entry(at).or_default() += checks;
        }
        for (tenant, new) in other.tenants {
            if let Some(seen) = self.tenants.get_mut(&tenant) {
                seen.merge(new);
            } else if self.tenants.len() < limit {
                self.tenants.insert(tenant, new);
            }
        }
    }

    /// What happened under a revision of the settings in the last seconds. What is older is
    /// forgotten.
    pub fn figures(
        &mut self,
        revision: u64,
        now: Timestamp,
        window_seconds: u64,
    ) -> RolloutFigures {
        if !self.is_under(revision) {
            return RolloutFigures::default();
        }
        let window = i64::try_from(window_seconds).unwrap_or(i64::MAX);
        let before = second(now).saturating_sub(window);
        // A second that is a whole window ago is out.
        self.checks = self.checks.split_off(&before.saturating_add(1));
        self.tenants.retain(|_, seen| seen.checked > before);
        let is_refused = |seen: &&Seen| seen.refused.is_some_and(|at| at > before);
        RolloutFigures {
            checks: self.checks.values().sum(),
            tenants_checked: self.tenants.len() as u64,
            tenants_refused: self.tenants.values().filter(is_refused).count() as u64,
        }
    }
}

impl Seen {
    fn merge(&mut self, other: Self) {
        self.checked = self.checked.max(other.checked);
        self.refused = self.refused.max(other.refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: usize = 1_000;

    /// Seen by one thread under a revision: tenant, second, whether it was refused.
    fn seen(revision: u64, checks: &[(&str, i64, bool)]) -> Recent {
        let mut recent = Recent { revision, ..Recent::default() };
        for (tenant, at, refused) in checks {
            *recent.checks.entry(*at).or_default() += 1;
            let new = Seen { checked: *at, refused: refused.then_some(*at) };
            let known = recent.tenants.entry(tenant.parse().unwrap()).or_insert(new);
            known.merge(new);
        }
        recent
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn figures(recent: &mut Recent, revision: u64, now: i64) -> (u64, u64, u64) {
        let RolloutFigures { checks, tenants_checked, tenants_refused } =
            recent.figures(revision, at(now), 10);
        (checks, tenants_checked, tenants_refused)
    }

    #[test]
    fn what_threads_have_seen_adds_up_in_any_order() {
        let parts = [
            seen(3, &[("a", 100, true), ("b", 101, false)]),
            seen(3, &[("a", 105, false), ("c", 102, true)]),
        ];
        for order in [[0, 1], [1, 0]] {
            let mut recent = Recent::default();
            for part in order {
                let Recent { revision, checks, tenants } = &parts[part];
                let (checks, tenants) = (checks.clone(), tenants.clone());
                recent.merge(Recent { revision: *revision, checks, tenants }, ALL);
            }
            assert_eq!(figures(&mut recent, 3, 109), (4, 3, 2));
            // The refusal of a is out, not its check.
            assert_eq!(figures(&mut recent, 3, 110), (3, 3, 1));
            assert_eq!(figures(&mut recent, 3, 112), (1, 1, 0));
        }
    }

    #[test]
    fn an_older_revision_adds_nothing_and_a_newer_one_begins_anew() {
        let mut recent = Recent::default();
        recent.merge(seen(4, &[("a", 100, true)]), ALL);
        recent.merge(seen(3, &[("b", 100, true)]), ALL);
        assert_eq!(figures(&mut recent, 4, 100), (1, 1, 1));
        // A thread that has not seen the change yet is asked about in vain.
        assert_eq!(figures(&mut recent, 3, 100), (0, 0, 0));
        recent.merge(seen(5, &[("c", 100, false)]), ALL);
        assert_eq!(figures(&mut recent, 5, 100), (1, 1, 0));
    }

    #[test]
    fn no_more_tenants_are_kept_than_there_is_room_for() {
        let mut recent = Recent::default();
        recent.merge(seen(1, &[("a", 100, true), ("b", 100, true), ("c", 100, true)]), 2);
        assert_eq!(figures(&mut recent, 1, 100), (3, 2, 2));
        // What is forgotten makes room.
        assert_eq!(figures(&mut recent, 1, 110), (0, 0, 0));
        recent.merge(seen(1, &[("d", 111, true)]), 2);
        assert_eq!(figures(&mut recent, 1, 111), (1, 1, 1));
    }
}
