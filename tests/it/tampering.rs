//! Whoever can write to the database file and tampers with the audit trail is found.

use std::path::{Path, PathBuf};

use entitled::{
    domain::{audit::Head, time::Span},
    service::policy::Policy,
    store::{
        Store,
        audit::{Verification, verify},
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use rusqlite::{Connection, types::Value};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    audit_files::system,
    given::days,
    harness::{App, Given},
};

const CASES: u64 = 1_200;

/// A database that nobody runs, and the end of its trail.
struct Trail {
    _dir: tempfile::TempDir,
    file: PathBuf,
    head: Head,
}

impl Trail {
    /// A trail of some sixty rows, as a file of its own without a log and without triggers.
    async fn of(app: &App) -> Self {
        for number in 0..30 {
            app.move_to_day(number / 10);
            let key = format!("t{number}");
            app.tenant(&key, json!({"name": "Ünïcode = \"quoted\""})).await;
            let body = json!({"status": "suspended", "reason": format!("number {number}")});
            app.change_tenant(&key, body).await;
        }
        app.advance(days(3));
        let root = system();
        app.service.prune_audit(&root).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trail.db");
        let source = Connection::open(&app.database).unwrap();
        source.execute("VACUUM INTO ?1", [file.to_str().unwrap()]).unwrap();
        let conn = Connection::open(&file).unwrap();
        conn.execute_batch("PRAGMA journal_mode = DELETE").unwrap();
        for trigger in [
            "audit_is_append_only_update",
            "audit_is_append_only_delete",
            "audit_is_append_only_insert",
            "audit_checkpoint_is_a_row_insert",
            "audit_checkpoint_is_a_row_update",
            "audit_checkpoint_stays",
        ] {
            conn.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
        }
        drop(conn);
        let found = judged(&file, &[]);
        let Verification::Intact { head: Some(head), .. } = found else { panic!("{found:?}") };
        Self { _dir: dir, file, head }
    }

    async fn whole() -> Self {
        Self::of(&App::start().await).await
    }

    /// One whose first rows were pruned.
    async fn pruned() -> Self {
        let policy = Policy { audit_retention: Some(Span::days(4)), ..Policy::default() };
        let app = App::given(Given { policy, ..Given::default() }).await;
        let trail = Self::of(&app).await;
        let found = judged(&trail.file, &[]);
        assert!(matches!(found, Verification::Intact { pruned: 20.., .. }), "{found:?}");
        trail
    }
}

fn judged(file: &Path, known: &[Head]) -> Verification {
    Store::inspect(file, |tx| verify(tx, known)).unwrap()
}

const COLUMNS: [&str; 15] = [
    "seq",
    "at",
    "event",
    "actor",
    "role",
    "mode",
    "impersonator",
    "tenant",
    "subject",
    "before",
    "after",
    "reason",
    "request_id",
    "ip",
    "hash",
];

type Row = Vec<Value>;

/// The rows as values. What tampers works on these and writes them back.
fn rows(conn: &Connection) -> Vec<Row> {
    let sql = format!("SELECT {} FROM audit ORDER BY seq", COLUMNS.join(", "));
    let mut statement = conn.prepare(&sql).unwrap();
    let found = statement.query_map([], |row| (0..15).map(|at| row.get(at)).collect());
    found.unwrap().collect::<Result<_, _>>().unwrap()
}

fn replace(conn: &Connection, rows: &[Row]) {
    conn.execute("DELETE FROM audit", []).unwrap();
    let places: Vec<_> = (1..=15).map(|at| format!("?{at}")).collect();
    let sql = format!("INSERT INTO audit ({}) VALUES ({})", COLUMNS.join(", "), places.join(", "));
    let mut statement = conn.prepare(&sql).unwrap();
    for row in rows {
        statement.execute(rusqlite::params_from_iter(row)).unwrap();
    }
}

fn seq_of(row: &Row) -> i64 {
    match row[0] {
        Value::Integer(seq) => seq,
        _ => panic!("a place is a number"),
    }
}

/// A value that is not this one but fits its column.
fn another(rng: &mut StdRng, value: &Value, column: &str) -> Value {
    match value {
        Value::Null => Value::Text(["", "x", "null"].choose(rng).unwrap().to_string()),
        Value::Integer(number) => Value::Integer(number ^ (1 << rng.random_range(0..40))),
        Value::Blob(bytes) => {
            let mut bytes = bytes.clone();
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
            Value::Blob(bytes)
        }
        Value::Text(text) => {
            let is_optional = ["impersonator", "tenant", "reason", "request_id", "ip"];
            match rng.random_range(0..4) {
                0 if is_optional.contains(&column) => Value::Null,
                1 => Value::Text(format!("{text} ")),
                2 if text.len() > 1 => Value::Text(text.chars().skip(1).collect()),
                _ => flipped(rng, text),
            }
        }
        Value::Real(_) => panic!("no column is real"),
    }
}

/// One bit of a text, so that it stays one.
fn flipped(rng: &mut StdRng, text: &str) -> Value {
    for _ in 0..100 {
        let mut bytes = text.as_bytes().to_vec();
        let Some(last) = bytes.len().checked_sub(1) else { break };
        bytes[rng.random_range(0..=last)] ^= 1 << rng.random_range(0..7);
        if let Ok(other) = String::from_utf8(bytes) {
            return Value::Text(other);
        }
    }
    Value::Text(format!("{text}!"))
}

/// The hash that the service would give a row: written down here a second time, so that a forger is
/// as able as the service.
fn sealed(previous: &[u8], row: &Row) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    for value in &row[..14] {
        match value {
            Value::Integer(number) => hasher.update(number.to_be_bytes()),
            Value::Null => hasher.update([0]),
            Value::Text(text) => {
                hasher.update([1]);
                hasher.update((text.len() as u64).to_be_bytes());
                hasher.update(text.as_bytes());
            }
            Value::Blob(_) | Value::Real(_) => panic!("no field is of this type"),
        }
    }
    hasher.finalize().to_vec()
}

fn hash_of(row: &Row) -> Vec<u8> {
    match &row[14] {
        Value::Blob(bytes) => bytes.clone(),
        _ => panic!("a hash is bytes"),
    }
}

/// Seals the rows from `at` to the end anew.
fn reseal(rows: &mut [Row], at: usize, before_all: &[u8]) {
    for place in at..rows.len() {
        let previous = if place == 0 { before_all.to_vec() } else { hash_of(&rows[place - 1]) };
        let hash = sealed(&previous, &rows[place]);
        rows[place][14] = Value::Blob(hash);
    }
}

/// What the first row is chained to.
fn before_all(conn: &Connection) -> Vec<u8> {
    let found = conn.query_row("SELECT hash FROM audit_checkpoint", [], |row| row.get(0));
    found.unwrap_or_else(|_| vec![0; 32])
}

/// Tampers in one way; what it did.
fn tamper(rng: &mut StdRng, conn: &Connection) -> String {
    let mut all = rows(conn);
    let at = rng.random_range(0..all.len());
    let did = match rng.random_range(0..9) {
        0 | 1 => {
            let column = rng.random_range(1..15);
            let other = another(rng, &all[at][column], COLUMNS[column]);
            let did = format!("{} of row {at} becomes {other:?}", COLUMNS[column]);
            all[at][column] = other;
            did
        }
        2 => {
            let count = rng.random_range(1..=(all.len() - at).min(5));
            all.drain(at..at + count);
            format!("{count} rows from {at} are removed")
        }
        3 => {
            let other = (at + rng.random_range(1..all.len())) % all.len();
            let (one, two) = (all[at].clone(), all[other].clone());
            // All but the place, which is the key.
            all[at][1..].clone_from_slice(&two[1..]);
            all[other][1..].clone_from_slice(&one[1..]);
            format!("rows {at} and {other} are swapped")
        }
        4 => {
            let mut new = all[at].clone();
            new[8] = Value::Text("forged".into());
            let previous = if at == 0 { before_all(conn) } else { hash_of(&all[at - 1]) };
            new[14] = Value::Blob(sealed(&previous, &new));
            for row in &mut all[at..] {
                row[0] = Value::Integer(seq_of(row) + 1);
            }
            all.insert(at, new);
            format!("a row is inserted at {at}, sealed, and the rest renumbered")
        }
        5 => {
            all.truncate(at);
            format!("the tail from {at} is cut")
        }
        6 => {
            all[at][8] = Value::Text("forged".into());
            let previous = if at == 0 { before_all(conn) } else { hash_of(&all[at - 1]) };
            all[at][14] = Value::Blob(sealed(&previous, &all[at]));
            format!("row {at} is changed and sealed anew")
        }
        7 => {
            all[at][8] = Value::Text("forged".into());
            let start = before_all(conn);
            reseal(&mut all, at, &start);
            format!("row {at} is changed and all from it on are sealed anew")
        }
        _ => {
            all.remove(at);
            for row in &mut all[at..] {
                row[0] = Value::Integer(seq_of(row) - 1);
            }
            let start = before_all(conn);
            reseal(&mut all, at, &start);
            format!("row {at} is removed, the rest renumbered and sealed anew")
        }
    };
    replace(conn, &all);
    did
}

/// Tampers with what a pruning left; what it did.
fn tamper_with_checkpoint(rng: &mut StdRng, conn: &Connection) -> &'static str {
    let all = rows(conn);
    let first = seq_of(&all[0]);
    match rng.random_range(0..6) {
        0 => {
            conn.execute("DELETE FROM audit_checkpoint", []).unwrap();
            "the checkpoint is removed"
        }
        1 => {
            conn.execute("UPDATE audit_checkpoint SET rows = rows - 1", []).unwrap();
            "the checkpoint says another number of rows"
        }
        2 => {
            conn.execute("UPDATE audit_checkpoint SET at = at - 1", []).unwrap();
            "the checkpoint says another time"
        }
        3 => {
            let hash = vec![rng.random::<u8>(); 32];
            conn.execute("UPDATE audit_checkpoint SET hash = ?1", [hash]).unwrap();
            "the checkpoint has another hash"
        }
        4 => {
            // More is pruned than was, and the checkpoint moved along, but no event says so.
            let upto = first + rng.random_range(0..20);
            let hash: Vec<u8> = conn
                .query_row("SELECT hash FROM audit WHERE seq = ?1", [upto], |row| row.get(0))
                .unwrap();
            let sql = "UPDATE audit_checkpoint SET seq = ?1, hash = ?2";
            conn.execute(sql, rusqlite::params![upto, hash]).unwrap();
            conn.execute("DELETE FROM audit WHERE seq <= ?1", [upto]).unwrap();
            "the checkpoint is moved on without an event"
        }
        _ => {
            conn.execute("UPDATE audit_checkpoint SET seq = seq - 1, rows = rows - 1", []).unwrap();
            "the checkpoint is moved back"
        }
    }
}

#[tokio::test]
async fn every_tampering_is_found() {
    let trails = [Trail::whole().await, Trail::pruned().await];
    for trail in &trails {
        let known = [trail.head];
        let clean = judged(&trail.file, &known);
        assert!(matches!(clean, Verification::Intact { rows: 40.., .. }), "{clean:?}");
        // What is read and written back as it was is still intact: the tools don't tamper.
        let conn = Connection::open(&trail.file).unwrap();
        let all = rows(&conn);
        replace(&conn, &all);
        let mut again = all.clone();
        reseal(&mut again, 0, &before_all(&conn));
        assert_eq!(again, all, "the forger seals as the service does");
        assert_eq!(judged(&trail.file, &known), clean);
    }
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.db");
    for case in 0..CASES {
        let mut rng = StdRng::seed_from_u64(case);
        let is_pruned = case % 2 == 1;
        let trail = &trails[usize::from(is_pruned)];
        std::fs::copy(&trail.file, &copy).unwrap();
        let conn = Connection::open(&copy).unwrap();
        conn.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; BEGIN")
            .unwrap();
        let did = if is_pruned && rng.random_range(0..5) == 0 {
            tamper_with_checkpoint(&mut rng, &conn).to_owned()
        } else {
            tamper(&mut rng, &conn)
        };
        conn.execute_batch("COMMIT").unwrap();
        drop(conn);
        let found = judged(&copy, &[trail.head]);
        assert!(matches!(found, Verification::Broken { .. }), "case {case}: {did}: {found:?}");
    }
}

#[tokio::test]
async fn the_database_refuses_to_change_what_was_written() {
    let app = App::start().await;
    for number in 0..5 {
        app.tenant(&format!("t{number}"), json!({})).await;
    }
    let conn = Connection::open(&app.database).unwrap();
    let hash = "(SELECT hash FROM audit WHERE seq = 2)";
    for forbidden in [
        "UPDATE audit SET actor = 'x' WHERE seq = 2".into(),
        "DELETE FROM audit WHERE seq = 2".into(),
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE seq = 2".into(),
        format!("INSERT INTO audit_checkpoint VALUES (1, 99, {hash}, 0, 1)"),
        format!("INSERT INTO audit_checkpoint VALUES (1, 3, {hash}, 0, 1)"),
    ] {
        assert!(conn.execute_batch(&forbidden).is_err(), "{forbidden}");
    }
    // A checkpoint of a row that is there is what pruning writes; from then on it only moves forward.
    conn.execute_batch(&format!("INSERT INTO audit_checkpoint VALUES (1, 2, {hash}, 0, 2)"))
        .unwrap();
    for forbidden in [
        "UPDATE audit_checkpoint SET seq = 1",
        "UPDATE audit_checkpoint SET rows = 1",
        "DELETE FROM audit_checkpoint",
        "INSERT OR REPLACE INTO audit_checkpoint SELECT 1, seq, hash, 0, 1 FROM audit WHERE seq = 3",
        "DELETE FROM audit WHERE seq = 3",
    ] {
        assert!(conn.execute_batch(forbidden).is_err(), "{forbidden}");
    }
    // Whoever does it by hand leaves no event, and is found.
    let found = judged(&app.database, &[]);
    assert!(matches!(found, Verification::Broken { .. }), "{found:?}");
}
