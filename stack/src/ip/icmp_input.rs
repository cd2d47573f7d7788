//! ICMP and ICMPv6 messages for this namespace: `icmp_rcv`, `icmpv6_rcv`.

use std::net::IpAddr;

use crate::Cx;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::ip::icmp::{self, Header4, V4_FRAG_NEEDED, V4_TYPE_MAX, V6_PACKET_TOO_BIG, write_header4, write_header6};
use crate::ip::ip_ident;
use crate::neigh;
use crate::netns::Netns;
use crate::route::{self, Flow, RouteKind};
use crate::skb::Skb;
use crate::socket::{self, IcmpNotice};
use crate::trace::cause;
use crate::view::{self, be16, be32, proto, put16};

const V4_ECHO_REPLY: u8 = 0;
const V4_ECHO: u8 = 8;
const V4_TIMESTAMP: u8 = 13;
const V4_TIMESTAMP_REPLY: u8 = 14;
const V6_ECHO: u8 = 128;
const V6_ECHO_REPLY: u8 = 129;
const V6_MLD_QUERY: u8 = 130;
const V6_MLD_REPORT: u8 = 131;
const V6_MLD_DONE: u8 = 132;
const V6_NDISC_FIRST: u8 = 133;
const V6_NDISC_LAST: u8 = 137;
const V6_MLD2_REPORT: u8 = 143;
/// Type, code, checksum, and a word.
const ICMP_HLEN: usize = 8;

/// What becomes of a message that passed INPUT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// A socket (its number), or the kernel (none), took it.
    Delivered(Option<u32>),
    /// The kernel took it, and owes an echo reply ([`echo_reply`]).
    Echo,
}

/// `icmp_rcv`.
pub(crate) fn icmp_rcv(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<Answer, DropReason> {
    let message = skb.transport();
    if view::fold(view::sum(message, 0)) != 0 {
        return Err(DropReason::IcmpCsum);
    }
    if message.len() < ICMP_HLEN {
        return Err(DropReason::PktTooSmall);
    }
    let (kind, code) = (message[0], message[1]);
    let to_group = skb.route.is_some_and(|route| matches!(route.kind, RouteKind::Broadcast | RouteKind::Multicast));
    if to_group {
        let echo = matches!(kind, V4_ECHO | V4_TIMESTAMP);
        if !echo || ns.sysctls.icmp_echo_ignore_broadcasts {
            return Err(DropReason::IcmpUnwanted);
        }
    }
    match kind {
        V4_ECHO if ns.sysctls.icmp_echo_ignore_all => Err(DropReason::IcmpUnwanted),
        V4_ECHO => Ok(Answer::Echo),
        V4_ECHO_REPLY => socket::receive(ns, cx, skb).map(|taken| Answer::Delivered(Some(taken.socket))),
        icmp::V4_DEST_UNREACH | icmp::V4_SOURCE_QUENCH | icmp::V4_TIME_EXCEEDED | icmp::V4_PARAMETER_PROBLEM => {
            let mtu = if (kind, code) == (icmp::V4_DEST_UNREACH, V4_FRAG_NEEDED) { u32::from(be16(message, 6)) } else { 0 };
            notify(ns, cx, skb, IcmpNotice { kind, code, mtu, quoted: usize::from(skb.l4) + ICMP_HLEN })
        }
        icmp::V4_REDIRECT => {
            let conf = &ns.devices.get(skb.dev).conf4;
            let all = &ns.sysctls.all4;
            // IN_DEV_RX_REDIRECTS: routers want both switches, hosts either.
            let accepted = if conf.forwarding {
                conf.accept_redirects && all.accept_redirects
            } else {
                conf.accept_redirects || all.accept_redirects
            };
            // Taking one means a route exception, which is not modelled.
            if accepted { Err(DropReason::Unsupported) } else { Err(DropReason::IcmpUnwanted) }
        }
        V4_TIMESTAMP => Err(DropReason::Unsupported),
        V4_TIMESTAMP_REPLY => Ok(Answer::Delivered(None)),
        kind if kind > V4_TYPE_MAX => Err(DropReason::IcmpUnwanted),
        // icmp_discard
        _ => Ok(Answer::Delivered(None)),
    }
}

/// `icmpv6_rcv`.
pub(crate) fn icmpv6_rcv(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<Answer, DropReason> {
    let message = skb.transport();
    if view::transport_checksum(skb.src(), skb.dst(), proto::ICMPV6, message) != 0 {
        return Err(DropReason::IcmpCsum);
    }
    if message.len() < ICMP_HLEN {
        return Err(DropReason::PktTooSmall);
    }
    let (kind, code) = (message[0], message[1]);
    match kind {
        V6_ECHO => Ok(Answer::Echo),
        V6_ECHO_REPLY => socket::receive(ns, cx, skb).map(|taken| Answer::Delivered(Some(taken.socket))),
        icmp::V6_DEST_UNREACH..=icmp::V6_PARAMETER_PROBLEM => {
            let mtu = if kind == V6_PACKET_TOO_BIG { be32(message, 4) } else { 0 };
            notify(ns, cx, skb, IcmpNotice { kind, code, mtu, quoted: usize::from(skb.l4) + ICMP_HLEN })
        }
        V6_NDISC_FIRST..=V6_NDISC_LAST => neigh::ndisc_rcv(ns, cx, skb).map(|()| Answer::Delivered(None)),
        // A question about groups would be answered; no socket can join one, so that nothing depends on the answer.
        V6_MLD_QUERY | V6_MLD_REPORT | V6_MLD_DONE | V6_MLD2_REPORT => Err(DropReason::IcmpUnwanted),
        // Unknown errors reach the socket, unknown information does not.
        kind if kind & 0x80 == 0 => notify(ns, cx, skb, IcmpNotice { kind, code, mtu: 0, quoted: usize::from(skb.l4) + ICMP_HLEN }),
        _ => Err(DropReason::IcmpUnwanted),
    }
}

/// `icmp_unreach`, `icmpv6_notify`: an error is handed to the socket whose packet it quotes.
fn notify(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, notice: IcmpNotice) -> Result<Answer, DropReason> {
    let quote = skb.packet.bytes().get(notice.quoted..).unwrap_or_default();
    let least = match skb.ip_version() {
        Family::V4 => 20,
        Family::V6 => 40,
    };
    if quote.len() < least {
        return Err(DropReason::PktTooSmall);
    }
    socket::icmp_error(ns, cx, skb, notice);
    Ok(Answer::Delivered(None))
}

/// `icmp_echo`, `icmpv6_echo_reply`: the request's own buffer goes back, from the address that was asked. The request's records have
/// ended.
pub(crate) fn echo_reply(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb) {
    let family = skb.ip_version();
    let mark = if ns.sysctls.fwmark_reflect { skb.mark } else { 0 };
    let src = skb.dst();
    let to_group =
        src.is_multicast() || skb.route.is_some_and(|route| matches!(route.kind, RouteKind::Broadcast | RouteKind::Multicast));
    let link_local = matches!(skb.src(), IpAddr::V6(src) if src.is_unicast_link_local());
    let flow = Flow {
        family,
        src: if to_group { family.unspecified() } else { src },
        dst: skb.src(),
        iif: DevId::NONE,
        oif: if link_local { skb.iif } else { DevId::NONE },
        mark,
        tos: skb.tos(),
        proto: skb.l4proto,
        sport: 0,
        dport: 0,
        uid: 0,
    };
    let route = route::route_output(ns, cx, &flow);
    let src = if to_group { route.src.unwrap_or(family.unspecified()) } else { src };
    if !matches!(route.kind, RouteKind::Local | RouteKind::Unicast) || src.is_unspecified() {
        return cx.recycle(skb.packet);
    }
    let flow = Flow { src, ..flow };
    let l4 = usize::from(skb.l4);
    let mut packet = cx.reborn(skb.packet, cause::REPLY);
    packet.pull(l4);
    match family {
        Family::V4 => {
            let message = packet.bytes_mut();
            message[0] = V4_ECHO_REPLY;
            put16(message, 2, 0);
            let checksum = view::fold(view::sum(message, 0));
            put16(message, 2, checksum);
            let len = packet.len() + 20;
            let header = Header4 { ttl: ns.sysctls.ip_default_ttl, id: ip_ident(ns, cx) };
            write_header4(packet.push(20), len, &flow, header);
        }
        Family::V6 => {
            let message = packet.bytes_mut();
            message[0] = V6_ECHO_REPLY;
            put16(message, 2, 0);
            let checksum = view::transport_checksum(flow.src, flow.dst, proto::ICMPV6, message);
            put16(message, 2, checksum);
            let len = packet.len() + 40;
            write_header6(packet.push(40), len, &flow, ns.devices.get(route.dev).conf6.hop_limit);
        }
    }
    icmp::send(ns, cx, Skb { mark, ..Skb::new(packet, route.dev) }, route);
}
