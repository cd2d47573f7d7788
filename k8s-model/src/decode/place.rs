//! A field on its way: its node, its file and its path.

use std::sync::Arc;

use crate::error::{InputError, Origin, Pos};
use crate::report::Note;
use crate::yaml::Node;

/// A node of a document; a field that is not there stands where its parent does.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    file: &'a Arc<str>,
    node: &'a Node,
    path: String,
    present: bool,
}

/// What a conversion found.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// What is wrong.
    pub(super) errors: Vec<InputError>,
    /// What is set without effect.
    pub(super) unused: Vec<Note>,
}

impl<'a> Place<'a> {
    pub(super) fn new(file: &'a Arc<str>, node: &'a Node) -> Self {
        Self { file, node, path: String::new(), present: true }
    }

    /// The field of that name.
    pub(super) fn field(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        let found = self.node.field(name).filter(|_| self.present);
        Self { file: self.file, node: found.unwrap_or(self.node), path, present: found.is_some() }
    }

    /// The element of that index.
    pub(super) fn item(&self, index: usize) -> Self {
        let found = self.node.item(index).filter(|_| self.present);
        let path = format!("{}[{index}]", self.path);
        Self { file: self.file, node: found.unwrap_or(self.node), path, present: found.is_some() }
    }

    pub(super) fn pos(&self) -> Pos {
        self.node.pos
    }

    pub(super) fn origin(&self) -> Origin {
        Origin { source: self.file.clone(), pos: self.pos() }
    }

    /// An error here.
    pub(super) fn error(&self, message: impl Into<String>) -> InputError {
        InputError::at(&self.origin(), self.path.clone(), message)
    }

    /// Notes that this field is set and has no effect; nothing if it is not set.
    pub(super) fn unused(&self, collected: &mut Collected, matters: bool, text: &str) {
        if self.present {
            collected.unused.push(Note { pos: self.pos(), path: self.path.clone(), text: text.to_owned(), matters });
        }
    }
}

impl Collected {
    /// Keeps the value, or the error.
    pub(super) fn ok<T>(&mut self, result: Result<T, InputError>) -> Option<T> {
        result.map_err(|error| self.errors.push(error)).ok()
    }
}
