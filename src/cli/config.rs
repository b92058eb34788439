//! `entitled config`: every setting, and where it comes from.

use clap::Args;

use super::{Exit, Failure, SettingsArgs, output};
use crate::error::Error;

/// Show every setting and where it comes from
#[derive(Debug, Args)]
pub struct Config {
    #[command(flatten)]
    format: output::Format,
}

impl Config {
    pub fn run(self, settings: SettingsArgs) -> Result<Exit, Failure> {
        let rows = serde_json::to_value(settings.load(None)?.rows).map_err(Error::internal)?;
        let heads = ["name", "value", "source"];
        self.format.print(&rows, |rows| output::members(&heads, rows))?;
        Ok(Exit::Ok)
    }
}
