//! The layers, read from the imports, and what keeps the house tidy. After `HOUSE.md` section 1:
//!
//! ```text
//! domain  →  engine  →  store  →  service  →  http | worker | cli  →  main
//! ```

use std::collections::BTreeSet;

use crate::sources::{Names, Source, root, sources};

/// What each layer may name, besides itself. An arrow is transitive: `http` may use `store`'s
/// types (see [`STORE_IN_HTTP`]).
///
/// Of the four files beside the layers, `error` is for everyone but the engine, which can't fail;
/// `clock` for who decides what time it is; `telemetry` for the front doors. `config` puts the
/// settings of all layers together, so only the command line names it.
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("telemetry", &[]),
    ("clock", &["domain"]),
    ("domain", &["error"]),
    ("engine", &["domain"]),
    ("store", &["domain", "engine", "error", "clock"]),
    ("service", &["domain", "engine", "store", "error", "clock"]),
    ("http", &["domain", "engine", "store", "service", "error", "clock", "telemetry"]),
    ("worker", &["domain", "engine", "store", "service", "error", "clock", "telemetry"]),
    ("config", &["domain", "engine", "store", "service", "http", "error", "clock", "telemetry"]),
    (
        "cli",
        &[
            "domain",
            "engine",
            "store",
            "service",
            "http",
            "worker",
            "error",
            "clock",
            "config",
            "telemetry",
        ],
    ),
    // Declares every module and uses none.
    ("lib", &[]),
    ("main", &["entitled"]),
];

/// Who alone may name these crates.
const OWNERS: &[(&[&str], &[&str])] = &[
    (&["rusqlite", "r2d2", "r2d2_sqlite", "refinery"], &["store"]),
    (&["poem", "poem_openapi", "hyper", "hyper_util", "http_body", "http_body_util"], &["http"]),
    (&["clap", "clap_complete", "clap_mangen"], &["cli", "main"]),
    (&["figment"], &["config", "cli"]),
    (&["jsonwebtoken"], &["service"]),
    (&["cel"], &["domain"]),
];

/// The engine is a function: it can't wait, log or count. What it needs is an argument.
const NOT_IN_THE_CORE: [&str; 6] =
    ["tokio", "tracing", "metrics", "getrandom", "rand", "std::time::SystemTime"];

/// The files of `http` that name `store`: rows and filters that the service hands on as they are.
/// This list only ever shrinks.
const STORE_IN_HTTP: [&str; 6] = [
    "src/http/api/audit.rs",
    "src/http/api/catalogs.rs",
    "src/http/api/contexts.rs",
    "src/http/api/overrides.rs",
    "src/http/api/roles.rs",
    "src/http/api/tenants.rs",
];

/// The callers of `Store::write`: `change`, which writes the audit events beside the change, and
/// what changes nothing that is audited: notes of uses, activity, and evidence. This list only ever shrinks.
const WRITERS: [&str; 6] = [
    "src/service/activity.rs flush_activity",
    "src/service/activity.rs prune_activity",
    "src/service/evidence.rs flush_evidence",
    "src/service/evidence.rs prune_evidence",
    "src/service/mod.rs change",
    "src/service/mod.rs record_uses",
];

/// Functions of more than 100 lines. This list only ever shrinks.
const LONG_FUNCTIONS: [&str; 0] = [];

const MOST_LINES: usize = 600;
const MOST_LINES_OF_A_FUNCTION: usize = 100;

fn fail_with(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// Else every test below could pass by seeing nothing.
#[test]
fn the_reader_of_imports_sees_them_all() {
    let text = r#"
        use crate::{store::{self, sql::Count as C}, http::*};
        #[derive(poem_openapi::Object)]
        struct S(clap::Parser);
        #[cfg(test)]
        mod tests { use crate::cli; }
        async fn f(s: &S) -> rusqlite::Result<()> {
            let x = format!("{}", crate::worker::run(Instant::now()));
            self.store.write(|tx| tx).await;
            s.store().write(1)
        }
    "#;
    let source = Source { name: "src/engine/x.rs".into(), text: text.into() };
    let names = Names::of(&source, false);
    assert_eq!(names.modules(), BTreeSet::from(["http", "store", "worker"]));
    for name in ["poem_openapi", "clap", "rusqlite"] {
        assert!(names.crates().contains(name), "{name}");
    }
    assert!(names.paths.contains("Instant::now"), "{:?}", names.paths);
    assert_eq!(names.asyncs, 1);
    let write = |receiver: &str| (receiver.to_owned(), "f".to_owned());
    assert_eq!(names.writes, [write("store"), write("store")]);
    assert!(Names::of(&source, true).modules().contains("cli"));
    let long = format!("    fn f() {{\n{}    }}\n", "        x();\n".repeat(100));
    assert_eq!(long_functions("x", &long.lines().collect::<Vec<_>>()), ["x f"]);
}

#[test]
fn arrows_between_layers_only_point_forward() {
    let mut findings = Vec::new();
    for source in sources("src", &["rs"]) {
        let layer = source.layer();
        let found = LAYERS.iter().find(|(name, _)| *name == layer);
        let (_, may) = found.unwrap_or_else(|| panic!("{layer} is in no layer; say which"));
        let names = Names::of(&source, true);
        for module in names.modules() {
            let known = LAYERS.iter().any(|(name, _)| *name == module);
            if known && module != layer && !may.contains(&module) {
                findings.push(format!("{} uses {module}, which comes after it", source.name));
            }
        }
    }
    fail_with(&findings);
}

#[test]
fn each_crate_is_named_by_its_owner_alone() {
    let mut findings = Vec::new();
    for source in sources("src", &["rs"]) {
        let names = Names::of(&source, true);
        for name in names.crates() {
            let owned = OWNERS.iter().find(|(crates, _)| crates.contains(&name));
            if let Some((_, owners)) = owned
                && !owners.contains(&source.layer())
            {
                findings.push(format!("{} names {name}; only {owners:?} may", source.name));
            }
        }
    }
    fail_with(&findings);
}

#[test]
fn the_store_in_http_is_known_by_name() {
    let http = sources("src/http", &["rs"]);
    let named = http.iter().filter(|source| Names::of(source, false).modules().contains("store"));
    let named: Vec<_> = named.map(|source| source.name.as_str()).collect();
    assert_eq!(named, STORE_IN_HTTP);
}

#[test]
fn the_core_reads_no_clock_and_waits_for_nothing() {
    let mut findings = Vec::new();
    let core = sources("src/engine", &["rs"]).into_iter().chain(sources("src/domain", &["rs"]));
    for source in core.filter(|source| !source.is_test()) {
        let names = Names::of(&source, false);
        if names.asyncs > 0 {
            findings.push(format!("{} waits", source.name));
        }
        for path in &names.paths {
            let reads = ["Instant", "SystemTime", "Instant::now", "SystemTime::now", "Utc::now"];
            let a_clock =
                reads.iter().any(|clock| path == clock || path.ends_with(&format!("::{clock}")));
            let beyond = NOT_IN_THE_CORE.contains(&path.split("::").next().unwrap());
            if a_clock || beyond || path == "std::time::SystemTime" {
                findings.push(format!("{} names {path}", source.name));
            }
        }
    }
    fail_with(&findings);
}

#[test]
fn only_a_change_with_its_audit_events_writes() {
    let mut writers = Vec::new();
    for source in sources("src", &["rs"]).iter().filter(|source| source.layer() != "store") {
        let names = Names::of(source, true);
        let to_store = names.writes.into_iter().filter(|(receiver, _)| receiver == "store");
        writers.extend(to_store.map(|(_, function)| format!("{} {function}", source.name)));
    }
    assert_eq!(writers, WRITERS);
    let store = std::fs::read_to_string(root().join("src/store/mod.rs")).unwrap();
    assert!(store.contains("pub(crate) async fn write<"), "nobody outside may write");
}

#[test]
fn no_file_and_no_function_is_too_long() {
    let (mut findings, mut long) = (Vec::new(), Vec::new());
    for source in sources("src", &["rs"]) {
        let lines: Vec<_> = source.text.lines().collect();
        if lines.len() > MOST_LINES {
            findings.push(format!("{} has {} lines", source.name, lines.len()));
        }
        long.extend(long_functions(&source.name, &lines));
    }
    fail_with(&findings);
    assert_eq!(long, LONG_FUNCTIONS, "this list only ever shrinks");
}

/// rustfmt puts the brace that ends a function under the `fn` that begins it.
fn long_functions(name: &str, lines: &[&str]) -> Vec<String> {
    let head = regex::Regex::new(
        r#"^( *)(?:pub(?:\([a-z: ]+\))? )?(?:const |async |unsafe |extern "C" )*fn (\w+)"#,
    );
    let head = head.unwrap();
    let mut long = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(found) = head.captures(line) else { continue };
        let end = format!("{}}}", &found[1]);
        let rest = lines.iter().skip(at);
        let length = rest.take_while(|line| **line != end).count() + 1;
        let is_one_line = line.ends_with('}') || line.ends_with(';');
        if !is_one_line && length > MOST_LINES_OF_A_FUNCTION {
            long.push(format!("{name} {}", &found[2]));
        }
    }
    long
}

#[test]
fn nothing_is_left_lying_about() {
    // In two parts, or this file would be found.
    let words = [("TO", "DO"), ("FIX", "ME"), ("db", "g!("), ("X", "XX ")];
    let machine = [("/wo", "rk/"), ("/ho", "me/"), ("/ro", "ot/"), ("/Us", "ers/"), ("C:", "\\\\")];
    let unwanted = words.iter().chain(&machine).map(|(a, b)| format!("{a}{b}"));
    let unwanted: Vec<String> = unwanted.collect();
    let mut findings = Vec::new();
    let kinds = ["rs", "md", "sql", "yaml", "yml", "toml", "json"];
    for folder in ["src", "tests", "docs", "migrations", "examples", "openapi", "benches", "deploy"]
    {
        for source in sources(folder, &kinds) {
            for (at, line) in source.text.lines().enumerate() {
                if let Some(word) = unwanted.iter().find(|word| line.contains(*word)) {
                    findings.push(format!("{}:{}: {word}", source.name, at + 1));
                }
            }
        }
    }
    fail_with(&findings);
}
