//! Random catalogs, and the plan versions that go with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use entitled::domain::{
    catalog::{
        Access, Audience, Catalog, Feature, FeatureKind, FeatureValue, Limit, Module,
        ModuleSelection, Plan, PlanKind, Settings, Stack, Status,
    },
    keys::ModuleKey,
    plans::{PlanContent, PlanVersion},
};
use rand::Rng;
use serde_json::json;

use super::worlds::Maker;

/// The newest versions, and those that tenants and users can be on.
#[derive(Default)]
pub struct Versions {
    pub newest: Vec<Arc<PlanVersion>>,
    pub held: Vec<Arc<PlanVersion>>,
    pub tiers: Vec<Arc<PlanVersion>>,
}

impl Maker {
    pub fn catalog(&mut self) -> Catalog {
        let overdue_grace_days = self.pick(&[0, 1, 2, 5]);
        let settings = Settings { overdue_grace_days, ..Settings::default() };
        let mut catalog = Catalog { settings, ..Catalog::default() };
        for n in 0..self.rng.random_range(4..=7) {
            let module = Module {
                name: format!("Module {n}"),
                description: None,
                premium: self.chance(30),
                access: match self.rng.random_range(0..10) {
                    0 => Access::AlwaysOn,
                    1 => Access::RbacOnly,
                    _ => Access::Entitled,
                },
                status: self.status(),
                available_when_blocked: self.chance(35),
                provisioning: self.provisioning(),
                seated: self.chance(12),
            };
            catalog.modules.insert(format!("m{n}").parse().unwrap(), module);
        }
        let modules: Vec<ModuleKey> = catalog.modules.keys().cloned().collect();
        for n in 0..self.rng.random_range(5..=9) {
            let feature = Feature {
                name: format!("Feature {n}"),
                description: None,
                kind: match self.rng.random_range(0..10) {
                    // No world is without a limit.
                    _ if n == 0 => FeatureKind::Limit(self.limit_spec()),
                    0..4 => FeatureKind::Boolean,
                    4..8 => FeatureKind::Limit(self.limit_spec()),
                    _ => FeatureKind::Config,
                },
                module: self.chance(60).then(|| self.pick(&modules)),
                premium: self.chance(30),
                status: self.status(),
            };
            catalog.features.insert(format!("f{n}").parse().unwrap(), feature);
        }
        for n in 0..self.rng.random_range(4..=7) {
            let plan = self.plan(n);
            catalog.plans.insert(format!("p{n}").parse().unwrap(), plan);
        }
        for n in 0..self.rng.random_range(2..=4) {
            let plan = self.plan(0);
            let plan = Plan { audience: Audience::User, trial_days: None, ..plan };
            catalog.plans.insert(format!("t{n}").parse().unwrap(), plan);
        }
        self.roles(&mut catalog);
        self.guards(&mut catalog);
        catalog
    }

    fn status(&mut self) -> Status {
        match self.rng.random_range(0..20) {
            0 => Status::Disabled,
            1 => Status::Archived,
            _ => Status::Active,
        }
    }

    /// The first is always a base plan for tenants and the second an add-on for them, so that no
    /// world is without.
    fn plan(&mut self, n: u32) -> Plan {
        let kind = match n {
            0 => PlanKind::Base,
            1 => PlanKind::AddOn,
            _ if self.chance(55) => PlanKind::Base,
            _ => PlanKind::AddOn,
        };
        Plan {
            name: format!("Plan {n}"),
            description: None,
            rank: self.pick(&[10, 10, 20, 30]),
            kind,
            audience: Audience::Tenant,
            inherits: None,
            modules: ModuleSelection::These(BTreeSet::new()),
            all_features: false,
            features: BTreeMap::new(),
            permissions: BTreeSet::new(),
            price: None,
            trial_days: self.chance(35).then_some(14),
            trial_fallback: None,
            activation_code_only: self.chance(20),
            stack: if kind == PlanKind::AddOn && self.chance(50) { Stack::Add } else { Stack::Max },
            seats: None,
        }
    }

    /// The newest version of every plan, and every version that a tenant can hold. An older
    /// version has another content, and sometimes another rank.
    pub fn plan_versions(&mut self, catalog: &Catalog) -> Versions {
        let mut all = Versions::default();
        for (key, plan) in &catalog.plans {
            for version in 1..=2 {
                let older = version == 1;
                let made = Arc::new(PlanVersion {
                    plan: key.clone(),
                    version,
                    name: plan.name.clone(),
                    content: self.content(catalog, plan, older),
                });
                match plan.audience {
                    Audience::Tenant => all.held.push(made.clone()),
                    Audience::User => all.tiers.push(made.clone()),
                }
                if !older {
                    all.newest.push(made);
                }
            }
        }
        all
    }

    fn content(&mut self, catalog: &Catalog, plan: &Plan, older: bool) -> PlanContent {
        let rank = if older && self.chance(30) { self.pick(&[10, 20, 30]) } else { plan.rank };
        let modules = catalog.modules.keys().filter(|_| self.chance(45)).cloned().collect();
        let mut features = BTreeMap::new();
        for (key, feature) in &catalog.features {
            if !self.chance(45) {
                continue;
            }
            let value = match feature.kind {
                FeatureKind::Boolean => FeatureValue::Flag(self.chance(80)),
                FeatureKind::Limit(_) | FeatureKind::Config => self.value(&feature.kind),
            };
            features.insert(key.clone(), value);
        }
        PlanContent {
            rank,
            kind: plan.kind,
            audience: plan.audience,
            stack: plan.stack,
            seats: (plan.audience == Audience::Tenant && self.chance(15)).then_some(2),
            modules,
            features,
            permissions: match plan.audience {
                Audience::Tenant => BTreeSet::new(),
                Audience::User => self.some_permissions(25),
            },
        }
    }

    pub fn value(&mut self, kind: &FeatureKind) -> FeatureValue {
        match kind {
            FeatureKind::Boolean => FeatureValue::Flag(true),
            FeatureKind::Limit(_) => FeatureValue::Limit(match self.rng.random_range(0..10) {
                0..3 => Limit::Of(0),
                3 => Limit::Unlimited,
                _ => Limit::Of(self.rng.random_range(1..=4)),
            }),
            FeatureKind::Config => FeatureValue::Config(self.pick(&[json!("gold"), json!(7)])),
        }
    }
}
