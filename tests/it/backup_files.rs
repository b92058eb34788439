//! `backup` and `restore` with everything that can be in their way, and backups by the service itself.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

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

fn backup(data: &Path, to: &Path) -> Command {
    entitled(&["backup", "--json", "--data", text(data), "--to", text(to)])
}

fn restore(from: &Path, data: &Path) -> Command {
    entitled(&["restore", "--json", "--from", text(from), "--data", text(data)])
}

/// A backup and what was said about it.
fn backed_up(data: &Path, to: &Path) -> Value {
    serde_json::from_str(stdout(&ended(&mut backup(data, to), 0))).unwrap()
}

fn names(dir: &Path) -> BTreeSet<String> {
    let names = dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

fn change(database: &Path, sql: &str) {
    let conn = Connection::open(database).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = 0; PRAGMA ignore_check_constraints = 1").unwrap();
    conn.execute_batch(sql).unwrap();
}

/// The events of a data directory that begin so, oldest first.
fn events(data: &Path, start: &str) -> Vec<Value> {
    let export = ["audit", "export", "--event", start, "--data", text(data)];
    let output = ended(&mut entitled(&export), 0);
    stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_backup_is_one_private_file_with_its_head_beside_it() {
    let data = used(3);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("a.db");
    let said = backed_up(data.path(), &file);
    assert_eq!(names(dir.path()), BTreeSet::from(["a.db".into(), "a.db.head".into()]));
    let anchor = std::fs::read_to_string(data.path().join("audit.head")).unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("a.db.head")).unwrap(), anchor);
    assert_eq!(said["head"], anchor.trim_end());
    assert_eq!(said["audit_events"], 3);
    assert_eq!(said["bytes"], file.metadata().unwrap().len());
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let refused = ended(&mut backup(data.path(), &file), 73);
    assert!(one_line(&refused).contains("--force"), "{}", one_line(&refused));
    ended(backup(data.path(), &file).arg("--force"), 0);
    let database = data.path().join("entitled.db");
    let itself = ended(backup(data.path(), &database).arg("--force"), 73);
    assert!(one_line(&itself).contains("the database itself"), "{}", one_line(&itself));
    assert_eq!(names(dir.path()).len(), 2);
    let nothing = ended(&mut backup(dir.path(), &dir.path().join("b.db")), 74);
    assert!(one_line(&nothing).contains("--data"));
}

#[test]
fn a_restored_backup_serves_and_says_in_its_trail_that_it_was_restored() {
    let data = used(2);
    let dir = TempDir::new().unwrap();
    let (file, target) = (dir.path().join("a.db"), dir.path().join("restored"));
    let said = backed_up(data.path(), &file);
    let restored: Value =
        serde_json::from_str(stdout(&ended(&mut restore(&file, &target), 0))).unwrap();
    let anchor = std::fs::read_to_string(target.join("audit.head")).unwrap();
    assert_eq!(restored["new_head"], anchor.trim_end());
    assert_eq!(restored["rollback_accepted"], false);
    let running = Running::serve(&target, &KEY);
    let keys = ended(&mut client(&running.url(), ROOT, &["keys", "list"]), 0);
    assert!(stdout(&keys).contains("key 1"), "{}", stdout(&keys));
    assert_eq!(running.terminate(), Some(0));
    let [event] = events(&target, "entitlement.").try_into().unwrap();
    assert_eq!(event["event"], "entitlement.database.restored");
    let head = said["head"].as_str().unwrap();
    let (seq, hash) = head.split_once(':').unwrap();
    assert_eq!(event["after"]["head"]["seq"].to_string(), seq);
    assert_eq!(event["after"]["head"]["hash"], hash);
}

/// What a subscriber who resumes after a place is told first: its kind and its place.
fn first_told(running: &Running, after: u64) -> (String, u64) {
    let url = format!("{}/api/v1/events?last_event_id={after}", running.url());
    let answer = reqwest::blocking::Client::new().get(url).bearer_auth(ROOT).send().unwrap();
    let mut lines = BufReader::new(answer).lines().map(Result::unwrap);
    let event = lines.find_map(|line| line.strip_prefix("event: ").map(str::to_owned)).unwrap();
    let data = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).unwrap();
    let data: Value = serde_json::from_str(&data).unwrap();
    (event, data["seq"].as_u64().unwrap())
}

#[test]
fn a_place_in_the_events_of_what_was_lost_is_no_place_in_those_of_the_restored_database() {
    let data = used(2);
    let dir = TempDir::new().unwrap();
    let (file, target) = (dir.path().join("a.db"), dir.path().join("restored"));
    backed_up(data.path(), &file);
    // Two changes that the backup doesn't have, and that a subscriber has seen.
    let running = Running::serve(data.path(), &KEY);
    make_keys(&running, 2);
    assert_eq!(first_told(&running, 3), ("change".into(), 4));
    drop(running);
    ended(&mut restore(&file, &target), 0);
    let running = Running::serve(&target, &KEY);
    let (event, begin) = first_told(&running, 4);
    assert_eq!(event, "resync");
    // Others take their places.
    make_keys(&running, 5);
    for lost in [0, 1, 4, 5] {
        let (event, place) = first_told(&running, lost);
        assert_eq!((event.as_str(), place), ("resync", begin + 5), "{lost}");
    }
    for kept in begin..begin + 5 {
        assert_eq!(first_told(&running, kept), ("change".into(), kept + 1));
    }
    drop(running);
    // A file that was put back by hand.
    for rest in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{rest}", text(&target.join("entitled.db"))));
    }
    std::fs::copy(&file, target.join("entitled.db")).unwrap();
    let mut again = entitled(&[
        "serve",
        "--accept-rollback",
        "--listen",
        "127.0.0.1:0",
        "--data",
        text(&target),
    ]);
    let running = Running::start(again.envs(KEY), Stream::Err, "\"listening\"");
    let (event, place) = first_told(&running, begin + 1);
    assert!(event == "resync" && place > begin + 5, "{event} {place}");
}

#[test]
fn a_target_that_is_in_use_or_not_empty_is_refused() {
    let data = used(1);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("a.db");
    backed_up(data.path(), &file);
    let before = std::fs::read(data.path().join("entitled.db")).unwrap();
    let full = ended(&mut restore(&file, data.path()), 73);
    assert!(one_line(&full).contains("move it away first"), "{}", one_line(&full));
    assert_eq!(std::fs::read(data.path().join("entitled.db")).unwrap(), before);
    let running = Running::serve(data.path(), &KEY);
    let in_use = ended(&mut restore(&file, data.path()), 73);
    assert!(one_line(&in_use).contains("another process"), "{}", one_line(&in_use));
    drop(running);
    // What a crash left of a database is one too.
    std::fs::remove_file(data.path().join("entitled.db")).unwrap();
    assert!(data.path().join("entitled.db-wal").exists());
    ended(&mut restore(&file, data.path()), 73);
}

#[test]
fn an_older_backup_under_a_kept_anchor_needs_to_be_accepted_and_that_is_audited() {
    let data = used(2);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("a.db");
    backed_up(data.path(), &file);
    let running = Running::serve(data.path(), &KEY);
    make_keys(&running, 2);
    assert_eq!(running.terminate(), Some(0));
    let kept = std::fs::read_to_string(data.path().join("audit.head")).unwrap();
    for rest in ["entitled.db", "entitled.db-wal", "entitled.db-shm"] {
        let _ = std::fs::remove_file(data.path().join(rest));
    }
    let before = names(data.path());
    let refused = ended(&mut restore(&file, data.path()), 79);
    assert!(one_line(&refused).contains("names row 4"), "{}", one_line(&refused));
    assert_eq!(names(data.path()), before, "nothing is left of it");
    assert_eq!(std::fs::read_to_string(data.path().join("audit.head")).unwrap(), kept);
    ended(restore(&file, data.path()).arg("--accept-rollback"), 0);
    let found = events(data.path(), "entitlement.audit.rollback_accepted");
    assert_eq!(found[0]["before"]["anchor"]["seq"], 4);
    assert_eq!(found[0]["after"]["head"]["seq"], 2);
    // It is accepted once: the next start has nothing to say about it.
    assert_eq!(Running::serve(data.path(), &KEY).terminate(), Some(0));
}

#[test]
fn a_backup_that_does_not_hold_the_expected_head_is_refused() {
    let data = used(3);
    let dir = TempDir::new().unwrap();
    let (older, newer) = (dir.path().join("older.db"), dir.path().join("newer.db"));
    backed_up(data.path(), &older);
    let running = Running::serve(data.path(), &KEY);
    make_keys(&running, 1);
    assert_eq!(running.terminate(), Some(0));
    let said = backed_up(data.path(), &newer);
    let head = said["head"].as_str().unwrap();
    let target = dir.path().join("target");
    let refused = ended(restore(&older, &target).args(["--expect-head", head]), 79);
    assert!(one_line(&refused).contains("up to 4 are missing"), "{}", one_line(&refused));
    ended(restore(&older, &target).args(["--expect-head", "4"]), 2);
    // The head beside it is held against it too.
    std::fs::copy(dir.path().join("newer.db.head"), dir.path().join("older.db.head")).unwrap();
    ended(&mut restore(&older, &target), 79);
    std::fs::write(dir.path().join("older.db.head"), "nonsense").unwrap();
    ended(&mut restore(&older, &target), 79);
    ended(restore(&newer, &target).args(["--expect-head", head]), 0);
}

#[test]
fn what_is_damaged_is_neither_backed_up_nor_restored() {
    let triggers = "DROP TRIGGER audit_is_append_only_update;";
    let event = format!("{triggers} UPDATE audit SET actor = 'nobody' WHERE seq = 2");
    let orphan = "INSERT INTO grants (tenant, key, state, reason, created_at, updated_at, revision)
                  VALUES ('nobody', 'x', 'enabled', 'r', 1, 1, 1)";
    let index = "PRAGMA writable_schema = 1;
                 DELETE FROM sqlite_schema WHERE name = 'audit_by_actor'";
    let newer = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
                 VALUES (9999, 'later', '', '0')";
    for (sql, code, says) in [
        (event.as_str(), 79, "row 2"),
        (orphan, 76, "a row of grants points at nothing"),
        (index, 76, "damaged"),
        (newer, 76, "9999 is newer"),
        ("PRAGMA application_id = 7", 76, "not a database of this service"),
    ] {
        let data = used(3);
        let dir = TempDir::new().unwrap();
        let (file, target) = (dir.path().join("a.db"), dir.path().join("target"));
        backed_up(data.path(), &file);
        change(&file, sql);
        let refused = ended(&mut restore(&file, &target), code);
        assert!(one_line(&refused).contains(says), "{}", one_line(&refused));
        assert_eq!(names(&target), BTreeSet::from(["entitled.lock".into()]));

        change(&data.path().join("entitled.db"), sql);
        let (again, before) = (dir.path().join("b.db"), names(dir.path()));
        let refused = ended(&mut backup(data.path(), &again), code);
        assert!(one_line(&refused).contains(says), "{}", one_line(&refused));
        assert_eq!(names(dir.path()), before, "nothing that looks like a backup");
    }
}

#[test]
fn a_backup_that_was_cut_off_or_is_something_else_is_refused() {
    let data = used(3);
    let dir = TempDir::new().unwrap();
    let (file, target) = (dir.path().join("a.db"), dir.path().join("target"));
    backed_up(data.path(), &file);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    ended(&mut restore(&file, &target), 76);
    std::fs::write(&file, "not a database at all, but long enough to look at").unwrap();
    ended(&mut restore(&file, &target), 76);
    let missing = ended(&mut restore(&dir.path().join("b.db"), &target), 74);
    assert!(one_line(&missing).contains("b.db"));
    // The file of a running service is no backup: half of it is in the log.
    let running = Running::serve(data.path(), &KEY);
    make_keys(&running, 1);
    let log = ended(&mut restore(&data.path().join("entitled.db"), &target), 76);
    assert!(one_line(&log).contains("entitled.db-wal"), "{}", one_line(&log));
}

/// A file system of its own of a few megabytes, for one command and what it runs.
fn on_small_disk(megabytes: u32, at: &Path, script: &str) -> Command {
    let mount = format!("mount -t tmpfs -o size={megabytes}m tmpfs '{}'", text(at));
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec"]);
    command.arg(format!("{mount}\n{script}"));
    command
}

#[test]
fn a_target_that_fills_up_leaves_nothing_that_looks_like_a_backup() {
    let data = used(1);
    change(
        &data.path().join("entitled.db"),
        "INSERT INTO idempotency (caller, key, fingerprint, result, created_at)
         VALUES ('c', 'k', zeroblob(32), hex(zeroblob(1500000)), 1)",
    );
    let dir = TempDir::new().unwrap();
    let (target, program) = (dir.path().join("small"), env!("CARGO_BIN_EXE_entitled"));
    std::fs::create_dir(&target).unwrap();
    let attempt = |megabytes| {
        let (data, target) = (text(data.path()), text(&target));
        let script = format!(
            "code=0; {program} backup --data '{data}' --to '{target}/a.db' || code=$?
             ls -A '{target}'; exit $code"
        );
        on_small_disk(megabytes, Path::new(target), &script)
    };
    let full = ended(&mut attempt(2), 74);
    assert!(one_line(&full).contains("can't be copied"), "{}", one_line(&full));
    assert_eq!(stdout(&full), "", "nothing is left");
    let fits = ended(&mut attempt(8), 0);
    assert!(stdout(&fits).contains("a.db.head"), "{}", stdout(&fits));
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn get(url: &str, path: &str) -> String {
    reqwest::blocking::get(format!("{url}{path}")).unwrap().text().unwrap()
}

#[test]
fn the_service_makes_backups_by_itself_and_keeps_the_latest() {
    let data = TempDir::new().unwrap();
    let dir = TempDir::new().unwrap();
    let old = ["entitled-20200101T000000Z.db", "entitled-20200102T000000Z.db"];
    let others = ["entitled-20200101T000000Z.db.head", "mine.db"];
    for name in old.iter().chain(&others) {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    std::fs::create_dir(dir.path().join(".entitled-x.partial")).unwrap();
    let settings =
        [KEY[0], ("ENTITLED_BACKUP__DIRECTORY", text(dir.path())), ("ENTITLED_BACKUP__KEEP", "2")];
    let running = Running::serve(data.path(), &settings);
    make_keys(&running, 1);
    let made = wait_for("a backup", || {
        let new = names(dir.path()).into_iter().rfind(|name| name.ends_with("Z.db"))?;
        (!old.contains(&new.as_str())).then_some(new)
    });
    wait_for("the oldest goes", || (!names(dir.path()).contains(old[0])).then_some(()));
    let ready = wait_for("it is shown", || {
        let ready: Value = serde_json::from_str(&get(&running.url(), "/readyz")).unwrap();
        ready["checks"]["backup"].as_str().filter(|said| said.starts_with("ok, latest 20"))?;
        Some(ready)
    });
    assert_eq!(ready["ready"], true);
    let metrics = get(&running.url(), "/metrics");
    assert!(metrics.contains("entitlement_backups_total{outcome=\"done\"} 1"), "{metrics}");
    assert!(metrics.contains("entitlement_backup_last_success_timestamp_seconds 1"), "{metrics}");
    let left = names(dir.path());
    assert!(left.contains(old[1]) && left.contains("mine.db"), "{left:?}");
    assert!(!left.contains(".entitled-x.partial") && !left.contains(others[0]), "{left:?}");
    ended(&mut restore(&dir.path().join(&made), &data.path().join("restored")), 0);
    assert_eq!(running.terminate(), Some(0));
    // The next one is due a day later, also after a restart.
    let running = Running::serve(data.path(), &settings);
    wait_for("it is known", || get(&running.url(), "/readyz").contains("ok, latest").then_some(()));
    assert_eq!(running.terminate(), Some(0));
    assert_eq!(names(dir.path()), left);
}

#[test]
fn a_scheduled_backup_that_fails_is_shown_and_stops_nothing() {
    let data = TempDir::new().unwrap();
    let file = data.path().join("no-directory");
    std::fs::write(&file, "").unwrap();
    let mut command = on(data.path(), "serve");
    command.envs(KEY).env("ENTITLED_BACKUP__DIRECTORY", file.join("backups"));
    let running = Running::start(&mut command, Stream::Err, "\"listening\"");
    let ready = wait_for("it is shown", || {
        let ready: Value = serde_json::from_str(&get(&running.url(), "/readyz")).unwrap();
        ready["checks"]["backup"].as_str().filter(|said| said.contains("1 attempts failed"))?;
        Some(ready)
    });
    assert_eq!(ready["ready"], true);
    let metrics = get(&running.url(), "/metrics");
    assert!(metrics.contains("entitlement_backups_total{outcome=\"failed\"} 1"), "{metrics}");
    make_keys(&running, 1);
}

#[test]
fn a_backup_by_an_older_release_is_brought_up_to_date() {
    let dir = TempDir::new().unwrap();
    let (file, target) = (dir.path().join("old.db"), dir.path().join("target"));
    let data = older_database(dir.path());
    let said = backed_up(&data, &file);
    assert_eq!(said["schema_version"], 1);
    let restored: Value =
        serde_json::from_str(stdout(&ended(&mut restore(&file, &target), 0))).unwrap();
    assert!(restored["migrations"].as_array().unwrap().contains(&Value::from(2)), "{restored}");
    assert_eq!(Running::serve(&target, &KEY).terminate(), Some(0));
}

/// A data directory as the first schema left it.
fn older_database(dir: &Path) -> PathBuf {
    let data = dir.join("old");
    std::fs::create_dir(&data).unwrap();
    let mut conn = Connection::open(data.join("entitled.db")).unwrap();
    conn.execute_batch("PRAGMA application_id = 0x656e7469; PRAGMA journal_mode = wal").unwrap();
    let runner = all::migrations::runner().set_target(refinery::Target::Version(1));
    runner.set_grouped(true).run(&mut conn).unwrap();
    data
}

mod all {
    refinery::embed_migrations!("migrations");
}
