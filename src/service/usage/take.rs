//! Check and take in one step: at once (`consume`), or set aside for a while (`reserve`).
//!
//! Invariants: what allows is decided in the writer, from what was committed before; a refusal takes
//! nothing, and is not kept under an idempotency key, so that a later try may take.

use std::{collections::HashMap, sync::Arc, time::Instant};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    super::{
        Service,
        actor::Actor,
        caller,
        decisions::{Check, Checked, bypass_event, inspect},
        memory::Memory,
        once::Once,
        permissions::Permission,
        questions::question,
    },
    count::{Change, count},
    current::Current,
    measured,
    reservations::set_aside,
    tenant_of,
};
use crate::{
    domain::{
        audit::Event,
        catalog::Catalog,
        checks::{Decision, Mode, Question, Reason, Source, UsageAsked},
        keys::{FeatureKey, TenantKey},
        reservations::Reservation,
        time::Span,
        usage::CountedFor,
    },
    engine::{self, Counts, Person, TenantFacts, UsageFacts, World},
    error::{Error, Fault, Result},
    store::{self, WriteTx},
};

/// What somebody wants to take, if a check allows it.
#[derive(Debug, Clone)]
pub struct Take {
    /// The check, without what it asks of a limit.
    pub check: Check,
    /// The limit; that of the guard where unset.
    pub feature: Option<FeatureKey>,
    /// How much.
    pub requested: u64,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The decision, its limit as it is afterwards.
    pub checked: Checked,
    /// How much was taken; 0 where it was refused.
    pub taken: u64,
    /// What was set aside, where that was asked for and allowed.
    pub reservation: Option<Reservation>,
}

/// How the front door writes what came of it. What is kept under an idempotency key is what it wrote.
pub type View<T> = fn(Taken) -> T;

/// What becomes of the units.
#[derive(Debug, Clone, Copy)]
enum How {
    /// They are used.
    Consume,
    /// They are set aside for so long.
    Reserve(Span),
}

impl Service {
    /// Checks and takes in one step.
    pub async fn consume_usage<T>(
        &self,
        actor: &Actor,
        once: Option<Once>,
        take: Take,
        view: View<T>,
    ) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        self.take(actor, once, take, How::Consume, view).await
    }

    /// Checks and sets units aside in one step.
    pub async fn reserve_usage<T>(
        &self,
        actor: &Actor,
        once: Option<Once>,
        take: Take,
        ttl: Span,
        view: View<T>,
    ) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        self.take(actor, once, take, How::Reserve(ttl), view).await
    }

    async fn take<T>(
        &self,
        actor: &Actor,
        once: Option<Once>,
        take: Take,
        how: How,
        view: View<T>,
    ) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let started = Instant::now();
        let (permission, check) = (Permission::UsageWrite, &take.check);
        let tenant = tenant_of(actor, permission, check.tenant.as_ref(), &check.user)?;
        let asked = asked(actor, &take, &self.world().catalog, how)?;
        if once.is_none() {
            let world = self.world();
            let foreseen = self.foreseen(&world, tenant.as_ref(), &asked, check.explain).await?;
            if !foreseen.decision.allowed {
                self.note_take(&world, tenant.as_ref(), &asked, &foreseen.decision, started);
                return Ok(view(Taken { checked: foreseen, taken: 0, reservation: None }));
            }
        }
        let bypasses = asked.mode == Mode::Platform;
        let whose = tenant.clone();
        let step = Step { memory: self.memory.clone(), actor: actor.clone(), tenant, take, how };
        let caller = caller(actor);
        let done = self
            .change(actor, move |tx| {
                if let Some(once) = &once
                    && let Some(first) = once.replay::<T>(tx, &caller)?
                {
                    return Ok(((first, None), Vec::new()));
                }
                let (taken, world, events) = step.run(tx)?;
                let (decision, amount) = (taken.checked.decision.clone(), taken.taken);
                let answer = view(taken);
                if let Some(once) = once.filter(|_| amount > 0) {
                    once.keep(tx, &caller, &answer)?;
                }
                Ok(((answer, Some((decision, amount, world))), events))
            })
            .await;
        match done {
            Ok((answer, decided)) => {
                if let Some((decision, amount, world)) = decided {
                    self.note_take(&world, whose.as_ref(), &asked, &decision, started);
                    self.metrics.usage_taken.increment(amount);
                }
                Ok(answer)
            }
            Err(error @ Error::Internal(_)) if bypasses => {
                tracing::error!(error = error.chain(), "a bypass was not recorded");
                Err(Error::Unavailable("The bypass can't be written into the audit trail now."))
            }
            Err(error) => Err(error),
        }
    }

    /// The answer by what is in memory: a refusal needs no writer.
    async fn foreseen(
        &self,
        world: &World,
        tenant: Option<&TenantKey>,
        question: &Question,
        explain: bool,
    ) -> Result<Checked> {
        let context = question.context.as_ref();
        let (facts, person): (Arc<TenantFacts>, Option<Person>) = match (tenant, &question.user) {
            (Some(tenant), Some(user)) => {
                let (facts, person) = self.person(tenant, user, context).await?;
                (facts, Some(person))
            }
            (Some(tenant), None) => (self.facts(tenant).await?, None),
            (None, Some(user)) => {
                (Arc::new(TenantFacts::nobody()), Some(self.person_alone(user).await?))
            }
            (None, None) => return Err(Error::invalid("user", "name the user")),
        };
        let counts = self.counts(tenant, question.user.as_ref()).await?;
        let subject = engine::Subject { facts: &facts, person: person.as_ref(), counts: &counts };
        let now = facts.tenant.time(self.clock.now());
        let sandbox = facts.tenant.sandbox;
        Ok(if explain {
            let (decision, explanation) = engine::explain(world, subject, question, now);
            Checked { decision, explanation: Some(explanation), sandbox }
        } else {
            let decision = engine::decide(world, subject, question, now);
            Checked { decision, explanation: None, sandbox }
        })
    }

    /// What every answer leaves behind.
    fn note_take(
        &self,
        world: &World,
        tenant: Option<&TenantKey>,
        asked: &Question,
        decision: &Decision,
        started: Instant,
    ) {
        let now = self.clock.now();
        if let Source::Override(id) = &decision.source {
            self.uses.note(id, now);
        }
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.count(&world.catalog, asked, decision, seconds);
        self.evidence.note(world, tenant, decision, now);
    }
}

/// The question that must be allowed: the check, with what it asks of the limit.
fn asked(actor: &Actor, take: &Take, catalog: &Catalog, how: How) -> Result<Question> {
    let Take { check, feature, requested } = take;
    let guard = check.guard.as_ref().and_then(|guard| catalog.guards.get(guard));
    let of_guard = guard.and_then(|guard| guard.limit.as_ref());
    if let (How::Reserve(_), Some(feature), Some(of_guard)) = (how, feature, of_guard)
        && feature != of_guard
    {
        let message = format!("the guard counts “{of_guard}”; reserve one limit at a time");
        return Err(Error::invalid("feature", message));
    }
    let feature = feature.as_ref().or(of_guard);
    let usage = feature.map(|feature| UsageAsked {
        feature: feature.clone(),
        requested: *requested,
        current: None,
    });
    let is_known = check.guard.is_none() || guard.is_some();
    if usage.is_none() && is_known {
        return Err(Error::invalid("feature", "name the limit, or a guard that has one"));
    }
    question(actor, &Check { usage, ..check.clone() }, catalog).map_err(|error| match error {
        // In a check these stand one level down.
        Error::Invalid { code, faults } => {
            let bare = |fault: Fault| match fault.field.strip_prefix("usage.") {
                Some(field) => Fault::new(field, fault.message),
                None => fault,
            };
            Error::Invalid { code, faults: faults.into_iter().map(bare).collect() }
        }
        other => other,
    })
}

/// What happens in the writer.
struct Step {
    memory: Arc<Memory>,
    actor: Actor,
    tenant: Option<TenantKey>,
    take: Take,
    how: How,
}

impl Step {
    /// What was taken, by which settings it was decided, and what is told of it.
    fn run(self, tx: &WriteTx<'_>) -> Result<(Taken, Arc<World>, Vec<Event>)> {
        let Self { memory, actor, tenant, take, how } = self;
        let catalog = super::super::provisioning::world(tx, &memory)?.catalog.clone();
        let question = asked(&actor, &take, &catalog, how)?;
        let whose = CountedFor { tenant, user: question.user.clone() };
        let current = Current::of(tx, &memory, &whose, question.context.as_ref())?;
        let limits = engine::limits::asked(&current.world, &question);
        let mut counted = Vec::new();
        for (feature, amount) in &limits {
            counted.push((feature, *amount, measured(tx, &current, &whose, feature)?));
        }
        let counts = match &question.guard {
            // Its conditions may look at any limit.
            Some(_) => all_counts(tx, &whose)?,
            None => counts(tx, counted.iter().map(|(feature, _, (whose, _))| (*feature, whose)))?,
        };
        let (subject, now) = (current.subject(&counts), tx.now());
        let (mut decision, explanation) = if take.check.explain {
            let (decision, trace) = engine::explain(&current.world, subject, &question, now);
            (decision, Some(trace))
        } else {
            (engine::decide(&current.world, subject, &question, now), None)
        };
        inspect(&decision, &current.facts, now);
        let (mut events, mut reservation, mut taken) = (Vec::new(), None, 0);
        if decision.allowed {
            if decision.reason == Reason::SuperAdminBypass {
                events.push(bypass_event(whose.tenant.clone(), &question));
            }
            for (feature, amount, (whose, capacity)) in &counted {
                match how {
                    How::Consume => {
                        let tally = count(tx, whose, feature, capacity, Change::Take(*amount))?;
                        events.extend(tally.events);
                    }
                    How::Reserve(ttl) => {
                        // The count is there from now on, so that reports show what is set aside.
                        events.extend(count(tx, whose, feature, capacity, Change::Stay)?.events);
                        let by = actor.principal.id.as_str();
                        reservation = Some(set_aside(tx, whose, feature, *amount, ttl, by)?);
                    }
                }
                afterwards(&mut decision, feature, *amount);
            }
            taken = take.requested;
        }
        let sandbox = current.facts.tenant.sandbox;
        let checked = Checked { decision, explanation, sandbox };
        Ok((Taken { checked, taken, reservation }, current.world, events))
    }
}

/// Everything that was counted, as the change sees it.
fn all_counts(tx: &WriteTx<'_>, whose: &CountedFor) -> Result<Counts> {
    let load = |subject: CountedFor| store::usage::load(tx.read(), &subject).map(Arc::new);
    let of_tenant =
        whose.tenant.clone().map(|tenant| load(CountedFor { tenant: Some(tenant), user: None }));
    let of_user = whose.user.as_ref().map(|_| load(whose.clone()));
    Ok(Counts { tenant: of_tenant.transpose()?, user: of_user.transpose()? })
}

/// What was counted of the limits asked for, as the change sees it.
fn counts<'a>(
    tx: &WriteTx<'_>,
    asked: impl Iterator<Item = (&'a FeatureKey, &'a CountedFor)>,
) -> Result<Counts> {
    let (mut of_tenant, mut of_user): (UsageFacts, UsageFacts) = (HashMap::new(), HashMap::new());
    for (feature, whose) in asked {
        let usage = store::usage::facts_of(tx.read(), whose, feature)?;
        let facts = if whose.user.is_some() { &mut of_user } else { &mut of_tenant };
        facts.insert(feature.clone(), usage);
    }
    Ok(Counts { tenant: Some(Arc::new(of_tenant)), user: Some(Arc::new(of_user)) })
}

/// The answer shows the limit as it is after the step.
fn afterwards(decision: &mut Decision, feature: &FeatureKey, amount: u64) {
    let Some(limit) = decision.limit.as_mut().filter(|limit| limit.feature == *feature) else {
        return;
    };
    limit.used = limit.used.saturating_add(amount);
    if let Some(Value::Object(data)) = &mut decision.data
        && let Some(count) = data.get_mut("currentCount")
    {
        *count = limit.used.into();
    }
}
