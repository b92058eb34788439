//! `entitled keys`: API keys on a server.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Exit, Failure,
    client::{Body, Server},
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
                let heads = [
                    "id",
                    "name",
                    "role",
                    "tenant",
                    "expires_at",
                    "revoked_at",
                    "rotated_at",
                    "old_secret_until",
                    "last_used_at",
                ];
                format.print(&server.list(PATH)?, |keys| output::members(&heads, keys))?;
            }
            Self::Show(Show { server, id, format }) => {
                let key = server.ask(Method::GET, &path(&id)?, Body::None)?;
                format.print(&key, |key| {
                    let members = key.as_object().into_iter().flatten();
                    output::table(
                        &["field", "value"],
                        members.map(|(name, value)| [name.clone(), output::cell(Some(value))]),
                    )
                })?;
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

fn path(id: &str) -> Result<String, Failure> {
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric()) {
        let line = format!("“{}” isn't the id of a key; see keys list", output::plain(id));
        return Err(Failure::new(Exit::Usage, line));
    }
    Ok(format!("{PATH}/{id}"))
}

/// The key alone, so that `KEY=$(entitled keys create …)` works.
fn key_alone(made: &Value) -> String {
    made.get("key").and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Rotate {
    fn run(self) -> Result<(), Failure> {
        let Self { server, id, overlap, expires_at, format } = self;
        let mut body = json!({"overlap_seconds": overlap});
        if let (Some(at), Some(body)) = (expires_at, body.as_object_mut()) {
            body.insert("expires_at".into(), json!(at));
        }
        let path = format!("{}/rotate", path(&id)?);
        format.print(&server.ask(Method::POST, &path, Body::Json(&body))?, key_alone)
    }
}

impl Create {
    fn run(self) -> Result<(), Failure> {
        let Self { server, name, role, tenant, expires_at, rate_per_second, rate_burst, format } =
            self;
        let body = json!({
            "name": name,
            "role": role,
            "tenant": tenant,
            "expires_at": expires_at,
            "rate_per_second": rate_per_second,
            "rate_burst": rate_burst,
        });
        let made = server.ask(Method::POST, PATH, Body::Json(&body))?;
        format.print(&made, key_alone)
    }
}
