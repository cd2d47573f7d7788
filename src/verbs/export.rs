//! `pktlab export FORMAT`.

use scenarios::export::{self, RulesForm};
use scenarios::trace::capture::pcapng;
use scenarios::{Problem, Problems};
use sim_core::TraceMode;

use crate::args::{ExportArgs, ExportFormat, Form, QuestionArgs};
use crate::console::Console;
use crate::verbs::trace::question;

pub(crate) fn run(args: &ExportArgs, console: &Console) -> Result<u8, Problems> {
    let loaded = args.input.input().load()?;
    console.coverage(&loaded);
    let bytes = match args.format {
        ExportFormat::Rules => {
            let form = match (args.form, args.all) {
                (Form::Save, _) => RulesForm::Save,
                (Form::Restore, true) => RulesForm::RestoreAll,
                (Form::Restore, false) => RulesForm::Restore,
            };
            export::rules(loaded.cluster.as_ref(), args.node.as_deref(), args.family, form)?.into_bytes()
        }
        ExportFormat::Commands => {
            export::commands(&loaded.world(TraceMode::Off)?, loaded.scenario.as_ref(), &args.prefix)?.into_bytes()
        }
        ExportFormat::Pcapng => {
            let (Some(from), Some(to)) = (&args.from, &args.to) else {
                let problem = Problem::whole("export pcapng", "a capture is of one exchange");
                return Err(problem.help("say --from END --to END").into());
            };
            let flags =
                QuestionArgs { from: from.clone(), to: to.clone(), proto: args.proto, sport: None, via: None, expect: None };
            let question = question(&flags)?;
            let mut world = loaded.converged(TraceMode::Frames)?;
            world.ask(&question)?;
            pcapng(&world.network)
        }
    };
    match &args.out {
        None => console.print(bytes)?,
        Some(path) => {
            let cannot = |error| Problem::whole(path.to_string_lossy(), format!("cannot be written: {error}"));
            std::fs::write(path, bytes).map_err(cannot)?;
        }
    }
    Ok(0)
}
