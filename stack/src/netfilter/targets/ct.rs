//! `-j NOTRACK`, `-j CT --notrack`; zones, helpers and timeouts of CT are not modelled.

use super::{Act, Done};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::matches::Extension;
use crate::netfilter::ruleset::Base;
use crate::skb::Ct;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CtTarget {
    old_name: bool,
    notrack: bool,
}

impl CtTarget {
    pub(crate) fn new(name: &str) -> CtTarget {
        CtTarget { old_name: name == "NOTRACK", notrack: name == "NOTRACK" }
    }

    /// Only a template does.
    pub(crate) fn needs_conntrack(&self) -> bool {
        !self.notrack
    }

    pub(crate) fn act(&self, act: &mut Act<'_, '_>) -> Done {
        if self.notrack && act.skb.ct == Ct::None {
            act.skb.ct = Ct::Untracked;
        }
        Done::Continue
    }
}

impl Extension for CtTarget {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        match option {
            "--notrack" if !self.old_name => self.notrack = true,
            "--zone" | "--zone-orig" | "--zone-reply" | "--helper" | "--timeout" | "--ctevents" | "--expevents"
                if !self.old_name =>
            {
                let word = &args.words[args.option];
                return Err(word.unsupported(format!("pktlab does not model {option} of target CT")));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        Ok(())
    }

    fn print(&self, out: &mut String, _: Family) {
        out.push_str(match (self.old_name, self.notrack) {
            (true, _) => " -j NOTRACK",
            (false, true) => " -j CT --notrack",
            (false, false) => " -j CT",
        });
    }
}
