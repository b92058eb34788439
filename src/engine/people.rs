//! What the decision knows of a user: one [`UserFacts`] for what holds in the tenant, one for what
//! holds everywhere, and the way up from the context that is asked about.
//!
//! Invariants: facts are immutable and replaced as a whole; they hold what expires later or never,
//! and whether it counts at an instant is decided when asked.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    domain::{
        catalog::Catalog,
        contexts::{ContextKey, MAX_DEPTH},
        keys::{EntitlementKey, PermissionKey, RoleKey, TenantKey, UserKey},
        people::HeldOn,
        time::Timestamp,
    },
    engine::{Holding, TenantFacts},
};

/// What a role permits, with everything that it inherits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompiledRole {
    /// What it permits itself.
    pub own: BTreeSet<PermissionKey>,
    /// What it permits by inheritance alone.
    pub inherited: BTreeSet<PermissionKey>,
    /// Held at platform level, it passes every check that is made in platform mode.
    pub bypass: bool,
}

impl CompiledRole {
    /// Whether it permits something.
    #[must_use]
    pub fn permits(&self, permission: &PermissionKey) -> bool {
        self.own.contains(permission) || self.inherited.contains(permission)
    }
}

/// Works out what each role of a catalog permits. Its inheritance has no cycles.
pub(super) fn compile(catalog: &Catalog) -> HashMap<RoleKey, Arc<CompiledRole>> {
    let compiled = |key: &RoleKey| {
        let mut role = CompiledRole::default();
        let mut seen = BTreeSet::new();
        let mut open = vec![key];
        while let Some(next) = open.pop() {
            let Some(definition) = catalog.roles.get(next) else { continue };
            if !seen.insert(next) {
                continue;
            }
            open.extend(&definition.inherits);
            if next == key {
                (role.own, role.bypass) = (definition.permissions.clone(), definition.bypass);
            } else {
                role.inherited.extend(definition.permissions.iter().cloned());
            }
        }
        role.inherited.retain(|permission| !role.own.contains(permission));
        Arc::new(role)
    };
    catalog.roles.keys().map(|key| (key.clone(), compiled(key))).collect()
}

/// What is known of a user in one tenant, or outside of all.
#[derive(Debug, Clone, Default)]
pub struct UserFacts {
    /// Roles held, the platform's outside of all tenants.
    pub roles: Vec<HeldRole>,
    /// The tier; the plan is one for users.
    pub tier: Option<Holding>,
    /// Seats in use, also those of tenants further up.
    pub seats: Vec<HeldSeat>,
    /// Modules and features of the user alone; suspended ones aren't among them.
    pub entitlements: HashMap<EntitlementKey, OwnEntitlement>,
    /// The version of the tenant, or of the service, when this was read.
    pub version: u64,
}

/// A role that a user holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRole {
    /// Which role.
    pub role: RoleKey,
    /// On what.
    pub on: HeldOn,
    /// Not honoured from here on.
    pub expires_at: Option<Timestamp>,
}

/// A seat that a user has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSeat {
    /// The module or feature.
    pub key: EntitlementKey,
    /// Whose seats.
    pub pool: TenantKey,
    /// Not honoured from here on.
    pub expires_at: Option<Timestamp>,
}

/// A module or feature of the user alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnEntitlement {
    /// The id of the user entitlement.
    pub id: String,
    /// Not honoured from here on.
    pub expires_at: Option<Timestamp>,
    /// Given by an admin of the tenant: it counts while the tenant itself is entitled.
    pub is_delegated: bool,
}

/// Everything beside the tenant that a question about a user looks at.
#[derive(Debug, Clone)]
pub struct Person {
    /// Who.
    pub user: UserKey,
    /// What holds in the tenant; empty for a user without one.
    pub here: Arc<UserFacts>,
    /// What holds in every tenant and without one.
    pub everywhere: Arc<UserFacts>,
    /// The context asked about and those above it, nearest first; empty for the tenant as a whole.
    pub path: Vec<ContextKey>,
    /// Tenants further up whose seats the user has.
    pub lenders: Vec<Arc<TenantFacts>>,
}

impl Person {
    /// Somebody of whom nothing is known.
    #[must_use]
    pub fn unknown(user: UserKey) -> Self {
        Self {
            user,
            here: Arc::default(),
            everywhere: Arc::default(),
            path: Vec::new(),
            lenders: Vec::new(),
        }
    }

    /// The version of everything that was looked at.
    pub(super) fn version(&self) -> u64 {
        let lenders = self.lenders.iter().map(|facts| facts.version);
        lenders.chain([self.here.version, self.everywhere.version]).max().unwrap_or(0)
    }
}

/// The contexts of a tenant, each with the one above it.
#[derive(Debug, Clone, Default)]
pub struct ContextTree {
    above: imbl::HashMap<ContextKey, Option<ContextKey>>,
}

impl ContextTree {
    /// A tree of contexts and their parents.
    pub fn new(nodes: impl IntoIterator<Item = (ContextKey, Option<ContextKey>)>) -> Self {
        Self { above: nodes.into_iter().collect() }
    }

    /// The same tree with one context more, or moved. Shares what did not change.
    #[must_use]
    pub fn with(&self, key: ContextKey, parent: Option<ContextKey>) -> Self {
        Self { above: self.above.update(key, parent) }
    }

    /// The same tree without one context.
    #[must_use]
    pub fn without(&self, key: &ContextKey) -> Self {
        Self { above: self.above.without(key) }
    }

    /// A context and those above it, nearest first. One that is not in the tree stands right below
    /// the tenant.
    #[must_use]
    pub fn path(&self, key: &ContextKey) -> Vec<ContextKey> {
        let mut path = vec![key.clone()];
        let mut at = key;
        while let Some(Some(parent)) = self.above.get(at) {
            // No tree is deeper: whoever writes one sees to it.
            if path.len() > MAX_DEPTH {
                break;
            }
            path.push(parent.clone());
            at = parent;
        }
        path
    }
}
