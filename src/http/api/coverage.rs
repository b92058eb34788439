//! Which routes of an application the catalog protects.

use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Tag;
use crate::{
    domain::{
        app_routes::{AppRoute, MAX_APP_ROUTES, of_openapi},
        catalog::{DefaultRoute, Route},
        keys::{FeatureKey, GuardKey, ModuleKey, PermissionKey},
    },
    engine::coverage::{Coverage, coverage},
    error::{Error, Fault, Result},
    http::{
        auth::{Caller, needs},
        failure::Answer,
        payload::Json,
    },
    service::Service,
};

/// The operation.
pub struct CoverageApi(pub(super) Service);

/// The routes of an application: exactly one of the two.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "RouteCoverageRequest", example = true)]
#[serde(deny_unknown_fields)]
pub struct CoverageBody {
    /// The application's OpenAPI document, version 2 or 3. The path of its first server stands before
    /// each of its paths.
    openapi: Option<Value>,
    /// A list such as `GET /users/{id}`; without a method every method is meant. At most 10,000.
    routes: Option<Vec<String>>,
}

impl poem_openapi::types::Example for CoverageBody {
    fn example() -> Self {
        let routes = ["GET /catalog/items", "POST /pos/sales", "/healthz"];
        Self { openapi: None, routes: Some(routes.map(str::to_owned).to_vec()) }
    }
}

/// What the catalog says about the routes of an application.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "RouteCoverage")]
pub struct CoverageView {
    /// Judged by a route of the catalog.
    covered: Vec<JudgedView>,
    /// Open to everyone, by a route of the catalog.
    public: Vec<JudgedView>,
    /// No route of the catalog says anything about these.
    uncovered: Vec<AppRouteView>,
    /// Guards that no route of the catalog names.
    unused_guards: Vec<GuardKey>,
    /// What becomes of requests to the uncovered.
    default_route: DefaultRoute,
    /// Which version of the catalog was looked at.
    catalog_version: u32,
}

/// A route of the application.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "AppRoute")]
pub struct AppRouteView {
    /// In capital letters; null for every method.
    method: Option<String>,
    /// As it was sent, behind the path of the server.
    path: String,
}

/// A route of the application, and the route of the catalog that judges it.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "JudgedRoute")]
pub struct JudgedView {
    /// In capital letters; null for every method.
    method: Option<String>,
    /// As it was sent, behind the path of the server.
    path: String,
    /// The pattern in the catalog.
    by: String,
    /// The module that it needs.
    module: Option<ModuleKey>,
    /// The features that it needs.
    features: Vec<FeatureKey>,
    /// The permission that it needs.
    permission: Option<PermissionKey>,
    /// The guard that it asks.
    guard: Option<GuardKey>,
    /// Open to any authenticated caller.
    allow_blocked: bool,
}

#[OpenApi(prefix_path = "/api/v1/admin/routes", tag = "Tag::Catalog")]
impl CoverageApi {
    /// Compare an application's routes with the catalog
    ///
    /// Which of them does the catalog protect, which are public, and which did everybody forget?
    #[oai(path = "/coverage", method = "post", operation_id = "route_coverage")]
    async fn route_coverage(
        &self,
        _caller: Caller<needs::CatalogRead>,
        body: Json<CoverageBody>,
    ) -> Answer<Json<CoverageView>> {
        let routes = routes(body.0)?;
        let world = self.0.world();
        let found = coverage(&world.catalog, &routes);
        let Coverage { covered, public, uncovered, unused_guards } = found;
        let judged = |list: Vec<_>| list.into_iter().map(JudgedView::from).collect();
        Ok(Json(CoverageView {
            covered: judged(covered),
            public: judged(public),
            uncovered: uncovered.into_iter().map(AppRouteView::from).collect(),
            unused_guards,
            default_route: world.catalog.settings.default_route,
            catalog_version: world.catalog_version,
        }))
    }
}

/// What was sent, as routes; all that can't be read at once.
fn routes(body: CoverageBody) -> Result<Vec<AppRoute>> {
    let (field, read) = match (body.openapi, body.routes) {
        (Some(document), None) => {
            let routes = of_openapi(&document);
            ("openapi", routes.map_err(|message| vec![Fault::new("openapi", message)]))
        }
        (None, Some(lines)) => ("routes", listed(&lines)),
        (Some(_), Some(_)) | (None, None) => {
            let message = "send either “openapi” or “routes”";
            return Err(Error::invalid("routes", message));
        }
    };
    let invalid = |faults| Error::Invalid { code: "INVALID_VALUE", faults };
    let routes = read.map_err(invalid)?;
    if routes.is_empty() || routes.len() > MAX_APP_ROUTES {
        let message = format!("must hold 1 to {MAX_APP_ROUTES} routes, not {}", routes.len());
        return Err(Error::invalid(field, message));
    }
    Ok(routes)
}

fn listed(lines: &[String]) -> Result<Vec<AppRoute>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut routes = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        match AppRoute::parse(line) {
            Ok(route) => routes.push(route),
            Err(message) => faults.push(Fault::new(format!("routes[{index}]"), message)),
        }
    }
    if faults.is_empty() { Ok(routes) } else { Err(faults) }
}

impl From<AppRoute> for AppRouteView {
    fn from(AppRoute { path, method }: AppRoute) -> Self {
        Self { method, path }
    }
}

impl From<(AppRoute, Route)> for JudgedView {
    fn from((AppRoute { path, method }, by): (AppRoute, Route)) -> Self {
        Self {
            method,
            path,
            by: by.path,
            module: by.module,
            features: by.features,
            permission: by.permission,
            guard: by.guard,
            allow_blocked: by.allow_blocked,
        }
    }
}
