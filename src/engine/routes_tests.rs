use proptest::prelude::*;

use super::*;

fn route(path: &str, methods: &[&str]) -> Route {
    let methods = methods.iter().map(|method| (*method).to_owned()).collect();
    let module = "m".parse().ok();
    Route { path: path.into(), methods, module, ..Route::default() }
}

fn table(routes: &[Route]) -> RouteTable {
    RouteTable::new(routes)
}

fn found(table: &RouteTable, method: &str, path: &str) -> Option<String> {
    let path = RequestPath::parse(path).unwrap();
    table.find(method, &path).map(|route| {
        let methods: Vec<_> = route.methods.iter().map(String::as_str).collect();
        format!("{} {}", route.path, methods.join(",")).trim_end().to_owned()
    })
}

#[test]
fn a_literal_beats_a_name_beats_the_rest_from_the_left() {
    let table = table(&[
        route("/**", &[]),
        route("/pos/**", &[]),
        route("/pos/{id}", &[]),
        route("/pos/sales", &[]),
        route("/{area}/sales/{id}/items", &[]),
        route("/", &[]),
    ]);
    for (path, expected) in [
        ("/", "/"),
        ("/other", "/**"),
        ("/pos", "/pos/**"),
        ("/pos/", "/pos/**"),
        ("/pos/7", "/pos/{id}"),
        ("/pos/7/", "/pos/{id}"),
        ("/pos/sales", "/pos/sales"),
        ("/pos/sales/7/items", "/pos/**"),
        ("/x/sales/7/items", "/{area}/sales/{id}/items"),
        ("/x/sales/7/items/8", "/**"),
    ] {
        assert_eq!(found(&table, "GET", path).as_deref(), Some(expected), "{path}");
    }
}

#[test]
fn the_collection_itself_has_a_route_of_its_own_where_there_is_one() {
    let table = table(&[route("/pos/**", &[]), route("/pos", &["POST"])]);
    assert_eq!(found(&table, "POST", "/pos").unwrap(), "/pos POST");
    assert_eq!(found(&table, "GET", "/pos").unwrap(), "/pos/**");
}

#[test]
fn a_route_for_other_methods_is_no_match() {
    let table =
        table(&[route("/a/{id}", &["GET"]), route("/a/b", &["POST"]), route("/a/{x}", &[])]);
    assert_eq!(found(&table, "POST", "/a/b").unwrap(), "/a/b POST");
    assert_eq!(found(&table, "GET", "/a/b").unwrap(), "/a/{id} GET");
    assert_eq!(found(&table, "HEAD", "/a/b").unwrap(), "/a/{id} GET");
    assert_eq!(found(&table, "DELETE", "/a/b").unwrap(), "/a/{x}");
    let with_head = self::table(&[route("/a", &["GET"]), route("/a", &["HEAD"])]);
    assert_eq!(found(&with_head, "HEAD", "/a").unwrap(), "/a HEAD");
    assert_eq!(found(&with_head, "get", "/a"), None);
}

#[test]
fn another_case_opens_nothing() {
    let public = Route { public: true, ..Route::default() };
    let routes = [
        route("/admin/**", &[]),
        route("/Pos/{id}", &["POST"]),
        Route { path: "/pos/open".into(), ..public.clone() },
        Route { path: "/site/**".into(), ..public.clone() },
        route("/site/members/**", &[]),
        Route { path: "/Docs/{page}".into(), ..public.clone() },
        route("/docs/**", &[]),
        Route { path: "/shop/{page}".into(), ..public.clone() },
        route("/shop/admin", &[]),
        Route { path: "/news/{id}".into(), ..public.clone() },
        route("/news/{id}/**", &[]),
        Route { path: "/me/**".into(), allow_blocked: true, ..Route::default() },
    ];
    let open = table(&routes);
    for (method, path, expected) in [
        ("GET", "/ADMIN", Some("/admin/**")),
        ("GET", "/aDmin/x", Some("/admin/**")),
        ("POST", "/pos/7", Some("/Pos/{id} POST")),
        ("GET", "/pos/7", None),
        ("GET", "/POS/OPEN", None),
        ("GET", "/administration", None),
        ("GET", "/site/Members/x", Some("/site/members/**")),
        ("GET", "/site/about", Some("/site/**")),
        ("GET", "/DOCS/a", Some("/docs/**")),
        ("GET", "/Docs/a", Some("/Docs/{page}")),
        ("GET", "/shop/Admin", Some("/shop/admin")),
        ("GET", "/shop/news", Some("/shop/{page}")),
        ("GET", "/me/x", Some("/me/**")),
        ("GET", "/news/7", Some("/news/{id}")),
        ("GET", "/News/7", Some("/news/{id}/**")),
    ] {
        assert_eq!(found(&open, method, path).as_deref(), expected, "{path}");
    }
    // Also where everything is open but for a part.
    let everything = Route { path: "/**".into(), ..public };
    let nearly_open = table(&[everything, route("/admin/**", &[])]);
    assert_eq!(found(&nearly_open, "GET", "/Admin/x").unwrap(), "/admin/**");
    assert_eq!(found(&nearly_open, "GET", "/other").unwrap(), "/**");
    // And a more general route that protects takes nothing from one that opens a part of it.
    let part = Route { path: "/me/**".into(), allow_blocked: true, ..Route::default() };
    let mostly_shut = table(&[part, route("/**", &[])]);
    assert_eq!(found(&mostly_shut, "GET", "/me/x").unwrap(), "/me/**");
}

#[test]
fn parameters_carry_their_names() {
    let route = route("/stores/{store}/clubs/{club}/**", &[]);
    let path = RequestPath::parse("/stores/s1/clubs/c%209/members/").unwrap();
    let expected = [("club", "c 9"), ("store", "s1")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(parameters(&route, &path), BTreeMap::from(expected));
}

/// Every choice of literal or name at 11 places, none of which leads to the end.
#[test]
fn a_hostile_table_takes_no_longer_than_it_is_large() {
    const DEPTH: u32 = 11;
    let pattern = |choice: u32| {
        let part = |at| if choice >> at & 1 == 1 { format!("/{{p{at}}}") } else { "/a".into() };
        (0..DEPTH).map(part).collect::<String>() + "/end"
    };
    let routes: Vec<_> = (0..1 << DEPTH).map(|choice| route(&pattern(choice), &["GET"])).collect();
    let table = table(&routes);
    let path = "/a".repeat(DEPTH as usize);
    let started = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(found(&table, "GET", &format!("{path}/other")), None);
        assert_eq!(found(&table, "POST", &format!("{path}/end")), None);
    }
    // 200 searches of 4,000 nodes each; an exponential one would not come back at all.
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    // Longer than any pattern: the search ends where the table does.
    assert_eq!(found(&table, "GET", &"/a".repeat(4_000)), None);
    assert_eq!(found(&table, "GET", &format!("{path}/end")).unwrap(), format!("{path}/end GET"));
}

/// How specific a pattern is for a path: for each segment 0 for a literal, 1 for a name, 2 for `**`.
fn rank(pattern: &str, path: &[String]) -> Option<Vec<u8>> {
    let mut parts = pattern.split('/').filter(|part| !part.is_empty());
    let mut ranks = Vec::new();
    for segment in path {
        match parts.next()? {
            "**" => {
                ranks.push(2);
                return Some(ranks);
            }
            part if part.starts_with('{') => ranks.push(1),
            part if part == segment => ranks.push(0),
            _ => return None,
        }
    }
    match parts.next() {
        None => Some(ranks),
        Some("**") => {
            ranks.push(2);
            Some(ranks)
        }
        Some(_) => None,
    }
}

/// Every route is tried, and the best one taken.
fn naive<'a>(routes: &'a [Route], method: &str, path: &[String]) -> Option<&'a Route> {
    let ranked = routes.iter().filter_map(|route| {
        let by_method = match () {
            () if route.methods.contains(method) => 0,
            () if method == "HEAD" && route.methods.contains("GET") => 1,
            () if route.methods.is_empty() => 2,
            () => return None,
        };
        Some(((rank(&route.path, path)?, by_method), route))
    });
    ranked.min_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, route)| route)
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![Just("a"), Just("b"), Just("c"), Just("{}"), Just("{}")];
    (prop::collection::vec(part, 0..5), any::<bool>()).prop_map(|(parts, rest)| {
        let named = parts.into_iter().enumerate().map(|(at, part)| match part {
            "{}" => format!("/{{p{at}}}"),
            part => format!("/{part}"),
        });
        let text: String = named.collect::<String>() + if rest { "/**" } else { "" };
        if text.is_empty() { "/".into() } else { text }
    })
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    let methods = prop_oneof![
        Just(vec![]),
        Just(vec!["GET"]),
        Just(vec!["POST"]),
        Just(vec!["HEAD"]),
        Just(vec!["GET", "HEAD", "PUT"])
    ];
    prop::collection::vec((pattern(), methods), 0..40).prop_map(|all| {
        // As a catalog has them: one route for a pattern and method.
        let mut seen = std::collections::BTreeSet::new();
        let mut kept = Vec::new();
        for (path, methods) in all {
            let places: Vec<_> = match methods.as_slice() {
                [] => vec![(path.clone(), "*")],
                some => some.iter().map(|method| (path.clone(), *method)).collect(),
            };
            if places.iter().all(|place| !seen.contains(place)) {
                seen.extend(places);
                kept.push(route(&path, &methods));
            }
        }
        kept
    })
}

proptest! {
    #[test]
    fn the_table_finds_what_trying_every_route_finds(
        routes in routes(),
        paths in prop::collection::vec("(/[abcd]){0,6}/?", 1..20),
        method in prop_oneof![Just("GET"), Just("HEAD"), Just("POST"), Just("DELETE")],
    ) {
        let table = table(&routes);
        for path in paths.iter().filter(|path| !path.is_empty()) {
            let path = RequestPath::parse(path).unwrap();
            let expected = naive(&routes, method, path.segments());
            let found = table.find(method, &path).map(|route| &**route);
            prop_assert_eq!(found, expected, "{} {:?}", method, path);
        }
    }
}
