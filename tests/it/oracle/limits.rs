//! Rule 14 of SPEC 4, with SPEC 7: how much there may be, how much there is, and what would help.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use entitled::{
    domain::{
        catalog::{
            Audience, FeatureKind, FeatureValue, Limit, LimitPer, LimitSpec, OnLimit, Target,
            UsageKind,
        },
        checks::{Code, Reason, Remedy, Source},
        keys::{EntitlementKey, FeatureKey},
        overrides::Effect,
        plans::PlanVersion,
        tenants::Billing,
        time::Timestamp,
        usage::LimitState,
    },
    engine::{Counts, Person, TenantFacts, UsageFacts, World},
};
use serde_json::{Value, json};

use super::{
    calendar::{self, Period},
    holdings::{self, Plans},
    judge::{Twist, Walk, Way, purchases},
    keys::{Judge, Ruling},
    people::Tree,
    wanted::{LimitWanted, Wanted},
};

/// What a demo tenant reads.
const DEMO: Limit = Limit::Of(999);

impl Judge<'_> {
    fn spec(&self, feature: &FeatureKey) -> &LimitSpec {
        match &self.world.catalog.features[feature].kind {
            FeatureKind::Limit(spec) => spec,
            FeatureKind::Boolean | FeatureKind::Config => panic!("{feature} is no limit"),
        }
    }

    pub fn warns(&self, feature: &FeatureKey) -> bool {
        self.spec(feature).on_limit == OnLimit::Warn && self.twist != Twist::BlocksWhereItShouldWarn
    }

    /// What counters are anchored to. Reading 30: a subscription that blocks is in effect too.
    fn anchor(&self) -> Timestamp {
        let mut looked_at = self.looked_at.borrow_mut();
        if self.facts.is_nobody {
            let tiers = holdings::tiers(self);
            looked_at.extend(tiers.iter().flat_map(|it| [Some(it.from), it.to]).flatten());
            let held =
                tiers.iter().find(|it| it.from <= self.at && it.to.is_none_or(|to| self.at < to));
            return held.map_or(Timestamp::EPOCH, |it| it.from);
        }
        let base = &self.facts.base;
        looked_at.extend(base.iter().flat_map(|it| [Some(it.from), it.to]).flatten());
        let now = |from, to: Option<Timestamp>| from <= self.at && to.is_none_or(|to| self.at < to);
        let Some(mut first) = base.iter().position(|it| now(it.from, it.to)) else {
            return self.facts.tenant.created_at;
        };
        if self.twist == Twist::RestartsThePeriodAtAChangeOfPlan {
            return base[first].from;
        }
        while first > 0 && base[first - 1].to == Some(base[first].from) {
            first -= 1;
        }
        match self.facts.base_since {
            Some(since) if first == 0 && self.twist != Twist::ForgetsWhatTheBaseFollows => since,
            _ => base[first].from,
        }
    }

    /// Of a counter, what it accumulates over.
    pub fn period(&self, feature: &FeatureKey) -> Option<Period> {
        let UsageKind::Counter(reset) = self.spec(feature).usage else { return None };
        if self.twist == Twist::ResetsWithTheCalendar {
            return Some(calendar::by_the_calendar(reset, self.at));
        }
        Some(calendar::period(reset, self.anchor(), self.at))
    }

    /// Where a count that is made now begins. One that is never reset begins somewhere too.
    pub fn count_from(&self, feature: &FeatureKey) -> Timestamp {
        match self.period(feature) {
            Some(Period { start, end: Some(_) }) => start,
            Some(Period { end: None, .. }) => self.anchor(),
            None => self.at,
        }
    }

    fn counted(&self, feature: &FeatureKey) -> Option<&UsageFacts> {
        let by_user =
            self.spec(feature).per == LimitPer::User && self.twist != Twist::CountsAUserOnTheTenant;
        let own = by_user || self.facts.is_nobody;
        if own { self.counts.user.as_deref() } else { self.counts.tenant.as_deref() }
    }

    /// Reading 31: what the caller counts is all there is; reservations are the service's count.
    /// Reading 32: a reservation counts until it expires, also past a reset.
    pub fn used(&self, wanted: &LimitWanted, period: Option<Period>) -> u64 {
        let LimitWanted { feature, current, .. } = wanted;
        if let Some(current) = current.filter(|_| self.twist != Twist::IgnoresTheCallersCount) {
            return current;
        }
        let Some(count) = self.counted(feature).and_then(|all| all.get(feature)) else { return 0 };
        let over = period.is_some_and(|it| count.period_start < it.start)
            && self.twist != Twist::KeepsTheCountAcrossAReset;
        let mut used = if over { 0 } else { count.used };
        for it in &count.reserved {
            let late = self.twist == Twist::CountsAReservationAtItsExpiry;
            let holds = self.at < it.expires_at || (late && self.at == it.expires_at);
            if holds && self.twist != Twist::ForgetsReservations {
                self.looked_at.borrow_mut().insert(it.expires_at);
                used += it.amount;
            }
        }
        used
    }

    /// How much `ruling`, which is what rules 8 to 12 say of the limit, gives of it.
    fn given(&self, feature: &FeatureKey, ruling: &Ruling, plans: &Plans<'_>) -> Limit {
        if !ruling.allowed {
            return Limit::Of(0);
        }
        let key = EntitlementKey::from(feature);
        match &ruling.source {
            Source::Tenant => DEMO,
            Source::Override(_) => match &self.facts.overrides[&key].effect {
                Effect::Set(FeatureValue::Limit(limit)) => *limit,
                other => panic!("{other:?} of the limit {feature}"),
            },
            Source::Grant(_) => match &self.facts.grants[&key].value {
                Some(FeatureValue::Limit(limit)) => *limit,
                other => panic!("{other:?} of the limit {feature}"),
            },
            Source::Seat { tenant, .. } => {
                let lenders = &self.person.expect("a seat is a user's").lenders;
                let lender = lenders.iter().find(|it| it.tenant.key == *tenant);
                let lender = lender.expect("a seat is of somebody");
                let above = Judge::new(self.world, lender, None, self.tree, self.at, self.twist);
                let plans = holdings::now(&above);
                let ruling = above.as_lender(&Target::Feature(feature.clone()));
                above.given(feature, &ruling.expect("it lends"), &plans)
            }
            _ => plans.limit(feature, self.twist == Twist::TakesTheLargestOfStackedAddOns),
        }
    }

    pub fn limit(&self, wanted: &LimitWanted, ruling: &Ruling, plans: &Plans<'_>) -> LimitState {
        let period = self.period(&wanted.feature);
        LimitState {
            feature: wanted.feature.clone(),
            limit: self.given(&wanted.feature, ruling, plans),
            used: self.used(wanted, period),
            requested: wanted.requested,
            resets_at: period.and_then(|it| {
                self.looked_at.borrow_mut().extend(it.end);
                it.end
            }),
        }
    }

    pub fn has_room(&self, state: &LimitState) -> bool {
        let Limit::Of(limit) = state.limit else { return true };
        let more = u64::from(self.twist == Twist::LetsOneMoreThan);
        state.used + state.requested <= limit + more
    }

    /// Reading 39: an upgrade is required where one helps, and nowhere that a limit only warns.
    pub fn must_upgrade(&self, state: &LimitState) -> bool {
        let buys = |it: &Remedy| matches!(it, Remedy::UpgradePlan(_) | Remedy::BuyAddOn(_));
        self.helps_rule_14(state).iter().any(buys)
    }

    /// What helps where `state` has no room.
    pub fn helps_rule_14(&self, state: &LimitState) -> Vec<Remedy> {
        let key = Target::Feature(state.feature.clone());
        let enough = |judge: &Judge<'_>, plans: &Plans<'_>| {
            let limit = judge.given(&state.feature, &judge.target(&key, plans), plans);
            judge.has_room(&LimitState { limit, ..state.clone() })
        };
        let mut remedies = Vec::new();
        let of_user = self.spec(&state.feature).per == LimitPer::User || self.facts.is_nobody;
        if of_user && self.person.is_some() {
            let present = holdings::now(self);
            let mut tiers = holdings::on_offer(self, Audience::User);
            tiers.retain(|plan: &&PlanVersion| enough(self, &present.clone().with_tier(plan)));
            if !tiers.is_empty() {
                remedies
                    .push(Remedy::UpgradePlan(tiers.iter().map(|it| it.plan.clone()).collect()));
            }
        }
        if remedies.is_empty()
            && !self.facts.is_nobody
            && self.facts.tenant.billing == Billing::Subscription
        {
            let alone = self.alone();
            remedies = purchases(&alone, true, |plans| enough(&alone, plans));
            remedies.retain(|it| *it != Remedy::ContactAdmin);
        }
        let empty = LimitState { used: 0, ..state.clone() };
        if let Some(end) = state.resets_at.filter(|_| self.has_room(&empty)) {
            remedies.push(Remedy::WaitUntil(end));
        }
        if remedies.is_empty() { vec![Remedy::ContactAdmin] } else { remedies }
    }
}

/// What is said of a limit that was passed.
pub fn data(state: &LimitState, upgrade: bool) -> Value {
    let Limit::Of(limit) = state.limit else { panic!("there is always room in {state:?}") };
    json!({ "currentCount": state.used, "limit": limit, "upgradeRequired": upgrade })
}

/// Every reset of the counters among `limits` from `from` on, up to the first after `until`.
/// `boundaries` are the instants at which an anchor may change.
pub fn resets(
    world: &World,
    (facts, person, tree): (&TenantFacts, Option<&Person>, &Tree),
    limits: &[FeatureKey],
    boundaries: &BTreeSet<Timestamp>,
    (from, until): (Timestamp, Timestamp),
) -> BTreeSet<Timestamp> {
    let mut all = BTreeSet::new();
    for feature in limits {
        let mut at = from;
        while at <= until {
            let judge = Judge::new(world, facts, person, tree, at, Twist::None);
            let Some(end) = judge.period(feature).and_then(|it| it.end) else { break };
            all.insert(end);
            let anchor = boundaries.iter().find(|it| **it > at);
            at = anchor.map_or(end, |anchor| end.min(*anchor));
        }
    }
    all
}

/// When what is reserved is given back.
pub fn expiries(counts: &Counts) -> BTreeSet<Timestamp> {
    let all = [&counts.tenant, &counts.user].into_iter().flatten().map(Arc::as_ref);
    let counts = all.flat_map(|facts| facts.values());
    counts.flat_map(|it| it.reserved.iter().map(|reserved| reserved.expires_at)).collect()
}

/// None where no limit was asked for.
/// Reading 36: where nothing gives the last limit the allow reads `active`, whatever gives others.
pub fn rule_14(
    judge: &Judge<'_>,
    wanted: &Wanted,
    way: &Way<'_>,
    plans: &Plans<'_>,
) -> Option<Walk> {
    let (mut last, mut passed): (Option<Walk>, _) = (None, None);
    for it in wanted.limits.iter().filter(|it| !(way.passes_over)(&it.feature)) {
        let about = Target::Feature(it.feature.clone());
        // As things stand, also where the rollout does not enforce.
        let ruling = judge.as_is(&about, plans);
        let state = judge.limit(it, &ruling, plans);
        let full = !judge.has_room(&state);
        // Only past a limit that something gives.
        let warns = ruling.allowed && judge.warns(&it.feature);
        if full && !warns && way.limits_refuse {
            let reached = Ruling::refuse(Reason::LimitReached, ruling.source);
            let fields = BTreeMap::from([("feature", vec![it.feature.to_string()])]);
            let data = Some(data(&state, judge.must_upgrade(&state)));
            let reached = Walk::of(reached, Some(about), Code::LimitReached, fields);
            return Some(Walk { limit: Some(state), data, ..reached });
        }
        if full && warns {
            // Reading 42: of several the last that was passed.
            passed = Some(data(&state, false));
        }
        let given = if ruling.allowed { ruling } else { active(judge) };
        let walk = Walk::of(given, Some(about), Code::LimitReached, BTreeMap::new());
        last = Some(Walk { limit: Some(state), ..walk });
    }
    last.map(|last| Walk { data: passed, ..last })
}

/// Reading 43: what a demo tenant passes it passes as one.
pub fn active(judge: &Judge<'_>) -> Ruling {
    let reason = if judge.facts.tenant.demo { Reason::Demo } else { Reason::Active };
    Ruling::allow(reason, Source::Tenant)
}
