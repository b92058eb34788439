//! The outermost layer: request id and trace, panic guard, deadline, problems, headers, metrics.
//!
//! One layer and not seven, because the order of these steps matters and because each poem layer
//! boxes a future. What poem's own get wrong for us stands in `docs/` with the other traps of
//! these crates.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::FutureExt;
use poem::{
    Endpoint, Error, IntoResponse, Middleware, PathPattern, Request, Response, Result,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
};
use tokio::time::Instant;

use crate::{
    http::{
        api::authorize,
        auth::AuthState,
        failure::{Failure, Refusal},
        forwarded,
        problem::{self, Problem},
        proxies::TrustedProxies,
        rates,
        routes::{RouteInfo, RouteTable},
        trace_context::{self, TraceContext},
    },
    service::rates::Standing,
    telemetry::spans::{Span, Spans},
};

/// What every request carries: who can identify its caller, its id, and the limits of its body.
#[derive(Debug, Clone)]
pub struct Context {
    /// What credentials are checked against.
    pub auth: Arc<AuthState>,
    /// What each operation takes.
    pub routes: Arc<RouteTable>,
    /// The id of the request.
    pub request_id: Arc<str>,
    /// How much the caller may still send, once it is known.
    pub standing: Arc<OnceLock<Standing>>,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// When the body must have arrived.
    pub body_until: Instant,
}

/// The limits and habits of the front door.
#[derive(Debug, Clone)]
pub struct EdgeSettings {
    /// The largest body.
    pub body_bytes: usize,
    /// The largest body on `large_paths`.
    pub large_body_bytes: usize,
    /// Paths that take larger bodies: the catalog, batches, imports.
    pub large_paths: Vec<String>,
    /// The longest time that a body may take to arrive.
    pub body_deadline: Duration,
    /// The longest time until the head of the answer; a stream that has started goes on.
    pub handler_deadline: Duration,
    /// Whose word is taken for what somebody else has asked for.
    pub trusted_proxies: TrustedProxies,
    /// What is logged about each request.
    pub log: RequestLog,
    /// Who takes its span, if anyone does.
    pub spans: Option<Spans>,
}

/// What is logged about each request. Errors are logged in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequestLog {
    /// Nothing.
    #[default]
    Off,
    /// One line per request.
    Access,
    /// One line, and a span around everything that happens in it.
    Span,
}

impl Default for EdgeSettings {
    fn default() -> Self {
        let large = [
            "/api/v1/admin/catalog",
            "/api/v1/check/batch",
            "/api/v1/admin/legacy/import",
            "/api/v1/admin/routes/coverage",
            "/api/v1/admin/rollout",
        ];
        Self {
            body_bytes: 64 * 1024,
            large_body_bytes: 1024 * 1024,
            large_paths: large.map(str::to_owned).to_vec(),
            body_deadline: Duration::from_secs(10),
            handler_deadline: Duration::from_secs(30),
            trusted_proxies: TrustedProxies::default(),
            log: RequestLog::Off,
            spans: None,
        }
    }
}

/// The outermost layer.
#[derive(Debug, Clone)]
pub struct Edge {
    /// What the document knows about each route.
    pub routes: Arc<RouteTable>,
    /// What credentials are checked against.
    pub auth: Arc<AuthState>,
    /// Limits and habits.
    pub settings: Arc<EdgeSettings>,
}

impl<E: Endpoint> Middleware<E> for Edge {
    type Output = EdgeEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        EdgeEndpoint { inner, edge: self.clone() }
    }
}

/// Everything, behind the edge.
#[derive(Debug)]
pub struct EdgeEndpoint<E> {
    inner: E,
    edge: Edge,
}

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl<E: Endpoint> Endpoint for EdgeEndpoint<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let started = Instant::now();
        let id = request_id(&request);
        let trace = TraceContext::of(request.headers());
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let settings = &self.edge.settings;
        let standing = Arc::new(OnceLock::new());
        let large = settings.large_paths.iter().any(|path| path == uri.path());
        request.set_data(Context {
            auth: self.edge.auth.clone(),
            routes: self.edge.routes.clone(),
            request_id: id.clone(),
            standing: standing.clone(),
            body_limit: if large { settings.large_body_bytes } else { settings.body_bytes },
            body_until: started + settings.body_deadline,
        });

        let outcome = if settings.log == RequestLog::Span {
            let TraceContext { trace_id, span_id, .. } = &trace;
            let path = uri.path();
            let span = tracing::info_span!("request", id = %id, %trace_id, %span_id, %method, path);
            tracing::Instrument::instrument(self.answer(request), span).await
        } else {
            self.answer(request).await
        };

        let pattern = match &outcome {
            Ok(response) => response.data::<PathPattern>(),
            Err(err) => err.data::<PathPattern>(),
        };
        let route = self.edge.routes.get(pattern.map(|pattern| &*pattern.0));
        let mut response = match outcome {
            Ok(mut response) => {
                complete_bare_error(&mut response, &id, uri.path());
                response
            }
            Err(err) => problem_response(err, route, (&id, &trace), uri.path()),
        };
        set_headers(&mut response, &id);
        if let Some(standing) = standing.get() {
            rates::set_headers(&mut response, standing);
        }

        let (status, took) = (response.status(), started.elapsed());
        route.count(&method, status, took);
        if let Some(spans) = &settings.spans {
            record(spans, trace.clone(), &id, (&method, &route.template), (status, took));
        }
        if settings.log != RequestLog::Off {
            let (status, us) = (status.as_u16(), took.as_micros() as u64);
            let route = route.template.as_str();
            let TraceContext { trace_id, span_id, .. } = &trace;
            tracing::info!(request_id = %id, %trace_id, %span_id, %method, route, status, us, "answered");
        }
        Ok(response)
    }
}

impl<E: Endpoint> EdgeEndpoint<E> {
    /// The application's answer, within its deadline, whatever it does.
    async fn answer(&self, request: Request) -> Result<Response> {
        // Pinned where it stands: what follows would otherwise move the whole future three times.
        let work = std::pin::pin!(async {
            self.inner.call(request).await.map(IntoResponse::into_response)
        });
        // The timer is touched only by requests that have to wait for something.
        let in_time = tokio::time::timeout(self.edge.settings.handler_deadline, work);
        // Needs `panic = "unwind"`, and does not see panics in spawned tasks or streams.
        match AssertUnwindSafe(in_time).catch_unwind().await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Refusal::Timeout.into()),
            Err(_) => Err(Failure(crate::error::Error::internal("a handler panicked")).into()),
        }
    }
}

/// Hands on the span of a request that has just been answered, if somebody wants it.
fn record(
    spans: &Spans,
    trace: TraceContext,
    id: &Arc<str>,
    (method, route): (&Method, &str),
    (status, took): (StatusCode, Duration),
) {
    let (sampling, lot) = trace.sampling();
    if !spans.want(sampling, lot) {
        return;
    }
    let TraceContext { trace_id, span_id, parent_id, is_sampled: _, state } = trace;
    let now = std::time::SystemTime::now();
    spans.record(Span {
        trace_id: trace_id.to_string(),
        span_id: span_id.to_string(),
        parent_id: parent_id.map(|id| id.to_string()),
        state,
        began: now.checked_sub(took).unwrap_or(now),
        took,
        method: method.to_string(),
        route: route.to_owned(),
        status: status.as_u16(),
        request_id: id.to_string(),
    });
}

/// Takes the caller's id only where it is harmless in a log line.
fn request_id(request: &Request) -> Arc<str> {
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        (8..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match given.filter(harmless) {
        Some(id) => id.into(),
        None => made_id(),
    }
}

/// A version 7 UUID. It need not be hard to guess, so it costs no system call for randomness.
fn made_id() -> Arc<str> {
    let random = trace_context::random();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ms = since.map_or(0, |since| since.as_millis() as u64);
    let mut bytes = [0; 10];
    bytes.iter_mut().zip(random.to_be_bytes()).for_each(|(to, from)| *to = from);
    let id = uuid::Builder::from_unix_timestamp_millis(ms, &bytes).into_uuid();
    let mut buffer = uuid::Uuid::encode_buffer();
    Arc::from(&*id.simple().encode_lower(&mut buffer))
}

fn problem_response(
    err: Error,
    route: &RouteInfo,
    (id, trace): (&Arc<str>, &TraceContext),
    path: &str,
) -> Response {
    let status = err.status();
    if status.is_redirection() || status.is_success() {
        // poem uses errors for these too.
        return err.into_response();
    }
    let mut problem = Problem::of(&err, |positional| {
        let at = positional.strip_prefix("param").and_then(|at| at.parse::<usize>().ok());
        at.and_then(|at| route.parameters.get(at)).map_or(positional, String::as_str).to_owned()
    });
    if problem.status == 500 {
        log_chain(&err, id, trace);
    }
    problem.request_id = id.as_ref().into();
    problem.instance = path.into();
    // Headers that the error carries stay.
    let mut response = err.into_response();
    if path == forwarded::BEHIND_NGINX {
        problem = authorize::veil(problem, &mut response);
    }
    problem.write_to(&mut response);
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(allow) = HeaderValue::from_str(&route.methods.join(", "))
    {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    if response.status() == StatusCode::REQUEST_TIMEOUT {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The one place where an error is logged, with everything behind it.
fn log_chain(err: &Error, id: &Arc<str>, trace: &TraceContext) {
    let failure = err.downcast_ref::<Failure>();
    let chain = failure.map_or_else(|| err.to_string(), |failure| failure.0.chain());
    let TraceContext { trace_id, span_id, .. } = trace;
    tracing::error!(request_id = %id, %trace_id, %span_id, error = chain, "request failed");
}

/// Catches `Ok(StatusCode::NOT_FOUND.into())` and the like.
fn complete_bare_error(response: &mut Response, id: &Arc<str>, path: &str) {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error())
        || response.content_type() == Some(problem::CONTENT_TYPE)
    {
        return;
    }
    let mut problem = Problem::of_status(status);
    problem.request_id = id.as_ref().into();
    problem.instance = path.into();
    problem.write_to(response);
}

fn set_headers(response: &mut Response, id: &Arc<str>) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID.clone(), value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_harmless_id_is_taken() {
        let id = |text: &str| request_id(&Request::builder().header("x-request-id", text).finish());
        assert_eq!(&*id("abc-123_x.Y"), "abc-123_x.Y");
        for bad in ["short", "has space in it", "line\u{9}break", &"x".repeat(65)] {
            assert_ne!(&*id(bad), bad);
        }
    }

    #[test]
    fn made_ids_differ() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| made_id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 32 && id.as_bytes()[12] == b'7'), "{ids:?}");
    }
}
