//! `entitled man`: the page of the program, made from the command line itself. One page with a
//! section for each command, down to those inside of others, because one file is what gets installed.

use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::{Cli, Exit, Failure, output::print};

/// The builder leaves out what is empty, and then the rest would be in wrong places.
const NO_DATE: &str = "\"\"";

// What is not in the command line.
const DESCRIPTION: &str = "entitled answers what each customer of an application may use. entitled \
     serve runs the service in one directory; the other commands look after such a directory, or ask \
     a service that runs. What a program reads goes to stdout, everything else to stderr.";

const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "done; a check is allowed"),
    ("1", "the answer is no: denied, broken, stale, invalid"),
    ("2", "the command line can't be understood"),
    ("65, 77", "the server refused what was asked, or who asked"),
    ("69", "the server can't be reached, or is too busy"),
    ("70", "a fault, or a change whose outcome is unknown"),
    ("73, 74", "the data directory is in use; the operating system refused"),
    ("76, 79", "the database can't be used; its audit trail is not the one that was written"),
    ("78", "a setting is wrong"),
    ("80", "done, and something wants to be looked at"),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "ENTITLED_URL, ENTITLED_KEY",
        "the server, and the API key or token, of the commands that ask one",
    ),
    ("ENTITLED_CONFIG", "the TOML file with the settings"),
    ("ENTITLED_…", "every setting; entitled config shows them, and where each comes from"),
];

const FILES: &[(&str, &str)] = &[
    ("DIR/entitled.toml", "the settings, if no other file is named"),
    ("DIR/entitled.db", "the database; with -wal and -shm beside it while it is used"),
    ("DIR/audit.head", "the end of the audit trail, which the database must hold"),
];

/// Prints the page.
pub fn man() -> Result<Exit, Failure> {
    let mut command = Cli::command();
    command.build();
    print(&page(&command))?;
    Ok(Exit::Ok)
}

/// The page of a command line that was built.
pub fn page(command: &Command) -> String {
    let mut page = Roff::new();
    let version = command.render_version();
    page.control("TH", ["ENTITLED", "1", NO_DATE, version.trim(), "User Commands"]);
    // Long words without a place to part them are no reason to stretch a line.
    page.control("ad", ["l"]);
    page.control("SH", ["NAME"]);
    page.text([roman("entitled - an entitlements service that you host yourself")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text(
        [bold("entitled"), roman(" ["), bold("--config"), italic(" FILE"), roman("] [")]
            .into_iter()
            .chain([bold("--data"), italic(" DIR"), roman("] "), italic("COMMAND"), roman(" …")])
            .collect::<Vec<_>>(),
    );
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(DESCRIPTION)]);
    page.control("SH", ["OPTIONS"]);
    page.text([roman("Every command takes these.")]);
    arguments(&mut page, command, Shown::Everywhere);
    page.control("SH", ["COMMANDS"]);
    commands(&mut page, command);
    for (title, rows) in
        [("EXIT STATUS", EXIT_STATUS), ("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)]
    {
        page.control("SH", [title]);
        for (name, meaning) in rows {
            page.control("TP", []);
            page.text([bold(*name)]);
            page.text([roman(*meaning)]);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([roman(
        "The documentation of the repository: operating.md, configuration.md, exit-codes.md.",
    )]);
    page.render()
}

/// One section for each command that does something, with its usage.
fn commands(page: &mut Roff, command: &Command) {
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        if inner.has_subcommands() {
            commands(page, inner);
            continue;
        }
        let name = inner.get_bin_name().unwrap_or_else(|| inner.get_name());
        page.control("SS", [name]);
        let about = inner.get_long_about().or(inner.get_about());
        page.text([roman(about.map(ToString::to_string).unwrap_or_default())]);
        arguments(page, inner, Shown::Here);
    }
}

/// Which arguments of a command are listed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Those of every command, with help and version.
    Everywhere,
    /// Those of this one alone.
    Here,
}

fn arguments(page: &mut Roff, command: &Command, shown: Shown) {
    let is_shown = |argument: &&Arg| {
        let is_help = matches!(
            argument.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        );
        let is_everywhere = argument.is_global_set() || is_help;
        !argument.is_hide_set() && is_everywhere == (shown == Shown::Everywhere)
    };
    for argument in command.get_arguments().filter(is_shown) {
        page.control("TP", []);
        let mut head = Vec::new();
        if let Some(short) = argument.get_short() {
            head.extend([bold(format!("-{short}")), roman(", ")]);
        }
        if let Some(long) = argument.get_long() {
            head.push(bold(format!("--{long}")));
        }
        if argument.get_action().takes_values() {
            let names = argument.get_value_names().unwrap_or_default();
            let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
            let gap = if argument.is_positional() { "" } else { " " };
            head.push(italic(format!("{gap}{}", names.join(" "))));
        }
        if argument.is_required_set() {
            head.push(roman(" (needed)"));
        }
        page.text(head);
        let help = argument.get_long_help().or(argument.get_help());
        let mut help = help.map(ToString::to_string).unwrap_or_default();
        let default = argument.get_default_values().first().and_then(|value| value.to_str());
        if let Some(variable) = argument.get_env().and_then(|name| name.to_str()) {
            help += &format!(" [env: {variable}]");
        }
        if let Some(default) = default.filter(|_| argument.get_action().takes_values()) {
            help += &format!(" [default: {default}]");
        }
        page.text([roman(help)]);
    }
}
