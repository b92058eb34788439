//! What is refused when the catalog is applied, and the way out that is named.

use super::*;

/// `text` has exactly these faults, each told by a part of it.
#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let faults = faults_of(text);
    assert_eq!(faults.len(), parts.len(), "{text}: {faults:#?}");
    for (fault, part) in faults.iter().zip(parts) {
        assert!(fault.contains(part), "{text}: {fault}");
        assert!(!fault.contains('\n') && fault.len() < 500, "{text}: {fault}");
    }
}

#[test]
fn what_does_not_exist_is_named_with_what_is_near() {
    for (text, part) in [
        ("resorce.x", "there is no variable “resorce”; did you mean “resource”?"),
        ("org == 'x'", "there is no variable “org”; there are tenant, user, permissions"),
        (".tenant.demo", "there is no variable “.tenant”"),
        ("tenant.nmae == 'x'", "there is no member “nmae” of the tenant; did you mean “name”?"),
        ("tenant['nmae'] == 'x'", "there is no member “nmae”"),
        ("user.role == 'x'", "did you mean “roles”"),
        (
            "user.attributes.x",
            "there is no member “attributes” of the user; there are id, tier, roles",
        ),
        ("context.kind == 'x'", "of the context; there are type, id"),
        ("features.brunches.enabled", "there is no feature “brunches” in this catalog; did you"),
        ("features.clubs.owned > 3", "write such keys as features[\"clubs.owned\"]"),
        ("features['zzz'].enabled", "there is no feature “zzz” in this catalog; define it"),
        ("features.branches.enable", "did you mean “enabled”"),
        ("features.ai.limit > 3", "only a feature of type limit has `limit`"),
        ("features.tone.remaining > 3", "only a feature of type limit has `remaining`"),
        ("features[resource.x].enabled", "a feature is named by its key, such as"),
        ("tenant[resource.x] == 1", "a member of the tenant is named"),
        ("'ai' in features", "features are known; ask"),
        ("features.exists(f, true)", "a loop can't go through all features"),
        (
            "tenant.name.beginsWith('x')",
            "there is no function “beginsWith”; did you mean “endsWith”?",
        ),
        ("tenant.name.startswith('x')", "there is no function “startswith”; did you mean “starts"),
        ("len(tenant.name) > 3", "there is no function “len”"),
        ("tenant.name.matches('x')", "there is no matches(); use startsWith"),
        ("matches(tenant.name, 'x')", "there is no matches()"),
        ("startsWith(tenant.name, 'x')", "startsWith() stands behind a dot"),
        ("exists(permissions, p, true)", "exists() stands behind a dot"),
        ("tenant.name.int() > 3", "int() stands alone"),
        ("type(tenant.name) == 'x'", "there is no function “type”"),
        ("dyn(1) == 1", "there is no function “dyn”"),
        ("optional.of(1).hasValue()", "there is no variable “optional”"),
    ] {
        let faults = faults_of(text);
        assert!(faults.iter().any(|fault| fault.contains(part)), "{text}: {faults:#?}");
    }
}

#[test]
fn a_type_that_does_not_fit_is_said() {
    for (text, part) in [
        ("permissions + 1 == permissions", "`+` can't take a list and an int"),
        ("tenant.demo > 3", "`>` compares two numbers, strings, timestamps or durations, not a b"),
        ("tenant.demo > false", "not a bool with a bool"),
        ("\"a\" && true", "`&&` takes what is true or false, not a string"),
        ("true || permissions", "`||` takes what is true or false, not a list"),
        ("!tenant.name", "`!` takes what is true or false, not a string"),
        ("-tenant.name == 1", "`-` takes a number, not a string"),
        ("tenant.name - 'x' == 'y'", "`-` can't take a string and a string"),
        ("features.branches.used * 1.5 > 3.0", "write double(…) around the int"),
        ("1.5 % 1.0 == 0.5", "`%` can't take a double and a double"),
        ("now + now > now", "`+` can't take a timestamp and a timestamp"),
        ("now > '2026-01-01T00:00:00Z'", "not a timestamp with a string"),
        ("now == '2026-01-01'", "`==` compares a timestamp with a string, which are never equal"),
        ("tenant.key == 3", "`==` compares a string with an int"),
        ("tenant.key == null", "a string is never null; leave `== null` out"),
        ("user == 'u'", "`==` compares members, not the user; name one"),
        ("user == user", "compares members"),
        ("features.ai == true", "compares members, not a feature; name one"),
        ("features.ai", "it gives a feature; a condition must be true or false"),
        ("features.ai && true", "not a feature"),
        ("tenant.name", "it gives a string; a condition must be true or false"),
        ("user.tier", "it gives a string"),
        ("null", "it gives null"),
        ("permissions", "it gives a list"),
        ("tenant.demo ? 1 : 2", "it gives an int"),
        ("tenant.demo ? true : 'x'", "`? :` gives a bool or a string; both must be alike"),
        ("tenant.name ? true : false", "before `?` stands what is true or false"),
        ("3 in permissions", "`in` never finds an int in a list of other things"),
        ("'x' in tenant.name", "`in` takes a list or map; say text.contains"),
        ("'x' in 3", "`in` takes a list or map on its right, not an int"),
        ("tenant.name.x == 1", "a string has no members, so no `x`"),
        ("tenant.name[0] == 'a'", "a string can't be looked up by an int"),
        ("permissions['a'] == 'a'", "a list can't be looked up by a string"),
        ("has(tenant.plan)", "`plan` is always there; compare it with null"),
        ("has(tenant.demo)", "`demo` is always there; leave has() out"),
        ("has(features.ai)", "always there"),
        ("has(resource)", "has() takes one member"),
        ("has(resource['a'])", "has() takes one member"),
        ("has(tenant.name.x)", "a string has no members"),
        ("tenant.name.startsWith(3)", "startsWith() takes one string"),
        ("tenant.name.startsWith()", "startsWith() takes one string"),
        ("tenant.demo.contains('x')", "contains() is asked of a string, not of a bool"),
        ("size(3) > 1", "size() takes a string, list or map, not an int"),
        ("size(tenant.name, 1) > 1", "size() takes one thing"),
        ("tenant.name.size(1) > 1", "size() takes nothing"),
        ("timestamp('tomorrow') > now", "timestamp() can't read this; it takes a string such as"),
        ("timestamp(true) > now", "not a bool"),
        ("duration('1 day') > duration('1h')", "duration() takes a string such as \"36h\""),
        ("duration('1hour') > duration('1h')", "duration() takes a string such as \"36h\""),
        ("int('many') > 3", "int() can't read this"),
        ("now.getHours('Mars/Base') > 3", "getHours() can't read this; it takes a time zone"),
        ("now.getHours(3) > 3", "or a time zone such as"),
        ("duration('1h').getHours('UTC') > 3", "takes no time zone"),
        ("duration('1h').getFullYear() > 3", "is asked of a timestamp, not of a duration"),
        ("tenant.name.all(c, true)", "a loop goes through a list or map, not a string"),
        ("permissions.all(p, p)", "all() asks what is true or false, not a string"),
        ("permissions.all(p)", "all() takes a name and an expression"),
        ("permissions.all('p', true)", "all() begins with a name of its own"),
        ("permissions.all(now, true)", "can't call its variable “now”; that is taken"),
        ("{'a': 1, 'a': 2}['a'] == 1", "the map has the key “a” twice"),
        ("{1: 2}[1] == 2", "the keys of a map are written out as strings"),
        ("[user] == []", "the user can't stand in a list or map; take a member"),
        ("5u == 5", "numbers are written without a `u`"),
        ("Point{x: 1} == null", "there are no such types"),
    ] {
        let faults = faults_of(text);
        assert!(faults.iter().any(|fault| fault.contains(part)), "{text}: {faults:#?}");
    }
}

#[test]
fn all_faults_of_an_expression_come_at_once_and_none_drags_another_along() {
    refused("resorce.x.y.z > 3 && resorce.x == 'a' + 1", &["resorce", "`+` can't take a string"]);
    refused("features.nope.limit + 1 > 0 || tenant.nope.nope", &["nope", "nope"]);
    refused("foo(bar) == 1 && 3", &["bar", "foo", "`&&`"]);
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    for (text, part) in [
        ("", "it must not be empty"),
        ("  \n", "it must not be empty"),
        ("tenant.demo &&", "it can't be read at line 1, column"),
        ("tenant.demo\n&& && true", "it can't be read at line 2"),
        ("tenant demo", "it can't be read at line 1, column 8"),
        ("a = 1", "at line 1, column 3: `=` is no operator; compare with `==`"),
        ("a & b", "`&` is no operator; write `&&`"),
        ("a | b", "write `||`"),
        ("(a", "a `(` is never closed"),
        ("a)", "this `)` closes nothing"),
        ("[a)", "this `)` closes nothing"),
        ("'abc", "a string is not closed; add a `'`"),
        ("\"a\nb\" == 'x'", "a string is not closed"),
        ("'\\q' == 'x'", "after a backslash come"),
        ("'\\u00g0' == 'x'", "after a backslash come"),
        ("r'a' == 'x'", "a string has nothing before its quote"),
        ("b'a' == 'x'", "a string has nothing before its quote"),
        ("'''a''' == 'x'", "a string stands between one quote each"),
        ("tenant.`demo`", "means nothing here"),
        ("tenant.dem\u{f6}", "means nothing here"),
        ("tenant.demo;", "`;` means nothing here"),
        ("a\u{0}", "means nothing here"),
        ("tenant.?demo", "unsupported syntax"),
        ("[?a] == []", "it can't be read"),
        ("a ? b", "it can't be read"),
        ("for == 1", "reserved"),
        ("99999999999999999999 > 1", "it can't be read"),
    ] {
        let faults = faults_of(text);
        assert!(faults.iter().any(|fault| fault.contains(part)), "{text}: {faults:#?}");
        assert!(faults.iter().all(|fault| !fault.contains('\n')), "{text}: {faults:#?}");
    }
}
