//! ICMP and ICMPv6 errors: `__icmp_send` (`net/ipv4/icmp.c`), `icmp6_send` (`net/ipv6/icmp.c`), their rate limits
//! (`net/ipv4/inetpeer.c`), and who asks for them. What comes in is in [`super::icmp_input`].

use std::net::IpAddr;

use rustc_hash::FxHashMap;
use sim_core::SimTime;

use crate::Cx;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::ip::{input, ip_ident, output, path_mtu};
use crate::netns::Netns;
use crate::route::{self, Flow, Route, RouteKind};
use crate::skb::{PktType, Skb};
use crate::trace::{Record, cause};
use crate::view::{self, proto, put16};

pub(crate) const V4_DEST_UNREACH: u8 = 3;
pub(crate) const V4_SOURCE_QUENCH: u8 = 4;
pub(crate) const V4_REDIRECT: u8 = 5;
pub(crate) const V4_TIME_EXCEEDED: u8 = 11;
pub(crate) const V4_PARAMETER_PROBLEM: u8 = 12;
/// Codes of [`V4_DEST_UNREACH`].
pub(crate) const V4_NET: u8 = 0;
pub(crate) const V4_HOST: u8 = 1;
pub(crate) const V4_PROTOCOL: u8 = 2;
pub(crate) const V4_PORT: u8 = 3;
pub(crate) const V4_FRAG_NEEDED: u8 = 4;
pub(crate) const V4_ADMIN_PROHIBITED: u8 = 13;
pub(crate) const V6_DEST_UNREACH: u8 = 1;
pub(crate) const V6_PACKET_TOO_BIG: u8 = 2;
pub(crate) const V6_TIME_EXCEEDED: u8 = 3;
pub(crate) const V6_PARAMETER_PROBLEM: u8 = 4;
/// Codes of [`V6_DEST_UNREACH`].
pub(crate) const V6_NO_ROUTE: u8 = 0;
pub(crate) const V6_ADMIN_PROHIBITED: u8 = 1;
pub(crate) const V6_ADDRESS: u8 = 3;
pub(crate) const V6_PORT: u8 = 4;

/// The largest ICMP error of IPv4 (RFC 1812, 4.3.2.3).
const V4_ERROR_MAX: usize = 576;
/// The largest ICMPv6 error (RFC 4443, 2.4 c).
const V6_ERROR_MAX: usize = 1280;
/// The last ICMP type that the kernel knows (`NR_ICMP_TYPES`).
pub(crate) const V4_TYPE_MAX: u8 = 18;
/// Peers remembered at once (`inet_peer_threshold`); beyond that nobody is limited.
const PEERS_MAX: usize = 65_664;
/// `XRLIM_BURST_FACTOR`: errors in a row.
const BURST: u64 = 6;
/// `net.ipv6.icmp.ratelimit` of Linux 6.18, which no longer looks at the length of the prefix.
const V6_RATELIMIT: SimTime = SimTime::from_millis(100);
/// `ip_rt_error_burst`: routing errors in a row, in units of their cost.
const ROUTE_BURST: u64 = 5;
/// `ip_rt_error_cost`.
const ROUTE_COST: SimTime = SimTime::from_secs(1);
/// `ip_rt_redirect_number`.
const REDIRECTS_MAX: u32 = 9;
/// `ip_rt_redirect_load`: the wait after the first redirect; it doubles with each one.
const REDIRECT_LOAD: SimTime = SimTime::from_millis(20);
/// `ip_rt_redirect_silence`: after this long all is forgotten.
const REDIRECT_SILENCE: SimTime = SimTime::from_millis(20 << 10);

/// What we remember of somebody whom errors were sent to (`struct inet_peer`).
#[derive(Clone, Copy, Debug)]
struct Peer {
    tokens: u64,
    last: SimTime,
    redirects: u32,
}

/// Whom errors were sent to.
#[derive(Debug, Default)]
pub struct Peers {
    peers: FxHashMap<IpAddr, Peer>,
}

impl Peers {
    /// `inet_peer_xrlim_allow`: a token bucket; `cost` is one token, `burst` how many it holds.
    fn take(&mut self, peer: IpAddr, now: SimTime, cost: SimTime, burst: u64) -> bool {
        let Some(peer) = self.peer(peer, now) else { return true };
        peer.tokens = (peer.tokens + (now - peer.last).0).min(cost.0 * burst);
        peer.last = now;
        if peer.tokens < cost.0 {
            return false;
        }
        peer.tokens -= cost.0;
        true
    }

    fn peer(&mut self, address: IpAddr, now: SimTime) -> Option<&mut Peer> {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&address) {
            return None;
        }
        // A new peer counts as silent for a minute.
        Some(self.peers.entry(address).or_insert(Peer { tokens: SimTime::from_secs(60).0, last: now, redirects: 0 }))
    }

    /// `ip_rt_send_redirect`: not too many, ever slower, to one that does not listen.
    fn redirect(&mut self, address: IpAddr, now: SimTime) -> bool {
        let Some(peer) = self.peer(address, now) else { return true };
        if now > peer.last + REDIRECT_SILENCE {
            peer.tokens = 0;
            peer.redirects = 0;
        }
        if peer.redirects >= REDIRECTS_MAX {
            peer.last = now;
            return false;
        }
        if peer.redirects != 0 && now <= peer.last + SimTime(REDIRECT_LOAD.0 << peer.redirects) {
            return false;
        }
        peer.last = now;
        peer.redirects += 1;
        true
    }
}

/// Whether a redirect may be sent to this host now.
pub(crate) fn redirect_allowed(ns: &mut Netns, cx: &Cx<'_>, host: IpAddr) -> bool {
    ns.peers.redirect(host, cx.now())
}

/// Whether an ICMP type is an error (`icmp_pointers[type].error`).
pub(crate) fn is_error4(kind: u8) -> bool {
    matches!(kind, V4_DEST_UNREACH | V4_SOURCE_QUENCH | V4_REDIRECT | V4_TIME_EXCEEDED | V4_PARAMETER_PROBLEM)
}

/// `icmp_send`, `icmpv6_send`: tells the sender of a packet what went wrong, within the rate limits. `info` is the next hop's
/// MTU, the pointer, or the gateway of a redirect (IPv4, as a big-endian number).
pub(crate) fn icmp_send(ns: &mut Netns, cx: &mut Cx<'_>, about: &Skb, kind: u8, code: u8, info: u32) {
    if about.family.is_none() || !may_answer(about, kind, code) {
        return;
    }
    let family = about.ip_version();
    let mark = if ns.sysctls.fwmark_reflect { about.mark } else { 0 };
    let tos = match family {
        // RT_TOS, internetwork control.
        Family::V4 => (about.tos() & 0x1e) | 0xc0,
        Family::V6 => 0,
    };
    let link_local = matches!(about.src(), IpAddr::V6(src) if src.is_unicast_link_local());
    let flow = Flow {
        family,
        src: source(ns, about).unwrap_or(family.unspecified()),
        dst: about.src(),
        iif: DevId::NONE,
        oif: if link_local { about.iif } else { DevId::NONE },
        mark,
        tos,
        proto: if family == Family::V4 { proto::ICMP } else { proto::ICMPV6 },
        sport: 0,
        dport: 0,
        uid: 0,
    };
    let route = route::route_output(ns, cx, &flow);
    if !matches!(route.kind, RouteKind::Local | RouteKind::Unicast) {
        return;
    }
    let src = if flow.src.is_unspecified() { route.src.unwrap_or(flow.src) } else { flow.src };
    if src.is_unspecified() {
        return;
    }
    if limited(ns, cx, &flow, &route, (kind, code)) {
        cx.record(about.id(), Record::IcmpError { kind, code, limited: true });
        return;
    }
    cx.record(about.id(), Record::IcmpError { kind, code, limited: false });
    let flow = Flow { src, ..flow };
    let message = Message { kind, code, info };
    let mut buf = [0; V6_ERROR_MAX];
    let len = match family {
        Family::V4 => write4(ns, cx, &mut buf, about, &flow, &route, message),
        Family::V6 => write6(ns, &mut buf, about, &flow, &route, message),
    };
    let packet = cx.packet(&buf[..len], Some(about.id()), cause::ICMP_ERROR);
    let mut skb = Skb { mark, ..Skb::new(packet, route.dev) };
    // It belongs to the connection of its cause, also while that is unconfirmed: so NAT shows its quote as the sender knows it.
    crate::conntrack::attach(&mut skb, about);
    send(ns, cx, skb, route);
}

/// Sends a packet of the kernel's own. What drops it has been recorded, and there is nobody to tell.
pub(crate) fn send(ns: &mut Netns, cx: &mut Cx<'_>, mut skb: Skb, route: Route) {
    skb.iif = DevId::NONE;
    skb.route = Some(route);
    skb.parse_at(0).expect("we wrote the header ourselves");
    let _ = output::ip_local_out(ns, cx, skb);
}

/// Type, code, and the word behind the checksum.
#[derive(Clone, Copy, Debug)]
struct Message {
    kind: u8,
    code: u8,
    info: u32,
}

/// When not to answer: RFC 1122, 3.2.2; RFC 4443, 2.4 e.
fn may_answer(about: &Skb, kind: u8, code: u8) -> bool {
    let inner = about.transport().first().copied();
    match about.ip_version() {
        Family::V4 => {
            let group = about.route.is_some_and(|route| matches!(route.kind, RouteKind::Broadcast | RouteKind::Multicast));
            let routed = about.route.is_some() || about.bridge.is_some();
            if !routed || group || !matches!(about.pkt_type, PktType::Host | PktType::Outgoing) || about.is_later_fragment() {
                return false;
            }
            // No error about an error.
            !is_error4(kind) || about.l4proto != proto::ICMP || inner.is_some_and(|inner| inner <= V4_TYPE_MAX && !is_error4(inner))
        }
        Family::V6 => {
            let group = about.dst().is_multicast() || !matches!(about.pkt_type, PktType::Host | PktType::Outgoing);
            let unknown_option = kind == V6_PARAMETER_PROBLEM && code == 2;
            if group && kind != V6_PACKET_TOO_BIG && !unknown_option {
                return false;
            }
            let src = about.src();
            if src.is_unspecified() || src.is_multicast() {
                return false;
            }
            about.l4proto != proto::ICMPV6 || about.is_later_fragment() || inner.is_some_and(|inner| inner & 0x80 != 0)
        }
    }
}

/// The source of an error: the packet's destination where that is ours; else the route of the error decides.
fn source(ns: &Netns, about: &Skb) -> Option<IpAddr> {
    match about.ip_version() {
        Family::V4 => {
            if about.route.is_some_and(|route| route.kind == RouteKind::Local) {
                return Some(about.dst());
            }
            if ns.sysctls.icmp_errors_use_inbound_ifaddr && about.iif != DevId::NONE {
                return inbound_address(ns, about.iif, about.src());
            }
            None
        }
        Family::V6 => {
            let dst = about.dst();
            let ours = !dst.is_multicast() && crate::dev::addr::is_local(ns, dst);
            ours.then_some(dst)
        }
    }
}

/// `inet_select_addr`, scope link: the primary address of the peer's subnet, else the first.
fn inbound_address(ns: &Netns, dev: DevId, peer: IpAddr) -> Option<IpAddr> {
    const SCOPE_LINK: u8 = 253;
    let usable = || ns.devices.get(dev).addrs.iter().filter(|at| at.address.is_ipv4() && !at.secondary && at.scope <= SCOPE_LINK);
    usable()
        .find(|at| ipnet::IpNet::new(at.peer, at.prefix_len).is_ok_and(|net| net.contains(&peer)))
        .or_else(|| usable().next())
        .map(|at| at.address)
}

/// `icmpv4_xrlim_allow`, `icmpv6_xrlim_allow`, and the masks. The limit of all errors together (1,000 a second, 50 at once) is
/// not modelled.
fn limited(ns: &mut Netns, cx: &Cx<'_>, flow: &Flow, route: &Route, (kind, code): (u8, u8)) -> bool {
    if ns.devices.get(route.dev).is_loopback() {
        return false;
    }
    let cost = match flow.family {
        Family::V4 => {
            let masked = kind <= V4_TYPE_MAX && ns.sysctls.icmp_ratemask & (1 << kind) != 0;
            if !masked || (kind == V4_DEST_UNREACH && code == V4_FRAG_NEEDED) {
                return false;
            }
            SimTime::from_millis(u64::from(ns.sysctls.icmp_ratelimit))
        }
        Family::V6 => {
            if kind == V6_PACKET_TOO_BIG {
                return false;
            }
            V6_RATELIMIT
        }
    };
    if cost == SimTime::ZERO {
        return false;
    }
    !ns.peers.take(flow.dst, cx.now(), cost, BURST)
}

fn write4(ns: &mut Netns, cx: &Cx<'_>, buf: &mut [u8], about: &Skb, flow: &Flow, route: &Route, message: Message) -> usize {
    let room = (path_mtu(ns, Family::V4, route, false) as usize).clamp(28 + 20, V4_ERROR_MAX);
    let quote = &about.ip()[..about.ip().len().min(about.ip_len()).min(room - 28)];
    let len = 28 + quote.len();
    buf[20] = message.kind;
    buf[21] = message.code;
    buf[24..28].copy_from_slice(&message.info.to_be_bytes());
    if message.kind == V4_PARAMETER_PROBLEM {
        buf[24..28].copy_from_slice(&(message.info << 24).to_be_bytes());
    }
    buf[28..len].copy_from_slice(quote);
    let checksum = view::fold(view::sum(&buf[20..len], 0));
    put16(buf, 22, checksum);
    let id = ip_ident(ns, cx);
    write_header4(buf, len, flow, Header4 { ttl: ns.sysctls.ip_default_ttl, id });
    len
}

fn write6(ns: &Netns, buf: &mut [u8], about: &Skb, flow: &Flow, route: &Route, message: Message) -> usize {
    let quote = &about.ip()[..about.ip().len().min(about.ip_len()).min(V6_ERROR_MAX - 48)];
    let len = 48 + quote.len();
    buf[40] = message.kind;
    buf[41] = message.code;
    buf[44..48].copy_from_slice(&message.info.to_be_bytes());
    buf[48..len].copy_from_slice(quote);
    let checksum = view::transport_checksum(flow.src, flow.dst, proto::ICMPV6, &buf[40..len]);
    put16(buf, 42, checksum);
    write_header6(buf, len, flow, ns.devices.get(route.dev).conf6.hop_limit);
    len
}

/// What a header of our own has besides its flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header4 {
    pub(crate) ttl: u8,
    pub(crate) id: u16,
}

/// Writes an IPv4 header without options, DF clear, in front of `len - 20` bytes.
pub(crate) fn write_header4(buf: &mut [u8], len: usize, flow: &Flow, header: Header4) {
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (flow.src, flow.dst) else { unreachable!("an IPv4 flow has IPv4 addresses") };
    buf[0] = 0x45;
    buf[1] = flow.tos;
    put16(buf, 2, len as u16);
    put16(buf, 4, header.id);
    put16(buf, 6, 0);
    buf[8] = header.ttl;
    buf[9] = flow.proto;
    put16(buf, 10, 0);
    buf[12..16].copy_from_slice(&src.octets());
    buf[16..20].copy_from_slice(&dst.octets());
    let checksum = view::ipv4_header_checksum(&buf[..20]);
    put16(buf, 10, checksum);
}

/// Writes an IPv6 header in front of `len - 40` bytes.
pub(crate) fn write_header6(buf: &mut [u8], len: usize, flow: &Flow, hop_limit: u8) {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (flow.src, flow.dst) else { unreachable!("an IPv6 flow has IPv6 addresses") };
    buf[0] = 0x60 | (flow.tos >> 4);
    buf[1] = flow.tos << 4;
    put16(buf, 2, 0);
    put16(buf, 4, (len - 40) as u16);
    buf[6] = flow.proto;
    buf[7] = hop_limit;
    buf[8..24].copy_from_slice(&src.octets());
    buf[24..40].copy_from_slice(&dst.octets());
}

/// `ip_error`, `ip6_pkt_discard`, `ip6_pkt_prohibit`: no route, or one that refuses. IPv4 tells only who may use us as a router, and
/// pays twice for it: once here, once in [`icmp_send`].
pub(crate) fn route_error(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, route: &Route) {
    match skb.ip_version() {
        Family::V4 => {
            if !input::is_forwarding(ns, skb) || !ns.peers.take(skb.src(), cx.now(), ROUTE_COST, ROUTE_BURST) {
                return;
            }
            let code = match route.kind {
                RouteKind::Prohibit => V4_ADMIN_PROHIBITED,
                // That of a route. A policy rule that says `unreachable` is answered like no route: the network is.
                RouteKind::Unreachable => V4_HOST,
                _ => V4_NET,
            };
            icmp_send(ns, cx, skb, V4_DEST_UNREACH, code, 0);
        }
        Family::V6 => {
            let code = if route.kind == RouteKind::Prohibit { V6_ADMIN_PROHIBITED } else { V6_NO_ROUTE };
            icmp_send(ns, cx, skb, V6_DEST_UNREACH, code, 0);
        }
    }
}

/// TTL or hop limit ran out on the way.
pub(crate) fn time_exceeded(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb) {
    match skb.ip_version() {
        Family::V4 => icmp_send(ns, cx, skb, V4_TIME_EXCEEDED, 0, 0),
        Family::V6 => icmp_send(ns, cx, skb, V6_TIME_EXCEEDED, 0, 0),
    }
}

/// `arp_error_report`, `ndisc_error_report`: nobody answered for the packet's next hop. Sends 3/1 (1/3), records the drop
/// (`NeighFailed`); a local socket hears of it by that message. Consumes it.
pub(crate) fn neigh_failed(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb) {
    match skb.family {
        Some(Family::V4) => icmp_send(ns, cx, &skb, V4_DEST_UNREACH, V4_HOST, 0),
        Some(Family::V6) => icmp_send(ns, cx, &skb, V6_DEST_UNREACH, V6_ADDRESS, 0),
        None => {}
    }
    ns.finish(cx, skb, DropReason::NeighFailed);
}
