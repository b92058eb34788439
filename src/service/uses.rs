//! When overrides last decided a check: noted in memory beside the decision, written down in batches.
//!
//! Invariants: a check only ever takes the lock of one shard, and only where an override decided it;
//! memory is bounded: what finds no room is noted by a later check, after the next batch was written.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use parking_lot::RwLock;

use crate::domain::time::Timestamp;

const MINUTE_US: i64 = 60_000_000;

const SHARDS: usize = 16;

/// How many overrides each shard remembers between two batches.
const PER_SHARD: usize = 4096;

/// The minute in which each override last decided a check, as far as nobody has taken it yet.
pub(super) struct Uses {
    shards: [RwLock<HashMap<String, i64>>; SHARDS],
    hasher: RandomState,
}

impl Default for Uses {
    fn default() -> Self {
        Self { shards: Default::default(), hasher: RandomState::new() }
    }
}

impl Uses {
    /// An override decided a check.
    pub(super) fn note(&self, id: &str, now: Timestamp) {
        let (minute, shard) = (now.micros() / MINUTE_US, self.shard(id));
        // A look first: in most checks the minute is known, and readers don't wait for each other.
        if shard.read().get(id).is_some_and(|known| *known >= minute) {
            return;
        }
        let mut uses = shard.write();
        if let Some(known) = uses.get_mut(id) {
            *known = minute.max(*known);
        } else if uses.len() < PER_SHARD {
            uses.insert(id.to_owned(), minute);
        }
    }

    /// When an override was last used, as far as that was not written down yet.
    pub(super) fn noted(&self, id: &str) -> Option<Timestamp> {
        self.shard(id).read().get(id).map(|minute| instant(*minute))
    }

    /// Takes everything that was noted.
    pub(super) fn drain(&self) -> Vec<(String, Timestamp)> {
        let taken = self.shards.iter().flat_map(|shard| std::mem::take(&mut *shard.write()));
        taken.map(|(id, minute)| (id, instant(minute))).collect()
    }

    #[expect(clippy::indexing_slicing, reason = "the index is taken modulo the length")]
    fn shard(&self, id: &str) -> &RwLock<HashMap<String, i64>> {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
        let hash = self.hasher.hash_one(id) as usize;
        &self.shards[hash % SHARDS]
    }
}

fn instant(minute: i64) -> Timestamp {
    Timestamp::from_micros(minute.saturating_mul(MINUTE_US))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_use_is_taken_once() {
        let uses = Uses::default();
        uses.note("ovr_a", instant(7));
        uses.note("ovr_a", instant(9));
        uses.note("ovr_a", instant(8));
        assert_eq!(uses.noted("ovr_a"), Some(instant(9)));
        assert_eq!(uses.drain(), [("ovr_a".to_owned(), instant(9))]);
        assert!(uses.drain().is_empty());
        assert_eq!(uses.noted("ovr_a"), None);
    }

    #[test]
    fn memory_is_bounded() {
        let uses = Uses::default();
        for number in 0..SHARDS * PER_SHARD * 2 {
            uses.note(&number.to_string(), instant(1));
        }
        assert!(uses.drain().len() <= SHARDS * PER_SHARD);
    }
}
