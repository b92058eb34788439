//! Random texts and random expressions: never a panic, never a surprise.

use proptest::prelude::*;

use super::*;

/// A text of pieces that expressions are made of.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "tenant",
        "user",
        "permissions",
        "features",
        "context",
        "resource",
        "now",
        ".",
        "key",
        "a",
        "demo",
        "limit",
        "branches",
        "ai",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "'x'",
        "\"y\"",
        "1",
        "2.5",
        "true",
        "null",
        " && ",
        " || ",
        "!",
        "-",
        " == ",
        " != ",
        " < ",
        " >= ",
        " + ",
        " * ",
        " % ",
        " / ",
        " in ",
        " ? ",
        " : ",
        ",",
        "has(",
        "size(",
        ".all(x, ",
        ".map(x, ",
        ".exists(x, ",
        "x",
        "timestamp(",
        "duration('1h')",
        " ",
        "\n",
        "// c\n",
        "_",
        "?",
        "=",
        "'",
        "\\",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// A well-typed expression over facts that are all there, whose value is of this kind.
fn bools() -> BoxedStrategy<String> {
    let ints = || {
        prop::sample::select(vec![
            "1",
            "7",
            "features.branches.used",
            "size(permissions)",
            "features['clubs.owned'].remaining",
            "now.getHours()",
            "size(tenant.name)",
        ])
    };
    let texts = || {
        prop::sample::select(vec![
            "'a'",
            "tenant.key",
            "tenant.name",
            "user.id",
            "context.type",
            "string(now)",
            "permissions[0]",
            "'a' + user.id",
        ])
    };
    let maybe = prop::sample::select(vec!["user.tier", "tenant.plan"]);
    let lists = || {
        prop::sample::select(vec![
            "permissions",
            "user.roles",
            "['a', 'b']",
            "permissions.filter(q, q != 'x')",
            "user.roles.map(r, r)",
        ])
    };
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "true",
            "tenant.demo",
            "features.ai.enabled",
            "user != null",
            "now > timestamp(0)",
            "features.calls.unlimited",
            "now - now == duration('0s')"
        ])
        .prop_map(str::to_owned),
        (ints(), prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]), ints())
            .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (ints(), prop::sample::select(vec!["+", "-", "*"]), ints(), ints())
            .prop_map(|(a, op, b, c)| format!("({a} {op} {b}) % 7 > {c} / 3")),
        (texts(), prop::sample::select(vec!["<", "==", "!="]), texts())
            .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (texts(), prop::sample::select(vec!["startsWith", "endsWith", "contains"]), texts())
            .prop_map(|(a, f, b)| format!("({a}).{f}({b})")),
        (texts(), lists()).prop_map(|(a, b)| format!("{a} in {b}")),
        maybe.prop_map(|a| format!("({a} == null || {a} != 'x')")),
        (lists(), prop::sample::select(vec!["all", "exists", "exists_one"]), texts())
            .prop_map(|(a, f, b)| format!("{a}.{f}(x, x == {b})")),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("(({a}) == ({b}))")),
        ]
    })
    .boxed()
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|it| json!(it)),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[abx]", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// Expressions over the caller's own data, which may fail.
fn about_resource() -> impl Strategy<Value = String> {
    let data = || {
        prop::sample::select(vec![
            "resource.a",
            "resource.b",
            "resource.a.x",
            "resource.b[0]",
            "resource['x']",
            "tenant.attributes.size",
            "features.tone.value",
            "resource",
        ])
    };
    let compare = prop::sample::select(vec!["==", "<", ">=", "in", "!="]);
    let add = prop::sample::select(vec!["+", "-", "*", "/", "%"]);
    prop_oneof![
        (data(), compare, data()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (data(), add, data()).prop_map(|(a, op, b)| format!("({a} {op} {b}) == 3")),
        (data(), data()).prop_map(|(a, b)| format!("{a}.all(i, i == {b})")),
        (data(), data()).prop_map(|(a, b)| format!("{a}.exists(i, i.x > {b} || i)")),
        data().prop_map(|a| format!("size({a}) > 1 && {a}")),
        data().prop_map(|a| format!("int({a}) > 1 || double({a}) < 2.0")),
        data().prop_map(|a| format!("timestamp({a}) > now || duration({a}) > duration('1s')")),
        data().prop_map(|a| format!("now + duration({a}) > now || now.getHours({a}) > 1")),
        data().prop_map(|a| format!("-{a} > 1 || !{a}")),
        data().prop_map(|a| format!("{a}.map(i, i.x) == [] || {a}.filter(i, i) == []")),
        data().prop_map(|a| format!("string({a}) == 'x' || bool({a})")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_random_text_is_refused_or_evaluated(text in ".{0,200}") {
        if let Ok(expression) = Expression::parse(&text, &scope()) {
            let _ = expression.holds(&World::with(json!({})).facts());
        }
    }

    #[test]
    fn random_pieces_are_refused_or_evaluated(text in pieces(), resource in values()) {
        if let Ok(expression) = Expression::parse(&text, &scope()) {
            let _ = expression.holds(&World::with(resource).facts());
        }
    }

    #[test]
    fn what_is_well_typed_is_accepted_and_true_or_false(text in bools()) {
        let expression = Expression::parse(&text, &scope());
        let faults = expression.as_ref().err().cloned().unwrap_or_default();
        let is_large = faults.iter().any(|it| it.contains("nested too deep"));
        prop_assume!(!is_large);
        prop_assert!(faults.is_empty(), "{text}: {faults:?}");
        let outcome = expression.unwrap().holds(&World::with(json!({})).facts());
        prop_assert!(outcome.is_ok(), "{text}: {outcome:?}");
    }

    #[test]
    fn what_is_accepted_never_panics_on_any_data(text in about_resource(), resource in values()) {
        let expression = read(&text);
        let world = World::with(resource);
        let _ = expression.holds(&world.facts());
        let _ = resource_fault(&world.resource);
    }
}
