//! `-m quota`: matches until so many bytes have passed.

use std::fmt::Write as _;

use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Quota {
    bytes: u64,
    not: bool,
    pub(crate) slot: u32,
}

impl Extension for Quota {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        if option != "--quota" {
            return Ok(false);
        }
        self.not = args.inverted();
        self.bytes = args.number("quota", u64::MAX - 1)?;
        Ok(true)
    }

    fn print(&self, out: &mut String, _: Family) {
        let _ = write!(out, " -m quota{} --quota {}", if self.not { " !" } else { "" }, self.bytes);
    }
}

impl Test for Quota {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let len = look.skb.ip_len() as u64;
        let bytes = self.bytes;
        let left = &mut look.slot(self.slot)[0];
        if *left == u64::MAX {
            *left = bytes;
        }
        let enough = *left >= len;
        // What is too little for one packet is gone.
        *left = if enough { *left - len } else { 0 };
        enough != self.not
    }
}
