//! An 802.1Q VLAN device (`net/8021q`): what it sends leaves its lower device with a tag, what comes in there with its tag comes in
//! here without it.
//!
//! Not here: 802.1ad, priorities and their maps, GVRP, MVRP, loose binding, VLAN filtering of bridges (a bridge passes tags on).

use crate::Cx;
use crate::dev::device::{DevId, Device, DeviceKind};
use crate::dev::{deliver_by_type, dev_queue_xmit, netif_receive};
use crate::drop_reason::DropReason;
use crate::netns::Netns;
use crate::skb::Skb;
use crate::trace::Record;
use crate::view::{ETH_HLEN, be16, ethertype, put16};

/// Bytes of a tag: its EtherType and the TCI.
pub(crate) const TAG_LEN: usize = 4;
/// Bytes of the two MACs.
const MACS_LEN: usize = 12;
/// The VLAN's bits in a TCI.
const VID_MASK: u16 = 0x0fff;

/// A VLAN device: what stands behind `DeviceKind::Vlan`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vlan {
    /// The device below.
    pub lower: DevId,
    /// `id`: the VLAN.
    pub id: u16,
}

/// The VLAN device of a tag at a device (`vlan_find_dev`).
pub(crate) fn find(ns: &Netns, lower: DevId, id: u16) -> Option<DevId> {
    above(ns, lower).find(|device| device.vlan().is_some_and(|vlan| vlan.id == id)).map(|device| device.id)
}

/// The VLAN devices of a device.
pub(crate) fn above(ns: &Netns, lower: DevId) -> impl Iterator<Item = &Device> {
    ns.devices.iter().filter(move |device| matches!(&device.kind, DeviceKind::Vlan(vlan) if vlan.lower == lower))
}

/// `vlan_dev_hard_start_xmit`: pushes the tag between MACs and EtherType, and sends the frame out of the lower device.
pub(crate) fn xmit(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb, vlan: Vlan) {
    let frame = cx.snap(skb.packet.bytes());
    cx.record(skb.id(), Record::DevOut { dev: skb.dev, frame });
    if skb.packet.len() < ETH_HLEN {
        return ns.end(cx, skb, DropReason::PktTooSmall);
    }
    let frame = skb.packet.push(TAG_LEN);
    frame.copy_within(TAG_LEN..TAG_LEN + MACS_LEN, 0);
    put16(frame, MACS_LEN, ethertype::VLAN);
    put16(frame, MACS_LEN + 2, vlan.id);
    shift(skb, TAG_LEN as i32);
    skb.dev = vlan.lower;
    dev_queue_xmit(ns, cx, skb);
}

/// `vlan_do_receive`: a tagged frame came in through `skb.dev`. It goes on through the VLAN device, where there is one.
///
/// # Errors
/// There is none: the frame is still what it was.
pub(crate) fn receive<'a>(ns: &mut Netns, cx: &mut Cx<'_>, skb: &'a mut Skb) -> Result<(), &'a mut Skb> {
    let frame = skb.packet.bytes();
    if frame.len() < ETH_HLEN + TAG_LEN {
        ns.end(cx, skb, DropReason::PktTooSmall);
        return Ok(());
    }
    let Some(dev) = find(ns, skb.dev, be16(frame, ETH_HLEN) & VID_MASK) else { return Err(skb) };
    untag(skb);
    skb.dev = dev;
    skb.iif = dev;
    if !ns.devices.get(dev).up {
        ns.end(cx, skb, DropReason::DevReady);
        return Ok(());
    }
    let frame = cx.snap(skb.packet.bytes());
    cx.record(skb.id(), Record::DevIn { dev, frame });
    netif_receive(ns, cx, skb);
    Ok(())
}

/// A tagged frame for the stack itself: VLAN 0 is a priority only; another one that no device has is for somebody else.
pub(crate) fn deliver(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) {
    let Err(skb) = receive(ns, cx, skb) else { return };
    let frame = skb.packet.bytes();
    if be16(frame, ETH_HLEN) & VID_MASK != 0 {
        return match be16(frame, ETH_HLEN + 2) {
            ethertype::IPV4 | ethertype::IPV6 | ethertype::ARP => ns.end(cx, skb, DropReason::OtherHost),
            _ => ns.end(cx, skb, DropReason::UnhandledProto),
        };
    }
    untag(skb);
    if be16(skb.packet.bytes(), MACS_LEN) == ethertype::VLAN {
        return ns.end(cx, skb, DropReason::UnhandledProto);
    }
    deliver_by_type(ns, cx, skb);
}

/// `skb_vlan_untag`.
fn untag(skb: &mut Skb) {
    skb.packet.bytes_mut().copy_within(0..MACS_LEN, TAG_LEN);
    skb.packet.pull(TAG_LEN);
    shift(skb, -(TAG_LEN as i32));
}

/// Moves the offsets of the headers, where they are set.
fn shift(skb: &mut Skb, by: i32) {
    if usize::from(skb.l3) >= ETH_HLEN {
        skb.l3 = (i32::from(skb.l3) + by).max(0) as u16;
        skb.l4 = (i32::from(skb.l4) + by).max(0) as u16;
    }
}
