//! `entitled tenants modules`: which modules a tenant has selected.

use std::str::FromStr;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value};

use super::super::{
    Exit, Failure,
    attempt::Attempt,
    client::{Body, Call, Remote, object},
    output::{self, cell},
    words,
};
use crate::domain::keys::{BundleKey, ModuleKey, TenantKey};

/// Show and select the modules of a tenant
#[derive(Debug, Subcommand)]
pub enum Modules {
    /// List the module grants of a tenant
    List {
        #[command(flatten)]
        remote: Remote,
        /// The tenant
        tenant: TenantKey,
    },
    /// Put a selection in place of all module grants of a tenant: what isn't named is taken back
    Set(Set),
}

#[derive(Debug, Args)]
pub struct Set {
    #[command(flatten)]
    remote: Remote,
    /// The tenant
    tenant: TenantKey,
    #[command(flatten)]
    selection: Selection,
    /// Why, in 3 to 500 characters
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    attempt: Attempt,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Selection {
    /// A module, with what the grant is to say where it isn't just given, such as
    /// hr,state=trial,trial_expires_at=2027-01-01T00:00:00Z or lms,seats=20,release=newest; repeat it
    /// for several
    #[arg(long = "module", value_name = "MODULE[,NAME=VALUE]", value_parser = module)]
    modules: Vec<(ModuleKey, Value)>,
    /// A bundle, whose modules are all given; repeat it for several
    #[arg(long = "bundle", value_name = "BUNDLE")]
    bundles: Vec<BundleKey>,
    /// No module at all
    #[arg(long, conflicts_with_all = ["modules", "bundles"])]
    none: bool,
}

/// `hr` or `hr,state=trial,trial_expires_at=…`: names and values are those of the API.
fn module(text: &str) -> Result<(ModuleKey, Value), String> {
    let mut parts = text.split(',');
    let key = ModuleKey::from_str(parts.next().unwrap_or_default())
        .map_err(|error| format!("the module {error}"))?;
    let mut members = Map::from_iter([("state".to_owned(), Value::from("enabled"))]);
    for part in parts {
        let hint = || format!("“{part}” must be state=…, trial_expires_at=…, seats=… or release=…");
        let (name, value) = part.split_once('=').ok_or_else(hint)?;
        let value = match name {
            "state" | "trial_expires_at" | "release" => Value::from(value),
            "seats" => {
                value.parse::<u64>().map_err(|_| format!("seats: {value} is no number"))?.into()
            }
            _ => return Err(hint()),
        };
        members.insert(name.to_owned(), value);
    }
    Ok((key, members.into()))
}

impl Modules {
    pub fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::List { remote: Remote { server, format }, tenant } => {
                let found = server.ask(Method::GET, &path(&tenant), Body::None)?;
                format.print(&found, selection)?;
                Ok(Exit::Ok)
            }
            Self::Set(set) => set.run(),
        }
    }
}

fn path(tenant: &TenantKey) -> String {
    format!("{}/modules", super::path(tenant))
}

impl Set {
    fn run(self) -> Result<Exit, Failure> {
        let Self { remote, tenant, selection: wanted, reason, attempt } = self;
        let Selection { modules, bundles, none: _ } = wanted;
        let mut named = Map::new();
        for (key, module) in modules {
            if named.insert(key.to_string(), module).is_some() {
                return Err(Failure::new(Exit::Usage, format!("--module names {key} twice")));
            }
        }
        let body = object([
            ("modules", Some(named.into())),
            ("bundles", words::json(bundles)),
            ("reason", Some(reason.into())),
        ]);
        let to = Call::to(Method::PUT, path(&tenant));
        attempt.make(&remote, Call { body: Body::Json(&body), ..to }, selection)
    }
}

fn selection(found: &Value) -> String {
    let grants = found.get("modules").and_then(Value::as_object).into_iter().flatten();
    let rows = grants.map(|(key, grant)| {
        let of = |name: &str| cell(grant.get(name));
        [
            key.clone(),
            of("state"),
            of("trial_expires_at"),
            of("seats"),
            output::short(grant.get("reason")),
        ]
    });
    let mut text = output::table(&["module", "state", "trial_expires_at", "seats", "reason"], rows);
    let bundles =
        found.get("bundles").filter(|list| list.as_array().is_some_and(|l| !l.is_empty()));
    if bundles.is_some() {
        text.push_str(&format!("whole bundles: {}\n", cell(bundles)));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_module_says_more_by_name() {
        let read = |text: &str| module(text).map(|(key, members)| (key.to_string(), members));
        assert_eq!(read("hr"), Ok(("hr".into(), json!({"state": "enabled"}))));
        let trial =
            json!({"state": "trial", "trial_expires_at": "2027-01-01T00:00:00Z", "seats": 5});
        let text = "hr,state=trial,trial_expires_at=2027-01-01T00:00:00Z,seats=5";
        assert_eq!(read(text), Ok(("hr".into(), trial)));
        for wrong in ["", ",state=trial", "hr,seats=x", "hr,sates=5", "hr,"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
