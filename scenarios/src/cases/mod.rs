//! Regression cases: a network of namespaces, stimuli, and what a kernel answered; run here, written in the same shape, so that
//! both can be compared.
//!
//! - [`format`]: `case.json`; [`topology`]: the commands that build its network.
//! - [`frame`]: packets as dictionaries, to bytes; [`decode`]: bytes to dictionaries.
//! - [`run`]: one case, from set-up to result; [`observe`]: the result.
//!
//! What a case needs and pktlab does not model makes it *unsupported*, with the file and the field or line; nothing is left out
//! of a case in silence.

mod decode;
mod format;
mod frame;
mod observe;
mod run;
#[cfg(test)]
mod tests;
mod topology;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// How one case went.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It ran; its result.
    Ran(Value),
    /// It needs what is not modelled.
    Unsupported(Trouble),
    /// It could not be read, or its set-up failed where the kernel's did not.
    Failed(Trouble),
}

/// Why a case did not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The field of the case, or the namespace and command line: `topology.namespaces[r].nft`.
    pub place: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

/// How the cases of a folder went, in the order of their names.
#[derive(Debug, Default)]
pub struct Report {
    /// Each case: its folder's name, its file, how it went.
    pub cases: Vec<(String, PathBuf, Outcome)>,
}

impl Report {
    /// How many ran, were unsupported, failed to load.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |is: fn(&Outcome) -> bool| self.cases.iter().filter(|(_, _, outcome)| is(outcome)).count();
        (
            count(|outcome| matches!(outcome, Outcome::Ran(_))),
            count(|outcome| matches!(outcome, Outcome::Unsupported(_))),
            count(|outcome| matches!(outcome, Outcome::Failed(_))),
        )
    }
}

/// One line for each case that did not run, and a summary.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, file, outcome) in &self.cases {
            match outcome {
                Outcome::Ran(_) => {}
                Outcome::Unsupported(trouble) => writeln!(f, "unsupported {}: {trouble}", file.display())?,
                Outcome::Failed(trouble) => writeln!(f, "failed to load {}: {trouble}", file.display())?,
            }
        }
        let (ran, unsupported, failed) = self.counts();
        writeln!(f, "{ran} ran, {unsupported} unsupported, {failed} failed to load")
    }
}

/// Why a folder of cases could not be run at all.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", .path.display())]
pub struct FolderError {
    /// File or folder.
    pub path: PathBuf,
    /// What the system says.
    pub error: io::Error,
}

/// Runs one case out of the text of its `case.json`.
pub fn run_text(text: &str) -> Outcome {
    run::run(text)
}

/// Runs every case of a folder (`DIR/*/case.json`) and writes each result to `OUT/<id>.json`.
///
/// # Errors
/// Where the folder cannot be listed or a result cannot be written. A case that cannot be read is part of the report.
pub fn run_dir(dir: &Path, out: &Path) -> Result<Report, FolderError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |error| FolderError { path, error }
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail(dir))? {
        let entry = entry.map_err(fail(dir))?;
        if entry.path().join("case.json").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    fs::create_dir_all(out).map_err(fail(out))?;
    let mut report = Report::default();
    for name in names {
        let file = dir.join(&name).join("case.json");
        let outcome = match fs::read_to_string(&file) {
            Ok(text) => run_text(&text),
            Err(error) => Outcome::Failed(Trouble { place: "case.json".to_owned(), why: error.to_string() }),
        };
        let result = out.join(format!("{name}.json"));
        if let Outcome::Ran(value) = &outcome {
            fs::write(&result, format!("{value:#}\n")).map_err(fail(&result))?;
        } else if result.exists() {
            // A result of an earlier run is not this run's.
            fs::remove_file(&result).map_err(fail(&result))?;
        }
        report.cases.push((name, file, outcome));
    }
    Ok(report)
}
