//! `pktlab probe -p PROBES`.

use scenarios::outcome::Answer;
use scenarios::{Problem, Problems, probe, report};
use serde::Serialize;

use crate::args::{Format, ProbeArgs};
use crate::console::Console;

/// The JSON document of all answers.
#[derive(Serialize)]
struct ProbeReport<'a> {
    schema: &'static str,
    model: report::Model,
    seed: u64,
    answers: &'a [Answer],
}

pub(crate) fn run(args: &ProbeArgs, console: &Console) -> Result<u8, Problems> {
    let questions = probe::read(&args.probes)?;
    let loaded = args.input.input().load()?;
    console.coverage(&loaded);
    let mut failed = Ok(());
    let answers = probe::ask(&loaded, &questions, args.explore, |answer| {
        if failed.is_ok() {
            failed = match console.format {
                Format::Text => console.print(report::line(answer) + "\n"),
                Format::Ndjson => console.json(answer),
                Format::Json => Ok(()),
            };
        }
    })?;
    failed?;
    if console.format == Format::Json {
        console.json(&ProbeReport { schema: "pktlab.probe/1", model: report::MODEL, seed: loaded.seed, answers: &answers })?;
    }
    if console.format == Format::Text {
        let expected = answers.iter().filter(|answer| answer.ok.is_some()).count();
        let held = answers.iter().filter(|answer| answer.ok == Some(true)).count();
        console.print(format!("\n{} answers, {held} of {expected} expectations hold\n", answers.len()))?;
        console.print(report::not_modelled(&answers))?;
    }
    if let Some(path) = &args.junit {
        let suite = args.probes.to_string_lossy();
        std::fs::write(path, report::junit(&suite, &answers))
            .map_err(|error| Problem::whole(path.to_string_lossy(), format!("cannot be written: {error}")))?;
    }
    Ok(report::exit_code(&answers))
}
