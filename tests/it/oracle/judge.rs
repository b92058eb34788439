//! The decision a second time, from SPEC 4 and docs/decisions.md (D) alone: slow and obvious.
//!
//! Nothing here is shared with the engine but the types and the two constructors of its inputs.
//! Places marked "Reading" settle what the texts leave open; they are the ones to argue about.

use std::collections::{BTreeMap, BTreeSet};

use entitled::{
    domain::{
        catalog::{Audience, FeatureValue, Limit, Match, Target},
        checks::{Code, Question, Reason, Remedy, Source},
        keys::FeatureKey,
        plans::PlanVersion,
        tenants::Billing,
        time::Timestamp,
    },
    engine::Gating,
};

use super::{
    holdings::{self, Plans},
    keys::{Judge, Ruling},
    worlds::{Asked, Case},
};

/// A fault to build into a judge on purpose, to see that it is caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twist {
    None,
    IgnoresTheKillSwitch,
    HonoursAnOverrideAtItsExpiry,
    HonoursATrialAtItsEnd,
    HonoursASubscriptionAtItsEnd,
    BlocksOnlyAfterTheGraceEnd,
    UsesTheNewestPlanInsteadOfThePinned,
    AsksTheGrantBeforeTheOverride,
    OpensAllModulesOfABlockedTenant,
    CountsAnAddOnOnceWhateverItsQuantity,
    OffersPlansThatNeedACode,
    LeaksARoleToSiblings,
    LeaksARoleUpward,
    HonoursARoleAtItsExpiry,
    ForgetsInheritedPermissions,
    ComparesTiersByName,
    AsksTheTenantlessTierFirst,
    TakesTheSeatOfAnotherKey,
    LendsPastTheSuspensionOfTheChild,
    LendsWhileTheAncestorIsBlocked,
    TakesASeatForAnOverride,
    BypassesInEveryMode,
    AsksTheUserBeforeADisabledGrant,
}

/// The part of an answer that `valid_until` is a promise about.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub allowed: bool,
    pub reason: Reason,
    pub code: Option<Code>,
    pub fields: BTreeMap<&'static str, Vec<String>>,
    pub source: Source,
    pub enforced: bool,
    pub would_allow: bool,
    pub would_reason: Reason,
}

/// What the oracle says to one question at one instant.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub answer: Answer,
    /// Every list of remedies that the texts allow; nearly always one. The first is preferred.
    pub remedies: Vec<Vec<Remedy>>,
    /// Where a fact that was looked at begins or ends, after the instant asked about (D9).
    pub looked_at: BTreeSet<Timestamp>,
    pub version: u64,
    /// What may stand in the place of reason and source: roles and tiers that last equally long.
    pub ties: Vec<(Reason, Source)>,
}

/// One way through the requirements of a question.
struct Walk {
    allowed: bool,
    reason: Reason,
    source: Source,
    code: Option<Code>,
    fields: BTreeMap<&'static str, Vec<String>>,
    /// The requirement that decided: on a refusal the refused key.
    about: Option<Target>,
}

/// Answers as of `at`, without remedies.
pub fn answer(case: &Case, asked: &Asked, at: Timestamp, twist: Twist) -> Answer {
    both_ways(&judge_of(case, asked, at, twist), &asked.question).0
}

fn judge_of<'a>(case: &'a Case, asked: &'a Asked, at: Timestamp, twist: Twist) -> Judge<'a> {
    Judge::new(&case.world, &case.facts, asked.person.as_ref(), &case.tree, at, twist)
}

/// Answers as of `at`.
pub fn judge(case: &Case, asked: &Asked, at: Timestamp, twist: Twist) -> Verdict {
    let judge = judge_of(case, asked, at, twist);
    let (answer, about) = both_ways(&judge, &asked.question);
    let looked_at = judge.looked_at.borrow().iter().copied().filter(|it| *it > at).collect();
    let ties = judge.ties.take();
    let remedies = if answer.allowed {
        vec![Vec::new()]
    } else {
        // Reading 28: D10 doesn't say whether what the user has alone counts beside the plan.
        let mut lists = remedies(&judge, &asked.question, &answer, about.as_ref());
        let alone = Judge { person: None, ..judge };
        lists.extend(remedies(&alone, &asked.question, &answer, about.as_ref()));
        lists
    };
    let mut versions = vec![case.world.version, case.facts.version];
    if let Some(it) = &asked.person {
        versions.extend([it.here.version, it.everywhere.version]);
        versions.extend(it.lenders.iter().map(|lender| lender.version));
    }
    let version = versions.into_iter().max().unwrap_or(0);
    Verdict { answer, remedies, looked_at, version, ties }
}

/// Rule 5 and D8: once as if enforced; where the rollout does not enforce, once more with only
/// rules 3 and 7 able to refuse.
fn both_ways(judge: &Judge<'_>, question: &Question) -> (Answer, Option<Target>) {
    let enforced = judge.world.gating == Gating::Enforced;
    let would = match judge.bypass(question) {
        Some(pass) => Walk::of(pass, None, Code::PermissionDenied, BTreeMap::new()),
        None => as_if_enforced(judge, question),
    };
    let (would_allow, would_reason) = (would.allowed, would.reason);
    let actual = if enforced || would.allowed || judge.facts.tenant.suspension.is_some() {
        would
    } else {
        let walk = only_the_kill_switch(judge, question, Reason::GatingDisabled, Source::Rollout);
        if walk.allowed {
            // Also where a role or tier allows what rule 6 would have refused.
            Walk { reason: Reason::GatingDisabled, source: Source::Rollout, ..walk }
        } else {
            walk
        }
    };
    let Walk { allowed, reason, source, code, fields, about } = actual;
    let code = code.filter(|_| !allowed);
    (Answer { allowed, reason, code, fields, source, enforced, would_allow, would_reason }, about)
}

fn as_if_enforced(judge: &Judge<'_>, question: &Question) -> Walk {
    // Rule 3.
    if judge.facts.tenant.suspension.is_some() {
        let lends = judge.twist == Twist::LendsPastTheSuspensionOfTheChild;
        let first = targets(question).into_iter().next();
        if let Some(lent) = first.filter(|_| lends).and_then(|first| judge.lent(&first)) {
            return Walk::of(lent, None, Code::ModuleNotEntitled, BTreeMap::new());
        }
        return blocked(Reason::Suspended, Source::Tenant, None);
    }
    // Rule 4: only rule 7 is left. Reading 1: also an always-on module reads `demo` there, because
    // rule 8 is among those that a demo tenant satisfies.
    if judge.facts.tenant.demo {
        return only_the_kill_switch(judge, question, Reason::Demo, Source::Tenant);
    }
    // Rule 6.
    let block = match judge.facts.tenant.billing {
        Billing::Direct => None,
        Billing::Subscription => {
            judge.look_at_base();
            holdings::block(judge)
        }
    };
    let plans = holdings::now(judge);
    let Some((reason, source)) = block else {
        let ask = |target: &Target| judge.target_with_seat(target, &plans);
        return then_rule_13(judge, question, walk(question, ask));
    };
    // Everything asked for must stay open; a permission or tier alone doesn't.
    let all = targets(question);
    let ask =
        |target: &Target| judge.target_while_blocked(target, &plans, stays_open(judge, target));
    if all.is_empty() || !all.iter().all(|target| ask(target).1) {
        return blocked(reason, source, None);
    }
    // D1: the block wins over every later refusal, by SPEC 4 those of rules 12 and 13 too.
    let walk = walk(question, |target| ask(target).0);
    let walk = then_rule_13(judge, question, walk);
    if walk.allowed { walk } else { blocked(reason, source, walk.about) }
}

fn targets(question: &Question) -> Vec<Target> {
    let module = question.module.iter().cloned().map(Target::Module);
    module.chain(question.features.iter().cloned().map(Target::Feature)).collect()
}

/// Entitlement first, permission second. The entitlement gives the reason of an allow.
fn then_rule_13(judge: &Judge<'_>, question: &Question, walk: Option<Walk>) -> Walk {
    if walk.as_ref().is_some_and(|walk| !walk.allowed) {
        return walk.expect("it refuses");
    }
    let permit = judge.rule_13(question).map(|permit| {
        let (kind, key) = permit.field;
        let refused = !permit.ruling.allowed;
        let fields = BTreeMap::from([(kind, vec![key])]);
        let fields = if refused { fields } else { BTreeMap::new() };
        Walk::of(permit.ruling, None, Code::PermissionDenied, fields)
    });
    match (walk, permit) {
        (_, Some(permit)) if !permit.allowed => permit,
        (Some(walk), _) => walk,
        (None, permit) => permit.expect("a question has a requirement"),
    }
}

/// Reading 2: a refusal of the whole tenant names no keys, because SPEC's table of refusals gives
/// `fields` to the other kinds only.
fn blocked(reason: Reason, source: Source, about: Option<Target>) -> Walk {
    let code = Some(Code::TenantBlocked);
    Walk { allowed: false, reason, source, code, fields: BTreeMap::new(), about }
}

/// Whether it belongs to a module that is available when blocked. A feature without one doesn't.
fn stays_open(judge: &Judge<'_>, target: &Target) -> bool {
    if judge.twist == Twist::OpensAllModulesOfABlockedTenant {
        return true;
    }
    let catalog = &judge.world.catalog;
    let module = match target {
        Target::Module(key) => Some(key),
        Target::Feature(key) => catalog.features[key].module.as_ref(),
    };
    module.is_some_and(|key| catalog.modules[key].available_when_blocked)
}

fn only_the_kill_switch(
    judge: &Judge<'_>,
    question: &Question,
    reason: Reason,
    source: Source,
) -> Walk {
    let walk = walk(question, |target| {
        let refusal = match target {
            Target::Module(key) => judge.kill_switch_on_module(key),
            Target::Feature(key) => judge.kill_switch_on_feature(key),
        };
        refusal.unwrap_or_else(|| Ruling::allow(reason, source.clone()))
    });
    then_rule_13(judge, question, walk)
}

/// The requirements in order: the module, then the features as listed.
fn walk(question: &Question, ask: impl Fn(&Target) -> Ruling) -> Option<Walk> {
    let mut last: Option<(Ruling, Target)> = None;
    if let Some(key) = &question.module {
        let about = Target::Module(key.clone());
        let ruling = ask(&about);
        if !ruling.allowed {
            let fields = BTreeMap::from([("module", vec![key.to_string()])]);
            return Some(Walk::of(ruling, Some(about), Code::ModuleNotEntitled, fields));
        }
        last = Some((ruling, about));
    }
    let mut refused: Vec<(Ruling, FeatureKey)> = Vec::new();
    for key in &question.features {
        let ruling = ask(&Target::Feature(key.clone()));
        let allowed = ruling.allowed;
        if allowed {
            last = Some((ruling, Target::Feature(key.clone())));
        } else {
            refused.push((ruling, key.clone()));
        }
        // `all` is settled by the first refusal, `any` by the first allow.
        if allowed == (question.features_match == Match::Any) {
            break;
        }
    }
    let refuses = match question.features_match {
        Match::All => !refused.is_empty(),
        Match::Any => !refused.is_empty() && refused.len() == question.features.len(),
    };
    if refuses {
        let fields = fields_of(&refused);
        let (first, key) = refused.swap_remove(0);
        let about = Some(Target::Feature(key));
        return Some(Walk::of(first, about, Code::FeatureNotEntitled, fields));
    }
    let (ruling, about) = last?;
    Some(Walk::of(ruling, Some(about), Code::FeatureNotEntitled, BTreeMap::new()))
}

/// Every refused feature, and beside it every module that refused one. Reading 3: a feature's
/// module is named only where it is the module that refuses (rule 11), not whenever it has one; and
/// with `match: any`, "names all" takes in the modules of all refused features, each once.
fn fields_of(refused: &[(Ruling, FeatureKey)]) -> BTreeMap<&'static str, Vec<String>> {
    let mut fields: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for (ruling, key) in refused {
        fields.entry("feature").or_default().push(key.to_string());
        if let Some(module) = &ruling.by_module {
            let modules = fields.entry("module").or_default();
            if !modules.contains(&module.to_string()) {
                modules.push(module.to_string());
            }
        }
    }
    fields
}

impl Walk {
    fn of(
        ruling: Ruling,
        about: Option<Target>,
        code: Code,
        fields: BTreeMap<&'static str, Vec<String>>,
    ) -> Self {
        let Ruling { allowed, reason, source, .. } = ruling;
        let code = if reason == Reason::SeatRequired { Code::SeatRequired } else { code };
        Self { allowed, reason, source, code: Some(code), fields, about }
    }
}

/// D10. More than one list where the texts do not say which key a blocked question is about.
fn remedies(
    judge: &Judge<'_>,
    question: &Question,
    answer: &Answer,
    refused: Option<&Target>,
) -> Vec<Vec<Remedy>> {
    match answer.reason {
        Reason::SeatRequired => return vec![vec![Remedy::AssignSeat]],
        Reason::PermissionDenied => {
            let field = answer.fields.keys().next().copied().unwrap_or_default();
            return vec![judge.helps_rule_13(question, field)];
        }
        Reason::PlanLimit if judge.facts.is_nobody => {
            let key = refused.expect("a refusal by rules 8 to 11 is about a key");
            return vec![tiers_that_help(judge, key)];
        }
        _ => {}
    }
    if judge.facts.tenant.billing == Billing::Direct {
        return vec![vec![Remedy::ContactAdmin]];
    }
    match answer.reason {
        Reason::Overdue => vec![vec![Remedy::SettleInvoice]],
        Reason::PlanLimit | Reason::TrialExpired => {
            let key = refused.expect("a refusal by rules 8 to 11 is about a key");
            vec![purchases(judge, true, |plans| judge.target(key, plans).allowed)]
        }
        Reason::NoSubscription | Reason::Cancelled => {
            // Reading 4: an add-on does not unblock, so none "would allow the refused key".
            // Reading 5: rule 6 refuses no key in particular. Any of these is accepted: the
            // refused key where a later rule refused one, else the first key asked for; the first
            // key that the block closes; or everything asked for together.
            let mut lists = Vec::new();
            let first = question.module.clone().map(Target::Module);
            let first = first.or_else(|| question.features.first().cloned().map(Target::Feature));
            let closed = first_closed(judge, question);
            for key in [refused.cloned(), first, closed].into_iter().flatten() {
                lists.push(purchases(judge, false, |plans| judge.target(&key, plans).allowed));
            }
            lists.push(purchases(judge, false, |plans| {
                walk(question, |key| judge.target(key, plans)).is_none_or(|walk| walk.allowed)
            }));
            // Reading 25: a permission or tier alone names no key that a plan could allow, so
            // "none of these applies" is as good as "any plan would do".
            if targets(question).is_empty() {
                lists.push(vec![Remedy::ContactAdmin]);
            }
            if let Some(at) = holdings::next_start(judge) {
                lists.iter_mut().for_each(|list| list.insert(0, Remedy::WaitUntil(at)));
            }
            lists
        }
        _ => vec![vec![Remedy::ContactAdmin]],
    }
}

fn first_closed(judge: &Judge<'_>, question: &Question) -> Option<Target> {
    let catalog = &judge.world.catalog;
    let module = question.module.iter().filter(|key| !catalog.modules[*key].available_when_blocked);
    let features = question.features.iter().filter(|key| {
        let module = catalog.features[*key].module.as_ref();
        !module.is_some_and(|module| catalog.modules[module].available_when_blocked)
    });
    module.cloned().map(Target::Module).chain(features.cloned().map(Target::Feature)).next()
}

/// What a user without a tenant could be on instead.
fn tiers_that_help(judge: &Judge<'_>, key: &Target) -> Vec<Remedy> {
    let present = holdings::now(judge);
    let offered = holdings::on_offer(judge, Audience::User).into_iter();
    let helps = |plan: &&PlanVersion| judge.target(key, &present.clone().with_tier(plan)).allowed;
    let tiers: Vec<_> = offered.filter(helps).map(|plan| plan.plan.clone()).collect();
    if tiers.is_empty() { vec![Remedy::ContactAdmin] } else { vec![Remedy::UpgradePlan(tiers)] }
}

/// What could be bought, found by trying: each base plan in place of the present one, each add-on
/// beside what is held.
fn purchases(
    judge: &Judge<'_>,
    add_ons_help: bool,
    would_allow: impl Fn(&Plans<'_>) -> bool,
) -> Vec<Remedy> {
    let present = holdings::now(judge);
    let (mut base, mut add_ons, mut trial) = (Vec::new(), Vec::new(), false);
    for plan in holdings::on_offer(judge, Audience::Tenant) {
        if holdings::is_add_on(plan) {
            if add_ons_help && would_allow(&present.clone().with_add_on(plan)) {
                add_ons.push(plan.plan.clone());
            }
        } else if would_allow(&present.clone().with_base(plan)) {
            let days = judge.world.catalog.plans[&plan.plan].trial_days;
            trial |= days.is_some() && !judge.facts.tried.contains(&plan.plan);
            base.push(plan.plan.clone());
        }
    }
    let mut remedies = Vec::new();
    if !base.is_empty() {
        remedies.push(Remedy::UpgradePlan(base));
    }
    if !add_ons.is_empty() {
        remedies.push(Remedy::BuyAddOn(add_ons));
    }
    if trial {
        remedies.push(Remedy::StartTrial);
    }
    if remedies.is_empty() {
        remedies.push(Remedy::ContactAdmin);
    }
    remedies
}

/// Whether a value counts as having the feature (SPEC 4, before the rules).
pub fn is_on(value: &FeatureValue) -> bool {
    match value {
        FeatureValue::Flag(on) => *on,
        FeatureValue::Limit(limit) => *limit != Limit::Of(0),
        FeatureValue::Config(_) => true,
    }
}
