//! Everything that a question asks for: what it names itself, and what its guard adds.

use crate::{
    domain::{
        catalog::{Condition, Guard, Match},
        checks::{Question, UsageAsked},
        keys::{FeatureKey, ModuleKey, PermissionKey, PlanKey},
    },
    engine::World,
};

/// The requirements of a question, its own before those of its guard.
pub(super) struct Needs<'a> {
    question: &'a Question,
    guard: Option<&'a Guard>,
}

/// A limit that must have room.
#[derive(Clone, Copy)]
pub(super) struct LimitNeed<'a> {
    pub feature: &'a FeatureKey,
    pub requested: u64,
    /// How much there is, where the caller counts.
    pub current: Option<u64>,
}

impl<'a> From<&'a UsageAsked> for LimitNeed<'a> {
    fn from(asked: &'a UsageAsked) -> Self {
        let UsageAsked { feature, requested, current } = asked;
        Self { feature, requested: *requested, current: *current }
    }
}

impl<'a> Needs<'a> {
    pub fn of(world: &'a World, question: &'a Question) -> Self {
        let guard = question.guard.as_ref().and_then(|guard| world.catalog.guards.get(guard));
        Self { question, guard }
    }

    pub fn modules(&self) -> impl Iterator<Item = &'a ModuleKey> + use<'a> {
        let own = self.question.module.as_ref();
        let of_guard = self.guard.and_then(|guard| guard.module.as_ref());
        own.into_iter().chain(of_guard.filter(|module| Some(*module) != own))
    }

    /// Features that are judged together, and whether all or any of them are needed.
    pub fn feature_groups(&self) -> impl Iterator<Item = (&'a [FeatureKey], Match)> + use<'a> {
        let own = (self.question.features.as_slice(), self.question.features_match);
        let of_guard = self.guard.map(|guard| (guard.features.as_slice(), guard.features_match));
        std::iter::once(own).chain(of_guard).filter(|(features, _)| !features.is_empty())
    }

    pub fn features(&self) -> impl Iterator<Item = &'a FeatureKey> + use<'a> {
        self.feature_groups().flat_map(|(features, _)| features)
    }

    /// Every one of these.
    pub fn permissions(&self) -> impl Iterator<Item = &'a PermissionKey> + use<'a> {
        let of_guard = self.guard.into_iter().flat_map(|guard| &guard.all_permissions);
        self.question.permission.iter().chain(of_guard)
    }

    /// One of these, where there are any.
    pub fn any_permission(&self) -> &'a [PermissionKey] {
        self.guard.map_or(&[], |guard| &guard.any_permission)
    }

    pub fn tiers(&self) -> impl Iterator<Item = &'a PlanKey> + use<'a> {
        let of_guard = self.guard.and_then(|guard| guard.tier_at_least.as_ref());
        self.question.tier_at_least.iter().chain(of_guard)
    }

    /// The question says how much is wanted of the guard's limit where it names the same feature.
    pub fn limits(&self) -> impl Iterator<Item = LimitNeed<'a>> + use<'a> {
        let own = self.question.usage.as_ref();
        let of_guard = self.guard.and_then(|guard| guard.limit.as_ref());
        let of_guard = of_guard.filter(|limit| own.is_none_or(|own| own.feature != **limit));
        let of_guard = of_guard.map(|feature| LimitNeed { feature, requested: 1, current: None });
        own.map(LimitNeed::from).into_iter().chain(of_guard)
    }

    pub fn conditions(&self) -> &'a [Condition] {
        self.guard.map_or(&[], |guard| &guard.conditions)
    }

    /// Whether no module and no feature is asked for.
    pub fn ask_for_no_entitlement(&self) -> bool {
        self.modules().next().is_none() && self.features().next().is_none()
    }
}
