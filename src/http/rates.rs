//! The headers that say how much a caller may still send, as the IETF's draft
//! `draft-ietf-httpapi-ratelimit-headers` has them: a policy and how it stands, as structured fields
//! (RFC 9651).

use poem::{
    Response,
    http::{HeaderName, HeaderValue},
};

use crate::service::rates::Standing;

static LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Says it in the headers of an answer.
pub(super) fn set_headers(response: &mut Response, standing: &Standing) {
    let Standing { quota, remaining, full_in_s, wait_s: _ } = standing;
    let (burst, window) = (quota.burst(), quota.window_s());
    let policy = format!("\"requests\";q={burst};w={window}");
    let limit = format!("\"requests\";r={remaining};t={full_in_s}");
    for (name, text) in [(&POLICY, policy), (&LIMIT, limit)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, value);
        }
    }
}
