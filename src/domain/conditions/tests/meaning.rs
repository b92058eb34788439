//! Expressions × facts × outcome.

use super::*;

/// Each expression is true about a resource.
#[track_caller]
fn all_true(resource: &Value, expressions: &[&str]) {
    let world = World::with(resource.clone());
    for text in expressions {
        assert_eq!(read(text).holds(&world.facts()), Ok(true), "{text}");
        let not = format!("!({text}\n)");
        assert_eq!(read(&not).holds(&world.facts()), Ok(false), "{not}");
    }
}

/// Each expression fails about a resource, with this message.
#[track_caller]
fn fails(resource: &Value, rows: &[(&str, &str)]) {
    let world = World::with(resource.clone());
    for (text, message) in rows {
        let failed = read(text).holds(&world.facts()).expect_err(text);
        assert!(failed.contains(message), "{text}: {failed}");
    }
}

#[test]
fn every_member_of_every_variable_can_be_asked() {
    all_true(
        &json!({}),
        &[
            "tenant.key == 'acme'",
            "tenant.name == \"Acme Ltd\"",
            "tenant.billing == 'subscription' && !tenant.demo && tenant.sandbox",
            "tenant.plan == 'growth' && tenant.plan != null",
            "tenant['plan'] in ['growth', 'enterprise']",
            "tenant.attributes.region == 'gcc'",
            "tenant.attributes['tags'].exists(t, t == 'b')",
            "user.id == 'u-17' && user.tier == 'privileged'",
            "'club_lead' in user.roles && size(user.roles) == 2",
            "user != null && context != null && tenant != null",
            "'CAN_JOIN' in permissions && !('CAN_FLY' in permissions)",
            "permissions.exists(p, p.startsWith('club.'))",
            "context.type == 'club' && context.id == 'c9'",
            "features.ai.enabled && features.ai.value == null",
            "features.branches.limit == 5 && features.branches.used == 3",
            "features.branches.remaining == 2 && !features.branches.unlimited",
            "features['clubs.owned'].remaining == 0 && features['clubs.owned'].used > 3",
            "features.calls.unlimited && features.calls.used == 9",
            "features.calls.remaining > 1000000 && features.calls.used < features.calls.limit",
            "features.tone.value.level == 2.5 && 'kind' in features.tone.value.words",
        ],
    );
}

#[test]
fn numbers_compare_as_people_expect() {
    all_true(
        &json!({"whole": 4, "point": 4.0, "half": 4.5, "big": 1e300, "neg": -3,
                "max": i64::MAX, "beyond": u64::MAX}),
        &[
            "resource.whole > 3 && resource.point > 3 && resource.half > 4",
            "resource.whole == 4.0 && resource.point == 4 && resource.whole == resource.point",
            "resource.whole < 4.1 && resource.half >= 4.5 && resource.big > 1",
            "resource.point + 1 == 5 && resource.point % 3 == 1",
            "resource.half * 2.0 == 9.0 && resource.half + double(resource.whole) == 8.5",
            "resource.neg < 0 && -resource.neg == 3 && resource.neg * -1 == 3",
            "resource.max == 9223372036854775807 && resource.beyond > resource.max",
            "resource.whole in [1, 2, 4] && resource.point in [4] && 4.0 in [4]",
            "7 / 2 == 3 && 7 % 2 == 1 && 7.0 / 2.0 == 3.5",
            "int('12') == 12 && int(4.9) == 4 && double('1.5') == 1.5 && string(3) == '3'",
            "bool('true') && !bool('false')",
            "1 < 2 && 2 <= 2 && 2 > 1 && 2 >= 2 && 1 != 2",
        ],
    );
    fails(
        &json!({"whole": 4, "half": 4.5, "max": i64::MAX, "zero": 0, "text": "4"}),
        &[
            ("resource.max + 1 > 0", "too large"),
            ("resource.whole / resource.zero == 1", "divides by zero"),
            ("resource.whole % resource.zero == 1", "divides by zero"),
            ("resource.half + 1 > 0", "can't take"),
            ("resource.text > 3", "can't take string and int"),
            ("int(resource.text + 'x') == 4", "int() could not read"),
            ("features.calls.limit + 1 > 0", "too large"),
        ],
    );
}

#[test]
fn what_is_missing_is_asked_with_has_and_never_guessed() {
    let resource = json!({"store": {"open": true, "owner": null}, "list": [1]});
    all_true(
        &resource,
        &[
            "has(resource.store) && !has(resource.shop)",
            "has(resource.store.open) && has(resource.store.owner)",
            "resource.store.owner == null && resource.store != null",
            "!has(resource.shop) || resource.shop.open",
            "has(resource.shop) ? resource.shop.open : resource.store.open",
            "'store' in resource && !('shop' in resource)",
            "resource.list[0] == 1",
            "resource.missing || true",
            "!(resource.missing && false)",
            "resource == resource && resource != {}",
        ],
    );
    fails(
        &resource,
        &[
            ("resource.shop.open", "there is no “shop”"),
            ("has(resource.shop.open)", "there is no “shop”"),
            ("resource.shop == null", "there is no “shop”"),
            ("resource.store.owner.name == 'x'", "can't take null"),
            ("resource.list[1] == 1", "too short"),
            ("resource.list[-1] == 1", "too short"),
            ("resource.store", "its result is map"),
            ("resource.store && true", "`&&` can't take map and bool"),
            ("!resource.list", "`!` can't take list"),
            ("resource.missing || false", "there is no “missing”"),
        ],
    );
}

#[test]
fn where_nothing_is_given_there_is_null_and_members_fail() {
    let at = "2026-11-21T08:30:00Z".parse().unwrap();
    let nothing = ConditionFacts::at(at);
    for text in [
        "user == null",
        "context == null",
        "tenant == null",
        "size(permissions) == 0",
        "resource == {}",
        "!has(resource.x)",
        "now > timestamp(0)",
    ] {
        assert_eq!(read(text).holds(&nothing), Ok(true), "{text}");
    }
    for text in [
        "user.id == 'u'",
        "'x' in user.roles",
        "context.id == 'c'",
        "tenant.demo",
        "features.ai.enabled",
        "user.tier == null",
        "!(user.tier == 'x')",
    ] {
        assert!(read(text).holds(&nothing).is_err(), "{text}");
    }
}

#[test]
fn time_is_compared_and_taken_apart() {
    // The 21st of November 2026 is a Saturday.
    all_true(
        &json!({"from": "2026-11-21T11:00:00+03:00", "days": "36h"}),
        &[
            "now < timestamp('2026-12-01T00:00:00Z')",
            "now >= timestamp('2026-11-21T08:30:00Z') && now == timestamp(1795249800)",
            "now - timestamp(resource.from) == duration('30m')",
            "timestamp(resource.from) + duration('1h30m') > now",
            "now - duration(resource.days) < timestamp('2026-11-20T00:00:00Z')",
            "duration('90s') == duration('1m30s') && duration('-1s') < duration('0s')",
            "now.getFullYear() == 2026 && now.getMonth() == 10 && now.getDate() == 21",
            "now.getDayOfMonth() == 20 && now.getDayOfWeek() == 6 && now.getDayOfYear() == 324",
            "now.getHours() == 8 && now.getHours('Asia/Riyadh') == 11",
            "now.getHours('+03:00') == 11 && now.getMinutes() == 30 && now.getSeconds() == 0",
            "duration('90m').getHours() == 1 && duration('90m').getMinutes() == 90",
            "string(now) == '2026-11-21T08:30:00Z' && int(now) == 1795249800",
        ],
    );
    fails(
        &json!({"text": "soon", "far": "9999-12-31T23:59:59Z"}),
        &[
            ("timestamp(resource.text) > now", "timestamp() could not read"),
            ("duration(resource.text) > duration('1s')", "duration() could not read"),
            ("timestamp(resource.far) + duration('1h') > now", "too large"),
            ("now.getHours(resource.text) > 3", "could not read"),
            ("now > resource.text", "can't take timestamp and string"),
        ],
    );
}

#[test]
fn texts_lists_and_maps_have_their_functions() {
    all_true(
        &json!({"name": "Köln 東京", "tags": ["a", "b", "c"], "prices": {"a": 1, "b": 2},
                "items": [{"id": "x", "qty": 2, "tags": ["t"]}, {"id": "y", "qty": 0, "tags": []}],
                "flags": [true, false]}),
        &[
            "resource.name.startsWith('Kö') && resource.name.endsWith('京')",
            "resource.name.contains('ln ') && size(resource.name) == 7",
            "resource.name.size() == 7 && 'a' + 'b' == 'ab' && 'a' < 'b'",
            "\"tab\\t quote\\\" \\u00f6\" == 'tab\\t quote\" ö'",
            "size(resource.tags) == 3 && resource.tags.size() > 2 && resource.tags[2] == 'c'",
            "resource.tags == ['a', 'b', 'c'] && resource.tags + ['d'] == ['a', 'b', 'c', 'd']",
            "'b' in resource.tags && 'a' in resource.prices && size(resource.prices) == 2",
            "resource.prices['b'] == 2 && resource.prices.a == 1 && resource.prices == {'b': 2, 'a': 1}",
            "{'small': 5, 'large': 50}['large'] > 49",
            "resource.items.all(i, i.qty >= 0) && resource.items.exists(i, i.qty == 0)",
            "resource.items.exists_one(i, i.id == 'x') && resource.items.existsOne(i, i.qty > 1)",
            "size(resource.items.filter(i, i.qty > 0)) == 1",
            "resource.items.map(i, i.id) == ['x', 'y']",
            "resource.items.map(i, i.qty > 0, i.id) == ['x']",
            "resource.items.exists(i, i.tags.exists(t, t == 't'))",
            "resource.prices.all(k, resource.prices[k] > 0)",
            "[].all(x, x) && ![].exists(x, x)",
            "resource.flags.exists(f, f) && !resource.flags.all(f, f)",
            "resource.tags.all(t, t in ['a', 'b', 'c'])",
            "// what is allowed\nresource.name != '' // always",
        ],
    );
    fails(
        &json!({"n": 1, "items": [{"a": 1}, {}]}),
        &[
            ("resource.n.all(x, x)", "instead of iterable"),
            ("resource.items.all(i, i.a == 1)", "there is no “a”"),
            ("resource.n.startsWith('a')", "can't take"),
            ("size(resource.n) > 0", "can't take"),
            ("'a' in resource.n", "can't take"),
            ("resource.n.x", "can't take"),
        ],
    );
    // An element that fails doesn't matter where another decides.
    let world = World::with(json!({"items": [{}, {"a": 1}]}));
    assert_eq!(read("resource.items.exists(i, i.a == 1)").holds(&world.facts()), Ok(true));
    assert_eq!(read("resource.items.all(i, i.a == 2)").holds(&world.facts()), Ok(false));
}

#[test]
fn an_expression_says_what_it_reads() {
    let needs = |text: &str| read(text).needs().clone();
    let of = |variables: &[Variable], features: &[&str]| Needs {
        variables: variables.iter().copied().collect(),
        features: features.iter().map(|key| key.parse().unwrap()).collect(),
    };
    assert_eq!(needs("true"), of(&[], &[]));
    assert_eq!(needs("now > timestamp(0)"), of(&[Variable::Now], &[]));
    assert_eq!(
        needs("features['clubs.owned'].used < 3 || features.ai.enabled && 'X' in permissions"),
        of(&[Variable::Features, Variable::Permissions], &["ai", "clubs.owned"])
    );
    assert_eq!(
        needs("has(resource.a) && user.roles.exists(r, r == context.type + '.' + tenant.key)"),
        of(&[Variable::Resource, Variable::User, Variable::Context, Variable::Tenant], &[])
    );
    assert!(needs("has(resource.a)").reads(Variable::Resource));
}

#[test]
fn two_expressions_are_equal_where_their_text_is() {
    assert_eq!(read("tenant.demo"), read("tenant.demo"));
    assert_ne!(read("tenant.demo"), read("tenant.demo "));
    assert_eq!(format!("{:?}", read("tenant.demo")), "\"tenant.demo\"");
    assert_eq!(serde_json::to_value(read("tenant.demo")).unwrap(), json!("tenant.demo"));
}

#[test]
fn what_was_accepted_once_and_cannot_be_used_any_more_never_holds() {
    let (world, scope) = (World::with(json!({})), std::sync::Arc::new(scope()));
    let gone = Expression::stored("tenant.gone || true || 3", &scope);
    let reason = gone.holds(&world.facts()).unwrap_err();
    assert!(reason.contains("no member “gone”") && reason.contains("; `||` takes"), "{reason}");
    assert_eq!((gone.text(), gone.fault()), ("tenant.gone || true || 3", Some(reason.as_str())));
    assert_eq!(gone.needs(), &Needs::default());
    let kept = Expression::stored("features.ai.enabled", &scope);
    assert_eq!((kept.holds(&world.facts()), kept.fault()), (Ok(true), None));
    assert_eq!(kept, read("features.ai.enabled"));
}

#[test]
fn facts_that_are_too_large_close_the_condition() {
    let mut world = World::with(json!({"items": vec![0; 500]}));
    world.attributes.insert("many".into(), json!(vec![0; 501]));
    let failed = |text: &str| read(text).holds(&world.facts()).unwrap_err();
    assert!(failed("has(resource.x)").contains("resource may hold at most 500 values"));
    assert!(failed("tenant.demo").contains("the attributes of the tenant"));
    let key: PermissionKey = "X".parse().unwrap();
    let mut facts = ConditionFacts::at(world.now);
    facts.permissions = vec![&key; 4_001];
    assert!(read("'Y' in permissions").holds(&facts).unwrap_err().contains("4000 permissions"));
}
