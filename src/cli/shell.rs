//! `entitled completions`: what shells are told of the command line, made from the command line itself.

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

#[cfg(test)]
mod tests {
    use clap::{Command, Parser};

    use super::{super::manual::page, *};

    /// A command that does something, with its full name and what it says about itself.
    fn leaves(command: &Command, name: &str, found: &mut Vec<(String, String)>) {
        let below = command.get_subcommands().filter(|inner| inner.get_name() != "help");
        let mut is_leaf = true;
        for inner in below {
            is_leaf = false;
            leaves(inner, &format!("{name} {}", inner.get_name()), found);
        }
        if is_leaf {
            found.push((name.to_owned(), command.get_about().unwrap().to_string()));
        }
    }

    fn all() -> Vec<(String, String)> {
        let mut found = Vec::new();
        leaves(&Cli::command(), "entitled", &mut found);
        found
    }

    /// A line as a shell splits it.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quote) = (vec![String::new()], None);
        for c in line.chars() {
            match quote {
                None if c == '\'' || c == '"' => quote = Some(c),
                None if c == ' ' => words.push(String::new()),
                Some(end) if c == end => quote = None,
                None | Some(_) => words.last_mut().unwrap().push(c),
            }
        }
        words
    }

    #[test]
    fn every_command_stands_in_the_reference_with_an_example_that_can_be_run() {
        let page = include_str!("../../docs/cli.md");
        let rows: Vec<Vec<&str>> = page
            .lines()
            .filter(|line| line.starts_with("| `entitled "))
            .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
            .collect();
        let code = |cell: &str| cell.trim_matches('`').to_owned();
        let named: Vec<_> = rows.iter().map(|row| (code(row[0]), row[1].to_owned())).collect();
        assert_eq!(named, all(), "docs/cli.md");
        for row in rows {
            let example = code(row[2]);
            assert!(example.starts_with(&code(row[0])), "{example}");
            if let Err(error) = Cli::try_parse_from(words(&example)) {
                panic!("{example}: {error}");
            }
        }
    }

    #[test]
    fn every_command_is_completed_and_has_its_place_in_the_manual() {
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Cli::command(), "entitled", &mut script);
        let script = String::from_utf8(script).unwrap();
        let mut command = Cli::command();
        command.build();
        let manual = page(&command);
        for (name, about) in all() {
            let words: Vec<&str> = name.split(' ').collect();
            let place = words.join("__subcmd__");
            let place = [place, words.join("__")];
            assert!(place.iter().any(|place| script.contains(place)), "{name}: not completed");
            assert!(
                manual.contains(&format!(".SS \"{name}\"\n"))
                    || manual.contains(&format!(".SS {name}\n")),
                "{name}: not in the manual"
            );
            assert!(!about.is_empty());
        }
    }
}
