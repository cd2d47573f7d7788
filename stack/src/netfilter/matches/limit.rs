//! `-m limit`: a token bucket (`net/netfilter/xt_limit.c`).

use std::fmt::Write as _;

use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;

/// Rates are kept in ten-thousandths of a second per packet.
const SCALE: u32 = 10_000;
/// Nanoseconds of one such part.
const NS_PER_PART: u64 = 100_000;
const DEFAULT_BURST: u32 = 5;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limit {
    /// Time between two packets, in 1/10000 s.
    period: u32,
    burst: u32,
    pub(crate) slot: u32,
}

impl Default for Limit {
    fn default() -> Limit {
        Limit { period: 1200 * SCALE, burst: DEFAULT_BURST, slot: 0 }
    }
}

/// `parse_rate`.
fn parse_rate(text: &str) -> Option<u32> {
    let (number, unit) = text.split_once('/').map_or((text, None), |(n, u)| (n, Some(u)));
    let seconds = match unit {
        None => 1,
        Some("") => return None,
        Some(unit) => {
            let units = [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400)];
            let unit = unit.to_ascii_lowercase();
            units.iter().find(|(name, _)| name.starts_with(&unit) || *name == unit).map(|&(_, s)| s)?
        }
    };
    let rate = number.parse::<u32>().ok().filter(|&rate| rate > 0)?;
    Some(SCALE * seconds / rate).filter(|&period| period > 0)
}

impl Extension for Limit {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        match option {
            "--limit" => {
                let text = args.value()?;
                let rate = parse_rate(text).ok_or_else(|| args.bad(format!("bad rate \"{text}\"'")));
                self.period = rate?;
            }
            "--limit-burst" => self.burst = args.number("limit", 10_000)? as u32,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn print(&self, out: &mut String, _: Family) {
        const UNITS: [(&str, u32); 4] = [("day", 86_400 * SCALE), ("hour", 3600 * SCALE), ("min", 60 * SCALE), ("sec", SCALE)];
        let mut unit = UNITS[0];
        for next in &UNITS[1..] {
            if self.period > next.1 || next.1 / self.period < next.1 % self.period {
                break;
            }
            unit = *next;
        }
        let _ = write!(out, " -m limit --limit {}/{}", unit.1 / self.period, unit.0);
        if self.burst != DEFAULT_BURST {
            let _ = write!(out, " --limit-burst {}", self.burst);
        }
    }
}

impl Test for Limit {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let now = look.cx.now().0;
        let cost = u64::from(self.period) * NS_PER_PART;
        let cap = cost.saturating_mul(u64::from(self.burst));
        let [credit, before] = look.slot(self.slot);
        *credit = if *before == u64::MAX { cap } else { credit.saturating_add(now - *before).min(cap) };
        *before = now;
        if *credit < cost {
            return false;
        }
        *credit -= cost;
        true
    }
}
