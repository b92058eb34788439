//! Which module a decision was about, for counting.

use super::{World, needs::Needs, ruling::Ruling};
use crate::domain::{
    checks::Reason,
    keys::{FeatureKey, ModuleKey},
    usage::LimitState,
};

/// The module of the requirement that decided: of what is refused, where something of the catalog is
/// refused for itself; else of the first requirement that has one.
pub(super) fn module(
    world: &World,
    needs: &Needs<'_>,
    ruling: &Ruling,
    limit: Option<&LimitState>,
) -> Option<ModuleKey> {
    let of_feature = |key: &FeatureKey| world.catalog.features.get(key)?.module.as_ref();
    if ruling.is_allow() {
        return first(needs, of_feature).cloned();
    }
    if ruling.reason == Reason::LimitReached {
        return limit.and_then(|limit| of_feature(&limit.feature)).cloned();
    }
    let refused = |kind| ruling.fields.get(kind).and_then(|keys| keys.first());
    if let Some(feature) = refused("feature") {
        let found = world.catalog.features.get(feature.as_str())?;
        return found.module.clone();
    }
    if let Some(module) = refused("module") {
        let found = world.catalog.modules.get_key_value(module.as_str());
        return found.map(|(key, _)| key.clone());
    }
    first(needs, of_feature).cloned()
}

fn first<'a>(
    needs: &Needs<'a>,
    of_feature: impl Fn(&FeatureKey) -> Option<&'a ModuleKey>,
) -> Option<&'a ModuleKey> {
    let of_limits = || needs.limits().map(|need| need.feature);
    let features = needs.features().chain(of_limits());
    needs.modules().next().or_else(|| features.into_iter().find_map(of_feature))
}
