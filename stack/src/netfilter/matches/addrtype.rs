//! `-m addrtype`: what an address is to this namespace (`net/netfilter/xt_addrtype.c`, revision 1).

use std::net::IpAddr;

use super::{Extension, Look, Test, at};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;
use crate::route::{self, RouteKind};

const TYPES: [&str; 12] = [
    "UNSPEC",
    "UNICAST",
    "LOCAL",
    "BROADCAST",
    "ANYCAST",
    "MULTICAST",
    "BLACKHOLE",
    "UNREACHABLE",
    "PROHIBIT",
    "THROW",
    "NAT",
    "XRESOLVE",
];
const UNSPEC: u16 = 1;
const UNICAST: u16 = 1 << 1;
const LOCAL: u16 = 1 << 2;
const ANYCAST: u16 = 1 << 4;
const MULTICAST: u16 = 1 << 5;
const UNREACHABLE: u16 = 1 << 7;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Addrtype {
    src: Option<(u16, bool)>,
    dst: Option<(u16, bool)>,
    limit_in: bool,
    limit_out: bool,
}

impl Addrtype {
    pub(crate) fn hooks(&self) -> u8 {
        let not_in = if self.limit_in { at::OUT | at::POST } else { 0 };
        let not_out = if self.limit_out { at::PRE | at::IN } else { 0 };
        at::ALL & !not_in & !not_out
    }
}

fn types(args: &mut Args<'_, '_>) -> Parsed<(u16, bool)> {
    let not = args.inverted();
    let text = args.value()?;
    let mut bits = 0;
    for word in text.split(',') {
        let Some(at) = TYPES.iter().position(|name| name.eq_ignore_ascii_case(word)) else {
            return Err(args.bad(format!("addrtype: bad type \"{word}\"")));
        };
        bits |= 1 << at;
    }
    Ok((bits, not))
}

impl Extension for Addrtype {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        match option {
            "--src-type" => self.src = Some(types(args)?),
            "--dst-type" => self.dst = Some(types(args)?),
            "--limit-iface-in" => self.limit_in = true,
            "--limit-iface-out" => self.limit_out = true,
            _ => return Ok(false),
        }
        if self.limit_in && self.limit_out {
            return Err(args.bad_option("addrtype: only one of --limit-iface-in, --limit-iface-out is allowed"));
        }
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if self.src.is_none() && self.dst.is_none() {
            return Err("addrtype: you must specify --src-type or --dst-type".into());
        }
        Ok(())
    }

    fn print(&self, out: &mut String, _: Family) {
        out.push_str(" -m addrtype");
        for (name, asked) in [("--src-type", self.src), ("--dst-type", self.dst)] {
            let Some((bits, not)) = asked else { continue };
            out.push_str(if not { " ! " } else { " " });
            out.push_str(name);
            let mut separator = ' ';
            for (at, word) in TYPES.iter().enumerate() {
                if bits & (1 << at) != 0 {
                    out.push(separator);
                    out.push_str(word);
                    separator = ',';
                }
            }
        }
        if self.limit_in {
            out.push_str(" --limit-iface-in");
        }
        if self.limit_out {
            out.push_str(" --limit-iface-out");
        }
    }
}

impl Test for Addrtype {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let dev = if self.limit_in {
            look.state.indev
        } else if self.limit_out {
            look.state.outdev
        } else {
            None
        };
        let fits = |address: IpAddr, asked: Option<(u16, bool)>| {
            asked.is_none_or(|(bits, not)| {
                let kind = route::address_type(look.ns, address, dev);
                match address {
                    IpAddr::V4(_) => (bits & bit(kind) != 0) != not,
                    IpAddr::V6(_) => fits6(address, bits, kind) != not,
                }
            })
        };
        fits(look.skb.src(), self.src) && fits(look.skb.dst(), self.dst)
    }
}

fn bit(kind: RouteKind) -> u16 {
    match kind {
        RouteKind::Unicast | RouteKind::None => UNICAST,
        RouteKind::Local => LOCAL,
        RouteKind::Broadcast => 1 << 3,
        RouteKind::Multicast => MULTICAST,
        RouteKind::Blackhole => 1 << 6,
        RouteKind::Unreachable => UNREACHABLE,
        RouteKind::Prohibit => 1 << 8,
    }
}

/// `match_type6`: unlike IPv4, `UNICAST` is also true of a local address.
fn fits6(address: IpAddr, bits: u16, kind: RouteKind) -> bool {
    let multicast = address.is_multicast();
    if bits & MULTICAST != 0 && !multicast || bits & UNICAST != 0 && (multicast || address.is_unspecified()) {
        return false;
    }
    if bits & UNSPEC != 0 && !address.is_unspecified() {
        return false;
    }
    if bits & (LOCAL | ANYCAST | UNREACHABLE) == 0 {
        return true;
    }
    let found = match kind {
        RouteKind::Local => LOCAL,
        RouteKind::Unreachable | RouteKind::None | RouteKind::Prohibit | RouteKind::Blackhole => UNREACHABLE,
        _ => 0,
    };
    bits & found != 0
}
