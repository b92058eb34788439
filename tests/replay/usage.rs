//! What was counted, where somebody said how much it is. What is consumed is counted, not audited.

use serde_json::{Value, json};

use super::{Told, World};

impl World {
    pub(super) fn usage(&mut self, told: &Told, what: &str) {
        let after = &told.after;
        let user = after["user"].as_str().unwrap_or_default();
        let tenant = told.tenant.as_deref().unwrap_or_default();
        let key = vec![tenant.to_owned(), user.to_owned(), told.subject.clone()];
        let names = [tenant, user, told.subject.as_str()];
        let used = after["used"].as_u64().unwrap();
        match what {
            "set" => {
                let before = told.before["used"].as_u64().unwrap();
                self.used_before.insert(key.clone(), before);
                let Value::Object(blank) = json!({
                    "tenant": tenant, "user": user, "feature": told.subject, "used": 0, "peak": 0,
                    "over": 0, "level": 0, "updated_at": told.at, "period_start": 0,
                    "period_end": null,
                }) else {
                    return;
                };
                self.table("usage").entry(key.clone()).or_insert(blank);
                let limit = self.limits.get(&key).copied();
                let mut row = self.row(told, "usage", &names);
                assert_eq!(row["used"], before, "{names:?}: usage was consumed, which isn't told");
                let peak = row["peak"].as_u64().unwrap().max(used);
                row.set(json!({"used": used, "peak": peak, "updated_at": told.at}));
                if let (100, Some(limit)) = (row.number("level"), limit) {
                    pass(&mut row, before, used, limit);
                }
            }
            "threshold_reached" => {
                let percent = after["percent"].as_i64().unwrap();
                let before = self.used_before.get(&key).copied().unwrap_or_default();
                let limit = after["limit"].as_u64().unwrap();
                self.limits.insert(key, limit);
                let mut row = self.row(told, "usage", &names);
                // The one that came with a change, which was told just before it.
                if percent == 100 && row["updated_at"] == told.at {
                    pass(&mut row, before, used, limit);
                }
                row.set(json!({"level": percent, "updated_at": told.at}));
            }
            "recovered" => {
                let level = json!({"level": after["percent"], "updated_at": told.at});
                self.row(told, "usage", &names).set(level);
            }
            _ => told.is_unknown(),
        }
    }
}

/// Units that were taken past the limit.
fn pass(row: &mut super::Found<'_>, before: u64, used: u64, limit: u64) {
    let newly = used.saturating_sub(limit).saturating_sub(before.saturating_sub(limit));
    let over = row["over"].as_u64().unwrap() + newly;
    row.set(json!({"over": over}));
}
