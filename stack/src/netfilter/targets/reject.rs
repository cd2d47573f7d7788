//! `-j REJECT` (`net/ipv4/netfilter/nf_reject_ipv4.c` and its IPv6 twin).

use super::{Act, Done};
use crate::addr::Family;
use crate::conntrack;
use crate::dev;
use crate::ip::{icmp, output};
use crate::netfilter::hook::Hook;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::matches::Extension;
use crate::netfilter::ruleset::Base;
use crate::route::{self, Flow, RouteKind};
use crate::skb::{PktType, Skb};
use crate::trace::cause;
use crate::view::{self, ETH_HLEN, be16, be32, proto, put16};

const ICMP_UNREACH: u8 = 3;
const ICMPV6_UNREACH: u8 = 1;
const RESET: u8 = u8::MAX;

/// Name, older name, code. The first of a code is what `iptables-save` prints.
const V4: &[(&str, &str, u8)] = &[
    ("icmp-net-unreachable", "net-unreach", 0),
    ("icmp-host-unreachable", "host-unreach", 1),
    ("icmp-proto-unreachable", "proto-unreach", 2),
    ("icmp-port-unreachable", "port-unreach", 3),
    ("icmp-net-prohibited", "net-prohib", 9),
    ("icmp-host-prohibited", "host-prohib", 10),
    ("icmp-admin-prohibited", "admin-prohib", 13),
    ("tcp-reset", "tcp-rst", RESET),
];
const V6: &[(&str, &str, u8)] = &[
    ("icmp6-no-route", "no-route", 0),
    ("icmp6-adm-prohibited", "adm-prohibited", 1),
    ("icmp6-addr-unreachable", "addr-unreach", 3),
    ("icmp6-port-unreachable", "port-unreach", 4),
    ("icmp6-policy-fail", "policy-fail", 5),
    ("icmp6-reject-route", "reject-route", 6),
    ("tcp-reset", "tcp-rst", RESET),
];

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reject {
    /// A code of destination unreachable, or [`RESET`].
    code: u8,
}

impl Reject {
    pub(crate) fn new(family: Family) -> Reject {
        Reject { code: if family == Family::V4 { 3 } else { 4 } }
    }

    /// With a code of destination unreachable.
    pub(crate) fn with(code: u8) -> Reject {
        Reject { code }
    }

    /// With a TCP reset.
    pub(crate) fn reset() -> Reject {
        Reject { code: RESET }
    }

    /// `reject_tg_check`.
    pub(crate) fn check(&self, base: &Base) -> Result<(), &'static str> {
        if self.code == RESET && !base.is_proto(proto::TCP) {
            return Err("tcp-reset answers TCP only: the rule must say -p tcp");
        }
        Ok(())
    }
}

impl Extension for Reject {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        if option != "--reject-with" {
            return Ok(false);
        }
        let text = args.value()?;
        let known = if args.family == Family::V4 { V4 } else { V6 };
        // As strncasecmp over the typed length: a beginning is enough.
        let begins = |name: &str| name.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
        let found = known.iter().find(|(name, old, _)| begins(name) || begins(old));
        self.code = found.ok_or_else(|| args.bad(format!("unknown reject type \"{text}\"")))?.2;
        Ok(true)
    }

    fn print(&self, out: &mut String, family: Family) {
        let known = if family == Family::V4 { V4 } else { V6 };
        out.push_str(" -j REJECT --reject-with ");
        out.push_str(known.iter().find(|(.., code)| *code == self.code).map_or("tcp-reset", |(name, ..)| name));
    }
}

impl Reject {
    pub(crate) fn act(&self, act: &mut Act<'_, '_>) -> Done {
        let later = act.skb.is_later_fragment();
        if self.code == RESET {
            if !later {
                send_reset(act);
            }
        } else if !later && checksum_right(act.skb) {
            let kind = if act.state.family == Family::V4 { ICMP_UNREACH } else { ICMPV6_UNREACH };
            icmp::icmp_send(act.ns, act.cx, act.skb, kind, self.code, 0);
        }
        Done::Reject
    }
}

/// `nf_ip_checksum`: a packet that a host would not have taken is not answered either.
fn checksum_right(skb: &Skb) -> bool {
    let len = usize::from(skb.l3) + skb.ip_len();
    let Some(l4) = skb.packet.bytes().get(usize::from(skb.l4)..len) else { return false };
    match skb.l4proto {
        proto::UDP if l4.len() >= 8 && be16(l4, 6) == 0 => skb.ip_version() == Family::V4,
        proto::TCP | proto::UDP => view::transport_checksum(skb.src(), skb.dst(), skb.l4proto, l4) == 0,
        _ => true,
    }
}

/// The segment that answers, from its IP header on: `nf_reject_ip_tcphdr_put`.
fn reset(old: &Skb, hop_limit: u8) -> Option<([u8; 60], usize)> {
    let end = usize::from(old.l3) + old.ip_len();
    let tcp = old.packet.bytes().get(usize::from(old.l4)..end)?;
    if old.l4proto != proto::TCP || tcp.len() < 20 || tcp[13] & 4 != 0 || !checksum_right(old) {
        return None;
    }
    let (src, dst) = (old.dst(), old.src());
    let mut frame = [0; 60];
    let header = match old.ip_version() {
        Family::V4 => {
            frame[..20].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, hop_limit, proto::TCP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            20
        }
        Family::V6 => {
            frame[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 20, proto::TCP, hop_limit]);
            40
        }
    };
    match (src, dst) {
        (std::net::IpAddr::V4(src), std::net::IpAddr::V4(dst)) => {
            frame[12..16].copy_from_slice(&src.octets());
            frame[16..20].copy_from_slice(&dst.octets());
            let checksum = view::ipv4_header_checksum(&frame[..20]);
            put16(&mut frame, 10, checksum);
        }
        (std::net::IpAddr::V6(src), std::net::IpAddr::V6(dst)) => {
            frame[8..24].copy_from_slice(&src.octets());
            frame[24..40].copy_from_slice(&dst.octets());
        }
        _ => return None,
    }
    let new = &mut frame[header..header + 20];
    new[..2].copy_from_slice(&tcp[2..4]);
    new[2..4].copy_from_slice(&tcp[..2]);
    new[12] = 5 << 4;
    if tcp[13] & 16 != 0 {
        new[4..8].copy_from_slice(&tcp[8..12]);
        new[13] = 4;
    } else {
        let data = tcp.len().saturating_sub(usize::from(tcp[12] >> 4) * 4) as u32;
        let flags = u32::from(tcp[13]);
        let ack = be32(tcp, 4).wrapping_add((flags >> 1 & 1) + (flags & 1) + data);
        new[8..12].copy_from_slice(&ack.to_be_bytes());
        new[13] = 4 | 16;
    }
    let checksum = view::transport_checksum(src, dst, proto::TCP, new);
    put16(new, 16, checksum);
    Some((frame, header + 20))
}

/// `nf_send_reset`.
fn send_reset(act: &mut Act<'_, '_>) {
    let old = &*act.skb;
    if matches!(old.route.map(|route| route.kind), Some(RouteKind::Broadcast | RouteKind::Multicast)) {
        return;
    }
    let mark = if act.ns.sysctls.fwmark_reflect { old.mark } else { 0 };
    let Some((frame, len)) = reset(old, act.ns.sysctls.ip_default_ttl) else { return };
    let (src, dst) = (old.dst(), old.src());
    if let Some(port) = old.bridge.and_then(|bridge| bridge.physin)
        && usize::from(old.l3) >= ETH_HLEN
        && act.state.hook != Hook::Output
    {
        return bridged_reset(act, &frame[..len], port, mark);
    }
    let (sport, dport) = (be16(old.transport(), 2), be16(old.transport(), 0));
    let flow = Flow {
        family: act.state.family,
        src,
        dst,
        iif: dev::device::DevId::NONE,
        oif: dev::device::DevId::NONE,
        mark,
        tos: 0,
        proto: proto::TCP,
        sport,
        dport,
        uid: 0,
    };
    let route = route::route_output(act.ns, act.cx, &flow);
    if !matches!(route.kind, RouteKind::Local | RouteKind::Unicast) {
        return;
    }
    let packet = act.cx.packet(&frame[..len], Some(act.skb.id()), cause::REPLY);
    let mut skb = Skb::new(packet, route.dev);
    if skb.parse_at(0).is_err() {
        return act.cx.recycle(skb.packet);
    }
    skb.iif = dev::device::DevId::NONE;
    skb.mark = mark;
    skb.pkt_type = PktType::Outgoing;
    skb.route = Some(route);
    conntrack::attach(&mut skb, act.skb);
    conntrack::set_closing(act.ns, act.cx, act.skb.ct);
    // What befalls the RST is in its own records; our packet is dropped anyway.
    let _ = output::ip_local_out(act.ns, act.cx, skb);
}

/// A bridged packet is answered through the port that it came from, with its MACs swapped, past OUTPUT.
fn bridged_reset(act: &mut Act<'_, '_>, ip: &[u8], port: dev::device::DevId, mark: u32) {
    let old = act.skb.packet.bytes();
    let at = usize::from(act.skb.l3) - ETH_HLEN;
    let mut frame = [0; 74];
    frame[..6].copy_from_slice(&old[at + 6..at + 12]);
    frame[6..12].copy_from_slice(&old[at..at + 6]);
    frame[12..14].copy_from_slice(&old[at + 12..at + 14]);
    frame[ETH_HLEN..ETH_HLEN + ip.len()].copy_from_slice(ip);
    let packet = act.cx.packet(&frame[..ETH_HLEN + ip.len()], Some(act.skb.id()), cause::REPLY);
    let mut skb = Skb::new(packet, port);
    if skb.parse_at(ETH_HLEN).is_err() {
        return act.cx.recycle(skb.packet);
    }
    skb.iif = dev::device::DevId::NONE;
    skb.mark = mark;
    skb.pkt_type = PktType::Outgoing;
    conntrack::attach(&mut skb, act.skb);
    let snap = act.cx.snap(skb.packet.bytes());
    act.cx.record(skb.id(), crate::trace::Record::Originate { socket: None, frame: snap });
    dev::dev_queue_xmit(act.ns, act.cx, &mut skb);
}
