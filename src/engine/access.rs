//! What holds for somebody, key by key, as the payload says it: what two states are compared by.

use crate::{
    domain::{
        access::{Access, AccessKey, AccessKind, AccessMap},
        time::Timestamp,
    },
    engine::{
        Subject, World,
        entitlements::{Entitlements, Entry, entitlements},
        holdings::PersonalPermission,
    },
};

/// What holds for `subject` at `at`. What was used of limits is no matter of access.
#[must_use]
pub fn access(world: &World, subject: Subject<'_>, at: Timestamp) -> AccessMap {
    let Entitlements { modules, features, limits, personal, .. } = entitlements(world, subject, at);
    let key = |kind, key: &str| AccessKey { kind, key: key.to_owned(), context: None };
    let mut all = AccessMap::new();
    for (module, entry) in modules {
        all.insert(key(AccessKind::Module, module.as_str()), of_entry(entry));
    }
    for (feature, _, entry) in features {
        all.insert(key(AccessKind::Feature, feature.as_str()), of_entry(entry));
    }
    for limit in limits {
        let of_limit =
            Access { limit: Some(limit.limit), expires_at: None, ..of_entry(limit.entry) };
        all.insert(key(AccessKind::Limit, limit.key.as_str()), of_limit);
    }
    for held in personal.into_iter().flat_map(|personal| personal.permissions) {
        // How it was come by is no difference to who may.
        let PersonalPermission { name, context, inherited: _ } = held;
        let key = AccessKey { kind: AccessKind::Permission, key: name.to_string(), context };
        all.insert(key, PERMITTED);
    }
    all
}

/// A permission is there where it is held.
const PERMITTED: Access = Access {
    enabled: true,
    reason: None,
    would_reason: None,
    value: None,
    limit: None,
    expires_at: None,
};

fn of_entry(entry: Entry) -> Access {
    // What would help is no matter of access.
    let Entry { enabled, reason, would_reason, value, is_premium: _, upgrade_plans: _, expires_at } =
        entry;
    Access { enabled, reason: Some(reason), would_reason, value, limit: None, expires_at }
}
