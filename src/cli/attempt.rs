//! What commands that change something share: `--dry-run` with who would gain and lose what,
//! `--if-match`, `--idempotency-key`, and the tags that `show --etag` prints.

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Exit, Failure,
    client::{Call, PAGE, Remote, Server, given, next_cursor},
    output::{self, Format, cell},
    words,
};

/// Whether something is changed or only looked at
#[derive(Debug, Args)]
pub struct Attempt {
    /// Only say who would gain and lose what; nothing is written
    #[arg(long)]
    dry_run: bool,
}

/// Which state is changed
#[derive(Debug, Args)]
pub struct Guarded {
    /// Only where it still has this tag, as `show --etag` prints it
    #[arg(long, value_name = "TAG", value_parser = words::tag)]
    if_match: Option<String>,
}

/// What makes it safe to send again
#[derive(Debug, Args)]
pub struct Once {
    /// The same again with this key gets the first answer again, and nothing happens twice
    #[arg(long, value_name = "KEY", value_parser = words::once)]
    idempotency_key: Option<String>,
}

/// One thing on a server, or its tag
#[derive(Debug, Args)]
pub struct Shown {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    format: Format,
    /// Print only the tag of its present state, for --if-match
    #[arg(long, conflicts_with = "json")]
    etag: bool,
}

impl Guarded {
    /// As a header.
    pub fn header(self) -> Option<(&'static str, String)> {
        self.if_match.map(|tag| ("If-Match", tag))
    }
}

impl Once {
    /// As a header.
    pub fn header(self) -> Option<(&'static str, String)> {
        self.idempotency_key.map(|key| ("Idempotency-Key", key))
    }
}

impl Shown {
    /// Prints what is at `path`, as `table` for people.
    pub fn print(&self, path: &str, table: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        let Self { server, format, etag } = self;
        let reply = server.call(&Call::to(Method::GET, path))?;
        if *etag {
            output::print(&reply.etag.unwrap_or_default())
        } else {
            format.print(&reply.body, table)
        }
    }
}

impl Attempt {
    /// Whether nothing is to be written.
    pub fn is_dry(&self) -> bool {
        self.dry_run
    }

    /// Makes a change and prints what it led to, or what it would change.
    ///
    /// Where a second person must agree first, the exit code says so: a script must not go on as if
    /// it were done.
    pub fn make(
        &self,
        remote: &Remote,
        call: Call<'_>,
        told: impl FnOnce(&Value) -> String,
    ) -> Result<Exit, Failure> {
        let Remote { server, format } = remote;
        if self.dry_run {
            format.print(&rehearse(server, call)?, |would| access(would.get("access")))?;
            return Ok(Exit::Ok);
        }
        let reply = server.call(&call)?;
        if reply.status == 202 {
            format.print(&reply.body, waits)?;
            return Ok(Exit::Warned);
        }
        format.print(&reply.body, told)?;
        Ok(Exit::Ok)
    }

    /// Removes something, or says what that would change. `name` is what people know it by.
    pub fn remove(&self, remote: &Remote, call: Call<'_>, name: &str) -> Result<Exit, Failure> {
        if self.dry_run {
            return self.make(remote, call, |_| String::new());
        }
        remote.server.call(&call)?;
        remote.format.print(&json!({"deleted": name}), |_| format!("deleted {name}"))?;
        Ok(Exit::Ok)
    }
}

fn waits(request: &Value) -> String {
    let id = cell(request.get("id"));
    format!("nothing changed yet: a second person must approve it; entitled requests approve {id}")
}

/// The answer to a dry run, with all pages of who would gain and lose what.
pub fn rehearse(server: &Server, mut call: Call<'_>) -> Result<Value, Failure> {
    let limit = Some(PAGE.to_string());
    call.query.extend(given([("dry_run", Some("true".into())), ("limit", limit)]));
    let first = call.query.clone();
    let mut answer = server.call(&call)?.body;
    let Some(all) = answer.get_mut("access").filter(|access| access.is_object()) else {
        return Ok(answer);
    };
    while let Some(cursor) = next_cursor(all) {
        call.query.clone_from(&first);
        call.query.push(("cursor", cursor));
        let mut page = server.call(&call).map_err(again)?.body;
        let Some(page) = page.get_mut("access") else { break };
        if let (Some(items), Some(more)) = (
            all.get_mut("items").and_then(Value::as_array_mut),
            page.get_mut("items").and_then(Value::as_array_mut),
        ) {
            items.append(more);
        }
        let is_cut = [&*all, &*page].iter().any(|page| page.get("truncated") == Some(&true.into()));
        let next = page.get("next_cursor").cloned().unwrap_or_default();
        if let Some(all) = all.as_object_mut() {
            all.insert("truncated".into(), is_cut.into());
            all.insert("next_cursor".into(), next);
        }
    }
    Ok(answer)
}

/// What went wrong after the first page: most likely somebody else's change.
fn again(mut failure: Failure) -> Failure {
    failure.lines.push("the dry run was not read to its end; run it again".into());
    failure
}

/// Who would gain and lose what.
pub fn access(access: Option<&Value>) -> String {
    let items = access.and_then(|access| access.get("items")).and_then(Value::as_array);
    let items = items.map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    if !items.is_empty() {
        let heads = ["change", "tenant", "user", "kind", "key", "before", "after"];
        text = output::table(&heads, items.iter().map(row));
    }
    let count = |change: &str| {
        let is_it = |item: &&Value| item.get("change").and_then(Value::as_str) == Some(change);
        format!("{} {change}", items.iter().filter(is_it).count())
    };
    let counts = ["gained", "lost", "changed"].map(count).join(", ");
    let sum = if items.is_empty() { "nobody's access would change".to_owned() } else { counts };
    text.push_str(&format!("nothing was written: {sum}\n"));
    if access.and_then(|access| access.get("truncated")) == Some(&true.into()) {
        text.push_str("more tenants stand below this one than were looked at\n");
    }
    text
}

fn row(item: &Value) -> [String; 7] {
    let of = |name: &str| cell(item.get(name));
    let mut key = of("key");
    if let Some(context) = item.get("context").filter(|context| context.is_object()) {
        let [kind, id] = ["type", "id"].map(|name| cell(context.get(name)));
        key.push_str(&format!(" on {kind}:{id}"));
    }
    let [before, after] = ["before", "after"].map(|name| state(item.get(name)));
    [of("change"), of("tenant"), of("user"), of("kind"), key, before, after]
}

/// `yes 5 (plan)`, `no (suspended)`, or nothing where there is no such thing.
fn state(access: Option<&Value>) -> String {
    let Some(access) = access.filter(|access| access.is_object()) else { return "-".into() };
    let of = |name: &str| access.get(name).filter(|value| !value.is_null());
    let mut text = if of("enabled") == Some(&true.into()) { "yes" } else { "no" }.to_owned();
    if of("unlimited") == Some(&true.into()) {
        text.push_str(" unlimited");
    }
    for value in ["limit", "value"].into_iter().filter_map(of) {
        text.push_str(&format!(" {}", output::short(Some(value))));
    }
    if let Some(reason) = of("reason") {
        text.push_str(&format!(" ({})", cell(Some(reason))));
    }
    if let Some(reason) = of("would_reason") {
        text.push_str(&format!(", else {}", cell(Some(reason))));
    }
    if let Some(end) = of("expires_at") {
        text.push_str(&format!(" until {}", cell(Some(end))));
    }
    text
}
