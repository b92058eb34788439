//! Who is calling, and whether this operation is for them.
//!
//! Invariants: exactly one credential in a request; the permission that an operation needs stands
//! once, as the type parameter of its first parameter, from where it is both enforced and
//! documented.
//!
//! `Caller` is always the first parameter of a handler: parameters are extracted in order, and a
//! stranger's bad body must get 401, not 422.

use std::{marker::PhantomData, ops::Deref, sync::Arc};

use poem::{
    Addr, PathPattern, Request, RequestBody,
    http::{HeaderMap, HeaderName, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use crate::{
    clock::Clock,
    domain::{callers::Principal, time::Timestamp},
    error::{Error, Result},
    http::{edge::Context, failure::Failure},
    service::{
        Actor,
        events::audience::Right,
        key_source::WAIT,
        keyring::{KEY_PREFIX, Keyring, ROOT, digest, parts},
        permissions::{Permission, for_each_permission},
        rates::{Rates, Standing},
        tokens::{Tokens, Vouched},
    },
};

/// A permission as a type.
pub trait Needs: Send + Sync + 'static {
    /// The permission.
    const PERMISSION: Permission;
    /// The ways to identify oneself, each with the permission behind a `#`, which `spec` moves to
    /// its place in the document.
    const SCHEMES: [&'static str; 2];
}

macro_rules! permission_types {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// The permissions as types: `Caller<needs::CatalogRead>`.
        pub mod needs {
            use super::{Needs, Permission};
            $(
                $(#[$doc])*
                #[derive(Debug)]
                pub struct $name;
                impl Needs for $name {
                    const PERMISSION: Permission = Permission::$name;
                    const SCHEMES: [&'static str; 2] =
                        [concat!("bearer#", $text), concat!("api_key#", $text)];
                }
            )*
        }
    };
}
for_each_permission!(permission_types);

/// What credentials are checked against. Only memory, so that it never waits, but for a token of a
/// key that is not known yet.
#[derive(Debug)]
pub struct AuthState {
    /// Verifies tokens, where they are configured.
    pub tokens: Option<Arc<Tokens>>,
    /// The API keys.
    pub keyring: Arc<Keyring>,
    /// How much each caller may send.
    pub rates: Rates,
    /// What time it is.
    pub clock: Clock,
}

static API_KEY: HeaderName = HeaderName::from_static("x-api-key");

impl AuthState {
    /// Who sent these headers. Where their token names a key that is not known, newer keys are
    /// waited for, a little.
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Arc<Principal>> {
        let outcome = self.known(headers);
        let source = self.tokens.as_ref().and_then(|tokens| tokens.source());
        if let (Err(Error::UnknownSigner), Some(source)) = (&outcome, source) {
            source.newer(tokio::time::Instant::now(), WAIT).await?;
            return self.known(headers);
        }
        outcome
    }

    /// Takes one request of this caller, if there is a limit for it. The root key has none: it is the
    /// way in when nothing else works.
    fn take(&self, principal: &Principal) -> Option<Standing> {
        let quota = self.keyring.quota(principal).or(self.rates.usual())?;
        let is_root = principal.id == ROOT;
        (!is_root).then(|| self.rates.take(principal, quota, self.clock.passed()))
    }

    fn known(&self, headers: &HeaderMap) -> Result<Arc<Principal>> {
        let now = self.clock.now();
        // Two identities in one request would make the audit trail a guess.
        match (one(headers, &header::AUTHORIZATION)?, one(headers, &API_KEY)?) {
            (Some(_), Some(_)) => {
                Err(Error::Unauthenticated("Send either Authorization or X-API-Key, not both."))
            }
            (None, None) => Err(Error::Unauthenticated(
                "Send a token or an API key in Authorization, or an API key in X-API-Key.",
            )),
            (Some(value), None) => {
                // The name of the scheme is case-insensitive (RFC 9110, 11.1).
                let credential = value
                    .split_once(' ')
                    .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                    .map(|(_, credential)| credential.trim())
                    .ok_or(Error::Unauthenticated("Authorization must be a Bearer credential."))?;
                self.bearer(credential, now)
            }
            (None, Some(key)) => {
                let found =
                    self.keyring.find(key, now).or_else(|| self.keyring.find_root(&digest(key)));
                found.ok_or(UNKNOWN_KEY)
            }
        }
    }

    /// What the right of this caller rests on, and how long it lasts.
    pub fn right(&self, headers: &HeaderMap, principal: &Principal) -> Result<Right> {
        if principal.id == ROOT {
            return Ok(Right::Root);
        }
        let value = one(headers, &header::AUTHORIZATION)?.unwrap_or_default();
        let token = value.split_once(' ').map_or("", |(_, credential)| credential.trim());
        if principal.id.starts_with(KEY_PREFIX) {
            let key = parts(one(headers, &API_KEY)?.unwrap_or(token));
            return key.map(|(id, secret)| Right::Key(id.into(), secret)).ok_or(UNKNOWN_KEY);
        }
        let tokens = self.tokens.clone();
        let right = tokens.map(|tokens| Right::Token(Vouched::new(tokens, token)));
        right.ok_or(Error::Unauthenticated("The token is not valid any more."))
    }

    fn bearer(&self, credential: &str, now: Timestamp) -> Result<Arc<Principal>> {
        if let Some(principal) = self.keyring.find(credential, now) {
            return Ok(principal);
        }
        let hash = digest(credential);
        if let Some(principal) = self.keyring.find_root(&hash) {
            return Ok(principal);
        }
        match &self.tokens {
            // A token has two dots, a key none.
            Some(tokens) if credential.contains('.') => tokens.verify(credential, &hash, now),
            Some(_) | None => Err(UNKNOWN_KEY),
        }
    }
}

const UNKNOWN_KEY: Error = Error::Unauthenticated("The API key is unknown, expired or revoked.");

/// The one value of a header; sending it twice is as bad as sending two credentials.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    match (first.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(Error::Unauthenticated("The credential can't be read.")),
    }
}

/// A caller who may use the permission `P`, at least on something. On which tenant is the
/// service's question.
#[derive(Debug)]
pub struct Caller<P> {
    /// Who does it, in which request.
    pub actor: Actor,
    permission: PhantomData<fn() -> P>,
}

impl<P> Deref for Caller<P> {
    type Target = Actor;

    fn deref(&self) -> &Actor {
        &self.actor
    }
}

impl<'a, P: Needs> ApiExtractor<'a> for Caller<P> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme("bearer", scheme("http", None));
        registry.create_security_scheme("api_key", scheme("apiKey", Some("X-API-Key")));
    }

    fn security_schemes() -> Vec<&'static str> {
        P::SCHEMES.to_vec()
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let context = context(request).map_err(Failure)?;
        let actor = actor(context, request).await.map_err(Failure)?;
        actor.reach(P::PERMISSION).map_err(Failure)?;
        known_query(context, request).map_err(Failure)?;
        Ok(Self { actor, permission: PhantomData })
    }
}

/// That the query holds what the operation takes, once each: what is passed over in silence may be a
/// misspelt filter.
fn known_query(context: &Context, request: &Request) -> Result<()> {
    let Some(query) = request.uri().query() else { return Ok(()) };
    let pattern = request.data::<PathPattern>().map(|pattern| &*pattern.0);
    let faults = context.routes.get(pattern).query_faults(request.method(), query);
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::Invalid { code: "INVALID_VALUE", faults })
}

fn context(request: &Request) -> Result<&Context> {
    let context = request.data::<Context>();
    context.ok_or_else(|| Error::internal("a request did not come through the edge"))
}

/// Who sent this request, by its credential alone.
pub(super) async fn caller(request: &Request) -> Result<Actor> {
    actor(context(request)?, request).await
}

/// What the right of the caller of this request rests on.
pub(super) fn right(request: &Request, actor: &Actor) -> Result<Right> {
    context(request)?.auth.right(request.headers(), &actor.principal)
}

async fn actor(context: &Context, request: &Request) -> Result<Actor> {
    let principal = context.auth.identify(request.headers()).await?;
    if let Some(standing) = context.auth.take(&principal) {
        let _ = context.standing.set(standing);
        if let Some(seconds) = standing.wait_s {
            return Err(Error::TooManyRequests { seconds });
        }
    }
    let ip = match &request.remote_addr().0 {
        Addr::SocketAddr(address) => Some(address.ip()),
        Addr::Unix(_) | Addr::Custom(..) => None,
    };
    Ok(Actor { principal, request_id: context.request_id.clone(), ip })
}

fn scheme(ty: &'static str, header: Option<&'static str>) -> MetaSecurityScheme {
    MetaSecurityScheme {
        ty,
        description: Some(match header {
            Some(_) => "An API key.",
            None => "A JWT, or an API key.",
        }),
        name: header,
        key_in: header.map(|_| "header"),
        scheme: header.is_none().then_some("bearer"),
        bearer_format: header.is_none().then_some("JWT"),
        flows: None,
        openid_connect_url: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_credential_and_no_more() {
        let auth = AuthState {
            tokens: None,
            keyring: Arc::new(Keyring::default()),
            rates: Rates::new(None),
            clock: Clock::manual(Timestamp::EPOCH),
        };
        let refused = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            match auth.known(&headers) {
                Err(Error::Unauthenticated(why)) => why,
                other => panic!("{other:?}"),
            }
        };
        assert!(refused(&[]).starts_with("Send a token"));
        assert!(refused(&[("authorization", "Bearer a"), ("x-api-key", "a")]).contains("not both"));
        assert!(refused(&[("x-api-key", "a"), ("x-api-key", "a")]).contains("can't be read"));
        assert!(refused(&[("authorization", "Basic a")]).contains("Bearer"));
        assert!(refused(&[("authorization", "bearer a.b.c")]).contains("unknown"));
    }
}
