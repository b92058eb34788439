//! `entitled explain`: as `check`, with every rule and every source.

use clap::Args;
use serde_json::Value;

use super::{
    Exit, Failure,
    check::{Detail, Question, exit, verdict},
    output,
};

/// As check, with every rule that was looked at
#[derive(Debug, Args)]
pub struct Explain {
    #[command(flatten)]
    question: Question,
    #[command(flatten)]
    format: output::Format,
}

impl Explain {
    pub fn run(self) -> Result<Exit, Failure> {
        let answer = self.question.ask(Detail::Explanation)?;
        self.format.print(&answer, explanation)?;
        Ok(exit(&answer))
    }
}

fn explanation(answer: &Value) -> String {
    let mut text = verdict(answer);
    let sections = [
        ("trace", &["rule", "about", "outcome", "fact"] as &[&str]),
        ("layers", &["key", "source", "plan", "enabled", "value", "until"]),
    ];
    for (name, heads) in sections {
        let list = answer.get(name).filter(|list| list.as_array().is_some_and(|l| !l.is_empty()));
        if let Some(list) = list {
            text.push('\n');
            text.push_str(&output::members(heads, list));
        }
    }
    text
}
