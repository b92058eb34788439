//! What the random worlds bring about, so that the generator can't quietly stop making it.

use std::collections::BTreeMap;

use entitled::domain::{
    catalog::Limit,
    checks::{Code, Reason, Remedy, Source},
    time::Timestamp,
    usage::LimitState,
};

use super::judge::{Answer, Verdict};

/// What occurred.
#[derive(Default)]
pub struct Coverage {
    pub questions: u64,
    seen: BTreeMap<String, u64>,
}

impl Coverage {
    pub fn count(&mut self, verdict: &Verdict, first_change: Option<Timestamp>) {
        self.questions += 1;
        let answer = &verdict.answer;
        self.one(answer.reason.as_str());
        self.one(answer.code.map_or("no code", Code::as_str));
        self.one(&format!("source {}", source(&answer.source)));
        for it in &verdict.remedies[0] {
            self.one(&format!("remedy {}", remedy(it)));
        }
        if !answer.enforced {
            self.one(&format!("would {}", answer.would_reason.as_str()));
        }
        if answer.allowed && !answer.would_allow {
            self.one("open only because not enforced");
        }
        if answer.fields.len() == 2 {
            self.one("a feature refused by its module");
        }
        if answer.fields.get("feature").is_some_and(|all| all.len() > 1) {
            self.one("several features refused");
        }
        self.counted(answer);
        self.one(match (first_change, verdict.looked_at.first()) {
            (Some(change), Some(looked_at)) if change == *looked_at => "valid_until is certain",
            (Some(_), _) => "valid_until may come early",
            (None, Some(_)) => "valid_until may come for nothing",
            (None, None) => "valid_until is certainly none",
        });
    }

    fn counted(&mut self, answer: &Answer) {
        let has = |member: &str| answer.data.as_ref().is_some_and(|it| it.get(member).is_some());
        let limit = answer.limit.as_ref();
        let on = |what: &dyn Fn(&LimitState) -> bool| limit.is_some_and(what);
        let full = Some(Reason::LimitReached) == Some(answer.reason);
        let waits = answer.condition.is_some();
        let all = [
            ("data of a limit", full && has("currentCount")),
            ("warned past a limit", answer.allowed && has("currentCount")),
            ("data of a tier", has("requiredTier")),
            ("data of a condition", waits && answer.data.is_some()),
            ("a condition's own status", answer.condition.iter().any(|it| it.0.status.is_some())),
            ("a condition after the limit", waits && limit.is_some()),
            ("a condition before the limit", waits && limit.is_none()),
            ("a limit with room", answer.allowed && limit.is_some()),
            ("no limit to it", on(&|it| it.limit == Limit::Unlimited)),
            ("more is used than there may be", on(&|it| it.remaining() == Some(0) && it.used > 0)),
            ("a reset", on(&|it| it.resets_at.is_some())),
            ("no reset", on(&|it| it.resets_at.is_none())),
            ("nothing asked of a limit", on(&|it| it.requested == 0)),
            (
                "a limit of a blocked tenant",
                answer.code == Some(Code::TenantBlocked) && limit.is_some(),
            ),
        ];
        for (what, _) in all.into_iter().filter(|(_, it)| *it) {
            self.one(what);
        }
    }

    fn one(&mut self, what: &str) {
        match self.seen.get_mut(what) {
            Some(count) => *count += 1,
            None => _ = self.seen.insert(what.to_owned(), 1),
        }
    }

    pub fn must_be_complete(&self, floor: u64) {
        let mut wanted: Vec<String> = REASONS.iter().map(|it| it.as_str().to_owned()).collect();
        // `gating_disabled` is what is said instead of the outcome, never the outcome.
        let outcomes = REASONS.iter().filter(|it| **it != Reason::GatingDisabled);
        wanted.extend(outcomes.map(|it| format!("would {}", it.as_str())));
        wanted.extend(CODES.map(str::to_owned));
        wanted.extend(SOURCES.map(|it| format!("source {it}")));
        wanted.extend(REMEDIES.map(|it| format!("remedy {it}")));
        wanted.extend(SITUATIONS.map(str::to_owned));
        let seen = |what: &String| self.seen.get(what).copied().unwrap_or(0);
        let rare: Vec<_> = wanted.iter().filter(|what| seen(what) < floor).collect();
        assert!(rare.is_empty(), "fewer than {floor} times: {rare:?} of {:#?}", self.seen);
    }
}

const REASONS: [Reason; 27] = [
    Reason::Suspended,
    Reason::Demo,
    Reason::GatingDisabled,
    Reason::NoSubscription,
    Reason::Cancelled,
    Reason::Overdue,
    Reason::FeatureDisabled,
    Reason::AlwaysOn,
    Reason::RbacOnly,
    Reason::Override,
    Reason::Disabled,
    Reason::Grant,
    Reason::Trial,
    Reason::TrialExpired,
    Reason::Plan,
    Reason::AddOn,
    Reason::PlanLimit,
    Reason::NotGranted,
    Reason::UserEntitlement,
    Reason::SeatRequired,
    Reason::Role,
    Reason::Tier,
    Reason::PermissionDenied,
    Reason::SuperAdminBypass,
    Reason::LimitReached,
    Reason::Condition,
    Reason::Active,
];
const CODES: [&str; 8] = [
    "no code",
    "TENANT_BLOCKED",
    "MODULE_NOT_ENTITLED",
    "FEATURE_NOT_ENTITLED",
    "SEAT_REQUIRED",
    "PERMISSION_DENIED",
    "LIMIT_REACHED",
    "CONDITION_NOT_MET",
];
const SITUATIONS: [&str; 18] = [
    "open only because not enforced",
    "a feature refused by its module",
    "several features refused",
    "valid_until is certain",
    "data of a limit",
    "warned past a limit",
    "data of a tier",
    "data of a condition",
    "a condition's own status",
    "a condition after the limit",
    "a condition before the limit",
    "a limit with room",
    "no limit to it",
    "more is used than there may be",
    "a reset",
    "no reset",
    "nothing asked of a limit",
    "a limit of a blocked tenant",
];
const SOURCES: [&str; 13] = [
    "tenant",
    "rollout",
    "catalog",
    "override",
    "grant",
    "plan",
    "add_on",
    "subscription",
    "tier",
    "user_entitlement",
    "seat",
    "role",
    "nothing",
];
const REMEDIES: [&str; 7] = [
    "upgrade_plan",
    "buy_add_on",
    "start_trial",
    "settle_invoice",
    "assign_seat",
    "contact_admin",
    "wait_until",
];

// A new kind does not compile here until it has its place in the lists above.
fn source(it: &Source) -> &'static str {
    match it {
        Source::Tenant => "tenant",
        Source::Rollout => "rollout",
        Source::Catalog => "catalog",
        Source::Override(_) => "override",
        Source::Grant(_) => "grant",
        Source::Plan(_) => "plan",
        Source::AddOn(_) => "add_on",
        Source::Subscription(_) => "subscription",
        Source::Tier(_) => "tier",
        Source::UserEntitlement(_) => "user_entitlement",
        Source::Seat { .. } => "seat",
        Source::Role { .. } => "role",
        Source::Nothing => "nothing",
    }
}

fn remedy(it: &Remedy) -> &'static str {
    match it {
        Remedy::UpgradePlan(_) => "upgrade_plan",
        Remedy::BuyAddOn(_) => "buy_add_on",
        Remedy::StartTrial => "start_trial",
        Remedy::SettleInvoice => "settle_invoice",
        Remedy::AssignSeat => "assign_seat",
        Remedy::ContactAdmin => "contact_admin",
        Remedy::WaitUntil(_) => "wait_until",
        // The service's part: it depends on who asks.
        Remedy::RequestAccess => "request_access",
    }
}
