//! Every statement of the store is planned on a real schema, and none walks through a whole table.

use std::{collections::BTreeSet, path::Path};

use rusqlite::{Connection, OpenFlags};
use syn::visit::{self, Visit};

use crate::harness::App;

/// Statements that may walk through a whole table or index, and why.
const SCANS: &[(&str, &str)] = &[
    ("api_keys::usable", "every usable key is read into memory, at the start and after a change"),
    ("anchor::end_of_trail", "the schema's own table, at the start"),
    ("audit::verify", "looks at every event there is"),
    ("audit::last_row", "the last row of a table is its last by key: one step"),
    ("catalogs::newest", "the last row of a table is its last by key: one step"),
    ("catalogs::pinned", "looks at every subscription, when a catalog is applied"),
    ("doctor::damaged_tenants", "looks at every tenant there is"),
    ("doctor::entitlements_in_use", "looks at every key in use"),
    ("doctor::objects", "the schema's own table"),
    ("doctor::roles_in_use", "looks at every role in use"),
    ("doctor::statistics", "SQLite's own table, of a few rows"),
    ("migrate::schema_version", "the schema's own table, at the start"),
    ("tenants::all_ahead", "the index holds sandboxes whose clock was moved, and no other tenant"),
    ("webhooks::count", "there are a few: a setting bounds them"),
    ("outbox::places", "the first and the last row of a table are so by key: one step each"),
    ("open::open_and_migrate", "the schema's own table, at the start"),
];

/// Statements that may walk through everything of one tenant in one table, and why.
const WALKS: &[(&str, &str)] = &[
    ("grants::all", "a tenant's grants are read whole into memory"),
    ("legacy::map", "a tenant's map has one row for each module"),
    ("legacy::replace", "a tenant's map has one row for each module"),
    ("legacy::granted", "a tenant's grants: one row for each key of the catalog"),
    ("overrides::open", "a tenant's overrides are read whole into memory"),
    ("subscriptions::current", "a tenant's subscriptions are read whole into memory"),
    ("subscriptions::base_since", "a tenant has a few base subscriptions in its life"),
    ("subscriptions::tried", "a tenant has a few subscriptions in its life"),
    ("subscriptions::delete", "a foreign key: a tenant has redeemed a few codes in its life"),
    ("trials::open", "a tenant has a few open trials"),
    ("tenants::list", "the subscriptions of each tenant that is listed"),
    ("contexts::tree", "a tenant's contexts are read whole into memory"),
    ("contexts::count", "one row for each tenant"),
    ("seats::keys_in_use", "one row for each seated key of the tenant"),
    ("overrides::list", "a page, newest first"),
    ("requests::list", "a page, newest first"),
    ("roles::list", "a page, newest first"),
    ("subscriptions::list", "a page, newest first"),
    ("user_entitlements::list", "a page, newest first"),
];

/// A statement and the function that it stands in.
struct Statement {
    place: String,
    sql: String,
}

struct Literals<'a> {
    file: &'a str,
    function: String,
    found: Vec<Statement>,
}

impl<'ast> Visit<'ast> for Literals<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let outer = std::mem::replace(&mut self.function, item.sig.ident.to_string());
        visit::visit_item_fn(self, item);
        self.function = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        let outer = std::mem::replace(&mut self.function, item.sig.ident.to_string());
        visit::visit_impl_item_fn(self, item);
        self.function = outer;
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        let sql = literal.value();
        let first = sql.split_whitespace().next().unwrap_or_default();
        if ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "REPLACE"].contains(&first) {
            let place = format!("{}::{}", self.file, self.function);
            self.found.push(Statement { place, sql });
        }
    }
}

fn statements() -> Vec<Statement> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let parsed = syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let file = path.file_stem().unwrap().to_str().unwrap();
            let mut literals = Literals { file, function: String::new(), found: Vec::new() };
            literals.visit_file(&parsed);
            all.extend(literals.found);
        }
    }
    all
}

fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    // Parameters that are not bound are NULL; the plan doesn't depend on them.
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let rows = statement.raw_query().mapped(|row| row.get::<_, String>(3));
    rows.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn no_statement_walks_through_a_whole_table() {
    let app = App::start().await;
    let connection =
        Connection::open_with_flags(&app.database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let (mut findings, mut used) = (Vec::new(), BTreeSet::new());
    let all = statements();
    for Statement { place, sql } in &all {
        for step in plan(&connection, sql) {
            // A scan of what the statement itself made is no scan of a table.
            let own = ["(subquery", "CONSTANT ROW", "used", "below"];
            let of_table =
                step.strip_prefix("SCAN ").filter(|of| !own.iter().any(|o| of.starts_with(o)));
            if of_table.is_none() {
                continue;
            }
            match SCANS.iter().find(|(allowed, _)| allowed == place) {
                Some((allowed, _)) => drop(used.insert(*allowed)),
                None => findings.push(format!("{place}: {step}\n{sql}")),
            }
        }
    }
    assert!(all.len() >= 40, "only {} statements were found", all.len());
    assert!(findings.is_empty(), "{}", findings.join("\n\n"));
    let allowed: BTreeSet<_> = SCANS.iter().map(|(place, _)| *place).collect();
    assert_eq!(used, allowed, "what no longer scans leaves the list");
}

/// A tenant may have 100,000 users: what asks for one of them must not look at all of them.
#[tokio::test]
async fn no_statement_walks_through_a_whole_tenant() {
    let app = App::start().await;
    let connection =
        Connection::open_with_flags(&app.database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let (mut findings, mut used) = (Vec::new(), BTreeSet::new());
    for Statement { place, sql } in &statements() {
        for step in plan(&connection, sql) {
            // One row for a tenant: the table of tenants itself.
            if !step.ends_with("(tenant=?)") || step.contains(" tenants ") {
                continue;
            }
            match WALKS.iter().find(|(allowed, _)| allowed == place) {
                Some((allowed, _)) => drop(used.insert(*allowed)),
                None => findings.push(format!("{place}: {step}\n{sql}")),
            }
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n\n"));
    let allowed: BTreeSet<_> = WALKS.iter().map(|(place, _)| *place).collect();
    assert_eq!(used, allowed, "what no longer walks leaves the list");
}

/// Text that is glued together can't be planned here, and invites injection.
#[test]
fn statements_are_static_text() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let glued = text.lines().filter(|line| line.contains("format!("));
        let verbs = ["SELECT ", "INSERT ", "UPDATE ", "DELETE "];
        let glued = glued.filter(|line| verbs.iter().any(|verb| line.contains(verb)));
        assert_eq!(glued.collect::<Vec<_>>(), Vec::<&str>::new(), "{}", path.display());
    }
}
