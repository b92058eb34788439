//! `entitled completions` and `entitled man`: what shells and people are told of the command line,
//! made from the command line itself.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Exit, Failure, output::print};

/// Print completions for a shell
#[derive(Debug, Args)]
pub struct Completions {
    /// For which one
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<Exit, Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "entitled", &mut text);
        print(&String::from_utf8_lossy(&text))?;
        Ok(Exit::Ok)
    }
}

/// The page of the program, with a section for each command.
pub fn man() -> Result<Exit, Failure> {
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    let failed = |error| Failure::new(Exit::Io, format!("can't write the page: {error}"));
    clap_mangen::Man::new(command.clone()).render(&mut pages).map_err(failed)?;
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        clap_mangen::Man::new(inner.clone()).render(&mut pages).map_err(failed)?;
    }
    print(&String::from_utf8_lossy(&pages))?;
    Ok(Exit::Ok)
}
