//! `entitled doctor`: everything that can be wrong with an installation, finding by finding, each with
//! what to do. Changes nothing, and works beside a running service.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use clap::Args;
use serde::Serialize;

use super::{Exit, Failure, SettingsArgs, home, instance::Doors, output};
use crate::{
    clock::Clock,
    config::{Loaded, Settings},
    domain::time::Timestamp,
    engine::{Gating, World},
    error::{Error, Result},
    store::{
        OpenError, ReadTx, anchor,
        audit::{Verification, verify},
        doctor::{Named, Patient, damaged_tenants, entitlements_in_use, latest_at, roles_in_use},
        room::{self, Room},
        snapshots::load_world,
    },
    worker::backup::newest,
};

/// Look at settings, disk and database; exit code 1 for errors, 80 for warnings alone
#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    format: output::Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Warning,
    Error,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    found: String,
    advice: Option<String>,
}

fn ok(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, level: Level::Ok, found: found.into(), advice: None }
}

fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { check, level: Level::Warning, found: found.into(), advice: Some(advice.into()) }
}

fn error(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { check, level: Level::Error, found: found.into(), advice: Some(advice.into()) }
}

const RESTORE: &str = "stop the service, keep the file, and restore the latest backup";

impl Doctor {
    pub fn run(self, settings: SettingsArgs) -> Result<Exit, Failure> {
        let Self { format } = self;
        let mut findings = Vec::new();
        match settings.load(None) {
            Err(fault) => findings.push(error(
                "settings",
                fault.0,
                "correct what is named; nothing else can be looked at until then",
            )),
            Ok(loaded) => {
                findings.push(about_settings(&loaded));
                examine(&loaded.settings, &mut findings);
            }
        }
        let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
        let value = serde_json::to_value(&findings).map_err(Error::internal)?;
        let value = serde_json::json!({"level": worst, "findings": value});
        format.print(&value, |_| table(&findings))?;
        Ok(match worst {
            Level::Ok => Exit::Ok,
            Level::Warning => Exit::Warned,
            Level::Error => Exit::No,
        })
    }
}

fn table(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|finding| {
        let Finding { check, level, found, advice } = finding;
        let level = match level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        let advice =
            advice.as_ref().map_or(String::new(), |advice| format!("\n{:24}→ {advice}", ""));
        format!("{level:<9}{check:<15}{}{advice}\n", output::plain(found))
    });
    lines.collect()
}

fn about_settings(loaded: &Loaded) -> Finding {
    let Loaded { settings, rows } = loaded;
    let set = rows.iter().filter(|row| row.source != "default").count();
    if let Err(fault) = Doors::new(settings) {
        let found = fault.lines.join("; ");
        return error("settings", found, "correct what is named; the service doesn't start so");
    }
    if !settings.gating {
        let found = "ENABLE_ENTITLEMENTS_GATING is off: nothing is enforced";
        return warning("settings", found, "unset it and restart, if that is no emergency");
    }
    ok("settings", format!("all {} are well formed, {set} of them set", rows.len()))
}

/// The disk, and then the database as far as it can be read.
fn examine(settings: &Settings, findings: &mut Vec<Finding>) {
    let (data, file) = (&settings.data, home::database(&settings.data));
    if !file.exists() {
        let found = format!("there is no database {}", file.display());
        findings.push(error("database", found, "give its directory with --data, or start once"));
        return;
    }
    let now = Clock::system().now();
    findings.push(directory(data));
    findings.push(space(&file));
    findings.push(backups(settings, now));
    // Before the database, which then is at least as new.
    let anchored = anchor::read(&home::anchor(data));
    let patient = match Patient::open(&file) {
        Ok(patient) => patient,
        Err(fault) => {
            findings.push(of_open("database", &fault));
            return;
        }
    };
    match version(&patient) {
        (finding, Schema::Current) => findings.push(finding),
        (finding, Schema::Other) => {
            findings.push(finding);
            findings.push(pages(&patient));
            return;
        }
    }
    findings.push(pages(&patient));
    findings.push(schema(&patient));
    let mut look = |check, found: Result<Finding, OpenError>| {
        findings.push(found.unwrap_or_else(|fault| of_open(check, &fault)));
    };
    look("audit", patient.read(|tx| trail(tx, anchored)));
    look("tenants", patient.read(|tx| tenants(tx, now)));
    look("catalog", patient.read(catalog));
    look("clock", patient.read(|tx| Ok(clock(latest_at(tx)?, now))));
}

fn of_open(check: &'static str, fault: &OpenError) -> Finding {
    let advice = match fault {
        OpenError::Damaged(_) | OpenError::Inside(_) | OpenError::Sqlite(_) => RESTORE,
        OpenError::NotOurs | OpenError::Newer { .. } | OpenError::Migration(_) => {
            "give the right directory with --data, and run the release that wrote it"
        }
        OpenError::ReadOnly | OpenError::Locked | OpenError::Io(_) | OpenError::Pool(_) => {
            "run this as the user of the service, on the machine that it runs on"
        }
        OpenError::TrailShortened { .. }
        | OpenError::TrailRewritten { .. }
        | OpenError::AnchorDamaged(_)
        | OpenError::BadSqlite(_) => "do what it says",
    };
    error(check, fault.to_string(), advice)
}

fn directory(data: &Path) -> Finding {
    match fs::metadata(data).map(|found| found.permissions().mode() & 0o777) {
        Ok(mode) if mode & 0o077 == 0 => ok("directory", format!("for its owner alone ({mode:o})")),
        Ok(mode) => warning(
            "directory",
            format!("others may enter it ({mode:o})"),
            format!("chmod 700 {}", data.display()),
        ),
        Err(fault) => error("directory", fault.to_string(), "make it readable for this user"),
    }
}

/// Less than this and the next minutes may fill it.
const LEAST_BYTES: u64 = 64 << 20;

fn space(file: &Path) -> Finding {
    let Room { database, log, free } = match room::room(file) {
        Ok(room) => room,
        Err(fault) => {
            return error("space", fault.to_string(), "make the directory readable for this user");
        }
    };
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let found = format!(
        "{} MiB free; the database takes {} MiB, its log {} MiB",
        mib(free),
        mib(database),
        mib(log)
    );
    if free < LEAST_BYTES {
        return error("space", found, "make room now: changes are refused when the disk is full");
    }
    if log > database.max(256 << 20) {
        let advice = "something reads for very long, such as a backup or a copy of the log: end it";
        return warning("space", found, advice);
    }
    if free < database.saturating_mul(2) {
        let advice = "make room: a backup on this disk, and an upgrade, need as much again";
        return warning("space", found, advice);
    }
    ok("space", found)
}

fn backups(settings: &Settings, now: Timestamp) -> Finding {
    let backup = &settings.backup;
    let Some(directory) = &backup.directory else {
        return ok("backups", "the service makes none by itself (backup.directory)");
    };
    let advice = "look for “a scheduled backup failed” in the log";
    let Some(last) = newest(directory) else {
        return warning("backups", "there is none yet", advice);
    };
    let age = (now.micros() - last.micros()) / 60_000_000;
    let found = format!("the latest is of {last}");
    if age > 2 * i64::from(backup.every_minutes) + 1 {
        return warning("backups", found, advice);
    }
    ok("backups", found)
}

/// Whether the rest can be looked at.
enum Schema {
    Current,
    Other,
}

fn version(patient: &Patient) -> (Finding, Schema) {
    match patient.schema_version() {
        Err(fault) => (of_open("database", &fault), Schema::Other),
        Ok((found, known)) if found == known => {
            (ok("database", format!("schema version {found}, the newest")), Schema::Current)
        }
        Ok((found, known)) if found < known => {
            let said = format!("schema version {found}; this release makes {known}");
            let advice = "take a backup; the next start of this release brings it up to date";
            (warning("database", said, advice), Schema::Other)
        }
        Ok((found, known)) => {
            (of_open("database", &OpenError::Newer { found, known }), Schema::Other)
        }
    }
}

fn pages(patient: &Patient) -> Finding {
    match patient.sound() {
        Ok(()) => ok("integrity", "every page, index and reference is sound"),
        Err(fault) => of_open("integrity", &fault),
    }
}

/// The plans of all statements are tested on this schema, so they hold where it is the same.
fn schema(patient: &Patient) -> Finding {
    let drift = match patient.drift() {
        Ok(drift) => drift,
        Err(fault) => return of_open("indexes", &fault),
    };
    if !drift.missing.is_empty() {
        let found = format!("missing or changed: {}", drift.missing.join(", "));
        let advice = "somebody changed the schema by hand; an index makes it slow, a trigger makes \
                      the audit trail forgeable: restore a backup, or make it again as the \
                      migrations have it";
        return error("indexes", found, advice);
    }
    if drift.has_own_statistics {
        let found = "somebody ran ANALYZE or PRAGMA optimize, which changes the plans of queries";
        let advice = "restore a backup from before, or put back what the migrations write into \
                      sqlite_stat1, while the service is stopped";
        return warning("indexes", found, advice);
    }
    if !drift.foreign.is_empty() {
        let found = format!("not of this service: {}", drift.foreign.join(", "));
        return warning("indexes", found, "remove it: upgrades don't expect it");
    }
    ok("indexes", "tables, indexes and triggers are those of this release")
}

fn trail(
    tx: &ReadTx<'_>,
    anchored: Result<Option<crate::domain::audit::Head>, anchor::AnchorError>,
) -> Result<Finding> {
    let known = match &anchored {
        Ok(head) => head.as_slice(),
        Err(_) => &[],
    };
    Ok(match (verify(tx, known)?, &anchored) {
        (Verification::Broken { seq, problem }, _) => error(
            "audit",
            format!("broken at row {seq}: {problem}"),
            "somebody wrote to the database: keep it as evidence, and restore a backup",
        ),
        (Verification::Intact { .. }, Err(fault)) => {
            let advice = "restore it from a copy; see the anchor in docs/operating.md";
            error("audit", format!("audit.head can't be used: {fault}"), advice)
        }
        (Verification::Intact { rows: 1.., .. }, Ok(None)) => {
            let advice = "the next start makes one; was it removed?";
            warning("audit", "every hash is right, but there is no audit.head", advice)
        }
        (Verification::Intact { rows, pruned, head }, Ok(_)) => {
            let head = head.map_or("none".into(), |head| head.to_string());
            ok("audit", format!("{rows} events intact after {pruned} pruned ones, head {head}"))
        }
    })
}

fn tenants(tx: &ReadTx<'_>, now: Timestamp) -> Result<Finding> {
    let (count, damaged) = damaged_tenants(tx, now)?;
    if damaged.is_empty() {
        return Ok(ok("tenants", format!("all {count} can be read")));
    }
    let found = format!("{} of {count} can't be read: {}", damaged.len(), few(&damaged));
    Ok(error("tenants", found, "they are closed; repair their rows, or restore a backup"))
}

/// The first few of many.
fn few(all: &[String]) -> String {
    let shown: Vec<_> = all.iter().take(5).map(String::as_str).collect();
    let more = all.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

fn catalog(tx: &ReadTx<'_>) -> Result<Finding> {
    let world: World = match load_world(tx, Gating::BySettings) {
        Ok(world) => world,
        Err(fault) => {
            let advice = "run the release that wrote it, or restore a backup";
            return Ok(error("catalog", format!("it can't be read: {}", fault.chain()), advice));
        }
    };
    let catalog = &world.catalog;
    let is_entitlement =
        |key: &str| catalog.modules.contains_key(key) || catalog.features.contains_key(key);
    let entitlements = entitlements_in_use(tx)?.into_iter().filter(|n| !is_entitlement(&n.key));
    let roles = roles_in_use(tx)?;
    let roles = roles.into_iter().filter(|n| !catalog.roles.contains_key(n.key.as_str()));
    let unknown: Vec<_> =
        entitlements.chain(roles).map(|Named { by, key }| format!("{by} of {key}")).collect();
    if !unknown.is_empty() {
        let found = format!("it doesn't know what is in use: {}", few(&unknown));
        return Ok(error("catalog", found, "put the keys back into the catalog, and apply it"));
    }
    let useless: Vec<_> = catalog.unusable_conditions().map(|(place, _)| place).collect();
    if !useless.is_empty() {
        let found = format!("conditions that never hold: {}", few(&useless));
        return Ok(error("catalog", found, "rewrite them for this release, and apply it"));
    }
    let found = format!("version {}, knows every key in use", world.catalog_version);
    Ok(ok("catalog", found))
}

/// A minute is the usual slack of clocks that nobody sets.
const SLACK_US: i64 = 60_000_000;

fn clock(latest: Timestamp, now: Timestamp) -> Finding {
    let behind = latest.micros() - now.micros();
    if behind <= SLACK_US {
        return ok("clock", format!("{now}, after the latest change"));
    }
    let found = format!("{now}, but the latest change is of {latest}");
    let advice = "correct the clock: until it has caught up, time stands still for the service";
    error("clock", found, advice)
}
