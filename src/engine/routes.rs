//! Which route a request is judged by: the most specific one that matches.
//!
//! A literal segment beats `{name}`, which beats `**`, compared segment by segment from the left.
//! `**` matches any number of segments, also none. On one pattern a route that names the method
//! beats one that judges HEAD as GET, which beats one for any method. A route for other methods
//! alone is no match: the search goes on to less specific patterns.
//!
//! Invariants: a table is a tree in which a path leads to each node in at most one way, so that a
//! search never takes more steps than there are segments in all patterns together; how many
//! patterns there are beside the path plays no part.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::domain::{catalog::Route, paths::RequestPath};

/// All routes of a catalog, ready to be searched.
#[derive(Debug, Clone)]
pub struct RouteTable {
    exact: Node,
    /// The routes that protect, without regard to ASCII case.
    folded: Node,
}

/// The patterns that share a beginning.
#[derive(Debug, Clone, Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    param: Option<Box<Node>>,
    /// Where the path ends here.
    here: Methods,
    /// Where anything may follow: `**`.
    rest: Methods,
}

/// The routes of one pattern.
#[derive(Debug, Clone, Default)]
struct Methods {
    named: Vec<(Box<str>, Arc<Route>)>,
    any: Option<Arc<Route>>,
}

/// How segments of patterns and paths are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Kept,
    Folded,
}

impl Case {
    fn of(self, segment: &str) -> Box<str> {
        match self {
            Self::Kept => segment.into(),
            Self::Folded => segment.to_ascii_lowercase().into(),
        }
    }
}

impl RouteTable {
    /// Compiles the routes of a catalog, in whatever order they stand.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        let routes: Vec<_> = routes.iter().cloned().map(Arc::new).collect();
        let protected: Vec<_> = routes.iter().filter(|route| !is_open(route)).cloned().collect();
        Self { exact: Node::of(&routes, Case::Kept), folded: Node::of(&protected, Case::Folded) }
    }

    /// The route that a request is judged by; none where the default decides.
    ///
    /// A path that only another spelling in ASCII case keeps from a more specific route that
    /// protects is judged by that route: many servers don't tell the two apart.
    #[must_use]
    pub fn find(&self, method: &str, path: &RequestPath) -> Option<&Arc<Route>> {
        let found = self.exact.find(method, path.segments());
        if found.is_some_and(|route| specificity(&route.path).all(|part| part >= LITERAL)) {
            return found;
        }
        let segments: Vec<_> = path.segments().iter().map(|s| s.to_ascii_lowercase()).collect();
        let folded = self.folded.find(method, &segments);
        let is_more_specific = |folded: &&Arc<Route>| {
            found.is_none_or(|found| specificity(&folded.path).gt(specificity(&found.path)))
        };
        folded.filter(is_more_specific).or(found)
    }
}

const LITERAL: u8 = 2;
/// The path ends where the pattern does.
const END: u8 = 3;

/// How specific each segment of a pattern is; patterns that match one path compare by it.
fn specificity(pattern: &str) -> impl Iterator<Item = u8> {
    let end = (!pattern.ends_with("/**")).then_some(END);
    let parts = pattern.split('/').filter(|part| !part.is_empty()).map(|part| match part {
        "**" => 0,
        _ if name(part).is_some() => 1,
        _ => LITERAL,
    });
    parts.chain(end)
}

fn is_open(route: &Route) -> bool {
    route.public || route.allow_blocked
}

/// What the names in a route's pattern stand for in a path that it matches.
#[must_use]
pub fn parameters(route: &Route, path: &RequestPath) -> BTreeMap<String, String> {
    let pattern = route.path.split('/').skip(1);
    let pairs = pattern.zip(path.segments());
    let named = pairs.filter_map(|(part, segment)| Some((name(part)?, segment)));
    named.map(|(name, segment)| (name.to_owned(), segment.clone())).collect()
}

fn name(part: &str) -> Option<&str> {
    part.strip_prefix('{').and_then(|part| part.strip_suffix('}'))
}

impl Node {
    fn of(routes: &[Arc<Route>], case: Case) -> Self {
        let mut root = Self::default();
        for route in routes {
            root.insert(route, case);
        }
        root
    }

    fn insert(&mut self, route: &Arc<Route>, case: Case) {
        let mut node = self;
        for part in route.path.split('/').skip(1).filter(|part| !part.is_empty()) {
            node = match part {
                "**" => return node.rest.insert(route),
                _ if name(part).is_some() => node.param.get_or_insert_default(),
                _ => node.literals.entry(case.of(part)).or_default(),
            };
        }
        node.here.insert(route);
    }

    fn find(&self, method: &str, path: &[String]) -> Option<&Arc<Route>> {
        let Some((first, others)) = path.split_first() else {
            return self.here.find(method).or_else(|| self.rest.find(method));
        };
        let literal = self.literals.get(first.as_str());
        let mut deeper = literal.into_iter().chain(self.param.as_deref());
        let found = deeper.find_map(|node| node.find(method, others));
        found.or_else(|| self.rest.find(method))
    }
}

impl Methods {
    fn insert(&mut self, route: &Arc<Route>) {
        if route.methods.is_empty() {
            self.any.get_or_insert_with(|| route.clone());
        }
        for method in &route.methods {
            match self.named.iter_mut().find(|(named, _)| **named == **method) {
                // Patterns that fall together where case plays no part: the first one stays.
                Some(_) => {}
                None => self.named.push((method.as_str().into(), route.clone())),
            }
        }
    }

    fn find(&self, method: &str) -> Option<&Arc<Route>> {
        let named = |method: &str| {
            self.named.iter().find(|(named, _)| **named == *method).map(|(_, route)| route)
        };
        let as_get = || (method == "HEAD").then(|| named("GET")).flatten();
        named(method).or_else(as_get).or(self.any.as_ref())
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
