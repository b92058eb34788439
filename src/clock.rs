//! The clock: the one place where the service asks what time it is.
//!
//! The system's clock can jump: a wrong battery, a wrong time server, a restored machine. What can't
//! jump is the time that has passed since the program started. Where the two disagree by more than
//! five minutes, the clock is in doubt until they agree again, or until it has said the same for a
//! set time.
//!
//! Invariants: what is written carries [`Clock::steady`], which never goes back, never lies before
//! the latest instant that the database knows, and doesn't follow a jump ahead while that is in
//! doubt. What is decided is decided at [`Clock::now`], which follows a jump ahead at once, so that
//! nothing is honoured past its end, and never goes back before an instant that was not in doubt.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::domain::time::Timestamp;

/// By how much the system's clock may differ from the time that has passed, in microseconds.
const TOLERANCE: i64 = 5 * 60 * 1_000_000;

/// How long at most until a waiting one looks at the system's clock again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// A clock that never goes back. Clones share it.
#[derive(Debug, Clone)]
pub struct Clock {
    shared: Arc<Shared>,
    source: Source,
}

#[derive(Debug)]
struct Shared {
    /// A manual clock was moved.
    moved: Notify,
    /// The latest instant that was handed out without doubt, in microseconds.
    latest: AtomicI64,
    /// How long a clock is in doubt before it is believed, in microseconds.
    hold: AtomicI64,
    reference: Mutex<Reference>,
}

/// An instant at which the system's clock was believed.
#[derive(Debug, Clone, Copy)]
struct Reference {
    wall: i64,
    passed: i64,
    /// Since when, in time passed, the two disagree.
    doubted_since: Option<i64>,
}

#[derive(Debug, Clone)]
enum Source {
    System(Instant),
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    wall: AtomicI64,
    passed: AtomicI64,
}

/// Whether the system's clock can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It agrees with the time that has passed.
    Sure,
    /// It is ahead by about so much.
    Ahead(Duration),
    /// It is behind by about so much.
    Behind(Duration),
}

/// What a look at the system's clock found.
struct Look {
    /// What it says.
    wall: i64,
    /// What it should say, by the time that has passed.
    expected: i64,
    trust: Trust,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::of(Source::System(Instant::now()))
    }

    /// Waits until it is `at`.
    pub async fn reached(&self, at: Timestamp) {
        loop {
            // Before the look: a move in between is not missed.
            let moved = self.shared.moved.notified();
            let us = at.micros() - self.now().micros();
            let Ok(us) = u64::try_from(us).map(Duration::from_micros) else { return };
            if us.is_zero() {
                return;
            }
            match &self.source {
                // It may be set meanwhile.
                Source::System(_) => tokio::time::sleep(us.min(LOOK_AGAIN)).await,
                Source::Manual(_) => moved.await,
            }
        }
    }

    /// A clock that only moves when it is told to: for tests.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        let manual = Manual { wall: start.micros().into(), passed: 0.into() };
        Self::of(Source::Manual(Arc::new(manual)))
    }

    fn of(source: Source) -> Self {
        let (wall, passed) = (source.wall(), source.passed());
        let shared = Shared {
            moved: Notify::new(),
            latest: AtomicI64::new(0),
            hold: AtomicI64::new(2 * TOLERANCE),
            reference: Mutex::new(Reference { wall, passed, doubted_since: None }),
        };
        Self { shared: Arc::new(shared), source }
    }

    /// The time at which a question is decided.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let wall = self.source.wall();
        // A plain load first: most calls come later than the latest, but many share one microsecond.
        let latest = self.shared.latest.load(Ordering::Relaxed);
        if wall <= latest {
            return Timestamp::from_micros(latest);
        }
        if wall - latest < TOLERANCE {
            return self.handed_out(wall);
        }
        let look = self.look();
        Timestamp::from_micros(look.wall.max(self.shared.latest.load(Ordering::Relaxed)))
    }

    /// The time that a change carries.
    #[must_use]
    pub fn steady(&self) -> Timestamp {
        let look = self.look();
        match look.trust {
            Trust::Sure | Trust::Behind(_) => self.now(),
            Trust::Ahead(_) => self.handed_out(look.expected),
        }
    }

    /// Whether the system's clock can be believed now.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.look().trust
    }

    /// How long a clock that has jumped is in doubt.
    pub fn set_hold(&self, hold: Duration) {
        let us = i64::try_from(hold.as_micros()).unwrap_or(i64::MAX);
        self.shared.hold.store(us, Ordering::Relaxed);
    }

    /// How long the program runs, whatever the system's clock says.
    #[must_use]
    pub fn passed(&self) -> Duration {
        micros(self.source.passed())
    }

    /// Makes sure that no instant is earlier than `at`.
    pub fn not_before(&self, at: Timestamp) {
        self.shared.latest.fetch_max(at.micros(), Ordering::Relaxed);
    }

    /// Lets time pass until `to` on a manual clock; does nothing to the system's.
    pub fn set(&self, to: Timestamp) {
        if let Source::Manual(manual) = &self.source {
            let before = manual.wall.swap(to.micros(), Ordering::Relaxed);
            manual.passed.fetch_add((to.micros() - before).max(0), Ordering::Relaxed);
            self.shared.moved.notify_waiters();
        }
    }

    /// Makes a manual clock jump to `to` while no time passes; does nothing to the system's.
    pub fn jump(&self, to: Timestamp) {
        if let Source::Manual(manual) = &self.source {
            manual.wall.store(to.micros(), Ordering::Relaxed);
            self.shared.moved.notify_waiters();
        }
    }

    fn handed_out(&self, at: i64) -> Timestamp {
        Timestamp::from_micros(self.shared.latest.fetch_max(at, Ordering::Relaxed).max(at))
    }

    /// Compares the system's clock with the time that has passed.
    fn look(&self) -> Look {
        let mut reference = self.shared.reference.lock();
        let (wall, passed) = (self.source.wall(), self.source.passed());
        let expected = reference.wall.saturating_add(passed - reference.passed);
        let latest = self.shared.latest.load(Ordering::Relaxed);
        let off = wall - expected;
        let trust = if off > TOLERANCE {
            Trust::Ahead(micros(off))
        } else if off < -TOLERANCE {
            Trust::Behind(micros(off))
        } else if wall < latest - TOLERANCE {
            // It was behind when the program started.
            return Look { wall, expected, trust: Trust::Behind(micros(latest - wall)) };
        } else {
            Trust::Sure
        };
        let hold = self.shared.hold.load(Ordering::Relaxed);
        let is_believed = match trust {
            Trust::Sure => true,
            Trust::Ahead(_) | Trust::Behind(_) => {
                passed - *reference.doubted_since.get_or_insert(passed) >= hold
            }
        };
        if !is_believed {
            return Look { wall, expected, trust };
        }
        *reference = Reference { wall, passed, doubted_since: None };
        drop(reference);
        self.handed_out(wall);
        Look { wall, expected: wall, trust: Trust::Sure }
    }
}

impl Source {
    fn wall(&self) -> i64 {
        match self {
            Self::System(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
            Self::Manual(manual) => manual.wall.load(Ordering::Relaxed),
        }
    }

    /// How long the program runs.
    fn passed(&self) -> i64 {
        match self {
            Self::System(start) => i64::try_from(start.elapsed().as_micros()).unwrap_or(i64::MAX),
            Self::Manual(manual) => manual.passed.load(Ordering::Relaxed),
        }
    }
}

fn micros(us: i64) -> Duration {
    Duration::from_micros(us.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;
    const YEARS: i64 = 3_650 * DAY;

    fn at(us: i64) -> Timestamp {
        Timestamp::from_micros(us)
    }

    /// A clock at day 100 that has been read.
    fn clock() -> Clock {
        let clock = Clock::manual(at(100 * DAY));
        assert_eq!(clock.now(), at(100 * DAY));
        clock
    }

    #[test]
    fn time_never_goes_back() {
        let clock = clock();
        clock.set(at(50));
        assert_eq!(clock.now(), at(100 * DAY));
        clock.not_before(at(200 * DAY));
        assert_eq!(clock.now(), at(200 * DAY));
        clock.set(at(300 * DAY));
        assert_eq!(clock.now(), at(300 * DAY));
    }

    #[test]
    fn time_that_passes_is_believed_however_much_it_is() {
        let clock = clock();
        clock.set(at(100 * DAY + YEARS));
        assert_eq!(clock.trust(), Trust::Sure);
        assert_eq!(clock.steady(), at(100 * DAY + YEARS));
    }

    #[test]
    fn a_jump_back_is_noticed_and_nothing_goes_back() {
        let clock = clock();
        clock.jump(at(99 * DAY));
        assert_eq!(clock.trust(), Trust::Behind(micros(DAY)));
        assert_eq!((clock.now(), clock.steady()), (at(100 * DAY), at(100 * DAY)));
    }

    #[test]
    fn a_jump_ahead_decides_at_once_and_is_not_written() {
        let clock = clock();
        let far = at(100 * DAY + YEARS);
        clock.jump(far);
        assert_eq!(clock.trust(), Trust::Ahead(micros(YEARS)));
        assert_eq!((clock.now(), clock.steady()), (far, at(100 * DAY)));
    }

    #[test]
    fn a_jump_ahead_that_is_taken_back_leaves_nothing_behind() {
        let clock = clock();
        clock.jump(at(100 * DAY + YEARS));
        let _ = clock.now();
        clock.jump(at(100 * DAY + 1));
        assert_eq!(clock.trust(), Trust::Sure);
        assert_eq!((clock.now(), clock.steady()), (at(100 * DAY + 1), at(100 * DAY + 1)));
    }

    #[test]
    fn a_jump_ahead_is_believed_after_the_hold() {
        let clock = clock();
        clock.set_hold(Duration::from_secs(60));
        let far = 100 * DAY + YEARS;
        clock.jump(at(far));
        assert_eq!(clock.trust(), Trust::Ahead(micros(YEARS)));
        clock.set(at(far + 59_000_000));
        assert_eq!(clock.steady(), at(100 * DAY + 59_000_000));
        clock.set(at(far + 60_000_000));
        assert_eq!(clock.trust(), Trust::Sure);
        assert_eq!(clock.steady(), at(far + 60_000_000));
    }
}
