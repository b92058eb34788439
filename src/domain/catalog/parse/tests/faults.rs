//! Every kind of fault, at its place.

use super::*;

const BASE: &str = r#"
modules: {retail: {name: Retail}, dine: {name: Dine}}
features:
  on: {name: On, type: boolean}
  branches: {name: Branches, type: limit}
  tone: {name: Tone, type: config}
plans:
  starter: {name: Starter}
  extra: {name: Extra, kind: add_on}
  member: {name: Member, audience: user}
roles: {lead: {context: club}}
guards: {open: {module: retail}}
routes: [{path: /pos, module: retail}]
"#;

/// `BASE` with `entry` put into `section` has exactly one fault.
#[track_caller]
fn check_in(section: &str, entry: &str, field: &str, part: &str) {
    let mut document: serde_yaml::Value = serde_yaml::from_str(BASE).unwrap();
    let entry: serde_yaml::Value = serde_yaml::from_str(entry).unwrap();
    match (&mut document[section], entry) {
        (serde_yaml::Value::Sequence(list), entry) => list.push(entry),
        (serde_yaml::Value::Mapping(map), serde_yaml::Value::Mapping(entry)) => map.extend(entry),
        (place, entry) => *place = entry,
    }
    check(&serde_yaml::to_string(&document).unwrap(), field, part);
}

#[test]
fn all_faults_come_at_once_each_at_its_place() {
    let found = faults(
        r#"
modules: {a: {nmae: A}, a b: {name: X}}
features: {f: {name: F, type: limit}, g: {name: G, type: bool}}
plans: {p: {name: 5, features: {f: -1, brnches: 2, g: 7}, inherits: q}}
roles: {r: {}}
guards: {g: {conditions: [{unless: ""}]}}
routes: [{path: x}]
settings: {default_route: maybe}
plan: {}
"#,
    );
    let mut fields: Vec<_> = found.iter().map(|fault| fault.field.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "features.g.type",
            "guards.g.conditions[0].code",
            "guards.g.conditions[0].message",
            "guards.g.conditions[0].reason",
            "guards.g.conditions[0].unless",
            "modules.a b",
            "modules.a.name",
            "modules.a.nmae",
            "plan",
            "plans.p.features.brnches",
            "plans.p.features.f",
            "plans.p.inherits",
            "plans.p.name",
            "roles.r.context",
            "routes[0].path",
            "settings.default_route",
        ],
        "{found:#?}"
    );
}

#[test]
fn the_document_itself() {
    for empty in ["", "  \n", "# only a comment", "---", "~", "null"] {
        check(empty, "", "the document is empty");
    }
    check("[]", "", "expected a mapping, found a list");
    check("text", "", "expected a mapping, found the text");
    check("modules: {}\n---\nmodules: {}", "", "more than one document");
    check("modules: {a: [}", "", "line 1");
    check("1: {}", "", "a key must be text, not the number 1");
    check("modules: {<<: {}}", "modules", "merge keys");
    check("modules: !x {}", "modules", "tags");
    check("modul: {}", "modul", "did you mean “modules”");
    check("modules:", "modules", "found nothing");
    assert!(parse("{} x", Format::Json).is_err());
    assert!(parse("{\"modules\": {},}", Format::Json).is_err());
}

#[test]
fn a_key_that_stands_twice_is_found_at_any_level() {
    check("modules: {}\nmodules: {}", "modules", "more than once");
    check("modules: {a: {name: A}, a: {name: B}}", "modules.a", "more than once");
    check("modules: {a: {name: A, name: B}}", "modules.a.name", "more than once");
    let json = r#"{"features": {"c": {"name": "C", "type": "config"}},
        "plans": {"p": {"name": "P", "features": {"c": {"x": 1, "x": 2}}}}}"#;
    let faults = parse(json, Format::Json).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].field, "plans.p.features.c.x");
}

#[test]
fn modules_bundles_and_features() {
    for (section, entry, field, part) in [
        ("modules", "{x: 1}", "modules.x", "expected a mapping, found the number 1"),
        ("modules", "{x: {}}", "modules.x.name", "missing"),
        ("modules", "{x: {name: ' '}}", "modules.x.name", "empty"),
        ("modules", "{x: {name: 5}}", "modules.x.name", "quote it"),
        ("modules", "{x: {name: \"a\\tb\"}}", "modules.x.name", "control"),
        ("modules", "{x: {name: X, premium: 'yes'}}", "modules.x.premium", "true or false"),
        ("modules", "{x: {name: X, access: open}}", "modules.x.access", "entitled, always_on"),
        ("modules", "{x: {name: X, status: on}}", "modules.x.status", "found the text “on”"),
        ("modules", "{x: {name: X, provisioning: [org]}}", "modules.x.provisioning[0]", "one of"),
        ("modules", "{x: {name: X, seatd: true}}", "modules.x.seatd", "“seated”"),
        ("modules", "{.x: {name: X}}", "modules..x", "start with a letter"),
        ("bundles", "{b: {name: B}}", "bundles.b.modules", "missing"),
        ("bundles", "{b: {name: B, modules: []}}", "bundles.b.modules", "at least one"),
        ("bundles", "{b: {name: B, modules: retail}}", "bundles.b.modules", "a list of module"),
        ("bundles", "{b: {name: B, modules: [retial]}}", "bundles.b.modules[0]", "“retail”"),
        ("features", "{x: {name: X}}", "features.x.type", "missing"),
        ("features", "{x: {name: X, type: flag}}", "features.x.type", "boolean, limit, config"),
        ("features", "{x: {name: X, type: boolean, unit: u}}", "features.x.unit", "only a feature"),
        ("features", "{x: {name: X, type: config, per: user}}", "features.x.per", "only a feature"),
        ("features", "{x: {name: X, type: limit, reset: day}}", "features.x.reset", "gauge"),
        ("features", "{x: {name: X, type: limit, per: team}}", "features.x.per", "tenant, user"),
        ("features", "{x: {name: X, type: boolean, module: dien}}", "features.x.module", "“dine”"),
        ("features", "{dine: {name: X, type: boolean}}", "features.dine", "names a module too"),
    ] {
        check_in(section, entry, field, part);
    }
    let long = "x".repeat(201);
    check_in("modules", &format!("{{x: {{name: {long}}}}}"), "modules.x.name", "200");
}

#[test]
fn plans() {
    for (fields, field, part) in [
        ("features: {brnches: 1}", "features.brnches", "did you mean “branches”"),
        ("features: {on: 1}", "features.on", "expected true or false"),
        ("features: {branches: true}", "features.branches", "whole number"),
        ("features: {branches: -1}", "features.branches", "whole number"),
        ("features: {branches: 1.0}", "features.branches", "whole number"),
        ("features: {branches: 9223372036854775808}", "features.branches", "whole number"),
        ("features: {tone: null}", "features.tone", "found nothing"),
        ("features: {'*': false}", "features.*", "only be true"),
        ("features: [on]", "features", "a mapping of feature keys"),
        ("modules: retail", "modules", "\"*\""),
        ("modules: ['*']", "modules[0]", "without a list"),
        ("modules: [retail, retail]", "modules[1]", "twice"),
        ("modules: [zzz]", "modules[0]", "no module “zzz”"),
        ("inherits: [starter]", "inherits", "one plan key"),
        ("inherits: startr", "inherits", "“starter”"),
        ("inherits: member", "inherits", "another audience"),
        ("inherits: p", "inherits", "“p” → “p”"),
        ("trial_fallback: p", "trial_fallback", "its own fallback"),
        ("trial_fallback: member", "trial_fallback", "another audience"),
        ("trial_fallback: extra", "trial_fallback", "another kind"),
        ("trial_fallback: zzz", "trial_fallback", "no plan"),
        ("trial_days: 0", "trial_days", "from 1 to 3650"),
        ("trial_days: 3651", "trial_days", "from 1 to 3650"),
        ("stack: add", "stack", "kind: add_on"),
        ("rank: high", "rank", "a whole number"),
        ("seats: -1", "seats", "at least 0"),
        ("status: active", "status", "no such field"),
        ("permissions: [A, 'b c']", "permissions[1]", "letters, digits"),
        ("price: {amount: 1.5, currency: SAR, interval: month}", "price.amount", "whole number"),
        ("price: {amount: 1, currency: sar, interval: month}", "price.currency", "capital"),
        ("price: {amount: 1, currency: SAR, interval: monthly}", "price.interval", "month"),
        ("price: {amount: 1, currency: SAR}", "price.interval", "missing"),
    ] {
        let entry = format!("{{p: {{name: P, {fields}}}}}");
        check_in("plans", &entry, &format!("plans.p.{field}"), part);
    }
}

#[test]
fn cycles_are_named_once() {
    check(
        "plans: {c: {name: C, inherits: b}, b: {name: B, inherits: d}, \
         d: {name: D, inherits: c}, a: {name: A, inherits: c}}",
        "plans.b.inherits",
        "“b” → “d” → “c” → “b”",
    );
    check(
        "roles: {a: {context: x, inherits: [b, c]}, b: {context: x, inherits: c}, \
         c: {context: x, inherits: [d]}, d: {context: x, inherits: b}}",
        "roles.b.inherits",
        "“b” → “c” → “d” → “b”",
    );
    // Two ways to the same role are no cycle.
    yaml(
        "roles: {a: {context: x, inherits: [b, c]}, b: {context: x, inherits: c}, c: {context: x}}",
    );
}

#[test]
fn roles_and_guards() {
    for (section, entry, field, part) in [
        ("roles", "{r: {permissions: [A]}}", "roles.r.context", "missing"),
        ("roles", "{r: {context: club, bypass: true}}", "roles.r.bypass", "platform"),
        ("roles", "{r: {context: club, inherits: [lead, laed]}}", "roles.r.inherits[1]", "“lead”"),
        ("roles", "{r: {context: club, inherits: laed}}", "roles.r.inherits", "“lead”"),
        ("guards", "{g: {modul: retail}}", "guards.g.modul", "“module”"),
        ("guards", "{g: {features: [onn]}}", "guards.g.features[0]", "“on”"),
        ("guards", "{g: {features: []}}", "guards.g.features", "at least one"),
        ("guards", "{g: {match: any}}", "guards.g.match", "there are none"),
        ("guards", "{g: {limit: branches}}", "guards.g.limit", "expected a mapping"),
        ("guards", "{g: {limit: {}}}", "guards.g.limit.feature", "missing"),
        ("guards", "{g: {limit: {feature: on}}}", "guards.g.limit.feature", "no limit"),
        ("guards", "{g: {limit: {feature: branch}}}", "guards.g.limit.feature", "“branches”"),
        ("guards", "{g: {tier_at_least: starter}}", "guards.g.tier_at_least", "no tier"),
        ("guards", "{g: {tier_at_least: membr}}", "guards.g.tier_at_least", "“member”"),
        ("guards", "{g: {conditions: {}}}", "guards.g.conditions", "a list of conditions"),
    ] {
        check_in(section, entry, field, part);
    }
    for (fields, field, part) in [
        ("status: 399", "status", "from 400 to 499"),
        ("status: 500", "status", "from 400 to 499"),
        ("data: null", "data", "found nothing"),
        ("before: true", "before", "“before_limit”"),
    ] {
        let entry = format!(
            "{{g: {{conditions: [{{unless: resource.a, reason: r, code: C, message: M, {fields}}}]}}}}"
        );
        check_in("guards", &entry, &format!("guards.g.conditions[0].{field}"), part);
    }
}

#[test]
fn routes_and_settings() {
    for (route, field, part) in [
        ("{module: retail}", ".path", "missing"),
        ("{path: x}", ".path", "starts with"),
        ("{path: /x/}", ".path", "empty segment"),
        ("{path: //x}", ".path", "empty segment"),
        ("{path: /x/../y}", ".path", "`..`"),
        ("{path: /./y}", ".path", "`.`"),
        ("{path: /%2f}", ".path", "“%”"),
        ("{path: '/a\\b'}", ".path", "“\\”"),
        ("{path: /a b}", ".path", "“ ”"),
        ("{path: /ä}", ".path", "“ä”"),
        ("{path: '/a?b'}", ".path", "“?”"),
        ("{path: '/**/x'}", ".path", "the last"),
        ("{path: '/*'}", ".path", "`**`"),
        ("{path: '/a**'}", ".path", "`**`"),
        ("{path: '/a{b}'}", ".path", "braces"),
        ("{path: '/{}'}", ".path", "braces"),
        ("{path: '/{a}/{a}'}", ".path", "twice"),
        ("{path: /x, methods: [get]}", ".methods[0]", "capital"),
        ("{path: /x, methods: []}", ".methods", "at least one"),
        ("{path: /x, methods: [GET, GET]}", ".methods[1]", "twice"),
        ("{path: /x, public: true, module: retail}", ".public", "module"),
        ("{path: /x, allow_blocked: true, permission: A}", ".allow_blocked", "permission"),
        ("{path: /x, allow_blocked: true, public: true}", ".allow_blocked", "public"),
        ("{path: /x, guard: opn}", ".guard", "“open”"),
        ("{path: /pos}", ".path", "already at routes[0]"),
    ] {
        check_in("routes", route, &format!("routes[1]{field}"), part);
    }
    check(
        "routes: [{path: '/a/{x}', methods: [GET, PUT]}, {path: '/a/{y}', methods: [PUT]}]",
        "routes[1].path",
        "PUT of this path is already at routes[0]",
    );
    yaml("routes: [{path: /a}, {path: /a, methods: [GET]}, {path: '/{x}'}]");
    check("settings: {overdue_grace_days: -1}", "settings.overdue_grace_days", "0 to 3650");
    check("settings: {default_route: block}", "settings.default_route", "deny, allow");
}
