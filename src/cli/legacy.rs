//! `entitled legacy`: maps of modules in the shape of an older application, on a server.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    Exit, Failure,
    attempt::{Attempt, Guarded, Shown, access, rehearse},
    client::{Body, Call, Remote, Server, object},
    output::{self, cell},
};
use crate::{domain::keys::TenantKey, service::legacy::table};

const PATH: &str = "/api/v1/admin/legacy";

/// Import, compare and export the module maps of an older application
#[derive(Debug, Subcommand)]
pub enum Legacy {
    /// Take the maps in a file, all or none of them
    Import(Import),
    /// Show the map of one tenant
    Show {
        #[command(flatten)]
        remote: Remote,
        /// The tenant
        tenant: TenantKey,
    },
    /// List what maps and grants disagree about; exit code 1 where they do
    Consistency {
        #[command(flatten)]
        remote: Remote,
    },
    /// Write the maps of all tenants in the old shape
    Export(Export),
    /// Show and change how maps are kept
    #[command(subcommand)]
    Settings(Settings),
}

#[derive(Debug, Args)]
pub struct Import {
    #[command(flatten)]
    remote: Remote,
    /// A .json or .csv file, or - for stdin
    file: PathBuf,
    /// What is in it [default: as the name of the file ends; JSON from stdin]
    #[arg(long, value_enum)]
    format: Option<Notation>,
    /// Also grant the modules that are on, and take back grants on those that are off
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    attempt: Attempt,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Notation {
    /// `{"tenants": {TENANT: {MODULE: true}}}`
    Json,
    /// A row for each tenant, a column for each module
    Csv,
}

#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    server: Server,
    /// What to write
    #[arg(long, value_enum, default_value = "json")]
    format: Notation,
    /// The file to write, instead of stdout; it is there only when it is complete
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Show and change how maps are kept
#[derive(Debug, Subcommand)]
pub enum Settings {
    /// Show how maps are kept
    Show {
        #[command(flatten)]
        shown: Shown,
    },
    /// Put other settings in place of the present ones
    Set {
        #[command(flatten)]
        remote: Remote,
        /// Whether each change of a tenant's module grants is written into its map too
        #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
        dual_write: bool,
        /// What the older application calls a module, where that is not its key; repeat it for several
        #[arg(long = "name", value_name = "OLD=MODULE", value_parser = old_name)]
        names: Vec<(String, String)>,
        #[command(flatten)]
        guarded: Guarded,
    },
}

fn old_name(text: &str) -> Result<(String, String), String> {
    let parts = text.rsplit_once('=').filter(|(old, module)| !old.is_empty() && !module.is_empty());
    let parts = parts.map(|(old, module)| (old.to_owned(), module.to_owned()));
    parts.ok_or_else(|| "write the old name and the module, such as CRM_Module=crm".into())
}

impl Legacy {
    pub fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Import(import) => import.run()?,
            Self::Show { remote: Remote { server, format }, tenant } => {
                let path = format!("/api/v1/admin/tenants/{tenant}/legacy-modules");
                let map = server.ask(Method::GET, &path, Body::None)?;
                format.print(&map, |map| {
                    let modules = map.get("enabled_modules").and_then(Value::as_object);
                    let rows = modules.into_iter().flatten();
                    let rows = rows.map(|(name, is_on)| [name.clone(), cell(Some(is_on))]);
                    output::table(&["module", "enabled"], rows)
                })?;
            }
            Self::Consistency { remote } => return consistency(&remote),
            Self::Export(export) => export.run()?,
            Self::Settings(settings) => settings.run()?,
        }
        Ok(Exit::Ok)
    }
}

impl Import {
    fn run(self) -> Result<(), Failure> {
        let Self { remote: Remote { server, format }, file, format: notation, apply, attempt } =
            self;
        let is_csv = file.extension().is_some_and(|end| end.eq_ignore_ascii_case("csv"));
        let kind = match notation {
            Some(Notation::Csv) => "text/csv",
            Some(Notation::Json) => "application/json",
            None if is_csv => "text/csv",
            None => "application/json",
        };
        let text = read(&file)?;
        let mut call = Call::to(Method::POST, format!("{PATH}/import"));
        call.body = Body::Text(kind, &text);
        if apply {
            call.query.push(("apply", "true".into()));
        }
        let is_dry = attempt.is_dry();
        let done = if is_dry { rehearse(&server, call)? } else { server.call(&call)?.body };
        format.print(&done, |done| {
            let mut text = imported(done);
            if is_dry {
                text.push_str(&access(done.get("access")));
            }
            text
        })
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(Exit::Io, format!("can't read {}: {error}", file.display()))
    };
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map_err(unreadable)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(unreadable)
}

/// What an import changed, a line for each tenant that the server names.
fn imported(done: &Value) -> String {
    let changes = done.get("changes").and_then(Value::as_array).into_iter().flatten();
    let modules = |change: &Value, wanted: bool| {
        let grants = change.get("grants").and_then(Value::as_object).into_iter().flatten();
        let these = grants.filter(|(_, is_on)| **is_on == Value::Bool(wanted));
        let names: Vec<String> = these.map(|(module, _)| output::plain(module)).collect();
        if names.is_empty() { "-".to_owned() } else { names.join(", ") }
    };
    let rows: Vec<[String; 4]> = changes
        .map(|change| {
            let map = map_of(change.get("after"));
            [cell(change.get("tenant")), map, modules(change, true), modules(change, false)]
        })
        .collect();
    let mut text = String::new();
    if !rows.is_empty() {
        text = output::table(&["tenant", "map", "granted", "taken back"], rows);
    }
    let of = |name: &str| cell(done.get(name));
    let [tenants, changed, grants] = ["tenants", "changed", "grants"].map(of);
    text.push_str(&format!("{tenants} tenants: {changed} change, with {grants} grants\n"));
    text
}

/// What is on in a map, and what is off: `retail, -dine`.
fn map_of(map: Option<&Value>) -> String {
    let modules = map.and_then(Value::as_object).into_iter().flatten();
    let names = modules.map(|(name, is_on)| {
        let sign = if *is_on == Value::Bool(true) { "" } else { "-" };
        format!("{sign}{}", output::plain(name))
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() { "empty".into() } else { names.join(", ") }
}

fn consistency(remote: &Remote) -> Result<Exit, Failure> {
    let list = remote.server.list(&format!("{PATH}/consistency"), Vec::new())?;
    let tenants = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_consistent = tenants.is_empty();
    remote.format.print(&list, |_| {
        if is_consistent {
            return "maps and grants agree".into();
        }
        let rows = tenants.iter().flat_map(|found| {
            let tenant = cell(found.get("tenant"));
            let differences = found.get("differences").and_then(Value::as_array);
            differences.into_iter().flatten().map(move |difference| {
                let of = |name: &str| cell(difference.get(name));
                let [module, kind, legacy, granted] =
                    ["module", "kind", "legacy", "granted"].map(of);
                [tenant.clone(), module, kind, legacy, granted]
            })
        });
        output::table(&["tenant", "module", "kind", "legacy", "granted"], rows)
    })?;
    Ok(if is_consistent { Exit::Ok } else { Exit::No })
}

impl Export {
    fn run(self) -> Result<(), Failure> {
        let Self { server, format, output } = self;
        let maps = all(&server)?;
        let bytes = match format {
            Notation::Json => format!("{:#}\n", json!({"tenants": maps})).into_bytes(),
            // As the server writes a page: pages of CSV have columns of their own.
            Notation::Csv => {
                let maps = serde_json::from_value(maps.into()).map_err(|_| server.foreign())?;
                table::write(&maps)?
            }
        };
        match output {
            None => output::print(&String::from_utf8_lossy(&bytes)),
            Some(file) => write(&file, &bytes).map_err(|error| {
                Failure::new(Exit::Io, format!("can't write {}: {error}", file.display()))
            }),
        }
    }
}

fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    let mut whole = tempfile::NamedTempFile::new_in(dir.unwrap_or(Path::new(".")))?;
    whole.write_all(bytes)?;
    whole.as_file().sync_all()?;
    whole.persist(file)?;
    Ok(())
}

/// The maps of all tenants, page by page.
fn all(server: &Server) -> Result<Map<String, Value>, Failure> {
    let (mut maps, mut next) = (Map::new(), Some(format!("{PATH}/export")));
    while let Some(path) = next {
        let call = Call {
            headers: vec![("Accept", "application/json".into())],
            ..Call::to(Method::GET, path)
        };
        let mut page = server.call(&call)?;
        let Some(Value::Object(more)) = page.body.get_mut("tenants").map(Value::take) else {
            return Err(server.foreign());
        };
        maps.extend(more);
        next = page.next;
    }
    Ok(maps)
}

impl Settings {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Show { shown } => shown.print(PATH, output::record),
            Self::Set { remote, dual_write, names, guarded } => {
                let mut map = Map::new();
                for (old, module) in names {
                    if map.insert(old.clone(), module.into()).is_some() {
                        let line = format!("--name gives {} twice", output::plain(&old));
                        return Err(Failure::new(Exit::Usage, line));
                    }
                }
                let body =
                    object([("dual_write", Some(dual_write.into())), ("names", Some(map.into()))]);
                let headers = guarded.header().into_iter().collect();
                let call = Call { headers, body: Body::Json(&body), ..Call::to(Method::PUT, PATH) };
                remote.format.print(&remote.server.call(&call)?.body, output::record)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_name_may_hold_anything_but_is_never_empty() {
        assert_eq!(old_name("CRM=Module=crm"), Ok(("CRM=Module".into(), "crm".into())));
        for wrong in ["", "crm", "=crm", "CRM="] {
            assert!(old_name(wrong).is_err(), "{wrong}");
        }
    }
}
