//! Link-layer addresses of IP addresses: ARP, NDP, and the table of what they learned.
//!
//! In reading order: the seam and the way out (this file), [`table`] (entries, their states and timers), [`arp`], [`ndp`],
//! [`show`] (the lines of `ip neigh`).
//!
//! A REACHABLE entry has no timer: that it has grown STALE is seen when it is used, or listed. The states that send something by
//! themselves (INCOMPLETE, DELAY, PROBE) have one. Not here: `proxy_delay` (a proxy answers at once), garbage collection by
//! number of entries (`gc_thresh`), router advertisements and redirects.

pub(crate) mod arp;
pub(crate) mod ndp;
mod show;
pub(crate) mod table;

use std::net::{IpAddr, Ipv6Addr};

pub use self::show::{show, show_proxies};
pub use self::table::Neighbours;
use self::table::{Key, Reach};
use crate::Cx;
use crate::addr::{Family, Mac};
use crate::dev;
use crate::dev::device::{DevId, DeviceKind};
use crate::drop_reason::DropReason;
use crate::errno::Errno;
use crate::ip;
use crate::netns::Netns;
use crate::route::{RouteKind, address_type};
use crate::skb::{PktType, Skb};
use crate::trace::{NeighEvent, Record};
use crate::view::{ETH_HLEN, ethertype, put16};

/// `NUD_*`: what is known of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names are those of ip-neighbour(8)")]
pub enum NeighState {
    None,
    Incomplete,
    Reachable,
    Stale,
    Delay,
    Probe,
    Failed,
    Noarp,
    Permanent,
}

/// One entry, as `ip neigh` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NeighInfo {
    /// Device.
    pub dev: DevId,
    /// IP address.
    pub address: IpAddr,
    /// MAC, where known.
    pub mac: Option<Mac>,
    /// State.
    pub state: NeighState,
    /// Whether it is a proxy entry (`ip neigh add proxy`).
    pub proxy: bool,
    /// Whether the neighbour is a router (NDP).
    pub router: bool,
}

/// `neigh_output` behind `ip_finish_output2`: writes the link-layer header for `next_hop` and sends the packet out of `skb.dev`
/// (`dev::dev_queue_xmit`), or queues it and asks. Ends the skb or takes it: its records end here or in the device.
/// Without ARP (loopback, NOARP devices) no question is asked. Multicast and broadcast addresses are mapped.
///
/// # Errors
/// Why the packet was dropped at once; that has been recorded.
pub(crate) fn output(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb, next_hop: IpAddr) -> Result<(), DropReason> {
    let device = ns.devices.get(skb.dev);
    if matches!(device.kind, DeviceKind::Loopback) {
        send(ns, cx, skb, Mac::ZERO);
        return Ok(());
    }
    if let Some(mac) = group_mac(skb, next_hop) {
        send(ns, cx, skb, mac);
        return Ok(());
    }
    let key = Key::new(skb.dev, next_hop);
    match ns.neighbours.reach(key, cx.now()) {
        Reach::Known(mac) => {
            resolved(ns, cx, skb, next_hop, mac);
            Ok(())
        }
        Reach::Aging(mac) => {
            // STALE: it is used as it is, and asked for in a while if nothing confirms it (`neigh_event_send`).
            let delay = params(ns, skb.dev, next_hop).delay_first_probe_time;
            table::enter_delay(ns, cx, key, delay);
            resolved(ns, cx, skb, next_hop, mac);
            Ok(())
        }
        Reach::Unknown => ask(ns, cx, skb.take(), next_hop),
    }
}

fn resolved(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb, next_hop: IpAddr, mac: Mac) {
    cx.record(skb.id(), Record::Neigh { dev: skb.dev, address: next_hop, mac, event: NeighEvent::Resolved });
    send(ns, cx, skb, mac);
}

/// No usable entry: the packet waits, and the first of them asks.
fn ask(ns: &mut Netns, cx: &mut Cx<'_>, mut skb: Skb, next_hop: IpAddr) -> Result<(), DropReason> {
    if !ns.devices.get(skb.dev).up {
        ns.finish(cx, skb, DropReason::DevReady);
        return Err(DropReason::DevReady);
    }
    // `arp_constructor`, `ndisc_constructor`: without ARP the neighbour has our own address.
    if ns.devices.get(skb.dev).noarp() {
        let own = ns.devices.get(skb.dev).mac;
        send(ns, cx, &mut skb, own);
        return Ok(());
    }
    // `arp_constructor`: the broadcast address of a subnet of ours.
    if next_hop.is_ipv4() && address_type(ns, next_hop, None) == RouteKind::Broadcast {
        send(ns, cx, &mut skb, Mac::BROADCAST);
        return Ok(());
    }
    let (dev, id) = (skb.dev, skb.id());
    let limit = params(ns, dev, next_hop).unres_qlen;
    let key = Key::new(dev, next_hop);
    let Some(entry) = ns.neighbours.entry(key, dev, next_hop) else {
        ns.finish(cx, skb, DropReason::NeighCreateFail);
        return Err(DropReason::NeighCreateFail);
    };
    let first = entry.state != NeighState::Incomplete;
    if first && mcast_solicit(ns, dev, next_hop) == 0 {
        // `mcast_solicit` 0: fails without a question.
        set_failed(ns, key);
        fail(ns, cx, skb, next_hop);
        return Err(DropReason::NeighFailed);
    }
    cx.record(id, Record::Neigh { dev, address: next_hop, mac: Mac::ZERO, event: NeighEvent::Incomplete });
    cx.record(id, Record::Queue { dev });
    // The question names the packet's own source where it may, so it is read before the packet is put away.
    let source = source_of(&skb);
    let entry = ns.neighbours.entry(key, dev, next_hop).expect("the entry was made above");
    let overflow = if entry.waiting.len() >= usize::from(limit.max(1)) { entry.waiting.pop_front() } else { None };
    entry.waiting.push_back(skb);
    if let Some(oldest) = overflow {
        let frame = cx.snap(oldest.packet.bytes());
        cx.record(oldest.id(), Record::Resume { dev, frame });
        ns.finish(cx, oldest, DropReason::NeighQueueFull);
    }
    if first {
        table::enter_incomplete(ns, cx, key);
        solicit(ns, cx, dev, next_hop, None, source);
    }
    Ok(())
}

fn mcast_solicit(ns: &Netns, dev: DevId, address: IpAddr) -> u8 {
    params(ns, dev, address).mcast_solicit
}

fn set_failed(ns: &mut Netns, key: Key) {
    if let Some(entry) = ns.neighbours.get_mut(key) {
        entry.state = NeighState::Failed;
    }
}

/// Source address of a packet that is about to leave.
fn source_of(skb: &Skb) -> Option<IpAddr> {
    skb.family.map(|_| skb.src())
}

/// `arp_solicit`, `ndisc_solicit`: asks all, or the one whose MAC is known.
fn solicit(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, target: IpAddr, known: Option<Mac>, source: Option<IpAddr>) {
    match target {
        IpAddr::V4(target) => arp::solicit(ns, cx, dev, target, known, source),
        IpAddr::V6(target) => ndp::solicit(ns, cx, dev, target, known.is_some(), source),
    }
}

/// The link-layer address of a group, and of everybody; none for a single host.
#[inline]
fn group_mac(skb: &Skb, next_hop: IpAddr) -> Option<Mac> {
    match next_hop {
        IpAddr::V4(v4) if v4.is_broadcast() || skb.route.as_ref().is_some_and(|route| route.kind == RouteKind::Broadcast) => {
            Some(Mac::BROADCAST)
        }
        IpAddr::V4(v4) if v4.is_multicast() => {
            let [_, b, c, d] = v4.octets();
            Some(Mac([1, 0, 0x5e, b & 0x7f, c, d]))
        }
        IpAddr::V6(v6) if v6.is_multicast() => {
            let octets = v6.octets();
            Some(Mac([0x33, 0x33, octets[12], octets[13], octets[14], octets[15]]))
        }
        _ => None,
    }
}

/// RFC 4291 section 2.7.1: `ff02::1:ffXX:XXXX`.
pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let octets = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, octets[13], octets[14], octets[15]])
}

/// Writes the link-layer header in front of the IP header and sends the frame.
fn send(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb, mac: Mac) {
    let l3 = usize::from(skb.l3);
    let kind = match skb.family {
        Some(Family::V6) => ethertype::IPV6,
        _ => ethertype::IPV4,
    };
    // The header that it came with leaves room for its new one.
    if l3 >= ETH_HLEN {
        skb.packet.pull(l3 - ETH_HLEN);
    } else {
        skb.packet.push(ETH_HLEN - l3);
    }
    skb.l4 = skb.l4 - skb.l3 + ETH_HLEN as u16;
    skb.l3 = ETH_HLEN as u16;
    let source = ns.devices.get(skb.dev).mac;
    write_ethernet(skb.packet.bytes_mut(), mac, source, kind);
    skb.pkt_type = PktType::Outgoing;
    dev::dev_queue_xmit(ns, cx, skb);
}

/// The first 14 bytes of a frame.
pub(crate) fn write_ethernet(frame: &mut [u8], to: Mac, from: Mac, kind: u16) {
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&from.0);
    put16(frame, 12, kind);
}

/// The sysctls that the entries of a device follow.
fn params(ns: &Netns, dev: DevId, address: IpAddr) -> &crate::sysctl::ConfNeigh {
    let device = ns.devices.get(dev);
    match address {
        IpAddr::V4(_) => &device.neigh4,
        IpAddr::V6(_) => &device.neigh6,
    }
}

/// What waited for an entry goes on.
fn release(ns: &mut Netns, cx: &mut Cx<'_>, key: Key) {
    let Some(entry) = ns.neighbours.get_mut(key) else { return };
    let address = entry.address;
    for mut skb in std::mem::take(&mut entry.waiting) {
        let frame = cx.snap(skb.packet.bytes());
        cx.record(skb.id(), Record::Resume { dev: skb.dev, frame });
        // Why it is dropped now, if it is, has been recorded, and nobody waits for the answer.
        let _ = output(ns, cx, &mut skb, address);
    }
}

/// Nobody answered: what waited is dropped, and its senders are told.
fn fail_all(ns: &mut Netns, cx: &mut Cx<'_>, key: Key) {
    let Some(entry) = ns.neighbours.get_mut(key) else { return };
    let address = entry.address;
    for skb in std::mem::take(&mut entry.waiting) {
        let frame = cx.snap(skb.packet.bytes());
        cx.record(skb.id(), Record::Resume { dev: skb.dev, frame });
        fail(ns, cx, skb, address);
    }
}

fn fail(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb, address: IpAddr) {
    cx.record(skb.id(), Record::Neigh { dev: skb.dev, address, mac: Mac::ZERO, event: NeighEvent::Failed });
    ip::icmp::neigh_failed(ns, cx, skb);
}

/// What waited is dropped in silence: its device, or its entry, is gone.
fn purge(ns: &mut Netns, cx: &mut Cx<'_>, waiting: std::collections::VecDeque<Skb>) {
    for skb in waiting {
        let frame = cx.snap(skb.packet.bytes());
        cx.record(skb.id(), Record::Resume { dev: skb.dev, frame });
        ns.finish(cx, skb, DropReason::NeighFailed);
    }
}

/// `arp_rcv`: an ARP packet that came in through `skb.dev`; `skb.l3` is the offset of the ARP header. Consumes it, records included.
pub(crate) fn arp_rcv(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb) {
    match arp::receive(ns, cx, &skb) {
        Ok(()) => {
            cx.record(skb.id(), Record::Deliver { socket: None });
            cx.recycle(skb.packet);
        }
        Err(reason) => ns.finish(cx, skb, reason),
    }
}

/// `ndisc_rcv`: a neighbour discovery message (ICMPv6 133 to 137) that passed INPUT. The caller ends its records.
///
/// # Errors
/// `PktTooSmall`, `IcmpUnwanted` for a malformed message, `NeighConsumed` for one that is not for us.
pub(crate) fn ndisc_rcv(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<(), DropReason> {
    ndp::receive(ns, cx, skb)
}

/// A timer of an entry has gone off, or that of duplicate address detection.
pub(crate) fn on_timer(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, address: IpAddr) {
    if let IpAddr::V6(own) = address
        && ns.neighbours.dad_is_due(dev, own)
    {
        return dad_timer(ns, cx, dev, own);
    }
    table::on_timer(ns, cx, Key::new(dev, address));
}

/// A device went down, lost an address or was deleted (`neigh_ifdown`, `neigh_changeaddr`): its entries go; what waited is
/// dropped. `keep_permanent` on carrier loss.
pub(crate) fn flush_device(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, keep_permanent: bool) {
    for family in Family::BOTH {
        flush_family(ns, cx, dev, family, keep_permanent);
    }
    if !keep_permanent {
        ns.neighbours.proxies.retain(|&(owner, _)| owner != dev);
    }
}

/// [`flush_device`] for one family.
pub(crate) fn flush_family(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, family: Family, keep_permanent: bool) {
    for key in ns.neighbours.of_device(dev, family) {
        if keep_permanent && ns.neighbours.get_mut(key).is_some_and(|entry| entry.state == NeighState::Permanent) {
            continue;
        }
        remove(ns, cx, key);
    }
}

fn remove(ns: &mut Netns, cx: &mut Cx<'_>, key: Key) {
    let Some(mut entry) = ns.neighbours.remove(key) else { return };
    if let Some(timer) = entry.timer.take() {
        ns.timers.cancel(timer);
    }
    purge(ns, cx, entry.waiting);
}

/// An address has become ours: whatever an entry said about it is void.
pub(crate) fn own_address(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, address: IpAddr) {
    remove(ns, cx, Key::new(dev, address));
}

/// `ip neigh replace`: sets an entry; what waited for it goes on.
///
/// # Errors
/// `Inval` for a multicast address, or where a state needs a MAC and there is none; `NoBufs` where the table is full.
pub(crate) fn set(
    ns: &mut Netns,
    cx: &mut Cx<'_>,
    dev: DevId,
    address: IpAddr,
    mac: Option<Mac>,
    state: NeighState,
) -> Result<(), Errno> {
    let valid = !matches!(state, NeighState::None | NeighState::Incomplete | NeighState::Failed);
    if address.is_multicast() || (valid && mac.is_none() && state != NeighState::Noarp) {
        return Err(Errno::Inval);
    }
    let key = Key::new(dev, address);
    ns.neighbours.entry(key, dev, address).ok_or(Errno::NoBufs)?;
    table::force(ns, cx, key, mac, state);
    if valid {
        release(ns, cx, key);
    }
    Ok(())
}

/// `ip neigh del`, and `ip neigh del proxy`.
///
/// # Errors
/// `NoEnt`.
pub(crate) fn delete(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, address: IpAddr, proxy: bool) -> Result<(), Errno> {
    if proxy {
        return if ns.neighbours.proxies.remove(&(dev, address)) { Ok(()) } else { Err(Errno::NoEnt) };
    }
    let key = Key::new(dev, address);
    if ns.neighbours.get_mut(key).is_none() {
        return Err(Errno::NoEnt);
    }
    remove(ns, cx, key);
    Ok(())
}

/// `ip neigh add proxy`. [`DevId::NONE`]: on any device.
///
/// # Errors
/// `NoBufs` where there are too many.
pub(crate) fn set_proxy(ns: &mut Netns, dev: DevId, address: IpAddr) -> Result<(), Errno> {
    if ns.neighbours.proxies.len() >= table::ENTRIES_LIMIT {
        return Err(Errno::NoBufs);
    }
    ns.neighbours.proxies.insert((dev, address));
    Ok(())
}

/// Gratuitous ARP (a request for its own address), or an unsolicited neighbour advertisement.
pub(crate) fn announce(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, address: IpAddr) {
    match address {
        IpAddr::V4(own) => arp::announce(ns, cx, dev, own),
        IpAddr::V6(own) => ndp::announce(ns, cx, dev, own),
    }
}

/// `addrconf_dad_begin`: asks whether somebody has the address already; one second without an answer makes it ours.
pub(crate) fn start_dad(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, own: Ipv6Addr) {
    set_tentative(ns, dev, own);
    let probes = ns.devices.get(dev).conf6.dad_transmits;
    dad_probe(ns, cx, dev, own, probes);
}

fn dad_probe(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, own: Ipv6Addr, left: u8) {
    ndp::ask_for_own(ns, cx, dev, own);
    let wait = ns.devices.get(dev).neigh6.retrans_time;
    let timer = ns.timers.arm(cx, cx.now() + wait, crate::timer::Timer::Neighbour(dev, IpAddr::V6(own)));
    if let Some(dad) = ns.neighbours.dad.get_mut(&(dev, own)) {
        *dad = table::Dad { timer: Some(timer), left: left.saturating_sub(1) };
    }
}

fn dad_timer(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, own: Ipv6Addr) {
    let Some(left) = ns.neighbours.dad.get(&(dev, own)).map(|dad| dad.left) else { return };
    if left > 0 { dad_probe(ns, cx, dev, own, left) } else { dev::addr::dad_completed(ns, cx, dev, own) }
}

/// The address is the device's, but not known to be nobody else's.
pub(crate) fn set_tentative(ns: &mut Netns, dev: DevId, own: Ipv6Addr) {
    ns.neighbours.dad.insert((dev, own), table::Dad { timer: None, left: 0 });
}

/// It is ours now.
pub(crate) fn clear_tentative(ns: &mut Netns, dev: DevId, own: Ipv6Addr) {
    stop_dad(ns, dev, own);
}

/// The address is gone.
pub(crate) fn stop_dad(ns: &mut Netns, dev: DevId, own: Ipv6Addr) {
    if let Some(timer) = ns.neighbours.dad.remove(&(dev, own)).and_then(|dad| dad.timer) {
        ns.timers.cancel(timer);
    }
}

#[cfg(test)]
mod tests;
