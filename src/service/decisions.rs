//! The decision for a caller: who may ask what about whom, unknown keys (rule 1), and the answer.

use std::{sync::Arc, time::Instant};

use serde_json::{Value, json};

use super::{
    Service,
    actor::Actor,
    permissions::{Permission, Reach, allows},
};
use crate::{
    domain::{
        activity::Activity,
        audit::Event,
        callers::OperatorRole,
        catalog::{Audience, Catalog, Match},
        checks::{Decision, Explanation, Mode, Question, Reason, Remedy, Source},
        contexts::ContextKey,
        keys::{FeatureKey, ModuleKey, PermissionKey, PlanKey, TenantKey, UserKey, nearest},
        time::Timestamp,
    },
    engine::{self, Person, TenantFacts, World},
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
    /// The permission needed.
    pub permission: Option<PermissionKey>,
    /// Where the permission is needed.
    pub context: Option<ContextKey>,
    /// The lowest tier that passes.
    pub tier_at_least: Option<PlanKey>,
    /// As of this future instant.
    pub at: Option<Timestamp>,
    /// Recorded as activity of the user where it is allowed.
    pub track: bool,
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

/// What every question of one subject is answered from, so that a batch is consistent.
struct View {
    /// None for users without a tenant.
    tenant: Option<TenantKey>,
    world: Arc<World>,
    facts: Arc<TenantFacts>,
    /// Users that were asked about, each with the context.
    people: Vec<(Option<ContextKey>, Arc<Person>)>,
}

impl Service {
    /// Answers one question.
    pub async fn check(&self, actor: &Actor, check: &Check) -> Result<Checked> {
        let mut view = self.view(self.tenant_of(actor, check)?).await?;
        self.answer(actor, check, &mut view).await
    }

    /// Answers questions in order, each tenant from one consistent state. A faulty one gets its own
    /// error in its place.
    pub async fn check_batch(&self, actor: &Actor, checks: &[Check]) -> Vec<Result<Checked>> {
        let mut views: Vec<View> = Vec::new();
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
        views: &mut Vec<View>,
    ) -> Result<Checked> {
        let tenant = self.tenant_of(actor, check)?;
        // A batch holds few tenants, so a look along the list beats a map.
        if let Some(view) = views.iter_mut().find(|view| view.tenant == tenant) {
            return self.answer(actor, check, view).await;
        }
        let mut view = self.view(tenant).await?;
        let answer = self.answer(actor, check, &mut view).await;
        views.push(view);
        answer
    }

    async fn view(&self, tenant: Option<TenantKey>) -> Result<View> {
        let facts = match &tenant {
            Some(tenant) => self.facts(tenant).await?,
            None => Arc::new(TenantFacts::nobody()),
        };
        Ok(View { tenant, world: self.world(), facts, people: Vec::new() })
    }

    /// The tenant asked about, if the caller may ask about it; none for a user without one.
    fn tenant_of(&self, actor: &Actor, check: &Check) -> Result<Option<TenantKey>> {
        let tenant = match (&check.tenant, &actor.principal.tenant) {
            (Some(tenant), _) | (None, Some(tenant)) => tenant,
            (None, None) if check.user.is_some() => {
                return match actor.reach(Permission::Check)? {
                    Reach::All => Ok(None),
                    Reach::Own | Reach::Oneself | Reach::None => {
                        Err(Error::invalid("tenant", "name the tenant"))
                    }
                };
            }
            (None, None) => return Err(Error::invalid("tenant", "name the tenant, or a user")),
        };
        actor.may_on(Permission::Check, tenant)?;
        Ok(Some(tenant.clone()))
    }

    async fn answer(&self, actor: &Actor, check: &Check, view: &mut View) -> Result<Checked> {
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
        let person = match &question.user {
            Some(user) => Some(self.somebody(view, user, question.context.as_ref()).await?),
            None => None,
        };
        let (world, facts, person) = (&view.world, &view.facts, person.as_deref());
        let (mut decision, explanation) = if check.explain {
            let (decision, explanation) = engine::explain(world, facts, person, &question, at);
            (decision, Some(explanation))
        } else {
            (engine::decide(world, facts, person, &question, at), None)
        };
        if let Some(invariant) = engine::invariants::violated(&decision, facts, at) {
            metrics::counter!("invariant_violations_total").increment(1);
            tracing::error!(tenant = %facts.tenant.key, invariant, "an invariant is violated");
        }
        if decision.reason == Reason::SuperAdminBypass {
            self.record_bypass(actor, view.tenant.clone(), &question).await?;
        }
        if let (Source::Override(id), None) = (&decision.source, check.at) {
            self.uses.note(id, now);
        }
        if check.track && decision.allowed {
            self.track(view, person, &question, &decision.source);
        }
        if may_ask_for_access(actor, &decision) {
            decision.remedies.push(Remedy::RequestAccess);
        }
        self.metrics.count(&decision, started.elapsed().as_secs_f64());
        Ok(Checked { decision, explanation })
    }

    /// Takes note of what a check has permitted, as activity of the user.
    fn track(&self, view: &View, person: Option<&Person>, question: &Question, source: &Source) {
        let Question { user, module, features, permission, context, tier_at_least, .. } = question;
        let (Some(tenant), Some(user)) = (&view.tenant, user) else { return };
        let permission = permission.as_ref().map(PermissionKey::as_str);
        let module = module.as_ref().map(ModuleKey::as_str);
        let feature = features.first().map(FeatureKey::as_str);
        let tier = tier_at_least.as_ref().map(PlanKey::as_str);
        let Some(action) = permission.or(module).or(feature).or(tier) else { return };
        let at = self.clock.steady();
        // Where the answer is that of a module, the role that permitted is asked for by itself.
        let alone = match source {
            Source::Role { .. } => None,
            _ if permission.is_none() => None,
            _ => {
                let alone = Question {
                    module: None,
                    features: Vec::new(),
                    tier_at_least: None,
                    ..question.clone()
                };
                Some(engine::decide(&view.world, &view.facts, person, &alone, at).source)
            }
        };
        let role = match alone.as_ref().unwrap_or(source) {
            Source::Role { role, .. } => Some(role.clone()),
            _ => None,
        };
        self.note_activity(Activity {
            tenant: tenant.clone(),
            at,
            user: user.clone(),
            role,
            action: action.to_owned(),
            context: context.clone(),
            metadata: None,
        });
    }

    /// What is known of a user, the same for every question that this view answers.
    async fn somebody(
        &self,
        view: &mut View,
        user: &UserKey,
        context: Option<&ContextKey>,
    ) -> Result<Arc<Person>> {
        let asked = |(at, person): &&(Option<ContextKey>, Arc<Person>)| {
            at.as_ref() == context && person.user == *user
        };
        if let Some((_, person)) = view.people.iter().find(asked) {
            return Ok(person.clone());
        }
        let person = match &view.tenant {
            Some(tenant) => {
                let (facts, person) = self.person(tenant, user, context).await?;
                // The first question of a view says which state all of them see.
                if view.people.is_empty() {
                    view.facts = facts;
                }
                person
            }
            None => self.person_alone(user).await?,
        };
        let person = Arc::new(person);
        view.people.push((context.cloned(), person.clone()));
        Ok(person)
    }

    /// A bypass counts once it is written down (SPEC 4, rule 2).
    async fn record_bypass(
        &self,
        actor: &Actor,
        tenant: Option<TenantKey>,
        question: &Question,
    ) -> Result<()> {
        let Question { user, mode: _, module, features, permission, context, .. } = question;
        let event = Event {
            name: "entitlement.super_admin_bypass",
            tenant,
            subject: user.as_ref().map(ToString::to_string).unwrap_or_default(),
            before: Value::Null,
            after: json!({
                "module": module,
                "features": features,
                "permission": permission,
                "context": context,
                "tier_at_least": question.tier_at_least,
            }),
            reason: None,
        };
        metrics::counter!("super_admin_bypass_total").increment(1);
        self.change(actor, move |_| Ok(((), vec![event]))).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a bypass was not recorded");
            Error::Unavailable("The bypass can't be written into the audit trail now.")
        })
    }
}

/// Whether the caller could file a request that would help: a tenant's own admin, where an override
/// beats what refused.
fn may_ask_for_access(actor: &Actor, decision: &Decision) -> bool {
    if decision.allowed || allows(actor.principal.role, Permission::RequestsWrite) != Reach::Own {
        return false;
    }
    match decision.reason {
        Reason::PlanLimit
        | Reason::TrialExpired
        | Reason::NotGranted
        | Reason::Disabled
        | Reason::SeatRequired => true,
        // No override helps against these, or it is one already.
        Reason::Suspended
        | Reason::NoSubscription
        | Reason::Cancelled
        | Reason::Overdue
        | Reason::FeatureDisabled
        | Reason::Override
        | Reason::PermissionDenied
        // Reasons of an allow.
        | Reason::Demo
        | Reason::GatingDisabled
        | Reason::AlwaysOn
        | Reason::RbacOnly
        | Reason::Grant
        | Reason::Trial
        | Reason::Plan
        | Reason::AddOn
        | Reason::UserEntitlement
        | Reason::Role
        | Reason::Tier
        | Reason::SuperAdminBypass => false,
    }
}

/// The question in a check, once everything in it is known, permitted and built.
fn question(actor: &Actor, check: &Check, catalog: &Catalog) -> Result<Question> {
    let (user, mode) = identity(actor, check.user.as_ref(), check.mode)?;
    if let Some(field) = check.unavailable.first().copied() {
        let message = "this part of the question is not available yet; leave it out";
        return Err(Error::NotAvailable(Fault::new(field, message)));
    }
    let for_person = check.permission.is_some() || check.tier_at_least.is_some();
    if check.module.is_none() && check.features.is_empty() && !for_person {
        let message = "ask for a module, features, a permission, or a tier";
        return Err(Error::invalid("module", message));
    }
    if for_person && user.is_none() {
        let message = "name the user whose permission or tier is asked for";
        return Err(Error::invalid("user", message));
    }
    if check.context.is_some() && check.permission.is_none() {
        let message = "a context is where a permission is asked for; name the permission";
        return Err(Error::invalid("permission", message));
    }
    trackable(actor, check, user.as_ref())?;
    if check.explain && actor.principal.role.needs_tenant() {
        let message = "explain: an explanation shows what staff wrote about the tenant; a service \
                       key, support or an auditor may ask for it";
        return Err(Error::Forbidden(message.into()));
    }
    known(check, catalog)?;
    Ok(Question {
        user,
        mode,
        module: check.module.clone(),
        features: check.features.clone(),
        features_match: check.features_match,
        permission: check.permission.clone(),
        context: check.context.clone(),
        tier_at_least: check.tier_at_least.clone(),
    })
}

/// Activity is what a user does in a tenant, now.
fn trackable(actor: &Actor, check: &Check, user: Option<&UserKey>) -> Result<()> {
    if !check.track {
        return Ok(());
    }
    let mut faults = Vec::new();
    if check.at.is_some() {
        let message =
            "what is asked about another instant is no activity; leave out “at” or “track”";
        faults.push(Fault::new("track", message));
    }
    if check.tenant.is_none() && actor.principal.tenant.is_none() {
        faults.push(Fault::new("tenant", "name the tenant in which the user is active"));
    }
    if user.is_none() {
        faults.push(Fault::new("user", "name the user whose activity is tracked"));
    }
    if faults.is_empty() { Ok(()) } else { Err(Error::Invalid { code: "INVALID_VALUE", faults }) }
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
        let mode = mode.unwrap_or(principal.mode);
        let is_staff = principal.role != OperatorRole::Service;
        // Staff who work on the platform and name nobody ask about themselves.
        let own = || principal.id.parse().ok().filter(|_| is_staff && mode == Mode::Platform);
        return Ok((user.cloned().or_else(own), mode));
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
    let tiers = || catalog.plans.iter().filter(|(_, plan)| plan.audience == Audience::User);
    let tier_is_known = check.tier_at_least.iter().all(|key| tiers().any(|(tier, _)| tier == key));
    if module_is_known
        && tier_is_known
        && check.features.iter().all(|key| catalog.features.contains_key(key))
    {
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
    if let (Some(key), false) = (&check.tier_at_least, tier_is_known) {
        let known = tiers().map(|(tier, _)| tier.as_str());
        faults.push(unknown("tier_at_least", "plan for users", key.as_str(), known));
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
