//! RFC 9457 for every error, whoever raised it: our own, poem's, poem-openapi's, a panic.
//!
//! Invariants: one `match` without a `_` arm names the status and code of each of our errors;
//! every member is always there; nothing from inside (SQL, paths, secrets) gets out.
//!
//! Errors travel through poem as `Err` to the outermost layer, `edge`, which alone makes problems
//! of them. Nothing that flattens errors into responses may sit in between.

use std::collections::BTreeMap;

use poem::{
    Body, Response,
    error::{MethodNotAllowedError, NotFoundError, ReadBodyError},
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    Object,
    error::{ParseParamError, ParsePathError},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Fault, INVALID_CODE},
    http::failure::{Failure, Raised, Refusal},
};

/// The media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Seconds after which one may try again.
pub const RETRY_AFTER: &str = "1";

/// Problem details (RFC 9457). Every member is always there.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
pub struct Problem {
    /// Identifies the kind of problem: `urn:entitled:problem:` and the code.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is the matter, for people.
    pub detail: String,
    /// The path of the request.
    pub instance: String,
    /// What is the matter, for programs. Stable.
    pub code: String,
    /// What is wrong with each field or parameter.
    pub fields: BTreeMap<String, Vec<String>>,
    /// Also in the header `X-Request-Id` and in the server's log.
    pub request_id: String,
    /// For the header `Retry-After`, in seconds.
    #[oai(skip)]
    #[serde(skip)]
    pub retry_after: Option<u64>,
    /// Extension members (RFC 9457, 3.2): what a refused decision says beside its code.
    #[oai(skip)]
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// A problem without an instance or a request yet; `edge` puts them in.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let dashed = code.to_ascii_lowercase().replace('_', "-");
        Self {
            kind: format!("urn:entitled:problem:{dashed}"),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: detail.into(),
            instance: String::new(),
            code: code.into(),
            fields: BTreeMap::new(),
            request_id: String::new(),
            retry_after: None,
            more: serde_json::Map::new(),
        }
    }

    /// The same problem under another status.
    #[must_use]
    pub fn under(self, status: StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").into();
        Self { title, status: status.as_u16(), ..self }
    }

    /// The problem that one of our errors is.
    #[must_use]
    pub fn of_error(error: &Error) -> Self {
        let (status, code) = status_and_code(error);
        let mut problem = Self::new(status, code, error.to_string());
        match error {
            Error::Malformed(fault) => problem.add(fault),
            Error::Invalid { faults, .. } => faults.iter().for_each(|fault| problem.add(fault)),
            Error::InvalidActivationCode => problem.add(&Fault::new("code", INVALID_CODE)),
            Error::RateLimited { seconds } | Error::TooManyRequests { seconds } => {
                problem.retry_after = Some(*seconds)
            }
            Error::Unauthenticated(_)
            | Error::UnknownSigner
            | Error::Forbidden(_)
            | Error::ProvisioningNotAllowed(_)
            | Error::TenantNotFound(_)
            | Error::NotFound { .. }
            | Error::Conflict { .. }
            | Error::PreconditionFailed
            | Error::IdempotencyKeyReused
            | Error::Overloaded
            | Error::Unavailable(_)
            | Error::Storage(_)
            | Error::TenantDamaged(_)
            | Error::Internal(_) => {}
        }
        problem
    }

    /// The problem that any error is that travelled through poem. `parameter` turns poem's
    /// positional path parameter names (`param0`) back into the documented ones.
    pub fn of(err: &poem::Error, parameter: impl Fn(&str) -> String) -> Self {
        if let Some(Failure(error)) = err.downcast_ref() {
            return Self::of_error(error);
        }
        if let Some(Raised(problem)) = err.downcast_ref() {
            return problem.clone();
        }
        if let Some(refusal) = err.downcast_ref::<Refusal>() {
            return refusal.problem();
        }
        if let Some(err) = err.downcast_ref::<ParseParamError>() {
            return Self::of_error(&Error::invalid(err.name, reason(&err.reason)));
        }
        // An ill-formed key can't name anything.
        if let Some(err) = err.downcast_ref::<ParsePathError>() {
            let name = parameter(err.name);
            let code = if name == "tenant" { "TENANT_NOT_FOUND" } else { "NOT_FOUND" };
            return Self::new(StatusCode::NOT_FOUND, code, format!("There is no such {name}."));
        }
        if err.is::<NotFoundError>() {
            return Refusal::UnknownPath.problem();
        }
        if err.is::<MethodNotAllowedError>() {
            return Refusal::MethodNotAllowed.problem();
        }
        if matches!(err.downcast_ref(), Some(ReadBodyError::PayloadTooLarge)) {
            return Refusal::BodyTooLarge.problem();
        }
        Self::of_status(err.status())
    }

    /// The problem of a response that is an error without saying which. Its own text may hold
    /// what nobody should see.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        let (code, detail) = match status.as_u16() {
            400 => ("MALFORMED", "The request can't be read."),
            401 => ("UNAUTHENTICATED", "Send a valid token or API key."),
            403 => ("FORBIDDEN", "That is not permitted."),
            404 => ("NOT_FOUND", "There is no such thing."),
            405 => return Refusal::MethodNotAllowed.problem(),
            413 => return Refusal::BodyTooLarge.problem(),
            503 => ("UNAVAILABLE", "The service can't answer now; try again shortly."),
            _ if status.is_client_error() => ("REFUSED", "The request can't be answered."),
            _ => return Self::of_error(&Error::internal("unknown")),
        };
        Self::new(status, code, detail)
    }

    /// Its status.
    #[must_use]
    pub fn http_status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Puts it into `response`, whose other headers stay, and adds the headers that its status
    /// calls for.
    pub fn write_to(&self, response: &mut Response) {
        response.set_status(self.http_status());
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::ETAG);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.status {
            401 => {
                let challenge = HeaderValue::from_static("Bearer realm=\"entitled\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            429 | 503 => {
                let shortly = HeaderValue::from_static(RETRY_AFTER);
                let after = self.retry_after.map_or(shortly, HeaderValue::from);
                headers.insert(header::RETRY_AFTER, after);
            }
            _ => {}
        }
        response.set_body(Body::from(serde_json::to_vec(self).unwrap_or_default()));
    }

    fn add(&mut self, fault: &Fault) {
        if !fault.field.is_empty() {
            self.fields.entry(fault.field.clone()).or_default().push(fault.message.clone());
        }
    }
}

/// The status and the code of each of our errors.
pub(super) fn status_and_code(error: &Error) -> (StatusCode, &'static str) {
    match error {
        Error::Unauthenticated(_) | Error::UnknownSigner => {
            (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED")
        }
        Error::Forbidden(_) => (StatusCode::FORBIDDEN, "FORBIDDEN"),
        Error::ProvisioningNotAllowed(_) => (StatusCode::FORBIDDEN, "PROVISIONING_NOT_ALLOWED"),
        Error::TenantNotFound(_) => (StatusCode::NOT_FOUND, "TENANT_NOT_FOUND"),
        Error::NotFound { .. } => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        Error::Malformed(_) => (StatusCode::BAD_REQUEST, "MALFORMED"),
        Error::Invalid { code, .. } => (StatusCode::UNPROCESSABLE_ENTITY, code),
        Error::Conflict { code, .. } => (StatusCode::CONFLICT, code),
        Error::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED"),
        Error::IdempotencyKeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED"),
        Error::InvalidActivationCode => {
            (StatusCode::UNPROCESSABLE_ENTITY, "INVALID_ACTIVATION_CODE")
        }
        Error::RateLimited { .. } | Error::TooManyRequests { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED")
        }
        Error::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED"),
        Error::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        Error::Storage(fault) => (StatusCode::SERVICE_UNAVAILABLE, fault.code()),
        Error::TenantDamaged(_) => (StatusCode::SERVICE_UNAVAILABLE, "TENANT_DAMAGED"),
        Error::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
    }
}

/// poem-openapi wraps the reason in the names of types: `failed to parse "limit": must ...
/// (occurred while parsing "optional_limit")`.
fn reason(text: &str) -> &str {
    if text.contains("expects an input value.") {
        return "is required";
    }
    let text = text.split_once(" (occurred while parsing").map_or(text, |(text, _)| text);
    match text.strip_prefix("failed to parse \"").and_then(|rest| rest.split_once("\": ")) {
        Some((_, reason)) => reason,
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_always_there() {
        let error = Error::Invalid {
            code: "INVALID_VALUE",
            faults: vec![Fault::new("plan", "a"), Fault::new("plan", "b")],
        };
        let json = serde_json::to_value(Problem::of_error(&error)).unwrap();
        let members: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(members.len(), 8, "{members:?}");
        assert_eq!(json["type"], "urn:entitled:problem:invalid-value");
        assert_eq!(json["fields"]["plan"], serde_json::json!(["a", "b"]));
    }

    #[test]
    fn nothing_from_inside_gets_out() {
        let text = format!("{:?}", Problem::of_error(&Error::internal("SELECT secret")));
        assert!(!text.contains("SELECT"), "{text}");
    }

    #[test]
    fn the_name_of_the_type_is_no_reason() {
        assert_eq!(reason("failed to parse \"key\": must be short"), "must be short");
        assert_eq!(reason("Type \"key\" expects an input value."), "is required");
    }
}
