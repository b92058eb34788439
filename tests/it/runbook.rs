//! The runbook: each of its commands is run against a server, in the order in which it has them.
//!
//! Needs `bash` and `curl`.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    metrics::{Program, populated},
    sources::root,
};

/// What stands between the fences of a language, each block by itself.
pub fn blocks(language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("deploy/runbook.md")).unwrap();
    let mut parts = text.split("```");
    let mut found = Vec::new();
    // Every second part is inside.
    while let (Some(_), Some(inside)) = (parts.next(), parts.next()) {
        let (word, block) = inside.split_once('\n').unwrap();
        if word == language {
            found.push(block.trim().to_owned());
        }
    }
    assert!(!found.is_empty(), "no {language} in the runbook");
    found
}

/// Runs a block as an operator would, and gives what it printed.
#[track_caller]
fn run(program: &Program, block: &str) -> String {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", block]).env("no_proxy", "*");
    command.env("ENTITLED_URL", &program.url).env("ENTITLED_KEY", &program.key);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{block}\n{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Mode and percentage that hold.
fn holds(program: &Program) -> (String, u64) {
    let rollout = program.send(Method::GET, "/api/v1/admin/rollout", Value::Null, 200);
    (rollout["mode"].as_str().unwrap().to_owned(), rollout["percent"].as_u64().unwrap())
}

#[test]
fn each_command_of_the_runbook_works_and_the_steps_lead_where_they_say() {
    let program = populated();
    let (mut steps, mut last) = (Vec::new(), holds(&program));
    for block in blocks("sh") {
        let printed = run(&program, &block);
        for answer in serde_json::Deserializer::from_str(&printed).into_iter::<Value>() {
            assert!(answer.unwrap().is_object(), "{block}\n{printed}");
        }
        if block.contains("-X PUT") {
            last = holds(&program);
            steps.push(last.clone());
        } else {
            assert_eq!(holds(&program), last, "only a step changes the rollout:\n{block}");
        }
    }
    let step = |mode: &str, percent| (mode.to_owned(), percent);
    let expected = [
        step("shadow", 100),
        step("off", 100),
        step("shadow", 100),
        step("enforce", 5),
        step("enforce", 25),
        step("enforce", 100),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn the_way_back_opens_everything_at_once_and_is_one_line() {
    let program = populated();
    program.put("/api/v1/admin/rollout", json!({"mode": "enforce", "percent": 100}), 200);
    let ask = || program.post("/api/v1/check", json!({"tenant": "acme", "module": "erp"}), 200);
    assert_eq!(ask()["allowed"], false);
    let way_back = blocks("sh").swap_remove(0);
    assert_eq!(way_back.lines().count(), 1);
    run(&program, &way_back);
    let open = ask();
    assert_eq!((&open["allowed"], &open["would_allow"]), (&json!(true), &json!(false)));
}

#[test]
fn the_way_back_by_the_environment_wins_over_the_settings() {
    let program = Program::start(&[("ENABLE_ENTITLEMENTS_GATING", "false")]);
    let settings = json!({"mode": "enforce", "percent": 100});
    let answer = program.put("/api/v1/admin/rollout", settings, 200);
    assert_eq!(answer["source"], "environment");
    assert_eq!(program.scrape()["entitlement_rollout_mode{mode=\"off\"}"], 1.0);
}
