//! `entitled tenants subscriptions`: a tenant on plans.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::super::{
    Exit, Failure,
    attempt::{Attempt, Guarded, Once, Shown, access, rehearse},
    client::{Body, Call, Remote, object},
    output::{self, cell},
    words,
};
use crate::domain::{
    keys::{PlanKey, TenantKey},
    subscriptions::SubscriptionStatus,
    time::Timestamp,
};

/// Put a tenant on plans
#[derive(Debug, Subcommand)]
pub enum Subscriptions {
    /// List the subscriptions of a tenant, ended ones too, newest first
    List {
        #[command(flatten)]
        remote: Remote,
        /// The tenant
        tenant: TenantKey,
    },
    /// Show one subscription
    Show {
        /// The tenant
        tenant: TenantKey,
        /// The subscription
        #[arg(value_parser = words::id)]
        id: String,
        #[command(flatten)]
        shown: Shown,
    },
    /// Put a tenant on a plan; a base plan ends the present one, an add-on stands beside it
    Assign(Box<Assign>),
    /// Change a subscription; what isn't named stays
    Update(Box<Update>),
    /// Cancel a subscription: it blocks, or an add-on gives nothing any more
    Cancel(Reasoned),
    /// Move a subscription to the newest version of its plan
    Migrate(Reasoned),
}

#[derive(Debug, Args)]
pub struct Assign {
    #[command(flatten)]
    remote: Remote,
    /// The tenant
    tenant: TenantKey,
    /// The plan, in its newest version
    plan: PlanKey,
    /// Why, in 3 to 500 characters
    #[arg(long)]
    reason: String,
    /// Where it starts: trialing, active, overdue, suspended, cancelled [default: trialing where the
    /// plan has a trial that the tenant has not had, else active]
    #[arg(long, value_parser = words::word::<SubscriptionStatus>)]
    status: Option<SubscriptionStatus>,
    /// The end of the trial, such as 2027-01-01T00:00:00Z [default: as the plan says]
    #[arg(long, value_name = "TIME", value_parser = words::instant)]
    trial_expires_at: Option<Timestamp>,
    /// How many units [default: 1]
    #[arg(long)]
    quantity: Option<u32>,
    /// From when on, such as 2027-01-01T00:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = words::instant)]
    effective_from: Option<Timestamp>,
    #[command(flatten)]
    once: Once,
    #[command(flatten)]
    attempt: Attempt,
}

#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    reasoned: Reasoned,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Another status: trialing, active, overdue, suspended, cancelled
    #[arg(long, value_parser = words::word::<SubscriptionStatus>)]
    status: Option<SubscriptionStatus>,
    /// Another end of the trial
    #[arg(long, value_name = "TIME", value_parser = words::instant)]
    trial_expires_at: Option<Timestamp>,
    /// Another number of units
    #[arg(long)]
    quantity: Option<u32>,
    /// It gives nothing from here on
    #[arg(long, value_name = "TIME", value_parser = words::instant)]
    effective_to: Option<Timestamp>,
    /// It doesn't end any more
    #[arg(long, conflicts_with = "effective_to")]
    no_effective_to: bool,
}

#[derive(Debug, Args)]
pub struct Reasoned {
    #[command(flatten)]
    remote: Remote,
    /// The tenant
    tenant: TenantKey,
    /// The subscription
    #[arg(value_parser = words::id)]
    id: String,
    /// Why, in 3 to 500 characters
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    guarded: Guarded,
    #[command(flatten)]
    attempt: Attempt,
}

impl Subscriptions {
    pub fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::List { remote: Remote { server, format }, tenant } => {
                let list = server.list(&path(&tenant), Vec::new())?;
                let heads = ["id", "kind", "plan", "status", "effective_from", "effective_to"];
                format.print(&list, |list| output::members(&heads, list))?;
                Ok(Exit::Ok)
            }
            Self::Show { tenant, id, shown } => {
                shown.print(&format!("{}/{id}", path(&tenant)), output::record)?;
                Ok(Exit::Ok)
            }
            Self::Assign(assign) => assign.run(),
            Self::Update(update) => update.run(),
            Self::Cancel(reasoned) => {
                reasoned.update([("status", words::json(SubscriptionStatus::Cancelled))])
            }
            Self::Migrate(reasoned) => reasoned.migrate(),
        }
    }
}

fn path(tenant: &TenantKey) -> String {
    format!("{}/subscriptions", super::path(tenant))
}

impl Assign {
    fn run(self) -> Result<Exit, Failure> {
        let Self {
            remote,
            tenant,
            plan,
            reason,
            status,
            trial_expires_at,
            quantity,
            effective_from,
            once,
            attempt,
        } = self;
        let body = object([
            ("plan", words::json(plan)),
            ("change_reason", Some(reason.into())),
            ("status", status.and_then(words::json)),
            ("trial_expires_at", trial_expires_at.and_then(words::json)),
            ("quantity", quantity.map(Value::from)),
            ("effective_from", effective_from.and_then(words::json)),
        ]);
        let headers = once.header().into_iter().collect();
        let call =
            Call { headers, body: Body::Json(&body), ..Call::to(Method::POST, path(&tenant)) };
        attempt.make(&remote, call, output::record)
    }
}

impl Update {
    fn run(self) -> Result<Exit, Failure> {
        let Self { reasoned, changes } = self;
        let Changes { status, trial_expires_at, quantity, effective_to, no_effective_to } = changes;
        let end =
            if no_effective_to { Some(Value::Null) } else { effective_to.and_then(words::json) };
        reasoned.update([
            ("status", status.and_then(words::json)),
            ("trial_expires_at", trial_expires_at.and_then(words::json)),
            ("quantity", quantity.map(Value::from)),
            ("effective_to", end),
        ])
    }
}

impl Reasoned {
    fn update<const N: usize>(
        self,
        changes: [(&'static str, Option<Value>); N],
    ) -> Result<Exit, Failure> {
        let Self { remote, tenant, id, reason, guarded, attempt } = self;
        let mut body = object(changes);
        if let Some(body) = body.as_object_mut() {
            body.insert("change_reason".into(), reason.into());
        }
        let headers = guarded.header().into_iter().collect();
        let to = Call::to(Method::PATCH, format!("{}/{id}", path(&tenant)));
        let call = Call { headers, body: Body::Json(&body), ..to };
        attempt.make(&remote, call, output::record)
    }

    fn migrate(self) -> Result<Exit, Failure> {
        let Self { remote: Remote { server, format }, tenant, id, reason, guarded, attempt } = self;
        let body = object([("change_reason", Some(reason.into()))]);
        let headers = guarded.header().into_iter().collect();
        let to = Call::to(Method::POST, format!("{}/{id}/migrate", path(&tenant)));
        let call = Call { headers, body: Body::Json(&body), ..to };
        let is_dry = attempt.is_dry();
        let done = if is_dry { rehearse(&server, call)? } else { server.call(&call)?.body };
        format.print(&done, |done| {
            let mut text = moved(done);
            if is_dry {
                text.push_str(&access(done.get("access")));
            }
            text
        })?;
        Ok(Exit::Ok)
    }
}

/// From which version to which, and what that gives differently.
fn moved(done: &Value) -> String {
    let of = |name: &str| cell(done.get(name));
    let mut text = format!("version {} -> {}\n", of("from_version"), of("to_version"));
    for change in done.get("changes").and_then(Value::as_array).into_iter().flatten() {
        let [key, before, after] = ["key", "before", "after"].map(|name| cell(change.get(name)));
        text.push_str(&format!("~ {key}: {before} -> {after}\n"));
    }
    text
}
