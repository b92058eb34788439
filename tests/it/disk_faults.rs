//! A disk that is full, read-only or failing: reads go on from memory, changes say 503 and why, nothing
//! is acknowledged that isn't there, nothing is there that was refused, and nobody has to restart
//! anything once the cause is gone.
//!
//! Each test has a small file system of its own, in a mount namespace of its own, and so needs root.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use reqwest::{Method, blocking};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{ROOT, Running, Stream, ended, stdout, text};

/// A file system that only this test and its servers see, for as long as the value lives.
struct Disk {
    holder: Child,
    at: TempDir,
    /// Where the service has its data.
    data: PathBuf,
}

impl Disk {
    /// Mounts it by `mount`, in which `$AT` is where.
    fn mounted(at: TempDir, mount: &str) -> Self {
        let script = format!("{mount}\necho mounted; exec sleep 900");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", &script]);
        command.env("AT", at.path()).stdout(Stdio::piped());
        let mut holder = command.spawn().expect("unshare (util-linux) is needed");
        let said = BufReader::new(holder.stdout.take().unwrap()).lines().next();
        let is_mounted = said.is_some_and(|line| line.is_ok_and(|line| line == "mounted"));
        assert!(is_mounted, "can't mount a file system for this test: it must run as root");
        let data = at.path().to_owned();
        Self { holder, at, data }
    }

    fn memory(megabytes: u32) -> Self {
        let mount = format!("mount -t tmpfs -o size={megabytes}m,mode=700 tmpfs \"$AT\"");
        Self::mounted(TempDir::new().unwrap(), &mount)
    }

    /// Where `path` lies, for somebody outside of the namespace.
    fn outside(&self, path: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.data.strip_prefix("/").unwrap()).join(path)
    }

    /// A program that sees it.
    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let space = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        command.args([&space, "--", "sh", "-ec", program]);
        command.env("AT", self.at.path()).env("PROGRAM", env!("CARGO_BIN_EXE_entitled"));
        command.env("ENTITLED_DATA", &self.data).env("ENTITLED_ROOT_KEY", ROOT);
        command
    }

    fn serve(&self) -> Server {
        // A limit on the size of files is to be an error and not the end.
        let program = "trap '' XFSZ; exec \"$PROGRAM\" serve --listen 127.0.0.1:0";
        let mut command = self.inside(program);
        let running = Running::start(&mut command, Stream::Err, "\"listening\"");
        Server { url: running.url(), running, http: blocking::Client::new() }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

struct Server {
    url: String,
    running: Running,
    http: blocking::Client,
}

impl Server {
    /// The status and the body, and what `Retry-After` says.
    fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value, String) {
        let url = format!("{}{path}", self.url);
        let mut request = self.http.request(method, url).bearer_auth(ROOT);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let reply = request.send().unwrap();
        let after = reply.headers().get("retry-after").map(|h| h.to_str().unwrap().to_owned());
        (reply.status().as_u16(), reply.json().unwrap_or_default(), after.unwrap_or_default())
    }

    fn catalog_and_shop(&self) {
        let yaml = include_str!("../../examples/retail.yaml");
        let put = self.http.put(format!("{}/api/v1/admin/catalog", self.url)).bearer_auth(ROOT);
        let put = put.header("content-type", "application/yaml").body(yaml).send().unwrap();
        assert_eq!(put.status(), 200);
        assert_eq!(self.tenant("shop", 1).0, 201);
        let plan = json!({"plan": "starter", "change_reason": "for a test"});
        let path = "/api/v1/admin/tenants/shop/subscriptions";
        assert_eq!(self.ask(Method::POST, path, Some(plan)).0, 201);
        self.still_reads();
    }

    /// Makes a tenant with so many kilobytes.
    fn tenant(&self, key: &str, kilobytes: usize) -> (u16, Value, String) {
        let body =
            json!({"key": key, "name": key, "attributes": {"x": "x".repeat(kilobytes << 10)}});
        self.ask(Method::POST, "/api/v1/admin/tenants", Some(body))
    }

    /// Decisions and payloads go on, and the service stays ready for them.
    fn still_reads(&self) {
        let question = json!({"tenant": "shop", "module": "retail"});
        let (status, body, _) = self.ask(Method::POST, "/api/v1/check", Some(question));
        assert_eq!((status, &body["allowed"]), (200, &json!(true)), "{body}");
        let (status, _, _) = self.ask(Method::GET, "/api/v1/tenants/shop/entitlements", None);
        assert_eq!(status, 200);
        assert_eq!(self.ask(Method::GET, "/readyz", None).0, 200);
    }
}

/// What was answered to each change.
#[derive(Default)]
struct Ledger {
    acknowledged: Vec<String>,
    refused: Vec<String>,
}

impl Ledger {
    /// Makes tenants until `enough` were refused, each with this code.
    fn write_until_refused(&mut self, server: &Server, code: &str, enough: usize) {
        let before = self.refused.len();
        for _ in 0..2_000 {
            let key = format!("t{}", self.acknowledged.len() + self.refused.len());
            let (status, body, after) = server.tenant(&key, 8);
            match status {
                201 => self.acknowledged.push(key),
                503 => {
                    assert_eq!(body["code"], code, "{body}");
                    assert!(
                        body["detail"].as_str().unwrap().contains("nothing was changed"),
                        "{body}"
                    );
                    assert!(after.parse::<u64>().is_ok(), "Retry-After: {after}");
                    self.refused.push(key);
                }
                other => panic!("{other}: {body}"),
            }
            if self.refused.len() == before + enough {
                return;
            }
        }
        panic!("the disk took everything");
    }

    /// Makes tenants until one is answered with that its outcome is not known, or not at all.
    fn write_until_unknown(&mut self, server: &Server) -> String {
        for number in 0..5_000 {
            let key = format!("t{number}");
            let body = json!({"key": key, "name": key, "attributes": {"x": "x".repeat(8 << 10)}});
            let url = format!("{}/api/v1/admin/tenants", server.url);
            let reply = server.http.post(url).bearer_auth(ROOT).json(&body).send();
            let Ok(reply) = reply else { return key };
            match reply.status().as_u16() {
                201 => self.acknowledged.push(key),
                503 => {
                    let body: Value = reply.json().unwrap();
                    if body["code"] == "UNAVAILABLE" {
                        assert!(body["detail"].as_str().unwrap().contains("not known"), "{body}");
                        return key;
                    }
                    self.refused.push(key);
                }
                other => panic!("{other}"),
            }
        }
        panic!("the disk took everything");
    }

    /// What was acknowledged is there, and what was refused is not.
    fn is_true_of(&self, server: &Server) {
        for (keys, expected) in [(&self.acknowledged, 200), (&self.refused, 404)] {
            for key in keys {
                let path = format!("/api/v1/admin/tenants/{key}");
                assert_eq!(server.ask(Method::GET, &path, None).0, expected, "{key}");
            }
        }
    }

    /// The same after a crash and a start, and the audit trail tells of each exactly once.
    fn is_true_after_a_crash(&self, disk: &Disk, server: Server) {
        drop(server);
        let server = disk.serve();
        self.is_true_of(&server);
        let export = "exec \"$PROGRAM\" audit export --event tenant.created";
        let trail = ended(&mut disk.inside(export), 0);
        let lines = stdout(&trail).lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let told: Vec<_> = lines.map(|line| line["subject"].as_str().unwrap().to_owned()).collect();
        for key in &self.acknowledged {
            assert_eq!(told.iter().filter(|told| *told == key).count(), 1, "{key}");
        }
        assert!(self.refused.iter().all(|key| !told.contains(key)));
        ended(&mut disk.inside("exec \"$PROGRAM\" audit verify"), 0);
        assert_eq!(server.running.terminate(), Some(0));
    }
}

/// Takes all the room that is left.
fn fill(file: &Path) {
    let mut ballast = fs::File::create(file).unwrap();
    while ballast.write_all(&[1; 4096]).is_ok() {}
}

fn readyz(server: &Server) -> String {
    server.ask(Method::GET, "/readyz", None).1["checks"]["database"].as_str().unwrap().to_owned()
}

#[test]
fn a_full_disk_refuses_changes_until_there_is_room_and_reads_go_on() {
    let disk = Disk::memory(8);
    let server = disk.serve();
    server.catalog_and_shop();
    let mut ledger = Ledger::default();
    fill(&disk.outside("ballast"));
    ledger.write_until_refused(&server, "STORAGE_FULL", 5);
    server.still_reads();
    assert!(readyz(&server).contains("The disk is full"), "{}", readyz(&server));
    let metrics =
        reqwest::blocking::get(format!("{}/metrics", server.url)).unwrap().text().unwrap();
    assert!(metrics.contains("entitlement_storage_faults_total{fault=\"STORAGE_FULL\"} 5"));
    fs::remove_file(disk.outside("ballast")).unwrap();
    assert_eq!(server.tenant("again", 8).0, 201);
    ledger.acknowledged.push("again".into());
    assert_eq!(readyz(&server), "ok");
    ledger.is_true_of(&server);
    ledger.is_true_after_a_crash(&disk, server);
}

#[test]
fn a_database_that_filled_its_disk_by_itself_starts_again_with_what_it_acknowledged() {
    let disk = Disk::memory(3);
    let server = disk.serve();
    server.catalog_and_shop();
    let mut ledger = Ledger::default();
    ledger.write_until_refused(&server, "STORAGE_FULL", 20);
    server.still_reads();
    ledger.is_true_of(&server);
    // Enough for what a start and an end need.
    let more = format!("mount -o remount,size=16m \"{}\"", text(disk.at.path()));
    ended(&mut disk.inside(&more), 0);
    assert_eq!(server.tenant("again", 8).0, 201);
    ledger.acknowledged.push("again".into());
    ledger.is_true_after_a_crash(&disk, server);
}

#[test]
fn writes_that_the_system_refuses_are_undone_and_said_to_be() {
    let disk = Disk::memory(16);
    let server = disk.serve();
    server.catalog_and_shop();
    let mut ledger = Ledger::default();
    let id = server.running.id().to_string();
    let limit = |bytes: &str| {
        let size = format!("--fsize={bytes}:unlimited");
        let mut command = Command::new("prlimit");
        ended(command.args(["--pid", &id, &size]), 0);
    };
    // At odd places, so that frames of the log are cut in the middle.
    for more in [1, 5_000, 9_999] {
        let log = fs::metadata(disk.outside("entitled.db-wal")).unwrap().len();
        limit(&(log + more).to_string());
        ledger.write_until_refused(&server, "STORAGE_FAILING", 3);
        server.still_reads();
        limit("unlimited");
        assert_eq!(server.tenant(&format!("after-{more}"), 8).0, 201);
        ledger.acknowledged.push(format!("after-{more}"));
        ledger.is_true_of(&server);
    }
    ledger.is_true_after_a_crash(&disk, server);
}

#[test]
fn a_file_system_that_turns_read_only_refuses_changes_and_reads_go_on() {
    let at = TempDir::new().unwrap();
    let image = TempDir::new().unwrap();
    let image = image.path().join("image");
    let file = fs::File::create(&image).unwrap();
    file.set_len(32 << 20).unwrap();
    let mount = format!(
        "mkfs.ext4 -q '{0}'; mount -o loop,errors=remount-ro '{0}' \"$AT\"; chmod 700 \"$AT\"",
        text(&image)
    );
    let disk = Disk::mounted(at, &mount);
    let server = disk.serve();
    server.catalog_and_shop();
    let mut ledger = Ledger::default();
    for number in 0..20 {
        ledger.acknowledged.push(format!("t{number}"));
        assert_eq!(server.tenant(&format!("t{number}"), 8).0, 201);
    }
    // As the kernel does when it finds the file system damaged.
    let turn = "echo 1 > /sys/fs/ext4/$(basename $(findmnt -no SOURCE \"$AT\"))/trigger_fs_error";
    ended(&mut disk.inside(turn), 0);
    ledger.write_until_refused(&server, "STORAGE_READ_ONLY", 5);
    assert_eq!(ledger.acknowledged.len(), 20);
    server.still_reads();
    assert!(readyz(&server).contains("read-only"), "{}", readyz(&server));
    ledger.is_true_of(&server);
    // The file system must be mounted anew, so this time the service has to end.
    drop(server);
    let again = format!("umount \"$AT\"; mount -o loop '{}' \"$AT\"", text(&image));
    ended(&mut disk.inside(&again), 0);
    let server = disk.serve();
    ledger.is_true_of(&server);
    assert_eq!(server.tenant("again", 8).0, 201);
    ledger.acknowledged.push("again".into());
    ledger.is_true_after_a_crash(&disk, server);
}

#[test]
fn a_flush_that_fails_ends_the_service_with_70_and_takes_nothing_acknowledged_along() {
    // A file system that believes to have more room than there is. With a journal it would turn
    // read-only, which is another test.
    let mount = "mount -t tmpfs -o size=16m,mode=700 tmpfs \"$AT\"
         truncate -s 64M \"$AT/image\"
         mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=0 \"$AT/image\"
         mkdir \"$AT/fs\"; mount -o loop \"$AT/image\" \"$AT/fs\"";
    let at = TempDir::new().unwrap();
    let data = at.path().join("fs");
    let mut disk = Disk::mounted(at, mount);
    disk.data = data;
    let server = disk.serve();
    server.catalog_and_shop();
    let mut ledger = Ledger::default();
    let unknown = ledger.write_until_unknown(&server);
    assert_eq!(server.running.wait(), Some(70));
    let again = "mount -o remount,size=200m \"$AT\"; umount \"$AT/fs\"
                 e2fsck -fy \"$AT/image\" || test $? -le 1
                 mount -o loop \"$AT/image\" \"$AT/fs\"";
    ended(&mut disk.inside(again), 0);
    let server = disk.serve();
    ledger.is_true_of(&server);
    // It is there or not, and nobody was told either.
    let path = format!("/api/v1/admin/tenants/{unknown}");
    match server.ask(Method::GET, &path, None).0 {
        200 => ledger.acknowledged.push(unknown),
        status => assert_eq!(status, 404),
    }
    ledger.is_true_after_a_crash(&disk, server);
}
