//! The audit trail.

use poem_openapi::{Object, OpenApi, param::Query};
use serde::Serialize;
use serde_json::Value;

use super::{
    Tag,
    audit_export::{Download, Trail},
};
use crate::{
    domain::{
        audit::{AuditActor, AuditRecord},
        keys::TenantKey,
        time::Timestamp,
    },
    error::{Error, Fault},
    http::{
        accept::Written,
        auth::{Caller, needs},
        failure::Answer,
        paging::{Cursor, Limit, Page},
        payload::Json,
        types::Text,
    },
    service::{Service, audit_export::ExportFormat},
    store::audit::AuditFilter,
};

/// The operations.
pub struct AuditApi(pub(super) Service);

/// One thing that happened.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "AuditEvent")]
pub struct AuditView {
    /// Its place in the trail, without gaps.
    seq: u64,
    /// When.
    at: Timestamp,
    /// What.
    event: String,
    /// Who.
    actor: ActorView,
    /// Whose tenant.
    tenant: Option<TenantKey>,
    /// What it is about: a key or an id.
    subject: String,
    /// The state before; null where there was none.
    before: Option<Value>,
    /// The state after; null where there is none.
    after: Option<Value>,
    /// The reason that was given.
    reason: Option<String>,
    /// The request it came with.
    request_id: Option<String>,
    /// The address it came from.
    ip: Option<String>,
    /// SHA-256 over this event and the hash of the one before, in hex.
    hash: String,
    /// `true` where the tenant is a sandbox, which is no customer; otherwise, and in exports, left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<bool>,
}

/// Who did it.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "AuditActor")]
pub struct ActorView {
    /// The caller.
    id: String,
    /// Its operator role, or `system`.
    role: String,
    /// How it worked.
    mode: String,
    /// Who really sat behind an impersonated caller.
    impersonator: Option<String>,
}

#[expect(clippy::too_many_arguments, reason = "each query parameter is an argument")]
#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Audit")]
impl AuditApi {
    /// List audit events
    ///
    /// Newest first, in pages. With `Accept: application/x-ndjson` or `text/csv` everything that is
    /// selected, oldest first, as a file. A line of JSON is an event as it stands in a page, without `sandbox`; in CSV a
    /// cell that a spreadsheet would take for a formula begins with `'`.
    #[oai(path = "/audit", method = "get", operation_id = "list_audit_events")]
    async fn list_audit_events(
        &self,
        caller: Caller<needs::AuditRead>,
        written: Written,
        /// About this tenant.
        tenant: Query<Option<TenantKey>>,
        /// Events whose name starts so: `subscription.`
        event: Query<Option<Text<1, 100>>>,
        /// By this caller.
        actor: Query<Option<Text<1, 200>>>,
        /// At or after.
        from: Query<Option<Timestamp>>,
        /// Before.
        to: Query<Option<Timestamp>>,
        /// How many at most. Not for an export.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before. Not for an export.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Trail> {
        let filter = AuditFilter {
            tenant: tenant.0,
            event: event.0.map(Text::into_string),
            actor: actor.0.map(Text::into_string),
            from: from.0,
            to: to.0,
        };
        let format = match written {
            Written::Page => None,
            Written::Lines => Some(ExportFormat::Jsonl),
            Written::Table => Some(ExportFormat::Csv),
        };
        if let Some(format) = format {
            no_pages([("limit", limit.0.is_some()), ("cursor", cursor.0.is_some())])?;
            let export = self.0.export_audit(&caller.actor, filter).await?;
            return Ok(Trail::Whole(Download::begin(format, export).await?));
        }
        let before = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.audit(&caller.actor, filter, before, limit).await?;
        let tenants = page.items.iter().filter_map(|record| record.tenant.as_ref());
        let sandboxes = self.0.sandboxes(tenants).await?;
        let view = |record: AuditRecord| {
            let is_of_one = record.tenant.as_ref().is_some_and(|it| sandboxes.contains(it));
            AuditView { sandbox: is_of_one.then_some(true), ..AuditView::from(record) }
        };
        Ok(Trail::Page(Json(Page::of(page, view)?)))
    }
}

/// An export has no pages: half of one would look like all of it.
fn no_pages(parameters: [(&str, bool); 2]) -> Result<(), Error> {
    let given = parameters.into_iter().filter(|(_, is_there)| *is_there);
    let faults: Vec<_> = given
        .map(|(name, _)| Fault::new(name, "is for pages; leave it out, an export has everything"))
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Error::Invalid { code: "INVALID_VALUE", faults }) }
}

impl From<AuditRecord> for AuditView {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord {
            seq,
            at,
            event,
            actor: AuditActor { id, role, mode, impersonator },
            tenant,
            subject,
            before,
            after,
            reason,
            request_id,
            ip,
            hash,
        } = record;
        let there = |state: Value| (!state.is_null()).then_some(state);
        Self {
            seq,
            at,
            event,
            actor: ActorView { id, role, mode, impersonator },
            tenant,
            subject,
            before: there(before),
            after: there(after),
            reason,
            request_id,
            ip,
            hash,
            sandbox: None,
        }
    }
}
