//! `-m rpfilter`: would an answer leave through the device that the packet came in by (`net/ipv4/netfilter/ipt_rpfilter.c`)?

use std::net::IpAddr;

use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::route::{self, Flow, RouteKind};

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Rpfilter {
    loose: bool,
    validmark: bool,
    accept_local: bool,
    invert: bool,
}

impl Extension for Rpfilter {
    fn option(&mut self, option: &str, _: &mut Args<'_, '_>) -> Parsed<bool> {
        match option {
            "--loose" => self.loose = true,
            "--validmark" => self.validmark = true,
            "--accept-local" => self.accept_local = true,
            "--invert" => self.invert = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn print(&self, out: &mut String, _: Family) {
        out.push_str(" -m rpfilter");
        for (on, name) in [
            (self.loose, " --loose"),
            (self.validmark, " --validmark"),
            (self.accept_local, " --accept-local"),
            (self.invert, " --invert"),
        ] {
            out.push_str(if on { name } else { "" });
        }
    }
}

impl Test for Rpfilter {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        self.plausible(look) != self.invert
    }
}

impl Rpfilter {
    fn plausible(&self, look: &mut Look<'_, '_>) -> bool {
        let Some(indev) = look.state.indev else { return true };
        if look.ns.devices.get(indev).is_loopback() {
            return true;
        }
        let (src, dst) = (look.skb.src(), look.skb.dst());
        let own = match dst {
            IpAddr::V4(v4) => !v4.is_multicast() && !v4.is_broadcast() && v4.octets()[0] != 0,
            IpAddr::V6(v6) => !v6.is_multicast(),
        };
        let family = look.state.family;
        let flow = Flow {
            family,
            src: if own { dst } else { family.unspecified() },
            dst: src,
            iif: DevId::NONE,
            oif: DevId::NONE,
            mark: if self.validmark { look.skb.mark } else { 0 },
            tos: look.skb.tos(),
            proto: look.skb.l4proto,
            sport: 0,
            dport: 0,
            uid: 0,
        };
        let route = route::route_output(look.ns, look.cx, &flow);
        match route.kind {
            RouteKind::Unicast => self.loose || route.dev == indev,
            RouteKind::Local => self.accept_local,
            _ => false,
        }
    }
}
