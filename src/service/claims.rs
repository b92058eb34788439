//! What a JWT says, as types.

use serde::{Deserialize, Serialize};

use crate::domain::{
    callers::OperatorRole,
    checks::Mode,
    keys::{TenantKey, UserKey},
};

/// What a token says. Claims that are not named here are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Who.
    pub sub: UserKey,
    /// What it may do.
    pub role: OperatorRole,
    /// The one tenant it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantKey>,
    /// How it works.
    #[serde(default)]
    pub mode: Mode,
    /// Who really sits behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Act>,
    /// Seconds since 1970 from which on it is refused.
    pub exp: f64,
    /// Seconds since 1970 before which it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<f64>,
    /// Who issued it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// For whom it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<Audience>,
}

/// The `act` claim: RFC 8693 wants an object, some providers send the id alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Act {
    /// The id alone.
    Id(UserKey),
    /// As RFC 8693 has it.
    Object {
        /// The id.
        sub: UserKey,
    },
}

/// The `aud` claim: one or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}
