//! Litestream beside the service, as docs/backup.md says: everything that was acknowledged gets to the
//! replica, and `entitled restore` puts it back. `tests/litestream/` pins it; `.ci/run` installs it.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{ROOT, Running, ended, entitled, stdout, text};

const KEY: [(&str, &str); 1] = [("ENTITLED_ROOT_KEY", ROOT)];

fn program() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/litestream/node_modules");
    folder.join("@flydotio/litestream-linux-x64/litestream")
}

/// The replication, for as long as the value lives.
struct Replication {
    process: Child,
    replica: String,
}

impl Replication {
    fn start(data: &Path, at: &Path) -> Self {
        let replica = at.join("replica");
        let file = at.join("litestream.yml");
        let settings = json!({"dbs": [{
            "path": data.join("entitled.db"),
            "replicas": [{"path": replica, "sync-interval": "50ms"}],
        }]});
        // JSON is YAML.
        std::fs::write(&file, settings.to_string()).unwrap();
        let mut command = Command::new(program());
        command.args(["replicate", "-config", text(&file)]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.expect("needs Litestream: npm ci in tests/litestream");
        Self { process, replica: format!("file://{}", text(&replica)) }
    }

    /// The database as the replica has it, once this is the end of its trail.
    fn restored(&self, at: &Path, head: &Value) -> PathBuf {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let dir = TempDir::new_in(at).unwrap().keep();
            let (file, data) = (dir.join("copy.db"), dir.join("data"));
            let mut restore = Command::new(program());
            restore.args(["restore", "-o", text(&file), &self.replica]);
            // There may be no snapshot yet.
            if restore.output().unwrap().status.success() {
                let args = ["restore", "--from", text(&file), "--data", text(&data), "--json"];
                let said = ended(&mut entitled(&args), 0);
                let said: Value = serde_json::from_str(stdout(&said)).unwrap();
                if said["head"] == *head {
                    return data;
                }
            }
            assert!(Instant::now() < deadline, "{head} doesn't get to the replica");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Replication {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "needs Litestream: npm ci in tests/litestream"]
fn what_litestream_has_copied_is_put_back_with_every_acknowledged_change() {
    let (data, at) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Running::serve(data.path(), &KEY);
    let replication = Replication::start(data.path(), at.path());
    let http = reqwest::blocking::Client::new();
    let tenants = format!("{}/api/v1/admin/tenants", server.url());
    // The log is copied into the database and begun anew several times.
    for number in 0..600 {
        let body = json!({"key": format!("t{number}"), "name": "T", "attributes": {
            "x": "x".repeat(12 << 10),
        }});
        let reply = http.post(&tenants).bearer_auth(ROOT).json(&body).send().unwrap();
        assert_eq!(reply.status(), 201, "{number}");
    }
    let said = ended(&mut entitled(&["audit", "verify", "--data", text(data.path()), "--json"]), 0);
    let head: Value = serde_json::from_str(stdout(&said)).unwrap();
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    ended(&mut entitled(&["doctor", "--data", text(data.path())]), 0);
    // The machine is lost.
    drop(server);
    let restored = replication.restored(at.path(), &head["head"]);
    let server = Running::serve(&restored, &KEY);
    ended(&mut entitled(&["doctor", "--data", text(&restored)]), 0);
    for number in 0..600 {
        let url = format!("{}/api/v1/admin/tenants/t{number}", server.url());
        assert_eq!(http.get(url).bearer_auth(ROOT).send().unwrap().status(), 200, "{number}");
    }
    assert_eq!(server.terminate(), Some(0));
}
