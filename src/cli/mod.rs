//! The command line: one file for each command.
//!
//! Invariants: what a program reads goes to stdout, everything else to stderr; a failure is one line
//! that says what and what to do (one for each fault where a server names several), and its exit
//! code is one of [`Exit`].
//!
//! Refuses to know: decisions, SQL.

mod attempt;
mod audit;
mod audit_export;
mod audit_list;
mod backup;
mod catalog;
mod check;
mod client;
mod config;
mod demo;
mod doctor;
mod events;
mod exit;
mod explain;
mod health;
mod home;
mod instance;
mod keys;
mod legacy;
mod manual;
mod migrate;
mod openapi;
mod output;
mod overrides;
mod requests;
mod restore;
mod routes;
mod serve;
mod shell;
mod supervisor;
mod tenants;
mod token;
mod words;

use std::{
    path::PathBuf,
    process::{ExitCode, Termination},
};

use clap::{Args, Parser, Subcommand};

pub use self::exit::{Exit, Failure};
use crate::config::{self as settings, ConfigError, Flags, Loaded};

/// May this tenant, and this user in it, use this, how much, and if not, why not?
#[derive(Debug, Parser)]
#[command(name = "entitled", version, after_help = "Exit codes: docs/exit-codes.md")]
struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes that works with the settings.
#[derive(Debug, Args)]
struct SettingsArgs {
    /// The TOML file with the settings [env: ENTITLED_CONFIG; default: entitled.toml in the data
    /// directory, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the database [env: ENTITLED_DATA; default: entitled-data]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl SettingsArgs {
    fn load(self, listen: Option<String>) -> Result<Loaded, ConfigError> {
        let Self { config, data } = self;
        settings::load(&Flags { config, data, listen }, std::env::vars_os())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Serve(serve::Serve),
    /// Bring the database to the newest schema
    Migrate(migrate::Migrate),
    /// Write the OpenAPI document
    Openapi(openapi::Openapi),
    /// Check, compare, apply or export a catalog
    #[command(subcommand)]
    Catalog(catalog::Catalog),
    /// Ask a server whether something is allowed; exit code 1 means no
    Check(check::Check),
    /// As check, with every rule that was looked at
    Explain(explain::Explain),
    /// Ask a server whether it is ready; exit code 0 means yes
    Health(health::Health),
    /// Issue a token with the configured secret
    Token(token::Token),
    /// Hold an application's routes against the catalog
    #[command(subcommand)]
    Routes(routes::Routes),
    /// Make, list, change, suspend and activate tenants on a server, and what they have
    #[command(subcommand)]
    Tenants(tenants::Tenants),
    /// Make, list, change and remove overrides on a server
    #[command(subcommand)]
    Overrides(overrides::Overrides),
    /// Ask for overrides on a server, approve and decline
    #[command(subcommand)]
    Requests(requests::Requests),
    /// Import, compare and export the module maps of an older application
    #[command(subcommand)]
    Legacy(legacy::Legacy),
    /// Make, list, rotate and revoke API keys on a server
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Verify, list or export the audit trail
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Follow what changes on a server
    #[command(subcommand)]
    Events(events::Events),
    /// Copy the database, also of a running service, to a file that is verified before it is there
    Backup(backup::Backup),
    /// Put a backup into a data directory that has no database, after verifying it
    Restore(restore::Restore),
    /// Look at settings, disk and database; exit code 1 for errors, 80 for warnings alone
    Doctor(doctor::Doctor),
    /// Show every setting and where it comes from
    Config(config::Config),
    /// Print completions for a shell
    Completions(shell::Completions),
    /// Print the manual page
    Man,
}

/// Reads the command line, does it, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version are among them; they leave by stdout with 0.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.report() } else { Exit::Ok.report() };
        }
    };
    match run(cli) {
        Ok(exit) => exit.report(),
        Err(failure) => {
            failure.print();
            failure.exit.report()
        }
    }
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { settings, command } = cli;
    match command {
        Command::Serve(command) => command.run(settings),
        Command::Migrate(command) => command.run(settings),
        Command::Openapi(command) => command.run(),
        Command::Catalog(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Health(command) => command.run(),
        Command::Token(command) => command.run(settings),
        Command::Routes(command) => command.run(),
        Command::Tenants(command) => command.run(),
        Command::Overrides(command) => command.run(),
        Command::Requests(command) => command.run(),
        Command::Legacy(command) => command.run(),
        Command::Keys(command) => command.run(),
        Command::Audit(command) => command.run(settings),
        Command::Events(command) => command.run(),
        Command::Backup(command) => command.run(settings),
        Command::Restore(command) => command.run(settings),
        Command::Doctor(command) => command.run(settings),
        Command::Config(command) => command.run(settings),
        Command::Completions(command) => command.run(),
        Command::Man => manual::man(),
    }
}
