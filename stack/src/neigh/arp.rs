//! ARP (RFC 826, `net/ipv4/arp.c`): who answers, what is learned, and with which sender address a question is asked.

use std::net::{IpAddr, Ipv4Addr};

use super::table::{Key, Update};
use super::{NeighState, table, write_ethernet};
use crate::Cx;
use crate::addr::Mac;
use crate::dev;
use crate::dev::device::{DevId, Device, DeviceKind};
use crate::drop_reason::DropReason;
use crate::netns::Netns;
use crate::route::fib::scope;
use crate::route::select::{inet_select_addr, on_subnet};
use crate::route::{self, Flow, RouteKind, address_type};
use crate::skb::{PktType, Skb};
use crate::trace::{NeighEvent, Record, cause};
use crate::view::{ETH_HLEN, be16, ethertype, put16};

/// Bytes of an ARP packet for IPv4 over Ethernet.
const ARP_LEN: usize = 28;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Arp {
    op: u16,
    sha: Mac,
    spa: Ipv4Addr,
    tha: Mac,
    tpa: Ipv4Addr,
}

impl Arp {
    fn parse(bytes: &[u8]) -> Result<Arp, DropReason> {
        if bytes.len() < ARP_LEN {
            return Err(DropReason::PktTooSmall);
        }
        // Ethernet (or IEEE 802), IPv4, their lengths.
        if !matches!(be16(bytes, 0), 1 | 6) || be16(bytes, 2) != ethertype::IPV4 || bytes[4..6] != [6, 4] {
            return Err(DropReason::UnhandledProto);
        }
        let mac = |at: usize| {
            let mut mac = [0; 6];
            mac.copy_from_slice(&bytes[at..at + 6]);
            Mac(mac)
        };
        let ip = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        Ok(Arp { op: be16(bytes, 6), sha: mac(8), spa: ip(14), tha: mac(18), tpa: ip(24) })
    }

    fn frame(&self, to: Mac, from: Mac) -> [u8; ETH_HLEN + ARP_LEN] {
        let mut frame = [0; ETH_HLEN + ARP_LEN];
        write_ethernet(&mut frame, to, from, ethertype::ARP);
        let arp = &mut frame[ETH_HLEN..];
        put16(arp, 0, 1);
        put16(arp, 2, ethertype::IPV4);
        arp[4..6].copy_from_slice(&[6, 4]);
        put16(arp, 6, self.op);
        arp[8..14].copy_from_slice(&self.sha.0);
        arp[14..18].copy_from_slice(&self.spa.octets());
        arp[18..24].copy_from_slice(&self.tha.0);
        arp[24..28].copy_from_slice(&self.tpa.octets());
        frame
    }
}

/// The address that an ARP request asks for.
pub(crate) fn asked_for(arp: &[u8]) -> Option<Ipv4Addr> {
    Arp::parse(arp).ok().filter(|arp| arp.op == REQUEST).map(|arp| arp.tpa)
}

/// The frame that answers an ARP request in the name of the host with that MAC.
pub(crate) fn answer_for(arp: &[u8], mac: Mac) -> Option<[u8; ETH_HLEN + ARP_LEN]> {
    let asked = Arp::parse(arp).ok()?;
    Some(Arp { op: REPLY, sha: mac, spa: asked.tpa, tha: asked.sha, tpa: asked.spa }.frame(asked.sha, mac))
}

/// `arp_process`. `Ok`: it was read, and answered or learned from.
pub(super) fn receive(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb) -> Result<(), DropReason> {
    let device = ns.devices.get(skb.dev);
    if matches!(device.kind, DeviceKind::Loopback) {
        return Err(DropReason::NeighConsumed);
    }
    if skb.pkt_type == PktType::OtherHost {
        return Err(DropReason::OtherHost);
    }
    let arp = Arp::parse(skb.packet.bytes().get(usize::from(skb.l3)..).unwrap_or_default())?;
    let localnet = device.conf4.route_localnet || ns.sysctls.all4.route_localnet;
    if !matches!(arp.op, REQUEST | REPLY) || arp.tpa.is_multicast() || (arp.tpa.is_loopback() && !localnet) {
        return ignored(cx, skb, &arp);
    }
    let target = IpAddr::V4(arp.tpa);
    if arp.spa.is_unspecified() {
        // RFC 5227: somebody asks whether an address is free.
        let ours = arp.op == REQUEST && address_type(ns, target, None) == RouteKind::Local;
        if !ours || ignores(ns, skb.dev, arp.spa, arp.tpa) {
            return ignored(cx, skb, &arp);
        }
        reply(ns, cx, skb, &arp);
        return Ok(());
    }
    if arp.op == REQUEST
        && let Some(answer) = asked(ns, cx, skb, &arp)
    {
        return answer;
    }
    learn(ns, cx, skb, &arp)
}

fn ignored(cx: &mut Cx<'_>, skb: &Skb, arp: &Arp) -> Result<(), DropReason> {
    cx.record(skb.id(), Record::Neigh { dev: skb.dev, address: IpAddr::V4(arp.tpa), mac: arp.sha, event: NeighEvent::Ignored });
    Err(DropReason::NeighConsumed)
}

/// A request: an answer, or a refusal to answer; none where it is only to be learned from. The sender must be somebody whom a
/// packet could have come from (`ip_route_input`): with `rp_filter` a sender without a route gets no answer.
fn asked(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, arp: &Arp) -> Option<Result<(), DropReason>> {
    let flow = Flow { src: IpAddr::V4(arp.spa), iif: skb.dev, ..Flow::to(IpAddr::V4(arp.tpa)) };
    let found = route::route_input(ns, cx, &flow);
    let plausible = matches!(found.kind, RouteKind::Local | RouteKind::Unicast) && route::validate_source(ns, &flow).is_ok();
    if !plausible {
        return None;
    }
    let conf = &ns.devices.get(skb.dev).conf4;
    if found.kind == RouteKind::Local {
        let filter = conf.arp_filter || ns.sysctls.all4.arp_filter;
        if ignores(ns, skb.dev, arp.spa, arp.tpa) || (filter && leaves_elsewhere(ns, cx, skb.dev, arp)) {
            return Some(ignored(cx, skb, arp));
        }
    } else if !conf.forwarding || !is_proxy(ns, skb.dev, arp.tpa, found.dev) {
        return None;
    }
    let sender = IpAddr::V4(arp.spa);
    let key = Key::new(skb.dev, sender);
    if ns.neighbours.entry(key, skb.dev, sender).is_none() {
        return Some(Err(DropReason::NeighCreateFail));
    }
    // The record comes first: what waited goes on inside the update.
    cx.record(skb.id(), Record::Neigh { dev: skb.dev, address: sender, mac: arp.sha, event: NeighEvent::Learned });
    table::update(ns, cx, key, Some(arp.sha), NeighState::Stale, Update { overrides: true, ..Update::default() });
    reply(ns, cx, skb, arp);
    Some(Ok(()))
}

/// `arp_ignore`.
fn ignores(ns: &Netns, dev: DevId, sender: Ipv4Addr, target: Ipv4Addr) -> bool {
    let device = ns.devices.get(dev);
    let mode = device.conf4.arp_ignore.max(ns.sysctls.all4.arp_ignore);
    let owns =
        |device: &Device, limit: u8| device.addrs.iter().any(|addr| addr.address == IpAddr::V4(target) && addr.scope <= limit);
    match mode {
        // Only for addresses of the device that was asked.
        1 => !owns(device, scope::HOST),
        // And the asker must be of the same subnet.
        2 => {
            let near =
                |addr: &&crate::dev::device::IfAddr| on_subnet(addr, IpAddr::V4(target)) && on_subnet(addr, IpAddr::V4(sender));
            !owns(device, scope::HOST) || device.addrs.iter().find(near).is_none()
        }
        // Not for addresses of scope host.
        3 => !ns.devices.iter().any(|device| owns(device, scope::LINK)),
        8 => true,
        _ => false,
    }
}

/// `arp_filter`: whether a packet back to the asker would leave by another device.
fn leaves_elsewhere(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, arp: &Arp) -> bool {
    let flow = Flow { src: IpAddr::V4(arp.tpa), ..Flow::to(IpAddr::V4(arp.spa)) };
    let back = route::route_output(ns, cx, &flow);
    back.kind == RouteKind::None || back.dev != dev
}

/// `arp_fwd_proxy`, `arp_fwd_pvlan`, `pneigh_lookup`: whether we answer for an address that we would forward to.
fn is_proxy(ns: &Netns, dev: DevId, target: Ipv4Addr, out: DevId) -> bool {
    let conf = &ns.devices.get(dev).conf4;
    if out == dev {
        return conf.proxy_arp_pvlan;
    }
    let target = IpAddr::V4(target);
    let entry = |dev| ns.neighbours.proxies.contains(&(dev, target));
    conf.proxy_arp || ns.sysctls.all4.proxy_arp || entry(dev) || entry(DevId::NONE)
}

/// To the hardware address that the request names, which need not be the frame's source.
fn reply(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, arp: &Arp) {
    let mac = ns.devices.get(skb.dev).mac;
    let answer = Arp { op: REPLY, sha: mac, spa: arp.tpa, tha: arp.sha, tpa: arp.spa };
    cx.record(skb.id(), Record::Neigh { dev: skb.dev, address: IpAddr::V4(arp.tpa), mac, event: NeighEvent::Answered });
    let frame = answer.frame(arp.sha, mac);
    let packet = cx.packet(&frame, Some(skb.id()), cause::ARP);
    send(ns, cx, skb.dev, packet);
}

/// What an ARP packet teaches about its sender.
fn learn(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, arp: &Arp) -> Result<(), DropReason> {
    let sender = IpAddr::V4(arp.spa);
    let key = Key::new(skb.dev, sender);
    let mode = ns.devices.get(skb.dev).conf4.arp_accept.max(ns.sysctls.all4.arp_accept);
    // 2: only from senders of a subnet of this device.
    let accepts = match mode {
        0 => false,
        2 => ns.devices.get(skb.dev).addrs.iter().any(|addr| on_subnet(addr, sender)),
        _ => true,
    };
    let is_unicast = address_type(ns, sender, None) == RouteKind::Unicast;
    let gratuitous = arp.spa == arp.tpa && (arp.op == REQUEST || arp.tha == arp.sha) && is_unicast;
    let known = ns.neighbours.get_mut(key).is_some();
    if !known && !(accepts && (gratuitous || (arp.op == REPLY && is_unicast))) {
        return ignored(cx, skb, arp);
    }
    let locktime = ns.devices.get(skb.dev).neigh4.locktime;
    let now = cx.now();
    let Some(entry) = ns.neighbours.entry(key, skb.dev, sender) else { return Err(DropReason::NeighCreateFail) };
    let overrides = gratuitous || !known || now > entry.updated + locktime;
    // Only an answer to us alone proves that the neighbour is there.
    let state = if arp.op == REPLY && skb.pkt_type == PktType::Host { NeighState::Reachable } else { NeighState::Stale };
    // The record comes first: what waited goes on inside the update.
    cx.record(skb.id(), Record::Neigh { dev: skb.dev, address: sender, mac: arp.sha, event: NeighEvent::Learned });
    table::update(ns, cx, key, Some(arp.sha), state, Update { overrides, ..Update::default() });
    Ok(())
}

/// `arp_solicit`: asks for a neighbour: all, or the one at a known MAC. `source` is that of the packet that waits.
pub(super) fn solicit(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, target: Ipv4Addr, known: Option<Mac>, source: Option<IpAddr>) {
    let device = ns.devices.get(dev);
    let mac = device.mac;
    let mode = device.conf4.arp_announce.max(ns.sysctls.all4.arp_announce);
    let own = source.filter(|&source| address_type(ns, source, None) == RouteKind::Local);
    let sender = match (mode, own) {
        // 0: any address of ours.
        (0, Some(IpAddr::V4(own))) => Some(own),
        // 1: one that the target knows, being of a subnet with it.
        (1, Some(IpAddr::V4(own))) => {
            device.addrs.iter().any(|addr| on_subnet(addr, IpAddr::V4(own)) && on_subnet(addr, IpAddr::V4(target))).then_some(own)
        }
        // 2: the primary one of the target's subnet.
        _ => None,
    };
    let sender = sender.or_else(|| inet_select_addr(ns, dev, Some(target), scope::LINK)).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let question = Arp { op: REQUEST, sha: mac, spa: sender, tha: Mac::ZERO, tpa: target };
    let packet = cx.packet(&question.frame(known.unwrap_or(Mac::BROADCAST), mac), None, cause::ARP);
    send(ns, cx, dev, packet);
}

/// `inetdev_send_gratuitous_arp`: a request for an address of ours, in its own name.
pub(super) fn announce(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, own: Ipv4Addr) {
    let mac = ns.devices.get(dev).mac;
    let arp = Arp { op: REQUEST, sha: mac, spa: own, tha: Mac::ZERO, tpa: own };
    let packet = cx.packet(&arp.frame(Mac::BROADCAST, mac), None, cause::ARP);
    send(ns, cx, dev, packet);
}

/// `arp_xmit`.
fn send(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, packet: sim_core::Packet) {
    let frame = cx.snap(packet.bytes());
    cx.record(packet.id(), Record::Originate { socket: None, frame });
    let mut skb = Skb::new(packet, dev);
    skb.iif = DevId::NONE;
    skb.l3 = ETH_HLEN as u16;
    skb.pkt_type = PktType::Outgoing;
    dev::dev_queue_xmit(ns, cx, &mut skb);
}
