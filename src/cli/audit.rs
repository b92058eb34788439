//! `entitled audit verify`: walks the trail in a data directory, beside a running service too.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, Failure, SettingsArgs, home, output};
use crate::store::{
    Store,
    audit::{Verification, verify},
};

/// Verify the audit trail
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Work out every hash again; exit code 1 when a row was changed, removed or inserted
    Verify(Verify),
}

#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    format: output::Format,
}

impl Audit {
    pub fn run(self, settings: SettingsArgs) -> Result<Exit, Failure> {
        let Self::Verify(Verify { format }) = self;
        let file = home::database(&settings.load(None)?.settings.data);
        if !file.exists() {
            let line =
                format!("there is no database {}; give its directory with --data", file.display());
            return Err(Failure::new(Exit::Io, line));
        }
        let found =
            Store::inspect(&file, verify).map_err(|error| Failure::database(&file, &error))?;
        let (exit, value, text) = match found {
            Verification::Intact { rows, head } => (
                Exit::Ok,
                json!({"intact": true, "rows": rows, "head": head}),
                format!("intact: {rows} rows, head {head}"),
            ),
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
