//! The report of what enforcement refuses or would refuse.

use poem_openapi::{Object, OpenApi, param::Query, registry::MetaSchema};
use serde::Serialize;

use super::Tag;
use crate::{
    domain::{
        checks::Reason,
        evidence::{CheckCounts, Summary, Window},
        keys::{ModuleKey, TenantKey},
        time::Timestamp,
        trials::{TrialCounts, TrialKind},
    },
    http::{
        auth::{Caller, needs},
        failure::Answer,
        paging::{Cursor, Limit, Page},
        payload::Json,
        string_type::string_type,
    },
    service::{
        Service,
        evidence_report::{EvidenceQuery, EvidenceReport},
    },
};

/// The operations.
pub struct RolloutReportApi(pub(super) Service);

string_type!(
    Window,
    "window",
    MetaSchema {
        example: Some("7d".into()),
        default: Some("24h".into()),
        pattern: Some("^[0-9]{1,10}[hd]?$".into()),
        ..MetaSchema::new("string")
    }
);

/// How many checks there were, and how many of them were refused.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CheckCounts")]
pub struct CountsView {
    /// All of them.
    checks: u64,
    /// Refused.
    refusals: u64,
    /// Allowed only because the rollout doesn't enforce.
    would_be_refusals: u64,
}

/// All checks of a report, and how many tenants they were about.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CheckTotals")]
pub struct TotalsView {
    /// All of them.
    checks: u64,
    /// Refused.
    refusals: u64,
    /// Allowed only because the rollout doesn't enforce.
    would_be_refusals: u64,
    /// Tenants that were asked about.
    tenants_checked: u64,
    /// Tenants that were refused something.
    tenants_refused: u64,
    /// Tenants that were allowed something only because the rollout doesn't enforce.
    tenants_would_be_refused: u64,
}

/// Checks that had one reason.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ReasonCounts")]
pub struct ReasonCountsView {
    /// The reason; of what would be refused, the one that it would have.
    reason: Reason,
    /// All of them.
    checks: u64,
    /// Refused.
    refusals: u64,
    /// Allowed only because the rollout doesn't enforce.
    would_be_refusals: u64,
}

/// Checks that were about one module.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ModuleCounts")]
pub struct ModuleCountsView {
    /// The module of the requirement that decided; null for checks about no module.
    module: Option<ModuleKey>,
    /// All of them.
    checks: u64,
    /// Refused.
    refusals: u64,
    /// Allowed only because the rollout doesn't enforce.
    would_be_refusals: u64,
}

/// Checks that were about one tenant.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "TenantCounts")]
pub struct TenantCountsView {
    /// The tenant.
    tenant: TenantKey,
    /// All of them.
    checks: u64,
    /// Refused.
    refusals: u64,
    /// Allowed only because the rollout doesn't enforce.
    would_be_refusals: u64,
}

/// Trials of one kind.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "TrialCounts")]
pub struct TrialCountsView {
    /// `grant`: of a module or feature; `subscription`: of a plan.
    kind: TrialKind,
    /// Began.
    started: u64,
    /// Became the real thing, before or after their end.
    converted: u64,
    /// Ended by themselves.
    expired: u64,
}

/// What enforcement refused or would have refused.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "RolloutReport")]
pub struct ReportView {
    /// Where the window begins: with a whole hour.
    from: Timestamp,
    /// Where it ends: when the report was made.
    until: Timestamp,
    /// The window that was asked for.
    window_seconds: i64,
    /// Everything.
    totals: TotalsView,
    /// By reason, the most frequent first.
    by_reason: Vec<ReasonCountsView>,
    /// By module, the most used first; those of the catalog that nobody asked about are at the end.
    by_module: Vec<ModuleCountsView>,
    /// A page of the tenants, by key. The totals are those of all pages.
    by_tenant: Page<TenantCountsView>,
    /// Of users without a tenant.
    without_tenant: CountsView,
    /// Of tenants that found no room in memory to be counted by themselves (`limits.evidence_keys`).
    beyond_limit: CountsView,
    /// Trials by kind. With a module, those of its grants alone.
    trials: Vec<TrialCountsView>,
}

#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Rollout")]
impl RolloutReportApi {
    /// Read what enforcement refuses, and what it would refuse
    ///
    /// Counts every check that a caller got an answer to: checks, batches, forward-auth, and usage
    /// that was taken or reserved. It shows them at once. What to look at before the next step.
    #[oai(path = "/rollout/report", method = "get", operation_id = "get_rollout_report")]
    async fn get_rollout_report(
        &self,
        caller: Caller<needs::RolloutRead>,
        /// How far back: hours (`24h`), days (`7d`) or seconds, from one hour to 90 days; a day if
        /// left out.
        window: Query<Option<Window>>,
        /// Of this tenant alone.
        tenant: Query<Option<TenantKey>>,
        /// Of this module alone.
        module: Query<Option<ModuleKey>>,
        /// Tenants on the page.
        limit: Query<Option<Limit>>,
        /// The page of tenants after this.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<ReportView>> {
        let query = EvidenceQuery {
            window: window.0.unwrap_or_default(),
            tenant: tenant.0,
            module: module.0,
            after: cursor.0.map(|cursor| cursor.key()).transpose()?,
        };
        let window = query.window;
        let limit = limit.0.unwrap_or_default().get();
        let report = self.0.rollout_report(&caller.actor, query, limit).await?;
        Ok(Json(ReportView::of(report, window)?))
    }
}

impl ReportView {
    fn of(report: EvidenceReport, window: Window) -> crate::error::Result<Self> {
        let EvidenceReport { from, until, summary, modules, trials, tenants } = report;
        let Summary {
            total,
            by_reason,
            by_module: _,
            without_module: _,
            by_tenant,
            without_tenant,
            beyond_limit,
        } = summary;
        let mut by_reason: Vec<_> = by_reason.into_iter().collect();
        // Stable: equal ones stay in the order of the reasons.
        by_reason.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.checks));
        let CheckCounts { checks, refusals, would_be_refusals } = total;
        let tenants_with = |count: fn(&CheckCounts) -> u64| {
            by_tenant.values().filter(|counts| count(counts) > 0).count() as u64
        };
        Ok(Self {
            from,
            until,
            window_seconds: window.seconds(),
            totals: TotalsView {
                checks,
                refusals,
                would_be_refusals,
                tenants_checked: by_tenant.len() as u64,
                tenants_refused: tenants_with(|counts| counts.refusals),
                tenants_would_be_refused: tenants_with(|counts| counts.would_be_refusals),
            },
            by_reason: by_reason.into_iter().map(ReasonCountsView::from).collect(),
            by_module: modules.into_iter().map(ModuleCountsView::from).collect(),
            by_tenant: Page::of(tenants, TenantCountsView::from)?,
            without_tenant: without_tenant.into(),
            beyond_limit: beyond_limit.into(),
            trials: trials.into_iter().map(TrialCountsView::from).collect(),
        })
    }
}

impl From<(TrialKind, TrialCounts)> for TrialCountsView {
    fn from((kind, counts): (TrialKind, TrialCounts)) -> Self {
        let TrialCounts { started, converted, expired } = counts;
        Self { kind, started, converted, expired }
    }
}

impl From<CheckCounts> for CountsView {
    fn from(counts: CheckCounts) -> Self {
        let CheckCounts { checks, refusals, would_be_refusals } = counts;
        Self { checks, refusals, would_be_refusals }
    }
}

impl From<(Reason, CheckCounts)> for ReasonCountsView {
    fn from((reason, counts): (Reason, CheckCounts)) -> Self {
        let CheckCounts { checks, refusals, would_be_refusals } = counts;
        Self { reason, checks, refusals, would_be_refusals }
    }
}

impl From<(Option<ModuleKey>, CheckCounts)> for ModuleCountsView {
    fn from((module, counts): (Option<ModuleKey>, CheckCounts)) -> Self {
        let CheckCounts { checks, refusals, would_be_refusals } = counts;
        Self { module, checks, refusals, would_be_refusals }
    }
}

impl From<(TenantKey, CheckCounts)> for TenantCountsView {
    fn from((tenant, counts): (TenantKey, CheckCounts)) -> Self {
        let CheckCounts { checks, refusals, would_be_refusals } = counts;
        Self { tenant, checks, refusals, would_be_refusals }
    }
}
