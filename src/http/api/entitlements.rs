//! The entitlements payload: a stable contract for frontends.

use std::collections::BTreeMap;

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    Tag,
    dry_run::{Attempt, DryRunView},
    grants::{ModulesBody, ModulesView, select},
    personal::{PermissionView, PersonalView, RoleView, SeatView, TierView},
};
use crate::{
    domain::{
        catalog::Limit as Amount,
        checks::{Mode, Reason},
        keys::{ModuleKey, PlanKey, TenantKey, UserKey},
        subscriptions::SubscriptionStatus,
        tenants::Billing,
        time::Timestamp,
    },
    engine::entitlements::{Entitlements, Entry, FeatureType, LimitEntry, PlanStanding},
    error::{Error, Result},
    http::{
        auth::{Caller, needs},
        etag::{ETag, IfNoneMatch},
        failure::Answer,
        paging::{Cursor, Limit},
        payload::{Json, Prepared},
        replies::{Rehearsed, Tagged},
        words::Word,
    },
    service::{Actor, Service, entitlements::Subject},
};

/// The operations.
pub struct EntitlementsApi(pub(super) Service);

/// Everything that a tenant, or a user in it, may use: what `check` would answer for every key.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Entitlements")]
pub struct EntitlementsView {
    /// The tenant; null for a user without one.
    tenant: Option<TenantKey>,
    /// The user it is for; null for the tenant as a whole.
    user: Option<UserKey>,
    /// The version of the latest change that could alter it.
    version: u64,
    /// `active` or `suspended`.
    status: Word,
    /// The next instant at which any of it can change by itself.
    valid_until: Option<Timestamp>,
    /// Whether the tenant needs a subscription.
    billing: Billing,
    /// Whether the tenant is blocked.
    blocked: bool,
    /// Why.
    blocked_reason: Option<Reason>,
    /// Whether it is a demo tenant.
    demo: bool,
    /// Whether it is a sandbox, with a clock of its own.
    sandbox: bool,
    /// Whether the rollout enforces here.
    enforced: bool,
    /// The base plan in effect.
    plan: Option<PlanView>,
    /// The modules that are enabled.
    modules: Vec<ModuleKey>,
    /// Every module of the catalog.
    module_access: BTreeMap<String, ModuleAccess>,
    /// Every boolean and config feature of the catalog.
    features: BTreeMap<String, FeatureAccess>,
    /// Every limit feature of the catalog.
    limits: BTreeMap<String, LimitAccess>,
    /// The user's roles; empty without a user.
    roles: Vec<RoleView>,
    /// What the roles and the tier of the user permit.
    permissions: Vec<PermissionView>,
    /// The user's seats.
    seats: Vec<SeatView>,
    /// The user's tier, null where there is none; only with a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<Option<TierView>>,
}

/// The base subscription as its tenant sees it.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "PlanStanding")]
pub struct PlanView {
    /// The plan.
    key: PlanKey,
    /// Its name.
    name: String,
    /// Its rank.
    rank: i64,
    /// The version that the tenant is pinned to.
    version: u32,
    /// Where the subscription stands.
    status: SubscriptionStatus,
    /// The end of the trial.
    trial_expires_at: Option<Timestamp>,
    /// Start of the grace period.
    overdue_since: Option<Timestamp>,
    /// End of the grace period.
    grace_until: Option<Timestamp>,
}

/// The outcome for one module.
#[derive(Debug, Object, Serialize)]
pub struct ModuleAccess {
    /// What `check` answers.
    enabled: bool,
    /// Why.
    reason: Reason,
    /// Why it would be refused; only where the rollout alone keeps it open.
    #[serde(skip_serializing_if = "Option::is_none")]
    would_reason: Option<Reason>,
    /// Whether to show it as something to upgrade to.
    is_premium: bool,
    /// Whether another plan would open it.
    upgrade_required: bool,
    /// The plans that would, lowest rank first.
    upgrade_plans: Vec<PlanKey>,
    /// When what decided ends.
    expires_at: Option<Timestamp>,
}

/// The outcome for one boolean or config feature.
#[derive(Debug, Object, Serialize)]
pub struct FeatureAccess {
    /// `boolean` or `config`.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    kind: Word,
    /// What `check` answers.
    enabled: bool,
    /// The value of a config feature.
    value: Option<Value>,
    /// Why.
    reason: Reason,
    /// Why it would be refused; only where the rollout alone keeps it open.
    #[serde(skip_serializing_if = "Option::is_none")]
    would_reason: Option<Reason>,
    /// Whether to show it as something to upgrade to.
    is_premium: bool,
    /// Whether another plan would open it.
    upgrade_required: bool,
    /// The plans that would, lowest rank first.
    upgrade_plans: Vec<PlanKey>,
    /// When what decided ends.
    expires_at: Option<Timestamp>,
}

/// The outcome for one limit feature.
#[derive(Debug, Object, Serialize)]
pub struct LimitAccess {
    /// The limit; null where unlimited.
    limit: Option<u64>,
    /// Whether there is none.
    unlimited: bool,
    /// How much of it is used.
    used: u64,
    /// How much is left; null where unlimited.
    remaining: Option<u64>,
    /// When a counter starts again.
    resets_at: Option<Timestamp>,
    /// What `check` answers.
    enabled: bool,
    /// Why.
    reason: Reason,
    /// Why it would be refused; only where the rollout alone keeps it open.
    #[serde(skip_serializing_if = "Option::is_none")]
    would_reason: Option<Reason>,
}

/// Who is calling, and what that caller may use.
#[derive(Debug, Object, Serialize)]
pub struct Me {
    /// The caller.
    principal: PrincipalView,
    /// The modules that are enabled in the caller's tenant.
    modules: Vec<ModuleKey>,
    /// What the caller may do in the application.
    permissions: Vec<PermissionView>,
    /// All entitlements; null for a caller without a tenant.
    entitlements: Option<EntitlementsView>,
}

/// A caller.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Principal")]
pub struct PrincipalView {
    /// The token's subject, or `key:` and the id of an API key.
    id: String,
    /// The operator role.
    role: crate::domain::callers::OperatorRole,
    /// The tenant that the caller is bound to.
    tenant: Option<TenantKey>,
    /// How the caller works.
    mode: Mode,
    /// Who really sits behind an impersonated caller.
    impersonator: Option<String>,
}

type Payload = Answer<Tagged<Prepared<EntitlementsView>>>;

#[OpenApi(prefix_path = "/api", tag = "Tag::Entitlements")]
impl EntitlementsApi {
    /// Read a tenant's entitlements
    ///
    /// Everything at once, for frontends: modules, features, limits, each with its reason. Send the
    /// `ETag` back in `If-None-Match` to be told with 304 that nothing changed.
    #[oai(
        path = "/v1/tenants/:tenant/entitlements",
        method = "get",
        operation_id = "get_entitlements"
    )]
    async fn get_entitlements(
        &self,
        caller: Caller<needs::EntitlementsRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// For this user in it.
        user: Query<Option<UserKey>>,
        /// How the caller works.
        mode: Query<Option<Mode>>,
        /// The tag of the payload that the caller has.
        #[oai(name = "If-None-Match")]
        known: Header<Option<IfNoneMatch>>,
    ) -> Payload {
        let subject = Subject { tenant: Some(tenant.0), user: user.0, mode: mode.0 };
        self.payload(&caller.actor, subject, known.0).await
    }

    /// Read the entitlements of a user without a tenant
    ///
    /// What the user's own tier and user entitlements give.
    #[oai(
        path = "/v1/users/:user/entitlements",
        method = "get",
        operation_id = "get_user_entitlements_payload"
    )]
    async fn get_user_entitlements_payload(
        &self,
        caller: Caller<needs::EntitlementsRead>,
        /// The user.
        user: Path<UserKey>,
        /// The tag of the payload that the caller has.
        #[oai(name = "If-None-Match")]
        known: Header<Option<IfNoneMatch>>,
    ) -> Payload {
        let subject = Subject { tenant: None, user: Some(user.0), mode: None };
        self.payload(&caller.actor, subject, known.0).await
    }

    /// Read a tenant's entitlements by its old path
    ///
    /// The same as `get_entitlements`.
    #[oai(
        path = "/v1/orgs/:tenant/entitlements",
        method = "get",
        operation_id = "get_org_entitlements"
    )]
    async fn get_org_entitlements(
        &self,
        caller: Caller<needs::EntitlementsRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// For this user in it.
        user: Query<Option<UserKey>>,
        /// The tag of the payload that the caller has.
        #[oai(name = "If-None-Match")]
        known: Header<Option<IfNoneMatch>>,
    ) -> Payload {
        let subject = Subject { tenant: Some(tenant.0), user: user.0, mode: None };
        self.payload(&caller.actor, subject, known.0).await
    }

    /// Read a tenant's entitlements as an admin by its old path
    ///
    /// The same as `get_entitlements`.
    #[oai(
        path = "/v1/admin/orgs/:tenant/entitlements",
        method = "get",
        operation_id = "get_admin_org_entitlements"
    )]
    async fn get_admin_org_entitlements(
        &self,
        caller: Caller<needs::TenantsRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The tag of the payload that the caller has.
        #[oai(name = "If-None-Match")]
        known: Header<Option<IfNoneMatch>>,
    ) -> Payload {
        let subject = Subject { tenant: Some(tenant.0), user: None, mode: None };
        self.payload(&caller.actor, subject, known.0).await
    }

    /// Select a tenant's modules by its old path
    ///
    /// The same as `select_modules`.
    #[oai(
        path = "/v1/admin/orgs/:tenant/entitlements",
        method = "put",
        operation_id = "put_admin_org_entitlements"
    )]
    async fn put_admin_org_entitlements(
        &self,
        caller: Caller<needs::ModulesWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// Only say who would gain and lose what; nothing is written.
        dry_run: Query<Option<bool>>,
        /// How many changes of a dry run at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page of the dry run before.
        cursor: Query<Option<Cursor>>,
        body: Json<ModulesBody>,
    ) -> Answer<Rehearsed<Json<ModulesView>, DryRunView>> {
        let attempt = Attempt::new(&self.0, dry_run.0, limit.0, cursor.0)?;
        select(attempt, &caller.actor, tenant.0, body.0).await
    }

    /// Read the caller's own entitlements
    #[oai(path = "/v1/me/entitlements", method = "get", operation_id = "get_my_entitlements")]
    async fn get_my_entitlements(
        &self,
        caller: Caller<needs::Me>,
        /// The tag of the payload that the caller has.
        #[oai(name = "If-None-Match")]
        known: Header<Option<IfNoneMatch>>,
    ) -> Payload {
        let subject = own(&caller.actor)?;
        self.payload(&caller.actor, subject, known.0).await
    }

    /// Read the entitlements of the caller's tenant
    ///
    /// As older frontends know it.
    #[oai(
        path = "/billing/entitlements",
        method = "get",
        operation_id = "get_billing_entitlements"
    )]
    async fn get_billing_entitlements(
        &self,
        caller: Caller<needs::Me>,
        /// The tag of the payload that the caller has.
        #[oai(name = "If-None-Match")]
        known: Header<Option<IfNoneMatch>>,
    ) -> Payload {
        let subject = Subject { user: None, ..own(&caller.actor)? };
        self.payload(&caller.actor, subject, known.0).await
    }

    /// Read who is calling
    ///
    /// And, for a caller that is bound to a tenant, what it may use there.
    #[oai(path = "/v1/me", method = "get", operation_id = "get_me")]
    async fn get_me(&self, caller: Caller<needs::Me>) -> Answer<Json<Me>> {
        let principal = &caller.principal;
        let entitlements = match own(&caller.actor) {
            Ok(subject) => {
                let own = self.0.own_entitlements(&caller.actor, &subject).await?;
                Some(EntitlementsView::from(own))
            }
            Err(_) => None,
        };
        Ok(Json(Me {
            principal: PrincipalView {
                id: principal.id.clone(),
                role: principal.role,
                tenant: principal.tenant.clone(),
                mode: principal.mode,
                impersonator: principal.impersonator.clone(),
            },
            modules: entitlements.as_ref().map(|e| e.modules.clone()).unwrap_or_default(),
            permissions: entitlements
                .as_ref()
                .map(|own| own.permissions.clone())
                .unwrap_or_default(),
            entitlements,
        }))
    }
}

impl EntitlementsApi {
    async fn payload(
        &self,
        actor: &Actor,
        subject: Subject,
        known: Option<IfNoneMatch>,
    ) -> Payload {
        let prepared = self.0.entitlements(actor, &subject, render).await?;
        let etag = ETag::of_parts(&[&prepared.etag]);
        let body = || Ok::<_, Error>(Prepared::new(prepared.bytes.clone()));
        Ok(Tagged::unless_known(known.as_ref(), etag, body)?)
    }
}

/// The caller's own tenant, and the caller as a user of it where it is a person.
fn own(actor: &Actor) -> Result<Subject> {
    let principal = &actor.principal;
    let Some(tenant) = principal.tenant.clone() else {
        return Err(Error::NotFound {
            kind: "tenant bound to the caller",
            key: principal.id.clone(),
        });
    };
    let user = principal.role.needs_tenant().then(|| principal.id.parse().ok()).flatten();
    Ok(Subject { tenant: Some(tenant), user, mode: None })
}

fn render(entitlements: &Entitlements) -> Result<Vec<u8>> {
    // The payload is kept, so a copy of what it was made from doesn't matter.
    let view = EntitlementsView::from(entitlements.clone());
    serde_json::to_vec(&view).map_err(Error::internal)
}

impl From<Entitlements> for EntitlementsView {
    fn from(entitlements: Entitlements) -> Self {
        let Entitlements {
            tenant,
            user,
            version,
            valid_until,
            blocked_reason,
            enforced,
            plan,
            modules,
            features,
            limits,
            is_nobody,
            personal,
        } = entitlements;
        let PersonalView { roles, permissions, seats, tier } =
            personal.map(PersonalView::from).unwrap_or_default();
        let enabled = modules.iter().filter(|(_, e)| e.enabled).map(|(key, _)| key.clone());
        let status = if tenant.suspension.is_some() { "suspended" } else { "active" };
        Self {
            modules: enabled.collect(),
            tenant: (!is_nobody).then_some(tenant.key),
            tier: user.as_ref().map(|_| tier),
            user,
            version,
            status: Word::of(status),
            valid_until,
            billing: tenant.billing,
            blocked: blocked_reason.is_some(),
            blocked_reason,
            demo: tenant.demo,
            sandbox: tenant.sandbox,
            enforced,
            plan: plan.map(PlanView::from),
            module_access: modules.into_iter().map(|(k, e)| (k.to_string(), e.into())).collect(),
            features: features
                .into_iter()
                .map(|(key, kind, entry)| (key.to_string(), FeatureAccess::of(kind, entry)))
                .collect(),
            limits: limits
                .into_iter()
                .map(|limit| (limit.key.to_string(), LimitAccess::from(limit)))
                .collect(),
            roles,
            permissions,
            seats,
        }
    }
}

impl From<PlanStanding> for PlanView {
    fn from(plan: PlanStanding) -> Self {
        let PlanStanding {
            key,
            name,
            rank,
            version,
            status,
            trial_expires_at,
            overdue_since,
            grace_until,
        } = plan;
        Self { key, name, rank, version, status, trial_expires_at, overdue_since, grace_until }
    }
}

impl From<Entry> for ModuleAccess {
    fn from(entry: Entry) -> Self {
        let Entry {
            enabled,
            reason,
            would_reason,
            value: _,
            is_premium,
            upgrade_plans,
            expires_at,
        } = entry;
        let upgrade_required = !upgrade_plans.is_empty();
        Self {
            enabled,
            reason,
            would_reason,
            is_premium,
            upgrade_required,
            upgrade_plans,
            expires_at,
        }
    }
}

impl FeatureAccess {
    fn of(kind: FeatureType, entry: Entry) -> Self {
        let Entry { enabled, reason, would_reason, value, is_premium, upgrade_plans, expires_at } =
            entry;
        Self {
            kind: Word::of(match kind {
                FeatureType::Boolean => "boolean",
                FeatureType::Config => "config",
            }),
            enabled,
            value,
            reason,
            would_reason,
            is_premium,
            upgrade_required: !upgrade_plans.is_empty(),
            upgrade_plans,
            expires_at,
        }
    }
}

impl From<LimitEntry> for LimitAccess {
    fn from(limit: LimitEntry) -> Self {
        let LimitEntry { key: _, limit, used, resets_at, entry } = limit;
        let limit = match limit {
            Amount::Of(count) => Some(count),
            Amount::Unlimited => None,
        };
        Self {
            limit,
            unlimited: limit.is_none(),
            used,
            remaining: limit.map(|limit| limit.saturating_sub(used)),
            resets_at,
            enabled: entry.enabled,
            reason: entry.reason,
            would_reason: entry.would_reason,
        }
    }
}
