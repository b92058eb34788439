//! Rules 7 to 11 of SPEC 4 for one module or feature.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use entitled::{
    domain::{
        catalog::{Access, FeatureKind, Status, Target},
        checks::{Reason, Source},
        grants::GrantState,
        keys::{EntitlementKey, FeatureKey, ModuleKey},
        overrides::Effect,
        tenants::Billing,
        time::Timestamp,
    },
    engine::{Counts, NOTHING_COUNTED, Person, TenantFacts, World},
};

use super::{
    holdings::{self, Held, Plans},
    judge::{Twist, is_on},
    people::Tree,
};

/// Everything that a judgement is made from, and what it looked at on the way.
pub struct Judge<'a> {
    pub world: &'a World,
    pub facts: &'a TenantFacts,
    pub person: Option<&'a Person>,
    pub tree: &'a Tree,
    pub counts: &'a Counts,
    pub at: Timestamp,
    pub twist: Twist,
    /// Where the facts that were looked at begin and end.
    pub looked_at: RefCell<BTreeSet<Timestamp>>,
    /// Whether a condition was asked, which may look at more than it takes to answer it.
    pub asked_conditions: Cell<bool>,
    /// What may be named as well where a role or tier allowed.
    pub ties: RefCell<Vec<(Reason, Source)>>,
}

/// What the rules say of one key.
#[derive(Debug, Clone)]
pub struct Ruling {
    pub allowed: bool,
    pub reason: Reason,
    pub source: Source,
    /// The feature is refused because this module of it is.
    pub by_module: Option<ModuleKey>,
    /// A user needs a seat for this (rule 12).
    pub seat: Option<EntitlementKey>,
}

impl Ruling {
    pub fn allow(reason: Reason, source: Source) -> Self {
        Self { allowed: true, reason, source, by_module: None, seat: None }
    }

    pub fn refuse(reason: Reason, source: Source) -> Self {
        Self { allowed: false, reason, source, by_module: None, seat: None }
    }

    pub fn seated(self, seat: Option<EntitlementKey>) -> Self {
        Self { seat, ..self }
    }

    pub fn because_of(self, module: &ModuleKey) -> Self {
        Self { by_module: Some(module.clone()), ..self }
    }
}

/// What rules 9 and 10 say.
enum Direct {
    Decided(Ruling),
    /// Nothing; but a trial grant on the key has expired, which names the refusal below, if any.
    ExpiredTrial,
    Nothing,
}

impl<'a> Judge<'a> {
    pub fn new(
        world: &'a World,
        facts: &'a TenantFacts,
        person: Option<&'a Person>,
        tree: &'a Tree,
        at: Timestamp,
        twist: Twist,
    ) -> Self {
        let (looked_at, ties) = (RefCell::default(), RefCell::default());
        let counts = &NOTHING_COUNTED;
        let asked_conditions = Cell::new(false);
        Self { world, facts, person, tree, counts, at, twist, looked_at, asked_conditions, ties }
    }

    pub fn counting(self, counts: &'a Counts) -> Self {
        Self { counts, ..self }
    }

    /// The same tenant, without the user.
    pub fn alone(&self) -> Self {
        let alone = Self::new(self.world, self.facts, None, self.tree, self.at, self.twist);
        alone.counting(self.counts)
    }

    pub fn look_at_base(&self) {
        for held in &self.facts.base {
            self.looked_at.borrow_mut().extend(holdings::boundaries(self, held));
        }
    }

    /// D9 says "the subscriptions it looked at". Reading 6: rule 11 may look at all of them, also
    /// where the base plan alone would settle it; an engine that looks at fewer promises longer,
    /// which the comparison allows as long as the promise holds.
    fn look_at_plans(&self) {
        self.look_at_base();
        for held in &self.facts.add_ons {
            self.looked_at.borrow_mut().extend(holdings::boundaries(self, held));
        }
        for held in holdings::tiers(self) {
            self.looked_at.borrow_mut().extend([Some(held.from), held.to].into_iter().flatten());
        }
    }

    pub fn is_limit(&self, feature: &FeatureKey) -> bool {
        matches!(self.world.catalog.features[feature].kind, FeatureKind::Limit(_))
    }

    /// Rules 7 to 11 for whichever it is.
    pub fn target(&self, target: &Target, plans: &Plans<'_>) -> Ruling {
        match target {
            Target::Module(key) => self.module(key, plans),
            Target::Feature(key) => self.feature(key, plans),
        }
    }

    /// Rules 7 to 12 for whichever it is.
    pub fn target_with_seat(&self, target: &Target, plans: &Plans<'_>) -> Ruling {
        let own = self.target_with_own_seat(target, plans);
        let lendable = matches!(
            own.reason,
            Reason::PlanLimit | Reason::NotGranted | Reason::TrialExpired | Reason::SeatRequired
        );
        if own.allowed || !lendable {
            return own;
        }
        self.lent(target).unwrap_or(own)
    }

    fn target_with_own_seat(&self, target: &Target, plans: &Plans<'_>) -> Ruling {
        let own = self.target(target, plans);
        match &own.seat {
            Some(seat) if own.allowed && !self.has_seat(seat) => {
                // Reading 23: `fields` names what was asked for, not the module that takes the seat.
                Ruling::refuse(Reason::SeatRequired, own.source)
            }
            _ => own,
        }
    }

    /// Rules 7 to 12 while the subscription blocks (D1), and whether the check goes on with it at
    /// all. A seat from further up opens what an override or grant of the own tenant doesn't close.
    pub fn target_while_blocked(
        &self,
        target: &Target,
        plans: &Plans<'_>,
        stays_open: bool,
    ) -> (Ruling, bool) {
        let own = self.target_with_own_seat(target, plans);
        let zero = matches!(target, Target::Feature(key) if self.is_limit(key));
        if own.allowed && stays_open && !zero {
            return (own, true);
        }
        let closed = !own.allowed
            && matches!(own.reason, Reason::Override | Reason::Disabled | Reason::FeatureDisabled);
        match self.lent(target).filter(|_| !closed) {
            Some(lent) => (lent, true),
            // The reason and source are replaced by those of the block.
            None => (Ruling::refuse(Reason::PlanLimit, Source::Nothing), stays_open),
        }
    }

    /// Rules 7 to 11 for a module.
    pub fn module(&self, key: &ModuleKey, plans: &Plans<'_>) -> Ruling {
        match self.kill_switch_on_module(key) {
            Some(refusal) => refusal,
            None => self.module_by_rules_8_to_11(key, plans),
        }
    }

    /// Rules 7 to 11 for a feature, in the order of D4.
    pub fn feature(&self, key: &FeatureKey, plans: &Plans<'_>) -> Ruling {
        if let Some(refusal) = self.kill_switch_on_feature(key) {
            return refusal;
        }
        let direct = self.override_or_grant(&key.into());
        if let Direct::Decided(ruling) = direct {
            return ruling;
        }
        if let Some(ruling) = self.own_entitlement(&key.into()) {
            return ruling;
        }
        let mut ruling = self.feature_by_module_or_plans(key, plans);
        if !ruling.allowed && matches!(direct, Direct::ExpiredTrial) {
            ruling.reason = Reason::TrialExpired;
            ruling.source = Source::Grant(key.to_string());
        }
        ruling
    }

    fn feature_by_module_or_plans(&self, key: &FeatureKey, plans: &Plans<'_>) -> Ruling {
        let mut seat = None;
        if let Some(module) = &self.world.catalog.features[key].module {
            let ruling = self.module_by_rules_8_to_11(module, plans);
            if !ruling.allowed {
                return ruling.because_of(module);
            }
            seat = ruling.seat;
        }
        self.look_at_plans();
        if let Some(giver) = plans.giver_of_feature(key) {
            return Ruling::allow(giver.reason(), giver.source()).seated(seat);
        }
        self.not_given(plans, |held| held.plan.content.features.get(key).is_some_and(is_on))
    }

    fn module_by_rules_8_to_11(&self, key: &ModuleKey, plans: &Plans<'_>) -> Ruling {
        match self.world.catalog.modules[key].access {
            Access::AlwaysOn => return Ruling::allow(Reason::AlwaysOn, Source::Catalog),
            Access::RbacOnly => return Ruling::allow(Reason::RbacOnly, Source::Catalog),
            Access::Entitled => {}
        }
        let direct = self.override_or_grant(&key.into());
        if let Direct::Decided(ruling) = direct {
            let needs = match &ruling.source {
                Source::Grant(_) => true,
                _ => self.twist == Twist::TakesASeatForAnOverride,
            };
            let seat = self.seat_for_module(key, ruling.seat.is_some()).filter(|_| needs);
            return ruling.seated(seat);
        }
        if let Some(ruling) = self.own_entitlement(&key.into()) {
            return ruling;
        }
        self.look_at_plans();
        let gives = |held: &Held<'_>| held.plan.content.modules.contains(key);
        if let Some(giver) = plans.all().into_iter().find(|held| held.counts() && gives(held)) {
            let seat = self.seat_for_module(key, giver.plan.content.seats.is_some());
            return Ruling::allow(giver.reason(), giver.source()).seated(seat);
        }
        if matches!(direct, Direct::ExpiredTrial) {
            return Ruling::refuse(Reason::TrialExpired, Source::Grant(key.to_string()));
        }
        self.not_given(plans, gives)
    }

    /// Rule 7.
    pub fn kill_switch_on_module(&self, key: &ModuleKey) -> Option<Ruling> {
        self.kill_switch(self.world.catalog.modules[key].status)
    }

    /// Rule 7, on the feature, then on its module (D4).
    pub fn kill_switch_on_feature(&self, key: &FeatureKey) -> Option<Ruling> {
        let feature = &self.world.catalog.features[key];
        self.kill_switch(feature.status).or_else(|| {
            let module = feature.module.as_ref()?;
            Some(self.kill_switch_on_module(module)?.because_of(module))
        })
    }

    fn kill_switch(&self, status: Status) -> Option<Ruling> {
        let works = status == Status::Active || self.twist == Twist::IgnoresTheKillSwitch;
        (!works).then(|| Ruling::refuse(Reason::FeatureDisabled, Source::Catalog))
    }

    fn override_or_grant(&self, key: &EntitlementKey) -> Direct {
        if self.twist == Twist::AsksTheGrantBeforeTheOverride {
            return match self.by_grant(key) {
                Direct::Decided(ruling) => Direct::Decided(ruling),
                other => self.by_override(key).map_or(other, Direct::Decided),
            };
        }
        match self.by_override(key) {
            Some(ruling) => Direct::Decided(ruling),
            None => self.by_grant(key),
        }
    }

    /// Rule 9; D6 for a value of 0.
    fn by_override(&self, key: &EntitlementKey) -> Option<Ruling> {
        let it = self.facts.overrides.get(key)?;
        self.looked_at.borrow_mut().insert(it.expires_at);
        let late = self.twist == Twist::HonoursAnOverrideAtItsExpiry && self.at == it.expires_at;
        if self.at >= it.expires_at && !late {
            return None;
        }
        let allowed = match &it.effect {
            Effect::Enable => true,
            Effect::Set(value) => is_on(value),
            Effect::Disable => false,
        };
        let source = Source::Override(it.id.clone());
        Some(Ruling { allowed, ..Ruling::allow(Reason::Override, source) })
    }

    /// Rule 10, the user's own. Reading 22: of two, the tenant's is named.
    fn own_entitlement(&self, key: &EntitlementKey) -> Option<Ruling> {
        let person = self.person?;
        let own = [&person.here, &person.everywhere].into_iter();
        let own = own.filter_map(|it| it.entitlements.get(key));
        let own = own.filter(|it| {
            self.looked_at.borrow_mut().extend(it.expires_at);
            it.expires_at.is_none_or(|end| self.at < end)
        });
        // Both are looked at.
        let it = own.collect::<Vec<_>>().into_iter().next()?;
        Some(Ruling::allow(Reason::UserEntitlement, Source::UserEntitlement(it.id.clone())))
    }

    /// Rule 10; D6 for a value of 0.
    fn by_grant(&self, key: &EntitlementKey) -> Direct {
        let Some(it) = self.facts.grants.get(key) else { return Direct::Nothing };
        let source = Source::Grant(key.to_string());
        let reason = match it.state {
            GrantState::Disabled => {
                if self.twist == Twist::AsksTheUserBeforeADisabledGrant
                    && let Some(ruling) = self.own_entitlement(key)
                {
                    return Direct::Decided(ruling);
                }
                return Direct::Decided(Ruling::refuse(Reason::Disabled, source));
            }
            GrantState::Enabled => Reason::Grant,
            GrantState::Trial(end) => {
                self.looked_at.borrow_mut().insert(end);
                if self.at >= end {
                    return Direct::ExpiredTrial;
                }
                Reason::Trial
            }
        };
        let on = it.value.as_ref().is_none_or(is_on);
        Direct::Decided(if on {
            Ruling::allow(reason, source).seated(it.seats.map(|_| key.clone()))
        } else {
            Ruling::refuse(Reason::Disabled, source)
        })
    }

    /// The end of rule 11: nothing gives it. D5 comes before D10's "direct billing": a tenant with
    /// direct billing reads `trial_expired` too (Reading 7).
    fn not_given(&self, plans: &Plans<'_>, gives: impl Fn(&Held<'_>) -> bool) -> Ruling {
        if let Some(ended) = plans.all().into_iter().find(|held| !held.counts() && gives(held)) {
            return Ruling::refuse(Reason::TrialExpired, ended.source());
        }
        if self.facts.is_nobody {
            // Reading 26: a tier is not named as the base plan is (Reading 8).
            return Ruling::refuse(Reason::PlanLimit, Source::Nothing);
        }
        if self.facts.tenant.billing == Billing::Direct {
            return Ruling::refuse(Reason::NotGranted, Source::Nothing);
        }
        // Reading 8: `plan_limit` names the base plan, as in SPEC's example, also one whose trial
        // has ended.
        let source = plans.base.as_ref().map_or(Source::Nothing, Held::source);
        Ruling::refuse(Reason::PlanLimit, source)
    }
}
