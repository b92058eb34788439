//! The decision for a caller: who may ask what about whom, unknown keys (rule 1), and the answer.

use std::{sync::Arc, time::Instant};

use serde_json::{Value, json};

use super::{
    Service,
    actor::Actor,
    permissions::{Permission, Reach, allows},
    questions::question,
};
use crate::{
    domain::{
        activity::Activity,
        audit::Event,
        callers::OperatorRole,
        catalog::Match,
        checks::{Decision, Explanation, Mode, Question, Reason, Remedy, Source, UsageAsked},
        contexts::ContextKey,
        keys::{FeatureKey, GuardKey, ModuleKey, PermissionKey, PlanKey, TenantKey, UserKey},
        time::Timestamp,
    },
    engine::{self, Counts, Person, TenantFacts, World},
    error::{Error, Result},
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
    /// The guard whose requirements are needed too.
    pub guard: Option<GuardKey>,
    /// What the guard's conditions look at.
    pub resource: Option<Value>,
    /// The limit that must have room.
    pub usage: Option<UsageAsked>,
    /// What is the least that may be asked for.
    pub least: Least,
    /// As of this future instant.
    pub at: Option<Timestamp>,
    /// Recorded as activity of the user where it is allowed.
    pub track: bool,
    /// With the path to the answer.
    pub explain: bool,
}

/// The least that a question may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Least {
    /// Something that the catalog defines.
    #[default]
    Requirement,
    /// Nothing but that the tenant is active: a route without a requirement.
    ActiveTenant,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The decision.
    pub decision: Decision,
    /// How it came about, where that was asked for.
    pub explanation: Option<Explanation>,
    /// Whether it is about a sandbox, so that nobody takes it for a customer.
    pub sandbox: bool,
}

/// What every question of one subject is answered from, so that a batch is consistent.
struct View {
    /// None for users without a tenant.
    tenant: Option<TenantKey>,
    world: Arc<World>,
    facts: Arc<TenantFacts>,
    /// Users that were asked about, each with the context.
    people: Vec<(Option<ContextKey>, Arc<Person>)>,
    /// What was counted for the tenant and each user that was asked about.
    counts: Vec<(Option<UserKey>, Counts)>,
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
            // A long batch lets others have their turn.
            tokio::task::yield_now().await;
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
        let (people, counts) = (Vec::new(), Vec::new());
        Ok(View { tenant, world: self.world(), facts, people, counts })
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
        let real_now = self.clock.now();
        let now = view.facts.tenant.time(real_now);
        let mut question = question(actor, check, &view.world.catalog)?;
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
        let counts = self.counts_for(view, &question).await?;
        if at > now {
            starts_again(view, person.as_deref(), &mut question, now, at);
        }
        let (world, facts, person) = (&view.world, &view.facts, person.as_deref());
        let subject = engine::Subject { facts, person, counts: &counts };
        let (mut decision, explanation) = if check.explain {
            let (decision, explanation) = engine::explain(world, subject, &question, at);
            (decision, Some(explanation))
        } else {
            (engine::decide(world, subject, &question, at), None)
        };
        inspect(&decision, facts, at);
        if decision.reason == Reason::SuperAdminBypass {
            let event = bypass_event(view.tenant.clone(), &question);
            self.record_bypass(actor, event).await?;
        }
        if let (Source::Override(id), None) = (&decision.source, check.at) {
            self.uses.note(id, real_now);
        }
        if check.track && decision.allowed {
            self.track(view, person, &question, &decision.source);
        }
        if may_ask_for_access(actor, &decision) {
            decision.remedies.push(Remedy::RequestAccess);
        }
        let catalog = &view.world.catalog;
        self.metrics.count(catalog, &question, &decision, started.elapsed().as_secs_f64());
        // What will hold says nothing about what was let through.
        if at == now {
            self.evidence.note(&view.world, view.tenant.as_ref(), &decision, real_now);
        }
        Ok(Checked { decision, explanation, sandbox: view.facts.tenant.sandbox })
    }

    /// Takes note of what a check has permitted, as activity of the user.
    fn track(&self, view: &View, person: Option<&Person>, question: &Question, source: &Source) {
        let Question { user, module, features, permission, context, tier_at_least, .. } = question;
        let guard = question.guard.as_ref().map(GuardKey::as_str);
        let (Some(tenant), Some(user)) = (&view.tenant, user) else { return };
        let permission = permission.as_ref().map(PermissionKey::as_str);
        let module = module.as_ref().map(ModuleKey::as_str);
        let feature = features.first().map(FeatureKey::as_str);
        let tier = tier_at_least.as_ref().map(PlanKey::as_str);
        let Some(action) = permission.or(guard).or(module).or(feature).or(tier) else { return };
        let at = self.clock.steady();
        // Where the answer is that of a module, the role that permitted is asked for by itself.
        let alone = match source {
            Source::Role { .. } => None,
            _ if permission.is_none() => None,
            _ => {
                let alone = Question {
                    user: question.user.clone(),
                    permission: question.permission.clone(),
                    context: context.clone(),
                    mode: question.mode,
                    ..Question::blank()
                };
                let subject = engine::Subject::new(&view.facts, person);
                Some(
                    engine::decide(&view.world, subject, &alone, view.facts.tenant.time(at)).source,
                )
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
    async fn record_bypass(&self, actor: &Actor, event: Event) -> Result<()> {
        self.change(actor, move |_| Ok(((), vec![event]))).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a bypass was not recorded");
            Error::Unavailable("The bypass can't be written into the audit trail now.")
        })
    }

    /// What was counted, where the question looks at it.
    async fn counts_for(&self, view: &mut View, question: &Question) -> Result<Counts> {
        if question.usage.is_none() && question.guard.is_none() {
            return Ok(Counts::default());
        }
        let user = &question.user;
        if let Some((_, counts)) = view.counts.iter().find(|(counted, _)| counted == user) {
            return Ok(counts.clone());
        }
        let counts = self.counts(view.tenant.as_ref(), user.as_ref()).await?;
        view.counts.push((user.clone(), counts.clone()));
        Ok(counts)
    }
}

/// Raises an alarm where a decision is one that there must never be.
pub(super) fn inspect(decision: &Decision, facts: &TenantFacts, at: Timestamp) {
    if let Some(invariant) = engine::invariants::violated(decision, facts, at) {
        metrics::counter!("invariant_violations_total").increment(1);
        tracing::error!(tenant = %facts.tenant.key, invariant, "an invariant is violated");
    }
}

/// What a caller has counted until now is nothing any more where the counter is reset before `at`.
fn starts_again(
    view: &View,
    person: Option<&Person>,
    question: &mut Question,
    now: Timestamp,
    at: Timestamp,
) {
    let Some(UsageAsked { feature, current: Some(current), .. }) = &mut question.usage else {
        return;
    };
    let subject = engine::Subject::new(&view.facts, person);
    let capacity = engine::limits::capacity(&view.world, subject, feature, at);
    if capacity.is_some_and(|capacity| capacity.is_reset_between(now, at)) {
        *current = 0;
    }
}

/// The event of a bypass, with what was asked for.
pub(super) fn bypass_event(tenant: Option<TenantKey>, question: &Question) -> Event {
    let Question { user, module, features, permission, context, guard, usage, .. } = question;
    Event {
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
            "guard": guard,
            "usage": usage.as_ref().map(|asked| json!({
                "feature": asked.feature,
                "requested": asked.requested,
            })),
        }),
        reason: None,
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
        | Reason::LimitReached
        | Reason::Condition
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
        | Reason::Active
        | Reason::SuperAdminBypass => false,
    }
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
