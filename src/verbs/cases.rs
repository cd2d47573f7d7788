//! `pktlab cases run DIR --out OUT`.

use scenarios::Problems;

use crate::args::CasesArgs;
use crate::console::Console;

pub(crate) fn run(args: &CasesArgs, console: &Console) -> Result<u8, Problems> {
    let _ = (args, console);
    Err(scenarios::Problem::whole("cases run", "is not here yet").unsupported().into())
}
