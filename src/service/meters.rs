//! Counters whose label is a key of the catalog.
//!
//! Invariants: so many label values are made and no more, what comes after them is counted under
//! `other`; a counter that is there is found without a lock and without an allocation.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use metrics::Counter;
use parking_lot::Mutex;

/// What stands for all keys that found no room.
const OTHER: &str = "other";

/// The counters of one key, each made when it is first used.
type Slots<const N: usize> = Arc<[OnceLock<Counter>; N]>;

/// A counter for each key and each of `N` values of a second label.
pub(super) struct ByKey<const N: usize> {
    make: fn(key: &str, slot: usize) -> Counter,
    known: ArcSwap<HashMap<Box<str>, Slots<N>>>,
    /// Held by who adds a key.
    adding: Mutex<()>,
    /// How many counters may still be made.
    room: AtomicUsize,
    other: [OnceLock<Counter>; N],
}

impl<const N: usize> ByKey<N> {
    /// For at most `most` counters, those of `other` not counted.
    pub fn new(most: usize, make: fn(&str, usize) -> Counter) -> Self {
        Self {
            make,
            known: ArcSwap::default(),
            adding: Mutex::default(),
            room: AtomicUsize::new(most),
            other: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    /// Counts one.
    pub fn count(&self, key: &str, slot: usize) {
        if let Some(slots) = self.known.load().get(key) {
            return self.add(key, slots, slot, 1);
        }
        self.add_key(key, slot, 1);
    }

    /// Begins all counters of a key at 0.
    pub fn begin(&self, key: &str) {
        if !self.known.load().contains_key(key) {
            (0..N).for_each(|slot| self.add_key(key, slot, 0));
        }
    }

    fn add(&self, key: &str, slots: &[OnceLock<Counter>; N], slot: usize, by: u64) {
        let Some(counter) = slots.get(slot) else { return };
        counter.get_or_init(|| self.counter(key, slot)).increment(by);
    }

    fn add_key(&self, key: &str, slot: usize, by: u64) {
        let _adding = self.adding.lock();
        let known = self.known.load();
        if let Some(slots) = known.get(key) {
            return self.add(key, slots, slot, by);
        }
        // Keys that come and go with catalogs would pile up too.
        if self.room.load(Ordering::Relaxed) == 0 {
            return self.others(slot).increment(by);
        }
        let slots: Slots<N> = Arc::new(std::array::from_fn(|_| OnceLock::new()));
        self.add(key, &slots, slot, by);
        let mut more = HashMap::clone(&known);
        more.insert(key.into(), slots);
        self.known.store(Arc::new(more));
    }

    fn counter(&self, key: &str, slot: usize) -> Counter {
        let take = |room: usize| room.checked_sub(1);
        match self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => (self.make)(key, slot),
            Err(_) => self.others(slot),
        }
    }

    fn others(&self, slot: usize) -> Counter {
        let other = self.other.get(slot);
        other.map_or_else(Counter::noop, |other| {
            other.get_or_init(|| (self.make)(OTHER, slot)).clone()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    const SLOTS: [&str; 2] = ["a", "b"];

    fn make(key: &str, slot: usize) -> Counter {
        metrics::counter!("t", "key" => key.to_owned(), "slot" => SLOTS[slot])
    }

    fn lines(of: impl FnOnce(&ByKey<2>)) -> Vec<String> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let counters = ByKey::new(3, make);
        metrics::with_local_recorder(&recorder, || of(&counters));
        let text = recorder.handle().render();
        let lines = text.lines().filter(|line| line.starts_with("t{"));
        let mut lines: Vec<_> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn each_key_has_its_own_counters_until_there_is_no_room() {
        let lines = lines(|counters| {
            for key in ["x", "y", "x", "z", "w", "y"] {
                counters.count(key, 0);
            }
            counters.count("x", 1);
        });
        let expected = [
            r#"t{key="other",slot="a"} 1"#,
            r#"t{key="other",slot="b"} 1"#,
            r#"t{key="x",slot="a"} 2"#,
            r#"t{key="y",slot="a"} 2"#,
            r#"t{key="z",slot="a"} 1"#,
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_key_that_is_known_begins_at_0() {
        let lines = lines(|counters| {
            counters.begin("x");
            counters.begin("x");
        });
        assert_eq!(lines, [r#"t{key="x",slot="a"} 0"#, r#"t{key="x",slot="b"} 0"#]);
    }
}
