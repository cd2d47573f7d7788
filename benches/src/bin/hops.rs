//! One run of the chain as one JSON line: `hops [--routers 8] [--packets 20000] [--delay-us 10] [--trace off|headers|frames]`.
//! `cpu_s` is the process's CPU time (user and system) while packets move, from /proc.

use std::process::ExitCode;

use pktlab_benches::Chain;
use sim_core::{SimTime, TraceMode};

struct Options {
    routers: usize,
    packets: u64,
    delay_us: u64,
    trace: TraceMode,
}

fn options() -> Result<Options, String> {
    let mut options = Options { routers: 8, packets: 20_000, delay_us: 10, trace: TraceMode::Off };
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{flag} takes a number, not `{value}`"));
        match flag.as_str() {
            "--routers" => options.routers = usize::try_from(number()?).map_err(|error| error.to_string())?,
            "--packets" => options.packets = number()?,
            "--delay-us" => options.delay_us = number()?,
            "--trace" => {
                options.trace = match value.as_str() {
                    "off" => TraceMode::Off,
                    "headers" => TraceMode::Headers,
                    "frames" => TraceMode::Frames,
                    other => return Err(format!("--trace takes off, headers or frames, not `{other}`")),
                }
            }
            other => return Err(format!("unknown option {other}")),
        }
    }
    if options.routers == 0 || options.routers > 200 {
        return Err("--routers takes 1 to 200".to_owned());
    }
    Ok(options)
}

/// CPU time of this process so far, in nanoseconds (Linux).
fn cpu_ns() -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/self/schedstat").map_err(|error| format!("/proc/self/schedstat: {error}"))?;
    let first = text.split_whitespace().next().unwrap_or_default();
    first.parse().map_err(|_| "/proc/self/schedstat is not what proc(5) says".to_owned())
}

fn main() -> ExitCode {
    match options().and_then(|options| {
        let mut chain = Chain::new(options.routers, SimTime::from_micros(options.delay_us), options.trace);
        let before = cpu_ns()?;
        let counters = chain.send(options.packets);
        let cpu_s = (cpu_ns()? - before) as f64 / 1e9;
        println!(
            "{{\"peer\":\"pktlab\",\"case\":\"chain{}\",\"unit\":\"hop\",\"work\":{},\"packets\":{},\"records\":{},\"cpu_s\":{cpu_s:.6},\"ns_per_hop\":{:.1}}}",
            options.routers,
            counters.hops,
            counters.sent,
            counters.records,
            cpu_s * 1e9 / counters.hops as f64
        );
        Ok(())
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("hops: {message}");
            ExitCode::from(2)
        }
    }
}
