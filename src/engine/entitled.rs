//! Rules 7 to 12 for everything that a question asks for.

use super::{
    lent,
    needs::Needs,
    ruling::{Ruling, refused_features, refused_module},
    trace::Desk,
    verdict::{self, Verdict},
};
use crate::domain::{
    catalog::Match,
    checks::{Code, Reason, Source},
    keys::{FeatureKey, ModuleKey},
};

/// How the tenant stands: whether a subscription blocks it, and what is enforced of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Open,
    Blocked,
    /// Not blocked, and what belongs to modules that the rollout leaves open isn't enforced.
    ModulesLeftOpen,
}

/// Whether a check of a blocked tenant goes on to rule 7: only where everything asked for stays
/// available, or is lent to the user; also with `match: any`. A permission alone does not.
pub(super) fn goes_on(desk: &mut Desk<'_>, needs: &Needs<'_>) -> bool {
    let mut all = needs.modules().next().is_some() || needs.features().next().is_some();
    for key in needs.modules() {
        all = all && (stays_available(desk, key) || module(desk, key, Standing::Blocked).allowed);
    }
    for key in needs.features() {
        let of = desk.world.catalog.features.get(key).and_then(|feature| feature.module.as_ref());
        let open = of.is_some_and(|module| stays_available(desk, module));
        all = all && (open || feature(desk, key, Standing::Blocked).allowed);
    }
    all
}

/// For the modules first, then for the features as listed. The last of them says why it is allowed;
/// where none is asked for, the rules that follow do.
pub(super) fn entitled(desk: &mut Desk<'_>, needs: &Needs<'_>, standing: Standing) -> Ruling {
    let mut last = None;
    for key in needs.modules() {
        let verdict = module(desk, key, standing);
        if !verdict.allowed {
            return refused_module(key, verdict);
        }
        last = Some(verdict);
    }
    for group in needs.feature_groups() {
        match features(desk, group, |desk, key| feature(desk, key, standing)) {
            Err(refusal) => return refusal,
            Ok(verdict) => last = verdict.or(last),
        }
    }
    // The limit's own switches: the rest of it is rule 14.
    for need in needs.limits() {
        if let Some(killed) = verdict::feature_kill(desk, need.feature) {
            return refused_features(&[(need.feature, killed)]);
        }
    }
    match last {
        Some(verdict) => Ruling::allow(verdict.reason, verdict.source),
        None => Ruling::allow(Reason::Active, Source::Tenant),
    }
}

fn stays_available(desk: &Desk<'_>, module: &ModuleKey) -> bool {
    desk.world.catalog.modules.get(module).is_some_and(|m| m.available_when_blocked)
}

/// Rules 7 to 12 for a module. In a blocked tenant a user may still have the seat of another tenant.
fn module(desk: &mut Desk<'_>, key: &ModuleKey, standing: Standing) -> Verdict {
    if let Some(killed) = verdict::module_kill(desk, key) {
        return killed;
    }
    match standing {
        Standing::ModulesLeftOpen if desk.world.leaves_module_open(key) => return Verdict::open(),
        Standing::Open | Standing::ModulesLeftOpen => return lent::module(desk, key),
        Standing::Blocked if stays_available(desk, key) => return lent::module(desk, key),
        Standing::Blocked => {}
    }
    let judge = |desk: &mut Desk<'_>| verdict::module(desk, key);
    lent::while_blocked(desk, &key.into(), judge).unwrap_or_else(Verdict::zero)
}

/// Rules 7 to 12 for a feature. In a blocked tenant limits read 0, whatever gives them.
pub(super) fn feature(desk: &mut Desk<'_>, key: &FeatureKey, standing: Standing) -> Verdict {
    if let Some(killed) = verdict::feature_kill(desk, key) {
        return killed;
    }
    match standing {
        Standing::ModulesLeftOpen if desk.world.leaves_feature_open(key) => return Verdict::open(),
        Standing::Open | Standing::ModulesLeftOpen => return lent::feature(desk, key),
        Standing::Blocked => {}
    }
    let module = desk.world.catalog.features.get(key).and_then(|feature| feature.module.clone());
    match module {
        Some(module) if stays_available(desk, &module) && !verdict::is_limit(desk, key) => {
            lent::feature(desk, key)
        }
        Some(module) => {
            let judge = |desk: &mut Desk<'_>| verdict::feature(desk, key);
            lent::while_blocked(desk, &(&module).into(), judge).unwrap_or_else(Verdict::zero)
        }
        None => Verdict::zero(),
    }
}

/// Judges features together: the deciding allow, none without features, or the refusal.
fn features(
    desk: &mut Desk<'_>,
    (features, matching): (&[FeatureKey], Match),
    mut judge: impl FnMut(&mut Desk<'_>, &FeatureKey) -> Verdict,
) -> Result<Option<Verdict>, Ruling> {
    let mut last = None;
    let mut refused = Vec::new();
    for key in features {
        let verdict = judge(desk, key);
        match (matching, verdict.allowed) {
            (Match::Any, true) => return Ok(Some(verdict)),
            (Match::All, true) => last = Some(verdict),
            (Match::Any, false) => refused.push((key, verdict)),
            (Match::All, false) => return Err(refused_features(&[(key, verdict)])),
        }
    }
    if refused.is_empty() { Ok(last) } else { Err(refused_features(&refused)) }
}

/// Rule 7 alone: what refuses even where nothing else is enforced.
pub(super) fn switched_off(desk: &mut Desk<'_>, needs: &Needs<'_>) -> Option<Ruling> {
    for key in needs.modules() {
        if let Some(killed) = verdict::module_kill(desk, key) {
            return Some(refused_module(key, killed));
        }
    }
    let open = |desk: &mut Desk<'_>, key: &FeatureKey| {
        verdict::feature_kill(desk, key).unwrap_or_else(Verdict::open)
    };
    for group in needs.feature_groups() {
        if let Err(refusal) = features(desk, group, open) {
            return Some(refusal);
        }
    }
    needs.limits().find_map(|need| {
        let killed = verdict::feature_kill(desk, need.feature)?;
        Some(refused_features(&[(need.feature, killed)]))
    })
}

/// The refusal of a blocked tenant.
pub(super) fn blocked(reason: Reason, source: Source) -> Ruling {
    Ruling::refuse(reason, source, Code::TenantBlocked)
}
