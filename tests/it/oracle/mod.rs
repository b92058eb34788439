//! The engine against a second implementation of the decision that shares nothing with it.
//!
//! `worlds` makes random small worlds, `judge` (with `keys`, `holdings`, `people`, `limits`, `guards`) is
//! the oracle, written from the specification and meant to be read beside it, `compare` holds one
//! answer against the other, and `coverage` says what must have come up. A failure names the seed of
//! its world: `ORACLE_SEED=… ORACLE_WORLDS=1` asks it alone.

mod calendar;
mod catalogs;
mod compare;
mod counted;
mod coverage;
mod crowds;
mod dump;
mod guards;
mod holdings;
mod judge;
mod keys;
mod limits;
mod people;
mod rollout;
mod wanted;
mod worlds;

use std::{collections::BTreeMap, fmt::Debug, str::FromStr};

use entitled::{
    domain::{checks::Decision, people::HeldOn, time::Timestamp},
    engine::{ContextTree, Person, Subject, decide, invariants::violated, people::HeldSeat},
};

use compare::{Difference, Timeline, differences, stand_in, verdict};
use coverage::Coverage;
use judge::{Twist, Verdict};
use people::way_up;
use worlds::{Asked, Case, case};

const SEED: u64 = 20_260_101;
const WORLDS: u64 = 4_200;

fn setting<T: FromStr<Err: Debug>>(name: &str, default: T) -> T {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn the_engine_agrees_with_the_oracle() {
    let (seed, worlds) = (setting("ORACLE_SEED", SEED), setting("ORACLE_WORLDS", WORLDS));
    let mut found = Findings::default();
    let mut coverage = Coverage::default();
    for seed in seed..seed + worlds {
        let case = case(seed);
        ask_everything(&case, |asked, at, verdict, first_change| {
            coverage.count(verdict, first_change);
            let Asked { question, person, counts, .. } = asked;
            let subject = Subject { facts: &case.facts, person: person.as_ref(), counts };
            let given = decide(&case.world, subject, question, at);
            let mut differences = differences(&given, verdict, first_change);
            if let Some(text) = violated(&given, &case.facts, at) {
                differences.push(Difference { part: "invariant", text: text.to_owned() });
            }
            found.add(seed, &case, asked, at, verdict, &given, differences);
        });
    }
    found.must_be_none(coverage.questions);
    if worlds >= WORLDS {
        assert!(coverage.questions >= 200_000, "only {} questions", coverage.questions);
        coverage.must_be_complete(worlds / 100);
    }
}

#[test]
fn the_way_up_from_a_context_is_that_of_a_plain_walk() {
    for seed in SEED..SEED + 500 {
        let tree = case(seed).tree;
        let compiled = ContextTree::new(tree.clone());
        let unknown = entitled::domain::contexts::ContextKey {
            kind: "club".parse().unwrap(),
            id: "new".parse().unwrap(),
        };
        for context in tree.keys().chain([&unknown]) {
            assert_eq!(compiled.path(context), way_up(&tree, context), "seed {seed}: {context}");
        }
    }
}

/// What a user holds beside the way up from a context, and what somebody has of tenants that lend
/// nothing, is no part of an answer.
#[test]
fn what_stands_beside_changes_no_answer() {
    for seed in SEED..SEED + 600 {
        let case = case(seed);
        for Asked { question, person, counts, instants, .. } in &case.questions {
            let Some(person) = person else { continue };
            let mut here = (*person.here).clone();
            here.roles.retain(|it| match &it.on {
                HeldOn::Platform | HeldOn::Tenant => true,
                HeldOn::Context(on) => person.path.contains(on),
            });
            here.seats.push(HeldSeat {
                key: case.world.catalog.modules.keys().next().unwrap().into(),
                pool: "stranger".parse().unwrap(),
                expires_at: None,
            });
            let pruned = Person { here: here.into(), ..person.clone() };
            for at in instants {
                let ask = |person| {
                    let subject = Subject { facts: &case.facts, person: Some(person), counts };
                    decide(&case.world, subject, question, *at)
                };
                assert_eq!(ask(person), ask(&pruned), "seed {seed}: {question:?} at {at}");
            }
        }
    }
}

#[test]
fn the_oracle_can_fail() {
    // Without a twist, standing in for the engine, it must not: what it looks at explains every
    // change of its answers, and no answer changes between the boundaries.
    let all = [
        Twist::None,
        Twist::IgnoresTheKillSwitch,
        Twist::HonoursAnOverrideAtItsExpiry,
        Twist::HonoursATrialAtItsEnd,
        Twist::HonoursASubscriptionAtItsEnd,
        Twist::BlocksOnlyAfterTheGraceEnd,
        Twist::UsesTheNewestPlanInsteadOfThePinned,
        Twist::AsksTheGrantBeforeTheOverride,
        Twist::OpensAllModulesOfABlockedTenant,
        Twist::CountsAnAddOnOnceWhateverItsQuantity,
        Twist::OffersPlansThatNeedACode,
        Twist::LeaksARoleToSiblings,
        Twist::LeaksARoleUpward,
        Twist::HonoursARoleAtItsExpiry,
        Twist::ForgetsInheritedPermissions,
        Twist::ComparesTiersByName,
        Twist::AsksTheTenantlessTierFirst,
        Twist::TakesTheSeatOfAnotherKey,
        Twist::LendsPastTheSuspensionOfTheChild,
        Twist::LendsWhileTheAncestorIsBlocked,
        Twist::TakesASeatForAnOverride,
        Twist::BypassesInEveryMode,
        Twist::AsksTheUserBeforeADisabledGrant,
        Twist::LetsOneMoreThan,
        Twist::CountsAReservationAtItsExpiry,
        Twist::ForgetsReservations,
        Twist::ResetsWithTheCalendar,
        Twist::RestartsThePeriodAtAChangeOfPlan,
        Twist::ForgetsWhatTheBaseFollows,
        Twist::KeepsTheCountAcrossAReset,
        Twist::CountsAUserOnTheTenant,
        Twist::IgnoresTheCallersCount,
        Twist::TakesTheLargestOfStackedAddOns,
        Twist::BlocksWhereItShouldWarn,
        Twist::EnforcesALimitWhileTheRolloutIsOff,
        Twist::LimitsADemoTenant,
        Twist::LimitsNothingOfABlockedTenant,
        Twist::SkipsAnyPermission,
        Twist::AsksOneMoreOfTheGuardsLimit,
        Twist::AsksTheGuardsFeaturesByTheQuestionsMatch,
        Twist::AsksEveryConditionBeforeTheLimit,
        Twist::AsksEveryConditionAfterTheLimit,
        Twist::LeavesConditionsOutWhenNotEnforced,
        Twist::OpensEverythingBesideAListedModule,
    ];
    assert_eq!(never_told(all.to_vec(), 400), [Twist::None]);
}

/// Those of `twists` with which a judge, in the engine's place, differs in none of `worlds` worlds.
fn never_told(mut twists: Vec<Twist>, worlds: u64) -> Vec<Twist> {
    for world in 0..worlds {
        let case = case(SEED + world);
        ask_everything(&case, |asked, at, oracle, first_change| {
            twists.retain(|twist| {
                let twisted = verdict(&case, asked, at, *twist);
                let given = stand_in(&twisted, oracle.looked_at.first().copied());
                differences(&given, oracle, first_change).is_empty()
            });
        });
    }
    twists
}

/// Asks the oracle everything that `case` asks.
fn ask_everything(
    case: &Case,
    mut each: impl FnMut(&Asked, Timestamp, &Verdict, Option<Timestamp>),
) {
    for asked in &case.questions {
        let question = &asked.question;
        let timeline = Timeline::of(case, asked);
        for at in &asked.instants {
            let verdict = verdict(case, asked, *at, Twist::None);
            assert_eq!(
                verdict.answer,
                timeline.at(*at),
                "the oracle's answer changes where nothing begins or ends: {question:?} at {at}\n{}",
                dump::dump(case),
            );
            each(asked, *at, &verdict, timeline.first_change(*at));
        }
    }
}

/// How often each part differs in an answer of one reason, with the first example of each.
#[derive(Default)]
struct Findings {
    by_part: BTreeMap<(&'static str, &'static str), (u64, String)>,
}

impl Findings {
    #[expect(clippy::too_many_arguments, reason = "everything a person needs to see a difference")]
    fn add(
        &mut self,
        seed: u64,
        case: &Case,
        asked: &Asked,
        at: Timestamp,
        oracle: &Verdict,
        given: &Decision,
        differences: Vec<Difference>,
    ) {
        // One wrong allow differs in nearly every part: the first part is the telling one.
        let Some(first) = differences.first() else { return };
        let kind = (first.part, given.reason.as_str());
        let (count, _) = self.by_part.entry(kind).or_insert_with(|| {
            let all: String =
                differences.iter().map(|it| format!("  {}: {}\n", it.part, it.text)).collect();
            let facts = dump::dump(case);
            let text = format!(
                "ORACLE_SEED={seed} ORACLE_WORLDS=1\n{:?}\n{:?}\n{:?}\nat {at}\n{all}\
                 engine: {given:?}\noracle: {oracle:?}\n{facts}",
                asked.question, asked.person, asked.counts,
            );
            (0, text)
        });
        *count += 1;
    }

    fn must_be_none(&self, questions: u64) {
        let all: u64 = self.by_part.values().map(|(count, _)| count).sum();
        let mut text = format!("the engine and the oracle differ on {all} of {questions}:\n");
        for ((part, reason), (count, example)) in &self.by_part {
            text += &format!("\n=== {part} of {reason}, {count} times; first: {example}");
        }
        assert!(all == 0, "{text}");
    }
}
