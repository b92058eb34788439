//! Random people: trees of contexts, roles, tiers, seats, lenders, entitlements of their own.

use std::{collections::BTreeSet, sync::Arc};

use entitled::{
    domain::{
        catalog::{Access, Catalog, FeatureKind, Provisioning, Role},
        contexts::ContextKey,
        keys::{EntitlementKey, PermissionKey, RoleKey},
        people::HeldOn,
        subscriptions::SubscriptionStatus,
        time::Timestamp,
    },
    engine::{
        Holding, Person, UserFacts, World,
        people::{HeldRole, HeldSeat, OwnEntitlement},
    },
};
use rand::Rng;

use super::{
    catalogs::Versions,
    people::{Tree, way_up},
    worlds::{Maker, day},
};

const TYPES: [&str; 3] = ["store", "club", "desk"];
/// How deep a tree is at most.
const DEPTH: usize = 5;

/// Everything that roles and tiers permit.
pub fn permissions() -> Vec<PermissionKey> {
    (0..5).map(|n| format!("CAN_{n}").parse().unwrap()).collect()
}

impl Maker {
    pub fn some_permissions(&mut self, percent: u32) -> BTreeSet<PermissionKey> {
        permissions().into_iter().filter(|_| self.chance(percent)).collect()
    }

    pub fn provisioning(&mut self) -> BTreeSet<Provisioning> {
        let mut all = BTreeSet::new();
        for it in [Provisioning::OrgHierarchy, Provisioning::DirectUser] {
            if self.chance(50) {
                all.insert(it);
            }
        }
        all
    }

    /// Roles inherit earlier ones, whatever those are held on.
    pub fn roles(&mut self, catalog: &mut Catalog) {
        for n in 0..self.rng.random_range(4..=8) {
            let context = match n {
                0 => "platform",
                1 => "tenant",
                _ => self.pick(&["store", "club", "desk", "desk", "tenant", "platform"]),
            };
            let role = Role {
                name: None,
                context: context.parse().unwrap(),
                inherits: catalog.roles.keys().filter(|_| self.chance(25)).cloned().collect(),
                permissions: self.some_permissions(22),
                bypass: context == "platform" && self.chance(50),
            };
            // No order of keys that follows the order of inheritance.
            let key = format!("r{}-{n}", self.rng.random_range(0..9));
            catalog.roles.insert(key.parse().unwrap(), role);
        }
    }

    pub fn tree(&mut self) -> Tree {
        let mut tree = Tree::new();
        for n in 0..self.rng.random_range(0..=9) {
            let kind = self.pick(&TYPES).parse().unwrap();
            let id = format!("c{n}").parse().unwrap();
            let mut parents: Vec<ContextKey> = tree.keys().cloned().collect();
            parents.retain(|it| way_up(&tree, it).len() < DEPTH);
            let parent = (!parents.is_empty() && self.chance(75)).then(|| self.pick(&parents));
            tree.insert(ContextKey { kind, id }, parent);
        }
        tree
    }

    fn end(&mut self) -> Option<Timestamp> {
        self.chance(55).then(|| day(self.rng.random_range(1..16)))
    }

    pub fn person(
        &mut self,
        world: &World,
        versions: &Versions,
        tree: &Tree,
        nobody: bool,
    ) -> Person {
        let mut here = UserFacts::default();
        let mut lenders = Vec::new();
        if !nobody {
            here = self.user_facts(world, versions, "h");
            here.roles = self.roles_here(&world.catalog, tree);
            let names: &[&str] = self.pick(&[&[][..], &[], &["parent"], &["parent", "top"]]);
            for name in names {
                lenders.push(Arc::new(self.facts(world, &versions.held, name)));
            }
            for pool in ["acme"].iter().chain(names) {
                here.seats.extend(self.seats(&world.catalog, pool));
            }
        }
        let mut everywhere = self.user_facts(world, versions, "e");
        everywhere.roles = self.roles_everywhere(&world.catalog);
        let user = "u1".parse().unwrap();
        let (here, everywhere) = (Arc::new(here), Arc::new(everywhere));
        Person { user, here, everywhere, path: Vec::new(), lenders }
    }

    fn user_facts(&mut self, world: &World, versions: &Versions, ids: &str) -> UserFacts {
        let mut facts = UserFacts { version: self.rng.random_range(1..100), ..Default::default() };
        if self.chance(45) {
            let from = self.rng.random_range(0..8);
            let to = self.chance(50).then(|| day(from + self.rng.random_range(1..8)));
            facts.tier = Some(Holding {
                id: format!("{ids}-tier"),
                plan: self.pick(&versions.tiers),
                fallback: None,
                status: SubscriptionStatus::Active,
                from: day(from),
                to,
                trial_expires_at: None,
                overdue_since: None,
                quantity: 1,
            });
        }
        let modules = world.catalog.modules.keys().map(EntitlementKey::from);
        let features = world.catalog.features.iter();
        let features = features.filter(|(_, it)| it.kind == FeatureKind::Boolean);
        for key in modules.chain(features.map(|(key, _)| key.into())) {
            if self.chance(8) {
                let id = format!("{ids}-{key}");
                let own = OwnEntitlement { id, expires_at: self.end(), is_delegated: false };
                facts.entitlements.insert(key, own);
            }
        }
        facts
    }

    fn seats(&mut self, catalog: &Catalog, pool: &str) -> Vec<HeldSeat> {
        let entitled = catalog.modules.iter().filter(|(_, it)| it.access == Access::Entitled);
        let modules = entitled.map(|(key, _)| EntitlementKey::from(key));
        let keys = modules.chain(catalog.features.keys().map(EntitlementKey::from));
        let mut seats = Vec::new();
        for key in keys {
            if self.chance(35) {
                let pool = pool.parse().unwrap();
                seats.push(HeldSeat { key, pool, expires_at: self.end() });
            }
        }
        seats
    }

    fn roles_here(&mut self, catalog: &Catalog, tree: &Tree) -> Vec<HeldRole> {
        let mut held = Vec::new();
        for (role, it) in &catalog.roles {
            let on = if it.context.as_str() == "tenant" {
                if !self.chance(20) {
                    continue;
                }
                HeldOn::Tenant
            } else {
                let fitting = tree.keys().filter(|context| context.kind == it.context);
                let fitting: Vec<ContextKey> = fitting.cloned().collect();
                if fitting.is_empty() || !self.chance(60) {
                    continue;
                }
                HeldOn::Context(self.pick(&fitting))
            };
            held.push(HeldRole { role: role.clone(), on, expires_at: self.end() });
        }
        held
    }

    /// Sometimes also one that the catalog no longer has.
    fn roles_everywhere(&mut self, catalog: &Catalog) -> Vec<HeldRole> {
        let platform = catalog.roles.iter().filter(|(_, it)| it.context.as_str() == "platform");
        let mut roles: Vec<RoleKey> = platform.map(|(key, _)| key.clone()).collect();
        roles.push("gone".parse().unwrap());
        let held = roles.into_iter().filter(|_| self.chance(25)).collect::<Vec<_>>();
        let on = HeldOn::Platform;
        held.into_iter()
            .map(|role| HeldRole { role, on: on.clone(), expires_at: self.end() })
            .collect()
    }
}
