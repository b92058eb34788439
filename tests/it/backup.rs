//! Backups of a database that is written at full speed: each is one instant, and tells the same story
//! in its tables as in its audit trail.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use entitled::{
    clock::Clock,
    domain::{catalog::Format, tenants::Billing},
    engine::Gating,
    service::{
        Actor, Expected, Service,
        catalogs::CatalogDocument,
        grants::{NewGrant, NewState},
        keyring::Keyring,
        memory::CacheOptions,
        policy::Policy,
        tenants::{NewTenant, StatusChange, TenantPatch},
    },
    store::{
        Durability, StoreOptions,
        anchor::{Anchoring, OnRollback},
    },
    worker,
};
use rusqlite::{Connection, Row};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cli::{ended, entitled, stdout, text};

const WRITERS: usize = 192;
/// The most, should the backups take long; a writer makes six writes in each.
const ROUNDS: usize = 120;
const BACKUPS: usize = 5;
/// From the begin of one backup to that of the next, at least.
const WRITES_BETWEEN: usize = 500;

fn open(dir: &Path) -> Service {
    let options = StoreOptions {
        anchoring: Anchoring::In(dir.join("audit.head"), OnRollback::Refuse),
        // What is copied is read through the system: flushing would only make fewer writes.
        durability: Durability::None,
        ..StoreOptions::at(dir.join("entitled.db"))
    };
    let keyring = Arc::new(Keyring::new(None).unwrap());
    let (cache, policy) = (CacheOptions::default(), Policy::default());
    Service::open(&options, cache, Gating::BySettings, policy, Clock::system(), keyring).unwrap()
}

/// How many writes were acknowledged.
#[derive(Default)]
struct Done {
    writes: AtomicUsize,
    more: Notify,
}

impl Done {
    fn one(&self) {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.more.notify_one();
    }

    fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    async fn reaches(&self, writes: usize) {
        while self.writes() < writes {
            self.more.notified().await;
        }
    }
}

/// Makes tenants and changes them, six writes in a round, until `enough`.
async fn write(service: Service, writer: usize, done: Arc<Done>, enough: CancellationToken) {
    let actor = Actor::system("writer");
    for round in 0..ROUNDS {
        if enough.is_cancelled() {
            return;
        }
        let key: entitled::domain::keys::TenantKey = format!("t{writer}-{round}").parse().unwrap();
        let new = NewTenant {
            key: key.clone(),
            name: format!("Ünï {writer}"),
            parent: None,
            billing: Billing::Subscription,
            demo: writer.is_multiple_of(2),
            sandbox: false,
            attributes: json!({"round": round}).as_object().unwrap().clone(),
        };
        service.create_tenant(&actor, None, new).await.unwrap();
        done.one();
        let grant = |seats| NewGrant {
            state: NewState::Enabled,
            value: None,
            seats,
            trial_expires_at: None,
            reason: format!("round {round}"),
            release: None,
        };
        for seats in [None, Some(7)] {
            let (tenant, dine) = (key.clone(), "dine".parse().unwrap());
            service
                .set_grant(&actor, tenant, dine, grant(seats), Expected::Anything)
                .await
                .unwrap();
            done.one();
        }
        let suspend = StatusChange::Suspend("unpaid".into());
        let patches = [
            TenantPatch { status: Some(suspend), ..TenantPatch::default() },
            TenantPatch { name: Some(format!("Other {round}")), ..TenantPatch::default() },
        ];
        for patch in patches {
            service.update_tenant(&actor, key.clone(), patch, None).await.unwrap();
            done.one();
        }
        if round % 2 == 0 {
            service.remove_grant(&actor, key, "dine".parse().unwrap(), None).await.unwrap();
        } else {
            let back = StatusChange::Reactivate(None);
            let patch = TenantPatch { status: Some(back), ..TenantPatch::default() };
            service.update_tenant(&actor, key, patch, None).await.unwrap();
        }
        done.one();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn backups_under_full_write_load_restore_to_what_their_audit_trails_say() {
    let dir = tempfile::tempdir().unwrap();
    let service = open(dir.path());
    let catalog = include_str!("../../examples/retail.yaml");
    let document = CatalogDocument { text: catalog.into(), format: Format::Yaml };
    service.apply_catalog(&Actor::system("test"), document, None).await.unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(worker::anchor::run(service.clone(), stop.clone()));
    let done = Arc::<Done>::default();
    let (started, enough) = (Instant::now(), CancellationToken::new());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(service.clone(), writer, done.clone(), enough.clone())))
        .collect();
    let mut taken = Vec::new();
    for number in 0..BACKUPS {
        done.reaches(WRITES_BETWEEN * (number + 1)).await;
        let before = done.writes();
        let file = dir.path().join(format!("backup-{number}.db"));
        let mut command = entitled(&["backup", "--json", "--data", text(dir.path()), "--to"]);
        command.arg(&file);
        let began = Instant::now();
        let output = tokio::task::spawn_blocking(move || ended(&mut command, 0)).await.unwrap();
        let said: Value = serde_json::from_str(stdout(&output)).unwrap();
        taken.push((file, before, done.writes(), began.elapsed(), said));
    }
    enough.cancel();
    for writer in writers {
        writer.await.unwrap();
    }
    let (total, took) = (done.writes(), started.elapsed());
    stop.cancel();
    service.store().stop().await;
    report(total, took, &taken.iter().map(|t| (t.1, t.2, t.3)).collect::<Vec<_>>());

    assert!(taken.iter().any(|(_, before, after, ..)| after > before), "nobody wrote meanwhile");
    for (number, (file, before, _, _, said)) in taken.iter().enumerate() {
        let target = dir.path().join(format!("restored-{number}"));
        let mut restore = entitled(&["restore", "--json", "--from", text(file), "--data"]);
        restore.arg(&target).args(["--expect-head", said["head"].as_str().unwrap()]);
        ended(&mut restore, 0);
        let conn = Connection::open(target.join("entitled.db")).unwrap();
        let events = replayed_equals_stored(&conn);
        assert_eq!(events, said["audit_events"].as_u64().unwrap() + 1, "the restore's own event");
        // Every write that was acknowledged before the backup began is in it: the catalog too.
        assert!(events > *before as u64 + 1, "backup {number}: {events} events, {before} writes");
    }
}

fn report(total: usize, took: Duration, taken: &[(usize, usize, Duration)]) {
    let rate = |writes: usize, time: Duration| writes as f64 / time.as_secs_f64();
    println!("{total} writes in {took:?}: {:.0} a second", rate(total, took));
    for (before, after, time) in taken {
        let during = after - before;
        println!("a backup in {time:?}, {during} writes: {:.0} a second", rate(during, *time));
    }
}

type Rows = BTreeMap<(String, String), Value>;

/// Rebuilds every tenant and grant from the audit trail, and holds them against the tables; the
/// number of events.
fn replayed_equals_stored(conn: &Connection) -> u64 {
    let (mut tenants, mut grants, mut count) = (Rows::new(), Rows::new(), 0);
    let mut events = conn
        .prepare("SELECT event, tenant, subject, after, reason, at FROM audit ORDER BY seq")
        .unwrap();
    let mut events = events.query([]).unwrap();
    while let Some(row) = events.next().unwrap() {
        count += 1;
        replay(row, &mut tenants, &mut grants);
    }
    assert_eq!(stored(conn, TENANTS), tenants);
    assert_eq!(stored(conn, GRANTS), grants);
    count
}

fn replay(row: &Row<'_>, tenants: &mut Rows, grants: &mut Rows) {
    let name: String = row.get(0).unwrap();
    let (tenant, subject): (Option<String>, String) = (row.get(1).unwrap(), row.get(2).unwrap());
    let after: Value = serde_json::from_str(&row.get::<_, String>(3).unwrap()).unwrap();
    let (reason, at): (Option<String>, i64) = (row.get(4).unwrap(), row.get(5).unwrap());
    let (rows, key) = match name.split('.').next().unwrap() {
        "tenant" => (tenants, (subject, String::new())),
        "grant" => (grants, (tenant.unwrap(), subject)),
        "catalog" | "entitlement" => return,
        other => panic!("this test doesn't know {other}"),
    };
    if after.is_null() {
        assert!(rows.remove(&key).is_some(), "{name} of {key:?}, which wasn't there");
        return;
    }
    let before = rows.remove(&key);
    assert_eq!(before.is_none(), name.ends_with(".created"), "{name} of {key:?}");
    let mut now = after;
    let since = before.as_ref().map_or(json!(at), |before| before["created_at"].clone());
    now["created_at"] = since;
    now["updated_at"] = json!(at);
    now["revision"] = json!(before.map_or(0, |before| before["revision"].as_u64().unwrap()) + 1);
    if name.starts_with("grant") {
        now["reason"] = json!(reason);
    }
    rows.insert(key, now);
}

/// Each row as its key and what its events say, all columns but the version.
const TENANTS: &str = "SELECT tenant, '', json_object(
    'name', name, 'parent', parent, 'billing', billing, 'demo', json(iif(demo, 'true', 'false')),
    'sandbox', json(iif(sandbox, 'true', 'false')), 'attributes', json(attributes),
    'suspension', json(iif(suspended_at IS NULL, 'null', json_object('by', suspended_by,
        'at', suspended_at, 'reason', suspended_reason))),
    'created_at', created_at, 'updated_at', updated_at, 'revision', revision) FROM tenants";
const GRANTS: &str = "SELECT tenant, key, json_object(
    'state', state, 'value', json(coalesce(value, 'null')), 'seats', seats,
    'trial_expires_at', trial_expires_at, 'reason', reason,
    'created_at', created_at, 'updated_at', updated_at, 'revision', revision) FROM grants";

fn stored(conn: &Connection, sql: &str) -> Rows {
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        let mut state: Value = serde_json::from_str(&row.get::<_, String>(2)?).unwrap();
        if let Some(at) = state["suspension"]["at"].as_i64() {
            let at = entitled::domain::time::Timestamp::from_micros(at);
            state["suspension"]["at"] = json!(at);
        }
        Ok(((row.get(0)?, row.get(1)?), state))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}
