//! Runs a folder of kernel cases: `cargo run -p pktlab-scenarios --example cases -- DIR OUT`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let [_, dir, out] = args.as_slice() else {
        eprintln!("usage: cases DIR OUT");
        return ExitCode::from(2);
    };
    match pktlab_scenarios::cases::run_dir(Path::new(dir), Path::new(out)) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
