//! `pktlab matrix`.

use scenarios::{Problems, matrix};

use crate::args::{Format, MatrixArgs};
use crate::console::Console;

pub(crate) fn run(args: &MatrixArgs, console: &Console) -> Result<u8, Problems> {
    let loaded = args.input.input().load()?;
    console.coverage(&loaded);
    let matrix = matrix::matrix(&loaded)?;
    match console.format {
        Format::Text => console.print(matrix.text())?,
        Format::Json | Format::Ndjson => console.json(&matrix)?,
    }
    Ok(matrix.exit_code())
}
