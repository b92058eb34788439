//! Random worlds, and the random writes of admins that are made to them.

use entitled::domain::callers::OperatorRole;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{App, Reply};

/// Of a tree: the third stands below the second, and that below the first.
pub const TENANTS: [&str; 4] = ["top", "mid", "leaf", "other"];
pub const USERS: [&str; 3] = ["u1", "u2", "u3"];
const KEYS: [&str; 12] = [
    "seated", "plain", "premium", "open", "bill", "flag", "within", "rows", "mine", "tone", "x",
    "y",
];
const PLANS: [&str; 6] = ["small", "large", "all", "tryout", "more_rows", "more_seats"];

/// One admin write.
#[derive(Debug, Clone)]
pub struct Write {
    method: Method,
    path: String,
    body: Option<Value>,
}

impl Write {
    fn new(method: Method, path: String, body: Option<Value>) -> Self {
        Self { method, path, body }
    }

    pub async fn send(&self, app: &App, query: &str) -> Reply {
        let path = format!("{}{query}", self.path);
        app.root().send(self.method.clone(), &path, self.body.clone(), &[]).await
    }
}

/// A catalog: the same keys each time, some of which may be gone.
fn catalog(rng: &mut StdRng) -> Value {
    let mut chance = |percent: u32| rng.random_range(0..100) < percent;
    let pick = |is: bool, yes: &str, no: &str| json!(if is { yes } else { no });
    let mut catalog = json!({
        "modules": {
            "common": {"name": "Common", "access": "always_on"},
            "seated": {
                "name": "Seated", "seated": chance(80), "status": pick(chance(10), "disabled", "active"),
                "provisioning": if chance(85) {
                    json!(["org_hierarchy", "delegated_admin", "direct_user"])
                } else {
                    json!(["delegated_admin"])
                }
            },
            "plain": {"name": "Plain", "access": pick(chance(10), "always_on", "entitled")},
            "premium": {"name": "Premium", "premium": true, "status": pick(chance(10), "archived", "active")},
            "open": {"name": "Open", "access": pick(chance(50), "rbac_only", "always_on")},
            "bill": {"name": "Bill", "access": "always_on", "available_when_blocked": chance(70)}
        },
        "bundles": {"both": {"name": "Both", "modules": ["plain", "premium"]}},
        "features": {
            "flag": {"name": "Flag", "type": "boolean", "status": pick(chance(10), "disabled", "active")},
            "within": {"name": "Within", "type": "boolean", "module": "seated"},
            "rows": {"name": "Rows", "type": "limit", "usage": "gauge"},
            "mine": {"name": "Mine", "type": "limit", "usage": "gauge", "per": "user"},
            "tone": {"name": "Tone", "type": "config"}
        },
        "plans": {
            "small": {"name": "Small", "rank": 1, "modules": ["plain"], "features": {"rows": 1, "tone": "dry"}},
            "large": {
                "name": "Large", "rank": 2, "inherits": "small", "modules": ["seated"],
                "features": {"rows": 5, "flag": chance(60), "within": true}, "seats": 2
            },
            "all": {"name": "All", "rank": 3, "modules": "*", "features": {"*": true, "rows": 7}},
            "tryout": {
                "name": "Tryout", "rank": 2, "modules": ["premium"], "features": {"flag": true},
                "trial_days": 9
            },
            "more_rows": {"name": "Rows", "rank": 1, "kind": "add_on", "stack": "add", "features": {"rows": 10}},
            "more_seats": {"name": "Seats", "rank": 1, "kind": "add_on", "modules": ["seated"], "seats": 1},
            "member": {
                "name": "Member", "rank": 1, "audience": "user", "permissions": ["CAN_READ"],
                "features": {"mine": 3}
            },
            "gold": {
                "name": "Gold", "rank": 2, "audience": "user", "inherits": "member",
                "permissions": ["CAN_WRITE"], "features": {"flag": true}
            }
        },
        "roles": {
            "guest": {"context": "tenant", "permissions": if chance(50) { json!(["CAN_READ"]) } else { json!(["CAN_LOOK"]) }},
            "clerk": {
                "context": "store", "inherits": if chance(50) { json!(["guest"]) } else { json!([]) },
                "permissions": ["CAN_SELL"]
            }
        },
        "settings": {"overdue_grace_days": if chance(50) { 0 } else { 7 }}
    });
    if chance(40) {
        catalog["plans"]["tryout"]["trial_fallback"] = "small".into();
    }
    if chance(30) {
        catalog["modules"]["x"] =
            json!({"name": "X", "access": pick(chance(50), "always_on", "entitled")});
        catalog["features"]["y"] = json!({"name": "Y", "type": "boolean", "module": "x"});
    }
    if chance(5) {
        catalog["modules"].as_object_mut().unwrap().remove("premium");
        catalog["bundles"] = json!({});
        catalog["plans"]["tryout"]["modules"] = json!(["plain"]);
    }
    catalog
}

/// A world, and what its writes are made of.
pub struct Maker {
    pub app: App,
    pub rng: StdRng,
    overrides: Vec<String>,
    subscriptions: Vec<(&'static str, String)>,
    versions: u32,
}

const REASON: &str = "for a test";

impl Maker {
    pub async fn new(seed: u64) -> Self {
        let app = App::start().await;
        let mut rng = StdRng::seed_from_u64(seed);
        let first = catalog(&mut rng);
        app.root().put("/api/v1/admin/catalog", first).await.expect(200);
        let member = json!({"plan": "member"});
        for (at, tenant) in TENANTS.into_iter().enumerate() {
            let parent = if at == 0 || at == 3 { Value::Null } else { TENANTS[at - 1].into() };
            app.tenant(tenant, json!({"parent": parent})).await;
            let context = format!("/api/v1/tenants/{tenant}/contexts/store/s1");
            app.root().put(&context, json!({})).await.expect(201);
            for user in USERS {
                // Something is known of each of them for good.
                let mut role = json!({"user": user, "role": "guest"});
                if user == "u1" {
                    role = json!({
                        "user": user, "role": "clerk", "context": {"type": "store", "id": "s1"}
                    });
                }
                let path = format!("/api/v1/tenants/{tenant}/role-assignments");
                app.root().post(&path, role).await.expect(201);
            }
        }
        for user in USERS {
            let path = format!("/api/v1/users/{user}/tier");
            let reply = app.root().put(&path, member.clone()).await;
            assert!(reply.status < 300, "{:#}", reply.body);
        }
        let mut maker =
            Self { app, rng, overrides: Vec::new(), subscriptions: Vec::new(), versions: 1 };
        for tenant in TENANTS {
            let grant = json!({"state": "enabled", "seats": 3});
            maker.app.grant(tenant, "seated", grant).await.expect(201);
            let plan = *["small", "large", "all"].choose(&mut maker.rng).unwrap();
            let made = maker.app.assign(tenant, plan, json!({})).await.body;
            maker.subscriptions.push((tenant, made["id"].as_str().unwrap().into()));
        }
        for _ in 0..12 {
            maker.about_a_user().await;
        }
        maker
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of.choose(&mut self.rng).unwrap()
    }

    fn tenant(&mut self) -> &'static str {
        self.one(&TENANTS)
    }

    /// A day behind the present one, by chance.
    fn later(&mut self, percent: u32) -> Value {
        if !self.chance(percent) {
            return Value::Null;
        }
        let now = self.app.clock.now();
        now.plus_days(self.rng.random_range(1..20)).to_string().into()
    }

    /// Seats and entitlements of users come and go; what is refused is as well.
    pub async fn about_a_user(&mut self) {
        let (tenant, user) = (self.tenant(), self.one(&USERS));
        let root = self.app.root();
        match self.rng.random_range(0..6) {
            0..=2 => {
                let from = *["top", "mid"].choose(&mut self.rng).unwrap();
                let from = if self.rng.random_range(0..3) == 0 || tenant == "other" {
                    tenant
                } else {
                    from
                };
                let path = format!("/api/v1/tenants/{tenant}/seats/seated/{user}");
                root.put(&path, json!({"from_tenant": from})).await;
            }
            3 => {
                let path = format!("/api/v1/tenants/{tenant}/seats/seated/{user}");
                root.delete(&path).await;
            }
            4 => {
                let key = *["seated", "plain", "premium", "flag"].choose(&mut self.rng).unwrap();
                let body = json!({"user": user, "key": key, "reason": REASON});
                let path = format!("/api/v1/tenants/{tenant}/user-entitlements");
                let admin = self.app.caller(OperatorRole::TenantAdmin, Some(tenant), "boss");
                if self.rng.random_range(0..2) == 0 {
                    root.post(&path, body).await;
                } else {
                    admin.post(&path, body).await;
                }
            }
            _ => {
                let plan = *["member", "gold"].choose(&mut self.rng).unwrap();
                let tier = json!({"plan": plan});
                root.put(&format!("/api/v1/tenants/{tenant}/users/{user}/tier"), tier).await;
            }
        }
    }

    fn value_of(&mut self, key: &str) -> Value {
        match key {
            "rows" | "mine" => self.rng.random_range(0..4_u64).into(),
            "tone" => self.one(&["loud", "soft"]).into(),
            _ => Value::Null,
        }
    }

    fn subscribe(&mut self) -> Write {
        let (tenant, plan) = (self.tenant(), self.one(&PLANS));
        let mut body = json!({"plan": plan, "change_reason": REASON});
        if self.chance(25) {
            body["status"] = self.one(&["active", "overdue", "suspended", "cancelled"]).into();
        }
        if self.chance(15) {
            body["quantity"] = self.rng.random_range(0..4).into();
        }
        body["effective_from"] = self.later(10);
        Write::new(
            Method::POST,
            format!("/api/v1/admin/tenants/{tenant}/subscriptions"),
            Some(body),
        )
    }

    fn change_subscription(&mut self) -> Write {
        let (tenant, id) = self.subscriptions.choose(&mut self.rng).unwrap().clone();
        let path = format!("/api/v1/admin/tenants/{tenant}/subscriptions/{id}");
        if self.chance(30) {
            let body = json!({"change_reason": REASON});
            return Write::new(Method::POST, format!("{path}/migrate"), Some(body));
        }
        let mut body = json!({"change_reason": REASON});
        if self.chance(70) {
            let all = ["active", "active", "trialing", "overdue", "suspended", "cancelled"];
            body["status"] = self.one(&all).into();
        }
        if self.chance(20) {
            body["quantity"] = self.rng.random_range(1..4).into();
        }
        if body["status"] == "trialing" {
            body["trial_expires_at"] = self.later(80);
        }
        if self.chance(15) {
            body["effective_to"] = self.app.clock.now().to_string().into();
        }
        Write::new(Method::PATCH, path, Some(body))
    }

    fn grant(&mut self) -> Write {
        let (tenant, key) = (self.tenant(), self.one(&KEYS));
        let path = format!("/api/v1/admin/tenants/{tenant}/grants/{key}");
        if self.chance(25) {
            return Write::new(Method::DELETE, path, None);
        }
        let state = self.one(&["enabled", "enabled", "disabled", "trial"]);
        let mut body = json!({"state": state, "reason": REASON});
        if state != "disabled" {
            body["value"] = self.value_of(key);
        }
        if state == "trial" {
            body["trial_expires_at"] = self.later(95);
        }
        if key == "seated" && state != "disabled" {
            body["seats"] = self.rng.random_range(0..4).into();
            if self.chance(80) {
                body["release"] = "newest".into();
            }
        }
        Write::new(Method::PUT, path, Some(body))
    }

    fn select(&mut self) -> Write {
        let tenant = self.tenant();
        let mut modules = serde_json::Map::new();
        for module in ["seated", "plain", "premium"] {
            if self.chance(50) {
                let state = self.one(&["enabled", "disabled"]);
                let mut selected = json!({"state": state});
                if module == "seated" && state == "enabled" {
                    selected["seats"] = self.rng.random_range(0..4).into();
                    selected["release"] = "newest".into();
                }
                modules.insert(module.into(), selected);
            }
        }
        let mut body = json!({"modules": modules, "reason": REASON});
        if self.chance(30) {
            body["bundles"] = json!(["both"]);
        }
        let path = match self.chance(50) {
            true => format!("/api/v1/admin/tenants/{tenant}/modules"),
            false => format!("/api/v1/admin/orgs/{tenant}/entitlements"),
        };
        Write::new(Method::PUT, path, Some(body))
    }

    async fn exception(&mut self) -> Write {
        let (tenant, key) = (self.tenant(), self.one(&KEYS));
        let enabled = self.chance(60);
        let mut body = json!({"enabled": enabled, "reason": REASON, "expires_at": self.later(97)});
        if enabled {
            body["value"] = self.value_of(key);
        }
        let known = self.overrides.choose(&mut self.rng).cloned();
        match (self.rng.random_range(0..4), known) {
            (0, Some(id)) => {
                let path = format!("/api/v1/admin/overrides/{id}");
                Write::new(Method::DELETE, path, None)
            }
            (1, Some(id)) => {
                let path = format!("/api/v1/admin/overrides/{id}");
                let body = json!({"enabled": enabled});
                Write::new(Method::PATCH, path, Some(body))
            }
            (2, _) => {
                let admin = self.app.caller(OperatorRole::TenantAdmin, Some(tenant), "boss");
                body["key"] = key.into();
                let asked = admin.post("/api/v1/requests", body).await;
                let id = asked.body["id"].as_str().unwrap_or("none").to_owned();
                let path = format!("/api/v1/admin/requests/{id}/approve");
                Write::new(Method::POST, path, Some(json!({})))
            }
            _ => {
                (body["tenant"], body["key"]) = (tenant.into(), key.into());
                Write::new(Method::POST, "/api/v1/admin/overrides".into(), Some(body))
            }
        }
    }

    fn change_tenant(&mut self) -> Write {
        let tenant = self.tenant();
        let body = match self.rng.random_range(0..9) {
            0..=1 => json!({"status": "suspended", "reason": REASON}),
            2..=4 => json!({"status": "active"}),
            5 => json!({"billing": self.one(&["direct", "subscription"])}),
            6 => json!({"demo": self.chance(40)}),
            7 => json!({"demo": false, "name": "Another"}),
            _ => {
                json!({"parent": *[None, Some("top"), Some("mid"), Some("other")].choose(&mut self.rng).unwrap()})
            }
        };
        Write::new(Method::PATCH, format!("/api/v1/admin/tenants/{tenant}"), Some(body))
    }

    fn rollout(&mut self) -> Write {
        let mode = self.one(&["enforce", "enforce", "enforce", "shadow", "off"]);
        let mut body = json!({"mode": mode, "percent": self.rng.random_range(0..=100)});
        if self.chance(40) {
            body["percent"] = 100.into();
        }
        for list in ["include", "exclude"] {
            if self.chance(20) {
                body[list] = json!([self.tenant()]);
            }
        }
        if self.chance(25) {
            body["unenforced_modules"] = json!([self.one(&["seated", "plain", "nowhere"])]);
        }
        Write::new(Method::PUT, "/api/v1/admin/rollout".into(), Some(body))
    }

    pub async fn write(&mut self) -> Write {
        match self.rng.random_range(0..100) {
            0..15 => self.subscribe(),
            15..27 => self.change_subscription(),
            27..45 => self.grant(),
            45..53 => self.select(),
            53..70 => self.exception().await,
            70..82 => self.change_tenant(),
            82..91 => self.rollout(),
            91..98 => {
                let document = catalog(&mut self.rng);
                Write::new(Method::PUT, "/api/v1/admin/catalog".into(), Some(document))
            }
            _ => {
                let version = self.rng.random_range(1..=self.versions);
                let path = format!("/api/v1/admin/catalog/versions/{version}/apply");
                Write::new(Method::POST, path, None)
            }
        }
    }

    /// Remembers what later writes can be about.
    pub fn note(&mut self, write: &Write, reply: &Reply) {
        let id = reply.body["id"].as_str().map(str::to_owned);
        let tenant = TENANTS.iter().find(|tenant| reply.body["tenant"] == **tenant);
        if let (Some(id), Some(tenant)) = (id, tenant) {
            if write.path.ends_with("/subscriptions") {
                self.subscriptions.push((tenant, id));
            } else if write.path.ends_with("/overrides") {
                self.overrides.push(id);
            }
        }
        if write.path.contains("/catalog") {
            let version = reply.body["version"].as_u64().unwrap();
            self.versions = u32::try_from(version).unwrap();
        }
    }
}
