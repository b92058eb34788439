//! Which routes of an application the catalog protects.
//!
//! Invariants: a route counts as covered only where every request to it is judged by a route of the
//! catalog, whatever stands for its parameters.

use std::collections::BTreeSet;

use crate::{
    domain::{
        app_routes::{AppRoute, AppSegment},
        catalog::{Catalog, METHODS, Route},
        keys::GuardKey,
        paths::RequestPath,
    },
    engine::routes::RouteTable,
};

/// What stands for a parameter: a text that no catalog has as a segment.
const ANYTHING: &str = "~entitled.anything~";

/// The methods that a route for every method is asked with: all that a route of the catalog can name.
const EVERY_METHOD: [&str; 18] = METHODS;

/// Most addresses that stand for one route.
const MOST_TARGETS: usize = 4_096;

/// What the catalog says about the routes of an application.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Coverage {
    /// Judged by a route of the catalog, which is named.
    pub covered: Vec<(AppRoute, Route)>,
    /// Open to everyone, by a route of the catalog.
    pub public: Vec<(AppRoute, Route)>,
    /// No route of the catalog says anything: `default_route` decides.
    pub uncovered: Vec<AppRoute>,
    /// Guards that no route of the catalog names.
    pub unused_guards: Vec<GuardKey>,
}

/// Looks at each route of an application in turn.
#[must_use]
pub fn coverage(catalog: &Catalog, routes: &[AppRoute]) -> Coverage {
    let table = RouteTable::new(&catalog.routes);
    // Deeper than every pattern, only `**` matches.
    let depth = catalog.routes.iter().map(|route| route.path.split('/').count()).max().unwrap_or(0);
    let mut found = Coverage::default();
    for route in routes {
        match judges(&table, route, depth) {
            Some(by) if by.public => found.public.push((route.clone(), by)),
            Some(by) => found.covered.push((route.clone(), by)),
            None => found.uncovered.push(route.clone()),
        }
    }
    let used: BTreeSet<&GuardKey> =
        catalog.routes.iter().filter_map(|route| route.guard.as_ref()).collect();
    found.unused_guards =
        catalog.guards.keys().filter(|guard| !used.contains(guard)).cloned().collect();
    found
}

/// The route that judges every request to `route`; a public one only where all that judge are.
fn judges(table: &RouteTable, route: &AppRoute, depth: usize) -> Option<Route> {
    let methods = match &route.method {
        Some(method) => vec![method.as_str()],
        None => EVERY_METHOD.to_vec(),
    };
    let mut judge: Option<Route> = None;
    for target in targets(&route.segments(), depth) {
        let path = RequestPath::parse(&target).ok()?;
        for method in &methods {
            let found = table.find(method, &path)?;
            if judge.as_ref().is_none_or(|before| before.public && !found.public) {
                judge = Some(Route::clone(found));
            }
        }
    }
    judge
}

/// Addresses that stand for every request to a path: with and without what may be missing, and with
/// up to `depth` segments where any number may stand.
fn targets(segments: &[AppSegment], depth: usize) -> Vec<String> {
    let mut targets = vec![String::new()];
    for segment in segments {
        match segment {
            AppSegment::Literal(text) => targets.iter_mut().for_each(|it| it.extend(["/", text])),
            AppSegment::Parameter => targets.iter_mut().for_each(|it| it.extend(["/", ANYTHING])),
            AppSegment::Optional => {
                let with = targets.iter().map(|it| format!("{it}/{ANYTHING}")).collect::<Vec<_>>();
                targets.extend(with);
            }
            AppSegment::Rest => {
                let deeper = |it: &String| {
                    (0..=depth)
                        .map(|more| format!("{it}{}", format!("/{ANYTHING}").repeat(more)))
                        .collect::<Vec<_>>()
                };
                targets = targets.iter().flat_map(deeper).collect();
            }
        }
        if targets.len() > MOST_TARGETS {
            // Nobody can say, so that nobody does.
            return Vec::new();
        }
    }
    targets.into_iter().map(|it| if it.is_empty() { "/".into() } else { it }).collect()
}
