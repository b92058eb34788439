//! A database of each schema that there ever was comes up under this release with all that was in it.
//!
//! What an older release would hold is taken from a database of the newest schema with one of
//! everything: each row, in the columns that the older schema has.

use std::{collections::BTreeMap, path::Path};

use refinery::{Migration, Runner};
use rusqlite::{Connection, types::Value as Cell};

use crate::{
    cli::{ROOT, Running, ended, on, one_line, stdout},
    harness::App,
    operations::subject,
    sources::{root, sources},
};

/// As `src/store/open.rs` sets it.
const APPLICATION_ID: &str = "PRAGMA application_id";

/// All migrations: version, name as refinery takes it, statements.
fn migrations() -> Vec<(u32, String, String)> {
    let files = sources("migrations", &["sql"]).into_iter().map(|file| {
        let name = file.name.strip_prefix("migrations/").unwrap().strip_suffix(".sql").unwrap();
        let version = name[1..].split("__").next().unwrap().parse().unwrap();
        (version, name.to_owned(), file.text)
    });
    let mut all: Vec<(u32, String, String)> = files.collect();
    all.sort();
    all
}

/// A database with the first `count` migrations, and what the newest one holds of their tables.
fn older(newest: &Path, path: &Path, count: usize) {
    let mut conn = Connection::open(path).unwrap();
    let steps: Vec<_> = migrations().into_iter().take(count).collect();
    let steps: Vec<_> =
        steps.iter().map(|(_, name, sql)| Migration::unapplied(name, sql).unwrap()).collect();
    Runner::new(&steps).set_grouped(true).run(&mut conn).unwrap();
    conn.execute("ATTACH ?1 AS newest", [newest.to_str().unwrap()]).unwrap();
    let ours: i64 = conn.query_row("PRAGMA newest.application_id", [], |row| row.get(0)).unwrap();
    conn.execute_batch(&format!("{APPLICATION_ID} = {ours}; PRAGMA foreign_keys = OFF")).unwrap();
    for (table, columns) in tables(&conn, "main") {
        let columns: Vec<_> =
            columns.into_iter().filter(|column| has_column(&conn, &table, column)).collect();
        let columns = columns.join(", ");
        let copy = format!(
            "INSERT OR REPLACE INTO main.{table} ({columns}) SELECT {columns} FROM newest.{table}"
        );
        conn.execute_batch(&copy).unwrap_or_else(|error| panic!("{table}: {error}"));
    }
}

fn has_column(conn: &Connection, table: &str, column: &str) -> bool {
    let sql =
        "SELECT count(*) FROM pragma_table_xinfo(?1, 'newest') WHERE name = ?2 AND hidden = 0";
    let count: i64 = conn.query_row(sql, [table, column], |row| row.get(0)).unwrap();
    count == 1
}

/// The service's own tables, each with the columns that can be written.
fn tables(conn: &Connection, schema: &str) -> BTreeMap<String, Vec<String>> {
    let sql = format!(
        "SELECT t.name, c.name FROM {schema}.sqlite_schema t, pragma_table_xinfo(t.name, '{schema}') c
         WHERE t.type = 'table' AND c.hidden = 0 AND t.name NOT LIKE 'sqlite%'
           AND t.name <> 'refinery_schema_history' ORDER BY t.name, c.cid"
    );
    let mut found = BTreeMap::<String, Vec<String>>::new();
    let mut statement = conn.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    for row in rows {
        let (table, column): (String, String) = row.unwrap();
        found.entry(table).or_default().push(column);
    }
    found
}

/// Every row of these columns, in an order of its own.
fn rows(path: &Path, columns: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let conn = Connection::open(path).unwrap();
    let read = |(table, columns): (&String, &Vec<String>)| {
        let sql = format!("SELECT {} FROM {table}", columns.join(", "));
        let mut statement = conn.prepare(&sql).unwrap();
        let rows = statement
            .query_map([], |row| {
                let cells = (0..columns.len()).map(|at| row.get::<_, Cell>(at));
                cells.collect::<rusqlite::Result<Vec<_>>>().map(|cells| format!("{cells:?}"))
            })
            .unwrap();
        let mut rows: Vec<_> = rows.map(Result::unwrap).collect();
        rows.sort();
        (table.clone(), rows)
    };
    columns.iter().map(read).collect()
}

/// A database with one of everything, and some of it twice.
async fn populated() -> App {
    let app = App::retail().await;
    subject(&app, "acme").await;
    subject(&app, "beta").await;
    app
}

#[tokio::test]
async fn a_database_of_each_schema_comes_up_with_everything_that_was_in_it() {
    let app = populated().await;
    let newest = app.database.clone();
    let all = migrations();
    let work = move || {
        for count in 1..=all.len() {
            let (version, name, _) = &all[count - 1];
            let data = tempfile::tempdir().unwrap();
            let database = data.path().join("entitled.db");
            older(&newest, &database, count);
            let columns = tables(&Connection::open(&database).unwrap(), "main");
            let before = rows(&database, &columns);
            assert!(before["tenants"].len() == 2 && before["audit"].len() > 10, "{name}");

            let said = ended(&mut on(data.path(), "migrate"), 0);

            let expected = all.iter().skip(count).map(|(version, name, _)| {
                format!("applied {version} {}", name.split("__").nth(1).unwrap())
            });
            let expected = match expected.collect::<Vec<_>>() {
                nothing if nothing.is_empty() => "The schema is the newest already.".to_owned(),
                lines => lines.join("\n"),
            };
            assert_eq!(stdout(&said), expected, "from {version}");
            for (table, found) in rows(&database, &columns) {
                assert_eq!(found, before[&table], "{table} from {version}");
            }
            let conn = Connection::open(&database).unwrap();
            let sound: String =
                conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(sound, "ok", "from {version}");
            drop(conn);
            ended(crate::cli::entitled(&["audit", "verify", "--data"]).arg(data.path()), 0);
            answers(data.path(), *version);
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap();
    drop(app);
}

/// The service starts on it and decides by it.
fn answers(data: &Path, version: u32) {
    let running = Running::serve(data, &[("ENTITLED_ROOT_KEY", ROOT)]);
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    for (module, reason) in [("retail", "plan"), ("hr", "grant")] {
        let body = serde_json::json!({"tenant": "acme", "module": module});
        let request = client.post(format!("{}/api/v1/check", running.url())).bearer_auth(ROOT);
        let answer: serde_json::Value = request.json(&body).send().unwrap().json().unwrap();
        assert_eq!(answer["reason"], reason, "from {version}: {answer:#}");
    }
    assert_eq!(running.terminate(), Some(0));
}

#[test]
fn a_newer_schema_is_refused_and_left_as_it_is() {
    let data = tempfile::tempdir().unwrap();
    ended(&mut on(data.path(), "migrate"), 0);
    let database = data.path().join("entitled.db");
    let conn = Connection::open(&database).unwrap();
    let newer = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
                 SELECT max(version) + 1, 'later', applied_on, checksum FROM refinery_schema_history";
    conn.execute_batch(newer).unwrap();
    drop(conn);
    let before = std::fs::read(&database).unwrap();
    for command in ["migrate", "serve"] {
        let refused = ended(&mut on(data.path(), command), 76);
        assert!(one_line(&refused).contains("newer"), "{}", one_line(&refused));
    }
    assert_eq!(std::fs::read(&database).unwrap(), before);
    assert!(std::fs::read_to_string(root().join("docs/upgrade.md")).unwrap().contains("76"));
}
