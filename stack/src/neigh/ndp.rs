//! Neighbour discovery (RFC 4861, `net/ipv6/ndisc.c`): solicitations, advertisements, duplicate address detection (RFC 4862).
//!
//! Not here: router solicitations and advertisements, redirects: they are read and ignored, and the record says so.

use std::net::{IpAddr, Ipv6Addr};

use super::table::{Key, Update};
use super::{NeighState, solicited_node, table};
use crate::Cx;
use crate::addr::Mac;
use crate::dev::device::{DevId, DeviceKind};
use crate::drop_reason::DropReason;
use crate::ip;
use crate::netns::Netns;
use crate::route::select::ipv6_select_addr;
use crate::route::{Flow, Route, RouteKind, no_route};
use crate::skb::{PktType, Skb};
use crate::trace::{NeighEvent, Record, cause};
use crate::view::{proto, put16, transport_checksum};

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
/// Option: source link-layer address.
const SOURCE_LLADDR: u8 = 1;
/// Option: target link-layer address.
const TARGET_LLADDR: u8 = 2;
/// Type, code, checksum, flags, target.
const HEADER: usize = 24;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A solicitation or an advertisement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Message {
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    /// The option that goes with the kind.
    mac: Option<Mac>,
}

const ROUTER_FLAG: u8 = 0x80;
const SOLICITED_FLAG: u8 = 0x40;
const OVERRIDE_FLAG: u8 = 0x20;

impl Message {
    fn parse(bytes: &[u8]) -> Result<Message, DropReason> {
        if bytes.len() < HEADER {
            return Err(DropReason::PktTooSmall);
        }
        let mut target = [0; 16];
        target.copy_from_slice(&bytes[8..24]);
        let wanted = if bytes[0] == SOLICITATION { SOURCE_LLADDR } else { TARGET_LLADDR };
        let mut mac = None;
        let mut options = &bytes[HEADER..];
        // Bounded: an option takes at least 8 bytes.
        while options.len() >= 8 {
            let length = usize::from(options[1]) * 8;
            if length == 0 || length > options.len() {
                return Err(DropReason::IcmpUnwanted);
            }
            if options[0] == wanted && length == 8 {
                let mut address = [0; 6];
                address.copy_from_slice(&options[2..8]);
                mac = Some(Mac(address));
            }
            options = &options[length..];
        }
        Ok(Message { kind: bytes[0], flags: bytes[4], target: Ipv6Addr::from(target), mac })
    }
}

/// `ndisc_rcv`.
pub(super) fn receive(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<(), DropReason> {
    let end = usize::from(skb.l3) + skb.ip_len();
    let bytes = skb.packet.bytes().get(usize::from(skb.l4)..end).unwrap_or_default();
    // A packet that was forwarded once cannot pass for a neighbour's.
    let (Some(&kind), Some(&code)) = (bytes.first(), bytes.get(1)) else { return Err(DropReason::PktTooSmall) };
    if skb.hop_limit() != 255 || code != 0 {
        return Err(DropReason::IcmpUnwanted);
    }
    match kind {
        SOLICITATION => {
            let message = Message::parse(bytes)?;
            solicitation(ns, cx, skb, &message)
        }
        ADVERTISEMENT => {
            let message = Message::parse(bytes)?;
            advertisement(ns, cx, skb, &message)
        }
        ROUTER_SOLICITATION | ROUTER_ADVERTISEMENT | REDIRECT => {
            let sender = skb.src();
            cx.record(skb.id(), Record::Neigh { dev: skb.dev, address: sender, mac: Mac::ZERO, event: NeighEvent::Ignored });
            Err(DropReason::NeighConsumed)
        }
        _ => Err(DropReason::IcmpUnwanted),
    }
}

fn ignored(cx: &mut Cx<'_>, skb: &Skb, target: Ipv6Addr) -> Result<(), DropReason> {
    cx.record(skb.id(), Record::Neigh { dev: skb.dev, address: IpAddr::V6(target), mac: Mac::ZERO, event: NeighEvent::Ignored });
    Err(DropReason::NeighConsumed)
}

/// Whether a device has an address: IPv6 answers for those of the device that was asked only.
fn has_address(ns: &Netns, dev: DevId, address: Ipv6Addr) -> bool {
    ns.devices.get(dev).addrs.iter().any(|addr| addr.address == IpAddr::V6(address))
}

/// `ndisc_recv_ns`.
fn solicitation(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, message: &Message) -> Result<(), DropReason> {
    let (IpAddr::V6(sender), IpAddr::V6(asked)) = (skb.src(), skb.dst()) else { return Err(DropReason::IcmpUnwanted) };
    let (dev, target) = (skb.dev, message.target);
    let probe = sender.is_unspecified();
    // RFC 4861 section 7.1.1.
    if target.is_multicast() || (probe && (message.mac.is_some() || asked != solicited_node(target))) {
        return Err(DropReason::IcmpUnwanted);
    }
    let ours = has_address(ns, dev, target);
    let conf = &ns.devices.get(dev).conf6;
    let forwarding = conf.forwarding;
    if ours && ns.neighbours.is_tentative(dev, target) {
        if probe {
            // Somebody else wants the same address: neither gets it (`addrconf_dad_failure`).
            super::stop_dad(ns, dev, target);
            super::set_tentative(ns, dev, target);
        }
        return ignored(cx, skb, target);
    }
    if !ours {
        let proxies = forwarding && (conf.proxy_ndp || ns.sysctls.all6.proxy_ndp);
        let listed = |dev| ns.neighbours.proxies.contains(&(dev, IpAddr::V6(target)));
        if !proxies || !(listed(dev) || listed(DevId::NONE)) {
            return ignored(cx, skb, target);
        }
    }
    let multicast = asked.is_multicast();
    let router = if forwarding { ROUTER_FLAG } else { 0 };
    let mac = ns.devices.get(dev).mac;
    let answered = Record::Neigh { dev, address: IpAddr::V6(target), mac, event: NeighEvent::Answered };
    if probe {
        cx.record(skb.id(), answered);
        let flags = router | if ours { OVERRIDE_FLAG } else { 0 };
        advertise(ns, cx, Some(skb), dev, ALL_NODES, Message { kind: ADVERTISEMENT, flags, target, mac: Some(mac) });
        return Ok(());
    }
    let key = Key::new(dev, IpAddr::V6(sender));
    if (!multicast || message.mac.is_some()) && ns.neighbours.entry(key, dev, IpAddr::V6(sender)).is_none() {
        return Err(DropReason::NeighCreateFail);
    }
    if ns.neighbours.get_mut(key).is_none() {
        return ignored(cx, skb, target);
    }
    if let Some(mac) = message.mac {
        // The record comes first: what waited goes on inside the update.
        cx.record(skb.id(), Record::Neigh { dev, address: IpAddr::V6(sender), mac, event: NeighEvent::Learned });
    }
    table::update(ns, cx, key, message.mac, NeighState::Stale, Update { overrides: true, weak: true, router: None });
    cx.record(skb.id(), answered);
    let flags = router | SOLICITED_FLAG | if ours && multicast { OVERRIDE_FLAG } else { 0 };
    let answer = Message { kind: ADVERTISEMENT, flags, target, mac: multicast.then_some(mac) };
    advertise(ns, cx, Some(skb), dev, sender, answer);
    Ok(())
}

/// `ndisc_recv_na`.
fn advertisement(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, message: &Message) -> Result<(), DropReason> {
    let (dev, target) = (skb.dev, message.target);
    let solicited = message.flags & SOLICITED_FLAG != 0;
    if target.is_multicast() || (skb.dst().is_multicast() && solicited) {
        return Err(DropReason::IcmpUnwanted);
    }
    if has_address(ns, dev, target) {
        if ns.neighbours.is_tentative(dev, target) {
            super::stop_dad(ns, dev, target);
            super::set_tentative(ns, dev, target);
        }
        return ignored(cx, skb, target);
    }
    let key = Key::new(dev, IpAddr::V6(target));
    let known = ns.neighbours.get_mut(key).map(|entry| (entry.state, entry.mac));
    let Some((state, old)) = known.filter(|known| known.0 != NeighState::Failed) else { return ignored(cx, skb, target) };
    if message.mac.is_none() && matches!(state, NeighState::Incomplete | NeighState::None) {
        return ignored(cx, skb, target);
    }
    let mac = message.mac.unwrap_or(old);
    cx.record(skb.id(), Record::Neigh { dev, address: IpAddr::V6(target), mac, event: NeighEvent::Learned });
    let new = if solicited { NeighState::Reachable } else { NeighState::Stale };
    let how = Update { overrides: message.flags & OVERRIDE_FLAG != 0, weak: true, router: Some(message.flags & ROUTER_FLAG != 0) };
    table::update(ns, cx, key, message.mac, new, how);
    Ok(())
}

/// `ndisc_solicit`: asks for a neighbour: its solicited-node group, or itself where its MAC is known. `source` is that of the packet
/// that waits; it is taken where it is an address of this device.
pub(super) fn solicit(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, target: Ipv6Addr, known: bool, source: Option<IpAddr>) {
    let device = ns.devices.get(dev);
    let usable = |address: Ipv6Addr| has_address(ns, dev, address) && !ns.neighbours.is_tentative(dev, address);
    let own = match source {
        Some(IpAddr::V6(source)) if usable(source) => Some(source),
        _ => device.addrs.iter().find_map(|addr| match addr.address {
            IpAddr::V6(address) if address.is_unicast_link_local() && usable(address) => Some(address),
            _ => None,
        }),
    };
    // Without a link-local address there is nobody to ask in whose name.
    let Some(own) = own else { return };
    let mac = device.mac;
    let to = if known { target } else { solicited_node(target) };
    send(ns, cx, None, dev, own, to, &Message { kind: SOLICITATION, flags: 0, target, mac: Some(mac) });
}

/// `addrconf_dad_work`: asks for an address of ours in nobody's name.
pub(super) fn ask_for_own(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, own: Ipv6Addr) {
    let message = Message { kind: SOLICITATION, flags: 0, target: own, mac: None };
    send(ns, cx, None, dev, Ipv6Addr::UNSPECIFIED, solicited_node(own), &message);
}

/// `ndisc_send_unsol_na`.
pub(super) fn announce(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, own: Ipv6Addr) {
    let device = ns.devices.get(dev);
    let mac = device.mac;
    let flags = OVERRIDE_FLAG | if device.conf6.forwarding { ROUTER_FLAG } else { 0 };
    advertise(ns, cx, None, dev, ALL_NODES, Message { kind: ADVERTISEMENT, flags, target: own, mac: Some(mac) });
}

/// In the name of the target where it is ours, else (a proxy) in our own.
fn advertise(ns: &mut Netns, cx: &mut Cx<'_>, about: Option<&Skb>, dev: DevId, to: Ipv6Addr, message: Message) {
    let source = if has_address(ns, dev, message.target) { Some(message.target) } else { ipv6_select_addr(ns, dev, to) };
    if let Some(source) = source {
        send(ns, cx, about, dev, source, to, &message);
    }
}

/// `ndisc_send_skb`: through OUTPUT, like any packet of ours.
fn send(ns: &mut Netns, cx: &mut Cx<'_>, about: Option<&Skb>, dev: DevId, from: Ipv6Addr, to: Ipv6Addr, message: &Message) {
    if matches!(ns.devices.get(dev).kind, DeviceKind::Loopback) {
        return;
    }
    let length = HEADER + if message.mac.is_some() { 8 } else { 0 };
    let mut bytes = [0u8; 40 + HEADER + 8];
    bytes[0] = 0x60;
    put16(&mut bytes, 4, length as u16);
    bytes[6] = proto::ICMPV6;
    bytes[7] = 255;
    bytes[8..24].copy_from_slice(&from.octets());
    bytes[24..40].copy_from_slice(&to.octets());
    let body = &mut bytes[40..40 + length];
    body[0] = message.kind;
    body[4] = message.flags;
    body[8..24].copy_from_slice(&message.target.octets());
    if let Some(mac) = message.mac {
        body[24] = if message.kind == SOLICITATION { SOURCE_LLADDR } else { TARGET_LLADDR };
        body[25] = 1;
        body[26..32].copy_from_slice(&mac.0);
    }
    let checksum = transport_checksum(IpAddr::V6(from), IpAddr::V6(to), proto::ICMPV6, body);
    put16(body, 2, checksum);
    let packet = cx.packet(&bytes[..40 + length], about.map(Skb::id), cause::NDP);
    let mut skb = Skb::new(packet, dev);
    skb.iif = DevId::NONE;
    skb.pkt_type = PktType::Outgoing;
    let kind = if to.is_multicast() { RouteKind::Multicast } else { RouteKind::Unicast };
    skb.route = Some(Route { kind, dev, src: Some(IpAddr::V6(from)), prefix_len: 128, ..no_route(&Flow::to(IpAddr::V6(to))) });
    skb.parse_at(0).expect("the headers were written just above");
    // A drop has been recorded, and no socket waits for the answer.
    let _ = ip::output::ip_local_out(ns, cx, skb);
}
