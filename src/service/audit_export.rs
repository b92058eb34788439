//! The audit trail as a file: read in short views, page by page, and written as lines of JSON or as
//! CSV.
//!
//! Invariants: no view of the database is held between two pages; what is selected ends where the
//! trail ended when the export began; a line of JSON holds the states exactly as the hash covers
//! them; no cell of CSV is one that a spreadsheet would run.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    domain::{
        audit::{AuditActor, AuditRecord, Sealed},
        keys::TenantKey,
        time::Timestamp,
    },
    error::{Error, Result},
    store::{
        self, ReadTx, Store,
        audit::{AuditFilter, page},
        retention::checkpoint,
    },
};

/// How many records a page holds.
const PAGE: usize = 500;

/// An export that has begun.
pub struct AuditExport {
    store: Store,
    place: Place,
}

/// How far an export has come.
#[derive(Debug, Clone)]
pub struct Place {
    filter: AuditFilter,
    after: u64,
    head: u64,
}

impl Place {
    /// Before the first record, up to the present end of the trail.
    pub fn first(tx: &ReadTx<'_>, filter: AuditFilter) -> Result<Self> {
        let after = checkpoint(tx)?.map_or(0, |checkpoint| checkpoint.last.seq);
        Ok(Self { filter, after, head: store::audit::last_seq(tx)? })
    }

    /// The next page, in one view; empty where the filter found nothing in it, none at the end.
    pub fn next(&mut self, tx: &ReadTx<'_>) -> Result<Option<Vec<Sealed>>> {
        if self.after >= self.head {
            return Ok(None);
        }
        if checkpoint(tx)?.is_some_and(|checkpoint| checkpoint.last.seq > self.after) {
            return Err(Error::Unavailable(
                "The trail was pruned while it was exported; begin the export again.",
            ));
        }
        let (records, after) = page(tx, &self.filter, self.after, self.head, PAGE)?;
        self.after = after;
        Ok(Some(records))
    }
}

impl AuditExport {
    pub(super) async fn begin(store: Store, filter: AuditFilter) -> Result<Self> {
        let place = store.read_long(move |tx| Place::first(tx, filter)).await?;
        Ok(Self { store, place })
    }

    /// The place of the last record that can be in it.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.place.head
    }

    /// The next page; none at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Sealed>>> {
        let mut place = self.place.clone();
        let read = move |tx: &ReadTx<'_>| Ok((place.next(tx)?, place));
        let (records, place) = self.store.read_long(read).await?;
        self.place = place;
        Ok(records)
    }
}

/// What an export is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON object on each line.
    Jsonl,
    /// RFC 4180, with a line of names first.
    Csv,
}

impl ExportFormat {
    /// How the name of such a file ends.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }

    /// What stands before the first record.
    pub fn start(self) -> Result<Vec<u8>> {
        match self {
            Self::Jsonl => Ok(Vec::new()),
            Self::Csv => csv(std::iter::once(COLUMNS)),
        }
    }

    /// Records as they stand in the file.
    pub fn write(self, records: &[Sealed]) -> Result<Vec<u8>> {
        match self {
            Self::Jsonl => jsonl(records),
            Self::Csv => csv(records.iter().map(cells)),
        }
    }
}

/// A record on a line. The names are those of the API.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    seq: u64,
    at: Timestamp,
    event: Cow<'a, str>,
    actor: Cow<'a, AuditActor>,
    tenant: Option<Cow<'a, TenantKey>>,
    subject: Cow<'a, str>,
    #[serde(borrow)]
    before: Option<&'a RawValue>,
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    reason: Option<Cow<'a, str>>,
    request_id: Option<Cow<'a, str>>,
    ip: Option<Cow<'a, str>>,
    hash: Cow<'a, str>,
}

fn jsonl(records: &[Sealed]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(records.len() * 600);
    for Sealed { record, before, after } in records {
        let raw = |text| serde_json::from_str::<&RawValue>(text).map_err(Error::internal);
        let line = Line {
            seq: record.seq,
            at: record.at,
            event: Cow::Borrowed(&record.event),
            actor: Cow::Borrowed(&record.actor),
            tenant: record.tenant.as_ref().map(Cow::Borrowed),
            subject: Cow::Borrowed(&record.subject),
            before: Some(raw(before)?),
            after: Some(raw(after)?),
            reason: record.reason.as_deref().map(Cow::Borrowed),
            request_id: record.request_id.as_deref().map(Cow::Borrowed),
            ip: record.ip.as_deref().map(Cow::Borrowed),
            hash: Cow::Borrowed(&record.hash),
        };
        serde_json::to_writer(&mut out, &line).map_err(Error::internal)?;
        out.push(b'\n');
    }
    Ok(out)
}

/// A record from its line.
pub fn from_line(text: &str) -> serde_json::Result<Sealed> {
    let Line {
        seq,
        at,
        event,
        actor,
        tenant,
        subject,
        before,
        after,
        reason,
        request_id,
        ip,
        hash,
    } = serde_json::from_str(text)?;
    let text = |state: Option<&RawValue>| state.map_or("null", RawValue::get).to_owned();
    let (before, after) = (text(before), text(after));
    let record = AuditRecord {
        seq,
        at,
        event: event.into_owned(),
        actor: actor.into_owned(),
        tenant: tenant.map(Cow::into_owned),
        subject: subject.into_owned(),
        before: serde_json::from_str(&before)?,
        after: serde_json::from_str(&after)?,
        reason: reason.map(Cow::into_owned),
        request_id: request_id.map(Cow::into_owned),
        ip: ip.map(Cow::into_owned),
        hash: hash.into_owned(),
    };
    Ok(Sealed { record, before, after })
}

const COLUMNS: [Cow<'static, str>; 15] = [
    Cow::Borrowed("seq"),
    Cow::Borrowed("at"),
    Cow::Borrowed("event"),
    Cow::Borrowed("actor_id"),
    Cow::Borrowed("actor_role"),
    Cow::Borrowed("actor_mode"),
    Cow::Borrowed("actor_impersonator"),
    Cow::Borrowed("tenant"),
    Cow::Borrowed("subject"),
    Cow::Borrowed("before"),
    Cow::Borrowed("after"),
    Cow::Borrowed("reason"),
    Cow::Borrowed("request_id"),
    Cow::Borrowed("ip"),
    Cow::Borrowed("hash"),
];

fn cells(sealed: &Sealed) -> [Cow<'_, str>; 15] {
    let Sealed { record, before, after } = sealed;
    let AuditActor { id, role, mode, impersonator } = &record.actor;
    let maybe = |text: &'_ Option<String>| text.clone().unwrap_or_default();
    let state = |text: &str| if text == "null" { String::new() } else { text.to_owned() };
    let texts: [Cow<'_, str>; 15] = [
        record.seq.to_string().into(),
        record.at.to_string().into(),
        record.event.as_str().into(),
        id.as_str().into(),
        role.as_str().into(),
        mode.as_str().into(),
        maybe(impersonator).into(),
        record.tenant.as_ref().map_or("", TenantKey::as_str).into(),
        record.subject.as_str().into(),
        state(before).into(),
        state(after).into(),
        maybe(&record.reason).into(),
        maybe(&record.request_id).into(),
        maybe(&record.ip).into(),
        record.hash.as_str().into(),
    ];
    texts.map(harmless)
}

fn csv<'a>(rows: impl Iterator<Item = [Cow<'a, str>; 15]>) -> Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .has_headers(false)
        .from_writer(Vec::new());
    for row in rows {
        writer.write_record(row.iter().map(|cell| cell.as_bytes())).map_err(Error::internal)?;
    }
    writer.into_inner().map_err(|error| Error::internal(error.to_string()))
}

/// A cell that no spreadsheet takes for a formula: with a quote before it, it is a text.
fn harmless(text: Cow<'_, str>) -> Cow<'_, str> {
    let starts_a_formula = |c: char| "=+-@\u{ff1d}\u{ff0b}\u{ff0d}\u{ff20}\u{2212}".contains(c);
    // What a spreadsheet may pass over before it looks.
    let unseen = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || ('\u{200b}'..='\u{200f}').contains(&c)
            || ['\u{feff}', '\u{2060}'].contains(&c)
    };
    let is_formula = |text: &str| {
        text.trim_start_matches(|c| unseen(c) || c == '"').starts_with(starts_a_formula)
    };
    // Where a comma isn't what separates, another cell may begin within this one.
    let separates = |c: char| [';', '|', '\t'].contains(&c);
    if text.split(separates).skip(1).any(is_formula) {
        let mut parts = text.split_inclusive(separates).peekable();
        let mut safe = String::with_capacity(text.len() + 8);
        while let Some(part) = parts.next() {
            safe.push_str(part);
            if parts.peek().is_some_and(|next| is_formula(next)) {
                safe.push('\'');
            }
        }
        return harmless(safe.into()).into_owned().into();
    }
    if is_formula(&text) || text.starts_with(['\t', '\r', '\n']) {
        return format!("'{text}").into();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_run_by_a_spreadsheet() {
        for bad in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\rx",
            "\nx",
            " =1",
            "\u{a0}=1",
            "\u{feff}=1",
            "\u{ff1d}1",
            "\u{200b}-1",
            "\0=1",
            "\u{3000}\u{ff20}x",
        ] {
            assert!(harmless(bad.into()).starts_with('\''), "{bad:?}");
        }
        assert_eq!(harmless("ok;=1+1; -2|x".into()), "ok;'=1+1;' -2|x");
        for good in ["", "a", "1", "{\"a\": \"=1\"}", "a=1", "'", "2026-03-01T12:00:00Z", " a"] {
            assert_eq!(harmless(good.into()), good);
        }
    }
}
