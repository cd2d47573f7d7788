//! `-m state`: the older spelling of `conntrack --ctstate`.

use super::conntrack::{parse_states, print_states, state_bit};
use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct State {
    states: u16,
    not: bool,
}

impl Extension for State {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        if option != "--state" {
            return Ok(false);
        }
        self.not = args.inverted();
        let text = args.value()?;
        self.states = parse_states(text, false).ok_or_else(|| args.bad(format!("Bad state \"{text}\"")))?;
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if self.states == 0 { Err("You must specify \"--state\"".into()) } else { Ok(()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        out.push_str(if self.not { " -m state ! --state " } else { " -m state --state " });
        print_states(self.states, out, false);
    }
}

impl Test for State {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        (self.states & state_bit(look.skb.ct) != 0) != self.not
    }
}
