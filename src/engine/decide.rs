//! The decision: the rules of SPEC 4, in their order, numbered as there.
//!
//! Rule 1 (unknown keys) stands before: it is an error, which the service answers. A bypass (rule 2)
//! is decided here and counts once the service has written it down. Rules 14 and 15 (limits and
//! conditions) follow rule 13 in [`permitted`] once their facts exist; until then the service refuses
//! questions that need them.

use std::collections::BTreeMap;

use crate::{
    domain::{
        catalog::Match,
        checks::{Code, Decision, Explanation, Mode, Outcome, Question, Reason, Source},
        keys::{FeatureKey, ModuleKey},
        time::Timestamp,
    },
    engine::{
        Gating, Person, TenantFacts, World, lent, message, permit,
        remedies::{self, Refused},
        standing::{self, Block},
        trace::Desk,
        verdict::{self, Verdict},
    },
};

/// Answers `question` as of `at`. Every key in it is known to the world's catalog; `person` is there
/// where it names a user.
#[must_use]
pub fn decide(
    world: &World,
    facts: &TenantFacts,
    person: Option<&Person>,
    question: &Question,
    at: Timestamp,
) -> Decision {
    decide_at(&mut Desk::new(world, facts, at).about(person), question)
}

/// The same, with the path recorded.
#[must_use]
pub fn explain(
    world: &World,
    facts: &TenantFacts,
    person: Option<&Person>,
    question: &Question,
    at: Timestamp,
) -> (Decision, Explanation) {
    let mut desk = Desk::new(world, facts, at).about(person).explaining();
    desk.step(1, None, Outcome::Pass, || "The tenant and every key asked for are known.".into());
    let decision = decide_at(&mut desk, question);
    if decision.allowed && decision.reason != Reason::SuperAdminBypass {
        for rule in 14..=15 {
            desk.step(rule, None, Outcome::Pass, || "Nothing was asked of it.".into());
        }
    }
    let mut explanation = desk.into_explanation();
    explanation.layers = super::layers::layers(world, facts, person, question, at);
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
    // 2. The application's own staff pass, in platform mode.
    if let Some(ruling) = bypass(desk, question) {
        return answer(desk, question, ruling, None);
    }
    // 3. A suspended tenant is refused whatever else holds.
    let tenant = &desk.facts.tenant;
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
        let ruling = permitted(desk, question, ruling);
        return answer(desk, question, ruling, None);
    }
    desk.step(4, None, Outcome::Pass, || "Not a demo tenant.".into());

    // 5. Where the rollout doesn't enforce, the truth is worked out, and only rules 7 and 13 refuse.
    match desk.world.gating {
        Gating::Enforced => {
            desk.step(5, None, Outcome::Pass, || "The rollout enforces here.".into());
            let (ruling, block) = truth(desk, question);
            answer(desk, question, ruling, block)
        }
        Gating::OffByEnvironment => {
            desk.step(5, None, Outcome::Allow, || "ENABLE_ENTITLEMENTS_GATING is false.".into());
            let (truth, block) = truth(desk, question);
            if truth.is_allow() || truth.reason == Reason::PermissionDenied {
                return answer(desk, question, truth, block);
            }
            let stands = switched_off(desk, question)
                .unwrap_or_else(|| Ruling::allow(Reason::GatingDisabled, Source::Rollout));
            let mut stands = permitted(desk, question, stands);
            if stands.is_allow() {
                // Also where a role or tier permits what the block refuses.
                stands = Ruling::allow(Reason::GatingDisabled, Source::Rollout);
            }
            let would_reason = truth.reason;
            Decision { would_allow: false, would_reason, ..answer(desk, question, stands, None) }
        }
    }
}

/// Rule 2.
fn bypass(desk: &mut Desk<'_>, question: &Question) -> Option<Ruling> {
    if question.mode != Mode::Platform {
        desk.step(2, None, Outcome::Pass, || "Not asked in platform mode.".into());
        return None;
    }
    let permit = permit::bypasses(desk);
    let outcome = if permit.is_some() { Outcome::Allow } else { Outcome::Pass };
    desk.step(2, None, outcome, || match &permit {
        Some(_) => "The user holds a role that passes every check.".into(),
        None => "The user holds no role that passes every check.".into(),
    });
    permit.map(|permit| Ruling::allow(permit.reason, permit.source))
}

/// Rules 6 to 13, enforced. The blocking reason wins over a refused permission too.
fn truth<'a>(desk: &mut Desk<'a>, question: &Question) -> (Ruling, Option<Block<'a>>) {
    let (ruling, block) = judge(desk, question);
    let mut ruling = permitted(desk, question, ruling);
    if let Some(block) = &block
        && !ruling.is_allow()
    {
        ruling = Ruling::refuse(block.reason, block.source(), Code::TenantBlocked);
    }
    (ruling, block)
}

/// Rules 6 to 12, enforced.
fn judge<'a>(desk: &mut Desk<'a>, question: &Question) -> (Ruling, Option<Block<'a>>) {
    // 6. Blocked by its subscription: only what stays available goes on to rule 7.
    let block = standing::block(desk);
    let Some(block) = block else {
        desk.step(6, None, Outcome::Pass, || "No subscription blocks the tenant.".into());
        return (entitled(desk, question, Standing::Open), None);
    };
    let (reason, source) = (block.reason, block.source());
    desk.step(6, None, Outcome::Pass, || {
        format!("Blocked ({}): only what stays available goes on.", reason.as_str())
    });
    let ruling = goes_on(desk, question)
        .then(|| entitled(desk, question, Standing::Blocked))
        .filter(Ruling::is_allow);
    // The blocking reason wins over every later one.
    let ruling = ruling.unwrap_or_else(|| {
        desk.step(6, None, Outcome::Refuse, || format!("Blocked: {}.", reason.as_str()));
        Ruling::refuse(reason, source.clone(), Code::TenantBlocked)
    });
    (ruling, Some(block))
}

/// Whether a check of a blocked tenant goes on to rule 7: only where everything asked for stays
/// available, or is lent to the user; also with `match: any`. A permission alone does not.
fn goes_on(desk: &mut Desk<'_>, question: &Question) -> bool {
    let catalog = desk.world.catalog.clone();
    let available = |key: &ModuleKey| {
        catalog.modules.get(key).is_some_and(|module| module.available_when_blocked)
    };
    let mut all = !asks_for_permission_alone(question);
    if let Some(key) = &question.module {
        all = all && (available(key) || module(desk, key, Standing::Blocked).allowed);
    }
    for key in &question.features {
        let of = catalog.features.get(key).and_then(|feature| feature.module.as_ref());
        let open = of.is_some_and(available);
        all = all && (open || feature(desk, key, Standing::Blocked).allowed);
    }
    all
}

fn asks_for_permission_alone(question: &Question) -> bool {
    question.module.is_none() && question.features.is_empty()
}

/// Whether a subscription blocks the tenant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Open,
    Blocked,
}

/// Rules 7 to 12, for the module first, then for the features as listed.
fn entitled(desk: &mut Desk<'_>, question: &Question, standing: Standing) -> Ruling {
    let mut last = None;
    if let Some(key) = &question.module {
        let verdict = module(desk, key, standing);
        if !verdict.allowed {
            return refused_module(key, verdict);
        }
        last = Some(verdict);
    }
    let judge = |desk: &mut Desk<'_>, key: &FeatureKey| feature(desk, key, standing);
    match features(desk, question, judge) {
        Err(refusal) => refusal,
        Ok(verdict) => match verdict.or(last) {
            Some(verdict) => Ruling::allow(verdict.reason, verdict.source),
            // Only a permission or tier is asked for: rule 13 says why.
            None => Ruling::allow(Reason::Role, Source::Nothing),
        },
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
    if standing == Standing::Open || stays_available(desk, key) {
        return lent::module(desk, key);
    }
    let judge = |desk: &mut Desk<'_>| verdict::module(desk, key);
    lent::while_blocked(desk, &key.into(), judge).unwrap_or_else(Verdict::zero)
}

/// Rules 7 to 12 for a feature. In a blocked tenant limits read 0, whatever gives them.
fn feature(desk: &mut Desk<'_>, key: &FeatureKey, standing: Standing) -> Verdict {
    if let Some(killed) = verdict::feature_kill(desk, key) {
        return killed;
    }
    if standing == Standing::Open {
        return lent::feature(desk, key);
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

/// Rule 13: what became of an allow once the permission and the tier were asked for.
fn permitted(desk: &mut Desk<'_>, question: &Question, ruling: Ruling) -> Ruling {
    if !ruling.is_allow() {
        return ruling;
    }
    let mut last = None;
    if let Some(key) = &question.permission {
        match permit::permission(desk, key) {
            Some(permit) => last = Some(permit),
            None => return denied("permission", key.as_str()),
        }
    }
    if let Some(key) = &question.tier_at_least {
        match permit::tier_at_least(desk, key) {
            Some(permit) => last = Some(permit),
            None => return denied("tier", key.as_str()),
        }
    }
    match last {
        // The entitlement says why, where one was asked for.
        Some(permit) if asks_for_permission_alone(question) => {
            Ruling::allow(permit.reason, permit.source)
        }
        Some(_) | None => ruling,
    }
}

fn denied(kind: &'static str, key: &str) -> Ruling {
    let mut ruling =
        Ruling::refuse(Reason::PermissionDenied, Source::Nothing, Code::PermissionDenied);
    ruling.fields.insert(kind, vec![key.to_owned()]);
    ruling
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

/// A missing seat has a code of its own, whatever it is missing for.
fn code(reason: Reason, otherwise: Code) -> Code {
    if reason == Reason::SeatRequired { Code::SeatRequired } else { otherwise }
}

fn refused_module(key: &ModuleKey, verdict: Verdict) -> Ruling {
    let code = code(verdict.reason, Code::ModuleNotEntitled);
    let mut ruling = Ruling::refuse(verdict.reason, verdict.source, code);
    ruling.fields.insert("module", vec![key.to_string()]);
    ruling
}

/// The first gives the reason, `fields` names all, and the modules that some were refused for.
fn refused_features(refused: &[(&FeatureKey, Verdict)]) -> Ruling {
    let (reason, source) = refused
        .first()
        .map_or((Reason::PlanLimit, Source::Nothing), |(_, v)| (v.reason, v.source.clone()));
    let code = code(reason, Code::FeatureNotEntitled);
    let mut ruling = Ruling::refuse(reason, source, code);
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

/// The version of everything that was looked at.
pub(super) fn version(desk: &Desk<'_>) -> u64 {
    let person = desk.person.map_or(0, Person::version);
    desk.world.version.max(desk.facts.version).max(person)
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
        version: version(desk),
    }
}
