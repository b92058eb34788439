//! Rules 7 to 11 for one module or one feature.

use crate::{
    domain::{
        catalog::{Access, Feature, FeatureKind, FeatureValue, Limit, Module, Stack, Status},
        checks::{Outcome, Reason, Source},
        grants::GrantState,
        keys::{EntitlementKey, FeatureKey, ModuleKey},
        overrides::Effect,
        tenants::Billing,
        time::Timestamp,
    },
    engine::{
        lent,
        standing::{Giver, Givers, givers},
        trace::Desk,
    },
};

/// What rules 7 to 11 say of one module or feature.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub allowed: bool,
    pub reason: Reason,
    pub source: Source,
    /// The value of a limit or config feature.
    pub value: Option<FeatureValue>,
    /// The module that a feature is refused for.
    pub module: Option<ModuleKey>,
    /// When what decided ends, if it does.
    pub until: Option<Timestamp>,
    /// What allowed it is seated: a user needs a seat for this key.
    pub seat: Option<EntitlementKey>,
}

impl Verdict {
    pub fn new(allowed: bool, reason: Reason, source: Source) -> Self {
        Self { allowed, reason, source, value: None, module: None, until: None, seat: None }
    }

    /// Nothing refuses.
    pub fn open() -> Self {
        Self::new(true, Reason::GatingDisabled, Source::Rollout)
    }

    /// A limit that reads 0; whoever asks says why.
    pub fn zero() -> Self {
        Self::new(false, Reason::PlanLimit, Source::Nothing)
    }

    pub fn until(mut self, until: Option<Timestamp>) -> Self {
        self.until = until;
        self
    }

    fn seat(mut self, seat: Option<EntitlementKey>) -> Self {
        self.seat = seat.filter(|_| self.allowed);
        self
    }

    fn with(mut self, value: Option<FeatureValue>) -> Self {
        self.value = value;
        self
    }
}

/// Rule 7 for a module.
pub(super) fn module_kill(desk: &mut Desk<'_>, key: &ModuleKey) -> Option<Verdict> {
    let catalog = &desk.world.catalog;
    let status = catalog.modules.get(key).map(|m| m.status)?;
    kill(desk, key.as_str(), status)
}

/// Rule 7 for a feature: its own switch, then that of its module.
pub(super) fn feature_kill(desk: &mut Desk<'_>, key: &FeatureKey) -> Option<Verdict> {
    let feature = desk.world.catalog.features.get(key)?;
    if let Some(verdict) = kill(desk, key.as_str(), feature.status) {
        return Some(verdict);
    }
    let module = feature.module.as_ref()?;
    let mut verdict = module_kill(desk, module)?;
    verdict.module = Some(module.clone());
    Some(verdict)
}

fn kill(desk: &mut Desk<'_>, key: &str, status: Status) -> Option<Verdict> {
    let word = match status {
        Status::Active => {
            desk.step(7, Some(key), Outcome::Pass, || format!("“{key}” is active."));
            return None;
        }
        Status::Disabled => "switched off for everyone",
        Status::Archived => "archived",
    };
    desk.step(7, Some(key), Outcome::Refuse, || format!("“{key}” is {word}."));
    Some(Verdict::new(false, Reason::FeatureDisabled, Source::Catalog))
}

/// Rules 8 to 11 for a module.
pub(super) fn module(desk: &mut Desk<'_>, key: &ModuleKey) -> Verdict {
    let catalog = desk.world.catalog.clone();
    let Some(Module { access, seated, .. }) = catalog.modules.get(key) else {
        return Verdict::new(false, Reason::PlanLimit, Source::Nothing);
    };
    let open = match access {
        Access::AlwaysOn => Some((Reason::AlwaysOn, "always on")),
        Access::RbacOnly => Some((Reason::RbacOnly, "open to everyone with the permission")),
        Access::Entitled => None,
    };
    if let Some((reason, word)) = open {
        desk.step(8, Some(key.as_str()), Outcome::Allow, || format!("“{key}” is {word}."));
        return Verdict::new(true, reason, Source::Catalog);
    }
    desk.step(8, Some(key.as_str()), Outcome::Pass, || format!("“{key}” must be entitled."));
    if let Some(verdict) = by_override(desk, key.as_str(), &FeatureKind::Boolean) {
        return verdict;
    }
    let grant = by_grant(desk, key.as_str(), &FeatureKind::Boolean);
    let seat = seated.then(|| key.into());
    if let GrantSays::Decides(verdict) = grant {
        let seat = verdict.seat.clone().or(seat);
        return verdict.seat(seat);
    }
    if let Some(verdict) = lent::by_own_entitlement(desk, key.as_str()) {
        return verdict;
    }
    let givers = givers(desk);
    let has = |giver: &Giver<'_>| giver.plan.content.modules.contains(key);
    let giver = givers.active.iter().find(|g| has(g)).copied();
    let ended = givers.ended.iter().find(|g| has(g)).copied();
    // A plan that carries seats carries them for each module that it gives.
    let carries = giver.is_some_and(|giver| giver.plan.content.seats.is_some());
    let seat = seat.or_else(|| carries.then(|| key.into()));
    by_plans(desk, key.as_str(), &givers, giver, ended, grant.ended_trial()).seat(seat)
}

pub(super) fn is_limit(desk: &Desk<'_>, key: &FeatureKey) -> bool {
    let feature = desk.world.catalog.features.get(key);
    feature.is_some_and(|feature| matches!(feature.kind, FeatureKind::Limit(_)))
}

/// Rules 8 to 11 for a feature.
pub(super) fn feature(desk: &mut Desk<'_>, key: &FeatureKey) -> Verdict {
    let catalog = desk.world.catalog.clone();
    let Some(Feature { kind, module: of, .. }) = catalog.features.get(key) else {
        return Verdict::new(false, Reason::PlanLimit, Source::Nothing);
    };
    if let Some(verdict) = by_override(desk, key.as_str(), kind) {
        return verdict;
    }
    let grant = by_grant(desk, key.as_str(), kind);
    if let GrantSays::Decides(verdict) = grant {
        return verdict;
    }
    if let Some(verdict) = lent::by_own_entitlement(desk, key.as_str()) {
        return verdict;
    }
    let mut seat = None;
    if let Some(of) = of {
        let mut verdict = module(desk, of);
        if !verdict.allowed {
            if let Some(source) = grant.ended_trial() {
                (verdict.reason, verdict.source) = (Reason::TrialExpired, source);
            }
            return Verdict { module: Some(of.clone()), value: None, until: None, ..verdict };
        }
        seat = verdict.seat;
    }
    let givers = givers(desk);
    let (giver, value) = match kind {
        FeatureKind::Boolean => (first_on(&givers.active, key), None),
        FeatureKind::Limit(_) => largest(&givers.active, key),
        FeatureKind::Config => highest(&givers.active, key),
    };
    let ended = first_on(&givers.ended, key);
    by_plans(desk, key.as_str(), &givers, giver, ended, grant.ended_trial()).with(value).seat(seat)
}

/// Rule 9. An override with a value that counts as nothing refuses.
fn by_override(desk: &mut Desk<'_>, key: &str, kind: &FeatureKind) -> Option<Verdict> {
    let Some(found) = desk.facts.overrides.get(key) else {
        desk.step(9, Some(key), Outcome::Pass, || "There is no override.".into());
        return None;
    };
    if !desk.before(Some(found.expires_at)) {
        let ended = found.expires_at;
        desk.step(9, Some(key), Outcome::Pass, || format!("The override expired at {ended}."));
        return None;
    }
    let (on, value) = match &found.effect {
        Effect::Enable => (*kind == FeatureKind::Boolean, None),
        Effect::Set(value) => (value.is_on(), Some(value.clone())),
        Effect::Disable => (false, None),
    };
    let outcome = if on { Outcome::Allow } else { Outcome::Refuse };
    desk.step(9, Some(key), outcome, || {
        format!("Override {} until {}: {}", found.id, found.expires_at, found.reason)
    });
    let verdict = Verdict::new(on, Reason::Override, Source::Override(found.id.clone()));
    Some(verdict.with(value).until(Some(found.expires_at)))
}

/// What rule 10 says.
enum GrantSays {
    Decides(Verdict),
    EndedTrial(Source),
    Nothing,
}

impl GrantSays {
    fn ended_trial(&self) -> Option<Source> {
        match self {
            Self::EndedTrial(source) => Some(source.clone()),
            Self::Decides(_) | Self::Nothing => None,
        }
    }
}

/// Rule 10.
fn by_grant(desk: &mut Desk<'_>, key: &str, kind: &FeatureKind) -> GrantSays {
    let Some(grant) = desk.facts.grants.get(key) else {
        desk.step(10, Some(key), Outcome::Pass, || "There is no grant.".into());
        return GrantSays::Nothing;
    };
    let source = Source::Grant(key.to_owned());
    let (reason, until) = match grant.state {
        GrantState::Disabled => {
            let reason = &grant.reason;
            desk.step(10, Some(key), Outcome::Refuse, || format!("Withheld: {reason}"));
            return GrantSays::Decides(Verdict::new(false, Reason::Disabled, source));
        }
        GrantState::Enabled => (Reason::Grant, None),
        GrantState::Trial(end) if desk.before(Some(end)) => (Reason::Trial, Some(end)),
        GrantState::Trial(end) => {
            desk.step(10, Some(key), Outcome::Pass, || format!("The trial ended at {end}."));
            return GrantSays::EndedTrial(source);
        }
    };
    let on = match kind {
        FeatureKind::Boolean => true,
        FeatureKind::Limit(_) | FeatureKind::Config => {
            grant.value.as_ref().is_some_and(FeatureValue::is_on)
        }
    };
    let outcome = if on { Outcome::Allow } else { Outcome::Refuse };
    desk.step(10, Some(key), outcome, || format!("Granted: {}", grant.reason));
    let reason = if on { reason } else { Reason::Disabled };
    let seat = grant.seats.and(Some(grant.key.clone()));
    let verdict = Verdict::new(on, reason, source).with(grant.value.clone()).until(until);
    GrantSays::Decides(verdict.seat(seat))
}

/// Rule 11, given who gives it and who gave it before its trial ended.
fn by_plans(
    desk: &mut Desk<'_>,
    key: &str,
    givers: &Givers<'_>,
    giver: Option<Giver<'_>>,
    ended: Option<Giver<'_>>,
    ended_grant: Option<Source>,
) -> Verdict {
    if let Some(giver) = giver {
        desk.step(11, Some(key), Outcome::Allow, || {
            format!("“{}” in version {} gives it.", giver.plan.plan, giver.plan.version)
        });
        return Verdict::new(true, giver.reason(), giver.source()).until(giver.until());
    }
    let ended_trial = ended_grant.or_else(|| ended.map(|g| g.source()));
    let (reason, source) = match (ended_trial, desk.facts.tenant.billing) {
        (Some(source), _) => (Reason::TrialExpired, source),
        (None, Billing::Subscription) => {
            (Reason::PlanLimit, givers.base().map_or(Source::Nothing, Giver::source))
        }
        (None, Billing::Direct) if desk.facts.is_nobody => (Reason::PlanLimit, Source::Nothing),
        (None, Billing::Direct) => (Reason::NotGranted, Source::Nothing),
    };
    desk.step(11, Some(key), Outcome::Refuse, || match givers.base() {
        Some(base) => format!("Neither “{}” nor an add-on gives it.", base.plan.plan),
        None => "No plan gives it.".into(),
    });
    Verdict::new(false, reason, source)
}

fn value<'a>(giver: &Giver<'a>, key: &FeatureKey) -> Option<&'a FeatureValue> {
    giver.plan.content.features.get(key)
}

fn first_on<'a>(givers: &[Giver<'a>], key: &FeatureKey) -> Option<Giver<'a>> {
    givers.iter().find(|giver| value(giver, key).is_some_and(FeatureValue::is_on)).copied()
}

/// The limit that all plans give together: the largest, plus what stacks; and its largest giver.
fn largest<'a>(
    givers: &[Giver<'a>],
    key: &FeatureKey,
) -> (Option<Giver<'a>>, Option<FeatureValue>) {
    let (mut most, mut stacked) = (Limit::NONE, Limit::NONE);
    let mut giver: Option<(Limit, Giver<'a>)> = None;
    for candidate in givers {
        let Some(FeatureValue::Limit(limit)) = value(candidate, key) else { continue };
        let gives = match candidate.plan.content.stack {
            Stack::Max => {
                most = most.max(*limit);
                *limit
            }
            Stack::Add => {
                let units = limit.times(u64::from(candidate.holding.quantity));
                stacked = stacked.plus(units);
                units
            }
        };
        // Strictly more: among equals the first stays, which is the base.
        if gives > giver.map_or(Limit::NONE, |(best, _)| best) {
            giver = Some((gives, *candidate));
        }
    }
    (giver.map(|(_, giver)| giver), Some(FeatureValue::Limit(most.plus(stacked))))
}

/// The config value of the highest rank that names it.
fn highest<'a>(
    givers: &[Giver<'a>],
    key: &FeatureKey,
) -> (Option<Giver<'a>>, Option<FeatureValue>) {
    let mut best: Option<(Giver<'a>, &FeatureValue)> = None;
    for candidate in givers {
        let Some(value) = value(candidate, key).filter(|value| value.is_on()) else { continue };
        let rank = candidate.plan.content.rank;
        if best.is_none_or(|(giver, _)| rank > giver.plan.content.rank) {
            best = Some((*candidate, value));
        }
    }
    (best.map(|(giver, _)| giver), best.map(|(_, value)| value.clone()))
}
