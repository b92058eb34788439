//! `entitled health`: whether a server is ready, for health checks without another program.

use clap::Args;
use reqwest::Url;

use super::{Exit, Failure, client::Server};

/// Ask a server whether it is ready; exit code 0 means yes
#[derive(Debug, Args)]
pub struct Health {
    /// The address of the server
    #[arg(long, env = "ENTITLED_URL", default_value = "http://127.0.0.1:8080")]
    url: Url,
}

impl Health {
    pub fn run(self) -> Result<Exit, Failure> {
        Server::ready(self.url).map(|_| Exit::Ok)
    }
}
