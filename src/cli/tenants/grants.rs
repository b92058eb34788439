//! `entitled tenants grants`: what a tenant is given or refused one by one.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::Value;

use super::super::{
    Exit, Failure,
    attempt::{Attempt, Guarded},
    client::{Body, Call, Remote, object},
    output, words,
};
use crate::domain::{
    keys::{EntitlementKey, TenantKey},
    time::Timestamp,
};

/// Give a tenant modules and features one by one, or withhold them
#[derive(Debug, Subcommand)]
pub enum Grants {
    /// List the grants of a tenant, by key
    List {
        #[command(flatten)]
        remote: Remote,
        /// The tenant
        tenant: TenantKey,
    },
    /// Make a grant, or put it in place of the one that is there
    Set(Box<Set>),
    /// Take a grant back
    Delete(Delete),
}

/// What a grant says.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    /// Given
    Enabled,
    /// Withheld
    Disabled,
    /// Given until --trial-expires-at
    Trial,
}

/// What becomes of seats in use that there is no room for any more.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Release {
    /// Those that were handed out last are released
    Newest,
}

#[derive(Debug, Args)]
pub struct Set {
    #[command(flatten)]
    remote: Remote,
    /// The tenant
    tenant: TenantKey,
    /// The module or feature
    #[arg(value_name = "MODULE|FEATURE")]
    on: EntitlementKey,
    /// What it says
    #[arg(long, value_enum)]
    state: State,
    /// Why, in 3 to 500 characters
    #[arg(long)]
    reason: String,
    /// The end of a trial, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = words::instant)]
    trial_expires_at: Option<Timestamp>,
    /// The value of a limit or config feature: a number, unlimited, or JSON
    #[arg(long, value_parser = words::value)]
    value: Option<Value>,
    /// How many named users may use it
    #[arg(long)]
    seats: Option<u64>,
    /// What becomes of seats in use that there is no room for any more [default: refuse]
    #[arg(long, value_enum)]
    release: Option<Release>,
    #[command(flatten)]
    guarded: Guarded,
    #[command(flatten)]
    attempt: Attempt,
}

#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    remote: Remote,
    /// The tenant
    tenant: TenantKey,
    /// The module or feature
    #[arg(value_name = "MODULE|FEATURE")]
    on: EntitlementKey,
    #[command(flatten)]
    guarded: Guarded,
    #[command(flatten)]
    attempt: Attempt,
}

impl Grants {
    pub fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::List { remote: Remote { server, format }, tenant } => {
                let path = format!("{}/grants", super::path(&tenant));
                let mut list = server.ask(Method::GET, &path, Body::None)?;
                // The catalog bounds them, so there are no pages.
                let list = list.get_mut("items").map(Value::take).unwrap_or_default();
                let heads = ["key", "state", "value", "seats", "trial_expires_at", "reason"];
                format.print(&list, |list| output::lines(&heads, list))?;
                Ok(Exit::Ok)
            }
            Self::Set(set) => set.run(),
            Self::Delete(Delete { remote, tenant, on, guarded, attempt }) => {
                let headers = guarded.header().into_iter().collect();
                let call = Call { headers, ..Call::to(Method::DELETE, path(&tenant, &on)) };
                attempt.remove(&remote, call, on.as_str())
            }
        }
    }
}

fn path(tenant: &TenantKey, key: &EntitlementKey) -> String {
    format!("{}/grants/{key}", super::path(tenant))
}

impl Set {
    fn run(self) -> Result<Exit, Failure> {
        let Self {
            remote,
            tenant,
            on,
            state,
            reason,
            trial_expires_at,
            value,
            seats,
            release,
            guarded,
            attempt,
        } = self;
        let body = object([
            ("state", words::name(&state).map(Value::from)),
            ("reason", Some(reason.into())),
            ("trial_expires_at", trial_expires_at.and_then(words::json)),
            ("value", value),
            ("seats", seats.map(Value::from)),
            ("release", release.as_ref().and_then(words::name).map(Value::from)),
        ]);
        let headers = guarded.header().into_iter().collect();
        let to = Call::to(Method::PUT, path(&tenant, &on));
        attempt.make(&remote, Call { headers, body: Body::Json(&body), ..to }, output::record)
    }
}
