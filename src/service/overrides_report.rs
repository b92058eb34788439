//! The report of exceptions: open overrides that somebody should look at (SPEC 10).

use std::collections::HashMap;

use super::{Service, actor::Actor, paging::Page, permissions::Permission};
use crate::{
    domain::{
        keys::TenantKey,
        overrides::{GovernedOverride, Override},
        time::{Span, Timestamp},
    },
    engine::{self, TenantFacts, World},
    error::Result,
    store::{
        self, ReadTx,
        overrides::{OverrideFilter, OverrideState},
        snapshots::{Loaded, load_tenant},
    },
};

/// How many overrides are looked at for one page; it may hold fewer items and still go on.
const MAX_LOOKED_AT: usize = 1000;

/// Extended so often, an exception is a rule.
const RENEWED_OFTEN: u32 = 3;

/// Days without a use, where nobody says.
pub const UNUSED_DAYS: u32 = 30;

/// What the report looks for.
#[derive(Debug, Clone)]
pub struct ReportQuery {
    /// Of this tenant.
    pub tenant: Option<TenantKey>,
    /// Without a use for so many days.
    pub unused_days: u32,
    /// That end within so many days; the setting where nobody says.
    pub ends_within_days: Option<u32>,
}

/// What speaks for looking at an override again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Grants and plans say the same without it.
    Redundant,
    /// It was extended three times or more.
    Renewed,
    /// It has decided no check for long.
    Unused,
    /// It is about to lapse.
    EndsSoon,
}

/// An open override with what was found.
#[derive(Debug, Clone)]
pub struct Exception {
    /// The override.
    pub governed: GovernedOverride,
    /// At least one.
    pub findings: Vec<Finding>,
}

/// From when on a use counts, and until when an end is near.
#[derive(Clone, Copy)]
struct Bounds {
    /// By the tenant's clock.
    now: Timestamp,
    /// What was made before that had time to be used, by the tenant's clock.
    made_before: Timestamp,
    /// By the tenant's clock.
    ends_by: Timestamp,
    /// Uses are noted by the service's clock.
    used_since: Timestamp,
}

impl Bounds {
    fn in_time_of(self, ahead: Span) -> Self {
        let Self { now, made_before, ends_by, used_since } = self;
        Self {
            now: now + ahead,
            made_before: made_before + ahead,
            ends_by: ends_by + ahead,
            used_since,
        }
    }
}

impl Service {
    /// A page of open overrides with findings, newest first.
    pub async fn override_exceptions(
        &self,
        actor: &Actor,
        query: ReportQuery,
        before: Option<String>,
        limit: usize,
    ) -> Result<Page<Exception>> {
        actor.reach(Permission::OverridesManage)?;
        let ReportQuery { tenant, unused_days, ends_within_days } = query;
        let now = self.clock.now();
        let soon = ends_within_days.map_or(self.policy.ends_soon, Span::days);
        let unused = Span::days(unused_days);
        let used_since = now - unused;
        let bounds = Bounds { now, made_before: used_since, ends_by: now + soon, used_since };
        let filter =
            OverrideFilter { tenant, state: Some(OverrideState::Active), ..Default::default() };
        let service = self.clone();
        self.store
            .read_long(move |tx| {
                let most = MAX_LOOKED_AT + 1;
                let rows = store::overrides::list(tx, &filter, now, before.as_deref(), most)?;
                service.report_page(tx, rows, bounds, limit)
            })
            .await
    }

    fn report_page(
        &self,
        tx: &ReadTx<'_>,
        rows: Vec<GovernedOverride>,
        bounds: Bounds,
        limit: usize,
    ) -> Result<Page<Exception>> {
        let world = self.world();
        let ahead = store::tenants::all_ahead(tx)?;
        let mut tenants = HashMap::new();
        let (mut items, mut last) = (Vec::new(), None);
        for (looked_at, mut governed) in rows.into_iter().enumerate() {
            if items.len() == limit || looked_at == MAX_LOOKED_AT {
                return Ok(Page { items, next: last });
            }
            let Override { id, tenant, .. } = &governed.exception;
            last = Some(id.clone());
            let at = bounds.in_time_of(ahead.get(tenant).copied().unwrap_or_default());
            // Over by its tenant's clock, and not recorded yet.
            if governed.exception.expires_at <= at.now {
                continue;
            }
            governed.last_used_at = governed.last_used_at.max(self.uses.noted(id));
            let facts = match tenants.get(tenant) {
                Some(facts) => facts,
                None => {
                    let read = load_tenant(tx, &self.memory.shelf, tenant, bounds.now)?;
                    tenants.entry(tenant.clone()).or_insert(read)
                }
            };
            let findings = findings(&world, facts, &governed, at);
            if !findings.is_empty() {
                items.push(Exception { governed, findings });
            }
        }
        Ok(Page { items, next: None })
    }
}

fn findings(
    world: &World,
    facts: &Loaded,
    governed: &GovernedOverride,
    bounds: Bounds,
) -> Vec<Finding> {
    let is_redundant = |facts: &TenantFacts| {
        engine::is_redundant(world, facts, &governed.exception.key, bounds.now)
    };
    let redundant = match facts {
        Loaded::Facts(facts) => is_redundant(facts),
        // Nothing can be said about what can't be read.
        Loaded::Missing | Loaded::Damaged => false,
    };
    // What is younger than that had no time to be used.
    let is_unused = match governed.last_used_at {
        Some(last_use) => last_use <= bounds.used_since,
        None => governed.created_at <= bounds.made_before,
    };
    let all = [
        (Finding::Redundant, redundant),
        (Finding::Renewed, governed.renewals >= RENEWED_OFTEN),
        (Finding::Unused, is_unused),
        (Finding::EndsSoon, governed.exception.expires_at <= bounds.ends_by),
    ];
    all.into_iter().filter_map(|(finding, found)| found.then_some(finding)).collect()
}
