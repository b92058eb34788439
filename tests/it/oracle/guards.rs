//! Random guards with their conditions, and what each condition says, worked out by hand.

use entitled::domain::{
    catalog::{Catalog, Condition, FeatureKind, Guard, Match, Target},
    checks::Question,
    conditions::{Expression, Scope},
    keys::{FeatureKey, PermissionKey},
    time::Timestamp,
};
use rand::Rng;
use serde_json::{Value, json};

use super::{
    crowds::permissions,
    holdings::{self, Plans},
    judge::block,
    keys::Judge,
    rollout::{leaves_open, reaches},
    wanted::LimitWanted,
    worlds::{Maker, day},
};

/// What a condition can ask. Every one of them can be put to every world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saying {
    /// A member that no question brings.
    Missing,
    IsPremium,
    NotPremiumOrPermitted,
    Demo,
    FewUsed,
    HasFeature,
    IsOfTier,
    BeforeAnInstant,
    IsUser,
}

const SAYINGS: [Saying; 9] = [
    Saying::Missing,
    Saying::IsPremium,
    Saying::NotPremiumOrPermitted,
    Saying::Demo,
    Saying::FewUsed,
    Saying::HasFeature,
    Saying::IsOfTier,
    Saying::BeforeAnInstant,
    Saying::IsUser,
];

/// The features that conditions name.
pub const NAMED: [&str; 2] = ["f0", "f1"];

/// The day from which `BeforeAnInstant` is false.
const TURN: u32 = 6;

impl Saying {
    fn text(self) -> &'static str {
        match self {
            Self::Missing => "resource.store.open",
            Self::IsPremium => "resource.is_premium",
            Self::NotPremiumOrPermitted => "!resource.is_premium || \"CAN_0\" in permissions",
            Self::Demo => "tenant.demo",
            Self::FewUsed => "features.f0.used < 3",
            Self::HasFeature => "features.f1.enabled",
            Self::IsOfTier => "user.tier == \"t0\"",
            Self::BeforeAnInstant => "now < timestamp(\"2026-02-26T00:00:00Z\")",
            Self::IsUser => "user.id == \"u1\"",
        }
    }

    /// Whether it is true. What can't be said is not.
    fn holds(self, judge: &Judge<'_>, question: &Question, plans: &Plans<'_>) -> bool {
        let premium = question.resource.as_ref().and_then(|it| it.get("is_premium"));
        let premium = premium.and_then(Value::as_bool);
        match self {
            Self::Missing => false,
            Self::IsPremium => premium == Some(true),
            // One true side is enough, also where the other can't be said.
            Self::NotPremiumOrPermitted => {
                let permission: PermissionKey = "CAN_0".parse().unwrap();
                let permitted = judge.permission(&permission, question.context.as_ref()).is_some();
                permitted || premium == Some(false)
            }
            Self::Demo => !judge.facts.is_nobody && judge.facts.tenant.demo,
            Self::FewUsed => {
                let feature: FeatureKey = "f0".parse().unwrap();
                let period = judge.period(&feature);
                judge.looked_at.borrow_mut().extend(period.and_then(|it| it.end));
                judge.used(&LimitWanted { feature, requested: 0, current: None }, period) < 3
            }
            // Reading 40: where the rollout does not enforce, everything is open that is not off.
            Self::HasFeature => {
                let target = Target::Feature("f1".parse().unwrap());
                let is_on = judge.kill_switch_on(&target).is_none();
                let is_listed = leaves_open(judge.world, &target) && block(judge).is_none();
                if !reaches(judge.world, judge.facts) {
                    is_on
                } else {
                    judge.as_is(&target, plans).allowed || (is_listed && is_on)
                }
            }
            Self::IsOfTier => {
                holdings::tier(judge).is_some_and(|(tier, _)| tier.plan.as_str() == "t0")
            }
            Self::BeforeAnInstant => {
                let at_once = Timestamp::from_micros(judge.at.micros() + 1);
                judge.looked_at.borrow_mut().extend([at_once, turn()]);
                judge.at < turn()
            }
            Self::IsUser => judge.person.is_some(),
        }
    }
}

/// The instant at which a condition's answer changes by itself.
pub fn turn() -> Timestamp {
    day(TURN)
}

/// Whether a condition holds.
pub fn holds(
    condition: &Condition,
    judge: &Judge<'_>,
    question: &Question,
    plans: &Plans<'_>,
) -> bool {
    let saying = SAYINGS.into_iter().find(|it| it.text() == condition.unless.text());
    saying.expect("every condition is in the table").holds(judge, question, plans)
}

impl Maker {
    pub fn guards(&mut self, catalog: &mut Catalog) {
        let limits = limits(catalog);
        for n in 0..self.rng.random_range(3..=5) {
            let mut guard = Guard {
                module: self.chance(25).then(|| self.one(catalog.modules.keys())),
                features_match: if self.chance(40) { Match::Any } else { Match::All },
                tier_at_least: self.chance(8).then(|| {
                    self.one(catalog.plans.keys().filter(|it| it.as_str().starts_with('t')))
                }),
                limit: self.chance(65).then(|| self.pick(&limits)),
                ..Guard::default()
            };
            if self.chance(20) {
                let features: Vec<FeatureKey> = catalog.features.keys().cloned().collect();
                for _ in 0..self.rng.random_range(1..=3) {
                    let feature = self.pick(&features);
                    if !guard.features.contains(&feature) {
                        guard.features.push(feature);
                    }
                }
            }
            let (all, any) = (self.pick(&[0, 0, 0, 0, 0, 1, 2]), self.pick(&[0, 0, 0, 0, 1, 2, 3]));
            guard.all_permissions = permissions().into_iter().take(all).collect();
            guard.any_permission = permissions().into_iter().rev().take(any).collect();
            if self.chance(40) {
                guard.conditions.push(self.condition(catalog));
                if self.chance(40) {
                    guard.conditions.push(self.condition(catalog));
                }
            }
            let nothing = Guard { features_match: guard.features_match, ..Guard::default() };
            if guard == nothing {
                guard.limit = Some(self.pick(&limits));
            }
            catalog.guards.insert(format!("g{n}").parse().unwrap(), guard);
        }
    }

    fn condition(&mut self, catalog: &Catalog) -> Condition {
        let sayings = SAYINGS.into_iter();
        let saying = self.pick(&sayings.collect::<Vec<_>>());
        let scope = Scope::of(&catalog.features);
        let n = self.rng.random_range(0..9);
        Condition {
            unless: Expression::parse(saying.text(), &scope).unwrap(),
            reason: format!("not_so_{n}"),
            code: format!("NOT_SO_{n}"),
            message: format!("That is not so {n}."),
            status: self.pick(&[None, Some(400), Some(409)]),
            data: self.pick(&[None, Some(json!({ "storeRestriction": true }))]),
            before_limit: self.chance(40),
        }
    }

    fn one<'a, T: Clone + 'a>(&mut self, from: impl Iterator<Item = &'a T>) -> T {
        let all: Vec<T> = from.cloned().collect();
        self.pick(&all)
    }

    pub fn resource(&mut self) -> Option<Value> {
        self.pick(&[
            None,
            Some(json!({})),
            Some(json!({ "is_premium": true })),
            Some(json!({ "is_premium": false })),
        ])
    }
}

/// The limit features of a catalog.
pub fn limits(catalog: &Catalog) -> Vec<FeatureKey> {
    let limits = catalog.features.iter().filter(|(_, it)| matches!(it.kind, FeatureKind::Limit(_)));
    limits.map(|(key, _)| key.clone()).collect()
}
