//! `entitled overrides`: exceptions that always expire, on a server.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::Value;

use super::{
    Exit, Failure,
    attempt::{Attempt, Guarded, Once, Shown},
    client::{Body, Call, Remote, given, object},
    output::{self, cell},
    words,
};
use crate::domain::{
    keys::{EntitlementKey, TenantKey},
    time::Timestamp,
};

const PATH: &str = "/api/v1/admin/overrides";

/// Make, list, change and remove overrides on a server
#[derive(Debug, Subcommand)]
pub enum Overrides {
    /// List overrides, newest first
    List(List),
    /// Show one override
    Show {
        /// The override
        #[arg(value_parser = words::id)]
        id: String,
        #[command(flatten)]
        shown: Shown,
    },
    /// Make an override, or change the one that is open for the tenant and key; exit code 80 where a
    /// second person must approve it first
    Set(Box<Set>),
    /// Change an override, or extend it; what isn't named stays; exit code 80 where a second person
    /// must approve it first
    Update(Box<Update>),
    /// Remove an override
    Delete(Delete),
    /// List open overrides that somebody should look at again
    Report(Report),
}

/// Where an override stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Active,
    Expired,
    Removed,
    All,
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
    /// Only those in this state [default: all]
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only those that expire before this instant
    #[arg(long, value_name = "TIME", value_parser = words::instant)]
    expiring_before: Option<Timestamp>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Direction {
    /// Open it
    #[arg(long)]
    enable: bool,
    /// Close it
    #[arg(long)]
    disable: bool,
}

#[derive(Debug, Args)]
pub struct Set {
    #[command(flatten)]
    remote: Remote,
    /// Whose
    tenant: TenantKey,
    /// The module or feature
    #[arg(value_name = "MODULE|FEATURE")]
    on: EntitlementKey,
    #[command(flatten)]
    direction: Direction,
    /// Not honoured from here on, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = words::instant)]
    expires_at: Timestamp,
    /// Why, in 3 to 500 characters
    #[arg(long)]
    reason: String,
    /// The value of a limit or config feature that is opened: a number, unlimited, or JSON
    #[arg(long, value_parser = words::value)]
    value: Option<Value>,
    /// Take effect at once where a second person is wanted; for super admins, and marked as such
    #[arg(long)]
    break_glass: bool,
    #[command(flatten)]
    once: Once,
    #[command(flatten)]
    attempt: Attempt,
}

#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    remote: Remote,
    /// The override
    #[arg(value_parser = words::id)]
    id: String,
    #[command(flatten)]
    changes: Changes,
    /// Take effect at once where a second person is wanted; for super admins, and marked as such
    #[arg(long)]
    break_glass: bool,
    #[command(flatten)]
    guarded: Guarded,
    #[command(flatten)]
    attempt: Attempt,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Open it
    #[arg(long)]
    enable: bool,
    /// Close it
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Another end, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = words::instant)]
    expires_at: Option<Timestamp>,
    /// Another reason, in 3 to 500 characters
    #[arg(long)]
    reason: Option<String>,
    /// Another value: a number, unlimited, or JSON
    #[arg(long, value_parser = words::value)]
    value: Option<Value>,
}

#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    remote: Remote,
    /// The override
    #[arg(value_parser = words::id)]
    id: String,
    #[command(flatten)]
    guarded: Guarded,
    #[command(flatten)]
    attempt: Attempt,
}

#[derive(Debug, Args)]
pub struct Report {
    #[command(flatten)]
    remote: Remote,
    /// Only those of this tenant
    #[arg(long)]
    tenant: Option<TenantKey>,
    /// Unused are those that decided nothing for so many days [default: 30]
    #[arg(long, value_name = "DAYS")]
    unused_days: Option<u32>,
    /// Those that end within so many days end soon [default: as the server announces ends]
    #[arg(long, value_name = "DAYS")]
    ends_within_days: Option<u32>,
}

impl Overrides {
    pub fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::List(list) => list.run()?,
            Self::Show { id, shown } => shown.print(&format!("{PATH}/{id}"), output::record)?,
            Self::Set(set) => return set.run(),
            Self::Update(update) => return update.run(),
            Self::Delete(Delete { remote, id, guarded, attempt }) => {
                let headers = guarded.header().into_iter().collect();
                let call = Call { headers, ..Call::to(Method::DELETE, format!("{PATH}/{id}")) };
                return attempt.remove(&remote, call, &id);
            }
            Self::Report(report) => report.run()?,
        }
        Ok(Exit::Ok)
    }
}

/// What an override or a request wants: `open`, `open 5`, `closed`.
pub fn wants(thing: &Value) -> String {
    if thing.get("enabled") != Some(&Value::Bool(true)) {
        return "closed".into();
    }
    let value = thing.get("value").filter(|value| !value.is_null());
    value.map_or("open".into(), |value| format!("open {}", output::short(Some(value))))
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let Self { remote: Remote { server, format }, tenant, on, state, expiring_before } = self;
        let query = given([
            ("tenant", tenant.map(|tenant| tenant.to_string())),
            ("key", on.map(|key| key.to_string())),
            ("state", state.as_ref().and_then(words::name)),
            ("expiring_before", expiring_before.map(|at| at.to_string())),
        ]);
        format.print(&server.list(PATH, query)?, |list| {
            let rows = list.as_array().into_iter().flatten().map(|item| {
                let of = |name: &str| cell(item.get(name));
                [of("id"), of("tenant"), of("key"), wants(item), of("state"), of("expires_at")]
            });
            output::table(&["id", "tenant", "key", "says", "state", "expires_at"], rows)
        })
    }
}

impl Set {
    fn run(self) -> Result<Exit, Failure> {
        let Self {
            remote,
            tenant,
            on,
            direction: Direction { enable, disable: _ },
            expires_at,
            reason,
            value,
            break_glass,
            once,
            attempt,
        } = self;
        let body = object([
            ("tenant", words::json(tenant)),
            ("key", words::json(on)),
            ("enabled", Some(enable.into())),
            ("expires_at", words::json(expires_at)),
            ("reason", Some(reason.into())),
            ("value", value),
            ("break_glass", break_glass.then_some(Value::Bool(true))),
        ]);
        let headers = once.header().into_iter().collect();
        let call = Call { headers, body: Body::Json(&body), ..Call::to(Method::POST, PATH) };
        attempt.make(&remote, call, output::record)
    }
}

impl Update {
    fn run(self) -> Result<Exit, Failure> {
        let Self { remote, id, changes, break_glass, guarded, attempt } = self;
        let Changes { enable, disable, expires_at, reason, value } = changes;
        let body = object([
            ("enabled", (enable || disable).then_some(enable.into())),
            ("expires_at", expires_at.and_then(words::json)),
            ("reason", reason.map(Value::from)),
            ("value", value),
            ("break_glass", break_glass.then_some(Value::Bool(true))),
        ]);
        let headers = guarded.header().into_iter().collect();
        let to = Call::to(Method::PATCH, format!("{PATH}/{id}"));
        attempt.make(&remote, Call { headers, body: Body::Json(&body), ..to }, output::record)
    }
}

impl Report {
    fn run(self) -> Result<(), Failure> {
        let Self { remote: Remote { server, format }, tenant, unused_days, ends_within_days } =
            self;
        let query = given([
            ("tenant", tenant.map(|tenant| tenant.to_string())),
            ("unused_days", unused_days.map(|days| days.to_string())),
            ("ends_within_days", ends_within_days.map(|days| days.to_string())),
        ]);
        format.print(&server.list(&format!("{PATH}/report"), query)?, |list| {
            let rows = list.as_array().into_iter().flatten().map(|item| {
                let exception = item.get("override").unwrap_or(&Value::Null);
                let of = |name: &str| cell(exception.get(name));
                let [id, tenant, key, ends] = ["id", "tenant", "key", "expires_at"].map(of);
                [id, tenant, key, wants(exception), ends, cell(item.get("findings"))]
            });
            output::table(&["id", "tenant", "key", "says", "expires_at", "findings"], rows)
        })
    }
}
