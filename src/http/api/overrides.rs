//! Overrides under governance, and the recording of what has ended.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Tag, once};
use crate::{
    domain::{
        catalog::value_to_json,
        keys::{EntitlementKey, TenantKey},
        overrides::{Effect, GovernedOverride, Override, OverrideEnd},
        time::Timestamp,
    },
    error::Fault,
    http::{
        auth::{Caller, needs},
        etag::{ETag, IfMatch},
        failure::Answer,
        lenient::Lenient,
        paging::{Cursor, Limit, Page},
        payload::Json,
        replies::{Done, Stored, Tagged},
        types::IdempotencyKey,
        words::Word,
    },
    service::{
        Service,
        overrides::{Draft, OverridePatch, Written, state},
        values::Direction,
    },
    store::overrides::{OverrideFilter, OverrideState},
};

/// The operations.
pub struct OverridesApi(pub(super) Service);

/// A governed exception to be made. Every fault is answered at once.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "NewOverride", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct OverrideBody {
    /// Whose.
    tenant: Lenient<TenantKey>,
    /// The module or feature.
    key: Lenient<EntitlementKey>,
    /// Whether it is opened or closed.
    enabled: Lenient<bool>,
    /// The value of a limit or config feature that is opened: a number or "unlimited", or any value.
    value: Option<Value>,
    /// Not honoured from here on; at most 366 days ahead.
    expires_at: Lenient<Timestamp>,
    /// Why, in 3 to 500 characters.
    reason: Lenient<String>,
}

impl poem_openapi::types::Example for OverrideBody {
    fn example() -> Self {
        Self {
            tenant: Lenient::Good(TenantKey::example("retail-only")),
            key: Lenient::Good(EntitlementKey::example("dine")),
            enabled: Lenient::Good(true),
            value: None,
            expires_at: Lenient::Good(Timestamp::from_micros(1_798_761_600_000_000)),
            reason: Lenient::Good("Bridges the upgrade".into()),
        }
    }
}

/// What is to change about an override; what is left out stays.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "OverridePatch", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct OverridePatchBody {
    /// Whether it is opened or closed.
    enabled: Option<Value>,
    /// Another value.
    value: Option<Value>,
    /// Another expiry.
    expires_at: Option<Value>,
    /// Another reason.
    reason: Option<Value>,
}

impl poem_openapi::types::Example for OverridePatchBody {
    fn example() -> Self {
        let reason = Some("Two more weeks for the upgrade".into());
        Self { expires_at: Some("2027-01-15T00:00:00Z".into()), reason, ..Self::default() }
    }
}

/// A governed exception.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Override")]
pub struct OverrideView {
    /// Its id.
    id: String,
    /// Whose.
    tenant: TenantKey,
    /// The module or feature.
    key: EntitlementKey,
    /// Whether it is opened or closed.
    enabled: bool,
    /// The value of a limit or config feature.
    value: Option<Value>,
    /// Not honoured from here on.
    expires_at: Timestamp,
    /// Why.
    reason: String,
    /// `active`, `expired` or `removed`.
    state: Word,
    /// When its end was recorded.
    ended_at: Option<Timestamp>,
    /// How often it was extended.
    renewals: u32,
    /// When it was made.
    created_at: Timestamp,
    /// By whom.
    created_by: String,
    /// When it was last changed.
    updated_at: Timestamp,
}

/// What a run of the expiry worker did.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ExpiryRun")]
pub struct ExpiryRunView {
    /// Things whose end was recorded.
    expired: u64,
    /// Things whose end could not be recorded; the next run tries again.
    failed: u64,
}

/// Where an override stands, as a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, poem_openapi::Enum)]
#[oai(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum StateFilter {
    Active,
    Expired,
    Removed,
    All,
}

#[expect(clippy::too_many_arguments, reason = "each query parameter is an argument")]
#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Overrides")]
impl OverridesApi {
    /// Make an override, or change the one that is open
    ///
    /// One is open for each tenant and key: a second call changes it. 201 for a new one, else 200.
    #[oai(path = "/overrides", method = "post", operation_id = "put_override")]
    async fn put_override(
        &self,
        caller: Caller<needs::OverridesManage>,
        /// The same key and body get the first answer again.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Json<OverrideBody>,
    ) -> Answer<Stored<OverrideView>> {
        let once = once(key.0.as_ref(), "put_override", "", &body.0)?;
        let written = self.0.put_override(&caller.actor, once, body.0.into()).await?;
        let Written { governed, is_new } = written;
        let location = format!("/api/v1/admin/overrides/{}", governed.exception.id);
        let etag = ETag::of_revision(governed.revision);
        let view = OverrideView::of(governed, self.0.clock().now());
        Ok(Stored::new(is_new.then_some(location), etag, view))
    }

    /// List overrides
    ///
    /// Newest first.
    #[oai(path = "/overrides", method = "get", operation_id = "list_overrides")]
    async fn list_overrides(
        &self,
        caller: Caller<needs::OverridesManage>,
        /// Of this tenant.
        tenant: Query<Option<TenantKey>>,
        /// On this module or feature.
        key: Query<Option<EntitlementKey>>,
        /// In this state; all if left out.
        state: Query<Option<StateFilter>>,
        /// That expire before this instant.
        expiring_before: Query<Option<Timestamp>>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<OverrideView>>> {
        let filter = OverrideFilter {
            tenant: tenant.0,
            key: key.0,
            state: state.0.and_then(|state| match state {
                StateFilter::Active => Some(OverrideState::Active),
                StateFilter::Expired => Some(OverrideState::Expired),
                StateFilter::Removed => Some(OverrideState::Removed),
                StateFilter::All => None,
            }),
            expiring_before: expiring_before.0,
        };
        let before = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.overrides(&caller.actor, filter, before, limit).await?;
        let now = self.0.clock().now();
        Ok(Json(Page::of(page, |governed| OverrideView::of(governed, now))?))
    }

    /// Read an override
    #[oai(path = "/overrides/:id", method = "get", operation_id = "get_override")]
    async fn get_override(
        &self,
        caller: Caller<needs::OverridesManage>,
        /// The override.
        id: Path<String>,
    ) -> Answer<Tagged<Json<OverrideView>>> {
        let found = self.0.get_override(&caller.actor, &id).await?;
        Ok(self.tagged(found))
    }

    /// Change an override
    #[oai(path = "/overrides/:id", method = "patch", operation_id = "update_override")]
    async fn update_override(
        &self,
        caller: Caller<needs::OverridesManage>,
        /// The override.
        id: Path<String>,
        /// The tag of the state that was edited.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
        body: Json<OverridePatchBody>,
    ) -> Answer<Tagged<Json<OverrideView>>> {
        let expected = IfMatch::expected(expected.0)?;
        let patch = body.0.into();
        Ok(self.tagged(self.0.update_override(&caller.actor, id.0, patch, expected).await?))
    }

    /// Remove an override
    #[oai(path = "/overrides/:id", method = "delete", operation_id = "delete_override")]
    async fn delete_override(
        &self,
        caller: Caller<needs::OverridesManage>,
        /// The override.
        id: Path<String>,
        /// The tag of the state that was looked at.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
    ) -> Answer<Done> {
        let expected = IfMatch::expected(expected.0)?;
        self.0.remove_override(&caller.actor, id.0, expected).await?;
        Ok(Done)
    }

    /// Record what has ended, now
    ///
    /// The worker does it by itself; decisions never wait for it.
    #[oai(path = "/expiry/run", method = "post", operation_id = "run_expiry")]
    async fn run_expiry(&self, caller: Caller<needs::ExpiryRun>) -> Answer<Json<ExpiryRunView>> {
        let run = self.0.run_expiry(&caller.actor).await?;
        Ok(Json(ExpiryRunView { expired: run.expired, failed: run.failed }))
    }
}

impl OverridesApi {
    fn tagged(&self, governed: GovernedOverride) -> Tagged<Json<OverrideView>> {
        let etag = ETag::of_revision(governed.revision);
        Tagged::Fresh(etag, Json(OverrideView::of(governed, self.0.clock().now())))
    }
}

fn direction(enabled: bool) -> Direction {
    if enabled { Direction::Given } else { Direction::Withheld }
}

/// A reason of 3 to 500 characters after trimming, on one line.
fn reason(text: String, faults: &mut Vec<Fault>) -> Option<String> {
    let trimmed = text.trim();
    if !(3..=500).contains(&trimmed.chars().count()) {
        faults.push(Fault::new("reason", "must have 3 to 500 characters"));
        return None;
    }
    if trimmed.chars().any(char::is_control) {
        faults.push(Fault::new("reason", "must hold no control characters"));
        return None;
    }
    Some(trimmed.to_owned())
}

impl From<OverrideBody> for Draft {
    fn from(body: OverrideBody) -> Self {
        let OverrideBody { tenant, key, enabled, value, expires_at, reason: why } = body;
        let mut faults = Vec::new();
        Self {
            tenant: tenant.required("tenant", &mut faults),
            key: key.required("key", &mut faults),
            direction: enabled.required("enabled", &mut faults).map(direction),
            value,
            expires_at: expires_at.required("expires_at", &mut faults),
            reason: why.required("reason", &mut faults).and_then(|why| reason(why, &mut faults)),
            faults,
        }
    }
}

impl From<OverridePatchBody> for OverridePatch {
    fn from(body: OverridePatchBody) -> Self {
        fn lenient<T: serde::de::DeserializeOwned>(value: Option<Value>) -> Lenient<T> {
            serde_json::from_value(value.unwrap_or_default()).unwrap_or_default()
        }
        let OverridePatchBody { enabled, value, expires_at, reason: why } = body;
        let mut faults = Vec::new();
        Self {
            direction: lenient(enabled).optional("enabled", &mut faults).map(direction),
            value,
            expires_at: lenient(expires_at).optional("expires_at", &mut faults),
            reason: lenient(why)
                .optional("reason", &mut faults)
                .and_then(|why| reason(why, &mut faults)),
            faults,
        }
    }
}

impl OverrideView {
    fn of(governed: GovernedOverride, now: Timestamp) -> Self {
        let state = Word::of(match state(&governed, now) {
            OverrideState::Active => "active",
            OverrideState::Expired => "expired",
            OverrideState::Removed => "removed",
        });
        let GovernedOverride {
            exception: Override { id, tenant, key, effect, expires_at, reason },
            ended,
            renewals,
            created_at,
            created_by,
            updated_at,
            revision: _,
        } = governed;
        let (enabled, value) = match effect {
            Effect::Enable => (true, None),
            Effect::Set(value) => (true, Some(value_to_json(&value))),
            Effect::Disable => (false, None),
        };
        Self {
            id,
            tenant,
            key,
            enabled,
            value,
            expires_at,
            reason,
            state,
            ended_at: ended.map(|(OverrideEnd::Expired | OverrideEnd::Removed, at)| at),
            renewals,
            created_at,
            created_by,
            updated_at,
        }
    }
}
