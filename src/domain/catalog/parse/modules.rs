//! Modules, bundles and features.

use super::super::{
    cursor::{Cursor, MAX_NAME, Record},
    findings::Kind,
    model::{
        Access, Bundle, Feature, FeatureKind, LimitPer, LimitSpec, Module, OnLimit, Provisioning,
        Reset, Status, UsageKind,
    },
};

const ACCESS: [(&str, Access); 3] = [
    ("entitled", Access::Entitled),
    ("always_on", Access::AlwaysOn),
    ("rbac_only", Access::RbacOnly),
];

const STATUS: [(&str, Status); 3] =
    [("active", Status::Active), ("disabled", Status::Disabled), ("archived", Status::Archived)];

const PROVISIONING: [(&str, Provisioning); 3] = [
    ("org_hierarchy", Provisioning::OrgHierarchy),
    ("direct_user", Provisioning::DirectUser),
    ("delegated_admin", Provisioning::DelegatedAdmin),
];

const RESET: [(&str, Reset); 6] = [
    ("hour", Reset::Hour),
    ("day", Reset::Day),
    ("week", Reset::Week),
    ("month", Reset::Month),
    ("year", Reset::Year),
    ("never", Reset::Never),
];

/// Fields that only a limit has.
const LIMIT_FIELDS: [&str; 5] = ["unit", "usage", "reset", "per", "on_limit"];

/// A feature as far as it can be read.
pub(super) struct Draft {
    pub feature: Feature,
    /// Its type can't be read, so that no value can be judged.
    pub untyped: bool,
}

pub(super) fn module(item: &Cursor<'_>) -> Module {
    let record = item.record(&[
        "name",
        "description",
        "premium",
        "access",
        "status",
        "available_when_blocked",
        "provisioning",
        "seated",
    ]);
    let provisioning = record
        .get("provisioning")
        .and_then(|field| field.list("provisioning models", |item| item.word(&PROVISIONING)));
    Module {
        name: record.name(),
        description: record.description(),
        premium: record.flag("premium"),
        access: record.word_or("access", &ACCESS, Access::Entitled),
        status: record.word_or("status", &STATUS, Status::Active),
        available_when_blocked: record.flag("available_when_blocked"),
        provisioning: provisioning.unwrap_or_default().into_iter().collect(),
        seated: record.flag("seated"),
    }
}

pub(super) fn bundle(item: &Cursor<'_>) -> Bundle {
    let record = item.record(&["name", "modules"]);
    if let Some(field) = record.required("modules") {
        field.refuse_empty_list("a bundle needs at least one module");
    }
    let modules = record.references("modules", "module keys", Kind::Module);
    Bundle { name: record.name(), modules: modules.into_iter().collect() }
}

pub(super) fn feature(item: &Cursor<'_>) -> Draft {
    let mut known = vec!["name", "description", "type", "module", "premium", "status"];
    known.extend(LIMIT_FIELDS);
    let record = item.record(&known);
    let kind = record.required("type").and_then(|field| {
        field.word(&[("boolean", Type::Boolean), ("limit", Type::Limit), ("config", Type::Config)])
    });
    if matches!(kind, Some(Type::Boolean | Type::Config)) {
        for field in LIMIT_FIELDS.iter().filter_map(|name| record.get(name)) {
            field.fault("only a feature of type limit has this field");
        }
    }
    Draft {
        untyped: kind.is_none(),
        feature: Feature {
            name: record.name(),
            description: record.description(),
            kind: match kind {
                Some(Type::Boolean) => FeatureKind::Boolean,
                Some(Type::Config) => FeatureKind::Config,
                // An unknown type is taken for a limit, so that its fields are read too.
                Some(Type::Limit) | None => FeatureKind::Limit(limit_spec(&record)),
            },
            module: record.get("module").and_then(|field| field.reference(Kind::Module)),
            premium: record.flag("premium"),
            status: record.word_or("status", &STATUS, Status::Active),
        },
    }
}

#[derive(Clone, Copy)]
enum Type {
    Boolean,
    Limit,
    Config,
}

fn limit_spec(record: &Record<'_>) -> LimitSpec {
    let usage = record.get("usage");
    let is_gauge = usage
        .as_ref()
        .is_none_or(|field| field.word(&[("gauge", true), ("counter", false)]) == Some(true));
    let reset = record.get("reset");
    if is_gauge && let Some(field) = &reset {
        field.fault("a gauge is never reset; did you mean `usage: counter`?");
    }
    let reset = reset.and_then(|field| field.word(&RESET)).unwrap_or(Reset::Never);
    LimitSpec {
        unit: record.get("unit").and_then(|field| field.text(MAX_NAME)),
        usage: if is_gauge { UsageKind::Gauge } else { UsageKind::Counter(reset) },
        per: record.word_or(
            "per",
            &[("tenant", LimitPer::Tenant), ("user", LimitPer::User)],
            LimitPer::Tenant,
        ),
        on_limit: record.word_or(
            "on_limit",
            &[("block", OnLimit::Block), ("warn", OnLimit::Warn)],
            OnLimit::Block,
        ),
    }
}
