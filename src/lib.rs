//! `entitled`: may this tenant, and this user in it, use this, how much, and if not, why not and
//! what would help?
//!
//! The tour, in reading order, which is layer order; an arrow means "may be used by":
//!
//! ```text
//! domain  →  engine  →  store  →  service  →  http | worker | cli  →  main
//! nouns      decision   SQLite    use cases    the front doors
//! ```
//!
//! Start with `engine::decide`: it is what the product exists for. `docs/ARCHITECTURE.md` walks a
//! change and a check through all layers.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod error;
pub mod http;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod worker;
