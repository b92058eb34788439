//! Random limits, and what was counted of them.

use std::{collections::BTreeSet, sync::Arc};

use entitled::{
    domain::{
        catalog::{LimitPer, LimitSpec, OnLimit, Reset, UsageKind},
        checks::{Question, UsageAsked},
        time::Timestamp,
        usage::{FeatureUsage, Reserved},
    },
    engine::{Counts, Person, TenantFacts, UsageFacts, World},
};
use rand::Rng;

use super::{
    calendar::{DAY, HOUR},
    guards::{self, limits},
    judge::Twist,
    keys::Judge,
    limits::{expiries, resets},
    people::Tree,
    wanted::Wanted,
    worlds::{DAYS, Maker, boundaries, day},
};

impl Maker {
    pub fn limit_spec(&mut self) -> LimitSpec {
        use Reset::{Day, Hour, Month, Never, Week, Year};
        LimitSpec {
            unit: None,
            usage: if self.chance(35) {
                UsageKind::Gauge
            } else {
                UsageKind::Counter(self.pick(&[Hour, Day, Week, Month, Month, Month, Year, Never]))
            },
            per: if self.chance(40) { LimitPer::User } else { LimitPer::Tenant },
            on_limit: if self.chance(25) { OnLimit::Warn } else { OnLimit::Block },
        }
    }

    /// When the world's present is: nothing is asked about what was before, and nothing was counted
    /// after.
    pub fn present(&mut self) -> Timestamp {
        let start = Timestamp::from_micros(day(0).micros() - 1);
        self.pick(&[start, start, start, day(3), day(6)])
    }

    /// An instant in the year before.
    pub fn long_ago(&mut self) -> Timestamp {
        let micros = i64::from(self.rng.random_range(1..400)) * DAY
            + i64::from(self.rng.random_range(0..24)) * HOUR;
        Timestamp::from_micros(day(0).micros() - micros)
    }

    /// Usage of everything, also noise: of what counts per user on the tenant, and the other way
    /// round.
    pub fn usage(
        &mut self,
        world: &World,
        (facts, person, tree): (&TenantFacts, &Person, &Tree),
        present: Timestamp,
    ) -> Counts {
        let mut counted = || {
            let mut usage = UsageFacts::new();
            for feature in limits(&world.catalog) {
                if self.chance(15) {
                    continue;
                }
                let ago = self.pick(&[0, 0, 0, 0, HOUR, DAY, 8 * DAY, 40 * DAY]);
                let at = Timestamp::from_micros(present.micros() - ago);
                let at = at.max(facts.tenant.created_at);
                let judge = Judge::new(world, facts, Some(person), tree, at, Twist::None);
                let period_start = judge.count_from(&feature);
                let reserved = (0..self.pick(&[0, 0, 1, 1, 2]))
                    .map(|n| Reserved {
                        id: format!("{feature}-{n}"),
                        amount: self.rng.random_range(1..=2),
                        expires_at: day(self.rng.random_range(0..DAYS)),
                    })
                    .collect();
                let used = self.rng.random_range(0..=4);
                usage.insert(feature, FeatureUsage { used, period_start, reserved });
            }
            Some(Arc::new(usage))
        };
        let (tenant, user) = (counted(), counted());
        Counts { tenant: tenant.filter(|_| !facts.is_nobody), user }
    }

    pub fn usage_asked(&mut self, world: &World, question: &mut Question) {
        let guard = question.guard.as_ref().map(|it| &world.catalog.guards[it]);
        let of_guard = guard.and_then(|it| it.limit.clone());
        let feature = of_guard.filter(|_| self.chance(50));
        let feature = feature.unwrap_or_else(|| self.pick(&limits(&world.catalog)));
        question.usage = Some(UsageAsked {
            feature,
            requested: self.pick(&[0, 1, 1, 1, 1, 1, 2, 2, 3, 5]),
            current: self.chance(25).then(|| self.rng.random_range(0..6)),
        });
    }
}

/// When what is counted for a question changes by itself.
pub fn moments(
    world: &World,
    (facts, person, tree): (&TenantFacts, Option<&Person>, &Tree),
    counts: &Counts,
    question: &Question,
    present: Timestamp,
) -> BTreeSet<Timestamp> {
    let wanted = Wanted::of(world, question, Twist::None);
    let mut features: Vec<_> = wanted.limits.iter().map(|it| it.feature.clone()).collect();
    let mut all = BTreeSet::new();
    if !wanted.conditions.is_empty() {
        let limits = limits(&world.catalog).into_iter();
        features.extend(limits.filter(|it| guards::NAMED.contains(&it.as_str())));
        all.insert(guards::turn());
    }
    if features.is_empty() {
        return all;
    }
    let boundaries = boundaries(world, facts, person).into_iter().collect();
    let span = (present, day(DAYS + 1));
    all.extend(resets(world, (facts, person, tree), &features, &boundaries, span));
    all.extend(expiries(counts));
    all
}
