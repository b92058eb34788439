//! `entitled restore`: a backup in place of a database that isn't there.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{
    Exit, Failure, SettingsArgs,
    backup::{self, table},
    home::Home,
    output,
};
use crate::{
    clock::Clock,
    domain::audit::Head,
    service::restore::restore,
    store::{
        Durability, OpenError, StoreOptions,
        anchor::OnRollback,
        restore::{RestoreError, Restored},
    },
};

/// Put a backup into a data directory that has no database, after verifying it
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// An end of the audit trail that the backup must hold, as `entitled backup` printed it
    #[arg(long, value_name = "SEQ:HASH")]
    expect_head: Option<Head>,
    /// Also where the backup is older than the audit.head in the data directory; this is audited
    #[arg(long)]
    accept_rollback: bool,
    #[command(flatten)]
    format: output::Format,
}

impl Restore {
    pub fn run(self, settings: SettingsArgs) -> Result<Exit, Failure> {
        let Self { from, expect_head, accept_rollback, format } = self;
        let on_rollback = if accept_rollback { OnRollback::Accept } else { OnRollback::Refuse };
        let settings = settings.load(None)?.settings;
        let home = Home::open(&settings.data)?;
        let options = StoreOptions {
            anchoring: home.anchoring(on_rollback),
            ..settings.store(home.database(), Durability::PowerCut)
        };
        let now = Clock::system().now();
        let restored =
            restore(&from, expect_head, &options, now).map_err(|error| failure(&from, &error))?;
        let Restored { contents, applied, head, rollback } = restored;
        let applied: Vec<_> = applied.iter().map(|migration| migration.version).collect();
        let is_rollback = rollback.is_some();
        let more = json!({
            "data": settings.data,
            "migrations": applied,
            "new_head": head.to_string(),
            "rollback_accepted": is_rollback,
        });
        let value = backup::json(&contents, more);
        format.print(&value, |_| {
            let more = [
                ["restored to", &settings.data.display().to_string()],
                ["migrations", &format!("{applied:?}")],
                ["new audit head", &head.to_string()],
                ["rollback", if is_rollback { "accepted, and audited" } else { "none" }],
            ];
            let more = more.iter().map(|[name, value]| format!("{name:<16}{value}\n"));
            table(&contents, &from.display().to_string()) + &more.collect::<String>()
        })?;
        Ok(Exit::Ok)
    }
}

fn failure(from: &Path, error: &RestoreError) -> Failure {
    let exit = match error {
        RestoreError::NotEmpty(_) => Exit::CantCreate,
        RestoreError::HasLog(_) => Exit::Database,
        RestoreError::Backup(error) => backup::exit(error),
        RestoreError::HeadDamaged(_) => Exit::RolledBack,
        RestoreError::Open(error) => Exit::of_database(error),
        RestoreError::Target(_) => Exit::Io,
    };
    let said = match error {
        RestoreError::Open(OpenError::TrailShortened { anchor, found }) => format!(
            "it ends at row {found}, but the audit.head in the data directory names row {anchor}: \
             what came after is lost; take a newer backup, or, if this is meant, repeat with \
             --accept-rollback, which is audited"
        ),
        RestoreError::Open(OpenError::TrailRewritten { anchor }) => format!(
            "row {anchor} of its audit trail is not the one that the audit.head in the data \
             directory names: it went another way; if this is meant, repeat with --accept-rollback, \
             which is audited"
        ),
        RestoreError::NotEmpty(_)
        | RestoreError::HasLog(_)
        | RestoreError::Backup(_)
        | RestoreError::HeadDamaged(_)
        | RestoreError::Open(_)
        | RestoreError::Target(_) => error.to_string(),
    };
    Failure::new(exit, format!("can't restore {}: {said}", from.display()))
}
