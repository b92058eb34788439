//! The tree of contexts: made, moved, read, removed, and never out of shape.

use entitled::domain::{callers::OperatorRole, contexts::MAX_DEPTH};
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    authorization::dump,
    given::column,
    harness::{App, Reply},
};

const ALL: &str = "/api/v1/tenants/shop/contexts";

/// `{"type": "branch", "id": "b1"}` for `branch:b1`.
pub fn named(context: &str) -> Value {
    let (kind, id) = context.split_once(':').unwrap();
    json!({"type": kind, "id": id})
}

/// Makes or moves a context.
pub async fn put(app: &App, tenant: &str, context: &str, parent: Option<&str>) -> Reply {
    let body = parent.map_or(json!({}), |parent| json!({"parent": named(parent)}));
    let path = format!("/api/v1/tenants/{tenant}/contexts/{}", context.replace(':', "/"));
    app.backend().put(&path, body).await
}

async fn shop() -> App {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    app
}

/// Refused with 422 for this field, with a message that has these words.
#[track_caller]
fn refused(reply: Reply, field: &str, words: &str) {
    let reply = reply.expect_problem(422, "INVALID_VALUE");
    let message = reply.body["fields"][field].to_string();
    assert!(message.contains(words), "{:#}", reply.body);
}

#[tokio::test]
async fn a_context_is_made_moved_read_and_removed() {
    let app = shop().await;
    put(&app, "shop", "region:north", None).await.expect(201);
    let made = put(&app, "shop", "branch:b1", Some("region:north")).await.expect(201);
    assert_eq!(made.header("location"), "/api/v1/tenants/shop/contexts/branch/b1");
    assert_eq!(made.body["parent"], named("region:north"));
    let path = format!("{ALL}/branch/b1");
    let read = app.backend().get(&path).await.expect(200);
    assert_eq!((&read.body, read.header("etag")), (&made.body, made.header("etag")));

    // The same again changes nothing.
    let again = put(&app, "shop", "branch:b1", Some("region:north")).await.expect(200);
    assert_eq!((&again.body, again.header("etag")), (&made.body, made.header("etag")));
    let moved = put(&app, "shop", "branch:b1", None).await.expect(200);
    assert_eq!(moved.body["parent"], Value::Null);
    assert_ne!(moved.header("etag"), made.header("etag"));

    let stale = [("If-Match", made.header("etag"))];
    let backend = app.backend();
    let late = backend.send(Method::PUT, &path, Some(json!({})), &stale).await;
    late.expect_problem(412, "PRECONDITION_FAILED");
    backend.send(Method::DELETE, &path, None, &stale).await.expect(412);
    backend
        .send(Method::DELETE, &path, None, &[("If-Match", moved.header("etag"))])
        .await
        .expect(204);
    backend.get(&path).await.expect_problem(404, "NOT_FOUND");
    backend.delete(&path).await.expect_problem(404, "NOT_FOUND");

    let events = app.events("tenant=shop&event=context.").await;
    let told: Vec<_> = events.iter().map(|e| format!("{} {}", e["event"], e["subject"])).collect();
    let expected = [
        r#""context.created" "region:north""#,
        r#""context.created" "branch:b1""#,
        r#""context.moved" "branch:b1""#,
        r#""context.removed" "branch:b1""#,
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_tree_has_no_unknown_parents_and_no_circles() {
    let app = shop().await;
    for (context, parent) in
        [("region:r", None), ("branch:b", Some("region:r")), ("till:t", Some("branch:b"))]
    {
        put(&app, "shop", context, parent).await.expect(201);
    }
    let before = dump(&app);
    refused(put(&app, "shop", "till:u", Some("branch:x")).await, "parent", "make it first");
    refused(put(&app, "shop", "region:r", Some("region:r")).await, "parent", "below itself");
    refused(put(&app, "shop", "region:r", Some("till:t")).await, "parent", "circle");
    refused(put(&app, "shop", "tenant:t", None).await, "type", "no type of context");
    refused(put(&app, "shop", "platform:p", None).await, "type", "no type of context");
    for body in [json!({"parent": ["region", "r"]}), json!({"above": null})] {
        let bad = app.backend().put(&format!("{ALL}/branch/b2"), body).await;
        bad.expect_problem(422, "INVALID_VALUE");
    }
    put(&app, "nobody", "branch:b", None).await.expect_problem(404, "TENANT_NOT_FOUND");
    assert_eq!(dump(&app), before);
}

#[tokio::test]
async fn a_tree_is_never_deeper_than_its_bound_also_where_a_subtree_moves() {
    let app = shop().await;
    let mut above = None;
    for level in 1..=MAX_DEPTH {
        let context = format!("level:l{level}");
        put(&app, "shop", &context, above.as_deref()).await.expect(201);
        above = Some(context);
    }
    refused(put(&app, "shop", "level:more", above.as_deref()).await, "parent", "at most 32");

    // Two levels fit below the thirtieth, and not below the one after it.
    put(&app, "shop", "branch:b", None).await.expect(201);
    put(&app, "shop", "till:t", Some("branch:b")).await.expect(201);
    refused(put(&app, "shop", "branch:b", Some("level:l31")).await, "parent", "33 levels");
    put(&app, "shop", "branch:b", Some("level:l30")).await.expect(200);
    put(&app, "shop", "region:top", None).await.expect(201);
    refused(put(&app, "shop", "level:l1", Some("region:top")).await, "parent", "33 levels");
    // What the tree had before may move within it.
    put(&app, "shop", "level:l2", None).await.expect(200);
    put(&app, "shop", "level:l2", Some("region:top")).await.expect(200);
}

#[tokio::test]
async fn a_context_in_use_is_not_removed() {
    let app = shop().await;
    put(&app, "shop", "region:r", None).await.expect(201);
    put(&app, "shop", "branch:b", Some("region:r")).await.expect(201);
    let roles = "/api/v1/tenants/shop/role-assignments";
    let ends = crate::given::day(1);
    let body = json!({"user": "ana", "role": "cashier", "context": named("branch:b"),
                      "expires_at": ends});
    app.backend().post(roles, body).await.expect(201);

    let backend = app.backend();
    let above = backend.delete(&format!("{ALL}/region/r")).await;
    let above = above.expect_problem(409, "CONTEXT_IN_USE");
    assert!(above.body["detail"].as_str().unwrap().contains("branch:b"), "{:#}", above.body);
    let held = backend.delete(&format!("{ALL}/branch/b")).await;
    let held = held.expect_problem(409, "CONTEXT_IN_USE");
    let detail = held.body["detail"].as_str().unwrap();
    assert!(detail.contains("cashier") && detail.contains("ana"), "{detail}");

    // What has ended holds nothing, and its end is recorded on the way.
    app.move_to_day(1);
    backend.delete(&format!("{ALL}/branch/b")).await.expect(204);
    backend.delete(&format!("{ALL}/region/r")).await.expect(204);
    let ended = app.events("tenant=shop&event=role.expired").await;
    assert_eq!(ended.len(), 1);
    let run =
        app.root().send(Method::POST, "/api/v1/admin/expiry/run", None, &[]).await.expect(200);
    assert_eq!(run.body["expired"], 0);
    assert_eq!(app.events("tenant=shop&event=role.expired").await, ended);
}

#[tokio::test]
async fn a_tenant_has_only_so_many_contexts() {
    let app = shop().await;
    put(&app, "shop", "branch:b1", None).await.expect(201);
    let connection = Connection::open(&app.database).unwrap();
    let counted: i64 =
        connection.query_row("SELECT contexts FROM context_counts", [], |row| row.get(0)).unwrap();
    assert_eq!(counted, 1);
    connection.execute("UPDATE context_counts SET contexts = 100000", []).unwrap();
    let refused = put(&app, "shop", "branch:b2", None).await;
    refused.expect_problem(409, "TOO_MANY_CONTEXTS");
    // Moving is no addition, and another tenant has its own.
    put(&app, "shop", "branch:b1", None).await.expect(200);
    app.tenant("other", json!({})).await;
    put(&app, "other", "branch:b2", None).await.expect(201);
    app.backend().delete(&format!("{ALL}/branch/b1")).await.expect(204);
    put(&app, "shop", "branch:b2", None).await.expect(201);
}

#[tokio::test]
async fn contexts_are_listed_in_pages_by_type_and_by_parent() {
    let app = shop().await;
    put(&app, "shop", "region:r", None).await.expect(201);
    for id in ["b3", "b1", "b2"] {
        put(&app, "shop", &format!("branch:{id}"), Some("region:r")).await.expect(201);
    }
    put(&app, "shop", "till:t", Some("branch:b1")).await.expect(201);
    app.tenant("other", json!({})).await;
    put(&app, "other", "branch:b9", None).await.expect(201);

    let backend = app.backend();
    let ids = async |query: &str| {
        let page = backend.get(&format!("{ALL}?{query}")).await.expect(200).body;
        column(&page, "id")
    };
    assert_eq!(ids("").await, ["b1", "b2", "b3", "r", "t"]);
    assert_eq!(ids("type=branch").await, ["b1", "b2", "b3"]);
    assert_eq!(ids("parent_type=region&parent_id=r").await, ["b1", "b2", "b3"]);
    assert_eq!(ids("parent_type=branch&parent_id=b1").await, ["t"]);
    assert_eq!(ids("parent_type=region&parent_id=r&type=till").await, [] as [&str; 0]);
    refused(backend.get(&format!("{ALL}?parent_id=r")).await, "parent_type", "parent_id");

    for filter in ["", "&parent_type=region&parent_id=r", "&type=branch"] {
        let first = backend.get(&format!("{ALL}?limit=2{filter}")).await.expect(200).body;
        assert_eq!(column(&first, "id"), ["b1", "b2"]);
        let cursor = first["next_cursor"].as_str().unwrap();
        assert_eq!(ids(&format!("limit=1&cursor={cursor}{filter}")).await, ["b3"]);
    }
}

#[tokio::test]
async fn a_tenants_admin_sees_its_contexts_and_a_bound_key_writes_only_its_own() {
    let app = shop().await;
    app.tenant("other", json!({})).await;
    put(&app, "shop", "branch:b", None).await.expect(201);
    let admin = app.caller(OperatorRole::TenantAdmin, Some("shop"), "ada");
    admin.get(ALL).await.expect(200);
    let path = |tenant: &str| format!("/api/v1/tenants/{tenant}/contexts/branch/n");
    admin.put(&path("shop"), json!({})).await.expect_problem(403, "FORBIDDEN");
    let bound = app.caller(OperatorRole::Service, Some("shop"), "key");
    bound.put(&path("shop"), json!({})).await.expect(201);
    bound.put(&path("other"), json!({})).await.expect_problem(404, "TENANT_NOT_FOUND");
    bound.get(&path("other")).await.expect_problem(404, "TENANT_NOT_FOUND");
}
