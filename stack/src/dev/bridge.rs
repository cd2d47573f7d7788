//! A bridge: learning, flooding, its forwarding database (`net/bridge`), without VLANs and without STP.
//!
//! ```text
//!   port -> handle_frame -> [br_netfilter PREROUTING] -> learn -> decide -+-> up: the bridge's own interface
//!                                                                         |
//!   bridge's own interface -> xmit ---------------------------------------+-> forward: [br_netfilter FORWARD, POSTROUTING] -> port
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;

use rustc_hash::FxHashMap;
use sim_core::SimTime;

use crate::Cx;
use crate::addr::Mac;
use crate::dev::device::DevId;
use crate::dev::{br_netfilter, deliver_by_type, destination_mac, dev_queue_xmit, source_mac};
use crate::drop_reason::DropReason;
use crate::errno::Errno;
use crate::netfilter::hook::HookVerdict;
use crate::netns::Netns;
use crate::skb::{PktType, Skb};
use crate::trace::{Bridged, Record, cause};
use crate::view::ETH_HLEN;

mod fdb;

pub use fdb::{Fdb, FdbEntry, FdbKind};

/// A bridge: what stands behind `DeviceKind::Bridge`.
#[derive(Debug, Default)]
pub struct Bridge {
    /// Its forwarding database.
    pub fdb: Fdb,
    /// Its ports, the newest first: the order in which the kernel floods.
    pub(crate) ports: Vec<DevId>,
    /// `group_fwd_mask`: which of 01:80:c2:00:00:0x it forwards.
    pub group_fwd_mask: u16,
    /// Whether its MTU was set by hand: else it is that of its smallest port.
    pub(crate) mtu_set: bool,
    /// Neighbours that br_netfilter has sent to through the neighbour table: their headers are cached (`neigh->hh`).
    pub(crate) cached_headers: BTreeSet<IpAddr>,
    /// Whether its MAC was set by hand: else it is the least of its ports'.
    pub(crate) mac_set: bool,
}

impl Bridge {
    /// A port was taken out.
    pub(crate) fn forget_port(&mut self, port: DevId) {
        self.ports.retain(|&at| at != port);
        self.fdb.forget_port(port, true);
    }
}

/// How a device behaves as a port of its bridge (`bridge link set`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BridgePort {
    /// `hairpin`: frames may leave through the port that they came in through.
    pub hairpin: bool,
    /// `isolated`: no frames between two isolated ports.
    pub isolated: bool,
    /// `learning`.
    pub learning: bool,
    /// `flood`: frames to unknown unicast addresses leave here.
    pub flood: bool,
    /// `mcast_flood`.
    pub mcast_flood: bool,
    /// `bcast_flood`.
    pub bcast_flood: bool,
}

impl Default for BridgePort {
    fn default() -> BridgePort {
        BridgePort { hairpin: false, isolated: false, learning: true, flood: true, mcast_flood: true, bcast_flood: true }
    }
}

/// What a frame is to the flood (`enum br_pkt_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cast {
    Unicast,
    Multicast,
    Broadcast,
}

impl Cast {
    fn of(destination: Mac) -> Cast {
        if destination == Mac::BROADCAST {
            Cast::Broadcast
        } else if destination.is_multicast() {
            Cast::Multicast
        } else {
            Cast::Unicast
        }
    }
}

/// Where a frame came from and whether it also goes up: what `maybe_deliver` asks.
#[derive(Clone, Copy, Debug)]
struct Origin {
    bridge: DevId,
    /// The port, or the bridge itself for a frame of its own.
    from: DevId,
    isolated: bool,
}

/// The ports of a bridge, the newest first.
pub(crate) fn ports(ns: &Netns, bridge: DevId) -> impl Iterator<Item = DevId> {
    ns.devices.get(bridge).bridge().into_iter().flat_map(|bridge| bridge.ports.iter().copied())
}

/// `br_handle_frame`: a frame came in through a port.
pub(crate) fn handle_frame(ns: &mut Netns, cx: &mut Cx<'_>, mut skb: Skb, bridge: DevId) {
    let frame = skb.packet.bytes();
    let (Some(destination), Some(source)) = (destination_mac(frame), source_mac(frame)) else {
        return ns.finish(cx, skb, DropReason::PktTooSmall);
    };
    if source.is_multicast() || source == Mac::ZERO {
        return ns.finish(cx, skb, DropReason::MacInvalidSource);
    }
    let device = ns.devices.get(bridge);
    if destination == device.mac {
        skb.pkt_type = PktType::Host;
    }
    if let [0x01, 0x80, 0xc2, 0, 0, last @ 0..=0x0f] = destination.0 {
        let mask = device.bridge().map_or(0, |bridge| bridge.group_fwd_mask);
        match last {
            // Without STP the frames of others pass, so that they can find loops.
            0 => {}
            1 => return ns.finish(cx, skb, DropReason::BridgeLinkLocal),
            _ if mask & (1 << last) != 0 => {}
            _ => {
                // Only for this host, and only through the port itself.
                learn(ns, cx, bridge, skb.dev, source);
                return deliver_by_type(ns, cx, &mut skb);
            }
        }
    }
    if !forwards(ns, bridge, skb.dev) {
        return ns.finish(cx, skb, DropReason::BridgeIngressStp);
    }
    if let Some(skb) = br_netfilter::pre_routing(ns, cx, skb, bridge) {
        handle_frame_finish(ns, cx, skb, bridge);
    }
}

/// `BR_STATE_FORWARDING`, at once: without STP a port waits for nothing.
fn forwards(ns: &Netns, bridge: DevId, port: DevId) -> bool {
    ns.devices.get(bridge).up && ns.devices.get(port).running()
}

/// `br_handle_frame_finish`: learns, decides.
pub(crate) fn handle_frame_finish(ns: &mut Netns, cx: &mut Cx<'_>, mut skb: Skb, bridge: DevId) {
    let port = skb.dev;
    let frame = skb.packet.bytes();
    let (Some(destination), Some(source)) = (destination_mac(frame), source_mac(frame)) else {
        return ns.finish(cx, skb, DropReason::PktTooSmall);
    };
    let learned = learn(ns, cx, bridge, port, source);
    let cast = Cast::of(destination);
    let origin = Origin { bridge, from: port, isolated: ns.devices.get(port).bridge_port.isolated };
    let up = match cast {
        Cast::Unicast => match lookup(ns, cx.now(), bridge, destination) {
            Some(entry) if entry.kind == FdbKind::Local => {
                cx.record(skb.id(), Record::Bridge { bridge, port, learned, decision: Bridged::Up });
                return pass_frame_up(ns, cx, skb, bridge);
            }
            Some(entry) => {
                cx.record(skb.id(), Record::Bridge { bridge, port, learned, decision: Bridged::Port(entry.port) });
                return if should_deliver(ns, &origin, entry.port) {
                    forward(ns, cx, skb, &origin, entry.port)
                } else {
                    ns.finish(cx, skb, DropReason::BridgeNoPort)
                };
            }
            None => false,
        },
        Cast::Broadcast => {
            skb.pkt_type = PktType::Broadcast;
            true
        }
        Cast::Multicast => true,
    };
    if let Some(rest) = flood(ns, cx, skb, &origin, cast, Flooding { learned, up }) {
        pass_frame_up(ns, cx, rest, bridge);
    }
}

/// `br_dev_xmit`: the bridge's own interface sends.
pub(crate) fn xmit(ns: &mut Netns, cx: &mut Cx<'_>, mut skb: Skb) {
    let bridge = skb.dev;
    if let Some(dnat) = skb.bridged_dnat.take() {
        return br_netfilter::resume_bridged_dnat(ns, cx, skb, bridge, dnat);
    }
    let frame = cx.snap(skb.packet.bytes());
    cx.record(skb.id(), Record::DevOut { dev: bridge, frame });
    let Some(destination) = destination_mac(skb.packet.bytes()) else {
        return ns.finish(cx, skb, DropReason::PktTooSmall);
    };
    let origin = Origin { bridge, from: bridge, isolated: false };
    let cast = Cast::of(destination);
    if cast == Cast::Unicast
        && let Some(entry) = lookup(ns, cx.now(), bridge, destination)
    {
        cx.record(skb.id(), Record::Bridge { bridge, port: bridge, learned: false, decision: Bridged::Port(entry.port) });
        return if entry.port != bridge && should_deliver(ns, &origin, entry.port) {
            forward(ns, cx, skb, &origin, entry.port)
        } else {
            ns.finish(cx, skb, DropReason::BridgeNoPort)
        };
    }
    // Nothing comes back: a frame of the bridge's own does not go up.
    let rest = flood(ns, cx, skb, &origin, cast, Flooding { learned: false, up: false });
    debug_assert!(rest.is_none());
}

/// `br_fdb_find_rcu`.
fn lookup(ns: &Netns, now: SimTime, bridge: DevId, destination: Mac) -> Option<FdbEntry> {
    ns.devices.get(bridge).bridge()?.fdb.find(destination, now)
}

/// `br_fdb_update`. Whether the table changed.
fn learn(ns: &mut Netns, cx: &mut Cx<'_>, bridge: DevId, port: DevId, source: Mac) -> bool {
    if !ns.devices.get(port).bridge_port.learning {
        return false;
    }
    let now = cx.now();
    ns.devices.bridge_mut(bridge).is_some_and(|bridge| bridge.fdb.learn(source, port, now))
}

/// `should_deliver`.
#[inline]
fn should_deliver(ns: &Netns, origin: &Origin, port: DevId) -> bool {
    let device = ns.devices.get(port);
    device.running()
        && (port != origin.from || device.bridge_port.hairpin)
        && !(origin.isolated && device.bridge_port.isolated)
        && ns.devices.get(origin.bridge).up
}

/// What a flood is told of its frame.
#[derive(Clone, Copy, Debug)]
struct Flooding {
    /// Whether its source was learned just now (for the record).
    learned: bool,
    /// Whether the frame goes up as well.
    up: bool,
}

/// `br_flood`: out of all ports that take it. The frame itself comes back where it goes up; else the last port gets it, and the
/// others copies.
fn flood(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb, origin: &Origin, cast: Cast, how: Flooding) -> Option<Skb> {
    let own = origin.from == origin.bridge;
    let takes = |ns: &Netns, port: DevId| {
        let flags = ns.devices.get(port).bridge_port;
        let flooded = match cast {
            Cast::Unicast => flags.flood,
            Cast::Multicast => flags.mcast_flood || own,
            Cast::Broadcast => flags.bcast_flood || own,
        };
        flooded && should_deliver(ns, origin, port)
    };
    let count = ports(ns, origin.bridge).filter(|&port| takes(ns, port)).count();
    let decision = match (how.up, count) {
        (true, 0) => Bridged::Up,
        (true, _) => Bridged::UpAndFlood(count as u16),
        (false, _) => Bridged::Flood(count as u16),
    };
    cx.record(skb.id(), Record::Bridge { bridge: origin.bridge, port: origin.from, learned: how.learned, decision });
    // By index: sending may not change the ports, but the borrow checker cannot know.
    let (mut at, mut left) = (0, count);
    while left > 0 {
        let Some(port) = ns.devices.get(origin.bridge).bridge().and_then(|bridge| bridge.ports.get(at).copied()) else { break };
        at += 1;
        if !takes(ns, port) {
            continue;
        }
        left -= 1;
        if left == 0 && !how.up {
            forward(ns, cx, skb, origin, port);
            return None;
        }
        let copy = clone_for(cx, &skb, port);
        forward(ns, cx, copy, origin, port);
    }
    if how.up {
        return Some(skb);
    }
    ns.finish(cx, skb, DropReason::BridgeNoPort);
    None
}

/// `skb_clone`, with the copy's records begun.
fn clone_for(cx: &mut Cx<'_>, skb: &Skb, port: DevId) -> Skb {
    let packet = cx.copy(&skb.packet, cause::FLOOD_COPY);
    let frame = cx.snap(packet.bytes());
    cx.record(packet.id(), Record::Resume { dev: port, frame });
    Skb { packet, ..*skb }
}

/// `__br_forward`, `br_dev_queue_push_xmit`: out of one port.
fn forward(ns: &mut Netns, cx: &mut Cx<'_>, mut skb: Skb, origin: &Origin, port: DevId) {
    skb.dev = port;
    if skb.bridge.is_some() && origin.from != origin.bridge {
        match br_netfilter::forward(ns, cx, &mut skb, origin.bridge, origin.from) {
            Ok(HookVerdict::Accept) => {}
            Ok(HookVerdict::Stolen) => return,
            Err(reason) => return ns.finish(cx, skb, reason),
        }
        return br_netfilter::post_routing(ns, cx, skb, origin.bridge);
    }
    push_xmit(ns, cx, skb);
}

/// `br_dev_queue_push_xmit`.
pub(crate) fn push_xmit(ns: &mut Netns, cx: &mut Cx<'_>, mut skb: Skb) {
    if skb.packet.len() > ns.devices.get(skb.dev).mtu as usize + ETH_HLEN + 4 {
        return ns.finish(cx, skb, DropReason::PktTooBig);
    }
    dev_queue_xmit(ns, cx, &mut skb);
}

/// `br_pass_frame_up`: the frame comes in through the bridge's own interface.
fn pass_frame_up(ns: &mut Netns, cx: &mut Cx<'_>, mut skb: Skb, bridge: DevId) {
    skb.dev = bridge;
    skb.iif = bridge;
    if !ns.devices.get(bridge).up {
        return ns.finish(cx, skb, DropReason::DevReady);
    }
    let frame = cx.snap(skb.packet.bytes());
    cx.record(skb.id(), Record::DevIn { dev: bridge, frame });
    deliver_by_type(ns, cx, &mut skb);
}

/// A device went up or down, or its carrier did: what that means to a bridge that it is, or is a port of.
pub(crate) fn port_changed(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId) {
    if ns.devices.get(dev).bridge().is_some() {
        update_carrier(ns, cx, dev);
        if !ns.devices.get(dev).up
            && let Some(bridge) = ns.devices.get_mut(dev).bridge_mut()
        {
            bridge.fdb.flush_dynamic();
        }
    }
    let Some(master) = ns.devices.get(dev).master else { return };
    let running = ns.devices.get(dev).running();
    if let Some(bridge) = ns.devices.get_mut(master).bridge_mut() {
        if !bridge.ports.contains(&dev) {
            bridge.ports.insert(0, dev);
        }
        if !running {
            // br_stp_disable_port
            bridge.fdb.forget_port(dev, false);
        }
    }
    update_carrier(ns, cx, master);
}

/// `br_port_state_selection`: a bridge has a carrier while one of its ports forwards.
pub(crate) fn update_carrier(ns: &mut Netns, cx: &mut Cx<'_>, bridge: DevId) {
    let carrier = ns.devices.get(bridge).up && ports(ns, bridge).any(|port| ns.devices.get(port).running());
    super::admin::set_carrier(ns, cx, bridge, carrier);
}

/// `br_stp_recalculate_bridge_id`: the least MAC of the ports, unless it was set by hand.
pub(crate) fn choose_mac(ns: &mut Netns, cx: &mut Cx<'_>, bridge: DevId) {
    let least = ns.devices.iter().filter(|device| device.master == Some(bridge)).map(|device| device.mac).min();
    if !ns.devices.get(bridge).bridge().is_some_and(|bridge| bridge.mac_set)
        && let Some(mac) = least
        && mac != ns.devices.get(bridge).mac
    {
        ns.devices.get_mut(bridge).mac = mac;
        crate::neigh::flush_device(ns, cx, bridge, false);
    }
    refresh_locals(ns, bridge);
}

/// `br_fdb_add_local`: the MACs of bridge and ports are local.
pub(crate) fn refresh_locals(ns: &mut Netns, bridge: DevId) {
    let members: Vec<(DevId, Mac)> = ns
        .devices
        .iter()
        .filter(|device| device.master == Some(bridge) || device.id == bridge)
        .map(|device| (device.id, device.mac))
        .collect();
    if let Some(state) = ns.devices.get_mut(bridge).bridge_mut() {
        state.fdb.set_locals(members.into_iter());
    }
}

/// `br_mtu_auto_adjust`: the least MTU of the ports, unless it was set by hand.
pub(crate) fn adjust_mtu(ns: &mut Netns, bridge: DevId) {
    if ns.devices.get(bridge).bridge().is_some_and(|bridge| bridge.mtu_set) {
        return;
    }
    let least = ns.devices.iter().filter(|device| device.master == Some(bridge)).map(|device| device.mtu).min();
    ns.devices.get_mut(bridge).mtu = least.unwrap_or(1500);
}

/// `bridge fdb add|replace MAC dev PORT master`: `port` may be the bridge itself (`self` on the bridge).
///
/// # Errors
/// `Inval` where `port` belongs to no bridge or the MAC is a multicast address, `Exist`.
pub(crate) fn fdb_add(ns: &mut Netns, now: SimTime, port: DevId, entry: (Mac, FdbKind), replace: bool) -> Result<(), Errno> {
    let (mac, kind) = entry;
    let bridge = ns.devices.get(port).master.unwrap_or(port);
    if mac.is_multicast() || mac == Mac::ZERO {
        return Err(Errno::Inval);
    }
    let state = ns.devices.get_mut(bridge).bridge_mut().ok_or(Errno::OpNotSupp)?;
    state.fdb.add(mac, FdbEntry { port, kind, updated: now, by_user: true }, replace)
}

/// `bridge fdb del MAC dev PORT master`.
///
/// # Errors
/// `NoEnt` where there is no such entry at that port.
pub(crate) fn fdb_delete(ns: &mut Netns, port: DevId, mac: Mac) -> Result<(), Errno> {
    let bridge = ns.devices.get(port).master.unwrap_or(port);
    let state = ns.devices.get_mut(bridge).bridge_mut().ok_or(Errno::OpNotSupp)?;
    state.fdb.delete(mac, port)
}

/// An index by MAC, for look-up only.
type ByMac = FxHashMap<Mac, FdbEntry>;
