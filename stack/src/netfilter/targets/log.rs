//! `-j LOG`, `-j NFLOG`: the packet goes on. What the kernel would write is in the trace anyway.

use std::fmt::Write as _;

use crate::addr::Family;
use crate::netfilter::iptables::args::{Args, parse_number};
use crate::netfilter::iptables::lex::{Parsed, save_string};
use crate::netfilter::matches::Extension;
use crate::netfilter::ruleset::Base;

const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"];
/// `warning`.
const DEFAULT_LEVEL: u8 = 4;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Log {
    nflog: bool,
    prefix: String,
    level: u8,
    /// Of `LOG`, in the order in which they are printed.
    flags: [bool; 5],
    /// Of `NFLOG`.
    group: u16,
    size: Option<u32>,
    range: u32,
    threshold: u16,
}

const FLAGS: [&str; 5] = ["--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid", "--log-macdecode"];

impl Log {
    pub(crate) fn new(name: &str) -> Log {
        Log {
            nflog: name == "NFLOG",
            prefix: String::new(),
            level: DEFAULT_LEVEL,
            flags: [false; 5],
            group: 0,
            size: None,
            range: 0,
            threshold: 0,
        }
    }

    fn prefix(&mut self, args: &mut Args<'_, '_>, limit: usize, name: &str) -> Parsed<()> {
        let text = args.value()?;
        if text.contains('\n') {
            return Err(args.bad(format!("{name}: Newlines not allowed in prefix")));
        }
        if text.len() >= limit {
            return Err(args.bad(format!("{name}: Maximum prefix length {} for {name}", limit - 1)));
        }
        text.clone_into(&mut self.prefix);
        Ok(())
    }
}

impl Extension for Log {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        let max = u64::from(u32::MAX);
        match (self.nflog, option) {
            (false, "--log-prefix") => self.prefix(args, 30, "LOG")?,
            (true, "--nflog-prefix") => self.prefix(args, 64, "NFLOG")?,
            (false, "--log-level") => {
                let text = args.value()?;
                let number = parse_number(text).and_then(|n| u8::try_from(n).ok()).filter(|&n| n < 8);
                let named = || match text.to_ascii_lowercase().as_str() {
                    "panic" => Some(0),
                    "err" => Some(3),
                    "warn" => Some(4),
                    word => LEVELS.iter().position(|level| *level == word).map(|at| at as u8),
                };
                self.level = number.or_else(named).ok_or_else(|| args.bad(format!("log-level \"{text}\" unknown")))?;
            }
            (true, "--nflog-group") => self.group = args.number("NFLOG", u64::from(u16::MAX))? as u16,
            (true, "--nflog-size") => self.size = Some(args.number("NFLOG", max)? as u32),
            (true, "--nflog-range") => self.range = args.number("NFLOG", max)? as u32,
            (true, "--nflog-threshold") => self.threshold = args.number("NFLOG", u64::from(u16::MAX))? as u16,
            (false, _) => match FLAGS.iter().position(|flag| *flag == option) {
                Some(at) => self.flags[at] = true,
                None => return Ok(false),
            },
            (true, _) => return Ok(false),
        }
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        Ok(())
    }

    fn print(&self, out: &mut String, _: Family) {
        out.push_str(if self.nflog { " -j NFLOG" } else { " -j LOG" });
        if !self.prefix.is_empty() {
            out.push_str(if self.nflog { " --nflog-prefix " } else { " --log-prefix " });
            save_string(&self.prefix, out);
        }
        if !self.nflog {
            if self.level != DEFAULT_LEVEL {
                let _ = write!(out, " --log-level {}", self.level);
            }
            for (name, _) in FLAGS.iter().zip(self.flags).filter(|(_, on)| *on) {
                out.push(' ');
                out.push_str(name);
            }
            return;
        }
        if self.group != 0 {
            let _ = write!(out, " --nflog-group {}", self.group);
        }
        if let Some(size) = self.size {
            let _ = write!(out, " --nflog-size {size}");
        } else if self.range != 0 {
            let _ = write!(out, " --nflog-range {}", self.range);
        }
        if self.threshold > 1 {
            let _ = write!(out, " --nflog-threshold {}", self.threshold);
        }
    }
}
