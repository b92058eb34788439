//! The engine's decision beside the oracle's verdict.

use std::{cell::RefCell, collections::BTreeMap, fmt::Debug};

use entitled::domain::{checks::Decision, time::Timestamp};

use super::{
    judge::{Answer, Twist, Verdict, answer, judge},
    worlds::{Asked, Case, boundaries},
};

/// A part of a decision that differs, and how.
pub struct Difference {
    pub part: &'static str,
    pub text: String,
}

/// The oracle's answers to one question from the present on, as far as they are looked at.
pub struct Timeline<'c> {
    case: &'c Case,
    asked: &'c Asked,
    /// In order; an answer holds up to the next.
    answers: RefCell<BTreeMap<Timestamp, Option<Answer>>>,
}

impl<'c> Timeline<'c> {
    /// Asks at every instant at which anything about the tenant begins or ends.
    pub fn of(case: &'c Case, asked: &'c Asked) -> Self {
        let boundaries = boundaries(&case.world, &case.facts, asked.person.as_ref());
        let instants = boundaries.into_iter().chain(asked.moments.iter().copied());
        let instants = instants.filter(|it| *it > case.present).chain([case.present]);
        let answers = RefCell::new(instants.map(|at| (at, None)).collect());
        Self { case, asked, answers }
    }

    fn ask(&self, at: Timestamp) -> Answer {
        let mut answers = self.answers.borrow_mut();
        let known = answers.entry(at).or_default();
        let fresh = || answer(self.case, self.asked, at, Twist::None);
        known.get_or_insert_with(fresh).clone()
    }

    /// What was said at the last boundary up to `at`.
    pub fn at(&self, at: Timestamp) -> Answer {
        let last = self.answers.borrow().range(..=at).next_back().map(|(from, _)| *from);
        self.ask(last.expect("nothing is asked about the past"))
    }

    /// The first boundary after `at` from which another answer holds.
    pub fn first_change(&self, at: Timestamp) -> Option<Timestamp> {
        let now = self.at(at);
        let from = Timestamp::from_micros(at.micros() + 1);
        let later: Vec<_> = self.answers.borrow().range(from..).map(|(from, _)| *from).collect();
        later.into_iter().find(|from| self.ask(*from) != now)
    }
}

/// The oracle's verdict on what is `asked` at `at`.
pub fn verdict(case: &Case, asked: &Asked, at: Timestamp, twist: Twist) -> Verdict {
    judge(case, asked, at, twist)
}

/// Everything in which `given` is not what the oracle says. None if they agree.
pub fn differences(
    given: &Decision,
    oracle: &Verdict,
    first_change: Option<Timestamp>,
) -> Vec<Difference> {
    fn part<T: PartialEq + Debug>(part: &'static str, given: &T, oracle: &T) -> Option<Difference> {
        let differs = given != oracle;
        differs.then(|| Difference { part, text: format!("{given:?}, the oracle says {oracle:?}") })
    }
    let mut expected = oracle.answer.clone();
    let ties = &oracle.ties;
    let said = (given.reason, given.source.clone());
    if ties.contains(&said) && ties.contains(&(expected.reason, expected.source.clone())) {
        (expected.reason, expected.source) = said;
        expected.would_reason = given.reason;
    }
    let expected = &expected;
    let condition = expected.condition.as_ref().map(|(it, _)| it.clone());
    let message = match &expected.condition {
        Some((_, said)) => given.message == *said,
        None => !given.message.is_empty(),
    };
    let parts = [
        part("allowed", &given.allowed, &expected.allowed),
        part("reason", &given.reason, &expected.reason),
        part("code", &given.code, &expected.code),
        part("fields", &given.fields, &expected.fields),
        part("source", &given.source, &expected.source),
        part("enforced", &given.enforced, &expected.enforced),
        part("would_allow", &given.would_allow, &expected.would_allow),
        part("would_reason", &given.would_reason, &expected.would_reason),
        part("version", &given.version, &oracle.version),
        part("condition", &given.condition, &condition),
        part("limit", &given.limit, &expected.limit),
        part("data", &given.data, &expected.data),
        part("status", &given.status(), &status(expected)),
        part("message", &message, &true),
    ];
    let mut found: Vec<Difference> = parts.into_iter().flatten().collect();
    if !oracle.remedies.contains(&given.remedies) {
        let (given, accepted) = (&given.remedies, &oracle.remedies);
        let text = format!("{given:?}, the oracle accepts {accepted:?}");
        found.push(Difference { part: "remedies", text });
    }
    // Which subscriptions rule 11 looks at is the engine's affair, so `valid_until` cannot always be
    // told exactly (D9). What must hold in any case: a fact that the decision may look at begins or
    // ends there, and no answer changes before.
    let late = match (given.valid_until, first_change) {
        (None, Some(_)) => true,
        (Some(until), Some(change)) => until > change,
        (_, None) => false,
    };
    let unfounded = given.valid_until.is_some_and(|it| !oracle.looked_at.contains(&it));
    if late || unfounded {
        let (given, looked_at) = (given.valid_until, &oracle.looked_at);
        let text = format!(
            "{given:?}, but the answer changes at {first_change:?}; looked at {looked_at:?}"
        );
        found.push(Difference { part: "valid_until", text });
    }
    found
}

fn status(answer: &Answer) -> u16 {
    let of_condition = answer.condition.as_ref().and_then(|(it, _)| it.status);
    of_condition.unwrap_or_else(|| answer.code.map_or(200, |code| code.status()))
}

/// A decision as an engine would give it that judges as `verdict` does.
pub fn stand_in(verdict: &Verdict, valid_until: Option<Timestamp>) -> Decision {
    let it = verdict.answer.clone();
    Decision {
        allowed: it.allowed,
        reason: it.reason,
        code: it.code,
        message: it.condition.as_ref().map_or("A sentence.", |(_, said)| said).to_owned(),
        condition: it.condition.map(|(it, _)| it),
        fields: it.fields,
        enforced: it.enforced,
        would_allow: it.would_allow,
        would_reason: it.would_reason,
        source: it.source,
        remedies: verdict.remedies[0].clone(),
        limit: it.limit,
        data: it.data,
        valid_until,
        version: verdict.version,
        module: None,
    }
}
