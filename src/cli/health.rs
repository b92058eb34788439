//! `entitled health`: whether a server is ready, for health checks without another program.

use clap::Args;
use reqwest::Url;

use super::{Exit, Failure, client::Server, output};

/// Ask a server whether it is ready; exit code 0 means yes
#[derive(Debug, Args)]
pub struct Health {
    /// The address of the server
    #[arg(long, env = "ENTITLED_URL", default_value = "http://127.0.0.1:8080")]
    url: Url,
    #[command(flatten)]
    format: output::Format,
}

impl Health {
    pub fn run(self) -> Result<Exit, Failure> {
        let ready = Server::ready(self.url)?;
        // People and health checks have the exit code.
        if self.format.is_json() {
            self.format.print(&ready, |_| String::new())?;
        }
        Ok(Exit::Ok)
    }
}
