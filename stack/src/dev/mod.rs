//! Devices: what frames come in through and go out of (`net/core/dev.c`).

pub mod addr;
pub mod admin;
pub(crate) mod br_netfilter;
pub mod bridge;
pub mod device;
pub(crate) mod dummy;
pub(crate) mod flow;
pub mod macvlan;
pub mod vlan;
pub mod vxlan;

use crate::Cx;
use crate::addr::Mac;
use crate::dev::device::DeviceKind;
use crate::drop_reason::DropReason;
use crate::ip::input;
use crate::neigh;
use crate::netns::Netns;
use crate::skb::{PktType, Skb};
use crate::trace::Record;
use crate::view::{ETH_HLEN, be16, ethertype};

/// `net.core.netdev_max_backlog`: packets that a namespace may have sent to itself and not yet received.
pub(crate) const MAX_BACKLOG: usize = 1000;

/// `__netif_receive_skb_core`: a frame came in through `skb.dev`, its records have begun. `skb.packet` begins with the Ethernet
/// header (loopback included). Ends it, or takes it.
pub(crate) fn netif_receive(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) {
    let device = ns.devices.get(skb.dev);
    if !device.up {
        return ns.end(cx, skb, DropReason::DevReady);
    }
    let Some(destination) = destination_mac(skb.packet.bytes()) else {
        return ns.end(cx, skb, DropReason::PktTooSmall);
    };
    skb.pkt_type = pkt_type(destination, device.mac);
    match device.master {
        // The VLAN devices of a port come before its bridge.
        Some(bridge) if be16(skb.packet.bytes(), 12) == ethertype::VLAN => {
            if let Err(skb) = vlan::receive(ns, cx, skb) {
                bridge::handle_frame(ns, cx, skb.take(), bridge);
            }
        }
        Some(bridge) => bridge::handle_frame(ns, cx, skb.take(), bridge),
        None if device.macvlans => above(ns, cx, skb),
        None => deliver_by_type(ns, cx, skb),
    }
}

/// Through a device that macvlan devices stand on: its VLAN devices, its macvlan devices, its own stack.
#[cold]
fn above(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) {
    if be16(skb.packet.bytes(), 12) == ethertype::VLAN {
        let Err(rest) = vlan::receive(ns, cx, skb) else { return };
        if macvlan::handle_frame(ns, cx, rest) {
            vlan::deliver(ns, cx, rest);
        }
    } else if macvlan::handle_frame(ns, cx, skb) {
        deliver_by_type(ns, cx, skb);
    }
}

/// `deliver_skb`: hands a frame to its protocol. Ends it, or takes it.
pub(crate) fn deliver_by_type(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) {
    skb.l3 = ETH_HLEN as u16;
    match be16(skb.packet.bytes(), 12) {
        ethertype::IPV4 | ethertype::IPV6 => input::ip_rcv(ns, cx, skb),
        ethertype::ARP => neigh::arp_rcv(ns, cx, skb.take()),
        ethertype::VLAN => vlan::deliver(ns, cx, skb),
        _ => ns.end(cx, skb, DropReason::UnhandledProto),
    }
}

/// `eth_type_trans`: for whom the frame is, as its device sees it.
#[inline]
fn pkt_type(destination: Mac, own: Mac) -> PktType {
    if destination == own {
        PktType::Host
    } else if destination == Mac::BROADCAST {
        PktType::Broadcast
    } else if destination.is_multicast() {
        PktType::Multicast
    } else {
        PktType::OtherHost
    }
}

#[inline]
pub(crate) fn destination_mac(frame: &[u8]) -> Option<Mac> {
    let header = frame.get(..ETH_HLEN)?;
    Some(Mac([header[0], header[1], header[2], header[3], header[4], header[5]]))
}

#[inline]
pub(crate) fn source_mac(frame: &[u8]) -> Option<Mac> {
    let header = frame.get(..ETH_HLEN)?;
    Some(Mac([header[6], header[7], header[8], header[9], header[10], header[11]]))
}

/// `dev_queue_xmit`: a frame, link-layer header written, leaves through `skb.dev`: a port (`Record::Transmit`, `cx.transmit`), a
/// bridge's own interface (into the bridge), loopback (back in). Ends it or takes it, records included.
pub(crate) fn dev_queue_xmit(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) {
    let device = ns.devices.get(skb.dev);
    if !device.running() {
        // A device without carrier has the noop queue: its packets vanish.
        return ns.end(cx, skb, DropReason::DevReady);
    }
    match &device.kind {
        DeviceKind::Veth | DeviceKind::Macvlan(_) => {
            let Some(port) = device.port else {
                return ns.end(cx, skb, DropReason::DevReady);
            };
            let frame = cx.snap_sent(&mut skb.packet);
            cx.record(skb.id(), Record::Transmit { dev: skb.dev, frame });
            cx.transmit(port, skb.packet.take());
        }
        DeviceKind::Loopback => {
            if ns.backlog.len() >= MAX_BACKLOG {
                return ns.end(cx, skb, DropReason::QdiscDrop);
            }
            let frame = cx.snap(skb.packet.bytes());
            cx.record(skb.id(), Record::Transmit { dev: skb.dev, frame });
            // loopback_xmit: the socket lets go of the packet; its mark, connection and route stay.
            skb.owner = None;
            skb.frag_max = 0;
            ns.requeue(cx, skb.dev, skb.take());
        }
        DeviceKind::Bridge(_) => bridge::xmit(ns, cx, skb.take()),
        DeviceKind::Vxlan(_) => vxlan::xmit(ns, cx, skb.take()),
        &DeviceKind::Vlan(vlan) => vlan::xmit(ns, cx, skb, vlan),
        DeviceKind::Dummy => dummy::xmit(cx, skb.take()),
    }
}
