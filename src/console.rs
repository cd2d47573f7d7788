//! What is printed where: answers to standard output, mistakes to standard error (or as JSON to standard output).

use std::io::{ErrorKind, IsTerminal, Write};

use scenarios::load::Loaded;
use scenarios::render::{TextOptions, WIDTH};
use scenarios::{Problem, Problems, World};
use serde::Serialize;

use crate::args::{Explain, Format, OutputArgs, Verb, When};

/// How to print.
pub(crate) struct Console {
    pub(crate) format: Format,
    pub(crate) color: bool,
    verbose: bool,
}

impl Console {
    pub(crate) fn of(verb: &Verb) -> Console {
        let args = match verb {
            Verb::Run(args) => args.output,
            Verb::Trace(args) => args.output,
            Verb::Probe(args) => args.output,
            Verb::Matrix(args) => args.output,
            Verb::Export(args) => args.output,
            Verb::Cases(_) | Verb::Explain(_) => OutputArgs::default(),
        };
        let color = match args.color {
            When::Always => true,
            When::Never => false,
            When::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Console { format: args.output, color, verbose: args.verbose }
    }

    pub(crate) fn options(&self, explain: Explain) -> TextOptions {
        TextOptions { width: WIDTH, color: self.color, full: explain == Explain::Full }
    }

    /// Prints to standard output. A reader that has gone away wants no more: that is no failure.
    pub(crate) fn print(&self, bytes: impl AsRef<[u8]>) -> Result<(), Problems> {
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes.as_ref()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Problem::whole("standard output", error.to_string()).into()),
        }
    }

    /// One JSON document: over several lines, or on one.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Problems> {
        let text = match self.format {
            Format::Ndjson => serde_json::to_string(value),
            Format::Json | Format::Text => serde_json::to_string_pretty(value),
        };
        self.print(text.expect("our reports have string keys only") + "\n")
    }

    /// What was read and what of it has no effect, where that was asked for; fields that no object has, always.
    pub(crate) fn coverage(&self, loaded: &Loaded) {
        let Some(report) = loaded.cluster.as_ref().map(|cluster| &cluster.report) else { return };
        let mut err = std::io::stderr();
        match (self.format, self.verbose) {
            (Format::Json | Format::Ndjson, _) => {}
            (Format::Text, true) => {
                let _ = write!(err, "{report}");
            }
            (Format::Text, false) => {
                for file in &report.files {
                    for note in &file.warnings {
                        let (line, column) = (note.pos.line, note.pos.column);
                        let _ = writeln!(err, "warning: {}:{line}:{column}: {}: {}", file.file, note.path, note.text);
                    }
                }
            }
        }
    }

    /// What every answer rests on, where that was asked for.
    pub(crate) fn assumptions(&self, world: &World) {
        if self.verbose && self.format == Format::Text {
            for assumption in &world.assumptions {
                let _ = writeln!(std::io::stderr(), "assuming: {assumption}");
            }
        }
    }

    /// Prints what is wrong; the exit code.
    pub(crate) fn problems(&self, problems: &Problems) -> u8 {
        match self.format {
            Format::Text => {
                let color = self.color && std::io::stderr().is_terminal();
                let _ = write!(std::io::stderr(), "{}", problems.render(color));
            }
            Format::Json | Format::Ndjson => {
                if self.json(&problems.report()).is_err() {
                    return problems.exit_code();
                }
            }
        }
        problems.exit_code()
    }
}
