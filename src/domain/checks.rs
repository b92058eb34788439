//! Questions and decisions: what `check` takes and gives (SPEC 4), as types.
//!
//! Invariants: a [`Decision`] that allows names its source and has no code, no remedies and
//! status 200; one that refuses has a code.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{
    catalog::Match,
    contexts::ContextKey,
    keys::{FeatureKey, GuardKey, ModuleKey, PermissionKey, PlanKey, RoleKey, TenantKey, UserKey},
    time::Timestamp,
    usage::LimitState,
};

/// What is asked about one tenant: everything in it is needed at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Who in the tenant.
    pub user: Option<UserKey>,
    /// How the caller works.
    pub mode: Mode,
    /// The module needed.
    pub module: Option<ModuleKey>,
    /// The features needed, in the order asked.
    pub features: Vec<FeatureKey>,
    /// Whether all or any of the features are needed.
    pub features_match: Match,
    /// The permission needed.
    pub permission: Option<PermissionKey>,
    /// Where the permission is needed; the tenant as a whole if unset.
    pub context: Option<ContextKey>,
    /// The lowest tier that passes.
    pub tier_at_least: Option<PlanKey>,
    /// The guard whose requirements are needed too.
    pub guard: Option<GuardKey>,
    /// What the guard's conditions look at.
    pub resource: Option<Value>,
    /// The limit that must have room.
    pub usage: Option<UsageAsked>,
}

impl Question {
    /// A question that asks for nothing yet.
    #[must_use]
    pub fn blank() -> Self {
        Self {
            user: None,
            mode: Mode::Tenant,
            module: None,
            features: Vec::new(),
            features_match: Match::All,
            permission: None,
            context: None,
            tier_at_least: None,
            guard: None,
            resource: None,
            usage: None,
        }
    }
}

/// A limit that must have room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageAsked {
    /// The limit feature.
    pub feature: FeatureKey,
    /// How much is wanted.
    pub requested: u64,
    /// How much there is, where the caller counts; else the service does.
    pub current: Option<u64>,
}

/// How the caller works with the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As one of the tenant's own users.
    #[default]
    Tenant,
    /// As the vendor's staff, in demo tenants.
    Internal,
    /// In the place of one of the tenant's users; judged exactly as that user is.
    Impersonation,
    /// As the vendor's platform staff.
    Platform,
}

/// The answer to a check.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The answer.
    pub allowed: bool,
    /// The one reason.
    pub reason: Reason,
    /// What kind of refusal; none on an allow.
    pub code: Option<Code>,
    /// The condition that refuses, in its own words; only where the reason is
    /// [`Reason::Condition`].
    pub condition: Option<RefusingCondition>,
    /// A sentence for people.
    pub message: String,
    /// What a refusal is about: the keys, by kind (`module`, `feature`).
    pub fields: BTreeMap<&'static str, Vec<String>>,
    /// Whether the rollout enforces here.
    pub enforced: bool,
    /// The answer that enforcement gives.
    pub would_allow: bool,
    /// The reason that enforcement gives.
    pub would_reason: Reason,
    /// Which fact decided.
    pub source: Source,
    /// What would help.
    pub remedies: Vec<Remedy>,
    /// The limit that rule 14 was asked about.
    pub limit: Option<LimitState>,
    /// Data for the application: of a condition, a limit, or a missing tier.
    pub data: Option<Value>,
    /// The next instant at which the answer can change by itself.
    pub valid_until: Option<Timestamp>,
    /// The version of the facts that were looked at.
    pub version: u64,
    /// The module of the requirement that decided, or would have decided; for counting.
    pub module: Option<ModuleKey>,
}

impl Decision {
    /// The HTTP status that the application should answer with (SPEC 4, table of refusals).
    #[must_use]
    pub fn status(&self) -> u16 {
        let of_condition = self.condition.as_ref().and_then(|condition| condition.status);
        of_condition.unwrap_or_else(|| self.code.map_or(200, Code::status))
    }
}

/// A condition of a guard that refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusingCondition {
    /// Its reason.
    pub reason: String,
    /// Its code.
    pub code: String,
    /// Its HTTP status; 403 if unset.
    pub status: Option<u16>,
}

/// Why a decision is as it is. One vocabulary for every door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Refused: the tenant is suspended, or its subscription is.
    Suspended,
    /// Allowed: a demo tenant.
    Demo,
    /// Allowed: the rollout does not enforce here.
    GatingDisabled,
    /// Refused: the tenant has no subscription in effect.
    NoSubscription,
    /// Refused: the subscription is cancelled.
    Cancelled,
    /// Refused: the subscription is overdue past its grace period.
    Overdue,
    /// Refused: switched off for everyone, or archived.
    FeatureDisabled,
    /// Allowed: the module is always on.
    AlwaysOn,
    /// Allowed: the module needs only a permission.
    RbacOnly,
    /// Allowed or refused by an override.
    Override,
    /// Refused by a grant.
    Disabled,
    /// Allowed by a grant.
    Grant,
    /// Allowed by an unexpired trial.
    Trial,
    /// Refused: only an ended trial gave it.
    TrialExpired,
    /// Allowed by the base plan.
    Plan,
    /// Allowed by an add-on.
    AddOn,
    /// Refused: the plan does not give it.
    PlanLimit,
    /// Refused: nothing gives it to a tenant with direct billing, or to a user without a tenant.
    NotGranted,
    /// Allowed to this user alone.
    UserEntitlement,
    /// Refused: it takes a seat, and the user has none.
    SeatRequired,
    /// Allowed by a role that the user holds.
    Role,
    /// Allowed by the user's tier.
    Tier,
    /// Refused: no role or tier of the user permits it.
    PermissionDenied,
    /// Allowed: the application's own staff, in platform mode.
    SuperAdminBypass,
    /// Refused: a limit has no room for what is asked.
    LimitReached,
    /// Refused by a condition of a guard, which has a reason of its own.
    Condition,
    /// Allowed: nothing but an active tenant was asked for.
    Active,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::Suspended,
        Self::Demo,
        Self::GatingDisabled,
        Self::NoSubscription,
        Self::Cancelled,
        Self::Overdue,
        Self::FeatureDisabled,
        Self::AlwaysOn,
        Self::RbacOnly,
        Self::Override,
        Self::Disabled,
        Self::Grant,
        Self::Trial,
        Self::TrialExpired,
        Self::Plan,
        Self::AddOn,
        Self::PlanLimit,
        Self::NotGranted,
        Self::UserEntitlement,
        Self::SeatRequired,
        Self::Role,
        Self::Tier,
        Self::PermissionDenied,
        Self::SuperAdminBypass,
        Self::LimitReached,
        Self::Condition,
        Self::Active,
    ];

    /// Its place in [`Reason::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// As it stands in every answer, log line and metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Suspended => "suspended",
            Self::Demo => "demo",
            Self::GatingDisabled => "gating_disabled",
            Self::NoSubscription => "no_subscription",
            Self::Cancelled => "cancelled",
            Self::Overdue => "overdue",
            Self::FeatureDisabled => "feature_disabled",
            Self::AlwaysOn => "always_on",
            Self::RbacOnly => "rbac_only",
            Self::Override => "override",
            Self::Disabled => "disabled",
            Self::Grant => "grant",
            Self::Trial => "trial",
            Self::TrialExpired => "trial_expired",
            Self::Plan => "plan",
            Self::AddOn => "add_on",
            Self::PlanLimit => "plan_limit",
            Self::NotGranted => "not_granted",
            Self::UserEntitlement => "user_entitlement",
            Self::SeatRequired => "seat_required",
            Self::Role => "role",
            Self::Tier => "tier",
            Self::PermissionDenied => "permission_denied",
            Self::SuperAdminBypass => "super_admin_bypass",
            Self::LimitReached => "limit_reached",
            Self::Condition => "condition",
            Self::Active => "active",
        }
    }
}

/// What kind of refusal (SPEC 4, table of refusals).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Code {
    TenantBlocked,
    ModuleNotEntitled,
    FeatureNotEntitled,
    SeatRequired,
    PermissionDenied,
    LimitReached,
    /// A condition of a guard, which has a code of its own.
    Condition,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::TenantBlocked,
        Self::ModuleNotEntitled,
        Self::FeatureNotEntitled,
        Self::SeatRequired,
        Self::PermissionDenied,
        Self::LimitReached,
        Self::Condition,
    ];

    /// As it stands in every answer.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TenantBlocked => "TENANT_BLOCKED",
            Self::ModuleNotEntitled => "MODULE_NOT_ENTITLED",
            Self::FeatureNotEntitled => "FEATURE_NOT_ENTITLED",
            Self::SeatRequired => "SEAT_REQUIRED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::LimitReached => "LIMIT_REACHED",
            Self::Condition => "CONDITION_NOT_MET",
        }
    }

    /// The HTTP status that the application should answer with.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::TenantBlocked
            | Self::ModuleNotEntitled
            | Self::SeatRequired
            | Self::PermissionDenied
            | Self::LimitReached
            | Self::Condition => 403,
            Self::FeatureNotEntitled => 402,
        }
    }
}

/// Which fact decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The tenant itself: suspended or demo.
    Tenant,
    /// The rollout does not enforce here.
    Rollout,
    /// The catalog: access or status.
    Catalog,
    /// The override with this id.
    Override(String),
    /// The grant on this key.
    Grant(String),
    /// The base plan.
    Plan(PlanSource),
    /// An add-on.
    AddOn(PlanSource),
    /// The state of the base subscription.
    Subscription(PlanSource),
    /// The user's tier.
    Tier(PlanSource),
    /// The user entitlement with this id.
    UserEntitlement(String),
    /// A seat of a tenant further up.
    Seat {
        /// Whose seats.
        tenant: TenantKey,
        /// The module that the seat is for.
        key: ModuleKey,
    },
    /// A role that the user holds.
    Role {
        /// Which role.
        role: RoleKey,
        /// On what it is held; none for the tenant as a whole or the platform.
        context: Option<ContextKey>,
    },
    /// Nothing at all.
    Nothing,
}

/// A plan in one of its versions, as a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanSource {
    /// Which plan.
    pub plan: PlanKey,
    /// Which version of it.
    pub version: u32,
}

/// What would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// One of these base plans, lowest rank first.
    UpgradePlan(Vec<PlanKey>),
    /// One of these add-ons, lowest rank first.
    BuyAddOn(Vec<PlanKey>),
    /// A trial that the tenant has not had yet.
    StartTrial,
    /// Paying what is due.
    SettleInvoice,
    /// A seat for this user.
    AssignSeat,
    /// Asking an admin.
    ContactAdmin,
    /// Waiting until this instant.
    WaitUntil(Timestamp),
    /// Asking for an override: whoever asked may file a request.
    RequestAccess,
}

/// One step of an explanation: a rule, what it was asked about, and what it said.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The number of the rule in SPEC 4.
    pub rule: u8,
    /// The module or feature it was asked about; none where it is about the tenant.
    pub about: Option<String>,
    /// What it said.
    pub outcome: Outcome,
    /// The fact it looked at, for a support person.
    pub fact: String,
}

/// What a rule said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has nothing to say here.
    Pass,
    /// It allows.
    Allow,
    /// It refuses.
    Refuse,
}

/// What each source alone says of one module or feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The module or feature.
    pub key: String,
    /// `override`, `grant`, `plan`, `add_on`.
    pub source: &'static str,
    /// The plan, for a plan or an add-on.
    pub plan: Option<String>,
    /// What it says.
    pub enabled: bool,
    /// The value it carries.
    pub value: Option<Value>,
    /// From when on it says nothing.
    pub until: Option<Timestamp>,
}

/// How a decision came about.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Explanation {
    /// Every rule in order.
    pub trace: Vec<Step>,
    /// What each source alone gives.
    pub layers: Vec<Layer>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_index_and_reads_as_it_is_written() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
