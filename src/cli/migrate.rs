//! `entitled migrate`: the newest schema without a start.

use clap::Args;
use serde_json::json;

use super::{Exit, Failure, SettingsArgs, home::Home, output};
use crate::store::{Durability, Store, StoreOptions, anchor::OnRollback};

/// Bring the database to the newest schema
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    format: output::Format,
}

impl Migrate {
    pub fn run(self, settings: SettingsArgs) -> Result<Exit, Failure> {
        let settings = settings.load(None)?.settings;
        let home = Home::open(&settings.data)?;
        let options = StoreOptions {
            anchoring: home.anchoring(OnRollback::Refuse),
            ..settings.store(home.database(), Durability::PowerCut)
        };
        let applied =
            Store::migrate(&options).map_err(|error| Failure::database(&options.path, &error))?;
        let rows = applied
            .iter()
            .map(|migration| json!({"version": migration.version, "name": migration.name}));
        let value = json!({"applied": rows.collect::<Vec<_>>()});
        self.format.print(&value, |_| {
            if applied.is_empty() {
                return "The schema is the newest already.".into();
            }
            let lines = applied
                .iter()
                .map(|migration| format!("applied {} {}", migration.version, migration.name));
            lines.collect::<Vec<_>>().join("\n")
        })?;
        Ok(Exit::Ok)
    }
}
