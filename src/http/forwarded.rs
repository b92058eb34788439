//! What a reverse proxy was asked for: from headers, or from the path behind a prefix.
//!
//! Invariants: one source, said once. Everything else (both families of headers, a doubled or
//! misspelt header, a list, a path that is not in normal form, a stranger's word) is refused with a
//! problem that names it.

use poem::{
    Addr, Request,
    http::{HeaderMap, HeaderName, StatusCode},
};

use crate::{
    domain::paths::RequestPath,
    http::{problem::Problem, proxies::TrustedProxies},
};

/// For Traefik, Caddy and whatever else sends what it was asked in headers.
pub const HEADERS: &str = "/api/v1/authorize";
/// For nginx, which makes 500 of every status but 401 and 403.
pub const BEHIND_NGINX: &str = "/api/v1/authorize/nginx";
/// For Envoy, which appends the path to a prefix.
pub const PREFIX: &str = "/api/v1/authorize/*";

/// A pair of headers that says what was asked for.
struct Family {
    method: &'static str,
    uri: &'static str,
}

const FORWARDED: Family = Family { method: "X-Forwarded-Method", uri: "X-Forwarded-Uri" };
const ORIGINAL: Family = Family { method: "X-Original-Method", uri: "X-Original-URI" };

/// How a proxy asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With either family of headers.
    Headers,
    /// With those of nginx.
    Nginx,
    /// With the path behind the prefix.
    Prefix,
}

impl Form {
    /// By the path of the question; none where it is no question.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        match path.strip_prefix(HEADERS)? {
            "" => Some(Self::Headers),
            "/nginx" => Some(Self::Nginx),
            rest => rest.starts_with('/').then_some(Self::Prefix),
        }
    }

    /// As it is counted.
    #[must_use]
    pub fn pattern(self) -> &'static str {
        match self {
            Self::Headers => HEADERS,
            Self::Nginx => BEHIND_NGINX,
            Self::Prefix => PREFIX,
        }
    }
}

/// The method and path that the proxy was asked for.
pub fn asked(
    request: &Request,
    form: Form,
    trusted: &TrustedProxies,
) -> Result<(String, RequestPath), Box<Problem>> {
    let (method, target, named) = match form {
        Form::Headers | Form::Nginx => {
            let family = family(request, form, trusted)?;
            let method = one(request.headers(), family.method)?;
            let target = one(request.headers(), family.uri)?;
            if is_list(target) {
                return Err(bad_header(family.uri, "is a list; it must be one request target"));
            }
            if !is_method(method) {
                let message = "must be one method in capital letters, such as GET";
                return Err(bad_header(family.method, message));
            }
            (method, target, family.uri)
        }
        Form::Prefix => {
            let whole = request.uri().path_and_query().map_or("", |whole| whole.as_str());
            let target = whole.strip_prefix(HEADERS).unwrap_or_default();
            let method = request.method().as_str();
            if !is_method(method) {
                let detail = "A method has capital letters, such as GET.";
                return Err(refused("METHOD_NOT_NORMAL", detail));
            }
            (method, target, "path")
        }
    };
    let path = RequestPath::parse(target).map_err(|why| {
        let detail = format!("The path is not in normal form, so it is refused: {why}.");
        let mut problem = refused("PATH_NOT_NORMAL", &detail);
        problem.fields.insert(named.into(), vec![why.to_string()]);
        problem
    })?;
    Ok((method.to_owned(), path))
}

/// The headers that count.
fn family(request: &Request, form: Form, trusted: &TrustedProxies) -> Result<Family, Box<Problem>> {
    let headers = request.headers();
    if let Some((written, meant)) = headers.keys().find_map(with_underscores) {
        // Some proxies and servers take it for the other, some don't.
        let message = format!("is written with an underscore; only {meant} counts");
        return Err(bad_header(written, &message));
    }
    let has = |family: &Family| {
        [family.method, family.uri].iter().any(|name| headers.contains_key(*name))
    };
    let family = match (form, has(&FORWARDED), has(&ORIGINAL)) {
        (Form::Headers, true, true) => {
            let message = "came together with X-Forwarded-Method and X-Forwarded-Uri; have the \
                               proxy remove those that it doesn't set itself";
            return Err(bad_header(ORIGINAL.uri, message));
        }
        (Form::Headers, false, true) | (Form::Nginx | Form::Prefix, _, _) => ORIGINAL,
        (Form::Headers, _, false) => FORWARDED,
    };
    let is_trusted = match &request.remote_addr().0 {
        Addr::SocketAddr(address) => trusted.contains(address.ip()),
        Addr::Unix(_) | Addr::Custom(..) => false,
    };
    if !is_trusted && (has(&FORWARDED) || has(&ORIGINAL)) {
        let detail = format!(
            "{} is only believed from a trusted proxy; name its address in the setting \
                 http.trusted_proxies.",
            family.uri
        );
        return Err(refused("UNTRUSTED_PROXY", &detail));
    }
    Ok(family)
}

/// The one value of a header.
fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Box<Problem>> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else {
        return Err(bad_header(name, "is missing; the proxy must send it"));
    };
    if values.next().is_some() {
        return Err(bad_header(name, "stands there twice"));
    }
    std::str::from_utf8(first.as_bytes()).map_err(|_| bad_header(name, "is no text"))
}

/// What becomes of two headers where a proxy joins them: `/a, /b`.
fn is_list(target: &str) -> bool {
    let begins = |part: &str| {
        let part = part.trim_start().to_ascii_lowercase();
        part.starts_with('/') || part.starts_with("http:") || part.starts_with("https:")
    };
    target.split(',').skip(1).any(begins)
}

/// Methods have a case (RFC 9110, 9.1), and not every server knows that: so all are in capitals.
fn is_method(text: &str) -> bool {
    let fits =
        |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    text.len() <= 32 && text.starts_with(|c: char| c.is_ascii_uppercase()) && text.bytes().all(fits)
}

/// A spelling that is not one of our headers and turns into one where `_` becomes `-`.
fn with_underscores(name: &HeaderName) -> Option<(&str, &'static str)> {
    let dashed = name.as_str().replace('_', "-");
    let ours = [FORWARDED.method, FORWARDED.uri, ORIGINAL.method, ORIGINAL.uri];
    let meant = ours.into_iter().find(|ours| ours.eq_ignore_ascii_case(&dashed))?;
    name.as_str().contains('_').then(|| (name.as_str(), meant))
}

/// A refusal that needs no decision.
pub fn refused(code: &str, detail: &str) -> Box<Problem> {
    Box::new(Problem::new(StatusCode::FORBIDDEN, code, detail))
}

fn bad_header(name: &str, message: &str) -> Box<Problem> {
    let mut problem = refused("INVALID_FORWARDED_HEADERS", &format!("{name} {message}."));
    problem.fields.insert(name.into(), vec![message.into()]);
    problem
}
