//! Decisions over HTTP: the question, the answer, and who may ask what about whom.

use entitled::domain::{callers::OperatorRole, checks::Mode};
use serde_json::{Value, json};

use crate::{
    given::{column, day, shown},
    harness::{App, Given, Reply},
};

const CATALOG: &str = r#"
modules:
  common: {name: Common, access: always_on}
  retail: {name: Retail}
  dine: {name: Dine}
  crm: {name: CRM, seated: true}
  erp: {name: ERP, status: disabled}
features:
  multi_branch: {name: Multi-branch, type: boolean, module: retail}
  reports: {name: Reports, type: boolean}
  tables: {name: Tables, type: boolean, module: dine}
  branches: {name: Branches, type: limit}
  gone: {name: Gone, type: boolean, status: archived}
plans:
  starter: {name: Starter, rank: 10, modules: [retail], features: {branches: 1}}
  growth: {name: Growth, rank: 20, modules: [retail, dine, crm], features: {branches: 5, multi_branch: true, tables: true}}
guards:
  tills: {module: retail}
"#;

const CHECK: &str = "/api/v1/check";
const BATCH: &str = "/api/v1/check/batch";

/// Acme is on starter.
async fn acme() -> App {
    acme_given(Given::default()).await
}

pub async fn acme_given(given: Given) -> App {
    let app = App::given(given).await;
    app.apply_catalog(CATALOG).await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "starter", json!({})).await;
    app
}

async fn ask(app: &App, question: Value) -> Reply {
    app.backend().post(CHECK, question).await
}

/// The fields that a problem names.
#[track_caller]
fn fields(reply: Reply, code: &str) -> Vec<String> {
    let fields = reply.expect_problem(422, code).body["fields"].clone();
    fields.as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn an_allow_has_exactly_these_members() {
    let app = acme().await;
    let mut answer = app.check(json!({"tenant": "acme", "module": "retail"})).await;
    assert!(answer["version"].take().as_u64().unwrap() > 0);
    let expected = json!({
        "allowed": true, "reason": "plan", "code": null, "status": 200,
        "message": "Part of the plan Starter.", "fields": {}, "enforced": true,
        "would_allow": true, "source": {"kind": "plan", "plan": "starter", "plan_version": 1},
        "remedies": [], "limit": null, "data": null, "valid_until": null, "version": null,
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_refusal_has_exactly_these_members() {
    let app = acme().await;
    let mut answer = app.check(json!({"tenant": "acme", "features": ["tables"]})).await;
    answer["version"].take();
    let expected = json!({
        "allowed": false, "reason": "plan_limit", "code": "FEATURE_NOT_ENTITLED", "status": 402,
        "message": "Feature “tables” is not part of the plan Starter.",
        "fields": {"feature": ["tables"], "module": ["dine"]}, "enforced": true,
        "would_allow": false, "source": {"kind": "plan", "plan": "starter", "plan_version": 1},
        "remedies": [{"kind": "upgrade_plan", "plans": ["growth"]}], "limit": null, "data": null,
        "valid_until": null, "version": null,
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn the_version_steps_with_what_could_alter_the_answer() {
    let app = acme().await;
    let version = async || {
        let answer = app.check(json!({"tenant": "acme", "module": "retail"})).await;
        answer["version"].as_u64().unwrap()
    };
    let first = version().await;
    app.tenant("other", json!({})).await;
    assert_eq!(version().await, first);
    app.grant("acme", "dine", json!({"state": "enabled"})).await.expect(201);
    let second = version().await;
    assert!(second > first);
    let catalog = CATALOG.replace("name: Dine", "name: Diner").leak();
    app.apply_catalog(catalog).await;
    assert!(version().await > second);
}

#[tokio::test]
async fn all_or_any_of_several_features_may_be_needed() {
    let app = acme().await;
    app.grant("acme", "reports", json!({"state": "enabled"})).await.expect(201);
    let ask = async |features: Value, how: &str| {
        app.check(json!({"tenant": "acme", "features": features, "match": how})).await
    };
    let all = ask(json!(["reports", "multi_branch", "tables"]), "all").await;
    assert_eq!(shown(&all), "refused plan_limit FEATURE_NOT_ENTITLED 402");
    assert_eq!(all["fields"], json!({"feature": ["multi_branch"]}));
    let any = ask(json!(["multi_branch", "reports"]), "any").await;
    assert_eq!(shown(&any), "allowed grant");
    let none = ask(json!(["multi_branch", "tables"]), "any").await;
    let both = json!({"feature": ["multi_branch", "tables"], "module": ["dine"]});
    assert_eq!(none["fields"], both);
}

#[tokio::test]
async fn the_module_is_judged_before_the_features() {
    let app = acme().await;
    let question = json!({"tenant": "acme", "module": "dine", "features": ["branches"]});
    assert_eq!(app.ask(question).await, "refused plan_limit MODULE_NOT_ENTITLED 403");
}

#[tokio::test]
async fn a_question_may_be_asked_of_a_future_instant() {
    let app = acme().await;
    app.assign("acme", "growth", json!({"effective_from": day(5)})).await;
    let ask =
        async |at: String| app.check(json!({"tenant": "acme", "module": "dine", "at": at})).await;
    let before = ask(day(4)).await;
    assert_eq!((&before["allowed"], &before["valid_until"]), (&json!(false), &json!(day(5))));
    assert_eq!(shown(&ask(day(5)).await), "allowed plan");
    // The same instant, said with another offset.
    assert_eq!(shown(&ask("2026-03-06T13:00:00+01:00".into()).await), "allowed plan");
    assert_eq!(shown(&ask(day(0)).await), "refused plan_limit MODULE_NOT_ENTITLED 403");
}

#[tokio::test]
async fn the_past_can_not_be_asked() {
    let app = acme().await;
    app.move_to_day(3);
    for at in [day(2), "2026-03-09T12:00:00".into(), "tomorrow".into()] {
        let reply = ask(&app, json!({"tenant": "acme", "module": "dine", "at": at})).await;
        assert_eq!(fields(reply, "INVALID_VALUE"), ["at"]);
    }
}

#[tokio::test]
async fn an_explanation_shows_every_rule_and_every_layer() {
    let app = acme().await;
    app.grant("acme", "multi_branch", json!({"state": "disabled"})).await.expect(201);
    let mut question = json!({"tenant": "acme", "module": "retail", "features": ["multi_branch"]});
    let plain = app.check(question.clone()).await;
    question["explain"] = json!(true);

    let mut explained = app.check(question).await;

    let steps: Vec<Value> = explained["trace"]
        .take()
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            assert!(!step["fact"].as_str().unwrap().is_empty(), "{step:#}");
            json!([step["rule"], step["about"], step["outcome"]])
        })
        .collect();
    let retail = "retail";
    let expected = json!([
        [1, null, "pass"],
        [2, null, "pass"],
        [3, null, "pass"],
        [4, null, "pass"],
        [5, null, "pass"],
        [6, null, "pass"],
        [7, retail, "pass"],
        [8, retail, "pass"],
        [9, retail, "pass"],
        [10, retail, "pass"],
        [11, retail, "allow"],
        [7, "multi_branch", "pass"],
        [7, retail, "pass"],
        [9, "multi_branch", "pass"],
        [10, "multi_branch", "refuse"],
    ]);
    assert_eq!(json!(steps), expected);
    let layers = json!([
        {"key": "retail", "source": "plan", "plan": "starter", "enabled": true, "value": null,
         "until": null},
        {"key": "multi_branch", "source": "grant", "plan": null, "enabled": false, "value": null,
         "until": null},
        {"key": "multi_branch", "source": "plan", "plan": "starter", "enabled": false,
         "value": null, "until": null},
    ]);
    assert_eq!(explained["layers"].take(), layers);
    let object = explained.as_object_mut().unwrap();
    object.retain(|member, _| member != "trace" && member != "layers");
    assert_eq!(explained, plain);
}

#[tokio::test]
async fn an_unknown_key_is_an_error_that_names_the_nearest() {
    let app = acme().await;
    let question = json!({"tenant": "acme", "module": "retial",
                          "features": ["reports", "multibranch"]});
    let problem = ask(&app, question).await.expect_problem(422, "UNKNOWN_KEY").body;
    let (module, feature) = (&problem["fields"]["module"], &problem["fields"]["features[1]"]);
    assert!(module[0].as_str().unwrap().contains("“retail”"), "{problem:#}");
    assert!(feature[0].as_str().unwrap().contains("“multi_branch”"), "{problem:#}");
}

#[tokio::test]
async fn an_unknown_tenant_is_an_error() {
    let app = acme().await;
    let reply = ask(&app, json!({"tenant": "nobody", "module": "retail"})).await;
    reply.expect_problem(404, "TENANT_NOT_FOUND");
}

#[tokio::test]
async fn a_question_asks_for_something_about_somebody() {
    let app = acme().await;
    assert_eq!(fields(ask(&app, json!({"tenant": "acme"})).await, "INVALID_VALUE"), ["module"]);
    let empty = json!({"tenant": "acme", "features": []});
    assert_eq!(fields(ask(&app, empty).await, "INVALID_VALUE"), ["module"]);
    let nobody = ask(&app, json!({"module": "retail"})).await;
    assert_eq!(fields(nobody, "INVALID_VALUE"), ["tenant"]);
    let many = json!({"tenant": "acme", "features": vec!["reports"; 101]});
    assert_eq!(fields(ask(&app, many).await, "INVALID_VALUE"), ["features"]);
}

#[tokio::test]
async fn a_guard_a_resource_and_usage_are_those_of_the_catalog() {
    let app = acme().await;
    for (question, code, field) in [
        (json!({"guard": "tlils"}), "UNKNOWN_KEY", "guard"),
        (json!({"usage": {"feature": "branchs"}}), "UNKNOWN_KEY", "usage.feature"),
        (json!({"usage": {"feature": "reports"}}), "INVALID_VALUE", "usage.feature"),
        (
            json!({"usage": {"feature": "branches", "requested": 0}}),
            "INVALID_VALUE",
            "usage.requested",
        ),
        (
            json!({"usage": {"feature": "branches", "current": 9_007_199_254_740_992_u64}}),
            "INVALID_VALUE",
            "usage.current",
        ),
        (json!({"module": "retail", "resource": {"is_premium": true}}), "INVALID_VALUE", "guard"),
    ] {
        let mut question = question;
        question["tenant"] = "acme".into();
        assert_eq!(fields(ask(&app, question).await, code), [field]);
    }
}

#[tokio::test]
async fn a_question_about_a_person_names_the_person() {
    let app = acme().await;
    for (field, value) in [("permission", json!("CAN_SELL")), ("tier_at_least", json!("member"))] {
        let mut question = json!({"tenant": "acme", "module": "retail"});
        question[field] = value;
        assert_eq!(fields(ask(&app, question).await, "INVALID_VALUE"), ["user"], "{field}");
    }
    let context = json!({"type": "store", "id": "s1"});
    let question = json!({"tenant": "acme", "user": "ana", "module": "retail", "context": context});
    assert_eq!(fields(ask(&app, question).await, "INVALID_VALUE"), ["permission"]);
    let tier = json!({"tenant": "acme", "user": "ana", "tier_at_least": "retail"});
    assert_eq!(fields(ask(&app, tier).await, "UNKNOWN_KEY"), ["tier_at_least"]);
}

#[tokio::test]
async fn a_user_of_whom_nothing_is_known_is_permitted_nothing() {
    let app = acme().await;
    let question = json!({"tenant": "acme", "user": "ana", "permission": "CAN_SELL"});
    let denied = app.check(question).await;
    assert_eq!((&denied["allowed"], &denied["status"]), (&json!(false), &json!(403)));
    assert_eq!(denied["code"], "PERMISSION_DENIED");
    assert_eq!(denied["fields"], json!({"permission": ["CAN_SELL"]}));
    app.assign("acme", "growth", json!({})).await;
    let seat = app.check(json!({"tenant": "acme", "user": "ana", "module": "crm"})).await;
    assert_eq!(seat["reason"], "seat_required", "{seat:#}");
    assert_eq!(seat["remedies"], json!([{"kind": "assign_seat"}]));
    // Without a user the tenant itself is asked about.
    assert_eq!(app.module("acme", "crm").await, "allowed plan");
    let alone = app.check(json!({"user": "ana", "module": "retail"})).await;
    assert_eq!((&alone["allowed"], &alone["reason"]), (&json!(false), &json!("plan_limit")));
}

#[tokio::test]
async fn a_batch_is_answered_in_order_with_faults_in_their_place() {
    let app = acme().await;
    app.tenant("other", json!({})).await;
    let checks = json!([
        {"tenant": "acme", "module": "retail"},
        {"tenant": "acme", "module": "retial"},
        {"tenant": "other", "module": "retail"},
        "nonsense",
        {"tenant": "nobody", "module": "retail"},
        {"tenant": "acme", "modul": "retail"},
        {"tenant": "acme", "features": ["multi branch"]},
        {"tenant": "acme", "module": "dine"},
    ]);
    let reply = app.backend().post(BATCH, json!({"checks": checks})).await.expect(200);
    let results = reply.body["results"].as_array().unwrap();
    let outcome = |result: &Value| match (&result["decision"], &result["problem"]) {
        (decision, Value::Null) => shown(decision),
        (Value::Null, problem) => {
            assert_eq!(problem["instance"], BATCH);
            assert_eq!(problem["request_id"], reply.header("x-request-id"));
            let fields: Vec<_> = problem["fields"].as_object().unwrap().keys().cloned().collect();
            format!(
                "{} {} {}",
                problem["status"],
                problem["code"].as_str().unwrap(),
                fields.join(" ")
            )
        }
        both => panic!("{both:?}"),
    };
    let expected = [
        "allowed plan",
        "422 UNKNOWN_KEY module",
        "refused no_subscription TENANT_BLOCKED 403",
        "422 INVALID_VALUE ",
        "404 TENANT_NOT_FOUND ",
        "422 INVALID_VALUE modul",
        "422 INVALID_VALUE features[0]",
        "refused plan_limit MODULE_NOT_ENTITLED 403",
    ];
    assert_eq!(results.iter().map(outcome).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_batch_holds_one_to_a_hundred_questions() {
    let app = acme().await;
    let send = async |count: usize| {
        let checks = vec![json!({"tenant": "acme", "module": "retail"}); count];
        app.backend().post(BATCH, json!({"checks": checks})).await
    };
    for count in [0, 101] {
        assert_eq!(fields(send(count).await, "INVALID_VALUE"), ["checks"]);
    }
    assert_eq!(send(100).await.expect(200).body["results"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn the_unbound_backend_support_and_super_admin_speak_for_others() {
    let app = acme().await;
    let question =
        json!({"tenant": "acme", "module": "retail", "user": "ana", "mode": "impersonation"});
    let support = app.caller(OperatorRole::Support, None, "sam");
    for client in [app.backend(), support, app.root()] {
        assert_eq!(client.post(CHECK, question.clone()).await.expect(200).body["allowed"], true);
    }
}

#[tokio::test]
async fn everyone_else_speaks_for_oneself() {
    let app = acme().await;
    let bound = |role| app.caller(role, Some("acme"), "ana");
    let auditor = app.caller(OperatorRole::Auditor, None, "ana");
    let callers = [
        bound(OperatorRole::Service),
        bound(OperatorRole::TenantAdmin),
        bound(OperatorRole::TenantUser),
        auditor,
    ];
    for client in callers {
        let ask = async |more: Value| {
            let mut question = json!({"tenant": "acme", "module": "retail"});
            question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            client.post(CHECK, question).await
        };
        ask(json!({})).await.expect(200);
        ask(json!({"user": "ana", "mode": "tenant"})).await.expect(200);
        ask(json!({"user": "bob"})).await.expect_problem(403, "FORBIDDEN");
        ask(json!({"mode": "impersonation"})).await.expect_problem(403, "FORBIDDEN");
    }
}

#[tokio::test]
async fn a_bound_caller_may_leave_its_tenant_out_and_never_asks_about_another() {
    let app = acme().await;
    app.tenant("other", json!({})).await;
    let bound = app.caller(OperatorRole::Service, Some("acme"), "shop-backend");
    assert_eq!(
        bound.post(CHECK, json!({"module": "retail"})).await.expect(200).body["allowed"],
        true
    );
    for tenant in ["other", "nobody"] {
        let reply = bound.post(CHECK, json!({"tenant": tenant, "module": "retail"})).await;
        reply.expect_problem(404, "TENANT_NOT_FOUND");
    }
}

#[tokio::test]
async fn internal_mode_opens_nothing_but_demo_tenants() {
    let app = acme().await;
    app.tenant("show", json!({"demo": true})).await;
    for (tenant, answer) in
        [("show", "allowed demo"), ("acme", "refused plan_limit MODULE_NOT_ENTITLED 403")]
    {
        let question = json!({"tenant": tenant, "module": "dine", "mode": "internal"});
        assert_eq!(app.ask(question).await, answer);
    }
    let staff = app.working_as(OperatorRole::Service, None, Mode::Internal);
    let answer = staff.post(CHECK, json!({"tenant": "show", "module": "dine"})).await.expect(200);
    assert_eq!(shown(&answer.body), "allowed demo");
}

#[tokio::test]
async fn a_check_leaves_nothing_in_the_trail() {
    let app = acme().await;
    let trail = async || column(&app.root().get("/api/v1/admin/audit").await.body, "seq");
    let before = trail().await;
    app.check(json!({"tenant": "acme", "module": "dine", "explain": true})).await;
    assert_eq!(trail().await, before);
}
