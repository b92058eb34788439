//! The document as an ordered tree of nodes, before anything is known about its meaning.
//!
//! Invariants: the size and depth of a tree are bounded, aliases written out; no mapping in it has a key twice, and every key is text. What breaks this is a fault.
//!
//! Refuses to know: what a catalog is.

use serde::de::DeserializeSeed;
use serde_json::{Number, Value};

use super::{
    builder::Builder,
    findings::{Findings, quoted},
};

/// Largest document.
pub(super) const MAX_DOCUMENT_BYTES: usize = 2 << 20;
/// The YAML scanner's work grows with the square of the open brackets, so that these are counted
/// before it starts: roughly, because brackets in texts count too.
const MAX_OPEN_BRACKETS: usize = 1_000;
/// Most opening brackets at all: closing ones can hide in comments.
const MAX_BRACKETS: usize = 50_000;

/// The notation of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML, one document, without tags and merge keys.
    Yaml,
    /// JSON.
    Json,
}

/// One value of the document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    /// Its fault is already noted.
    Bad,
}

impl Node {
    /// What it is, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => format!("the number {value}"),
            Self::Text(value) => format!("the text {}", quoted(value)),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a mapping".to_owned(),
            Self::Bad => "something unreadable".to_owned(),
        }
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Null | Self::Bad => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(value) => Value::Number(value.clone()),
            Self::Text(value) => Value::String(value.clone()),
            Self::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(entries) => {
                Value::Object(entries.iter().map(|(k, v)| (k.clone(), v.to_json())).collect())
            }
        }
    }
}

/// Reads the tree; `None` means that there is none, and the findings say why.
pub(super) fn read(text: &str, format: Format, findings: &Findings) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_DOCUMENT_BYTES {
        findings.fault("", format!("the document is longer than {MAX_DOCUMENT_BYTES} bytes"));
        return None;
    }
    if text.trim().is_empty() {
        findings.fault("", "the document is empty");
        return None;
    }
    let builder = Builder::new(findings);
    let result = match format {
        Format::Yaml => read_yaml(text, &builder),
        Format::Json => read_json(text, &builder),
    };
    match result {
        Ok(Node::Null) => {
            findings.fault("", "the document is empty");
            None
        }
        Ok(node) => Some(node),
        Err(message) => {
            // The builder's own refusal knows its place; the parser's message knows the line.
            match builder.into_refusal() {
                Some((path, message)) => findings.fault(path, message),
                None => findings.fault("", format!("it can't be read: {message}")),
            }
            None
        }
    }
}

fn read_json(text: &str, builder: &Builder) -> Result<Node, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let node = builder.seed(0).deserialize(&mut json).map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    Ok(node)
}

fn read_yaml(text: &str, builder: &Builder) -> Result<Node, String> {
    let (mut open, mut all) = (0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => (open, all) = (open + 1, all + 1),
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > MAX_OPEN_BRACKETS || all > MAX_BRACKETS {
            return Err("it has too many brackets".to_owned());
        }
    }
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let Some(first) = documents.next() else { return Ok(Node::Null) };
    let node = builder.seed(0).deserialize(first).map_err(|error| error.to_string())?;
    if documents.next().is_some() {
        return Err("there is more than one document in it".to_owned());
    }
    Ok(node)
}
