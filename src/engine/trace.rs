//! The desk that a question is judged at: the facts, the instant, and two notebooks: one for the
//! next instant at which a fact that was looked at begins or ends, one for the explanation.

use crate::{
    domain::{
        catalog::PlanKind,
        checks::{Explanation, Outcome, Step},
        time::Timestamp,
    },
    engine::{Counts, Holding, NOTHING_COUNTED, Person, Subject, TenantFacts, World},
};

/// Everything a rule may look at, and what it leaves behind.
pub(super) struct Desk<'a> {
    pub world: &'a World,
    pub facts: &'a TenantFacts,
    /// The user asked about.
    pub person: Option<&'a Person>,
    /// What was counted for the tenant and the user.
    pub counts: &'a Counts,
    pub at: Timestamp,
    /// The earliest boundary after `at` of any fact that was looked at.
    pub next: Option<Timestamp>,
    /// Written only where an explanation was asked for.
    explanation: Option<Explanation>,
    /// A subscription that is supposed for the sake of argument: a base in place of the tenant's
    /// own, or an add-on beside them.
    supposed: Option<&'a Holding>,
    /// A tier that is supposed in the same way.
    supposed_tier: Option<&'a Holding>,
}

impl<'a> Desk<'a> {
    pub fn new(world: &'a World, facts: &'a TenantFacts, at: Timestamp) -> Self {
        Self {
            world,
            facts,
            person: None,
            counts: &NOTHING_COUNTED,
            at,
            next: None,
            explanation: None,
            supposed: None,
            supposed_tier: None,
        }
    }

    /// The same desk for a question about a user, with what was counted.
    pub fn with(self, Subject { facts, person, counts }: Subject<'a>) -> Self {
        Self { facts, person, counts, ..self }
    }

    /// Another desk for the same question, whose notes don't count.
    pub fn aside(&self) -> Self {
        let (facts, person, counts) = (self.facts, self.person, self.counts);
        Self::new(self.world, facts, self.at).with(Subject { facts, person, counts })
    }

    /// The same desk under the hypothesis that the user has another tier.
    pub fn supposing_tier(self, tier: &'a Holding) -> Self {
        Self { supposed_tier: Some(tier), ..self }
    }

    /// The tier to look at in place of the user's own.
    pub fn tier_supposed(&self) -> Option<&'a Holding> {
        self.supposed_tier
    }

    /// The same desk with a notebook for the explanation.
    pub fn explaining(self) -> Self {
        Self { explanation: Some(Explanation::default()), ..self }
    }

    pub fn supposing(
        world: &'a World,
        facts: &'a TenantFacts,
        at: Timestamp,
        supposed: &'a Holding,
    ) -> Self {
        Self { supposed: Some(supposed), ..Self::new(world, facts, at) }
    }

    fn supposed(&self, kind: PlanKind) -> Option<&'a Holding> {
        self.supposed.filter(|holding| holding.plan.content.kind == kind)
    }

    /// The base subscriptions to look at.
    pub fn base(&self) -> &'a [Holding] {
        self.supposed(PlanKind::Base).map_or(&self.facts.base, std::slice::from_ref)
    }

    /// The add-ons to look at.
    pub fn add_ons(&self) -> impl Iterator<Item = &'a Holding> + use<'a> {
        self.facts.add_ons.iter().chain(self.supposed(PlanKind::AddOn))
    }

    /// A fact that was looked at begins or ends at `boundary`.
    pub fn note(&mut self, boundary: Option<Timestamp>) {
        if let Some(boundary) = boundary
            && boundary > self.at
        {
            self.next = Some(self.next.map_or(boundary, |next| next.min(boundary)));
        }
    }

    /// Whether something that ends at `end` (if ever) still counts; notes the end.
    pub fn before(&mut self, end: Option<Timestamp>) -> bool {
        self.note(end);
        end.is_none_or(|end| self.at < end)
    }

    /// Whether something that begins at `start` already counts; notes the start.
    pub fn since(&mut self, start: Timestamp) -> bool {
        self.note(Some(start));
        start <= self.at
    }

    /// Records what a rule said. The fact is only put into words where somebody asked.
    pub fn step(
        &mut self,
        rule: u8,
        about: Option<&str>,
        outcome: Outcome,
        fact: impl FnOnce() -> String,
    ) {
        if let Some(explanation) = &mut self.explanation {
            let about = about.map(str::to_owned);
            explanation.trace.push(Step { rule, about, outcome, fact: fact() });
        }
    }

    pub fn into_explanation(self) -> Explanation {
        self.explanation.unwrap_or_default()
    }
}
