//! `proxy`: ARP and neighbour solicitations end here (`arp_reduce`, `neigh_reduce`). Those for neighbours that the host knows are
//! answered, all others are swallowed.

use std::net::IpAddr;

use crate::Cx;
use crate::addr::Mac;
use crate::dev::MAX_BACKLOG;
use crate::drop_reason::DropReason;
use crate::neigh::arp;
use crate::neigh::table::{Key, Reach};
use crate::netns::Netns;
use crate::skb::Skb;
use crate::trace::{NeighEvent, Record, cause};
use crate::view::{self, ETH_HLEN, be16, ethertype, proto};

/// ICMPv6: neighbour solicitation.
const SOLICITATION: u8 = 135;

/// Whether a frame asks for a link-layer address.
pub(super) fn is_question(frame: &[u8]) -> bool {
    match frame.get(..ETH_HLEN).map(|header| be16(header, 12)) {
        Some(ethertype::ARP) => true,
        Some(ethertype::IPV6) => view::parse(frame, ETH_HLEN)
            .is_ok_and(|headers| headers.l4proto == proto::ICMPV6 && frame.get(usize::from(headers.l4)) == Some(&SOLICITATION)),
        _ => false,
    }
}

/// `arp_reduce`. An answer comes in through the device as if somebody there had sent it.
pub(super) fn answer(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb) {
    let dev = skb.dev;
    let frame = skb.packet.bytes();
    if be16(frame, 12) == ethertype::IPV6 {
        return ns.finish(cx, skb, DropReason::Unsupported);
    }
    let arp = &frame[ETH_HLEN..];
    let Some(target) = arp::asked_for(arp).filter(|target| !target.is_loopback() && !target.is_multicast()) else {
        return ns.finish(cx, skb, DropReason::NeighConsumed);
    };
    let target = IpAddr::V4(target);
    // NUD_CONNECTED: proven, or entered by hand.
    let known = match ns.neighbours.reach(Key::new(dev, target), cx.now()) {
        Reach::Known(mac) => Some(mac),
        Reach::Aging(_) | Reach::Unknown => None,
    };
    let event = if known.is_some() { NeighEvent::Answered } else { NeighEvent::Ignored };
    cx.record(skb.id(), Record::Neigh { dev, address: target, mac: known.unwrap_or(Mac::ZERO), event });
    let Some(reply) = known.and_then(|mac| arp::answer_for(arp, mac)) else {
        return ns.finish(cx, skb, DropReason::NeighConsumed);
    };
    if ns.backlog.len() >= MAX_BACKLOG {
        return ns.finish(cx, skb, DropReason::CpuBacklog);
    }
    let packet = cx.packet(&reply, Some(skb.id()), cause::ARP);
    cx.record(skb.id(), Record::Deliver { socket: None });
    cx.recycle(skb.packet);
    ns.requeue(cx, dev, Skb::new(packet, dev));
}
