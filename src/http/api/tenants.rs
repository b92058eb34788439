//! Tenants.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Tag,
    dry_run::{Attempt, DryRunView},
    once,
};
use crate::{
    domain::{
        checks::Reason,
        keys::{PlanKey, TenantKey},
        tenants::{Billing, Suspension, Tenant},
        time::Timestamp,
    },
    error::{Error, Fault, Result},
    http::{
        auth::{Caller, needs},
        etag::{ETag, IfMatch},
        failure::Answer,
        paging::{Cursor, Limit, Page},
        payload::Json,
        replies::{Created, Rehearsed, Tagged},
        types::{IdempotencyKey, Patch, Text},
        words::Word,
    },
    service::{
        Service,
        tenants::{BlockedFilter, NewTenant, StatusChange, TenantPatch, TenantStanding},
    },
    store::tenants::TenantFilter,
};

/// The operations.
pub struct TenantsApi(pub(super) Service);

/// A tenant to be made.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "NewTenant", example = true)]
#[serde(deny_unknown_fields)]
pub struct TenantBody {
    /// Its key, for ever.
    key: TenantKey,
    /// Shown to people.
    name: Text<1, 200>,
    /// The tenant above it.
    parent: Option<TenantKey>,
    /// Whether it needs a subscription; `subscription` if left out.
    billing: Option<Billing>,
    /// Everything is open to it.
    demo: Option<bool>,
    /// It has a clock of its own. Can't be changed later.
    sandbox: Option<bool>,
    /// The caller's own data about it; at most 16 KiB.
    attributes: Option<Value>,
}

impl poem_openapi::types::Example for TenantBody {
    fn example() -> Self {
        Self {
            key: TenantKey::example("acme"),
            name: Text::example("Acme"),
            parent: None,
            billing: Some(Billing::Subscription),
            demo: Some(false),
            sandbox: Some(false),
            attributes: None,
        }
    }
}

/// What is to change about a tenant; what is left out stays.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "TenantPatch", example = true)]
#[serde(deny_unknown_fields)]
pub struct TenantPatchBody {
    /// Another name.
    name: Option<Text<1, 200>>,
    /// Another parent; null for none.
    #[serde(default)]
    parent: Patch<TenantKey>,
    /// `active` or `suspended`.
    status: Option<TenantStatus>,
    /// Why the status changes, in 3 to 500 characters; needed with `suspended`.
    reason: Option<Text<3, 500>>,
    /// Another billing.
    billing: Option<Billing>,
    /// A demo tenant or not.
    demo: Option<bool>,
    /// Other attributes, in place of the present ones.
    attributes: Option<Value>,
}

impl poem_openapi::types::Example for TenantPatchBody {
    fn example() -> Self {
        Self {
            name: None,
            parent: Patch::Absent,
            status: Some(TenantStatus::Suspended),
            reason: Some(Text::example("Fraud is being looked into")),
            billing: None,
            demo: None,
            attributes: None,
        }
    }
}

/// Whether a tenant may use anything at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, poem_openapi::Enum, Serialize, Deserialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// It may.
    Active,
    /// It may not, whatever else holds.
    Suspended,
}

/// A tenant with where it stands.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Tenant")]
pub struct TenantView {
    /// Its key.
    key: TenantKey,
    /// Shown to people.
    name: String,
    /// The tenant above it.
    parent: Option<TenantKey>,
    /// `active` or `suspended`.
    status: Word,
    /// Who suspended it, when and why.
    suspension: Option<SuspensionView>,
    /// Whether it needs a subscription.
    billing: Billing,
    /// Everything is open to it.
    demo: bool,
    /// It has a clock of its own.
    sandbox: bool,
    /// What time it is for it; null unless it is a sandbox.
    clock: Option<Timestamp>,
    /// The caller's own data about it.
    attributes: Value,
    /// The base plan that counts now.
    plan: Option<PlanKey>,
    /// Why it is blocked, or would be where nothing is enforced.
    blocked_reason: Option<Reason>,
    /// Its rows can't be read; it stays closed until they are repaired.
    damaged: bool,
    /// When it was made.
    created_at: Timestamp,
    /// When it was last changed.
    updated_at: Timestamp,
}

/// Who suspended a tenant, when and why.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Suspension")]
pub struct SuspensionView {
    /// The caller who did it.
    by: String,
    /// Since when.
    at: Timestamp,
    /// Why.
    reason: String,
}

#[expect(clippy::too_many_arguments, reason = "each query parameter is an argument")]
#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Tenants")]
impl TenantsApi {
    /// Make a tenant
    #[oai(path = "/tenants", method = "post", operation_id = "create_tenant")]
    async fn create_tenant(
        &self,
        caller: Caller<needs::TenantsWrite>,
        /// The same key and body get the first answer again.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Json<TenantBody>,
    ) -> Answer<Created<Json<TenantView>>> {
        let once = once(key.0.as_ref(), "create_tenant", "", &body.0)?;
        let made = self.0.create_tenant(&caller.actor, once, body.0.try_into()?).await?;
        let location = format!("/api/v1/admin/tenants/{}", made.key);
        let etag = Some(ETag::of_revision(made.revision));
        // Nothing was given to it yet, so where it stands follows from its billing alone.
        let standing = self.0.standing_of_new(made);
        Ok(Created { location, etag, body: Json(standing.into()) })
    }

    /// List tenants
    ///
    /// By key. With `blocked_reason` only those who are blocked, or would be if the rollout
    /// enforced: the question to ask before it does. A page may then hold fewer than `limit` and
    /// still go on.
    #[oai(path = "/tenants", method = "get", operation_id = "list_tenants")]
    async fn list_tenants(
        &self,
        caller: Caller<needs::TenantsRead>,
        /// Part of the key or the name; ASCII letters match in any case.
        q: Query<Option<Text<1, 200>>>,
        /// `active` or `suspended`.
        status: Query<Option<TenantStatus>>,
        /// On this plan now, base or add-on; after an ended trial on its fallback.
        plan: Query<Option<PlanKey>>,
        /// Blocked for this reason: `suspended`, `no_subscription`, `cancelled`, `overdue`, or `any`.
        blocked_reason: Query<Option<BlockedReason>>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<TenantView>>> {
        let filter = TenantFilter {
            text: q.0.map(Text::into_string),
            suspended: status.0.map(|status| status == TenantStatus::Suspended),
            plan: plan.0.map(|plan| plan.to_string()),
        };
        let blocked = blocked_reason.0.map(BlockedFilter::from);
        let after = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.tenants(&caller.actor, filter, blocked, after, limit).await?;
        Ok(Json(Page::of(page, TenantView::from)?))
    }

    /// Read a tenant
    #[oai(path = "/tenants/:tenant", method = "get", operation_id = "get_tenant")]
    async fn get_tenant(
        &self,
        caller: Caller<needs::TenantsRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
    ) -> Answer<Tagged<Json<TenantView>>> {
        Ok(tagged(self.0.tenant(&caller.actor, &tenant).await?))
    }

    /// Change a tenant
    #[oai(path = "/tenants/:tenant", method = "patch", operation_id = "update_tenant")]
    async fn update_tenant(
        &self,
        caller: Caller<needs::TenantsWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// Only say who would gain and lose what; nothing is written.
        dry_run: Query<Option<bool>>,
        /// How many changes of a dry run at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page of the dry run before.
        cursor: Query<Option<Cursor>>,
        /// The tag of the state that was edited.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
        body: Json<TenantPatchBody>,
    ) -> Answer<Rehearsed<Tagged<Json<TenantView>>, DryRunView>> {
        let expected = IfMatch::expected(expected.0)?;
        let patch = body.0.try_into()?;
        let attempt = Attempt::new(&self.0, dry_run.0, limit.0, cursor.0)?;
        let changed =
            attempt.service().update_tenant(&caller.actor, tenant.0, patch, expected).await?;
        if let Some(would) = attempt.would_change().await? {
            return Ok(Rehearsed::Would(would));
        }
        Ok(Rehearsed::Done(tagged(changed)))
    }
}

fn tagged(standing: TenantStanding) -> Tagged<Json<TenantView>> {
    Tagged::Fresh(ETag::of_revision(standing.tenant.revision), Json(standing.into()))
}

/// Most bytes of a tenant's attributes.
const MAX_ATTRIBUTES_BYTES: usize = 16 * 1024;

fn attributes(value: Option<Value>) -> Result<Option<Map<String, Value>>> {
    match value {
        None => Ok(None),
        Some(Value::Object(map)) => {
            let bytes = serde_json::to_vec(&map).map_err(Error::internal)?.len();
            if bytes > MAX_ATTRIBUTES_BYTES {
                let message =
                    format!("must take at most {MAX_ATTRIBUTES_BYTES} bytes, not {bytes}");
                return Err(Error::invalid("attributes", message));
            }
            Ok(Some(map))
        }
        Some(_) => Err(Error::invalid("attributes", "must be an object")),
    }
}

impl TryFrom<TenantBody> for NewTenant {
    type Error = Error;

    fn try_from(body: TenantBody) -> Result<Self> {
        let TenantBody { key, name, parent, billing, demo, sandbox, attributes: data } = body;
        Ok(Self {
            key,
            name: name.into_string(),
            parent,
            billing: billing.unwrap_or(Billing::Subscription),
            demo: demo.unwrap_or_default(),
            sandbox: sandbox.unwrap_or_default(),
            attributes: attributes(data)?.unwrap_or_default(),
        })
    }
}

impl TryFrom<TenantPatchBody> for TenantPatch {
    type Error = Error;

    fn try_from(body: TenantPatchBody) -> Result<Self> {
        let TenantPatchBody { name, parent, status, reason, billing, demo, attributes: data } =
            body;
        let mut faults = Vec::new();
        let reason = reason.map(Text::into_string);
        let status = match (status, reason) {
            (Some(TenantStatus::Suspended), Some(reason)) => Some(StatusChange::Suspend(reason)),
            (Some(TenantStatus::Suspended), None) => {
                faults.push(Fault::new("reason", "say why the tenant is suspended"));
                None
            }
            (Some(TenantStatus::Active), reason) => Some(StatusChange::Reactivate(reason)),
            (None, Some(_)) => {
                let message = "only a change of the status has a reason; leave it out";
                faults.push(Fault::new("reason", message));
                None
            }
            (None, None) => None,
        };
        if !faults.is_empty() {
            return Err(Error::Invalid { code: "INVALID_VALUE", faults });
        }
        Ok(Self {
            name: name.map(Text::into_string),
            parent: match parent {
                Patch::Absent => None,
                Patch::Null => Some(None),
                Patch::Value(parent) => Some(Some(parent)),
            },
            status,
            billing,
            demo,
            attributes: attributes(data)?,
        })
    }
}

/// Why a tenant is blocked, as a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, poem_openapi::Enum)]
#[oai(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the reasons")]
pub enum BlockedReason {
    Any,
    Suspended,
    NoSubscription,
    Cancelled,
    Overdue,
}

impl From<BlockedReason> for BlockedFilter {
    fn from(reason: BlockedReason) -> Self {
        match reason {
            BlockedReason::Any => Self::Any,
            BlockedReason::Suspended => Self::Reason(Reason::Suspended),
            BlockedReason::NoSubscription => Self::Reason(Reason::NoSubscription),
            BlockedReason::Cancelled => Self::Reason(Reason::Cancelled),
            BlockedReason::Overdue => Self::Reason(Reason::Overdue),
        }
    }
}

impl From<TenantStanding> for TenantView {
    fn from(standing: TenantStanding) -> Self {
        let TenantStanding { tenant, blocked_reason, plan, clock, is_damaged } = standing;
        let Tenant {
            key,
            name,
            parent,
            suspension,
            billing,
            demo,
            sandbox,
            ahead: _,
            attributes,
            created_at,
            updated_at,
            revision: _,
        } = tenant;
        let status = if suspension.is_some() { "suspended" } else { "active" };
        Self {
            key,
            name,
            parent,
            status: Word::of(status),
            suspension: suspension.map(|Suspension { by, at, reason }| SuspensionView {
                by,
                at,
                reason,
            }),
            billing,
            demo,
            sandbox,
            clock,
            attributes: Value::Object(attributes),
            plan,
            blocked_reason,
            damaged: is_damaged,
            created_at,
            updated_at,
        }
    }
}
