//! `pktlab trace --from END --to END`.

use scenarios::ends::End;
use scenarios::expect::Expect;
use scenarios::explore::explore;
use scenarios::question::Question;
use scenarios::report::{self, TraceReport};
use scenarios::{Problem, Problems};
use sim_core::TraceMode;

use crate::args::{Format, QuestionArgs, TraceArgs};
use crate::console::Console;

pub(crate) fn run(args: &TraceArgs, console: &Console) -> Result<u8, Problems> {
    let question = question(&args.question)?;
    let loaded = args.input.input().load()?;
    console.coverage(&loaded);
    let mut world = loaded.converged(TraceMode::Headers)?;
    let asked = if args.explore { explore(&loaded, &question)? } else { world.ask(&question)? };
    console.assumptions(&world);
    match console.format {
        Format::Text => console.print(report::text(&asked, &console.options(args.explain)))?,
        Format::Json | Format::Ndjson => console.json(&TraceReport::of(&asked, loaded.seed, &world.coverage))?,
    }
    Ok(report::exit_code([&asked.answer]))
}

/// The question of the flags; every mistake in it at once.
pub(crate) fn question(args: &QuestionArgs) -> Result<Question, Problems> {
    let mut problems = Vec::new();
    let mut end = |flag: &str, text: &str| match text.parse::<End>() {
        Ok(end) => Some(end),
        Err(error) => {
            problems.push(Problem::of_end(flag, text, &error));
            None
        }
    };
    let (from, to) = (end("--from", &args.from), end("--to", &args.to));
    let via = args.via.as_ref().map(|text| end("--via", text));
    let expect = args
        .expect
        .as_ref()
        .and_then(|text| Expect::parse(text).map_err(|error| problems.push(Problem::of_end("--expect", text, &error))).ok());
    match (from, to) {
        (Some(from), Some(to)) if problems.is_empty() => Ok(Question {
            proto: args.proto.map(Into::into),
            sport: args.sport,
            via: via.flatten(),
            expect,
            ..Question::new(from, to)
        }),
        _ => Err(Problems(problems)),
    }
}
