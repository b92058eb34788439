//! The decision: the rules of SPEC 4, in their order, numbered as there.
//!
//! Rules 1 (unknown keys) and 2 (bypass) stand before: the service answers them, because one is an
//! error and the other writes. Rules 12 to 15 (seats, permissions, limits, conditions) follow rule
//! 11 in [`judge`] once their facts exist; until then the service refuses questions that need them.

use std::collections::BTreeMap;

use crate::{
    domain::{
        catalog::Match,
        checks::{Code, Decision, Explanation, Outcome, Question, Reason, Source},
        keys::{FeatureKey, ModuleKey},
        time::Timestamp,
    },
    engine::{
        Gating, TenantFacts, World, message,
        remedies::{self, Refused},
        standing::{self, Block},
        trace::Desk,
        verdict::{self, Verdict},
    },
};

/// Answers `question` as of `at`. Every key in it is known to the world's catalog.
#[must_use]
pub fn decide(world: &World, facts: &TenantFacts, question: &Question, at: Timestamp) -> Decision {
    decide_at(&mut Desk::new(world, facts, at), question)
}

/// The same, with the path recorded.
#[must_use]
pub fn explain(
    world: &World,
    facts: &TenantFacts,
    question: &Question,
    at: Timestamp,
) -> (Decision, Explanation) {
    let mut desk = Desk::explaining(world, facts, at);
    desk.step(1, None, Outcome::Pass, || "The tenant and every key asked for are known.".into());
    desk.step(2, None, Outcome::Pass, || "Not asked in platform mode.".into());
    let decision = decide_at(&mut desk, question);
    if decision.allowed {
        for rule in 12..=15 {
            desk.step(rule, None, Outcome::Pass, || "Nothing was asked of it.".into());
        }
    }
    let mut explanation = desk.into_explanation();
    explanation.layers = super::layers::layers(world, facts, question, at);
    (decision, explanation)
}

/// An outcome before it is put into words.
#[derive(Debug, Clone)]
struct Ruling {
    reason: Reason,
    source: Source,
    /// On a refusal.
    code: Option<Code>,
    fields: BTreeMap<&'static str, Vec<String>>,
}

impl Ruling {
    fn allow(reason: Reason, source: Source) -> Self {
        Self { reason, source, code: None, fields: BTreeMap::new() }
    }

    fn refuse(reason: Reason, source: Source, code: Code) -> Self {
        Self { reason, source, code: Some(code), fields: BTreeMap::new() }
    }

    fn is_allow(&self) -> bool {
        self.code.is_none()
    }
}

fn decide_at(desk: &mut Desk<'_>, question: &Question) -> Decision {
    let tenant = &desk.facts.tenant;
    // 3. A suspended tenant is refused whatever else holds.
    if let Some(suspension) = &tenant.suspension {
        desk.step(3, None, Outcome::Refuse, || {
            format!("Suspended since {}: {}", suspension.at, suspension.reason)
        });
        let ruling = Ruling::refuse(Reason::Suspended, Source::Tenant, Code::TenantBlocked);
        return answer(desk, question, ruling, None);
    }
    desk.step(3, None, Outcome::Pass, || "The tenant is not suspended.".into());

    // 4. A demo tenant has everything that is not switched off.
    if tenant.demo {
        desk.step(4, None, Outcome::Allow, || "A demo tenant.".into());
        let ruling = switched_off(desk, question)
            .unwrap_or_else(|| Ruling::allow(Reason::Demo, Source::Tenant));
        return answer(desk, question, ruling, None);
    }
    desk.step(4, None, Outcome::Pass, || "Not a demo tenant.".into());

    // 5. Where the rollout doesn't enforce, the truth is worked out and only rule 7 still refuses.
    match desk.world.gating {
        Gating::Enforced => {
            desk.step(5, None, Outcome::Pass, || "The rollout enforces here.".into());
            let (ruling, block) = judge(desk, question);
            answer(desk, question, ruling, block)
        }
        Gating::OffByEnvironment => {
            desk.step(5, None, Outcome::Allow, || "ENABLE_ENTITLEMENTS_GATING is false.".into());
            let (truth, block) = judge(desk, question);
            if truth.is_allow() {
                return answer(desk, question, truth, block);
            }
            let stands = switched_off(desk, question)
                .unwrap_or_else(|| Ruling::allow(Reason::GatingDisabled, Source::Rollout));
            let would_reason = truth.reason;
            Decision { would_allow: false, would_reason, ..answer(desk, question, stands, None) }
        }
    }
}

/// Rules 6 to 11, enforced.
fn judge<'a>(desk: &mut Desk<'a>, question: &Question) -> (Ruling, Option<Block<'a>>) {
    // 6. Blocked by its subscription: only what stays available goes on to rule 7.
    let block = standing::block(desk);
    let Some(block) = block else {
        desk.step(6, None, Outcome::Pass, || "No subscription blocks the tenant.".into());
        return (entitled(desk, question, Limits::AsGiven), None);
    };
    let (reason, source) = (block.reason, block.source());
    let blocked = || Ruling::refuse(reason, source.clone(), Code::TenantBlocked);
    if !stays_available(desk, question) {
        desk.step(6, None, Outcome::Refuse, || format!("Blocked: {}.", reason.as_str()));
        return (blocked(), Some(block));
    }
    desk.step(6, None, Outcome::Pass, || {
        format!("Blocked ({}), but this stays available.", reason.as_str())
    });
    let ruling = entitled(desk, question, Limits::ReadZero);
    // The blocking reason wins over every later one.
    (if ruling.is_allow() { ruling } else { blocked() }, Some(block))
}

/// Whether everything asked for belongs to modules that are available to a blocked tenant.
fn stays_available(desk: &Desk<'_>, question: &Question) -> bool {
    let catalog = &desk.world.catalog;
    let module_stays =
        |key: &ModuleKey| catalog.modules.get(key).is_some_and(|m| m.available_when_blocked);
    let feature_stays = |key: &FeatureKey| {
        catalog.features.get(key).is_some_and(|f| f.module.as_ref().is_some_and(module_stays))
    };
    question.module.iter().all(module_stays) && question.features.iter().all(feature_stays)
}

/// What limits read: for a blocked tenant 0, whatever gives them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limits {
    AsGiven,
    ReadZero,
}

/// Rules 7 to 11, for the module first, then for the features as listed.
fn entitled(desk: &mut Desk<'_>, question: &Question, limits: Limits) -> Ruling {
    let mut last = None;
    if let Some(key) = &question.module {
        let verdict = match verdict::module_kill(desk, key) {
            Some(killed) => killed,
            None => verdict::module(desk, key),
        };
        if !verdict.allowed {
            return refused_module(key, verdict);
        }
        last = Some(verdict);
    }
    let judge = |desk: &mut Desk<'_>, key: &FeatureKey| match verdict::feature_kill(desk, key) {
        Some(killed) => killed,
        None if limits == Limits::ReadZero && verdict::is_limit(desk, key) => Verdict::zero(),
        None => verdict::feature(desk, key),
    };
    match features(desk, question, judge) {
        Err(refusal) => refusal,
        Ok(verdict) => match verdict.or(last) {
            Some(verdict) => Ruling::allow(verdict.reason, verdict.source),
            // The service lets no question through that asks for nothing.
            None => Ruling::refuse(Reason::PlanLimit, Source::Nothing, Code::FeatureNotEntitled),
        },
    }
}

/// Judges the features as `match` says: the deciding allow, none without features, or the refusal.
fn features(
    desk: &mut Desk<'_>,
    question: &Question,
    mut judge: impl FnMut(&mut Desk<'_>, &FeatureKey) -> Verdict,
) -> Result<Option<Verdict>, Ruling> {
    let mut last = None;
    let mut refused = Vec::new();
    for key in &question.features {
        let verdict = judge(desk, key);
        match (question.features_match, verdict.allowed) {
            (Match::Any, true) => return Ok(Some(verdict)),
            (Match::All, true) => last = Some(verdict),
            (Match::Any, false) => refused.push((key, verdict)),
            (Match::All, false) => return Err(refused_features(&[(key, verdict)])),
        }
    }
    if refused.is_empty() { Ok(last) } else { Err(refused_features(&refused)) }
}

fn refused_module(key: &ModuleKey, verdict: Verdict) -> Ruling {
    let mut ruling = Ruling::refuse(verdict.reason, verdict.source, Code::ModuleNotEntitled);
    ruling.fields.insert("module", vec![key.to_string()]);
    ruling
}

/// The first gives the reason, `fields` names all, and the modules that some were refused for.
fn refused_features(refused: &[(&FeatureKey, Verdict)]) -> Ruling {
    let (reason, source) = refused
        .first()
        .map_or((Reason::PlanLimit, Source::Nothing), |(_, v)| (v.reason, v.source.clone()));
    let mut ruling = Ruling::refuse(reason, source, Code::FeatureNotEntitled);
    let features = refused.iter().map(|(key, _)| key.to_string()).collect();
    ruling.fields.insert("feature", features);
    let mut modules: Vec<String> = Vec::new();
    for module in refused.iter().filter_map(|(_, v)| v.module.as_ref()) {
        if !modules.iter().any(|m| m == module.as_str()) {
            modules.push(module.to_string());
        }
    }
    if !modules.is_empty() {
        ruling.fields.insert("module", modules);
    }
    ruling
}

/// Rule 7 alone: what refuses even where nothing else is enforced.
fn switched_off(desk: &mut Desk<'_>, question: &Question) -> Option<Ruling> {
    if let Some(key) = &question.module
        && let Some(killed) = verdict::module_kill(desk, key)
    {
        return Some(refused_module(key, killed));
    }
    let open = |desk: &mut Desk<'_>, key: &FeatureKey| {
        verdict::feature_kill(desk, key).unwrap_or_else(Verdict::open)
    };
    features(desk, question, open).err()
}

fn answer(
    desk: &mut Desk<'_>,
    question: &Question,
    ruling: Ruling,
    block: Option<Block<'_>>,
) -> Decision {
    let allowed = ruling.is_allow();
    let remedies = if allowed {
        Vec::new()
    } else {
        let refused = Refused { reason: ruling.reason, fields: &ruling.fields, question };
        remedies::remedies(desk.world, desk.facts, desk.at, &refused, block.as_ref())
    };
    let message = message::message(desk.world, ruling.reason, &ruling.source, &ruling.fields);
    Decision {
        allowed,
        reason: ruling.reason,
        code: ruling.code,
        message,
        fields: ruling.fields,
        enforced: desk.world.gating == Gating::Enforced,
        would_allow: allowed,
        would_reason: ruling.reason,
        source: ruling.source,
        remedies,
        valid_until: desk.next,
        version: desk.world.version.max(desk.facts.version),
    }
}
