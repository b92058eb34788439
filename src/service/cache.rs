//! Tenants in memory: immutable facts by typed key, replaced as a whole.
//!
//! Invariants: a tenant that a committed change touched is replaced in the writer, before the change
//! is answered; a read that raced with such a change is never kept: it took a ticket before, and the
//! change made the ticket worthless. What is cached are facts, never decisions; the one prepared
//! answer (the payload of the tenant as a whole) carries the instants between which it holds.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use parking_lot::RwLock;

use super::entitlements::Prepared;
use crate::{
    domain::keys::TenantKey,
    engine::TenantFacts,
    error::{Error, Result},
};

const SHARDS: usize = 64;

/// How many entries are looked at to find one that was not used for long.
const EVICTION_SAMPLE: usize = 8;

/// How much may be kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheOptions {
    /// Tenants.
    pub tenants: usize,
    /// How long one stays without being read again: a backstop.
    pub ttl: Duration,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { tenants: 100_000, ttl: Duration::from_secs(300) }
    }
}

/// Tenants in memory, bounded in number and age.
pub struct Cache {
    shards: Vec<RwLock<Shard>>,
    hasher: RandomState,
    per_shard: usize,
    ttl: Duration,
    started: Instant,
    counts: Counts,
}

#[derive(Default)]
struct Shard {
    /// Steps with every published change to a tenant of this shard.
    epoch: u64,
    entries: HashMap<TenantKey, Arc<Cached>>,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    loads: AtomicU64,
    evictions: AtomicU64,
}

/// One tenant in memory.
pub struct Cached {
    /// None where the tenant is damaged.
    facts: Option<Arc<TenantFacts>>,
    read_at: Instant,
    /// Milliseconds since the cache was made, when it was last used.
    used_ms: AtomicU64,
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
        Self {
            facts,
            read_at: Instant::now(),
            used_ms: AtomicU64::new(0),
            prepared: ArcSwapOption::empty(),
        }
    }

    /// The facts; the error that closes a damaged tenant.
    pub(super) fn get(&self, tenant: &TenantKey) -> Result<&Arc<TenantFacts>> {
        self.facts.as_ref().ok_or_else(|| Error::TenantDamaged(tenant.to_string()))
    }
}

/// The right to keep a read, as long as nothing was published since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket(u64);

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

impl Cache {
    pub(super) fn new(options: CacheOptions) -> Self {
        let CacheOptions { tenants, ttl } = options;
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            per_shard: tenants.div_ceil(SHARDS).max(1),
            ttl,
            started: Instant::now(),
            counts: Counts::default(),
        }
    }

    #[expect(clippy::indexing_slicing, reason = "the index is taken modulo the length")]
    fn shard(&self, tenant: &TenantKey) -> &RwLock<Shard> {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
        let hash = self.hasher.hash_one(tenant) as usize;
        &self.shards[hash % SHARDS]
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn get(&self, tenant: &TenantKey) -> Option<Arc<Cached>> {
        let found = self.shard(tenant).read().entries.get(tenant).cloned();
        match found {
            Some(cached) if cached.read_at.elapsed() < self.ttl => {
                self.counts.hits.fetch_add(1, Ordering::Relaxed);
                cached.used_ms.store(self.now_ms(), Ordering::Relaxed);
                Some(cached)
            }
            Some(_) | None => {
                self.counts.misses.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Take it before reading, hand it in with what was read.
    pub(super) fn ticket(&self, tenant: &TenantKey) -> Ticket {
        Ticket(self.shard(tenant).read().epoch)
    }

    /// Keeps what was read, unless a change was published since the ticket was taken. Whoever read it
    /// may use it all the same: the question began before that change was answered.
    pub(super) fn keep(&self, tenant: &TenantKey, ticket: Ticket, read: Cached) -> Arc<Cached> {
        self.counts.loads.fetch_add(1, Ordering::Relaxed);
        let read = Arc::new(read);
        read.used_ms.store(self.now_ms(), Ordering::Relaxed);
        let mut shard = self.shard(tenant).write();
        if shard.epoch == ticket.0 {
            if shard.entries.len() >= self.per_shard && !shard.entries.contains_key(tenant) {
                self.evict(&mut shard);
            }
            shard.entries.insert(tenant.clone(), read.clone());
        }
        read
    }

    /// Removes the one used longest ago among a few. The map's order is random, so are the few.
    fn evict(&self, shard: &mut Shard) {
        let few = shard.entries.iter().take(EVICTION_SAMPLE);
        let oldest = few.min_by_key(|(_, cached)| cached.used_ms.load(Ordering::Relaxed));
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            shard.entries.remove(&key);
            self.counts.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A committed change touched `tenant`. Where it is in memory it is read again; every read that
    /// is under way becomes worthless.
    pub(super) fn replace(
        &self,
        tenant: &TenantKey,
        read: impl FnOnce() -> Result<Option<Cached>>,
    ) -> Result<()> {
        let is_used = self.shard(tenant).read().entries.contains_key(tenant);
        let fresh = if is_used { read() } else { Ok(None) };
        let mut shard = self.shard(tenant).write();
        shard.epoch += 1;
        match fresh {
            Ok(Some(fresh)) => {
                fresh.used_ms.store(self.now_ms(), Ordering::Relaxed);
                shard.entries.insert(tenant.clone(), Arc::new(fresh));
                Ok(())
            }
            Ok(None) => {
                shard.entries.remove(tenant);
                Ok(())
            }
            // It can't be read now; the next question tries again and says so if it fails.
            Err(error) => {
                shard.entries.remove(tenant);
                tracing::warn!(%tenant, error = error.chain(), "not reread");
                Ok(())
            }
        }
    }

    /// Forgets everything; the next questions read again.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.write();
            shard.epoch += 1;
            shard.entries.clear();
        }
    }

    pub(super) fn stats(&self) -> CacheStats {
        const TYPICAL_FACTS_BYTES: u64 = 1500;
        let (mut entries, mut bytes) = (0, 0);
        for shard in &self.shards {
            let shard = shard.read();
            entries += shard.entries.len() as u64;
            for cached in shard.entries.values() {
                let prepared = cached.prepared.load();
                bytes += TYPICAL_FACTS_BYTES;
                bytes += prepared.as_ref().map_or(0, |p| p.bytes.len() as u64);
            }
        }
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CacheStats {
            entries,
            hits: read(&self.counts.hits),
            misses: read(&self.counts.misses),
            loads: read(&self.counts.loads),
            evictions: read(&self.counts.evictions),
            bytes,
        }
    }
}

impl super::Service {
    /// What the cache has done so far.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.memory.cache.stats()
    }

    /// Forgets every tenant in memory; decisions stay the same, the next ones read the database.
    pub fn refresh_cache(&self) -> CacheStats {
        self.memory.cache.clear();
        self.memory.cache.stats()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        tenants::{Billing, Tenant},
        time::Timestamp,
    };

    fn key(text: &str) -> TenantKey {
        text.parse().unwrap()
    }

    fn read(version: u64) -> Cached {
        let tenant = Tenant {
            key: key("acme"),
            name: "Acme".into(),
            parent: None,
            suspension: None,
            billing: Billing::Direct,
            demo: false,
            sandbox: false,
            attributes: Default::default(),
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
            revision: 1,
        };
        Cached::facts(Arc::new(TenantFacts::new(tenant, Vec::new(), version)))
    }

    fn version(cached: &Cached) -> u64 {
        cached.get(&key("acme")).unwrap().version
    }

    #[test]
    fn a_read_that_raced_with_a_change_is_not_kept() {
        let cache = Cache::new(CacheOptions { tenants: 100, ttl: Duration::from_secs(60) });
        let ticket = cache.ticket(&key("acme"));
        cache.replace(&key("acme"), || Ok(Some(read(2)))).unwrap();
        assert_eq!(version(&cache.keep(&key("acme"), ticket, read(1))), 1, "its reader may use it");
        assert!(cache.get(&key("acme")).is_none(), "but nobody after it");
        let ticket = cache.ticket(&key("acme"));
        cache.keep(&key("acme"), ticket, read(2));
        assert_eq!(version(&cache.get(&key("acme")).unwrap()), 2);
    }

    #[test]
    fn a_change_replaces_what_is_in_memory_and_only_that() {
        let cache = Cache::new(CacheOptions { tenants: 100, ttl: Duration::from_secs(60) });
        cache.replace(&key("acme"), || panic!("nobody asked about it")).unwrap();
        let ticket = cache.ticket(&key("acme"));
        cache.keep(&key("acme"), ticket, read(1));
        cache.replace(&key("acme"), || Ok(Some(read(2)))).unwrap();
        assert_eq!(version(&cache.get(&key("acme")).unwrap()), 2);
        cache.replace(&key("acme"), || Err(Error::Overloaded)).unwrap();
        assert!(cache.get(&key("acme")).is_none(), "what can't be read again is forgotten");
    }

    #[test]
    fn it_never_holds_more_than_it_may() {
        let cache = Cache::new(CacheOptions { tenants: SHARDS, ttl: Duration::from_secs(60) });
        for number in 0..1000 {
            let tenant = key(&format!("t{number}"));
            let ticket = cache.ticket(&tenant);
            cache.keep(&tenant, ticket, read(1));
        }
        let stats = cache.stats();
        assert!(stats.entries <= SHARDS as u64, "{stats:?}");
        assert!(stats.evictions >= 1000 - SHARDS as u64, "{stats:?}");
    }

    #[test]
    fn what_is_too_old_is_read_again() {
        let cache = Cache::new(CacheOptions { tenants: 100, ttl: Duration::ZERO });
        let ticket = cache.ticket(&key("acme"));
        cache.keep(&key("acme"), ticket, read(1));
        assert!(cache.get(&key("acme")).is_none());
    }
}
