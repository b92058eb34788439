//! Roles of the application's users.

use super::super::{
    cursor::{Cursor, MAX_NAME},
    findings::Kind,
    model::Role,
    node::Node,
};
use crate::domain::keys::ContextType;

pub(super) fn role(item: &Cursor<'_>) -> Role {
    let record = item.record(&["name", "context", "inherits", "permissions", "bypass"]);
    let context = record.required("context").and_then(|field| field.key::<ContextType>());
    let inherits = match record.get("inherits") {
        // One role may stand without brackets.
        Some(field) if matches!(field.node, Node::Text(_)) => {
            field.reference(Kind::Role).into_iter().collect()
        }
        Some(_) => record.references("inherits", "role keys", Kind::Role),
        None => Vec::new(),
    };
    let bypass = record.flag("bypass");
    if bypass
        && context.as_ref().is_some_and(|context| *context != ContextType::platform())
        && let Some(field) = record.get("bypass")
    {
        field.fault("only a role with `context: platform` can bypass");
    }
    Role {
        name: record.get("name").and_then(|field| field.text(MAX_NAME)),
        // The fallback never leaves `parse`: a missing context is a fault.
        context: context.unwrap_or_else(ContextType::platform),
        inherits: inherits.into_iter().collect(),
        permissions: record.keys("permissions", "permission keys").into_iter().collect(),
        bypass,
    }
}
