//! Rule 14: how much is used, how much is allowed, and whether what is asked for fits.

use std::{collections::HashMap, sync::Arc};

use serde_json::json;

use super::{
    entitlements::DEMO_LIMIT,
    lent,
    needs::{LimitNeed, Needs},
    ruling::Ruling,
    standing,
    trace::Desk,
    verdict::Verdict,
};
use crate::{
    domain::{
        catalog::{
            FeatureKind, FeatureValue, Limit, LimitPer, LimitSpec, OnLimit, Reset, UsageKind,
        },
        checks::{Code, Outcome, Question, Reason},
        keys::FeatureKey,
        time::Timestamp,
        usage::{FeatureUsage, LimitState, Period},
    },
    engine::{Holding, Subject, TenantFacts, World, permit},
};

/// What was counted for a tenant or a user, by limit feature.
pub type UsageFacts = HashMap<FeatureKey, FeatureUsage>;

/// What was counted for whom a question is about.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// For the tenant as a whole.
    pub tenant: Option<Arc<UsageFacts>>,
    /// For the user, in the tenant or without one.
    pub user: Option<Arc<UsageFacts>>,
}

impl Counts {
    /// Whether nothing was counted in between.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |a: &Option<Arc<UsageFacts>>, b: &Option<Arc<UsageFacts>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same(&self.tenant, &other.tenant) && same(&self.user, &other.user)
    }
}

/// Nothing was counted.
pub static NOTHING_COUNTED: Counts = Counts { tenant: None, user: None };

/// How much of a limit feature there is for somebody, and in which periods it counts.
#[derive(Debug, Clone)]
pub struct Capacity<'a> {
    /// How it counts.
    pub spec: &'a LimitSpec,
    /// How much there is.
    pub limit: Limit,
    anchor: Timestamp,
}

impl Capacity<'_> {
    /// The period that holds an instant. A gauge, which is never reset, is reported by months.
    #[must_use]
    pub fn period(&self, at: Timestamp) -> Period {
        let reset = match self.spec.usage {
            UsageKind::Gauge => Reset::Month,
            UsageKind::Counter(reset) => reset,
        };
        Period::holding(reset, self.anchor, at)
    }

    /// Whether a counter starts again after `from`, until `to`. A gauge never does.
    #[must_use]
    pub fn is_reset_between(&self, from: Timestamp, to: Timestamp) -> bool {
        self.spec.usage != UsageKind::Gauge && self.period(to).start > from
    }
}

/// What plans, grants and overrides give of a limit feature, whether or not the tenant is blocked:
/// what was used is measured against it. None where the catalog has no such limit.
#[must_use]
pub fn capacity<'a>(
    world: &'a World,
    subject: Subject<'a>,
    feature: &FeatureKey,
    at: Timestamp,
) -> Option<Capacity<'a>> {
    let mut desk = Desk::new(world, subject.facts, at).with(subject);
    let spec = spec(&desk, feature)?;
    let limit = if subject.facts.tenant.demo {
        Limit::Of(DEMO_LIMIT)
    } else {
        limit_of(&lent::feature(&mut desk, feature))
    };
    Some(Capacity { spec, limit, anchor: anchor(&mut desk) })
}

/// Every limit that a question asks for, with how much it asks for.
#[must_use]
pub fn asked(world: &World, question: &Question) -> Vec<(FeatureKey, u64)> {
    let needs = Needs::of(world, question);
    needs.limits().map(|need| (need.feature.clone(), need.requested)).collect()
}

/// How a limit counts; every key that is asked for is a limit of the catalog.
fn spec<'a>(desk: &Desk<'a>, feature: &FeatureKey) -> Option<&'a LimitSpec> {
    match &desk.world.catalog.features.get(feature)?.kind {
        FeatureKind::Limit(spec) => Some(spec),
        FeatureKind::Boolean | FeatureKind::Config => None,
    }
}

/// Since when counters count: the start of the run of base subscriptions that follow each other
/// without a gap, so that nobody starts again at 0 by changing the plan; the start of the tier for a
/// user without a tenant; without a subscription, the tenant's beginning.
pub(super) fn anchor(desk: &mut Desk<'_>) -> Timestamp {
    if desk.facts.is_nobody {
        return permit::tier(desk).map_or(Timestamp::EPOCH, |tier| tier.from);
    }
    let facts = desk.facts;
    let Some(base) = standing::base(desk) else { return facts.tenant.created_at };
    facts.run_of(base)
}

impl TenantFacts {
    /// The start of the unbroken run of base subscriptions that `base` belongs to.
    fn run_of(&self, base: &Holding) -> Timestamp {
        let first = self.base.first().map_or(base.from, |first| first.from);
        let (mut since, mut end) = (self.base_since.unwrap_or(first), None);
        for holding in &self.base {
            if end.is_some_and(|end| end != Some(holding.from)) {
                since = holding.from;
            }
            if holding.id == base.id {
                return since;
            }
            end = Some(holding.to);
        }
        base.from
    }
}

/// The period of a counter at the desk's instant; none of a gauge.
fn period(desk: &mut Desk<'_>, spec: &LimitSpec) -> Option<Period> {
    match spec.usage {
        UsageKind::Gauge => None,
        UsageKind::Counter(reset) => {
            let period = Period::holding(reset, anchor(desk), desk.at);
            desk.note(period.end);
            Some(period)
        }
    }
}

/// What is used of a feature at the desk's instant, reservations included, and when its counter
/// starts again.
pub(super) fn used(desk: &mut Desk<'_>, feature: &FeatureKey) -> (u64, Option<Timestamp>) {
    let Some(spec) = spec(desk, feature) else { return (0, None) };
    let counts = match spec.per {
        // A user without a tenant counts alone.
        LimitPer::User => desk.counts.user.as_ref(),
        LimitPer::Tenant if desk.facts.is_nobody => desk.counts.user.as_ref(),
        LimitPer::Tenant => desk.counts.tenant.as_ref(),
    };
    let usage = counts.and_then(|counts| counts.get(feature));
    let period = period(desk, spec);
    let is_present =
        |usage: &&FeatureUsage| period.is_none_or(|period| usage.period_start >= period.start);
    let mut used = usage.filter(is_present).map_or(0, |usage| usage.used);
    for reserved in usage.into_iter().flat_map(|usage| &usage.reserved) {
        if desk.before(Some(reserved.expires_at)) {
            used = used.saturating_add(reserved.amount);
        }
    }
    (used, period.and_then(|period| period.end))
}

/// The same for a limit that is asked for: where the caller counts, nothing else is looked at.
pub(super) fn used_of(desk: &mut Desk<'_>, need: LimitNeed<'_>) -> (u64, Option<Timestamp>) {
    match need.current {
        None => used(desk, need.feature),
        Some(current) => {
            let period = spec(desk, need.feature).and_then(|spec| period(desk, spec));
            (current, period.and_then(|period| period.end))
        }
    }
}

/// The limit that a verdict on its feature gives.
pub(super) fn limit_of(verdict: &Verdict) -> Limit {
    match &verdict.value {
        Some(FeatureValue::Limit(limit)) if verdict.allowed => *limit,
        // Lent by a demo tenant.
        None if verdict.allowed && verdict.reason == Reason::Demo => Limit::Of(DEMO_LIMIT),
        Some(FeatureValue::Limit(_) | FeatureValue::Flag(_) | FeatureValue::Config(_)) | None => {
            Limit::NONE
        }
    }
}

/// What rule 14 said.
pub(super) struct Judged {
    pub state: LimitState,
    /// Who gives the limit.
    pub verdict: Verdict,
    /// Past the limit, and let through all the same.
    pub is_over: bool,
}

/// Rule 14 for one limit.
pub(super) fn judge(
    desk: &mut Desk<'_>,
    need: LimitNeed<'_>,
    verdict: Verdict,
) -> Result<Judged, Box<(Ruling, LimitState)>> {
    let (used, resets_at) = used_of(desk, need);
    let state = LimitState {
        feature: need.feature.clone(),
        limit: limit_of(&verdict),
        used,
        requested: need.requested,
        resets_at,
    };
    // Only past a limit that something gives: what is refused stays refused.
    let warns = verdict.allowed
        && spec(desk, need.feature).is_some_and(|spec| spec.on_limit == OnLimit::Warn);
    let has_room = state.has_room();
    let outcome = if has_room || warns { Outcome::Pass } else { Outcome::Refuse };
    desk.step(14, Some(need.feature.as_str()), outcome, || told(&state, warns));
    if has_room || warns {
        return Ok(Judged { state, verdict, is_over: !has_room });
    }
    let ruling = Ruling::refuse(Reason::LimitReached, verdict.source, Code::LimitReached)
        .about("feature", vec![need.feature.to_string()]);
    Err(Box::new((ruling, state)))
}

fn told(state: &LimitState, warns: bool) -> String {
    let LimitState { used, requested, .. } = state;
    let limit = match state.limit {
        Limit::Of(limit) => limit.to_string(),
        Limit::Unlimited => "unlimited".into(),
    };
    let note = if warns && !state.has_room() { "; past it is only warned" } else { "" };
    format!("{used} used and {requested} asked for of {limit}{note}.")
}

/// Data for the application: what a limit screen shows.
pub(super) fn data(state: &LimitState, can_upgrade: bool) -> serde_json::Value {
    let limit = match state.limit {
        Limit::Of(limit) => Some(limit),
        Limit::Unlimited => None,
    };
    json!({"currentCount": state.used, "limit": limit, "upgradeRequired": can_upgrade})
}
