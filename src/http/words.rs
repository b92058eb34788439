//! Enums of the domain on the wire: one word each, the one that serde knows them by.

use std::{borrow::Cow, fmt, str::FromStr};

use poem_openapi::registry::MetaSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    domain::{
        activity::Range,
        callers::OperatorRole,
        catalog::{
            Access, Audience, DefaultRoute, LimitPer, Match, OnLimit, PlanKind, PriceInterval,
            Provisioning, Reset, Stack, Status,
        },
        checks::{Mode, Outcome, Reason},
        legacy::DifferenceKind,
        people::UserEntitlementStatus,
        requests::{RequestKind, RequestState},
        reservations::ReservationState,
        rollout::{RolloutMode, RolloutSource},
        subscriptions::SubscriptionStatus,
        tenants::Billing,
        trials::TrialKind,
    },
    http::string_type::string_type,
    service::{grants::NewState, seats::Release},
};

/// A word of ours in an answer, without a copy. Nobody sends one: it is read only where an answer is
/// given again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(pub Cow<'static, str>);

impl Word {
    /// A word that is known when the program is built.
    #[must_use]
    pub const fn of(word: &'static str) -> Self {
        Self(Cow::Borrowed(word))
    }
}

impl FromStr for Word {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Cow::Owned(text.to_owned())))
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// What was answered once is answered again.
impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Cow::Owned(String::deserialize(deserializer)?)))
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

string_type!(Word, "word", MetaSchema::new("string"));

/// Implements poem-openapi's traits for enums that serde reads and writes as one word.
macro_rules! word_types {
    ($($ty:ty = [$($word:literal),* $(,)?];)*) => {$(
        impl poem_openapi::types::Type for $ty {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($ty).into()
            }
            fn schema_ref() -> poem_openapi::registry::MetaSchemaRef {
                let words: &[&str] = &[$($word),*];
                poem_openapi::registry::MetaSchemaRef::Inline(Box::new(
                    poem_openapi::registry::MetaSchema {
                        enum_items: words.iter().map(|word| (*word).into()).collect(),
                        ..poem_openapi::registry::MetaSchema::new("string")
                    },
                ))
            }
            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }
            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }
        impl poem_openapi::types::ParseFromJSON for $ty {
            fn parse_from_json(
                value: Option<serde_json::Value>,
            ) -> poem_openapi::types::ParseResult<Self> {
                serde_json::from_value(value.unwrap_or_default())
                    .map_err(poem_openapi::types::ParseError::custom)
            }
        }
        impl poem_openapi::types::ParseFromParameter for $ty {
            fn parse_from_parameter(value: &str) -> poem_openapi::types::ParseResult<Self> {
                serde_json::from_value(value.into())
                    .map_err(poem_openapi::types::ParseError::custom)
            }
        }
        impl poem_openapi::types::ToJSON for $ty {
            fn to_json(&self) -> Option<serde_json::Value> {
                serde_json::to_value(self).ok()
            }
        }
    )*

        #[cfg(test)]
        mod tests {
            use super::*;

            #[test]
            fn every_word_in_the_document_is_one_that_is_read_and_written() {
                $($(
                    let word: serde_json::Value = $word.into();
                    let read: $ty = serde_json::from_value(word.clone()).unwrap();
                    assert_eq!(serde_json::to_value(read).unwrap(), word);
                )*)*
            }

            #[test]
            fn every_reason_stands_in_the_document() {
                use poem_openapi::types::Type;
                let schema = Reason::schema_ref();
                let words = &schema.unwrap_inline().enum_items;
                for reason in Reason::ALL {
                    assert!(words.contains(&reason.as_str().into()), "{reason:?}");
                }
                assert_eq!(words.len(), Reason::ALL.len());
            }
        }
    };
}

word_types! {
    Mode = ["tenant", "internal", "impersonation", "platform"];
    Match = ["all", "any"];
    OperatorRole = ["super_admin", "support", "auditor", "service", "tenant_admin", "tenant_user"];
    SubscriptionStatus = ["trialing", "active", "overdue", "suspended", "cancelled"];
    Billing = ["subscription", "direct"];
    Release = ["newest"];
    UserEntitlementStatus = ["active", "suspended", "revoked", "expired"];
    NewState = ["enabled", "disabled", "trial"];
    RequestKind = ["request", "create", "update"];
    RequestState = ["open", "approved", "declined", "withdrawn", "expired"];
    ReservationState = ["open", "settled", "released", "expired"];
    RolloutMode = ["off", "shadow", "enforce"];
    RolloutSource = ["environment", "settings"];
    DifferenceKind = ["only_legacy", "only_grant", "value_differs"];
    Range = ["day", "week", "month"];
    TrialKind = ["grant", "subscription"];
    Outcome = ["pass", "allow", "refuse"];
    Access = ["entitled", "always_on", "rbac_only"];
    Status = ["active", "disabled", "archived"];
    Provisioning = ["org_hierarchy", "direct_user", "delegated_admin"];
    PlanKind = ["base", "add_on"];
    Audience = ["tenant", "user"];
    Stack = ["max", "add"];
    PriceInterval = ["day", "week", "month", "year", "once"];
    Reset = ["hour", "day", "week", "month", "year", "never"];
    LimitPer = ["tenant", "user"];
    OnLimit = ["block", "warn"];
    DefaultRoute = ["deny", "allow"];
    Reason = [
        "suspended", "demo", "gating_disabled", "no_subscription", "cancelled", "overdue",
        "feature_disabled", "always_on", "rbac_only", "override", "disabled", "grant", "trial",
        "trial_expired", "plan", "add_on", "plan_limit", "not_granted", "user_entitlement",
        "seat_required", "role", "tier", "permission_denied", "super_admin_bypass",
        "limit_reached", "condition", "active",
    ];
}
