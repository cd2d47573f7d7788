//! pktlab: follow one packet through Linux and Kubernetes.
//!
//! `args` is the command line, `verbs` one file for each verb, `console` what is printed where. What a verb does is in
//! `pktlab-scenarios`; here are arguments and exit codes.

mod args;
mod console;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Verb};
use console::Console;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let console = Console::of(&cli.verb);
    let done = match &cli.verb {
        Verb::Run(args) => verbs::run::run(args, &console),
        Verb::Trace(args) => verbs::trace::run(args, &console),
        Verb::Probe(args) => verbs::probe::run(args, &console),
        Verb::Matrix(args) => verbs::matrix::run(args, &console),
        Verb::Cases(args) => verbs::cases::run(args, &console),
        Verb::Export(args) => verbs::export::run(args, &console),
        Verb::Explain(args) => verbs::explain::run(args, &console),
    };
    ExitCode::from(match done {
        Ok(code) => code,
        Err(problems) => console.problems(&problems),
    })
}
