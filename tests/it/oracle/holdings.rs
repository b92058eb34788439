//! Subscriptions at an instant: which of them count, for what, and whether one blocks.

use entitled::{
    domain::{
        catalog::{Audience, FeatureValue, Limit, PlanKind, Stack},
        checks::{PlanSource, Reason, Source},
        keys::FeatureKey,
        plans::PlanVersion,
        subscriptions::SubscriptionStatus,
        tenants::Billing,
        time::Timestamp,
    },
    engine::Holding,
};

use super::{
    judge::{Twist, is_on},
    keys::Judge,
};

/// A subscription that is in effect, as the plan that counts for it.
#[derive(Debug, Clone)]
pub struct Held<'a> {
    pub plan: &'a PlanVersion,
    add_on: bool,
    phase: Phase,
    quantity: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Paid,
    Trial,
    /// Over, without a fallback: gives nothing, but explains a refusal.
    EndedTrial,
    /// Not the tenant's, but the user's.
    Tier,
}

impl Held<'_> {
    pub fn counts(&self) -> bool {
        self.phase != Phase::EndedTrial
    }

    pub fn reason(&self) -> Reason {
        match self.phase {
            Phase::Trial => Reason::Trial,
            Phase::Tier => Reason::Tier,
            _ if self.add_on => Reason::AddOn,
            _ => Reason::Plan,
        }
    }

    pub fn source(&self) -> Source {
        let plan = plan_source(self.plan);
        match self.phase {
            Phase::Tier => Source::Tier(plan),
            _ if self.add_on => Source::AddOn(plan),
            _ => Source::Plan(plan),
        }
    }
}

pub fn plan_source(plan: &PlanVersion) -> PlanSource {
    PlanSource { plan: plan.plan.clone(), version: plan.version }
}

/// The plans that rule 11 asks.
#[derive(Debug, Clone)]
pub struct Plans<'a> {
    pub base: Option<Held<'a>>,
    /// In the order of D6: by rank (highest first), key and id of what was bought. Reading 9: an
    /// add-on keeps its place when its trial falls back to another plan.
    add_ons: Vec<Held<'a>>,
    pub tier: Option<Held<'a>>,
}

impl<'a> Plans<'a> {
    /// The base first, then the add-ons (D7), then the tier.
    pub fn all(&self) -> Vec<&Held<'a>> {
        self.base.iter().chain(&self.add_ons).chain(&self.tier).collect()
    }

    pub fn with_tier(mut self, plan: &'a PlanVersion) -> Self {
        self.tier = Some(as_tier(plan));
        self
    }

    pub fn with_base(mut self, plan: &'a PlanVersion) -> Self {
        self.base = Some(Held { plan, add_on: false, phase: Phase::Paid, quantity: 1 });
        self
    }

    pub fn with_add_on(mut self, plan: &'a PlanVersion) -> Self {
        self.add_ons.push(Held { plan, add_on: true, phase: Phase::Paid, quantity: 1 });
        self
    }

    /// The largest that is given, plus each add-on that stacks (D6).
    pub fn limit(&self, key: &FeatureKey, only_the_largest: bool) -> Limit {
        let (mut largest, mut added) = (Limit::Of(0), Limit::Of(0));
        for held in self.all().into_iter().filter(|held| held.counts()) {
            match held.plan.content.features.get(key) {
                Some(FeatureValue::Limit(limit)) if held.stacks() && !only_the_largest => {
                    added = added.plus(limit.times(held.quantity));
                }
                Some(FeatureValue::Limit(limit)) => largest = largest.max(*limit),
                _ => {}
            }
        }
        largest.plus(added)
    }

    /// What gives the feature, if anything does (D6, D7). Reading 12: among add-ons only the order of
    /// D6 decides, so a trialing one may be named before a paid one.
    pub fn giver_of_feature(&self, key: &FeatureKey) -> Option<&Held<'a>> {
        let mut best: Option<(&Held<'a>, Weight)> = None;
        for held in self.all() {
            let Some(value) = held.plan.content.features.get(key) else { continue };
            if !held.counts() || !is_on(value) {
                continue;
            }
            let weight = match value {
                FeatureValue::Flag(_) => Weight::Same,
                FeatureValue::Limit(limit) => Weight::Limit(held.share_of(*limit)),
                FeatureValue::Config(_) => Weight::Rank(held.plan.content.rank),
            };
            // Only a larger one displaces an earlier one.
            if best.as_ref().is_none_or(|(_, so_far)| weight > *so_far) {
                best = Some((held, weight));
            }
        }
        best.map(|(held, _)| held)
    }
}

#[derive(Debug, PartialEq, PartialOrd)]
enum Weight {
    Same,
    Limit(Limit),
    Rank(i64),
}

impl Held<'_> {
    /// Reading 10: how large a giver a stacked add-on is, is told with its quantity; how large any
    /// other one is, without.
    fn share_of(&self, limit: Limit) -> Limit {
        if self.stacks() { limit.times(self.quantity) } else { limit }
    }

    fn stacks(&self) -> bool {
        self.add_on && self.plan.content.stack == Stack::Add
    }
}

/// What is in effect at the instant, less what D2 leaves out. Reading 11: add-ons count also where
/// the base subscription blocks or there is none, for the modules that stay open then.
pub fn now<'a>(judge: &Judge<'a>) -> Plans<'a> {
    let base = in_effect(judge, &judge.facts.base).into_iter().next();
    let direct = judge.facts.tenant.billing == Billing::Direct;
    // A blocking base plan still counts for the modules that stay open (D1).
    let base = base.filter(|it| !direct || blocks(judge, it).is_none());
    let mut add_ons = in_effect(judge, &judge.facts.add_ons);
    add_ons.retain(|it| blocks(judge, it).is_none());
    add_ons.sort_by_key(|it| {
        let plan = &it.plan;
        (-plan.content.rank, plan.plan.clone(), it.id.clone())
    });
    let held = |it| as_held(judge, it);
    let tier = tier(judge).map(|(plan, _)| as_tier(plan));
    Plans { base: base.map(held), add_ons: add_ons.into_iter().map(held).collect(), tier }
}

fn as_tier(plan: &PlanVersion) -> Held<'_> {
    Held { plan, add_on: false, phase: Phase::Tier, quantity: 1 }
}

/// What the user is or will be on, the tenant's before the one held without a tenant (SPEC 3).
pub fn tiers<'a>(judge: &Judge<'a>) -> Vec<&'a Holding> {
    let Some(person) = judge.person else { return Vec::new() };
    let mut tiers: Vec<&Holding> = person.here.tier.iter().chain(&person.everywhere.tier).collect();
    if judge.twist == Twist::AsksTheTenantlessTierFirst {
        tiers.reverse();
    }
    tiers
}

/// The tier that counts at the instant, and its end.
pub fn tier<'a>(judge: &Judge<'a>) -> Option<(&'a PlanVersion, Option<Timestamp>)> {
    let mut looked_at = judge.looked_at.borrow_mut();
    let tiers = tiers(judge);
    looked_at.extend(tiers.iter().flat_map(|it| [Some(it.from), it.to]).flatten());
    let counts = |it: &&Holding| it.from <= judge.at && it.to.is_none_or(|to| judge.at < to);
    tiers.into_iter().find(counts).map(|it| (&*it.plan, it.to))
}

fn in_effect<'a>(judge: &Judge<'_>, holdings: &'a [Holding]) -> Vec<&'a Holding> {
    let late = judge.twist == Twist::HonoursASubscriptionAtItsEnd;
    let ended = |to: Timestamp| if late { judge.at > to } else { judge.at >= to };
    holdings.iter().filter(|it| it.from <= judge.at && !it.to.is_some_and(ended)).collect()
}

/// Rule 6 and D2: why this subscription, taken alone, blocks.
fn blocks(judge: &Judge<'_>, it: &Holding) -> Option<Reason> {
    match it.status {
        SubscriptionStatus::Trialing | SubscriptionStatus::Active => None,
        SubscriptionStatus::Suspended => Some(Reason::Suspended),
        SubscriptionStatus::Cancelled => Some(Reason::Cancelled),
        SubscriptionStatus::Overdue => {
            let end = grace_end(judge, it).expect("an overdue subscription says since when");
            let late = judge.twist == Twist::BlocksOnlyAfterTheGraceEnd && judge.at == end;
            (judge.at >= end && !late).then_some(Reason::Overdue)
        }
    }
}

fn grace_end(judge: &Judge<'_>, it: &Holding) -> Option<Timestamp> {
    it.overdue_since.map(|since| since.plus_days(judge.world.catalog.settings.overdue_grace_days))
}

fn as_held<'a>(judge: &Judge<'a>, it: &'a Holding) -> Held<'a> {
    let (mut plan, mut phase) = (it.plan.as_ref(), Phase::Paid);
    if judge.twist == Twist::UsesTheNewestPlanInsteadOfThePinned {
        let newest = judge.world.plans.iter().find(|newest| newest.plan == it.plan.plan);
        plan = newest.expect("every plan has a newest version");
    }
    // A trial is one only while the subscription is trialing: the date that a converted one leaves
    // behind says nothing.
    if it.status == SubscriptionStatus::Trialing {
        let end = it.trial_expires_at.expect("a trialing subscription says until when");
        let late = judge.twist == Twist::HonoursATrialAtItsEnd && judge.at == end;
        if judge.at < end || late {
            phase = Phase::Trial;
        } else if let Some(fallback) = &it.fallback {
            plan = fallback;
        } else {
            phase = Phase::EndedTrial;
        }
    }
    let once = judge.twist == Twist::CountsAnAddOnOnceWhateverItsQuantity;
    let quantity = if once { 1 } else { u64::from(it.quantity) };
    Held { plan, add_on: it.plan.content.kind == PlanKind::AddOn, phase, quantity }
}

/// Rule 6: whether the base subscription blocks, with reason and source.
pub fn block(judge: &Judge<'_>) -> Option<(Reason, Source)> {
    match in_effect(judge, &judge.facts.base).first() {
        None => Some((Reason::NoSubscription, Source::Nothing)),
        Some(it) => {
            let reason = blocks(judge, it)?;
            Some((reason, Source::Subscription(plan_source(&it.plan))))
        }
    }
}

/// When the next base subscription starts, if one is scheduled.
pub fn next_start(judge: &Judge<'_>) -> Option<Timestamp> {
    judge.facts.base.iter().map(|it| it.from).filter(|from| *from > judge.at).min()
}

/// D9: where a subscription begins and ends, and its trial and grace period end.
pub fn boundaries(judge: &Judge<'_>, it: &Holding) -> Vec<Timestamp> {
    let trial = it.trial_expires_at.filter(|_| it.status == SubscriptionStatus::Trialing);
    let grace = grace_end(judge, it).filter(|_| it.status == SubscriptionStatus::Overdue);
    [Some(it.from), it.to, trial, grace].into_iter().flatten().collect()
}

/// The plans that remedies may name (D10), lowest rank first, then by key.
pub fn on_offer<'a>(judge: &Judge<'a>, audience: Audience) -> Vec<&'a PlanVersion> {
    let needs_code = |plan: &PlanVersion| {
        judge.twist != Twist::OffersPlansThatNeedACode
            && judge.world.catalog.plans[&plan.plan].activation_code_only
    };
    let mut plans: Vec<&PlanVersion> = judge.world.plans.iter().map(|it| &**it).collect();
    plans.retain(|it| it.content.audience == audience && !needs_code(it));
    plans.sort_by_key(|it| (it.content.rank, it.plan.clone()));
    plans
}

pub fn is_add_on(plan: &PlanVersion) -> bool {
    plan.content.kind == PlanKind::AddOn
}
