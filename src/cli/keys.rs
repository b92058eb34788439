//! `entitled keys`: API keys on a server.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Exit, Failure,
    attempt::Once,
    client::{Body, Call, Server},
    output, words,
};
use crate::domain::{callers::OperatorRole, time::Timestamp};

const PATH: &str = "/api/v1/admin/api-keys";

/// Make, list, rotate and revoke API keys on a server
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make a key; it is shown this once
    Create(Create),
    /// List the keys, revoked ones too
    List(List),
    /// Show one key
    Show(Show),
    /// Give a key another secret; it is shown this once
    Rotate(Rotate),
    /// Refuse a key from now on
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    server: Server,
    /// For people
    #[arg(long)]
    name: String,
    /// What its bearer may do: super_admin, support, auditor, service, tenant_admin, tenant_user
    #[arg(long, value_parser = words::word::<OperatorRole>)]
    role: OperatorRole,
    /// The one tenant its bearer is bound to
    #[arg(long)]
    tenant: Option<String>,
    /// Refused from here on, such as 2027-01-01T00:00:00Z
    #[arg(long, value_parser = words::instant)]
    expires_at: Option<Timestamp>,
    /// How many requests a second its bearer may send
    #[arg(long)]
    rate_per_second: Option<u32>,
    /// How many of them at once
    #[arg(long, requires = "rate_per_second")]
    rate_burst: Option<u32>,
    #[command(flatten)]
    once: Once,
    #[command(flatten)]
    format: output::Format,
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    format: output::Format,
}

#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    server: Server,
    /// The public part of the key: the 16 digits after `ent_`
    id: String,
    #[command(flatten)]
    format: output::Format,
}

#[derive(Debug, Args)]
pub struct Rotate {
    #[command(flatten)]
    server: Server,
    /// The public part of the key: the 16 digits after `ent_`
    id: String,
    /// For how long the secret that it has stays good: 90s, 15m, 8h, 7d, or 0s
    #[arg(long, default_value = "1d", value_parser = words::seconds_or_none)]
    overlap: u32,
    /// When it expires from now on, such as 2027-01-01T00:00:00Z; else that stays as it is
    #[arg(long, value_parser = words::instant)]
    expires_at: Option<Timestamp>,
    #[command(flatten)]
    once: Once,
    #[command(flatten)]
    format: output::Format,
}

#[derive(Debug, Args)]
pub struct Revoke {
    #[command(flatten)]
    server: Server,
    /// The public part of the key: the 16 digits after `ent_`
    id: String,
    #[command(flatten)]
    format: output::Format,
}

impl Keys {
    pub fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Create(create) => create.run()?,
            Self::List(List { server, format }) => {
                format.print(&server.list(PATH, Vec::new())?, table)?;
            }
            Self::Show(Show { server, id, format }) => {
                let key = server.ask(Method::GET, &path(&id)?, Body::None)?;
                format.print(&key, output::record)?;
            }
            Self::Rotate(rotate) => rotate.run()?,
            Self::Revoke(Revoke { server, id, format }) => {
                server.ask(Method::DELETE, &path(&id)?, Body::None)?;
                format.print(&json!({"revoked": id}), |_| format!("revoked {id}"))?;
            }
        }
        Ok(Exit::Ok)
    }
}

/// What fits a terminal; the rest is shown by `show`.
fn table(keys: &Value) -> String {
    let rows = keys.as_array().into_iter().flatten().map(|key| {
        let of = |name: &str| output::cell(key.get(name));
        let is_revoked = key.get("revoked_at").is_some_and(Value::is_string);
        let until = if is_revoked { "revoked".into() } else { of("expires_at") };
        let name = output::short(key.get("name"));
        [of("id"), name, of("role"), of("tenant"), until, of("last_used_at")]
    });
    output::table(&["id", "name", "role", "tenant", "until", "last_used_at"], rows)
}

fn path(id: &str) -> Result<String, Failure> {
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric()) {
        let line = format!("“{}” isn't the id of a key; see keys list", output::plain(id));
        return Err(Failure::new(Exit::Usage, line));
    }
    Ok(format!("{PATH}/{id}"))
}

/// The key alone, so that `KEY=$(entitled keys create …)` works. A repeated answer lacks it.
fn key_alone(made: &Value) -> String {
    made.get("key").and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Rotate {
    fn run(self) -> Result<(), Failure> {
        let Self { server, id, overlap, expires_at, once, format } = self;
        let mut body = json!({"overlap_seconds": overlap});
        if let (Some(at), Some(body)) = (expires_at, body.as_object_mut()) {
            body.insert("expires_at".into(), json!(at));
        }
        let path = format!("{}/rotate", path(&id)?);
        let headers = once.header().into_iter().collect();
        let call = Call { headers, body: Body::Json(&body), ..Call::to(Method::POST, path) };
        format.print(&server.call(&call)?.body, key_alone)
    }
}

impl Create {
    fn run(self) -> Result<(), Failure> {
        let Self {
            server,
            name,
            role,
            tenant,
            expires_at,
            rate_per_second,
            rate_burst,
            once,
            format,
        } = self;
        let body = json!({
            "name": name,
            "role": role,
            "tenant": tenant,
            "expires_at": expires_at,
            "rate_per_second": rate_per_second,
            "rate_burst": rate_burst,
        });
        let headers = once.header().into_iter().collect();
        let call = Call { headers, body: Body::Json(&body), ..Call::to(Method::POST, PATH) };
        format.print(&server.call(&call)?.body, key_alone)
    }
}
