//! `doctor` finds what is wrong, names it and says what to do; and finds nothing where all is well.

use std::{os::unix::fs::PermissionsExt, path::Path, process::Command};

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{ROOT, Running, client, ended, entitled, stdout, text};

const KEY: [(&str, &str); 1] = [("ENTITLED_ROOT_KEY", ROOT)];

/// A directory as the service would make it.
fn private() -> TempDir {
    let data = TempDir::new().unwrap();
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    data
}

/// A data directory with a catalog, tenants and a trail, whose service was ended in order.
fn used() -> TempDir {
    let data = private();
    let running = Running::serve(data.path(), &KEY);
    let catalog = TempDir::new().unwrap();
    let file = catalog.path().join("retail.yaml");
    std::fs::write(&file, include_str!("../../examples/retail.yaml")).unwrap();
    ended(&mut client(&running.url(), ROOT, &["catalog", "apply", text(&file)]), 0);
    for tenant in ["a", "b"] {
        post(&running, "admin/tenants", json!({"key": tenant, "name": tenant}), 201);
    }
    let grant = json!({"state": "enabled", "reason": "for a test"});
    put(&running, "admin/tenants/a/grants/dine", grant);
    assert_eq!(running.terminate(), Some(0));
    data
}

fn post(running: &Running, path: &str, body: Value, status: u16) {
    let http = reqwest::blocking::Client::new();
    let url = format!("{}/api/v1/{path}", running.url());
    assert_eq!(http.post(url).bearer_auth(ROOT).json(&body).send().unwrap().status(), status);
}

fn put(running: &Running, path: &str, body: Value) {
    let http = reqwest::blocking::Client::new();
    let url = format!("{}/api/v1/{path}", running.url());
    let status = http.put(url).bearer_auth(ROOT).json(&body).send().unwrap().status();
    assert!(status.is_success(), "{status}");
}

fn doctor(data: &Path) -> Command {
    entitled(&["doctor", "--json", "--data", text(data)])
}

/// What is not all right: each check with its level and what was found.
#[track_caller]
fn complaints(command: &mut Command, code: i32) -> Vec<(String, String, String)> {
    let output = ended(command, code);
    let said: Value = serde_json::from_str(stdout(&output)).unwrap();
    let word = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let findings = said["findings"].as_array().unwrap();
    let bad = findings.iter().filter(|finding| finding["level"] != "ok");
    bad.map(|finding| {
        assert!(finding["advice"].is_string(), "{finding}");
        (word(finding, "check"), word(finding, "level"), word(finding, "found"))
    })
    .collect()
}

/// One complaint and no other.
#[track_caller]
fn complains(command: &mut Command, code: i32, check: &str, says: &str) {
    let all = complaints(command, code);
    let [(found, level, text)] = all.as_slice() else { panic!("{all:?}") };
    let expected = if code == 1 { "error" } else { "warning" };
    assert_eq!((found.as_str(), level.as_str()), (check, expected), "{text}");
    assert!(text.contains(says), "{text}");
}

fn change(data: &Path, sql: &str) {
    let conn = Connection::open(data.join("entitled.db")).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = 0; PRAGMA ignore_check_constraints = 1").unwrap();
    conn.execute_batch(sql).unwrap();
}

#[test]
fn a_sound_installation_has_no_complaints_stopped_or_running() {
    let data = used();
    let before = std::fs::read(data.path().join("entitled.db")).unwrap();
    assert_eq!(complaints(&mut doctor(data.path()), 0), []);
    assert_eq!(std::fs::read(data.path().join("entitled.db")).unwrap(), before);
    let running = Running::serve(data.path(), &KEY);
    post(&running, "admin/tenants", json!({"key": "c", "name": "c"}), 201);
    assert_eq!(complaints(&mut doctor(data.path()), 0), []);
    // It was in nobody's way.
    post(&running, "admin/tenants", json!({"key": "d", "name": "d"}), 201);
    let table = ended(&mut entitled(&["doctor", "--data", text(data.path())]), 0);
    for check in ["settings", "space", "integrity", "indexes", "audit", "tenants", "catalog"] {
        assert!(stdout(&table).contains(&format!("ok       {check}")), "{}", stdout(&table));
    }
}

#[test]
fn each_kind_of_damage_is_found_as_what_it_is() {
    let no_trigger = "DROP TRIGGER audit_is_append_only_update";
    let ago = "UPDATE service_state SET latest_at = latest_at + 864000000000";
    for (sql, check, says) in [
        (
            "PRAGMA writable_schema = 1; DELETE FROM sqlite_schema WHERE name = 'audit_by_actor'",
            "integrity",
            "damaged",
        ),
        (
            "INSERT INTO grants (tenant, key, state, reason, created_at, updated_at, revision)
             VALUES ('nobody', 'dine', 'enabled', 'r', 1, 1, 1)",
            "integrity",
            "a row of grants",
        ),
        ("DROP INDEX grants_by_key", "indexes", "index grants_by_key"),
        (no_trigger, "indexes", "trigger audit_is_append_only_update"),
        ("UPDATE tenants SET billing = 'nonsense' WHERE tenant = 'b'", "tenants", "1 of 2"),
        ("UPDATE grants SET key = 'gone'", "catalog", "grant of gone"),
        ("UPDATE catalogs SET document = 'modules: 7'", "catalog", "can't be read"),
        (ago, "clock", "the latest change is of"),
    ] {
        let data = used();
        change(data.path(), sql);
        let all = complaints(&mut doctor(data.path()), 1);
        let found = all
            .iter()
            .find(|(name, level, text)| name == check && level == "error" && text.contains(says));
        assert!(found.is_some(), "{sql}: {all:?}");
    }
}

#[test]
fn a_trail_that_was_tampered_with_and_an_anchor_that_is_not_held_are_found() {
    let data = used();
    let triggers = "DROP TRIGGER audit_is_append_only_update;
                    CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END";
    let (drop, make) = triggers.split_once(';').unwrap();
    change(data.path(), &format!("{drop}; UPDATE audit SET actor = 'x' WHERE seq = 2; {make}"));
    complains(&mut doctor(data.path()), 1, "audit", "broken at row 2");

    let data = used();
    let anchor = data.path().join("audit.head");
    let good = std::fs::read_to_string(&anchor).unwrap();
    let (_, hash) = good.split_once(':').unwrap();
    std::fs::write(&anchor, format!("99:{hash}")).unwrap();
    complains(&mut doctor(data.path()), 1, "audit", "up to 99 are missing");
    std::fs::write(&anchor, "nonsense").unwrap();
    complains(&mut doctor(data.path()), 1, "audit", "audit.head can't be used");
    std::fs::remove_file(&anchor).unwrap();
    complains(&mut doctor(data.path()), 80, "audit", "no audit.head");
}

#[test]
fn what_only_wants_to_be_looked_at_is_a_warning() {
    let data = used();
    change(data.path(), "ANALYZE");
    complains(&mut doctor(data.path()), 80, "indexes", "ANALYZE");
    let data = used();
    change(data.path(), "CREATE TABLE mine (x)");
    complains(&mut doctor(data.path()), 80, "indexes", "table mine");
    let data = used();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(data.path(), open).unwrap();
    complains(&mut doctor(data.path()), 80, "directory", "755");
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut open = doctor(data.path());
    open.env("ENABLE_ENTITLEMENTS_GATING", "false");
    complains(&mut open, 80, "settings", "nothing is enforced");
    let mut late = doctor(data.path());
    let backups = data.path().join("backups");
    late.env("ENTITLED_BACKUP__DIRECTORY", &backups);
    complains(&mut late, 80, "backups", "none yet");
    std::fs::create_dir(&backups).unwrap();
    std::fs::write(backups.join("entitled-20200101T000000Z.db"), "").unwrap();
    complains(&mut late, 80, "backups", "2020-01-01");
}

#[test]
fn what_is_no_usable_database_is_an_error_and_not_a_crash() {
    let data = private();
    complains(&mut doctor(data.path()), 1, "database", "there is no database");
    std::fs::write(data.path().join("entitled.db"), "no database, but long enough to be read")
        .unwrap();
    complains(&mut doctor(data.path()), 1, "database", "not a database of this service");
    let whole = used();
    let file = whole.path().join("entitled.db");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(!complaints(&mut doctor(whole.path()), 1).is_empty());
    let mut wrong = doctor(whole.path());
    wrong.env("ENTITLED_LISTEN", "nonsense");
    complains(&mut wrong, 1, "settings", "listen must be");
    let mut collector = doctor(whole.path());
    collector.env("ENTITLED_TRACES__OTLP_URL", "127.0.0.1:4318");
    let all = complaints(&mut collector, 1);
    assert!(all.iter().any(|(check, _, text)| check == "settings" && text.contains("otlp_url")));
    let mut secret = doctor(whole.path());
    secret.env("ENTITLED_ROOT_KEY", "short");
    let all = complaints(&mut secret, 1);
    assert!(all.iter().any(|(check, _, text)| check == "settings" && text.contains("root_key")));
    let newer = used();
    change(
        newer.path(),
        "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
         VALUES (9999, 'later', '', '0')",
    );
    complains(&mut doctor(newer.path()), 1, "database", "9999 is newer");
}

#[test]
fn a_disk_that_is_nearly_full_is_an_error() {
    let data = used();
    let small = data.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let program = env!("CARGO_BIN_EXE_entitled");
    let (from, to) = (text(data.path()), text(&small));
    let script = format!(
        "mount -t tmpfs -o size=8m,mode=700 tmpfs '{to}'
         cp '{from}/entitled.db' '{from}/audit.head' '{to}'
         exec '{program}' doctor --json --data '{to}'"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", &script]);
    complains(&mut command, 1, "space", "MiB free");
}
