//! What is wrong with the user's input, and where: file, line, column, the offending text and a sentence on what to do.

use std::fmt;
use std::sync::Arc;

/// A place in a file: lines and columns count from 1, columns and lengths in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pos {
    /// Line, from 1; 0 = no place (something made, not read).
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How many characters of this line to underline; at least 1 for something that was read.
    pub len: u32,
}

/// Where an object or a field came from: a place in a file, or the part of the cluster that made it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The file as the user named it, or who made the object (`kube-apiserver`, `kind`).
    pub source: Arc<str>,
    /// The place; `line` 0 = made, not read.
    pub pos: Pos,
}

impl Origin {
    /// Something that a part of the cluster made.
    pub fn made(by: &str) -> Self {
        Self { source: by.into(), pos: Pos::default() }
    }

    /// Whether this was read from a file.
    pub fn is_read(&self) -> bool {
        self.pos.line > 0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if self.is_read() {
            write!(f, ":{}", self.pos.line)?;
        }
        Ok(())
    }
}

/// One thing that is wrong with the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// The file, or the flag, that holds it.
    pub file: String,
    /// The place in it; `line` 0 = the file as a whole.
    pub pos: Pos,
    /// The field, as `kubectl` writes it: `spec.ports[1].port`; empty where no field is meant.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub help: String,
    /// The text of that line, for whoever underlines the place; empty for the file as a whole.
    pub text: String,
}

impl InputError {
    /// An error of a file, a directory or a flag as a whole.
    pub fn whole(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            pos: Pos::default(),
            path: String::new(),
            message: message.into(),
            help: String::new(),
            text: String::new(),
        }
    }

    /// An error about something that was read, or made, at `origin`.
    pub fn at(origin: &Origin, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pos: origin.pos, path: path.into(), ..Self::whole(&*origin.source, message) }
    }

    /// The same with a sentence on what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// The same with the text of its line, taken from the file's text.
    #[must_use]
    pub fn quote(mut self, file_text: &str) -> Self {
        if self.pos.line > 0 {
            self.text = file_text.lines().nth(self.pos.line as usize - 1).unwrap_or_default().to_owned();
        }
        self
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.pos.line > 0 {
            write!(f, ":{}:{}", self.pos.line, self.pos.column)?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(f, " ({})", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for InputError {}

/// Everything that is wrong with the input, in the order in which it was found; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct InputErrors(pub Vec<InputError>);

impl From<InputError> for InputErrors {
    fn from(error: InputError) -> Self {
        Self(vec![error])
    }
}
