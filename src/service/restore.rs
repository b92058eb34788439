//! A restore is written into the trail that it puts back.

use std::path::Path;

use serde_json::{Value, json};

use super::{actor::Actor, audit::rollback_accepted, provenance};
use crate::{
    domain::{
        audit::{Event, Head},
        time::Timestamp,
    },
    store::{
        StoreOptions,
        restore::{RestoreError, Restored, put_back},
    },
};

/// Puts the backup in `from` where `options` say, and says so in its trail.
pub fn restore(
    from: &Path,
    expected: Option<Head>,
    options: &StoreOptions,
    now: Timestamp,
) -> Result<Restored, RestoreError> {
    let provenance = provenance(&Actor::system("restore"));
    put_back(from, expected, options, now, &provenance, |contents, rollback| {
        let restored = Event {
            name: "entitlement.database.restored",
            tenant: None,
            subject: "database".into(),
            before: Value::Null,
            after: json!({
                "head": contents.head.map(|head| head.facts()),
                "schema_version": contents.schema_version,
            }),
            reason: None,
        };
        rollback.map(rollback_accepted).into_iter().chain([restored]).collect()
    })
}
