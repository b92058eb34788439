//! What conditions look at, and how it becomes values of the interpreter. What can be borrowed is.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use cel::{
    Context,
    common::{
        types::{
            CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString,
            CelTimestamp,
        },
        value::Val,
    },
};
use chrono::DateTime;
use serde_json::{Map, Number, Value};

use super::{
    bounds::{MAX_PERMISSIONS, MAX_ROLES, measure},
    evaluate,
    scope::{Needs, Variable},
};
use crate::domain::{
    catalog::Limit,
    contexts::ContextKey,
    keys::{FeatureKey, PermissionKey, PlanKey, RoleKey, TenantKey, UserKey},
    tenants::Billing,
    time::Timestamp,
};

/// What a condition may look at. Only what an expression needs has to be filled in.
#[derive(Debug, Clone)]
pub struct ConditionFacts<'f> {
    /// The instant that is asked about.
    pub now: Timestamp,
    /// The tenant; none for a user without one.
    pub tenant: Option<TenantFact<'f>>,
    /// The user; none where the question names none.
    pub user: Option<UserFact<'f>>,
    /// What the user is permitted where the question is asked.
    pub permissions: Vec<&'f PermissionKey>,
    /// The features that the expression names.
    pub features: BTreeMap<&'f FeatureKey, FeatureFact<'f>>,
    /// The context of the question.
    pub context: Option<&'f ContextKey>,
    /// What the caller says about what is acted on. None is an empty object.
    pub resource: Option<&'f Value>,
}

/// The tenant, as conditions see it.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub struct TenantFact<'f> {
    pub key: &'f TenantKey,
    pub name: &'f str,
    pub billing: Billing,
    pub demo: bool,
    pub sandbox: bool,
    /// Its base plan.
    pub plan: Option<&'f PlanKey>,
    pub attributes: &'f Map<String, Value>,
}

/// The user, as conditions see them.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub struct UserFact<'f> {
    pub id: &'f UserKey,
    pub tier: Option<&'f PlanKey>,
    /// Held where the question is asked.
    pub roles: Vec<&'f RoleKey>,
}

/// A feature, as conditions see it.
#[derive(Debug, Clone)]
pub struct FeatureFact<'f> {
    /// Whether the tenant or user has it.
    pub enabled: bool,
    /// Its value: of a config feature what was set, else null.
    pub value: Option<Cow<'f, Value>>,
    /// Of a limit feature, the limit and what is used of it.
    pub limit: Option<LimitFact>,
}

/// A limit and what is used of it. What remains follows.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names say it")]
pub struct LimitFact {
    pub limit: Limit,
    pub used: u64,
}

impl<'f> ConditionFacts<'f> {
    /// No facts but the instant.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            tenant: None,
            user: None,
            permissions: Vec::new(),
            features: BTreeMap::new(),
            context: None,
            resource: None,
        }
    }

    /// The variables that `needs` names.
    pub(super) fn context<'v>(&'v self, needs: &Needs) -> Result<Context<'v, 'v>, String> {
        let mut context = Context::with_env(evaluate::environment());
        for variable in &needs.variables {
            let value = match variable {
                Variable::Tenant => self.tenant.as_ref().map_or(Ok(null()), tenant)?,
                Variable::User => self.user.as_ref().map_or(Ok(null()), user)?,
                Variable::Permissions => texts(&self.permissions, MAX_PERMISSIONS, "permissions")?,
                Variable::Features => self.feature_map(needs)?,
                Variable::Context => self.context.map_or_else(null, place),
                Variable::Resource => match self.resource {
                    Some(resource) => json(resource, "resource")?,
                    None => object([]),
                },
                Variable::Now => instant(self.now)?,
            };
            context.add_variable_as_val(variable.as_str(), value);
        }
        Ok(context)
    }

    fn feature_map<'v>(&'v self, needs: &Needs) -> Result<Boxed<'v>, String> {
        let mut map = HashMap::with_capacity(needs.features.len());
        for (key, fact) in &self.features {
            if needs.features.contains(*key) {
                map.insert(name(key.as_str()), feature(fact)?);
            }
        }
        Ok(Box::new(CelMap::from(map)))
    }
}

type Boxed<'v> = Box<dyn Val + 'v>;

fn name(text: &str) -> CelMapKey<'_> {
    CelMapKey::String(CelString::from(text))
}

fn object<'v, const N: usize>(members: [(&'v str, Boxed<'v>); N]) -> Boxed<'v> {
    let members = members.into_iter().map(|(key, value)| (name(key), value));
    Box::new(CelMap::from(members.collect::<HashMap<_, _>>()))
}

fn null<'v>() -> Boxed<'v> {
    Box::new(CelNull)
}

fn flag<'v>(value: bool) -> Boxed<'v> {
    Box::new(CelBool::from(value))
}

fn int<'v>(value: i64) -> Boxed<'v> {
    Box::new(CelInt::from(value))
}

fn text(value: &str) -> Boxed<'_> {
    Box::new(CelString::from(value))
}

fn texts<'v, K: AsRef<str>>(
    keys: &'v [&'v K],
    max: usize,
    what: &str,
) -> Result<Boxed<'v>, String> {
    if keys.len() > max {
        return Err(format!("there are more than {max} {what}"));
    }
    let keys: Vec<Boxed<'v>> = keys.iter().map(|key| text((*key).as_ref())).collect();
    Ok(Box::new(CelList::from(keys)))
}

fn tenant<'v>(it: &'v TenantFact<'v>) -> Result<Boxed<'v>, String> {
    if let Err(message) = measure_object(it.attributes) {
        return Err(format!("the attributes of the tenant {message}"));
    }
    let attributes = it.attributes.iter().map(|(key, value)| (name(key), convert(value)));
    Ok(object([
        ("key", text(it.key.as_str())),
        ("name", text(it.name)),
        (
            "billing",
            text(match it.billing {
                Billing::Subscription => "subscription",
                Billing::Direct => "direct",
            }),
        ),
        ("demo", flag(it.demo)),
        ("sandbox", flag(it.sandbox)),
        ("plan", it.plan.map_or_else(null, |plan| text(plan.as_str()))),
        ("attributes", Box::new(CelMap::from(attributes.collect::<HashMap<_, _>>()))),
    ]))
}

fn user<'v>(it: &'v UserFact<'v>) -> Result<Boxed<'v>, String> {
    Ok(object([
        ("id", text(it.id.as_str())),
        ("tier", it.tier.map_or_else(null, |tier| text(tier.as_str()))),
        ("roles", texts(&it.roles, MAX_ROLES, "roles")?),
    ]))
}

fn place(it: &ContextKey) -> Boxed<'_> {
    object([("type", text(it.kind.as_str())), ("id", text(it.id.as_str()))])
}

fn instant<'v>(at: Timestamp) -> Result<Boxed<'v>, String> {
    let at = DateTime::from_timestamp_micros(at.micros()).ok_or("there is no such time")?;
    Ok(Box::new(CelTimestamp::from(at.fixed_offset())))
}

fn feature<'v>(it: &'v FeatureFact<'v>) -> Result<Boxed<'v>, String> {
    let value = match &it.value {
        Some(value) => json(value, "the value of a feature")?,
        None => null(),
    };
    let members = [("enabled", flag(it.enabled)), ("value", value)];
    let Some(LimitFact { limit, used }) = it.limit else { return Ok(object(members)) };
    let whole = |count: u64| int(i64::try_from(count).unwrap_or(i64::MAX));
    // The largest number stands for unlimited, so that comparisons hold.
    let (limit, remaining, unlimited) = match limit {
        Limit::Of(limit) => (limit, limit.saturating_sub(used), false),
        Limit::Unlimited => (u64::MAX, u64::MAX, true),
    };
    let [enabled, value] = members;
    Ok(object([
        enabled,
        value,
        ("limit", whole(limit)),
        ("unlimited", flag(unlimited)),
        ("used", whole(used)),
        ("remaining", whole(remaining)),
    ]))
}

fn measure_object(map: &Map<String, Value>) -> Result<(), String> {
    map.values().try_for_each(measure)
}

fn json<'v>(value: &'v Value, what: &str) -> Result<Boxed<'v>, String> {
    measure(value).map_err(|message| format!("{what} {message}"))?;
    Ok(convert(value))
}

/// A value that was measured, so that this ends.
fn convert(value: &Value) -> Boxed<'_> {
    match value {
        Value::Null => null(),
        Value::Bool(value) => flag(*value),
        Value::Number(value) => number(value),
        Value::String(value) => text(value),
        Value::Array(items) => {
            Box::new(CelList::from(items.iter().map(convert).collect::<Vec<_>>()))
        }
        Value::Object(map) => {
            let members = map.iter().map(|(key, value)| (name(key), convert(value)));
            Box::new(CelMap::from(members.collect::<HashMap<_, _>>()))
        }
    }
}

/// An int where the number is whole and fits, however it was written: 4.0 is 4.
fn number<'v>(value: &Number) -> Boxed<'v> {
    if let Some(whole) = value.as_i64() {
        return int(whole);
    }
    let value = value.as_f64().unwrap_or(f64::NAN);
    // Beyond this, doubles are further apart than whole numbers.
    let is_whole = value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole and small enough")]
    if is_whole { int(value as i64) } else { Box::new(CelDouble::from(value)) }
}
