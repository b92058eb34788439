//! What is sent verifies by two libraries that share nothing with this program: those of Standard
//! Webhooks for JavaScript and Python. `tests/webhooks/` pins them; `.ci/run` installs them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    crash::Server,
    harness::ROOT_KEY,
    webhooks::{Answer, Receiver, WEBHOOKS},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("webhooks")
}

/// Whether a library takes a message; what it said.
fn verify(program: &Path, script: &str, message: &Path) -> (bool, String) {
    let run = Command::new(program).current_dir(folder()).arg(script).arg(message).output();
    let run = run.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let said = [run.stdout, run.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    (run.status.success(), said.concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the libraries: npm ci, and pip install -r requirements.txt, in tests/webhooks"]
async fn two_other_libraries_verify_what_is_sent_and_refuse_what_is_forged() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(
        dir.path(),
        &[("WEBHOOKS__ALLOW_HTTP", "true"), ("WEBHOOKS__ALLOW_PRIVATE_NETWORKS", "true")],
    );
    let mut receiver = Receiver::start(vec![Answer::Status(204)]).await;
    let http = reqwest::Client::new();
    let post = |path: String, body: Value| {
        let request = http.post(format!("{}{path}", server.url)).bearer_auth(ROOT_KEY);
        async move { request.json(&body).send().await.unwrap().json::<Value>().await.unwrap() }
    };
    let made = post(WEBHOOKS.into(), json!({"url": receiver.url, "events": ["tenant."]})).await;
    let id = made["webhook"]["id"].as_str().unwrap();
    let old = made["secret"].clone();
    post("/api/v1/admin/tenants".into(), json!({"key": "acme", "name": "Ünïcode “Acme”"})).await;
    let first = receiver.next().await;
    let new = post(format!("{WEBHOOKS}/{id}/secret"), json!({})).await["secret"].clone();
    post("/api/v1/admin/tenants".into(), json!({"key": "beta", "name": "Beta"})).await;
    let second = receiver.next().await;

    let python = folder().join(".venv").join("bin").join("python");
    let libraries = [(Path::new("node"), "verify.mjs"), (&*python, "verify.py")];
    let forged = first.body.replace("acme", "acne");
    assert_ne!(forged, first.body);
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let cases = [
        ("as it is", &first, &first.body, old.clone(), true),
        ("another body", &first, &forged, old.clone(), false),
        ("another secret", &first, &first.body, json!(other), false),
        ("the old secret while both sign", &second, &second.body, old, true),
        ("the new secret while both sign", &second, &second.body, new, true),
    ];
    for (what, got, body, secret, is_good) in cases {
        let file = dir.path().join("message.json");
        let message = json!({"secret": secret, "headers": got.headers, "body": body});
        std::fs::write(&file, message.to_string()).unwrap();
        for (program, script) in libraries {
            let (verified, said) = verify(program, script, &file);
            assert_eq!(verified, is_good, "{what}, {script}: {said}");
            // A script that can't run says something else.
            let expected = if is_good { "verified" } else { "refused" };
            assert!(said.starts_with(expected), "{what}, {script}: {said}");
        }
    }
}
