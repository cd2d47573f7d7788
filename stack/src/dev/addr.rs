//! Addresses of devices (`net/ipv4/devinet.c`, `net/ipv6/addrconf.c`) and the routes that come and go with them.
//!
//! Not here: router solicitations, multicast listener reports and addresses out of router advertisements; the random delay in
//! front of duplicate address detection; `noprefixroute`, lifetimes, temporary addresses; anycast addresses of routers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Cx;
use crate::addr::{Family, Mac};
use crate::dev::device::{DevId, DeviceKind, IfAddr};
use crate::errno::Errno;
use crate::neigh;
use crate::netns::Netns;
use crate::provenance::ProvId;
use crate::route::fib::{FibRoute, bits, mask, protocol, scope, table};
use crate::route::select::{on_subnet, scope_of};
use crate::route::{LOOPBACK, RouteKind, SpecKind, address_type, edit};

/// Metric of the routes that IPv6 makes for prefixes and multicast (`IP6_RT_PRIO_ADDRCONF`).
const METRIC_ADDRCONF: u32 = 256;
/// Addresses of one device.
const ADDRESSES_LIMIT: usize = 4096;

/// `ip addr add`: the address, its local and broadcast routes, and its connected route where the device is up.
///
/// # Errors
/// `Exist` where the device has the address, `Acces` for IPv6 where it is off, `Inval`, `NoBufs`.
pub(crate) fn add(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, address: IfAddr) -> Result<(), Errno> {
    let family = Family::of(address.address);
    if address.prefix_len > family.bits() || Family::of(address.peer) != family {
        return Err(Errno::Inval);
    }
    if ns.devices.get(dev).addrs.len() >= ADDRESSES_LIMIT {
        return Err(Errno::NoBufs);
    }
    match family {
        Family::V4 => add_v4(ns, cx, dev, address),
        Family::V6 => add_v6(ns, cx, dev, address),
    }
}

/// `inet_insert_ifa`: primaries in front of secondaries.
fn add_v4(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, mut address: IfAddr) -> Result<(), Errno> {
    let addrs = &mut ns.devices.get_mut(dev).addrs;
    address.secondary = false;
    for known in addrs.iter().filter(|known| known.prefix_len == address.prefix_len && on_subnet(known, address.peer)) {
        if known.address == address.address {
            return Err(Errno::Exist);
        }
        if known.scope != address.scope {
            return Err(Errno::Inval);
        }
        address.secondary = true;
    }
    let at = if address.secondary {
        addrs.iter().rposition(|known| known.address.is_ipv4()).map_or(0, |at| at + 1)
    } else {
        let before = |known: &IfAddr| known.address.is_ipv4() && !known.secondary && address.scope <= known.scope;
        addrs.iter().rposition(before).map_or(0, |at| at + 1)
    };
    addrs.insert(at, address.clone());
    add_routes_v4(ns, dev, &address);
    neigh::own_address(ns, cx, dev, address.address);
    let device = ns.devices.get(dev);
    if device.up && (device.conf4.arp_notify || ns.sysctls.all4.arp_notify) {
        neigh::announce(ns, cx, dev, address.address);
    }
    Ok(())
}

/// `fib_add_ifaddr`.
fn add_routes_v4(ns: &mut Netns, dev: DevId, address: &IfAddr) {
    let device = ns.devices.get(dev);
    let (up, loopback) = (device.up, matches!(device.kind, DeviceKind::Loopback));
    let primary = device
        .addrs
        .iter()
        .find(|known| !known.secondary && known.prefix_len == address.prefix_len && on_subnet(known, address.peer));
    let source = primary.map_or(address.address, |primary| primary.address);
    let own = bits(address.address);
    let prefix = bits(address.peer) & mask(address.prefix_len);
    let route = |kind| kernel_v4(kind, dev, source, address.prov);
    edit::add_kernel(ns, Family::V4, table::LOCAL, (own, 32), route(SpecKind::Local));
    if !up {
        return;
    }
    if let Some(broadcast) = address.broadcast.filter(|&broadcast| broadcast != IpAddr::V4(Ipv4Addr::BROADCAST)) {
        edit::add_kernel(ns, Family::V4, table::LOCAL, (bits(broadcast), 32), route(SpecKind::Broadcast));
    }
    let zero_net = prefix >> 120 == 0;
    if zero_net || address.secondary || (prefix == own && address.prefix_len == 32) {
        return;
    }
    let (kind, id) = if loopback { (SpecKind::Local, table::LOCAL) } else { (SpecKind::Unicast, table::MAIN) };
    edit::add_kernel(ns, Family::V4, id, (prefix, address.prefix_len), route(kind));
    if address.prefix_len < 31 {
        edit::add_kernel(ns, Family::V4, table::LOCAL, (last_of(prefix, address.prefix_len), 32), route(SpecKind::Broadcast));
    }
}

/// The last address of an IPv4 subnet.
fn last_of(prefix: u128, len: u8) -> u128 {
    (prefix | !mask(len)) & mask(32)
}

/// `fib_magic`.
fn kernel_v4(kind: SpecKind, dev: DevId, source: IpAddr, prov: ProvId) -> FibRoute {
    let local = kind == SpecKind::Local;
    let (scope, hop_scope) = if local { (scope::HOST, scope::NOWHERE) } else { (scope::LINK, scope::HOST) };
    FibRoute {
        kind,
        tos: 0,
        metric: 0,
        scope,
        protocol: protocol::KERNEL,
        src: Some(source),
        mtu: 0,
        mtu_lock: false,
        pref: 0,
        hops: vec![edit::hop(None, dev, hop_scope)],
        prov,
    }
}

/// `fib_del_ifaddr`, for an address that stands in the list no more: its routes go, except those that another address needs.
fn delete_routes_v4(ns: &mut Netns, dev: DevId, address: &IfAddr) {
    let own = bits(address.address);
    let prefix = bits(address.peer) & mask(address.prefix_len);
    let rest: Vec<IfAddr> = ns.devices.get(dev).addrs.iter().filter(|known| known.address.is_ipv4()).cloned().collect();
    let loopback = matches!(ns.devices.get(dev).kind, DeviceKind::Loopback);
    let same_prefix =
        |known: &IfAddr| known.prefix_len == address.prefix_len && bits(known.peer) & mask(known.prefix_len) == prefix;
    let host = prefix == own && address.prefix_len == 32;
    if !address.secondary && !host && !rest.iter().any(|known| !known.secondary && same_prefix(known)) {
        let (kind, id) = if loopback { (SpecKind::Local, table::LOCAL) } else { (SpecKind::Unicast, table::MAIN) };
        edit::delete_kernel(ns, Family::V4, id, (prefix, address.prefix_len), kind, dev);
    }
    let broadcasts = |known: &IfAddr| {
        let subnet = (known.prefix_len < 31).then(|| last_of(bits(known.peer) & mask(known.prefix_len), known.prefix_len));
        [subnet, known.broadcast.map(bits)]
    };
    for broadcast in broadcasts(address).into_iter().flatten() {
        if !rest.iter().any(|known| broadcasts(known).contains(&Some(broadcast))) {
            edit::delete_kernel(ns, Family::V4, table::LOCAL, (broadcast, 32), SpecKind::Broadcast, dev);
        }
    }
    if !rest.iter().any(|known| known.address == address.address) {
        edit::delete_kernel(ns, Family::V4, table::LOCAL, (own, 32), SpecKind::Local, dev);
    }
    if address_type(ns, address.address, None) != RouteKind::Local {
        edit::address_gone(ns, address.address);
    }
}

/// `ip addr del`: also its secondaries (or their promotion), and its routes.
///
/// # Errors
/// `AddrNotAvail` where the device lacks it.
pub(crate) fn delete(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, address: IpAddr, prefix_len: Option<u8>) -> Result<(), Errno> {
    let device = ns.devices.get_mut(dev);
    let wanted = |known: &IfAddr| known.address == address && prefix_len.is_none_or(|len| len == known.prefix_len);
    let at = device.addrs.iter().position(wanted).ok_or(Errno::AddrNotAvail)?;
    let before: Vec<IpAddr> = device.addrs.iter().map(|known| known.address).collect();
    match Family::of(address) {
        Family::V4 => delete_v4(ns, cx, dev, at),
        Family::V6 => delete_v6(ns, cx, dev, at),
    }
    // Secondaries may have gone along.
    for address in before {
        if !ns.devices.get(dev).addrs.iter().any(|known| known.address == address) {
            crate::conntrack::nat::masq_address_gone(ns, address);
        }
    }
    Ok(())
}

/// `__inet_del_ifa`.
fn delete_v4(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, at: usize) {
    let promote = ns.sysctls.all4.promote_secondaries || ns.devices.get(dev).conf4.promote_secondaries;
    let addrs = &mut ns.devices.get_mut(dev).addrs;
    let gone = addrs.remove(at);
    let follows = |known: &IfAddr| {
        known.secondary && known.address.is_ipv4() && known.prefix_len == gone.prefix_len && on_subnet(known, gone.peer)
    };
    if gone.secondary {
        delete_routes_v4(ns, dev, &gone);
    } else if !promote {
        let mut dead: Vec<IfAddr> = addrs.extract_if(.., |known| follows(known)).collect();
        dead.push(gone);
        for address in &dead {
            delete_routes_v4(ns, dev, address);
        }
    } else {
        let heirs: Vec<IfAddr> = addrs.extract_if(.., |known| follows(known)).collect();
        delete_routes_v4(ns, dev, &gone);
        for heir in &heirs {
            delete_routes_v4(ns, dev, heir);
        }
        for (nth, mut heir) in heirs.into_iter().enumerate() {
            heir.secondary = nth > 0;
            let addrs = &mut ns.devices.get_mut(dev).addrs;
            let last = |known: &IfAddr| known.address.is_ipv4() && (heir.secondary || !known.secondary);
            let at = addrs.iter().rposition(last).map_or(0, |at| at + 1);
            addrs.insert(at, heir.clone());
            add_routes_v4(ns, dev, &heir);
        }
    }
    if !ns.devices.get(dev).addrs.iter().any(|known| known.address.is_ipv4()) {
        // Its last address: IPv4 is off on this device.
        edit::device_down(ns, Family::V4, dev, true);
        neigh::flush_family(ns, cx, dev, Family::V4, false);
    }
}

/// `inet6_addr_add`: newest first among those of its scope, link-local last.
fn add_v6(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, mut address: IfAddr) -> Result<(), Errno> {
    let device = ns.devices.get_mut(dev);
    let IpAddr::V6(own) = address.address else { return Err(Errno::Inval) };
    if device.conf6.disable_ipv6 {
        return Err(Errno::Acces);
    }
    if own.is_multicast() || own.is_unspecified() {
        return Err(Errno::AddrNotAvail);
    }
    if device.addrs.iter().any(|known| known.address == address.address) {
        return Err(Errno::Exist);
    }
    address.secondary = false;
    address.scope = match scope_of(own) {
        _ if own.is_loopback() => scope::HOST,
        2 => scope::LINK,
        5 => scope::SITE,
        _ => scope::UNIVERSE,
    };
    let wider = |known: &IfAddr| match known.address {
        IpAddr::V4(_) => false,
        IpAddr::V6(other) => scope_of(other) <= scope_of(own),
    };
    let at = device.addrs.iter().position(wider).unwrap_or(device.addrs.len());
    device.addrs.insert(at, address.clone());
    if device.up {
        prefix_route_v6(ns, dev, &address);
    }
    start_dad(ns, cx, dev, &address);
    Ok(())
}

/// `addrconf_prefix_route`.
fn prefix_route_v6(ns: &mut Netns, dev: DevId, address: &IfAddr) {
    let len = match address.prefix_len {
        len if len < 128 && dev != LOOPBACK => len,
        _ if address.peer != address.address => 128,
        _ => return,
    };
    let route = kernel_v6(SpecKind::Unicast, dev, METRIC_ADDRCONF, address.prov);
    edit::add_kernel(ns, Family::V6, table::MAIN, (bits(address.peer), len), route);
}

/// `addrconf_dad_begin`. What is to be asked for stays tentative until the device is up and has a carrier.
fn start_dad(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, address: &IfAddr) {
    let IpAddr::V6(own) = address.address else { return };
    let device = ns.devices.get(dev);
    let accept = device.conf6.accept_dad.max(ns.sysctls.all6.accept_dad);
    let ready = device.up && device.carrier;
    if address.nodad || accept == 0 || device.is_loopback() || device.noarp() || (ready && device.conf6.dad_transmits == 0) {
        dad_completed(ns, cx, dev, own);
    } else if ready {
        neigh::start_dad(ns, cx, dev, own);
    } else {
        neigh::set_tentative(ns, dev, own);
    }
}

/// `addrconf_dad_completed`: nobody else has the address; now it is ours.
pub(crate) fn dad_completed(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, own: Ipv6Addr) {
    neigh::clear_tentative(ns, dev, own);
    let address = IpAddr::V6(own);
    let Some(prov) = ns.devices.get(dev).addrs.iter().find(|known| known.address == address).map(|known| known.prov) else {
        return;
    };
    edit::add_kernel(ns, Family::V6, table::LOCAL, (bits(address), 128), kernel_v6(SpecKind::Local, dev, 0, prov));
    neigh::own_address(ns, cx, dev, address);
}

fn kernel_v6(kind: SpecKind, dev: DevId, metric: u32, prov: ProvId) -> FibRoute {
    let hop_scope = if kind == SpecKind::Local { scope::NOWHERE } else { scope::HOST };
    FibRoute {
        kind,
        tos: 0,
        metric,
        scope: scope::UNIVERSE,
        protocol: protocol::KERNEL,
        src: None,
        mtu: 0,
        mtu_lock: false,
        pref: 0,
        hops: vec![edit::hop(None, dev, hop_scope)],
        prov,
    }
}

fn delete_v6(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, at: usize) {
    let gone = ns.devices.get_mut(dev).addrs.remove(at);
    let IpAddr::V6(own) = gone.address else { return };
    neigh::stop_dad(ns, dev, own);
    edit::delete_kernel(ns, Family::V6, table::LOCAL, (bits(gone.address), 128), SpecKind::Local, dev);
    let prefix = (bits(gone.peer) & mask(gone.prefix_len), gone.prefix_len);
    let same = |known: &IfAddr| known.prefix_len == prefix.1 && bits(known.peer) & mask(known.prefix_len) == prefix.0;
    if !ns.devices.get(dev).addrs.iter().any(|known| known.address.is_ipv6() && same(known)) && prefix.1 < 128 {
        edit::delete_kernel(ns, Family::V6, table::MAIN, prefix, SpecKind::Unicast, dev);
    }
    if gone.peer != gone.address {
        edit::delete_kernel(ns, Family::V6, table::MAIN, (bits(gone.peer), 128), SpecKind::Unicast, dev);
    }
    if !is_local(ns, gone.address) {
        edit::address_gone(ns, gone.address);
    }
    let _ = cx;
}

/// What a device's going up means for addresses and routes: local, connected and broadcast routes, the IPv6 link-local address and
/// `ff00::/8`; for IPv6 addresses duplicate address detection where `accept_dad` and `dad_transmits` ask for it.
pub(crate) fn device_up(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId) {
    let device = ns.devices.get(dev);
    let loopback = matches!(device.kind, DeviceKind::Loopback);
    let prov = device.prov;
    if loopback && !device.addrs.iter().any(|addr| addr.address.is_ipv4()) {
        let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let address = IfAddr {
            address: own,
            peer: own,
            prefix_len: 8,
            scope: scope::HOST,
            secondary: false,
            broadcast: None,
            nodad: false,
            prov,
        };
        ns.devices.get_mut(dev).addrs.insert(0, address);
    }
    for address in ns.devices.get(dev).addrs.clone() {
        if address.address.is_ipv4() {
            add_routes_v4(ns, dev, &address);
        }
    }
    edit::device_up(ns, Family::V4, dev);
    edit::device_up(ns, Family::V6, dev);
    let device = ns.devices.get(dev);
    if device.conf4.arp_notify || ns.sysctls.all4.arp_notify {
        for address in device.addrs.clone().into_iter().filter(|addr| addr.address.is_ipv4()) {
            neigh::announce(ns, cx, dev, address.address);
        }
    }
    ipv6_up(ns, cx, dev);
}

/// `addrconf_notify(NETDEV_UP)`, once the device has its carrier; also what clearing `disable_ipv6` does.
pub(crate) fn ipv6_up(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId) {
    let device = ns.devices.get(dev);
    if !device.up || !device.carrier || device.conf6.disable_ipv6 {
        return;
    }
    let prov = device.prov;
    let loopback = matches!(device.kind, DeviceKind::Loopback);
    for address in device.addrs.clone() {
        if address.address.is_ipv6() {
            prefix_route_v6(ns, dev, &address);
            // Those that were ours before the carrier went stay ours.
            if !has_local_route(ns, dev, address.address) {
                start_dad(ns, cx, dev, &address);
            }
        }
    }
    // A port of a bridge gets none of its own.
    let device = ns.devices.get(dev);
    let automatic = match (loopback, device.conf6.addr_gen_mode) {
        (true, _) => Some((Ipv6Addr::LOCALHOST, 128)),
        (false, 0) if device.master.is_none() => Some((link_local(device.mac), 64)),
        (false, _) => None,
    };
    if !loopback {
        let multicast = kernel_v6(SpecKind::Multicast, dev, METRIC_ADDRCONF, prov);
        edit::add_kernel(ns, Family::V6, table::LOCAL, (0xff << 120, 8), multicast);
    }
    if let Some((own, prefix_len)) = automatic {
        let address = IpAddr::V6(own);
        let known = ns.devices.get(dev).addrs.iter().any(|known| known.address == address);
        let address = IfAddr {
            address,
            peer: address,
            prefix_len,
            scope: scope::LINK,
            secondary: false,
            broadcast: None,
            nodad: false,
            prov,
        };
        if !known {
            // Nothing that an automatic address could fail with can have happened: it is new, and IPv6 is on.
            let _ = add_v6(ns, cx, dev, address);
        }
    }
}

/// Whether a device's address has its route in `local`: it is not tentative.
fn has_local_route(ns: &Netns, dev: DevId, address: IpAddr) -> bool {
    let routes = ns.routes.get(Family::of(address)).local.routes(bits(address), Family::of(address).bits());
    routes.iter().any(|route| route.kind == SpecKind::Local && route.hops.iter().any(|hop| hop.dev == dev))
}

/// RFC 4291, appendix A: the link-local address of a MAC.
pub(crate) fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// What its going down means: routes through it go (also static ones), IPv6 addresses go unless they are kept, neighbours go.
pub(crate) fn device_down(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId) {
    edit::device_down(ns, Family::V4, dev, false);
    ipv6_down(ns, cx, dev);
    neigh::flush_device(ns, cx, dev, false);
}

/// `addrconf_ifdown`; also what setting `disable_ipv6` does.
pub(crate) fn ipv6_down(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId) {
    edit::device_down(ns, Family::V6, dev, true);
    let device = ns.devices.get_mut(dev);
    let keep = !device.conf6.disable_ipv6 && device.conf6.keep_addr_on_down.max(ns.sysctls.all6.keep_addr_on_down) > 0;
    let kept = |addr: &IfAddr| keep && addr.scope == scope::UNIVERSE;
    let gone: Vec<IfAddr> = device.addrs.extract_if(.., |addr| addr.address.is_ipv6() && !kept(addr)).collect();
    let tentative: Vec<IpAddr> = device.addrs.iter().map(|addr| addr.address).filter(IpAddr::is_ipv6).collect();
    for address in gone {
        if let IpAddr::V6(own) = address.address {
            neigh::stop_dad(ns, dev, own);
        }
        if !is_local(ns, address.address) {
            edit::address_gone(ns, address.address);
        }
    }
    for address in tentative {
        if let IpAddr::V6(own) = address {
            neigh::stop_dad(ns, dev, own);
            neigh::set_tentative(ns, dev, own);
        }
    }
    neigh::flush_family(ns, cx, dev, Family::V6, false);
}

/// Whether an address is one of this namespace, on any device (`inet_addr_type` is `RTN_LOCAL`; 127/8 included).
pub fn is_local(ns: &Netns, address: IpAddr) -> bool {
    !address.is_multicast() && address_type(ns, address, None) == RouteKind::Local
}

#[cfg(test)]
mod tests;
