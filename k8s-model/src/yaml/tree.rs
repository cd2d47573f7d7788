//! From parser events to a tree of nodes that know where they stand.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::scalar::resolve_plain;
use crate::error::{InputError, Pos};

/// One YAML node and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it starts.
    pub pos: Pos,
    /// What it is.
    pub value: Value,
}

/// The JSON value of a node, once YAML's words are resolved.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true`, `yes`, `on`, ...
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Str(String),
    /// A list.
    Seq(Vec<Node>),
    /// An object; keys in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// The key of a field and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The name; a number or boolean as JSON writes it.
    pub name: String,
    /// Where it stands.
    pub pos: Pos,
}

/// What a file may ask of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file.
    pub bytes: u64,
    /// Lists and objects inside one another.
    pub depth: usize,
    /// Nodes of one file, those that aliases repeat counted each time.
    pub nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 20, depth: 128, nodes: 4_000_000 }
    }
}

impl Node {
    /// The field `name` of an object; nothing for other nodes.
    pub fn field(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|(_, node)| node)
    }

    /// The field `name` of an object with its key.
    pub fn entry(&self, name: &str) -> Option<(&Key, &Node)> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(key, node)| (key, node)),
            _ => None,
        }
    }

    /// The element `index` of a list.
    pub fn item(&self, index: usize) -> Option<&Node> {
        match &self.value {
            Value::Seq(items) => items.get(index),
            _ => None,
        }
    }

    /// The text of a string node.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }
}

/// The documents of a file; empty ones are left out.
///
/// Refused with line and column: syntax errors, duplicate keys, unknown aliases, and what breaks the limits.
pub fn parse(file: &str, text: &str, limits: Limits) -> Result<Vec<Node>, InputError> {
    let mut builder = Builder { limits, ..Builder::default() };
    let fail = |fault: Fault| {
        let error = InputError { pos: fault.pos, ..InputError::whole(file, fault.message) }.quote(text);
        let template = error.text.contains("{{") || text.contains("{{-");
        let help = "this looks like a Helm template: render it with `helm template` first";
        error.help(if template { help.to_owned() } else { fault.help })
    };
    if text.len() as u64 > limits.bytes {
        return Err(InputError::whole(file, format!("the file has {} bytes, more than the limit of {}", text.len(), limits.bytes)));
    }
    // A byte order mark is not part of the text.
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    for event in Parser::new_from_str(body) {
        let (event, span) = event.map_err(|error| {
            let pos = pos_of(*error.marker(), 1);
            fail(Fault::new(pos, format!("YAML syntax: {}", error.info())))
        })?;
        builder.event(event, span).map_err(fail)?;
    }
    Ok(builder.documents)
}

#[derive(Debug)]
struct Fault {
    pos: Pos,
    message: String,
    help: String,
}

impl Fault {
    fn new(pos: Pos, message: impl Into<String>) -> Self {
        Self { pos, message: message.into(), help: String::new() }
    }
}

fn pos_of(marker: Marker, len: usize) -> Pos {
    Pos { line: marker.line() as u32, column: marker.col() as u32 + 1, len: len.max(1) as u32 }
}

fn pos_of_span(span: Span) -> Pos {
    let len = if span.start.line() == span.end.line() { span.end.index().saturating_sub(span.start.index()) } else { 1 };
    pos_of(span.start, len)
}

/// A list or object whose end has not been read.
#[derive(Debug)]
struct Open {
    pos: Pos,
    anchor: usize,
    kind: OpenKind,
}

#[derive(Debug)]
enum OpenKind {
    Seq(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, merges: Vec<Node>, seen: BTreeMap<String, Pos>, key: Option<Key> },
}

#[derive(Debug, Default)]
struct Builder {
    limits: Limits,
    documents: Vec<Node>,
    stack: Vec<Open>,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let pos = pos_of_span(span);
        match event {
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref(), pos)?;
                self.count(1, pos)?;
                self.add(Node { pos, value }, anchor)?;
            }
            Event::Alias(id) => {
                let Some((node, size)) = self.anchors.get(&id) else {
                    return Err(Fault::new(pos, "an alias of an anchor that is not complete at this place"));
                };
                let (node, size) = (node.clone(), *size);
                self.count(size, pos)?;
                self.add(node, 0)?;
            }
            Event::SequenceStart(anchor, _) => self.open(pos, anchor, OpenKind::Seq(Vec::new()))?,
            Event::MappingStart(anchor, _) => {
                let kind = OpenKind::Map { entries: Vec::new(), merges: Vec::new(), seen: BTreeMap::new(), key: None };
                self.open(pos, anchor, kind)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.stack.pop().expect("the parser ends only what it started");
                let value = match open.kind {
                    OpenKind::Seq(items) => Value::Seq(items),
                    OpenKind::Map { entries, merges, .. } => Value::Map(merged(entries, merges)?),
                };
                self.add(Node { pos: open.pos, value }, open.anchor)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, pos: Pos) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > self.limits.nodes {
            let mut fault = Fault::new(pos, format!("the file has more than {} nodes", self.limits.nodes));
            fault.help = "aliases that repeat aliases grow without end; write the values out or split the file".to_owned();
            return Err(fault);
        }
        Ok(())
    }

    fn open(&mut self, pos: Pos, anchor: usize, kind: OpenKind) -> Result<(), Fault> {
        if self.stack.len() >= self.limits.depth {
            return Err(Fault::new(pos, format!("lists and objects are nested more than {} deep", self.limits.depth)));
        }
        self.count(1, pos)?;
        // A list or object shows its first character only.
        self.stack.push(Open { pos: Pos { len: 1, ..pos }, anchor, kind });
        Ok(())
    }

    /// A complete node: a document, an element, a key or a value.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor > 0 {
            let size = size_of(&node);
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(open) = self.stack.last_mut() else {
            if node.value != Value::Null {
                self.documents.push(node);
            }
            return Ok(());
        };
        match &mut open.kind {
            OpenKind::Seq(items) => items.push(node),
            OpenKind::Map { entries, merges, seen, key } => match key.take() {
                None => {
                    let new = Key { name: key_name(&node)?, pos: node.pos };
                    if let Some(first) = seen.get(&new.name)
                        && new.name != "<<"
                    {
                        let mut fault = Fault::new(new.pos, format!("key {:?} is already set, on line {}", new.name, first.line));
                        fault.help = "remove one of the two".to_owned();
                        return Err(fault);
                    }
                    seen.insert(new.name.clone(), new.pos);
                    *key = Some(new);
                }
                Some(key) if key.name == "<<" => merges.push(node),
                Some(key) => entries.push((key, node)),
            },
        }
        Ok(())
    }
}

/// The merge key `<<` of YAML 1.1: fields of the named objects, unless the object has its own.
fn merged(mut entries: Vec<(Key, Node)>, merges: Vec<Node>) -> Result<Vec<(Key, Node)>, Fault> {
    for merge in merges {
        let sources = match merge.value {
            Value::Seq(items) => items,
            _ => vec![merge],
        };
        for source in sources {
            let Value::Map(fields) = source.value else {
                return Err(Fault::new(source.pos, "the merge key `<<` wants an object or a list of objects"));
            };
            for (key, node) in fields {
                if !entries.iter().any(|(have, _)| have.name == key.name) {
                    entries.push((key, node));
                }
            }
        }
    }
    Ok(entries)
}

fn size_of(node: &Node) -> usize {
    match &node.value {
        Value::Seq(items) => 1 + items.iter().map(size_of).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|(_, node)| 1 + size_of(node)).sum::<usize>(),
        _ => 1,
    }
}

fn key_name(node: &Node) -> Result<String, Fault> {
    match &node.value {
        Value::Str(text) => Ok(text.clone()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Int(value) => Ok(value.to_string()),
        Value::Float(value) => Ok(value.to_string()),
        Value::Null => Ok("null".to_owned()),
        Value::Seq(_) | Value::Map(_) => Err(Fault::new(node.pos, "a key must be text, not a list or an object")),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, pos: Pos) -> Result<Value, Fault> {
    let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    let plain = || resolve_plain(text);
    match core {
        Some("str" | "binary" | "timestamp") => return Ok(Value::Str(text.to_owned())),
        Some("bool") if matches!(plain(), Value::Bool(_)) => return Ok(plain()),
        Some("int") if matches!(plain(), Value::Int(_)) => return Ok(plain()),
        Some("null") if plain() == Value::Null => return Ok(Value::Null),
        Some("float") => match plain() {
            Value::Int(value) => return Ok(Value::Float(value as f64)),
            Value::Float(value) => return Ok(Value::Float(value)),
            _ => {}
        },
        None => {
            return Ok(if style == ScalarStyle::Plain { plain() } else { Value::Str(text.to_owned()) });
        }
        Some(_) => {}
    }
    Err(Fault::new(pos, format!("{text:?} is not a !!{}", core.unwrap_or_default())))
}
