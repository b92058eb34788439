//! Forward-auth behind real proxies: what a browser gets for every path of the retail product.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    harness::App,
    proxy::{Proxy, configured, told},
    retail_routes::{PATHS, STANDINGS, expected, retail, user},
    storage::tamper,
};

async fn gates_every_path_for_every_tenant(app: &App, proxy: &Proxy) {
    let mut seen = std::collections::BTreeMap::new();
    for standing in STANDINGS {
        let token = user(app, standing.tenant);
        for (need, paths) in PATHS {
            for path in paths {
                let answer = proxy.get(path, &token).await;
                let what = format!("{} {} {path}: {}", proxy.name, standing.tenant, answer.body);
                assert_eq!(answer.status, expected(standing, need), "{what}");
                *seen.entry(answer.status).or_insert(0) += 1;
                if answer.status == 200 {
                    let asked = answer.json()["asked"].clone();
                    assert_eq!(asked, format!("GET {path} HTTP/1.1"), "{what}");
                    assert_eq!(told(&answer, "x-entitled-tenant"), [standing.tenant], "{what}");
                    assert_eq!(told(&answer, "x-entitled-user"), ["ana"], "{what}");
                    assert_eq!(told(&answer, "x-entitled-version").len(), 1, "{what}");
                } else {
                    let problem = answer.json();
                    assert_eq!(problem["status"], answer.status, "{what}");
                    assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
                    let code = match (standing.modules, need) {
                        (None, _) => "TENANT_BLOCKED",
                        (Some(_), "reports") => "FEATURE_NOT_ENTITLED",
                        (Some(_), _) => "MODULE_NOT_ENTITLED",
                    };
                    assert_eq!(problem["code"], code, "{what}");
                }
            }
        }
    }
    for status in [200, 402, 403] {
        assert!(seen.contains_key(&status), "{seen:?}");
    }
    println!("{}: {seen:?}", proxy.name);
}

async fn is_asked_before_the_application(app: &App, proxy: &Proxy) {
    let name = proxy.name;
    for path in ["/pos/sales", "/me", "/customers"] {
        let answer = proxy.send("GET", path, &[]).await;
        assert_eq!(answer.status, 401, "{name} {path}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"entitled\"", "{name}");
        assert_eq!(proxy.get(path, "garbage").await.status, 401, "{name} {path}");
    }
    let mixed = user(app, "mixed");
    assert_eq!(proxy.get("/nothing/here", &mixed).await.status, 403, "{name}");
    let open = proxy.send("GET", "/healthz", &[]).await;
    assert_eq!(open.status, 200, "{name}");
    assert_eq!(told(&open, "x-entitled-user").concat(), "", "{name}");

    // The method that counts is the client's own.
    let bearer = format!("Bearer {mixed}");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let headers = [("authorization", bearer.as_str()), ("content-length", "0")];
        let answer = proxy.send(method, "/pos/sales", &headers).await;
        assert_eq!(answer.status, 200, "{name} {method}");
        assert_eq!(answer.json()["asked"], format!("{method} /pos/sales HTTP/1.1"));
        assert_eq!(proxy.send(method, "/hr/staff", &headers).await.status, 403, "{name} {method}");
    }
    for (method, status) in [("GET", 200), ("HEAD", 200), ("POST", 403)] {
        let headers = [("authorization", bearer.as_str()), ("content-length", "0")];
        let answer = proxy.send(method, "/reports", &headers).await;
        assert_eq!(answer.status, status, "{name} {method}");
    }
}

/// Nothing that a client writes about itself, or about what it asks for, counts.
async fn believes_no_client(app: &App, proxy: &Proxy) {
    let name = proxy.name;
    let bearer = format!("Bearer {}", user(app, "retail-only"));
    let lies = [
        ("X-Entitled-Tenant", "enterprise"),
        ("X-Entitled-User", "root"),
        ("X-Entitled-Reason", "plan"),
        ("X-Entitled-Code", "NONE"),
        ("X-Entitled-Status", "200"),
        ("X_Entitled_User", "root"),
        ("X-Entitled_User", "root"),
        ("X_Entitled-User", "root"),
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Uri", "/me"),
        ("X-Original-Method", "GET"),
        ("X-Original-URI", "/me"),
        ("X-User", "root"),
    ];
    let headers = [&[("authorization", bearer.as_str())], &lies[..]].concat();
    assert_eq!(proxy.send("GET", "/hr/staff", &headers).await.status, 403, "{name}");
    let answer = proxy.send("GET", "/pos", &headers).await;
    assert_eq!(answer.status, 200, "{name} {}", answer.body);
    assert_eq!(told(&answer, "x-entitled-tenant"), ["retail-only"], "{name}");
    assert_eq!(told(&answer, "x-entitled-user"), ["ana"], "{name}");
    for spelling in ["x_entitled_user", "x-entitled_user", "x_entitled-user"] {
        assert_eq!(told(&answer, spelling), Vec::<String>::new(), "{name}");
    }
    assert_eq!(told(&answer, "x-entitled-code"), Vec::<String>::new(), "{name}");
    assert_eq!(told(&answer, "x-entitled-status"), Vec::<String>::new(), "{name}");
    // Also where nobody is known: what was sent under these names is gone.
    let answer = proxy.send("GET", "/healthz", &lies).await;
    assert_eq!(answer.status, 200, "{name} {}", answer.body);
    for header in ["x-entitled-tenant", "x-entitled-user", "x_entitled_user"] {
        assert_eq!(told(&answer, header).concat(), "", "{name} {header}");
    }
}

/// The tenant may use dine and not retail. What reaches the application at all is a path in dine.
async fn lets_no_other_spelling_through(app: &App, proxy: &Proxy) {
    let token = user(app, "dine-only");
    for target in [
        "/dine/../pos/sales",
        "/dine/%2e%2e/pos/sales",
        "/dine/..%2fpos",
        "//pos/sales",
        "/dine//../pos",
        "/%70os/sales",
        "/pos%2fsales",
        "/dine/..;/pos",
        "/dine/%5c../pos",
        "/dine\\..\\pos",
        "/POS/sales",
        "/pos%00",
        "/%EF%BD%90os",
        "/po%C5%BF",
        "/me/../pos",
        "/me#/../pos",
        "http://app.example.com/pos/sales",
        "/me/%2e%2e%2fpos",
        "/./pos",
        "/pos;x=/dine",
    ] {
        let answer = proxy.get(target, &token).await;
        let what = format!("{} {target}: {} {}", proxy.name, answer.status, answer.body);
        assert!([400, 403, 404].contains(&answer.status), "{what}");
    }
    assert_eq!(proxy.get("/dine/tables", &token).await.status, 200);
}

/// A tenant that is closed for its damage: there is no answer, which is no 403.
async fn says_when_there_is_no_answer(app: &App, proxy: &Proxy) {
    tamper(
        app,
        "PRAGMA ignore_check_constraints = 1;
         UPDATE subscriptions SET status = 'nonsense' WHERE tenant = 'trial';",
    );
    app.root().post("/api/v1/admin/cache/refresh", json!({})).await.expect(200);
    let answer = proxy.get("/pos", &user(app, "trial")).await;
    assert_eq!(answer.status, 503, "{} {}", proxy.name, answer.body);
    assert_eq!(answer.json()["code"], "TENANT_DAMAGED", "{}", proxy.name);
}

/// Whoever can't be asked lets nobody pass.
async fn fails_closed(app: App, proxy: &Proxy) {
    let token = user(&app, "mixed");
    assert_eq!(proxy.get("/pos", &token).await.status, 200);
    drop(app);
    // The server ends within its deadline, and each question until then is answered rightly.
    let started = Instant::now();
    while proxy.get("/pos", &token).await.status == 200 {
        assert!(started.elapsed() < Duration::from_secs(20), "{}", proxy.name);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answer = proxy.get("/pos", &token).await;
    assert!(answer.status >= 500, "{} {}", proxy.name, answer.status);
}

#[tokio::test]
async fn nginx_gates_the_retail_product() {
    let app = retail().await;
    let proxy = Proxy::nginx(&app).await;
    gates_every_path_for_every_tenant(&app, &proxy).await;
    is_asked_before_the_application(&app, &proxy).await;
    believes_no_client(&app, &proxy).await;
    lets_no_other_spelling_through(&app, &proxy).await;
    says_when_there_is_no_answer(&app, &proxy).await;
    fails_closed(app, &proxy).await;
}

#[tokio::test]
async fn caddy_gates_the_retail_product() {
    let app = retail().await;
    let proxy = Proxy::caddy(&app).await;
    gates_every_path_for_every_tenant(&app, &proxy).await;
    is_asked_before_the_application(&app, &proxy).await;
    believes_no_client(&app, &proxy).await;
    lets_no_other_spelling_through(&app, &proxy).await;
    says_when_there_is_no_answer(&app, &proxy).await;
    fails_closed(app, &proxy).await;
}

/// Traefik and Envoy are not among Debian's packages: their files are read, not run.
#[test]
fn the_files_for_traefik_and_envoy_name_what_they_must() {
    let read = |file: &str| -> Value { serde_yaml::from_str(&configured(file, &[])).unwrap() };
    let identity =
        ["X-Entitled-Tenant", "X-Entitled-User", "X-Entitled-Reason", "X-Entitled-Version"];

    assert_eq!(read("traefik/traefik.yaml")["entryPoints"]["web"]["address"], ":80");
    let traefik = read("traefik/dynamic.yaml");
    let asks = &traefik["http"]["middlewares"]["entitled"]["forwardAuth"];
    assert_eq!(asks["address"], "http://127.0.0.1:8080/api/v1/authorize");
    assert_eq!(asks["trustForwardHeader"], false);
    assert_eq!(asks["authResponseHeaders"], json!(identity));
    assert_eq!(traefik["http"]["routers"]["application"]["middlewares"], json!(["entitled"]));

    let envoy = read("envoy/envoy.yaml");
    let chain = &envoy["static_resources"]["listeners"][0]["filter_chains"][0];
    let manager = &chain["filters"][0]["typed_config"];
    let asks = &manager["http_filters"][0]["typed_config"];
    assert_eq!(asks["http_service"]["path_prefix"], "/api/v1/authorize");
    assert_eq!(asks["failure_mode_allow"], false);
    let early = &manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"];
    for name in identity.map(str::to_lowercase).iter().chain(&["x-original-uri".to_owned()]) {
        assert!(early.as_array().unwrap().contains(&json!({"remove": name})), "{name}");
    }
}
