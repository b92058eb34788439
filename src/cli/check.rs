//! `entitled check`: a question to a server. Its exit code is the answer.

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    Exit, Failure,
    client::{Body, Server},
    output, words,
};
use crate::domain::{catalog::Match, checks::Mode, time::Timestamp};

/// Ask a server whether something is allowed; exit code 1 means no
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    question: Question,
    #[command(flatten)]
    format: output::Format,
}

/// What is asked
#[derive(Debug, Args)]
pub struct Question {
    #[command(flatten)]
    server: Server,
    /// The tenant
    #[arg(long)]
    tenant: Option<String>,
    /// The user
    #[arg(long)]
    user: Option<String>,
    /// How the caller works: tenant, internal, impersonation, platform
    #[arg(long, value_parser = words::word::<Mode>)]
    mode: Option<Mode>,
    /// The module that is needed
    #[arg(long)]
    module: Option<String>,
    /// A feature that is needed; repeat it for several
    #[arg(long = "feature", value_name = "FEATURE")]
    features: Vec<String>,
    /// The permission that the user needs
    #[arg(long)]
    permission: Option<String>,
    /// Where the permission is needed, such as club:c9
    #[arg(long, value_name = "TYPE:ID", value_parser = context)]
    context: Option<(String, String)>,
    /// The lowest tier that passes
    #[arg(long, value_name = "TIER")]
    tier_at_least: Option<String>,
    /// A guard of the catalog
    #[arg(long)]
    guard: Option<String>,
    /// What the guard's conditions look at: a JSON object
    #[arg(long, value_name = "JSON", value_parser = words::object)]
    resource: Option<Value>,
    /// A limit that must have room
    #[arg(long, value_name = "FEATURE")]
    usage: Option<String>,
    /// How much of it is wanted [default: 1]
    #[arg(long, requires = "usage")]
    requested: Option<u64>,
    /// How much there is, where you count
    #[arg(long, requires = "usage")]
    current: Option<u64>,
    /// Whether all or any of the features are needed [default: all]
    #[arg(long = "match", value_name = "all|any", value_parser = words::word::<Match>)]
    features_match: Option<Match>,
    /// Ask about this future instant, such as 2027-03-01T00:00:00Z
    #[arg(long, value_parser = words::instant)]
    at: Option<Timestamp>,
}

/// Whether the path to the decision is wanted too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Answer,
    Explanation,
}

impl Question {
    /// The server's answer.
    pub fn ask(self, detail: Detail) -> Result<Value, Failure> {
        let Self {
            server,
            tenant,
            user,
            mode,
            module,
            features,
            permission,
            context,
            tier_at_least,
            guard,
            resource,
            usage,
            requested,
            current,
            features_match,
            at,
        } = self;
        let mut body = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            body.extend(value.map(|value| (name.to_owned(), value)));
        };
        set("tenant", tenant.map(Value::from));
        set("user", user.map(Value::from));
        set("mode", mode.and_then(|mode| serde_json::to_value(mode).ok()));
        set("module", module.map(Value::from));
        set("features", (!features.is_empty()).then(|| features.into()));
        set("permission", permission.map(Value::from));
        set("context", context.map(|(kind, id)| json!({"type": kind, "id": id})));
        set("tier_at_least", tier_at_least.map(Value::from));
        set("guard", guard.map(Value::from));
        set("resource", resource);
        let limit = usage.map(|feature| {
            let mut limit = Map::from_iter([("feature".to_owned(), Value::from(feature))]);
            limit.extend(requested.map(|count| ("requested".to_owned(), count.into())));
            limit.extend(current.map(|count| ("current".to_owned(), count.into())));
            Value::Object(limit)
        });
        set("usage", limit);
        set("match", features_match.and_then(|it| serde_json::to_value(it).ok()));
        set("at", at.map(|at| at.to_string().into()));
        set("explain", (detail == Detail::Explanation).then_some(Value::Bool(true)));
        server.ask(Method::POST, "/api/v1/check", Body::Json(&body.into()))
    }
}

fn context(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once(':').map(|(kind, id)| (kind.to_owned(), id.to_owned()));
    parts.ok_or_else(|| "write a type and an id, such as club:c9".into())
}

impl Check {
    pub fn run(self) -> Result<Exit, Failure> {
        let answer = self.question.ask(Detail::Answer)?;
        self.format.print(&answer, verdict)?;
        Ok(exit(&answer))
    }
}

/// The exit code that says what the answer says.
pub fn exit(answer: &Value) -> Exit {
    match answer.get("allowed") {
        Some(Value::Bool(true)) => Exit::Ok,
        _ => Exit::No,
    }
}

/// An answer for people.
pub fn verdict(answer: &Value) -> String {
    let word = if exit(answer) == Exit::Ok { "allowed" } else { "denied" };
    let mut text = format!("{word}: {}\n", output::cell(answer.get("message")));
    let mut line = |name: &str, value: String| {
        if value != "-" && !value.is_empty() {
            text.push_str(&format!("  {name:<12}{value}\n"));
        }
    };
    line("reason", output::cell(answer.get("reason")));
    line("code", output::cell(answer.get("code")));
    line("source", members(answer.get("source")));
    for remedy in answer.get("remedies").and_then(Value::as_array).into_iter().flatten() {
        line("remedy", members(Some(remedy)));
    }
    if answer.get("enforced") == Some(&Value::Bool(false)) {
        line("enforced", format!("no; would read {}", output::cell(answer.get("would_reason"))));
    }
    line("valid until", output::cell(answer.get("valid_until")));
    text
}

/// `plan growth 3` for `{"kind": "plan", "plan": "growth", "plan_version": 3}`.
fn members(object: Option<&Value>) -> String {
    let Some(object) = object.and_then(Value::as_object) else { return String::new() };
    let kind = object.get("kind").into_iter();
    let rest = object.iter().filter(|(name, _)| *name != "kind").map(|(_, value)| value);
    kind.chain(rest).map(|value| output::cell(Some(value))).collect::<Vec<_>>().join(" ")
}
