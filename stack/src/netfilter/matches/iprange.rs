//! `-m iprange`: addresses from one to another.

use std::fmt::Write as _;

use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::{Base, aligned, unaligned};

type Asked = Option<(u128, u128, bool)>;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Iprange {
    src: Asked,
    dst: Asked,
}

fn range(args: &mut Args<'_, '_>) -> Parsed<Asked> {
    let not = args.inverted();
    let text = args.value()?;
    let (lo, hi) = text.split_once('-').unwrap_or((text, text));
    let bad = |_| args.bad(format!("iprange match: Bad IP address `{text}'"));
    Ok(Some((aligned(args.address(lo).map_err(bad)?), aligned(args.address(hi).map_err(bad)?), not)))
}

impl Extension for Iprange {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        match option {
            "--src-range" => self.src = range(args)?,
            "--dst-range" => self.dst = range(args)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if self.src.is_none() && self.dst.is_none() {
            return Err("iprange match: You must specify `--src-range' or `--dst-range'".into());
        }
        Ok(())
    }

    fn print(&self, out: &mut String, family: Family) {
        out.push_str(" -m iprange");
        for (name, asked) in [("--src-range", self.src), ("--dst-range", self.dst)] {
            let Some((lo, hi, not)) = asked else { continue };
            let not = if not { " !" } else { "" };
            let _ = write!(out, "{not} {name} {}-{}", unaligned(lo, family), unaligned(hi, family));
        }
    }
}

impl Test for Iprange {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let fits = |asked: Asked, address: u128| asked.is_none_or(|(lo, hi, not)| (lo <= address && address <= hi) != not);
        fits(self.src, look.seen.src) && fits(self.dst, look.seen.dst)
    }
}
