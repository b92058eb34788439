//! Forward-auth: a reverse proxy asks whether a request may pass, before the application sees it.
//!
//! Stands beside the operations and not among them: any method, and a path that must be seen as it
//! was sent, are nothing that the document of the operations can say.
//!
//! Invariants: what was asked for has one source, and everything doubtful about it is refused; who
//! asks is known by the credential alone; an answer that lets pass has all headers, every time.

use std::sync::Arc;

use poem::{
    Endpoint, IntoResponse, PathPattern, Request, Response,
    http::{HeaderName, HeaderValue, StatusCode},
};
use serde_json::Value;

use super::checks::DecisionView;
use crate::{
    error::Error,
    http::{
        auth,
        failure::{Failure, Raised},
        forwarded::{BEHIND_NGINX, Form, HEADERS, PREFIX, asked, refused},
        problem::Problem,
        proxies::TrustedProxies,
        routes::RouteTable,
    },
    service::{
        Service,
        authorize::{Gate, Pass, Passage},
        decisions::Checked,
    },
};

static TENANT: HeaderName = HeaderName::from_static("x-entitled-tenant");
static USER: HeaderName = HeaderName::from_static("x-entitled-user");
static REASON: HeaderName = HeaderName::from_static("x-entitled-reason");
static VERSION: HeaderName = HeaderName::from_static("x-entitled-version");
static STATUS: HeaderName = HeaderName::from_static("x-entitled-status");
static CODE: HeaderName = HeaderName::from_static("x-entitled-code");

/// The paths here, for the route table.
#[must_use]
pub fn in_table(table: RouteTable) -> RouteTable {
    [HEADERS, BEHIND_NGINX, PREFIX].into_iter().fold(table, RouteTable::with_any_method)
}

/// Everything, behind forward-auth. In front of the router, which decodes what it matches.
pub struct Door<E> {
    inner: E,
    service: Service,
    trusted: TrustedProxies,
}

impl<E> Door<E> {
    /// Puts forward-auth in front of `inner`.
    pub fn new(inner: E, service: Service, trusted: TrustedProxies) -> Self {
        Self { inner, service, trusted }
    }
}

impl<E: Endpoint> Endpoint for Door<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let Some(form) = Form::of(request.uri().path()) else {
            return self.inner.call(request).await.map(IntoResponse::into_response);
        };
        let pattern = PathPattern(Arc::from(form.pattern()));
        match self.answer(request, form).await {
            Ok(mut response) => {
                response.set_data(pattern);
                Ok(response)
            }
            Err(mut error) => {
                error.set_data(pattern);
                Err(error)
            }
        }
    }
}

impl<E> Door<E> {
    async fn answer(&self, request: Request, form: Form) -> poem::Result<Response> {
        let (method, path) = asked(&request, form, &self.trusted).map_err(raised)?;
        let pass = match self.service.gate_of(&method, &path) {
            Gate::Open(pass) => pass,
            Gate::Shut => {
                let detail = "No route of the catalog matches this request, and the default is to \
                              refuse.";
                return Err(raised(refused("NO_ROUTE", detail)));
            }
            Gate::Guarded(guarded) => {
                let caller = auth::caller(&request).await;
                let actor = caller.map_err(of_error)?;
                drop(request);
                let passage = self.service.authorize(&actor, &guarded).await;
                match passage.map_err(of_error)? {
                    Passage::Passed(pass) => pass,
                    Passage::Refused(checked) => return Err(raised(of_decision(*checked))),
                    Passage::NoTenant => {
                        let detail = "This route asks for an active tenant, and the caller belongs \
                                      to none; use a token or a key of the tenant.";
                        return Err(raised(refused("TENANT_REQUIRED", detail)));
                    }
                }
            }
        };
        passed(&pass).map_err(of_error)
    }
}

fn raised(problem: Box<Problem>) -> poem::Error {
    Raised(*problem).into()
}

/// A proxy is told 401, 403 or that there is no answer now; which of our errors it was says the code.
fn of_error(error: Error) -> poem::Error {
    let problem = Problem::of_error(&error);
    match problem.status {
        // With what only the log may show.
        401 | 403 | 500.. => Failure(error).into(),
        _ => Raised(problem.under(StatusCode::FORBIDDEN)).into(),
    }
}

/// A refusal as the application itself would answer it, with what `check` says beside the code.
fn of_decision(checked: Checked) -> Box<Problem> {
    let decision = &checked.decision;
    let status = StatusCode::from_u16(decision.status()).ok();
    let status = status.filter(StatusCode::is_client_error).unwrap_or(StatusCode::FORBIDDEN);
    let fields = decision.fields.clone();
    let view = serde_json::to_value(DecisionView::from(checked)).unwrap_or_default();
    let text = |name: &str| view.get(name).and_then(Value::as_str).unwrap_or("REFUSED").to_owned();
    let mut problem = Problem::new(status, &text("code"), text("message"));
    problem.fields = fields.into_iter().map(|(kind, keys)| (kind.to_owned(), keys)).collect();
    for name in ["reason", "remedies", "limit", "data"] {
        let value = view.get(name).cloned().unwrap_or_default();
        problem.more.insert(name.into(), value);
    }
    if let Some(sandbox) = view.get("sandbox") {
        problem.more.insert("sandbox".into(), sandbox.clone());
    }
    Box::new(problem)
}

fn passed(pass: &Pass) -> Result<Response, Error> {
    let Pass { tenant, user, reason, version } = pass;
    let mut response = Response::default();
    for (name, value) in [
        (&TENANT, tenant.as_ref().map_or("", |tenant| tenant.as_str())),
        (&USER, user.as_ref().map_or("", |user| user.as_str())),
        (&REASON, reason),
        (&VERSION, &version.to_string()),
    ] {
        let value = HeaderValue::from_str(value).map_err(Error::internal)?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// A problem as nginx can take it: 401 or 403, with the true status beside it.
pub(in crate::http) fn veil(problem: Problem, response: &mut Response) -> Problem {
    let reason = problem.more.get("reason").and_then(Value::as_str);
    let reason = reason.map_or_else(|| problem.code.to_ascii_lowercase(), str::to_owned);
    for (name, value) in
        [(&STATUS, &problem.status.to_string()), (&CODE, &problem.code), (&REASON, &reason)]
    {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    match problem.status {
        401 => problem,
        _ => problem.under(StatusCode::FORBIDDEN),
    }
}
