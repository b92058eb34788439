//! What is not a tenant's: settings, the catalog, keys, codes, webhooks.

use serde_json::{Value, json};

use super::{Told, World, at, bit, tenants::with};

impl World {
    /// What a new database has.
    pub(super) fn begin(&mut self) {
        let rollout = json!({"id": 1, "mode": "enforce", "percent": 100, "include": [], "exclude": [],
                             "unenforced_modules": [], "auto_rollback": null, "updated_at": null,
                             "updated_by": null, "revision": 1});
        let legacy = json!({"id": 1, "dual_write": 0, "names": {}, "updated_at": null,
                            "updated_by": null, "revision": 1});
        for (table, row) in [("rollout", rollout), ("legacy_settings", legacy)] {
            let Value::Object(row) = row else { continue };
            self.table(table).insert(vec!["1".into()], row);
        }
    }

    pub(super) fn rollout(&mut self, told: &Told) {
        let mut row = self.row(told, "rollout", &["1"]);
        row.set(told.after.clone());
        row.set(json!({"updated_by": told.actor}));
        row.revised(told);
    }

    pub(super) fn legacy(&mut self, told: &Told, what: &str) {
        if what != "changed" {
            return told.is_unknown();
        }
        let after = &told.after;
        let facts = json!({"dual_write": bit(&after["dual_write"]), "names": after["names"],
                           "updated_by": told.actor});
        let mut row = self.row(told, "legacy_settings", &["1"]);
        row.set(facts);
        row.revised(told);
    }

    pub(super) fn catalog(&mut self, told: &Told) {
        let (version, digest) = (&told.after["version"], &told.after["digest"]);
        let row = json!({"version": version, "digest": digest, "applied_at": told.at,
                         "applied_by": told.actor});
        self.insert(told, "catalogs", &[&version.to_string()], row);
    }

    pub(super) fn api_key(&mut self, told: &Told, what: &str) {
        let (id, after) = ([told.subject.as_str()], &told.after);
        match what {
            "created" => {
                let rate = &after["rate"];
                let row = json!({
                    "id": told.subject, "name": after["name"], "role": after["role"],
                    "tenant": after["tenant"], "created_at": told.at, "created_by": told.actor,
                    "expires_at": at(&after["expires_at"]), "revoked_at": null,
                    "rotated_at": null, "old_secret_until": null,
                    "rate_per_second": rate["per_second"], "rate_burst": rate["burst"],
                });
                self.insert(told, "api_keys", &id, row);
            }
            "rotated" => {
                let facts = json!({"rotated_at": told.at, "expires_at": at(&after["expires_at"]),
                                   "old_secret_until": at(&after["old_secret_until"])});
                self.row(told, "api_keys", &id).set(facts);
            }
            "revoked" => self.row(told, "api_keys", &id).set(json!({"revoked_at": told.at})),
            _ => told.is_unknown(),
        }
    }

    pub(super) fn activation_code(&mut self, told: &Told, what: &str) {
        let (id, after) = ([told.subject.as_str()], &told.after);
        let facts = json!({
            "plan": after["plan"], "max_redemptions": after["max_redemptions"],
            "redeemed": after["redeemed"], "duration_days": after["duration_days"],
            "expires_at": at(&after["expires_at"]), "revoked_at": at(&after["revoked_at"]),
        });
        match what {
            "created" => {
                let new = json!({"id": told.subject, "note": told.reason, "created_at": told.at,
                                 "created_by": told.actor});
                self.insert(told, "activation_codes", &id, with(new, facts));
            }
            "redeemed" => {
                self.row(told, "activation_codes", &id).set(facts);
                let tenant = told.tenant();
                let row = json!({"tenant": tenant, "code": told.subject,
                                 "subscription": after["subscription"], "redeemed_at": told.at,
                                 "redeemed_by": told.actor});
                self.insert(told, "activation_redemptions", &[tenant, &told.subject], row);
            }
            "revoked" => self.row(told, "activation_codes", &id).set(facts),
            _ => told.is_unknown(),
        }
    }

    pub(super) fn webhook(&mut self, told: &Told, what: &str) {
        let (id, after) = ([told.subject.as_str()], &told.after);
        let facts = json!({"url": after["url"], "description": after["description"],
                           "events": after["events"], "tenant": after["tenant"]});
        match what {
            "created" => {
                let new = json!({"id": told.subject, "old_until": null, "disabled_at": null,
                                 "disabled_reason": null, "created_at": told.at,
                                 "created_by": told.actor, "updated_at": told.at, "revision": 1});
                self.insert(told, "webhooks", &id, with(new, facts));
            }
            "updated" | "disabled" => {
                let mut row = self.row(told, "webhooks", &id);
                if after["disabled"].is_null() {
                    row.set(json!({"disabled_at": null}));
                } else if row["disabled_reason"].is_null() {
                    row.set(json!({"disabled_at": told.at}));
                }
                row.set(facts);
                row.set(json!({"disabled_reason": after["disabled"]}));
                row.revised(told);
            }
            "secret_rotated" => {
                let mut row = self.row(told, "webhooks", &id);
                row.set(json!({"old_until": at(&after["old_secret_until"])}));
                row.revised(told);
            }
            "deleted" => drop(self.remove(told, "webhooks", &id)),
            "tested" | "delivery_resent" => {}
            _ => told.is_unknown(),
        }
    }
}
