//! `-j TCPMSS` (`net/netfilter/xt_TCPMSS.c`).

use std::fmt::Write as _;

use super::{Act, Done};
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::matches::{Extension, Match, at};
use crate::netfilter::ruleset::Base;
use crate::route::{self, Flow, Route, RouteKind};
use crate::skb::Skb;
use crate::view::{be16, proto, put16, transport_checksum};

const OPTION_MSS: u8 = 2;
/// RFC 1122: what a host that says nothing takes; IPv6's minimum less its headers.
const DEFAULT_MSS4: u16 = 536;
const DEFAULT_MSS6: u16 = 1220;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Size {
    Set(u16),
    Clamp,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tcpmss {
    size: Option<Size>,
}

impl Tcpmss {
    pub(crate) fn hooks(&self) -> u8 {
        if self.size == Some(Size::Clamp) { at::FORWARD | at::OUT | at::POST } else { at::ALL }
    }

    /// `tcpmss_tg4_check`: only on SYN packets.
    pub(crate) fn check(&self, base: &Base, matches: &[Match]) -> Result<(), &'static str> {
        let syn = matches.iter().any(|m| matches!(m, Match::Tcp(tcp) if tcp.is_syn()));
        if base.is_proto(proto::TCP) && syn {
            Ok(())
        } else {
            Err("TCPMSS works only on SYN packets: the rule must say -p tcp and --syn")
        }
    }
}

impl Extension for Tcpmss {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        let size = match option {
            "--set-mss" => Size::Set(args.number("TCPMSS", u64::from(u16::MAX - 40))? as u16),
            "--clamp-mss-to-pmtu" => Size::Clamp,
            _ => return Ok(false),
        };
        if self.size.is_some() {
            return Err(args.bad_option("TCPMSS: only one of --set-mss, --clamp-mss-to-pmtu is allowed"));
        }
        self.size = Some(size);
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if self.size.is_some() { Ok(()) } else { Err("TCPMSS target: At least one parameter is required".into()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        let _ = match self.size {
            Some(Size::Set(mss)) => write!(out, " -j TCPMSS --set-mss {mss}"),
            _ => write!(out, " -j TCPMSS --clamp-mss-to-pmtu"),
        };
    }
}

impl Tcpmss {
    /// `tcpmss_mangle_packet`.
    pub(crate) fn act(&self, act: &mut Act<'_, '_>) -> Done {
        let skb = &*act.skb;
        let end = usize::from(skb.l3) + skb.ip_len();
        let Some(tcp) = skb.packet.bytes().get(usize::from(skb.l4)..end).filter(|tcp| tcp.len() >= 20) else {
            return Done::Drop(DropReason::NetfilterDrop);
        };
        if skb.is_later_fragment() {
            return Done::Continue;
        }
        let header = usize::from(tcp[12] >> 4) * 4;
        if header < 20 || header > tcp.len() {
            return Done::Drop(DropReason::NetfilterDrop);
        }
        let (headers, default) = match act.state.family {
            Family::V4 => (40, DEFAULT_MSS4),
            Family::V6 => (60, DEFAULT_MSS6),
        };
        let found = mss_at(&tcp[..header]);
        let whole = tcp.len() == header;
        let mss = match self.size {
            Some(Size::Set(mss)) => mss,
            _ => {
                let mtu = self.path_mtu(act);
                if mtu <= headers {
                    return Done::Drop(DropReason::NetfilterDrop);
                }
                (mtu - headers).min(u32::from(u16::MAX)) as u16
            }
        };
        match found {
            Some(at) => lower(act.skb, at, mss),
            // A segment with data has no room, and no business, to grow.
            None if whole && header < 60 => append(act.skb, mss.min(default)),
            None => {}
        }
        Done::Continue
    }

    /// The smaller of the path forth and the path back.
    fn path_mtu(&self, act: &mut Act<'_, '_>) -> u32 {
        let flow = Flow {
            family: act.state.family,
            src: act.state.family.unspecified(),
            dst: act.skb.src(),
            iif: DevId::NONE,
            oif: DevId::NONE,
            mark: 0,
            tos: 0,
            proto: 0,
            sport: 0,
            dport: 0,
            uid: 0,
        };
        let back = route::route_output(act.ns, act.cx, &flow);
        let mtu = |route: Route| match route.kind {
            RouteKind::None | RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => u32::MAX,
            _ if route.mtu > 0 => route.mtu,
            _ => act.ns.devices.get(route.dev).mtu,
        };
        act.skb.route.map_or(0, mtu).min(mtu(back))
    }
}

/// Offset of the value of the MSS option in a TCP header.
fn mss_at(tcp: &[u8]) -> Option<usize> {
    let mut at = 20;
    while at + 4 <= tcp.len() {
        if tcp[at] == OPTION_MSS && tcp[at + 1] == 4 {
            return Some(at + 2);
        }
        at += if tcp[at] < 2 { 1 } else { usize::from(tcp[at + 1]).max(1) };
    }
    None
}

/// An MSS is never raised.
fn lower(skb: &mut Skb, at: usize, mss: u16) {
    let old = be16(skb.transport(), at);
    if old <= mss {
        return;
    }
    put16(skb.transport_mut(), at, mss);
    if at.is_multiple_of(2) {
        skb.adjust_transport(&old.to_be_bytes(), &mss.to_be_bytes());
    } else {
        checksum_anew(skb);
    }
}

fn append(skb: &mut Skb, mss: u16) {
    let end = usize::from(skb.l3) + skb.ip_len();
    skb.packet.trim(end);
    skb.packet.put(&[0; 4]);
    let l4 = skb.transport_mut();
    let len = l4.len();
    l4.copy_within(20..len - 4, 24);
    l4[20..24].copy_from_slice(&[OPTION_MSS, 4, (mss >> 8) as u8, mss as u8]);
    l4[12] += 1 << 4;
    let family = skb.ip_version();
    let ip = skb.ip_mut();
    match family {
        Family::V4 => {
            let old = [ip[2], ip[3]];
            let total = (be16(ip, 2) + 4).to_be_bytes();
            ip[2..4].copy_from_slice(&total);
            let checksum = crate::view::checksum_adjust(be16(ip, 10), &old, &total);
            put16(ip, 10, checksum);
        }
        Family::V6 => {
            let total = be16(ip, 4) + 4;
            put16(ip, 4, total);
        }
    }
    checksum_anew(skb);
}

fn checksum_anew(skb: &mut Skb) {
    let (src, dst) = (skb.src(), skb.dst());
    let l4 = skb.transport_mut();
    put16(l4, 16, 0);
    let checksum = transport_checksum(src, dst, proto::TCP, l4);
    put16(l4, 16, checksum);
}
