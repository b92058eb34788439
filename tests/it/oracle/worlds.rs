//! Random small worlds, tenants, questions and instants, from a seed.
//!
//! Small on purpose: few keys and few days, so that facts collide (a trial that ends on the day a
//! grant does, two add-ons of one rank) far more often than in life.

use std::{collections::BTreeSet, sync::Arc};

use entitled::{
    domain::{
        catalog::{Audience, Catalog, FeatureKind, Match, PlanKind},
        checks::{Mode, Question},
        contexts::ContextKey,
        grants::{Grant, GrantState},
        keys::{EntitlementKey, FeatureKey, GuardKey, ModuleKey, PlanKey, TenantKey},
        overrides::{Effect, Override},
        plans::PlanVersion,
        subscriptions::SubscriptionStatus,
        tenants::{Billing, Suspension, Tenant},
        time::{Span, Timestamp},
    },
    engine::{Counts, Gating, Holding, Person, TenantFacts, World},
};
use rand::{
    Rng, SeedableRng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};
use serde_json::Map;

use super::{
    counted::moments,
    crowds::permissions,
    people::{Tree, way_up},
};

/// How many different things are asked of each world.
const QUESTIONS: usize = 10;
/// At how many instants each of them is asked.
const INSTANTS: usize = 5;
/// Days on which something can begin or end.
pub const DAYS: u32 = 16;

/// One world, one tenant in it, and what is asked about it.
pub struct Case {
    pub world: World,
    pub facts: TenantFacts,
    pub tree: Tree,
    /// Nothing is asked about what was before.
    pub present: Timestamp,
    pub questions: Vec<Asked>,
}

/// A question, what is known of the user in it, and when it is asked.
pub struct Asked {
    pub question: Question,
    pub person: Option<Person>,
    pub counts: Counts,
    /// When what is counted changes by itself.
    pub moments: BTreeSet<Timestamp>,
    pub instants: Vec<Timestamp>,
}

/// The same seed gives the same case.
pub fn case(seed: u64) -> Case {
    Maker { rng: StdRng::seed_from_u64(seed) }.case()
}

/// Every instant at which any fact about the tenant begins or ends, in order. Deliberately more
/// than a decision looks at: what has not changed at any of these has not changed.
pub fn boundaries(world: &World, facts: &TenantFacts, person: Option<&Person>) -> Vec<Timestamp> {
    let mut all = of_tenant(world, facts);
    if let Some(person) = person {
        for lender in &person.lenders {
            all.extend(of_tenant(world, lender));
        }
        for it in [&person.here, &person.everywhere] {
            all.extend(it.tier.iter().flat_map(|tier| [Some(tier.from), tier.to]).flatten());
            all.extend(it.roles.iter().filter_map(|role| role.expires_at));
            all.extend(it.seats.iter().filter_map(|seat| seat.expires_at));
            all.extend(it.entitlements.values().filter_map(|own| own.expires_at));
        }
    }
    all.into_iter().collect()
}

fn of_tenant(world: &World, facts: &TenantFacts) -> BTreeSet<Timestamp> {
    let grace = world.catalog.settings.overdue_grace_days;
    let mut all = BTreeSet::new();
    for held in facts.base.iter().chain(&facts.add_ons) {
        all.insert(held.from);
        all.extend(held.to);
        all.extend(held.trial_expires_at);
        all.extend(held.overdue_since);
        all.extend(held.overdue_since.map(|since| since.plus_days(grace)));
    }
    all.extend(facts.overrides.values().map(|it| it.expires_at));
    for grant in facts.grants.values() {
        if let GrantState::Trial(end) = grant.state {
            all.insert(end);
        }
    }
    all
}

pub fn day(day: u32) -> Timestamp {
    Timestamp::from_micros(1_771_545_600_000_000).plus_days(day) // 2026-02-20, so that a February ends
}

pub struct Maker {
    pub rng: StdRng,
}

impl Maker {
    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from.choose(&mut self.rng).unwrap().clone()
    }

    fn case(&mut self) -> Case {
        let catalog = self.catalog();
        let versions = self.plan_versions(&catalog);
        let gating = if self.chance(80) { Gating::BySettings } else { Gating::OffByEnvironment };
        let version = self.rng.random_range(1..100);
        let world = World::new(Arc::new(catalog), 2, versions.newest.clone(), gating, version);
        let rollout = self.rollout(&world);
        let world = world.with_rollout(rollout);
        let nobody = self.chance(8);
        let mut facts =
            if nobody { TenantFacts::nobody() } else { self.facts(&world, &versions.held, "acme") };
        let tree = if nobody { Tree::new() } else { self.tree() };
        let person = self.person(&world, &versions, &tree, nobody);
        if !person.lenders.is_empty() && self.chance(10) {
            // A seat from further up must not help here.
            facts.tenant.suspension = Some(suspension());
        }
        let present = self.present();
        if !nobody {
            self.since(&mut facts, present);
        }
        let counts = self.usage(&world, (&facts, &person, &tree), present);
        let questions = (0..QUESTIONS)
            .map(|_| {
                let question = self.question(&world, &tree, nobody);
                let person = question.user.as_ref().map(|_| {
                    let path = question.context.as_ref().map(|on| way_up(&tree, on));
                    Person { path: path.unwrap_or_default(), ..person.clone() }
                });
                let user = counts.user.clone().filter(|_| person.is_some());
                let counts = Counts { user, ..counts.clone() };
                let about = (&facts, person.as_ref(), &tree);
                let moments = moments(&world, about, &counts, &question, present);
                let near = boundaries(&world, &facts, person.as_ref());
                let instants = (0..INSTANTS)
                    .map(|_| {
                        // Of the many resets of an hour most are alike.
                        let few = self.pick(&[3, 3, 400]);
                        let moments = moments.iter().copied().filter(|it| *it <= day(DAYS + 1));
                        let moments: Vec<_> = moments.take(few).collect();
                        let counted = !moments.is_empty() && self.chance(40);
                        self.instant(if counted { &moments } else { &near }).max(present)
                    })
                    .collect();
                Asked { question, person, counts, moments, instants }
            })
            .collect();
        Case { world, facts, tree, present, questions }
    }

    /// What was before the first of the base subscriptions that are known.
    fn since(&mut self, facts: &mut TenantFacts, present: Timestamp) {
        facts.tenant.created_at = self.long_ago();
        let follows = facts.base.first().is_some_and(|first| first.from <= present);
        if follows && self.chance(50) {
            let since = self.long_ago();
            facts.base_since = Some(since);
            facts.tenant.created_at = facts.tenant.created_at.min(since);
        }
    }

    pub fn facts(&mut self, world: &World, held: &[Arc<PlanVersion>], key: &str) -> TenantFacts {
        let (base, add_ons): (Vec<_>, Vec<_>) =
            held.iter().cloned().partition(|p| p.content.kind == PlanKind::Base);
        // Ids in no order of their own: nothing but a tie may depend on them.
        let mut ids = ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec();
        ids.shuffle(&mut self.rng);
        let mut holdings = Vec::new();
        let mut from = self.rng.random_range(0..4);
        for _ in 0..self.pick(&[0, 1, 1, 1, 1, 2, 2, 2, 3, 3]) {
            let to = from + self.rng.random_range(1..8);
            let open = self.chance(55);
            let id = ids.pop().unwrap();
            holdings.push(self.holding(id, &base, from, (!open).then_some(to)));
            if open {
                break;
            }
            from = to + self.pick(&[0, 0, 2]);
        }
        for _ in 0..self.rng.random_range(0..=3) {
            let from = self.rng.random_range(0..10);
            let to = self.chance(50).then(|| from + self.rng.random_range(1..8));
            let id = ids.pop().unwrap();
            holdings.push(self.holding(id, &add_ons, from, to));
        }
        let mut tenant = self.tenant();
        tenant.key = key.parse().unwrap();
        let version = self.rng.random_range(1..100);
        let mut facts = TenantFacts::new(tenant, holdings, version);
        facts.tried = world.catalog.plans.keys().filter(|_| self.chance(30)).cloned().collect();
        self.grants_and_overrides(&world.catalog, &mut facts);
        facts
    }

    fn tenant(&mut self) -> Tenant {
        Tenant {
            key: tenant_key(),
            name: "Acme".into(),
            parent: None,
            suspension: self.chance(4).then(suspension),
            billing: if self.chance(22) { Billing::Direct } else { Billing::Subscription },
            demo: self.chance(5),
            sandbox: false,
            ahead: entitled::domain::time::Span::default(),
            attributes: Map::new(),
            created_at: day(0),
            updated_at: day(0),
            revision: 1,
        }
    }

    fn holding(
        &mut self,
        id: String,
        plans: &[Arc<PlanVersion>],
        from: u32,
        to: Option<u32>,
    ) -> Holding {
        use SubscriptionStatus::{Active, Cancelled, Overdue, Suspended, Trialing};
        let status = match self.rng.random_range(0..100) {
            0..38 => Active,
            38..65 => Trialing,
            65..82 => Overdue,
            82..91 => Suspended,
            _ => Cancelled,
        };
        // A trial that was converted or cancelled leaves the date of its end behind.
        let tried = status == Trialing || self.chance(20);
        let overdue = status == Overdue || self.chance(10);
        Holding {
            id,
            plan: self.pick(plans),
            fallback: (tried && self.chance(50)).then(|| self.pick(plans)),
            status,
            from: day(from),
            to: to.map(day),
            trial_expires_at: tried.then(|| day(from + self.rng.random_range(1..7))),
            overdue_since: overdue.then(|| day(from + self.rng.random_range(0..5))),
            quantity: self.rng.random_range(1..=3),
        }
    }

    fn grants_and_overrides(&mut self, catalog: &Catalog, facts: &mut TenantFacts) {
        let modules = catalog.modules.keys().map(|key| (key.into(), FeatureKind::Boolean));
        let features = catalog.features.iter().map(|(key, it)| (key.into(), it.kind.clone()));
        let keys: Vec<(EntitlementKey, FeatureKind)> = modules.chain(features).collect();
        for (n, (key, kind)) in keys.iter().enumerate() {
            // On always-on modules too: their access may have changed since.
            let valued = *kind != FeatureKind::Boolean;
            if self.chance(22) {
                let state = match self.rng.random_range(0..10) {
                    0..4 => GrantState::Enabled,
                    4..6 => GrantState::Disabled,
                    _ => GrantState::Trial(day(self.rng.random_range(0..DAYS))),
                };
                let value = (valued && state != GrantState::Disabled).then(|| self.value(kind));
                let grant = Grant {
                    tenant: tenant_key(),
                    key: key.clone(),
                    state,
                    value,
                    seats: (state != GrantState::Disabled && self.chance(25)).then_some(2),
                    reason: "agreed".into(),
                    created_at: day(0),
                    updated_at: day(0),
                    revision: 1,
                };
                facts.grants.insert(key.clone(), grant);
            }
            if self.chance(15) {
                let effect = match self.rng.random_range(0..3) {
                    0 => Effect::Disable,
                    _ if valued => Effect::Set(self.value(kind)),
                    _ => Effect::Enable,
                };
                let it = Override {
                    id: format!("o{n}"),
                    tenant: tenant_key(),
                    key: key.clone(),
                    effect,
                    expires_at: day(self.rng.random_range(0..DAYS)),
                    reason: "agreed".into(),
                };
                facts.overrides.insert(key.clone(), it);
            }
        }
    }

    fn question(&mut self, world: &World, tree: &Tree, nobody: bool) -> Question {
        let catalog = &world.catalog;
        let modules: Vec<ModuleKey> = catalog.modules.keys().cloned().collect();
        let mut features: Vec<FeatureKey> = catalog.features.keys().cloned().collect();
        features.shuffle(&mut self.rng);
        let (module, count) = match self.rng.random_range(0..12) {
            0..3 => (true, 0),
            3..6 => (false, 1),
            6..8 => (false, self.rng.random_range(2..=4)),
            8..10 => (true, self.rng.random_range(1..=3)),
            _ => (false, 0),
        };
        let guards: Vec<GuardKey> = catalog.guards.keys().cloned().collect();
        let guard = self.chance(30).then(|| self.pick(&guards));
        let usage = self.chance(if guard.is_some() { 30 } else { 22 });
        let entitled = module || count > 0;
        // What is counted or guarded would be refused for other reasons too often.
        let entitled = entitled && !((usage || guard.is_some()) && self.chance(60));
        let (module, count) = if entitled { (module, count) } else { (false, 0) };
        features.truncate(count);
        let alone = !entitled && !usage && guard.is_none();
        let tier = self.chance(if alone { 40 } else { 7 });
        let permission = (alone && !tier) || self.chance(10);
        let tiers: Vec<PlanKey> = world
            .plans
            .iter()
            .filter(|it| it.content.audience == Audience::User)
            .map(|it| it.plan.clone())
            .collect();
        let mut contexts: Vec<ContextKey> = tree.keys().cloned().collect();
        contexts.push(ContextKey { kind: "club".parse().unwrap(), id: "new".parse().unwrap() });
        let somewhere = permission && !nobody && self.chance(80);
        let mut question = Question {
            user: (nobody || self.chance(60)).then(|| "u1".parse().unwrap()),
            mode: self.pick(&[Mode::Tenant, Mode::Internal, Mode::Impersonation, Mode::Platform]),
            module: module.then(|| self.pick(&modules)),
            features,
            features_match: if self.chance(40) { Match::Any } else { Match::All },
            permission: permission.then(|| self.pick(&permissions())),
            context: somewhere.then(|| self.pick(&contexts)),
            tier_at_least: tier.then(|| self.pick(&tiers)),
            guard,
            resource: self.resource(),
            ..Question::blank()
        };
        if usage {
            self.usage_asked(world, &mut question);
        }
        question
    }

    /// On a boundary, a microsecond beside it, or anywhere.
    fn instant(&mut self, boundaries: &[Timestamp]) -> Timestamp {
        match boundaries.choose(&mut self.rng) {
            Some(at) if self.chance(80) => {
                Timestamp::from_micros(at.micros() + self.rng.random_range(-1..=1))
            }
            _ => day(self.rng.random_range(0..DAYS)) + Span::seconds(4_711),
        }
    }
}

fn suspension() -> Suspension {
    Suspension { by: "ops".into(), at: day(0), reason: "unpaid".into() }
}

fn tenant_key() -> TenantKey {
    "acme".parse().unwrap()
}
