//! What people have in tenants: contexts, roles, tiers, seats, entitlements of their own.

use serde_json::{Value, json};

use super::{Told, World, at};

impl World {
    pub(super) fn context(&mut self, told: &Told) {
        let tenant = told.tenant();
        let (kind, id) = told.subject.split_once(':').unwrap();
        let key = [tenant, kind, id];
        if told.after.is_null() {
            self.remove(told, "contexts", &key);
            return self.counted("context_counts", &[("tenant", tenant)], "contexts", -1);
        }
        let parent = &told.after["parent"];
        let facts = json!({"parent_type": parent["type"], "parent_id": parent["id"]});
        if told.before.is_null() {
            let new = json!({"tenant": tenant, "type": kind, "id": id, "created_at": told.at,
                             "updated_at": told.at, "revision": 1});
            self.insert(told, "contexts", &key, super::tenants::with(new, facts));
            self.counted("context_counts", &[("tenant", tenant)], "contexts", 1);
        } else {
            let mut row = self.row(told, "contexts", &key);
            row.set(facts);
            row.revised(told);
        }
    }

    /// Moves the count beside a table, which is there once something was.
    fn counted(&mut self, table: &'static str, key: &[(&str, &str)], column: &str, by: i64) {
        let at: Vec<String> = key.iter().map(|(_, part)| (*part).to_owned()).collect();
        let row = self.table(table).entry(at).or_insert_with(|| {
            let parts = key.iter().map(|(column, part)| ((*column).to_owned(), json!(part)));
            parts.chain([(column.to_owned(), json!(0))]).collect()
        });
        row[column] = json!(row[column].as_i64().unwrap() + by);
    }

    pub(super) fn role(&mut self, told: &Told) {
        let shown = if told.after.is_null() { &told.before } else { &told.after };
        let id = shown["id"].as_str().unwrap();
        let (table, key) = match &told.tenant {
            Some(tenant) => ("role_assignments", vec![tenant.as_str(), id]),
            None => ("platform_roles", vec![id]),
        };
        if told.after.is_null() {
            self.remove(told, table, &key);
        } else if told.before.is_null() {
            let mut row = json!({"id": id, "user": shown["user"], "role": shown["role"],
                                 "expires_at": at(&shown["expires_at"]), "created_at": told.at,
                                 "created_by": told.actor});
            if let Some(tenant) = &told.tenant {
                let context = &shown["context"];
                let more = json!({"tenant": tenant, "context_type": context["type"],
                                  "context_id": context["id"]});
                row = super::tenants::with(row, more);
            }
            self.insert(told, table, &key, row);
        } else {
            let end = json!({"expires_at": at(&shown["expires_at"])});
            self.row(told, table, &key).set(end);
        }
    }

    pub(super) fn tier(&mut self, told: &Told, what: &str) {
        let before = &told.before;
        if let Some(id) = before["id"].as_str() {
            let mut row = self.row(told, "tiers", &[id]);
            // What has ended by itself ended when it was to end.
            let end = if what == "expired" { at(&before["expires_at"]) } else { json!(told.at) };
            row.set(json!({"is_over": 1, "effective_to": end}));
        }
        let after = &told.after;
        if let Some(id) = after["id"].as_str() {
            let row = json!({
                "id": id, "tenant": told.tenant, "user": told.subject, "plan": after["plan"],
                "plan_version": after["plan_version"],
                "effective_from": at(&after["effective_from"]),
                "effective_to": at(&after["expires_at"]), "is_over": 0,
                "change_reason": told.reason.clone().unwrap_or_default(),
                "created_at": told.at, "created_by": told.actor,
            });
            self.insert(told, "tiers", &[id], row);
        }
    }

    pub(super) fn seat(&mut self, told: &Told, what: &str) {
        let text = |facts: &Value, name: &str| facts[name].as_str().unwrap_or_default().to_owned();
        let names =
            |facts: &Value| ["from_tenant", "key", "tenant", "user"].map(|n| text(facts, n));
        let shown = if told.after.is_null() { &told.before } else { &told.after };
        let (pool, key) = (text(shown, "from_tenant"), text(shown, "key"));
        let pool = [("tenant", pool.as_str()), ("key", key.as_str())];
        if what == "allocated" && !told.before.is_null() {
            let names = names(&told.after);
            let end = json!({"expires_at": at(&told.after["expires_at"])});
            return self.row(told, "seats", &names.each_ref().map(String::as_str)).set(end);
        }
        if !told.before.is_null() {
            let names = names(&told.before);
            self.remove(told, "seats", &names.each_ref().map(String::as_str));
            self.counted("seat_counts", &pool, "allocated", -1);
        }
        if !told.after.is_null() {
            let names = names(&told.after);
            let [tenant, key, holder, user] = &names;
            let row = json!({"tenant": tenant, "key": key, "holder": holder, "user": user,
                             "expires_at": at(&told.after["expires_at"]), "allocated_at": told.at,
                             "allocated_by": told.actor});
            self.insert(told, "seats", &names.each_ref().map(String::as_str), row);
            self.counted("seat_counts", &pool, "allocated", 1);
        }
    }

    pub(super) fn user_entitlement(&mut self, told: &Told) {
        let (id, after) = ([told.subject.as_str()], &told.after);
        let facts = json!({"status": after["status"], "expires_at": at(&after["expires_at"]),
                           "reason": after["reason"]});
        if told.before.is_null() {
            // Nobody of a tenant's own admins gives anything in the load.
            let new = json!({"id": told.subject, "tenant": told.tenant, "user": after["user"],
                             "key": after["key"], "created_at": told.at, "created_by": told.actor,
                             "updated_at": told.at, "updated_by": told.actor, "revision": 1,
                             "delegated": 0});
            return self.insert(told, "user_entitlements", &id, super::tenants::with(new, facts));
        }
        let mut row = self.row(told, "user_entitlements", &id);
        row.set(facts);
        row.revised(told);
        // Nobody ends what ends by itself.
        if told.name != "user_entitlement.expired" {
            row.set(json!({"updated_by": told.actor}));
        }
    }
}
