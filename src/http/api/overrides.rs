//! Overrides under governance, and the recording of what has ended.

use std::collections::HashSet;

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Tag,
    dry_run::{Attempt, DryRunView},
    once,
    requests::RequestView,
};
use crate::{
    domain::{
        catalog::value_to_json,
        keys::{EntitlementKey, TenantKey},
        overrides::{Effect, GovernedOverride, Override, OverrideEnd},
        requests::OverrideRequest,
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
        replies::{Done, Governed, Rehearsed, Stored, Tagged},
        types::IdempotencyKey,
        words::Word,
    },
    service::{
        Service,
        expiry::ExpiryRun,
        overrides::{Draft, OverridePatch, Put, Way, Written, state},
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
    /// Take effect at once where a second person is wanted; for super admins, and marked as such.
    break_glass: Option<Lenient<bool>>,
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
            break_glass: None,
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
    /// Take effect at once where a second person is wanted; for super admins, and marked as such.
    break_glass: Option<Lenient<bool>>,
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
    /// Its present form took effect at once by breaking the glass, and nobody approved it since.
    break_glass: bool,
    /// When it last decided a check, to the minute; written down about once a minute.
    last_used_at: Option<Timestamp>,
    /// `true` where the tenant is a sandbox, which is no customer; otherwise left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<bool>,
}

/// What a run of the expiry worker did.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ExpiryRun")]
pub struct ExpiryRunView {
    /// Things whose end was recorded.
    expired: u64,
    /// Things whose end could not be recorded; the next run tries again.
    failed: u64,
    /// The system's clock has jumped ahead, so nothing was recorded; what has ended is not honoured
    /// all the same.
    held: bool,
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
    /// Where two people must agree: 202 with the request that waits, and nothing changes until
    /// somebody else approves it.
    #[oai(path = "/overrides", method = "post", operation_id = "put_override")]
    async fn put_override(
        &self,
        caller: Caller<needs::OverridesManage>,
        /// Only say who would gain and lose what; nothing is written.
        dry_run: Query<Option<bool>>,
        /// How many changes of a dry run at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page of the dry run before.
        cursor: Query<Option<Cursor>>,
        /// The same key and body get the first answer again.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Json<OverrideBody>,
    ) -> Answer<Rehearsed<Governed<Stored<OverrideView>, RequestView>, DryRunView>> {
        let once = once(key.0.as_ref(), "put_override", "", &body.0)?;
        let attempt = Attempt::new(&self.0, dry_run.0, limit.0, cursor.0)?;
        let put = attempt.service().put_override(&caller.actor, once, body.0.into()).await?;
        if let Some(would) = attempt.would_change().await? {
            return Ok(Rehearsed::Would(would));
        }
        let Written { governed, is_new } = match put {
            Put::Written(written) => written,
            Put::Waits(request) => return Ok(Rehearsed::Done(self.waits(request).await)),
        };
        let location = format!("/api/v1/admin/overrides/{}", governed.exception.id);
        let etag = ETag::of_revision(governed.revision);
        let sandboxes = self.0.sandbox_if_known(&governed.exception.tenant).await;
        let view = OverrideView::of(governed, self.0.clock().now()).marked(&sandboxes);
        let stored = Stored::new(is_new.then_some(location), etag, view);
        Ok(Rehearsed::Done(Governed::Done(stored)))
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
        let tenants = page.items.iter().map(|governed| &governed.exception.tenant);
        let sandboxes = self.0.sandboxes(tenants).await?;
        let view = |governed| OverrideView::of(governed, now).marked(&sandboxes);
        Ok(Json(Page::of(page, view)?))
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
        Ok(self.tagged(found).await)
    }

    /// Change an override
    ///
    /// Where two people must agree: 202 with the request that waits; the override holds unchanged
    /// until somebody else approves it.
    #[oai(path = "/overrides/:id", method = "patch", operation_id = "update_override")]
    async fn update_override(
        &self,
        caller: Caller<needs::OverridesManage>,
        /// The override.
        id: Path<String>,
        /// Only say who would gain and lose what; nothing is written.
        dry_run: Query<Option<bool>>,
        /// How many changes of a dry run at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page of the dry run before.
        cursor: Query<Option<Cursor>>,
        /// The tag of the state that was edited.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
        body: Json<OverridePatchBody>,
    ) -> Answer<Rehearsed<Governed<Tagged<Json<OverrideView>>, RequestView>, DryRunView>> {
        let expected = IfMatch::expected(expected.0)?;
        let patch = body.0.into();
        let attempt = Attempt::new(&self.0, dry_run.0, limit.0, cursor.0)?;
        let put = attempt.service().update_override(&caller.actor, id.0, patch, expected).await?;
        if let Some(would) = attempt.would_change().await? {
            return Ok(Rehearsed::Would(would));
        }
        Ok(Rehearsed::Done(match put {
            Put::Written(written) => Governed::Done(self.tagged(written.governed).await),
            Put::Waits(request) => self.waits(request).await,
        }))
    }

    /// Remove an override
    #[oai(path = "/overrides/:id", method = "delete", operation_id = "delete_override")]
    async fn delete_override(
        &self,
        caller: Caller<needs::OverridesManage>,
        /// The override.
        id: Path<String>,
        /// Only say who would gain and lose what; nothing is written.
        dry_run: Query<Option<bool>>,
        /// How many changes of a dry run at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page of the dry run before.
        cursor: Query<Option<Cursor>>,
        /// The tag of the state that was looked at.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
    ) -> Answer<Rehearsed<Done, DryRunView>> {
        let expected = IfMatch::expected(expected.0)?;
        let attempt = Attempt::new(&self.0, dry_run.0, limit.0, cursor.0)?;
        attempt.service().remove_override(&caller.actor, id.0, expected).await?;
        if let Some(would) = attempt.would_change().await? {
            return Ok(Rehearsed::Would(would));
        }
        Ok(Rehearsed::Done(Done))
    }

    /// Record what has ended, now
    ///
    /// The worker does it by itself; decisions never wait for it.
    #[oai(path = "/expiry/run", method = "post", operation_id = "run_expiry")]
    async fn run_expiry(&self, caller: Caller<needs::ExpiryRun>) -> Answer<Json<ExpiryRunView>> {
        let ExpiryRun { expired, failed, is_held: held } = self.0.run_expiry(&caller.actor).await?;
        Ok(Json(ExpiryRunView { expired, failed, held }))
    }
}

impl OverridesApi {
    async fn waits<R>(&self, request: OverrideRequest) -> Governed<R, RequestView> {
        let location = RequestView::path(&request.id);
        let sandboxes = self.0.sandbox_if_known(&request.tenant).await;
        let view = RequestView::of(request, self.0.clock().now()).marked(&sandboxes);
        Governed::Waits(location, Json(view))
    }

    async fn tagged(&self, governed: GovernedOverride) -> Tagged<Json<OverrideView>> {
        let etag = ETag::of_revision(governed.revision);
        let sandboxes = self.0.sandbox_if_known(&governed.exception.tenant).await;
        let view = OverrideView::of(governed, self.0.clock().now()).marked(&sandboxes);
        Tagged::Fresh(etag, Json(view))
    }
}

pub(super) fn direction(enabled: bool) -> Direction {
    if enabled { Direction::Given } else { Direction::Withheld }
}

/// A text of 3 to 500 characters after trimming, on one line.
pub(super) fn line(text: &str, field: &str, faults: &mut Vec<Fault>) -> Option<String> {
    let trimmed = text.trim();
    let seen = trimmed.chars().filter(|c| !is_unseen(*c)).count();
    if seen < 3 || trimmed.chars().count() > 500 {
        faults.push(Fault::new(field, "must have 3 to 500 characters"));
        return None;
    }
    if trimmed.chars().any(|c| c.is_control() || turns_around(c)) {
        let message = "must hold no control characters, those of the direction of text included";
        faults.push(Fault::new(field, message));
        return None;
    }
    Some(trimmed.to_owned())
}

/// Whether a character shows nothing, so that a text of such is blank.
fn is_unseen(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}')
        || turns_around(c)
}

/// Whether a character changes the direction of what follows, so that a text reads as another.
fn turns_around(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// An effect as it stands in answers.
pub(super) fn effect(effect: &Effect) -> (bool, Option<Value>) {
    match effect {
        Effect::Enable => (true, None),
        Effect::Set(value) => (true, Some(value_to_json(value))),
        Effect::Disable => (false, None),
    }
}

fn way(break_glass: Option<Lenient<bool>>, faults: &mut Vec<Fault>) -> Way {
    match break_glass.unwrap_or_default().optional("break_glass", faults) {
        Some(true) => Way::BreakGlass,
        Some(false) | None => Way::Ordinary,
    }
}

impl From<OverrideBody> for Draft {
    fn from(body: OverrideBody) -> Self {
        let OverrideBody { tenant, key, enabled, value, expires_at, reason, break_glass } = body;
        let mut faults = Vec::new();
        Self {
            tenant: tenant.required("tenant", &mut faults),
            key: key.required("key", &mut faults),
            direction: enabled.required("enabled", &mut faults).map(direction),
            value,
            expires_at: expires_at.required("expires_at", &mut faults),
            reason: reason
                .required("reason", &mut faults)
                .and_then(|why| line(&why, "reason", &mut faults)),
            way: way(break_glass, &mut faults),
            faults,
        }
    }
}

impl From<OverridePatchBody> for OverridePatch {
    fn from(body: OverridePatchBody) -> Self {
        fn lenient<T: serde::de::DeserializeOwned>(value: Option<Value>) -> Lenient<T> {
            serde_json::from_value(value.unwrap_or_default()).unwrap_or_default()
        }
        let OverridePatchBody { enabled, value, expires_at, reason, break_glass } = body;
        let mut faults = Vec::new();
        Self {
            direction: lenient(enabled).optional("enabled", &mut faults).map(direction),
            value,
            expires_at: lenient(expires_at).optional("expires_at", &mut faults),
            reason: lenient::<String>(reason)
                .optional("reason", &mut faults)
                .and_then(|why| line(&why, "reason", &mut faults)),
            way: way(break_glass, &mut faults),
            faults,
        }
    }
}

impl OverrideView {
    pub(super) fn of(governed: GovernedOverride, now: Timestamp) -> Self {
        let state = Word::of(match state(&governed, now) {
            OverrideState::Active => "active",
            OverrideState::Expired => "expired",
            OverrideState::Removed => "removed",
        });
        let GovernedOverride {
            exception: Override { id, tenant, key, effect: decides, expires_at, reason },
            ended,
            renewals,
            created_at,
            created_by,
            updated_at,
            revision: _,
            is_announced: _,
            break_glass,
            last_used_at,
        } = governed;
        let (enabled, value) = effect(&decides);
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
            break_glass,
            last_used_at,
            sandbox: None,
        }
    }

    /// Marked where its tenant is among these.
    pub(super) fn marked(mut self, sandboxes: &HashSet<TenantKey>) -> Self {
        self.sandbox = sandboxes.contains(&self.tenant).then_some(true);
        self
    }
}
