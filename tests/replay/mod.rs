//! The state of a database, made anew from nothing but its audit trail, and held against its tables:
//! every table, every row, every column that the trail tells of.
//!
//! Invariants: a table that nobody has said anything about fails, and so does an event that is not
//! known; what is not compared stands here by name, with the reason.

mod admin;
mod people;
mod tenants;
mod usage;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::{Deref, DerefMut},
};

use entitled::domain::{plans::PlanContent, time::Timestamp};
use rusqlite::{Connection, types::ValueRef};
use serde_json::{Map, Value, json};

/// What is to be equal in a table.
enum Treatment {
    /// Its rows, by these columns, all but some columns, some of them as JSON.
    Replayed {
        key: &'static [&'static str],
        /// What the trail doesn't tell, for the reason given in the list below.
        except: &'static [&'static str],
        json: &'static [&'static str],
    },
    /// That each row belongs to a commit that the trail has: this column is its instant.
    OfACommit(&'static str),
    /// Nothing: why.
    Untold(&'static str),
}

use Treatment::{OfACommit, Replayed, Untold};

const fn by(key: &'static [&'static str]) -> Treatment {
    Replayed { key, except: &[], json: &[] }
}

/// All tables.
const TABLES: &[(&str, Treatment)] = &[
    (
        "tenants",
        // The version is the service's, which the trail doesn't count in.
        Replayed { key: &["tenant"], except: &["version"], json: &["attributes"] },
    ),
    ("subscriptions", by(&["tenant", "id"])),
    ("grants", Replayed { key: &["tenant", "key"], except: &[], json: &["value"] }),
    // A use is no change.
    ("overrides", Replayed { key: &["id"], except: &["last_used_at"], json: &["value"] }),
    ("requests", Replayed { key: &["id"], except: &[], json: &["value"] }),
    // Secrets are in no trail.
    ("activation_codes", Replayed { key: &["id"], except: &["digest"], json: &[] }),
    ("activation_redemptions", by(&["tenant", "code"])),
    ("open_trials", by(&["tenant", "kind", "key"])),
    ("trial_hours", by(&["tenant", "hour", "kind", "key", "step"])),
    ("contexts", by(&["tenant", "type", "id"])),
    ("context_counts", by(&["tenant"])),
    ("role_assignments", by(&["tenant", "id"])),
    ("platform_roles", by(&["id"])),
    ("tiers", by(&["id"])),
    ("seats", by(&["tenant", "key", "holder", "user"])),
    ("seat_counts", by(&["tenant", "key"])),
    ("user_entitlements", by(&["id"])),
    (
        "api_keys",
        Replayed { key: &["id"], except: &["digest", "old_digest", "last_used_at"], json: &[] },
    ),
    (
        "usage",
        // The period follows from the instant and the catalog.
        Replayed {
            key: &["tenant", "user", "feature"],
            except: &["period_start", "period_end"],
            json: &[],
        },
    ),
    (
        "rollout",
        Replayed {
            key: &["id"],
            except: &[],
            json: &["include", "exclude", "unenforced_modules", "auto_rollback"],
        },
    ),
    ("legacy_settings", Replayed { key: &["id"], except: &[], json: &["names"] }),
    ("legacy_modules", by(&["tenant", "module"])),
    // The digest, which the trail has, stands for the document.
    ("catalogs", Replayed { key: &["version"], except: &["document", "format"], json: &[] }),
    ("webhooks", Replayed { key: &["id"], except: &["secret", "old_secret"], json: &["events"] }),
    ("webhook_deliveries", OfACommit("created_at")),
    ("idempotency", OfACommit("created_at")),
    ("outbox", OfACommit("at")),
    ("plan_versions", Untold("they follow from the documents of the catalogs")),
    ("service_state", Untold("compared by hand, below")),
    ("audit", Untold("it is what everything is held against, and verified by the restore")),
    ("audit_checkpoint", Untold("where the trail was pruned there is nothing to replay")),
    ("boundaries", Untold("how far subscribers were told is no change")),
    ("check_hours", Untold("evidence of checks is no change")),
    ("activity", Untold("what users did is no change")),
    ("usage_history", Untold("what was consumed is counted, not audited")),
    ("reservations", Untold("what was set aside is counted, not audited")),
    ("usage_rechecks", Untold("the worker's list of what to look at again")),
];

/// A row, by column, as SQLite stores it; JSON columns as JSON.
type Row = Map<String, Value>;
type Rows = BTreeMap<Vec<String>, Row>;

/// What was compared.
#[derive(Debug, Default)]
pub struct Compared {
    /// How many audit events there are.
    pub events: u64,
    /// How many there are of each name.
    pub names: BTreeMap<String, u64>,
    /// How many rows each replayed table has.
    pub rows: BTreeMap<&'static str, usize>,
}

/// One event of the trail.
struct Told {
    name: String,
    at: i64,
    actor: String,
    role: String,
    impersonator: Option<String>,
    tenant: Option<String>,
    subject: String,
    before: Value,
    after: Value,
    reason: Option<String>,
}

/// The state, as far as the trail was read.
struct World {
    tables: HashMap<&'static str, Rows>,
    /// By plan and version: what a catalog made of it.
    plans: BTreeMap<(String, i64), PlanContent>,
    /// Of all catalogs that there ever were.
    modules: BTreeSet<String>,
    /// The limits that were told, by the key of the row of usage.
    limits: HashMap<Vec<String>, u64>,
    /// What each row of usage was before it was set last.
    used_before: HashMap<Vec<String>, u64>,
}

/// What the audit trail of a database says that its tables hold.
pub struct Replay {
    world: World,
    /// When something was changed.
    instants: HashSet<i64>,
    last: i64,
    pub compared: Compared,
}

impl Replay {
    /// Reads the whole trail.
    pub fn of(conn: &Connection) -> Self {
        let (world, compared) = (World::of(conn), Compared::default());
        let mut replay = Self { world, instants: HashSet::new(), last: 0, compared };
        let mut events = conn
            .prepare(
                "SELECT event, at, actor, role, impersonator, tenant, subject, before, after, reason
                 FROM audit ORDER BY seq",
            )
            .unwrap();
        let mut events = events.query([]).unwrap();
        while let Some(row) = events.next().unwrap() {
            replay.event(Told::of(row));
        }
        for (table, treatment) in TABLES {
            let Replayed { except, .. } = treatment else { continue };
            for row in replay.world.table(table).values_mut() {
                row.retain(|column, _| !except.contains(&column.as_str()));
            }
        }
        replay
    }

    fn event(&mut self, told: Told) {
        self.world.replay(&told);
        self.instants.insert(told.at);
        self.last = told.at;
        self.compared.events += 1;
        *self.compared.names.entry(told.name).or_default() += 1;
    }

    /// What a table holds otherwise than it was told, if anything.
    pub fn difference(&self, conn: &Connection, table: &str) -> Option<String> {
        let known = TABLES.iter().find(|(name, _)| *name == table);
        let Some((name, treatment)) = known else {
            return Some(format!("nobody has said what is to be equal in {table}"));
        };
        match treatment {
            Replayed { key, except, json } => {
                let stored = stored(conn, name, key, except, json);
                let none = Rows::new();
                between(name, &stored, self.world.tables.get(name).unwrap_or(&none))
            }
            OfACommit(column) => not_of_a_commit(conn, name, column, &self.instants),
            Untold(why) => why.is_empty().then(|| format!("{table} is not told of; say why")),
        }
    }

    /// Fails unless all tables hold what was told.
    pub fn assert_all(mut self, conn: &Connection) -> Compared {
        for table in tables(conn) {
            let difference = self.difference(conn, &table);
            assert!(difference.is_none(), "{}", difference.unwrap_or_default());
        }
        for (table, treatment) in TABLES {
            if let Replayed { .. } = treatment {
                let rows = self.world.table(table).len();
                self.compared.rows.insert(table, rows);
            }
        }
        // Time and versions in the copy are not behind what it holds.
        let (latest, version, of_tenants): (i64, i64, i64) = conn
            .query_row(
                "SELECT latest_at, version, (SELECT coalesce(max(version), 0) FROM tenants)
                 FROM service_state",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap();
        assert!(latest >= self.last, "{latest} {}", self.last);
        assert!(version >= of_tenants, "{version} {of_tenants}");
        self.compared
    }
}

/// Each column that is compared, with its table.
pub fn compared_columns(conn: &Connection) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for (table, treatment) in TABLES {
        let Replayed { except, .. } = treatment else { continue };
        let statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_names().into_iter().map(str::to_owned);
        let compared = columns.filter(|column| !except.contains(&column.as_str()));
        all.extend(compared.map(|column| (*table, column)));
    }
    all
}

fn tables(conn: &Connection) -> Vec<String> {
    let mut statement = conn
        .prepare(
            "SELECT name FROM sqlite_schema
             WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'refinery%'",
        )
        .unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn stored(conn: &Connection, table: &str, key: &[&str], except: &[&str], json: &[&str]) -> Rows {
    let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let rows = statement.query_map([], |row| {
        let mut all = Row::new();
        for (index, column) in columns.iter().enumerate() {
            if except.contains(&column.as_str()) {
                continue;
            }
            let value = match row.get_ref(index)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(value) => json!(value),
                ValueRef::Real(value) => json!(value),
                ValueRef::Text(text) if json.contains(&column.as_str()) => {
                    serde_json::from_slice(text).unwrap()
                }
                ValueRef::Text(text) => json!(std::str::from_utf8(text).unwrap()),
                ValueRef::Blob(bytes) => json!(hex::encode(bytes)),
            };
            all.insert(column.clone(), value);
        }
        Ok((key.iter().map(|column| part(&all[*column])).collect(), all))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

fn part(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn between(table: &str, stored: &Rows, replayed: &Rows) -> Option<String> {
    for (key, row) in stored {
        let Some(told) = replayed.get(key) else {
            return Some(format!("{table} has {key:?}, which nobody made: {row:?}"));
        };
        if row != told {
            return Some(format!("{table} has {key:?} as {row:?}, and was told {told:?}"));
        }
    }
    let lost = replayed.iter().find(|(key, _)| !stored.contains_key(*key));
    lost.map(|(key, row)| format!("{table} doesn't have {key:?}, and was told {row:?}"))
}

fn not_of_a_commit(
    conn: &Connection,
    table: &str,
    column: &str,
    instants: &HashSet<i64>,
) -> Option<String> {
    let mut statement = conn.prepare(&format!("SELECT DISTINCT {column} FROM {table}")).unwrap();
    let found = statement.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    let stray = found.map(Result::unwrap).find(|at| !instants.contains(at));
    stray.map(|at| format!("{table} has a row of {at}, when nothing was changed"))
}

impl World {
    fn of(conn: &Connection) -> Self {
        let mut plans = conn.prepare("SELECT plan, version, content FROM plan_versions").unwrap();
        let plans = plans.query_map([], |row| {
            let content = serde_json::from_str(&row.get::<_, String>(2)?).unwrap();
            Ok(((row.get(0)?, row.get(1)?), content))
        });
        let mut catalogs = conn.prepare("SELECT document FROM catalogs").unwrap();
        let modules = catalogs.query_map([], |row| {
            let document: Value = serde_yaml::from_str(&row.get::<_, String>(0)?).unwrap();
            let modules = document["modules"].as_object().cloned().unwrap_or_default();
            Ok(modules.into_iter().map(|(key, _)| key).collect::<Vec<_>>())
        });
        let modules = modules.unwrap().flat_map(Result::unwrap).collect();
        let mut world = Self {
            tables: HashMap::new(),
            plans: plans.unwrap().collect::<Result<_, _>>().unwrap(),
            modules,
            limits: HashMap::new(),
            used_before: HashMap::new(),
        };
        world.begin();
        world
    }

    fn replay(&mut self, told: &Told) {
        let (kind, what) = told.name.split_once('.').unwrap();
        match kind {
            "tenant" => self.tenant(told, what),
            "subscription" => self.subscription(told, what),
            "grant" => self.grant(told, what),
            "context" => self.context(told),
            "role" => self.role(told),
            "tier" => self.tier(told, what),
            "seat" => self.seat(told, what),
            "user_entitlement" => self.user_entitlement(told),
            "usage" => self.usage(told, what),
            "api_key" => self.api_key(told, what),
            "webhook" => self.webhook(told, what),
            "rollout" => self.rollout(told),
            "legacy" => self.legacy(told, what),
            "catalog" => self.catalog(told),
            "entitlement" => match what.split_once('.') {
                Some(("override", what)) => self.exception(told, what),
                Some(("activation_code", what)) => self.activation_code(told, what),
                Some(("database", "restored")) => {}
                Some(_) | None => told.is_unknown(),
            },
            _ => told.is_unknown(),
        }
    }

    fn table(&mut self, table: &'static str) -> &mut Rows {
        self.tables.entry(table).or_default()
    }

    /// A row that must not be there yet.
    fn insert(&mut self, told: &Told, table: &'static str, key: &[&str], row: Value) {
        let Value::Object(row) = row else { panic!("{row}") };
        let key: Vec<String> = key.iter().map(|part| (*part).to_owned()).collect();
        let before = self.table(table).insert(key, row);
        assert!(before.is_none(), "{} makes in {table} what was there: {before:?}", told.name);
    }

    /// A row that must be there.
    fn row(&mut self, told: &Told, table: &'static str, key: &[&str]) -> Found<'_> {
        let key: Vec<String> = key.iter().map(|part| (*part).to_owned()).collect();
        let row = self.table(table).get_mut(&key);
        Found(row.unwrap_or_else(|| panic!("{} of {key:?}, which is not in {table}", told.name)))
    }

    fn remove(&mut self, told: &Told, table: &'static str, key: &[&str]) -> Row {
        let key: Vec<String> = key.iter().map(|part| (*part).to_owned()).collect();
        let row = self.table(table).remove(&key);
        row.unwrap_or_else(|| panic!("{} of {key:?}, which is not in {table}", told.name))
    }
}

/// A row that is about to change.
struct Found<'w>(&'w mut Row);

impl Deref for Found<'_> {
    type Target = Row;

    fn deref(&self) -> &Row {
        self.0
    }
}

impl DerefMut for Found<'_> {
    fn deref_mut(&mut self) -> &mut Row {
        self.0
    }
}

impl Found<'_> {
    fn set(&mut self, columns: Value) {
        let Value::Object(columns) = columns else { panic!("{columns}") };
        for (column, value) in columns {
            assert!(self.contains_key(&column), "no column {column}");
            self.insert(column, value);
        }
    }

    fn number(&self, column: &str) -> i64 {
        self[column].as_i64().unwrap()
    }

    /// Changed at the instant of an event.
    fn revised(&mut self, told: &Told) {
        let revision = self.number("revision") + 1;
        self.set(json!({"updated_at": told.at, "revision": revision}));
    }
}

impl Told {
    fn of(row: &rusqlite::Row<'_>) -> Self {
        let json = |index| serde_json::from_str(&row.get::<_, String>(index).unwrap()).unwrap();
        Self {
            name: row.get(0).unwrap(),
            at: row.get(1).unwrap(),
            actor: row.get(2).unwrap(),
            role: row.get(3).unwrap(),
            impersonator: row.get(4).unwrap(),
            tenant: row.get(5).unwrap(),
            subject: row.get(6).unwrap(),
            before: json(7),
            after: json(8),
            reason: row.get(9).unwrap(),
        }
    }

    fn is_unknown(&self) {
        panic!("the replay doesn't know {}", self.name);
    }

    fn tenant(&self) -> &str {
        self.tenant.as_deref().unwrap_or_else(|| panic!("{} of no tenant", self.name))
    }
}

/// An instant of an event, as it is stored.
fn at(value: &Value) -> Value {
    value.as_str().map_or(Value::Null, |text| json!(text.parse::<Timestamp>().unwrap().micros()))
}

/// A truth of an event, as it is stored.
fn bit(value: &Value) -> Value {
    json!(i64::from(value.as_bool().unwrap()))
}
