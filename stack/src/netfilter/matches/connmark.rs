//! `-m connmark`: the mark of the packet's connection.

use super::mark::Mark;
use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;
use crate::skb::Ct;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Connmark(Mark);

impl Extension for Connmark {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        self.0.read("connmark", option, args)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if self.0.mark.is_none() { Err("connmark: option \"--mark\" must be specified".into()) } else { Ok(()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        self.0.write("connmark", out);
    }
}

impl Test for Connmark {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let Ct::Entry(id, _) = look.skb.ct else { return false };
        look.ns.conntrack.view(id, look.cx.now()).is_some_and(|ct| self.0.fits(ct.mark))
    }
}
