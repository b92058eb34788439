//! The decision: facts and an instant in, an answer with its reason out.
//!
//! Invariants: nothing here fails, waits, logs or reads a clock. "No plan" is a refusal with a
//! reason, never an error. An explanation is the same path, recorded.
//!
//! Refuses to know: SQLite, HTTP, callers and their roles.

pub mod access;
mod concern;
mod conditions;
pub mod coverage;
pub mod decide;
mod entitled;
pub mod entitlements;
mod exceptions;
pub mod holdings;
pub mod invariants;
mod layers;
mod lent;
pub mod limits;
mod message;
mod needs;
pub mod people;
mod permit;
mod remedies;
pub mod rollout;
pub mod routes;
mod ruling;
mod seats;
pub mod snapshot;
mod standing;
mod trace;
mod verdict;

pub use access::access;
pub use decide::{Subject, decide, explain};
pub use exceptions::is_redundant;
pub use limits::{Capacity, Counts, NOTHING_COUNTED, UsageFacts};
pub use people::{ContextTree, Person, UserFacts};
pub use rollout::{Bucket, Gate};
pub use routes::RouteTable;
pub use seats::pool;
pub use snapshot::{Gating, Holding, TenantFacts, World};
