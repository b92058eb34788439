//! Rule 5, a second time: settings of the rollout at random, and whom they reach.
//!
//! Percentages are 0 and 100 here: who is reached in between is a matter of the hash, which has tests
//! of its own.

use entitled::{
    domain::{
        catalog::Target,
        keys::ModuleKey,
        rollout::{Rollout, RolloutMode, StoredRollout},
    },
    engine::{Gating, TenantFacts, World},
};

use super::worlds::Maker;

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
