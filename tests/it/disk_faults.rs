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

use reqwest::Method;
use tempfile::TempDir;

use crate::{
    cli::{ROOT, Running, Stream, ended, text},
    disks::{Disk, Ledger, Said, Server},
};

/// A file system that only this test and its servers see, for as long as the value lives.
struct Mounted {
    holder: Child,
    at: TempDir,
    /// Where the service has its data.
    data: PathBuf,
}

impl Mounted {
    /// Mounts it by `mount`, in which `$AT` is where.
    fn on(at: TempDir, mount: &str) -> Self {
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
        Self::on(TempDir::new().unwrap(), &mount)
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
}

impl Disk for Mounted {
    fn program(&self, args: &[&str]) -> Command {
        let mut command = self.inside("exec \"$PROGRAM\" \"$@\"");
        command.arg("sh").args(args);
        command
    }

    fn serve(&self) -> Server {
        // A limit on the size of files is to be an error and not the end.
        let program = "trap '' XFSZ; exec \"$PROGRAM\" serve --listen 127.0.0.1:0";
        let mut command = self.inside(program);
        Server::of(Running::start(&mut command, Stream::Err, "\"listening\""))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Takes all the room that is left.
fn fill(file: &Path) {
    let mut ballast = fs::File::create(file).unwrap();
    while ballast.write_all(&[1; 4096]).is_ok() {}
}

#[test]
fn a_full_disk_refuses_changes_until_there_is_room_and_reads_go_on() {
    let disk = Mounted::memory(8);
    let server = disk.serve();
    server.catalog_and_shop();
    let mut ledger = Ledger::default();
    fill(&disk.outside("ballast"));
    ledger.write_until_refused(&server, "STORAGE_FULL", 5);
    server.still_reads();
    assert!(server.database().contains("The disk is full"), "{}", server.database());
    // What is refused for its own reason never asks the disk.
    assert_eq!(server.ask(Method::DELETE, "/api/v1/admin/overrides/none", None).0, 404);
    assert!(server.database().contains("The disk is full"), "{}", server.database());
    let metrics =
        reqwest::blocking::get(format!("{}/metrics", server.url)).unwrap().text().unwrap();
    assert!(metrics.contains("entitlement_storage_faults_total{fault=\"STORAGE_FULL\"} 5"));
    fs::remove_file(disk.outside("ballast")).unwrap();
    assert_eq!(ledger.write(&server, "again", 8), Said::Acknowledged);
    assert_eq!(server.database(), "ok");
    ledger.is_true_of(&server);
    ledger.is_true_after_a_crash(&disk, server);
}

#[test]
fn a_database_that_filled_its_disk_by_itself_starts_again_with_what_it_acknowledged() {
    let disk = Mounted::memory(3);
    let server = disk.serve();
    server.catalog_and_shop();
    let mut ledger = Ledger::default();
    ledger.write_until_refused(&server, "STORAGE_FULL", 20);
    server.still_reads();
    ledger.is_true_of(&server);
    // Enough for what a start and an end need.
    let more = format!("mount -o remount,size=16m \"{}\"", text(disk.at.path()));
    ended(&mut disk.inside(&more), 0);
    assert_eq!(ledger.write(&server, "again", 8), Said::Acknowledged);
    ledger.is_true_after_a_crash(&disk, server);
}

#[test]
fn writes_that_the_system_refuses_are_undone_and_said_to_be() {
    let disk = Mounted::memory(16);
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
        assert_eq!(ledger.write(&server, &format!("after-{more}"), 8), Said::Acknowledged);
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
    let disk = Mounted::on(at, &mount);
    let server = disk.serve();
    server.catalog_and_shop();
    let mut ledger = Ledger::default();
    for number in 0..20 {
        assert_eq!(ledger.write(&server, &format!("t{number}"), 8), Said::Acknowledged);
    }
    // As the kernel does when it finds the file system damaged.
    let turn = "echo 1 > /sys/fs/ext4/$(basename $(findmnt -no SOURCE \"$AT\"))/trigger_fs_error";
    ended(&mut disk.inside(turn), 0);
    ledger.write_until_refused(&server, "STORAGE_READ_ONLY", 5);
    assert_eq!(ledger.acknowledged.len(), 20);
    server.still_reads();
    assert!(server.database().contains("read-only"), "{}", server.database());
    ledger.is_true_of(&server);
    // The file system must be mounted anew, so this time the service has to end.
    drop(server);
    let again = format!("umount \"$AT\"; mount -o loop '{}' \"$AT\"", text(&image));
    ended(&mut disk.inside(&again), 0);
    let server = disk.serve();
    ledger.is_true_of(&server);
    assert_eq!(ledger.write(&server, "again", 8), Said::Acknowledged);
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
    let mut disk = Mounted::on(at, mount);
    disk.data = data;
    let server = disk.serve();
    server.catalog_and_shop();
    let mut ledger = Ledger::default();
    ledger.write_until_unknown(&server);
    assert_eq!(server.running.wait(), Some(70));
    let again = "mount -o remount,size=200m \"$AT\"; umount \"$AT/fs\"
                 e2fsck -fy \"$AT/image\" || test $? -le 1
                 mount -o loop \"$AT/image\" \"$AT/fs\"";
    ended(&mut disk.inside(again), 0);
    let server = disk.serve();
    ledger.settle(&server);
    ledger.is_true_of(&server);
    ledger.is_true_after_a_crash(&disk, server);
}
