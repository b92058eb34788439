//! How seats and user entitlements of a module may be handed out (SPEC 6), and the facts that a
//! change needs for it, as they stand within the change.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use super::{actor::Actor, memory::Memory, permissions::Permission, questions::unknown};
use crate::{
    domain::{
        catalog::{Catalog, Provisioning, Target},
        keys::{EntitlementKey, TenantKey},
    },
    engine::{TenantFacts, World},
    error::{Error, Fault, Result},
    store::{
        self, ReadTx, WriteTx,
        snapshots::{Loaded, load_tenant, load_world},
    },
};

/// How many tenants may stand above another.
const MAX_HEIGHT: usize = 1000;

/// What counts for a module that doesn't say.
static USUAL: LazyLock<BTreeSet<Provisioning>> =
    LazyLock::new(|| BTreeSet::from([Provisioning::DelegatedAdmin]));

/// The models of what a key belongs to.
pub(super) fn models<'a>(
    catalog: &'a Catalog,
    key: &EntitlementKey,
) -> Option<&'a BTreeSet<Provisioning>> {
    let module = match catalog.target(key.as_str())? {
        Target::Module(module) => Some(module),
        Target::Feature(feature) => catalog.features.get(&feature)?.module.clone(),
    };
    let module = module.and_then(|module| catalog.modules.get(&module));
    let said = module.map(|module| &module.provisioning).filter(|models| !models.is_empty());
    Some(said.unwrap_or(&USUAL))
}

/// A key that the catalog holds; else a fault.
pub(super) fn known(catalog: &Catalog, key: &EntitlementKey, faults: &mut Vec<Fault>) {
    if catalog.target(key.as_str()).is_none() {
        let keys = catalog.modules.keys().map(|key| key.as_str());
        let keys = keys.chain(catalog.features.keys().map(|key| key.as_str()));
        faults.push(unknown("key", "module or feature", key.as_str(), keys));
    }
}

/// Whose seats a user who works in a tenant is to use.
#[derive(Debug, Clone)]
pub(super) struct Draw {
    /// Where the user works.
    pub holder: TenantKey,
    /// Whose seats.
    pub pool: TenantKey,
    /// The caller belongs to the tenant of the pool, and must not learn of tenants beside it.
    is_from_above: bool,
}

impl Draw {
    /// What the caller may draw on, by its own tenant alone: who belongs to a tenant draws on the
    /// seats of that one, for itself or for those below it.
    pub fn of(
        actor: &Actor,
        permission: Permission,
        holder: TenantKey,
        from: Option<TenantKey>,
    ) -> Result<Self> {
        actor.reach(permission)?;
        let own = actor.principal.tenant.as_ref();
        if own.is_some_and(|own| *own != holder) {
            if own != from.as_ref() {
                return Err(Error::TenantNotFound(holder.to_string()));
            }
            let pool = from.unwrap_or_else(|| holder.clone());
            return Ok(Self { holder, pool, is_from_above: true });
        }
        actor.may_on(permission, &holder)?;
        let pool = from.unwrap_or_else(|| holder.clone());
        // The same whether or not there is such a tenant.
        if own.is_some() && pool != holder {
            return Err(not_an_ancestor(&pool, &holder));
        }
        Ok(Self { holder, pool, is_from_above: false })
    }

    /// Whether the seats are those of a tenant further up.
    pub fn is_lent(&self) -> bool {
        self.pool != self.holder
    }

    /// That both tenants are there, one below the other.
    pub fn expect_tree(&self, tx: &ReadTx<'_>) -> Result<()> {
        let holder = store::tenants::get(tx, &self.holder)?;
        if !self.is_lent() {
            return Ok(());
        }
        let mut above = holder.parent;
        for _ in 0..MAX_HEIGHT {
            let Some(key) = above else { break };
            if key == self.pool {
                return Ok(());
            }
            above = store::tenants::find(tx, &key)?.and_then(|tenant| tenant.parent);
        }
        if self.is_from_above {
            return Err(Error::TenantNotFound(self.holder.to_string()));
        }
        Err(not_an_ancestor(&self.pool, &self.holder))
    }

    /// That the models of the key permit it.
    pub fn expect_model(&self, catalog: &Catalog, key: &EntitlementKey) -> Result<()> {
        let has = |model| models(catalog, key).is_some_and(|models| models.contains(&model));
        let is_module = catalog.modules.contains_key(key.as_str());
        let message = if !self.is_lent() {
            if has(Provisioning::DelegatedAdmin) || has(Provisioning::OrgHierarchy) {
                return Ok(());
            }
            format!("“{key}” is given to users directly, and not by seats of a tenant.")
        } else if !is_module {
            format!("“{key}” is a feature; only seats of a module can be lent.")
        } else if has(Provisioning::OrgHierarchy) {
            return Ok(());
        } else {
            format!("“{key}” is not provisioned by org_hierarchy: its seats stay in their tenant.")
        };
        Err(Error::ProvisioningNotAllowed(message))
    }
}

fn not_an_ancestor(pool: &TenantKey, holder: &TenantKey) -> Error {
    Error::ProvisioningNotAllowed(format!(
        "You can't use seats of “{pool}” for users of “{holder}”; leave out from_tenant to use its \
         own."
    ))
}

/// The world as a change sees it: that in memory, unless the catalog or the rollout has changed
/// since.
pub(super) fn world(tx: &WriteTx<'_>, memory: &Memory) -> Result<Arc<World>> {
    world_in(tx.read(), memory)
}

/// The same for one view of the database.
pub(super) fn world_in(tx: &ReadTx<'_>, memory: &Memory) -> Result<Arc<World>> {
    let known = memory.world.load_full();
    if store::catalogs::newest_version(tx)? == known.catalog_version
        && store::rollout::revision(tx)? == known.rollout.revision
    {
        return Ok(known);
    }
    Ok(Arc::new(load_world(tx, known.gating)?))
}

/// The catalog as a change sees it. That in memory was read once: reading a document of some length
/// takes longer than the rest of a change.
pub(super) fn catalog(tx: &WriteTx<'_>, memory: &Memory) -> Result<Arc<Catalog>> {
    Ok(world(tx, memory)?.catalog.clone())
}

/// A tenant as a change sees it: as in memory, unless something has changed since.
pub(super) fn facts(
    tx: &WriteTx<'_>,
    memory: &Memory,
    tenant: &TenantKey,
) -> Result<Arc<TenantFacts>> {
    let version = store::tenants::find_versioned(tx.read(), tenant)?.map(|(_, version)| version);
    if let (Some(cached), Some(version)) = (memory.tenants.get(tenant), version)
        && let Ok(facts) = cached.get(tenant)
        && facts.version == version
    {
        return Ok(facts.clone());
    }
    match load_tenant(tx.read(), &memory.shelf, tenant, tx.now())? {
        Loaded::Facts(facts) => Ok(facts),
        Loaded::Damaged => Err(Error::TenantDamaged(tenant.to_string())),
        Loaded::Missing => Err(Error::TenantNotFound(tenant.to_string())),
    }
}
