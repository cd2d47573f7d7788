//! `pktlab run SCENARIO`.

use scenarios::{Problems, book, run};

use crate::args::{Format, RunArgs};
use crate::console::Console;

pub(crate) fn run(args: &RunArgs, console: &Console) -> Result<u8, Problems> {
    if args.list {
        console.print(book::list())?;
        return Ok(0);
    }
    let given = args.positional.as_ref().or(args.input.scenario.as_ref());
    let file = given.map(|path| book::find(path)).transpose()?;
    let loaded = args.input.input().load_with(file)?;
    console.coverage(&loaded);
    let report = run::run(&loaded)?;
    match console.format {
        Format::Text => console.print(report.text(&console.options(args.explain)))?,
        Format::Json => console.json(&report)?,
        Format::Ndjson => {
            for step in &report.steps {
                console.json(step)?;
            }
        }
    }
    Ok(report.exit_code())
}
