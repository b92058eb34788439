//! The decision a second time, from SPEC 4 and docs/decisions.md (D) alone: slow and obvious.
//!
//! Nothing here is shared with the engine but the types and the two constructors of its inputs.
//! Places marked "Reading" settle what the texts leave open; they are the ones to argue about.

use std::collections::{BTreeMap, BTreeSet};

use entitled::domain::{
    catalog::{Audience, Condition, FeatureValue, Limit, Match, Target},
    checks::{Code, Question, Reason, RefusingCondition, Remedy, Source},
    keys::FeatureKey,
    plans::PlanVersion,
    tenants::Billing,
    time::Timestamp,
    usage::LimitState,
};
use serde_json::Value;

use super::{
    guards,
    holdings::{self, Plans},
    keys::{Judge, Ruling},
    limits::{active, rule_14},
    rollout::{reaches, with_modules_left_open},
    wanted::Wanted,
    worlds::{Asked, Case, boundaries},
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
    LetsOneMoreThan,
    CountsAReservationAtItsExpiry,
    ForgetsReservations,
    ResetsWithTheCalendar,
    RestartsThePeriodAtAChangeOfPlan,
    ForgetsWhatTheBaseFollows,
    KeepsTheCountAcrossAReset,
    CountsAUserOnTheTenant,
    IgnoresTheCallersCount,
    TakesTheLargestOfStackedAddOns,
    BlocksWhereItShouldWarn,
    EnforcesALimitWhileTheRolloutIsOff,
    LimitsADemoTenant,
    LimitsNothingOfABlockedTenant,
    SkipsAnyPermission,
    AsksOneMoreOfTheGuardsLimit,
    AsksTheGuardsFeaturesByTheQuestionsMatch,
    AsksEveryConditionBeforeTheLimit,
    AsksEveryConditionAfterTheLimit,
    LeavesConditionsOutWhenNotEnforced,
    OpensEverythingBesideAListedModule,
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
    /// The condition that refused, and its message.
    pub condition: Option<(RefusingCondition, String)>,
    pub limit: Option<LimitState>,
    pub data: Option<Value>,
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
#[derive(Clone)]
pub struct Walk {
    pub allowed: bool,
    pub reason: Reason,
    pub source: Source,
    pub code: Option<Code>,
    pub fields: BTreeMap<&'static str, Vec<String>>,
    /// The requirement that decided: on a refusal the refused key.
    pub about: Option<Target>,
    pub condition: Option<(RefusingCondition, String)>,
    pub limit: Option<LimitState>,
    pub data: Option<Value>,
}

/// One way to ask the requirements.
pub struct Way<'w> {
    /// What rules 7 to 12 say of a module or feature.
    pub ask: &'w dyn Fn(&Target) -> Ruling,
    /// Limits that are not asked at all.
    pub passes_over: &'w dyn Fn(&FeatureKey) -> bool,
    pub limits_refuse: bool,
    pub conditions_refuse: bool,
}

/// Answers as of `at`, without remedies.
pub fn answer(case: &Case, asked: &Asked, at: Timestamp, twist: Twist) -> Answer {
    let judge = judge_of(case, asked, at, twist);
    let wanted = Wanted::of(judge.world, &asked.question, twist);
    both_ways(&judge, &asked.question, &wanted).0
}

fn judge_of<'a>(case: &'a Case, asked: &'a Asked, at: Timestamp, twist: Twist) -> Judge<'a> {
    let person = asked.person.as_ref();
    Judge::new(&case.world, &case.facts, person, &case.tree, at, twist).counting(&asked.counts)
}

/// Answers as of `at`.
pub fn judge(case: &Case, asked: &Asked, at: Timestamp, twist: Twist) -> Verdict {
    let judge = judge_of(case, asked, at, twist);
    let wanted = Wanted::of(judge.world, &asked.question, twist);
    let (answer, about) = both_ways(&judge, &asked.question, &wanted);
    let mut looked_at = judge.looked_at.borrow().clone();
    if judge.asked_conditions.get() {
        // Reading 41: which facts are brought together for a condition is not written down.
        looked_at.extend(boundaries(&case.world, &case.facts, asked.person.as_ref()));
        looked_at.extend(&asked.moments);
    }
    looked_at.retain(|it| *it > at);
    let ties = judge.ties.take();
    let remedies = if answer.allowed {
        vec![Vec::new()]
    } else {
        let mut lists = remedies(&judge, &wanted, &answer, about.as_ref());
        // Reading 28: D10 doesn't say whether what the user has alone counts beside the plan.
        if answer.reason != Reason::LimitReached {
            lists.extend(remedies(&judge.alone(), &wanted, &answer, about.as_ref()));
        }
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
/// rules 3, 7, 13 and 15 able to refuse.
fn both_ways(judge: &Judge<'_>, question: &Question, wanted: &Wanted) -> (Answer, Option<Target>) {
    let mut enforced = reaches(judge.world, judge.facts);
    let would = match judge.bypass(question) {
        Some(pass) => Walk::of(pass, None, Code::PermissionDenied, BTreeMap::new()),
        None => as_if_enforced(judge, question, wanted),
    };
    let (mut would_allow, mut would_reason) = (would.allowed, would.reason);
    let again =
        if enforced { with_modules_left_open(judge, question, wanted, &would) } else { None };
    let actual = if let Some(walk) = again {
        enforced = !walk.allowed;
        if walk.allowed {
            Walk { reason: Reason::GatingDisabled, source: Source::Rollout, ..walk }
        } else {
            // What refuses now is enforced.
            (would_allow, would_reason) = (false, walk.reason);
            walk
        }
    } else if enforced || would.allowed || judge.facts.tenant.suspension.is_some() {
        would
    } else {
        let open = Ruling::allow(Reason::GatingDisabled, Source::Rollout);
        let way = Way {
            ask: &|target| judge.kill_switch_on(target).unwrap_or_else(|| open.clone()),
            passes_over: &|_| false,
            limits_refuse: judge.twist == Twist::EnforcesALimitWhileTheRolloutIsOff,
            conditions_refuse: judge.twist != Twist::LeavesConditionsOutWhenNotEnforced,
        };
        let walk = walk(judge, question, wanted, &way);
        // Reading 37: the limit that is shown is the one that enforcement would have come to.
        let walk = Walk { limit: would.limit, ..walk };
        if walk.allowed {
            // Also where a role or tier allows what rule 6 would have refused.
            let (reason, source) = (Reason::GatingDisabled, Source::Rollout);
            Walk { reason, source, data: None, ..walk }
        } else {
            walk
        }
    };
    let Walk { allowed, reason, source, code, fields, about, condition, limit, data } = actual;
    let code = code.filter(|_| !allowed);
    let answer = Answer {
        allowed,
        reason,
        code,
        fields,
        source,
        enforced,
        would_allow,
        would_reason,
        condition,
        limit,
        data,
    };
    (answer, about)
}

fn as_if_enforced(judge: &Judge<'_>, question: &Question, wanted: &Wanted) -> Walk {
    // Rule 3.
    let all = wanted.targets();
    if judge.facts.tenant.suspension.is_some() {
        let lends = judge.twist == Twist::LendsPastTheSuspensionOfTheChild;
        if let Some(lent) = all.first().filter(|_| lends).and_then(|first| judge.lent(first)) {
            return Walk::of(lent, None, Code::ModuleNotEntitled, BTreeMap::new());
        }
        return blocked(Reason::Suspended, Source::Tenant, None);
    }
    let plans = holdings::now(judge);
    let ask = |target: &Target| judge.as_is(target, &plans);
    let passes_over = |_: &FeatureKey| false;
    let way =
        Way { ask: &ask, passes_over: &passes_over, limits_refuse: true, conditions_refuse: true };
    // Rule 4: only rules 7, 13 and 15 are left. Reading 1: also an always-on module reads `demo`
    // there, because rule 8 is among those that a demo tenant satisfies.
    // Rule 6.
    let Some((reason, source)) = block(judge).filter(|_| !judge.facts.tenant.demo) else {
        return walk(judge, question, wanted, &way);
    };
    // Everything asked for must stay open; a permission, tier, limit or condition alone doesn't.
    let goes_on =
        |target: &Target| judge.target_while_blocked(target, &plans, stays_open(judge, target)).1;
    if all.is_empty() || !all.iter().all(goes_on) {
        return blocked(reason, source, None);
    }
    // D1: the block wins over every later refusal, by SPEC 4 those of rules 12 to 15 too.
    let walk = walk(judge, question, wanted, &way);
    if walk.allowed {
        return walk;
    }
    // Reading 35: a limit that was asked is shown, also where the block gives the reason.
    Walk { limit: walk.limit, ..blocked(reason, source, walk.about) }
}

pub fn block(judge: &Judge<'_>) -> Option<(Reason, Source)> {
    match judge.facts.tenant.billing {
        Billing::Direct => None,
        Billing::Subscription => {
            judge.look_at_base();
            holdings::block(judge)
        }
    }
}

impl Judge<'_> {
    pub fn kill_switch_on(&self, target: &Target) -> Option<Ruling> {
        match target {
            Target::Module(key) => self.kill_switch_on_module(key),
            Target::Feature(key) => self.kill_switch_on_feature(key),
        }
    }

    /// Rules 4 and 6 to 12 for one module or feature, as things stand.
    pub fn as_is(&self, target: &Target, plans: &Plans<'_>) -> Ruling {
        if self.facts.tenant.demo && self.twist != Twist::LimitsADemoTenant {
            let demo = || Ruling::allow(Reason::Demo, Source::Tenant);
            return self.kill_switch_on(target).unwrap_or_else(demo);
        }
        if block(self).is_some() && self.twist != Twist::LimitsNothingOfABlockedTenant {
            return self.target_while_blocked(target, plans, stays_open(self, target)).0;
        }
        self.target_with_seat(target, plans)
    }
}

/// Rules 7 to 15: entitlement first, permission second, limits third, conditions around those. The
/// last entitlement gives the reason of an allow, else the last permission or tier, else what gives
/// the last limit.
pub fn walk(judge: &Judge<'_>, question: &Question, wanted: &Wanted, way: &Way<'_>) -> Walk {
    let entitled = entitlements(wanted, way.ask);
    if let Some(refused) = entitled.as_ref().filter(|it| !it.allowed) {
        return refused.clone();
    }
    // Rule 7 of the limits comes before rule 13: what is switched off is no matter of numbers.
    let mut limits = wanted.limits.iter().map(|it| &it.feature);
    if let Some(off) = limits.find_map(|it| Some((judge.kill_switch_on_feature(it)?, it))) {
        let (off, key) = (off.0, off.1.clone());
        let fields = fields_of(&[(off.clone(), key.clone())]);
        return Walk::of(off, Some(Target::Feature(key)), Code::FeatureNotEntitled, fields);
    }
    let permitted = judge.rule_13(wanted, question.context.as_ref()).map(|permit| {
        let refused = !permit.ruling.allowed;
        let data = judge.data_of_rule_13(&permit.field).filter(|_| refused);
        let fields = if refused { BTreeMap::from([permit.field]) } else { BTreeMap::new() };
        Walk { data, ..Walk::of(permit.ruling, None, Code::PermissionDenied, fields) }
    });
    if let Some(refused) = permitted.as_ref().filter(|it| !it.allowed) {
        return refused.clone();
    }
    let plans = holdings::now(judge);
    let refusing = |before: bool| {
        let mut conditions = wanted.conditions.iter().filter(|it| match judge.twist {
            Twist::AsksEveryConditionBeforeTheLimit => before,
            Twist::AsksEveryConditionAfterTheLimit => !before,
            _ => it.before_limit == before,
        });
        let refuses = |it: &&Condition| {
            judge.asked_conditions.set(true);
            !guards::holds(it, judge, question, &plans)
        };
        conditions.find(refuses).filter(|_| way.conditions_refuse).map(by_condition)
    };
    if let Some(refused) = refusing(true) {
        return refused;
    }
    let limited = rule_14(judge, wanted, way, &plans);
    if let Some(refused) = limited.as_ref().filter(|it| !it.allowed) {
        return refused.clone();
    }
    let (limit, data) = limited.as_ref().map(|it| (it.limit.clone(), it.data.clone())).unzip();
    let (limit, data) = (limit.flatten(), data.flatten());
    if let Some(refused) = refusing(false) {
        return Walk { limit, ..refused };
    }
    let active = || Walk::of(active(judge), None, Code::TenantBlocked, BTreeMap::new());
    let allowed = entitled.or(permitted).or(limited).unwrap_or_else(active);
    Walk { limit, data, ..allowed }
}

fn by_condition(it: &Condition) -> Walk {
    let ruling = Ruling::refuse(Reason::Condition, Source::Catalog);
    let (reason, code) = (it.reason.clone(), it.code.clone());
    let condition = RefusingCondition { reason, code, status: it.status };
    Walk {
        condition: Some((condition, it.message.clone())),
        data: it.data.clone(),
        ..Walk::of(ruling, None, Code::Condition, BTreeMap::new())
    }
}

/// Reading 2: a refusal of the whole tenant names no keys, because SPEC's table of refusals gives
/// `fields` to the other kinds only.
fn blocked(reason: Reason, source: Source, about: Option<Target>) -> Walk {
    let ruling = Ruling::refuse(reason, source);
    Walk::of(ruling, about, Code::TenantBlocked, BTreeMap::new())
}

/// Whether it belongs to a module that is available when blocked. A feature without one doesn't.
fn stays_open(judge: &Judge<'_>, target: &Target) -> bool {
    if judge.twist == Twist::OpensAllModulesOfABlockedTenant {
        return true;
    }
    closes_never(judge, target)
}

fn closes_never(judge: &Judge<'_>, target: &Target) -> bool {
    let catalog = &judge.world.catalog;
    let module = match target {
        Target::Module(key) => Some(key),
        Target::Feature(key) => catalog.features[key].module.as_ref(),
    };
    module.is_some_and(|key| catalog.modules[key].available_when_blocked)
}

/// The modules in order, then each group of features as listed.
fn entitlements(wanted: &Wanted, ask: &dyn Fn(&Target) -> Ruling) -> Option<Walk> {
    let mut last: Option<(Ruling, Target)> = None;
    for key in &wanted.modules {
        let about = Target::Module(key.clone());
        let ruling = ask(&about);
        if !ruling.allowed {
            let fields = BTreeMap::from([("module", vec![key.to_string()])]);
            return Some(Walk::of(ruling, Some(about), Code::ModuleNotEntitled, fields));
        }
        last = Some((ruling, about));
    }
    for (features, by) in &wanted.groups {
        match group(features, *by, ask) {
            Ok(allowed) => last = Some(allowed),
            Err(refused) => return Some(*refused),
        }
    }
    let (ruling, about) = last?;
    Some(Walk::of(ruling, Some(about), Code::FeatureNotEntitled, BTreeMap::new()))
}

fn group(
    features: &[FeatureKey],
    by: Match,
    ask: &dyn Fn(&Target) -> Ruling,
) -> Result<(Ruling, Target), Box<Walk>> {
    let mut last: Option<(Ruling, Target)> = None;
    let mut refused: Vec<(Ruling, FeatureKey)> = Vec::new();
    for key in features {
        let ruling = ask(&Target::Feature(key.clone()));
        let allowed = ruling.allowed;
        if allowed {
            last = Some((ruling, Target::Feature(key.clone())));
        } else {
            refused.push((ruling, key.clone()));
        }
        // `all` is settled by the first refusal, `any` by the first allow.
        if allowed == (by == Match::Any) {
            break;
        }
    }
    let refuses = match by {
        Match::All => !refused.is_empty(),
        Match::Any => refused.len() == features.len(),
    };
    if !refuses {
        return Ok(last.expect("a group is not empty"));
    }
    let fields = fields_of(&refused);
    let (first, key) = refused.swap_remove(0);
    let about = Some(Target::Feature(key));
    Err(Box::new(Walk::of(first, about, Code::FeatureNotEntitled, fields)))
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
    pub fn of(
        ruling: Ruling,
        about: Option<Target>,
        code: Code,
        fields: BTreeMap<&'static str, Vec<String>>,
    ) -> Self {
        let Ruling { allowed, reason, source, .. } = ruling;
        let code = if reason == Reason::SeatRequired { Code::SeatRequired } else { code };
        let (condition, limit, data) = (None, None, None);
        let code = Some(code);
        Self { allowed, reason, source, code, fields, about, condition, limit, data }
    }
}

/// D10. More than one list where the texts do not say which key a blocked question is about.
fn remedies(
    judge: &Judge<'_>,
    wanted: &Wanted,
    answer: &Answer,
    refused: Option<&Target>,
) -> Vec<Vec<Remedy>> {
    match answer.reason {
        Reason::SeatRequired => return vec![vec![Remedy::AssignSeat]],
        Reason::PermissionDenied => {
            let tier = answer.fields.get("tier").and_then(|tiers| tiers.first());
            return vec![judge.helps_rule_13(tier)];
        }
        Reason::LimitReached => {
            // A twist may refuse by a limit that the answer doesn't show.
            let helps = answer.limit.as_ref().map(|state| judge.helps_rule_14(state));
            return vec![helps.unwrap_or_default()];
        }
        Reason::Condition => return vec![Vec::new()],
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
            let all = wanted.targets();
            let first = all.first().cloned();
            let closed = all.iter().find(|it| !closes_never(judge, it)).cloned();
            let limits = wanted.limits.iter().map(|it| Target::Feature(it.feature.clone()));
            let keys = [refused.cloned(), first, closed].into_iter().flatten();
            for key in keys.chain(limits) {
                lists.push(purchases(judge, false, |plans| judge.target(&key, plans).allowed));
            }
            lists.push(purchases(judge, false, |plans| {
                let ask = |key: &Target| judge.target(key, plans);
                entitlements(wanted, &ask).is_none_or(|walk| walk.allowed)
            }));
            // Reading 25: a permission or tier alone names no key that a plan could allow, so
            // "none of these applies" is as good as "any plan would do".
            if all.is_empty() {
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
pub fn purchases(
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
