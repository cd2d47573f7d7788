//! `-m length`: bytes of the IP packet, header included.

use std::fmt::Write as _;

use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Length {
    asked: Option<(u16, u16, bool)>,
}

impl Extension for Length {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        if option != "--length" {
            return Ok(false);
        }
        let not = args.inverted();
        let (lo, hi) = args.range("length", u64::from(u16::MAX))?;
        self.asked = Some((lo as u16, hi as u16, not));
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if self.asked.is_none() { Err("length: option \"--length\" must be specified".into()) } else { Ok(()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        let (lo, hi, not) = self.asked.unwrap_or_default();
        let _ = write!(out, " -m length{} --length ", if not { " !" } else { "" });
        super::print_range(out, lo, hi, ':');
    }
}

impl Test for Length {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let (lo, hi, not) = self.asked.unwrap_or_default();
        let len = look.skb.ip_len();
        (usize::from(lo) <= len && len <= usize::from(hi)) != not
    }
}
