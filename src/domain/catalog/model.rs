//! What a catalog says, as types.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{
    conditions::Expression,
    keys::{
        BundleKey, ContextType, FeatureKey, GuardKey, ModuleKey, PermissionKey, PlanKey, RoleKey,
    },
};

/// The whole document, validated.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalog {
    /// Product areas.
    pub modules: BTreeMap<ModuleKey, Module>,
    /// Sets of modules that are switched together.
    pub bundles: BTreeMap<BundleKey, Bundle>,
    /// Capabilities.
    pub features: BTreeMap<FeatureKey, Feature>,
    /// Plans, add-ons and tiers.
    pub plans: BTreeMap<PlanKey, Plan>,
    /// Roles of the application's users.
    pub roles: BTreeMap<RoleKey, Role>,
    /// Named requirements.
    pub guards: BTreeMap<GuardKey, Guard>,
    /// What each path of the application needs.
    pub routes: Vec<Route>,
    /// Settings that travel with the catalog.
    pub settings: Settings,
}

/// A product area that is gated as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// Shown to people.
    pub name: String,
    /// A sentence for people.
    pub description: Option<String>,
    /// Shown as something to upgrade to.
    pub premium: bool,
    /// Who decides about it.
    pub access: Access,
    /// Active, switched off for everyone, or archived.
    pub status: Status,
    /// Stays open for a tenant that its subscription blocks.
    pub available_when_blocked: bool,
    /// How its seats and user entitlements are handed out.
    pub provisioning: BTreeSet<Provisioning>,
    /// A user needs a seat for it.
    pub seated: bool,
}

/// Who decides about a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// A plan, grant or override must give it.
    Entitled,
    /// Everyone has it.
    AlwaysOn,
    /// It needs no entitlement, only a permission.
    RbacOnly,
}

/// Whether a module or feature can be used at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In use.
    Active,
    /// The kill switch: refused for everyone until switched back.
    Disabled,
    /// Retired: refused for everyone, and left out of every `"*"`.
    Archived,
}

/// How seats and user entitlements of a module may be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provisioning {
    /// A tenant's seats may go to users of its descendant tenants.
    OrgHierarchy,
    /// A user may be entitled without a tenant.
    DirectUser,
    /// A tenant admin allocates inside the own tenant.
    DelegatedAdmin,
}

/// A named set of modules that are switched together.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// Shown to people.
    pub name: String,
    /// What is switched.
    pub modules: BTreeSet<ModuleKey>,
}

/// One capability.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Shown to people.
    pub name: String,
    /// A sentence for people.
    pub description: Option<String>,
    /// What kind of value it has.
    pub kind: FeatureKind,
    /// The module it belongs to.
    pub module: Option<ModuleKey>,
    /// Shown as something to upgrade to.
    pub premium: bool,
    /// Active, switched off for everyone, or archived.
    pub status: Status,
}

/// What kind of value a feature has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeatureKind {
    /// On or off.
    Boolean,
    /// A number, or unlimited.
    Limit(LimitSpec),
    /// A string, number or JSON value.
    Config,
}

/// How a limit counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSpec {
    /// What is counted, in the singular: `branch`.
    pub unit: Option<String>,
    /// Gauge or counter.
    pub usage: UsageKind,
    /// For whom it counts.
    pub per: LimitPer,
    /// What happens past it.
    pub on_limit: OnLimit,
}

/// How usage behaves over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageKind {
    /// A current number that goes up and down.
    Gauge,
    /// A number that accumulates until it is reset.
    Counter(Reset),
}

/// When a counter starts again at 0, anchored to the subscription's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Reset {
    Hour,
    Day,
    Week,
    Month,
    Year,
    Never,
}

/// For whom a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitPer {
    /// One count for the whole tenant.
    Tenant,
    /// One count for each user.
    User,
}

/// What happens past a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// Refused.
    Block,
    /// Allowed, said and counted.
    Warn,
}

/// A number or unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// At most this many. The order of the variants makes `Unlimited` the largest.
    Of(u64),
    /// No limit.
    Unlimited,
}

impl Limit {
    /// The limit that nothing defines.
    pub const NONE: Self = Self::Of(0);

    /// Both together; unlimited absorbs, and the sum stops at the largest number.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Of(a), Self::Of(b)) => Self::Of(a.saturating_add(b)),
            (Self::Unlimited, _) | (_, Self::Unlimited) => Self::Unlimited,
        }
    }

    /// `count` times this limit.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        match self {
            Self::Of(a) => Self::Of(a.saturating_mul(count)),
            Self::Unlimited if count == 0 => Self::NONE,
            Self::Unlimited => Self::Unlimited,
        }
    }
}

/// The value of a feature in a plan, a grant or an override. Its variant always matches the
/// feature's kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureValue {
    /// Of a boolean feature.
    Flag(bool),
    /// Of a limit feature.
    Limit(Limit),
    /// Of a config feature.
    Config(Value),
}

/// A named set of modules and feature values.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Shown to people.
    pub name: String,
    /// A sentence for people.
    pub description: Option<String>,
    /// Its place among plans: a higher one is more.
    pub rank: i64,
    /// Base plan or add-on.
    pub kind: PlanKind,
    /// Who subscribes to it.
    pub audience: Audience,
    /// Whose modules, values and permissions it starts from.
    pub inherits: Option<PlanKey>,
    /// The modules it names itself.
    pub modules: ModuleSelection,
    /// `features: {"*": true}` was said: every boolean on, every limit it doesn't name unlimited.
    pub all_features: bool,
    /// The values it names itself.
    pub features: BTreeMap<FeatureKey, FeatureValue>,
    /// What a tier permits.
    pub permissions: BTreeSet<PermissionKey>,
    /// What it costs.
    pub price: Option<Price>,
    /// Length of its trial, in days.
    pub trial_days: Option<u32>,
    /// Where an ended trial goes.
    pub trial_fallback: Option<PlanKey>,
    /// Only to be had with an activation code; left out of remedies.
    pub activation_code_only: bool,
    /// How its limits combine with those of other plans.
    pub stack: Stack,
    /// How many seats one unit of it carries.
    pub seats: Option<u64>,
}

/// Modules that a plan names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleSelection {
    /// `"*"`: all that the catalog version defines.
    All,
    /// These.
    These(BTreeSet<ModuleKey>),
}

/// Base plan or add-on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// A subject has at most one open one.
    Base,
    /// Any number beside the base.
    AddOn,
}

/// Who subscribes to a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// A tenant.
    Tenant,
    /// A user: the plan is a membership tier.
    User,
}

/// How the limits of an add-on combine with those of other plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stack {
    /// The largest counts.
    Max,
    /// It is added, once for each unit.
    Add,
}

/// What a plan costs. Only shown, never charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// In the smallest unit of the currency.
    pub amount: u64,
    /// ISO 4217, such as `SAR`.
    pub currency: String,
    /// How often.
    pub interval: PriceInterval,
}

/// How often a price is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum PriceInterval {
    Day,
    Week,
    Month,
    Year,
    Once,
}

/// A named set of permissions that is held in a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Shown to people.
    pub name: Option<String>,
    /// Where it can be held: `platform`, `tenant`, or a type of context.
    pub context: ContextType,
    /// Roles whose permissions it includes.
    pub inherits: BTreeSet<RoleKey>,
    /// What it permits itself.
    pub permissions: BTreeSet<PermissionKey>,
    /// Held at platform level, it passes every check that is made in platform mode.
    pub bypass: bool,
}

/// A named requirement.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Guard {
    /// A sentence for people.
    pub description: Option<String>,
    /// The module needed.
    pub module: Option<ModuleKey>,
    /// The features needed.
    pub features: Vec<FeatureKey>,
    /// Whether all or any of the features are needed.
    pub features_match: Match,
    /// Every one of these is needed.
    pub all_permissions: Vec<PermissionKey>,
    /// One of these is needed.
    pub any_permission: Vec<PermissionKey>,
    /// The lowest tier that passes.
    pub tier_at_least: Option<PlanKey>,
    /// The limit that must have room.
    pub limit: Option<FeatureKey>,
    /// What must hold beside.
    pub conditions: Vec<Condition>,
}

/// One condition of a guard.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The guard fails unless this is true.
    pub unless: Expression,
    /// The reason of the refusal.
    pub reason: String,
    /// The code of the refusal.
    pub code: String,
    /// What people read.
    pub message: String,
    /// HTTP status for a proxy; 403 if unset.
    pub status: Option<u16>,
    /// Passed on to the caller.
    pub data: Option<Value>,
    /// Asked before the limit instead of after it.
    pub before_limit: bool,
}

/// The methods that a route can name: an unknown one would be a misspelling that guards nothing.
pub const METHODS: [&str; 18] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "QUERY",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
];

/// What one path of the application needs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Route {
    /// Upper-case methods; empty means any.
    pub methods: BTreeSet<String>,
    /// A pattern: literal segments, `{name}` for one segment, `**` for the rest.
    pub path: String,
    /// The module needed.
    pub module: Option<ModuleKey>,
    /// The features needed.
    pub features: Vec<FeatureKey>,
    /// Whether all or any of the features are needed.
    pub features_match: Match,
    /// The permission needed.
    pub permission: Option<PermissionKey>,
    /// The guard asked.
    pub guard: Option<GuardKey>,
    /// Open to everyone, without a credential.
    pub public: bool,
    /// Open to any authenticated caller, also of a blocked tenant.
    pub allow_blocked: bool,
}

/// Whether all or any of several features are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// Every one.
    #[default]
    All,
    /// At least one.
    Any,
}

/// Settings that travel with the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// How long an overdue subscription works on, in days.
    pub overdue_grace_days: u32,
    /// What forward-auth answers where no route matches.
    pub default_route: DefaultRoute,
}

impl Default for Settings {
    fn default() -> Self {
        Self { overdue_grace_days: 7, default_route: DefaultRoute::Deny }
    }
}

/// What forward-auth answers where no route matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum DefaultRoute {
    Deny,
    Allow,
}

/// A module or a feature: what a grant, an override or a remedy is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Target {
    Module(ModuleKey),
    Feature(FeatureKey),
}

impl Catalog {
    /// What `key` names, if anything.
    #[must_use]
    pub fn target(&self, key: &str) -> Option<Target> {
        if let Some((key, _)) = self.modules.get_key_value(key) {
            return Some(Target::Module(key.clone()));
        }
        self.features.get_key_value(key).map(|(key, _)| Target::Feature(key.clone()))
    }

    /// The conditions that never hold because their expression can't be used: the place of each
    /// and why. Only a catalog that an older version of the service has stored has any.
    pub fn unusable_conditions(&self) -> impl Iterator<Item = (String, &str)> {
        self.guards.iter().flat_map(|(key, guard)| {
            guard.conditions.iter().enumerate().filter_map(move |(at, condition)| {
                let fault = condition.unless.fault()?;
                Some((format!("guards.{key}.conditions[{at}].unless"), fault))
            })
        })
    }
}
