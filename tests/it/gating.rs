//! Gating switched off by the environment: everything is worked out, little is refused.

use entitled::engine::Gating;
use serde_json::json;

use crate::{
    decisions::acme_given,
    given::{column, shown},
    harness::Given,
};

#[tokio::test]
async fn with_gating_off_a_refusal_is_worked_out_but_not_enforced() {
    let given = Given { gating: Gating::OffByEnvironment, ..Given::default() };
    let app = acme_given(given).await;
    app.tenant("new", json!({})).await;

    for (tenant, module, would) in
        [("acme", "dine", "plan_limit"), ("new", "retail", "no_subscription")]
    {
        let answer = app.check(json!({"tenant": tenant, "module": module})).await;
        assert_eq!(shown(&answer), "allowed gating_disabled");
        assert_eq!((&answer["enforced"], &answer["would_allow"]), (&json!(false), &json!(false)));
        assert_eq!(
            (&answer["would_reason"], &answer["source"]),
            (&json!(would), &json!({"kind": "rollout"}))
        );
    }
    let allowed = app.check(json!({"tenant": "acme", "module": "retail"})).await;
    assert_eq!(shown(&allowed), "allowed plan");
    assert_eq!((&allowed["enforced"], &allowed["would_reason"]), (&json!(false), &json!("plan")));
    assert_eq!(allowed["would_allow"], true);
}

#[tokio::test]
async fn with_gating_off_kill_switch_and_suspension_still_refuse() {
    let given = Given { gating: Gating::OffByEnvironment, ..Given::default() };
    let app = acme_given(given).await;

    assert_eq!(app.module("acme", "erp").await, "refused feature_disabled MODULE_NOT_ENTITLED 403");
    assert_eq!(
        app.feature("acme", "gone").await,
        "refused feature_disabled FEATURE_NOT_ENTITLED 402"
    );
    app.change_tenant("acme", json!({"status": "suspended", "reason": "fraud"})).await;
    assert_eq!(app.module("acme", "retail").await, "refused suspended TENANT_BLOCKED 403");
}

#[tokio::test]
async fn who_would_be_blocked_is_listed_before_anything_is_enforced() {
    let given = Given { gating: Gating::OffByEnvironment, ..Given::default() };
    let app = acme_given(given).await;
    app.tenant("new", json!({})).await;

    let path = "/api/v1/admin/tenants?blocked_reason=any";
    let list = app.root().get(path).await.expect(200).body;

    assert_eq!(column(&list, "key"), [json!("new")]);
    assert_eq!(list["items"][0]["blocked_reason"], "no_subscription");
}
