//! What there is before anybody lives: the catalog, a second person, and the rows of which there is
//! one for all.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::wire::Wire;

/// Small, and with something of everything that a tenant can have.
const CATALOG: &str = "
modules:
  crm: {name: CRM}
  dine: {name: Dine, premium: true}
  zf: {name: ZF, premium: true, provisioning: [delegated_admin, direct_user]}
features:
  desks: {name: Desks, type: limit, unit: desk, usage: gauge}
  reports: {name: Reports, type: boolean, premium: true}
plans:
  starter: {name: Starter, rank: 10, modules: [crm], features: {desks: 10}}
  tryout: {name: Tryout, rank: 15, modules: [crm], features: {desks: 10}, trial_days: 14, trial_fallback: starter}
  growth: {name: Growth, rank: 20, modules: [crm, dine], features: {desks: 50, reports: true}}
  extra: {name: Extra, kind: add_on, features: {reports: true}}
  member: {name: Member, audience: user, rank: 1}
  gold: {name: Gold, audience: user, rank: 2}
roles:
  staff: {name: Staff, context: platform}
  manager: {name: Manager, context: tenant}
  cashier: {name: Cashier, context: branch}
";

/// A furnished server.
#[derive(Debug, Clone)]
pub struct Place {
    pub address: SocketAddr,
    /// The key of the super admin.
    pub root: String,
    /// The key of somebody else, who asks for overrides.
    pub second: String,
}

/// Makes an empty server one in which tenants can live.
pub async fn furnish(address: SocketAddr, root: &str) -> Place {
    let mut wire = Wire::open(address).await;
    let settings = [
        ("PUT", "/admin/catalog", Value::from(CATALOG)),
        ("PUT", "/admin/legacy", json!({"dual_write": true, "names": {"restaurant": "dine"}})),
        (
            "PUT",
            "/admin/rollout",
            json!({"mode": "shadow", "percent": 25, "include": ["vip"], "unenforced_modules": ["zf"]}),
        ),
        ("PUT", "/admin/rollout", json!({"mode": "enforce", "percent": 100})),
    ];
    for (method, path, body) in settings {
        sent(&mut wire, root, method, path, body).await;
    }
    let text = |made: &Value| made.as_str().unwrap_or_else(|| panic!("{made:#}")).to_owned();
    let second = json!({"name": "Second person", "role": "support"});
    let second = text(&sent(&mut wire, root, "POST", "/admin/api-keys", second).await["key"]);
    // It is told of nothing that happens from here on, and switched off: nothing is sent.
    let hook = json!({"url": "https://hooks.example.com/load", "events": ["catalog."]});
    let hook = sent(&mut wire, root, "POST", "/admin/webhooks", hook).await;
    let there = format!("/admin/webhooks/{}", text(&hook["webhook"]["id"]));
    let overlap = json!({"overlap_seconds": 3_600});
    sent(&mut wire, root, "POST", &format!("{there}/secret"), overlap).await;
    sent(&mut wire, root, "PATCH", &there, json!({"enabled": false})).await;
    Place { address, root: root.to_owned(), second }
}

async fn sent(wire: &mut Wire, root: &str, method: &str, path: &str, body: Value) -> Value {
    let (status, answer) = wire.send(root, method, path, &body).await;
    assert!((200..300).contains(&status), "{path}: {status} {answer:#}");
    answer
}
