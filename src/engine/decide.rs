//! The decision: the rules of SPEC 4, in their order, numbered as there.
//!
//! Rule 1 (unknown keys) stands before: it is an error, which the service answers. A bypass (rule 2)
//! is decided here and counts once the service has written it down.

use crate::{
    domain::{
        catalog::Limit,
        checks::{Decision, Explanation, Mode, Outcome, Question, Reason, Source},
        time::Timestamp,
        usage::LimitState,
    },
    engine::{
        Counts, NOTHING_COUNTED, Person, TenantFacts, World, concern, conditions,
        entitled::{self, Standing, blocked, entitled, switched_off},
        entitlements::DEMO_LIMIT,
        limits::{self, Judged},
        message,
        needs::{LimitNeed, Needs},
        permit,
        remedies::{self, Refused},
        rollout,
        ruling::{Ruling, denied},
        standing::{self, Block},
        trace::Desk,
        verdict::Verdict,
    },
};

/// Whom a question is about: the tenant, the user in it, and what both have used.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The tenant, or what stands in for it.
    pub facts: &'a TenantFacts,
    /// There where the question names a user.
    pub person: Option<&'a Person>,
    /// What was counted.
    pub counts: &'a Counts,
}

impl<'a> Subject<'a> {
    /// Somebody of whom nothing was counted.
    #[must_use]
    pub fn new(facts: &'a TenantFacts, person: Option<&'a Person>) -> Self {
        Self { facts, person, counts: &NOTHING_COUNTED }
    }
}

/// Answers `question` as of `at`. Every key in it is known to the world's catalog.
#[must_use]
pub fn decide(world: &World, subject: Subject<'_>, question: &Question, at: Timestamp) -> Decision {
    let needs = Needs::of(world, question);
    decide_at(&mut Desk::new(world, subject.facts, at).with(subject), question, &needs)
}

/// The same, with the path recorded.
#[must_use]
pub fn explain(
    world: &World,
    subject: Subject<'_>,
    question: &Question,
    at: Timestamp,
) -> (Decision, Explanation) {
    let needs = Needs::of(world, question);
    let mut desk = Desk::new(world, subject.facts, at).with(subject).explaining();
    desk.step(1, None, Outcome::Pass, || "The tenant and every key asked for are known.".into());
    let decision = decide_at(&mut desk, question, &needs);
    let mut explanation = desk.into_explanation();
    explanation.layers = super::layers::layers(world, subject, &needs, at);
    (decision, explanation)
}

fn decide_at(desk: &mut Desk<'_>, question: &Question, needs: &Needs<'_>) -> Decision {
    let answer =
        |desk: &Desk<'_>, ended: Ended, block: Option<Block<'_>>| answer(desk, needs, ended, block);
    // 2. The application's own staff pass, in platform mode.
    if let Some(ruling) = bypass(desk, question) {
        return answer(desk, ruling.into(), None);
    }
    // 3. A suspended tenant is refused whatever else holds.
    let tenant = &desk.facts.tenant;
    if let Some(suspension) = &tenant.suspension {
        desk.step(3, None, Outcome::Refuse, || {
            format!("Suspended since {}: {}", suspension.at, suspension.reason)
        });
        return answer(desk, blocked(Reason::Suspended, Source::Tenant).into(), None);
    }
    desk.step(3, None, Outcome::Pass, || "The tenant is not suspended.".into());

    // 4. A demo tenant has everything that is not switched off.
    if tenant.demo {
        desk.step(4, None, Outcome::Allow, || "A demo tenant.".into());
        let open = Ruling::allow(Reason::Demo, Source::Tenant);
        let ruling = switched_off(desk, needs).unwrap_or(open);
        let ended = permitted(desk, question, needs, ruling, Limits::Plenty);
        return answer(desk, ended, None);
    }
    desk.step(4, None, Outcome::Pass, || "Not a demo tenant.".into());

    // 5. Where the rollout doesn't enforce, the truth is worked out, and only rules 7, 13 and 15
    // refuse.
    let gate = rollout::gate(desk);
    let outcome = if gate.is_open() { Outcome::Allow } else { Outcome::Pass };
    desk.step(5, None, outcome, || gate.told());
    let (truth, block) = truth(desk, question, needs);
    let refuses_always =
        matches!(truth.ruling.reason, Reason::PermissionDenied | Reason::Condition);
    if truth.ruling.is_allow() || refuses_always {
        return answer(desk, truth, block);
    }
    let (would_reason, limit) = (truth.ruling.reason, truth.limit.clone());
    let module = concern::module(desk.world, needs, &truth.ruling, limit.as_ref());
    let mut stands = if gate.is_open() {
        let ruling = switched_off(desk, needs).unwrap_or_else(left_open);
        permitted(desk, question, needs, ruling, Limits::NotEnforced)
    } else {
        match with_modules_left_open(desk, question, needs, block.as_ref()) {
            // What refuses now is enforced.
            Some(stands) if !stands.ruling.is_allow() => return answer(desk, stands, None),
            Some(stands) => stands,
            None => return answer(desk, truth, block),
        }
    };
    if stands.ruling.is_allow() {
        // Also where a role or tier permits what the block refuses.
        stands.ruling = left_open();
    }
    stands.limit = stands.limit.or(limit);
    let answer = answer(desk, stands, None);
    // What refuses whatever the rollout says is counted for itself.
    let module = if answer.allowed { module } else { answer.module };
    Decision { enforced: false, would_allow: false, would_reason, module, ..answer }
}

/// What is said where only the rollout keeps something open.
fn left_open() -> Ruling {
    Ruling::allow(Reason::GatingDisabled, Source::Rollout)
}

/// A refusal again, without what belongs to modules that the rollout leaves open; none where it asks
/// for nothing of them. What blocks the tenant is no matter of a module.
fn with_modules_left_open(
    desk: &mut Desk<'_>,
    question: &Question,
    needs: &Needs<'_>,
    block: Option<&Block<'_>>,
) -> Option<Ended> {
    let key = rollout::left_open(desk, needs).filter(|_| block.is_none())?;
    desk.step(5, Some(key), Outcome::Allow, || {
        "Not enforced: its module is among the rollout's unenforced_modules.".into()
    });
    let standing = Standing::ModulesLeftOpen;
    let ruling = entitled(desk, needs, standing);
    Some(permitted(desk, question, needs, ruling, Limits::Of(standing)))
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

/// Where the rules ended.
struct Ended {
    ruling: Ruling,
    /// The last limit that rule 14 looked at.
    limit: Option<LimitState>,
    /// The last limit that was passed, where that is only warned of.
    over: Option<LimitState>,
}

impl From<Ruling> for Ended {
    fn from(ruling: Ruling) -> Self {
        Self { ruling, limit: None, over: None }
    }
}

/// Rules 6 to 15, enforced. The blocking reason wins over every later one.
fn truth<'a>(
    desk: &mut Desk<'a>,
    question: &Question,
    needs: &Needs<'_>,
) -> (Ended, Option<Block<'a>>) {
    // 6. Blocked by its subscription: only what stays available goes on to rule 7.
    let Some(block) = standing::block(desk) else {
        desk.step(6, None, Outcome::Pass, || "No subscription blocks the tenant.".into());
        let ruling = entitled(desk, needs, Standing::Open);
        return (permitted(desk, question, needs, ruling, Limits::Of(Standing::Open)), None);
    };
    let (reason, source) = (block.reason, block.source());
    desk.step(6, None, Outcome::Pass, || {
        format!("Blocked ({}): only what stays available goes on.", reason.as_str())
    });
    let ended = entitled::goes_on(desk, needs).then(|| {
        let ruling = entitled(desk, needs, Standing::Blocked);
        permitted(desk, question, needs, ruling, Limits::Of(Standing::Blocked))
    });
    let ended = match ended {
        Some(ended) if ended.ruling.is_allow() => ended,
        refused => {
            desk.step(6, None, Outcome::Refuse, || format!("Blocked: {}.", reason.as_str()));
            let limit = refused.and_then(|ended| ended.limit);
            Ended { ruling: blocked(reason, source), limit, over: None }
        }
    };
    (ended, Some(block))
}

/// How rule 14 judges.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limits {
    /// By what gives the limit.
    Of(Standing),
    /// A demo tenant has plenty of everything.
    Plenty,
    /// Not at all.
    NotEnforced,
}

/// Rules 13 to 15: what became of an allow once everything else was asked for.
fn permitted(
    desk: &mut Desk<'_>,
    question: &Question,
    needs: &Needs<'_>,
    ruling: Ruling,
    how: Limits,
) -> Ended {
    if !ruling.is_allow() {
        return ruling.into();
    }
    // 13. Permissions and tiers.
    let permit = match permissions(desk, needs) {
        Ok(permit) => permit,
        Err(refusal) => return refusal.into(),
    };
    // 15, those that are asked before the limit.
    if let Err(refusal) = conditions::ask(desk, question, needs, conditions::When::BeforeLimit) {
        return refusal.into();
    }
    // 14. Limits.
    let limits = match limits_hold(desk, needs, how) {
        Ok(judged) => judged,
        Err(refused) => {
            let (refusal, limit) = *refused;
            return Ended { ruling: refusal, limit: Some(limit), over: None };
        }
    };
    let over = limits.iter().rfind(|judged| judged.is_over).map(|judged| judged.state.clone());
    // 15. Conditions.
    let asked = conditions::ask(desk, question, needs, conditions::When::AfterLimit);
    let ruling = match (asked, permit) {
        (Err(refusal), _) => refusal,
        // The entitlement says why, where one was asked for; else the permission; else the limit.
        (Ok(()), Some(permit)) if needs.ask_for_no_entitlement() => {
            Ruling::allow(permit.reason, permit.source)
        }
        (Ok(()), None) if is_active(&ruling) => match limits.last() {
            // What nothing gives has room for nothing.
            Some(judged) if !judged.verdict.allowed => ruling,
            Some(judged) => Ruling::allow(judged.verdict.reason, judged.verdict.source.clone()),
            None => ruling,
        },
        (Ok(()), Some(_) | None) => ruling,
    };
    let limit = limits.into_iter().last().map(|judged| judged.state);
    Ended { ruling, limit, over }
}

/// Whether nothing so far says more than that the tenant is active.
fn is_active(ruling: &Ruling) -> bool {
    ruling.reason == Reason::Active
}

/// Rule 13. The last that permits says why.
fn permissions(desk: &mut Desk<'_>, needs: &Needs<'_>) -> Result<Option<permit::Permit>, Ruling> {
    let mut last = None;
    for key in needs.permissions() {
        match permit::permission(desk, key) {
            Some(permit) => last = Some(permit),
            None => return Err(denied("permission", vec![key.to_string()])),
        }
    }
    let any = needs.any_permission();
    if !any.is_empty() {
        let found = any.iter().find_map(|key| permit::permission(desk, key));
        let all = || any.iter().map(ToString::to_string).collect();
        last = Some(found.ok_or_else(|| denied("permission", all()))?);
    }
    for key in needs.tiers() {
        match permit::tier_at_least(desk, key) {
            Some(permit) => last = Some(permit),
            None => return Err(denied("tier", vec![key.to_string()])),
        }
    }
    Ok(last)
}

/// Rule 14 for every limit asked for.
fn limits_hold(
    desk: &mut Desk<'_>,
    needs: &Needs<'_>,
    how: Limits,
) -> Result<Vec<Judged>, Box<(Ruling, LimitState)>> {
    if needs.limits().next().is_none() {
        desk.step(14, None, Outcome::Pass, || "Nothing was asked of it.".into());
        return Ok(Vec::new());
    }
    needs.limits().filter_map(|need| limit_holds(desk, need, how).transpose()).collect()
}

fn limit_holds(
    desk: &mut Desk<'_>,
    need: LimitNeed<'_>,
    how: Limits,
) -> Result<Option<Judged>, Box<(Ruling, LimitState)>> {
    match how {
        Limits::Of(Standing::ModulesLeftOpen) if desk.world.leaves_feature_open(need.feature) => {
            Ok(None)
        }
        Limits::Of(standing) => {
            let verdict = entitled::feature(desk, need.feature, standing);
            limits::judge(desk, need, verdict).map(Some)
        }
        Limits::Plenty => {
            let (used, resets_at) = limits::used_of(desk, need);
            let (feature, requested) = (need.feature.clone(), need.requested);
            let limit = Limit::Of(DEMO_LIMIT);
            let state = LimitState { feature, limit, used, requested, resets_at };
            let verdict = Verdict::new(true, Reason::Demo, Source::Tenant);
            Ok(Some(Judged { state, verdict, is_over: false }))
        }
        Limits::NotEnforced => Ok(None),
    }
}

/// The version of everything that was looked at.
pub(super) fn version(desk: &Desk<'_>) -> u64 {
    let person = desk.person.map_or(0, Person::version);
    desk.world.version.max(desk.facts.version).max(person)
}

fn answer(desk: &Desk<'_>, needs: &Needs<'_>, ended: Ended, block: Option<Block<'_>>) -> Decision {
    let Ended { ruling, limit, over } = ended;
    let allowed = ruling.is_allow();
    let module = concern::module(desk.world, needs, &ruling, limit.as_ref());
    let remedies = if allowed {
        Vec::new()
    } else {
        let refused =
            Refused { reason: ruling.reason, fields: &ruling.fields, needs, limit: limit.as_ref() };
        remedies::remedies(desk, &refused, block.as_ref())
    };
    let over = over.filter(|_| allowed);
    let data = remedies::data(desk, &ruling, &remedies, limit.as_ref(), over.as_ref());
    let refused = limit.as_ref().filter(|_| ruling.reason == Reason::LimitReached);
    let message = match (&ruling.condition, over.as_ref().or(refused)) {
        (Some(refusing), _) => refusing.message.clone(),
        (None, Some(limit)) => message::limit(desk.world, limit, allowed),
        (None, None) => message::message(desk.world, ruling.reason, &ruling.source, &ruling.fields),
    };
    Decision {
        allowed,
        reason: ruling.reason,
        code: ruling.code,
        condition: ruling.condition.map(|refusing| refusing.words),
        message,
        fields: ruling.fields,
        enforced: !rollout::gate(desk).is_open(),
        would_allow: allowed,
        would_reason: ruling.reason,
        source: ruling.source,
        remedies,
        limit,
        data,
        valid_until: desk.next,
        version: version(desk),
        module,
    }
}
