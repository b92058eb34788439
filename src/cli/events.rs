//! `entitled events tail`: changes as they are committed, a line for each.

use std::io::{BufRead, BufReader, ErrorKind, Write};

use clap::{Args, Subcommand};
use reqwest::Url;
use serde_json::Value;

use super::{
    Exit, Failure,
    client::Server,
    output::{cell, escaped, plain},
};
use crate::{domain::keys::TenantKey, error::Error};

/// Follow what changes
#[derive(Debug, Subcommand)]
pub enum Events {
    /// Print changes as they are committed, until the stream ends or is interrupted
    Tail(Tail),
}

#[derive(Debug, Args)]
pub struct Tail {
    /// Only changes that concern this tenant
    #[arg(long)]
    tenant: Option<TenantKey>,
    /// Begin after this place instead of now
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// One JSON object on each line instead of columns
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// How a stream has ended.
enum Ended {
    /// The reader was too slow; it goes on after this place.
    Dropped,
    /// Whoever reads the lines has read enough.
    Enough,
    /// For good.
    Over(Failure),
}

impl Events {
    pub fn run(self) -> Result<Exit, Failure> {
        let Self::Tail(mut tail) = self;
        loop {
            let response = tail.server.open(&tail.path()?, "text/event-stream")?;
            match tail.follow(BufReader::new(response)) {
                Ended::Dropped => {}
                Ended::Enough => return Ok(Exit::Ok),
                Ended::Over(failure) => return Err(failure),
            }
        }
    }
}

impl Tail {
    fn path(&self) -> Result<String, Failure> {
        let tenant = self.tenant.as_ref().map(|tenant| ("tenant", tenant.to_string()));
        let from = self.from.map(|seq| ("last_event_id", seq.to_string()));
        // Only for the encoding: the server adds its own address.
        let url =
            Url::parse_with_params("http://server/api/v1/events", tenant.into_iter().chain(from))
                .map_err(|error| Failure::from(Error::internal(error)))?;
        Ok(url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path())))
    }

    fn follow(&mut self, stream: impl BufRead) -> Ended {
        let mut event = String::new();
        for line in stream.lines() {
            let Ok(line) = line else { break };
            if let Some(name) = line.strip_prefix("event: ") {
                name.clone_into(&mut event);
            }
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let data: Value = serde_json::from_str(data).unwrap_or_default();
            self.from = data.get("seq").and_then(Value::as_u64).or(self.from);
            match event.as_str() {
                "dropped" => return Ended::Dropped,
                "end" if data.get("reason").and_then(Value::as_str) == Some("credential") => {
                    let line = "the right of this key or token has ended; use another one";
                    return Ended::Over(Failure::new(Exit::NoPermission, line));
                }
                _ => {}
            }
            match self.print(&event, data) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ended::Enough,
                Err(error) => {
                    let line = format!("can't write to stdout: {error}");
                    return Ended::Over(Failure::new(Exit::Io, line));
                }
            }
        }
        let from = self.from.map(|seq| format!(" with --from {seq}")).unwrap_or_default();
        let line = format!("the server has ended the stream; go on{from}");
        Ended::Over(Failure::new(Exit::Unreachable, line))
    }

    fn print(&self, event: &str, mut data: Value) -> std::io::Result<()> {
        let mut stdout = std::io::stdout().lock();
        if self.json {
            if let Some(object) = data.as_object_mut() {
                object.insert("event".into(), event.into());
            }
            writeln!(stdout, "{}", escaped(&data.to_string()))?;
        } else {
            let of = |name: &str| cell(data.get(name));
            match event {
                "change" => {
                    let (seq, at, tenant) = (of("seq"), of("at"), of("tenant"));
                    let cause = of("cause");
                    writeln!(stdout, "{seq}  {at}  {tenant}  {cause}  {}", of("keys"))?;
                }
                "resync" => {
                    writeln!(stdout, "{}  what came before is not kept any more", of("seq"))?
                }
                "hello" | "end" => {}
                other => writeln!(stdout, "{}", plain(other))?,
            }
        }
        stdout.flush()
    }
}
