//! Subscriptions.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Tag,
    dry_run::{AccessDiffView, Attempt, DryRunView},
    once,
};
use crate::{
    domain::{
        catalog::PlanKind,
        keys::{PlanKey, TenantKey},
        subscriptions::{PinnedPlan, Subscription, SubscriptionStatus},
        time::Timestamp,
    },
    http::{
        auth::{Caller, needs},
        etag::{ETag, IfMatch},
        failure::Answer,
        paging::{Cursor, Limit, Page},
        payload::Json,
        replies::{Created, Rehearsed, Tagged},
        types::{IdempotencyKey, Patch, Text},
    },
    service::{
        Service,
        subscriptions::{Assignment, Migration, PlanChange, SubscriptionPatch},
    },
};

/// The operations.
pub struct SubscriptionsApi(pub(super) Service);

/// A plan to be assigned.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "NewSubscription", example = true)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionBody {
    /// Which plan, in its newest version.
    plan: PlanKey,
    /// Where it starts. If left out: `trialing` for a plan with `trial_days` that the tenant never
    /// tried, else `active`.
    status: Option<SubscriptionStatus>,
    /// The end of a trial; from the plan's `trial_days` if left out.
    trial_expires_at: Option<Timestamp>,
    /// How many units; 1 if left out.
    quantity: Option<u32>,
    /// Now if left out, else in the future.
    effective_from: Option<Timestamp>,
    /// Why, in 3 to 500 characters.
    change_reason: Text<3, 500>,
}

impl poem_openapi::types::Example for SubscriptionBody {
    fn example() -> Self {
        Self {
            plan: PlanKey::example("growth"),
            status: None,
            trial_expires_at: None,
            quantity: Some(1),
            effective_from: None,
            change_reason: Text::example("Contract signed"),
        }
    }
}

/// What is to change about a subscription; what is left out stays.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "SubscriptionPatch", example = true)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionPatchBody {
    /// Another status.
    status: Option<SubscriptionStatus>,
    /// Another end of the trial.
    trial_expires_at: Option<Timestamp>,
    /// Another quantity.
    quantity: Option<u32>,
    /// Ends at this instant; null for never.
    #[serde(default)]
    effective_to: Patch<Timestamp>,
    /// Why, in 3 to 500 characters.
    change_reason: Text<3, 500>,
}

impl poem_openapi::types::Example for SubscriptionPatchBody {
    fn example() -> Self {
        Self {
            status: Some(SubscriptionStatus::Overdue),
            trial_expires_at: None,
            quantity: None,
            effective_to: Patch::Absent,
            change_reason: Text::example("The invoice was not paid"),
        }
    }
}

/// A move to the newest version of the plan.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "SubscriptionMigration", example = true)]
#[serde(deny_unknown_fields)]
pub struct MigrationBody {
    /// Why, in 3 to 500 characters.
    change_reason: Text<3, 500>,
}

impl poem_openapi::types::Example for MigrationBody {
    fn example() -> Self {
        Self { change_reason: Text::example("The customer asked for what is new") }
    }
}

/// A subject on a plan.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Subscription")]
pub struct SubscriptionView {
    /// Its id.
    id: String,
    /// Whose it is.
    tenant: TenantKey,
    /// Base plan or add-on.
    kind: PlanKind,
    /// Which plan.
    plan: PlanKey,
    /// The version of the plan that it is pinned to.
    plan_version: u32,
    /// Where it stands.
    status: SubscriptionStatus,
    /// It gives nothing before.
    effective_from: Timestamp,
    /// It gives nothing from here on; null while it is open.
    effective_to: Option<Timestamp>,
    /// The end of its trial.
    trial_expires_at: Option<Timestamp>,
    /// The plan that an ended trial falls back to.
    trial_fallback: Option<PlanKey>,
    /// Start of the grace period.
    overdue_since: Option<Timestamp>,
    /// How many units.
    quantity: u32,
    /// Why it was last changed.
    change_reason: String,
    /// When it was made.
    created_at: Timestamp,
    /// When it was last changed.
    updated_at: Timestamp,
}

/// What moving to the newest version of the plan did, or would do.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "MigrationResult")]
pub struct MigrationView {
    /// True where nothing was moved, because only a preview was asked for.
    dry_run: bool,
    /// The version it was pinned to.
    from_version: u32,
    /// The newest version.
    to_version: u32,
    /// What the plan gives differently.
    changes: Vec<ChangeView>,
    /// The subscription afterwards.
    subscription: SubscriptionView,
    /// Who would gain and lose what; null where it was moved.
    access: Option<AccessDiffView>,
}

/// One thing that two versions of a plan give differently.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "PlanChange")]
pub struct ChangeView {
    /// `modules.zf`, `features.branches`, `permissions.CAN_X`, `rank`, `stack` or `seats`.
    key: String,
    /// In the older version; null where it gives nothing.
    before: Option<Value>,
    /// In the newer version; null where it gives nothing.
    after: Option<Value>,
}

#[expect(clippy::too_many_arguments, reason = "each query parameter is an argument")]
#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Subscriptions")]
impl SubscriptionsApi {
    /// Put a tenant on a plan
    ///
    /// A base plan ends the present one and takes the place of what was scheduled from then on, in
    /// one transaction. Add-ons stand beside it.
    #[oai(path = "/tenants/:tenant/subscriptions", method = "post", operation_id = "assign_plan")]
    async fn assign_plan(
        &self,
        caller: Caller<needs::SubscriptionsWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// Only say who would gain and lose what; nothing is written.
        dry_run: Query<Option<bool>>,
        /// How many changes of a dry run at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page of the dry run before.
        cursor: Query<Option<Cursor>>,
        /// The same key and body get the first answer again.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Json<SubscriptionBody>,
    ) -> Answer<Rehearsed<Created<Json<SubscriptionView>>, DryRunView>> {
        let once = once(key.0.as_ref(), "assign_plan", tenant.as_str(), &body.0)?;
        let new = Assignment::from(body.0);
        let attempt = Attempt::new(&self.0, dry_run.0, limit.0, cursor.0)?;
        let made = attempt.service().assign_plan(&caller.actor, once, tenant.0, new).await?;
        if let Some(would) = attempt.would_change().await? {
            return Ok(Rehearsed::Would(would));
        }
        let location = format!("/api/v1/admin/tenants/{}/subscriptions/{}", made.tenant, made.id);
        let etag = Some(ETag::of_revision(made.revision));
        Ok(Rehearsed::Done(Created { location, etag, body: Json(made.into()) }))
    }

    /// List a tenant's subscriptions
    ///
    /// The whole history, newest first.
    #[oai(
        path = "/tenants/:tenant/subscriptions",
        method = "get",
        operation_id = "list_subscriptions"
    )]
    async fn list_subscriptions(
        &self,
        caller: Caller<needs::TenantsRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<SubscriptionView>>> {
        let before = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.subscriptions(&caller.actor, tenant.0, before, limit).await?;
        Ok(Json(Page::of(page, SubscriptionView::from)?))
    }

    /// Read a subscription
    #[oai(
        path = "/tenants/:tenant/subscriptions/:id",
        method = "get",
        operation_id = "get_subscription"
    )]
    async fn get_subscription(
        &self,
        caller: Caller<needs::TenantsRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The subscription.
        id: Path<String>,
    ) -> Answer<Tagged<Json<SubscriptionView>>> {
        let found = self.0.subscription(&caller.actor, &tenant, &id).await?;
        Ok(tagged(found))
    }

    /// Change a subscription
    ///
    /// One that has not ended; what has ended is history.
    #[oai(
        path = "/tenants/:tenant/subscriptions/:id",
        method = "patch",
        operation_id = "update_subscription"
    )]
    async fn update_subscription(
        &self,
        caller: Caller<needs::SubscriptionsWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The subscription.
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
        body: Json<SubscriptionPatchBody>,
    ) -> Answer<Rehearsed<Tagged<Json<SubscriptionView>>, DryRunView>> {
        let expected = IfMatch::expected(expected.0)?;
        let attempt = Attempt::new(&self.0, dry_run.0, limit.0, cursor.0)?;
        let (service, actor, patch) = (attempt.service(), &caller.actor, body.0.into());
        let changed = service.update_subscription(actor, tenant.0, id.0, patch, expected).await?;
        if let Some(would) = attempt.would_change().await? {
            return Ok(Rehearsed::Would(would));
        }
        Ok(Rehearsed::Done(tagged(changed)))
    }

    /// Move a subscription to the newest version of its plan
    ///
    /// With `dry_run=true` only says what that would change, and for whom.
    #[oai(
        path = "/tenants/:tenant/subscriptions/:id/migrate",
        method = "post",
        operation_id = "migrate_subscription"
    )]
    async fn migrate_subscription(
        &self,
        caller: Caller<needs::SubscriptionsWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The subscription.
        id: Path<String>,
        /// Only say what would change, and who would gain and lose what; nothing is written.
        dry_run: Query<Option<bool>>,
        /// How many changes of a dry run at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page of the dry run before.
        cursor: Query<Option<Cursor>>,
        /// The tag of the state that was looked at.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
        body: Json<MigrationBody>,
    ) -> Answer<Json<MigrationView>> {
        let expected = IfMatch::expected(expected.0)?;
        let attempt = Attempt::new(&self.0, dry_run.0, limit.0, cursor.0)?;
        let (service, actor) = (attempt.service(), &caller.actor);
        let reason = body.0.change_reason.into_string();
        let done = service.migrate_subscription(actor, tenant.0, id.0, reason, expected).await?;
        let would = attempt.would_change().await?;
        let (dry_run, access) = (would.is_some(), would.map(|Json(would)| would.access));
        Ok(Json(MigrationView { dry_run, access, ..done.into() }))
    }
}

fn tagged(subscription: Subscription) -> Tagged<Json<SubscriptionView>> {
    Tagged::Fresh(ETag::of_revision(subscription.revision), Json(subscription.into()))
}

impl From<SubscriptionBody> for Assignment {
    fn from(body: SubscriptionBody) -> Self {
        let SubscriptionBody {
            plan,
            status,
            trial_expires_at,
            quantity,
            effective_from,
            change_reason,
        } = body;
        Self {
            plan,
            status,
            trial_expires_at,
            quantity: quantity.unwrap_or(1),
            effective_from,
            change_reason: change_reason.into_string(),
        }
    }
}

impl From<SubscriptionPatchBody> for SubscriptionPatch {
    fn from(body: SubscriptionPatchBody) -> Self {
        let SubscriptionPatchBody {
            status,
            trial_expires_at,
            quantity,
            effective_to,
            change_reason,
        } = body;
        Self {
            status,
            trial_expires_at,
            quantity,
            effective_to: match effective_to {
                Patch::Absent => None,
                Patch::Null => Some(None),
                Patch::Value(end) => Some(Some(end)),
            },
            change_reason: change_reason.into_string(),
        }
    }
}

impl From<Subscription> for SubscriptionView {
    fn from(subscription: Subscription) -> Self {
        let Subscription {
            id,
            tenant,
            kind,
            plan: PinnedPlan { plan, version },
            status,
            effective_from,
            effective_to,
            trial_expires_at,
            trial_fallback,
            overdue_since,
            quantity,
            change_reason,
            created_at,
            updated_at,
            revision: _,
        } = subscription;
        Self {
            id,
            tenant,
            kind,
            plan,
            plan_version: version,
            status,
            effective_from,
            effective_to,
            trial_expires_at,
            trial_fallback: trial_fallback.map(|pinned| pinned.plan),
            overdue_since,
            quantity,
            change_reason,
            created_at,
            updated_at,
        }
    }
}

impl From<Migration> for MigrationView {
    fn from(migration: Migration) -> Self {
        let Migration { subscription, from_version, to_version, changes } = migration;
        let said = |value: Value| (!value.is_null()).then_some(value);
        let change = |PlanChange { key, before, after }| ChangeView {
            key,
            before: said(before),
            after: said(after),
        };
        Self {
            dry_run: false,
            from_version,
            to_version,
            changes: changes.into_iter().map(change).collect(),
            subscription: subscription.into(),
            access: None,
        }
    }
}
