//! A document in, a catalog or its faults out.

use crate::{
    domain::catalog::{
        Catalog, FeatureKind, FeatureValue, Format, Limit, ModuleSelection, Reset, UsageKind,
        parse, parse_stored, to_json, value_for,
    },
    error::Fault,
};

mod examples;
mod faults;
mod hostile;

fn yaml(text: &str) -> Catalog {
    parse(text, Format::Yaml).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn faults(text: &str) -> Vec<Fault> {
    parse(text, Format::Yaml).expect_err("a faulty document")
}

/// `document` has exactly one fault, at `field`, whose message holds `part`.
#[track_caller]
fn check(document: &str, field: &str, part: &str) {
    let faults = faults(document);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!(faults[0].field, field, "{faults:#?}");
    assert!(faults[0].message.contains(part), "{faults:#?}");
}

#[test]
fn what_is_left_out_has_its_default() {
    let catalog = yaml(
        "features: {n: {name: N, type: limit}, c: {name: C, type: limit, usage: counter}}\n\
         plans: {p: {name: P}}",
    );
    let kind = |key: &str| match &catalog.features[key].kind {
        FeatureKind::Limit(limit) => limit.usage,
        FeatureKind::Boolean | FeatureKind::Config => panic!("no limit"),
    };
    assert_eq!(kind("n"), UsageKind::Gauge);
    assert_eq!(kind("c"), UsageKind::Counter(Reset::Never));
    assert_eq!(catalog.plans["p"].rank, 0);
    assert_eq!(catalog.plans["p"].modules, ModuleSelection::These(Default::default()));
    assert_eq!(catalog.settings.overdue_grace_days, 7);
}

#[test]
fn an_empty_mapping_is_a_catalog_without_anything() {
    assert_eq!(yaml("{}"), Catalog::default());
    assert_eq!(parse("{}", Format::Json), Ok(Catalog::default()));
}

#[test]
fn a_value_must_fit_its_feature() {
    let catalog = yaml(
        "features: {b: {name: B, type: boolean}, n: {name: N, type: limit}, \
         c: {name: C, type: config}}",
    );
    let value = |key: &str, json| value_for(&catalog.features[key], &json);
    use serde_json::json;
    assert_eq!(value("b", json!(true)), Ok(FeatureValue::Flag(true)));
    assert_eq!(value("n", json!(0)), Ok(FeatureValue::Limit(Limit::NONE)));
    assert_eq!(value("n", json!("unlimited")), Ok(FeatureValue::Limit(Limit::Unlimited)));
    assert_eq!(value("n", json!(i64::MAX)), Ok(FeatureValue::Limit(Limit::Of(i64::MAX as u64))));
    assert_eq!(value("c", json!({"a": [1]})), Ok(FeatureValue::Config(json!({"a": [1]}))));
    for bad in [json!(1), json!("true"), json!(null)] {
        assert!(value("b", bad.clone()).is_err(), "{bad}");
    }
    for bad in [json!(-1), json!(1.5), json!(u64::MAX), json!("many"), json!(null), json!(true)] {
        assert!(value("n", bad.clone()).is_err(), "{bad}");
    }
    assert!(value("c", json!(null)).is_err());
    assert!(value("c", json!("x".repeat(20_000))).is_err());
}

#[test]
fn the_canonical_document_parses_back() {
    let products = [examples::RETAIL, examples::AI_BILLING, examples::LEARNING];
    for text in products.into_iter().chain([examples::SPEC, examples::MUCH, "{}"]) {
        let catalog = yaml(text);
        let document = to_json(&catalog).to_string();
        assert_eq!(parse(&document, Format::Json).as_ref(), Ok(&catalog), "{document}");
        assert_eq!(parse(&document, Format::Yaml).as_ref(), Ok(&catalog), "{document}");
    }
}

#[test]
fn a_stored_catalog_keeps_conditions_that_can_no_longer_be_used() {
    let text = "guards: {g: {conditions: [{unless: gone, reason: r, code: C, message: M}]}}";
    check(text, "guards.g.conditions[0].unless", "there is no variable “gone”");
    let catalog = parse_stored(text, Format::Yaml).unwrap();
    assert_eq!(catalog.guards["g"].conditions[0].unless.text(), "gone");
    assert_eq!(catalog.unusable_conditions().count(), 1);
    assert_eq!(yaml(&text.replace("gone", "'true'")).unusable_conditions().count(), 0);
}

#[test]
fn a_condition_knows_the_features_that_stand_anywhere_in_the_document() {
    yaml(
        "guards: {g: {conditions: [{unless: features.n.used < 3, reason: r, code: C, message: M}]}}\n\
         features: {n: {name: N, type: limit}}",
    );
}
