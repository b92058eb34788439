//! Idempotency: the same request sent twice happens once.

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{
    error::{Error, Result},
    store::{WriteTx, idempotency},
};

/// Longest idempotency key, in characters.
pub const MAX_KEY_LEN: usize = 128;

/// The caller's promise that everything sent under this key is one request.
#[derive(Debug, Clone)]
pub struct Once {
    key: String,
    fingerprint: [u8; 32],
}

impl Once {
    /// A key for a request that is told apart by its operation, what it is about, and its body.
    pub fn new(key: &str, operation: &str, about: &str, body: &impl Serialize) -> Result<Self> {
        let is_key = (1..=MAX_KEY_LEN).contains(&key.len())
            && key.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        if !is_key {
            let hint = "must have 1 to 128 visible ASCII characters, such as a UUID";
            return Err(Error::invalid("Idempotency-Key", hint));
        }
        let body = serde_json::to_vec(body).map_err(Error::internal)?;
        let mut hasher = Sha256::new();
        for part in [operation.as_bytes(), about.as_bytes(), &body] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Ok(Self { key: key.to_owned(), fingerprint: hasher.finalize().into() })
    }

    /// What the same request was answered before.
    pub(super) fn replay<T: DeserializeOwned>(
        &self,
        tx: &WriteTx<'_>,
        caller: &str,
    ) -> Result<Option<T>> {
        match idempotency::find(tx, caller, &self.key)? {
            None => Ok(None),
            Some((fingerprint, _)) if fingerprint != self.fingerprint => {
                Err(Error::IdempotencyKeyReused)
            }
            Some((_, result)) => Ok(Some(serde_json::from_str(&result).map_err(Error::internal)?)),
        }
    }

    /// Keeps what it is answered now. Results are forgotten a day later, a few with each new one, so
    /// that nothing has to sweep.
    pub(super) fn keep(
        &self,
        tx: &WriteTx<'_>,
        caller: &str,
        value: &impl Serialize,
    ) -> Result<()> {
        let result = serde_json::to_string(value).map_err(Error::internal)?;
        let day_ago = tx.real_now().micros() - crate::domain::time::DAY_US;
        idempotency::forget(tx, crate::domain::time::Timestamp::from_micros(day_ago), 4)?;
        idempotency::insert(tx, caller, &self.key, &self.fingerprint, &result)
    }
}
