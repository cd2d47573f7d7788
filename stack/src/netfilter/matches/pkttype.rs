//! `-m pkttype`: for whom the frame is.

use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;
use crate::skb::PktType;

const TYPES: &[(&str, PktType)] =
    &[("unicast", PktType::Host), ("broadcast", PktType::Broadcast), ("multicast", PktType::Multicast), ("host", PktType::Host)];

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pkttype {
    asked: Option<(PktType, bool)>,
}

impl Extension for Pkttype {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        if option != "--pkt-type" {
            return Ok(false);
        }
        let not = args.inverted();
        let text = args.value()?;
        let found = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        let &(_, kind) = found.ok_or_else(|| args.bad(format!("Bad packet type '{text}'")))?;
        self.asked = Some((kind, not));
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if self.asked.is_none() { Err("pkttype: option \"--pkt-type\" must be specified".into()) } else { Ok(()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        let (kind, not) = self.asked.unwrap_or_default();
        out.push_str(if not { " -m pkttype ! --pkt-type " } else { " -m pkttype --pkt-type " });
        out.push_str(TYPES.iter().find(|(_, known)| *known == kind).map_or("unicast", |(name, _)| name));
    }
}

impl Test for Pkttype {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let (kind, not) = self.asked.unwrap_or_default();
        (look.skb.pkt_type == kind) != not
    }
}
