//! Rule 15: the conditions of a guard.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::Value;

use super::{
    entitlements::Page,
    limits,
    needs::Needs,
    permit::{self, Held},
    ruling::{Refusing, Ruling},
    trace::Desk,
};
use crate::domain::{
    catalog::{Condition, FeatureKind, FeatureValue, Limit},
    checks::{Code, Outcome, Question, Reason, RefusingCondition, Source},
    conditions::{ConditionFacts, FeatureFact, LimitFact, TenantFact, UserFact, Variable},
    keys::{FeatureKey, PlanKey},
    time::Timestamp,
};

/// Which conditions are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Those marked `before_limit`.
    BeforeLimit,
    /// The others.
    AfterLimit,
}

/// The first condition that does not hold refuses.
pub(super) fn ask(
    desk: &mut Desk<'_>,
    question: &Question,
    needs: &Needs<'_>,
    when: When,
) -> Result<(), Ruling> {
    let due = |condition: &&Condition| condition.before_limit == (when == When::BeforeLimit);
    let mut asked = needs.conditions().iter().filter(due).peekable();
    if when == When::AfterLimit && needs.conditions().is_empty() {
        desk.step(15, None, Outcome::Pass, || "Nothing was asked of it.".into());
    }
    asked.try_for_each(|condition| match holds(desk, question, condition) {
        Ok(true) => {
            let fact = || format!("“{}” holds.", condition.reason);
            desk.step(15, Some(&condition.reason), Outcome::Pass, fact);
            Ok(())
        }
        outcome => {
            desk.step(15, Some(&condition.reason), Outcome::Refuse, || match outcome {
                Ok(_) => format!("It does not hold: {}", condition.unless),
                Err(error) => format!("It can't be answered ({error}): {}", condition.unless),
            });
            Err(refusal(condition))
        }
    })
}

fn refusal(condition: &Condition) -> Ruling {
    let Condition { reason, code, message, status, data, .. } = condition;
    let words = RefusingCondition { reason: reason.clone(), code: code.clone(), status: *status };
    let refusing = Refusing { words, message: message.clone(), data: data.clone() };
    Ruling {
        condition: Some(Box::new(refusing)),
        ..Ruling::refuse(Reason::Condition, Source::Catalog, Code::Condition)
    }
}

/// Whether a condition holds; what can't be answered refuses.
fn holds(desk: &mut Desk<'_>, question: &Question, condition: &Condition) -> Result<bool, String> {
    let needs = condition.unless.needs();
    let (facts, at) = (desk.facts, desk.at);
    if needs.reads(Variable::Now) {
        // What it makes of the time nobody knows: the answer holds for its instant.
        desk.note(Some(Timestamp::from_micros(at.micros().saturating_add(1))));
    }
    let plan = if needs.reads(Variable::Tenant) { base_plan(desk) } else { None };
    let seen: BTreeMap<&FeatureKey, Seen> =
        needs.features.iter().filter_map(|key| Some((key, seen(desk, key)?))).collect();
    let is_personal = needs.reads(Variable::User) || needs.reads(Variable::Permissions);
    let held = if is_personal { permit::held(desk) } else { Held::default() };
    let tenant = TenantFact {
        key: &facts.tenant.key,
        name: &facts.tenant.name,
        billing: facts.tenant.billing,
        demo: facts.tenant.demo,
        sandbox: facts.tenant.sandbox,
        plan: plan.as_ref(),
        attributes: &facts.tenant.attributes,
    };
    let user = desk.person.map(|person| UserFact {
        id: &person.user,
        tier: held.tier.map(|tier| &tier.plan.plan),
        roles: held.roles,
    });
    condition.unless.holds(&ConditionFacts {
        tenant: (!facts.is_nobody).then_some(tenant),
        user,
        permissions: held.permissions.into_iter().collect(),
        features: seen.iter().map(|(key, seen)| (*key, seen.fact())).collect(),
        context: question.context.as_ref(),
        resource: question.resource.as_ref(),
        ..ConditionFacts::at(at)
    })
}

/// A feature as `check` would answer about it alone.
struct Seen {
    enabled: bool,
    value: Option<Value>,
    limit: Option<LimitFact>,
}

impl Seen {
    fn fact(&self) -> FeatureFact<'_> {
        let value = self.value.as_ref().map(Cow::Borrowed);
        FeatureFact { enabled: self.enabled, value, limit: self.limit }
    }
}

fn seen(desk: &mut Desk<'_>, key: &FeatureKey) -> Option<Seen> {
    let world = desk.world;
    let feature = world.catalog.features.get(key)?;
    let mut page = Page::of(desk.aside());
    let (entry, value) = page.feature(key, feature);
    let limit = match &feature.kind {
        FeatureKind::Limit(_) => {
            let limit = match value {
                Some(FeatureValue::Limit(limit)) => limit,
                Some(FeatureValue::Flag(_) | FeatureValue::Config(_)) | None => Limit::NONE,
            };
            let (used, _) = limits::used(page.desk(), key);
            Some(LimitFact { limit, used })
        }
        FeatureKind::Boolean | FeatureKind::Config => None,
    };
    desk.note(page.desk().next);
    Some(Seen { enabled: entry.enabled, value: entry.value, limit })
}

fn base_plan(desk: &mut Desk<'_>) -> Option<PlanKey> {
    let mut page = Page::of(desk.aside());
    let plan = page.plan().map(|plan| plan.key);
    desk.note(page.desk().next);
    plan
}
