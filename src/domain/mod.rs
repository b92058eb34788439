//! The nouns: what the service talks about, in the words of the glossary.
//!
//! | word | meaning |
//! |---|---|
//! | tenant | a customer organisation; everything is isolated by tenant |
//! | user | a person in the calling application, known by an opaque id |
//! | module | a product area that is gated as a whole |
//! | bundle | a named set of modules that are switched together |
//! | feature | one capability: boolean, limit or config; may belong to a module |
//! | plan | a named set of modules and feature values |
//! | catalog | the one versioned document that defines all of the above |
//! | subscription | a tenant on a plan, pinned to the plan version it was assigned |
//! | grant | a module or feature given to, or withheld from, a tenant directly |
//! | context | a node in a tenant's tree of things that roles are held on |
//! | role | a named set of permissions that is held in a context |
//! | tier | a user on a plan for users |
//! | activity | what a user did, in which role |
//! | seat | the right of one named user to use what a tenant has bought seats for |
//! | usage | how much of a limit was counted, and what is set aside of it |
//! | override | a governed exception that always expires |
//! | activation code | puts a tenant that redeems it on a plan |
//! | request | an override that somebody wants and somebody else decides about |
//! | webhook | where an operator wants to be told of audit events |
//! | delivery | one message to a webhook, and what became of it |
//! | decision | the answer to a check |
//! | change | what subscribers are told: whose answers may be others now |
//! | evidence | how checks were answered, counted by hour |
//!
//! Invariants: a value of a key type is always well formed; an instant always has microsecond
//! precision; a `Catalog` that was made by `catalog::parse` has no dangling reference.
//!
//! Refuses to know: SQLite, HTTP, the wall clock, who is calling.

pub mod access;
pub mod activation_codes;
pub mod activity;
pub mod addresses;
pub mod app_routes;
pub mod audit;
pub mod audit_events;
pub mod callers;
pub mod catalog;
pub mod checks;
pub mod conditions;
pub mod contexts;
pub mod events;
pub mod evidence;
pub mod grants;
pub mod keys;
pub mod legacy;
pub mod overrides;
pub mod paths;
pub mod people;
pub mod plans;
pub mod reasons;
pub mod requests;
pub mod reservations;
pub mod rollout;
pub mod subscriptions;
pub mod tenants;
pub mod time;
pub mod trials;
pub mod usage;
pub mod webhooks;
