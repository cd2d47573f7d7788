//! UDP: `udp_rcv`, `udp_sendmsg`.

use std::net::{IpAddr, SocketAddr};

use crate::Cx;
use crate::addr::Family;
use crate::drop_reason::DropReason;
use crate::errno::Errno;
use crate::netns::Netns;
use crate::route::RouteKind;
use crate::skb::Skb;
use crate::socket::output::{self, IPV4_HLEN, IpFields, Outgoing};
use crate::socket::{Event, table, verified};
use crate::view::{be16, proto, put16, transport_checksum};

/// Bytes of a UDP header.
const UDP_HLEN: usize = 8;

/// `udp_rcv`: a datagram for the socket that fits best; a broadcast or multicast for all that fit.
pub(crate) fn receive(ns: &mut Netns, skb: &Skb) -> Result<u32, DropReason> {
    let udp = verified(skb, UDP_HLEN, DropReason::UdpCsum)?;
    let length = usize::from(be16(udp, 4));
    if length < UDP_HLEN || length > udp.len() {
        return Err(DropReason::PktTooSmall);
    }
    let data = &udp[UDP_HLEN..length];
    let to = SocketAddr::new(skb.dst(), be16(udp, 2));
    let from = SocketAddr::new(skb.src(), be16(udp, 0));
    let kind = skb.route.map_or(RouteKind::Local, |route| route.kind);
    let sockets = &mut ns.sockets;
    if matches!(kind, RouteKind::Broadcast | RouteKind::Multicast) {
        let all = table::lookup_all(sockets, proto::UDP, to, from, skb.iif);
        for &socket in &all {
            sockets.events.push_back(Event::Datagram { socket, from, to, data: data.to_vec() });
        }
        return all.first().copied().ok_or(DropReason::NoSocket);
    }
    let socket = table::lookup(sockets, proto::UDP, to, from, skb.iif).ok_or(DropReason::NoSocket)?;
    sockets.events.push_back(Event::Datagram { socket, from, to, data: data.to_vec() });
    Ok(socket)
}

/// `connect(2)`: chooses the source address, draws a port, sends nothing.
///
/// # Errors
/// By the route; `Acces` for a broadcast address without `SO_BROADCAST`; `AddrInUse`: no port is free.
pub(crate) fn connect(ns: &mut Netns, cx: &mut Cx<'_>, number: u32, remote: SocketAddr) -> Result<(), Errno> {
    let Some(socket) = ns.sockets.get(number) else { return Err(Errno::Inval) };
    let (options, bound, l4) = (socket.options, socket.local, socket.proto);
    let route = output::route(ns, cx, &options, l4, bound, remote)?;
    if route.kind == RouteKind::Broadcast && !options.broadcast {
        return Err(Errno::Acces);
    }
    let address = if bound.ip().is_unspecified() { route.src.unwrap_or(bound.ip()) } else { bound.ip() };
    autobind(ns, cx, number)?;
    let id = output::random_id(ns, cx);
    if let Some(socket) = ns.sockets.get_mut(number) {
        socket.local.set_ip(address);
        socket.remote = Some(remote);
        socket.ip_id = id;
    }
    Ok(())
}

fn autobind(ns: &mut Netns, cx: &mut Cx<'_>, number: u32) -> Result<(), Errno> {
    match ns.sockets.get(number) {
        Some(socket) if socket.local.port() == 0 => {
            let address = socket.local.ip();
            table::bind(ns, cx, number, address, 0)
        }
        _ => Ok(()),
    }
}

/// `sendto(2)`; a connected socket may leave out `to`. `src` is the address to answer from where the socket is bound to any
/// (`IP_PKTINFO`); without it the route chooses.
///
/// # Errors
/// `Perm` (dropped by a rule on its way out), `MsgSize`, `Acces` (broadcast), by the route.
pub(crate) fn send(
    ns: &mut Netns,
    cx: &mut Cx<'_>,
    number: u32,
    to: Option<SocketAddr>,
    src: Option<IpAddr>,
    data: &[u8],
) -> Result<(), Errno> {
    autobind(ns, cx, number)?;
    let current = ns.sockets.current;
    let Some(socket) = ns.sockets.get_mut(number) else { return Err(Errno::Inval) };
    let remote = to.or(socket.remote).ok_or(Errno::Inval)?;
    let (options, dns) = (socket.options, socket.dns);
    let connected = socket.remote.is_some();
    let owner = socket.skb_owner(number);
    let mut local = socket.local;
    if let Some(src) = src {
        local.set_ip(src);
    }
    let mut route = output::route(ns, cx, &options, proto::UDP, local, remote)?;
    if route.kind == RouteKind::Broadcast && !options.broadcast {
        return Err(Errno::Acces);
    }
    let src = route.src.unwrap_or(local.ip());
    let family = Family::of(remote.ip());
    let most = 65_535 - UDP_HLEN - if family == Family::V4 { IPV4_HLEN } else { 0 };
    if data.len() > most {
        return Err(Errno::MsgSize);
    }
    // `ip_append_data`: DF where the datagram fits (IP_PMTUDISC_WANT), else it is cut into pieces; with IP_PMTUDISC_DO refused.
    let mtu = output::path_mtu(ns, cx.now(), &route, remote.ip());
    let total = data.len() + UDP_HLEN + if family == Family::V4 { IPV4_HLEN } else { output::IPV6_HLEN };
    let fits = total <= mtu as usize;
    if !fits && options.df == Some(true) {
        return Err(Errno::MsgSize);
    }
    let df = options.df.unwrap_or(fits && ns.sysctls.ip_no_pmtu_disc == 0);
    route.mtu = mtu;
    let id = if connected {
        let socket = ns.sockets.get_mut(number).ok_or(Errno::Inval)?;
        socket.ip_id = socket.ip_id.wrapping_add(1);
        socket.ip_id
    } else {
        output::random_id(ns, cx)
    };
    let fields = IpFields { tos: options.tos, ttl: output::ttl(ns, &options, family), id, df };
    let length = UDP_HLEN + data.len();
    let mut bytes = Vec::with_capacity(output::IPV6_HLEN + length);
    output::put_ip_header(&mut bytes, src, remote.ip(), proto::UDP, length, fields);
    let at = bytes.len();
    bytes.resize(at + UDP_HLEN, 0);
    put16(&mut bytes, at, local.port());
    put16(&mut bytes, at + 2, remote.port());
    put16(&mut bytes, at + 4, length as u16);
    bytes.extend_from_slice(data);
    // RFC 768: a sum of zero is sent as all ones.
    let checksum = match transport_checksum(src, remote.ip(), proto::UDP, &bytes[at..]) {
        0 => 0xffff,
        sum => sum,
    };
    put16(&mut bytes, at + 6, checksum);
    let out = Outgoing { owner, mark: options.mark, route, bytes: &bytes, cause: output::cause_of(dns, current), parent: current };
    match output::emit(ns, cx, out).1 {
        Ok(()) => Ok(()),
        Err(reason) => output::errno_of(reason).map_or(Ok(()), Err),
    }
}
