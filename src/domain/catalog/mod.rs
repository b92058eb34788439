//! The catalog: the one versioned document that defines modules, bundles, features, plans, roles,
//! guards and routes, and what is made of it.
//!
//! ```text
//! text → node → parse → Catalog → resolve (plan contents) | diff | document (text again)
//! ```
//!
//! Invariants: a [`Catalog`] comes only from [`parse()`], so every reference in it resolves, nothing
//! inherits itself, and no key names both a module and a feature.

mod builder;
mod check;
mod cursor;
pub mod diff;
pub mod document;
mod findings;
pub mod model;
mod node;
pub mod parse;
pub mod resolve;
pub mod values;

pub use diff::{CatalogDiff, diff};
pub use document::to_json;
pub use model::*;
pub use node::Format;
pub use parse::{parse, parse_stored};
pub use resolve::resolve;
pub use values::{value_for, value_to_json};
