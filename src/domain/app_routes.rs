//! The routes of an application, as its own documents tell them: an OpenAPI document or a list.
//!
//! Refuses to know: what protects them.

use serde_json::Value;

use crate::domain::catalog::METHODS;

/// Most routes that are looked at together.
pub const MAX_APP_ROUTES: usize = 10_000;

/// The methods of an OpenAPI path item.
const OPERATIONS: [&str; 9] =
    ["get", "put", "post", "delete", "options", "head", "patch", "trace", "query"];
/// What else a path item may have.
const BESIDE: [&str; 4] = ["summary", "description", "servers", "parameters"];

/// One route of an application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppRoute {
    /// As it was written.
    pub path: String,
    /// In capital letters; none for every method.
    pub method: Option<String>,
}

/// One segment of an application's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppSegment {
    /// This text.
    Literal(String),
    /// Any one segment.
    Parameter,
    /// Any one segment, or none.
    Optional,
    /// Any number of segments, none included.
    Rest,
}

impl AppRoute {
    /// A line such as `GET /users/{id}`; the method may be left out.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let (first, second) = (words.next().unwrap_or_default(), words.next());
        if words.next().is_some() {
            return Err("write a method and a path, such as GET /users/{id}".into());
        }
        match second {
            Some(path) => Self::new(Some(first), path),
            None => Self::new(None, first),
        }
    }

    /// A route by its parts; `*` and `ANY` stand for every method.
    pub fn new(method: Option<&str>, path: &str) -> Result<Self, String> {
        let method = method.map(str::to_ascii_uppercase).filter(|it| it != "*" && it != "ANY");
        if let Some(bad) = method.as_ref().filter(|it| !METHODS.contains(&it.as_str())) {
            return Err(format!("“{bad}” is no HTTP method that a route can name"));
        }
        if !path.starts_with('/') {
            return Err(format!("“{path}” is no path: a path starts with `/`"));
        }
        Ok(Self { path: path.to_owned(), method })
    }

    /// Its segments, in the notations that are common: `{id}`, `:id`, `<id>`, `[id]`, `{rest...}`,
    /// `**`, `*`.
    #[must_use]
    pub fn segments(&self) -> Vec<AppSegment> {
        let path = self.path.trim_matches('/');
        if path.is_empty() {
            return Vec::new();
        }
        path.split('/').map(segment).collect()
    }
}

fn segment(text: &str) -> AppSegment {
    let inner = [('{', '}'), ('<', '>'), ('[', ']')].iter().find_map(|(open, close)| {
        text.strip_prefix(*open).and_then(|rest| rest.strip_suffix(*close))
    });
    let is_pattern = text.contains(['{', '<', '[', '*']) || text.starts_with(':');
    match inner.or_else(|| text.strip_prefix(':')).unwrap_or(text) {
        // Whatever may hold a slash stands for any number of segments.
        name if is_pattern && may_hold_a_slash(name) => AppSegment::Rest,
        name if is_pattern && (name.ends_with('?') || text.starts_with("[[")) => {
            AppSegment::Optional
        }
        _ if is_pattern => AppSegment::Parameter,
        _ => AppSegment::Literal(text.to_owned()),
    }
}

/// `*`, `{rest...}`, `{path:path}`, `{tail:.+}`, `:rest*`, `:rest+`.
fn may_hold_a_slash(name: &str) -> bool {
    name.contains(['*', '+', '('])
        || name.contains("..")
        || name.contains("path:")
        || name.contains(":path")
}

/// The routes of an OpenAPI document, in versions 2 and 3. The path of its server stands before each;
/// where there are several, each of them once.
pub fn of_openapi(document: &Value) -> Result<Vec<AppRoute>, String> {
    let Some(paths) = document.get("paths").and_then(Value::as_object) else {
        return Err("it has no `paths`: is it an OpenAPI document?".into());
    };
    let of_document = bases(document, vec![String::new()])?;
    let mut routes = Vec::new();
    for (path, item) in paths {
        let Some(item) = item.as_object().filter(|item| !item.contains_key("$ref")) else {
            return Err(format!(
                "`paths.{path}` is no object with operations; resolve references before you send it"
            ));
        };
        let of_path = bases(&Value::Object(item.clone()), of_document.clone())?;
        for (name, operation) in item {
            if BESIDE.contains(&name.as_str()) || name.starts_with("x-") {
                continue;
            }
            if !OPERATIONS.contains(&name.as_str()) {
                return Err(format!("`paths.{path}.{name}` is no operation that is understood"));
            }
            for base in bases(operation, of_path.clone())? {
                routes.push(AppRoute::new(Some(name), &format!("{base}{path}"))?);
            }
        }
    }
    Ok(routes)
}

/// What stands before every path: `basePath`, or the path of each server that is named there.
fn bases(of: &Value, above: Vec<String>) -> Result<Vec<String>, String> {
    if let Some(base) = of.get("basePath").and_then(Value::as_str) {
        return Ok(vec![trimmed(base)]);
    }
    let servers = of.get("servers").and_then(Value::as_array).filter(|all| !all.is_empty());
    let Some(servers) = servers else { return Ok(above) };
    let mut bases = Vec::new();
    for server in servers {
        let base = base_of(server)?;
        if !bases.contains(&base) {
            bases.push(base);
        }
    }
    Ok(bases)
}

fn base_of(server: &Value) -> Result<String, String> {
    let mut url = server.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten()
    {
        let value = variable.get("default").and_then(Value::as_str).unwrap_or_default();
        url = url.replace(&format!("{{{name}}}"), value);
    }
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => &url,
    };
    if path.contains('{') {
        return Err(format!("the server `{url}` has a variable without a default"));
    }
    Ok(trimmed(path))
}

fn trimmed(base: &str) -> String {
    let base = base.trim_matches('/');
    if base.is_empty() { String::new() } else { format!("/{base}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn common_notations_of_parameters_are_read() {
        use AppSegment::{Literal, Optional, Parameter, Rest};
        let cases = [
            ("/", vec![]),
            ("/a/{id}/b", vec![Literal("a".into()), Parameter, Literal("b".into())]),
            ("/a/:id", vec![Literal("a".into()), Parameter]),
            ("/a/<int:id>", vec![Literal("a".into()), Parameter]),
            ("/a/[id]", vec![Literal("a".into()), Parameter]),
            ("/files/{path:.*}", vec![Literal("files".into()), Rest]),
            ("/files/*", vec![Literal("files".into()), Rest]),
            ("/files/[...rest]", vec![Literal("files".into()), Rest]),
            ("/v/{id}.json", vec![Literal("v".into()), Parameter]),
            ("/a/:id?", vec![Literal("a".into()), Optional]),
            ("/a/[[id]]", vec![Literal("a".into()), Optional]),
            ("/files/:path*", vec![Literal("files".into()), Rest]),
            ("/files/:path+", vec![Literal("files".into()), Rest]),
            ("/files/{p:path}", vec![Literal("files".into()), Rest]),
            ("/files/{p:.+}", vec![Literal("files".into()), Rest]),
            ("/files/<path:p>", vec![Literal("files".into()), Rest]),
        ];
        for (path, expected) in cases {
            assert_eq!(AppRoute::new(None, path).unwrap().segments(), expected, "{path}");
        }
    }

    #[test]
    fn the_path_of_the_server_stands_before_each() {
        let of = |servers: Value| {
            let document =
                json!({"servers": servers, "paths": {"/a": {"get": {}, "summary": "s"}}});
            let routes = of_openapi(&document).unwrap();
            routes.into_iter().map(|route| route.path).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(json!([{"url": "https://shop.example/api/v2/"}])), "/api/v2/a");
        assert_eq!(of(json!([{"url": "/api"}])), "/api/a");
        assert_eq!(of(json!([{"url": "https://shop.example"}])), "/a");
        assert_eq!(of(json!([])), "/a");
        assert_eq!(of(json!([{"url": "/v1"}, {"url": "/v2"}])), "/v1/a /v2/a");
        let variable = json!({"url": "/{stage}", "variables": {"stage": {"default": "beta"}}});
        assert_eq!(of(json!([variable])), "/beta/a");
    }

    #[test]
    fn what_can_not_be_seen_whole_is_refused() {
        let reference = json!({"paths": {"/a": {"$ref": "other.yaml"}}});
        assert!(of_openapi(&reference).unwrap_err().contains("`paths./a`"));
        let variable = json!({"servers": [{"url": "/{stage}"}], "paths": {}});
        assert!(of_openapi(&variable).is_err());
        let own = json!({"paths": {"/a": {"get": {"servers": [{"url": "/own"}]}, "put": {}}}});
        let paths = of_openapi(&own).unwrap().into_iter().map(|route| route.path);
        assert_eq!(paths.collect::<Vec<_>>(), ["/own/a", "/a"].map(str::to_owned));
    }

    #[test]
    fn a_line_has_a_method_and_a_path_or_a_path() {
        assert_eq!(AppRoute::parse("get /a").unwrap(), AppRoute::new(Some("GET"), "/a").unwrap());
        assert_eq!(AppRoute::parse("/a").unwrap().method, None);
        assert_eq!(AppRoute::parse("ANY /a").unwrap().method, None);
        for bad in ["GET", "a/b", "GET /a /b", "G3T /a", "GETT /a"] {
            assert!(AppRoute::parse(bad).is_err(), "{bad}");
        }
    }
}
