//! The front door: the only place that knows poem, JSON and status codes.
//!
//! A request passes `listener` (limits, deadlines), `edge` (request id, panic guard, problems,
//! metrics), `auth` (who, and may they), its handler in `api`, and leaves the way it came.
//!
//! Refuses to know: SQL, decisions.

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Response, Route};
use poem_openapi::{OpenApi, OpenApiService};

pub mod accept;
pub mod api;
pub mod auth;
pub mod codes;
pub mod edge;
pub mod etag;
pub mod failure;
pub mod forwarded;
pub mod legacy_file;
pub mod lenient;
pub mod listener;
mod merge;
pub mod pages;
pub mod paging;
pub mod parse;
pub mod payload;
pub mod problem;
pub mod proxies;
mod rates;
pub mod replies;
pub mod routes;
pub mod spec;
mod stall;
mod string_type;
pub mod trace_context;
pub mod types;
pub mod words;

#[cfg(test)]
mod tests;

use crate::{
    error::{Error, Result},
    http::{
        api::authorize::{self, Door},
        auth::AuthState,
        edge::{Edge, EdgeSettings},
        pages::Readiness,
    },
    service::Service,
    telemetry,
};

/// The front door of a service: all of its operations, forward-auth among them.
pub fn front(
    service: Service,
    auth: Arc<AuthState>,
    settings: EdgeSettings,
    readiness: impl Fn() -> Readiness + Send + Sync + 'static,
) -> Result<impl Endpoint<Output = Response>> {
    let trusted = settings.trusted_proxies.clone();
    let (route, edge) = assembled(api::apis(&service), auth, settings, readiness)?;
    Ok(Door::new(route, service, trusted).with(edge))
}

/// The operations `apis`, the pages beside them, and the edge around it all.
pub fn app<A: OpenApi + 'static>(
    apis: A,
    auth: Arc<AuthState>,
    settings: EdgeSettings,
    readiness: impl Fn() -> Readiness + Send + Sync + 'static,
) -> Result<impl Endpoint<Output = Response>> {
    let (route, edge) = assembled(apis, auth, settings, readiness)?;
    Ok(route.with(edge))
}

fn assembled<A: OpenApi + 'static>(
    apis: A,
    auth: Arc<AuthState>,
    settings: EdgeSettings,
    readiness: impl Fn() -> Readiness + Send + Sync + 'static,
) -> Result<(Route, Edge)> {
    // Before the first request: a counter that was made without a recorder counts nothing for ever.
    let _ = telemetry::metrics();
    let document = spec::document::<A>().map_err(Error::internal)?;
    let table = authorize::in_table(pages::in_table(routes::of_document(&document)));
    let operations = OpenApiService::new(apis, "entitled", env!("CARGO_PKG_VERSION"));
    let route = pages::routes::<A>(Route::new(), &document, readiness).nest("/", operations);
    Ok((route, Edge { routes: table.into(), auth, settings: settings.into() }))
}
