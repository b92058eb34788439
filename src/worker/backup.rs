//! Makes backups at regular intervals and keeps the latest few.
//!
//! Invariants: only files that are named as this names them are ever deleted, and only after a newer
//! backup is there; when the next one is due is read from their names, so that a restart neither
//! skips nor hurries one.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chrono::NaiveDateTime;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{audit::Head, time::Timestamp},
    service::Service,
    store::backup::{BackupError, Contents, OnExisting, head_file, take, tidy_up},
};

/// When and where.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// What is copied.
    pub database: PathBuf,
    /// Where the copies go.
    pub directory: PathBuf,
    /// From one to the next.
    pub every: Duration,
    /// How many stay.
    pub keep: usize,
}

/// How it goes.
#[derive(Debug, Default)]
pub struct BackupState(Mutex<Progress>);

#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    failures_in_a_row: u32,
    last: Option<Timestamp>,
}

impl BackupState {
    /// For people who ask whether all is well.
    #[must_use]
    pub fn summary(&self) -> String {
        let Progress { failures_in_a_row, last } = *self.0.lock();
        let last = last.map_or("no backup yet".to_owned(), |at| format!("latest {at}"));
        match failures_in_a_row {
            0 => format!("ok, {last}"),
            failures => format!("{failures} attempts failed in a row, {last}"),
        }
    }

    fn done(&self, at: Timestamp) {
        *self.0.lock() = Progress { failures_in_a_row: 0, last: Some(at) };
        #[expect(clippy::cast_precision_loss, reason = "seconds for a graph")]
        metrics::gauge!("entitlement_backup_last_success_timestamp_seconds")
            .set(at.micros() as f64 / 1e6);
    }

    fn failed(&self) -> u32 {
        let mut progress = self.0.lock();
        progress.failures_in_a_row += 1;
        progress.failures_in_a_row
    }
}

/// The longest sleep: the system's clock may be set.
const LOOK: Duration = Duration::from_secs(30);

/// The pause after a first failure; it doubles up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(30);

/// Runs until `stop`. A copy that is being made then is left, and its directory is deleted by the next.
pub async fn run(
    service: Service,
    schedule: Schedule,
    state: Arc<BackupState>,
    stop: CancellationToken,
) {
    // Before anything has happened, so that an alert can tell zero from nothing.
    metrics::counter!("entitlement_backups_total", "outcome" => "done").increment(0);
    metrics::counter!("entitlement_backups_total", "outcome" => "failed").increment(0);
    let start = service.clock().now();
    // One of a time to come was made by a clock that was wrong.
    let mut due = match newest(&schedule.directory).filter(|last| *last <= start) {
        None => start.micros(),
        Some(last) => {
            state.done(last);
            last.micros().saturating_add(micros(schedule.every))
        }
    };
    while !stop.is_cancelled() {
        let now = service.clock().now();
        // The clock may have been set back.
        due = due.min(now.micros().saturating_add(micros(schedule.every)));
        let wait = Duration::from_micros(u64::try_from(due - now.micros()).unwrap_or_default());
        if !wait.is_zero() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait.min(LOOK)) => {}
            }
            continue;
        }
        let (job, known) = (schedule.clone(), service.store().anchored());
        let made = tokio::task::spawn_blocking(move || make(&job, now, known));
        let made = tokio::select! {
            () = stop.cancelled() => return,
            made = made => made,
        };
        let failure = match made {
            Ok(Ok(contents)) => {
                report(&contents);
                state.done(now);
                due = now.micros().saturating_add(micros(schedule.every));
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        metrics::counter!("entitlement_backups_total", "outcome" => "failed").increment(1);
        tracing::error!(error = failure, "a scheduled backup failed");
        let doubled =
            FIRST_RETRY.saturating_mul(1 << state.failed().clamp(1, 16).saturating_sub(1));
        let failed_at = service.clock().now().micros();
        due = failed_at.saturating_add(micros(doubled.min(schedule.every)));
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

fn report(contents: &Contents) {
    metrics::counter!("entitlement_backups_total", "outcome" => "done").increment(1);
    let head = contents.head.map(|head| head.to_string());
    tracing::info!(bytes = contents.bytes, head, "a scheduled backup is done");
}

/// One backup, and then nothing more than `keep` of them.
fn make(schedule: &Schedule, now: Timestamp, known: Option<Head>) -> Result<Contents, BackupError> {
    let Schedule { database, directory, every: _, keep } = schedule;
    std::fs::create_dir_all(directory)?;
    tidy_up(directory)?;
    let known: Vec<_> = known.into_iter().collect();
    // Two within one second, after a restart: the later one says more.
    let contents = take(database, &directory.join(name(now)), OnExisting::Replace, &known)?;
    for old in superfluous(directory, *keep)? {
        // The new one is there whatever becomes of the old ones.
        if let Err(error) = remove(&old) {
            let (error, file) = (error.to_string(), old.display());
            tracing::error!(error, %file, "an old backup was not deleted");
        }
    }
    Ok(contents)
}

fn remove(backup: &Path) -> io::Result<()> {
    std::fs::remove_file(head_file(backup)).or_else(absent_is_fine)?;
    std::fs::remove_file(backup).or_else(absent_is_fine)
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

const FORMAT: &str = "entitled-%Y%m%dT%H%M%SZ.db";

fn name(at: Timestamp) -> String {
    at.to_datetime().format(FORMAT).to_string()
}

/// When the backup of this name was made; nothing where it is no backup of this task.
fn made_at(name: &str) -> Option<Timestamp> {
    let at = NaiveDateTime::parse_from_str(name, FORMAT).ok()?.and_utc();
    let at = Timestamp::from_datetime(at);
    (self::name(at) == name).then_some(at)
}

/// The backups in a directory, oldest first.
fn backups(directory: &Path) -> io::Result<Vec<(Timestamp, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(at) = entry.file_name().to_str().and_then(made_at) {
            found.push((at, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// When the newest backup in a directory was made.
#[must_use]
pub fn newest(directory: &Path) -> Option<Timestamp> {
    backups(directory).ok()?.last().map(|(at, _)| *at)
}

/// All but the latest `keep`.
fn superfluous(directory: &Path, keep: usize) -> io::Result<Vec<PathBuf>> {
    let mut all = backups(directory)?;
    all.truncate(all.len().saturating_sub(keep));
    Ok(all.into_iter().map(|(_, file)| file).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_oldest_of_its_own_backups_are_superfluous() {
        let dir = tempfile::tempdir().unwrap();
        let ours = ["20260102T000000Z", "20260101T235959Z", "20251231T000000Z"];
        let ours = ours.map(|at| format!("entitled-{at}.db"));
        let others = ["entitled-2026.db", "entitled-20260101T000000Z.db.head", "notes.txt"];
        let others = others.into_iter().chain(["entitled-20261301T000000Z.db", "entitled.db"]);
        for name in ours.iter().map(String::as_str).chain(others) {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let gone = |keep| superfluous(dir.path(), keep).unwrap();
        assert_eq!(gone(3), Vec::<PathBuf>::new());
        assert_eq!(gone(2), [dir.path().join(&ours[2])]);
        assert_eq!(gone(1), [dir.path().join(&ours[2]), dir.path().join(&ours[1])]);
        assert_eq!(newest(dir.path()), Some("2026-01-02T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn what_a_state_says_is_readable() {
        let state = BackupState::default();
        assert_eq!(state.summary(), "ok, no backup yet");
        state.failed();
        assert_eq!(state.summary(), "1 attempts failed in a row, no backup yet");
        state.done("2026-01-02T00:00:00Z".parse().unwrap());
        assert_eq!(state.summary(), "ok, latest 2026-01-02T00:00:00Z");
    }
}
