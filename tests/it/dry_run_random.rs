//! What a dry run says is what the write then does: random writes to random worlds, compared with the
//! payloads of everybody before and after.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use entitled::{
    domain::catalog::Limit,
    engine::entitlements::{Entitlements, Entry},
    error::{Error, Result},
    service::{Actor, entitlements::Subject},
};
use rand::Rng;
use serde_json::{Value, json};

use crate::{
    dry_run_writes::{Maker, TENANTS, USERS, Write},
    given::days,
    harness::{App, Reply},
};

const WORLDS: u64 = 10;
const WRITES: usize = 100;

/// Tenant, user, kind, key and context.
type Whose = (String, String, String, String, String);
type State = BTreeMap<Whose, Value>;
type Differences = BTreeMap<Whose, Value>;

fn entry(entry: &Entry) -> Value {
    json!({
        "enabled": entry.enabled, "reason": entry.reason, "would_reason": entry.would_reason,
        "value": entry.value, "limit": null, "unlimited": null, "expires_at": entry.expires_at
    })
}

/// Everything that one payload says of access: `[kind, key, context, what holds]`.
fn render(found: &Entitlements) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for (key, module) in &found.modules {
        all.push(json!(["module", key, "", entry(module)]));
    }
    for (key, _, feature) in &found.features {
        all.push(json!(["feature", key, "", entry(feature)]));
    }
    for limit in &found.limits {
        let mut shown = entry(&limit.entry);
        shown["expires_at"] = Value::Null;
        shown["unlimited"] = (limit.limit == Limit::Unlimited).into();
        if let Limit::Of(count) = limit.limit {
            shown["limit"] = count.into();
        }
        all.push(json!(["limit", limit.key, "", shown]));
    }
    for held in found.personal.iter().flat_map(|personal| &personal.permissions) {
        let context = held.context.as_ref().map(ToString::to_string).unwrap_or_default();
        let shown = json!({
            "enabled": true, "reason": null, "would_reason": null, "value": null,
            "limit": null, "unlimited": null, "expires_at": null
        });
        all.push(json!(["permission", held.name, context, shown]));
    }
    serde_json::to_vec(&all).map_err(Error::internal)
}

/// What the payloads of all tenants and users say.
async fn everything(app: &App) -> State {
    let mut state = State::new();
    let nobody = || std::iter::once("");
    for tenant in nobody().chain(TENANTS) {
        for user in nobody().chain(USERS).filter(|user| !(tenant.is_empty() && user.is_empty())) {
            let subject =
                Subject { tenant: tenant.parse().ok(), user: user.parse().ok(), mode: None };
            let actor = Actor::system("test");
            let payload = app.service.entitlements(&actor, &subject, render).await.unwrap();
            let all: Vec<(String, String, String, Value)> =
                serde_json::from_slice(&payload.bytes).unwrap();
            for (kind, key, context, holds) in all {
                state.insert((tenant.into(), user.into(), kind, key, context), holds);
            }
        }
    }
    state
}

/// What is different, worked out without the code that is tested.
fn differences(before: &State, after: &State) -> Differences {
    let mut found = Differences::new();
    for whose in before.keys().chain(after.keys()) {
        let (was, is) = (before.get(whose), after.get(whose));
        let open = |holds: Option<&Value>| holds.is_some_and(|holds| holds["enabled"] == true);
        let change = match (open(was), open(is)) {
            _ if was == is => continue,
            (false, true) => "gained",
            (true, false) => "lost",
            // What came or went without ever being open.
            (false, false) if was.is_none() || is.is_none() => continue,
            (true, true) | (false, false) => "changed",
        };
        found.insert(whose.clone(), json!({"change": change, "before": was, "after": is}));
    }
    found
}

impl Write {
    /// What a dry run says, all its pages; or its problem.
    async fn rehearse(&self, app: &App, limit: usize) -> Result<Differences, Reply> {
        let (mut found, mut cursor) = (Differences::new(), String::new());
        for _ in 0..10_000 {
            let query = format!("?dry_run=true&limit={limit}{cursor}");
            let reply = self.send(app, &query).await;
            if reply.status != 200 {
                return Err(reply);
            }
            assert_eq!(reply.body["dry_run"], true, "{self:?}");
            let page = &reply.body["access"];
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit, "{self:?}: {} items", items.len());
            for item in items {
                let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
                let context = match &item["context"] {
                    Value::Null => String::new(),
                    at => {
                        format!("{}:{}", at["type"].as_str().unwrap(), at["id"].as_str().unwrap())
                    }
                };
                let whose = (text("tenant"), text("user"), text("kind"), text("key"), context);
                let said = json!({
                    "change": item["change"], "before": item["before"], "after": item["after"]
                });
                assert!(found.insert(whose, said).is_none(), "{item:#} stands twice");
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(found),
            }
        }
        panic!("{self:?} has no last page");
    }
}

/// How many writes were made, refused, and different for somebody.
#[derive(Default)]
struct Tally {
    made: AtomicUsize,
    refused: AtomicUsize,
    different: AtomicUsize,
}

async fn world(seed: u64, tally: &Tally) {
    let mut maker = Maker::new(seed).await;
    let mut before = everything(&maker.app).await;
    let mut made = 0;
    while made < WRITES {
        if maker.chance(25) {
            maker.about_a_user().await;
            before = everything(&maker.app).await;
        }
        if maker.chance(8) {
            maker.app.advance(days(maker.rng.random_range(1..6)));
            before = everything(&maker.app).await;
        }
        let write = maker.write().await;
        let limit = if maker.chance(20) { maker.rng.random_range(3..20) } else { 200 };
        let said = write.rehearse(&maker.app, limit).await;
        let reply = write.send(&maker.app, "").await;
        let what = format!("world {seed}, write {made}: {write:?}");
        match said {
            Err(problem) => {
                assert_eq!(problem.status, reply.status, "{what}\n{:#}", reply.body);
                for part in ["code", "fields"] {
                    assert_eq!(problem.body[part], reply.body[part], "{what}");
                }
                tally.refused.fetch_add(1, Ordering::Relaxed);
            }
            Ok(said) => {
                assert!((200..300).contains(&reply.status), "{what}\n{:#}", reply.body);
                maker.note(&write, &reply);
                let after = everything(&maker.app).await;
                let really = differences(&before, &after);
                if said != really {
                    let missing: Vec<_> =
                        really.iter().filter(|(whose, it)| said.get(*whose) != Some(it)).collect();
                    let wrong: Vec<_> =
                        said.iter().filter(|(whose, it)| really.get(*whose) != Some(it)).collect();
                    panic!("{what}\nreally: {missing:#?}\nwas said: {wrong:#?}");
                }
                tally.different.fetch_add(usize::from(!really.is_empty()), Ordering::Relaxed);
                tally.made.fetch_add(1, Ordering::Relaxed);
                before = after;
                made += 1;
            }
        }
    }
}

/// `DRY_RUN_SEED=…` plays the one world that a failure names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dry_run_says_is_what_the_write_then_does() {
    let tally = Arc::new(Tally::default());
    if let Ok(seed) = std::env::var("DRY_RUN_SEED") {
        return world(seed.parse().unwrap(), &tally).await;
    }
    let mut worlds = Vec::new();
    for seed in 0..WORLDS {
        let tally = tally.clone();
        worlds.push(tokio::spawn(async move { world(seed, &tally).await }));
    }
    for world in worlds {
        world.await.unwrap();
    }
    let Tally { made, refused, different } = &*tally;
    let [made, refused, different] =
        [made, refused, different].map(|count| count.load(Ordering::Relaxed));
    println!("{made} writes made, {different} of them different for somebody; {refused} refused");
    assert_eq!(made, 1000);
    assert!(different > 500 && refused > 20, "{different} different, {refused} refused");
}
