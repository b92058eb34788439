//! Facts in memory: immutable, by typed key, replaced as a whole.
//!
//! Invariants: what a committed change touched is replaced in the writer, before the change is
//! answered; a read that raced with such a change is never kept: it took a ticket before, and the
//! change made the ticket worthless.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::{BuildHasher, Hash, RandomState},
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::RwLock;

use crate::error::Result;

const SHARDS: usize = 64;

/// How many entries are looked at to find one that was not used for long.
const EVICTION_SAMPLE: usize = 8;

/// Facts in memory, bounded in number and age.
pub(super) struct Cache<K, V> {
    shards: Vec<RwLock<Shard<K, V>>>,
    hasher: RandomState,
    per_shard: usize,
    ttl: Duration,
    started: Instant,
    counts: Counts,
}

struct Shard<K, V> {
    /// Steps with every published change to something in this shard.
    epoch: u64,
    entries: HashMap<K, Arc<Entry<V>>>,
}

impl<K, V> Default for Shard<K, V> {
    fn default() -> Self {
        Self { epoch: 0, entries: HashMap::new() }
    }
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    loads: AtomicU64,
    evictions: AtomicU64,
}

/// Something in memory.
pub(super) struct Entry<V> {
    value: V,
    read_at: Instant,
    /// Milliseconds since the cache was made, when it was last used.
    used_ms: AtomicU64,
}

impl<V> Deref for Entry<V> {
    type Target = V;
    fn deref(&self) -> &V {
        &self.value
    }
}

/// The right to keep a read, as long as nothing was published since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket(u64);

impl<K: Hash + Eq + Clone + Debug, V> Cache<K, V> {
    pub(super) fn new(most: usize, ttl: Duration) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            per_shard: most.div_ceil(SHARDS).max(1),
            ttl,
            started: Instant::now(),
            counts: Counts::default(),
        }
    }

    #[expect(clippy::indexing_slicing, reason = "the index is taken modulo the length")]
    fn shard(&self, key: &K) -> &RwLock<Shard<K, V>> {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
        let hash = self.hasher.hash_one(key) as usize;
        &self.shards[hash % SHARDS]
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn get(&self, key: &K) -> Option<Arc<Entry<V>>> {
        let found = self.shard(key).read().entries.get(key).cloned();
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
    pub(super) fn ticket(&self, key: &K) -> Ticket {
        Ticket(self.shard(key).read().epoch)
    }

    /// Keeps what was read, unless a change was published since the ticket was taken. Whoever read it
    /// may use it all the same: the question began before that change was answered.
    pub(super) fn keep(&self, key: &K, ticket: Ticket, read: V) -> Arc<Entry<V>> {
        self.counts.loads.fetch_add(1, Ordering::Relaxed);
        let read = self.entry(read);
        let mut shard = self.shard(key).write();
        if shard.epoch == ticket.0 {
            if shard.entries.len() >= self.per_shard && !shard.entries.contains_key(key) {
                self.evict(&mut shard);
            }
            shard.entries.insert(key.clone(), read.clone());
        }
        read
    }

    /// Removes the one used longest ago among a few. The map's order is random, so are the few.
    fn evict(&self, shard: &mut Shard<K, V>) {
        let few = shard.entries.iter().take(EVICTION_SAMPLE);
        let oldest = few.min_by_key(|(_, cached)| cached.used_ms.load(Ordering::Relaxed));
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            shard.entries.remove(&key);
            self.counts.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn entry(&self, value: V) -> Arc<Entry<V>> {
        let (read_at, used_ms) = (Instant::now(), AtomicU64::new(self.now_ms()));
        Arc::new(Entry { value, read_at, used_ms })
    }

    /// A committed change touched `key`. Where it is in memory it is made anew from what it was; every
    /// read that is under way becomes worthless.
    pub(super) fn replace(&self, key: &K, anew: impl FnOnce(&V) -> Result<Option<V>>) {
        let before = self.shard(key).read().entries.get(key).cloned();
        let fresh = before.map_or(Ok(None), |before| anew(&before));
        let mut shard = self.shard(key).write();
        shard.epoch += 1;
        match fresh {
            Ok(Some(fresh)) => {
                let entry = self.entry(fresh);
                shard.entries.insert(key.clone(), entry);
            }
            Ok(None) => {
                shard.entries.remove(key);
            }
            // It can't be read now; the next question tries again and says so if it fails.
            Err(error) => {
                shard.entries.remove(key);
                tracing::warn!(?key, error = error.chain(), "not reread");
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

    /// How many entries there are, and what was done with them: hits, misses, loads, evictions.
    pub(super) fn counts(&self) -> (u64, [u64; 4]) {
        let entries = self.shards.iter().map(|shard| shard.read().entries.len() as u64).sum();
        let Counts { hits, misses, loads, evictions } = &self.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (entries, [read(hits), read(misses), read(loads), read(evictions)])
    }

    /// Looks at every value.
    pub(super) fn for_each(&self, mut look: impl FnMut(&V)) {
        for shard in &self.shards {
            shard.read().entries.values().for_each(|entry| look(entry));
        }
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
