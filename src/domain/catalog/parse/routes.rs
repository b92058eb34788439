//! Routes: what each path of the application needs.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        cursor::Cursor,
        findings::{Kind, quoted},
        model::{METHODS, Route},
    },
    MAX_ROUTES, guards,
};

/// Longest pattern, in characters.
const MAX_PATH: usize = 1_000;

pub(super) fn routes(list: &Cursor<'_>) -> Vec<Route> {
    let items = list.items("a list of routes").unwrap_or_default();
    if items.len() > MAX_ROUTES {
        list.fault(format!("it may have at most {MAX_ROUTES} entries"));
        return Vec::new();
    }
    let mut seen = BTreeMap::new();
    let mut routes = Vec::with_capacity(items.len());
    for item in &items {
        let route = route(item);
        refuse_second(item, &route, &mut seen);
        routes.push(route);
    }
    routes
}

fn route(item: &Cursor<'_>) -> Route {
    let record = item.record(&[
        "methods",
        "path",
        "module",
        "features",
        "match",
        "permission",
        "guard",
        "public",
        "allow_blocked",
    ]);
    let needs: Vec<_> = ["module", "features", "permission", "guard"]
        .into_iter()
        .filter(|name| record.get(name).is_some())
        .collect();
    let (public, allow_blocked) = (record.flag("public"), record.flag("allow_blocked"));
    for (open, name) in [(public, "public"), (allow_blocked, "allow_blocked")] {
        if let Some(field) = record.get(name).filter(|_| open && !needs.is_empty()) {
            let needs = needs.join(", ");
            field.fault(format!("an open route can't need anything, and this one has {needs}"));
        }
    }
    if public
        && allow_blocked
        && let Some(field) = record.get("allow_blocked")
    {
        field.fault("a public route is open to everyone already; leave one of the two out");
    }
    if let Some(field) = record.get("methods") {
        field.refuse_empty_list("name at least one method, or leave it out for any");
    }
    let methods = record.get("methods").and_then(|field| field.list("HTTP methods", method));
    let (features, features_match) = guards::features(&record);
    Route {
        methods: methods.unwrap_or_default().into_iter().collect(),
        path: record.required("path").and_then(|field| path(&field)).unwrap_or_default(),
        module: record.get("module").and_then(|field| field.reference(Kind::Module)),
        features,
        features_match,
        permission: record.get("permission").and_then(|field| field.key()),
        guard: record.get("guard").and_then(|field| field.reference(Kind::Guard)),
        public,
        allow_blocked,
    }
}

fn method(item: &Cursor<'_>) -> Option<String> {
    let text = item.text(16)?;
    if METHODS.contains(&text.as_str()) {
        return Some(text);
    }
    item.expected("an HTTP method in capital letters, such as GET");
    None
}

fn path(field: &Cursor<'_>) -> Option<String> {
    let text = field.text(MAX_PATH)?;
    match check_path(&text) {
        Ok(()) => Some(text),
        Err(message) => {
            field.fault(message);
            None
        }
    }
}

/// A pattern can only match a path in normal form, so that it must be in normal form itself.
fn check_path(path: &str) -> Result<(), String> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err("a path starts with `/`".to_owned());
    };
    if rest.is_empty() {
        return Ok(());
    }
    let mut names = BTreeSet::new();
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment == "**" {
            if is_last {
                continue;
            }
            return Err("`**` can only be the last segment".to_owned());
        }
        match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) if is_name(name) && names.insert(name) => {}
            Some(name) if is_name(name) => {
                return Err(format!("the name {} stands in it twice", quoted(name)));
            }
            Some(_) => return Err("a name in braces has letters, digits and `_`".to_owned()),
            None => check_literal(segment)?,
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn check_literal(segment: &str) -> Result<(), String> {
    if segment.is_empty() {
        return Err("it has an empty segment (`//`, or `/` at the end)".to_owned());
    }
    if segment == "." || segment == ".." {
        return Err("it has a segment `.` or `..`".to_owned());
    }
    // RFC 3986 `pchar` without the percent sign, and without `*`, which would look like a pattern.
    let is_bad = |c: &char| !(c.is_ascii_alphanumeric() || "-._~!$&'()+,;=:@".contains(*c));
    match segment.chars().find(is_bad) {
        None => Ok(()),
        Some('*') => Err("`**` can only be a whole segment, the last one; for one segment write \
                          a name in braces"
            .to_owned()),
        Some('{' | '}') => Err("braces hold a whole segment: `/{name}`".to_owned()),
        Some(bad) => {
            Err(format!("the character {} can't stand in a path", quoted(&bad.to_string())))
        }
    }
}

/// The pattern with its names left out: patterns that differ only in names match the same paths.
fn shape(path: &str) -> String {
    let nameless = |segment| if str::starts_with(segment, '{') { "{}" } else { segment };
    path.split('/').map(nameless).collect::<Vec<_>>().join("/")
}

/// Two routes for one method and path: which one counts would be a guess.
fn refuse_second(item: &Cursor<'_>, route: &Route, seen: &mut BTreeMap<(String, String), String>) {
    if route.path.is_empty() {
        return;
    }
    let any = BTreeSet::from(["*".to_owned()]);
    let methods = if route.methods.is_empty() { &any } else { &route.methods };
    for method in methods {
        let place = (method.clone(), shape(&route.path));
        if let Some(first) = seen.get(&place) {
            let method = if method == "*" { "any method" } else { method };
            item.findings.fault(
                format!("{}.path", item.path),
                format!("{method} of this path is already at {first}"),
            );
        } else {
            seen.insert(place, item.path.clone());
        }
    }
}
