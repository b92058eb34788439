//! Keys: short, exact names. One type for each kind, so that they can't be swapped.
//!
//! Invariants: 1 to 128 characters of `A-Z a-z 0-9 _ . : -`, starting with a letter or digit.
//! Never cut, folded or normalised: another case is another key. User ids take a few characters
//! more, because identity providers put them there (`auth0|5f7c`, `ada@example.com`).

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest key, in characters (which are bytes: keys are ASCII).
pub const MAX_KEY_LEN: usize = 128;

/// The pattern of a key, as published in the OpenAPI document.
pub const KEY_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$";

/// The pattern of a user id.
pub const USER_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_.:@|+=~-]{0,127}$";

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Empty, or longer than 128 characters.
    #[error("must have 1 to 128 characters")]
    Length,
    /// The first character is not a letter or digit.
    #[error("must start with a letter or digit")]
    Start,
    /// A character outside the alphabet of keys.
    #[error("may only hold letters, digits and `_ . : -`")]
    Character,
    /// A character outside the alphabet of user ids.
    #[error("may only hold letters, digits and `_ . : - @ | + = ~`")]
    UserCharacter,
}

fn check(text: &str, extra: &[u8], otherwise: BadKey) -> Result<(), BadKey> {
    if text.is_empty() || text.len() > MAX_KEY_LEN {
        return Err(BadKey::Length);
    }
    for (at, byte) in text.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() {
            continue;
        }
        if !b"_.:-".contains(&byte) && !extra.contains(&byte) {
            return Err(otherwise);
        }
        if at == 0 {
            return Err(BadKey::Start);
        }
    }
    Ok(())
}

macro_rules! key_types {
    ($($(#[$doc:meta])* $ty:ident, $extra:expr, $otherwise:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $ty(Arc<str>);

        impl $ty {
            /// The key as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// A key for documentation.
            #[must_use]
            pub fn example(text: &str) -> Self {
                text.parse().unwrap_or_else(|_| Self("example".into()))
            }
        }

        impl FromStr for $ty {
            type Err = BadKey;
            fn from_str(text: &str) -> Result<Self, BadKey> {
                check(text, $extra, $otherwise)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        // Sound because `Hash`, `Eq` and `Ord` are those of the text.
        impl Borrow<str> for $ty {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $ty {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $ty {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $ty {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $ty;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a key")
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$ty, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    )*};
}

key_types! {
    /// Names a tenant.
    TenantKey, b"", BadKey::Character;
    /// Names a user of the calling application. Opaque to this service.
    UserKey, b"@|+=~", BadKey::UserCharacter;
    /// Names a module.
    ModuleKey, b"", BadKey::Character;
    /// Names a bundle.
    BundleKey, b"", BadKey::Character;
    /// Names a feature.
    FeatureKey, b"", BadKey::Character;
    /// Names a plan.
    PlanKey, b"", BadKey::Character;
    /// Names a role of the catalog.
    RoleKey, b"", BadKey::Character;
    /// Names a permission. A namespace of its own: never mixed with modules and features.
    PermissionKey, b"", BadKey::Character;
    /// Names a guard.
    GuardKey, b"", BadKey::Character;
    /// Names a kind of context, such as `store`.
    ContextType, b"", BadKey::Character;
    /// Names one context of a kind.
    ContextId, b"", BadKey::Character;
    /// Names a module or a feature, where either may stand (grants, overrides). A catalog never
    /// gives one key to both.
    EntitlementKey, b"", BadKey::Character;
}

impl ContextType {
    /// Where the roles of the application's own staff are held.
    #[must_use]
    pub fn platform() -> Self {
        Self("platform".into())
    }
}

impl From<&ModuleKey> for EntitlementKey {
    fn from(key: &ModuleKey) -> Self {
        Self(key.0.clone())
    }
}

impl From<&FeatureKey> for EntitlementKey {
    fn from(key: &FeatureKey) -> Self {
        Self(key.0.clone())
    }
}

/// Up to three of `known` that look like `given`, the nearest first: the way out of a misspelling.
pub fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = known
        .map(|key| (strsim::jaro_winkler(&given.to_lowercase(), &key.to_lowercase()), key))
        .filter(|(score, _)| *score >= 0.7)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, key)| key.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_exact() {
        for good in ["a", "9", "retail", "pos.sales.create", "CAN_X", "a:b-c", &"x".repeat(128)] {
            assert!(good.parse::<TenantKey>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a b", "a ", "ä", "a/b", "a\0", "..", &"x".repeat(129)] {
            assert!(bad.parse::<TenantKey>().is_err(), "{bad:?}");
        }
        assert_ne!("A".parse::<TenantKey>(), "a".parse::<TenantKey>());
    }

    #[test]
    fn a_user_id_may_come_from_an_identity_provider() {
        assert!("auth0|5f7c".parse::<UserKey>().is_ok());
        assert!("ada@example.com".parse::<UserKey>().is_ok());
        assert!("a b".parse::<UserKey>().is_err());
        assert!("ada@example.com".parse::<TenantKey>().is_err());
    }

    #[test]
    fn the_nearest_keys_come_first() {
        let known = ["retail", "dine", "accounting"];
        assert_eq!(nearest("retial", known.into_iter()), ["retail"]);
        assert!(nearest("zzz", known.into_iter()).is_empty());
    }
}
