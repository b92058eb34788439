//! What is not in the document: health, metrics, the document itself and its reader.

use bytes::Bytes;
use poem::{
    Endpoint, IntoResponse, Response, Route,
    endpoint::make_sync,
    get,
    http::{StatusCode, header},
};
use poem_openapi::{OpenApi, OpenApiService};
use serde::Serialize;
use serde_json::Value;

use crate::{
    http::{
        failure::{Raised, Refusal},
        routes::RouteTable,
        spec,
    },
    telemetry,
};

/// Whether the service can take requests, and what stands behind that.
#[derive(Debug, Clone, Serialize)]
pub struct Readiness {
    /// Whether it can.
    pub ready: bool,
    /// Each thing that was looked at. No secrets, no paths: anyone may read it.
    pub checks: std::collections::BTreeMap<&'static str, String>,
}

/// The paths here: for the route table, and the only ones that need no credential.
pub const PATHS: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"];

/// Adds the paths here to a route table.
#[must_use]
pub fn in_table(table: RouteTable) -> RouteTable {
    PATHS.into_iter().fold(table, RouteTable::with_page)
}

/// The routes, beside those of the operations.
pub fn routes<A: OpenApi + 'static>(
    route: Route,
    document: &Value,
    readiness: impl Fn() -> Readiness + Send + Sync + 'static,
) -> Route {
    let json = spec::to_json(document);
    route
        .at("/healthz", get(fixed("application/json", r#"{"status":"ok"}"#, NO_STORE)))
        .at("/readyz", get(make_sync(move |_| ready(&readiness()))))
        .at("/metrics", get(make_sync(|_| metrics())))
        .at("/docs", get(docs::<A>(&json)))
        .at("/openapi.json", get(fixed("application/json", json, "no-cache")))
}

const NO_STORE: &str = "no-store";

/// A body that never changes: shared, not copied.
fn fixed(
    content_type: &'static str,
    body: impl Into<Bytes>,
    cache: &'static str,
) -> impl Endpoint<Output = Response> {
    let body = body.into();
    make_sync(move |_| {
        Response::builder()
            .content_type(content_type)
            .header(header::CACHE_CONTROL, cache)
            .body(body.clone())
    })
}

/// Where it is not ready, a problem as every other error is, with the checks as its fields.
fn ready(readiness: &Readiness) -> poem::Result<Response> {
    if readiness.ready {
        let body = serde_json::to_vec(readiness).unwrap_or_default();
        return Ok(Response::builder().content_type("application/json").body(body));
    }
    let mut problem = Refusal::NotReady.problem();
    let checks = readiness.checks.iter();
    problem.fields = checks.map(|(name, text)| ((*name).to_owned(), vec![text.clone()])).collect();
    Err(Raised(problem).into())
}

fn metrics() -> Response {
    match telemetry::scrape() {
        Some(text) => {
            Response::builder().content_type("text/plain; version=0.0.4; charset=utf-8").body(text)
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Swagger UI, which carries its own scripts and so works offline. The stock page inlines the
/// document as poem-openapi made it; the repaired one takes its place.
fn docs<A: OpenApi + 'static>(json: &str) -> impl Endpoint<Output = Response> + use<A> {
    let service: OpenApiService<_, ()> = spec::described::<A>();
    // A description with `</script>` would end the inline script.
    let json = json.replace("</", "<\\/");
    let page = service.swagger_ui_html().replacen(&service.spec(), &json, 1);
    let page = Bytes::from(page);
    make_sync(move |_| {
        Response::builder()
            .content_type("text/html; charset=utf-8")
            .header(header::CACHE_CONTROL, "no-cache")
            .header(
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                 img-src data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'",
            )
            .body(page.clone())
    })
}
