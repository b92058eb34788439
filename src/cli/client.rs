//! What the commands that talk to a server share: its address, a key, requests and pages, and
//! problems as lines.

use std::time::Duration;

use clap::Args;
use reqwest::{
    Method, Url,
    blocking::{RequestBuilder, Response},
    header,
};
use serde_json::Value;

use super::{
    Exit, Failure,
    output::{Format, plain},
};
use crate::error::Error;

/// How many items of a list are asked for at once: as many as the server gives.
pub const PAGE: usize = 200;

/// A large export takes its time.
const LONGEST_DOWNLOAD: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the server is and who asks
#[derive(Args)]
pub struct Server {
    /// The address of the server
    #[arg(long, env = "ENTITLED_URL", default_value = "http://127.0.0.1:8080")]
    url: Url,
    /// An API key or a token
    #[arg(long, env = "ENTITLED_KEY", hide_env_values = true)]
    key: Option<String>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// Where the server is, who asks, and who reads the answer
#[derive(Debug, Args)]
pub struct Remote {
    #[command(flatten)]
    pub server: Server,
    #[command(flatten)]
    pub format: Format,
}

/// What is sent.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// Nothing.
    None,
    /// JSON.
    Json(&'a Value),
    /// A text of this type.
    Text(&'static str, &'a str),
}

/// Parameters of a query, or headers.
pub type Pairs = Vec<(&'static str, String)>;

/// Those that were given.
pub fn given<const N: usize>(all: [(&'static str, Option<String>); N]) -> Pairs {
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// A JSON object of the members that were given.
pub fn object<const N: usize>(all: [(&'static str, Option<Value>); N]) -> Value {
    let given = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(given.collect())
}

/// A request.
pub struct Call<'a> {
    /// How.
    pub method: Method,
    /// Where; made of words, keys and ids, so it needs no encoding.
    pub path: String,
    /// What is encoded and put behind the path.
    pub query: Pairs,
    /// Headers beside those that every request has.
    pub headers: Pairs,
    /// What is sent.
    pub body: Body<'a>,
}

impl Call<'_> {
    /// A request without a body.
    pub fn to(method: Method, path: impl Into<String>) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self { method, path: path.into(), query, headers, body: Body::None }
    }
}

/// What came back.
pub struct Reply {
    /// Its status, which is one of success.
    pub status: u16,
    /// The tag of the state that it shows.
    pub etag: Option<String>,
    /// Where the next page is, for lists that say so in their head.
    pub next: Option<String>,
    /// The body; [`Value::Null`] where it is empty.
    pub body: Value,
}

impl Server {
    /// The answer to a request; [`Value::Null`] where it is empty.
    pub fn ask(&self, method: Method, path: &str, body: Body<'_>) -> Result<Value, Failure> {
        Ok(self.call(&Call { body, ..Call::to(method, path) })?.body)
    }

    /// The answer to a request, with its head.
    pub fn call(&self, call: &Call<'_>) -> Result<Reply, Failure> {
        self.send(self.request(call)?)
    }

    /// A server by its address.
    pub fn at(url: Url, key: Option<String>) -> Self {
        Self { url, key }
    }

    /// An answer of this type that is read while it arrives.
    pub fn open(&self, path: &str, kind: &str) -> Result<Response, Failure> {
        let request = self.request(&Call::to(Method::GET, path))?;
        let request = request.header(header::ACCEPT, kind).timeout(LONGEST_DOWNLOAD);
        let response = request.send().map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            let text = response.text().map_err(|error| self.unreachable(&error))?;
            return Err(refusal(status, &text));
        }
        let given =
            response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if given == Some(kind) { Ok(response) } else { Err(self.foreign()) }
    }

    /// Writes an answer of this type down while it arrives. An answer that breaks off is a failure.
    pub fn download(
        &self,
        path: &str,
        kind: &str,
        to: &mut dyn std::io::Write,
    ) -> Result<(), Failure> {
        let mut response = self.open(path, kind)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = std::io::Read::read(&mut response, &mut buffer).map_err(|error| {
                let line = format!("the answer of {} broke off: {error}; try again", self.url);
                Failure::new(Exit::Unreachable, line)
            })?;
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                return Ok(());
            };
            to.write_all(bytes).map_err(|error| {
                Failure::new(Exit::Io, format!("can't write the answer: {error}"))
            })?;
        }
    }

    /// Whether the server at `url` is ready. That is asked without a key.
    pub fn ready(url: Url) -> Result<Value, Failure> {
        let server = Self { url, key: None };
        Ok(server.send(server.bare_request(Method::GET, "/readyz", &[])?)?.body)
    }

    fn send(&self, request: RequestBuilder) -> Result<Reply, Failure> {
        let response = request.send();
        let response = response.map_err(|error| self.unreachable(&error))?;
        let (status, is_json) = (response.status(), is_json(&response));
        let head = |name| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        let (etag, link) = (head(header::ETAG), head(header::LINK));
        let next = link.as_deref().and_then(|link| link.strip_prefix('<')?.split_once('>'));
        let next = next.map(|(path, _)| path.to_owned());
        let text = response.text().map_err(|error| self.unreachable(&error))?;
        if !status.is_success() {
            return Err(refusal(status.as_u16(), &text));
        }
        let body = match (text.is_empty(), is_json) {
            (true, _) => Value::Null,
            (false, true) => serde_json::from_str(&text).map_err(|_| self.foreign())?,
            (false, false) => return Err(self.foreign()),
        };
        Ok(Reply { status: status.as_u16(), etag, next, body })
    }

    /// Every item of a list that the query selects, page by page.
    pub fn list(&self, path: &str, query: Pairs) -> Result<Value, Failure> {
        self.list_up_to(path, query, usize::MAX)
    }

    /// The first so many items of a list.
    pub fn list_up_to(&self, path: &str, query: Pairs, most: usize) -> Result<Value, Failure> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let limit = most.saturating_sub(items.len()).min(PAGE);
            let mut call = Call { query: query.clone(), ..Call::to(Method::GET, path) };
            call.query.extend(given([("limit", Some(limit.to_string())), ("cursor", cursor)]));
            let mut page = self.call(&call)?.body;
            if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
                items.extend(more);
            }
            cursor = next_cursor(&page);
            if cursor.is_none() || items.len() >= most {
                return Ok(items.into());
            }
        }
    }

    fn request(&self, call: &Call<'_>) -> Result<RequestBuilder, Failure> {
        let Some(key) = &self.key else {
            let line = "no key to identify with; give --key or set ENTITLED_KEY";
            return Err(Failure::new(Exit::Usage, line));
        };
        let Call { method, path, query, headers, body } = call;
        let request = self.bare_request(method.clone(), path, query)?.bearer_auth(key);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        Ok(match *body {
            Body::None => request,
            Body::Json(value) => request.json(value),
            Body::Text(kind, text) => {
                request.header(header::CONTENT_TYPE, kind).body(text.to_owned())
            }
        })
    }

    fn bare_request(
        &self,
        method: Method,
        path: &str,
        query: &[(&'static str, String)],
    ) -> Result<RequestBuilder, Failure> {
        let mut client = reqwest::blocking::Client::builder().timeout(Duration::from_secs(60));
        // A proxy knows another machine by this name.
        if self.url.host_str().is_some_and(is_this_machine) {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| self.unreachable(&error))?;
        let url = format!("{}{path}", self.url.as_str().trim_end_matches('/'));
        let mut url = Url::parse(&url).map_err(|error| Failure::from(Error::internal(error)))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(client.request(method, url))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        // The outer errors only say that it failed, and repeat the address.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let line = format!("can't reach {}: {cause}; is it running? (--url)", self.url);
        Failure::new(Exit::Unreachable, line)
    }

    /// What answers there is something else.
    pub fn foreign(&self) -> Failure {
        let line = format!("{} doesn't answer like this service; check --url", self.url);
        Failure::new(Exit::Unreachable, line)
    }
}

/// The cursor of the page after this one.
pub fn next_cursor(page: &Value) -> Option<String> {
    page.get("next_cursor").and_then(Value::as_str).map(str::to_owned)
}

fn is_this_machine(host: &str) -> bool {
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
}

/// A problem as lines: one for each fault, or its detail.
fn refusal(status: u16, text: &str) -> Failure {
    let problem: Value = serde_json::from_str(text).unwrap_or_default();
    let code = problem.get("code").and_then(Value::as_str).unwrap_or_default();
    let exit = match status {
        // The faults of a catalog are the answer to the question whether it is valid.
        _ if code == "CATALOG_INVALID" => Exit::No,
        401 | 403 => Exit::NoPermission,
        429 | 502..=504 => Exit::Unreachable,
        500..=599 => Exit::Internal,
        _ => Exit::Refused,
    };
    let fields = problem.get("fields").and_then(Value::as_object).into_iter().flatten();
    let faults = fields.flat_map(|(field, messages)| {
        let messages = messages.as_array().into_iter().flatten().filter_map(Value::as_str);
        messages.map(move |message| match field.as_str() {
            "" => plain(message),
            field => plain(&format!("{field}: {message}")),
        })
    });
    let mut lines: Vec<String> = faults.collect();
    if lines.is_empty() {
        let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("no explanation");
        lines.push(plain(&format!("the server answered {status}: {detail}")));
    }
    Failure { exit, lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_a_line() {
        let text =
            r#"{"code":"INVALID_VALUE","detail":"x","fields":{"a":["one","two"],"b":["c"]}}"#;
        let failure = refusal(422, text);
        assert_eq!(
            (failure.exit, failure.lines.join("|")),
            (Exit::Refused, "a: one|a: two|b: c".into())
        );
        assert_eq!(refusal(502, "<html>").lines, ["the server answered 502: no explanation"]);
        assert_eq!(refusal(403, "{}").exit, Exit::NoPermission);
    }
}
