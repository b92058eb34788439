//! The head anchor: the end of the audit trail, in a file outside the database. A database whose trail
//! doesn't hold it was shortened, rewritten, or replaced by an older copy.
//!
//! Invariants: the file never names what is not committed and flushed, because it is written from what
//! a reader sees; it is replaced as a whole, so that a crash leaves the old one or the new one.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, named_params};

use super::{OpenError, ReadTx, audit, ownership, sql::Count};
use crate::domain::audit::Head;

/// Whether the end of the audit trail is kept outside the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchoring {
    /// No: for instances that are thrown away.
    Off,
    /// In this file.
    In(PathBuf, OnRollback),
}

/// What to do with a database that doesn't hold its anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRollback {
    /// Leave it alone.
    Refuse,
    /// Take it: an operator says that it is meant.
    Accept,
}

/// What an operator accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    /// What the anchor named; none where it could not be read.
    pub anchor: Option<Head>,
    /// The end of the trail that was found.
    pub found: Option<Head>,
}

/// Why an anchor can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The file is there and isn't an anchor.
    #[error("it is damaged")]
    Damaged,
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The anchor in `file`, if there is one.
pub fn read(file: &Path) -> Result<Option<Head>, AnchorError> {
    match std::fs::read(file) {
        Ok(bytes) => {
            let text = std::str::from_utf8(&bytes).map_err(|_| AnchorError::Damaged)?;
            let line = text.strip_suffix('\n').ok_or(AnchorError::Damaged)?;
            line.parse().map(Some).map_err(|_| AnchorError::Damaged)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Replaces the anchor in `file`: whole, flushed, and under its name once this returns.
pub(super) fn write(file: &Path, head: &Head) -> io::Result<()> {
    // Always the same name: what a crash leaves is overwritten by the next one.
    let next = file.with_extension("head.next");
    let mut how = OpenOptions::new();
    let mut out = ownership::open(&next, how.write(true).create(true).truncate(true).mode(0o600))?;
    writeln!(out, "{head}")?;
    out.sync_all()?;
    std::fs::rename(&next, file)?;
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// The anchor of an open database.
#[derive(Debug, Clone)]
pub(super) struct Anchor(Option<Arc<Kept>>);

#[derive(Debug)]
struct Kept {
    file: PathBuf,
    /// What the file names, and so what must not be pruned. Held while the file is replaced.
    named: Mutex<Option<Head>>,
    rollback: Option<Rollback>,
}

impl Anchor {
    /// Holds the database against its anchor, before anything is written to it.
    pub fn check(conn: &Connection, anchoring: &Anchoring) -> Result<Self, OpenError> {
        let Anchoring::In(file, on_rollback) = anchoring else { return Ok(Self(None)) };
        let (named, problem) = match read(file) {
            Ok(None) => (None, None),
            Ok(Some(anchor)) => (Some(anchor), missing(conn, anchor)?),
            Err(AnchorError::Damaged) => (None, Some(OpenError::AnchorDamaged(file.clone()))),
            Err(AnchorError::Io(error)) => return Err(error.into()),
        };
        let rollback = match (problem, on_rollback) {
            (None, _) => None,
            (Some(problem), OnRollback::Refuse) => return Err(problem),
            (Some(_), OnRollback::Accept) => {
                Some(Rollback { anchor: named, found: end_of_trail(conn)? })
            }
        };
        if named.is_none() && rollback.is_none() && end_of_trail(conn)?.is_some() {
            // An upgrade from a release without anchors looks the same as a file that was removed.
            tracing::warn!(
                file = %file.display(),
                "there is no anchor of the audit trail; the trail is taken as it is"
            );
        }
        // Until the rollback is in the trail, nothing is anchored and nothing may be pruned.
        let named = if rollback.is_some() { None } else { named };
        let kept = Kept { file: file.clone(), named: Mutex::new(named), rollback };
        Ok(Self(Some(Arc::new(kept))))
    }

    /// What was accepted at the start.
    pub fn rollback(&self) -> Option<&Rollback> {
        self.0.as_ref()?.rollback.as_ref()
    }

    /// What the file names.
    pub fn named(&self) -> Option<Head> {
        *self.0.as_ref()?.named.lock()
    }

    /// The place that pruning must not reach.
    pub fn prunable_below(&self) -> u64 {
        match &self.0 {
            None => u64::MAX,
            Some(kept) => kept.named.lock().map_or(0, |head| head.seq),
        }
    }

    /// Writes the end of the trail down, if it has moved. `head` reads it: what a reader sees is
    /// committed and flushed.
    pub fn follow(&self, head: impl FnOnce() -> crate::error::Result<Option<Head>>) -> Followed {
        let Some(kept) = &self.0 else { return Ok(()) };
        // Locked first: of two callers at once, the later one writes the later end.
        let mut named = kept.named.lock();
        let head = head()?;
        if let Some(head) = head.filter(|head| *named != Some(*head)) {
            write(&kept.file, &head).map_err(crate::error::Error::internal)?;
            *named = Some(head);
        }
        Ok(())
    }
}

type Followed = crate::error::Result<()>;

/// What is wrong with a trail that doesn't hold `anchor`. Pruning keeps the anchored row, so it must
/// be there.
fn missing(conn: &Connection, anchor: Head) -> Result<Option<OpenError>, OpenError> {
    let end = end_of_trail(conn)?;
    let found = end.map_or(0, |end| end.seq);
    if found < anchor.seq {
        return Ok(Some(OpenError::TrailShortened { anchor: anchor.seq, found }));
    }
    let hash: Option<[u8; 32]> = conn
        .prepare("SELECT hash FROM audit WHERE seq = :seq")?
        .query_row(named_params! { ":seq": Count(anchor.seq) }, |row| row.get(0))
        .optional()?;
    Ok((hash != Some(anchor.hash)).then_some(OpenError::TrailRewritten { anchor: anchor.seq }))
}

/// The end of the trail, in a database that may still be empty.
fn end_of_trail(conn: &Connection) -> Result<Option<Head>, OpenError> {
    let has_trail: bool = conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'audit')",
        [],
        |row| row.get(0),
    )?;
    Ok(if has_trail { audit::last_row(&ReadTx { conn })? } else { None })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_anchor_is_read_as_it_was_written_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("audit.head");
        assert!(matches!(read(&file), Ok(None)));
        let head = Head { seq: 17, hash: [0xab; 32] };
        write(&file, &head).unwrap();
        assert_eq!(read(&file).unwrap(), Some(head));
        assert_eq!(dir.path().read_dir().unwrap().count(), 1, "nothing is left lying about");
        let good = std::fs::read_to_string(&file).unwrap();
        for bad in ["", "17", &good[1..60], good.trim_end(), &good.to_uppercase(), "+1:\n"] {
            std::fs::write(&file, bad).unwrap();
            assert!(matches!(read(&file), Err(AnchorError::Damaged)), "{bad}");
        }
        std::fs::write(&file, [0xff, b'\n']).unwrap();
        assert!(matches!(read(&file), Err(AnchorError::Damaged)));
    }
}
