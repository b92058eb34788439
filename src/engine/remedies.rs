//! What would help: the remedies of a refusal.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    domain::{
        catalog::{Audience, PlanKind, Target},
        checks::{Question, Reason, Remedy},
        keys::PlanKey,
        plans::PlanVersion,
        subscriptions::SubscriptionStatus,
        tenants::Billing,
        time::Timestamp,
    },
    engine::{Holding, TenantFacts, World, permit, standing::Block, trace::Desk, verdict},
};

/// A refusal that wants help.
pub(super) struct Refused<'a> {
    pub reason: Reason,
    pub fields: &'a BTreeMap<&'static str, Vec<String>>,
    pub question: &'a Question,
}

impl Refused<'_> {
    /// The key to help with: the refused one, or the first asked for where the tenant is blocked.
    fn target(&self, world: &World) -> Option<Target> {
        let named = ["feature", "module"].iter().find_map(|kind| self.fields.get(kind)?.first());
        match named {
            Some(key) => world.catalog.target(key),
            None => match (&self.question.module, self.question.features.first()) {
                (Some(module), _) => Some(Target::Module(module.clone())),
                (None, feature) => feature.cloned().map(Target::Feature),
            },
        }
    }
}

/// What would help against a refusal at `at`.
pub(super) fn remedies(
    world: &World,
    facts: &TenantFacts,
    at: Timestamp,
    refused: &Refused<'_>,
    block: Option<&Block<'_>>,
) -> Vec<Remedy> {
    let offers = || refused.target(world).map(|target| Offers::of(world, facts, at, &target));
    match refused.reason {
        Reason::Overdue => vec![Remedy::SettleInvoice],
        Reason::NoSubscription | Reason::Cancelled => {
            let scheduled = block.and_then(|b| b.scheduled);
            let mut remedies: Vec<_> = scheduled.map(Remedy::WaitUntil).into_iter().collect();
            // An add-on doesn't end a block.
            let offers = offers().map(|o| Offers { add_ons: Vec::new(), ..o }).unwrap_or_default();
            remedies.extend(offers.remedies(world, facts));
            remedies
        }
        Reason::PlanLimit | Reason::TrialExpired => match facts.tenant.billing {
            Billing::Direct if !facts.is_nobody => vec![Remedy::ContactAdmin],
            Billing::Direct | Billing::Subscription => {
                offers().unwrap_or_default().remedies(world, facts)
            }
        },
        Reason::SeatRequired => vec![Remedy::AssignSeat],
        Reason::PermissionDenied => match &refused.question.tier_at_least {
            Some(lowest) if refused.fields.contains_key("tier") => {
                let tiers = permit::tiers_from(&Desk::new(world, facts, at), lowest);
                let upgrade = (!tiers.is_empty()).then_some(Remedy::UpgradePlan(tiers));
                vec![upgrade.unwrap_or(Remedy::ContactAdmin)]
            }
            Some(_) | None => vec![Remedy::ContactAdmin],
        },
        Reason::Suspended
        | Reason::FeatureDisabled
        | Reason::Override
        | Reason::Disabled
        | Reason::NotGranted => vec![Remedy::ContactAdmin],
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
        | Reason::SuperAdminBypass => Vec::new(),
    }
}

/// Plans of the newest catalog that would allow a module or feature.
#[derive(Debug, Default)]
pub(super) struct Offers {
    /// Base plans, in place of the present one; lowest rank first.
    pub base: Vec<PlanKey>,
    /// Add-ons, beside what there is; lowest rank first.
    pub add_ons: Vec<PlanKey>,
}

impl Offers {
    pub fn of(world: &World, facts: &TenantFacts, at: Timestamp, target: &Target) -> Self {
        // A desk of its own: what is looked at here doesn't bound the answer.
        let mut desk = Desk::new(world, facts, at);
        let killed = match target {
            Target::Module(key) => verdict::module_kill(&mut desk, key),
            Target::Feature(key) => verdict::feature_kill(&mut desk, key),
        };
        if killed.is_some() {
            return Self::default();
        }
        let helps = |kind: PlanKind| {
            let audience = if facts.is_nobody { Audience::User } else { Audience::Tenant };
            let plans = world.offered(audience, kind);
            plans.filter(|plan| would_allow(world, facts, at, plan, target)).map(|p| p.plan.clone())
        };
        Self { base: helps(PlanKind::Base).collect(), add_ons: helps(PlanKind::AddOn).collect() }
    }

    fn remedies(self, world: &World, facts: &TenantFacts) -> Vec<Remedy> {
        let untried = |plan: &PlanKey| {
            let has_trial = world.catalog.plans.get(plan).is_some_and(|p| p.trial_days.is_some());
            has_trial && !facts.tried.contains(plan)
        };
        let start_trial = self.base.iter().any(untried);
        let mut remedies = Vec::new();
        if !self.base.is_empty() {
            remedies.push(Remedy::UpgradePlan(self.base));
        }
        if !self.add_ons.is_empty() {
            remedies.push(Remedy::BuyAddOn(self.add_ons));
        }
        if start_trial {
            remedies.push(Remedy::StartTrial);
        }
        if remedies.is_empty() {
            remedies.push(Remedy::ContactAdmin);
        }
        remedies
    }
}

/// Asks rules 8 to 11 again under the hypothesis that the tenant is on `plan`.
fn would_allow(
    world: &World,
    facts: &TenantFacts,
    at: Timestamp,
    plan: &Arc<PlanVersion>,
    target: &Target,
) -> bool {
    let holding = Holding {
        id: String::new(),
        plan: plan.clone(),
        fallback: None,
        status: SubscriptionStatus::Active,
        from: at,
        to: None,
        trial_expires_at: None,
        overdue_since: None,
        quantity: 1,
    };
    let mut desk = Desk::supposing(world, facts, at, &holding);
    match target {
        Target::Module(key) => verdict::module(&mut desk, key).allowed,
        Target::Feature(key) => verdict::feature(&mut desk, key).allowed,
    }
}
