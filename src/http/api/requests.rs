//! Requests for overrides, and their decision.

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
    overrides::{direction, effect, line},
};
use crate::{
    domain::{
        callers::OperatorRole,
        keys::{EntitlementKey, TenantKey},
        requests::{OverrideRequest, Person, RequestFilter, RequestKind, RequestState},
        time::Timestamp,
    },
    http::{
        auth::{Caller, needs},
        failure::Answer,
        lenient::Lenient,
        paging::{Cursor, Limit, Page},
        payload::Json,
        replies::{Created, Done, Rehearsed},
        types::IdempotencyKey,
    },
    service::{
        Service,
        overrides::{Draft, Way},
        requests::{Approving, Declining},
        values::Direction,
    },
};

/// The operations.
pub struct RequestsApi(pub(super) Service);

/// An override that is asked for. Every fault is answered at once.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "NewRequest", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct RequestBody {
    /// For whom. A caller that is bound to a tenant may leave it out.
    tenant: Option<Lenient<TenantKey>>,
    /// The module or feature.
    key: Lenient<EntitlementKey>,
    /// Whether it is to be opened or closed; opened if left out.
    enabled: Option<Lenient<bool>>,
    /// The value of a limit or config feature that is to be opened: a number or "unlimited", or any
    /// value.
    value: Option<Value>,
    /// Until when; at most 366 days ahead.
    expires_at: Lenient<Timestamp>,
    /// Why, in 3 to 500 characters.
    reason: Lenient<String>,
}

impl poem_openapi::types::Example for RequestBody {
    fn example() -> Self {
        Self {
            tenant: Some(Lenient::Good(TenantKey::example("retail-only"))),
            key: Lenient::Good(EntitlementKey::example("dine")),
            enabled: Some(Lenient::Good(true)),
            value: None,
            expires_at: Lenient::Good(Timestamp::from_micros(1_798_761_600_000_000)),
            reason: Lenient::Good("We open a restaurant next week".into()),
        }
    }
}

/// Yes.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "Approval", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct ApprovalBody {
    /// Another expiry than the one asked for; where two people must agree, only a shorter one.
    expires_at: Option<Lenient<Timestamp>>,
    /// Something about it, in 3 to 500 characters.
    comment: Option<Lenient<String>>,
}

impl poem_openapi::types::Example for ApprovalBody {
    fn example() -> Self {
        Self { expires_at: None, comment: Some(Lenient::Good("Until the upgrade is paid".into())) }
    }
}

/// No.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "Refusal", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct DeclineBody {
    /// Why, in 3 to 500 characters. Who asked can read it.
    reason: Lenient<String>,
}

impl poem_openapi::types::Example for DeclineBody {
    fn example() -> Self {
        Self { reason: Lenient::Good("Your plan can be upgraded at once".into()) }
    }
}

/// An override that somebody wants and somebody else decides about.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Request")]
pub struct RequestView {
    /// Its id.
    id: String,
    /// `request`: somebody asked. `create` and `update`: one person wrote it, and it waits for a
    /// second; while an update waits, the override holds unchanged.
    kind: RequestKind,
    /// `open`, `approved`, `declined`, `withdrawn` or `expired`.
    state: RequestState,
    /// For whom.
    tenant: TenantKey,
    /// The module or feature.
    key: EntitlementKey,
    /// Whether it is to be opened or closed.
    enabled: bool,
    /// The value of a limit or config feature.
    value: Option<Value>,
    /// When the override is to expire; once approved, as it was approved.
    expires_at: Timestamp,
    /// Why.
    reason: String,
    /// The override that is to change, or the one that came of it.
    override_id: Option<String>,
    /// Who wants it.
    requested_by: String,
    /// In which role.
    requested_role: OperatorRole,
    /// Who really sat behind an impersonated caller.
    requested_through: Option<String>,
    /// Since when.
    requested_at: Timestamp,
    /// Not to be decided from here on.
    lapses_at: Timestamp,
    /// Who decided it, or took it back.
    decided_by: Option<String>,
    /// When it stopped being open.
    decided_at: Option<Timestamp>,
    /// What was said about the decision.
    comment: Option<String>,
    /// `true` where the tenant is a sandbox, which is no customer; otherwise left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<bool>,
}

#[expect(clippy::too_many_arguments, reason = "each query parameter is an argument")]
#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Requests")]
impl RequestsApi {
    /// Ask for an override
    ///
    /// Support or a super admin decides about it. One is open for each tenant, key and asker.
    #[oai(path = "/requests", method = "post", operation_id = "create_request")]
    async fn create_request(
        &self,
        caller: Caller<needs::RequestsWrite>,
        /// The same key and body get the first answer again.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Json<RequestBody>,
    ) -> Answer<Created<Json<RequestView>>> {
        let once = once(key.0.as_ref(), "create_request", "", &body.0)?;
        let made = self.0.create_request(&caller.actor, once, body.0.into()).await?;
        let location = RequestView::path(&made.id);
        Ok(Created { location, etag: None, body: self.view(made).await })
    }

    /// List requests
    ///
    /// Newest first. A tenant's admin sees those of its own tenant, and none that wait for a second
    /// person.
    #[oai(path = "/requests", method = "get", operation_id = "list_requests")]
    async fn list_requests(
        &self,
        caller: Caller<needs::RequestsRead>,
        /// Of this tenant.
        tenant: Query<Option<TenantKey>>,
        /// On this module or feature.
        key: Query<Option<EntitlementKey>>,
        /// In this state; all if left out.
        state: Query<Option<RequestState>>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<RequestView>>> {
        let filter = RequestFilter { tenant: tenant.0, key: key.0, state: state.0, kind: None };
        let before = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.requests(&caller.actor, filter, before, limit).await?;
        let now = self.0.clock().now();
        let sandboxes = self.0.sandboxes(page.items.iter().map(|it| &it.tenant)).await?;
        let view = |request| RequestView::of(request, now).marked(&sandboxes);
        Ok(Json(Page::of(page, view)?))
    }

    /// Read a request
    #[oai(path = "/requests/:id", method = "get", operation_id = "get_request")]
    async fn get_request(
        &self,
        caller: Caller<needs::RequestsRead>,
        /// The request.
        id: Path<String>,
    ) -> Answer<Json<RequestView>> {
        Ok(self.view(self.0.get_request(&caller.actor, &id).await?).await)
    }

    /// Withdraw one's own request
    #[oai(path = "/requests/:id", method = "delete", operation_id = "withdraw_request")]
    async fn withdraw_request(
        &self,
        caller: Caller<needs::RequestsWrite>,
        /// The request.
        id: Path<String>,
    ) -> Answer<Done> {
        self.0.withdraw_request(&caller.actor, id.0).await?;
        Ok(Done)
    }

    /// Approve a request
    ///
    /// It becomes an override by the same checks as one that is written now. Nobody approves their
    /// own.
    #[oai(path = "/admin/requests/:id/approve", method = "post", operation_id = "approve_request")]
    async fn approve_request(
        &self,
        caller: Caller<needs::OverridesManage>,
        /// The request.
        id: Path<String>,
        /// Only say who would gain and lose what; nothing is written.
        dry_run: Query<Option<bool>>,
        /// How many changes of a dry run at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page of the dry run before.
        cursor: Query<Option<Cursor>>,
        /// The same key and body get the first answer again.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Json<ApprovalBody>,
    ) -> Answer<Rehearsed<Json<RequestView>, DryRunView>> {
        let once = once(key.0.as_ref(), "approve_request", &id.0, &body.0)?;
        let approving = body.0.into();
        let attempt = Attempt::new(&self.0, dry_run.0, limit.0, cursor.0)?;
        let service = attempt.service();
        let approved = service.approve_request(&caller.actor, once, id.0, approving).await?;
        if let Some(would) = attempt.would_change().await? {
            return Ok(Rehearsed::Would(would));
        }
        Ok(Rehearsed::Done(self.view(approved).await))
    }

    /// Decline a request
    #[oai(path = "/admin/requests/:id/decline", method = "post", operation_id = "decline_request")]
    async fn decline_request(
        &self,
        caller: Caller<needs::OverridesManage>,
        /// The request.
        id: Path<String>,
        /// The same key and body get the first answer again.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Json<DeclineBody>,
    ) -> Answer<Json<RequestView>> {
        let once = once(key.0.as_ref(), "decline_request", &id.0, &body.0)?;
        let declining = body.0.into();
        let declined = self.0.decline_request(&caller.actor, once, id.0, declining).await?;
        Ok(self.view(declined).await)
    }
}

impl RequestsApi {
    async fn view(&self, request: OverrideRequest) -> Json<RequestView> {
        let sandboxes = self.0.sandbox_if_known(&request.tenant).await;
        Json(RequestView::of(request, self.0.clock().now()).marked(&sandboxes))
    }
}

impl From<RequestBody> for Draft {
    fn from(body: RequestBody) -> Self {
        let RequestBody { tenant, key, enabled, value, expires_at, reason } = body;
        let mut faults = Vec::new();
        let enabled = enabled.unwrap_or(Lenient::Good(true));
        Self {
            tenant: tenant.unwrap_or_default().optional("tenant", &mut faults),
            key: key.required("key", &mut faults),
            direction: match enabled {
                Lenient::Absent => Some(Direction::Given),
                other => other.optional("enabled", &mut faults).map(direction),
            },
            value,
            expires_at: expires_at.required("expires_at", &mut faults),
            reason: reason
                .required("reason", &mut faults)
                .and_then(|why| line(&why, "reason", &mut faults)),
            way: Way::Ordinary,
            faults,
        }
    }
}

impl From<ApprovalBody> for Approving {
    fn from(body: ApprovalBody) -> Self {
        let ApprovalBody { expires_at, comment } = body;
        let mut faults = Vec::new();
        Self {
            expires_at: expires_at.unwrap_or_default().optional("expires_at", &mut faults),
            comment: comment
                .unwrap_or_default()
                .optional("comment", &mut faults)
                .and_then(|text| line(&text, "comment", &mut faults)),
            faults,
        }
    }
}

impl From<DeclineBody> for Declining {
    fn from(body: DeclineBody) -> Self {
        let DeclineBody { reason } = body;
        let mut faults = Vec::new();
        let reason = reason.required("reason", &mut faults);
        Self { reason: reason.and_then(|why| line(&why, "reason", &mut faults)), faults }
    }
}

impl RequestView {
    /// Where a request can be looked at.
    pub(super) fn path(id: &str) -> String {
        format!("/api/v1/requests/{id}")
    }

    pub(super) fn of(request: OverrideRequest, now: Timestamp) -> Self {
        let state = request.state_at(now);
        let OverrideRequest {
            id,
            kind,
            tenant,
            key,
            effect: wanted,
            expires_at,
            reason,
            override_id,
            override_revision: _,
            state: _,
            requested_by: Person { id: requested_by, role, impersonator },
            requested_at,
            lapses_at,
            decided_by,
            decided_at,
            comment,
        } = request;
        let (enabled, value) = effect(&wanted);
        Self {
            id,
            kind,
            state,
            tenant,
            key,
            enabled,
            value,
            expires_at,
            reason,
            override_id,
            requested_by,
            requested_role: role,
            requested_through: impersonator,
            requested_at,
            lapses_at,
            decided_by: decided_by.map(|person| person.id),
            decided_at,
            comment,
            sandbox: None,
        }
    }

    /// Marked where its tenant is among these.
    pub(super) fn marked(mut self, sandboxes: &HashSet<TenantKey>) -> Self {
        self.sandbox = sandboxes.contains(&self.tenant).then_some(true);
        self
    }
}
