//! `entitled audit export`: from a data directory or from a server, to stdout or to a file that is
//! there only when it is complete.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use reqwest::Url;

use super::{
    Exit, Failure, SettingsArgs,
    audit::database,
    client::{Pairs, Server, given},
};
use crate::{
    domain::{keys::TenantKey, time::Timestamp},
    error::Error,
    service::audit_export::{ExportFormat, Place},
    store::{Store, audit::AuditFilter},
};

/// Where the trail is on a server.
pub const PATH: &str = "/api/v1/admin/audit";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One JSON object on each line; `audit verify --file` reads it
    Jsonl,
    /// For spreadsheets
    Csv,
}

/// Which events
#[derive(Debug, Args)]
pub struct Selected {
    /// Only events about this tenant
    #[arg(long)]
    tenant: Option<TenantKey>,
    /// Only events whose name starts so
    #[arg(long)]
    event: Option<String>,
    /// Only events by this caller
    #[arg(long)]
    actor: Option<String>,
    /// Only events at or after this instant
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Only events before this instant
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
}

impl Selected {
    fn filter(self) -> AuditFilter {
        let Self { tenant, event, actor, from, to } = self;
        AuditFilter { tenant, event, actor, from, to }
    }

    /// As parameters of a query.
    pub fn query(self) -> Pairs {
        query(&self.filter())
    }
}

#[derive(Args)]
pub struct Export {
    /// What to write
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    /// The file to write, instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    selected: Selected,
    /// The address of the server; without it the data directory is read
    #[arg(long, env = "ENTITLED_URL")]
    url: Option<Url>,
    /// An API key or a token, for the server
    #[arg(long, env = "ENTITLED_KEY", hide_env_values = true)]
    key: Option<String>,
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Export {
    pub fn run(self, settings: SettingsArgs) -> Result<Exit, Failure> {
        let Self { format, output, selected, url, key } = self;
        let filter = selected.filter();
        let format = match format {
            Format::Jsonl => ExportFormat::Jsonl,
            Format::Csv => ExportFormat::Csv,
        };
        // A directory on the command line means more than a variable for all commands.
        let source = match url.filter(|_| settings.data.is_none()) {
            Some(url) => Source::Server(Server::at(url, key)),
            None => Source::File(database(&settings.load(None)?.settings.data)?),
        };
        match output {
            None => {
                let mut stdout = io::stdout().lock();
                source.write(format, filter, &mut stdout)?;
                stdout.flush().map_err(|error| unwritable(Path::new("stdout"), &error))?;
            }
            Some(file) => {
                let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
                let mut whole = tempfile::NamedTempFile::new_in(dir.unwrap_or(Path::new(".")))
                    .map_err(|error| unwritable(&file, &error))?;
                source.write(format, filter, &mut whole)?;
                whole.as_file().sync_all().map_err(|error| unwritable(&file, &error))?;
                whole.persist(&file).map_err(|error| unwritable(&file, &error.error))?;
            }
        }
        Ok(Exit::Ok)
    }
}

enum Source {
    Server(Server),
    File(PathBuf),
}

impl Source {
    fn write(
        &self,
        format: ExportFormat,
        filter: AuditFilter,
        to: &mut dyn Write,
    ) -> Result<(), Failure> {
        match self {
            Self::Server(server) => {
                let kind = match format {
                    ExportFormat::Jsonl => "application/x-ndjson",
                    ExportFormat::Csv => "text/csv",
                };
                server.download(&path(&filter)?, kind, to)
            }
            Self::File(file) => {
                let broken = |error| Failure::database(file, &error);
                let mut place =
                    Store::inspect(file, |tx| Place::first(tx, filter)).map_err(broken)?;
                put(to, &format.start()?)?;
                // A view for each page: whoever reads slowly holds up no checkpoint of the database.
                while let Some(rows) = Store::inspect(file, |tx| place.next(tx)).map_err(broken)? {
                    put(to, &format.write(&rows)?)?;
                }
                Ok(())
            }
        }
    }
}

fn query(filter: &AuditFilter) -> Pairs {
    let AuditFilter { tenant, event, actor, from, to } = filter;
    given([
        ("tenant", tenant.as_ref().map(ToString::to_string)),
        ("event", event.clone()),
        ("actor", actor.clone()),
        ("from", from.as_ref().map(ToString::to_string)),
        ("to", to.as_ref().map(ToString::to_string)),
    ])
}

/// The path of the trail with the filter in its query.
fn path(filter: &AuditFilter) -> Result<String, Failure> {
    // Only for the encoding: the server adds its own address.
    let url = Url::parse_with_params(&format!("http://server{PATH}"), query(filter))
        .map_err(|error| Failure::from(Error::internal(error)))?;
    Ok(url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path())))
}

fn put(to: &mut dyn Write, bytes: &[u8]) -> Result<(), Failure> {
    to.write_all(bytes)
        .map_err(|error| Failure::new(Exit::Io, format!("can't write the export: {error}")))
}

fn unwritable(file: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Io, format!("can't write {}: {error}", file.display()))
}
