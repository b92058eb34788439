//! The engine's decision beside the oracle's verdict.

use std::fmt::Debug;

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

/// The oracle's answers to one question from the beginning of time on.
pub struct Timeline {
    /// In order; the first stands for the time before every boundary.
    answers: Vec<(Timestamp, Answer)>,
}

impl Timeline {
    /// Asks at every instant at which anything about the tenant begins or ends.
    pub fn of(case: &Case, asked: &Asked) -> Self {
        let mut instants = vec![Timestamp::EPOCH];
        instants.extend(boundaries(&case.world, &case.facts, asked.person.as_ref()));
        let ask = |at| (at, answer(case, asked, at, Twist::None));
        Self { answers: instants.into_iter().map(ask).collect() }
    }

    /// What was said at the last boundary up to `at`.
    pub fn at(&self, at: Timestamp) -> &Answer {
        let so_far = self.answers.iter().take_while(|(from, _)| *from <= at);
        so_far.last().map(|(_, answer)| answer).unwrap()
    }

    /// The first boundary after `at` from which another answer holds.
    pub fn first_change(&self, at: Timestamp) -> Option<Timestamp> {
        let now = self.at(at);
        self.answers.iter().find(|(from, then)| *from > at && then != now).map(|(from, _)| *from)
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
        part("status", &given.status(), &expected.code.map_or(200, |code| code.status())),
        part("message", &given.message.is_empty(), &false),
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

/// A decision as an engine would give it that judges as `verdict` does.
pub fn stand_in(verdict: &Verdict, valid_until: Option<Timestamp>) -> Decision {
    let it = verdict.answer.clone();
    Decision {
        allowed: it.allowed,
        reason: it.reason,
        code: it.code,
        message: "A sentence.".into(),
        fields: it.fields,
        enforced: it.enforced,
        would_allow: it.would_allow,
        would_reason: it.would_reason,
        source: it.source,
        remedies: verdict.remedies[0].clone(),
        valid_until,
        version: verdict.version,
    }
}
