//! The routes of the retail product (SPEC 16.1) and its tenants: who may reach what.

use entitled::domain::{callers::OperatorRole, checks::Mode};
use serde_json::json;

use crate::harness::App;

/// The retail product as it is shipped, with a route that needs a feature and one that needs nothing,
/// and a tenant for each way in which a customer can stand.
pub async fn retail() -> App {
    let app = App::start().await;
    let catalog = include_str!("../../examples/retail.yaml");
    let more = "routes:
  - {path: /reports, features: [advanced_reports]}
  - {path: /reports, methods: [POST], module: hr}
  - {path: /healthz, public: true}\n";
    app.put_catalog("", catalog.replacen("routes:\n", more, 1)).await.expect(200);
    for tenant in STANDINGS.map(|standing| standing.tenant) {
        app.tenant(tenant, json!({"demo": tenant == "acme"})).await;
    }
    app.assign("overdue", "growth", json!({})).await;
    app.change_subscription("overdue", json!({"status": "overdue"})).await;
    app.move_to_day(8);
    for (tenant, plan) in [
        ("retail-only", "starter"),
        ("dine-only", "starter"),
        ("mixed", "growth"),
        ("enterprise", "enterprise"),
        ("trial", "trial_unlimited"),
        ("overdue-grace", "growth"),
        ("cancelled", "starter"),
        ("suspended-subscription", "growth"),
        ("suspended", "growth"),
    ] {
        app.assign(tenant, plan, json!({})).await;
    }
    for (module, state) in [("dine", "enabled"), ("retail", "disabled")] {
        app.grant("dine-only", module, json!({"state": state})).await.expect(201);
    }
    app.change_subscription("overdue-grace", json!({"status": "overdue"})).await;
    app.change_subscription("cancelled", json!({"status": "cancelled"})).await;
    app.change_subscription("suspended-subscription", json!({"status": "suspended"})).await;
    app.change_tenant("suspended", json!({"status": "suspended", "reason": "for a test"})).await;
    app
}

/// A tenant, and what it may use; none where it is blocked.
#[derive(Clone, Copy)]
pub struct Standing {
    pub tenant: &'static str,
    pub modules: Option<&'static [&'static str]>,
}

const ALL: &[&str] = &["retail", "dine", "pay", "accounting", "hr", "ecom", "zf", "reports"];
const GROWTH: &[&str] = &["retail", "dine", "accounting", "reports"];

const fn standing(tenant: &'static str, modules: Option<&'static [&'static str]>) -> Standing {
    Standing { tenant, modules }
}

pub const STANDINGS: [Standing; 12] = [
    standing("retail-only", Some(&["retail"])),
    standing("dine-only", Some(&["dine"])),
    standing("mixed", Some(GROWTH)),
    standing("enterprise", Some(ALL)),
    standing("trial", Some(ALL)),
    standing("acme", Some(ALL)),
    standing("overdue-grace", Some(GROWTH)),
    standing("overdue", None),
    standing("no-subscription", None),
    standing("cancelled", None),
    standing("suspended-subscription", None),
    standing("suspended", None),
];

/// The paths of the product (SPEC 16.1), by what they need.
pub const PATHS: [(&str, &[&str]); 10] = [
    (
        "retail",
        &[
            "/catalog/items/7",
            "/inventory/levels?branch=b1",
            "/receivings",
            "/receivings/7",
            "/stocktakes",
            "/transfers",
            "/adjustments",
            "/wastage",
            "/suppliers",
            "/suppliers/caf%C3%A9",
            "/rfqs",
            "/purchase-orders",
            "/campaigns",
            "/loyalty/points",
            "/gift-cards",
            "/bundles",
            "/layaways/7",
            "/pos",
            "/pos/sales/",
        ],
    ),
    ("dine", &["/dine", "/dine/tables/4"]),
    ("pay", &["/pay/settlements"]),
    ("accounting", &["/accounting/ledgers"]),
    ("hr", &["/hr/staff"]),
    ("ecom", &["/ecom/shops"]),
    ("zf", &["/zf/jobs"]),
    ("reports", &["/reports"]),
    (
        "active",
        &["/customers", "/customers/7", "/crm/x", "/branches", "/users", "/workflows", "/owner/x"],
    ),
    ("anyone", &["/me", "/me/invoices"]),
];

/// What a browser of the tenant should get.
pub fn expected(standing: Standing, need: &str) -> u16 {
    match (standing.modules, need) {
        (_, "anyone") | (Some(_), "active") => 200,
        (Some(modules), need) if modules.contains(&need) => 200,
        (Some(_), "reports") => 402,
        (Some(_) | None, _) => 403,
    }
}

pub fn user(app: &App, tenant: &str) -> String {
    app.token(OperatorRole::TenantUser, Some(tenant), "ana", Mode::Tenant, None)
}
