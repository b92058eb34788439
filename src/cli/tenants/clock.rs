//! `entitled tenants clock`: the clock of a sandbox tenant.

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::super::{
    Exit, Failure,
    client::{Body, Remote},
    output, words,
};
use crate::domain::{keys::TenantKey, time::Timestamp};

/// Show and move the clock of a sandbox tenant
#[derive(Debug, Subcommand)]
pub enum Clock {
    /// Show what time it is for the tenant
    Show {
        #[command(flatten)]
        remote: Remote,
        /// The tenant, a sandbox
        tenant: TenantKey,
    },
    /// Move the clock ahead
    Advance {
        #[command(flatten)]
        remote: Remote,
        /// The tenant, a sandbox
        tenant: TenantKey,
        /// By how much: 90s, 15m, 8h, 7d
        #[arg(value_parser = words::seconds)]
        by: u32,
    },
    /// Move the clock to an instant ahead of it
    Set {
        #[command(flatten)]
        remote: Remote,
        /// The tenant, a sandbox
        tenant: TenantKey,
        /// To when, such as 2027-01-01T00:00:00Z
        #[arg(value_parser = words::instant)]
        to: Timestamp,
    },
}

impl Clock {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Show { remote: Remote { server, format }, tenant } => {
                let found = server.ask(Method::GET, &super::path(&tenant), Body::None)?;
                let Some(now) = found.get("clock").filter(|clock| clock.is_string()) else {
                    let line = format!("{tenant} is no sandbox; only those have a clock");
                    return Err(Failure::new(Exit::Refused, line));
                };
                format.print(&json!({"tenant": tenant, "now": now}), |shown| {
                    output::cell(shown.get("now"))
                })
            }
            Self::Advance { remote, tenant, by } => {
                moved(&remote, &tenant, &json!({"advance_seconds": by}))
            }
            Self::Set { remote, tenant, to } => moved(&remote, &tenant, &json!({"now": to})),
        }
    }
}

fn moved(remote: &Remote, tenant: &TenantKey, body: &Value) -> Result<(), Failure> {
    let path = format!("{}/clock", super::path(tenant));
    let moved = remote.server.ask(Method::PUT, &path, Body::Json(body))?;
    remote.format.print(&moved, |moved| {
        let [now, recorded] = ["now", "recorded"].map(|name| output::cell(moved.get(name)));
        format!("it is {now} now; ends that were recorded: {recorded}")
    })
}
