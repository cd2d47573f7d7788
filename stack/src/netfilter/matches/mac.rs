//! `-m mac`: the source of the frame.

use std::fmt::Write as _;

use super::{Extension, Look, Test};
use crate::addr::{Family, Mac};
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;
use crate::view::ETH_HLEN;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct MacSource {
    asked: Option<(Mac, bool)>,
}

impl Extension for MacSource {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        if option != "--mac-source" {
            return Ok(false);
        }
        let not = args.inverted();
        let mac = args.value()?.parse().map_err(|_| args.bad("Invalid MAC address specified."))?;
        self.asked = Some((mac, not));
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if self.asked.is_none() { Err("mac: option \"--mac-source\" must be specified".into()) } else { Ok(()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        let (mac, not) = self.asked.unwrap_or_default();
        let _ = write!(out, " -m mac{} --mac-source {mac}", if not { " !" } else { "" });
    }
}

impl Test for MacSource {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let (mac, not) = self.asked.unwrap_or_default();
        if usize::from(look.skb.l3) < ETH_HLEN {
            return false;
        }
        look.skb.packet.bytes().get(6..12).is_some_and(|source| (source == mac.0) != not)
    }
}
