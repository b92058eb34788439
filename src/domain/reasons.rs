//! What each reason and each code of a refusal means, for people. The tables of `docs/api.md` are
//! written from here.

use crate::domain::checks::{Code, Reason};

/// Which answers a reason can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// It only allows.
    Yes,
    /// It only refuses.
    No,
    /// It does either.
    Either,
}

/// What a reason means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// What it answers.
    pub answers: Answers,
    /// What is the case.
    pub case: &'static str,
    /// Who can change it; empty where nobody needs to.
    pub changed_by: &'static str,
}

const fn yes(case: &'static str, changed_by: &'static str) -> Meaning {
    Meaning { answers: Answers::Yes, case, changed_by }
}

const fn no(case: &'static str, changed_by: &'static str) -> Meaning {
    Meaning { answers: Answers::No, case, changed_by }
}

impl Reason {
    /// What it means.
    #[must_use]
    pub const fn meaning(self) -> Meaning {
        match self {
            Self::Suspended => no(
                "the tenant is suspended, or its subscription is; `source.kind` says which",
                "your administrators",
            ),
            Self::Demo => yes("a demo tenant has everything that is not switched off", ""),
            Self::GatingDisabled => yes(
                "it would be refused, but the [rollout](#rollout) doesn't enforce it",
                "the operator",
            ),
            Self::NoSubscription => {
                no("no base subscription is in effect", "the customer, by taking a plan")
            }
            Self::Cancelled => {
                no("the base subscription is cancelled", "the customer, by taking a plan")
            }
            Self::Overdue => no("unpaid, and the grace period is over", "the customer, by paying"),
            Self::FeatureDisabled => no(
                "the module or feature is switched off for everyone, or archived",
                "whoever maintains the catalog",
            ),
            Self::AlwaysOn => yes("the module is always on", ""),
            Self::RbacOnly => {
                yes("the module needs no entitlement, only a permission in your application", "")
            }
            Self::Override => Meaning {
                answers: Answers::Either,
                case: "an override decides",
                changed_by: "your support",
            },
            Self::Disabled => no(
                "a grant withholds it from this tenant, or gives it with a value that counts as \
                 none",
                "your administrators",
            ),
            Self::Grant => yes("granted to this tenant", ""),
            Self::Trial => yes("part of a trial that runs", ""),
            Self::TrialExpired => {
                no("only a trial gave it, and the trial is over", "the customer, by taking a plan")
            }
            Self::Plan => yes("part of the base plan", ""),
            Self::AddOn => yes("part of an add-on", ""),
            Self::PlanLimit => {
                no("the tenant's plans don't give it", "the customer, by upgrading or adding on")
            }
            Self::NotGranted => {
                no("the tenant is billed directly, and nothing gives it", "your administrators")
            }
            Self::UserEntitlement => yes("given to this user", ""),
            Self::SeatRequired => {
                no("it takes a seat, and the user has none", "whoever hands out seats")
            }
            Self::Role => yes("a role of the user permits it there", ""),
            Self::Tier => yes("part of the user's tier, or permitted by it", ""),
            Self::PermissionDenied => no(
                "no role or tier of the user permits it there",
                "whoever hands out roles and tiers",
            ),
            Self::SuperAdminBypass => {
                yes("staff in platform mode; written into the audit trail", "")
            }
            Self::LimitReached => no(
                "the limit has no room for what is asked; `limit` says how much there is",
                "the customer, by upgrading, adding on or waiting",
            ),
            Self::Condition => no(
                "a condition of a guard refuses: answers have the reason that the catalog gives \
                 it, metrics have this word",
                "whoever maintains the catalog, or who sends the resource",
            ),
            Self::Active => yes("the tenant is active, and nothing else was asked for", ""),
        }
    }
}

impl Code {
    /// What is refused.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::TenantBlocked => "the tenant as a whole is blocked",
            Self::ModuleNotEntitled => "the tenant, or the user, has not got the module",
            Self::FeatureNotEntitled => "the tenant, or the user, has not got the feature",
            Self::SeatRequired => "the user has no seat of what takes one",
            Self::PermissionDenied => "the user lacks the permission or the tier",
            Self::LimitReached => "the limit has no room for what is asked",
            Self::Condition => {
                "a condition of a guard that names no code of its own refuses; its status can be \
                 another one too"
            }
        }
    }
}
