//! Real proxies, started with the files of `deploy/`, in front of a small application. They listen on
//! Unix sockets in a directory of their own and end with the test.
//!
//! Needs the Debian packages `nginx` (or `nginx-light`) and `caddy`; without them the tests fail.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use crate::{
    harness::App,
    raw::{Raw, request, talk},
};

/// A proxy in front of the application, gone at the end.
pub struct Proxy {
    pub name: &'static str,
    child: Child,
    socket: PathBuf,
    /// Of its sockets and files.
    _dir: tempfile::TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file of `deploy/` with its addresses replaced.
pub fn configured(file: &str, addresses: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    let mut text = fs::read_to_string(&path).unwrap();
    for (there, here) in addresses {
        assert!(text.contains(there), "{file} doesn't say {there}");
        text = text.replace(there, here);
    }
    text
}

/// Starts a program of a Debian package, also where `/usr/sbin` is in nobody's path.
fn spawn(name: &str, arguments: &[&str], dir: &Path) -> Child {
    let log = fs::File::create(dir.join("out")).unwrap();
    let start = |program: &str| {
        Command::new(program)
            .args(arguments)
            .env("HOME", dir)
            .env("XDG_DATA_HOME", dir)
            .env("XDG_CONFIG_HOME", dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log.try_clone().unwrap())
            .spawn()
    };
    let child = start(name).or_else(|_| start(&format!("/usr/sbin/{name}")));
    child.unwrap_or_else(|error| panic!("{name}: {error}; apt-get install nginx caddy"))
}

impl Proxy {
    pub async fn nginx(app: &App) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        backend(&dir.path().join("app.sock"));
        let addresses = [
            ("server 127.0.0.1:8080;", format!("server {};", app.address)),
            ("server 127.0.0.1:3000;", format!("server unix:{};", at("app.sock"))),
            ("listen 80;", format!("listen unix:{};", at("web.sock"))),
        ];
        fs::write(at("entitled.conf"), configured("nginx/entitled.conf", &addresses)).unwrap();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String =
            temporary.iter().map(|kind| format!("{kind}_temp_path {};\n", at(kind))).collect();
        let main = format!(
            "daemon off; master_process off; pid {}; error_log stderr;\nevents {{}}\n\
             http {{ access_log off;\n{temporary}include {}; }}\n",
            at("pid"),
            at("entitled.conf")
        );
        fs::write(at("nginx.conf"), main).unwrap();
        let arguments = ["-p", &at(""), "-e", "stderr", "-c", &at("nginx.conf")];
        let child = spawn("nginx", &arguments, dir.path());
        Self { name: "nginx", child, socket: dir.path().join("web.sock"), _dir: dir }.ready().await
    }

    pub async fn caddy(app: &App) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        backend(&dir.path().join("app.sock"));
        let addresses = [
            ("admin localhost:2019", format!("admin unix/{}", at("admin.sock"))),
            // Without the scheme it would fetch a certificate.
            ("app.example.com {", "http://app.example.com {".to_owned()),
            ("bind 0.0.0.0", format!("bind unix/{}", at("web.sock"))),
            ("forward_auth 127.0.0.1:8080", format!("forward_auth {}", app.address)),
            ("reverse_proxy 127.0.0.1:3000", format!("reverse_proxy unix/{}", at("app.sock"))),
        ];
        fs::write(at("Caddyfile"), configured("caddy/Caddyfile", &addresses)).unwrap();
        let arguments = ["run", "--adapter", "caddyfile", "--config", &at("Caddyfile")];
        let child = spawn("caddy", &arguments, dir.path());
        Self { name: "caddy", child, socket: dir.path().join("web.sock"), _dir: dir }.ready().await
    }

    /// Waits until it listens; it says so to nobody.
    async fn ready(mut self) -> Self {
        let started = Instant::now();
        while UnixStream::connect(&self.socket).await.is_err() {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || started.elapsed() > Duration::from_secs(20) {
                let said = fs::read_to_string(self._dir.path().join("out")).unwrap_or_default();
                panic!("{} does not listen: {ended:?}\n{said}", self.name);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self
    }

    pub async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Raw {
        let mut all = vec![("host", &b"app.example.com"[..])];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        talk(stream, &request(method, target.as_bytes(), &all)).await
    }

    pub async fn get(&self, target: &str, token: &str) -> Raw {
        let bearer = format!("Bearer {token}");
        self.send("GET", target, &[("authorization", &bearer)]).await
    }
}

/// The application: answers what it was asked, and by whom.
fn backend(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
                while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut part).await {
                        Ok(count) if count > 0 => bytes.extend_from_slice(&part[..count]),
                        _ => return,
                    }
                }
                let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
                let asked = String::from_utf8_lossy(&bytes);
                let body = json!({
                    "asked": asked.lines().next(),
                    "entitled": head.lines().filter(|line| {
                        line.starts_with("x-entitled") || line.starts_with("x_entitled")
                    }).collect::<Vec<_>>(),
                });
                let body = body.to_string();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                     connection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
}

/// What the application was told about the caller, by header.
pub fn told(answer: &Raw, name: &str) -> Vec<String> {
    let lines = answer.json()["entitled"].clone();
    let lines = lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
    let named = lines.filter_map(|line| line.strip_prefix(&format!("{name}:")).map(str::to_owned));
    named.map(|value| value.trim().to_owned()).collect()
}
