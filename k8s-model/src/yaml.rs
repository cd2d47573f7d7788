//! YAML as `kubectl` reads it (sigs.k8s.io/yaml: YAML 1.1 scalars, then JSON), with the place of every node.
//!
//! - [`tree`]: parser events to a tree of nodes, with duplicate keys, aliases, merge keys and limits handled.
//! - [`scalar`]: which plain words are booleans, numbers and nulls.
//! - [`de`]: a serde deserializer over that tree: wrong types and unknown fields with line and column.
//!
//! Deliberately elsewhere: what an object means is in [`crate::decode`]; where files come from in [`crate::source`].

pub mod de;
pub mod scalar;
pub mod tree;

pub use de::{Unknown, from_node};
pub use tree::{Key, Limits, Node, Value, parse};

#[cfg(test)]
mod tests;
