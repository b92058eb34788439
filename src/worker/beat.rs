//! What the tasks share that do the same again and again and try it again after a failure.
//!
//! Invariants: a failure is told at once, and then once a minute however often it repeats; what comes in
//! faster than the beat is a reason to go sooner only while all is well.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// How often the last of something is tried before the end.
const LAST_TRIES: u32 = 5;

/// The pause between two of these.
const LAST_PAUSE: Duration = Duration::from_millis(200);

const MINUTE: Duration = Duration::from_secs(60);

/// The turns of a task, until it is to stop.
pub(super) struct Beat {
    ticks: Interval,
    stop: CancellationToken,
    /// How many failures in a row fill a minute.
    minute: u128,
    failures: u128,
}

impl Beat {
    /// A turn at once, and then one in each `period`.
    pub fn every(period: Duration, stop: CancellationToken) -> Self {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let minute = MINUTE.as_millis() / period.as_millis().max(1);
        Self { ticks, stop, minute: minute.max(1), failures: 0 }
    }

    /// Waits for the next turn; `false` is the end.
    pub async fn next(&mut self) -> bool {
        self.next_or(std::future::pending()).await
    }

    /// As [`Beat::next`], or sooner if `wake` ends, but not after a failure.
    pub async fn next_or(&mut self, wake: impl Future<Output = ()>) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            _ = self.ticks.tick() => true,
            () = wake, if self.failures == 0 => true,
        }
    }

    /// Notes how a turn went; the failure that is to be told.
    pub fn went<T>(&mut self, outcome: Result<T>) -> Option<Error> {
        let Err(error) = outcome else {
            self.failures = 0;
            return None;
        };
        let is_told = self.failures.is_multiple_of(self.minute);
        self.failures += 1;
        is_told.then_some(error)
    }
}

/// Tries a few times; the last failure if none succeeds.
pub(super) async fn last_tries<F: Future<Output = Result<()>>>(
    attempt: impl Fn() -> F,
) -> Result<()> {
    for _ in 1..LAST_TRIES {
        if attempt().await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(LAST_PAUSE).await;
    }
    attempt().await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    fn failure() -> Result<()> {
        Err(Error::Overloaded)
    }

    #[tokio::test]
    async fn a_failure_is_told_at_once_and_then_once_a_minute_until_it_is_over() {
        let mut beat = Beat::every(Duration::from_secs(5), CancellationToken::new());
        let told = |beat: &mut Beat| (0..25).filter(|_| beat.went(failure()).is_some()).count();
        assert_eq!(told(&mut beat), 3);
        assert!(beat.went(failure()).is_none());
        assert!(beat.went(Ok(())).is_none());
        assert!(beat.went(failure()).is_some());
    }

    #[tokio::test]
    async fn what_waits_is_a_reason_to_go_sooner_only_while_all_is_well() {
        let mut beat = Beat::every(Duration::from_secs(3600), CancellationToken::new());
        assert!(beat.next().await);
        assert!(poll!(pin!(beat.next())).is_pending());
        assert!(beat.next_or(std::future::ready(())).await);
        beat.went(failure());
        assert!(poll!(pin!(beat.next_or(std::future::ready(())))).is_pending());
        beat.went(Ok(()));
        assert!(beat.next_or(std::future::ready(())).await);
        beat.stop.cancel();
        assert!(!beat.next().await);
    }
}
