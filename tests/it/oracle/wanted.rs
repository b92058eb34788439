//! Everything that a question wants, with what its guard adds.

use entitled::{
    domain::{
        catalog::{Condition, Match, Target},
        checks::Question,
        keys::{FeatureKey, ModuleKey, PermissionKey, PlanKey},
    },
    engine::World,
};

use super::judge::Twist;

/// The requirements in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Wanted {
    pub modules: Vec<ModuleKey>,
    pub groups: Vec<(Vec<FeatureKey>, Match)>,
    /// One of each.
    pub permissions: Vec<Vec<PermissionKey>>,
    pub tiers: Vec<PlanKey>,
    pub limits: Vec<LimitWanted>,
    pub conditions: Vec<Condition>,
}

/// A limit that must have room.
#[derive(Debug, Clone)]
pub struct LimitWanted {
    pub feature: FeatureKey,
    pub requested: u64,
    pub current: Option<u64>,
}

impl Wanted {
    pub fn of(world: &World, question: &Question, twist: Twist) -> Self {
        let mut it = Self::default();
        it.modules.extend(question.module.clone());
        it.groups.push((question.features.clone(), question.features_match));
        it.permissions.extend(question.permission.iter().map(|one| vec![one.clone()]));
        it.tiers.extend(question.tier_at_least.clone());
        if let Some(usage) = &question.usage {
            let (feature, current) = (usage.feature.clone(), usage.current);
            it.limits.push(LimitWanted { feature, requested: usage.requested, current });
        }
        if let Some(guard) = &question.guard {
            let guard = &world.catalog.guards[guard];
            it.modules.extend(guard.module.clone());
            let own = twist != Twist::AsksTheGuardsFeaturesByTheQuestionsMatch;
            let by = if own { guard.features_match } else { question.features_match };
            it.groups.push((guard.features.clone(), by));
            it.permissions.extend(guard.all_permissions.iter().map(|one| vec![one.clone()]));
            if twist != Twist::SkipsAnyPermission {
                it.permissions.push(guard.any_permission.clone());
            }
            it.tiers.extend(guard.tier_at_least.clone());
            it.conditions.extend(guard.conditions.iter().cloned());
            it.limit_of_guard(guard.limit.as_ref(), twist);
        }
        it.groups.retain(|(features, _)| !features.is_empty());
        it.permissions.retain(|any| !any.is_empty());
        it
    }

    /// One more, unless the question says how much of it.
    fn limit_of_guard(&mut self, limit: Option<&FeatureKey>, twist: Twist) {
        let Some(feature) = limit else { return };
        let said = self.limits.iter().any(|it| it.feature == *feature);
        if !said || twist == Twist::AsksOneMoreOfTheGuardsLimit {
            let feature = feature.clone();
            self.limits.push(LimitWanted { feature, requested: 1, current: None });
        }
    }

    /// Every module, then every feature.
    pub fn targets(&self) -> Vec<Target> {
        let modules = self.modules.iter().cloned().map(Target::Module);
        let features = self.groups.iter().flat_map(|(features, _)| features);
        modules.chain(features.cloned().map(Target::Feature)).collect()
    }
}
