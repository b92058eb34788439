//! Every operation of the document, and for each one a request that is well-formed.

use std::sync::LazyLock;

use entitled::{
    domain::callers::OperatorRole,
    http::{api::Apis, spec},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{App, Client, Reply};

/// The document as the code makes it.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| spec::document::<Apis>().unwrap());

/// One operation of the document.
#[derive(Debug, Clone)]
pub struct Operation {
    pub id: String,
    pub method: Method,
    pub path: String,
    pub declared: &'static Value,
}

/// The body of an example.
#[derive(Debug, Clone)]
pub enum Body {
    None,
    Json(Value),
    Yaml(&'static str),
}

/// What an example is about: things that were made by [`world`].
#[derive(Debug, Clone)]
pub struct Subject {
    pub tenant: String,
    pub subscription: String,
    pub api_key: String,
    pub override_id: String,
    pub activation_code: String,
    /// The text of the code, which can be redeemed once.
    pub code: String,
    /// Asked for by ada of the tenant: hers to withdraw.
    pub request: String,
    /// Asked for by somebody else.
    pub to_approve: String,
    pub to_decline: String,
    /// Given to the user u1 of the tenant.
    pub user_entitlement: String,
    /// Given to the user `<tenant>-u1` without a tenant.
    pub direct_entitlement: String,
    /// Of u1 in the tenant.
    pub role_assignment: String,
    /// Of one of the own staff.
    pub platform_role: String,
    /// Units of the tenant's devices that were set aside: to settle, and to release.
    pub reservation: String,
    pub to_release: String,
    pub webhook: String,
    /// A message to it.
    pub delivery: String,
}

impl Operation {
    /// The permission that the document names.
    pub fn permission(&self) -> Option<&str> {
        self.declared["x-permission"].as_str()
    }

    /// Whether a tenant is named in the path, a parameter or the body.
    pub fn names_tenant(&self) -> bool {
        let parameter = |parameter: &Value| parameter["name"] == "tenant";
        let of_parameters = self.declared["parameters"].as_array();
        of_parameters.is_some_and(|all| all.iter().any(parameter))
            || match self.body("x") {
                Body::Json(body) => body.to_string().contains(r#""tenant":"x""#),
                Body::None | Body::Yaml(_) => false,
            }
    }

    /// The path for a subject, with a query where the tenant is a parameter of it.
    pub fn path(&self, subject: &Subject) -> String {
        let id = if self.path.contains("/webhooks") {
            subject.webhook.as_str()
        } else if self.path.contains("/subscriptions") {
            subject.subscription.as_str()
        } else if self.path.contains("/overrides") {
            &subject.override_id
        } else if self.path.contains("/activation-codes") {
            &subject.activation_code
        } else if self.path.ends_with("/approve") {
            &subject.to_approve
        } else if self.path.ends_with("/decline") {
            &subject.to_decline
        } else if self.path.ends_with("/settle") {
            &subject.reservation
        } else if self.path.ends_with("/release") {
            &subject.to_release
        } else if self.path.contains("/requests") {
            &subject.request
        } else if self.path.contains("/users/{user}/user-entitlements") {
            &subject.direct_entitlement
        } else if self.path.contains("/user-entitlements") {
            &subject.user_entitlement
        } else if self.path.contains("/contexts") {
            "b1"
        } else if self.path.contains("/admin/role-assignments") {
            &subject.platform_role
        } else if self.path.contains("/role-assignments") {
            &subject.role_assignment
        } else {
            &subject.api_key
        };
        // Seats that don't end with the grants of modules.
        let key = if self.path.contains("/seats") { "advanced_reports" } else { "hr" };
        let user = match self.id.as_str() {
            // Another one has it to give up; another one has nothing yet.
            "transfer_seat" => "u3".to_owned(),
            "grant_direct_entitlement" => "u9".to_owned(),
            _ if self.path.contains("/api/v1/users/") => format!("{}-u1", subject.tenant),
            _ => "u1".to_owned(),
        };
        let path = self
            .path
            .replace("{tenant}", &subject.tenant)
            .replace("{key}", key)
            .replace("{user}", &user)
            .replace("{version}", "1")
            .replace("{type}", "branch")
            .replace("{delivery}", &subject.delivery)
            .replace("{id}", id);
        assert!(!path.contains('{'), "a path parameter without an example: {path}");
        match self.id.as_str() {
            "list_audit_events"
            | "list_overrides"
            | "list_requests"
            | "list_override_exceptions"
            | "stream_events"
            | "get_rollout_report" => {
                format!("{path}?tenant={}", subject.tenant)
            }
            _ => path,
        }
    }

    /// The body of the example. An operation that takes one and is missing here fails.
    pub fn body(&self, tenant: &str) -> Body {
        let reason = "for a test";
        let modules = json!({"modules": {"hr": {"state": "enabled"}}, "reason": reason});
        let body = match self.id.as_str() {
            "check" => json!({"tenant": tenant, "module": "retail"}),
            "check_batch" => {
                json!({"checks": [{"tenant": tenant, "module": "retail", "explain": true}]})
            }
            "route_coverage" => json!({"routes": ["GET /pos/sales", "/healthz"]}),
            "create_tenant" => json!({"key": "made", "name": "Made"}),
            "update_tenant" => json!({"name": "Renamed"}),
            "move_tenant_clock" => json!({"advance_seconds": 60}),
            "assign_plan" => json!({
                "plan": "growth", "effective_from": "2027-01-01T00:00:00Z", "change_reason": reason
            }),
            "update_subscription" => json!({"status": "cancelled", "change_reason": reason}),
            "migrate_subscription" => json!({"change_reason": reason}),
            "set_grant" => json!({"state": "enabled", "reason": reason}),
            "select_modules" | "put_admin_org_entitlements" => modules,
            "put_override" => json!({
                "tenant": tenant, "key": "pay", "enabled": true,
                "expires_at": "2026-04-01T00:00:00Z", "reason": reason
            }),
            "update_override" => json!({"reason": "another one"}),
            "create_request" => json!({
                "tenant": tenant, "key": "zf", "expires_at": "2026-04-01T00:00:00Z",
                "reason": reason
            }),
            "approve_request" => json!({"expires_at": "2026-03-20T00:00:00Z"}),
            "decline_request" => json!({"reason": reason}),
            // From below the region to the top.
            "put_context" => json!({}),
            "assign_role" => json!({"user": "u2", "role": "shop_admin"}),
            "assign_platform_role" => json!({"user": "u2", "role": "super_admin"}),
            "rotate_api_key" => json!({"overlap_seconds": 3600}),
            "create_api_key" => json!({"name": "k", "role": "service", "tenant": tenant}),
            "create_webhook" => json!({"url": "https://hooks.example.com/", "tenant": tenant}),
            "update_webhook" => json!({"description": "another one"}),
            "rotate_webhook_secret" => json!({"overlap_seconds": 60}),
            "create_activation_code" => json!({"plan": "trial_unlimited", "max_redemptions": 3}),
            "redeem_activation_code" => json!({"tenant": tenant, "code": "0000-0000-0000-0000"}),
            "set_tier" | "set_user_tier" => json!({
                "plan": "member", "expires_at": "2026-12-01T00:00:00Z", "change_reason": reason
            }),
            "record_usage" => json!({"tenant": tenant, "feature": "branches", "set": 1}),
            "consume_usage" | "reserve_usage" => json!({"tenant": tenant, "feature": "users"}),
            "settle_reservation" => json!({"amount": 1}),
            // Judges nobody otherwise.
            "set_rollout" => {
                json!({"mode": "enforce", "percent": 100, "exclude": ["nobody"]})
            }
            "set_legacy_settings" => json!({"dual_write": true}),
            "import_legacy" => {
                let map = std::iter::once((tenant.to_owned(), json!({"retail": true})));
                json!({"tenants": map.collect::<serde_json::Map<_, _>>()})
            }
            "record_activity" => json!({"user": "u1", "action": "shift.opened"}),
            "allocate_seat" => json!({"expires_at": "2026-06-01T00:00:00Z"}),
            "transfer_seat" => json!({"to": "u4"}),
            "grant_user_entitlement" => json!({"user": "u9", "key": "retail", "reason": reason}),
            "grant_direct_entitlement" => json!({"key": "zf", "reason": reason}),
            "update_user_entitlement" | "update_direct_entitlement" => {
                json!({"status": "suspended", "reason": reason})
            }
            "apply_catalog" => return Body::Yaml(include_str!("../../examples/retail.yaml")),
            id => {
                let takes_body = self.declared.get("requestBody").is_some();
                assert!(!takes_body, "the operation {id} has no example here");
                return Body::None;
            }
        };
        Body::Json(body)
    }

    /// Sends the example.
    pub async fn send(&self, by: &Client<'_>, subject: &Subject) -> Reply {
        self.send_body(by, &self.path(subject), self.example(subject)).await
    }

    /// The body of the example for a subject.
    pub fn example(&self, subject: &Subject) -> Body {
        let mut body = self.body(&subject.tenant);
        if let ("redeem_activation_code", Body::Json(body)) = (self.id.as_str(), &mut body) {
            body["code"] = subject.code.as_str().into();
        }
        body
    }

    /// Sends the example to a path.
    pub async fn send_to(&self, by: &Client<'_>, path: &str, tenant: &str) -> Reply {
        self.send_body(by, path, self.body(tenant)).await
    }

    async fn send_body(&self, by: &Client<'_>, path: &str, body: Body) -> Reply {
        let method = self.method.clone();
        match body {
            Body::None => by.send(method, path, None, &[]).await,
            Body::Json(body) => by.send(method, path, Some(body), &[]).await,
            Body::Yaml(text) => by.send_text(method, path, "application/yaml", text).await,
        }
    }
}

/// Every operation: those that read first, those that delete last. What ends the subscription that
/// others are about comes after them.
pub fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, declared) in item.as_object().unwrap() {
            let id = declared["operationId"].as_str();
            let id = id.unwrap_or_else(|| panic!("{method} {path} has no operation_id")).to_owned();
            let method: Method = method.to_uppercase().parse().unwrap();
            all.push(Operation { id, method, path: path.clone(), declared });
        }
    }
    let order = ["GET", "PATCH", "PUT", "POST", "DELETE"];
    all.sort_by_key(|operation| {
        let at = order.iter().position(|method| operation.method == *method);
        let at = at.expect("a method that these tests know");
        (at, operation.id == "redeem_activation_code", operation.path.clone())
    });
    all
}

/// Asks for an override in a tenant.
async fn request(app: &App, tenant: &str, by: &str, key: &str) -> String {
    let body = json!({
        "key": key, "expires_at": "2026-04-01T00:00:00Z", "reason": "for a test"
    });
    let by = app.caller(OperatorRole::TenantAdmin, Some(tenant), by);
    let made = by.post("/api/v1/requests", body).await.expect(201);
    made.body["id"].as_str().unwrap().to_owned()
}

/// Gives users of a tenant seats and entitlements of their own; the ids of the latter.
async fn of_users(app: &App, tenant: &str) -> (String, String) {
    let grant = json!({"state": "enabled", "seats": 5});
    app.grant(tenant, "advanced_reports", grant).await.expect(201);
    for user in ["u1", "u3"] {
        let seat = format!("/api/v1/tenants/{tenant}/seats/advanced_reports/{user}");
        app.root().put(&seat, json!({})).await.expect(201);
    }
    let own = json!({"user": "u1", "key": "retail", "reason": "for a test"});
    let path = format!("/api/v1/tenants/{tenant}/user-entitlements");
    let own = app.root().post(&path, own).await.expect(201).body;
    let direct = json!({"key": "zf", "reason": "for a test"});
    let path = format!("/api/v1/users/{tenant}-u1/user-entitlements");
    let direct = app.root().post(&path, direct).await.expect(201).body;
    let id = |made: &Value| made["id"].as_str().unwrap().to_owned();
    (id(&own), id(&direct))
}

/// Sets one of a tenant's devices aside.
async fn reservation(app: &App, tenant: &str) -> String {
    let body = json!({"tenant": tenant, "feature": "devices", "ttl_seconds": 86_400});
    let made = app.root().post("/api/v1/usage/reserve", body).await.expect(200).body;
    made["reservation"]["id"].as_str().unwrap().to_owned()
}

/// Makes a webhook of a tenant, and a message to it.
async fn webhook(app: &App, tenant: &str) -> (String, String) {
    let body = json!({
        "url": "https://hooks.example.com/", "events": ["webhook.none"], "tenant": tenant
    });
    let made = app.root().post("/api/v1/admin/webhooks", body).await.expect(201).body;
    let id = made["webhook"]["id"].as_str().unwrap().to_owned();
    let test = format!("/api/v1/admin/webhooks/{id}/test");
    let sent = app.root().send(Method::POST, &test, None, &[]).await.expect(200).body;
    (id, sent["id"].as_str().unwrap().to_owned())
}

/// Makes a tenant with one of everything.
pub async fn subject(app: &App, tenant: &str) -> Subject {
    app.tenant(tenant, json!({"sandbox": true})).await;
    let subscription = app.assign(tenant, "starter", json!({})).await.body["id"].clone();
    let grant = format!("/api/v1/admin/tenants/{tenant}/grants/hr");
    let body = json!({"state": "enabled", "reason": "for a test"});
    app.root().put(&grant, body).await.expect(201);
    let body = json!({"name": "theirs", "role": "service", "tenant": tenant});
    let key = app.root().post("/api/v1/admin/api-keys", body).await.expect(201);
    let body = json!({
        "tenant": tenant, "key": "dine", "enabled": true,
        "expires_at": "2026-04-01T00:00:00Z", "reason": "for a test"
    });
    let made = app.root().post("/api/v1/admin/overrides", body).await.expect(201);
    let body = json!({"plan": "trial_unlimited", "max_redemptions": 1, "duration_days": 30});
    let code = app.root().post("/api/v1/admin/activation-codes", body).await.expect(201);
    // Of the same user in each tenant, and outside of all.
    for path in [format!("tenants/{tenant}/users/u1"), format!("users/{tenant}-u1")] {
        let tier = app.root().put(&format!("/api/v1/{path}/tier"), json!({"plan": "member"})).await;
        assert!(tier.status < 300, "{:#}", tier.body);
    }
    let (user_entitlement, direct_entitlement) = of_users(app, tenant).await;
    let contexts = format!("/api/v1/tenants/{tenant}/contexts");
    let region = json!({"type": "region", "id": "r1"});
    app.root().put(&format!("{contexts}/region/r1"), json!({})).await.expect(201);
    let below = json!({"parent": region});
    app.root().put(&format!("{contexts}/branch/b1"), below).await.expect(201);
    let roles = format!("/api/v1/tenants/{tenant}/role-assignments");
    let body = json!({"user": "u1", "role": "shop_admin"});
    let role = app.root().post(&roles, body).await.expect(201);
    let body = json!({"user": format!("of-{tenant}"), "role": "super_admin"});
    let of_platform = app.root().post("/api/v1/admin/role-assignments", body).await.expect(201);
    let (webhook, delivery) = webhook(app, tenant).await;
    Subject {
        webhook,
        delivery,
        reservation: reservation(app, tenant).await,
        to_release: reservation(app, tenant).await,
        user_entitlement,
        direct_entitlement,
        role_assignment: role.body["id"].as_str().unwrap().to_owned(),
        platform_role: of_platform.body["id"].as_str().unwrap().to_owned(),
        activation_code: code.body["id"].as_str().unwrap().to_owned(),
        code: code.body["code"].as_str().unwrap().to_owned(),
        override_id: made.body["id"].as_str().unwrap().to_owned(),
        request: request(app, tenant, "ada", "ecom").await,
        to_approve: request(app, tenant, "eve", "ecom").await,
        to_decline: request(app, tenant, "eve", "zf").await,
        tenant: tenant.to_owned(),
        subscription: subscription.as_str().unwrap().to_owned(),
        api_key: key.body["id"].as_str().unwrap().to_owned(),
    }
}
