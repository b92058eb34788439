//! What an expression may name: the variables, their members, and the features of its catalog.

use std::collections::{BTreeMap, BTreeSet};

use super::types::{Record, Shape, Type};
use crate::domain::{
    catalog::{Feature, FeatureKind},
    keys::FeatureKey,
};

/// A variable of conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Variable {
    Tenant,
    User,
    Permissions,
    Features,
    Context,
    Resource,
    Now,
}

impl Variable {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Tenant,
        Self::User,
        Self::Permissions,
        Self::Features,
        Self::Context,
        Self::Resource,
        Self::Now,
    ];

    /// As it stands in an expression.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Permissions => "permissions",
            Self::Features => "features",
            Self::Context => "context",
            Self::Resource => "resource",
            Self::Now => "now",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == name)
    }

    pub(super) fn of_type(self) -> Type {
        match self {
            Self::Tenant => Type::Record(Record::Tenant).or_null(),
            Self::User => Type::Record(Record::User).or_null(),
            Self::Permissions => Type::list(Type::String),
            Self::Features => Type::Record(Record::Features),
            Self::Context => Type::Record(Record::Context).or_null(),
            Self::Resource => Type::Dynamic,
            Self::Now => Type::Timestamp,
        }
    }
}

/// What an expression reads, so that only that is worked out for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// The variables that it names.
    pub variables: BTreeSet<Variable>,
    /// The features that it names.
    pub features: BTreeSet<FeatureKey>,
}

impl Needs {
    /// Whether it names this variable.
    #[must_use]
    pub fn reads(&self, variable: Variable) -> bool {
        self.variables.contains(&variable)
    }
}

/// The features that the expressions of a catalog may name.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    features: BTreeMap<FeatureKey, Shape>,
}

impl Scope {
    /// That of a catalog with these features.
    pub fn of<'f>(features: impl IntoIterator<Item = (&'f FeatureKey, &'f Feature)>) -> Self {
        let shape = |feature: &Feature| match feature.kind {
            FeatureKind::Boolean => Shape::Boolean,
            FeatureKind::Limit(_) => Shape::Limit,
            FeatureKind::Config => Shape::Config,
        };
        let features = features.into_iter();
        Self { features: features.map(|(key, it)| (key.clone(), shape(it))).collect() }
    }

    pub(super) fn feature(&self, key: &str) -> Option<(&FeatureKey, Shape)> {
        self.features.get_key_value(key).map(|(key, shape)| (key, *shape))
    }

    pub(super) fn feature_keys(&self) -> impl Iterator<Item = &str> {
        self.features.keys().map(FeatureKey::as_str)
    }
}

/// The members of `record`; those of `features` stand in the catalog.
pub(super) fn members(record: Record) -> &'static [&'static str] {
    match record {
        Record::Tenant => &["key", "name", "billing", "demo", "sandbox", "plan", "attributes"],
        Record::User => &["id", "tier", "roles"],
        Record::Context => &["type", "id"],
        Record::Features => &[],
        Record::Feature(Shape::Limit) => {
            &["enabled", "value", "limit", "unlimited", "used", "remaining"]
        }
        Record::Feature(Shape::Boolean | Shape::Config) => &["enabled", "value"],
    }
}

/// The type of a member, if there is one of this name.
pub(super) fn member(record: Record, name: &str) -> Option<Type> {
    if !members(record).contains(&name) {
        return None;
    }
    Some(match name {
        "demo" | "sandbox" | "enabled" | "unlimited" => Type::Bool,
        "limit" | "used" | "remaining" => Type::Int,
        "plan" | "tier" => Type::String.or_null(),
        "roles" => Type::list(Type::String),
        "attributes" | "value" => Type::Dynamic,
        _ => Type::String,
    })
}
