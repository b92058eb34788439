//! Units of a limit that are set aside for a while, and what became of them.

use serde::{Deserialize, Serialize};

use crate::domain::{keys::FeatureKey, time::Timestamp, usage::CountedFor};

/// Units that were set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Opaque id.
    pub id: String,
    /// Whose units.
    pub subject: CountedFor,
    /// Of which limit.
    pub feature: FeatureKey,
    /// How many.
    pub amount: u64,
    /// They are given back from here on.
    pub expires_at: Timestamp,
    /// What became of them.
    pub state: ReservationState,
    /// How many of them were used in the end; only where they were settled.
    pub settled: Option<u64>,
    /// When they were set aside.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When they were settled, released or recorded as expired.
    pub ended_at: Option<Timestamp>,
}

/// What became of units that were set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationState {
    /// They count as used until they expire.
    Open,
    /// Some or all of them were used.
    Settled,
    /// They were given back.
    Released,
    /// They were given back by the clock.
    Expired,
}

impl Reservation {
    /// Where it stands at an instant, whether or not its end was recorded.
    #[must_use]
    pub fn state_at(&self, at: Timestamp) -> ReservationState {
        match self.state {
            ReservationState::Open if self.expires_at <= at => ReservationState::Expired,
            ReservationState::Open
            | ReservationState::Settled
            | ReservationState::Released
            | ReservationState::Expired => self.state,
        }
    }
}
