//! Who may do what, on every operation of the document: nobody without a credential, no role beyond
//! the table, no caller beyond its tenant.

use std::fmt::Write;

use entitled::{
    domain::{callers::OperatorRole, checks::Mode},
    http::pages,
    service::permissions::{Permission, Reach, allows},
};
use reqwest::Method;
use rusqlite::{Connection, OpenFlags, types::Value as Cell};
use serde_json::{Value, json};

use crate::{
    harness::{App, Client, Reply},
    operations::{Operation, operations, subject},
};

/// What anybody may read. This list only ever shrinks.
const PUBLIC: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"];

/// Every operator role, bound to `tenant` where it can be: seven kinds of callers.
fn principals(tenant: &str) -> Vec<(OperatorRole, Option<&str>)> {
    let mut all = Vec::new();
    for role in OperatorRole::ALL {
        if !role.needs_tenant() {
            all.push((role, None));
        }
        if role.may_have_tenant() {
            all.push((role, Some(tenant)));
        }
    }
    all
}

fn permission(operation: &Operation) -> Permission {
    let name = operation.permission().unwrap_or_else(|| panic!("{} is public", operation.id));
    let known = Permission::ALL.iter().find(|known| known.as_str() == name);
    *known.unwrap_or_else(|| panic!("{} needs the unknown {name}", operation.id))
}

/// Everything in the database as text, but for what merely notes that something was read.
pub fn dump(app: &App) -> String {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(&app.database, flags).unwrap();
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    let mut tables = connection.prepare(tables).unwrap();
    let tables = tables.query_map([], |row| row.get(0)).unwrap();
    let mut text = String::new();
    for table in tables.map(Result::<String, _>::unwrap) {
        let mut rows = connection.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let columns = rows.column_count();
        let rows = rows.query_map([], |row| {
            let cells: Result<Vec<Cell>, _> = (0..columns).map(|at| row.get(at)).collect();
            Ok(format!("{table}: {:?}", cells?))
        });
        let mut rows: Vec<String> = rows.unwrap().map(Result::unwrap).collect();
        rows.sort();
        rows.iter().for_each(|row| writeln!(text, "{row}").unwrap());
    }
    text
}

/// The rows in a dump that name this tenant.
fn rows_of(dump: &str, tenant: &str) -> usize {
    let cell = format!("Text(\"{tenant}\")");
    dump.lines().filter(|row| row.contains(&cell)).count()
}

#[test]
fn every_operation_names_a_permission_and_nothing_else_is_public() {
    assert_eq!(pages::PATHS, PUBLIC);
    for operation in operations() {
        permission(&operation);
        let security = operation.declared["security"].as_array().unwrap();
        let schemes: Vec<_> = security.iter().map(|of| of.as_object().unwrap().keys()).collect();
        assert_eq!(schemes.len(), 2, "{}", operation.id);
        assert!(schemes.into_iter().flatten().eq(["bearer", "api_key"]), "{}", operation.id);
    }
}

#[test]
fn every_permission_is_used_by_an_operation_or_is_for_later() {
    let later: [Permission; 0] = [];
    for permission in Permission::ALL {
        let mut all = operations().into_iter();
        let used = all.any(|operation| operation.permission() == Some(permission.as_str()));
        assert_ne!(used, later.contains(permission), "{permission:?}");
    }
}

#[tokio::test]
async fn what_is_public_answers_anybody_and_nothing_beside_it_does() {
    let app = App::start().await;
    for path in PUBLIC {
        let reply = app.nobody().get(path).await;
        assert!([200, 404].contains(&reply.status), "{path}: {}", reply.status);
    }
    for path in ["/", "/api", "/api/v1", "/docs/x", "/metrics/x", "/api/v1/admin", "/%2e%2e/x"] {
        app.nobody().get(path).await.expect_problem(404, "UNKNOWN_PATH");
    }
}

#[tokio::test]
async fn a_role_may_exactly_what_the_table_says_on_its_own_tenant() {
    let mut asked = 0;
    for (role, tenant) in principals("own") {
        let app = App::retail().await;
        let own = subject(&app, "own").await;
        let caller = app.caller(role, tenant, "ada");
        for operation in operations() {
            let before = dump(&app);
            let reply = operation.send(&caller, &own).await;
            let Operation { id, .. } = &operation;
            let what = format!("{id} by {role:?} of {tenant:?}: {} {:#}", reply.status, reply.body);
            // Users without a tenant are the matter of callers without one.
            let is_bound = tenant.is_some() && operation.path.starts_with("/api/v1/users/");
            if is_bound || allows(role, permission(&operation)) == Reach::None {
                reply.expect_problem(403, "FORBIDDEN");
                assert_eq!(dump(&app), before, "{what}");
            } else {
                assert!(![401, 403].contains(&reply.status), "{what}");
                assert!(reply.status < 500, "{what}");
                // The examples are good ones: what is permitted succeeds, but for a caller's own
                // tenant where it has none.
                let needs_own = ["get_my_entitlements", "get_billing_entitlements"];
                let expected_404 = tenant.is_none() && needs_own.contains(&id.as_str());
                assert_eq!(reply.status == 404, expected_404, "{what}");
                assert!(expected_404 || reply.status < 300, "{what}");
            }
            asked += 1;
        }
    }
    println!("{asked} operations × callers");
    assert_eq!(asked, operations().len() * 7);
}

#[tokio::test]
async fn an_auditor_changes_nothing() {
    let app = App::retail().await;
    let own = subject(&app, "own").await;
    let before = dump(&app);
    for operation in operations() {
        operation.send(&app.caller(OperatorRole::Auditor, None, "ada"), &own).await;
    }
    assert_eq!(dump(&app), before);
}

/// The answer without what must differ: ids, and the key that was asked for.
fn bare(reply: &Reply, tenant: &str) -> (u16, Value) {
    fn strip(value: &mut Value, tenant: &str) {
        match value {
            Value::Object(object) => {
                object.remove("request_id");
                object.values_mut().for_each(|value| strip(value, tenant));
            }
            Value::Array(list) => list.iter_mut().for_each(|value| strip(value, tenant)),
            Value::String(text) => *text = text.replace(tenant, "…"),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut body = reply.body.clone();
    strip(&mut body, tenant);
    (reply.status, body)
}

#[tokio::test]
async fn another_tenant_looks_like_one_that_does_not_exist_and_stays_as_it_is() {
    let app = App::retail().await;
    let theirs = subject(&app, "theirs").await;
    subject(&app, "own").await;
    let missing = crate::operations::Subject { tenant: "nobody".into(), ..theirs.clone() };
    let before = dump(&app);
    assert!(rows_of(&before, "theirs") >= 6, "a dump without the rows shows nothing");

    let (mut hidden, mut refused) = (0, 0);
    for (role, tenant) in principals("own").into_iter().filter(|(_, tenant)| tenant.is_some()) {
        let caller = app.caller(role, tenant, "ada");
        for operation in operations().into_iter().filter(Operation::names_tenant) {
            let reply = operation.send(&caller, &theirs).await;
            let id = &operation.id;
            let what = format!("{id} by {role:?}: {} {:#}", reply.status, reply.body);
            if allows(role, permission(&operation)) == Reach::None {
                reply.expect_problem(403, "FORBIDDEN");
                refused += 1;
                continue;
            }
            let as_missing = operation.send(&caller, &missing).await;
            assert_eq!(bare(&reply, "theirs"), bare(&as_missing, "nobody"), "{what}");
            let mut headers = [reply.headers.clone(), as_missing.headers.clone()];
            for headers in &mut headers {
                for name in ["x-request-id", "date", "content-length"] {
                    headers.remove(name);
                }
            }
            assert_eq!(headers[0], headers[1], "{what}");
            match id.as_str() {
                "check_batch" => {
                    let item = &reply.expect(200).body["results"][0];
                    assert_eq!(item["problem"]["code"], "TENANT_NOT_FOUND", "{what}");
                    assert_eq!(item["decision"], Value::Null, "{what}");
                }
                _ => drop(reply.expect_problem(404, "TENANT_NOT_FOUND")),
            }
            hidden += 1;
        }
    }
    println!("{hidden} hidden, {refused} refused");
    assert!(hidden >= 12 && refused >= 30, "{hidden} hidden, {refused} refused");
    assert_eq!(dump(&app), before);
}

#[tokio::test]
async fn a_question_without_a_tenant_is_about_the_own_one() {
    let app = App::retail().await;
    subject(&app, "own").await;
    subject(&app, "theirs").await;
    app.assign("theirs", "enterprise", json!({})).await;
    for (role, tenant) in principals("own").into_iter().filter(|(_, tenant)| tenant.is_some()) {
        let caller = app.caller(role, tenant, "ada");
        let answer = caller.post("/api/v1/check", json!({"module": "zf"})).await.expect(200);
        assert_eq!(answer.body["allowed"], false, "{role:?}");
        for path in ["/api/v1/me/entitlements", "/api/billing/entitlements"] {
            assert_eq!(caller.get(path).await.expect(200).body["tenant"], "own", "{role:?}");
        }
        let me = caller.get("/api/v1/me").await.expect(200).body;
        assert_eq!(me["entitlements"]["tenant"], "own", "{role:?}");
        assert!(!me.to_string().contains("theirs"), "{role:?}");
    }
}

/// `check`, and the payload, as asked by `caller` about `user`.
async fn about(caller: &Client<'_>, user: &str) -> [Reply; 3] {
    let question = json!({"tenant": "own", "module": "common", "user": user});
    let payload = format!("?user={user}");
    [
        caller.post("/api/v1/check", question).await,
        caller.get(&format!("/api/v1/tenants/own/entitlements{payload}")).await,
        caller.get(&format!("/api/v1/orgs/own/entitlements{payload}")).await,
    ]
}

#[tokio::test]
async fn who_is_bound_speaks_for_itself_alone() {
    let app = App::retail().await;
    subject(&app, "own").await;
    for (role, tenant) in principals("own").into_iter().filter(|(_, tenant)| tenant.is_some()) {
        let caller = app.caller(role, tenant, "ada");
        for reply in about(&caller, "ada").await {
            assert_eq!(reply.status, 200, "{role:?} {:#}", reply.body);
        }
        for reply in about(&caller, "bob").await {
            reply.expect_problem(403, "FORBIDDEN");
        }
        for mode in ["platform", "impersonation", "internal"] {
            let question = json!({"tenant": "own", "module": "common", "mode": mode});
            let reply = caller.post("/api/v1/check", question).await;
            reply.expect_problem(403, "FORBIDDEN");
            let path = format!("/api/v1/tenants/own/entitlements?mode={mode}");
            caller.get(&path).await.expect_problem(403, "FORBIDDEN");
        }
        let batch = json!({"checks": [{"module": "common", "user": "bob"}, {"module": "common"}]});
        let batch = caller.post("/api/v1/check/batch", batch).await.expect(200).body;
        assert_eq!(batch["results"][0]["problem"]["code"], "FORBIDDEN", "{role:?}");
        assert_eq!(batch["results"][1]["decision"]["allowed"], true, "{role:?}");
    }
}

#[tokio::test]
async fn a_person_who_names_nobody_is_asked_about() {
    let app = App::retail().await;
    subject(&app, "own").await;
    let user = app.caller(OperatorRole::TenantUser, Some("own"), "ada");
    let path = "/api/v1/tenants/own/entitlements";
    assert_eq!(user.get(path).await.expect(200).body["user"], "ada");
    assert_eq!(user.get("/api/v1/me/entitlements").await.expect(200).body["user"], "ada");
}

#[tokio::test]
async fn who_is_unbound_may_speak_for_others_but_an_auditor() {
    let app = App::retail().await;
    subject(&app, "own").await;
    for (role, _) in principals("own").into_iter().filter(|(_, tenant)| tenant.is_none()) {
        let caller = app.caller(role, None, "ada");
        for reply in about(&caller, "bob").await {
            match role {
                OperatorRole::Auditor => drop(reply.expect_problem(403, "FORBIDDEN")),
                _ => drop(reply.expect(200)),
            }
        }
    }
}

#[tokio::test]
async fn an_impersonator_is_named_and_gains_nothing() {
    let app = App::retail().await;
    subject(&app, "own").await;
    let role = OperatorRole::TenantUser;
    let token = app.token(role, Some("own"), "ada", Mode::Impersonation, Some("support-1"));
    let caller = app.bearer(&token);
    let me = caller.get("/api/v1/me").await.expect(200).body;
    assert_eq!(me["principal"]["impersonator"], "support-1");
    caller.get("/api/v1/admin/tenants").await.expect_problem(403, "FORBIDDEN");
    let reply = caller.send(Method::GET, "/api/v1/tenants/theirs/entitlements", None, &[]).await;
    reply.expect_problem(404, "TENANT_NOT_FOUND");
}
