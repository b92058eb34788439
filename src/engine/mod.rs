//! The decision: facts and an instant in, an answer with its reason out.
//!
//! Invariants: nothing here fails, waits, logs or reads a clock. "No plan" is a refusal with a
//! reason, never an error. An explanation is the same path, recorded.
//!
//! Refuses to know: SQLite, HTTP, callers and their roles.

pub mod decide;
pub mod entitlements;
mod exceptions;
pub mod holdings;
pub mod invariants;
mod layers;
mod lent;
mod message;
pub mod people;
mod permit;
mod remedies;
mod seats;
pub mod snapshot;
mod standing;
mod trace;
mod verdict;

pub use decide::{decide, explain};
pub use exceptions::is_redundant;
pub use people::{ContextTree, Person, UserFacts};
pub use seats::pool;
pub use snapshot::{Gating, Holding, TenantFacts, World};
