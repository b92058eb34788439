//! The background: what happens without a caller.
//!
//! Refuses to know: the front door, SQL, the command line.

pub mod activity;
pub mod anchor;
pub mod auto_rollback;
pub mod backup;
mod beat;
pub mod boundaries;
pub mod clock;
pub mod evidence;
pub mod expiry;
pub mod key_sets;
pub mod spans;
pub mod webhooks;
