//! Texts and facts that would like to run long, or deep.

use std::time::Instant;

use super::*;

/// Runs `work` on a stack of a mebibyte: half of what a worker thread has, and this is a build
/// without optimisation.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}

/// Deep texts: what stands before, again and again, the heart, and what closes it.
const DEEP: [(&str, &str, &str); 14] = [
    ("(", "true", ")"),
    ("[", "1", "]"),
    ("{'a': ", "1", "}"),
    ("!", "true", ""),
    ("-", "1", ""),
    ("true ? ", "true", " : false"),
    ("true ? true : ", "true", ""),
    ("size(", "'a'", ")"),
    ("tenant.attributes[", "'a'", "]"),
    ("1 + ", "1", ""),
    ("1 + (", "1", ")"),
    ("true == ", "true", ""),
    ("resource.all(x, ", "true", ")"),
    ("!(", "true", ")"),
];

#[test]
fn nothing_is_too_deep_for_a_small_stack() {
    on_a_small_stack(|| {
        let world = World::with(json!({"a": {"a": {"a": true}}}));
        for (before, heart, behind) in DEEP {
            for depth in [1, 2, 3, 8, 14, 15, 16, 23, 24, 40, 46, 47, 48, 49, 200, 1_000, 4_000] {
                let text = format!("{}{heart}{}", before.repeat(depth), behind.repeat(depth));
                if let Ok(expression) = Expression::parse(&text, &scope()) {
                    let _ = expression.holds(&world.facts());
                }
                let open = before.repeat(depth);
                assert!(Expression::parse(&open, &scope()).is_err(), "{open}");
            }
        }
        for chain in [".a", ".size()", "[0]", " == true", " - 1", " in []", " && true", " || true"]
        {
            for length in [5, 40, 46, 47, 48, 200, 400, 2_000] {
                let text = format!("resource{}", chain.repeat(length));
                if let Ok(expression) = Expression::parse(&text, &scope()) {
                    let _ = expression.holds(&world.facts());
                }
            }
        }
    });
}

#[test]
fn what_is_too_deep_or_too_long_is_told() {
    for (text, part) in [
        ("(".repeat(17) + "true" + &")".repeat(17), "nested too deep"),
        ("1 + ".repeat(60) + "1 == 61", "nested too deep"),
        ("!".repeat(70) + "true", "nested too deep"),
        ("true ? true : ".repeat(60) + "true", "nested too deep"),
        (format!("'{}' == ''", "x".repeat(4_096)), "at most 4096 characters"),
        ("true||".repeat(600) + "true", "more than 1000 words and signs"),
        (
            "resource.a.all(x, resource.b.all(y, resource.c.all(z, true)))".to_owned(),
            "at most 2 loops",
        ),
        ("resource.a.all(x, resource.b.all(y, x != y))".to_owned(), "could run too long"),
        ("permissions.all(p, permissions.all(q, p == q))".to_owned(), "could run too long"),
        ("permissions.all(p, resource.a.all(q, p == q))".to_owned(), "could run too long"),
        ("resource.a.exists(x, size(x + x + x) > 3)".to_owned(), "adds numbers, and short"),
        ("[1].all(x, size(permissions + permissions) > 1)".to_owned(), "adds numbers, and short"),
        ("resource.a.all(x, size('a' + resource.text) > 3)".to_owned(), "adds numbers, and short"),
        ("resource.a.all(o, o.b.all(i, 'a' + o.c == i))".to_owned(), "adds numbers, and short"),
        ("permissions.all(p, size(p + p + p + p + p + p + p + p + p) > 1)".to_owned(), "adds numb"),
        ("resource.a.map(x, resource) == []".to_owned(), "map() collects numbers, strings, or"),
        ("resource.a.map(x, [x]) == []".to_owned(), "map() collects numbers, strings, or"),
        (
            "resource.a.map(x, resource.a.map(y, y)) == []".to_owned(),
            "map() collects numbers, strings, or",
        ),
    ] {
        let faults = faults_of(&text);
        assert!(faults.iter().any(|fault| fault.contains(part)), "{text}: {faults:#?}");
    }
}

#[test]
fn what_is_useful_is_not_too_long() {
    for text in [
        "resource.items.all(i, i.tags.all(t, t in permissions))",
        "resource.wanted.all(p, p in permissions)",
        "permissions.exists(p, p.startsWith('club.') && p.endsWith('.create'))",
        "resource.items.all(i, i.price > 0 && i.price < 100 && i.name != '' && has(i.id))",
        "resource.items.exists(i, i.price + 1 > 3)",
        "resource.items.all(i, ('sell.' + i.kind + '.' + string(i.id)) in permissions)",
        "permissions.exists(p, p == context.type + '.' + tenant.key)",
    ] {
        read(text);
    }
    let many: Vec<_> = (0..60).map(|n| format!("tenant.key != 'x{n}'")).collect();
    read(&many.join(" && "));
    let many: Vec<_> = (0..200).map(|n| format!("'P{n}'")).collect();
    read(&format!("user.id in [{}]", many.join(", ")));
}

/// The dearest of what is accepted, on the largest facts. The time is for a build without
/// optimisation on a busy machine.
#[test]
fn the_dearest_expressions_end_soon() {
    let mut world = World::with(json!({"a": vec!["x".repeat(20); 480]}));
    world.permissions = (0..4_000).map(|n| format!("perm.{n}").parse().unwrap()).collect();
    assert_eq!(resource_fault(&world.resource), None);
    let many: Vec<_> = (0..11).map(|n| format!("p != '{n}'")).collect();
    let all = format!("permissions.all(p, {})", many.join(" && "));
    assert!(Expression::parse(&all.replace(")", " && p != 'x')"), &scope()).is_err(), "dearer");
    for text in [
        all.as_str(),
        "resource.a.all(x, !(x in permissions))",
        "resource.a.all(x, x in resource.a && x in resource.a && !(x in permissions))",
        "size(permissions.map(p, p + 'x' == 'y' ? 1 : 2)) == 4000",
        "resource.a.all(x, '' + x + x + x + x + x + x + x != '')",
    ] {
        let expression = read(text);
        let before = Instant::now();
        assert_eq!(expression.holds(&world.facts()), Ok(true), "{text}");
        let took = before.elapsed();
        assert!(took.as_secs() < 5, "{text}: {took:?}");
    }
}

#[test]
fn hostile_texts_are_refused_and_nothing_worse() {
    let long = "é".repeat(4_096);
    let mut accepted = Vec::new();
    for text in [
        "\u{feff}true",
        "true\u{2028}",
        "tru\u{0435}",
        "\"\u{0}\" == ''",
        "'\u{1F600}'",
        "/*x*/ true",
        "${tenant}",
        "tenant.key == 'a' or true",
        "true; DROP TABLE",
        "__proto__",
        "tenant.__class__",
        "@result",
        "a.b.c.d()",
        "()",
        "[]",
        "{}",
        "...",
        "..",
        ".",
        ",",
        "?",
        ":",
        "? :",
        "in",
        "in in in",
        "1.2.3",
        "0x",
        "1e",
        "1e999 > 1.0",
        "-",
        "--",
        "!",
        "'",
        "\"",
        "\\",
        "#",
        "true true",
        "a..b",
        "a.",
        "tenant..demo",
        "0xFFFFFFFFFFFFFFFFF > 1",
        "-9223372036854775808 < 0",
        "9223372036854775808 > 0",
        "true ? true",
        "[,]",
        "{,}",
        "{a}",
        "f(,)",
        "f(a,)",
        "has()",
        "has(a.b, c)",
        "x.all()",
        "x.all(y)",
        "x.all(y, z, w)",
        "null.a",
        "true.a",
        "1.a",
        "'a'.b",
        "//",
        "// true",
        long.as_str(),
    ] {
        let outcome = Expression::parse(text, &scope());
        if let Ok(expression) = outcome {
            let _ = expression.holds(&World::with(json!({})).facts());
            accepted.push(text);
        }
    }
    assert_eq!(accepted, ["-9223372036854775808 < 0"]);
}

/// The examples of the documentation are accepted.
#[test]
fn what_the_documentation_shows_is_accepted() {
    let page = include_str!("../../../../docs/conditions.md");
    let examples = page.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    let features = "features: {branches: {name: B, type: limit}}";
    let catalog = parse(features, Format::Yaml).unwrap();
    let scope = Scope::of(&catalog.features);
    let mut count = 0;
    for example in examples.split("\n\n") {
        let faults = Expression::parse(example.trim(), &scope).err();
        assert_eq!(faults, None, "{example}");
        count += 1;
    }
    assert_eq!(count, 7);
}
