//! Forward-auth: what a reverse proxy may let through (SPEC 8).
//!
//! Invariants: who asks is who the credential says; nothing else that a client can write plays a
//! part. A route asks what `check` would be asked, and gets the same answer. Nothing is taken, and
//! only a bypass is written down.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use super::{
    Service,
    actor::Actor,
    decisions::{Check, Checked, Least},
    permissions::Permission,
};
use crate::{
    domain::{
        callers::{OperatorRole, Principal},
        catalog::{Catalog, DefaultRoute, Route},
        checks::{Decision, Reason},
        keys::{TenantKey, UserKey},
        paths::RequestPath,
    },
    engine::routes,
    error::Result,
};

/// What the routes of the catalog say about a request, before anybody is asked who sent it.
#[derive(Debug)]
pub enum Gate {
    /// Open to everyone: a credential is not looked at, not even a bad one.
    Open(Pass),
    /// No route matches, and the default refuses.
    Shut,
    /// It depends on who asks.
    Guarded(Guarded),
}

/// A request that a route guards.
#[derive(Debug)]
pub struct Guarded {
    route: Arc<Route>,
    /// What the names in its path stand for.
    parameters: BTreeMap<String, String>,
    version: u64,
}

/// A request that may pass, and what the application is told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The caller's tenant.
    pub tenant: Option<TenantKey>,
    /// The user who was judged.
    pub user: Option<UserKey>,
    /// Why it may pass: a reason of decisions, or one of those here.
    pub reason: &'static str,
    /// The version of the facts that were looked at.
    pub version: u64,
}

/// What became of a guarded request.
#[derive(Debug)]
pub enum Passage {
    /// It may pass.
    Passed(Pass),
    /// The decision refuses.
    Refused(Box<Checked>),
    /// The route asks for an active tenant, and the caller has none.
    NoTenant,
}

/// The route is open to everyone.
const PUBLIC: &str = "public";
/// No route matches, and the default allows.
const DEFAULT_ROUTE: &str = "default_route";
/// The route is open to every authenticated caller.
const AUTHENTICATED: &str = "authenticated";

impl Service {
    /// The route that a request is judged by, and whether that already decides.
    #[must_use]
    pub fn gate_of(&self, method: &str, path: &RequestPath) -> Gate {
        let world = self.world();
        let version = world.version;
        let open = |reason| Gate::Open(Pass { tenant: None, user: None, reason, version });
        let found = world.routes.find(method, path);
        match (found, world.catalog.settings.default_route) {
            (Some(route), _) if route.public => open(PUBLIC),
            (Some(route), _) => {
                let parameters = routes::parameters(route, path);
                Gate::Guarded(Guarded { route: route.clone(), parameters, version })
            }
            (None, DefaultRoute::Allow) => open(DEFAULT_ROUTE),
            (None, DefaultRoute::Deny) => Gate::Shut,
        }
    }

    /// Whether the caller may pass.
    pub async fn authorize(&self, actor: &Actor, guarded: &Guarded) -> Result<Passage> {
        actor.reach(Permission::Check)?;
        let Guarded { route, parameters, version } = guarded;
        let tenant = actor.principal.tenant.clone();
        let user = user_of(&actor.principal);
        if route.allow_blocked {
            let (reason, version) = (AUTHENTICATED, *version);
            return Ok(Passage::Passed(Pass { tenant, user, reason, version }));
        }
        let check = check_of(route, parameters, user.clone());
        if tenant.is_none() && user.is_none() {
            return Ok(Passage::NoTenant);
        }
        let checked = self.check(actor, &check).await?;
        let Decision { allowed, reason, version, .. } = checked.decision;
        let is_bypass = reason == Reason::SuperAdminBypass;
        if tenant.is_none() && asks_nothing(route, &self.world().catalog) && !is_bypass {
            return Ok(Passage::NoTenant);
        }
        if allowed {
            let reason = reason.as_str();
            return Ok(Passage::Passed(Pass { tenant, user, reason, version }));
        }
        Ok(Passage::Refused(Box::new(checked)))
    }
}

/// The user that a caller is: a person of a tenant or of the own staff. The application's backend is
/// nobody's user.
fn user_of(principal: &Principal) -> Option<UserKey> {
    match principal.role {
        OperatorRole::Service => None,
        OperatorRole::SuperAdmin
        | OperatorRole::Support
        | OperatorRole::Auditor
        | OperatorRole::TenantAdmin
        | OperatorRole::TenantUser => principal.id.parse().ok(),
    }
}

/// Whether a route asks for nothing that somebody without a tenant could have.
fn asks_nothing(route: &Route, catalog: &Catalog) -> bool {
    let Route { module, features, permission, guard, .. } = route;
    let guard = guard.as_ref().and_then(|guard| catalog.guards.get(guard));
    let of_guard = guard.is_some_and(|guard| {
        guard.module.is_some()
            || !guard.features.is_empty()
            || !guard.all_permissions.is_empty()
            || !guard.any_permission.is_empty()
            || guard.tier_at_least.is_some()
            || guard.limit.is_some()
    });
    module.is_none() && features.is_empty() && permission.is_none() && !of_guard
}

/// What a route asks, about the caller: its own tenant, and how it works, come from the credential.
fn check_of(route: &Route, parameters: &BTreeMap<String, String>, user: Option<UserKey>) -> Check {
    Check {
        guard: route.guard.clone(),
        // A proxy knows nothing of what is acted on but its address.
        resource: route.guard.is_some().then(|| json!({"params": parameters})),
        least: Least::ActiveTenant,
        user,
        module: route.module.clone(),
        features: route.features.clone(),
        features_match: route.features_match,
        permission: route.permission.clone(),
        ..Check::default()
    }
}
