//! The program itself: real processes, real files, real exit codes.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{App, ROOT_KEY};

/// The program without any of this machine's settings.
pub fn entitled(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entitled"));
    for (name, _) in std::env::vars_os() {
        let is_ours = name.to_str().is_some_and(|name| name.starts_with("ENTITLED_"));
        if is_ours || name == "ENABLE_ENTITLEMENTS_GATING" {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// A command on a data directory. One that should not start must not meet a port in use.
pub fn on(data: &Path, command: &str) -> Command {
    let mut command = entitled(&[command, "--data", text(data)]);
    command.env("ENTITLED_LISTEN", "127.0.0.1:0");
    command
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a program that ends by itself printed, with its exit code.
#[track_caller]
pub fn ended(command: &mut Command, code: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap().trim_end()
}

/// The one line that a failure is.
#[track_caller]
pub fn one_line(output: &Output) -> &str {
    let text = std::str::from_utf8(&output.stderr).unwrap().trim_end();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("entitled: "), "{text}");
    text
}

/// A program that runs until it is told to end.
pub struct Running {
    child: Child,
    /// What it printed about itself so far.
    said: Vec<String>,
}

impl Running {
    /// Starts it and reads from `stream` until a line that says `last`.
    pub fn start(command: &mut Command, from: Stream, last: &str) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (talk, rest): (Box<dyn Read + Send>, Box<dyn Read + Send>) = match from {
            Stream::Out => (Box::new(out), Box::new(err)),
            Stream::Err => (Box::new(err), Box::new(out)),
        };
        // A full pipe would stop it.
        std::thread::spawn(move || std::io::copy(&mut BufReader::new(rest), &mut std::io::sink()));
        let mut lines = BufReader::new(talk).lines();
        let mut said = Vec::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {said:?}")).unwrap();
            let is_last = line.contains(last);
            said.push(line);
            if is_last {
                break;
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, said }
    }

    /// The service on a data directory and any free port.
    pub fn serve(data: &Path, variables: &[(&str, &str)]) -> Self {
        let args = ["serve", "--data", text(data), "--listen", "127.0.0.1:0"];
        let mut command = entitled(&args);
        command.envs(variables.iter().copied());
        Self::start(&mut command, Stream::Err, "\"listening\"")
    }

    /// An empty service that is thrown away, its address, and a key of a super admin.
    pub fn ephemeral(variables: &[(&str, &str)]) -> (Self, String, String) {
        let mut command = entitled(&["serve", "--ephemeral"]);
        command.envs(variables.iter().copied());
        let running = Self::start(&mut command, Stream::Out, "url");
        let said: Value = serde_json::from_str(&running.said[0]).unwrap();
        let member = |name: &str| said[name].as_str().unwrap().to_owned();
        let (url, key) = (member("url"), member("key"));
        (running, url, key)
    }

    /// The address in the line of the log that says that it listens.
    pub fn url(&self) -> String {
        let line: Value = serde_json::from_str(self.said.last().unwrap()).unwrap();
        line["url"].as_str().unwrap().to_owned()
    }

    fn first_key(&self) -> Option<&str> {
        self.said.iter().find_map(|line| line.split_once("first key")?.1.rsplit(' ').next())
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to end, by its own id; its exit code.
    pub fn terminate(self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.wait()
    }

    /// Its exit code, once it has ended by itself.
    pub fn wait(mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it doesn't end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub enum Stream {
    Out,
    Err,
}

/// A client command against a server.
pub fn client(url: &str, key: &str, args: &[&str]) -> Command {
    let mut command = entitled(args);
    command.env("ENTITLED_URL", url).env("ENTITLED_KEY", key);
    command
}

/// What a command says to the server of a test when it is run by the bearer of `key`.
pub async fn by(app: &App, key: &str, args: &[&str], code: i32) -> Output {
    let url = format!("http://{}", app.address);
    let (key, args) =
        (key.to_owned(), args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
    let run = move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = client(&url, &key, &args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
        output
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// The same by the super admin: what people read.
pub async fn told(app: &App, args: &[&str]) -> String {
    stdout(&by(app, ROOT_KEY, args, 0).await).to_owned()
}

/// The same for programs.
pub async fn json(app: &App, args: &[&str]) -> Value {
    let output = by(app, ROOT_KEY, &[args, &["--json"]].concat(), 0).await;
    serde_json::from_str(stdout(&output)).unwrap()
}

/// Why a command of the super admin fails.
pub async fn fails(app: &App, args: &[&str], code: i32) -> String {
    let output = by(app, ROOT_KEY, args, code).await;
    assert_eq!(stdout(&output), "", "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn get(url: &str) -> (u16, String) {
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().unwrap();
    (answer.status().as_u16(), answer.text().unwrap())
}

pub const ROOT: &str = "a-root-key-of-at-least-32-characters";

#[test]
fn an_ephemeral_service_says_where_it_is_and_leaves_nothing_behind() {
    let temporary = TempDir::new().unwrap();
    let mut command = entitled(&["serve", "--ephemeral"]);
    command.env("TMPDIR", temporary.path());
    let running = Running::start(&mut command, Stream::Out, "url");
    let said: Value = serde_json::from_str(&running.said[0]).unwrap();
    let (url, key) = (said["url"].as_str().unwrap(), said["key"].as_str().unwrap());
    assert_eq!(get(&format!("{url}/healthz")).0, 200);
    assert_eq!(get(&format!("{url}/readyz")).0, 200);
    assert!(get(&format!("{url}/metrics")).1.contains("entitlement_audit_sequence 1"));
    ended(&mut client(url, key, &["keys", "list"]), 0);
    assert!(temporary.path().read_dir().unwrap().next().is_some());
    assert_eq!(running.terminate(), Some(0));
    assert!(temporary.path().read_dir().unwrap().next().is_none());
}

#[test]
fn a_data_directory_has_one_process() {
    let data = TempDir::new().unwrap();
    let _first = Running::serve(data.path(), &[]);
    for command in ["serve", "migrate"] {
        let output = ended(&mut on(data.path(), command), 73);
        assert!(one_line(&output).contains("another process uses the data directory"));
    }
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    for content in ["not a database", &"not a database ".repeat(1000)] {
        let data = TempDir::new().unwrap();
        let file = data.path().join("entitled.db");
        std::fs::write(&file, content).unwrap();
        let output = ended(&mut on(data.path(), "serve"), 76);
        assert!(one_line(&output).contains("is not a database of this service"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
    }
}

#[test]
fn a_database_of_a_newer_release_is_left_alone() {
    let data = TempDir::new().unwrap();
    let migrated = ended(&mut entitled(&["migrate", "--data", text(data.path())]), 0);
    assert!(stdout(&migrated).starts_with("applied 1 "));
    let conn = rusqlite::Connection::open(data.path().join("entitled.db")).unwrap();
    conn.execute_batch(
        "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
         VALUES (999, 'later', '2030-01-01T00:00:00Z', '1')",
    )
    .unwrap();
    drop(conn);
    for command in ["serve", "migrate"] {
        let output = ended(&mut on(data.path(), command), 76);
        assert!(one_line(&output).contains("schema version 999 is newer"));
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = ended(&mut on(&file.join("data"), "serve"), 73);
    assert!(one_line(&output).contains("can't create the data directory"));
}

#[test]
fn a_new_data_directory_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("a/b");
    ended(&mut entitled(&["migrate", "--data", text(&data)]), 0);
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_port_in_use_is_named() {
    let data = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let args = ["serve", "--data", text(data.path()), "--listen", &address];
    let output = ended(&mut entitled(&args), 74);
    assert!(one_line(&output).contains(&format!("can't listen on {address}")));
}

#[test]
fn what_nobody_knows_is_an_error() {
    let data = TempDir::new().unwrap();
    let file = data.path().join("entitled.toml");
    for (content, says) in [
        ("lisen = '127.0.0.1:1'", "no setting “lisen”"),
        ("[limits]\nreader = 4", "did you mean limits.readers?"),
        ("root_key = 12345", "root_key must be a text, in quotes"),
        ("data = '/x'", "data can't be set in"),
        ("gating = false", "set ENABLE_ENTITLEMENTS_GATING"),
        ("root_key = 'hunter2", "isn't TOML"),
    ] {
        std::fs::write(&file, content).unwrap();
        let output = ended(&mut on(data.path(), "serve"), 78);
        let line = one_line(&output);
        assert!(line.contains(says), "{line}");
        assert!(!line.contains("12345") && !line.contains("hunter2"), "{line}");
    }
    std::fs::remove_file(&file).unwrap();
    for (name, value, says) in [
        ("ENTITLED_LISEN", "x", "did you mean ENTITLED_LISTEN?"),
        ("ENTITLED_ROOT_KEY", "short", "root_key: must have at least 32 characters"),
        ("ENABLE_ENTITLEMENTS_GATING", "yes", "must be exactly true, false, 1 or 0"),
        ("ENTITLED_CONFIG", "/nowhere.toml", "can't read the configuration /nowhere.toml"),
        ("ENTITLED_JWT__JWKS_FILE", "/nowhere.json", "jwt.jwks_file: can't read /nowhere.json"),
    ] {
        let mut command = on(data.path(), "serve");
        let output = ended(command.env(name, value), 78);
        assert!(one_line(&output).contains(says), "{}", one_line(&output));
    }
    let mut both = on(data.path(), "serve");
    both.env("ENTITLED_ROOT_KEY", ROOT).env("ENTITLED_ROOT_KEY_FILE", "/x");
    assert!(one_line(&ended(&mut both, 78)).contains("root_key and root_key_file are both set"));
}

#[test]
fn config_says_where_each_value_comes_from_and_hides_secrets() {
    let data = TempDir::new().unwrap();
    let file = data.path().join("entitled.toml");
    std::fs::write(&file, "root_key = 'hunter2'\n[limits]\nreaders = 9\nwrite_group = 5").unwrap();
    let mut command = entitled(&["config", "--json", "--data", text(data.path())]);
    command.env("ENTITLED_LIMITS__READERS", "7");
    let output = ended(&mut command, 0);
    assert!(!stdout(&output).contains("hunter2"));
    let rows: Vec<Value> = serde_json::from_str(stdout(&output)).unwrap();
    let row = |name: &str| {
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        (row["value"].clone(), row["source"].as_str().unwrap().to_owned())
    };
    assert_eq!(row("data"), (text(data.path()).into(), "flag --data".into()));
    assert_eq!(
        row("limits.readers"),
        (7.into(), "environment variable ENTITLED_LIMITS__READERS".into())
    );
    assert_eq!(row("limits.write_group"), (5.into(), text(&file).into()));
    assert_eq!(row("root_key"), ("***".into(), text(&file).into()));
    assert_eq!(row("listen"), ("127.0.0.1:8080".into(), "default".into()));
    let table = ended(&mut entitled(&["config", "--data", text(data.path())]), 0);
    assert!(!stdout(&table).contains("hunter2") && stdout(&table).contains("limits.readers"));
}

#[test]
fn every_setting_stands_in_the_documentation() {
    let page = include_str!("../../docs/configuration.md");
    let output = ended(&mut entitled(&["config", "--json", "--data", "/nowhere"]), 0);
    let rows: Vec<Value> = serde_json::from_str(stdout(&output)).unwrap();
    assert!(rows.len() > 20);
    for row in rows {
        let (name, variable) = (row["name"].as_str().unwrap(), row["variable"].as_str().unwrap());
        // A flag may stand beside it.
        let start = format!("| `{name}` | `{variable}`");
        let line = page.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("no line {start}"));
        let value = match &row["value"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if row["source"] == "default" && !row["value"].is_null() {
            assert!(line.contains(&format!("| `{value}` |")), "{line}: the default is {value}");
        }
    }
}

#[test]
fn a_stale_document_is_told_from_a_fresh_one() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("openapi.json");
    ended(&mut entitled(&["openapi", "--output", text(&file)]), 0);
    let printed = ended(&mut entitled(&["openapi"]), 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim_end(), stdout(&printed));
    ended(&mut entitled(&["openapi", "--check", "--output", text(&file)]), 0);
    std::fs::write(&file, "{}").unwrap();
    let stale = ended(&mut entitled(&["openapi", "--check", "--output", text(&file)]), 1);
    assert!(one_line(&stale).contains("is stale"));
}

#[test]
fn a_token_that_it_issues_is_one_that_it_takes() {
    let (data, secrets) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = secrets.path().join("jwt");
    // Digits only, and a line break at the end: both are ordinary.
    std::fs::write(&file, format!("{}\n", "7".repeat(40))).unwrap();
    let settings =
        [("ENTITLED_JWT__HS256_SECRET_FILE", text(&file)), ("ENTITLED_JWT__ISSUER", "it")];
    let running = Running::serve(data.path(), &settings);
    let issue = |args: &[&str], code| {
        let mut command = entitled(&[&["token", "--data", text(data.path())], args].concat());
        ended(command.envs(settings), code)
    };
    let admin = issue(&["--sub", "ada", "--role", "super_admin", "--ttl", "1m"], 0);
    ended(&mut client(&running.url(), stdout(&admin), &["keys", "list"]), 0);
    let auditor = issue(&["--sub", "ada", "--role", "auditor"], 0);
    let refused = ended(&mut client(&running.url(), stdout(&auditor), &["keys", "list"]), 77);
    assert!(one_line(&refused).contains("403"));
    assert!(one_line(&issue(&["--sub", "a", "--role", "tenant_user"], 2)).contains("--tenant"));
    let none = entitled(&["token", "--sub", "a", "--role", "support", "--data", "/x"]).output();
    assert_eq!(none.unwrap().status.code(), Some(78));
}

#[test]
fn sigterm_ends_it_and_a_fresh_start_has_the_data() {
    let data = TempDir::new().unwrap();
    let running = Running::serve(data.path(), &[]);
    let key = running.first_key().expect("a first key").to_owned();
    let catalog = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/retail.yaml");
    let apply = ["catalog", "apply", catalog];
    ended(&mut client(&running.url(), &key, &apply), 0);
    assert_eq!(running.terminate(), Some(0));
    // The log was emptied into the database.
    let log = std::fs::metadata(data.path().join("entitled.db-wal"));
    assert!(log.map_or(0, |log| log.len()) == 0);

    let running = Running::serve(data.path(), &[]);
    assert_eq!(running.first_key(), None, "it is shown once");
    let exported = ended(&mut client(&running.url(), &key, &["catalog", "export"]), 0);
    let file = std::fs::read_to_string(catalog).unwrap();
    assert_eq!(stdout(&exported), file.trim_end());
    let again = ended(&mut client(&running.url(), &key, &apply), 0);
    assert!(stdout(&again).starts_with("nothing to change"));
}

#[test]
fn with_a_root_key_no_first_key_is_made() {
    let data = TempDir::new().unwrap();
    let running = Running::serve(data.path(), &[("ENTITLED_ROOT_KEY", ROOT)]);
    assert_eq!(running.first_key(), None);
    let url = running.url();
    let create = ["keys", "create", "--name", "shop", "--role", "service"];
    let key = ended(&mut client(&url, ROOT, &create), 0);
    let refused = ended(&mut client(&url, stdout(&key), &["keys", "list"]), 77);
    assert!(one_line(&refused).contains("403"));
    let listed = ended(&mut client(&url, ROOT, &["keys", "list", "--json"]), 0);
    let keys: Vec<Value> = serde_json::from_str(stdout(&listed)).unwrap();
    let id = keys[0]["id"].as_str().unwrap();
    ended(&mut client(&url, ROOT, &["keys", "revoke", id]), 0);
    let refused = ended(&mut client(&url, stdout(&key), &["keys", "list"]), 77);
    assert!(one_line(&refused).contains("401"));
}

#[test]
fn the_audit_trail_is_verified_beside_the_service_and_tampering_is_found() {
    let data = TempDir::new().unwrap();
    let verify = ["audit", "verify", "--json", "--data", text(data.path())];
    let running = Running::serve(data.path(), &[]);
    let found: Value = serde_json::from_str(stdout(&ended(&mut entitled(&verify), 0))).unwrap();
    assert_eq!((&found["intact"], &found["rows"]), (&true.into(), &1.into()));
    assert_eq!(running.terminate(), Some(0));
    ended(&mut entitled(&verify), 0);

    let conn = rusqlite::Connection::open(data.path().join("entitled.db")).unwrap();
    let change = "UPDATE audit SET actor = 'somebody else' WHERE seq = 1";
    assert!(conn.execute_batch(change).is_err(), "it is append-only");
    conn.execute_batch("DROP TRIGGER audit_is_append_only_update").unwrap();
    conn.execute_batch(change).unwrap();
    drop(conn);
    let found: Value = serde_json::from_str(stdout(&ended(&mut entitled(&verify), 1))).unwrap();
    assert_eq!((&found["intact"], &found["seq"]), (&false.into(), &1.into()));
    let nothing = ended(&mut entitled(&["audit", "verify", "--data", "/nowhere"]), 74);
    assert!(one_line(&nothing).contains("there is no database"));
}

#[test]
fn the_demo_starts_at_once_and_prints_a_line_that_works() {
    let started = Instant::now();
    let args = ["serve", "--demo", "--listen", "127.0.0.1:0"];
    let running = Running::start(&mut entitled(&args), Stream::Out, "curl ");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let line = running.said.last().unwrap();
    let answer = Command::new("sh").args(["-c", line]).output().unwrap();
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!((&answer["allowed"], &answer["reason"]), (&false.into(), &"plan_limit".into()));

    let url = line.split_whitespace().find_map(|w| w.strip_suffix("/api/v1/check")).unwrap();
    let word = |start: &str| {
        let line = running.said.iter().find(|line| line.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("no {start}")).split_whitespace().last().unwrap()
    };
    let ask = |tenant: &str, module: &str, code| {
        let args = ["check", "--json", "--tenant", tenant, "--module", module];
        let output = ended(&mut client(url, word(&format!("{tenant} ")), &args), code);
        let answer: Value = serde_json::from_str(stdout(&output)).unwrap();
        answer["reason"].as_str().unwrap().to_owned()
    };
    for (tenant, module, code, reason) in [
        ("retail-only", "retail", 0, "plan"),
        ("retail-only", "dine", 1, "plan_limit"),
        ("dine-only", "dine", 0, "grant"),
        ("dine-only", "retail", 1, "disabled"),
        ("mixed", "accounting", 0, "plan"),
        ("enterprise", "zf", 0, "plan"),
        ("trial", "zf", 0, "trial"),
        ("acme", "zf", 0, "demo"),
        ("overdue-grace", "dine", 0, "plan"),
        ("overdue", "dine", 1, "overdue"),
        ("no-subscription", "retail", 1, "no_subscription"),
        ("cancelled", "retail", 1, "cancelled"),
        ("suspended-subscription", "retail", 1, "suspended"),
        ("suspended", "common", 1, "suspended"),
    ] {
        assert_eq!(ask(tenant, module, code), reason, "{tenant} {module}");
    }
    let line = running.said.iter().find(|line| line.trim_start().starts_with("activation code"));
    let code = line.unwrap().split_whitespace().nth(2).unwrap();
    let redeem = format!(
        "curl -s {url}/api/v1/activation-codes/redeem -H 'Authorization: Bearer {}' \
         -H 'Content-Type: application/json' -d '{{\"code\": \"{code}\"}}'",
        word("no-subscription ")
    );
    let redeemed = Command::new("sh").args(["-c", &redeem]).output().unwrap();
    let redeemed: Value = serde_json::from_slice(&redeemed.stdout).unwrap();
    assert_eq!(redeemed["status"], "trialing", "{redeemed:#}");
    assert_eq!(ask("no-subscription", "zf", 0), "trial");
    let explain = ["explain", "--tenant", "mixed", "--feature", "multi_branch"];
    let explained = ended(&mut client(url, word("super_admin"), &explain), 0);
    assert!(stdout(&explained).contains("OUTCOME") && stdout(&explained).contains("growth"));
    assert_eq!(running.terminate(), Some(0));
}

#[test]
fn a_catalog_is_validated_without_a_server() {
    let catalog = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/retail.yaml");
    let valid = ended(&mut entitled(&["catalog", "validate", catalog]), 0);
    assert!(stdout(&valid).contains("9 modules, 5 features, 5 plans"));
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("wrong.yaml");
    std::fs::write(&file, "plans: {a: {name: A, rank: 1, modules: [x, y]}}").unwrap();
    let wrong = ended(&mut entitled(&["catalog", "validate", text(&file)]), 1);
    let lines = std::str::from_utf8(&wrong.stderr).unwrap();
    assert!(
        lines.lines().count() >= 2 && lines.lines().all(|l| l.starts_with("entitled: plans.a"))
    );
    ended(&mut entitled(&["catalog", "validate", "/nowhere.yaml"]), 74);
}

#[test]
fn each_way_to_fail_has_its_exit_code() {
    ended(&mut entitled(&["serve", "--nonsense"]), 2);
    ended(&mut entitled(&["check", "--url", "http://127.0.0.1:1"]), 2);
    ended(&mut entitled(&["--version"]), 0);
    ended(&mut entitled(&["--help"]), 0);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let away = ended(&mut client(&url, "k", &["check", "--tenant", "a", "--module", "b"]), 69);
    assert!(one_line(&away).contains("can't reach"));

    let mut command = entitled(&["serve", "--ephemeral"]);
    let running = Running::start(&mut command, Stream::Out, "url");
    let said: Value = serde_json::from_str(&running.said[0]).unwrap();
    let (url, key) = (said["url"].as_str().unwrap(), said["key"].as_str().unwrap());
    let ask = ["check", "--tenant", "nobody", "--module", "x"];
    assert!(one_line(&ended(&mut client(url, key, &ask), 65)).contains("nobody"));
    ended(&mut client(url, "wrong", &ask), 77);
}
