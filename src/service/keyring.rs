//! API keys in memory: found by their public part, compared by digest in constant time.
//!
//! Invariants: no secret is kept, only its SHA-256; a key that is expired or revoked is as good as
//! unknown; the map is replaced as a whole, so that a look-up never waits.
//!
//! A secret has 256 random bits, so one SHA-256 is enough: slow hashes are for passwords, which
//! can be guessed.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    domain::{
        callers::{ApiKey, OperatorRole, Principal},
        checks::Mode,
        time::Timestamp,
    },
    error::{Error, Result},
    service::rates::Quota,
};

/// The name of the caller who has the root key.
pub const ROOT: &str = "root";

/// How the names of callers begin who have an API key.
pub const KEY_PREFIX: &str = "key:";

/// What every key starts with.
pub const PREFIX: &str = "ent_";

/// The shortest root key.
pub const MIN_ROOT_LEN: usize = 32;

const MINUTE_US: i64 = 60_000_000;

/// A SHA-256.
pub type Digest = [u8; 32];

/// The SHA-256 of a text.
#[must_use]
pub fn digest(text: &str) -> Digest {
    Sha256::digest(text.as_bytes()).into()
}

/// A text that must not be shown: no `Display`, and `Debug` prints stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A key that was just made. Its text is shown once and kept nowhere.
#[derive(Debug)]
pub struct NewKey {
    /// The public part: 16 hexadecimal digits.
    pub id: String,
    /// The whole key, for its bearer.
    pub text: Secret,
    /// What is stored.
    pub digest: Digest,
}

/// Makes a key: `ent_<id>_<secret>`.
pub fn generate() -> Result<NewKey> {
    let mut id = [0_u8; 8];
    getrandom::fill(&mut id).map_err(|err| Error::internal(err.to_string()))?;
    // Hex for the id: base64url may contain the separator.
    regenerate(hex::encode(id))
}

/// Makes another secret for the key with this public part.
pub fn regenerate(id: String) -> Result<NewKey> {
    let mut secret = [0_u8; 32];
    getrandom::fill(&mut secret).map_err(|err| Error::internal(err.to_string()))?;
    let secret = URL_SAFE_NO_PAD.encode(secret);
    let digest = digest(&secret);
    Ok(NewKey { text: Secret::new(format!("{PREFIX}{id}_{secret}")), id, digest })
}

/// The public part of a key, and the digest of its secret.
#[must_use]
pub fn parts(presented: &str) -> Option<(&str, Digest)> {
    let (id, secret) = presented.strip_prefix(PREFIX)?.split_once('_')?;
    Some((id, digest(secret)))
}

/// A key as the store keeps it.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Everything but the secret.
    pub key: ApiKey,
    /// The SHA-256 of the secret.
    pub digest: Digest,
    /// That of the secret before, and from when on it is refused.
    pub old: Option<(Digest, Timestamp)>,
}

#[derive(Debug)]
struct Entry {
    digest: Digest,
    old: Option<(Digest, Timestamp)>,
    principal: Arc<Principal>,
    /// Refused from here on: the earlier of its expiry and its revocation.
    until: Option<Timestamp>,
    last_use: Arc<LastUse>,
    quota: Option<Quota>,
}

/// When a key was used, in whole minutes, and what of that the store already knows.
#[derive(Debug, Default)]
struct LastUse {
    used: AtomicI64,
    stored: AtomicI64,
}

/// All API keys, and the root key if there is one.
#[derive(Debug, Default)]
pub struct Keyring {
    keys: ArcSwap<HashMap<String, Entry>>,
    /// Whether any key has a quota of its own.
    has_quotas: AtomicBool,
    root: Option<(Digest, Arc<Principal>)>,
}

impl Keyring {
    /// An empty keyring, with a root key if there is one: `ENTITLED_ROOT_KEY`, the super admin
    /// named `root`.
    pub fn new(root: Option<&Secret>) -> Result<Self> {
        let root = match root.map(Secret::reveal) {
            Some(text) if text.chars().count() < MIN_ROOT_LEN => {
                return Err(Error::invalid("root_key", "must have at least 32 characters"));
            }
            Some(text) => {
                let principal = Principal {
                    id: ROOT.into(),
                    role: OperatorRole::SuperAdmin,
                    tenant: None,
                    mode: Mode::Tenant,
                    impersonator: None,
                };
                Some((digest(text), Arc::new(principal)))
            }
            None => None,
        };
        Ok(Self { root, ..Self::default() })
    }

    /// Replaces all keys. What was noted about the use of a key that stays is kept.
    pub fn replace(&self, stored: impl IntoIterator<Item = StoredKey>) {
        let old = self.keys.load();
        let entries = stored.into_iter().map(|StoredKey { key, digest, old: old_secret }| {
            let last_use = old.get(&key.id).map_or_else(Arc::default, |e| e.last_use.clone());
            let until = [key.expires_at, key.revoked_at].into_iter().flatten().min();
            let principal = Principal {
                id: format!("{KEY_PREFIX}{}", key.id),
                role: key.role,
                tenant: key.tenant,
                mode: Mode::Tenant,
                impersonator: None,
            };
            let principal = principal.into();
            let quota = key.rate.map(Quota::of);
            (key.id, Entry { digest, old: old_secret, principal, until, last_use, quota })
        });
        let entries: HashMap<_, _> = entries.collect();
        let has_quotas = entries.values().any(|entry| entry.quota.is_some());
        self.keys.store(Arc::new(entries));
        self.has_quotas.store(has_quotas, Ordering::Relaxed);
    }

    /// Who bears this key: none where it is unknown, wrong, expired or revoked.
    #[must_use]
    pub fn find(&self, presented: &str, now: Timestamp) -> Option<Arc<Principal>> {
        let (id, presented) = parts(presented)?;
        let keys = self.keys.load();
        let entry = keys.get(id)?;
        let is_old = entry
            .old
            .as_ref()
            .is_some_and(|(old, until)| now < *until && bool::from(old.ct_eq(&presented)));
        if !is_old && !bool::from(entry.digest.ct_eq(&presented)) {
            return None;
        }
        if entry.until.is_some_and(|until| now >= until) {
            return None;
        }
        let minute = now.micros() / MINUTE_US;
        // A load first: one cache line stays shared for a minute.
        if entry.last_use.used.load(Ordering::Relaxed) < minute {
            entry.last_use.used.fetch_max(minute, Ordering::Relaxed);
        }
        Some(entry.principal.clone())
    }

    /// How much this caller may send, if it has a key that says so.
    #[must_use]
    pub fn quota(&self, principal: &Principal) -> Option<Quota> {
        if !self.has_quotas.load(Ordering::Relaxed) {
            return None;
        }
        self.keys.load().get(principal.id.strip_prefix(KEY_PREFIX)?)?.quota
    }

    /// Who bears the root key, by the digest of the whole text.
    #[must_use]
    pub fn find_root(&self, presented: &Digest) -> Option<Arc<Principal>> {
        let (known, principal) = self.root.as_ref()?;
        bool::from(known.ct_eq(presented)).then(|| principal.clone())
    }

    /// Who bears the key with this public part and secret, and until when; none where there is no
    /// such key, or none any more.
    #[must_use]
    pub fn standing(
        &self,
        id: &str,
        secret: &Digest,
    ) -> Option<(Arc<Principal>, Option<Timestamp>)> {
        let keys = self.keys.load();
        let entry = keys.get(id)?;
        let until = if bool::from(entry.digest.ct_eq(secret)) {
            entry.until
        } else {
            let (_, end) = entry.old.as_ref().filter(|(old, _)| bool::from(old.ct_eq(secret)))?;
            [Some(*end), entry.until].into_iter().flatten().min()
        };
        Some((entry.principal.clone(), until))
    }

    /// The keys that were used since the last call, with the minute of their last use.
    #[must_use]
    pub fn drain_uses(&self) -> Vec<(String, Timestamp)> {
        let keys = self.keys.load();
        let changed = keys.iter().filter_map(|(id, entry)| {
            let used = entry.last_use.used.load(Ordering::Relaxed);
            let stored = entry.last_use.stored.swap(used, Ordering::Relaxed);
            (used > stored).then(|| (id.clone(), Timestamp::from_micros(used * MINUTE_US)))
        });
        changed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(new: &NewKey) -> StoredKey {
        let key = ApiKey {
            id: new.id.clone(),
            name: "backend".into(),
            role: OperatorRole::Service,
            tenant: None,
            created_at: Timestamp::EPOCH,
            expires_at: Some(at(1_000)),
            revoked_at: None,
            last_used_at: None,
            rotated_at: None,
            old_secret_until: None,
            rate: None,
        };
        StoredKey { key, digest: new.digest, old: None }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_micros(minutes * MINUTE_US)
    }

    #[test]
    fn a_key_opens_until_it_expires_or_is_revoked() {
        let (ring, new) = (Keyring::new(None).unwrap(), generate().unwrap());
        let text = new.text.reveal();
        assert_eq!(text.len(), 4 + 16 + 1 + 43);
        assert!(ring.find(text, at(1)).is_none());

        ring.replace([stored(&new)]);
        assert_eq!(ring.find(text, at(1)).unwrap().id, format!("key:{}", new.id));
        assert!(ring.find(text, at(1_000)).is_none(), "at the instant, not after it");
        assert!(ring.find(&text[..text.len() - 1], at(1)).is_none());
        assert!(ring.find(&format!("{text}x"), at(1)).is_none());

        let mut revoked = stored(&new);
        revoked.key.revoked_at = Some(at(5));
        ring.replace([revoked]);
        assert!(ring.find(text, at(6)).is_none());
    }

    #[test]
    fn the_secret_before_opens_until_its_end() {
        let (ring, old) = (Keyring::new(None).unwrap(), generate().unwrap());
        let new = regenerate(old.id.clone()).unwrap();
        ring.replace([StoredKey { old: Some((old.digest, at(5))), ..stored(&new) }]);
        for minutes in [1, 4] {
            assert!(ring.find(old.text.reveal(), at(minutes)).is_some());
        }
        assert!(ring.find(old.text.reveal(), at(5)).is_none(), "at the instant, not after it");
        assert!(ring.find(new.text.reveal(), at(5)).is_some());
        ring.replace([StoredKey { old: Some((old.digest, at(5_000))), ..stored(&new) }]);
        assert!(ring.find(old.text.reveal(), at(1_000)).is_none(), "the key itself has expired");
    }

    #[test]
    fn each_use_is_reported_once() {
        let (ring, new) = (Keyring::new(None).unwrap(), generate().unwrap());
        ring.replace([stored(&new)]);
        let _ = ring.find(new.text.reveal(), at(7));
        let _ = ring.find("ent_0000000000000000_x", at(9));
        ring.replace([stored(&new)]);
        assert_eq!(ring.drain_uses(), [(new.id.clone(), at(7))]);
        assert!(ring.drain_uses().is_empty());
    }

    #[test]
    fn the_root_key_is_the_super_admin() {
        let text = "x".repeat(32);
        let ring = Keyring::new(Some(&Secret::new(&*text))).unwrap();
        assert_eq!(ring.find_root(&digest(&text)).unwrap().role, OperatorRole::SuperAdmin);
        assert!(ring.find_root(&digest("y")).is_none());
        assert!(Keyring::new(Some(&Secret::new("short"))).is_err());
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
        assert!(!format!("{:?}", generate().unwrap()).contains("ent_"));
    }
}
