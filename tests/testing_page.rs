use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

struct Entitled {
    child: Child,
    url: String,
    key: String,
    http: reqwest::blocking::Client,
}

impl Entitled {
    fn start() -> Self {
        let mut child = Command::new("entitled")
            .args(["serve", "--ephemeral"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        Self { child, url: text("url"), key: text("key"), http: reqwest::blocking::Client::new() }
    }

    fn send(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.url));
        let reply = request.bearer_auth(&self.key).json(&body).send().unwrap();
        reply.error_for_status().unwrap().json().unwrap()
    }
}

impl Drop for Entitled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_trial_ends_after_two_weeks() {
    let entitled = Entitled::start();
    let catalog = json!({
        "modules": {"crm": {"name": "CRM"}},
        "plans": {"pro": {"name": "Pro", "rank": 1, "modules": ["crm"], "trial_days": 14}},
    });
    entitled.send(reqwest::Method::PUT, "/admin/catalog", catalog);
    let tenant = json!({"key": "t1", "name": "t1", "sandbox": true});
    entitled.send(reqwest::Method::POST, "/admin/tenants", tenant);
    let plan = json!({"plan": "pro", "change_reason": "a test"});
    entitled.send(reqwest::Method::POST, "/admin/tenants/t1/subscriptions", plan);

    let ask = || {
        let question = json!({"tenant": "t1", "module": "crm"});
        let answer = entitled.send(reqwest::Method::POST, "/check", question);
        answer["allowed"].as_bool().unwrap()
    };
    assert!(ask());
    let two_weeks = json!({"advance_seconds": 14 * 86_400});
    entitled.send(reqwest::Method::PUT, "/admin/tenants/t1/clock", two_weeks);
    assert!(!ask());
}
