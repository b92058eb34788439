//! Secrets: in the settings or in a file, never in both. And what tokens are verified with.

use std::{path::Path, time::Duration};

use super::{ConfigError, Jwt, Settings};
use crate::service::{
    key_source::{Fetching, KeySource, KeyUrl, Place, PlainHttp},
    keyring::{Keyring, Secret},
    tokens::{Expected, TokenKeys, Tokens},
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
        let Jwt { jwks_file, jwks_url, discovery, issuer, audience, algorithms, .. } = &self.jwt;
        let secret = self.token_secret()?;
        let given = [
            ("jwt.hs256_secret", secret.is_some()),
            ("jwt.jwks_file", jwks_file.is_some()),
            ("jwt.jwks_url", jwks_url.is_some()),
            ("jwt.discovery", *discovery),
        ];
        let given: Vec<_> = given.iter().filter(|(_, is_given)| *is_given).collect();
        if given.len() > 1 {
            let names = given.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" and ");
            let line = format!("{names} are all set; keep one of them, it says what is believed");
            return Err(ConfigError(line));
        }
        let expected = Expected {
            issuer: issuer.clone(),
            audience: audience.clone(),
            algorithms: algorithms.clone(),
        };
        let (name, keys) = match (secret, jwks_file) {
            (Some(secret), _) => ("jwt.hs256_secret", TokenKeys::Secret(secret)),
            (None, Some(path)) => ("jwt.jwks_file", TokenKeys::Jwks(read("jwt.jwks_file", path)?)),
            (None, None) => {
                let source = self.place()?.map(|place| KeySource::new(self.jwt.fetching(place)));
                return Ok(source.map(|source| Tokens::fetched(source, expected)));
            }
        };
        let wrong = |error: crate::error::Error| match error {
            crate::error::Error::Invalid { faults, .. } => {
                let faults = faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>();
                ConfigError(format!("{name} {}", faults.join("; ")))
            }
            other => ConfigError(format!("{name}: {other}")),
        };
        Tokens::new(&keys, expected).map(Some).map_err(wrong)
    }

    /// Where the keys of tokens are fetched from, if they are.
    fn place(&self) -> Result<Option<Place>, ConfigError> {
        let Jwt { jwks_url, discovery, issuer, .. } = &self.jwt;
        let plain_http = self.jwt.plain_http();
        let (name, place) = match (jwks_url, discovery, issuer) {
            (Some(url), ..) => ("jwt.jwks_url", KeyUrl::parse(url, plain_http).map(Place::Set)),
            (None, true, Some(issuer)) => ("jwt.issuer", Place::of_issuer(issuer, plain_http)),
            (None, true, None) => {
                let line = "jwt.discovery needs jwt.issuer, the address that it begins with";
                return Err(ConfigError(line.into()));
            }
            (None, false, _) => return Ok(None),
        };
        place.map(Some).map_err(|fault| ConfigError(format!("{name} {fault}")))
    }
}

impl Jwt {
    fn plain_http(&self) -> PlainHttp {
        if self.allow_http { PlainHttp::Allowed } else { PlainHttp::Loopback }
    }

    fn fetching(&self, place: Place) -> Fetching {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Fetching {
            place,
            plain_http: self.plain_http(),
            refresh: seconds(self.jwks_refresh_seconds),
            cooldown: seconds(self.jwks_cooldown_seconds),
            deadline: seconds(self.jwks_timeout_seconds),
        }
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

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
