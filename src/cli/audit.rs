//! `entitled audit verify`, `list` and `export`: the trail in a data directory, beside a running
//! service too, in an exported file, or on a server.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, Failure, SettingsArgs, audit_export::Export, audit_list::List, home, output};
use crate::{
    domain::audit::{Head, Sealed},
    service::audit_export::from_line,
    store::{
        Store,
        anchor::{self, AnchorError},
        audit::{Verification, verify, verify_rows},
    },
};

/// Verify, list or export the audit trail
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Work out every hash again; exit code 1 when a row was changed, removed or inserted
    Verify(Verify),
    /// Show the newest events on a server
    List(List),
    /// Write the trail to a file, oldest first
    Export(Export),
}

#[derive(Debug, Args)]
pub struct Verify {
    /// An end of the trail that was kept elsewhere, as this command printed it; may be repeated. That
    /// in the anchor beside the database is looked at anyway
    #[arg(long, value_name = "SEQ:HASH")]
    head: Vec<Head>,
    /// Verify a file that `audit export --format jsonl` wrote, without a database
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    format: output::Format,
}

impl Audit {
    pub fn run(self, settings: SettingsArgs) -> Result<Exit, Failure> {
        match self {
            Self::Verify(command) => command.run(settings),
            Self::List(command) => command.run(),
            Self::Export(command) => command.run(settings),
        }
    }
}

impl Verify {
    fn run(self, settings: SettingsArgs) -> Result<Exit, Failure> {
        let Self { mut head, file, format } = self;
        let found = match file {
            Some(file) => match exported(&file)? {
                Ok(rows) => verify_rows(&rows, &head),
                Err(broken) => broken,
            },
            None => {
                let data = settings.load(None)?.settings.data;
                let file = database(&data)?;
                // Before the database, which then is at least as new.
                head.extend(anchored(&home::anchor(&data))?);
                Store::inspect(&file, |tx| verify(tx, &head))
                    .map_err(|error| Failure::database(&file, &error))?
            }
        };
        let (exit, value, text) = match found {
            Verification::Intact { rows, pruned, head } => {
                let head = head.map(|head| head.to_string());
                let shown = head.as_deref().unwrap_or("none");
                let before =
                    if pruned > 0 { format!(" after {pruned} pruned ones") } else { String::new() };
                let text = format!("intact: {rows} rows{before}, head {shown}");
                let value = json!({"intact": true, "rows": rows, "pruned": pruned, "head": head});
                (Exit::Ok, value, text)
            }
            Verification::Broken { seq, problem } => (
                Exit::No,
                json!({"intact": false, "seq": seq, "problem": problem}),
                format!("broken at row {seq}: {problem}"),
            ),
        };
        format.print(&value, |_| text)?;
        Ok(exit)
    }
}

/// The database in a data directory, which must be there.
pub fn database(data: &Path) -> Result<PathBuf, Failure> {
    let file = home::database(data);
    if file.exists() {
        return Ok(file);
    }
    let line = format!("there is no database {}; give its directory with --data", file.display());
    Err(Failure::new(Exit::Io, line))
}

/// What the anchor in `file` names.
pub fn anchored(file: &Path) -> Result<Option<Head>, Failure> {
    anchor::read(file).map_err(|error| {
        let exit = match error {
            AnchorError::Damaged => Exit::RolledBack,
            AnchorError::Io(_) => Exit::Io,
        };
        let file = file.display();
        Failure::new(exit, format!("can't use the anchor {file}: {error}; restore or remove it"))
    })
}

/// The rows of an exported file; broken where a line is none.
fn exported(file: &Path) -> Result<Result<Vec<Sealed>, Verification>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(Exit::Io, format!("can't read {}: {error}", file.display()))
    })?;
    let mut rows = Vec::new();
    for (at, line) in (1_u64..).zip(text.lines()) {
        match from_line(line) {
            Ok(row) => rows.push(row),
            Err(error) => {
                let problem = format!("line {at} is no event: {error}");
                let seq = rows.last().map_or(1, |row: &Sealed| row.record.seq + 1);
                return Ok(Err(Verification::Broken { seq, problem }));
            }
        }
    }
    Ok(Ok(rows))
}
