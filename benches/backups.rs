//! Five backups, by the program itself, of a database that takes 5,000 audited writes a second over
//! HTTP: what they cost the writers, and whether each restores to what its audit trail says.
//!
//! `cargo bench --bench backups`. The server, the clients and each backup are processes on one
//! machine. Writes are due at instants that no answer moves, and a write's latency counts from then.
//! Times beside a backup are compared with those just before it, in the same run.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../tests/load/mod.rs"]
mod load;
#[allow(dead_code, reason = "tests use more of it")]
#[path = "../tests/replay/mod.rs"]
mod replay;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use serde_json::Value;

use self::load::{Ack, Load, Pace, address, furnish};

const ROOT_KEY: &str = "root-key-for-benchmarks-0123456789";
const CLIENTS: usize = 256;
const BACKUPS: usize = 5;
/// How large the database is at least when the first backup begins.
const SIZE: u64 = 200 << 20;
/// What is asked for, and a little more that is sent, so that it is reached.
const WANTED: f64 = 5_000.0;
const SENT: f64 = 5_200.0;
/// How long the load runs alone before each backup.
const ALONE: Duration = Duration::from_secs(4);
const GLANCE: Duration = Duration::from_millis(20);

struct Server(Child);

impl Server {
    fn start(data: &Path) -> (Self, String) {
        let mut child = entitled("serve", data)
            .args(["--listen", "127.0.0.1:0"])
            .env("ENTITLED_ROOT_KEY", ROOT_KEY)
            .env("ENTITLED_LOG__FORMAT", "json")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find_map(|line| line["url"].as_str().map(str::to_owned))
            .expect("the server says where it listens");
        // A full pipe would stop the server.
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| eprintln!("{line}"))
        });
        (Self(child), url)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn entitled(command: &str, data: &Path) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_entitled"));
    program.args([command, "--data"]).arg(data).stdin(Stdio::null());
    program
}

/// What a program that ends well said as JSON.
fn said(command: &mut Command) -> Value {
    let output = command.arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A stretch of time, and what was written in it.
struct Stretch {
    began: Instant,
    ended: Instant,
    /// The largest that the write-ahead log was.
    log_bytes: u64,
}

impl Stretch {
    fn seconds(&self) -> f64 {
        self.ended.duration_since(self.began).as_secs_f64()
    }

    /// How many writes were acknowledged, and their latencies, shortest first.
    fn writes(&self, acks: &[Ack]) -> Vec<Duration> {
        let within = |ack: &&Ack| (self.began..self.ended).contains(&ack.at);
        let mut waited: Vec<_> = acks.iter().filter(within).map(|ack| ack.waited).collect();
        waited.sort_unstable();
        waited
    }
}

struct Taken {
    file: PathBuf,
    alone: Stretch,
    beside: Stretch,
    /// What was acknowledged before it began.
    before: usize,
    said: Value,
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// Waits for `end`, looking at the log meanwhile.
async fn watch<T>(data: &Path, end: impl Future<Output = T>) -> (Stretch, T) {
    let (began, log, mut log_bytes) = (Instant::now(), data.join("entitled.db-wal"), 0);
    tokio::pin!(end);
    loop {
        tokio::select! {
            value = &mut end => {
                log_bytes = log_bytes.max(size(&log));
                return (Stretch { began, ended: Instant::now(), log_bytes }, value);
            }
            () = tokio::time::sleep(GLANCE) => log_bytes = log_bytes.max(size(&log)),
        }
    }
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let (server, url) = Server::start(&data);
    let place = furnish(address(&url), ROOT_KEY).await;

    let mut grown = Load::start(&place, "grown", CLIENTS, Pace::Unbridled);
    let began = Instant::now();
    while size(&data.join("entitled.db")) < SIZE {
        grown.reaches(grown.writes() + 5_000).await;
    }
    let rate = grown.writes() as f64 / began.elapsed().as_secs_f64();
    let mut written = grown.stop().await.len();
    println!("{written} writes made the database, {CLIENTS} clients unbridled: {rate:.0} /s");

    let paced = Load::start(&place, "paced", CLIENTS, Pace::PerSecond(SENT));
    let mut taken = Vec::new();
    for number in 0..BACKUPS {
        let (alone, ()) = watch(&data, tokio::time::sleep(ALONE)).await;
        let file = dir.path().join(format!("backup-{number}.db"));
        // As docs/backup.md has it: the service goes first.
        let mut command = Command::new("nice");
        command.args(["-n", "10", env!("CARGO_BIN_EXE_entitled"), "backup", "--data"]);
        command.arg(&data).arg("--to").arg(&file).stdin(Stdio::null());
        let before = written + paced.writes();
        let backup = tokio::task::spawn_blocking(move || said(&mut command));
        let (beside, said) = watch(&data, backup).await;
        taken.push(Taken { file, alone, beside, before, said: said.unwrap() });
    }
    let (after, ()) = watch(&data, tokio::time::sleep(ALONE)).await;
    let acks = paced.stop().await;
    written += acks.len();
    drop(server);
    println!("{written} writes in all, {} clients at {SENT:.0} /s; each backup:", CLIENTS);
    let slow: Vec<_> = taken.iter().filter_map(|taken| report(taken, &acks)).collect();
    println!("the write-ahead log afterwards: {} MB at most", after.log_bytes >> 20);
    for (number, taken) in taken.iter().enumerate() {
        restored_is_replayed(dir.path(), number, taken);
    }
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}

/// Prints what a backup was and cost; what was wrong with the load beside it.
fn report(taken: &Taken, acks: &[Ack]) -> Option<String> {
    let Taken { alone, beside, said, .. } = taken;
    let (quiet, busy) = (alone.writes(acks), beside.writes(acks));
    let ms = |waited: &[Duration], part: f64| {
        let index = (waited.len() as f64 * part) as usize;
        waited[index.min(waited.len() - 1)].as_secs_f64() * 1_000.0
    };
    let rate = busy.len() as f64 / beside.seconds();
    println!(
        "  {:.2} s, {} MB, {} events; {} writes meanwhile, {rate:.0} /s; log {} MB (before: {} MB)",
        beside.seconds(),
        said["bytes"].as_u64().unwrap() >> 20,
        said["audit_events"],
        busy.len(),
        beside.log_bytes >> 20,
        alone.log_bytes >> 20,
    );
    for (name, part) in [("median", 0.5), ("99 of 100", 0.99), ("longest", 1.0)] {
        let (alone, beside) = (ms(&quiet, part), ms(&busy, part));
        println!("    {name:<10} {alone:>8.2} ms {beside:>8.2} ms {:>7.2}", beside / alone);
    }
    (rate < WANTED).then(|| {
        format!(
            "beside a backup only {rate:.0} of {WANTED:.0} writes a second were acknowledged: this \
             machine is too slow or too busy for this benchmark"
        )
    })
}

fn restored_is_replayed(dir: &Path, number: usize, taken: &Taken) {
    let target = dir.join(format!("restored-{number}"));
    let mut restore = entitled("restore", &target);
    restore.arg("--from").arg(&taken.file);
    said(restore.args(["--expect-head", taken.said["head"].as_str().unwrap()]));
    let conn = Connection::open(target.join("entitled.db")).unwrap();
    let compared = replay::Replay::of(&conn).assert_all(&conn);
    assert_eq!(compared.events, taken.said["audit_events"].as_u64().unwrap() + 1, "its own event");
    assert!(compared.events >= taken.before as u64, "every write before the backup is in it");
    println!(
        "backup {number}: {} events of {} kinds make the {} rows of {} tables",
        compared.events,
        compared.names.len(),
        compared.rows.values().sum::<usize>(),
        compared.rows.len()
    );
    drop(conn);
    std::fs::remove_dir_all(target).unwrap();
}
