//! `-m udp` (`net/netfilter/xt_tcpudp.c`).

use super::{Extension, Look, Ports, Test};
use crate::addr::Family;
use crate::netfilter::Variant;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;
use crate::view::proto;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Udp(pub(crate) Ports);

impl Extension for Udp {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        self.0.option(option, args)
    }

    fn finish(&self, base: &Base, _: Family) -> Result<(), String> {
        if base.is_proto(proto::UDP) { Ok(()) } else { Err("UDP match requires '-p udp'".into()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        out.push_str(" -m udp");
        self.0.print(out);
    }
}

impl Test for Udp {
    /// `udp_mt`.
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        if look.seen.fragment_offset != 0 {
            return false;
        }
        let udp = look.skb.transport();
        let legacy = look.ns.netfilter.get(look.state.family).variant(look.table) == Variant::Legacy;
        if udp.len() < 8 && legacy {
            look.hot_drop = true;
            return false;
        }
        let Some(ports) = udp.get(..4) else { return false };
        self.0.fit(u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]]))
    }
}
