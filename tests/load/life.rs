//! The life of a tenant: about fifty writes in an order that makes sense, ending with what can end.
//! Every second or third tenant lives otherwise, so that each table keeps rows of every kind.

use serde_json::{Value, json};

use super::{Client, Over};

/// An instant after all others.
const FAR: &str = "2090-01-01T00:00:00Z";
const FARTHER: &str = "2091-01-01T00:00:00Z";
/// How many lives lie between two that touch what is not a tenant's.
const SELDOM: u64 = 8;

fn id(made: &Value) -> String {
    made["id"].as_str().unwrap_or_else(|| panic!("no id: {made:#}")).to_owned()
}

impl Client {
    pub(super) async fn live(&mut self, tenant: &str, number: u64) -> Result<(), Over> {
        let attributes = json!({"number": number, "city": "Zürich"});
        let mut new = json!({"key": tenant, "name": format!("Ünï {number}"),
                             "demo": number.is_multiple_of(2), "attributes": attributes});
        if number.is_multiple_of(3) {
            new["billing"] = "direct".into();
        }
        self.write("POST", "/admin/tenants", new).await?;
        self.buy(tenant, number).await?;
        self.receive(tenant, number).await?;
        self.except(tenant, number).await?;
        self.employ(tenant, number).await?;
        self.count(tenant).await?;
        if number.is_multiple_of(SELDOM) {
            self.administer(tenant, number).await?;
        }
        let there = format!("/admin/tenants/{tenant}");
        self.write("PATCH", &there, json!({"name": format!("Other {number}")})).await?;
        let reason = json!({"status": "suspended", "reason": "unpaid"});
        self.write("PATCH", &there, reason).await?;
        if number.is_multiple_of(2) {
            self.write("PATCH", &there, json!({"status": "active"})).await?;
        }
        Ok(())
    }

    /// Plans: tried, paid, overdue, added on, scheduled, unscheduled.
    async fn buy(&mut self, tenant: &str, number: u64) -> Result<(), Over> {
        let there = format!("/admin/tenants/{tenant}/subscriptions");
        let why = "as the load wants it";
        let first = if number.is_multiple_of(2) { "tryout" } else { "starter" };
        self.write("POST", &there, json!({"plan": first, "change_reason": why})).await?;
        let growth = json!({"plan": "growth", "quantity": 2, "change_reason": why});
        let growth = id(&self.write("POST", &there, growth).await?);
        let one = format!("{there}/{growth}");
        let late = json!({"status": "overdue", "change_reason": "no payment"});
        self.write("PATCH", &one, late).await?;
        let paid = json!({"status": "active", "quantity": 3, "change_reason": "paid"});
        self.write("PATCH", &one, paid).await?;
        let extra = json!({"plan": "extra", "change_reason": why});
        let extra = id(&self.write("POST", &there, extra).await?);
        let ends = json!({"effective_to": FAR, "change_reason": "for some years"});
        self.write("PATCH", &format!("{there}/{extra}"), ends).await?;
        for start in [FARTHER, FAR] {
            let later = json!({"plan": "starter", "effective_from": start, "change_reason": why});
            self.write("POST", &there, later).await?;
        }
        Ok(())
    }

    /// Grants: given, changed, tried, taken away.
    async fn receive(&mut self, tenant: &str, number: u64) -> Result<(), Over> {
        let there = format!("/admin/tenants/{tenant}/grants");
        let grants = [
            ("dine", json!({"state": "enabled", "reason": "a gift"})),
            ("dine", json!({"state": "enabled", "seats": 3, "reason": "with seats"})),
            ("zf", json!({"state": "trial", "trial_expires_at": FAR, "reason": "to try"})),
            ("desks", json!({"state": "enabled", "value": 60, "reason": "more room"})),
            ("desks", json!({"state": "enabled", "value": 50, "reason": "less room"})),
            ("reports", json!({"state": "disabled", "reason": "misused"})),
        ];
        for (key, grant) in grants {
            self.write("PUT", &format!("{there}/{key}"), grant).await?;
        }
        self.write("DELETE", &format!("{there}/reports"), Value::Null).await?;
        if number.is_multiple_of(2) {
            let bought = json!({"state": "enabled", "reason": "bought"});
            self.write("PUT", &format!("{there}/zf"), bought).await?;
        }
        Ok(())
    }

    /// Overrides, and requests for them with every end.
    async fn except(&mut self, tenant: &str, number: u64) -> Result<(), Over> {
        let (soon, later) =
            (self.in_days(if number.is_multiple_of(2) { 1 } else { 30 }), self.in_days(60));
        let there = "/admin/overrides";
        let new = json!({"tenant": tenant, "key": "zf", "enabled": true, "expires_at": soon,
                         "reason": "a bridge"});
        let made = id(&self.write("POST", there, new).await?);
        let one = format!("{there}/{made}");
        self.write("PATCH", &one, json!({"expires_at": later})).await?;
        self.write("PATCH", &one, json!({"enabled": false, "reason": "no more"})).await?;
        if number.is_multiple_of(2) {
            self.write("DELETE", &one, Value::Null).await?;
        }
        let second = self.shared.place.second.clone();
        let ask = json!({"tenant": tenant, "key": "desks", "enabled": true, "value": 55,
                         "expires_at": later, "reason": "a fair"});
        let asked = id(&self.write_by(&second, "POST", "/requests", ask).await?);
        let decision = format!("/admin/requests/{asked}");
        match number % 3 {
            0 => {
                let yes = json!({"comment": "for once"});
                self.write("POST", &format!("{decision}/approve"), yes).await?
            }
            1 => {
                let no = json!({"reason": "too dear"});
                self.write("POST", &format!("{decision}/decline"), no).await?
            }
            _ => {
                let path = format!("/requests/{asked}");
                self.write_by(&second, "DELETE", &path, Value::Null).await?
            }
        };
        Ok(())
    }

    /// People: contexts, roles, seats, entitlements of their own, tiers.
    async fn employ(&mut self, tenant: &str, number: u64) -> Result<(), Over> {
        let there = format!("/tenants/{tenant}");
        let (branch, region) = (format!("{there}/contexts/branch/b"), "region");
        self.write("PUT", &format!("{there}/contexts/{region}/r"), json!({})).await?;
        self.write("PUT", &branch, json!({})).await?;
        let below = json!({"parent": {"type": region, "id": "r"}});
        self.write("PUT", &branch, below).await?;
        let roles = format!("{there}/role-assignments");
        let cashier =
            json!({"user": "ann", "role": "cashier", "context": {"type": "branch", "id": "b"}});
        let cashier = id(&self.write("POST", &roles, cashier).await?);
        let manager = json!({"user": "bob", "role": "manager", "expires_at": FAR});
        self.write("POST", &roles, manager).await?;
        if number.is_multiple_of(2) {
            self.write("DELETE", &format!("{roles}/{cashier}"), Value::Null).await?;
            self.write("DELETE", &branch, Value::Null).await?;
        }
        let seat = format!("{there}/seats/dine");
        self.write("PUT", &format!("{seat}/ann"), json!({})).await?;
        self.write("PUT", &format!("{seat}/bob"), json!({"expires_at": FAR})).await?;
        self.write("POST", &format!("{seat}/ann/transfer"), json!({"to": "cleo"})).await?;
        if number.is_multiple_of(2) {
            self.write("DELETE", &format!("{seat}/cleo"), Value::Null).await?;
        }
        let own = json!({"user": "ann", "key": "zf", "reason": "a freelancer"});
        let own = id(&self.write("POST", &format!("{there}/user-entitlements"), own).await?);
        let one = format!("{there}/user-entitlements/{own}");
        for status in ["suspended", "active", "revoked"].iter().take(1 + (number % 3) as usize) {
            self.write("PATCH", &one, json!({"status": status, "reason": "as it goes"})).await?;
        }
        let tier = format!("{there}/users/ann/tier");
        self.write("PUT", &tier, json!({"plan": "member", "change_reason": "joined"})).await?;
        self.write("PUT", &tier, json!({"plan": "gold", "expires_at": FAR})).await?;
        if number.is_multiple_of(2) {
            self.write("DELETE", &tier, Value::Null).await?;
        }
        Ok(())
    }

    /// Usage: up to a level, past the limit, back below it.
    async fn count(&mut self, tenant: &str) -> Result<(), Over> {
        for used in [42, 70, 75, 7] {
            let set = json!({"tenant": tenant, "feature": "desks", "set": used});
            self.write("POST", "/usage", set).await?;
        }
        Ok(())
    }

    /// What is not a tenant's, or seldom written: keys, codes, staff, webhooks.
    async fn administer(&mut self, tenant: &str, number: u64) -> Result<(), Over> {
        let new = json!({"name": "Shop", "role": "tenant_admin", "tenant": tenant,
                         "expires_at": FAR, "rate_per_second": 5, "rate_burst": 9});
        let key = id(&self.write("POST", "/admin/api-keys", new).await?);
        let one = format!("/admin/api-keys/{key}");
        self.write("POST", &format!("{one}/rotate"), json!({"overlap_seconds": 60})).await?;
        let is_kept = number.is_multiple_of(2 * SELDOM);
        if !is_kept {
            self.write("DELETE", &one, Value::Null).await?;
        }
        let new = json!({"plan": "starter", "max_redemptions": 2, "note": "a leaflet"});
        let made = self.write("POST", "/admin/activation-codes", new).await?;
        let typed = json!({"tenant": tenant, "code": made["code"]});
        self.write("POST", "/activation-codes/redeem", typed).await?;
        if !is_kept {
            let path = format!("/admin/activation-codes/{}", id(&made));
            self.write("DELETE", &path, Value::Null).await?;
        }
        let staff = json!({"user": format!("staff-{tenant}"), "role": "staff"});
        let held = id(&self.write("POST", "/admin/role-assignments", staff).await?);
        if !is_kept {
            let path = format!("/admin/role-assignments/{held}");
            self.write("DELETE", &path, Value::Null).await?;
        }
        Ok(())
    }
}
