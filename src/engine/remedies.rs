//! What would help: the remedies of a refusal.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use crate::{
    domain::{
        catalog::{Audience, FeatureKind, LimitPer, PlanKind, Target},
        checks::{Reason, Remedy},
        keys::PlanKey,
        plans::PlanVersion,
        subscriptions::SubscriptionStatus,
        tenants::Billing,
        time::Timestamp,
        usage::LimitState,
    },
    engine::{
        Holding, TenantFacts, World,
        limits::{self, limit_of},
        needs::Needs,
        permit,
        ruling::Ruling,
        standing::Block,
        trace::Desk,
        verdict,
    },
};

/// A refusal that wants help.
pub(super) struct Refused<'a> {
    pub reason: Reason,
    pub fields: &'a BTreeMap<&'static str, Vec<String>>,
    pub needs: &'a Needs<'a>,
    /// The limit that rule 14 looked at.
    pub limit: Option<&'a LimitState>,
}

impl Refused<'_> {
    /// The key to help with: the refused one, or the first asked for where the tenant is blocked.
    fn target(&self, world: &World) -> Option<Target> {
        let named = ["feature", "module"].iter().find_map(|kind| self.fields.get(kind)?.first());
        if let Some(key) = named {
            return world.catalog.target(key);
        }
        let module = self.needs.modules().next().cloned().map(Target::Module);
        let limit = || self.needs.limits().next().map(|need| need.feature);
        let feature = || self.needs.features().next().or_else(limit).cloned();
        module.or_else(|| feature().map(Target::Feature))
    }
}

/// What would help against a refusal at the desk's instant.
pub(super) fn remedies(
    desk: &Desk<'_>,
    refused: &Refused<'_>,
    block: Option<&Block<'_>>,
) -> Vec<Remedy> {
    let (world, facts, at) = (desk.world, desk.facts, desk.at);
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
        Reason::LimitReached => match refused.limit {
            Some(limit) => more_room(desk, limit),
            None => vec![Remedy::ContactAdmin],
        },
        Reason::SeatRequired => vec![Remedy::AssignSeat],
        Reason::PermissionDenied => vec![permission(desk, refused)],
        Reason::Suspended
        | Reason::FeatureDisabled
        | Reason::Override
        | Reason::Disabled
        | Reason::NotGranted => vec![Remedy::ContactAdmin],
        // The application's own business: its message says what would help.
        Reason::Condition => Vec::new(),
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
        | Reason::Active
        | Reason::SuperAdminBypass => Vec::new(),
    }
}

fn permission(desk: &Desk<'_>, refused: &Refused<'_>) -> Remedy {
    let refused_tier = refused.fields.get("tier").and_then(|tiers| tiers.first());
    let lowest = refused_tier.and_then(|tier| tier.parse().ok());
    let tiers = lowest.map(|lowest| permit::tiers_from(desk, &lowest)).unwrap_or_default();
    if tiers.is_empty() { Remedy::ContactAdmin } else { Remedy::UpgradePlan(tiers) }
}

/// What gives a limit room: for what counts per user a tier, else a plan of the tenant; a plan or a
/// tier only where the limit that it makes is large enough; and the next reset.
fn more_room(desk: &Desk<'_>, limit: &LimitState) -> Vec<Remedy> {
    let (world, facts, at) = (desk.world, desk.facts, desk.at);
    let tiers = tiers_with_room(desk, limit);
    let mut remedies = if !tiers.is_empty() {
        vec![Remedy::UpgradePlan(tiers)]
    } else if facts.tenant.billing == Billing::Subscription {
        let room = |supposed: &mut Desk<'_>| {
            let verdict = verdict::feature(supposed, &limit.feature);
            LimitState { limit: limit_of(&verdict), ..limit.clone() }.has_room()
        };
        Offers::that(world, facts, at, room).remedies(world, facts)
    } else {
        vec![Remedy::ContactAdmin]
    };
    let fits = LimitState { used: 0, ..limit.clone() }.has_room();
    if let Some(at) = limit.resets_at.filter(|_| fits) {
        remedies.retain(|remedy| *remedy != Remedy::ContactAdmin);
        remedies.push(Remedy::WaitUntil(at));
    }
    remedies
}

fn tiers_with_room(desk: &Desk<'_>, limit: &LimitState) -> Vec<PlanKey> {
    let per_user = match desk.world.catalog.features.get(&limit.feature).map(|f| &f.kind) {
        Some(FeatureKind::Limit(spec)) => spec.per == LimitPer::User || desk.facts.is_nobody,
        Some(FeatureKind::Boolean | FeatureKind::Config) | None => false,
    };
    if !per_user || desk.person.is_none() {
        return Vec::new();
    }
    let helps = |plan: &&Arc<PlanVersion>| {
        let tier = supposed(plan, desk.at);
        let mut supposing = desk.aside().supposing_tier(&tier);
        let verdict = verdict::feature(&mut supposing, &limit.feature);
        LimitState { limit: limit_of(&verdict), ..limit.clone() }.has_room()
    };
    let offered = desk.world.offered(Audience::User, PlanKind::Base);
    offered.filter(helps).map(|plan| plan.plan.clone()).collect()
}

/// Data for the application beside an answer: of a condition what the catalog says; how full a limit
/// is; the tier that would permit what was refused.
pub(super) fn data(
    desk: &Desk<'_>,
    ruling: &Ruling,
    remedies: &[Remedy],
    limit: Option<&LimitState>,
    over: Option<&LimitState>,
) -> Option<Value> {
    let can_upgrade = remedies
        .iter()
        .any(|remedy| matches!(remedy, Remedy::UpgradePlan(_) | Remedy::BuyAddOn(_)));
    match (ruling.reason, limit) {
        (Reason::LimitReached, Some(limit)) => Some(limits::data(limit, can_upgrade)),
        (Reason::PermissionDenied, _) => {
            let tier = match (ruling.fields.get("tier"), ruling.fields.get("permission")) {
                (Some(tiers), _) => tiers.first().cloned(),
                (None, Some(permissions)) => {
                    permit::lowest_tier_with(desk, permissions).map(|tier| tier.to_string())
                }
                (None, None) => None,
            };
            tier.map(|tier| json!({"requiredTier": tier, "upgradeRequired": true}))
        }
        _ => match over {
            Some(limit) => Some(limits::data(limit, false)),
            None => ruling.condition.as_ref().and_then(|refusing| refusing.data.clone()),
        },
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
        Self::that(world, facts, at, |supposed| match target {
            Target::Module(key) => verdict::module(supposed, key).allowed,
            Target::Feature(key) => verdict::feature(supposed, key).allowed,
        })
    }

    /// Plans that help, under the hypothesis that the tenant is on each in turn.
    fn that(
        world: &World,
        facts: &TenantFacts,
        at: Timestamp,
        would_help: impl Fn(&mut Desk<'_>) -> bool,
    ) -> Self {
        let helps = |kind: PlanKind| {
            let audience = if facts.is_nobody { Audience::User } else { Audience::Tenant };
            let plans = world.offered(audience, kind);
            let would_help = &would_help;
            plans
                .filter(move |plan| {
                    let holding = supposed(plan, at);
                    would_help(&mut Desk::supposing(world, facts, at, &holding))
                })
                .map(|plan| plan.plan.clone())
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

/// A subscription that somebody might have.
fn supposed(plan: &Arc<PlanVersion>, at: Timestamp) -> Holding {
    Holding {
        id: String::new(),
        plan: plan.clone(),
        fallback: None,
        status: SubscriptionStatus::Active,
        from: at,
        to: None,
        trial_expires_at: None,
        overdue_since: None,
        quantity: 1,
    }
}
