//! Secrets: in the settings or in a file, never in both.

use std::path::Path;

use super::{ConfigError, Jwt, Settings};
use crate::service::{
    keyring::{Keyring, Secret},
    tokens::{TokenKeys, Tokens},
};

impl Settings {
    /// An empty keyring with the root key, if there is one.
    pub fn keyring(&self) -> Result<Keyring, ConfigError> {
        Keyring::new(self.root()?.as_ref()).map_err(|error| ConfigError(error.to_string()))
    }

    /// The root key, if there is one.
    pub fn root(&self) -> Result<Option<Secret>, ConfigError> {
        one_secret("root_key", self.root_key.as_ref(), self.root_key_file.as_deref())
    }

    /// The secret that signs tokens, if there is one.
    pub fn token_secret(&self) -> Result<Option<Secret>, ConfigError> {
        let Jwt { hs256_secret, hs256_secret_file, .. } = &self.jwt;
        one_secret("jwt.hs256_secret", hs256_secret.as_ref(), hs256_secret_file.as_deref())
    }

    /// What verifies tokens, if anything does.
    pub fn tokens(&self) -> Result<Option<Tokens>, ConfigError> {
        let (name, keys) = match (self.token_secret()?, &self.jwt.jwks_file) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                let both = "jwt.hs256_secret and jwt.jwks_file are both set; keep one of them, it \
                            decides the algorithm";
                return Err(ConfigError(both.into()));
            }
            (Some(secret), None) => ("jwt.hs256_secret", TokenKeys::Secret(secret)),
            (None, Some(path)) => ("jwt.jwks_file", TokenKeys::Jwks(read("jwt.jwks_file", path)?)),
        };
        let Jwt { issuer, audience, .. } = self.jwt.clone();
        let wrong = |error: crate::error::Error| match error {
            crate::error::Error::Invalid { faults, .. } => {
                let faults = faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>();
                ConfigError(format!("{name} {}", faults.join("; ")))
            }
            other => ConfigError(format!("{name}: {other}")),
        };
        Tokens::new(&keys, issuer, audience).map(Some).map_err(wrong)
    }
}

/// The secret that stands in the settings or in a file.
fn one_secret(
    name: &str,
    text: Option<&Secret>,
    file: Option<&Path>,
) -> Result<Option<Secret>, ConfigError> {
    match (text, file) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            Err(ConfigError(format!("{name} and {name}_file are both set; keep one of them")))
        }
        (Some(secret), None) => Ok(Some(secret.clone())),
        (None, Some(path)) => {
            let name = format!("{name}_file");
            let text = read(&name, path)?;
            // Editors and `echo` end a file with a line break that nobody means.
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.is_empty() {
                return Err(ConfigError(format!("{name}: {} is empty", path.display())));
            }
            Ok(Some(Secret::new(text)))
        }
    }
}

fn read(name: &str, path: &Path) -> Result<String, ConfigError> {
    let unreadable = |error| ConfigError(format!("{name}: can't read {}: {error}", path.display()));
    std::fs::read_to_string(path).map_err(unreadable)
}
