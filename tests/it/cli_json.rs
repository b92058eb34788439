//! Commands say the same to programs (`--json`) as to people.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    cli::{client, ended, entitled, on, stdout, text},
    harness::{App, JWT_SECRET, ROOT_KEY},
};

#[track_caller]
fn parsed(output: &std::process::Output) -> Value {
    serde_json::from_str(stdout(output)).unwrap()
}

#[test]
fn a_catalog_s_faults_are_part_of_the_answer() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("catalog.yaml");
    std::fs::write(&file, include_str!("../../examples/retail.yaml")).unwrap();
    let args = ["catalog", "validate", text(&file), "--json"];
    let good = parsed(&ended(&mut entitled(&args), 0));
    assert_eq!(good["valid"], true);
    assert!(good["plans"].as_u64().unwrap() > 1, "{good}");
    std::fs::write(&file, "modules: {a: {nme: x}}").unwrap();
    let bad = parsed(&ended(&mut entitled(&args), 1));
    assert_eq!(bad["valid"], false);
    assert!(bad["faults"][0].as_str().unwrap().contains("nme"), "{bad}");
}

#[test]
fn what_was_migrated_is_listed() {
    let dir = TempDir::new().unwrap();
    let mut command = on(dir.path(), "migrate");
    command.arg("--json");
    let first = parsed(&ended(&mut command, 0));
    assert_eq!(first["applied"][0], json!({"version": 1, "name": "initial"}));
    assert_eq!(parsed(&ended(&mut command, 0)), json!({"applied": []}));
    let plain = ended(&mut on(dir.path(), "migrate"), 0);
    assert_eq!(stdout(&plain), "The schema is the newest already.");
}

#[test]
fn a_token_says_how_long_it_is_good() {
    let args = ["token", "--sub", "ada", "--role", "auditor", "--ttl", "15m", "--json"];
    let mut command = entitled(&args);
    command.env("ENTITLED_JWT__HS256_SECRET", JWT_SECRET);
    let issued = parsed(&ended(&mut command, 0));
    assert_eq!(issued["expires_in"], 900);
    assert_eq!(issued["token"].as_str().unwrap().split('.').count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_s_health_and_one_key_are_shown() {
    let app = App::start().await;
    let body = json!({"name": "shop", "role": "auditor"});
    let made = app.root().post("/api/v1/admin/api-keys", body).await.expect(201).body;
    let (url, id) = (format!("http://{}", app.address), made["id"].as_str().unwrap().to_owned());
    let shown = tokio::task::spawn_blocking(move || {
        let ask = |args: &[&str]| ended(&mut client(&url, ROOT_KEY, args), 0);
        assert_eq!(stdout(&ask(&["health"])), "");
        assert_eq!(parsed(&ask(&["health", "--json"]))["ready"], true);
        assert!(stdout(&ask(&["keys", "show", &id])).contains("last_used_at"));
        parsed(&ask(&["keys", "show", &id, "--json"]))
    });
    assert_eq!(shown.await.unwrap()["name"], "shop");
}
