//! How tokens may be signed where their keys come from a key set.

use std::{fmt, str::FromStr};

use jsonwebtoken::{
    Algorithm,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// All that can be allowed, as RFC 7518 and RFC 8037 name them.
const KNOWN: [(&str, Algorithm); 3] =
    [("RS256", Algorithm::RS256), ("ES256", Algorithm::ES256), ("EdDSA", Algorithm::EdDSA)];

/// The algorithms that are allowed; a key for another one is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithms(Vec<Algorithm>);

impl Default for Algorithms {
    fn default() -> Self {
        Self(KNOWN.map(|(_, algorithm)| algorithm).to_vec())
    }
}

/// Why a list of algorithms can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one or more of RS256, ES256 and EdDSA with commas between them")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithms {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        let find = |name: &str| KNOWN.iter().find(|(known, _)| *known == name.trim());
        let found = text.split(',').map(|name| find(name).map(|(_, algorithm)| *algorithm));
        found.collect::<Option<_>>().map(Self).ok_or(UnknownAlgorithm)
    }
}

impl fmt::Display for Algorithms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = KNOWN.iter().filter(|(_, algorithm)| self.0.contains(algorithm));
        f.write_str(&allowed.map(|(name, _)| *name).collect::<Vec<_>>().join(", "))
    }
}

impl Serialize for Algorithms {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Algorithms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Algorithms {
    /// The one algorithm that this key is for, if it is allowed. Many providers leave `alg` out of
    /// their JWKS, so it is then inferred from the kind of key. A symmetric key has no business in a
    /// public key set: none for it.
    pub(super) fn of_key(&self, jwk: &Jwk) -> Option<Algorithm> {
        let usage = jwk.common.public_key_use.as_ref();
        if usage.is_some_and(|usage| *usage != PublicKeyUse::Signature) {
            return None;
        }
        let inferred = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            _ => return None,
        };
        let algorithm = match jwk.common.key_algorithm {
            None => inferred,
            Some(named) => Algorithm::try_from(named).ok().filter(|named| *named == inferred)?,
        };
        self.0.contains(&algorithm).then_some(algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_written_in_one_order() {
        let list: Algorithms = "EdDSA,RS256".parse().unwrap();
        assert_eq!(list.to_string(), "RS256, EdDSA");
        assert_eq!(Algorithms::default().to_string(), "RS256, ES256, EdDSA");
        for bad in ["", "HS256", "none", "rs256", "RS256,", "RS256;ES256"] {
            assert!(bad.parse::<Algorithms>().is_err(), "{bad}");
        }
    }
}
