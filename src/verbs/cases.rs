//! `pktlab cases run DIR --out OUT`.

use scenarios::cases::{FolderError, run_dir};
use scenarios::{Problem, Problems};

use crate::args::{CasesAction, CasesArgs};
use crate::console::Console;

pub(crate) fn run(args: &CasesArgs, console: &Console) -> Result<u8, Problems> {
    let CasesAction::Run { dir, out } = &args.action;
    let cannot = |error: FolderError| Problem::whole(error.path.to_string_lossy(), error.error.to_string());
    let report = run_dir(dir, out).map_err(cannot)?;
    if report.cases.is_empty() {
        let problem = Problem::whole(dir.to_string_lossy(), "holds no case");
        return Err(problem.help("a case is a folder with a case.json in it").into());
    }
    console.print(report.to_string())?;
    let (_, unsupported, failed) = report.counts();
    // Input that is wrong outranks input that is not modelled.
    Ok(if failed > 0 {
        2
    } else if unsupported > 0 {
        3
    } else {
        0
    })
}
