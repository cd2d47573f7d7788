//! `pktlab explain [CODE]`.

use scenarios::{Problem, Problems, code};

use crate::args::ExplainArgs;
use crate::console::Console;

pub(crate) fn run(args: &ExplainArgs, console: &Console) -> Result<u8, Problems> {
    let Some(wanted) = &args.code else {
        let list: String = code::PAGES.iter().map(|page| format!("{}  {:<11} {}\n", page.code, page.class, page.title)).collect();
        console.print(list)?;
        return Ok(0);
    };
    match code::page(wanted) {
        Some(page) => {
            console.print(page.text())?;
            Ok(0)
        }
        None => Err(Problem::whole(wanted.as_str(), "is no code").help("`pktlab explain` lists them").into()),
    }
}
