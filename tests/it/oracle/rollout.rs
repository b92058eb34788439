//! Rule 5, a second time: settings of the rollout at random, and whom they reach.
//!
//! Percentages are 0 and 100 here: who is reached in between is a matter of the hash, which has tests
//! of its own.

use entitled::{
    domain::{
        catalog::Target,
        checks::{Code, Question, Reason, Source},
        keys::ModuleKey,
        rollout::{Rollout, RolloutMode, StoredRollout},
    },
    engine::{Gating, TenantFacts, World},
};

use super::{
    holdings,
    judge::{Twist, Walk, Way, walk},
    keys::{Judge, Ruling},
    wanted::Wanted,
    worlds::Maker,
};

impl Maker {
    /// Often everywhere, so that refusals stay what is mostly compared.
    pub fn rollout(&mut self, world: &World) -> StoredRollout {
        let mut settings = Rollout::default();
        if self.chance(20) {
            settings.mode = self.pick(&[RolloutMode::Off, RolloutMode::Shadow]);
        }
        if self.chance(30) {
            settings.percent = 0;
        }
        let named = || ["acme".parse().unwrap(), "nobody".parse().unwrap()].into();
        if self.chance(30) {
            settings.include = named();
        } else if self.chance(15) {
            settings.exclude = named();
        }
        for module in world.catalog.modules.keys() {
            if self.chance(10) {
                settings.unenforced_modules.insert(module.clone());
            }
        }
        StoredRollout { settings, ..StoredRollout::default() }
    }
}

/// Whether refusals count for the tenant. Who has none is in no list.
pub fn reaches(world: &World, facts: &TenantFacts) -> bool {
    let settings = &world.rollout.settings;
    let is_in =
        |list: &std::collections::BTreeSet<_>| !facts.is_nobody && list.contains(&facts.tenant.key);
    world.gating == Gating::BySettings
        && settings.mode == RolloutMode::Enforce
        && !is_in(&settings.exclude)
        && (settings.percent == 100 || is_in(&settings.include))
}

/// Whether a target goes with a module whose refusals don't count.
pub fn leaves_open(world: &World, target: &Target) -> bool {
    let module: Option<&ModuleKey> = match target {
        Target::Module(key) => Some(key),
        Target::Feature(key) => world.catalog.features[key].module.as_ref(),
    };
    module.is_some_and(|module| world.rollout.settings.unenforced_modules.contains(module))
}

/// A refusal again, with what belongs to listed modules open but for rule 7. A block is no matter of a
/// module.
pub fn with_modules_left_open(
    judge: &Judge<'_>,
    question: &Question,
    wanted: &Wanted,
    would: &Walk,
) -> Option<Walk> {
    let refuses_always =
        matches!(would.code, Some(Code::TenantBlocked | Code::PermissionDenied | Code::Condition));
    let world = judge.world;
    let limits = wanted.limits.iter().map(|it| Target::Feature(it.feature.clone()));
    let asks_for_one = wanted.targets().into_iter().chain(limits).any(|it| leaves_open(world, &it));
    if would.allowed || refuses_always || judge.facts.tenant.demo || !asks_for_one {
        return None;
    }
    let plans = holdings::now(judge);
    let beside = judge.twist == Twist::OpensEverythingBesideAListedModule;
    let open = Ruling::allow(Reason::GatingDisabled, Source::Rollout);
    let way = Way {
        ask: &|target| match judge.kill_switch_on(target) {
            Some(killed) => killed,
            None if beside || leaves_open(world, target) => open.clone(),
            None => judge.target_with_seat(target, &plans),
        },
        passes_over: &|feature| leaves_open(world, &Target::Feature(feature.clone())),
        limits_refuse: true,
        conditions_refuse: true,
    };
    let walk = walk(judge, question, wanted, &way);
    let limit = walk.limit.clone().or_else(|| would.limit.clone().filter(|_| walk.allowed));
    Some(Walk { limit, ..walk })
}
