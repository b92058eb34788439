//! Usage of limits: recording, consuming, setting aside.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path},
    types::Example,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Tag,
    checks::{DecisionView, MAX_FEATURES},
    once,
    personal::ContextRef,
    usage_reports::ReportView,
};
use crate::{
    domain::{
        catalog::Match,
        checks::Mode,
        contexts::ContextKey,
        keys::{FeatureKey, GuardKey, ModuleKey, PermissionKey, PlanKey, TenantKey, UserKey},
        reservations::{Reservation, ReservationState},
        time::{Span, Timestamp},
    },
    error::Error,
    http::{
        auth::{Caller, needs},
        failure::Answer,
        lenient::Lenient,
        payload::Json,
        types::IdempotencyKey,
    },
    service::{
        Service,
        decisions::Check,
        once::Once,
        usage::{
            UsageDraft,
            take::{Take, Taken},
        },
    },
};

/// The operations.
pub struct UsageApi(pub(super) Service);

/// What was used.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "UsageRecord", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct RecordBody {
    /// Whose. A caller that is bound to a tenant may leave it out; others may name a user without
    /// one instead.
    tenant: Option<TenantKey>,
    /// Which user's: needed where the limit counts for each user.
    user: Option<UserKey>,
    /// The limit feature.
    feature: Lenient<FeatureKey>,
    /// How much more was used, or less.
    delta: Option<Lenient<i64>>,
    /// How much is used from now on; exactly one of this and `delta`.
    set: Option<Lenient<u64>>,
    /// As the header `Idempotency-Key`.
    idempotency_key: Option<String>,
}

impl Example for RecordBody {
    fn example() -> Self {
        Self {
            tenant: "mixed".parse().ok(),
            feature: "branches".parse().map_or(Lenient::Absent, Lenient::Good),
            delta: Some(Lenient::Good(1)),
            ..Self::default()
        }
    }
}

/// What is to be used, if it is allowed: a check, and how much of which limit.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "Consumption", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumeBody {
    /// Whose. A caller that is bound to a tenant may leave it out; others may name a user without
    /// one instead.
    tenant: Option<TenantKey>,
    /// The user; as in a check.
    user: Option<UserKey>,
    /// How the caller works; as in a check.
    mode: Option<Mode>,
    /// A module that is needed too.
    module: Option<ModuleKey>,
    /// Features that are needed too, at most 100.
    features: Option<Vec<FeatureKey>>,
    /// Whether all or any of the features are needed; `all` if left out.
    #[serde(rename = "match")]
    #[oai(rename = "match")]
    features_match: Option<Match>,
    /// A permission that the user needs.
    permission: Option<PermissionKey>,
    /// Where the permission is needed; the tenant as a whole if left out.
    context: Option<ContextRef>,
    /// The lowest tier that passes.
    tier_at_least: Option<PlanKey>,
    /// A guard whose requirements are needed too.
    guard: Option<GuardKey>,
    /// A JSON object that the guard's conditions look at.
    resource: Option<Value>,
    /// Answer with the path to the decision.
    explain: Option<bool>,
    /// The limit feature; that of the guard if left out.
    feature: Option<FeatureKey>,
    /// How much is taken; 1 if left out.
    requested: Option<u64>,
    /// As the header `Idempotency-Key`.
    idempotency_key: Option<String>,
}

impl Example for ConsumeBody {
    fn example() -> Self {
        Self {
            tenant: "mixed".parse().ok(),
            feature: "branches".parse().ok(),
            requested: Some(1),
            ..Self::default()
        }
    }
}

/// What is to be set aside, if it is allowed: as for consuming, and for how long.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "ReservationBody", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct ReserveBody {
    /// Whose. A caller that is bound to a tenant may leave it out; others may name a user without
    /// one instead.
    tenant: Option<TenantKey>,
    /// The user; as in a check.
    user: Option<UserKey>,
    /// How the caller works; as in a check.
    mode: Option<Mode>,
    /// A module that is needed too.
    module: Option<ModuleKey>,
    /// Features that are needed too, at most 100.
    features: Option<Vec<FeatureKey>>,
    /// Whether all or any of the features are needed; `all` if left out.
    #[serde(rename = "match")]
    #[oai(rename = "match")]
    features_match: Option<Match>,
    /// A permission that the user needs.
    permission: Option<PermissionKey>,
    /// Where the permission is needed; the tenant as a whole if left out.
    context: Option<ContextRef>,
    /// The lowest tier that passes.
    tier_at_least: Option<PlanKey>,
    /// A guard whose requirements are needed too.
    guard: Option<GuardKey>,
    /// A JSON object that the guard's conditions look at.
    resource: Option<Value>,
    /// Answer with the path to the decision.
    explain: Option<bool>,
    /// The limit feature; that of the guard if left out.
    feature: Option<FeatureKey>,
    /// How much is set aside; 1 if left out.
    requested: Option<u64>,
    /// For how many seconds, 1 to 86,400; 300 if left out.
    ttl_seconds: Option<u32>,
    /// As the header `Idempotency-Key`.
    idempotency_key: Option<String>,
}

impl Example for ReserveBody {
    fn example() -> Self {
        Self {
            tenant: "mixed".parse().ok(),
            feature: "branches".parse().ok(),
            requested: Some(1),
            ttl_seconds: Some(60),
            ..Self::default()
        }
    }
}

/// How much of a reservation was used.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "Settlement", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct SettleBody {
    /// At most what was reserved; all of it if left out. The rest is given back.
    amount: Option<u64>,
}

impl Example for SettleBody {
    fn example() -> Self {
        Self { amount: Some(1) }
    }
}

/// The decision, and what was taken by it.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "Consumed")]
pub struct ConsumedView {
    #[oai(flatten)]
    #[serde(flatten)]
    decision: DecisionView,
    /// How much was taken; 0 where it was refused. `limit` shows what it is afterwards.
    taken: u64,
}

/// The decision, and what was set aside by it.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "Reserved")]
pub struct ReservedView {
    #[oai(flatten)]
    #[serde(flatten)]
    decision: DecisionView,
    /// What was set aside; null where it was refused.
    reservation: Option<SetAsideView>,
}

/// Units that are set aside.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "SetAside")]
pub struct SetAsideView {
    /// To settle or release them by.
    id: String,
    /// Of which limit.
    feature: FeatureKey,
    /// How many.
    amount: u64,
    /// They are given back from here on.
    expires_at: Timestamp,
}

/// A reservation as it ended.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Reservation")]
pub struct ReservationView {
    /// Opaque id.
    id: String,
    /// Whose; null for a user without a tenant.
    tenant: Option<TenantKey>,
    /// Which user's; null for the tenant as a whole.
    user: Option<UserKey>,
    /// Of which limit.
    feature: FeatureKey,
    /// How many units were set aside.
    amount: u64,
    /// What became of them.
    state: ReservationState,
    /// How many of them were used; null where they were released.
    settled: Option<u64>,
    /// When they would have been given back.
    expires_at: Timestamp,
    /// When the reservation ended.
    ended_at: Option<Timestamp>,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Usage")]
impl UsageApi {
    /// Record what was used
    ///
    /// Counts without judging: what the application did anyway. `delta` adds or takes back, `set`
    /// says how much it is.
    #[oai(path = "/usage", method = "post", operation_id = "record_usage")]
    async fn record_usage(
        &self,
        caller: Caller<needs::UsageWrite>,
        /// The same key and body get the first answer again.
        #[oai(name = "Idempotency-Key")]
        once_key: Header<Option<IdempotencyKey>>,
        body: Json<RecordBody>,
    ) -> Answer<Json<ReportView>> {
        let mut body = body.0;
        let key = body.idempotency_key.take();
        let once = promised(once_key.0, key, "record_usage", &body)?;
        let report = self.0.record_usage(&caller.actor, once, body.into()).await?;
        Ok(Json(report.into()))
    }

    /// Check and take in one step
    ///
    /// However many ask at once, no limit is ever passed. The answer is always 200, with the
    /// decision and how much was taken: 0 where it was refused.
    #[oai(path = "/usage/consume", method = "post", operation_id = "consume_usage")]
    async fn consume_usage(
        &self,
        caller: Caller<needs::UsageWrite>,
        /// What was taken under a key is not taken again; what was refused is tried again.
        #[oai(name = "Idempotency-Key")]
        once_key: Header<Option<IdempotencyKey>>,
        body: Json<ConsumeBody>,
    ) -> Answer<Json<ConsumedView>> {
        let mut body = body.0;
        let key = body.idempotency_key.take();
        let once = promised(once_key.0, key, "consume_usage", &body)?;
        let take = body.try_into()?;
        let view = |Taken { checked, taken, .. }| ConsumedView { decision: checked.into(), taken };
        Ok(Json(self.0.consume_usage(&caller.actor, once, take, view).await?))
    }

    /// Check and set aside in one step
    ///
    /// What is set aside counts as used until it is settled, released, or its time is over. The
    /// answer is always 200, with the decision and the reservation: null where it was refused.
    #[oai(path = "/usage/reserve", method = "post", operation_id = "reserve_usage")]
    async fn reserve_usage(
        &self,
        caller: Caller<needs::UsageWrite>,
        /// What was set aside under a key is not set aside again; what was refused is tried again.
        #[oai(name = "Idempotency-Key")]
        once_key: Header<Option<IdempotencyKey>>,
        body: Json<ReserveBody>,
    ) -> Answer<Json<ReservedView>> {
        let mut body = body.0;
        let key = body.idempotency_key.take();
        let once = promised(once_key.0, key, "reserve_usage", &body)?;
        let (take, ttl) = body.try_into()?;
        let view = |Taken { checked, reservation, .. }| ReservedView {
            decision: checked.into(),
            reservation: reservation.map(SetAsideView::from),
        };
        Ok(Json(self.0.reserve_usage(&caller.actor, once, take, ttl, view).await?))
    }

    /// Use what was set aside
    ///
    /// All of it, or less: the rest is given back. The same request again gets the same answer.
    #[oai(
        path = "/usage/reservations/:id/settle",
        method = "post",
        operation_id = "settle_reservation"
    )]
    async fn settle_reservation(
        &self,
        caller: Caller<needs::UsageWrite>,
        /// The reservation.
        id: Path<String>,
        body: Json<SettleBody>,
    ) -> Answer<Json<ReservationView>> {
        let SettleBody { amount } = body.0;
        Ok(Json(self.0.settle_reservation(&caller.actor, id.0, amount).await?.into()))
    }

    /// Give back what was set aside
    ///
    /// The same request again gets the same answer.
    #[oai(
        path = "/usage/reservations/:id/release",
        method = "post",
        operation_id = "release_reservation"
    )]
    async fn release_reservation(
        &self,
        caller: Caller<needs::UsageWrite>,
        /// The reservation.
        id: Path<String>,
    ) -> Answer<Json<ReservationView>> {
        Ok(Json(self.0.release_reservation(&caller.actor, id.0).await?.into()))
    }
}

/// The promise that a request is sent once: by the header or the body, which must agree.
fn promised<B: Serialize>(
    header: Option<IdempotencyKey>,
    in_body: Option<String>,
    operation: &str,
    body: &B,
) -> Result<Option<Once>, Error> {
    let wrong = |message: &str| Error::invalid("idempotency_key", message);
    let in_body = in_body.map(|key| key.parse::<IdempotencyKey>().map_err(wrong)).transpose()?;
    if let (Some(header), Some(in_body)) = (&header, &in_body)
        && header != in_body
    {
        return Err(wrong("differs from the header Idempotency-Key; leave one of them out"));
    }
    once(header.or(in_body).as_ref(), operation, "", body)
}

/// How long units may be set aside, in seconds.
const TTL: std::ops::RangeInclusive<u32> = 1..=86_400;

/// For how long where nobody says, in seconds.
const USUAL_TTL: u32 = 300;

impl From<RecordBody> for UsageDraft {
    fn from(body: RecordBody) -> Self {
        let RecordBody { tenant, user, feature, delta, set, idempotency_key: _ } = body;
        let mut faults = Vec::new();
        Self {
            tenant,
            user,
            feature: feature.required("feature", &mut faults),
            delta: delta.unwrap_or_default().optional("delta", &mut faults),
            set: set.unwrap_or_default().optional("set", &mut faults),
            faults,
        }
    }
}

impl TryFrom<ConsumeBody> for Take {
    type Error = Error;

    fn try_from(body: ConsumeBody) -> Result<Self, Error> {
        let ConsumeBody {
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
            explain,
            feature,
            requested,
            idempotency_key: _,
        } = body;
        let features = features.unwrap_or_default();
        if features.len() > MAX_FEATURES {
            let message = format!("must hold at most {MAX_FEATURES} features");
            return Err(Error::invalid("features", message));
        }
        let check = Check {
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
            explain: explain.unwrap_or_default(),
            ..Check::default()
        };
        Ok(Self { check, feature, requested: requested.unwrap_or(1) })
    }
}

impl TryFrom<ReserveBody> for (Take, Span) {
    type Error = Error;

    fn try_from(body: ReserveBody) -> Result<Self, Error> {
        let ReserveBody {
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
            explain,
            feature,
            requested,
            ttl_seconds,
            idempotency_key,
        } = body;
        let ttl = ttl_seconds.unwrap_or(USUAL_TTL);
        if !TTL.contains(&ttl) {
            let message = format!("must be between {} and {}", TTL.start(), TTL.end());
            return Err(Error::invalid("ttl_seconds", message));
        }
        let take = ConsumeBody {
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
            explain,
            feature,
            requested,
            idempotency_key,
        };
        Ok((take.try_into()?, Span::seconds(ttl)))
    }
}

impl From<Reservation> for SetAsideView {
    fn from(reservation: Reservation) -> Self {
        let Reservation { id, feature, amount, expires_at, .. } = reservation;
        Self { id, feature, amount, expires_at }
    }
}

impl From<Reservation> for ReservationView {
    fn from(reservation: Reservation) -> Self {
        let Reservation {
            id,
            subject,
            feature,
            amount,
            expires_at,
            state,
            settled,
            created_at: _,
            created_by: _,
            ended_at,
        } = reservation;
        Self {
            id,
            tenant: subject.tenant,
            user: subject.user,
            feature,
            amount,
            state,
            settled,
            expires_at,
            ended_at,
        }
    }
}
