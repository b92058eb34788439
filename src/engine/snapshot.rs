//! The facts that a decision is made from: one [`World`] for all tenants, one [`TenantFacts`] for
//! each tenant. Both are immutable and replaced as a whole.
//!
//! Invariants: facts hold everything that was true, is true or is scheduled; whether it counts at an
//! instant is decided when asked. `base` holds no two subscriptions that overlap.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    people::{CompiledRole, compile},
    rollout::Bucket,
    routes::RouteTable,
};
use crate::domain::{
    catalog::{Audience, Catalog, PlanKind},
    grants::Grant,
    keys::{EntitlementKey, PlanKey, RoleKey, TenantKey},
    overrides::Override,
    plans::PlanVersion,
    rollout::StoredRollout,
    subscriptions::SubscriptionStatus,
    tenants::{Billing, Tenant},
    time::{Span, Timestamp},
};

/// What is the same for every tenant.
#[derive(Debug, Clone)]
pub struct World {
    /// The newest catalog.
    pub catalog: Arc<Catalog>,
    /// Counts from 1; 0 while no catalog was ever applied.
    pub catalog_version: u32,
    /// The newest version of every plan, lowest rank first, then by key.
    pub plans: Vec<Arc<PlanVersion>>,
    /// What the environment says of the gates.
    pub gating: Gating,
    /// What the settings say of them.
    pub rollout: StoredRollout,
    /// The service-wide version of the latest change to anything above.
    pub version: u64,
    /// The routes of the catalog, to be searched.
    pub routes: RouteTable,
    /// Those of `plans` that remedies may name: not by activation code only.
    offered: Vec<Arc<PlanVersion>>,
    /// What each role permits, with what it inherits.
    roles: HashMap<RoleKey, Arc<CompiledRole>>,
}

/// Whether the environment lets the settings of the rollout decide (rule 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gating {
    /// It does.
    BySettings,
    /// Refusals are worked out and reported, but everything is open, whatever the settings say.
    OffByEnvironment,
}

impl World {
    /// Compiles what a catalog says. `plans` holds the newest version of each of its plans. It
    /// enforces everywhere that the environment lets it.
    #[must_use]
    pub fn new(
        catalog: Arc<Catalog>,
        catalog_version: u32,
        mut plans: Vec<Arc<PlanVersion>>,
        gating: Gating,
        version: u64,
    ) -> Self {
        plans.sort_by(|a, b| a.content.rank.cmp(&b.content.rank).then_with(|| a.plan.cmp(&b.plan)));
        let offered = plans
            .iter()
            .filter(|plan| catalog.plans.get(&plan.plan).is_some_and(|p| !p.activation_code_only))
            .cloned()
            .collect();
        let roles = compile(&catalog);
        let routes = RouteTable::new(&catalog.routes);
        let rollout = StoredRollout::default();
        Self { catalog, catalog_version, plans, gating, rollout, version, routes, offered, roles }
    }

    /// The same world under these settings of the rollout.
    #[must_use]
    pub fn with_rollout(self, rollout: StoredRollout) -> Self {
        Self { rollout, ..self }
    }

    /// A world without a catalog: everything is unknown.
    #[must_use]
    pub fn empty(gating: Gating) -> Self {
        Self::new(Arc::default(), 0, Vec::new(), gating, 0)
    }

    /// Plans that remedies may name, for one audience and of one kind, lowest rank first.
    pub(super) fn offered(
        &self,
        audience: Audience,
        kind: PlanKind,
    ) -> impl Iterator<Item = &Arc<PlanVersion>> {
        let fits = move |plan: &&Arc<PlanVersion>| {
            (plan.content.audience, plan.content.kind) == (audience, kind)
        };
        self.offered.iter().filter(fits)
    }

    /// What a role permits; none where the newest catalog has no such role.
    #[must_use]
    pub fn role(&self, role: &RoleKey) -> Option<&Arc<CompiledRole>> {
        self.roles.get(role)
    }

    /// The newest version of `plan`.
    #[must_use]
    pub fn newest(&self, plan: &PlanKey) -> Option<&Arc<PlanVersion>> {
        self.plans.iter().find(|p| p.plan == *plan)
    }

    /// The name of a plan, from the newest catalog where it still stands there.
    #[must_use]
    pub fn plan_name<'a>(&'a self, plan: &'a PlanVersion) -> &'a str {
        self.catalog.plans.get(&plan.plan).map_or(&plan.name, |p| &p.name)
    }
}

/// Everything about one tenant that can decide a question.
#[derive(Debug, Clone)]
pub struct TenantFacts {
    /// The tenant itself.
    pub tenant: Tenant,
    /// Where the rollout has it.
    pub bucket: Bucket,
    /// Base subscriptions that are in effect or scheduled, by start.
    pub base: Vec<Holding>,
    /// Since when base subscriptions have followed each other without a gap up to the first of
    /// `base`: counters are anchored to it. None where it is the start of that one.
    pub base_since: Option<Timestamp>,
    /// Add-ons that are in effect or scheduled; highest rank first, then by plan and id.
    pub add_ons: Vec<Holding>,
    /// Grants, by module or feature.
    pub grants: HashMap<EntitlementKey, Grant>,
    /// Open overrides, by module or feature; expired ones may still be among them.
    pub overrides: HashMap<EntitlementKey, Override>,
    /// Plans that the tenant has tried.
    pub tried: BTreeSet<PlanKey>,
    /// The service-wide version of the latest change to anything above.
    pub version: u64,
    /// These facts stand in for a tenant that isn't there: the question is about a user alone.
    pub is_nobody: bool,
}

/// A subscription as the decision sees it.
#[derive(Debug, Clone)]
pub struct Holding {
    /// The subscription's id.
    pub id: String,
    /// The pinned plan.
    pub plan: Arc<PlanVersion>,
    /// The pinned plan that an ended trial falls back to.
    pub fallback: Option<Arc<PlanVersion>>,
    /// Where it stands.
    pub status: SubscriptionStatus,
    /// It gives nothing before.
    pub from: Timestamp,
    /// It gives nothing from here on.
    pub to: Option<Timestamp>,
    /// The end of its trial.
    pub trial_expires_at: Option<Timestamp>,
    /// Start of the grace period.
    pub overdue_since: Option<Timestamp>,
    /// How many units.
    pub quantity: u32,
}

impl TenantFacts {
    /// Sorts the holdings as the invariants say.
    #[must_use]
    pub fn new(tenant: Tenant, holdings: Vec<Holding>, version: u64) -> Self {
        let (mut base, mut add_ons): (Vec<_>, Vec<_>) =
            holdings.into_iter().partition(|h| h.plan.content.kind == PlanKind::Base);
        base.sort_by(|a, b| a.from.cmp(&b.from).then_with(|| a.id.cmp(&b.id)));
        add_ons.sort_by(|a, b| {
            let rank = b.plan.content.rank.cmp(&a.plan.content.rank);
            rank.then_with(|| a.plan.plan.cmp(&b.plan.plan)).then_with(|| a.id.cmp(&b.id))
        });
        Self {
            bucket: Bucket::of_tenant(&tenant.key),
            tenant,
            base,
            base_since: None,
            add_ons,
            grants: HashMap::new(),
            overrides: HashMap::new(),
            tried: BTreeSet::new(),
            version,
            is_nobody: false,
        }
    }

    /// What stands in for the tenant where a question is about a user without one: nothing is given
    /// and nothing blocks.
    #[must_use]
    pub fn nobody() -> Self {
        let tenant = Tenant {
            key: TenantKey::example("nobody"),
            name: String::new(),
            parent: None,
            suspension: None,
            billing: Billing::Direct,
            demo: false,
            sandbox: false,
            ahead: Span::default(),
            attributes: serde_json::Map::new(),
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
            revision: 0,
        };
        Self { is_nobody: true, ..Self::new(tenant, Vec::new(), 0) }
    }
}
