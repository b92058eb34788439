//! The report of evidence: what enforcement refused or would have refused (SPEC 9).
//!
//! Invariants: it shows every check that was answered before it was asked for, written or not, and
//! none twice.

use super::{Service, actor::Actor, paging::Page, permissions::Permission, questions::unknown};
use crate::{
    domain::{
        evidence::{CheckCounts, Summary, Window},
        keys::{ModuleKey, TenantKey},
        time::Timestamp,
        trials::{TrialCounts, TrialKind},
    },
    error::{Error, Result},
    store,
};

/// What a report is about.
#[derive(Debug, Clone, Default)]
pub struct EvidenceQuery {
    /// How far back.
    pub window: Window,
    /// Of this tenant alone.
    pub tenant: Option<TenantKey>,
    /// Of this module alone.
    pub module: Option<ModuleKey>,
    /// Tenants after this one.
    pub after: Option<TenantKey>,
}

/// A report.
#[derive(Debug, Clone)]
pub struct EvidenceReport {
    /// The start of the first hour.
    pub from: Timestamp,
    /// When it was made.
    pub until: Timestamp,
    /// What was counted; its tenants are those of all pages.
    pub summary: Summary,
    /// Modules, the most used first; the catalog's that nobody asked about at the end.
    pub modules: Vec<(Option<ModuleKey>, CheckCounts)>,
    /// Trials of each kind.
    pub trials: [(TrialKind, TrialCounts); 2],
    /// A page of tenants, by key.
    pub tenants: Page<(TenantKey, CheckCounts), TenantKey>,
}

impl Service {
    /// What was refused and would be refused, of all tenants or of one.
    pub async fn rollout_report(
        &self,
        actor: &Actor,
        query: EvidenceQuery,
        limit: usize,
    ) -> Result<EvidenceReport> {
        actor.reach(Permission::RolloutRead)?;
        let EvidenceQuery { window, tenant, module, after } = query;
        // Whoever belongs to a tenant sees that of its own.
        let tenant = tenant.or_else(|| actor.principal.tenant.clone());
        if let Some(tenant) = &tenant {
            actor.may_on(Permission::RolloutRead, tenant)?;
        }
        let catalog = self.world().catalog.clone();
        if let Some(module) = module.as_ref().filter(|key| !catalog.modules.contains_key(*key)) {
            let known = catalog.modules.keys().map(ModuleKey::as_str);
            let fault = unknown("module", "module", module.as_str(), known);
            return Err(Error::Invalid { code: "UNKNOWN_KEY", faults: vec![fault] });
        }
        let until = self.clock.now();
        let from = window.start(until);
        let (summary, trials) = self.evidence_since(from, tenant, module.clone()).await?;
        let asked = module.as_ref();
        let known = catalog.modules.keys().filter(|key| asked.is_none_or(|asked| asked == *key));
        let modules = modules(&summary, known);
        let rest = summary.by_tenant.iter().filter(|(key, _)| Some(*key) > after.as_ref());
        let rest = rest.take(limit + 1).map(|(key, counts)| (key.clone(), *counts)).collect();
        let tenants = Page::of(rest, limit, |(key, _)| key.clone());
        Ok(EvidenceReport { from, until, summary, modules, trials, tenants })
    }

    /// What is on the disk and what waits for it.
    async fn evidence_since(
        &self,
        from: Timestamp,
        tenant: Option<TenantKey>,
        module: Option<ModuleKey>,
    ) -> Result<(Summary, [(TrialKind, TrialCounts); 2])> {
        // Nothing moves from memory to the disk until both were added up.
        let _turn = self.evidence.writing.lock().await;
        let mut summary = Summary::default();
        let (of, about) = (tenant.as_ref(), module.as_ref());
        self.evidence.summarize(from, of, about, &mut summary)?;
        self.store
            .read_long(move |tx| {
                if let Some(tenant) = &tenant {
                    store::tenants::get(tx, tenant)?;
                }
                let (of, about) = (tenant.as_ref(), module.as_ref());
                store::evidence::summarize(tx, from, of, about, &mut summary)?;
                Ok((summary, store::trials::counts(tx, from, of, about)?))
            })
            .await
    }
}

/// Every module that was counted or is known, the most used first.
fn modules<'a>(
    summary: &Summary,
    known: impl Iterator<Item = &'a ModuleKey>,
) -> Vec<(Option<ModuleKey>, CheckCounts)> {
    let mut all = summary.by_module.clone();
    for key in known {
        all.entry(key.clone()).or_default();
    }
    let mut all: Vec<_> = all.into_iter().map(|(key, counts)| (Some(key), counts)).collect();
    if summary.without_module.checks > 0 {
        all.push((None, summary.without_module));
    }
    all.sort_by(|(a, x), (b, y)| y.checks.cmp(&x.checks).then_with(|| a.cmp(b)));
    all
}
