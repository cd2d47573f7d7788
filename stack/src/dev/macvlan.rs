//! macvlan: several devices with MACs of their own behind one (`drivers/net/macvlan.c`).
//!
//! ```text
//!   child (any namespace) -- port of its own -- lower device's namespace -> from_child -> siblings (bridge mode), or the wire
//!   the wire -> lower device -> handle_frame -> the child with that MAC, or the lower device's own stack
//! ```
//!
//! A child may live in another namespace than its lower device, so it is joined to it by a link, as a veth to its peer. Not here:
//! `source` mode, filters of multicast groups (a child sees all groups, and its stack drops what it did not join), queue lengths.

use std::fmt;

use sim_core::{Packet, PortNo, WireEvent};

use crate::Cx;
use crate::addr::Mac;
use crate::dev::device::DevId;
use crate::dev::{destination_mac, dev_queue_xmit, source_mac};
use crate::drop_reason::DropReason;
use crate::netns::Netns;
use crate::skb::{PktType, Skb};
use crate::trace::{Record, cause};

/// `mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MacvlanMode {
    /// No frames between siblings, not even from outside.
    Private,
    /// Everything goes to the wire; a switch may send it back.
    #[default]
    Vepa,
    /// Siblings reach each other directly.
    Bridge,
    /// The only child has the lower device for itself.
    Passthru,
}

impl MacvlanMode {
    /// All of them, with their words.
    pub const WORDS: [(&'static str, MacvlanMode); 4] = [
        ("private", MacvlanMode::Private),
        ("vepa", MacvlanMode::Vepa),
        ("bridge", MacvlanMode::Bridge),
        ("passthru", MacvlanMode::Passthru),
    ];
}

impl fmt::Display for MacvlanMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = MacvlanMode::WORDS.iter().find(|(_, mode)| mode == self).map_or("", |(word, _)| word);
        f.write_str(word)
    }
}

/// A child, as the namespace of its lower device knows it (`struct macvlan_dev`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Child {
    /// The device below.
    pub lower: DevId,
    /// Where the child is plugged in.
    pub port: PortNo,
    /// Its mode.
    pub mode: MacvlanMode,
    /// Its MAC.
    pub mac: Mac,
    /// Whether it is up.
    pub up: bool,
}

/// The child that is up and has a MAC (`macvlan_hash_lookup`).
fn with_mac(ns: &Netns, lower: DevId, mac: Mac) -> Option<Child> {
    ns.macvlans.iter().copied().find(|child| child.lower == lower && child.up && child.mac == mac)
}

/// `macvlan_queue_xmit`, in the namespace of the lower device: a frame came in at a port that is no device's, so a child has sent it.
pub(crate) fn from_child(ns: &mut Netns, cx: &mut Cx<'_>, port: PortNo, packet: Packet) {
    let Some(child) = ns.macvlans.iter().copied().find(|child| child.port == port) else {
        cx.record(packet.id(), Record::Wire { port, event: WireEvent::Unplugged });
        return cx.recycle(packet);
    };
    let lower = child.lower;
    let frame = cx.snap(packet.bytes());
    cx.record(packet.id(), Record::Resume { dev: lower, frame });
    let mut skb = Skb::new(packet, lower);
    skb.iif = DevId::NONE;
    skb.pkt_type = PktType::Outgoing;
    let Some(destination) = destination_mac(skb.packet.bytes()) else {
        return ns.finish(cx, skb, DropReason::PktTooSmall);
    };
    if child.mode == MacvlanMode::Bridge {
        if destination.is_multicast() {
            broadcast(ns, cx, &skb, Some(port), &[MacvlanMode::Bridge]);
        } else if with_mac(ns, lower, destination).is_some_and(|sibling| sibling.mode == MacvlanMode::Bridge) {
            // dev_forward_skb: as if it had come in through the lower device, whose taps see it.
            if !ns.devices.get(lower).up {
                return ns.finish(cx, skb, DropReason::DevReady);
            }
            cx.record(skb.id(), Record::DevIn { dev: lower, frame });
            skb.iif = lower;
            skb.pkt_type = PktType::OtherHost;
            let rest = handle_frame(ns, cx, &mut skb);
            debug_assert!(!rest, "the sibling was found a moment ago");
            return;
        }
    }
    dev_queue_xmit(ns, cx, &mut skb);
}

/// `macvlan_handle_frame`: a frame came in through a device that has children. Whether it is (also) for the device's own stack;
/// else it has been taken.
pub(crate) fn handle_frame(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> bool {
    let lower = skb.dev;
    let (Some(destination), Some(source)) = (destination_mac(skb.packet.bytes()), source_mac(skb.packet.bytes())) else {
        return true;
    };
    if destination.is_multicast() {
        use MacvlanMode::{Bridge, Passthru, Private, Vepa};
        match with_mac(ns, lower, source) {
            // From outside.
            None => broadcast(ns, cx, skb, None, &[Private, Vepa, Bridge, Passthru]),
            // A switch has sent it back.
            Some(child) => match child.mode {
                Vepa => broadcast(ns, cx, skb, Some(child.port), &[Vepa, Bridge]),
                // Its siblings saw it on its way out.
                Bridge => broadcast(ns, cx, skb, Some(child.port), &[Vepa]),
                Private | Passthru => {
                    hand_over(cx, skb, child);
                    return false;
                }
            },
        }
        return true;
    }
    let passthru = |child: &&Child| child.lower == lower && child.mode == MacvlanMode::Passthru;
    let child = ns.macvlans.iter().find(passthru).copied().or_else(|| with_mac(ns, lower, destination));
    let Some(child) = child else { return true };
    if child.up {
        hand_over(cx, skb, child);
    } else {
        ns.end(cx, skb, DropReason::DevReady);
    }
    false
}

/// `netif_rx` of a child.
fn hand_over(cx: &mut Cx<'_>, skb: &mut Skb, child: Child) {
    cx.record(skb.id(), Record::Queue { dev: skb.dev });
    cx.transmit(child.port, skb.packet.take());
}

/// `macvlan_broadcast`: a copy for each child of these modes that is up, but not for the one at `except`.
fn broadcast(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, except: Option<PortNo>, modes: &[MacvlanMode]) {
    for child in &ns.macvlans {
        if child.lower == skb.dev && child.up && Some(child.port) != except && modes.contains(&child.mode) {
            let copy = cx.copy(&skb.packet, cause::FLOOD_COPY);
            cx.transmit(child.port, copy);
        }
    }
}
