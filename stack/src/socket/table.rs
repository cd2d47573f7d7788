//! Who has which port: `inet_csk_get_port`, `udp_lib_get_port`, `__inet_lookup_listener`, `compute_score`.

use std::net::{IpAddr, SocketAddr};

use sim_core::choice::{Arms, key_of};

use crate::Cx;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::errno::Errno;
use crate::netns::Netns;
use crate::socket::{Kind, Socket, Sockets};
use crate::trace::purpose;
use crate::view::proto;

/// A TCP connection, seen from here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Flow {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// `bind(2)`: an address and port, or any free port where `port` is 0. Privileged ports are not held back from anybody: the
/// processes of a simulated host run as root unless a socket says otherwise, and then only `owner` matches read it.
///
/// # Errors
/// `AddrNotAvail` where the address is none of ours, `AddrInUse`.
pub(crate) fn bind(ns: &mut Netns, cx: &mut Cx<'_>, number: u32, address: IpAddr, port: u16) -> Result<(), Errno> {
    let Some(socket) = ns.sockets.get(number) else { return Err(Errno::Inval) };
    if !may_bind(ns, socket, address) {
        return Err(Errno::AddrNotAvail);
    }
    let port = match port {
        0 => ephemeral(ns, cx, number, address, None)?,
        _ if conflicts(&ns.sockets, number, address, port) => return Err(Errno::AddrInUse),
        // The kernel's own socket of a VXLAN device is bound to all addresses, and shares its port with nobody.
        _ if socket.proto == proto::UDP && crate::dev::vxlan::holds_port(ns, port) => return Err(Errno::AddrInUse),
        _ => port,
    };
    put(&mut ns.sockets, number, SocketAddr::new(address, port));
    Ok(())
}

/// `inet_addr_valid_or_nonlocal`: whether a socket may take an address as its own.
pub(crate) fn may_bind(ns: &Netns, socket: &Socket, address: IpAddr) -> bool {
    address.is_unspecified()
        || address.is_multicast()
        || address == IpAddr::from([255; 4])
        || socket.options.transparent
        || ns.sysctls.ip_nonlocal_bind
        || crate::dev::addr::is_local(ns, address)
}

/// Enters a socket at its port.
pub(crate) fn put(sockets: &mut Sockets, number: u32, local: SocketAddr) {
    let Some(socket) = sockets.get_mut(number) else { return };
    socket.local = local;
    let key = (socket.proto, local.port());
    let list = sockets.bound.entry(key).or_default();
    if !list.contains(&number) {
        list.push(number);
    }
}

/// Takes a socket out of the tables.
pub(crate) fn unbind(sockets: &mut Sockets, number: u32) {
    let Some(socket) = sockets.get(number) else { return };
    let (key, flow) = ((socket.proto, socket.local.port()), socket.remote.map(|remote| Flow { local: socket.local, remote }));
    if let Some(flow) = flow
        && sockets.flows.get(&flow) == Some(&number)
    {
        sockets.flows.remove(&flow);
    }
    if let Some(list) = sockets.bound.get_mut(&key) {
        list.retain(|&bound| bound != number);
        if list.is_empty() {
            sockets.bound.remove(&key);
        }
    }
}

/// Whether two addresses of bound sockets overlap. `::` takes IPv4 as well (`bindv6only` = 0).
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    let any = |address: IpAddr, other: IpAddr| {
        address.is_unspecified() && (address.is_ipv6() || other.is_ipv4() || other.is_unspecified())
    };
    a == b || any(a, b) || any(b, a)
}

/// Whether a bound socket is in the way. Servers set `SO_REUSEADDR`: connections of a port do not keep a listener from it.
fn conflicts(sockets: &Sockets, number: u32, address: IpAddr, port: u16) -> bool {
    let Some(me) = sockets.get(number) else { return true };
    let others = sockets.bound.get(&(me.proto, port)).into_iter().flatten();
    others.filter_map(|&other| Some((other, sockets.get(other)?))).any(|(other, socket)| {
        let devices = [me.options.device, socket.options.device];
        other != number
            && !matches!(socket.kind, Kind::Tcp(_) | Kind::TimeWait(_))
            && overlap(address, socket.local.ip())
            && (devices.contains(&DevId::NONE) || devices[0] == devices[1])
    })
}

/// Draws a free port from `ip_local_port_range`, and takes the next free ones where it is taken. A connecting TCP socket
/// (`remote`) takes every second port, beginning with the lowest (`__inet_hash_connect`); a binding one the others first.
///
/// # Errors
/// `AddrNotAvail` (connect), `AddrInUse` (bind): all are taken.
pub(crate) fn ephemeral(
    ns: &mut Netns,
    cx: &mut Cx<'_>,
    number: u32,
    address: IpAddr,
    remote: Option<SocketAddr>,
) -> Result<u16, Errno> {
    let (low, high) = ns.sysctls.ip_local_port_range;
    let count = u32::from(high.saturating_sub(low)) + 1;
    let Some(me) = ns.sockets.get(number) else { return Err(Errno::Inval) };
    let tcp = me.proto == proto::TCP;
    let step = if tcp { 2 } else { 1 };
    let key = key_of(format!("{} {} {address} {remote:?}", ns.name, me.proto).as_bytes());
    let first = cx.decide(purpose::EPHEMERAL_PORT, key, Arms::Equal(count.div_ceil(step))).arm * step;
    // Connecting: even offsets, then odd ones; binding the other way round.
    let parities: [u32; 2] = if tcp && remote.is_none() { [1, 0] } else { [0, 1] };
    for parity in parities.into_iter().take(step as usize) {
        for n in 0..count.div_ceil(step) {
            let offset = (first + n * step) % count.next_multiple_of(step) + if step == 2 { parity } else { 0 };
            if offset >= count {
                continue;
            }
            let port = low.wrapping_add(offset as u16);
            let taken = match remote {
                Some(remote) if tcp => {
                    ns.sockets.flows.contains_key(&Flow { local: SocketAddr::new(address, port), remote })
                        || conflicts(&ns.sockets, number, address, port)
                }
                _ => ns.sockets.bound.contains_key(&(ns.sockets.get(number).map_or(0, |me| me.proto), port)),
            };
            if !taken {
                return Ok(port);
            }
        }
    }
    Err(if remote.is_some() { Errno::AddrNotAvail } else { Errno::AddrInUse })
}

/// `__inet_lookup_listener`, `__udp4_lib_lookup`: the socket that fits best. `dev` is the device that the packet came in through.
pub(crate) fn lookup(sockets: &Sockets, l4: u8, local: SocketAddr, remote: SocketAddr, dev: DevId) -> Option<u32> {
    let list = sockets.bound.get(&(l4, local.port()))?;
    let mut best: Option<(u32, u32)> = None;
    for &number in list {
        let Some(score) = sockets.get(number).and_then(|socket| score(socket, local, remote, dev)) else { continue };
        // Of equals the one that came first stays.
        if best.is_none_or(|(_, most)| score > most) {
            best = Some((number, score));
        }
    }
    best.map(|(number, _)| number)
}

/// Everybody who fits: for broadcasts and multicasts.
pub(crate) fn lookup_all(sockets: &Sockets, l4: u8, local: SocketAddr, remote: SocketAddr, dev: DevId) -> Vec<u32> {
    let list = sockets.bound.get(&(l4, local.port())).into_iter().flatten().copied();
    list.filter(|&number| sockets.get(number).is_some_and(|socket| score(socket, local, remote, dev).is_some())).collect()
}

fn score(socket: &Socket, local: SocketAddr, remote: SocketAddr, dev: DevId) -> Option<u32> {
    if matches!(socket.kind, Kind::Closed | Kind::Tcp(_) | Kind::TimeWait(_)) {
        return None;
    }
    let family = Family::of(local.ip());
    let bound = socket.local.ip();
    // The native family scores higher than an IPv6 socket that also takes IPv4.
    let mut score = u32::from(Family::of(bound) == family);
    if bound.is_unspecified() {
        if bound.is_ipv4() && family == Family::V6 {
            return None;
        }
    } else if bound == local.ip() {
        score += 4;
    } else {
        return None;
    }
    if let Some(peer) = socket.remote {
        if peer != remote {
            return None;
        }
        score += 8;
    }
    if socket.options.device != DevId::NONE {
        if socket.options.device != dev {
            return None;
        }
        score += 4;
    }
    Some(score)
}
