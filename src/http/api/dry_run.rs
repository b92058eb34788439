//! `dry_run=true` on what changes access: the write is rehearsed, and the answer says what it would
//! change.

use poem_openapi::Object;
use serde::Serialize;
use serde_json::Value;

use super::personal::ContextRef;
use crate::{
    domain::{
        access::{Access, AccessChange, AccessKey, Place},
        catalog::Limit as Amount,
        checks::Reason,
        keys::{TenantKey, UserKey},
        time::Timestamp,
    },
    error::{Error, Fault, Result},
    http::{
        paging::{Cursor, Limit},
        payload::Json,
        words::Word,
    },
    service::{
        Service,
        access::{AccessPage, AccessWanted},
        rehearsals::Rehearsal,
    },
};

/// What a write would change, where it was only rehearsed.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "DryRun")]
pub struct DryRunView {
    /// Always true: nothing was written.
    dry_run: bool,
    /// Who would gain and lose what.
    pub(super) access: AccessDiffView,
}

/// A page of who would gain and lose what.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "AccessDiff")]
pub struct AccessDiffView {
    /// By tenant and user, users without a tenant last. A page may hold fewer than `limit`, or
    /// none, and still go on.
    items: Vec<AccessChangeView>,
    /// For the next page: send the same request again with it. Null on the last.
    next_cursor: Option<Cursor>,
    /// True where more tenants stand below the one that is written than were looked at.
    truncated: bool,
}

/// One module, feature, limit or permission that would be different for somebody.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "AccessChange")]
pub struct AccessChangeView {
    /// For whom; null for a user without a tenant.
    tenant: Option<TenantKey>,
    /// For which user; null for the tenant as a whole.
    user: Option<UserKey>,
    /// `module`, `feature`, `limit` or `permission`.
    kind: Word,
    /// Which one.
    key: String,
    /// Where a permission is held; null for the tenant as a whole, and for everything else.
    context: Option<ContextRef>,
    /// `gained`, `lost`, or `changed` where only the value, the limit, the reason or the end differ.
    change: Word,
    /// What holds now; null where there is no such thing.
    before: Option<AccessView>,
    /// What would hold; null where there would be no such thing.
    after: Option<AccessView>,
}

/// What holds for somebody of one module, feature, limit or permission.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Access")]
pub struct AccessView {
    /// What `check` answers.
    enabled: bool,
    /// Why; null for a permission.
    reason: Option<Reason>,
    /// Why it would be refused; null where not the rollout alone keeps it open.
    would_reason: Option<Reason>,
    /// The value of a config feature.
    value: Option<Value>,
    /// How much there is of a limit; null where unlimited, and for everything else.
    limit: Option<u64>,
    /// Whether a limit has no end; null for everything else.
    unlimited: Option<bool>,
    /// When what decided ends; null for limits and permissions.
    expires_at: Option<Timestamp>,
}

/// A write that is made, or only rehearsed.
pub(super) enum Attempt {
    /// It is made.
    Real(Service),
    /// Only what it would change is asked for.
    Dry(Rehearsal),
}

impl Attempt {
    /// What the parameters ask for.
    pub fn new(
        service: &Service,
        dry_run: Option<bool>,
        limit: Option<Limit>,
        cursor: Option<Cursor>,
    ) -> Result<Self> {
        Ok(match wanted(dry_run, limit, cursor)? {
            Some(wanted) => Self::Dry(service.rehearsal(wanted)),
            None => Self::Real(service.clone()),
        })
    }

    /// The service to call.
    pub fn service(&self) -> &Service {
        match self {
            Self::Real(service) => service,
            Self::Dry(rehearsal) => rehearsal.service(),
        }
    }

    /// What the write that was called for would change; none where it was made.
    pub async fn would_change(self) -> Result<Option<Json<DryRunView>>> {
        match self {
            Self::Real(_) => Ok(None),
            Self::Dry(rehearsal) => Ok(Some(DryRunView::of(rehearsal.access().await?)?)),
        }
    }
}

/// The page that is asked for; none where the write is to be made.
pub(super) fn wanted(
    dry_run: Option<bool>,
    limit: Option<Limit>,
    cursor: Option<Cursor>,
) -> Result<Option<AccessWanted>> {
    if dry_run == Some(true) {
        let after = cursor.map(|cursor| cursor.key()).transpose()?;
        return Ok(Some(AccessWanted { after, limit: limit.unwrap_or_default().get() }));
    }
    let given = [("limit", limit.is_some()), ("cursor", cursor.is_some())];
    let faults: Vec<Fault> = given
        .into_iter()
        .filter(|(_, is_given)| *is_given)
        .map(|(name, _)| Fault::new(name, "only a dry run has pages; add dry_run=true"))
        .collect();
    if faults.is_empty() { Ok(None) } else { Err(Error::Invalid { code: "INVALID_VALUE", faults }) }
}

impl DryRunView {
    /// A page that stands alone.
    pub(super) fn of(page: AccessPage) -> Result<Json<Self>> {
        Ok(Json(Self { dry_run: true, access: AccessDiffView::of(page)? }))
    }
}

impl AccessDiffView {
    /// A page as it stands in answers.
    pub(super) fn of(page: AccessPage) -> Result<Self> {
        let AccessPage { items, next, is_cut } = page;
        Ok(Self {
            items: items.into_iter().map(AccessChangeView::from).collect(),
            next_cursor: next.as_ref().map(Cursor::after).transpose()?,
            truncated: is_cut,
        })
    }
}

impl From<AccessChange> for AccessChangeView {
    fn from(found: AccessChange) -> Self {
        let AccessChange { place, key, change, before, after } = found;
        let Place { tenant, user } = place;
        let AccessKey { kind, key, context } = key;
        Self {
            tenant,
            user,
            kind: Word::of(kind.as_str()),
            key,
            context: context.map(ContextRef::from),
            change: Word::of(change.as_str()),
            before: before.map(AccessView::from),
            after: after.map(AccessView::from),
        }
    }
}

impl From<Access> for AccessView {
    fn from(access: Access) -> Self {
        let Access { enabled, reason, would_reason, value, limit, expires_at } = access;
        let (limit, unlimited) = match limit {
            Some(Amount::Of(count)) => (Some(count), Some(false)),
            Some(Amount::Unlimited) => (None, Some(true)),
            None => (None, None),
        };
        Self { enabled, reason, would_reason, value, limit, unlimited, expires_at }
    }
}
