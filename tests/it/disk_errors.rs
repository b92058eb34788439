//! Errors of the disk that a test puts in, call by call, below the program: `tests/faults/faults.c` is
//! preloaded and makes reads, writes, flushes and opens fail. What was acknowledged is then compared
//! with what is there.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    cli::{ROOT, Running, Stream, ended, entitled, text},
    disks::{Disk, Ledger, Said, Server},
};

// The kinds of calls, as in `faults.c`.
const READS: i64 = 1;
const WRITES: i64 = 2;
const FLUSHES: i64 = 4;
const SIZES: i64 = 8;
const OPENS: i64 = 16;

// Error numbers of Linux.
const EIO: i64 = 5;
const ENOSPC: i64 = 28;
const EROFS: i64 = 30;

static LIBRARY: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let dir = TempDir::new().unwrap();
    let library = dir.path().join("faults.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/faults.c");
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O1", "-o", text(&library), text(&source), "-ldl"]);
    ended(&mut compile, 0);
    (dir, library)
});

/// Which calls fail.
#[derive(Debug, Clone, Copy)]
struct Plan {
    calls: i64,
    error: i64,
    /// How many of them succeed before.
    skip: i64,
    /// How many of them fail; a negative number: all.
    times: i64,
    /// Whether a write that fails leaves its first half behind: 1 or 0.
    torn: i64,
    /// Of which file; empty: of all.
    name: &'static str,
}

impl Plan {
    const fn once(calls: i64, error: i64, skip: i64) -> Self {
        Self { calls, error, skip, times: 1, torn: 0, name: "" }
    }

    const fn ever(calls: i64, error: i64) -> Self {
        Self { calls, error, skip: 0, times: -1, torn: 0, name: "" }
    }

    const fn of(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}

/// A directory on a disk that fails as a plan says.
struct Failing {
    data: TempDir,
    _plans: TempDir,
    path: PathBuf,
    plan: File,
}

impl Failing {
    fn new() -> Self {
        let plans = TempDir::new().unwrap();
        let path = plans.path().join("plan");
        let mut how = OpenOptions::new();
        let plan = how.read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        plan.set_len(7 * 8 + 64).unwrap();
        Self { data: TempDir::new().unwrap(), _plans: plans, path, plan }
    }

    fn put(&self, at: u64, number: i64) {
        self.plan.write_all_at(&number.to_ne_bytes(), at * 8).unwrap();
    }

    fn fail(&self, plan: Plan) {
        self.heal();
        let mut name = [0; 64];
        name[..plan.name.len()].copy_from_slice(plan.name.as_bytes());
        self.plan.write_all_at(&name, 7 * 8).unwrap();
        let fields = [plan.error, plan.skip, plan.times, plan.torn, 0, 0];
        fields.into_iter().zip(1..).for_each(|(number, at)| self.put(at, number));
        self.put(0, plan.calls);
    }

    fn heal(&self) {
        self.put(0, 0);
    }

    /// How many calls failed since the plan began.
    fn failed(&self) -> i64 {
        let mut bytes = [0; 8];
        self.plan.read_exact_at(&mut bytes, 6 * 8).unwrap();
        i64::from_ne_bytes(bytes)
    }
}

impl Disk for Failing {
    fn program(&self, args: &[&str]) -> Command {
        let mut command = entitled(args);
        command.env("ENTITLED_DATA", self.data.path()).env("ENTITLED_ROOT_KEY", ROOT);
        command
    }

    fn serve(&self) -> Server {
        let mut command = self.program(&["serve", "--listen", "127.0.0.1:0"]);
        command.env("LD_PRELOAD", &LIBRARY.1).env("FAULTS_PLAN", &self.path);
        command.env("FAULTS_DIRECTORY", self.data.path());
        Server::of(Running::start(&mut command, Stream::Err, "\"listening\""))
    }
}

/// What is said of each error where a write meets it.
fn code(error: i64) -> &'static str {
    match error {
        ENOSPC => "STORAGE_FULL",
        _ => "STORAGE_FAILING",
    }
}

#[test]
fn whichever_write_of_a_change_fails_the_change_is_undone_and_the_next_one_succeeds() {
    let disk = Failing::new();
    let server = disk.serve();
    server.catalog_and_shop();
    let mut ledger = Ledger::default();
    for (error, torn) in [(EIO, 0), (EIO, 1), (ENOSPC, 0), (ENOSPC, 1), (EROFS, 0), (EROFS, 1)] {
        let before = ledger.refused.len();
        // Until a change has fewer writes than are let through.
        for skip in 0.. {
            let number = ledger.acknowledged.len() + ledger.refused.len();
            disk.fail(Plan { torn, ..Plan::once(WRITES, error, skip) });
            let said = ledger.write(&server, &format!("t{number}"), 8);
            let failed = disk.failed();
            disk.heal();
            match said {
                Said::Acknowledged if failed == 0 => break,
                // Not of this change: the head of the trail and the like.
                Said::Acknowledged => {}
                Said::Refused(given) => assert_eq!((given.as_str(), failed), (code(error), 1)),
                Said::Unknown => panic!("a write that failed is surely not there"),
            }
            let after = ledger.write(&server, &format!("after-{number}"), 1);
            assert_eq!(after, Said::Acknowledged);
        }
        assert!(ledger.refused.len() > before + 5, "{ledger:?}");
        ledger.is_true_of(&server);
    }
    server.still_reads();
    assert_eq!(server.database(), "ok");
    ledger.is_true_after_a_crash(&disk, server);
}

#[test]
fn a_disk_that_turns_read_only_is_written_again_once_it_can_be_without_a_restart() {
    let disk = Failing::new();
    let server = disk.serve();
    server.catalog_and_shop();
    let mut ledger = Ledger::default();
    for _ in 0..3 {
        disk.fail(Plan::ever(WRITES | SIZES | OPENS, EROFS));
        ledger.write_until_refused(&server, "STORAGE_READ_ONLY", 5);
        server.still_reads();
        assert!(server.database().contains("read-only"), "{}", server.database());
        ledger.is_true_of(&server);
        disk.heal();
        let key = format!("again-{}", ledger.acknowledged.len());
        assert_eq!(ledger.write(&server, &key, 8), Said::Acknowledged);
        assert_eq!(server.database(), "ok");
    }
    ledger.is_true_after_a_crash(&disk, server);
}

#[test]
fn a_flush_of_the_log_that_fails_ends_the_service_and_takes_nothing_acknowledged_along() {
    let disk = Failing::new();
    let mut ledger = Ledger::default();
    let mut server = disk.serve();
    server.catalog_and_shop();
    for round in 0..3 {
        for number in 0..5 {
            let said = ledger.write(&server, &format!("t{round}-{number}"), 8);
            assert_eq!(said, Said::Acknowledged);
        }
        disk.fail(Plan::once(FLUSHES, EIO, 0).of("entitled.db-wal"));
        assert_eq!(ledger.write(&server, &format!("unknown-{round}"), 8), Said::Unknown);
        assert_eq!(server.running.wait(), Some(70));
        disk.heal();
        server = disk.serve();
        ledger.settle(&server);
        ledger.is_true_of(&server);
    }
    ledger.is_true_after_a_crash(&disk, server);
}

fn log_bytes(server: &Server) -> u64 {
    let metrics = reqwest::blocking::get(format!("{}/metrics", server.url)).unwrap();
    let metrics = metrics.text().unwrap();
    let mut lines = metrics.lines();
    lines
        .find_map(|line| line.strip_prefix("entitlement_database_log_bytes "))
        .unwrap()
        .parse()
        .unwrap()
}

/// Changes are in the log, which was flushed: nothing depends on when they get to the database itself.
#[test]
fn a_database_file_that_cannot_be_written_costs_no_change_and_the_log_is_emptied_once_it_can() {
    let disk = Failing::new();
    let server = disk.serve();
    server.catalog_and_shop();
    let mut ledger = Ledger::default();
    for calls in [WRITES, FLUSHES] {
        disk.fail(Plan::ever(calls, EIO).of("entitled.db"));
        // More than the log holds before it is copied.
        for number in 0..150 {
            let said = ledger.write(&server, &format!("t{calls}-{number}"), 15);
            assert_eq!(said, Said::Acknowledged);
        }
        assert!(disk.failed() > 0);
        server.still_reads();
        ledger.is_true_of(&server);
    }
    let grown = log_bytes(&server);
    assert!(grown > 8 << 20, "{grown}");
    disk.heal();
    // Once it is copied it is used anew from the start.
    for number in 0..150 {
        assert_eq!(ledger.write(&server, &format!("again-{number}"), 15), Said::Acknowledged);
    }
    assert!(log_bytes(&server) < grown + (1 << 20), "{grown}, {}", log_bytes(&server));
    ledger.is_true_after_a_crash(&disk, server);
}

#[test]
fn what_cannot_be_read_is_refused_with_503_and_decisions_go_on() {
    let disk = Failing::new();
    let server = disk.serve();
    server.catalog_and_shop();
    let mut ledger = Ledger::default();
    for number in 0..50 {
        assert_eq!(ledger.write(&server, &format!("t{number}"), 15), Said::Acknowledged);
    }
    // What is in the caches of connections is still read.
    drop(server);
    let server = disk.serve();
    server.still_reads();
    disk.fail(Plan::ever(READS, EIO));
    let (status, body, _) = server.ask(Method::GET, "/api/v1/admin/tenants?limit=200", None);
    assert_eq!((status, &body["code"]), (503, &"STORAGE_UNREADABLE".into()), "{body}");
    server.still_reads();
    disk.heal();
    assert_eq!(server.ask(Method::GET, "/api/v1/admin/tenants?limit=200", None).0, 200);
    ledger.is_true_after_a_crash(&disk, server);
}

/// Eight writers, one fault after another at any place, a crash now and then.
#[test]
fn whatever_fails_beneath_many_writers_what_was_acknowledged_is_there_and_what_was_refused_is_not()
{
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let disk = Failing::new();
    let mut ledger = Ledger::default();
    let mut server = disk.serve();
    server.catalog_and_shop();
    let (mut restarts, mut refusals) = (0, 0);
    for round in 0..25 {
        let calls = [WRITES, FLUSHES, SIZES, OPENS, WRITES | SIZES][random.random_range(0..5)];
        let error = [EIO, ENOSPC, EROFS][random.random_range(0..3)];
        let skip = random.random_range(0..200);
        let times = random.random_range(1..5);
        let torn = random.random_range(0..2);
        let plan = Plan { calls, error, skip, times, torn, name: "" };
        disk.fail(plan);
        let told = std::thread::scope(|threads| {
            let write = |writer| {
                let mut ledger = Ledger::default();
                for number in 0..8 {
                    ledger.write(&server, &format!("t{round}-{writer}-{number}"), 4);
                }
                ledger
            };
            let writers: Vec<_> =
                (0..8).map(|writer| threads.spawn(move || write(writer))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        disk.heal();
        let is_unknown = told.iter().any(|ledger| !ledger.unknown.is_empty());
        refusals += told.iter().map(|ledger| ledger.refused.len()).sum::<usize>();
        for part in told {
            ledger.acknowledged.extend(part.acknowledged);
            ledger.refused.extend(part.refused);
            ledger.unknown.extend(part.unknown);
        }
        if is_unknown {
            assert_eq!(server.running.wait(), Some(70), "{plan:?}");
        } else if random.random_bool(0.3) {
            drop(server);
        } else {
            continue;
        }
        restarts += 1;
        server = disk.serve();
        ledger.settle(&server);
        ledger.is_true_of(&server);
    }
    println!("{} acknowledged, {refusals} refused, {restarts} restarts", ledger.acknowledged.len());
    assert!(refusals > 0 && restarts > 0);
    ledger.is_true_of(&server);
    ledger.is_true_after_a_crash(&disk, server);
}

/// The answer to a change may need another look at the database. What was done is not refused for that.
#[test]
fn a_change_that_is_written_is_not_refused_because_nothing_can_be_read_any_more() {
    let disk = Failing::new();
    let server = disk.serve();
    server.catalog_and_shop();
    let path = "/api/v1/admin/overrides";
    let body = |hours: i64| {
        let ends = chrono::Utc::now() + chrono::TimeDelta::hours(hours);
        json!({"tenant": "shop", "key": "dine", "enabled": true, "reason": "Bridges the upgrade",
               "expires_at": ends.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)})
    };
    assert_eq!(server.ask(Method::POST, path, Some(body(1))).0, 201);
    // The writer has what it needs in its own memory; everybody else must read.
    disk.fail(Plan::ever(READS, EIO));
    let longer = body(2);
    let (status, answer, _) = server.ask(Method::POST, path, Some(longer.clone()));
    assert!(disk.failed() > 0);
    disk.heal();
    let (_, list, _) = server.ask(Method::GET, path, None);
    assert_eq!(list["items"][0]["expires_at"], longer["expires_at"], "{list:#}");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["expires_at"], longer["expires_at"]);
    assert_eq!(server.running.terminate(), Some(0));
}
