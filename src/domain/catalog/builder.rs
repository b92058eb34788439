//! From the events of a parser to the tree of nodes.
//!
//! Invariants: a tree has at most [`MAX_NODES`] nodes and [`MAX_DEPTH`] levels; a key that stands
//! twice in a mapping is a fault, and the first one counts.

use std::{cell::RefCell, collections::BTreeSet, fmt};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_json::Number;

use super::{
    findings::{Findings, join, quoted},
    node::Node,
};

/// Most nodes (values and keys) in a document, each alias counted with all that it stands for.
const MAX_NODES: usize = 200_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;

struct State {
    path: String,
    nodes: usize,
    refusal: Option<(String, String)>,
}

/// Builds the tree, keeping its place and counting.
pub(super) struct Builder<'f> {
    findings: &'f Findings,
    state: RefCell<State>,
}

impl<'f> Builder<'f> {
    /// A builder that notes what it finds.
    pub fn new(findings: &'f Findings) -> Self {
        let state = State { path: String::new(), nodes: 0, refusal: None };
        Self { findings, state: RefCell::new(state) }
    }

    /// Why it ended the reading, if it did: the place and the message.
    pub fn into_refusal(self) -> Option<(String, String)> {
        self.state.into_inner().refusal
    }

    /// Reads one value at `depth`.
    pub fn seed(&self, depth: usize) -> Seed<'_> {
        Seed { builder: self, depth }
    }

    fn fault(&self, message: impl Into<String>) {
        let path = self.state.borrow().path.clone();
        self.findings.fault(path, message);
    }

    /// Counts one node; an error ends the reading.
    fn count<E: Error>(&self, depth: usize) -> Result<(), E> {
        let mut state = self.state.borrow_mut();
        state.nodes += 1;
        let message = if state.nodes > MAX_NODES {
            format!("the document has more than {MAX_NODES} values, aliases written out")
        } else if depth > MAX_DEPTH {
            format!("the document is nested deeper than {MAX_DEPTH} levels")
        } else {
            return Ok(());
        };
        // The place can be as deep as the bomb itself; its beginning is enough.
        let path = state.path.chars().take(200).collect();
        state.refusal = Some((path, message));
        Err(E::custom("too large"))
    }

    /// Runs `read` with the path one step deeper.
    fn within<T>(&self, path: impl FnOnce(&str) -> String, read: impl FnOnce() -> T) -> T {
        let outer = {
            let mut state = self.state.borrow_mut();
            let inner = path(&state.path);
            std::mem::replace(&mut state.path, inner)
        };
        let value = read();
        self.state.borrow_mut().path = outer;
        value
    }
}

/// Reads one value.
pub(super) struct Seed<'b> {
    builder: &'b Builder<'b>,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.builder.count(self.depth)?;
        deserializer.deserialize_any(self)
    }
}

impl Seed<'_> {
    /// The key as text, or `None` with its fault.
    fn key(&self, key: Node) -> Option<String> {
        let message = match key {
            Node::Text(key) if key == "<<" => {
                "merge keys (`<<`) are not read; write the fields out".to_owned()
            }
            Node::Text(key) => return Some(key),
            other => format!("a key must be text, not {}; put it in quotes", other.describe()),
        };
        self.builder.fault(message);
        None
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Node, E> {
        self.builder.fault(format!("the number {value} is too large"));
        Ok(Node::Bad)
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Node, E> {
        self.builder.fault(format!("the number {value} is too large"));
        Ok(Node::Bad)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        if let Some(number) = Number::from_f64(value) {
            return Ok(Node::Number(number));
        }
        self.builder.fault("expected a finite number");
        Ok(Node::Bad)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = |outer: &str| format!("{outer}[{}]", list.len());
            let seed = self.builder.seed(self.depth + 1);
            match self.builder.within(path, || items.next_element_seed(seed))? {
                Some(item) => list.push(item),
                None => return Ok(Node::List(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map: Vec<(String, Node)> = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(key) = entries.next_key_seed(self.builder.seed(self.depth + 1))? {
            let key = self.key(key);
            let place = key.as_deref().unwrap_or("?");
            let seed = self.builder.seed(self.depth + 1);
            let value = self.builder.within(
                |outer| join(outer, place),
                || {
                    if key.as_ref().is_some_and(|key| seen.contains(key)) {
                        self.builder.fault("it stands here more than once");
                    }
                    entries.next_value_seed(seed)
                },
            )?;
            if let Some(key) = key.filter(|key| seen.insert(key.clone())) {
                map.push((key, value));
            }
        }
        Ok(Node::Map(map))
    }

    /// A YAML tag, such as `!secret`.
    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        let (tag, content): (String, _) = tagged.variant()?;
        self.builder.fault(format!("YAML tags are not read: {}", quoted(&tag)));
        content.newtype_variant_seed(self.builder.seed(self.depth + 1))?;
        Ok(Node::Bad)
    }
}
