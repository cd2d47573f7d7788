//! DNAT, SNAT, MASQUERADE, REDIRECT, NETMAP: each names a range; connection tracking chooses within it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Act, Done};
use crate::addr::Family;
use crate::conntrack::nat::{self, Manip, NatRange};
use crate::dev::device::{DevId, Device};
use crate::drop_reason::DropReason;
use crate::netfilter::hook::Hook;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::iptables::parse;
use crate::netfilter::matches::{Extension, at};
use crate::netfilter::ruleset::{Base, Net, aligned, unaligned};
use crate::netns::Netns;
use crate::skb::Ct;
use crate::trace::CtInfo;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Dnat,
    Snat,
    Masquerade,
    Redirect,
    Netmap,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Nat {
    kind: Kind,
    range: NatRange,
    /// Of NETMAP.
    net: Option<Net>,
    set: bool,
}

/// TCP, UDP, SCTP, DCCP, UDP-Lite: what a port may be named for.
const WITH_PORTS: [u8; 5] = [6, 17, 132, 33, 136];

impl Nat {
    pub(crate) fn new(name: &str) -> Option<Nat> {
        let kind = match name {
            "DNAT" => Kind::Dnat,
            "SNAT" => Kind::Snat,
            "MASQUERADE" => Kind::Masquerade,
            "REDIRECT" => Kind::Redirect,
            "NETMAP" => Kind::Netmap,
            _ => return None,
        };
        Some(Nat { kind, range: NatRange::default(), net: None, set: false })
    }

    pub(crate) fn hooks(&self) -> u8 {
        match self.kind {
            Kind::Dnat | Kind::Redirect => at::PRE | at::OUT,
            Kind::Snat => at::POST | at::IN,
            Kind::Masquerade => at::POST,
            Kind::Netmap => at::PRE | at::OUT | at::POST | at::IN,
        }
    }

    fn needs_ports(&self, args: &Args<'_, '_>) -> Parsed<()> {
        if WITH_PORTS.contains(&args.proto) {
            return Ok(());
        }
        Err(args.bad("Need TCP, UDP, SCTP or DCCP with port specification").help("put -p tcp, -p udp, ... before the target"))
    }

    /// `addr[-addr][:port[-port][/base]]`, `[v6[-v6]]:port`, `:port`.
    fn destination(&mut self, args: &Args<'_, '_>, text: &str) -> Parsed<()> {
        let (addresses, ports) = split_ports(text, args.family);
        if let Some(ports) = ports {
            self.needs_ports(args)?;
            self.ports(args, ports)?;
        }
        if !addresses.is_empty() {
            let (lo, hi) = addresses.split_once('-').unwrap_or((addresses, addresses));
            self.range.addresses = Some((args.address(lo)?, args.address(hi)?));
        } else if ports.is_none() {
            return Err(args.bad(format!("Bad IP address \"{text}\"")));
        }
        Ok(())
    }

    fn ports(&mut self, args: &Args<'_, '_>, text: &str) -> Parsed<()> {
        let (range, base) = text.split_once('/').map_or((text, None), |(range, base)| (range, Some(base)));
        let (lo, hi) = range.split_once('-').unwrap_or((range, range));
        let port = |text: &str| {
            let named = text.parse::<u16>().ok().or_else(|| crate::netfilter::iptables::names::service(text));
            named.filter(|&port| port > 0).ok_or_else(|| args.bad(format!("Port `{text}' not valid")))
        };
        let (lo, hi) = (port(lo)?, port(hi)?);
        if lo > hi {
            return Err(args.bad(format!("Port range `{range}' funky")));
        }
        self.range.ports = Some((lo, hi));
        if let Some(base) = base {
            if self.kind != Kind::Dnat {
                return Err(args.bad(format!("Port `{text}' not valid")));
            }
            self.range.base_port = Some(port(base)?);
        }
        Ok(())
    }
}

/// Cuts off the ports, and the brackets of IPv6.
fn split_ports(text: &str, family: Family) -> (&str, Option<&str>) {
    match family {
        Family::V4 => text.split_once(':').map_or((text, None), |(addresses, ports)| (addresses, Some(ports))),
        Family::V6 => match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((addresses, rest)) => (addresses, rest.strip_prefix(':')),
            None => match text.strip_prefix(':') {
                Some(ports) if !ports.contains(':') => ("", Some(ports)),
                _ => (text, None),
            },
        },
    }
}

impl Extension for Nat {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        match (self.kind, option) {
            (Kind::Dnat, "--to-destination" | "--to") | (Kind::Snat, "--to-source" | "--to") => {
                if self.set {
                    let name = if self.kind == Kind::Dnat { "DNAT" } else { "SNAT" };
                    return Err(args.bad_option(format!("{name}: Multiple {option} not supported")));
                }
                let text = args.value()?;
                self.destination(args, text)?;
                self.set = true;
            }
            (Kind::Masquerade | Kind::Redirect, "--to-ports" | "--to-port") => {
                let text = args.value()?;
                self.needs_ports(args)?;
                self.ports(args, text)?;
            }
            (Kind::Netmap, "--to") => {
                let text = args.value()?;
                let nets = parse::networks(args, text)?;
                let [net] = nets[..] else { return Err(args.bad(format!("Bad IP address \"{text}\""))) };
                self.net = Some(net);
            }
            (Kind::Dnat | Kind::Snat | Kind::Masquerade | Kind::Redirect, "--random") => self.range.random = true,
            (Kind::Snat | Kind::Masquerade, "--random-fully") => self.range.random_fully = true,
            (Kind::Dnat | Kind::Snat, "--persistent") => self.range.persistent = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        match self.kind {
            Kind::Dnat if !self.set => Err("DNAT: option \"--to-destination\" must be specified".into()),
            Kind::Snat if !self.set => Err("SNAT: option \"--to-source\" must be specified".into()),
            Kind::Netmap if self.net.is_none() => Err("NETMAP: option \"--to\" must be specified".into()),
            _ => Ok(()),
        }
    }

    fn print(&self, out: &mut String, family: Family) {
        out.push_str(match self.kind {
            Kind::Dnat => " -j DNAT --to-destination ",
            Kind::Snat => " -j SNAT --to-source ",
            Kind::Masquerade => " -j MASQUERADE",
            Kind::Redirect => " -j REDIRECT",
            Kind::Netmap => " -j NETMAP --to ",
        });
        match self.kind {
            Kind::Netmap => parse::print_net(out, self.net.unwrap_or_default(), family, false),
            Kind::Dnat | Kind::Snat => self.print_destination(out),
            Kind::Masquerade | Kind::Redirect => {
                if self.range.ports.is_some() {
                    out.push_str(" --to-ports ");
                    self.print_ports(out);
                }
            }
        }
        for (on, name) in [
            (self.range.random, " --random"),
            (self.range.random_fully, " --random-fully"),
            (self.range.persistent, " --persistent"),
        ] {
            out.push_str(if on { name } else { "" });
        }
    }
}

impl Nat {
    fn print_destination(&self, out: &mut String) {
        let bracket = self.range.ports.is_some() && matches!(self.range.addresses, Some((IpAddr::V6(_), _)));
        if let Some((lo, hi)) = self.range.addresses {
            out.push_str(if bracket { "[" } else { "" });
            let _ = write!(out, "{lo}");
            if hi != lo {
                let _ = write!(out, "-{hi}");
            }
            out.push_str(if bracket { "]" } else { "" });
        }
        if self.range.ports.is_some() {
            out.push(':');
            self.print_ports(out);
        }
    }

    fn print_ports(&self, out: &mut String) {
        let (lo, hi) = self.range.ports.unwrap_or_default();
        crate::netfilter::matches::print_range(out, lo, hi, '-');
        if let Some(base) = self.range.base_port {
            let _ = write!(out, "/{base}");
        }
    }

    pub(crate) fn act(&self, act: &mut Act<'_, '_>) -> Done {
        let Ct::Entry(id, info) = act.skb.ct else { return Done::Continue };
        if !matches!(info, CtInfo::New | CtInfo::Related | CtInfo::RelatedReply) {
            return Done::Continue;
        }
        let Some(manip) = Manip::of_hook(act.state.hook) else { return Done::Continue };
        let Some(range) = self.chosen(act, manip) else { return Done::Drop(DropReason::NetfilterDrop) };
        match nat::setup_info(act.ns, act.cx, id, &range, manip) {
            Ok(()) => {
                if let (Kind::Masquerade, Some(out)) = (self.kind, act.state.outdev) {
                    nat::set_masq_device(act.ns, id, out);
                }
                Done::Nat
            }
            Err(reason) => Done::Drop(reason),
        }
    }

    /// The range, with what only the packet and the devices know; none where there is no address to take.
    fn chosen(&self, act: &Act<'_, '_>, manip: Manip) -> Option<NatRange> {
        let one = |address: IpAddr| NatRange { addresses: Some((address, address)), ..self.range };
        match self.kind {
            Kind::Dnat | Kind::Snat => Some(self.range),
            Kind::Masquerade => masquerade_address(act).map(one),
            Kind::Redirect => redirect_address(act).map(one),
            Kind::Netmap => {
                let net = self.net.unwrap_or_default();
                let old = aligned(if manip == Manip::Dst { act.skb.dst() } else { act.skb.src() });
                Some(one(unaligned((old & !net.mask) | net.addr, act.state.family)))
            }
        }
    }
}

/// `RT_SCOPE_LINK`: an address of this scope or a narrower one is no source for what goes further.
const SCOPE_LINK: u8 = 253;

/// The addresses of a device that something outside may be answered from.
fn candidates(device: &Device, family: Family) -> impl Iterator<Item = (IpAddr, u8, u8)> + '_ {
    device
        .addrs
        .iter()
        .filter(move |a| Family::of(a.address) == family && !(family == Family::V4 && a.secondary))
        .map(|a| (a.address, a.prefix_len, a.scope))
}

fn shares_prefix(address: IpAddr, len: u8, with: IpAddr) -> bool {
    (aligned(address) ^ aligned(with)).checked_shr(128 - u32::from(len)).unwrap_or(0) == 0
}

/// `nf_nat_masquerade_ipv4`: `inet_select_addr(out, next hop, RT_SCOPE_UNIVERSE)`, whatever the route's `src` says;
/// `nf_nat_masquerade_ipv6`: `ipv6_dev_get_saddr`.
pub(crate) fn masquerade_address(act: &Act<'_, '_>) -> Option<IpAddr> {
    let out = act.state.outdev?;
    let dst = act.skb.dst();
    let hop = act.skb.route.and_then(|route| route.via).filter(|via| Family::of(*via) == act.state.family).unwrap_or(dst);
    match act.state.family {
        Family::V4 => {
            let device = act.ns.devices.get(out);
            let wide = |&(_, _, scope): &(IpAddr, u8, u8)| scope < SCOPE_LINK;
            let near = candidates(device, Family::V4).filter(wide).find(|&(a, len, _)| shares_prefix(a, len, hop));
            let first = || candidates(device, Family::V4).find(wide);
            let elsewhere = || act.ns.devices.iter().find_map(|device| candidates(device, Family::V4).find(wide));
            near.or_else(first).or_else(elsewhere).map(|(address, ..)| address)
        }
        Family::V6 => source_address6(act.ns, out, dst),
    }
}

/// RFC 6724, as far as devices here differ: scope first, then the longest common prefix.
fn source_address6(ns: &Netns, out: DevId, dst: IpAddr) -> Option<IpAddr> {
    let local = |address: IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let best = |device: &Device| {
        candidates(device, Family::V6)
            .filter(|&(address, ..)| !address.is_loopback())
            .max_by_key(|&(address, len, _)| {
                let common = (aligned(address) ^ aligned(dst)).leading_zeros().min(u32::from(len));
                (address == dst, local(address) == local(dst), common)
            })
            .map(|(address, ..)| address)
    };
    let here = best(ns.devices.get(out));
    let far = |address: &IpAddr| local(*address) && !local(dst);
    match here {
        Some(address) if !far(&address) => Some(address),
        _ => ns.devices.iter().filter(|device| device.id != out).find_map(|d| best(d).filter(|a| !far(a))).or(here),
    }
}

/// `nf_nat_redirect_ipv4`, `nf_nat_redirect_ipv6`: loopback for our own packets, else the first address of the input device.
pub(crate) fn redirect_address(act: &Act<'_, '_>) -> Option<IpAddr> {
    if act.state.hook == Hook::Output {
        return Some(match act.state.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    let device = act.ns.devices.get(act.state.indev?);
    let dst = act.skb.dst();
    let scope = |address: IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let mut all = device.addrs.iter().map(|a| a.address).filter(|a| Family::of(*a) == act.state.family);
    match act.state.family {
        Family::V4 => all.next(),
        Family::V6 => all.find(|address| scope(*address) == scope(dst)),
    }
}
