//! What tests of failing disks share: a server that is asked, and a ledger of what it answered.

use std::process::Command;

use reqwest::{Method, blocking};
use serde_json::{Value, json};

use crate::cli::{ROOT, Running, ended, stdout};

/// Where a service has its data.
pub trait Disk {
    /// The program with these arguments, with its data there.
    fn program(&self, args: &[&str]) -> Command;

    /// A service that runs there.
    fn serve(&self) -> Server;
}

/// A service on a disk that fails.
pub struct Server {
    pub url: String,
    pub running: Running,
    http: blocking::Client,
}

impl Server {
    pub fn of(running: Running) -> Self {
        Self { url: running.url(), running, http: blocking::Client::new() }
    }

    /// The status and the body, and what `Retry-After` says.
    pub fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value, String) {
        self.try_ask(method, path, body).unwrap()
    }

    fn try_ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<(u16, Value, String)> {
        let url = format!("{}{path}", self.url);
        let mut request = self.http.request(method, url).bearer_auth(ROOT);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let reply = request.send()?;
        let after = reply.headers().get("retry-after").map(|h| h.to_str().unwrap().to_owned());
        Ok((reply.status().as_u16(), reply.json().unwrap_or_default(), after.unwrap_or_default()))
    }

    pub fn catalog_and_shop(&self) {
        let yaml = include_str!("../../examples/retail.yaml");
        let put = self.http.put(format!("{}/api/v1/admin/catalog", self.url)).bearer_auth(ROOT);
        let put = put.header("content-type", "application/yaml").body(yaml).send().unwrap();
        assert_eq!(put.status(), 200);
        assert_eq!(self.try_tenant("shop", 1).unwrap().0, 201);
        let plan = json!({"plan": "starter", "change_reason": "for a test"});
        let path = "/api/v1/admin/tenants/shop/subscriptions";
        assert_eq!(self.ask(Method::POST, path, Some(plan)).0, 201);
        self.still_reads();
    }

    /// Makes a tenant with so many kilobytes.
    fn try_tenant(&self, key: &str, kilobytes: usize) -> reqwest::Result<(u16, Value, String)> {
        let body =
            json!({"key": key, "name": key, "attributes": {"x": "x".repeat(kilobytes << 10)}});
        self.try_ask(Method::POST, "/api/v1/admin/tenants", Some(body))
    }

    /// The status of what the API tells of a tenant.
    fn status(&self, tenant: &str) -> u16 {
        self.ask(Method::GET, &format!("/api/v1/admin/tenants/{tenant}"), None).0
    }

    /// What `/readyz` says of the database.
    pub fn database(&self) -> String {
        self.ask(Method::GET, "/readyz", None).1["checks"]["database"].as_str().unwrap().to_owned()
    }

    /// Decisions and payloads go on, and the service stays ready for them.
    pub fn still_reads(&self) {
        let question = json!({"tenant": "shop", "module": "retail"});
        let (status, body, _) = self.ask(Method::POST, "/api/v1/check", Some(question));
        assert_eq!((status, &body["allowed"]), (200, &json!(true)), "{body}");
        let (status, _, _) = self.ask(Method::GET, "/api/v1/tenants/shop/entitlements", None);
        assert_eq!(status, 200);
        assert_eq!(self.ask(Method::GET, "/readyz", None).0, 200);
    }
}

/// How a change was answered.
#[derive(Debug, PartialEq)]
pub enum Said {
    Acknowledged,
    /// With 503 and this code, and that nothing was changed.
    Refused(String),
    /// That its outcome isn't known, or nothing.
    Unknown,
}

/// What was answered to each change, by the key of the tenant that it makes.
#[derive(Debug, Default)]
pub struct Ledger {
    pub acknowledged: Vec<String>,
    pub refused: Vec<String>,
    pub unknown: Vec<String>,
}

impl Ledger {
    /// Makes a tenant with so many kilobytes.
    pub fn write(&mut self, server: &Server, key: &str, kilobytes: usize) -> Said {
        let Ok((status, body, after)) = server.try_tenant(key, kilobytes) else {
            self.unknown.push(key.to_owned());
            return Said::Unknown;
        };
        if status == 201 {
            self.acknowledged.push(key.to_owned());
            return Said::Acknowledged;
        }
        assert_eq!(status, 503, "{body}");
        let (code, detail) = (body["code"].as_str().unwrap(), body["detail"].as_str().unwrap());
        if code == "UNAVAILABLE" && detail.contains("not known") {
            self.unknown.push(key.to_owned());
            return Said::Unknown;
        }
        assert!(detail.contains("nothing was changed"), "{body}");
        assert!(after.parse::<u64>().is_ok(), "Retry-After: {after}");
        self.refused.push(key.to_owned());
        Said::Refused(code.to_owned())
    }

    /// Makes tenants until `enough` were refused, each with this code.
    pub fn write_until_refused(&mut self, server: &Server, code: &str, enough: usize) {
        let before = self.refused.len();
        for _ in 0..2_000 {
            let key = format!("t{}", self.acknowledged.len() + self.refused.len());
            match self.write(server, &key, 8) {
                Said::Acknowledged => {}
                Said::Refused(given) => assert_eq!(given, code),
                Said::Unknown => panic!("its outcome isn't known"),
            }
            if self.refused.len() == before + enough {
                return;
            }
        }
        panic!("the disk took everything");
    }

    /// Makes tenants until the outcome of one isn't known.
    pub fn write_until_unknown(&mut self, server: &Server) {
        for number in 0..5_000 {
            if self.write(server, &format!("t{number}"), 8) == Said::Unknown {
                return;
            }
        }
        panic!("the disk took everything");
    }

    /// Nobody was told of these either way, so each may be there or not. Which it is, is fixed now.
    pub fn settle(&mut self, server: &Server) {
        for key in std::mem::take(&mut self.unknown) {
            match server.status(&key) {
                200 => self.acknowledged.push(key),
                404 => self.refused.push(key),
                other => panic!("{other}"),
            }
        }
    }

    /// What was acknowledged is there, and what was refused is not.
    pub fn is_true_of(&self, server: &Server) {
        for (keys, expected) in [(&self.acknowledged, 200), (&self.refused, 404)] {
            for key in keys {
                assert_eq!(server.status(key), expected, "{key}");
            }
        }
    }

    /// The same after a crash and a start, and the audit trail tells of each exactly once.
    pub fn is_true_after_a_crash(&self, disk: &impl Disk, server: Server) {
        drop(server);
        let server = disk.serve();
        assert_eq!(self.unknown, [""; 0], "settle them first");
        self.is_true_of(&server);
        let trail = ended(&mut disk.program(&["audit", "export", "--event", "tenant.created"]), 0);
        let lines = stdout(&trail).lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let told: Vec<_> = lines.map(|line| line["subject"].as_str().unwrap().to_owned()).collect();
        for key in &self.acknowledged {
            assert_eq!(told.iter().filter(|told| *told == key).count(), 1, "{key}");
        }
        assert!(self.refused.iter().all(|key| !told.contains(key)));
        ended(&mut disk.program(&["audit", "verify"]), 0);
        assert_eq!(server.running.terminate(), Some(0));
    }
}
