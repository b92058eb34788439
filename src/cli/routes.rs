//! `entitled routes`: holds an application's routes against the catalog.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Exit, Failure, catalog,
    client::{Body, Server},
    output,
};
use crate::{
    domain::{
        app_routes::{AppRoute, of_openapi},
        catalog::{Catalog, Route},
    },
    engine::coverage::{self, Coverage},
};

const PATH: &str = "/api/v1/admin/routes/coverage";

/// Hold an application's routes against the catalog
#[derive(Debug, Subcommand)]
pub enum Routes {
    /// Say which routes are protected, public or forgotten; exit code 1 where any is forgotten
    Coverage(CoverageArgs),
}

#[derive(Debug, Args)]
pub struct CoverageArgs {
    #[command(flatten)]
    server: Server,
    /// An OpenAPI document, or a list of lines such as `GET /users/{id}`
    file: PathBuf,
    /// Look at this catalog file instead of asking a server
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    #[command(flatten)]
    format: output::Format,
}

impl Routes {
    pub fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Coverage(args) => args.run(),
        }
    }
}

/// What a file holds.
enum Given {
    OpenApi(Value),
    Lines(Vec<String>),
}

impl CoverageArgs {
    fn run(self) -> Result<Exit, Failure> {
        let Self { server, file, catalog, format } = self;
        let given = read(&file)?;
        let report = match catalog {
            Some(catalog) => offline(&catalog::load(&catalog)?, &given)?,
            None => {
                let body = match given {
                    Given::OpenApi(document) => json!({"openapi": document}),
                    Given::Lines(lines) => json!({"routes": lines}),
                };
                server.ask(Method::POST, PATH, Body::Json(&body))?
            }
        };
        format.print(&report, summary)?;
        let uncovered = list(&report, "uncovered");
        Ok(if uncovered.is_empty() { Exit::Ok } else { Exit::No })
    }
}

fn read(file: &Path) -> Result<Given, Failure> {
    let (text, _) = catalog::read(file)?;
    let bad = |message: &str| Failure::new(Exit::Usage, format!("{}: {message}", file.display()));
    // JSON is YAML; a list of lines is a text to YAML, or nothing that it can read.
    match document(&text) {
        Ok(document @ Value::Object(_)) => Ok(Given::OpenApi(document)),
        Err(error) if text.contains("paths:") || text.trim_start().starts_with('{') => {
            Err(bad(&error))
        }
        Ok(Value::Array(items)) => {
            let line = |item: &Value| match item {
                Value::String(line) => Some(line.clone()),
                Value::Object(route) => {
                    let part = |name: &str| route.get(name).and_then(Value::as_str);
                    let path = part("path")?;
                    Some(part("method").map_or(path.into(), |method| format!("{method} {path}")))
                }
                _ => None,
            };
            let lines: Option<Vec<String>> = items.iter().map(line).collect();
            let hint = "each entry is a line such as GET /users/{id}, or has method and path";
            lines.map(Given::Lines).ok_or_else(|| bad(hint))
        }
        Ok(_) | Err(_) => {
            let lines = text.lines().map(str::trim);
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            Ok(Given::Lines(lines.map(str::to_owned).collect()))
        }
    }
}

/// A document as it is meant: with its merges made, and no key in it twice.
fn document(text: &str) -> Result<Value, String> {
    let mut document: serde_yaml::Value =
        serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    document.apply_merge().map_err(|error| error.to_string())?;
    serde_json::to_value(document).map_err(|error| error.to_string())
}

fn offline(catalog: &Catalog, given: &Given) -> Result<Value, Failure> {
    let bad = |message: String| Failure::new(Exit::Usage, message);
    let routes: Vec<AppRoute> = match given {
        Given::OpenApi(document) => of_openapi(document).map_err(bad)?,
        Given::Lines(lines) => {
            lines.iter().map(|line| AppRoute::parse(line)).collect::<Result<_, _>>().map_err(bad)?
        }
    };
    if routes.is_empty() {
        return Err(bad("the file names no route".into()));
    }
    let Coverage { covered, public, uncovered, unused_guards } =
        coverage::coverage(catalog, &routes);
    let judged = |(route, by): &(AppRoute, Route)| {
        json!({
            "method": route.method, "path": route.path, "by": by.path, "module": by.module,
            "features": by.features, "permission": by.permission, "guard": by.guard,
            "allow_blocked": by.allow_blocked,
        })
    };
    let bare = |route: &AppRoute| json!({"method": route.method, "path": route.path});
    Ok(json!({
        "covered": covered.iter().map(judged).collect::<Vec<_>>(),
        "public": public.iter().map(judged).collect::<Vec<_>>(),
        "uncovered": uncovered.iter().map(bare).collect::<Vec<_>>(),
        "unused_guards": unused_guards,
        "default_route": catalog.settings.default_route,
        "catalog_version": null,
    }))
}

fn list<'a>(report: &'a Value, name: &str) -> &'a [Value] {
    report.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn summary(report: &Value) -> String {
    let [covered, public, uncovered] =
        ["covered", "public", "uncovered"].map(|name| list(report, name));
    let rows = |kind: &'static str, routes: &[Value]| -> Vec<[String; 4]> {
        let row = |route: &Value| {
            let needs = ["module", "guard", "permission", "features"].iter().filter_map(|name| {
                let value = route.get(*name).filter(|value| !value.is_null())?;
                let text = output::cell(Some(value));
                (!text.is_empty()).then(|| format!("{name} {text}"))
            });
            let needs = needs.collect::<Vec<_>>().join(", ");
            let method = route.get("method").and_then(Value::as_str).unwrap_or("ANY");
            let path = output::cell(route.get("path"));
            [kind.to_owned(), method.to_owned(), path, needs]
        };
        routes.iter().map(row).collect()
    };
    let mut all = rows("uncovered", uncovered);
    all.extend(rows("public", public));
    all.extend(rows("covered", covered));
    let mut text = output::table(&["", "method", "path", "needs"], all);
    for guard in list(report, "unused_guards") {
        text.push_str(&format!("no route asks the guard {}\n", output::cell(Some(guard))));
    }
    text.push_str(&format!(
        "{} covered, {} public, {} uncovered\n",
        covered.len(),
        public.len(),
        uncovered.len()
    ));
    text
}
