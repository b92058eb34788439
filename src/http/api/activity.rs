//! Activity: what users do in their roles, and how often.

use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
    types::Example,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Tag, personal::ContextRef};
use crate::{
    domain::{
        activity::{ActivityStats, Buckets, Counted, Range},
        contexts::ContextKey,
        keys::{RoleKey, TenantKey, UserKey},
        time::Timestamp,
    },
    error::Fault,
    http::{
        auth::{Caller, needs},
        failure::Answer,
        lenient::Lenient,
        payload::Json,
        replies::Noted,
    },
    service::{Service, activity::ActivityDraft},
};

/// The operations.
pub struct ActivityApi(pub(super) Service);

/// Something that a user did.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "Activity", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct ActivityBody {
    /// Who did it.
    user: Lenient<UserKey>,
    /// In which role of the catalog.
    role: Option<Lenient<RoleKey>>,
    /// What, in 1 to 128 characters.
    action: Lenient<String>,
    /// Where.
    context: Option<Lenient<ContextRef>>,
    /// More about it: an object of at most 2048 bytes.
    metadata: Option<Value>,
}

impl Example for ActivityBody {
    fn example() -> Self {
        Self {
            user: "u1".parse().map_or(Lenient::Absent, Lenient::Good),
            action: Lenient::Good("topic.locked".into()),
            ..Self::default()
        }
    }
}

/// How much was done in a range.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ActivityStats")]
pub struct StatsView {
    /// In which tenant.
    tenant: TenantKey,
    /// By whom; null for everybody.
    user: Option<UserKey>,
    /// The range.
    range: Range,
    /// Where it begins.
    from: Timestamp,
    /// Where it ends: with the present hour or day.
    until: Timestamp,
    /// All that was done.
    total: u64,
    /// By role, the most frequent first, at most 100.
    by_role: Vec<RoleCount>,
    /// By action, the most frequent first, at most 100.
    by_action: Vec<ActionCount>,
    /// For each hour of a day, or each day, in UTC; oldest first.
    over_time: Vec<TimeCount>,
}

/// How much was done in a role.
#[derive(Debug, Object, Serialize)]
pub struct RoleCount {
    /// The role; null for what was done without one.
    role: Option<RoleKey>,
    /// How often.
    count: u64,
}

/// How often something was done.
#[derive(Debug, Object, Serialize)]
pub struct ActionCount {
    /// What.
    action: String,
    /// How often.
    count: u64,
}

/// How much was done in an hour or a day.
#[derive(Debug, Object, Serialize)]
pub struct TimeCount {
    /// When it begins.
    start: Timestamp,
    /// How much.
    count: u64,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::People")]
impl ActivityApi {
    /// Record what a user did
    ///
    /// It is written down within about a second; the answer doesn't wait for that.
    #[oai(path = "/tenants/:tenant/activity", method = "post", operation_id = "record_activity")]
    async fn record_activity(
        &self,
        caller: Caller<needs::ActivityWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        body: Json<ActivityBody>,
    ) -> Answer<Noted> {
        self.0.record_activity(&caller.actor, tenant.0, body.0.into()).await?;
        Ok(Noted)
    }

    /// Count what users did
    ///
    /// By role, by action, and over time: a day by its hours, a week and a month (30 days) by their
    /// days, in UTC. The last hour or day is the present one.
    #[oai(
        path = "/tenants/:tenant/activity/stats",
        method = "get",
        operation_id = "get_activity_stats"
    )]
    async fn get_activity_stats(
        &self,
        caller: Caller<needs::ActivityRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// What this user did alone.
        user: Query<Option<UserKey>>,
        /// `day` if left out.
        range: Query<Option<Range>>,
    ) -> Answer<Json<StatsView>> {
        let range = range.0.unwrap_or_default();
        let (buckets, stats) =
            self.0.activity_stats(&caller.actor, tenant.0.clone(), user.0.clone(), range).await?;
        Ok(Json(StatsView::of(tenant.0, user.0, range, buckets, stats)))
    }
}

/// Most bytes of an activity's metadata, as it is kept.
const MAX_METADATA: usize = 2048;

/// Most characters of an action.
const MAX_ACTION: usize = 128;

fn action(text: String, faults: &mut Vec<Fault>) -> Option<String> {
    let is_good = (1..=MAX_ACTION).contains(&text.chars().count())
        && !text.trim().is_empty()
        && !text.chars().any(char::is_control);
    if !is_good {
        let message = format!("must have 1 to {MAX_ACTION} characters, no control characters");
        faults.push(Fault::new("action", message));
    }
    Some(text).filter(|_| is_good)
}

fn metadata(value: Option<Value>, faults: &mut Vec<Fault>) -> Option<Map<String, Value>> {
    match value {
        None | Some(Value::Null) => None,
        Some(Value::Object(object)) => {
            let bytes = serde_json::to_string(&object).map_or(usize::MAX, |text| text.len());
            if bytes > MAX_METADATA {
                let message = format!("must take at most {MAX_METADATA} bytes, not {bytes}");
                faults.push(Fault::new("metadata", message));
            }
            Some(object)
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            faults.push(Fault::new("metadata", "must be an object"));
            None
        }
    }
}

impl From<ActivityBody> for ActivityDraft {
    fn from(body: ActivityBody) -> Self {
        let ActivityBody { user, role, action: what, context, metadata: more } = body;
        let mut faults = Vec::new();
        Self {
            user: user.required("user", &mut faults),
            role: role.unwrap_or_default().optional("role", &mut faults),
            action: what.required("action", &mut faults).and_then(|text| action(text, &mut faults)),
            context: context
                .unwrap_or_default()
                .optional("context", &mut faults)
                .map(ContextKey::from),
            metadata: metadata(more, &mut faults),
            faults,
        }
    }
}

impl StatsView {
    fn of(
        tenant: TenantKey,
        user: Option<UserKey>,
        range: Range,
        buckets: Buckets,
        stats: ActivityStats,
    ) -> Self {
        let ActivityStats { total, by_role, by_action, over_time } = stats;
        let role = |Counted { key, count }| RoleCount { role: key, count };
        let action = |Counted { key, count }| ActionCount { action: key, count };
        let time = |Counted { key, count }| TimeCount { start: key, count };
        Self {
            tenant,
            user,
            range,
            from: buckets.from,
            until: buckets.until(),
            total,
            by_role: by_role.into_iter().map(role).collect(),
            by_action: by_action.into_iter().map(action).collect(),
            over_time: over_time.into_iter().map(time).collect(),
        }
    }
}
