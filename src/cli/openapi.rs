//! `entitled openapi`: the document, written or compared.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure, output::print};
use crate::{
    error::Error,
    http::{api::Apis, spec},
};

/// Write the OpenAPI document
#[derive(Debug, Args)]
pub struct Openapi {
    /// Where to write it, instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Compare it with the file (default openapi/openapi.json); exit code 1 when that is stale
    #[arg(long)]
    check: bool,
}

impl Openapi {
    pub fn run(self) -> Result<Exit, Failure> {
        let document = spec::document::<Apis>().map_err(Error::internal)?;
        let text = spec::to_json(&document);
        let failed = |verb, path: &PathBuf, error| {
            Failure::new(Exit::Io, format!("can't {verb} {}: {error}", path.display()))
        };
        match (self.check, self.output) {
            (false, None) => print(&text).map(|()| Exit::Ok),
            (false, Some(path)) => {
                std::fs::write(&path, text).map_err(|error| failed("write", &path, error))?;
                Ok(Exit::Ok)
            }
            (true, path) => {
                let path = path.unwrap_or_else(|| "openapi/openapi.json".into());
                let found =
                    std::fs::read_to_string(&path).map_err(|error| failed("read", &path, error))?;
                if found == text {
                    return Ok(Exit::Ok);
                }
                let path = path.display();
                let line = format!("{path} is stale; run: entitled openapi --output {path}");
                Err(Failure::new(Exit::No, line))
            }
        }
    }
}
