//! What is wrong with the user's input, from whichever reader: file, place, the line itself, and what to do.
//!
//! `pktlab-k8s-model` finds mistakes in manifests, [`crate::ends`] in ends, RON in scenario files; here they become one type that
//! is printed in one way (`annotate-snippets`, as rustc prints) and has one JSON shape.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use k8s_model::{InputError, InputErrors};
use serde::Serialize;

use crate::ends::EndError;

/// More mistakes than this are counted, not printed.
const PRINTED: usize = 20;

/// Whose fault it is: decides the exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The input is wrong: exit code 2.
    Input,
    /// The machine lacks something: exit code 4.
    Machine,
    /// The input is right and pktlab does not model it: exit code 3.
    Unsupported,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Problem {
    /// Whose fault.
    pub fault: Fault,
    /// The file, or the flag.
    pub file: String,
    /// Line from 1; absent for a file or flag as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The field: `spec.ports[0].port`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// The line's text.
    #[serde(skip)]
    pub text: String,
    /// Characters to underline.
    #[serde(skip)]
    pub len: u32,
}

/// Everything that is wrong, in the order in which it was found; never empty.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::one_line).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

/// The JSON document of a failure.
#[derive(Debug, Serialize)]
pub struct ErrorReport<'a> {
    /// `pktlab.error/1`.
    pub schema: &'static str,
    /// The exit code.
    pub exit_code: u8,
    /// What is wrong.
    pub errors: &'a [Problem],
}

impl Problem {
    /// Something wrong with a file or a flag as a whole.
    pub fn whole(file: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            fault: Fault::Input,
            file: file.into(),
            line: None,
            column: None,
            path: String::new(),
            message: message.into(),
            help: String::new(),
            text: String::new(),
            len: 0,
        }
    }

    /// Something wrong at bytes `at..at + len` of a text that was read from `file`.
    pub fn at(file: impl Into<String>, source: &str, at: usize, len: usize, message: impl Into<String>) -> Problem {
        let mut at = at.min(source.len());
        while !source.is_char_boundary(at) {
            at -= 1;
        }
        let begin = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line_text = source[begin..].lines().next().unwrap_or_default();
        let line = source[..begin].matches('\n').count() as u32 + 1;
        let column = source[begin..at].chars().count() as u32 + 1;
        let mut end = (at + len).min(begin + line_text.len()).max(at);
        while !source.is_char_boundary(end) {
            end += 1;
        }
        let len = source[at..end].chars().count().max(1) as u32;
        Problem { line: Some(line), column: Some(column), text: line_text.to_owned(), len, ..Problem::whole(file, message) }
    }

    /// The same, with what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = help.into();
        self
    }

    /// The same, as something that pktlab does not model.
    #[must_use]
    pub fn unsupported(mut self) -> Problem {
        self.fault = Fault::Unsupported;
        self
    }

    /// A wrong end that stands in a flag of its own.
    pub fn of_end(flag: &str, text: &str, error: &EndError) -> Problem {
        Problem::at(flag, text, error.at, error.len, &error.message).help(&error.help)
    }

    /// `web.yaml:3:9: spec.ports: ...`, for logs and as the text of the error type.
    pub fn one_line(&self) -> String {
        let place = match (self.line, self.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}", self.file),
            _ => self.file.clone(),
        };
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        let help = if self.help.is_empty() { String::new() } else { format!(" ({})", self.help) };
        format!("{place}: {path}{}{help}", self.message)
    }

    /// As rustc would print it.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let what = if self.path.is_empty() { self.message.clone() } else { format!("{}: {}", self.path, self.message) };
        let title = match self.fault {
            Fault::Unsupported if !what.starts_with("unsupported") => format!("unsupported: {what}"),
            _ => what,
        };
        let (Some(line), Some(column)) = (self.line, self.column) else {
            let mut group = Level::ERROR
                .primary_title(format!("{}: {title}", self.file))
                .elements(Vec::<annotate_snippets::Element<'_>>::new());
            if !self.help.is_empty() {
                group = group.element(Level::HELP.message(self.help.as_str()));
            }
            return renderer.render(&[group]);
        };
        let text = if self.text.is_empty() { " ".to_owned() } else { self.text.clone() };
        let offset = |chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
        let start = offset(column as usize - 1);
        let end = offset(column as usize - 1 + self.len.max(1) as usize).max(start);
        let snippet = Snippet::source(text.as_str())
            .line_start(line as usize)
            .path(self.file.as_str())
            .annotation(AnnotationKind::Primary.span(start..end));
        let mut group = Level::ERROR.primary_title(title).element(snippet);
        if !self.help.is_empty() {
            group = group.element(Level::HELP.message(self.help.as_str()));
        }
        renderer.render(&[group])
    }
}

impl Problems {
    /// The exit code: 2, then 4, then 3, as the contract orders them.
    pub fn exit_code(&self) -> u8 {
        let has = |fault| self.0.iter().any(|problem| problem.fault == fault);
        if has(Fault::Input) {
            2
        } else if has(Fault::Machine) {
            4
        } else {
            3
        }
    }

    /// All of them, as rustc would print them.
    pub fn render(&self, color: bool) -> String {
        let mut text = String::new();
        for problem in self.0.iter().take(PRINTED) {
            text.push_str(&problem.render(color));
            text.push_str("\n\n");
        }
        if self.0.len() > PRINTED {
            text.push_str(&format!("and {} more\n", self.0.len() - PRINTED));
        }
        text
    }

    /// As a JSON document.
    pub fn report(&self) -> ErrorReport<'_> {
        ErrorReport { schema: "pktlab.error/1", exit_code: self.exit_code(), errors: &self.0 }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems(vec![problem])
    }
}

impl From<&InputError> for Problem {
    fn from(error: &InputError) -> Problem {
        let read = error.pos.line > 0;
        let unsupported = error.message.starts_with("unsupported:");
        // Mistakes that are found after reading know their place but not their line.
        let text = if read && error.text.is_empty() { line_of(&error.file, error.pos.line) } else { error.text.clone() };
        Problem {
            fault: if unsupported { Fault::Unsupported } else { Fault::Input },
            file: error.file.clone(),
            line: read.then_some(error.pos.line),
            column: read.then_some(error.pos.column),
            path: error.path.clone(),
            message: error.message.clone(),
            help: error.help.clone(),
            text,
            len: error.pos.len,
        }
    }
}

/// A line of a file, as far as it can still be read.
fn line_of(file: &str, line: u32) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().nth(line as usize - 1).unwrap_or_default().to_owned()
}

impl From<InputErrors> for Problems {
    fn from(errors: InputErrors) -> Problems {
        Problems(errors.0.iter().map(Problem::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_underlined_and_the_help_stands_below() {
        let problem = Problem::at("x.ron", "(\n  seed: one,\n)\n", 10, 3, "`one` is no number").help("write seed: 1");
        let shown = problem.render(false);
        assert!(shown.contains("x.ron:2:9"), "{shown}");
        assert!(shown.contains("seed: one,") && shown.contains("^^^") && shown.contains("write seed: 1"), "{shown}");
    }

    #[test]
    fn wrong_input_outranks_what_is_not_modelled() {
        let wrong = Problem::whole("a", "wrong");
        let unsupported = Problem::whole("b", "not yet").unsupported();
        assert_eq!(Problems(vec![unsupported.clone(), wrong]).exit_code(), 2);
        assert_eq!(Problems(vec![unsupported]).exit_code(), 3);
    }
}
