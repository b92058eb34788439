//! Tests of the whole, from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod audit;
mod authorization;
mod catalogs;
mod cli;
mod crash;
mod credentials;
mod decisions;
mod freshness;
mod gating;
mod given;
mod grants;
mod harness;
mod migrations;
mod openapi;
mod operations;
mod oracle;
mod overrides;
mod payload;
mod permissions;
mod problems;
mod query_plans;
mod responses;
mod retail;
mod schema;
mod sources;
mod storage;
mod subscriptions;
mod tenants;
mod tidy;
mod trials;
