//! Contexts: the things in a tenant that roles are held on, as a tree.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::{
    keys::{ContextId, ContextType, TenantKey},
    time::Timestamp,
};

/// How deep the tree of a tenant may be.
pub const MAX_DEPTH: usize = 32;

/// How many contexts a tenant may have. A tree of that size stays in memory.
pub const MAX_CONTEXTS: u64 = 100_000;

/// Names a context within its tenant: `store:s1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContextKey {
    /// What kind of thing: `store`.
    #[serde(rename = "type")]
    pub kind: ContextType,
    /// Which one of them.
    pub id: ContextId,
}

impl fmt::Display for ContextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

/// A node in a tenant's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Whose tree.
    pub tenant: TenantKey,
    /// Which node.
    pub key: ContextKey,
    /// The node above; none at the top, right below the tenant.
    pub parent: Option<ContextKey>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last moved.
    pub updated_at: Timestamp,
    /// The version of its row, for `ETag`.
    pub revision: u64,
}
