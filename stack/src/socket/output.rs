//! A packet of ours: its route, its IP header, and the way into `ip_local_out`.

use std::net::{IpAddr, SocketAddr};

use sim_core::{Cause, PacketId, SimTime};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::Cx;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::errno::Errno;
use crate::ip::output::ip_local_out;
use crate::netns::Netns;
use crate::route::{Flow, Route, RouteKind, route_output};
use crate::skb::{Owner, PktType, Skb};
use crate::socket::Options;
use crate::trace::{NO_PACKET, cause, purpose};
use crate::view::{ipv4_header_checksum, put16};

/// Bytes of an IPv4 header without options.
pub(crate) const IPV4_HLEN: usize = 20;
/// Bytes of an IPv6 header.
pub(crate) const IPV6_HLEN: usize = 40;
/// `ip_rt_min_pmtu`: a smaller MTU in an ICMP error is not believed.
const MIN_PMTU: u32 = 552;
/// `ip_rt_mtu_expires`.
const PMTU_EXPIRES: SimTime = SimTime::from_secs(600);
/// Path MTUs that are remembered at most.
const PMTU_LIMIT: usize = 4096;

/// What smoltcp has written.
#[derive(Debug, Default)]
pub(crate) struct TxQueue {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<usize>,
}

/// The device of one poll: at most one packet in, any number out.
pub(crate) struct PollDevice<'a> {
    pub(crate) rx: Option<&'a [u8]>,
    pub(crate) tx: &'a mut TxQueue,
    pub(crate) mtu: usize,
}

/// The packet that comes in.
pub(crate) struct Rx<'a>(&'a [u8]);
/// Room for one that goes out.
pub(crate) struct Tx<'a>(&'a mut TxQueue);

impl RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let start = self.0.bytes.len();
        self.0.bytes.resize(start + len, 0);
        let result = f(&mut self.0.bytes[start..]);
        self.0.ends.push(self.0.bytes.len());
        result
    }
}

impl Device for PollDevice<'_> {
    type RxToken<'t>
        = Rx<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Tx<'t>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        let packet = self.rx.take()?;
        Some((Rx(packet), Tx(self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        // What comes in has been verified; the IPv4 header of what goes out is completed by us.
        let mut checksum = ChecksumCapabilities::default();
        checksum.ipv4 = Checksum::None;
        checksum.tcp = Checksum::Tx;
        capabilities.checksum = checksum;
        capabilities
    }
}

/// One packet on its way out.
pub(crate) struct Outgoing<'a> {
    pub(crate) owner: Option<Owner>,
    pub(crate) mark: u32,
    pub(crate) route: Route,
    /// The packet, IP header first.
    pub(crate) bytes: &'a [u8],
    pub(crate) cause: Cause,
    pub(crate) parent: Option<PacketId>,
}

/// Makes the packet and hands it to `ip_local_out`.
pub(crate) fn emit(ns: &mut Netns, cx: &mut Cx<'_>, out: Outgoing<'_>) -> (PacketId, Result<(), DropReason>) {
    let packet = cx.packet(out.bytes, out.parent, out.cause);
    let id = packet.id();
    let mut skb = Skb::new(packet, out.route.dev);
    skb.iif = DevId::NONE;
    skb.pkt_type = PktType::Outgoing;
    skb.mark = out.mark;
    skb.owner = out.owner;
    skb.packet.flow = flow_of(ns, cx, out.owner);
    skb.route = Some(out.route);
    if let Err(reason) = skb.parse_at(0) {
        ns.finish(cx, skb, reason);
        return (id, Err(reason));
    }
    (id, ip_local_out(ns, cx, skb))
}

/// `skb_set_hash_from_sk`: packets of a connected socket are of one flow, whatever their headers say.
fn flow_of(ns: &Netns, cx: &Cx<'_>, owner: Option<Owner>) -> u64 {
    let connected = |owner: &Owner| ns.sockets.get(owner.socket).is_some_and(|socket| socket.remote.is_some());
    owner.filter(connected).map_or(0, |owner| (u64::from(cx.node().0) + 1) << 32 | u64::from(owner.socket))
}

/// What a packet of a socket is called whose sender has nothing else to say: an answer while a packet is being handled.
pub(crate) fn cause_of(dns: bool, current: Option<PacketId>) -> Cause {
    match (dns, current) {
        (true, _) => cause::DNS,
        (false, Some(_)) => cause::REPLY,
        (false, None) => cause::ORIGINAL,
    }
}

/// `ip_route_output_flow` for a socket. `src` unspecified lets the route choose.
///
/// # Errors
/// What `connect(2)` or `sendto(2)` fails with.
pub(crate) fn route(
    ns: &mut Netns,
    cx: &mut Cx<'_>,
    options: &Options,
    l4: u8,
    src: SocketAddr,
    dst: SocketAddr,
) -> Result<Route, Errno> {
    let family = Family::of(dst.ip());
    // A socket of `::` that speaks IPv4.
    let from = if Family::of(src.ip()) == family { src.ip() } else { family.unspecified() };
    let flow = Flow {
        family,
        src: from,
        dst: dst.ip(),
        iif: DevId::NONE,
        oif: options.device,
        mark: options.mark,
        tos: options.tos,
        proto: l4,
        sport: src.port(),
        dport: dst.port(),
        uid: options.uid,
    };
    let mut route = route_output(ns, cx, &flow);
    if !matches!(route.kind, RouteKind::Local | RouteKind::Unicast | RouteKind::Broadcast | RouteKind::Multicast) {
        // No packet will tell of it.
        crate::ip::record_route(cx, NO_PACKET, &Route { via: Some(dst.ip()), ..route });
    }
    match route.kind {
        RouteKind::Local | RouteKind::Unicast | RouteKind::Broadcast | RouteKind::Multicast => {}
        RouteKind::Blackhole => return Err(Errno::Inval),
        RouteKind::Unreachable => return Err(Errno::HostUnreach),
        RouteKind::Prohibit => return Err(Errno::Acces),
        // 127/8 does not leave the machine.
        RouteKind::None if from.is_loopback() => return Err(Errno::Inval),
        RouteKind::None => return Err(Errno::NetUnreach),
    }
    if !from.is_unspecified() {
        route.src = Some(from);
    } else if route.src.is_none() {
        // No address to send from (`inet_select_addr` found none): IPv4 sends from 0.0.0.0, IPv6 does not.
        match family {
            Family::V4 => route.src = Some(family.unspecified()),
            Family::V6 => return Err(Errno::AddrNotAvail),
        }
    }
    Ok(route)
}

/// `ip_skb_dst_mtu`, `dst_mtu`: the route's, the device's, and what an ICMP error told.
pub(crate) fn path_mtu(ns: &Netns, now: SimTime, route: &Route, dst: IpAddr) -> u32 {
    let device = if route.dev == DevId::NONE { 65_535 } else { ns.devices.get(route.dev).mtu };
    let mut mtu = if route.mtu > 0 { route.mtu } else { device };
    if let Some(&(told, until)) = ns.sockets.pmtu.get(&dst)
        && now < until
        && !route.mtu_lock
    {
        mtu = mtu.min(told);
    }
    mtu.max(68)
}

/// `__ip_rt_update_pmtu`, `rt6_update_expires`: remembers what an ICMP error said about the way to an address.
pub(crate) fn learn_pmtu(ns: &mut Netns, now: SimTime, dst: IpAddr, mtu: u32) {
    let least = if dst.is_ipv4() { MIN_PMTU } else { 1280 };
    let pmtu = &mut ns.sockets.pmtu;
    if pmtu.len() >= PMTU_LIMIT {
        pmtu.retain(|_, (_, until)| *until > now);
    }
    if pmtu.len() < PMTU_LIMIT {
        pmtu.insert(dst, (mtu.max(least), now + PMTU_EXPIRES));
    }
}

/// A random identification: of a packet without a connection, and of the first of one.
pub(crate) fn random_id(ns: &mut Netns, cx: &Cx<'_>) -> u16 {
    ns.sockets.ids_drawn += 1;
    let key = sim_core::choice::key_of(ns.name.as_bytes());
    (sim_core::choice::hash(cx.seed(), purpose::IP_ID, key, ns.sockets.ids_drawn) >> 48) as u16
}

/// The fields of an IP header that a socket decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpFields {
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    /// IPv4 only.
    pub(crate) id: u16,
    /// IPv4 only.
    pub(crate) df: bool,
}

/// Appends an IP header.
pub(crate) fn put_ip_header(out: &mut Vec<u8>, src: IpAddr, dst: IpAddr, l4: u8, len: usize, fields: IpFields) {
    let start = out.len();
    out.resize(start + if src.is_ipv4() && dst.is_ipv4() { IPV4_HLEN } else { IPV6_HLEN }, 0);
    write_ip_header(&mut out[start..], src, dst, l4, len, fields);
}

/// Writes an IP header over zeros; `ip` has room for it and nothing else.
pub(crate) fn write_ip_header(ip: &mut [u8], src: IpAddr, dst: IpAddr, l4: u8, len: usize, fields: IpFields) {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ip[0] = 0x45;
            put16(ip, 2, (IPV4_HLEN + len) as u16);
            ip[9] = l4;
            ip[12..16].copy_from_slice(&src.octets());
            ip[16..20].copy_from_slice(&dst.octets());
        }
        (src, dst) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            ip[0] = 0x60;
            put16(ip, 4, len as u16);
            ip[6] = l4;
            ip[8..24].copy_from_slice(&octets(src));
            ip[24..40].copy_from_slice(&octets(dst));
        }
    }
    set_fields(ip, fields);
}

/// Puts the fields into a header that is there, and its checksum right.
pub(crate) fn set_fields(ip: &mut [u8], fields: IpFields) {
    if ip[0] >> 4 == 4 {
        ip[1] = fields.tos;
        put16(ip, 4, fields.id);
        put16(ip, 6, if fields.df { 0x4000 } else { 0 });
        ip[8] = fields.ttl;
        put16(ip, 10, 0);
        let checksum = ipv4_header_checksum(&ip[..usize::from(ip[0] & 15) * 4]);
        put16(ip, 10, checksum);
    } else {
        ip[0] = 0x60 | (fields.tos >> 4);
        ip[1] = (ip[1] & 0x0f) | (fields.tos << 4);
        ip[7] = fields.ttl;
    }
}

/// The TTL that a socket's packets start with: its own, else `ip_default_ttl`, or the device's `hop_limit` (64).
pub(crate) fn ttl(ns: &Netns, options: &Options, family: Family) -> u8 {
    match (options.ttl, family) {
        (Some(ttl), _) => ttl.max(1),
        (None, Family::V4) => ns.sysctls.ip_default_ttl.max(1),
        (None, Family::V6) => 64,
    }
}

/// What a system call fails with when its packet ended on the way out. A connecting TCP socket does not look.
pub(crate) fn errno_of(reason: DropReason) -> Option<Errno> {
    match reason {
        DropReason::NetfilterDrop | DropReason::ConntrackDrop => Some(Errno::Perm),
        DropReason::PktTooBig => Some(Errno::MsgSize),
        // `ip_route_me_harder` after OUTPUT: what a rule sent elsewhere is routed with the source of the first lookup.
        DropReason::IpOutNoRoutes => Some(Errno::NetUnreach),
        DropReason::IpInvalidSource | DropReason::IpBlackhole => Some(Errno::Inval),
        _ => None,
    }
}
