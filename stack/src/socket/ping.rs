//! ICMP echo sockets: `net/ipv4/ping.c`, and raw sockets as ping(8) uses them. A port in the tables is an echo identifier.

use std::net::SocketAddr;

use sim_core::choice::{Arms, key_of};

use crate::Cx;
use crate::addr::Family;
use crate::drop_reason::DropReason;
use crate::errno::Errno;
use crate::netns::Netns;
use crate::route::RouteKind;
use crate::skb::Skb;
use crate::socket::output::{self, IPV4_HLEN, IPV6_HLEN, IpFields, Outgoing};
use crate::socket::{Event, Kind, table};
use crate::trace::purpose;
use crate::view::{be16, fold, proto, put16, sum, transport_checksum};

/// Bytes of an echo header.
const ECHO_HLEN: usize = 8;

/// `ping_rcv`, `raw_local_deliver`: an echo reply for who has its identifier. Anything else is not wanted. Its checksum has been
/// verified by `icmp_rcv`.
pub(crate) fn receive(ns: &mut Netns, skb: &Skb) -> Result<u32, DropReason> {
    let end = usize::from(skb.l3) + skb.ip_len();
    let frame = skb.packet.bytes();
    let icmp = frame.get(usize::from(skb.l4)..end.min(frame.len())).unwrap_or_default();
    if icmp.len() < ECHO_HLEN {
        return Err(DropReason::PktTooSmall);
    }
    let reply = if skb.l4proto == proto::ICMP { 0 } else { 129 };
    if icmp[0] != reply {
        return Err(DropReason::IcmpUnwanted);
    }
    let (id, seq) = (be16(icmp, 4), be16(icmp, 6));
    let (local, remote) = (SocketAddr::new(skb.dst(), id), SocketAddr::new(skb.src(), 0));
    let socket = table::lookup(&ns.sockets, skb.l4proto, local, remote, skb.iif).ok_or(DropReason::IcmpUnwanted)?;
    ns.sockets.events.push_back(Event::EchoReply { socket, seq, ttl: skb.hop_limit() });
    Ok(socket)
}

/// Binds an echo socket to an identifier, drawn where none is given, and to the address that it will ask. `errors`: see
/// [`Kind::Ping`].
///
/// # Errors
/// By the route; `Acces` for a broadcast address without `SO_BROADCAST`.
pub(crate) fn connect(
    ns: &mut Netns,
    cx: &mut Cx<'_>,
    number: u32,
    remote: SocketAddr,
    id: Option<u16>,
    errors: bool,
) -> Result<(), Errno> {
    let Some(socket) = ns.sockets.get(number) else { return Err(Errno::Inval) };
    let (options, bound, l4) = (socket.options, socket.local, socket.proto);
    let route = output::route(ns, cx, &options, l4, bound, remote)?;
    if route.kind == RouteKind::Broadcast && !options.broadcast {
        return Err(Errno::Acces);
    }
    let id = id.unwrap_or_else(|| {
        let key = key_of(format!("{} {remote}", ns.name).as_bytes());
        cx.decide(purpose::PING_ID, key, Arms::Equal(0xffff)).arm as u16 + 1
    });
    table::unbind(&mut ns.sockets, number);
    // A raw socket hears replies to any address and from anybody.
    let address = if errors { route.src.unwrap_or(bound.ip()) } else { bound.ip() };
    let first = output::random_id(ns, cx);
    if let Some(socket) = ns.sockets.get_mut(number) {
        socket.ip_id = first;
        socket.kind = Kind::Ping { errors };
    }
    table::put(&mut ns.sockets, number, SocketAddr::new(address, id));
    Ok(())
}

/// Sends one echo request.
///
/// # Errors
/// As `udp::send`.
pub(crate) fn send(ns: &mut Netns, cx: &mut Cx<'_>, number: u32, remote: SocketAddr, seq: u16, size: u16) -> Result<(), Errno> {
    let current = ns.sockets.current;
    let Some(socket) = ns.sockets.get_mut(number) else { return Err(Errno::Inval) };
    let (options, local, l4) = (socket.options, socket.local, socket.proto);
    let owner = socket.skb_owner(number);
    socket.ip_id = socket.ip_id.wrapping_add(1);
    let id = socket.ip_id;
    let mut route = output::route(ns, cx, &options, l4, local, remote)?;
    if route.kind == RouteKind::Broadcast && !options.broadcast {
        return Err(Errno::Acces);
    }
    let src = route.src.unwrap_or(local.ip());
    let family = Family::of(remote.ip());
    let length = ECHO_HLEN + usize::from(size);
    let total = length + if family == Family::V4 { IPV4_HLEN } else { IPV6_HLEN };
    if length > 65_535 - IPV4_HLEN {
        return Err(Errno::MsgSize);
    }
    let mtu = output::path_mtu(ns, cx.now(), &route, remote.ip());
    let fits = total <= mtu as usize;
    if !fits && options.df == Some(true) {
        return Err(Errno::MsgSize);
    }
    route.mtu = mtu;
    let df = options.df.unwrap_or(fits && ns.sysctls.ip_no_pmtu_disc == 0);
    let fields = IpFields { tos: options.tos, ttl: output::ttl(ns, &options, family), id, df };
    let mut bytes = Vec::with_capacity(total);
    output::put_ip_header(&mut bytes, src, remote.ip(), l4, length, fields);
    let at = bytes.len();
    bytes.resize(at + ECHO_HLEN, 0);
    bytes[at] = if family == Family::V4 { 8 } else { 128 };
    put16(&mut bytes, at + 4, local.port());
    put16(&mut bytes, at + 6, seq);
    // ping(8) fills with rising bytes.
    bytes.extend((0..size).map(|n| n as u8));
    let checksum = match family {
        Family::V4 => fold(sum(&bytes[at..], 0)),
        Family::V6 => transport_checksum(src, remote.ip(), l4, &bytes[at..]),
    };
    put16(&mut bytes, at + 2, checksum);
    let out = Outgoing { owner, mark: options.mark, route, bytes: &bytes, cause: crate::trace::cause::ORIGINAL, parent: current };
    match output::emit(ns, cx, out).1 {
        Ok(()) => Ok(()),
        Err(reason) => output::errno_of(reason).map_or(Ok(()), Err),
    }
}
