//! The parts of the newest catalog, one list each.

use poem_openapi::{Object, OpenApi, param::Query, types::ToJSON};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Tag;
use crate::{
    domain::catalog::{Catalog, to_json},
    engine::World,
    error::{Error, Result},
    http::{
        auth::{Caller, needs},
        failure::Answer,
        paging::{Cursor, Limit, Page},
        payload::Json,
    },
    service::{Service, paging},
};

/// The operations.
pub struct PartsApi(pub(super) Service);

/// One entry of a section of the catalog, with its key and every default written out.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CatalogEntry")]
pub struct EntryView {
    /// Its key.
    key: String,
    /// What the catalog says of it, as in the document.
    definition: Value,
}

/// A plan of the catalog.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CatalogPlan")]
pub struct PlanView {
    /// Its key.
    key: String,
    /// The newest version: what a subscription assigned now is pinned to.
    version: u32,
    /// What the catalog says of it, as in the document.
    definition: Value,
    /// What its newest version gives, with everything it inherits and every `"*"` written out.
    gives: Value,
}

/// A route of the catalog.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CatalogRoute")]
pub struct RouteView {
    /// Its place in the document, from 0.
    index: u32,
    /// What the catalog says of it, as in the document.
    definition: Value,
}

type Entries = Answer<Json<Page<EntryView>>>;

#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Catalog")]
impl PartsApi {
    /// List modules
    #[oai(path = "/modules", method = "get", operation_id = "list_modules")]
    async fn list_modules(
        &self,
        _caller: Caller<needs::CatalogRead>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Entries {
        self.section("modules", limit.0, cursor.0)
    }

    /// List bundles
    #[oai(path = "/bundles", method = "get", operation_id = "list_bundles")]
    async fn list_bundles(
        &self,
        _caller: Caller<needs::CatalogRead>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Entries {
        self.section("bundles", limit.0, cursor.0)
    }

    /// List features
    #[oai(path = "/features", method = "get", operation_id = "list_features")]
    async fn list_features(
        &self,
        _caller: Caller<needs::CatalogRead>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Entries {
        self.section("features", limit.0, cursor.0)
    }

    /// List plans
    #[oai(path = "/plans", method = "get", operation_id = "list_plans")]
    async fn list_plans(
        &self,
        _caller: Caller<needs::CatalogRead>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<PlanView>>> {
        let world = self.0.world();
        let entries = section(&world.catalog, "plans");
        let plans = entries.into_iter().map(|entry| PlanView::of(&world, entry));
        let plans = plans.collect::<Result<Vec<_>>>()?;
        Ok(Json(page(plans, limit.0, cursor.0, |plan| &plan.key)?))
    }

    /// List roles
    #[oai(path = "/roles", method = "get", operation_id = "list_roles")]
    async fn list_roles(
        &self,
        _caller: Caller<needs::CatalogRead>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Entries {
        self.section("roles", limit.0, cursor.0)
    }

    /// List guards
    #[oai(path = "/guards", method = "get", operation_id = "list_guards")]
    async fn list_guards(
        &self,
        _caller: Caller<needs::CatalogRead>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Entries {
        self.section("guards", limit.0, cursor.0)
    }

    /// List routes
    #[oai(path = "/routes", method = "get", operation_id = "list_routes")]
    async fn list_routes(
        &self,
        _caller: Caller<needs::CatalogRead>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<RouteView>>> {
        let after = cursor.0.map(|cursor| cursor.key::<u32>()).transpose()?;
        let document = to_json(&self.0.world().catalog);
        let routes = document.get("routes").and_then(Value::as_array).cloned().unwrap_or_default();
        let limit = limit.0.unwrap_or_default().get();
        let numbered = (0_u32..).zip(routes).skip_while(|(at, _)| after.is_some_and(|a| *at <= a));
        let views = numbered.map(|(index, definition)| RouteView { index, definition });
        let found = views.take(limit + 1).collect();
        let page = paging::Page::of(found, limit, |route: &RouteView| route.index);
        Ok(Json(Page::of(page, |route| route)?))
    }
}

impl PartsApi {
    fn section(&self, name: &str, limit: Option<Limit>, cursor: Option<Cursor>) -> Entries {
        let entries = section(&self.0.world().catalog, name);
        Ok(Json(page(entries, limit, cursor, |entry| &entry.key)?))
    }
}

/// The entries of a section of the canonical document, by key.
fn section(catalog: &Catalog, name: &str) -> Vec<EntryView> {
    let document = to_json(catalog);
    let entries: Map<String, Value> =
        document.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    let mut entries: Vec<_> =
        entries.into_iter().map(|(key, definition)| EntryView { key, definition }).collect();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    entries
}

impl PlanView {
    fn of(world: &World, entry: EntryView) -> Result<Self> {
        let EntryView { key, definition } = entry;
        let newest = world.plans.iter().find(|plan| plan.plan.as_str() == key);
        let (version, gives) = match newest {
            Some(plan) => {
                let content = &plan.content;
                let features = content.features.iter();
                let features: Map<String, Value> = features
                    .map(|(k, v)| (k.to_string(), crate::domain::catalog::value_to_json(v)))
                    .collect();
                let gives = serde_json::json!({
                    "modules": content.modules,
                    "features": features,
                    "permissions": content.permissions,
                    "seats": content.seats,
                });
                (plan.version, gives)
            }
            None => return Err(Error::internal("a plan of the catalog has no version")),
        };
        Ok(Self { key, version, definition, gives })
    }
}

/// A page of entries that are sorted by key.
fn page<T: ToJSON>(
    entries: Vec<T>,
    limit: Option<Limit>,
    cursor: Option<Cursor>,
    key: impl Fn(&T) -> &String,
) -> Result<Page<T>> {
    let after = cursor.map(|cursor| cursor.key::<String>()).transpose()?;
    let limit = limit.unwrap_or_default().get();
    let rest = entries.into_iter().skip_while(|e| after.as_ref().is_some_and(|a| key(e) <= a));
    let page = paging::Page::of(rest.take(limit + 1).collect(), limit, |e| key(e).clone());
    Page::of(page, |entry| entry)
}
