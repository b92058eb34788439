//! Where the tenant stands with its subscriptions at an instant: rule 6, and who gives in rule 11.

use crate::{
    domain::{
        checks::{PlanSource, Reason, Source},
        plans::PlanVersion,
        subscriptions::SubscriptionStatus,
        tenants::Billing,
        time::Timestamp,
    },
    engine::{Holding, permit, snapshot::World, trace::Desk},
};

/// A blocked tenant: why, and because of what.
pub(super) struct Block<'a> {
    pub reason: Reason,
    /// The base subscription that blocks; none where there is none in effect.
    pub holding: Option<&'a Holding>,
    /// When a base subscription that is already scheduled begins.
    pub scheduled: Option<Timestamp>,
}

impl Block<'_> {
    pub fn source(&self) -> Source {
        self.holding.map_or(Source::Nothing, |h| Source::Subscription(plan_source(&h.plan)))
    }
}

pub(super) fn plan_source(plan: &PlanVersion) -> PlanSource {
    PlanSource { plan: plan.plan.clone(), version: plan.version }
}

/// Rule 6: whether the tenant's base subscription blocks it. A tenant with direct billing is never
/// blocked, so its subscriptions are not even looked at.
pub(super) fn block<'a>(desk: &mut Desk<'a>) -> Option<Block<'a>> {
    match desk.facts.tenant.billing {
        Billing::Direct => return None,
        Billing::Subscription => {}
    }
    let Some(holding) = base(desk) else {
        let scheduled = scheduled(desk);
        return Some(Block { reason: Reason::NoSubscription, holding: None, scheduled });
    };
    let reason = blocking_status(desk, holding)?;
    let scheduled = scheduled(desk);
    Some(Block { reason, holding: Some(holding), scheduled })
}

/// When the next base subscription begins.
fn scheduled(desk: &Desk<'_>) -> Option<Timestamp> {
    desk.base().iter().map(|holding| holding.from).filter(|from| *from > desk.at).min()
}

/// The base subscription in effect.
pub(super) fn base<'a>(desk: &mut Desk<'a>) -> Option<&'a Holding> {
    let mut found = None;
    for holding in desk.base() {
        // All of them are looked at: the next one to begin ends this answer.
        if in_effect(desk, holding) {
            found = Some(holding);
        }
    }
    found
}

fn in_effect(desk: &mut Desk<'_>, holding: &Holding) -> bool {
    let begun = desk.since(holding.from);
    begun & desk.before(holding.to)
}

/// Why the status of a subscription blocks, if it does.
fn blocking_status(desk: &mut Desk<'_>, holding: &Holding) -> Option<Reason> {
    match holding.status {
        SubscriptionStatus::Trialing | SubscriptionStatus::Active => None,
        SubscriptionStatus::Suspended => Some(Reason::Suspended),
        SubscriptionStatus::Cancelled => Some(Reason::Cancelled),
        SubscriptionStatus::Overdue => {
            let within = desk.before(grace_until(desk.world, holding));
            (!within).then_some(Reason::Overdue)
        }
    }
}

/// The end of the grace period of an overdue subscription.
pub(super) fn grace_until(world: &World, holding: &Holding) -> Option<Timestamp> {
    let days = world.catalog.settings.overdue_grace_days;
    holding.overdue_since.map(|since| since.plus_days(days))
}

/// A plan that gives something at this instant.
#[derive(Clone, Copy)]
pub(super) struct Giver<'a> {
    pub holding: &'a Holding,
    /// The pinned plan, or the one its ended trial fell back to.
    pub plan: &'a PlanVersion,
    pub is_trial: bool,
    pub kind: GiverKind,
}

/// What kind of plan gives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum GiverKind {
    Base,
    AddOn,
    /// The tier of the user who is asked about.
    Tier,
}

impl Giver<'_> {
    pub fn reason(&self) -> Reason {
        match (self.is_trial, self.kind) {
            (true, _) => Reason::Trial,
            (false, GiverKind::Base) => Reason::Plan,
            (false, GiverKind::AddOn) => Reason::AddOn,
            (false, GiverKind::Tier) => Reason::Tier,
        }
    }

    pub fn source(&self) -> Source {
        let plan = plan_source(self.plan);
        match self.kind {
            GiverKind::Base => Source::Plan(plan),
            GiverKind::AddOn => Source::AddOn(plan),
            GiverKind::Tier => Source::Tier(plan),
        }
    }

    /// When it stops to give.
    pub fn until(&self) -> Option<Timestamp> {
        let trial = self.holding.trial_expires_at.filter(|_| self.is_trial);
        [trial, self.holding.to].into_iter().flatten().min()
    }
}

/// Who gives in rule 11: the base plan first, then add-ons, highest rank first, then the tier.
#[derive(Default)]
pub(super) struct Givers<'a> {
    pub active: Vec<Giver<'a>>,
    /// Plans whose trial ended without a fallback.
    pub ended: Vec<Giver<'a>>,
}

/// Looks at every subscription. Where the tenant is blocked, its base plan still counts for what
/// stays available; a subscription that can't block gives nothing while its status would.
pub(super) fn givers<'a>(desk: &mut Desk<'a>) -> Givers<'a> {
    let billing = desk.facts.tenant.billing;
    let mut givers = Givers::default();
    if let Some(holding) = base(desk) {
        let counts = match billing {
            Billing::Subscription => {
                blocking_status(desk, holding);
                true
            }
            Billing::Direct => blocking_status(desk, holding).is_none(),
        };
        if counts {
            givers.add(desk, holding, GiverKind::Base);
        }
    }
    for holding in desk.add_ons() {
        if in_effect(desk, holding) && blocking_status(desk, holding).is_none() {
            givers.add(desk, holding, GiverKind::AddOn);
        }
    }
    if let Some(holding) = permit::tier(desk) {
        givers.add(desk, holding, GiverKind::Tier);
    }
    givers
}

impl<'a> Givers<'a> {
    fn add(&mut self, desk: &mut Desk<'a>, holding: &'a Holding, kind: GiverKind) {
        let giver = |plan: &'a PlanVersion, is_trial| Giver { holding, plan, is_trial, kind };
        if holding.status != SubscriptionStatus::Trialing {
            self.active.push(giver(&holding.plan, false));
        } else if desk.before(holding.trial_expires_at) {
            self.active.push(giver(&holding.plan, true));
        } else if let Some(fallback) = &holding.fallback {
            self.active.push(giver(fallback, false));
        } else {
            self.ended.push(giver(&holding.plan, false));
        }
    }

    /// The base plan in effect, also after its trial ended without a fallback.
    pub fn base(&self) -> Option<&Giver<'a>> {
        self.active.iter().chain(&self.ended).find(|giver| giver.kind == GiverKind::Base)
    }
}
