//! What goes to stdout: tables for people, JSON for programs.

use std::io::{ErrorKind, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::{Exit, Failure};

/// Who reads the output.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Format {
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

impl Format {
    /// Whether a program reads it.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints `value` for programs, or what `table` makes of it for people.
    pub fn print(self, value: &Value, table: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        if self.json { print(&escaped(&format!("{value:#}"))) } else { print(&table(value)) }
    }
}

/// Prints a text and a line break. Whoever closes a pipe has read enough.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.trim_end().as_bytes());
    let written = written.and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Io, format!("can't write to stdout: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A table with these heads.
pub fn table<R, C>(heads: &[&str], rows: impl IntoIterator<Item = R>) -> String
where
    R: IntoIterator<Item = C>,
    C: Into<String>,
{
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heads.iter().map(|head| head.to_uppercase()));
    for row in rows {
        table.add_row(row.into_iter().map(|cell| plain(&cell.into())));
    }
    // The last column is padded, which is of no use to anyone.
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A list of objects as a table of these members.
pub fn members(heads: &[&str], list: &Value) -> String {
    let rows = list.as_array().into_iter().flatten();
    table(heads, rows.map(|item| heads.iter().map(|head| cell(item.get(*head)))))
}

/// One thing with all its members, a line for each.
pub fn record(thing: &Value) -> String {
    let members = thing.as_object().into_iter().flatten();
    table(&["field", "value"], members.map(|(name, value)| [name.clone(), cell(Some(value))]))
}

/// A value that somebody wrote, in a cell of a list: cut where it is long.
pub fn short(value: Option<&Value>) -> String {
    const MOST: usize = 32;
    let text = cell(value);
    match text.char_indices().nth(MOST) {
        None => text,
        Some(_) => text.chars().take(MOST - 1).chain(['…']).collect(),
    }
}

/// The same for a list that is to fit into a terminal: what somebody wrote is cut where it is long,
/// keys and ids are not.
pub fn lines(heads: &[&str], list: &Value) -> String {
    let rows = list.as_array().into_iter().flatten();
    let cell = |item: &Value, head: &str| match head {
        "name" | "reason" | "value" => short(item.get(head)),
        _ => cell(item.get(head)),
    };
    table(heads, rows.map(|item| heads.iter().map(|head| cell(item, head)).collect::<Vec<_>>()))
}

/// A value in one cell.
pub fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => plain(text),
        Some(Value::Array(items)) => {
            items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", ")
        }
        Some(other) => plain(&other.to_string()),
    }
}

/// A text that can't steer a terminal: names and reasons come from others.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// JSON that says the same and can't steer a terminal either.
pub fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        // Line breaks stand between members; what else steers can only be inside of a text.
        if steers(c) && c != '\n' {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}

/// Control characters, line breaks of Unicode, and what turns the direction of a text around, so that
/// it reads as another.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_that_somebody_wrote_steers_a_terminal() {
        let hostile = "a\u{1b}[2J\u{9b}31m\u{7f}\u{202e}b\u{2028}\r\nc";
        let value = json!({"name": hostile});
        let text = [plain(hostile), escaped(&format!("{value:#}")), escaped(&value.to_string())];
        for text in &text {
            assert!(!text.chars().any(|c| steers(c) && c != '\n'), "{text:?}");
        }
        for text in &text[1..] {
            assert_eq!(serde_json::from_str::<Value>(text).unwrap(), value);
        }
        assert_eq!(plain("Zoë’s café ☕ 店"), "Zoë’s café ☕ 店");
    }

    #[test]
    fn a_long_name_is_cut_and_a_key_is_not() {
        let long = "x".repeat(60);
        let list = json!([{"key": long, "name": long, "reason": "ö".repeat(32)}]);
        let table = lines(&["key", "name", "reason"], &list);
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, [long.as_str(), &format!("{}…", "x".repeat(31)), &"ö".repeat(32)]);
    }
}
