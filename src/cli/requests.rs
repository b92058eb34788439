//! `entitled requests`: overrides that somebody asks for, and who decides.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::{
    Exit, Failure,
    attempt::{Attempt, Once},
    client::{Body, Call, Remote, given, object},
    output::{self, cell},
    overrides::wants,
    words,
};
use crate::domain::{
    keys::{EntitlementKey, TenantKey},
    requests::RequestState,
    time::Timestamp,
};

const PATH: &str = "/api/v1/requests";
const DECISIONS: &str = "/api/v1/admin/requests";

/// Ask for overrides on a server, approve and decline
#[derive(Debug, Subcommand)]
pub enum Requests {
    /// List requests, newest first
    List(List),
    /// Show one request
    Show {
        #[command(flatten)]
        remote: Remote,
        /// The request
        #[arg(value_parser = words::id)]
        id: String,
    },
    /// Ask for an override
    Create(Box<Create>),
    /// Take back a request of your own
    Withdraw {
        #[command(flatten)]
        remote: Remote,
        /// The request
        #[arg(value_parser = words::id)]
        id: String,
    },
    /// Make the override that was asked for; nobody approves their own
    Approve(Approve),
    /// Say no
    Decline(Decline),
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    remote: Remote,
    /// Only those of this tenant
    #[arg(long)]
    tenant: Option<TenantKey>,
    /// Only those on this module or feature
    #[arg(long, value_name = "MODULE|FEATURE")]
    on: Option<EntitlementKey>,
    /// Only those in this state: open, approved, declined, withdrawn, expired
    #[arg(long, value_parser = words::word::<RequestState>)]
    state: Option<RequestState>,
}

#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    remote: Remote,
    /// The module or feature
    #[arg(value_name = "MODULE|FEATURE")]
    on: EntitlementKey,
    /// For whom; a key that is bound to a tenant asks for that one
    #[arg(long)]
    tenant: Option<TenantKey>,
    /// Ask that it is closed, not opened
    #[arg(long)]
    disable: bool,
    /// Until when, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = words::instant)]
    expires_at: Timestamp,
    /// Why, in 3 to 500 characters
    #[arg(long)]
    reason: String,
    /// The value of a limit or config feature that is to be opened: a number, unlimited, or JSON
    #[arg(long, value_parser = words::value)]
    value: Option<Value>,
    #[command(flatten)]
    once: Once,
}

#[derive(Debug, Args)]
pub struct Approve {
    #[command(flatten)]
    remote: Remote,
    /// The request
    #[arg(value_parser = words::id)]
    id: String,
    /// Another end than the one that was asked for
    #[arg(long, value_name = "TIME", value_parser = words::instant)]
    expires_at: Option<Timestamp>,
    /// Something about it, in 3 to 500 characters
    #[arg(long)]
    comment: Option<String>,
    #[command(flatten)]
    once: Once,
    #[command(flatten)]
    attempt: Attempt,
}

#[derive(Debug, Args)]
pub struct Decline {
    #[command(flatten)]
    remote: Remote,
    /// The request
    #[arg(value_parser = words::id)]
    id: String,
    /// Why, in 3 to 500 characters; who asked can read it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    once: Once,
}

impl Requests {
    pub fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::List(list) => list.run()?,
            Self::Show { remote: Remote { server, format }, id } => {
                let request = server.ask(Method::GET, &format!("{PATH}/{id}"), Body::None)?;
                format.print(&request, output::record)?;
            }
            Self::Create(create) => create.run()?,
            Self::Withdraw { remote: Remote { server, format }, id } => {
                server.ask(Method::DELETE, &format!("{PATH}/{id}"), Body::None)?;
                let done = object([("withdrawn", Some(id.as_str().into()))]);
                format.print(&done, |_| format!("withdrew {id}"))?;
            }
            Self::Approve(approve) => return approve.run(),
            Self::Decline(decline) => decline.run()?,
        }
        Ok(Exit::Ok)
    }
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let Self { remote: Remote { server, format }, tenant, on, state } = self;
        let query = given([
            ("tenant", tenant.map(|tenant| tenant.to_string())),
            ("key", on.map(|key| key.to_string())),
            ("state", state.and_then(words::text)),
        ]);
        format.print(&server.list(PATH, query)?, |list| {
            let rows = list.as_array().into_iter().flatten().map(|item| {
                let of = |name: &str| cell(item.get(name));
                let [id, tenant, key] = ["id", "tenant", "key"].map(of);
                [id, tenant, key, wants(item), of("state"), of("requested_by")]
            });
            output::table(&["id", "tenant", "key", "wants", "state", "requested_by"], rows)
        })
    }
}

impl Create {
    fn run(self) -> Result<(), Failure> {
        let Self { remote, on, tenant, disable, expires_at, reason, value, once } = self;
        let body = object([
            ("tenant", tenant.and_then(words::json)),
            ("key", words::json(on)),
            ("enabled", Some((!disable).into())),
            ("expires_at", words::json(expires_at)),
            ("reason", Some(reason.into())),
            ("value", value),
        ]);
        let headers = once.header().into_iter().collect();
        let call = Call { headers, body: Body::Json(&body), ..Call::to(Method::POST, PATH) };
        remote.format.print(&remote.server.call(&call)?.body, output::record)
    }
}

impl Approve {
    fn run(self) -> Result<Exit, Failure> {
        let Self { remote, id, expires_at, comment, once, attempt } = self;
        let body = object([
            ("expires_at", expires_at.and_then(words::json)),
            ("comment", comment.map(Value::from)),
        ]);
        let headers = once.header().into_iter().collect();
        let to = Call::to(Method::POST, format!("{DECISIONS}/{id}/approve"));
        attempt.make(&remote, Call { headers, body: Body::Json(&body), ..to }, output::record)
    }
}

impl Decline {
    fn run(self) -> Result<(), Failure> {
        let Self { remote, id, reason, once } = self;
        let body = object([("reason", Some(reason.into()))]);
        let headers = once.header().into_iter().collect();
        let to = Call::to(Method::POST, format!("{DECISIONS}/{id}/decline"));
        let call = Call { headers, body: Body::Json(&body), ..to };
        remote.format.print(&remote.server.call(&call)?.body, output::record)
    }
}
