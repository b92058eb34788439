//! Every way in which a use case can fail. A refusal is not among them: it is an answer.
//!
//! `http/problem.rs` turns each variant into RFC 9457 with one `match`. No message here carries
//! SQL, a path or a secret; what does is in the `source` chain, which only the log shows.

use std::{error::Error as StdError, fmt};

/// The result of a use case.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is said about every code that can't be redeemed.
pub const INVALID_CODE: &str = "The code is not valid; check it, or ask for another one.";

/// Every way in which a use case can fail.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable credential: 401.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// A token whose key is not known, or not known yet: 401.
    #[error("The token was signed by an unknown key.")]
    UnknownSigner,
    /// The caller's role does not permit it: 403.
    #[error("{0}")]
    Forbidden(String),
    /// The way in which its module is handed out does not permit it: 403
    /// `PROVISIONING_NOT_ALLOWED`.
    #[error("{0}")]
    ProvisioningNotAllowed(String),
    /// There is no such tenant, or the caller may not know of it: 404 `TENANT_NOT_FOUND`.
    #[error("There is no tenant “{0}”.")]
    TenantNotFound(String),
    /// There is no such thing: 404.
    #[error("There is no {kind} “{key}”.")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// Its key or id.
        key: String,
    },
    /// The body or a parameter can't be read at all: 400.
    #[error("{0}")]
    Malformed(Fault),
    /// The values are wrong, all of them named: 422 with `code`.
    #[error("{}", summary(.faults))]
    Invalid {
        /// `UNKNOWN_KEY`, `INVALID_VALUE`, `CATALOG_INVALID`, `KEY_IN_USE`, ...
        code: &'static str,
        /// Every fault, at least one.
        faults: Vec<Fault>,
    },
    /// Its state does not permit it: 409 with `code`.
    #[error("{detail}")]
    Conflict {
        /// `ALREADY_EXISTS`, `SUBSCRIPTION_CLOSED`, ...
        code: &'static str,
        /// What is the matter and what to do.
        detail: String,
    },
    /// `If-Match` names another revision: 412.
    #[error("It was changed in the meantime; read it again and repeat the change.")]
    PreconditionFailed,
    /// The same idempotency key came with another request: 422.
    #[error("This Idempotency-Key was already used for another request; use a new one.")]
    IdempotencyKeyReused,
    /// A code that is wrong, spent, expired or revoked, which nobody may tell apart: 422.
    #[error("{INVALID_CODE}")]
    InvalidActivationCode,
    /// Too many attempts were wrong: 429 with `Retry-After`.
    #[error("Too many attempts failed; try again in {seconds} seconds.")]
    RateLimited {
        /// When the next attempt is there to take.
        seconds: u64,
    },
    /// The caller has sent more than it may: 429 with `Retry-After`.
    #[error("Too many requests; send the next one in {seconds} seconds.")]
    TooManyRequests {
        /// When the next one may come.
        seconds: u64,
    },
    /// Too much is waiting: 503 with `Retry-After`.
    #[error("The server is busy; try again shortly.")]
    Overloaded,
    /// The service is stopping or can't write: 503.
    #[error("{0}")]
    Unavailable(&'static str),
    /// The disk refuses: 503 with the code of the fault. What was asked for was not done.
    #[error("{}; nothing was changed. Decisions go on.", .0.as_text())]
    Storage(StorageFault),
    /// The tenant's rows can't be read; only this tenant is closed: 503 `TENANT_DAMAGED`.
    #[error("The data of the tenant “{0}” is damaged; it stays closed until it is repaired.")]
    TenantDamaged(String),
    /// Anything else: 500, the cause only in the log.
    #[error("Something went wrong inside the service.")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
}

/// Why the disk refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageFault {
    /// There is no room left.
    Full,
    /// The file system takes no changes.
    ReadOnly,
    /// It says that it failed.
    Failing,
    /// Another program holds the database.
    Held,
    /// It can't be read, or what is read is not a database. SQLite says the same of both.
    Unreadable,
}

impl StorageFault {
    /// For people.
    #[must_use]
    pub fn as_text(self) -> &'static str {
        match self {
            Self::Full => "The disk is full",
            Self::ReadOnly => "The file system is read-only",
            Self::Failing => "The disk doesn't take changes",
            Self::Held => "Another program holds the database",
            Self::Unreadable => "The disk can't be read, or the database is damaged",
        }
    }

    /// For programs: the code of a problem, and a label of metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Full => "STORAGE_FULL",
            Self::ReadOnly => "STORAGE_READ_ONLY",
            Self::Failing => "STORAGE_FAILING",
            Self::Held => "STORAGE_HELD",
            Self::Unreadable => "STORAGE_UNREADABLE",
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The field, as a path into the body (`modules.crm.state`) or the name of a parameter.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Fault {
    /// A fault at `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

impl Error {
    /// The message with everything behind it: for the log alone.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut chain = self.to_string();
        let mut source = StdError::source(self);
        while let Some(cause) = source {
            chain.push_str(": ");
            chain.push_str(&cause.to_string());
            source = cause.source();
        }
        chain
    }

    /// One wrong value.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { code: "INVALID_VALUE", faults: vec![Fault::new(field, message)] }
    }

    /// Wraps what only the log may show.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }
}

fn summary(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
