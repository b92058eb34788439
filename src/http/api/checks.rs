//! `check` and `check/batch`.

use std::{borrow::Cow, collections::BTreeMap};

use poem_openapi::{
    Object, OpenApi,
    registry::{MetaSchemaRef, Registry},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, value::RawValue};

use super::{Tag, personal::ContextRef};
use crate::{
    domain::{
        catalog::{Limit, Match},
        checks::{
            Decision, Explanation, Layer, Mode, Outcome, PlanSource, Reason, Remedy, Source, Step,
            UsageAsked,
        },
        contexts::ContextKey,
        keys::{
            FeatureKey, GuardKey, ModuleKey, PermissionKey, PlanKey, RoleKey, TenantKey, UserKey,
        },
        time::Timestamp,
        usage::LimitState,
    },
    error::Error,
    http::{
        auth::{Caller, needs},
        failure::Answer,
        parse::{self, ObjectOnly},
        payload::Json,
        problem::Problem,
        words::Word,
    },
    service::{
        Actor, Service,
        decisions::{Check, Checked, Least, MAX_BATCH},
    },
};

/// The operations.
pub struct ChecksApi(pub(super) Service);

/// A question. At least a tenant or a user, and at least one thing that is needed.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "Check", example = true)]
#[serde(deny_unknown_fields)]
pub struct CheckBody {
    /// The tenant asked about. A caller that is bound to a tenant may leave it out; others may ask
    /// about a user without one.
    tenant: Option<TenantKey>,
    /// The user asked about. Only an unbound service, support or a super admin may name another
    /// than the caller.
    user: Option<UserKey>,
    /// How the caller works with the application.
    mode: Option<Mode>,
    /// The module that is needed.
    module: Option<ModuleKey>,
    /// The features that are needed, at most 100.
    features: Option<Vec<FeatureKey>>,
    /// Whether all or any of the features are needed; `all` if left out.
    #[serde(rename = "match")]
    #[oai(rename = "match")]
    features_match: Option<Match>,
    /// The permission that the user needs.
    permission: Option<PermissionKey>,
    /// Where the permission is needed; the tenant as a whole if left out.
    context: Option<ContextRef>,
    /// The lowest tier that passes: a plan for users.
    tier_at_least: Option<PlanKey>,
    /// A guard of the catalog: what it asks for is needed too.
    guard: Option<GuardKey>,
    /// A JSON object that the guard's conditions look at.
    resource: Option<Value>,
    /// A limit that must have room. It takes nothing.
    usage: Option<UsageBody>,
    /// Ask about this future instant instead of now: what will hold if nothing else changes.
    at: Option<Timestamp>,
    /// Record what is permitted as activity of the user; not together with `at`.
    track: Option<bool>,
    /// Answer with the path to the decision.
    explain: Option<bool>,
}

/// A limit that must have room.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Usage")]
pub struct UsageBody {
    /// The limit feature.
    feature: FeatureKey,
    /// How much is wanted; 1 if left out.
    requested: Option<u64>,
    /// How much there is, where the caller counts.
    current: Option<u64>,
}

// Not derived: serde would also take it from an array.
impl<'de> Deserialize<'de> for UsageBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Parts {
            feature: FeatureKey,
            requested: Option<u64>,
            current: Option<u64>,
        }
        let ObjectOnly(parts) = ObjectOnly::deserialize(deserializer)?;
        let Parts { feature, requested, current } = parts;
        Ok(Self { feature, requested, current })
    }
}

impl poem_openapi::types::Example for CheckBody {
    fn example() -> Self {
        Self {
            tenant: "mixed".parse().ok(),
            module: "retail".parse().ok(),
            features: Some("multi_branch".parse().into_iter().collect()),
            features_match: Some(Match::All),
            ..Self::default()
        }
    }
}

/// Several questions, answered in order.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "CheckBatch", example = true)]
#[serde(deny_unknown_fields)]
pub struct BatchBody {
    /// 1 to 100 questions, as `check` takes them.
    checks: Vec<Unread>,
}

/// A question of a batch as it was sent. It is read by itself, so that a fault in it is its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unread(Box<RawValue>);

impl Type for Unread {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        CheckBody::name()
    }
    fn schema_ref() -> MetaSchemaRef {
        CheckBody::schema_ref()
    }
    fn register(registry: &mut Registry) {
        CheckBody::register(registry);
    }
    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromJSON for Unread {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let raw = serde_json::value::to_raw_value(&value.unwrap_or_default());
        raw.map(Self).map_err(ParseError::custom)
    }
}

impl ToJSON for Unread {
    fn to_json(&self) -> Option<Value> {
        serde_json::from_str(self.0.get()).ok()
    }
}

impl poem_openapi::types::Example for BatchBody {
    fn example() -> Self {
        let about = |module: &str| {
            let question = serde_json::json!({"tenant": "mixed", "module": module});
            serde_json::value::to_raw_value(&question).ok().map(Unread)
        };
        Self { checks: [about("retail"), about("dine")].into_iter().flatten().collect() }
    }
}

/// An answer.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "Decision")]
pub struct DecisionView {
    /// The answer.
    allowed: bool,
    /// The one reason: one of the service's own, or that of a guard's condition.
    reason: Word,
    /// What kind of refusal; null on an allow.
    code: Option<Word>,
    /// The HTTP status that the application should answer with: 200, 402, 403, or that of a
    /// guard's condition.
    status: u16,
    /// A sentence for people.
    message: String,
    /// The refused keys, by kind.
    fields: BTreeMap<Word, Vec<String>>,
    /// Whether the rollout enforces here.
    enforced: bool,
    /// The answer that enforcement gives.
    would_allow: bool,
    /// The reason that enforcement gives; only where `enforced` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    would_reason: Option<Word>,
    /// Which fact decided.
    source: SourceView,
    /// What would help; empty on an allow.
    remedies: Vec<RemedyView>,
    /// The limit that was asked about.
    limit: Option<LimitView>,
    /// Data of a condition or a limit.
    data: Option<Value>,
    /// The next instant at which the answer can change by itself.
    valid_until: Option<Timestamp>,
    /// The version of the latest change that could alter the answer.
    version: u64,
    /// Every rule in order; only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Vec<StepView>>,
    /// What each source alone gives; only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<LayerView>>,
    /// `true` where the tenant is a sandbox, which is no customer; otherwise left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<bool>,
}

/// A limit as it was when the question was answered.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "LimitState")]
pub struct LimitView {
    /// The limit feature.
    feature: FeatureKey,
    /// How much is allowed; null where there is no limit.
    limit: Option<u64>,
    /// There is no limit.
    unlimited: bool,
    /// How much is used, reservations included.
    used: u64,
    /// How much was asked for.
    requested: u64,
    /// What is left, before what was asked for; null where there is no limit.
    remaining: Option<u64>,
    /// When a counter starts again at 0.
    resets_at: Option<Timestamp>,
}

impl From<LimitState> for LimitView {
    fn from(state: LimitState) -> Self {
        let remaining = state.remaining();
        let LimitState { feature, limit, used, requested, resets_at } = state;
        let limit = match limit {
            Limit::Of(limit) => Some(limit),
            Limit::Unlimited => None,
        };
        Self { feature, limit, unlimited: limit.is_none(), used, requested, remaining, resets_at }
    }
}

/// Which fact decided.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "Source")]
pub struct SourceView {
    /// `tenant`, `rollout`, `catalog`, `override`, `grant`, `plan`, `add_on`, `subscription`, `tier`,
    /// `user_entitlement`, `seat`, `role` or `none`.
    kind: Word,
    /// The plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<PlanKey>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_version: Option<u32>,
    /// The id of the override or user entitlement.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The key that the grant or seat is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The tenant whose seat it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantKey>,
    /// The role.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<RoleKey>,
    /// The context that the role is held on.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<ContextRef>,
}

/// Something that would help.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "Remedy")]
pub struct RemedyView {
    /// `upgrade_plan`, `buy_add_on`, `start_trial`, `assign_seat`, `settle_invoice`, `contact_admin`, `wait_until`
    /// or `request_access`.
    kind: Word,
    /// The plans, lowest rank first; only of `upgrade_plan` and `buy_add_on`.
    #[serde(skip_serializing_if = "Option::is_none")]
    plans: Option<Vec<PlanKey>>,
    /// The instant; only of `wait_until`.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
}

/// One rule in an explanation.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "Step")]
pub struct StepView {
    /// The number of the rule.
    rule: u8,
    /// The module or feature it was asked about; null where it is about the tenant.
    about: Option<String>,
    /// What it said.
    outcome: Outcome,
    /// The fact it looked at.
    fact: String,
}

/// What one source alone says of one key.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "Layer")]
pub struct LayerView {
    /// The module or feature.
    key: String,
    /// `override`, `grant`, `user_entitlement`, `plan`, `add_on` or `tier`.
    source: Word,
    /// The plan, for a plan or an add-on.
    plan: Option<String>,
    /// What it says.
    enabled: bool,
    /// The value it carries.
    value: Option<Value>,
    /// From when on it says nothing.
    until: Option<Timestamp>,
}

/// The answers of a batch, in the order of its questions.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CheckBatchAnswer")]
pub struct BatchView {
    /// One for each question: a decision, or a problem.
    results: Vec<BatchItem>,
}

/// The answer to one question of a batch: exactly one of the two is set.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CheckBatchItem")]
pub struct BatchItem {
    /// The decision.
    decision: Option<DecisionView>,
    /// Why there is none.
    problem: Option<Problem>,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Decisions")]
impl ChecksApi {
    /// Ask for a decision
    ///
    /// May this tenant, and this user in it, use this module and these features? The answer is
    /// always 200; whether it allows is in the body, with its reason and what would help.
    #[oai(path = "/check", method = "post", operation_id = "check")]
    async fn check(
        &self,
        caller: Caller<needs::Check>,
        body: Json<CheckBody>,
    ) -> Answer<Json<DecisionView>> {
        Ok(Json(self.0.check(&caller.actor, &checked(body.0)?).await?.into()))
    }

    /// Ask for several decisions
    ///
    /// Up to 100 questions, answered in order; all questions about one tenant from one consistent
    /// state. A faulty question gets its own problem in its place.
    #[oai(path = "/check/batch", method = "post", operation_id = "check_batch")]
    async fn check_batch(
        &self,
        caller: Caller<needs::Check>,
        body: Json<BatchBody>,
    ) -> Answer<Json<BatchView>> {
        let checks = body.0.checks;
        if !(1..=MAX_BATCH).contains(&checks.len()) {
            let message = format!("must hold 1 to {MAX_BATCH} questions, not {}", checks.len());
            return Err(Error::invalid("checks", message).into());
        }
        Ok(Json(BatchView { results: self.batch(&caller.actor, checks).await }))
    }
}

impl ChecksApi {
    /// Questions that can't be read keep their place among those that are answered.
    async fn batch(&self, actor: &Actor, checks: Vec<Unread>) -> Vec<BatchItem> {
        let read: Vec<Result<Check, Error>> = checks.into_iter().map(read).collect();
        let sound: Vec<Check> = read.iter().filter_map(|c| c.as_ref().ok().cloned()).collect();
        let mut answers = self.0.check_batch(actor, &sound).await.into_iter();
        let answer = |check: Result<Check, Error>| match check {
            Ok(_) => answers.next().unwrap_or(Err(Error::Overloaded)),
            Err(fault) => Err(fault),
        };
        read.into_iter()
            .map(answer)
            .map(|answer| match answer {
                Ok(checked) => BatchItem { decision: Some(checked.into()), problem: None },
                Err(error) => {
                    let mut problem = Problem::of_error(&error);
                    problem.request_id = actor.request_id.to_string();
                    problem.instance = "/api/v1/check/batch".into();
                    BatchItem { decision: None, problem: Some(problem) }
                }
            })
            .collect()
    }
}

/// Read from the text: that is how a field that is given twice is noticed.
fn read(Unread(check): Unread) -> Result<Check, Error> {
    checked(parse::from_json(check.get().as_bytes())?)
}

/// Most features in one question.
pub(super) const MAX_FEATURES: usize = 100;

fn checked(body: CheckBody) -> Result<Check, Error> {
    let CheckBody {
        tenant,
        user,
        mode,
        module,
        features,
        features_match,
        permission,
        context,
        tier_at_least,
        guard,
        resource,
        usage,
        at,
        track,
        explain,
    } = body;
    let features = features.unwrap_or_default();
    if features.len() > MAX_FEATURES {
        let message = format!("must hold at most {MAX_FEATURES} features");
        return Err(Error::invalid("features", message));
    }
    Ok(Check {
        tenant,
        user,
        mode,
        module,
        features,
        features_match: features_match.unwrap_or_default(),
        permission,
        context: context.map(ContextKey::from),
        tier_at_least,
        guard,
        resource,
        usage: usage.map(|UsageBody { feature, requested, current }| UsageAsked {
            feature,
            requested: requested.unwrap_or(1),
            current,
        }),
        least: Least::Requirement,
        at,
        track: track.unwrap_or_default(),
        explain: explain.unwrap_or_default(),
    })
}

impl From<Checked> for DecisionView {
    fn from(Checked { decision, explanation, sandbox }: Checked) -> Self {
        let status = decision.status();
        let word = |text: &str| Word(text.to_owned().into());
        let (reason, code) = match &decision.condition {
            Some(condition) => (word(&condition.reason), Some(word(&condition.code))),
            None => {
                let code = decision.code.map(|code| Word::of(code.as_str()));
                (Word::of(decision.reason.as_str()), code)
            }
        };
        let Decision {
            allowed,
            reason: _,
            code: _,
            condition: _,
            message,
            fields,
            enforced,
            would_allow,
            would_reason,
            source,
            remedies,
            limit,
            data,
            valid_until,
            version,
            module: _,
        } = decision;
        let (trace, layers) = explanation.map_or((None, None), |Explanation { trace, layers }| {
            let trace = trace.into_iter().map(StepView::from).collect();
            (Some(trace), Some(layers.into_iter().map(LayerView::from).collect()))
        });
        let would_reason = (!enforced).then(|| match would_reason {
            // Its own word, as it stands in `reason`.
            Reason::Condition => reason.clone(),
            other => Word::of(other.as_str()),
        });
        Self {
            allowed,
            reason,
            code,
            status,
            message,
            fields: fields.into_iter().map(|(kind, keys)| (Word::of(kind), keys)).collect(),
            enforced,
            would_allow,
            would_reason,
            source: source.into(),
            remedies: remedies.into_iter().map(RemedyView::from).collect(),
            limit: limit.map(LimitView::from),
            data,
            valid_until,
            version,
            trace,
            layers,
            sandbox: sandbox.then_some(true),
        }
    }
}

impl From<Source> for SourceView {
    fn from(source: Source) -> Self {
        let bare = |kind| Self {
            kind: Word::of(kind),
            plan: None,
            plan_version: None,
            id: None,
            key: None,
            tenant: None,
            role: None,
            context: None,
        };
        let plan = |kind, PlanSource { plan, version }| Self {
            plan: Some(plan),
            plan_version: Some(version),
            ..bare(kind)
        };
        match source {
            Source::Tenant => bare("tenant"),
            Source::Rollout => bare("rollout"),
            Source::Catalog => bare("catalog"),
            Source::Override(id) => Self { id: Some(id), ..bare("override") },
            Source::Grant(key) => Self { key: Some(key), ..bare("grant") },
            Source::Plan(source) => plan("plan", source),
            Source::AddOn(source) => plan("add_on", source),
            Source::Subscription(source) => plan("subscription", source),
            Source::Tier(source) => plan("tier", source),
            Source::UserEntitlement(id) => Self { id: Some(id), ..bare("user_entitlement") },
            Source::Seat { tenant, key } => {
                Self { tenant: Some(tenant), key: Some(key.to_string()), ..bare("seat") }
            }
            Source::Role { role, context } => {
                Self { role: Some(role), context: context.map(ContextRef::from), ..bare("role") }
            }
            Source::Nothing => bare("none"),
        }
    }
}

impl From<Remedy> for RemedyView {
    fn from(remedy: Remedy) -> Self {
        let (kind, plans, at) = match remedy {
            Remedy::UpgradePlan(plans) => ("upgrade_plan", Some(plans), None),
            Remedy::BuyAddOn(plans) => ("buy_add_on", Some(plans), None),
            Remedy::StartTrial => ("start_trial", None, None),
            Remedy::SettleInvoice => ("settle_invoice", None, None),
            Remedy::AssignSeat => ("assign_seat", None, None),
            Remedy::ContactAdmin => ("contact_admin", None, None),
            Remedy::WaitUntil(at) => ("wait_until", None, Some(at)),
            Remedy::RequestAccess => ("request_access", None, None),
        };
        Self { kind: Word::of(kind), plans, at }
    }
}

impl From<Step> for StepView {
    fn from(Step { rule, about, outcome, fact }: Step) -> Self {
        Self { rule, about, outcome, fact }
    }
}

impl From<Layer> for LayerView {
    fn from(Layer { key, source, plan, enabled, value, until }: Layer) -> Self {
        Self { key, source: Word::of(source), plan, enabled, value, until }
    }
}
