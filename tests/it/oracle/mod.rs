//! The engine against a second implementation of the decision that shares nothing with it.
//!
//! `worlds` makes random small worlds, `judge` (with `keys` and `holdings`) is the oracle, written
//! from the specification and meant to be read beside it, `compare` holds one answer against the
//! other. A failure names the seed of its world: `ORACLE_SEED=… ORACLE_WORLDS=1` asks it alone.

mod catalogs;
mod compare;
mod crowds;
mod dump;
mod holdings;
mod judge;
mod keys;
mod people;
mod worlds;

use std::{collections::BTreeMap, fmt::Debug, str::FromStr};

use entitled::{
    domain::{
        checks::{Code, Decision, Reason, Remedy, Source},
        people::HeldOn,
        time::Timestamp,
    },
    engine::{ContextTree, Person, decide, invariants::violated, people::HeldSeat},
};

use compare::{Difference, Timeline, differences, stand_in, verdict};
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
            let Asked { question, person, .. } = asked;
            let given = decide(&case.world, &case.facts, person.as_ref(), question, at);
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
        for Asked { question, person, instants } in &case.questions {
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
                let ask = |person| decide(&case.world, &case.facts, Some(person), question, *at);
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
                *timeline.at(*at),
                "the oracle's answer changes where nothing begins or ends: {question:?} at {at}\n{}",
                dump::dump(case),
            );
            each(asked, *at, &verdict, timeline.first_change(*at));
        }
    }
}

/// How often each part differs, with the first example of each.
#[derive(Default)]
struct Findings {
    by_part: BTreeMap<&'static str, (u64, String)>,
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
        let (count, _) = self.by_part.entry(first.part).or_insert_with(|| {
            let all: String =
                differences.iter().map(|it| format!("  {}: {}\n", it.part, it.text)).collect();
            let facts = dump::dump(case);
            let text = format!(
                "ORACLE_SEED={seed} ORACLE_WORLDS=1\n{:?}\n{:?}\nat {at}\n{all}\
                 engine: {given:?}\noracle: {oracle:?}\n{facts}",
                asked.question, asked.person,
            );
            (0, text)
        });
        *count += 1;
    }

    fn must_be_none(&self, questions: u64) {
        let all: u64 = self.by_part.values().map(|(count, _)| count).sum();
        let mut text = format!("the engine and the oracle differ on {all} of {questions}:\n");
        for (part, (count, example)) in &self.by_part {
            text += &format!("\n=== {part}, {count} times; first: {example}");
        }
        assert!(all == 0, "{text}");
    }
}

/// What occurred, so that the generator can't quietly stop making it.
#[derive(Default)]
struct Coverage {
    questions: u64,
    seen: BTreeMap<String, u64>,
}

impl Coverage {
    fn count(&mut self, verdict: &Verdict, first_change: Option<Timestamp>) {
        self.questions += 1;
        let answer = &verdict.answer;
        self.one(answer.reason.as_str());
        self.one(answer.code.map_or("no code", Code::as_str));
        self.one(&format!("source {}", source(&answer.source)));
        for it in &verdict.remedies[0] {
            self.one(&format!("remedy {}", remedy(it)));
        }
        if !answer.enforced {
            self.one(&format!("would {}", answer.would_reason.as_str()));
        }
        if answer.allowed && !answer.would_allow {
            self.one("open only because not enforced");
        }
        if answer.fields.len() == 2 {
            self.one("a feature refused by its module");
        }
        if answer.fields.get("feature").is_some_and(|all| all.len() > 1) {
            self.one("several features refused");
        }
        self.one(match (first_change, verdict.looked_at.first()) {
            (Some(change), Some(looked_at)) if change == *looked_at => "valid_until is certain",
            (Some(_), _) => "valid_until may come early",
            (None, Some(_)) => "valid_until may come for nothing",
            (None, None) => "valid_until is certainly none",
        });
    }

    fn one(&mut self, what: &str) {
        match self.seen.get_mut(what) {
            Some(count) => *count += 1,
            None => _ = self.seen.insert(what.to_owned(), 1),
        }
    }

    fn must_be_complete(&self, floor: u64) {
        let mut wanted: Vec<String> = REASONS.iter().map(|it| it.as_str().to_owned()).collect();
        // `gating_disabled` is what is said instead of the outcome, never the outcome.
        let outcomes = REASONS.iter().filter(|it| **it != Reason::GatingDisabled);
        wanted.extend(outcomes.map(|it| format!("would {}", it.as_str())));
        wanted.extend(CODES.map(str::to_owned));
        wanted.extend(SOURCES.map(|it| format!("source {it}")));
        wanted.extend(REMEDIES.map(|it| format!("remedy {it}")));
        wanted.extend(SITUATIONS.map(str::to_owned));
        let seen = |what: &String| self.seen.get(what).copied().unwrap_or(0);
        let rare: Vec<_> = wanted.iter().filter(|what| seen(what) < floor).collect();
        assert!(rare.is_empty(), "fewer than {floor} times: {rare:?} of {:#?}", self.seen);
    }
}

const REASONS: [Reason; 24] = [
    Reason::Suspended,
    Reason::Demo,
    Reason::GatingDisabled,
    Reason::NoSubscription,
    Reason::Cancelled,
    Reason::Overdue,
    Reason::FeatureDisabled,
    Reason::AlwaysOn,
    Reason::RbacOnly,
    Reason::Override,
    Reason::Disabled,
    Reason::Grant,
    Reason::Trial,
    Reason::TrialExpired,
    Reason::Plan,
    Reason::AddOn,
    Reason::PlanLimit,
    Reason::NotGranted,
    Reason::UserEntitlement,
    Reason::SeatRequired,
    Reason::Role,
    Reason::Tier,
    Reason::PermissionDenied,
    Reason::SuperAdminBypass,
];
const CODES: [&str; 6] = [
    "no code",
    "TENANT_BLOCKED",
    "MODULE_NOT_ENTITLED",
    "FEATURE_NOT_ENTITLED",
    "SEAT_REQUIRED",
    "PERMISSION_DENIED",
];
const SITUATIONS: [&str; 4] = [
    "open only because not enforced",
    "a feature refused by its module",
    "several features refused",
    "valid_until is certain",
];
const SOURCES: [&str; 13] = [
    "tenant",
    "rollout",
    "catalog",
    "override",
    "grant",
    "plan",
    "add_on",
    "subscription",
    "tier",
    "user_entitlement",
    "seat",
    "role",
    "nothing",
];
const REMEDIES: [&str; 7] = [
    "upgrade_plan",
    "buy_add_on",
    "start_trial",
    "settle_invoice",
    "assign_seat",
    "contact_admin",
    "wait_until",
];

// A new kind does not compile here until it has its place in the lists above.
fn source(it: &Source) -> &'static str {
    match it {
        Source::Tenant => "tenant",
        Source::Rollout => "rollout",
        Source::Catalog => "catalog",
        Source::Override(_) => "override",
        Source::Grant(_) => "grant",
        Source::Plan(_) => "plan",
        Source::AddOn(_) => "add_on",
        Source::Subscription(_) => "subscription",
        Source::Tier(_) => "tier",
        Source::UserEntitlement(_) => "user_entitlement",
        Source::Seat { .. } => "seat",
        Source::Role { .. } => "role",
        Source::Nothing => "nothing",
    }
}

fn remedy(it: &Remedy) -> &'static str {
    match it {
        Remedy::UpgradePlan(_) => "upgrade_plan",
        Remedy::BuyAddOn(_) => "buy_add_on",
        Remedy::StartTrial => "start_trial",
        Remedy::SettleInvoice => "settle_invoice",
        Remedy::AssignSeat => "assign_seat",
        Remedy::ContactAdmin => "contact_admin",
        Remedy::WaitUntil(_) => "wait_until",
        // The service's part: it depends on who asks.
        Remedy::RequestAccess => "request_access",
    }
}
