//! A serde deserializer over a [`Node`] tree that reports where a type is wrong and which fields nobody asked for.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::tree::{Key, Node, Value};
use crate::error::Pos;

/// A field that the type does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Where its key stands.
    pub pos: Pos,
    /// Its path: `spec.externalTraficPolicy`.
    pub path: String,
    /// The field that was probably meant.
    pub meant: Option<&'static str>,
}

/// A value that has the wrong type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongType {
    /// Where the value stands.
    pub pos: Pos,
    /// Its path: `spec.ports[1].port`.
    pub path: String,
    /// What is wrong: `invalid type: string "eighty", expected i32`.
    pub message: String,
}

/// Reads a typed object from a node; the unknown fields come with it, in the order of the file.
pub fn from_node<T: DeserializeOwned>(node: &Node) -> Result<(T, Vec<Unknown>), WrongType> {
    let mut walk = Walk::default();
    match T::deserialize(De { node, walk: &mut walk }) {
        Ok(value) => Ok((value, walk.unknown)),
        Err(error) => {
            let (pos, path) = error.at.unwrap_or((node.pos, String::new()));
            Err(WrongType { pos, path, message: error.message })
        }
    }
}

#[derive(Debug, Clone)]
enum Segment<'a> {
    Field(&'a str),
    Index(usize),
}

/// Where the walk stands, and what it has met.
#[derive(Debug, Default)]
struct Walk<'a> {
    path: Vec<Segment<'a>>,
    unknown: Vec<Unknown>,
    /// The key whose value comes next and the fields that its object knows.
    pending: Option<(Pos, &'static [&'static str])>,
}

impl Walk<'_> {
    fn path(&self) -> String {
        let mut text = String::new();
        for segment in &self.path {
            match segment {
                Segment::Field(name) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(name);
                }
                Segment::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }
}

/// The error of this deserializer; [`from_node`] turns it into a [`WrongType`].
#[derive(Debug)]
pub struct Error {
    message: String,
    at: Option<(Pos, String)>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), at: None }
    }
}

struct De<'a, 'w> {
    node: &'a Node,
    walk: &'w mut Walk<'a>,
}

impl<'a> De<'a, '_> {
    fn visit<'de, V: Visitor<'de>>(self, visitor: V, fields: &'static [&'static str]) -> Result<V::Value, Error> {
        let Self { node, walk } = self;
        let result = match &node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Str(text) => visitor.visit_str(text),
            Value::Seq(items) => visitor.visit_seq(Items { items, next: 0, walk: &mut *walk }),
            Value::Map(entries) => visitor.visit_map(Fields { entries, next: 0, fields, walk: &mut *walk }),
        };
        // The innermost place wins: the path still ends where the error arose.
        result.map_err(|mut error: Error| {
            error.at.get_or_insert_with(|| (node.pos, walk.path()));
            error
        })
    }
}

impl<'de> de::Deserializer<'de> for De<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit(visitor, &[])
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.node.value == Value::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.visit(visitor, fields)
    }

    /// A word that names a variant without data.
    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        let Value::Str(text) = &self.node.value else { return self.visit(visitor, &[]) };
        let result: Result<V::Value, Error> = visitor.visit_enum(text.as_str().into_deserializer());
        result.map_err(|mut error| {
            error.at.get_or_insert_with(|| (self.node.pos, self.walk.path()));
            error
        })
    }

    /// serde asks for this where a key is not one of the type's fields.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Some((pos, fields)) = self.walk.pending.take() {
            let meant = match self.walk.path.last() {
                Some(Segment::Field(name)) => nearest(name, fields),
                _ => None,
            };
            let path = self.walk.path();
            self.walk.unknown.push(Unknown { pos, path, meant });
        }
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

struct Items<'a, 'w> {
    items: &'a [Node],
    next: usize,
    walk: &'w mut Walk<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(node) = self.items.get(self.next) else { return Ok(None) };
        self.walk.path.push(Segment::Index(self.next));
        self.next += 1;
        self.walk.pending = None;
        let value = seed.deserialize(De { node, walk: self.walk });
        self.walk.path.pop();
        value.map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

struct Fields<'a, 'w> {
    entries: &'a [(Key, Node)],
    next: usize,
    fields: &'static [&'static str],
    walk: &'w mut Walk<'a>,
}

impl<'de> MapAccess<'de> for Fields<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, _)) = self.entries.get(self.next) else { return Ok(None) };
        let result: Result<K::Value, Error> = seed.deserialize(key.name.as_str().into_deserializer());
        result.map(Some).map_err(|mut error| {
            error.at.get_or_insert_with(|| (key.pos, self.walk.path()));
            error
        })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, node) = &self.entries[self.next];
        self.next += 1;
        self.walk.path.push(Segment::Field(&key.name));
        self.walk.pending = Some((key.pos, self.fields));
        let value = seed.deserialize(De { node, walk: self.walk });
        self.walk.path.pop();
        value
    }
}

/// The field that a misspelt name most likely meant: same letters in another case, or at most two edits away.
fn nearest(name: &str, fields: &'static [&'static str]) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    fields
        .iter()
        .map(|field| (distance(&lower, &field.to_ascii_lowercase()), *field))
        .filter(|(distance, field)| *distance <= 2 && *distance * 3 <= field.len())
        .min()
        .map(|(_, field)| field)
}

/// Levenshtein's edit distance, by rows.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let cost = if from == *to { diagonal } else { 1 + diagonal.min(row[j]).min(row[j + 1]) };
            diagonal = row[j + 1];
            row[j + 1] = cost;
        }
    }
    row[b.len()]
}
