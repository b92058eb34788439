//! What travels through poem as `Err` until `edge` makes a problem of it.

use std::fmt;

use poem::{error::ResponseError, http::StatusCode};
use poem_openapi::{
    ApiResponse,
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::Type,
};

use crate::{
    error::Error,
    http::problem::{CONTENT_TYPE, Problem, status_and_code},
};

/// What only the front door refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such path.
    #[error("There is nothing at this path.")]
    UnknownPath,
    /// Another method.
    #[error("This path does not know this method.")]
    MethodNotAllowed,
    /// Another or no `Content-Type`, or an encoded body.
    #[error("The body must be sent as {0}, unencoded.")]
    UnsupportedMediaType(&'static str),
    /// The answer can't be written in what `Accept` names.
    #[error("This can be answered as {0}; name one of them in Accept.")]
    NotAcceptable(&'static str),
    /// Too many bytes.
    #[error("The body is too large.")]
    BodyTooLarge,
    /// The body came too slowly.
    #[error("The body did not arrive in time.")]
    BodyTimeout,
    /// The answer took too long.
    #[error("The request took too long.")]
    Timeout,
    /// Too many connections.
    #[error("The server has too many connections; try again shortly.")]
    TooManyConnections,
    /// Not ready to take requests.
    #[error("The service is not ready.")]
    NotReady,
}

impl Refusal {
    fn status_and_code(self) -> (StatusCode, &'static str) {
        match self {
            Self::UnknownPath => (StatusCode::NOT_FOUND, "UNKNOWN_PATH"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::UnsupportedMediaType(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE")
            }
            Self::NotAcceptable(_) => (StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE"),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "TIMEOUT"),
            Self::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "TIMEOUT"),
            Self::TooManyConnections => (StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED"),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        }
    }

    /// The problem it is.
    #[must_use]
    pub fn problem(self) -> Problem {
        let (status, code) = self.status_and_code();
        Problem::new(status, code, self.to_string())
    }
}

impl ResponseError for Refusal {
    fn status(&self) -> StatusCode {
        self.status_and_code().0
    }
}

/// A problem that was put together where it arose, on its way through poem.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.detail)]
pub struct Raised(pub Problem);

impl ResponseError for Raised {
    fn status(&self) -> StatusCode {
        self.0.http_status()
    }
}

/// One of our errors on its way through poem. Handlers return `Answer<Json<View>>` and use `?`.
#[derive(Debug)]
pub struct Failure(pub Error);

/// What a handler returns.
pub type Answer<T> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl ResponseError for Failure {
    fn status(&self) -> StatusCode {
        status_and_code(&self.0).0
    }
}

/// Documents a problem as the default response; `spec` adds the statuses that follow from the
/// operation itself.
impl ApiResponse for Failure {
    fn meta() -> MetaResponses {
        let content =
            vec![MetaMediaType { content_type: CONTENT_TYPE, schema: Problem::schema_ref() }];
        let response = MetaResponse {
            description: "Any error",
            status: None,
            status_range: None,
            content,
            headers: vec![],
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(registry: &mut Registry) {
        Problem::register(registry);
    }
}
