//! `entitled backup`: a copy of the database of a service that may be running.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{
    Exit, Failure, SettingsArgs,
    audit::{anchored, database},
    home, output,
};
use crate::{
    clock::Clock,
    store::backup::{BackupError, Contents, OnExisting, take},
};

/// Copy the database, also of a running service, to a file that is verified before it is there
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to make; FILE.head beside it gets the end of the audit trail
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Replace a file of that name
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    format: output::Format,
}

impl Backup {
    pub fn run(self, settings: SettingsArgs) -> Result<Exit, Failure> {
        let Self { to, force, format } = self;
        let on_existing = if force { OnExisting::Replace } else { OnExisting::Refuse };
        let data = settings.load(None)?.settings.data;
        let source = database(&data)?;
        // Before the copy, which then is at least as new.
        let known: Vec<_> = anchored(&home::anchor(&data))?.into_iter().collect();
        let at = Clock::system().now();
        let contents = take(&source, &to, on_existing, &known).map_err(|error| {
            let exit = exit(&error);
            Failure::new(exit, format!("no backup {} was made: {error}", to.display()))
        })?;
        let value = json(&contents, json!({"file": to, "at": at}));
        format.print(&value, |_| table(&contents, &format!("{}, as of {at}", to.display())))?;
        Ok(Exit::Ok)
    }
}

/// With what a backup that was not made ends.
pub fn exit(error: &BackupError) -> Exit {
    match error {
        BackupError::Database(error) => Exit::of_database(error),
        BackupError::Exists | BackupError::Itself => Exit::CantCreate,
        BackupError::Target(_) | BackupError::Copy(_) => Exit::Io,
        BackupError::Trail { .. } => Exit::RolledBack,
    }
}

/// For programs, with what more there is to say.
pub fn json(contents: &Contents, more: Value) -> Value {
    let Contents { bytes, pages, schema_version, events, head } = contents;
    let mut all = json!({
        "bytes": bytes,
        "pages": pages,
        "schema_version": schema_version,
        "audit_events": events,
        "head": head.map(|head| head.to_string()),
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    all
}

/// For people.
pub fn table(contents: &Contents, file: &str) -> String {
    let Contents { bytes, pages, schema_version, events, head } = contents;
    let head = head.map_or("none".into(), |head| head.to_string());
    let rows = [
        ["backup", file],
        ["bytes", &bytes.to_string()],
        ["pages", &pages.to_string()],
        ["schema version", &schema_version.to_string()],
        ["audit events", &events.to_string()],
        ["audit head", &head],
    ];
    rows.iter().map(|[name, value]| format!("{name:<16}{value}\n")).collect()
}
