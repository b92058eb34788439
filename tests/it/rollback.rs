//! A database whose audit trail is not the one that was written last is refused at the start.

use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{ROOT, Running, Stream, client, ended, entitled, on, one_line, stdout, text};

const KEY: [(&str, &str); 1] = [("ENTITLED_ROOT_KEY", ROOT)];

/// A data directory whose service made so many keys and was ended in order.
fn used(keys: usize) -> TempDir {
    let data = TempDir::new().unwrap();
    let running = Running::serve(data.path(), &KEY);
    make_keys(&running, keys);
    assert_eq!(running.terminate(), Some(0));
    data
}

fn make_keys(running: &Running, count: usize) {
    for number in 0..count {
        let name = format!("key {number}");
        let create = ["keys", "create", "--name", &name, "--role", "service"];
        ended(&mut client(&running.url(), ROOT, &create), 0);
    }
}

fn anchor(data: &Path) -> String {
    std::fs::read_to_string(data.join("audit.head")).unwrap()
}

fn tamper(data: &Path, sql: &str) {
    let conn = Connection::open(data.join("entitled.db")).unwrap();
    conn.execute_batch("DROP TRIGGER audit_is_append_only_delete").unwrap();
    conn.execute_batch("DROP TRIGGER audit_is_append_only_update").unwrap();
    conn.execute_batch(sql).unwrap();
}

#[track_caller]
fn refused(data: &Path, says: &str) {
    for command in ["serve", "migrate"] {
        let output = ended(on(data, command).envs(KEY), 79);
        assert!(one_line(&output).contains(says), "{}", one_line(&output));
    }
}

/// Starts it with the flag, and its log until it listens.
fn accepted(data: &Path) -> Running {
    let mut command = on(data, "serve");
    command.envs(KEY).arg("--accept-rollback");
    Running::start(&mut command, Stream::Err, "\"listening\"")
}

#[test]
fn the_anchor_names_the_last_row() {
    let data = used(3);
    let verify = ["audit", "verify", "--json", "--data", text(data.path())];
    let found: Value = serde_json::from_str(stdout(&ended(&mut entitled(&verify), 0))).unwrap();
    assert_eq!(anchor(data.path()).trim_end(), found["head"].as_str().unwrap());
    assert!(anchor(data.path()).starts_with("3:"));
}

#[test]
fn a_shortened_trail_is_refused_until_it_is_accepted_and_that_is_audited() {
    let data = used(3);
    let before = anchor(data.path());
    tamper(data.path(), "DELETE FROM audit WHERE seq = 3");
    refused(data.path(), "ends at row 2, but row 3 was written");
    let verify = ["audit", "verify", "--data", text(data.path())];
    let found = ended(&mut entitled(&verify), 1);
    assert!(stdout(&found).contains("up to 3 are missing"), "{}", stdout(&found));
    assert_eq!(anchor(data.path()), before, "a refused start changes nothing");

    let running = accepted(data.path());
    assert_ne!(anchor(data.path()), before);
    let mut export = client(&running.url(), ROOT, &["audit", "export"]);
    let export = ended(export.args(["--event", "entitlement.audit."]), 0);
    let event: Value = serde_json::from_str(stdout(&export)).unwrap();
    assert_eq!(event["event"], "entitlement.audit.rollback_accepted");
    let old = format!("3:{}\n", event["before"]["anchor"]["hash"].as_str().unwrap());
    assert_eq!((old, &event["after"]["head"]["seq"]), (before, &2.into()));
    assert_eq!(running.terminate(), Some(0));
    // Once is enough.
    assert_eq!(Running::serve(data.path(), &KEY).terminate(), Some(0));
    ended(&mut entitled(&verify), 0);
}

#[test]
fn an_older_copy_is_refused() {
    let data = used(2);
    let database = data.path().join("entitled.db");
    let copy = std::fs::read(&database).unwrap();
    let running = Running::serve(data.path(), &KEY);
    make_keys(&running, 2);
    assert_eq!(running.terminate(), Some(0));
    std::fs::write(&database, &copy).unwrap();
    refused(data.path(), "ends at row 2, but row 4 was written");
    // Gone on from in another place, so that it is long enough again.
    let elsewhere = TempDir::new().unwrap();
    std::fs::write(elsewhere.path().join("entitled.db"), &copy).unwrap();
    let running = Running::serve(elsewhere.path(), &KEY);
    make_keys(&running, 5);
    assert_eq!(running.terminate(), Some(0));
    std::fs::copy(elsewhere.path().join("entitled.db"), &database).unwrap();
    refused(data.path(), "row 4 of its audit trail is not the one that was written");
    // A database that is gone is the shortest of all.
    std::fs::remove_file(&database).unwrap();
    refused(data.path(), "ends at row 0, but row 4 was written");
    assert_eq!(accepted(data.path()).terminate(), Some(0));
}

#[test]
fn a_rewritten_last_row_is_refused() {
    let data = used(2);
    tamper(data.path(), "UPDATE audit SET hash = zeroblob(32) WHERE seq = 2");
    refused(data.path(), "row 2 of its audit trail is not the one that was written");
}

#[test]
fn a_damaged_anchor_is_refused_and_a_missing_one_is_made_anew() {
    let data = used(2);
    let good = anchor(data.path());
    let file = data.path().join("audit.head");
    std::fs::write(&file, &good[..20]).unwrap();
    refused(data.path(), "is damaged");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(Running::serve(data.path(), &KEY).terminate(), Some(0));
    assert_eq!(anchor(data.path()), good);
}

#[test]
fn the_anchor_follows_within_a_second_or_so_and_survives_a_kill() {
    let data = TempDir::new().unwrap();
    for round in 1..4 {
        let running = Running::serve(data.path(), &KEY);
        make_keys(&running, 1);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        // Killed, not ended: in one round after the anchor has followed, in the next before.
        while round % 2 == 1 && !anchor_starts(data.path(), &format!("{round}:")) {
            assert!(std::time::Instant::now() < deadline, "the anchor doesn't follow");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        drop(running);
    }
    assert_eq!(Running::serve(data.path(), &KEY).terminate(), Some(0));
    assert!(anchor_starts(data.path(), "3:"));
}

fn anchor_starts(data: &Path, start: &str) -> bool {
    let text = std::fs::read_to_string(data.join("audit.head"));
    text.is_ok_and(|text| text.starts_with(start))
}

#[test]
fn the_trail_is_exported_from_a_directory_and_from_a_server_alike() {
    let data = TempDir::new().unwrap();
    let running = Running::serve(data.path(), &KEY);
    make_keys(&running, 3);
    for format in ["jsonl", "csv"] {
        let args = ["audit", "export", "--format", format];
        let from_server = ended(&mut client(&running.url(), ROOT, &args), 0);
        let file = data.path().join("export");
        let mut command = entitled(&args);
        command.args(["--data", text(data.path()), "--output", text(&file)]);
        ended(&mut command, 0);
        assert_eq!(std::fs::read(&file).unwrap(), from_server.stdout);
    }
    let file = data.path().join("export.jsonl");
    let args = ["audit", "export", "--output", text(&file)];
    ended(&mut client(&running.url(), ROOT, &args), 0);
    let verify = ["audit", "verify", "--file", text(&file)];
    let found = ended(&mut entitled(&verify), 0);
    assert!(stdout(&found).starts_with("intact: 3 rows, head 3:"), "{}", stdout(&found));
    let head = stdout(&found).rsplit(' ').next().unwrap().to_owned();
    let whole = std::fs::read_to_string(&file).unwrap();
    let cut: Vec<_> = whole.lines().take(2).collect();
    std::fs::write(&file, cut.join("\n")).unwrap();
    ended(&mut entitled(&verify), 0);
    let found = ended(entitled(&verify).args(["--head", &head]), 1);
    assert!(stdout(&found).contains("up to 3 are missing"));
    ended(entitled(&verify).args(["--head", "3:xyz"]), 2);
    let wrong = ended(&mut client(&running.url(), "wrong", &["audit", "export"]), 77);
    assert!(one_line(&wrong).contains("401"));
}
