//! Small helpers for many tests: questions and answers on one line, time in days.

use std::time::Duration;

use entitled::domain::{callers::OperatorRole, checks::Mode, time::Timestamp};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::harness::{App, Client, Reply, start};

/// So many days.
pub fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 60 * 60)
}

/// The instant so many days after every test begins, as it stands in an answer.
pub fn day(count: u32) -> String {
    start().plus_days(count).to_string()
}

/// `allowed plan`, or `refused plan_limit MODULE_NOT_ENTITLED 403`.
pub fn shown(decision: &Value) -> String {
    let (reason, status) = (decision["reason"].as_str().unwrap(), &decision["status"]);
    match (decision["allowed"].as_bool().unwrap(), decision["code"].as_str()) {
        (true, None) if *status == 200 => format!("allowed {reason}"),
        (false, Some(code)) => format!("refused {reason} {code} {status}"),
        _ => panic!("neither an allow nor a refusal: {decision:#}"),
    }
}

/// One field of every entry of an object.
pub fn each(entries: &Value, field: &str) -> Value {
    let entries = entries.as_object().unwrap();
    entries.iter().map(|(key, entry)| (key.clone(), entry[field].clone())).collect()
}

/// One field of every item of a list.
pub fn column(page: &Value, field: &str) -> Vec<Value> {
    page["items"].as_array().unwrap().iter().map(|item| item[field].clone()).collect()
}

/// The limits of a payload: a number, or `unlimited`.
pub fn limits(payload: &Value) -> Value {
    let limits = payload["limits"].as_object().unwrap();
    let shown = limits.iter().map(|(key, entry)| {
        let unlimited = entry["unlimited"] == true;
        (key.clone(), if unlimited { json!("unlimited") } else { entry["limit"].clone() })
    });
    shown.collect::<Map<_, _>>().into()
}

impl App {
    /// The answer to a question on one line.
    pub async fn ask(&self, question: Value) -> String {
        shown(&self.check(question).await)
    }

    /// The answer to a question about one module.
    pub async fn module(&self, tenant: &str, module: &str) -> String {
        self.ask(json!({"tenant": tenant, "module": module})).await
    }

    /// The answer to a question about one feature.
    pub async fn feature(&self, tenant: &str, feature: &str) -> String {
        self.ask(json!({"tenant": tenant, "features": [feature]})).await
    }

    /// One of a tenant's own users.
    pub fn user(&self, tenant: &str, user: &str) -> Client<'_> {
        self.caller(OperatorRole::TenantUser, Some(tenant), user)
    }

    /// A caller whose token says how it works, and who sits behind it.
    pub fn working_as(&self, role: OperatorRole, tenant: Option<&str>, mode: Mode) -> Client<'_> {
        self.bearer(&self.token(role, tenant, "ana", mode, Some("eve")))
    }

    /// Applies another catalog, written in YAML.
    pub async fn put_catalog(&self, query: &str, document: impl Into<String>) -> Reply {
        let path = format!("/api/v1/admin/catalog{query}");
        self.root().send_text(Method::PUT, &path, "application/yaml", document.into()).await
    }

    /// Changes the open base subscription of a tenant.
    pub async fn change_subscription(&self, tenant: &str, change: Value) -> Reply {
        let path = format!("/api/v1/admin/tenants/{tenant}/subscriptions");
        let list = self.root().get(&path).await.expect(200).body;
        let open = |s: &&Value| s["kind"] == "base" && s["effective_to"].is_null();
        let id = list["items"].as_array().unwrap().iter().find(open).unwrap()["id"].clone();
        let mut body = json!({"change_reason": "for a test"});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let path = format!("{path}/{}", id.as_str().unwrap());
        self.root().patch(&path, body).await.expect(200)
    }

    /// Changes a tenant.
    pub async fn change_tenant(&self, tenant: &str, change: Value) -> Reply {
        self.root().patch(&format!("/api/v1/admin/tenants/{tenant}"), change).await.expect(200)
    }

    /// Gives something to, or withholds it from, a tenant; `more` is merged into the body.
    pub async fn grant(&self, tenant: &str, key: &str, more: Value) -> Reply {
        let mut body = json!({"reason": "for a test"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.root().put(&format!("/api/v1/admin/tenants/{tenant}/grants/{key}"), body).await
    }

    /// The names and subjects of the events of a tenant, or of all, oldest first.
    pub async fn events(&self, query: &str) -> Vec<Value> {
        let path = format!("/api/v1/admin/audit?limit=200&{query}");
        let mut page = self.root().get(&path).await.expect(200).body;
        let mut items = page["items"].take().as_array().unwrap().clone();
        items.reverse();
        items
    }

    /// Moves the clock to so many days after the beginning.
    pub fn move_to_day(&self, count: u32) {
        self.clock.set(start().plus_days(count));
    }

    /// Moves the clock to the last microsecond of that many days.
    pub fn move_to_end_of_day(&self, count: u32) {
        self.clock.set(Timestamp::from_micros(start().plus_days(count).micros() - 1));
    }
}
