//! Forward-auth: how a proxy says what it was asked for, and what a client may say about it: nothing.

use entitled::domain::{callers::OperatorRole as Role, checks::Mode};
use reqwest::Method;

use crate::{
    forward_auth::{DOOR, IDENTITY, NGINX, ask, ask_nginx, passed, shop, shop_given},
    harness::Given,
};

#[tokio::test]
async fn what_was_asked_for_has_one_source_said_once() {
    let app = shop().await;
    let ana = app.user("shop", "ana");
    let (method, uri) = (("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/me"));
    let (original_method, original) = (("X-Original-Method", "GET"), ("X-Original-URI", "/me"));
    type Headers<'a> = Vec<(&'a str, &'a str)>;
    let refused: Vec<(Headers<'_>, &str)> = vec![
        (vec![], "X-Forwarded-Method"),
        (vec![uri], "X-Forwarded-Method"),
        (vec![method], "X-Forwarded-Uri"),
        (vec![original], "X-Original-Method"),
        (vec![original_method], "X-Original-URI"),
        (vec![method, original], "X-Original-URI"),
        (vec![method, uri, original_method, original], "X-Original-URI"),
        (vec![method, uri, original], "X-Original-URI"),
        (vec![method, uri, original_method], "X-Original-URI"),
        (vec![method, uri, uri], "X-Forwarded-Uri"),
        (vec![method, method, uri], "X-Forwarded-Method"),
        (vec![method, uri, ("X_Forwarded_Uri", "/me")], "x_forwarded_uri"),
        (vec![method, uri, ("X-Forwarded_Method", "GET")], "x-forwarded_method"),
        (vec![method, uri, ("x_original_uri", "/me")], "x_original_uri"),
        (vec![("x_forwarded_method", "GET"), ("x_forwarded_uri", "/me")], "x_forwarded_"),
        (vec![method, ("X-Forwarded-Uri", "/me, /pos")], "X-Forwarded-Uri"),
        (vec![method, ("X-Forwarded-Uri", "/me,/pos")], "X-Forwarded-Uri"),
        (vec![method, ("X-Forwarded-Uri", "/me?x, http://a/pos")], "X-Forwarded-Uri"),
        (vec![("X-Forwarded-Method", "GET, POST"), uri], "X-Forwarded-Method"),
        (vec![("X-Forwarded-Method", "GET,POST"), uri], "X-Forwarded-Method"),
        (vec![("X-Forwarded-Method", "get"), uri], "X-Forwarded-Method"),
        (vec![("X-Forwarded-Method", ""), uri], "X-Forwarded-Method"),
        (vec![("X-Forwarded-Method", "G T"), uri], "X-Forwarded-Method"),
    ];
    for (headers, field) in refused {
        let answer = ana.send(Method::GET, DOOR, None, &headers).await;
        let problem = answer.expect_problem(403, "INVALID_FORWARDED_HEADERS").body;
        let fields: Vec<_> = problem["fields"].as_object().unwrap().keys().collect();
        assert!(fields.len() == 1 && fields[0].starts_with(field), "{headers:?} {problem:#}");
    }
    let empty = [method, ("X-Forwarded-Uri", "")];
    let answer = ana.send(Method::GET, DOOR, None, &empty).await;
    answer.expect_problem(403, "PATH_NOT_NORMAL");
    for good in [vec![method, uri], vec![original_method, original]] {
        assert_eq!(passed(ana.send(Method::GET, DOOR, None, &good).await)[0], "shop");
    }
    let comma = [method, ("X-Forwarded-Uri", "/me/a,b?ids=1,2")];
    assert_eq!(passed(ana.send(Method::GET, DOOR, None, &comma).await)[0], "shop");
}

#[tokio::test]
async fn behind_nginx_only_its_own_headers_count() {
    let app = shop().await;
    let ana = app.user("shop", "ana");
    let forwarded = [("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/me")];
    let original = [("X-Original-Method", "GET"), ("X-Original-URI", "/zf/jobs")];
    let answer = ana.send(Method::GET, NGINX, None, &forwarded).await;
    let refused = answer.expect_problem(403, "INVALID_FORWARDED_HEADERS");
    assert_eq!(refused.header("x-entitled-status"), "403");
    // A client's own X-Forwarded-Uri is not looked at.
    let answer = ana.send(Method::GET, NGINX, None, &[forwarded, original].concat()).await;
    answer.expect_problem(403, "MODULE_NOT_ENTITLED");
    let underscore = [&original[..], &[("x_original_uri", "/me")]].concat();
    let answer = ana.send(Method::GET, NGINX, None, &underscore).await;
    answer.expect_problem(403, "INVALID_FORWARDED_HEADERS");
}

#[tokio::test]
async fn nginx_gets_200_401_and_403_alone_with_the_true_status_beside() {
    let app = shop().await;
    let (ana, late) = (app.user("shop", "ana"), app.user("late", "ana"));
    let gone = app.user("gone", "ana");
    for (client, uri, status, truth, code, reason) in [
        (&ana, "/reports", 403, "402", "FEATURE_NOT_ENTITLED", "plan_limit"),
        (&ana, "/zf/jobs", 403, "403", "MODULE_NOT_ENTITLED", "plan_limit"),
        (&late, "/pos", 403, "403", "TENANT_BLOCKED", "overdue"),
        (&ana, "/nothing", 403, "403", "NO_ROUTE", "no_route"),
        (&ana, "/pos/../me", 403, "403", "PATH_NOT_NORMAL", "path_not_normal"),
        (&gone, "/pos", 403, "403", "TENANT_NOT_FOUND", "tenant_not_found"),
        (&app.nobody(), "/pos", 401, "401", "UNAUTHENTICATED", "unauthenticated"),
    ] {
        let answer = ask_nginx(client, "GET", uri).await.expect_problem(status, code);
        assert_eq!(answer.header("x-entitled-status"), truth, "{uri}");
        assert_eq!(answer.header("x-entitled-code"), code, "{uri}");
        assert_eq!(answer.header("x-entitled-reason"), reason, "{uri}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    assert_eq!(passed(ask_nginx(&ana, "GET", "/pos/7").await), ["shop", "ana", "plan"]);
    assert_eq!(ask(&gone, "GET", "/pos").await.status, 403);
}

#[tokio::test]
async fn envoy_asks_with_the_path_and_the_method_of_the_request() {
    let app = shop().await;
    let ana = app.user("shop", "ana");
    let at = |path: &str| format!("{DOOR}{path}");
    let lies = [
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Uri", "/me"),
        ("X-Original-URI", "/me"),
        ("x_forwarded_uri", "/me"),
    ];
    for headers in [&[][..], &lies] {
        let get = |path: &str| (Method::GET, at(path));
        for ((method, path), status) in [
            (get("/pos/7?x=1"), 200),
            (get("/pos/caf%C3%A9/"), 200),
            (get("/me"), 200),
            (get("/healthz"), 200),
            (get("/reports"), 402),
            ((Method::HEAD, at("/reports")), 402),
            ((Method::POST, at("/pos/sales")), 403),
            (get("/zf/jobs"), 403),
            (get("/"), 403),
            (get("/nginx"), 403),
            (get("/nothing"), 403),
        ] {
            let answer = ana.send(method, &path, None, headers).await;
            // The path of nginx wants the headers of nginx, which Envoy's configuration removes.
            assert_eq!(answer.status, status, "{path} {:#}", answer.body);
        }
    }
    let answer = ana.send(Method::GET, &at("/zf/jobs"), None, &[]).await;
    assert_eq!(answer.expect_problem(403, "MODULE_NOT_ENTITLED").body["instance"], at("/zf/jobs"));
    app.nobody().get("/api/v1/authorized").await.expect_problem(404, "UNKNOWN_PATH");
}

#[tokio::test]
async fn any_method_asks_and_a_body_is_not_looked_at() {
    let app = shop().await;
    let token = app.token(Role::TenantUser, Some("shop"), "ana", Mode::Tenant, None);
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "PURGE"]
    {
        for door in [DOOR, NGINX, "/api/v1/authorize/pos/7"] {
            let url = format!("http://{}{door}", app.address);
            let request = app.http().request(method.parse().unwrap(), url).bearer_auth(&token);
            let pair = match door {
                NGINX => [("x-original-method", method), ("x-original-uri", "/pos/7")],
                _ => [("x-forwarded-method", method), ("x-forwarded-uri", "/pos/7")],
            };
            let request =
                pair.into_iter().fold(request, |all, (name, value)| all.header(name, value));
            let request = request.header("content-type", "text/html").body("{\"tenant\": [[[");
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200, "{method} {door}");
            assert_eq!(answer.headers()["x-entitled-user"], "ana");
        }
    }
}

#[tokio::test]
async fn headers_of_a_stranger_are_not_believed() {
    let edge = |edge: &mut entitled::http::edge::EdgeSettings| {
        edge.trusted_proxies = "192.0.2.0/24".parse().unwrap();
    };
    let app = shop_given(Given { edge, ..Given::default() }).await;
    let ana = app.user("shop", "ana");
    let problem = ask(&ana, "GET", "/me").await.expect_problem(403, "UNTRUSTED_PROXY").body;
    assert!(problem["detail"].as_str().unwrap().contains("http.trusted_proxies"));
    let hidden = ask_nginx(&ana, "GET", "/me").await.expect_problem(403, "UNTRUSTED_PROXY");
    assert_eq!(hidden.header("x-entitled-status"), "403");
    ask(&app.nobody(), "GET", "/healthz").await.expect_problem(403, "UNTRUSTED_PROXY");
    // Here the path is the caller's own.
    ana.get("/api/v1/authorize/me").await.expect(200);
}

#[tokio::test]
async fn paths_of_the_application_are_no_labels() {
    let app = shop().await;
    let ana = app.user("shop", "ana");
    ask(&ana, "GET", "/pos/secret-path").await.expect(200);
    ana.get("/api/v1/authorize/pos/secret-path").await.expect(200);
    ask_nginx(&ana, "GET", "/zf/secret-path").await.expect(403);
    let metrics = app.nobody().get("/metrics").await.expect(200).body;
    let metrics = metrics.as_str().unwrap();
    for route in ["/api/v1/authorize", "/api/v1/authorize/nginx", "/api/v1/authorize/*"] {
        let label = format!("route=\"{route}\"");
        assert!(metrics.contains(&label), "{label}");
    }
    assert!(!metrics.contains("secret-path"));
}

#[tokio::test]
async fn no_header_of_a_client_says_who_asks() {
    let app = shop().await;
    let spoofed = [
        ("X-Entitled-Tenant", "late"),
        ("X-Entitled-User", "root"),
        ("X-User", "root"),
        ("X-Forwarded-User", "root"),
        ("X-Auth-Request-User", "root"),
        ("Remote-User", "root"),
        ("X-Tenant", "late"),
        ("Cookie", "tenant=late; user=root"),
    ];
    for (client, uri, status) in [
        (app.user("shop", "ana"), "/pos/7", 200),
        (app.user("shop", "ana"), "/zf/jobs", 403),
        (app.user("late", "ana"), "/pos/7", 403),
        (app.user("late", "ana"), "/me", 200),
        (app.nobody(), "/me", 401),
        (app.nobody(), "/healthz", 200),
    ] {
        let pair = [("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", uri)];
        let plain = client.send(Method::GET, DOOR, None, &pair).await.expect(status);
        let with = [&pair[..], &spoofed].concat();
        let with = client.send(Method::GET, DOOR, None, &with).await.expect(status);
        for name in IDENTITY {
            assert_eq!(with.header(name), plain.header(name), "{uri} {name}");
        }
        assert_eq!(with.body["code"], plain.body["code"]);
    }
}
