//! The clock: the one place where the service asks what time it is.
//!
//! Invariants: `now` never goes back, not even when the system's clock does, and never lies before
//! the latest instant that the database already knows. Two instants that were handed out one after
//! the other may be equal.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use crate::domain::time::Timestamp;

/// A clock that never goes back. Clones share it.
#[derive(Debug, Clone)]
pub struct Clock {
    /// The latest instant handed out, in microseconds.
    latest: Arc<AtomicI64>,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self { latest: Arc::new(AtomicI64::new(0)), source: Source::System }
    }

    /// A clock that only moves when it is told to: for tests.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self {
            latest: Arc::new(AtomicI64::new(0)),
            source: Source::Manual(Arc::new(AtomicI64::new(start.micros()))),
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let read = match &self.source {
            Source::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
            Source::Manual(at) => at.load(Ordering::Relaxed),
        };
        // A plain load first: most calls come later than the latest, but many share one microsecond.
        let latest = self.latest.load(Ordering::Relaxed);
        if read <= latest {
            return Timestamp::from_micros(latest);
        }
        Timestamp::from_micros(self.latest.fetch_max(read, Ordering::Relaxed).max(read))
    }

    /// Makes sure that `now` is never earlier than `at`.
    pub fn not_before(&self, at: Timestamp) {
        self.latest.fetch_max(at.micros(), Ordering::Relaxed);
    }

    /// Sets a manual clock; does nothing to the system's.
    pub fn set(&self, to: Timestamp) {
        match &self.source {
            Source::System => {}
            Source::Manual(at) => at.store(to.micros(), Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let clock = Clock::manual(Timestamp::from_micros(100));
        assert_eq!(clock.now().micros(), 100);
        clock.set(Timestamp::from_micros(50));
        assert_eq!(clock.now().micros(), 100);
        clock.not_before(Timestamp::from_micros(200));
        assert_eq!(clock.now().micros(), 200);
        clock.set(Timestamp::from_micros(300));
        assert_eq!(clock.now().micros(), 300);
    }
}
