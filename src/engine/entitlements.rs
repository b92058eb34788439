//! The entitlements of a tenant as a whole: what `check` would answer for every key of the catalog.
//!
//! Invariants: an entry is enabled exactly where `decide` allows a question about its key alone.

use serde_json::Value;

use crate::{
    domain::{
        catalog::{Feature, FeatureKind, FeatureValue, Limit, Target},
        checks::{Decision, Question, Reason},
        keys::{FeatureKey, ModuleKey, PlanKey, UserKey},
        subscriptions::SubscriptionStatus,
        tenants::{Billing, Tenant},
        time::Timestamp,
    },
    engine::{
        Holding, Subject, TenantFacts, World, decide,
        holdings::{Personal, holdings},
        lent, limits,
        remedies::Offers,
        rollout,
        standing::{self, grace_until},
        trace::Desk,
    },
};

/// The limit that a demo tenant reads (SPEC 1: the one number that stands for "plenty").
pub const DEMO_LIMIT: u64 = 999;

/// Everything that one tenant, or one user in it, is entitled to.
#[derive(Debug, Clone, PartialEq)]
pub struct Entitlements {
    /// Whose.
    pub tenant: Tenant,
    /// Whether there is no tenant: all of it is about the user alone.
    pub is_nobody: bool,
    /// For whom in the tenant.
    pub user: Option<UserKey>,
    /// What the user holds.
    pub personal: Option<Personal>,
    /// The version of the facts that were looked at.
    pub version: u64,
    /// The next instant at which any of it can change by itself.
    pub valid_until: Option<Timestamp>,
    /// Why the tenant is blocked, if it is.
    pub blocked_reason: Option<Reason>,
    /// Whether the rollout enforces here.
    pub enforced: bool,
    /// The base plan in effect.
    pub plan: Option<PlanStanding>,
    /// Every module of the catalog.
    pub modules: Vec<(ModuleKey, Entry)>,
    /// Every boolean and config feature.
    pub features: Vec<(FeatureKey, FeatureType, Entry)>,
    /// Every limit feature.
    pub limits: Vec<LimitEntry>,
}

/// The outcome for one limit feature.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitEntry {
    /// Which.
    pub key: FeatureKey,
    /// How much is allowed.
    pub limit: Limit,
    /// How much is used, reservations included.
    pub used: u64,
    /// When a counter starts again at 0.
    pub resets_at: Option<Timestamp>,
    /// What `check` answers about the feature.
    pub entry: Entry,
}

/// The base subscription as its tenant sees it.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the payload")]
pub struct PlanStanding {
    pub key: PlanKey,
    pub name: String,
    pub rank: i64,
    pub version: u32,
    pub status: SubscriptionStatus,
    pub trial_expires_at: Option<Timestamp>,
    pub overdue_since: Option<Timestamp>,
    pub grace_until: Option<Timestamp>,
}

/// Boolean or config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum FeatureType {
    Boolean,
    Config,
}

/// The outcome for one module or feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What `check` answers.
    pub enabled: bool,
    /// Why.
    pub reason: Reason,
    /// Why it would be refused, where only the rollout keeps it open.
    pub would_reason: Option<Reason>,
    /// The value of a config feature.
    pub value: Option<Value>,
    /// The catalog says so.
    pub is_premium: bool,
    /// Plans that would open it; empty where it is open or no plan would help.
    pub upgrade_plans: Vec<PlanKey>,
    /// When what decided ends, if it does.
    pub expires_at: Option<Timestamp>,
}

/// Works out everything at once, by asking `decide` about every key.
#[must_use]
pub fn entitlements(world: &World, subject: Subject<'_>, at: Timestamp) -> Entitlements {
    let Subject { facts, person, .. } = subject;
    let mut page = Page::new(world, subject, at);
    let blocked_reason = page.blocked_reason();
    let plan = page.plan();
    let catalog = &world.catalog;
    let modules =
        catalog.modules.iter().map(|(key, m)| (key.clone(), page.module(key, m.premium))).collect();
    let mut features = Vec::new();
    let mut limits_of = Vec::new();
    for (key, feature) in &catalog.features {
        let (entry, value) = page.feature(key, feature);
        match feature.kind {
            FeatureKind::Boolean => features.push((key.clone(), FeatureType::Boolean, entry)),
            FeatureKind::Config => features.push((key.clone(), FeatureType::Config, entry)),
            FeatureKind::Limit(_) => {
                let limit = match value {
                    Some(FeatureValue::Limit(limit)) => limit,
                    Some(FeatureValue::Flag(_) | FeatureValue::Config(_)) | None => Limit::NONE,
                };
                let (used, resets_at) = limits::used(&mut page.desk, key);
                limits_of.push(LimitEntry { key: key.clone(), limit, used, resets_at, entry });
            }
        }
    }
    Entitlements {
        tenant: facts.tenant.clone(),
        is_nobody: facts.is_nobody,
        user: person.map(|person| person.user.clone()),
        personal: person.map(|_| page.personal(blocked_reason)),
        version: super::decide::version(&page.desk),
        valid_until: page.desk.next,
        blocked_reason,
        enforced: !rollout::gate(&page.desk).is_open(),
        plan,
        modules,
        features,
        limits: limits_of,
    }
}

/// What is worked out key by key.
pub(super) struct Page<'a> {
    world: &'a World,
    facts: &'a TenantFacts,
    at: Timestamp,
    desk: Desk<'a>,
}

impl<'a> Page<'a> {
    fn new(world: &'a World, subject: Subject<'a>, at: Timestamp) -> Self {
        Self::of(Desk::new(world, subject.facts, at).with(subject))
    }

    pub(super) fn of(desk: Desk<'a>) -> Self {
        Self { world: desk.world, facts: desk.facts, at: desk.at, desk }
    }

    pub(super) fn desk(&mut self) -> &mut Desk<'a> {
        &mut self.desk
    }

    fn blocked_reason(&mut self) -> Option<Reason> {
        let tenant = &self.facts.tenant;
        if tenant.suspension.is_some() {
            return Some(Reason::Suspended);
        }
        if tenant.demo {
            return None;
        }
        standing::block(&mut self.desk).map(|block| block.reason)
    }

    /// What the user holds. Where the tenant is blocked, nothing is permitted by it.
    fn personal(&mut self, blocked: Option<Reason>) -> Personal {
        let personal = holdings(&mut self.desk);
        let is_suspended = self.facts.tenant.suspension.is_some();
        match blocked {
            Some(_) if is_suspended || !rollout::gate(&self.desk).is_open() => {
                Personal { permissions: Vec::new(), ..personal }
            }
            Some(_) | None => personal,
        }
    }

    pub(super) fn plan(&mut self) -> Option<PlanStanding> {
        let holding = standing::base(&mut self.desk)?;
        Some(self.standing(holding))
    }

    /// The plan that counts: after an ended trial its fallback, as an active plan.
    fn standing(&mut self, holding: &Holding) -> PlanStanding {
        let ended = holding.status == SubscriptionStatus::Trialing
            && !self.desk.before(holding.trial_expires_at);
        let (plan, status) = match &holding.fallback {
            Some(fallback) if ended => (fallback, SubscriptionStatus::Active),
            Some(_) | None => (&holding.plan, holding.status),
        };
        let overdue = status == SubscriptionStatus::Overdue;
        PlanStanding {
            key: plan.plan.clone(),
            name: self.world.plan_name(plan).to_owned(),
            rank: plan.content.rank,
            version: plan.version,
            status,
            trial_expires_at: holding
                .trial_expires_at
                .filter(|_| status == SubscriptionStatus::Trialing),
            overdue_since: holding.overdue_since.filter(|_| overdue),
            grace_until: grace_until(self.world, holding).filter(|_| overdue),
        }
    }

    fn module(&mut self, key: &ModuleKey, is_premium: bool) -> Entry {
        let question = Question { module: Some(key.clone()), ..Question::blank() };
        let decision = self.ask(&question);
        let until = |page: &Self| lent::module(&mut page.desk.aside(), key).until;
        self.entry(&decision, is_premium, &Target::Module(key.clone()), until)
    }

    pub(super) fn feature(
        &mut self,
        key: &FeatureKey,
        feature: &Feature,
    ) -> (Entry, Option<FeatureValue>) {
        let question = Question { features: vec![key.clone()], ..Question::blank() };
        let decision = self.ask(&question);
        let mut aside = self.desk.aside();
        let judged = lent::feature(&mut aside, key);
        let boundary = aside.next;
        let target = Target::Feature(key.clone());
        let mut entry = self.entry(&decision, feature.premium, &target, |_| judged.until);
        let value = match decision.reason {
            Reason::Demo => {
                // Whatever a demo tenant holds besides, its limits read the same.
                let plenty = FeatureValue::Limit(Limit::Of(DEMO_LIMIT));
                match feature.kind {
                    FeatureKind::Limit(_) => Some(plenty),
                    FeatureKind::Boolean | FeatureKind::Config => judged.value,
                }
            }
            _ if decision.allowed => judged.value,
            _ => None,
        };
        // Where a question is open to all, what gives the value was no matter of the decision.
        let is_shown = decision.allowed
            && match feature.kind {
                FeatureKind::Limit(_) => decision.reason != Reason::Demo,
                FeatureKind::Config => true,
                FeatureKind::Boolean => false,
            };
        if is_shown {
            self.desk.note(boundary);
        }
        if let Some(FeatureValue::Config(json)) = &value {
            entry.value = Some(json.clone());
        }
        (entry, value)
    }

    fn ask(&mut self, question: &Question) -> Decision {
        let Desk { facts, person, counts, .. } = self.desk;
        let decision = decide(self.world, Subject { facts, person, counts }, question, self.at);
        self.desk.note(decision.valid_until);
        decision
    }

    fn entry(
        &self,
        decision: &Decision,
        is_premium: bool,
        target: &Target,
        until: impl FnOnce(&Self) -> Option<Timestamp>,
    ) -> Entry {
        let by_entitlement = matches!(
            decision.reason,
            Reason::Override
                | Reason::Grant
                | Reason::Trial
                | Reason::Plan
                | Reason::AddOn
                | Reason::UserEntitlement
                | Reason::Tier
        );
        let helped = matches!(decision.reason, Reason::PlanLimit | Reason::TrialExpired)
            && (self.facts.tenant.billing == Billing::Subscription || self.facts.is_nobody);
        let offers = if helped {
            Offers::of(self.world, self.facts, self.at, target)
        } else {
            Offers::default()
        };
        Entry {
            enabled: decision.allowed,
            reason: decision.reason,
            would_reason: (decision.allowed && !decision.would_allow)
                .then_some(decision.would_reason),
            value: None,
            is_premium,
            upgrade_plans: offers.base.into_iter().chain(offers.add_ons).collect(),
            expires_at: if by_entitlement { until(self) } else { None },
        }
    }
}

/// Why the tenant is blocked at `at`, or would be where nothing is enforced; the suspension of the
/// tenant itself included.
#[must_use]
pub fn blocked_reason(world: &World, facts: &TenantFacts, at: Timestamp) -> Option<Reason> {
    Page::new(world, Subject::new(facts, None), at).blocked_reason()
}

/// The base plan that counts at `at`: after an ended trial its fallback.
#[must_use]
pub fn base_plan(world: &World, facts: &TenantFacts, at: Timestamp) -> Option<PlanKey> {
    let mut page = Page::new(world, Subject::new(facts, None), at);
    page.plan().map(|plan| plan.key)
}
