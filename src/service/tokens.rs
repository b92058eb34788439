//! JWTs: verified once, then known by their hash until they expire.
//!
//! Invariants: the algorithm comes from the configured key, never from the token; `exp` is
//! required; the instant is an argument, and there is no leeway; after the keys were replaced no
//! token that only the old ones could verify is known any more.
//!
//! Keys of an identity provider are fetched by `worker::key_sets` from where [`KeySource`] says.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind, jwk::Jwk,
};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::watch;

use crate::{
    domain::{callers::Principal, time::Timestamp},
    error::{Error, Result},
    service::{
        algorithms::Algorithms,
        claims::{Act, Claims},
        key_source::{FetchFault, KeySource},
        keyring::{Digest, KEY_PREFIX, ROOT, Secret, digest},
    },
};

const SHARDS: usize = 16;
const TOKENS_PER_SHARD: usize = 640;

/// The shortest HS256 secret, in bytes.
pub const MIN_SECRET_LEN: usize = 32;

/// What verifies tokens.
#[derive(Debug, Clone)]
pub enum TokenKeys {
    /// One shared secret, HS256.
    Secret(Secret),
    /// The text of a JWKS with RS256, ES256 or EdDSA keys.
    Jwks(String),
}

/// Verifies tokens.
#[derive(Debug)]
pub struct Tokens {
    keys: ArcSwap<Keys>,
    generation: AtomicU64,
    replaced: watch::Sender<()>,
    expected: Expected,
    /// Where newer keys come from, if they do.
    source: Option<KeySource>,
    verified: [RwLock<HashMap<Digest, Verified>>; SHARDS],
}

/// What every token must have.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Its `iss`, where that is given.
    pub issuer: Option<String>,
    /// Its `aud`, where that is given.
    pub audience: Option<String>,
    /// How it may be signed where the keys come from a key set.
    pub algorithms: Algorithms,
}

/// A JWKS, with its keys still to be read: one that nobody here knows must not spoil the others.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

#[derive(Debug)]
struct Keys {
    generation: u64,
    /// Of the key set they were read from.
    text: Option<Digest>,
    /// By `kid`; a secret has none.
    by_id: ById,
}

#[derive(Debug, Clone)]
struct Verified {
    principal: Arc<Principal>,
    expires_at: Timestamp,
    starts_at: Timestamp,
    generation: u64,
}

impl Verified {
    fn usable(&self, now: Timestamp) -> Result<Arc<Principal>> {
        if now >= self.expires_at {
            return Err(Error::Unauthenticated("The token has expired."));
        }
        if now < self.starts_at {
            return Err(Error::Unauthenticated("The token is not valid yet."));
        }
        Ok(self.principal.clone())
    }
}

type ById = HashMap<Option<String>, (DecodingKey, Validation)>;

impl Tokens {
    /// Verifies with `keys`.
    pub fn new(keys: &TokenKeys, expected: Expected) -> Result<Self> {
        let tokens = Self::empty(expected, None);
        tokens.replace_keys(keys)?;
        Ok(tokens)
    }

    /// Verifies with the keys that are fetched from `source`. Until then there are none.
    #[must_use]
    pub fn fetched(source: KeySource, expected: Expected) -> Self {
        Self::empty(expected, Some(source))
    }

    fn empty(expected: Expected, source: Option<KeySource>) -> Self {
        Self {
            keys: ArcSwap::from_pointee(Keys { generation: 0, text: None, by_id: ById::new() }),
            generation: AtomicU64::new(0),
            replaced: watch::Sender::new(()),
            expected,
            source,
            verified: Default::default(),
        }
    }

    /// Where newer keys come from, if they do.
    #[must_use]
    pub fn source(&self) -> Option<&KeySource> {
        self.source.as_ref()
    }

    /// Replaces the keys and forgets every token. On an error the old ones stay.
    pub fn replace_keys(&self, keys: &TokenKeys) -> Result<()> {
        let by_id = match keys {
            TokenKeys::Secret(secret) => {
                if secret.reveal().len() < MIN_SECRET_LEN {
                    return Err(Error::invalid("jwt.secret", "must have at least 32 bytes"));
                }
                let key = DecodingKey::from_secret(secret.reveal().as_bytes());
                [(None, (key, self.rules(Algorithm::HS256)))].into()
            }
            TokenKeys::Jwks(text) => {
                let not_keys = |_| Error::invalid("jwt.jwks", "is not a JWKS");
                let by_id = self.read_set(text).map_err(not_keys)?;
                if by_id.is_empty() {
                    let algorithms = &self.expected.algorithms;
                    let none = format!("has no key for {algorithms}");
                    return Err(Error::invalid("jwt.jwks", none));
                }
                by_id
            }
        };
        self.put(by_id, None);
        Ok(())
    }

    /// Takes over a key set that was fetched: what it no longer has is no longer believed, also
    /// where it has nothing left. How many keys there are now. On an error the old ones stay.
    pub fn take_set(&self, text: &str) -> Result<usize, FetchFault> {
        let hash = digest(text);
        let keys = self.keys.load();
        if keys.text == Some(hash) {
            return Ok(keys.by_id.len());
        }
        let by_id = self.read_set(text).map_err(|_| FetchFault::NotKeys)?;
        let count = by_id.len();
        self.put(by_id, Some(hash));
        Ok(count)
    }

    fn read_set(&self, text: &str) -> Result<ById, serde_json::Error> {
        let set: KeySet = serde_json::from_str(text)?;
        let keys = set.keys.into_iter().filter_map(|key| {
            let jwk: Jwk = serde_json::from_value(key).ok()?;
            let algorithm = self.expected.algorithms.of_key(&jwk)?;
            let key = DecodingKey::from_jwk(&jwk).ok()?;
            Some((jwk.common.key_id, (key, self.rules(algorithm))))
        });
        Ok(keys.collect())
    }

    fn put(&self, by_id: ById, text: Option<Digest>) {
        // A token that was verified by the old keys but is noted only after this carries the old
        // generation and is not believed.
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        self.keys.store(Arc::new(Keys { generation, text, by_id }));
        self.verified.iter().for_each(|shard| shard.write().clear());
        self.replaced.send_replace(());
    }

    /// Tells each time that the keys were replaced.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// Who bears this token. `hash` is the SHA-256 of its text.
    pub fn verify(&self, token: &str, hash: &Digest, now: Timestamp) -> Result<Arc<Principal>> {
        let keys = self.keys.load();
        let shard = self.shard(hash);
        if let Some(shard) = shard
            && let Some(known) = shard.read().get(hash)
            && known.generation == keys.generation
        {
            return known.usable(now);
        }
        let verified = self.decode(&keys, token)?;
        let principal = verified.usable(now)?;
        if let Some(shard) = shard {
            let mut known = shard.write();
            if known.len() >= TOKENS_PER_SHARD {
                known.retain(|_, token| now < token.expires_at);
            }
            if known.len() >= TOKENS_PER_SHARD {
                known.clear();
            }
            known.insert(*hash, verified);
        }
        Ok(principal)
    }

    /// When this token expires, by the present keys; none where they don't vouch for it.
    fn expires_at(&self, token: &str) -> (u64, Option<Timestamp>) {
        let keys = self.keys.load();
        let verified = self.decode(&keys, token).ok();
        (keys.generation, verified.map(|verified| verified.expires_at))
    }

    fn shard(&self, hash: &Digest) -> Option<&RwLock<HashMap<Digest, Verified>>> {
        self.verified.get(usize::from(hash.first().copied()?) % SHARDS)
    }

    fn rules(&self, algorithm: Algorithm) -> Validation {
        let mut rules = Validation::new(algorithm);
        // Ours are below: the library reads the system's clock.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        rules.leeway = 0;
        let mut required = vec!["exp", "sub"];
        if let Some(issuer) = &self.expected.issuer {
            rules.set_issuer(&[issuer]);
            required.push("iss");
        }
        rules.validate_aud = self.expected.audience.is_some();
        if let Some(audience) = &self.expected.audience {
            rules.set_audience(&[audience]);
            required.push("aud");
        }
        rules.set_required_spec_claims(&required);
        rules
    }

    fn decode(&self, keys: &Keys, token: &str) -> Result<Verified> {
        let head = jsonwebtoken::decode_header(token).map_err(|_| {
            Error::Unauthenticated("The credential is neither a known key nor a token.")
        })?;
        if head.crit.is_some() {
            return Err(Error::Unauthenticated("The token has a critical header."));
        }
        // A secret has no id and takes every `kid`; so does the only key of a set, for a token
        // without one.
        let (key, rules) = keys
            .by_id
            .get(&head.kid)
            .or_else(|| keys.by_id.get(&None))
            .or_else(|| {
                keys.by_id.values().next().filter(|_| head.kid.is_none() && keys.by_id.len() == 1)
            })
            .ok_or(Error::UnknownSigner)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, rules).map_err(refusal)?.claims;
        verified(claims, keys.generation)
    }
}

/// A token that somebody goes on relying on: good for as long as the present keys vouch for it, and
/// it has not expired.
#[derive(Debug, Clone)]
pub struct Vouched {
    tokens: Arc<Tokens>,
    token: Secret,
    generation: u64,
    until: Option<Timestamp>,
}

impl Vouched {
    /// This token, as the present keys see it.
    #[must_use]
    pub fn new(tokens: Arc<Tokens>, token: &str) -> Self {
        let (generation, until) = tokens.expires_at(token);
        Self { tokens, token: Secret::new(token), generation, until }
    }

    /// When it ends; none where no present key vouches for it. It is verified anew only where the keys
    /// were replaced meanwhile.
    pub fn until(&mut self) -> Option<Timestamp> {
        if self.tokens.keys.load().generation != self.generation {
            (self.generation, self.until) = self.tokens.expires_at(self.token.reveal());
        }
        self.until
    }

    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.tokens.watch()
    }
}

/// Signs a token with a shared secret.
pub fn issue(secret: &Secret, claims: &Claims) -> Result<String> {
    let key = EncodingKey::from_secret(secret.reveal().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).map_err(Error::internal)
}

/// Verifies without the caller having the hash at hand.
pub fn verify(tokens: &Tokens, token: &str, now: Timestamp) -> Result<Arc<Principal>> {
    tokens.verify(token, &digest(token), now)
}

fn refusal(err: jsonwebtoken::errors::Error) -> Error {
    Error::Unauthenticated(match err.kind() {
        ErrorKind::InvalidAudience => "The token is for another audience.",
        ErrorKind::InvalidIssuer => "The token has another issuer.",
        ErrorKind::InvalidSignature => "The token's signature is wrong.",
        ErrorKind::InvalidAlgorithm => "The token's algorithm is not the configured one.",
        ErrorKind::MissingRequiredClaim(_) => "The token lacks a required claim.",
        ErrorKind::Json(_) => "The token's claims are not valid.",
        _ => "The token is not valid.",
    })
}

fn verified(claims: Claims, generation: u64) -> Result<Verified> {
    let Claims { sub, role, tenant, mode, act, exp, nbf, iss: _, aud: _ } = claims;
    // The names of callers that no token speaks for: the trail must tell them apart.
    if sub.as_str() == ROOT || sub.as_str().starts_with(KEY_PREFIX) {
        return Err(Error::Unauthenticated("The token's subject is a name that is kept for keys."));
    }
    if tenant.is_none() && role.needs_tenant() {
        return Err(Error::Unauthenticated("A token of this role needs a tenant."));
    }
    if tenant.is_some() && !role.may_have_tenant() {
        return Err(Error::Unauthenticated("A token of this role must not have a tenant."));
    }
    let impersonator = act.map(|act| match act {
        Act::Id(sub) | Act::Object { sub } => sub.to_string(),
    });
    let principal = Principal { id: sub.to_string(), role, tenant, mode, impersonator };
    Ok(Verified {
        principal: principal.into(),
        expires_at: instant(exp)?,
        starts_at: nbf.map_or(Ok(Timestamp::EPOCH), instant)?,
        generation,
    })
}

/// RFC 7519 permits fractions.
fn instant(seconds: f64) -> Result<Timestamp> {
    if !seconds.is_finite() || seconds < 0.0 {
        return Err(Error::Unauthenticated("The token's claims are not valid."));
    }
    // A cast from f64 saturates.
    Ok(Timestamp::from_micros((seconds * 1e6) as i64))
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
