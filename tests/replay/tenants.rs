//! What a tenant has: itself, subscriptions, grants, overrides, and the trials among them.

use entitled::domain::{
    catalog::FeatureValue,
    plans::PlanContent,
    time::{Span, Timestamp},
    trials::gives_all,
};
use serde_json::{Value, json};

use super::{Told, World, at, bit};

/// How long before its end an override is announced, and a request waits: the defaults.
const ENDS_SOON_HOURS: u32 = 72;
const REQUEST_DAYS: u32 = 30;

fn plan(content: &PlanContent) -> &'static str {
    match content.kind {
        entitled::domain::catalog::PlanKind::Base => "base",
        entitled::domain::catalog::PlanKind::AddOn => "add_on",
    }
}

/// The value of an event, as it is stored: of limits alone, the load has no others.
fn stored(value: &Value) -> Value {
    value.as_u64().map_or(Value::Null, |limit| json!({"limit": {"of": limit}}))
}

impl World {
    pub(super) fn tenant(&mut self, told: &Told, what: &str) {
        let after = &told.after;
        let suspension = &after["suspension"];
        let facts = json!({
            "name": after["name"],
            "parent": after["parent"],
            "suspended_by": suspension["by"],
            "suspended_at": at(&suspension["at"]),
            "suspended_reason": suspension["reason"],
            "billing": after["billing"],
            "demo": bit(&after["demo"]),
            "sandbox": bit(&after["sandbox"]),
            "attributes": after["attributes"],
        });
        match what {
            "created" => {
                let new = json!({"tenant": told.subject, "created_at": told.at, "clock_ahead": 0,
                                 "updated_at": told.at, "revision": 1});
                self.insert(told, "tenants", &[&told.subject], with(new, facts));
            }
            "updated" | "suspended" | "reactivated" => {
                let mut row = self.row(told, "tenants", &[&told.subject]);
                row.set(facts);
                row.revised(told);
            }
            _ => told.is_unknown(),
        }
    }

    pub(super) fn subscription(&mut self, told: &Told, what: &str) {
        let (tenant, id, after) = (told.tenant(), told.subject.as_str(), &told.after);
        let key = [tenant, id];
        let fallback = &after["trial_fallback"];
        let is_trial = after["status"] == "trialing";
        let facts = json!({
            "plan": after["plan"],
            "plan_version": after["plan_version"],
            "status": after["status"],
            "effective_from": at(&after["effective_from"]),
            "effective_to": at(&after["effective_to"]),
            "trial_expires_at": at(&after["trial_expires_at"]),
            "fallback_plan": fallback["plan"],
            "fallback_version": fallback["version"],
            "overdue_since": at(&after["overdue_since"]),
            "quantity": after["quantity"],
            "change_reason": told.reason,
        });
        let has_begun = at(&after["effective_from"]).as_i64().is_some_and(|at| at <= told.at);
        match what {
            "assigned" => {
                let kind = plan(self.content(after));
                let new = json!({"tenant": tenant, "id": id, "kind": kind, "created_at": told.at,
                                 "updated_at": told.at, "revision": 1, "tried": i64::from(is_trial),
                                 "start_recorded": i64::from(has_begun), "trial_recorded": 0,
                                 "end_recorded": 0});
                self.insert(told, "subscriptions", &key, with(new, facts));
                if has_begun {
                    self.subscribed(told);
                }
            }
            "updated" | "migrated" | "closed" => {
                let mut row = self.row(told, "subscriptions", &key);
                if row["trial_expires_at"] != facts["trial_expires_at"] {
                    row.set(json!({"trial_recorded": 0}));
                }
                let has_ended = facts["effective_to"].as_i64().is_some_and(|end| end <= told.at);
                let tried = row.number("tried").max(i64::from(is_trial));
                row.set(facts);
                row.set(json!({"tried": tried, "end_recorded": i64::from(has_ended)}));
                row.revised(told);
                let is_other = told.before["status"] != after["status"];
                if what == "updated" && is_other && has_begun {
                    self.subscribed(told);
                }
            }
            "unscheduled" => drop(self.remove(told, "subscriptions", &key)),
            "started" => {
                self.row(told, "subscriptions", &key).set(json!({"start_recorded": 1}));
                self.subscribed(told);
            }
            "ended" => self.row(told, "subscriptions", &key).set(json!({"end_recorded": 1})),
            "trial_expired" => {
                self.row(told, "subscriptions", &key).set(json!({"trial_recorded": 1}));
                let plan = after["plan"].as_str().unwrap().to_owned();
                self.count_trial(told, "subscription", &plan, "expired");
            }
            _ => told.is_unknown(),
        }
    }

    pub(super) fn grant(&mut self, told: &Told, what: &str) {
        let (tenant, subject, after) = (told.tenant(), told.subject.as_str(), &told.after);
        let key = [tenant, subject];
        let facts = json!({
            "state": after["state"],
            "value": stored(&after["value"]),
            "seats": after["seats"],
            "trial_expires_at": at(&after["trial_expires_at"]),
            "reason": told.reason,
        });
        match what {
            "created" => {
                let new = json!({"tenant": tenant, "key": subject, "created_at": told.at,
                                 "updated_at": told.at, "revision": 1, "trial_recorded": 0});
                self.insert(told, "grants", &key, with(new, facts));
            }
            "updated" => {
                let mut row = self.row(told, "grants", &key);
                if row["trial_expires_at"] != facts["trial_expires_at"] {
                    row.set(json!({"trial_recorded": 0}));
                }
                row.set(facts);
                row.revised(told);
            }
            "removed" => {
                self.remove(told, "grants", &key);
                self.follow(tenant, subject, false);
                return;
            }
            "trial_expired" => {
                self.row(told, "grants", &key).set(json!({"trial_recorded": 1}));
                self.count_trial(told, "grant", subject, "expired");
                self.follow(tenant, subject, false);
                return;
            }
            _ => told.is_unknown(),
        }
        let was_trial = told.before["state"] == "trial";
        match after["state"].as_str().unwrap() {
            "trial" if was_trial => {}
            "trial" => self.try_out(told, "grant", subject),
            "enabled" => self.convert(told, "grant", subject),
            _ => {}
        }
        let end = at(&after["trial_expires_at"]).as_i64();
        let is_on = after["state"] == "enabled" || end.is_some_and(|end| end > told.at);
        self.follow(tenant, subject, is_on);
    }

    /// The older application's map follows the grants of modules.
    fn follow(&mut self, tenant: &str, key: &str, is_on: bool) {
        let is_kept = self.table("legacy_settings").values().any(|row| row["dual_write"] == 1);
        if !is_kept || !self.modules.contains(key) {
            return;
        }
        let at = vec![tenant.to_owned(), key.to_owned()];
        let known = self.table("legacy_modules").contains_key(&at);
        if is_on || known {
            let row = json!({"tenant": tenant, "module": key, "enabled": i64::from(is_on)});
            let Value::Object(row) = row else { return };
            self.table("legacy_modules").insert(at, row);
        }
    }

    fn content(&self, facts: &Value) -> &PlanContent {
        let plan = facts["plan"].as_str().unwrap().to_owned();
        &self.plans[&(plan, facts["plan_version"].as_i64().unwrap())]
    }

    /// A subscription took effect, or another status while it is in effect.
    fn subscribed(&mut self, told: &Told) {
        let plan = told.after["plan"].as_str().unwrap().to_owned();
        match told.after["status"].as_str().unwrap() {
            "trialing" => self.try_out(told, "subscription", &plan),
            "active" => {
                let content = self.content(&told.after).clone();
                let open: Vec<_> = self.table("open_trials").keys().cloned().collect();
                for key in open.into_iter().filter(|key| key[0] == told.tenant()) {
                    let (kind, key) = (key[1].as_str(), key[2].as_str());
                    let is_on = |value: &FeatureValue| value.is_on();
                    let has = match kind {
                        "grant" => {
                            content.modules.iter().any(|module| module.as_str() == key)
                                || content.features.get(key).is_some_and(is_on)
                        }
                        _ if key == plan => true,
                        _ => {
                            let mut newest = self.plans.iter().rev();
                            let trial = newest.find(|((plan, _), _)| plan == key).unwrap().1;
                            super::tenants::plan(&content) == "base" && gives_all(&content, trial)
                        }
                    };
                    if has {
                        self.convert(told, kind, key);
                    }
                }
            }
            _ => {}
        }
    }

    fn try_out(&mut self, told: &Told, kind: &str, key: &str) {
        let tenant = told.tenant();
        let row = json!({"tenant": tenant, "kind": kind, "key": key, "started_at": told.at});
        let Value::Object(row) = row else { return };
        self.table("open_trials").insert([tenant, kind, key].map(str::to_owned).into(), row);
        self.count_trial(told, kind, key, "started");
    }

    fn convert(&mut self, told: &Told, kind: &str, key: &str) {
        let at: Vec<String> = [told.tenant(), kind, key].map(str::to_owned).into();
        if self.table("open_trials").remove(&at).is_some() {
            self.count_trial(told, kind, key, "converted");
        }
    }

    fn count_trial(&mut self, told: &Told, kind: &str, key: &str, step: &str) {
        let hour = told.at - told.at % 3_600_000_000;
        let tenant = told.tenant();
        let at = [tenant, &hour.to_string(), kind, key, step].map(str::to_owned).into();
        let trials =
            self.table("trial_hours").get(&at).map_or(0, |row| row["trials"].as_i64().unwrap());
        let row = json!({"tenant": tenant, "hour": hour, "kind": kind, "key": key, "step": step,
                         "trials": trials + 1});
        let Value::Object(row) = row else { return };
        self.table("trial_hours").insert(at, row);
    }

    pub(super) fn exception(&mut self, told: &Told, what: &str) {
        let (id, after) = ([told.subject.as_str()], &told.after);
        match what {
            "created" | "updated" => {
                let expires_at = at(&after["expires_at"]).as_i64().unwrap();
                let notice = Timestamp::from_micros(expires_at) - Span::hours(ENDS_SOON_HOURS);
                let announced = i64::from(notice.micros() <= told.at);
                let facts = json!({"key": after["key"], "enabled": bit(&after["enabled"]),
                                   "value": stored(&after["value"]), "expires_at": expires_at,
                                   "reason": after["reason"]});
                if what == "created" {
                    let new = json!({"tenant": told.tenant(), "id": told.subject, "ended": null,
                                     "ended_at": null, "created_at": told.at,
                                     "created_by": told.actor, "updated_at": told.at,
                                     "revision": 1, "renewals": 0, "announced": announced,
                                     "break_glass": 0, "last_used_at": null});
                    return self.insert(told, "overrides", &id, with(new, facts));
                }
                let mut row = self.row(told, "overrides", &id);
                let before = row.number("expires_at");
                if before != expires_at {
                    row.set(json!({"announced": announced}));
                }
                let renewals = row.number("renewals") + i64::from(expires_at > before);
                row.set(facts);
                row.set(json!({"renewals": renewals}));
                row.revised(told);
            }
            "break_glass" => self.row(told, "overrides", &id).set(json!({"break_glass": 1})),
            "ends_soon" => self.row(told, "overrides", &id).set(json!({"announced": 1})),
            "removed" | "expired" => {
                let mut row = self.row(told, "overrides", &id);
                row.set(json!({"ended": what, "ended_at": told.at}));
                row.revised(told);
            }
            _ => self.request(told, what),
        }
    }

    fn request(&mut self, told: &Told, what: &str) {
        let (tenant, after) = (told.tenant(), &told.after);
        let key = [told.subject.as_str()];
        let (state, comment) = match what {
            "requested" => {
                let expires_at = at(&after["expires_at"]);
                let lapses = Timestamp::from_micros(told.at).plus_days(REQUEST_DAYS).micros();
                let row = json!({
                    "tenant": tenant, "id": told.subject, "kind": after["kind"],
                    "key": after["key"], "enabled": bit(&after["enabled"]), "value": stored(&after["value"]),
                    "expires_at": expires_at, "reason": after["reason"],
                    "override_id": after["override_id"], "override_revision": null,
                    "state": "open", "requested_by": after["requested_by"],
                    "requested_role": told.role, "requested_through": told.impersonator,
                    "requested_at": told.at, "lapses_at": lapses.min(expires_at.as_i64().unwrap()),
                    "decided_by": null, "decided_role": null, "decided_through": null,
                    "decided_at": null, "comment": null,
                });
                return self.insert(told, "requests", &key, row);
            }
            "approved" => {
                let more = json!({"expires_at": at(&after["expires_at"]),
                                  "override_id": after["override_id"]});
                self.row(told, "requests", &key).set(more);
                ("approved", after["comment"].clone())
            }
            "declined" => ("declined", json!(told.reason)),
            "request_withdrawn" => ("withdrawn", Value::Null),
            "request_expired" => ("expired", Value::Null),
            _ => return told.is_unknown(),
        };
        let mut row = self.row(told, "requests", &key);
        row.set(json!({"state": state, "comment": comment, "decided_at": told.at}));
        if state != "expired" {
            row.set(json!({"decided_by": told.actor, "decided_role": told.role,
                           "decided_through": told.impersonator}));
        }
    }
}

pub(super) fn with(mut row: Value, more: Value) -> Value {
    if let (Value::Object(row), Value::Object(more)) = (&mut row, more) {
        row.extend(more);
    }
    row
}
