//! The decision: facts and an instant in, an answer with its reason out.
//!
//! Invariants: nothing here fails, waits, logs or reads a clock. "No plan" is a refusal with a
//! reason, never an error. An explanation is the same path, recorded.
//!
//! Refuses to know: SQLite, HTTP, callers and their roles.

pub mod decide;
pub mod entitlements;
mod exceptions;
pub mod invariants;
mod layers;
mod message;
mod remedies;
pub mod snapshot;
mod standing;
mod trace;
mod verdict;

pub use decide::{decide, explain};
pub use exceptions::is_redundant;
pub use snapshot::{Gating, Holding, TenantFacts, World};
