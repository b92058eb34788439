//! What an expression can be, as far as that is known before it is evaluated.

use std::fmt;

/// The type of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Bool,
    Int,
    Double,
    String,
    Timestamp,
    Duration,
    List(Box<Type>),
    Map(Box<Type>),
    /// One of the service's own, with known members.
    Record(Record),
    /// This, or null.
    Nullable(Box<Type>),
    /// Known only when it is evaluated: the caller's own data, and what had a fault already.
    Dynamic,
}

/// A thing with known members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    Tenant,
    User,
    Context,
    Features,
    Feature(Shape),
}

/// What kind of feature it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Boolean,
    Limit,
    Config,
}

impl Type {
    /// This without its null.
    pub fn bare(&self) -> &Self {
        match self {
            Self::Nullable(inner) => inner,
            Self::Null
            | Self::Bool
            | Self::Int
            | Self::Double
            | Self::String
            | Self::Timestamp
            | Self::Duration
            | Self::List(_)
            | Self::Map(_)
            | Self::Record(_)
            | Self::Dynamic => self,
        }
    }

    pub fn list(of: Self) -> Self {
        Self::List(Box::new(of))
    }

    pub fn or_null(self) -> Self {
        Self::Nullable(Box::new(self))
    }

    pub fn is_dynamic(&self) -> bool {
        matches!(self, Self::Dynamic)
    }

    pub fn is_bool(&self) -> bool {
        matches!(self.bare(), Self::Bool | Self::Dynamic)
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Double)
    }

    /// A number or a time: what never grows when it is added up.
    pub fn is_fixed_size(&self) -> bool {
        matches!(
            self.bare(),
            Self::Null | Self::Bool | Self::Int | Self::Double | Self::Timestamp | Self::Duration
        )
    }

    /// Whether `==` between these could ever be true.
    pub fn can_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dynamic, _) | (_, Self::Dynamic) => true,
            (Self::Null, Self::Nullable(_) | Self::Null) | (Self::Nullable(_), Self::Null) => true,
            (Self::Nullable(a), b) | (b, Self::Nullable(a)) => a.can_equal(b),
            (Self::List(a), Self::List(b)) | (Self::Map(a), Self::Map(b)) => a.can_equal(b),
            // Their members are compared, not they.
            (Self::Record(_), _) | (_, Self::Record(_)) => false,
            (a, b) => a == b || (a.is_number() && b.is_number()),
        }
    }

    /// Whether these have an order between them.
    pub fn can_order(&self, other: &Self) -> bool {
        let has_order = |it: &Self| {
            matches!(it, Self::String | Self::Timestamp | Self::Duration | Self::Dynamic)
                || it.is_number()
        };
        let (a, b) = (self.bare(), other.bare());
        has_order(a) && has_order(b) && a.can_equal(b)
    }

    /// One type for both; none if they have nothing in common.
    pub fn join(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (a, b) if a == b => Some(a.clone()),
            (Self::Dynamic, _) | (_, Self::Dynamic) => Some(Self::Dynamic),
            (a, b) if a.is_number() && b.is_number() => Some(Self::Dynamic),
            (Self::Null, it) | (it, Self::Null) => Some(it.bare().clone().or_null()),
            (Self::Nullable(a), b) | (b, Self::Nullable(a)) => {
                a.join(b.bare()).map(|it| if it.is_dynamic() { it } else { it.or_null() })
            }
            (Self::List(a), Self::List(b)) => Some(Self::list(a.join(b).unwrap_or(Self::Dynamic))),
            (Self::Map(_), Self::Map(_)) => Some(Self::Map(Box::new(Self::Dynamic))),
            _ => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "a bool",
            Self::Int => "an int",
            Self::Double => "a double",
            Self::String => "a string",
            Self::Timestamp => "a timestamp",
            Self::Duration => "a duration",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Record(record) => match record {
                Record::Tenant => "the tenant",
                Record::User => "the user",
                Record::Context => "the context",
                Record::Features => "all features",
                Record::Feature(_) => "a feature",
            },
            Self::Nullable(inner) => return inner.fmt(f),
            Self::Dynamic => "a value",
        })
    }
}
