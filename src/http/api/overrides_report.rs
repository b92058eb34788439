//! The report of exceptions.

use std::{collections::HashSet, fmt, str::FromStr};

use poem_openapi::{Object, OpenApi, param::Query, registry::MetaSchema};
use serde::Serialize;

use super::{Tag, overrides::OverrideView};
use crate::{
    domain::{keys::TenantKey, time::Timestamp},
    http::{
        auth::{Caller, needs},
        failure::Answer,
        paging::{Cursor, Limit, Page},
        payload::Json,
        string_type::string_type,
        words::Word,
    },
    service::{
        Service,
        overrides_report::{Exception, Finding, ReportQuery, UNUSED_DAYS},
    },
};

/// The operations.
pub struct OverridesReportApi(pub(super) Service);

/// An open override that somebody should look at again.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "OverrideException")]
pub struct ExceptionView {
    /// The override.
    #[oai(rename = "override")]
    #[serde(rename = "override")]
    governed: OverrideView,
    /// What speaks for it: `redundant`, `renewed`, `unused`, `ends_soon`; at least one.
    findings: Vec<Word>,
}

/// A number of days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u32);

/// Ten years: nothing here is older or further away.
const MAX_DAYS: u32 = 3660;

impl FromStr for Days {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(days) if days <= MAX_DAYS => Ok(Self(days)),
            _ => Err("must be a number from 0 to 3660"),
        }
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

string_type!(
    Days,
    "days",
    MetaSchema {
        minimum: Some(0.0),
        maximum: Some(f64::from(MAX_DAYS)),
        ..MetaSchema::new_with_format("integer", "int32")
    }
);

#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Overrides")]
impl OverridesReportApi {
    /// List overrides that somebody should look at again
    ///
    /// Open ones, newest first: `redundant` (grants and plans say the same without it, now and until
    /// it ends), `renewed` (three times or more), `unused` (it decided no check for long),
    /// `ends_soon`. A page may hold fewer items than `limit` and still go on.
    #[oai(path = "/overrides/report", method = "get", operation_id = "list_override_exceptions")]
    async fn list_override_exceptions(
        &self,
        caller: Caller<needs::OverridesManage>,
        /// Of this tenant.
        tenant: Query<Option<TenantKey>>,
        /// Days without a use that make one `unused`; 30 if left out.
        unused_days: Query<Option<Days>>,
        /// Days before its end from which one `ends_soon`; as the service is set if left out.
        ends_within_days: Query<Option<Days>>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<ExceptionView>>> {
        let query = ReportQuery {
            tenant: tenant.0,
            unused_days: unused_days.0.map_or(UNUSED_DAYS, |days| days.0),
            ends_within_days: ends_within_days.0.map(|days| days.0),
        };
        let before = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.override_exceptions(&caller.actor, query, before, limit).await?;
        let now = self.0.clock().now();
        let tenants = page.items.iter().map(|found| &found.governed.exception.tenant);
        let sandboxes = self.0.sandboxes(tenants).await?;
        let view = |exception| ExceptionView::of(exception, now, &sandboxes);
        Ok(Json(Page::of(page, view)?))
    }
}

impl ExceptionView {
    fn of(exception: Exception, now: Timestamp, sandboxes: &HashSet<TenantKey>) -> Self {
        let Exception { governed, findings } = exception;
        let word = |finding| match finding {
            Finding::Redundant => "redundant",
            Finding::Renewed => "renewed",
            Finding::Unused => "unused",
            Finding::EndsSoon => "ends_soon",
        };
        let findings = findings.into_iter().map(|finding| Word::of(word(finding))).collect();
        Self { governed: OverrideView::of(governed, now).marked(sandboxes), findings }
    }
}
