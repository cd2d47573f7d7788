//! `-m mark`: `skb->mark`.

use super::{Extension, Look, Test, print_mark};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark {
    pub(crate) mark: Option<(u32, u32)>,
    pub(crate) not: bool,
}

impl Mark {
    /// Takes `--mark`, also for `connmark`.
    pub(crate) fn read(&mut self, name: &str, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        if option != "--mark" {
            return Ok(false);
        }
        self.not = args.inverted();
        self.mark = Some(args.mark(name)?);
        Ok(true)
    }

    pub(crate) fn write(&self, name: &str, out: &mut String) {
        let (value, mask) = self.mark.unwrap_or_default();
        out.push_str(" -m ");
        out.push_str(name);
        out.push_str(if self.not { " ! --mark " } else { " --mark " });
        print_mark(out, value, mask);
    }

    pub(crate) fn fits(&self, mark: u32) -> bool {
        let (value, mask) = self.mark.unwrap_or_default();
        (mark & mask == value) != self.not
    }
}

impl Extension for Mark {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        self.read("mark", option, args)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if self.mark.is_none() { Err("mark: option \"--mark\" must be specified".into()) } else { Ok(()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        self.write("mark", out);
    }
}

impl Test for Mark {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        self.fits(look.skb.mark)
    }
}
