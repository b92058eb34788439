//! Grants, and a tenant's selection of modules.

use std::collections::{BTreeMap, BTreeSet};

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Tag,
    dry_run::{Attempt, DryRunView},
};
use crate::{
    domain::{
        catalog::{Catalog, value_to_json},
        grants::{Grant, GrantState},
        keys::{BundleKey, EntitlementKey, ModuleKey, TenantKey},
        time::Timestamp,
    },
    error::{Error, Fault, Result},
    http::{
        auth::{Caller, needs},
        etag::{ETag, IfMatch},
        failure::Answer,
        paging::{Cursor, Limit},
        parse::unique_objects,
        payload::Json,
        replies::{Done, Rehearsed, Stored},
        types::Text,
    },
    service::{
        Actor, Service,
        grants::{NewGrant, NewState, SelectedModule, Selection},
        seats::Release,
    },
};

/// The operations.
pub struct GrantsApi(pub(super) Service);

/// What a grant is to say.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "GrantBody", example = true)]
#[serde(deny_unknown_fields)]
pub struct GrantBody {
    /// Given, withheld, or given until `trial_expires_at`.
    state: NewState,
    /// The value of a limit or config feature: a number or "unlimited", or any value.
    value: Option<Value>,
    /// How many named users may use it.
    seats: Option<u64>,
    /// The end of a trial.
    trial_expires_at: Option<Timestamp>,
    /// Why, in 3 to 500 characters.
    reason: Text<3, 500>,
    /// What becomes of seats in use that there is no room for any more; refused if left out.
    release: Option<Release>,
}

impl poem_openapi::types::Example for GrantBody {
    fn example() -> Self {
        Self {
            state: NewState::Enabled,
            value: None,
            seats: None,
            trial_expires_at: None,
            reason: Text::example("Part of the pilot"),
            release: None,
        }
    }
}

/// A module or feature given to, or withheld from, a tenant.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Grant")]
pub struct GrantView {
    /// Whose it is.
    tenant: TenantKey,
    /// The module or feature.
    key: EntitlementKey,
    /// Given, withheld or on trial.
    state: NewState,
    /// The value of a limit or config feature.
    value: Option<Value>,
    /// How many named users may use it.
    seats: Option<u64>,
    /// The end of a trial.
    trial_expires_at: Option<Timestamp>,
    /// Why.
    reason: String,
    /// When it was made.
    created_at: Timestamp,
    /// When it was last changed.
    updated_at: Timestamp,
}

/// All grants of a tenant.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "GrantList")]
pub struct GrantsView {
    /// The grants, by key; at most one for each key of the catalog.
    items: Vec<GrantView>,
    /// Always null: the list is bounded by the catalog.
    next_cursor: Option<String>,
}

/// A tenant's selection of modules, in place of the present one.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "ModuleSelectionBody", example = true)]
#[serde(deny_unknown_fields)]
pub struct ModulesBody {
    /// Modules one by one; they win over bundles.
    #[serde(default, deserialize_with = "unique_objects")]
    #[oai(default)]
    modules: BTreeMap<String, SelectedModuleBody>,
    /// Bundles whose modules are all given.
    #[serde(default)]
    #[oai(default)]
    bundles: Vec<BundleKey>,
    /// Why, in 3 to 500 characters.
    reason: Text<3, 500>,
}

impl poem_openapi::types::Example for ModulesBody {
    fn example() -> Self {
        let enabled = SelectedModuleBody {
            state: NewState::Enabled,
            trial_expires_at: None,
            seats: None,
            release: None,
        };
        Self {
            modules: BTreeMap::from([("dine".to_owned(), enabled)]),
            bundles: Vec::new(),
            reason: Text::example("Chosen at onboarding"),
        }
    }
}

/// One module of a selection.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "SelectedModule")]
#[serde(deny_unknown_fields)]
pub struct SelectedModuleBody {
    /// Given, withheld, or given until `trial_expires_at`.
    state: NewState,
    /// The end of a trial.
    trial_expires_at: Option<Timestamp>,
    /// How many named users may use it.
    seats: Option<u64>,
    /// What becomes of seats in use that there is no room for any more; refused if left out.
    release: Option<Release>,
}

/// A tenant's selection of modules.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ModuleSelection")]
pub struct ModulesView {
    /// The tenant.
    tenant: TenantKey,
    /// Its module grants.
    modules: BTreeMap<String, GrantView>,
    /// Bundles all of whose modules are given.
    bundles: Vec<BundleKey>,
}

#[expect(clippy::too_many_arguments, reason = "each query parameter is an argument")]
#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Grants")]
impl GrantsApi {
    /// List a tenant's grants
    #[oai(path = "/tenants/:tenant/grants", method = "get", operation_id = "list_grants")]
    async fn list_grants(
        &self,
        caller: Caller<needs::TenantsRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
    ) -> Answer<Json<GrantsView>> {
        let grants = self.0.grants(&caller.actor, &tenant).await?;
        let items = grants.into_iter().map(GrantView::from).collect();
        Ok(Json(GrantsView { items, next_cursor: None }))
    }

    /// Give or withhold a module or feature
    ///
    /// Makes or replaces the one grant on this key.
    #[oai(path = "/tenants/:tenant/grants/:key", method = "put", operation_id = "set_grant")]
    async fn set_grant(
        &self,
        caller: Caller<needs::GrantsWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The module or feature.
        key: Path<EntitlementKey>,
        /// Only say who would gain and lose what; nothing is written.
        dry_run: Query<Option<bool>>,
        /// How many changes of a dry run at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page of the dry run before.
        cursor: Query<Option<Cursor>>,
        /// The tag of the grant that was edited.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
        body: Json<GrantBody>,
    ) -> Answer<Rehearsed<Stored<GrantView>, DryRunView>> {
        let expected = IfMatch::or_nothing(expected.0)?;
        let attempt = Attempt::new(&self.0, dry_run.0, limit.0, cursor.0)?;
        let (service, actor, new) = (attempt.service(), &caller.actor, body.0.into());
        let (grant, is_new) = service.set_grant(actor, tenant.0, key.0, new, expected).await?;
        if let Some(would) = attempt.would_change().await? {
            return Ok(Rehearsed::Would(would));
        }
        let location = format!("/api/v1/admin/tenants/{}/grants/{}", grant.tenant, grant.key);
        let etag = ETag::of_revision(grant.revision);
        Ok(Rehearsed::Done(Stored::new(is_new.then_some(location), etag, grant.into())))
    }

    /// Take a grant back
    #[oai(path = "/tenants/:tenant/grants/:key", method = "delete", operation_id = "delete_grant")]
    async fn delete_grant(
        &self,
        caller: Caller<needs::GrantsWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The module or feature.
        key: Path<EntitlementKey>,
        /// Only say who would gain and lose what; nothing is written.
        dry_run: Query<Option<bool>>,
        /// How many changes of a dry run at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page of the dry run before.
        cursor: Query<Option<Cursor>>,
        /// The tag of the grant that was looked at.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
    ) -> Answer<Rehearsed<Done, DryRunView>> {
        let expected = IfMatch::expected(expected.0)?;
        let attempt = Attempt::new(&self.0, dry_run.0, limit.0, cursor.0)?;
        attempt.service().remove_grant(&caller.actor, tenant.0, key.0, expected).await?;
        if let Some(would) = attempt.would_change().await? {
            return Ok(Rehearsed::Would(would));
        }
        Ok(Rehearsed::Done(Done))
    }

    /// Read a tenant's selection of modules
    #[oai(path = "/tenants/:tenant/modules", method = "get", operation_id = "get_module_selection")]
    async fn get_module_selection(
        &self,
        caller: Caller<needs::TenantsRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
    ) -> Answer<Json<ModulesView>> {
        let grants = self.0.grants(&caller.actor, &tenant).await?;
        Ok(Json(ModulesView::of(&self.0.world().catalog, tenant.0, grants)))
    }

    /// Select a tenant's modules
    ///
    /// Replaces all its module grants in one transaction: a module that is named neither by itself
    /// nor in a bundle loses its grant. Grants on features stay.
    #[oai(path = "/tenants/:tenant/modules", method = "put", operation_id = "select_modules")]
    async fn select_modules(
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
}

/// Selects a tenant's modules, or says what that would change.
pub(super) async fn select(
    attempt: Attempt,
    actor: &Actor,
    tenant: TenantKey,
    body: ModulesBody,
) -> Answer<Rehearsed<Json<ModulesView>, DryRunView>> {
    let selection = selection(body)?;
    let grants = attempt.service().select_modules(actor, tenant.clone(), selection).await?;
    let world = attempt.service().world();
    if let Some(would) = attempt.would_change().await? {
        return Ok(Rehearsed::Would(would));
    }
    Ok(Rehearsed::Done(Json(ModulesView::of(&world.catalog, tenant, grants))))
}

/// The selection in a body, with every key that can't be one.
fn selection(body: ModulesBody) -> Result<Selection> {
    let ModulesBody { modules, bundles, reason } = body;
    let mut faults = Vec::new();
    let mut chosen = BTreeMap::new();
    for (key, SelectedModuleBody { state, trial_expires_at, seats, release }) in modules {
        match key.parse::<ModuleKey>() {
            Ok(parsed) => {
                chosen.insert(parsed, SelectedModule { state, trial_expires_at, seats, release });
            }
            Err(bad) => faults.push(Fault::new(format!("modules.{key}"), bad.to_string())),
        }
    }
    if !faults.is_empty() {
        return Err(Error::Invalid { code: "INVALID_VALUE", faults });
    }
    Ok(Selection {
        modules: chosen,
        bundles: bundles.into_iter().collect::<BTreeSet<_>>(),
        reason: reason.into_string(),
    })
}

impl From<GrantBody> for NewGrant {
    fn from(body: GrantBody) -> Self {
        let GrantBody { state, value, seats, trial_expires_at, reason, release } = body;
        Self { state, value, seats, trial_expires_at, reason: reason.into_string(), release }
    }
}

impl From<Grant> for GrantView {
    fn from(grant: Grant) -> Self {
        let Grant { tenant, key, state, value, seats, reason, created_at, updated_at, revision: _ } =
            grant;
        let (state, trial_expires_at) = match state {
            GrantState::Enabled => (NewState::Enabled, None),
            GrantState::Disabled => (NewState::Disabled, None),
            GrantState::Trial(end) => (NewState::Trial, Some(end)),
        };
        Self {
            tenant,
            key,
            state,
            value: value.as_ref().map(value_to_json),
            seats,
            trial_expires_at,
            reason,
            created_at,
            updated_at,
        }
    }
}

impl ModulesView {
    pub(super) fn of(catalog: &Catalog, tenant: TenantKey, grants: Vec<Grant>) -> Self {
        let is_module = |grant: &Grant| catalog.modules.contains_key(grant.key.as_str());
        let given = |key: &ModuleKey| {
            grants.iter().any(|grant| {
                grant.key.as_str() == key.as_str() && grant.state == GrantState::Enabled
            })
        };
        let whole = catalog.bundles.iter().filter(|(_, bundle)| bundle.modules.iter().all(given));
        let bundles = whole.map(|(key, _)| key.clone()).collect();
        let modules = grants
            .into_iter()
            .filter(is_module)
            .map(|grant| (grant.key.to_string(), grant.into()))
            .collect();
        Self { tenant, modules, bundles }
    }
}
