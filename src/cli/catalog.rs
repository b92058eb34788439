//! `entitled catalog`: checked here, compared and applied on a server.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Exit, Failure,
    attempt::{access, rehearse},
    client::{Body, Call, Server, given},
    output, words,
};
use crate::domain::catalog::{Format, parse};

const PATH: &str = "/api/v1/admin/catalog";

/// Check, compare, apply or export a catalog
#[derive(Debug, Subcommand)]
pub enum Catalog {
    /// Check a document without a server; every fault is a line
    Validate {
        /// A .yaml, .yml or .json file
        file: PathBuf,
        #[command(flatten)]
        format: output::Format,
    },
    /// Show what applying a document would change
    Diff(Change),
    /// Make a document the catalog
    Apply(Apply),
    /// Write the newest catalog as it was applied
    Export(Export),
}

#[derive(Debug, Args)]
pub struct Change {
    #[command(flatten)]
    server: Server,
    /// A .yaml, .yml or .json file
    file: PathBuf,
    #[command(flatten)]
    format: output::Format,
}

#[derive(Debug, Args)]
pub struct Apply {
    #[command(flatten)]
    change: Change,
    /// Only say what would change, and who would gain and lose what
    #[arg(long)]
    dry_run: bool,
    /// Only where the catalog still has this version
    #[arg(long, value_name = "VERSION", value_parser = words::tag)]
    if_match: Option<String>,
}

#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    server: Server,
    /// Where to write it, instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Whether a document is applied, tried with everyone whom it would concern, or only compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Intent {
    Compare,
    Try,
    Apply,
}

impl Catalog {
    pub fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Validate { file, format } => return validate(&file, format),
            Self::Diff(change) => change.run(Intent::Compare, None)?,
            Self::Apply(Apply { change, dry_run, if_match }) => {
                change.run(if dry_run { Intent::Try } else { Intent::Apply }, if_match)?;
            }
            Self::Export(export) => export.run()?,
        }
        Ok(Exit::Ok)
    }
}

/// The text of a document and its notation.
pub fn read(file: &Path) -> Result<(String, Format), Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(Exit::Io, format!("can't read {}: {error}", file.display()))
    })?;
    let is_json = file.extension().is_some_and(|extension| extension == "json");
    Ok((text, if is_json { Format::Json } else { Format::Yaml }))
}

/// A catalog in a file; every fault is a line.
pub fn load(file: &Path) -> Result<crate::domain::catalog::Catalog, Failure> {
    let (text, format) = read(file)?;
    parse(&text, format).map_err(|faults| Failure {
        exit: Exit::No,
        lines: faults.iter().map(|fault| output::plain(&fault.to_string())).collect(),
    })
}

fn validate(file: &Path, format: output::Format) -> Result<Exit, Failure> {
    let catalog = match load(file) {
        Ok(catalog) => catalog,
        // Programs get the faults with the answer.
        Err(Failure { exit: Exit::No, lines }) if format.is_json() => {
            format.print(&json!({"valid": false, "faults": lines}), |_| String::new())?;
            return Ok(Exit::No);
        }
        Err(failure) => return Err(failure),
    };
    let [modules, features, plans] =
        [catalog.modules.len(), catalog.features.len(), catalog.plans.len()];
    let value = json!({"valid": true, "modules": modules, "features": features, "plans": plans});
    format.print(&value, |_| {
        let file = file.display();
        format!("{file} is valid: {modules} modules, {features} features, {plans} plans")
    })?;
    Ok(Exit::Ok)
}

impl Change {
    fn run(self, intent: Intent, version: Option<String>) -> Result<(), Failure> {
        let Self { server, file, format } = self;
        let (text, notation) = read(&file)?;
        let kind = match notation {
            Format::Yaml => "application/yaml",
            Format::Json => "application/json",
        };
        let headers = given([("If-Match", version)]);
        let mut call =
            Call { headers, body: Body::Text(kind, &text), ..Call::to(Method::PUT, PATH) };
        let change = match intent {
            Intent::Try => rehearse(&server, call)?,
            Intent::Compare => {
                call.query.push(("dry_run", "true".into()));
                server.call(&call)?.body
            }
            Intent::Apply => server.call(&call)?.body,
        };
        format.print(&change, |change| {
            let mut text = summary(change, intent);
            if intent == Intent::Try {
                text.push_str(&access(change.get("access")));
            }
            text
        })
    }
}

/// What changed, one line each.
fn summary(change: &Value, intent: Intent) -> String {
    let version = output::cell(change.get("version"));
    let is_changed = change.get("changed") == Some(&Value::Bool(true));
    let mut text = match (is_changed, intent) {
        (false, _) => return format!("nothing to change; the catalog is version {version}\n"),
        (true, Intent::Compare | Intent::Try) => format!("would become version {version}\n"),
        (true, Intent::Apply) => format!("is version {version} now\n"),
    };
    for (section, diff) in change.get("diff").and_then(Value::as_object).into_iter().flatten() {
        let keys = |name: &str| diff.get(name).and_then(Value::as_array).into_iter().flatten();
        for key in keys("added") {
            text.push_str(&format!("+ {section}.{}\n", output::cell(Some(key))));
        }
        for key in keys("removed") {
            text.push_str(&format!("- {section}.{}\n", output::cell(Some(key))));
        }
        for entry in keys("changed") {
            let place = format!("{section}.{}", output::cell(entry.get("key")));
            fields(&mut text, &place, entry.get("fields"));
        }
        // Settings have no entries.
        fields(&mut text, section, Some(diff));
    }
    for step in change.get("plans").and_then(Value::as_array).into_iter().flatten() {
        let [plan, from, to] = ["plan", "from", "to"].map(|name| output::cell(step.get(name)));
        text.push_str(&format!("plan {plan}: version {from} -> {to}\n"));
    }
    text
}

fn fields(text: &mut String, place: &str, list: Option<&Value>) {
    for field in list.and_then(Value::as_array).into_iter().flatten() {
        let [name, before, after] =
            ["field", "before", "after"].map(|name| output::cell(field.get(name)));
        text.push_str(&format!("~ {place}.{name}: {before} -> {after}\n"));
    }
}

impl Export {
    fn run(self) -> Result<(), Failure> {
        let catalog = self.server.ask(Method::GET, PATH, Body::None)?;
        let text = catalog.get("text").and_then(Value::as_str).unwrap_or_default();
        match self.output {
            None => output::print(text),
            Some(path) => std::fs::write(&path, text).map_err(|error| {
                Failure::new(Exit::Io, format!("can't write {}: {error}", path.display()))
            }),
        }
    }
}
