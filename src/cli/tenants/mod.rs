//! `entitled tenants`: tenants on a server, and below it what a tenant has.

mod clock;
mod grants;
mod modules;
mod subscriptions;

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
    keys::{PlanKey, TenantKey},
    tenants::Billing,
};

const PATH: &str = "/api/v1/admin/tenants";

/// Make, list, change, suspend and activate tenants on a server
#[derive(Debug, Subcommand)]
pub enum Tenants {
    /// List tenants, by key
    List(List),
    /// Show one tenant
    Show {
        /// The tenant
        tenant: TenantKey,
        #[command(flatten)]
        shown: Shown,
    },
    /// Make a tenant
    Create(Box<Create>),
    /// Change a tenant; what isn't named stays
    Update(Box<Update>),
    /// Block everything for a tenant
    Suspend(Suspend),
    /// End the suspension of a tenant
    Activate(Activate),
    /// Show and move the clock of a sandbox tenant
    #[command(subcommand)]
    Clock(clock::Clock),
    /// Show and select the modules of a tenant
    #[command(subcommand)]
    Modules(modules::Modules),
    /// Put a tenant on plans
    #[command(subcommand)]
    Subscriptions(subscriptions::Subscriptions),
    /// Give a tenant modules and features one by one, or withhold them
    #[command(subcommand)]
    Grants(grants::Grants),
}

/// Whether a tenant may use anything at all.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Status {
    Active,
    Suspended,
}

/// Why a tenant is blocked.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Blocked {
    Any,
    Suspended,
    NoSubscription,
    Cancelled,
    Overdue,
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    remote: Remote,
    /// Only those with this in their key or name; ASCII letters match in any case
    #[arg(long, value_name = "TEXT")]
    q: Option<String>,
    /// Only those with this status
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Only those on this plan now, base or add-on
    #[arg(long)]
    plan: Option<PlanKey>,
    /// Only those that are blocked for this reason, or would be if the rollout enforced
    #[arg(long, value_enum, value_name = "REASON")]
    blocked_reason: Option<Blocked>,
}

#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    remote: Remote,
    /// Its key, for ever
    tenant: TenantKey,
    /// Shown to people
    #[arg(long)]
    name: String,
    /// The tenant above it
    #[arg(long)]
    parent: Option<TenantKey>,
    /// Whether it needs a subscription: subscription, direct [default: subscription]
    #[arg(long, value_parser = words::word::<Billing>)]
    billing: Option<Billing>,
    /// Everything is open to it
    #[arg(long)]
    demo: bool,
    /// It has a clock of its own; can't be changed later
    #[arg(long)]
    sandbox: bool,
    /// Your own data about it
    #[arg(long, value_name = "JSON", value_parser = words::object)]
    attributes: Option<Value>,
    #[command(flatten)]
    once: Once,
}

#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    remote: Remote,
    /// The tenant
    tenant: TenantKey,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    guarded: Guarded,
    #[command(flatten)]
    attempt: Attempt,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Another name
    #[arg(long)]
    name: Option<String>,
    /// Another tenant above it
    #[arg(long)]
    parent: Option<TenantKey>,
    /// No tenant above it any more
    #[arg(long, conflicts_with = "parent")]
    no_parent: bool,
    /// Whether it needs a subscription: subscription, direct
    #[arg(long, value_parser = words::word::<Billing>)]
    billing: Option<Billing>,
    /// Whether everything is open to it
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    demo: Option<bool>,
    /// Other data of yours, in place of the present ones
    #[arg(long, value_name = "JSON", value_parser = words::object)]
    attributes: Option<Value>,
}

#[derive(Debug, Args)]
pub struct Suspend {
    #[command(flatten)]
    remote: Remote,
    /// The tenant
    tenant: TenantKey,
    /// Why, in 3 to 500 characters
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    guarded: Guarded,
    #[command(flatten)]
    attempt: Attempt,
}

#[derive(Debug, Args)]
pub struct Activate {
    #[command(flatten)]
    remote: Remote,
    /// The tenant
    tenant: TenantKey,
    /// Why, in 3 to 500 characters
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    guarded: Guarded,
    #[command(flatten)]
    attempt: Attempt,
}

impl Tenants {
    pub fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::List(list) => list.run()?,
            Self::Show { tenant, shown } => shown.print(&path(&tenant), output::record)?,
            Self::Create(create) => create.run()?,
            Self::Update(update) => return update.run(),
            Self::Suspend(Suspend { remote, tenant, reason, guarded, attempt }) => {
                let body =
                    object([("status", Some("suspended".into())), ("reason", Some(reason.into()))]);
                return patch(&remote, &tenant, &body, guarded, &attempt);
            }
            Self::Activate(Activate { remote, tenant, reason, guarded, attempt }) => {
                let reason = reason.map(Value::from);
                let body = object([("status", Some("active".into())), ("reason", reason)]);
                return patch(&remote, &tenant, &body, guarded, &attempt);
            }
            Self::Clock(clock) => clock.run()?,
            Self::Modules(modules) => return modules.run(),
            Self::Subscriptions(subscriptions) => return subscriptions.run(),
            Self::Grants(grants) => return grants.run(),
        }
        Ok(Exit::Ok)
    }
}

fn path(tenant: &TenantKey) -> String {
    format!("{PATH}/{tenant}")
}

fn patch(
    remote: &Remote,
    tenant: &TenantKey,
    body: &Value,
    guarded: Guarded,
    attempt: &Attempt,
) -> Result<Exit, Failure> {
    let headers = guarded.header().into_iter().collect();
    let call = Call { headers, body: Body::Json(body), ..Call::to(Method::PATCH, path(tenant)) };
    attempt.make(remote, call, output::record)
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let Self { remote: Remote { server, format }, q, status, plan, blocked_reason } = self;
        let query = given([
            ("q", q),
            ("status", status.as_ref().and_then(words::name)),
            ("plan", plan.map(|plan| plan.to_string())),
            ("blocked_reason", blocked_reason.as_ref().and_then(words::name)),
        ]);
        format.print(&server.list(PATH, query)?, table)
    }
}

/// What fits a terminal; the rest is shown by `show`.
fn table(tenants: &Value) -> String {
    let rows = tenants.as_array().into_iter().flatten().map(|tenant| {
        let of = |name: &str| cell(tenant.get(name));
        let is = |mark: &&str| tenant.get(*mark) == Some(&Value::Bool(true));
        let marks: Vec<_> = ["sandbox", "demo", "damaged"].into_iter().filter(is).collect();
        let marks = if marks.is_empty() { "-".into() } else { marks.join(", ") };
        let name = output::short(tenant.get("name"));
        [of("key"), name, of("status"), of("plan"), of("blocked_reason"), marks]
    });
    output::table(&["key", "name", "status", "plan", "blocked_reason", "marks"], rows)
}

impl Create {
    fn run(self) -> Result<(), Failure> {
        let Self { remote, tenant, name, parent, billing, demo, sandbox, attributes, once } = self;
        let body = object([
            ("key", words::json(tenant)),
            ("name", Some(name.into())),
            ("parent", parent.and_then(words::json)),
            ("billing", billing.and_then(words::json)),
            ("demo", Some(demo.into())),
            ("sandbox", Some(sandbox.into())),
            ("attributes", attributes),
        ]);
        let headers = once.header().into_iter().collect();
        let call = Call { headers, body: Body::Json(&body), ..Call::to(Method::POST, PATH) };
        remote.format.print(&remote.server.call(&call)?.body, output::record)
    }
}

impl Update {
    fn run(self) -> Result<Exit, Failure> {
        let Self { remote, tenant, changes, guarded, attempt } = self;
        let Changes { name, parent, no_parent, billing, demo, attributes } = changes;
        let body = object([
            ("name", name.map(Value::from)),
            ("parent", if no_parent { Some(Value::Null) } else { parent.and_then(words::json) }),
            ("billing", billing.and_then(words::json)),
            ("demo", demo.map(Value::from)),
            ("attributes", attributes),
        ]);
        patch(&remote, &tenant, &body, guarded, &attempt)
    }
}
