//! The control plane as plain data: one command, as it would be typed.
//!
//! `FromStr` reads the line, `Display` prints it in a canonical form that the real tool takes, [`apply`] does in a namespace
//! what the tool would have done. Tools that read standard input carry it beside the line ([`Stdin`]).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::provenance::ProvId;

/// A command.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Command {}

/// The standard input of a tool. Takes no part in equality of provenance: two inputs with the same text are equal.
#[derive(Clone, Debug)]
pub struct Stdin {
    /// The text.
    pub text: Arc<str>,
    /// Who wrote which lines: from line (counted from 0) on, until the next entry. May be empty.
    pub provs: Arc<[(u32, ProvId)]>,
}

impl PartialEq for Stdin {
    fn eq(&self, other: &Stdin) -> bool {
        self.text == other.text
    }
}

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseCommandError {
    /// What is wrong, naming the word.
    pub message: String,
    /// Byte offset in the line where it begins.
    pub at: usize,
    /// Bytes of the wrong word.
    pub len: usize,
    /// What to do.
    pub help: String,
    /// Whether the real tool takes it and pktlab does not model it (as opposed to a mistake).
    pub unsupported: bool,
}

/// Why a command that was read failed: what the tool would have printed to standard error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// The tool's text: `RTNETLINK answers: File exists`.
    pub message: String,
    /// The tool's exit code.
    pub exit: i32,
    /// For tools that read standard input: line (from 1) and column (from 1) in it.
    pub place: Option<(u32, u32)>,
    /// Whether the real tool and kernel take it and pktlab does not model it.
    pub unsupported: bool,
}

impl Command {
    /// A line together with the standard input of its tool (`iptables-restore`).
    ///
    /// # Errors
    /// As `FromStr`; also where the tool reads no standard input.
    pub fn with_stdin(line: &str, stdin: Stdin) -> Result<Command, ParseCommandError> {
        let _ = stdin;
        line.parse()
    }

    /// The standard input that it carries.
    pub fn stdin(&self) -> Option<&Stdin> {
        None
    }
}

impl FromStr for Command {
    type Err = ParseCommandError;

    fn from_str(line: &str) -> Result<Command, ParseCommandError> {
        Err(ParseCommandError { message: format!("`{line}`"), at: 0, len: line.len(), help: String::new(), unsupported: true })
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        match *self {}
    }
}
