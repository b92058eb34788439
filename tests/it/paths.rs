//! Paths that two servers could read differently, against rules that protect `/admin` and `/pos`.

use std::collections::BTreeSet;

use entitled::domain::{callers::OperatorRole, checks::Mode, paths::RequestPath};
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    harness::App,
    raw::{Raw, request, talk},
};

const AREAS: [&str; 2] = ["admin", "pos"];

/// The lines of a corpus, as bytes.
fn corpus(text: &str) -> Vec<Vec<u8>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with(";;"));
    lines.map(|line| if line == "<empty>" { Vec::new() } else { unescaped(line) }).collect()
}

fn unescaped(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next().unwrap() {
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    let digits = std::str::from_utf8(&digits).unwrap().to_owned();
                    u8::from_str_radix(&digits, 16).unwrap()
                }
                other => other,
            },
            other => other,
        });
    }
    bytes
}

fn hostile() -> Vec<Vec<u8>> {
    corpus(include_str!("../data/hostile_paths.txt"))
}

fn ordinary() -> Vec<String> {
    let lines = corpus(include_str!("../data/ordinary_paths.txt"));
    lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// A server whose routes protect both areas; the tenant `closed` may use neither, `open` both.
async fn protected(default_route: &str) -> App {
    let app = App::start().await;
    let catalog = format!(
        "modules:
  back_office: {{name: Back office}}
  pos: {{name: Point of sale}}
routes:
  - {{path: '/admin/**', module: back_office}}
  - {{path: '/pos/**', module: pos}}
settings: {{default_route: {default_route}}}
"
    );
    app.put_catalog("", catalog).await.expect(200);
    for tenant in ["closed", "open"] {
        app.tenant(tenant, json!({"billing": "direct"})).await;
    }
    for module in ["back_office", "pos"] {
        app.grant("open", module, json!({"state": "enabled"})).await.expect(201);
    }
    app
}

/// How a proxy asks.
#[derive(Debug, Clone, Copy)]
enum Form {
    Forwarded,
    Original,
    Nginx,
    Prefix,
}

const FORMS: [Form; 4] = [Form::Forwarded, Form::Original, Form::Nginx, Form::Prefix];

async fn ask(app: &App, form: Form, target: &[u8], credential: &[u8]) -> Raw {
    let credential = ("authorization", credential);
    let bytes = match form {
        Form::Forwarded => {
            let pair = [("x-forwarded-method", &b"GET"[..]), ("x-forwarded-uri", target)];
            request("GET", b"/api/v1/authorize", &[&pair[..], &[credential]].concat())
        }
        Form::Original | Form::Nginx => {
            let pair = [("x-original-method", &b"GET"[..]), ("x-original-uri", target)];
            let door = match form {
                Form::Nginx => &b"/api/v1/authorize/nginx"[..],
                _ => b"/api/v1/authorize",
            };
            request("GET", door, &[&pair[..], &[credential]].concat())
        }
        Form::Prefix => {
            let target = [b"/api/v1/authorize", target].concat();
            request("GET", &target, &[credential])
        }
    };
    talk(TcpStream::connect(app.address).await.unwrap(), &bytes).await
}

fn user(app: &App, tenant: &str) -> Vec<u8> {
    let role = OperatorRole::TenantUser;
    format!("Bearer {}", app.token(role, Some(tenant), "ana", Mode::Tenant, None)).into_bytes()
}

/// What hyper cuts off before anybody sees it. Envoy, which alone asks with a prefix, refuses a
/// fragment itself.
fn ends_before_a_fragment(form: Form, target: &[u8]) -> bool {
    matches!(form, Form::Prefix) && target.contains(&b'#')
}

#[test]
fn the_corpora_are_what_they_say() {
    let hostile = hostile();
    let distinct: BTreeSet<_> = hostile.iter().collect();
    assert_eq!(distinct.len(), hostile.len());
    assert!(hostile.len() >= 200, "{}", hostile.len());
    let mut refused = 0;
    for target in &hostile {
        let Ok(text) = std::str::from_utf8(target) else {
            refused += 1;
            continue;
        };
        match RequestPath::parse(text) {
            Err(_) => refused += 1,
            // Else it lies in one of the areas, in whatever case, and is judged by its route. A list
            // in a header is refused before it is read.
            Ok(path) => {
                let area = path.segments()[0].to_ascii_lowercase();
                let is_list = text.contains(",/") || text.contains(",http:");
                assert!(AREAS.contains(&&*area) || is_list, "{text} is no hostile path");
            }
        }
    }
    assert!(refused >= 200, "{refused}");
    println!("{} spellings, {refused} of them not in normal form", hostile.len());
    for target in ordinary() {
        RequestPath::parse(&target).unwrap_or_else(|why| panic!("{target}: {why}"));
    }
}

#[tokio::test]
async fn no_spelling_reaches_a_protected_area_where_the_default_refuses() {
    let app = protected("deny").await;
    let credential = user(&app, "closed");
    for target in hostile() {
        for form in FORMS {
            let answer = ask(&app, form, &target, &credential).await;
            assert_ne!(answer.status, 200, "{form:?} {}", shown(&target));
        }
    }
}

#[tokio::test]
async fn no_spelling_reaches_a_protected_area_where_the_default_allows() {
    let app = protected("allow").await;
    let credential = user(&app, "closed");
    for target in hostile() {
        for form in FORMS {
            let answer = ask(&app, form, &target, &credential).await;
            // `/public,/admin` is one path where no header could have been joined.
            let is_list = target.contains(&b',') && matches!(form, Form::Prefix);
            if !ends_before_a_fragment(form, &target) && !is_list {
                assert_ne!(answer.status, 200, "{form:?} {}", shown(&target));
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_in_normal_form_is_refused_whoever_asks_and_says_why() {
    let app = protected("allow").await;
    let credential = user(&app, "open");
    for (target, why) in [
        (&b"/public/../admin"[..], "a segment of dots"),
        (b"//admin", "an empty segment"),
        (b"/admin%2fusers", "encodes one of"),
        (b"/%61dmin", "needs no encoding"),
        (b"/admin;x", "a path parameter"),
        (b"/admin%00", "a control character"),
        (b"/%C0%AEadmin", "not valid UTF-8"),
        (b"/%EF%BD%81dmin", "looks like something else"),
        (b"/adm%E2%80%8Bin", "an invisible character"),
    ] {
        for form in [Form::Forwarded, Form::Original, Form::Prefix] {
            let answer = ask(&app, form, target, &credential).await;
            assert_eq!(answer.status, 403, "{form:?} {}", shown(target));
            let problem = answer.json();
            assert_eq!(problem["code"], "PATH_NOT_NORMAL");
            assert!(problem["detail"].as_str().unwrap().contains(why), "{problem:#}");
        }
    }
}

#[tokio::test]
async fn ordinary_paths_pass() {
    let (closed, open) = (protected("deny").await, protected("allow").await);
    let inside = ["", "/", "/users/7", "/caf%C3%A9/%40me?x=%2F..", "/a%20b/1%2B2/"];
    for form in FORMS {
        for target in ordinary() {
            let answer = ask(&open, form, target.as_bytes(), b"").await;
            assert_eq!(answer.status, 200, "{form:?} {target} {}", answer.body);
            let answer = ask(&closed, form, target.as_bytes(), b"").await;
            assert_eq!(answer.status, 403, "{form:?} {target}");
            assert_eq!(answer.json()["code"], "NO_ROUTE");
        }
        for (app, area) in [(&open, "admin"), (&closed, "admin"), (&open, "pos"), (&closed, "pos")]
        {
            for end in inside {
                let target = format!("/{area}{end}");
                let answer = ask(app, form, target.as_bytes(), &user(app, "open")).await;
                assert_eq!(answer.status, 200, "{form:?} {target} {}", answer.body);
            }
        }
    }
}
