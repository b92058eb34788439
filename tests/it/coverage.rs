//! Route coverage: an application's routes held against the catalog, by API and command line.

use serde_json::{Value, json};

use crate::{
    cli::entitled,
    harness::{App, ROOT_KEY},
};

const PATH: &str = "/api/v1/admin/routes/coverage";

const CATALOG: &str = "
modules:
  retail: {name: Retail}
features:
  reports: {name: Reports, type: boolean}
guards:
  tills.open: {module: retail}
  tills.forgotten: {module: retail}
routes:
  - {path: '/pos/**', module: retail}
  - {methods: [GET], path: '/items/{id}', features: [reports]}
  - {methods: [POST], path: /tills, guard: tills.open}
  - {path: /healthz, public: true}
  - {path: '/assets/**', public: true}
  - {path: '/assets/private', module: retail}
  - {path: '/me/**', allow_blocked: true}
";

async fn app() -> App {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    app
}

async fn report(app: &App, body: Value) -> Value {
    app.root().post(PATH, body).await.expect(200).body
}

/// The program against this server: its exit code and what it printed.
async fn run_against(app: &App, args: &[&str]) -> (i32, String) {
    let mut command = entitled(args);
    command.env("ENTITLED_URL", format!("http://{}", app.address)).env("ENTITLED_KEY", ROOT_KEY);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// `METHOD path` of each route of a list.
fn named(list: &Value) -> Vec<String> {
    let name = |route: &Value| {
        let method = route["method"].as_str().unwrap_or("ANY");
        format!("{method} {}", route["path"].as_str().unwrap())
    };
    list.as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn each_route_is_covered_public_or_forgotten() {
    let app = app().await;
    let report = report(
        &app,
        json!({"routes": [
            "GET /pos", "POST /pos/sales/{id}/refund", "GET /items/:id", "POST /items/:id",
            "/items/:id", "GET /items/{id}/parts", "POST /tills", "PUT /tills", "GET /healthz",
            "GET /assets/logo.svg", "/assets/*", "GET /me", "/"
        ]}),
    )
    .await;
    let covered =
        ["GET /pos", "POST /pos/sales/{id}/refund", "GET /items/:id", "POST /tills", "GET /me"];
    assert_eq!(named(&report["covered"]), covered);
    assert_eq!(named(&report["public"]), ["GET /healthz", "GET /assets/logo.svg", "ANY /assets/*"]);
    let uncovered =
        ["POST /items/:id", "ANY /items/:id", "GET /items/{id}/parts", "PUT /tills", "ANY /"];
    assert_eq!(named(&report["uncovered"]), uncovered);
    assert_eq!(report["unused_guards"], json!(["tills.forgotten"]));
    assert_eq!(report["default_route"], "deny");
    assert_eq!(report["covered"][2]["by"], "/items/{id}");
    assert_eq!(report["covered"][2]["features"], json!(["reports"]));
    assert_eq!(report["covered"][4]["allow_blocked"], true);
}

#[tokio::test]
async fn an_open_api_document_is_read_with_the_path_of_its_server() {
    let app = app().await;
    let document = json!({
        "openapi": "3.1.0",
        "servers": [{"url": "https://shop.example/pos"}],
        "paths": {
            "/sales": {"get": {}, "post": {}, "parameters": [], "description": "Sales"},
            "/sales/{id}": {"delete": {}}
        }
    });
    let found = report(&app, json!({"openapi": document})).await;
    let covered = ["GET /pos/sales", "POST /pos/sales", "DELETE /pos/sales/{id}"];
    assert_eq!(named(&found["covered"]), covered);
    assert_eq!(found["uncovered"], json!([]));
}

/// The product holds itself to it: its own document can be read.
#[tokio::test]
async fn the_services_own_document_is_one_that_can_be_read() {
    let app = app().await;
    let document: Value = serde_json::from_str(include_str!("../../openapi/openapi.json")).unwrap();
    let found = report(&app, json!({"openapi": document})).await;
    assert!(found["uncovered"].as_array().unwrap().len() > 50);
}

#[tokio::test]
async fn what_can_not_be_read_is_named_entry_by_entry() {
    let app = app().await;
    let fields = async |body: Value| {
        let problem = app.root().post(PATH, body).await.expect_problem(422, "INVALID_VALUE");
        let fields = problem.body["fields"].as_object().unwrap().clone();
        fields.keys().cloned().collect::<Vec<_>>()
    };
    let bad = json!({"routes": ["GET /a", "a/b", "GET", "G3T /a"]});
    assert_eq!(fields(bad).await, ["routes[1]", "routes[2]", "routes[3]"]);
    assert_eq!(fields(json!({})).await, ["routes"]);
    assert_eq!(fields(json!({"routes": [], "openapi": {}})).await, ["routes"]);
    assert_eq!(fields(json!({"routes": []})).await, ["routes"]);
    assert_eq!(fields(json!({"openapi": {"swagger": "2.0"}})).await, ["openapi"]);
}

#[tokio::test]
async fn the_command_exits_with_one_where_anything_is_forgotten() {
    let app = app().await;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let held = write("held.txt", "# The shop\nGET /pos/sales\n\nGET /healthz\n");
    let forgotten = write("forgotten.yaml", "- GET /pos/sales\n- {method: GET, path: /admin}\n");
    let catalog = write("catalog.yaml", CATALOG);
    let run = async |file: &str, more: &[&str]| {
        let mut args = vec!["routes", "coverage", file];
        args.extend(more);
        run_against(&app, &args).await
    };
    for more in [&[] as &[&str], &["--catalog", &catalog]] {
        let (code, out) = run(&held, more).await;
        assert_eq!(code, 0, "{out}");
        assert!(out.contains("1 covered, 1 public, 0 uncovered"), "{out}");
        assert!(out.contains("no route asks the guard tills.forgotten"), "{out}");
        let (code, out) = run(&forgotten, more).await;
        assert_eq!(code, 1, "{out}");
        assert!(out.lines().any(|line| line.contains("uncovered") && line.contains("/admin")));
    }
    let (code, out) = run(&held, &["--json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, named(&report["covered"])), (0, vec!["GET /pos/sales".to_owned()]));
}
