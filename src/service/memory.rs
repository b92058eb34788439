//! What is kept in memory, and how the writer makes it follow the disk.
//!
//! Invariants: what is kept are facts, never decisions; the one prepared answer (the payload of the
//! tenant as a whole) carries the instants between which it holds. What belongs to a tenant is
//! replaced before the tenant itself: whoever sees something newer than the tenant that it looked at
//! first looks again, so that a question never sees half of a change.

use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::{
    cache::Cache,
    entitlements::Prepared,
    keyring::{Keyring, StoredKey},
};
use crate::{
    clock::Clock,
    domain::{
        keys::{TenantKey, UserKey},
        usage::CountedFor,
    },
    engine::{ContextTree, Gating, TenantFacts, UsageFacts, UserFacts, World},
    error::{Error, Result},
    store::{
        self, ReadTx, Touched,
        people::load_user,
        snapshots::{Loaded, PlanShelf, load_tenant, load_world},
    },
};

/// How much may be kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheOptions {
    /// Tenants.
    pub tenants: usize,
    /// Users, each counted once for every tenant and once for what holds everywhere.
    pub users: usize,
    /// How long one stays without being read again: a backstop.
    pub ttl: Duration,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { tenants: 100_000, users: 400_000, ttl: Duration::from_secs(300) }
    }
}

/// A user in a tenant, or outside of all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct UserIn {
    pub tenant: Option<TenantKey>,
    pub user: UserKey,
}

/// What is kept in memory.
pub(super) struct Memory {
    pub world: ArcSwap<World>,
    pub tenants: Cache<TenantKey, Cached>,
    /// None where a row of the user is damaged.
    pub users: Cache<UserIn, Option<Arc<UserFacts>>>,
    pub trees: Cache<TenantKey, ContextTree>,
    /// What was counted. A change of it leaves everything else as it is.
    pub usage: Cache<CountedFor, Arc<UsageFacts>>,
    pub shelf: PlanShelf,
}

/// One tenant in memory.
pub struct Cached {
    /// None where the tenant is damaged.
    facts: Option<Arc<TenantFacts>>,
    /// The payload of the tenant as a whole, while it holds.
    pub(super) prepared: ArcSwapOption<Prepared>,
}

impl Cached {
    pub(super) fn facts(facts: Arc<TenantFacts>) -> Self {
        Self::new(Some(facts))
    }

    pub(super) fn damaged() -> Self {
        Self::new(None)
    }

    fn new(facts: Option<Arc<TenantFacts>>) -> Self {
        Self { facts, prepared: ArcSwapOption::empty() }
    }

    /// The facts; the error that closes a damaged tenant.
    pub(super) fn get(&self, tenant: &TenantKey) -> Result<&Arc<TenantFacts>> {
        self.facts.as_ref().ok_or_else(|| Error::TenantDamaged(tenant.to_string()))
    }
}

impl Memory {
    pub(super) fn new(options: CacheOptions, gating: Gating) -> Self {
        let CacheOptions { tenants, users, ttl } = options;
        Self {
            world: ArcSwap::from_pointee(World::empty(gating)),
            tenants: Cache::new(tenants, ttl),
            users: Cache::new(users, ttl),
            trees: Cache::new(tenants, ttl),
            usage: Cache::new(tenants.saturating_add(users), ttl),
            shelf: PlanShelf::default(),
        }
    }

    /// Runs in the writer, after a commit and before its replies.
    pub(super) fn follow(
        &self,
        tx: &ReadTx<'_>,
        touched: &Touched,
        gating: Gating,
        keyring: &Keyring,
        clock: &Clock,
    ) -> Result<()> {
        if touched.world {
            self.world.store(Arc::new(load_world(tx, gating)?));
        }
        if touched.keys {
            keyring.replace(stored_keys(tx)?);
        }
        for ((subject, feature), usage) in &touched.usage {
            self.usage.replace(subject, |facts| {
                let mut facts = UsageFacts::clone(facts);
                facts.insert(feature.clone(), usage.clone());
                Ok(Some(Arc::new(facts)))
            });
        }
        for change in &touched.contexts {
            self.trees.replace(&change.tenant, |tree| {
                let key = change.key.clone();
                Ok(Some(match &change.parent {
                    Some(parent) => tree.with(key, parent.clone()),
                    None => tree.without(&key),
                }))
            });
        }
        for (tenant, user) in &touched.users {
            let key = UserIn { tenant: tenant.clone(), user: user.clone() };
            self.users.replace(&key, |_| {
                load_user(tx, &self.shelf, tenant.as_ref(), user, clock.steady()).map(Some)
            });
        }
        for tenant in &touched.tenants {
            // Only tenants that somebody asks about are read again; the rest on first use.
            self.tenants.replace(tenant, |_| {
                Ok(match load_tenant(tx, &self.shelf, tenant, clock.steady())? {
                    Loaded::Facts(facts) => Some(Cached::facts(facts)),
                    Loaded::Damaged => Some(Cached::damaged()),
                    Loaded::Missing => None,
                })
            });
        }
        Ok(())
    }

    fn clear(&self) {
        self.tenants.clear();
        self.users.clear();
        self.trees.clear();
        self.usage.clear();
    }

    pub(super) fn stats(&self) -> CacheStats {
        const TYPICAL_TENANT_BYTES: u64 = 1500;
        const TYPICAL_USER_BYTES: u64 = 400;
        let (tenants, of_tenants) = self.tenants.counts();
        let (users, of_users) = self.users.counts();
        let [hits, misses, loads, evictions] =
            [0, 1, 2, 3].map(|n| of_tenants.get(n).unwrap_or(&0) + of_users.get(n).unwrap_or(&0));
        let mut bytes = tenants * TYPICAL_TENANT_BYTES + users * TYPICAL_USER_BYTES;
        self.tenants.for_each(|cached| {
            bytes += cached.prepared.load().as_ref().map_or(0, |p| p.bytes.len() as u64);
        });
        CacheStats { entries: tenants + users, hits, misses, loads, evictions, bytes }
    }
}

/// What the cache has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the API")]
pub struct CacheStats {
    pub entries: u64,
    pub hits: u64,
    pub misses: u64,
    pub loads: u64,
    pub evictions: u64,
    /// A rough measure: facts of a typical tenant, prepared payloads as they are.
    pub bytes: u64,
}

impl super::Service {
    /// What the cache has done so far.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.memory.stats()
    }

    /// Forgets every tenant in memory; decisions stay the same, the next ones read the database.
    pub fn refresh_cache(&self) -> CacheStats {
        self.memory.clear();
        self.memory.stats()
    }
}

/// The keys that can be used, as the keyring holds them.
pub(super) fn stored_keys(tx: &ReadTx<'_>) -> Result<Vec<StoredKey>> {
    let keys = store::api_keys::usable(tx)?;
    let stored = keys.into_iter().map(|store::api_keys::Usable { key, digest, old_digest }| {
        StoredKey { old: old_digest.zip(key.old_secret_until), key, digest }
    });
    Ok(stored.collect())
}
