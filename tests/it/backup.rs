//! Backups of a database that is being written: each is one instant, and tells the same story in its
//! tables as in its audit trail.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rusqlite::Connection;
use serde_json::Value;

use crate::{
    cli::{ended, entitled, text},
    crash::Server,
    harness::ROOT_KEY,
    load::{Load, Pace, address, furnish},
    replay::{Replay, compared_columns},
};

const CLIENTS: usize = 16;
const BACKUPS: usize = 5;
/// How many writes are acknowledged before the first.
const WRITES_BEFORE: usize = 1_200;
/// How many while one stands still, its view of the database open.
const WRITES_BESIDE: usize = 500;

/// A backup that is being made. It is held still in the middle, so that many writes fall into it
/// however fast or busy the machine is.
struct Held(Child);

impl Held {
    fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// What it says at its end.
    async fn end(mut self, dir: &Path, load: &mut Load) -> Value {
        while !is_copying(dir) {
            assert!(self.0.try_wait().unwrap().is_none(), "it ended without a copy to be seen");
            load.reaches(load.writes() + 1).await;
        }
        self.signal("-STOP");
        assert!(self.0.try_wait().unwrap().is_none(), "it ended before it could be held");
        load.reaches(load.writes() + WRITES_BESIDE).await;
        self.signal("-CONT");
        let output = tokio::task::spawn_blocking(move || self.0.wait_with_output());
        let output = output.await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Whether a copy has its first pages: the instant that it shows has passed.
fn is_copying(dir: &Path) -> bool {
    let works = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut works = works.filter(|path| path.extension().is_some_and(|end| end == "partial"));
    works.any(|work| work.join("copy.db").metadata().is_ok_and(|copy| copy.len() > 0))
}

/// A backup, with the last row of the audit trail before it began and after it ended.
struct Taken {
    file: PathBuf,
    before: u64,
    after: u64,
    said: Value,
}

fn last_row(data: &Path) -> u64 {
    let conn = Connection::open(data.join("entitled.db")).unwrap();
    conn.query_row("SELECT max(seq) FROM audit", [], |row| row.get(0))
        .map(i64::cast_unsigned)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_under_write_load_restore_to_what_their_audit_trails_say() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let server = Server::start(&data);
    let place = furnish(address(&server.url), ROOT_KEY).await;
    let mut load = Load::start(&place, "t", CLIENTS, Pace::Unbridled);
    load.reaches(WRITES_BEFORE).await;
    let mut taken = Vec::new();
    for number in 0..BACKUPS {
        let file = dir.path().join(format!("backup-{number}.db"));
        let mut command = entitled(&["backup", "--json", "--data", text(&data), "--to"]);
        let before = last_row(&data);
        let child = command.arg(&file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let said = Held(child.unwrap()).end(dir.path(), &mut load).await;
        taken.push(Taken { file, before, after: last_row(&data), said });
    }
    load.stop().await;
    drop(server);

    for (number, Taken { file, before, after, said }) in taken.iter().enumerate() {
        let target = dir.path().join(format!("restored-{number}"));
        let mut restore = entitled(&["restore", "--json", "--from", text(file), "--data"]);
        restore.arg(&target).args(["--expect-head", said["head"].as_str().unwrap()]);
        ended(&mut restore, 0);
        let conn = Connection::open(target.join("entitled.db")).unwrap();
        let compared = Replay::of(&conn).assert_all(&conn);
        let events = compared.events - 1;
        println!("backup {number}: rows {before} to {after}, {events} in it");
        assert_eq!(events, said["audit_events"].as_u64().unwrap(), "but the restore's own event");
        // What was acknowledged before it began is in it; much was while it ran, and is not.
        let beside = WRITES_BESIDE as u64;
        assert!(events >= *before && *after >= events + beside, "{before} {events} {after}");
        let unused = compared.rows.iter().find(|(_, rows)| **rows == 0);
        assert!(unused.is_none(), "the load leaves nothing in {unused:?}");
    }
}

/// Else the test above could pass by comparing nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_holds_otherwise_than_it_was_told_is_noticed_in_every_table() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let place = furnish(address(&server.url), ROOT_KEY).await;
    let mut load = Load::start(&place, "t", CLIENTS, Pace::Unbridled);
    load.reaches(WRITES_BEFORE).await;
    load.stop().await;
    drop(server);
    let conn = Connection::open(dir.path().join("entitled.db")).unwrap();
    let replay = Replay::of(&conn);
    let loosen = "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;
                  DROP TRIGGER requests_keep_their_asker; DROP TRIGGER requests_are_decided_once;";
    conn.execute_batch(loosen).unwrap();
    let columns = compared_columns(&conn);
    assert!(columns.len() > 150, "{columns:?}");
    for (table, column) in columns {
        let changed = format!(
            "UPDATE OR REPLACE {table} SET {column} = CASE typeof({column})
                 WHEN 'integer' THEN {column} + 1 WHEN 'text' THEN json_quote({column})
                 WHEN 'blob' THEN zeroblob(32)
                 ELSE (SELECT iif(type = 'INTEGER', 1, '1') FROM pragma_table_info('{table}')
                       WHERE name = '{column}') END"
        );
        for sql in [changed, format!("DELETE FROM {table}")] {
            conn.execute_batch("BEGIN").unwrap();
            conn.execute(&sql, []).unwrap_or_else(|error| panic!("{table}.{column}: {error}"));
            assert!(replay.difference(&conn, table).is_some(), "{sql}");
            conn.execute_batch("ROLLBACK").unwrap();
            assert_eq!(replay.difference(&conn, table), None);
        }
    }
}
