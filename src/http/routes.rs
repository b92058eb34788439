//! What is known about each route: its template, its methods, its parameters, its counters.
//!
//! Invariants: labels are templates, known methods and known statuses, never what a caller sent;
//! a counter is looked up without a lock and without an allocation.

use std::{collections::HashMap, sync::OnceLock, time::Duration};

use metrics::{Counter, Histogram};
use poem::http::{Method, StatusCode};
use serde_json::Value;

use crate::{domain::keys::nearest, error::Fault};

/// The methods with a label of their own.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "other"];

/// The statuses with a label of their own.
const STATUSES: [&str; 21] = [
    "200", "201", "202", "204", "304", "400", "401", "402", "403", "404", "405", "408", "409",
    "412", "413", "415", "422", "429", "500", "503", "other",
];

/// One route.
#[derive(Debug, Default)]
pub struct RouteInfo {
    /// As documented: `/api/v1/plans/{plan}`.
    pub template: String,
    /// For the header `Allow`, which poem leaves out of its 405.
    pub methods: Vec<String>,
    /// The names of the path parameters in order; poem calls them `param0`, `param1`.
    pub parameters: Vec<String>,
    /// The names of the query parameters of each method.
    queries: HashMap<String, Vec<String>>,
    meters: [OnceLock<Box<[OnceLock<Meter>; STATUSES.len()]>>; METHODS.len()],
}

#[derive(Debug)]
struct Meter {
    requests: Counter,
    seconds: Histogram,
}

impl RouteInfo {
    /// A route without parameters.
    #[must_use]
    pub fn new(template: impl Into<String>) -> Self {
        Self { template: template.into(), ..Self::default() }
    }

    /// The faults of a query: names that the method doesn't take, or that stand there twice. A name is
    /// taken as it was sent, so an encoded one is none.
    #[must_use]
    pub fn query_faults(&self, method: &Method, query: &str) -> Vec<Fault> {
        let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
        let known = self.queries.get(method).map_or(&[][..], Vec::as_slice);
        let mut faults = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            if !known.iter().any(|known| known == name) {
                let near = nearest(name, known.iter().map(String::as_str));
                let hint = near.first().map(|near| format!("; did you mean {near}?"));
                let message = format!("is no parameter here{}", hint.unwrap_or_default());
                faults.push(Fault::new(name, message));
            } else if seen.contains(&name) {
                faults.push(Fault::new(name, "stands there twice"));
            }
            seen.push(name);
        }
        faults
    }

    /// Counts one request.
    pub fn count(&self, method: &Method, status: StatusCode, took: Duration) {
        let (method, status) = (method_index(method), status_index(status));
        let Some(of_method) = self.meters.get(method) else { return };
        let of_method = of_method.get_or_init(Default::default);
        let Some(meter) = of_method.get(status) else { return };
        let meter = meter.get_or_init(|| self.meter(method, status));
        meter.requests.increment(1);
        meter.seconds.record(took.as_secs_f64());
    }

    fn meter(&self, method: usize, status: usize) -> Meter {
        let labels = [
            ("route", self.template.clone()),
            ("method", METHODS.get(method).copied().unwrap_or("other").to_owned()),
            ("status", STATUSES.get(status).copied().unwrap_or("other").to_owned()),
        ];
        Meter {
            requests: metrics::counter!("entitlement_http_requests_total", &labels),
            seconds: metrics::histogram!("http_request_duration_seconds", &labels),
        }
    }
}

fn method_index(method: &Method) -> usize {
    METHODS.iter().position(|known| method.as_str() == *known).unwrap_or(METHODS.len() - 1)
}

fn status_index(status: StatusCode) -> usize {
    STATUSES.iter().position(|known| status.as_str() == *known).unwrap_or(STATUSES.len() - 1)
}

/// Every route, by poem's pattern: `/api/v1/plans/:param0`.
#[derive(Debug)]
pub struct RouteTable {
    routes: HashMap<String, RouteInfo>,
    other: RouteInfo,
}

impl RouteTable {
    /// A table of these routes.
    #[must_use]
    pub fn new(routes: HashMap<String, RouteInfo>) -> Self {
        Self { routes, other: RouteInfo::new("other") }
    }

    /// Adds a route that is not in the document and knows only `GET`.
    #[must_use]
    pub fn with_page(mut self, path: &str) -> Self {
        let methods = vec!["GET".into(), "HEAD".into()];
        self.routes.insert(path.into(), RouteInfo { methods, ..RouteInfo::new(path) });
        self
    }

    /// Adds a route that is not in the document and knows every method.
    #[must_use]
    pub fn with_any_method(mut self, path: &str) -> Self {
        self.routes.insert(path.into(), RouteInfo::new(path));
        self
    }

    /// The route of a pattern; requests that matched none share one.
    #[must_use]
    pub fn get(&self, pattern: Option<&str>) -> &RouteInfo {
        pattern.and_then(|pattern| self.routes.get(pattern)).unwrap_or(&self.other)
    }
}

/// The routes of a document, by poem's patterns.
#[must_use]
pub fn of_document(document: &Value) -> RouteTable {
    let mut routes = HashMap::<String, RouteInfo>::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        let mut info = RouteInfo::new(path);
        let parts = path.split('/').map(|part| {
            let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
            let Some(name) = name else { return part.to_owned() };
            info.parameters.push(name.to_owned());
            format!(":param{}", info.parameters.len() - 1)
        });
        let pattern = parts.collect::<Vec<_>>().join("/");
        for (method, operation) in item.as_object().into_iter().flatten() {
            let all = operation["parameters"].as_array().into_iter().flatten();
            let queries = all.filter(|parameter| parameter["in"] == "query");
            let names = queries.filter_map(|query| query["name"].as_str().map(str::to_owned));
            info.queries.insert(method.to_ascii_uppercase(), names.collect());
            info.methods.push(method.to_ascii_uppercase());
            if method == "get" {
                // poem answers HEAD from GET.
                info.methods.push("HEAD".into());
            }
        }
        routes.insert(pattern, info);
    }
    RouteTable::new(routes)
}
