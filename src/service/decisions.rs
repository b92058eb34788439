//! The decision for a caller: who may ask what about whom, unknown keys (rule 1), and the answer.

use std::{sync::Arc, time::Instant};

use super::{
    Service,
    actor::Actor,
    permissions::{Permission, Reach, allows},
};
use crate::{
    domain::{
        callers::OperatorRole,
        catalog::{Catalog, Match},
        checks::{Decision, Explanation, Mode, Question, Reason, Remedy, Source},
        keys::{FeatureKey, ModuleKey, TenantKey, UserKey, nearest},
        time::Timestamp,
    },
    engine::{self, TenantFacts, World},
    error::{Error, Fault, Result},
};

/// Most checks in one batch.
pub const MAX_BATCH: usize = 100;

/// What a caller asks.
#[derive(Debug, Clone, Default)]
pub struct Check {
    /// About this tenant; a bound caller may leave its own out.
    pub tenant: Option<TenantKey>,
    /// About this user in it.
    pub user: Option<UserKey>,
    /// How the caller works; from its token if left out.
    pub mode: Option<Mode>,
    /// The module needed.
    pub module: Option<ModuleKey>,
    /// The features needed.
    pub features: Vec<FeatureKey>,
    /// Whether all or any of the features are needed.
    pub features_match: Match,
    /// As of this future instant.
    pub at: Option<Timestamp>,
    /// With the path to the answer.
    pub explain: bool,
    /// Fields of the request that later parts of the service answer.
    pub unavailable: Vec<&'static str>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The decision.
    pub decision: Decision,
    /// How it came about, where that was asked for.
    pub explanation: Option<Explanation>,
}

/// What every question of one tenant is answered from, so that a batch is consistent.
struct View {
    world: Arc<World>,
    facts: Arc<TenantFacts>,
}

impl Service {
    /// Answers one question.
    pub async fn check(&self, actor: &Actor, check: &Check) -> Result<Checked> {
        let tenant = self.tenant_of(actor, check)?;
        let view = self.view(&tenant).await?;
        self.answer(actor, check, &view)
    }

    /// Answers questions in order, each tenant from one consistent state. A faulty one gets its own
    /// error in its place.
    pub async fn check_batch(&self, actor: &Actor, checks: &[Check]) -> Vec<Result<Checked>> {
        let mut views: Vec<(TenantKey, View)> = Vec::new();
        let mut answers = Vec::with_capacity(checks.len());
        for check in checks {
            answers.push(self.check_within(actor, check, &mut views).await);
        }
        answers
    }

    async fn check_within(
        &self,
        actor: &Actor,
        check: &Check,
        views: &mut Vec<(TenantKey, View)>,
    ) -> Result<Checked> {
        let tenant = self.tenant_of(actor, check)?;
        // A batch holds few tenants, so a look along the list beats a map.
        if let Some((_, view)) = views.iter().find(|(key, _)| *key == tenant) {
            return self.answer(actor, check, view);
        }
        let view = self.view(&tenant).await?;
        let answer = self.answer(actor, check, &view);
        views.push((tenant, view));
        answer
    }

    async fn view(&self, tenant: &TenantKey) -> Result<View> {
        let facts = self.facts(tenant).await?;
        Ok(View { world: self.world(), facts })
    }

    /// The tenant asked about, if the caller may ask about it.
    fn tenant_of(&self, actor: &Actor, check: &Check) -> Result<TenantKey> {
        let tenant = match (&check.tenant, &actor.principal.tenant) {
            (Some(tenant), _) | (None, Some(tenant)) => tenant,
            (None, None) if check.user.is_some() => {
                let message =
                    "questions about a user without a tenant are not available yet; name one";
                return Err(Error::NotAvailable(Fault::new("tenant", message)));
            }
            (None, None) => return Err(Error::invalid("tenant", "name the tenant")),
        };
        actor.may_on(Permission::Check, tenant)?;
        Ok(tenant.clone())
    }

    fn answer(&self, actor: &Actor, check: &Check, view: &View) -> Result<Checked> {
        let started = Instant::now();
        let now = self.clock.now();
        let question = question(actor, check, &view.world.catalog)?;
        let at = match check.at {
            Some(at) if at < now => {
                let message = format!("must not lie in the past; it is {now} now");
                return Err(Error::invalid("at", message));
            }
            Some(at) => at,
            None => now,
        };
        let View { world, facts } = view;
        let (mut decision, explanation) = if check.explain {
            let (decision, explanation) = engine::explain(world, facts, &question, at);
            (decision, Some(explanation))
        } else {
            (engine::decide(world, facts, &question, at), None)
        };
        if let Some(invariant) = engine::invariants::violated(&decision, facts, at) {
            metrics::counter!("invariant_violations_total").increment(1);
            tracing::error!(tenant = %facts.tenant.key, invariant, "an invariant is violated");
        }
        if let (Source::Override(id), None) = (&decision.source, check.at) {
            self.uses.note(id, now);
        }
        if may_ask_for_access(actor, &decision) {
            decision.remedies.push(Remedy::RequestAccess);
        }
        self.metrics.count(&decision, started.elapsed().as_secs_f64());
        Ok(Checked { decision, explanation })
    }
}

/// Whether the caller could file a request that would help: a tenant's own admin, where an override
/// beats what refused.
fn may_ask_for_access(actor: &Actor, decision: &Decision) -> bool {
    if decision.allowed || allows(actor.principal.role, Permission::RequestsWrite) != Reach::Own {
        return false;
    }
    match decision.reason {
        Reason::PlanLimit | Reason::TrialExpired | Reason::NotGranted | Reason::Disabled => true,
        // No override helps against these, or it is one already.
        Reason::Suspended
        | Reason::NoSubscription
        | Reason::Cancelled
        | Reason::Overdue
        | Reason::FeatureDisabled
        | Reason::Override
        // Reasons of an allow.
        | Reason::Demo
        | Reason::GatingDisabled
        | Reason::AlwaysOn
        | Reason::RbacOnly
        | Reason::Grant
        | Reason::Trial
        | Reason::Plan
        | Reason::AddOn => false,
    }
}

/// The question in a check, once everything in it is known, permitted and built.
fn question(actor: &Actor, check: &Check, catalog: &Catalog) -> Result<Question> {
    let (user, mode) = identity(actor, check.user.as_ref(), check.mode)?;
    let platform = (mode == Mode::Platform).then_some("mode");
    if let Some(field) = check.unavailable.first().copied().or(platform) {
        let message = match field {
            "mode" => "platform mode is not available yet; leave it out",
            _ => "this part of the question is not available yet; leave it out",
        };
        return Err(Error::NotAvailable(Fault::new(field, message)));
    }
    if check.module.is_none() && check.features.is_empty() {
        return Err(Error::invalid("module", "ask for a module, or for features, or both"));
    }
    if check.explain && actor.principal.role.needs_tenant() {
        let message = "explain: an explanation shows what staff wrote about the tenant; a service \
                       key, support or an auditor may ask for it";
        return Err(Error::Forbidden(message.into()));
    }
    known(check, catalog)?;
    if user.is_some() {
        refuse_seated(check, catalog)?;
    }
    Ok(Question {
        user,
        mode,
        module: check.module.clone(),
        features: check.features.clone(),
        features_match: check.features_match,
    })
}

/// The user and mode that count. Only an unbound service, support or super admin may say them;
/// for everyone else they come from the token (SPEC 4, rule 2).
pub(super) fn identity(
    actor: &Actor,
    user: Option<&UserKey>,
    mode: Option<Mode>,
) -> Result<(Option<UserKey>, Mode)> {
    let principal = &actor.principal;
    let speaks_for_others = match principal.role {
        OperatorRole::SuperAdmin | OperatorRole::Support => true,
        OperatorRole::Service => principal.tenant.is_none(),
        OperatorRole::Auditor | OperatorRole::TenantAdmin | OperatorRole::TenantUser => false,
    };
    if speaks_for_others {
        return Ok((user.cloned(), mode.unwrap_or(principal.mode)));
    }
    if user.is_some_and(|user| user.as_str() != principal.id) {
        return Err(Error::Forbidden(
            "user: this caller may only ask about itself; an unbound service key may ask about \
             other users"
                .into(),
        ));
    }
    if mode.is_some_and(|mode| mode != principal.mode) {
        return Err(Error::Forbidden("mode: this caller's mode comes from its token".into()));
    }
    let own = match actor.reach(Permission::Check)? {
        // Somebody in a tenant, by token or by key. Others are nobody's user.
        Reach::Own | Reach::Oneself => principal.id.parse().ok(),
        Reach::All | Reach::None => None,
    };
    Ok((own.or_else(|| user.cloned()), principal.mode))
}

/// Rule 1: every key is one of the catalog, or an error that names the nearest.
fn known(check: &Check, catalog: &Catalog) -> Result<()> {
    let module_is_known = check.module.iter().all(|key| catalog.modules.contains_key(key));
    if module_is_known && check.features.iter().all(|key| catalog.features.contains_key(key)) {
        return Ok(());
    }
    let mut faults = Vec::new();
    if let Some(key) = check.module.as_ref().filter(|key| !catalog.modules.contains_key(*key)) {
        let known = catalog.modules.keys().map(ModuleKey::as_str);
        faults.push(unknown("module", "module", key.as_str(), known));
    }
    for (index, key) in check.features.iter().enumerate() {
        if !catalog.features.contains_key(key) {
            let known = catalog.features.keys().map(FeatureKey::as_str);
            faults.push(unknown(&format!("features[{index}]"), "feature", key.as_str(), known));
        }
    }
    Err(Error::Invalid { code: "UNKNOWN_KEY", faults })
}

/// A key that the catalog doesn't hold, with those that were probably meant.
pub(super) fn unknown<'a>(
    field: &str,
    kind: &str,
    key: &str,
    known: impl Iterator<Item = &'a str>,
) -> Fault {
    let near = nearest(key, known);
    let hint = if near.is_empty() {
        String::new()
    } else {
        let quoted: Vec<_> = near.iter().map(|key| format!("“{key}”")).collect();
        format!("; did you mean {}?", quoted.join(" or "))
    };
    Fault::new(field, format!("the catalog has no {kind} “{key}”{hint}"))
}

/// Whether a user needs a seat is not answered yet, so a question that depends on it isn't either.
fn refuse_seated(check: &Check, catalog: &Catalog) -> Result<()> {
    let of_features =
        check.features.iter().filter_map(|key| catalog.features.get(key)?.module.as_ref());
    let mut modules = check.module.iter().chain(of_features);
    match modules.find(|key| catalog.modules.get(*key).is_some_and(|m| m.seated)) {
        Some(key) => {
            let message = format!(
                "whether a user has a seat for the module “{key}” is not available yet; leave the user out"
            );
            Err(Error::NotAvailable(Fault::new("user", message)))
        }
        None => Ok(()),
    }
}
