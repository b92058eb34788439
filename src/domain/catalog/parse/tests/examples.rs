//! Documents that must parse.

use super::*;
use crate::domain::catalog::{Access, resolve};

/// The retail product.
pub const RETAIL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/retail.yaml"));

/// The AI billing product.
pub const AI_BILLING: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ai_billing.yaml"));

/// The learning product.
pub const LEARNING: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/learning.yaml"));

/// The specification's own examples, sections 2 and 8, with what they name.
pub const SPEC: &str = r#"
modules:
  common:     {name: Common, access: always_on}
  retail:     {name: Retail}
  accounting: {name: Accounting, premium: true}
  settings:   {name: Settings, access: rbac_only}
  billing:    {name: Billing, access: always_on, available_when_blocked: true}
  crm:        {name: CRM, provisioning: [org_hierarchy, delegated_admin], seated: true}
  erp:        {name: ERP, status: active}
  clubs:      {name: Clubs}
bundles:
  back_office: {name: Back office, modules: [crm, erp]}
features:
  ai_insights:   {name: AI insights, type: boolean}
  multi_branch:  {name: Multi-branch, type: boolean, module: retail, premium: true}
  branches:      {name: Branches, type: limit, unit: branch, usage: gauge}
  api_calls:     {name: API calls, type: limit, unit: call, usage: counter, reset: month, on_limit: block}
  support_level: {name: Support level, type: config}
  clubs_joined:  {name: Clubs joined, type: limit, per: user}
  clubs_owned:   {name: Clubs owned, type: limit, per: user}
plans:
  starter:    {name: Starter, rank: 10, price: {amount: 19900, currency: SAR, interval: month}, modules: [retail, common], features: {branches: 1}}
  growth:     {name: Growth, rank: 20, inherits: starter, modules: [accounting], features: {branches: 5, multi_branch: true}, trial_days: 14, trial_fallback: starter}
  enterprise: {name: Enterprise, rank: 30, modules: "*", features: {"*": true, branches: unlimited}}
  trial_unlimited: {name: Trial, rank: 40, activation_code_only: true, modules: "*", features: {"*": true}}
  extra_branches:  {name: Extra branches, kind: add_on, stack: add, features: {branches: 10}}
  member:     {name: Member, audience: user, rank: 1, permissions: [CAN_JOIN_LIMITED_CLUBS], features: {clubs_joined: 5}}
roles:
  club_moderator: {context: club, permissions: [CAN_LOCK_TOPICS]}
  club_lead:      {context: club, inherits: [club_moderator], permissions: [CAN_MANAGE_CLUB]}
  store_manager:  {context: store, inherits: [club_lead], permissions: [CAN_BAN_MEMBERS]}
  super_admin:    {context: platform, bypass: true}
guards:
  clubs.create:
    module: clubs
    any_permission: [CAN_CREATE_UNLIMITED_CLUBS, CAN_CREATE_LIMITED_CLUBS]
    limit: {feature: clubs_owned}
    conditions:
      - unless: "resource.store.allow_public_club_creation"
        reason: store_restriction
        code: STORE_RESTRICTION
        message: This store does not allow public club creation.
        data: {storeRestriction: true}
routes:
  - {methods: [POST], path: "/api/clubs", guard: clubs.create}
  - {path: "/pos/**", module: retail}
  - {path: "/healthz", public: true}
settings: {overdue_grace_days: 7, default_route: deny}
"#;

/// Every field there is, none at its default.
pub const MUCH: &str = r#"
modules:
  m: {name: M, description: "Two\nlines", premium: true, access: rbac_only, status: archived, available_when_blocked: true, provisioning: [direct_user, org_hierarchy], seated: true}
bundles: {b: {name: B, modules: [m]}}
features:
  on: {name: On, description: D, type: boolean, module: m, premium: true, status: disabled}
  calls: {name: Calls, type: limit, unit: call, usage: counter, reset: year, per: user, on_limit: warn}
  conf: {name: Conf, type: config}
plans:
  first: {name: First}
  p: {name: P, description: D, rank: -3, kind: add_on, inherits: first, modules: [m], features: {on: false, calls: 9223372036854775807, conf: {a: [1, null, {b: 2.5}]}}, permissions: [X, Y], price: {amount: 1, currency: EUR, interval: once}, trial_days: 3650, trial_fallback: q, activation_code_only: true, stack: add, seats: 4}
  q: {name: Q, kind: add_on, modules: "*", features: {"*": true, conf: ""}}
  t: {name: T, audience: user}
roles:
  a: {name: A, context: shop, inherits: b, permissions: [X]}
  b: {context: platform, bypass: true}
guards:
  g: {description: D, module: m, features: [on, conf], match: any, all_permissions: [Y, X], any_permission: [X], tier_at_least: t, limit: {feature: calls}, conditions: [{unless: "resource.a\n&& user.id == 'b'", reason: r, code: C, message: M, status: 402, data: [], before_limit: true}]}
routes:
  - {methods: [PUT, GET], path: "/a/{x}/**", module: m, features: [on], match: any, permission: X, guard: g}
  - {path: "/", allow_blocked: true}
  - {path: "/**"}
settings: {overdue_grace_days: 0, default_route: allow}
"#;

#[test]
fn the_examples_of_the_specification_parse() {
    let catalog = yaml(SPEC);
    assert_eq!(catalog.plans.len(), 6);
    assert_eq!(catalog.guards["clubs.create"].limit.as_ref().unwrap().as_str(), "clubs_owned");
    yaml(MUCH);
}

#[test]
fn a_json_document_is_read_like_a_yaml_one() {
    let text =
        r#"{"modules": {"a": {"name": "A"}}, "plans": {"p": {"name": "P", "modules": "*"}}}"#;
    assert_eq!(parse(text, Format::Json).unwrap(), yaml(text));
}

#[test]
fn anchors_and_aliases_are_written_out() {
    let catalog = yaml("modules: {a: &m {name: M, premium: true}, b: *m}");
    assert_eq!(catalog.modules["a"], catalog.modules["b"]);
}

#[test]
fn the_retail_product_is_what_the_specification_says() {
    let catalog = yaml(RETAIL);
    let keys = |test: fn(&crate::domain::catalog::Module) -> bool| -> Vec<&str> {
        catalog.modules.iter().filter(|(_, m)| test(m)).map(|(key, _)| key.as_str()).collect()
    };
    assert_eq!(keys(|m| m.premium), ["accounting", "ecom", "hr", "pay", "zf"]);
    assert_eq!(keys(|m| m.access == Access::AlwaysOn), ["common", "owner"]);
    let contents = resolve(&catalog);
    let has = |plan: &str, module: &str| contents[plan].modules.contains(module);
    assert!(has("starter", "retail") && !has("starter", "dine"));
    assert!(has("growth", "dine") && has("growth", "accounting") && !has("growth", "zf"));
    assert_eq!(contents["enterprise"].modules.len(), 9);
    assert_eq!(
        contents["trial_unlimited"].features["users"],
        FeatureValue::Limit(Limit::Unlimited)
    );
    assert_eq!(catalog.plans["starter"].price.as_ref().unwrap().amount, 19_900);
    assert_eq!(catalog.plans["growth"].trial_days, None);
    assert!(catalog.plans["trial_unlimited"].activation_code_only);
}
