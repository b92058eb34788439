//! `entitled migrate`: the newest schema without a start.

use super::{Exit, Failure, SettingsArgs, home::Home, output::print};
use crate::store::{Durability, Store, StoreOptions, anchor::OnRollback};

pub fn run(settings: SettingsArgs) -> Result<Exit, Failure> {
    let settings = settings.load(None)?.settings;
    let home = Home::open(&settings.data)?;
    let options = StoreOptions {
        anchoring: home.anchoring(OnRollback::Refuse),
        ..settings.store(home.database(), Durability::PowerCut)
    };
    let applied =
        Store::migrate(&options).map_err(|error| Failure::database(&options.path, &error))?;
    if applied.is_empty() {
        print("The schema is the newest already.")?;
    }
    for migration in applied {
        print(&format!("applied {} {}", migration.version, migration.name))?;
    }
    Ok(Exit::Ok)
}
