//! A VXLAN device: Ethernet in UDP (RFC 7348, `drivers/net/vxlan/vxlan_core.c`).
//!
//! ```text
//!   frame -> xmit -> fdb: MAC -> hosts -> [IP | UDP | VNI | frame], a packet of our own -> OUTPUT, POSTROUTING -> underlay
//!   underlay -> PREROUTING, INPUT -> rcv -> frame -> backlog -> comes in through the device
//! ```
//!
//! Not here: `external` (metadata), GPE, GBP, RSC, remote checksum offload, misses told to user space, next-hop groups; ICMP errors
//! for inner packets that do not fit the underlay (outer packets are cut into pieces, as their DF bit is not set).

mod fdb;
mod proxy;
mod rcv;

use std::net::IpAddr;

use sim_core::{Packet, SimTime};

pub(crate) use fdb::Change;
pub use fdb::{Entry, EntryKind, Fdb, Remote};
pub(crate) use rcv::rcv;

use crate::Cx;
use crate::addr::Family;
use crate::dev::device::{DevId, Device};
use crate::dev::{destination_mac, flow};
use crate::drop_reason::DropReason;
use crate::errno::Errno;
use crate::ip::{ip_ident, output};
use crate::netns::Netns;
use crate::route::{Flow, Route, RouteKind, route_output};
use crate::skb::{PktType, Skb};
use crate::socket::output::{IPV4_HLEN, IPV6_HLEN, IpFields, write_ip_header};
use crate::trace::{Record, cause};
use crate::view::{self, ETH_HLEN, Headers, be16, ethertype, proto, put16, transport_checksum};

/// Bytes of the VXLAN header.
pub(crate) const VXLAN_HLEN: usize = 8;
/// Bytes of a UDP header.
pub(crate) const UDP_HLEN: usize = 8;
/// The port of Linux unless told otherwise; IANA's is 4789.
pub const PORT_DEFAULT: u16 = 8472;
/// `FDB_AGE_DEFAULT`.
pub const AGEING: SimTime = SimTime::from_secs(300);
/// `XMIT_RECURSION_LIMIT`: tunnels around tunnels.
pub(crate) const TUNNEL_DEPTH_MAX: u8 = 8;
/// The flag that says that the VNI is valid.
const FLAG_VNI: u8 = 0x08;
/// The ECN bits of a TOS byte.
const ECN_MASK: u8 = 3;
const ECN_CE: u8 = 3;

/// A value that may be taken from the inner packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inherit<T> {
    /// This one.
    Value(T),
    /// That of the inner packet.
    Inner,
}

/// What `ip link add ... type vxlan` sets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VxlanConfig {
    /// `id`: the VNI.
    pub id: u32,
    /// `remote`, `group`: the host, or group, for what the forwarding database does not know.
    pub remote: Option<IpAddr>,
    /// `local`: source of the outer packets; none: the route decides.
    pub local: Option<IpAddr>,
    /// `dev`: the device below.
    pub dev: Option<DevId>,
    /// `dstport`.
    pub dstport: u16,
    /// `srcport`: from which range source ports are drawn; none: `ip_local_port_range`.
    pub srcport: Option<(u16, u16)>,
    /// `ttl`; 0: that of the host (1 for a group).
    pub ttl: Inherit<u8>,
    /// `tos`. The ECN bits are the inner packet's in any case.
    pub tos: Inherit<u8>,
    /// `df`.
    pub df: Inherit<bool>,
    /// `learning`.
    pub learning: bool,
    /// `proxy`: ARP and neighbour solicitations are answered here, or swallowed.
    pub proxy: bool,
    /// `udpcsum`: outer checksum over IPv4.
    pub udpcsum: bool,
    /// `udp6zerocsumtx`: none over IPv6.
    pub udp6zerocsumtx: bool,
    /// `udp6zerocsumrx`: none needed over IPv6.
    pub udp6zerocsumrx: bool,
}

impl VxlanConfig {
    /// The family of the underlay.
    pub fn family(&self) -> Family {
        self.remote.or(self.local).map_or(Family::V4, Family::of)
    }

    /// Bytes around a frame's payload: outer IP, UDP, VXLAN, inner Ethernet.
    pub fn overhead(&self) -> u32 {
        let ip = if self.family() == Family::V4 { IPV4_HLEN } else { IPV6_HLEN };
        (ip + UDP_HLEN + VXLAN_HLEN + ETH_HLEN) as u32
    }
}

/// A VXLAN device: what stands behind `DeviceKind::Vxlan`.
#[derive(Debug)]
pub struct Vxlan {
    /// How it was made.
    pub config: VxlanConfig,
    /// Its forwarding database.
    pub fdb: Fdb,
}

impl Vxlan {
    /// A device with the entry for everybody that `remote` stands for.
    pub(crate) fn new(config: VxlanConfig, ageing: SimTime, most: u32) -> Vxlan {
        let mut fdb = Fdb::new(ageing, most);
        if let Some(dst) = config.remote {
            let host = Remote { dst, port: None, vni: None, via: config.dev };
            fdb.change(Change::Add, crate::addr::Mac::ZERO, EntryKind::Permanent, host, SimTime::ZERO)
                .expect("an empty database has room for its first entry");
        }
        Vxlan { config, fdb }
    }
}

/// `vxlan_vni_in_use`.
///
/// # Errors
/// `Exist`.
pub(crate) fn check_vni(ns: &Netns, config: &VxlanConfig) -> Result<(), Errno> {
    let same = |other: &VxlanConfig| {
        (other.id, other.dstport, other.family(), other.udp6zerocsumrx)
            == (config.id, config.dstport, config.family(), config.udp6zerocsumrx)
    };
    let taken = ns.devices.iter().filter_map(Device::vxlan).any(|vxlan| same(&vxlan.config));
    if taken { Err(Errno::Exist) } else { Ok(()) }
}

/// `vxlan_open`, `vxlan_stop`: whether the namespace listens for it.
pub(crate) fn set_up(ns: &mut Netns, dev: DevId, up: bool) {
    if ns.devices.get(dev).vxlan().is_none() {
        return;
    }
    ns.vxlans.retain(|&open| open != dev);
    if up {
        ns.vxlans.push(dev);
    } else if let Some(vxlan) = ns.devices.get_mut(dev).vxlan_mut() {
        vxlan.fdb.flush_dynamic();
    }
}

/// Whether the namespace listens on a UDP port for a VXLAN device.
pub(crate) fn holds_port(ns: &Netns, port: u16) -> bool {
    ns.vxlans.iter().any(|&dev| ns.devices.get(dev).vxlan().is_some_and(|vxlan| vxlan.config.dstport == port))
}

/// `vxlan_xmit`: a frame leaves through the device. Consumes it.
pub(crate) fn xmit(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb) {
    let dev = skb.dev;
    let frame = cx.snap(skb.packet.bytes());
    cx.record(skb.id(), Record::DevOut { dev, frame });
    if skb.depth >= TUNNEL_DEPTH_MAX {
        return ns.finish(cx, skb, DropReason::TunnelDepth);
    }
    let Some(destination) = destination_mac(skb.packet.bytes()) else {
        return ns.finish(cx, skb, DropReason::PktTooSmall);
    };
    let vxlan = ns.devices.get(dev).vxlan().expect("dev_queue_xmit looked at its kind");
    if vxlan.config.proxy && proxy::is_question(skb.packet.bytes()) {
        return proxy::answer(ns, cx, skb);
    }
    match *vxlan.fdb.remotes(destination, cx.now()) {
        [] => ns.finish(cx, skb, DropReason::VxlanNoRemote),
        [host] => match plan(ns, cx, &skb, host) {
            Ok(plan) => {
                cx.record(skb.id(), Record::Consume { children: 1 });
                let (mark, depth, flow) = (skb.mark, skb.depth, skb.packet.flow);
                let mut packet = cx.reborn(skb.packet, cause::ENCAP);
                packet.flow = flow;
                send(ns, cx, packet, (mark, depth), &plan);
            }
            Err(reason) => ns.finish(cx, skb, reason),
        },
        ref hosts => {
            let hosts = hosts.to_vec();
            replicate(ns, cx, skb, &hosts);
        }
    }
}

/// Head-end replication: a copy for each host. The kernel gives the original to the first, after all others.
fn replicate(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb, hosts: &[Remote]) {
    let mut plans = Vec::with_capacity(hosts.len());
    let mut harm = DropReason::VxlanNoRemote;
    for host in hosts.iter().skip(1).chain(hosts.first()) {
        match plan(ns, cx, &skb, *host) {
            Ok(plan) => plans.push(plan),
            Err(reason) => harm = reason,
        }
    }
    if plans.is_empty() {
        return ns.finish(cx, skb, harm);
    }
    cx.record(skb.id(), Record::Consume { children: plans.len() as u16 });
    for plan in &plans {
        let packet = cx.copy(&skb.packet, cause::ENCAP);
        send(ns, cx, packet, (skb.mark, skb.depth), plan);
    }
    cx.recycle(skb.packet);
}

/// The outer headers of a frame.
#[derive(Clone, Copy, Debug)]
struct Plan {
    route: Route,
    src: IpAddr,
    dst: IpAddr,
    sport: u16,
    dport: u16,
    vni: u32,
    tos: u8,
    ttl: u8,
    df: bool,
    checksum: bool,
}

/// The IP headers of the inner packet, where it is one.
fn inner_headers(frame: &[u8]) -> Option<Headers> {
    let kind = frame.get(..ETH_HLEN).map(|header| be16(header, 12))?;
    if !matches!(kind, ethertype::IPV4 | ethertype::IPV6) {
        return None;
    }
    view::parse(frame, ETH_HLEN).ok()
}

/// TOS, TTL and DF of the inner packet.
fn inner_fields(frame: &[u8]) -> Option<(u8, u8, bool)> {
    let ip = frame.get(ETH_HLEN..)?;
    Some(match inner_headers(frame)?.family {
        Family::V4 => (ip[1], ip[8], ip[6] & 0x40 != 0),
        Family::V6 => ((ip[0] << 4) | (ip[1] >> 4), ip[7], true),
    })
}

/// `vxlan_xmit_one`, up to the headers: where the outer packet goes.
fn plan(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, host: Remote) -> Result<Plan, DropReason> {
    let config = &ns.devices.get(skb.dev).vxlan().expect("a VXLAN device was asked to send").config;
    let frame = skb.packet.bytes();
    let inner = inner_fields(frame);
    let family = Family::of(host.dst);
    let source = config.local.filter(|local| Family::of(*local) == family).unwrap_or(family.unspecified());
    let tos = match (config.tos, inner) {
        (Inherit::Value(tos), None) => tos,
        (Inherit::Inner, None) => 0,
        // INET_ECN_encapsulate: CE is not copied, but stays visible as ECT(0).
        (tos, Some((inner, _, _))) => {
            let ecn = if inner & ECN_MASK == ECN_CE { 2 } else { inner & ECN_MASK };
            let base = match tos {
                Inherit::Value(tos) => tos,
                Inherit::Inner => inner,
            };
            (base & !ECN_MASK) | ecn
        }
    };
    let asked = match config.ttl {
        Inherit::Value(0) if host.dst.is_multicast() => 1,
        Inherit::Value(ttl) => ttl,
        Inherit::Inner => inner.map_or(0, |(_, ttl, _)| ttl),
    };
    let df = match config.df {
        Inherit::Value(df) => df,
        Inherit::Inner => inner.is_some_and(|(_, _, df)| df),
    };
    let checksum = if family == Family::V4 { config.udpcsum } else { !config.udp6zerocsumtx };
    let (dport, vni) = (host.port.unwrap_or(config.dstport), host.vni.unwrap_or(config.id));
    let range = config.srcport.unwrap_or(ns.sysctls.ip_local_port_range);
    let sport = flow::source_port(flow::flow_hash(cx, &skb.packet), range);
    let flow = Flow {
        src: source,
        oif: host.via.unwrap_or(DevId::NONE),
        mark: skb.mark,
        tos: tos & 0x1e,
        proto: proto::UDP,
        sport,
        dport,
        ..Flow::to(host.dst)
    };
    let route = route_output(ns, cx, &flow);
    match route.kind {
        RouteKind::Unicast | RouteKind::Broadcast | RouteKind::Multicast if route.dev == skb.dev => {
            return Err(DropReason::TunnelDepth);
        }
        RouteKind::Unicast | RouteKind::Broadcast | RouteKind::Multicast => {}
        // encap_bypass_if_local: straight into a device of ours with that VNI.
        RouteKind::Local => return Err(DropReason::Unsupported),
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::None => {
            return Err(DropReason::IpOutNoRoutes);
        }
    }
    let src = if source.is_unspecified() { route.src.unwrap_or(source) } else { source };
    let ttl = match (asked, family) {
        (0, Family::V4) => ns.sysctls.ip_default_ttl.max(1),
        (0, Family::V6) => 64,
        (ttl, _) => ttl,
    };
    if frame.len() + UDP_HLEN + VXLAN_HLEN + IPV4_HLEN > usize::from(u16::MAX) {
        return Err(DropReason::PktTooBig);
    }
    Ok(Plan { route, src, dst: host.dst, sport, dport, vni, tos, ttl, df, checksum })
}

/// `vxlan_build_skb`, `udp_tunnel_xmit_skb`, `iptunnel_xmit`: pushes the headers in front of the frame, and sends the packet as
/// one of our own.
fn send(ns: &mut Netns, cx: &mut Cx<'_>, mut packet: Packet, (mark, depth): (u32, u8), plan: &Plan) {
    let ip = if plan.dst.is_ipv4() { IPV4_HLEN } else { IPV6_HLEN };
    let length = UDP_HLEN + VXLAN_HLEN + packet.len();
    let id = if plan.df { 0 } else { ip_ident(ns, cx) };
    let bytes = packet.push(ip + UDP_HLEN + VXLAN_HLEN);
    let fields = IpFields { tos: plan.tos, ttl: plan.ttl, id, df: plan.df };
    write_ip_header(&mut bytes[..ip], plan.src, plan.dst, proto::UDP, length, fields);
    let udp = &mut bytes[ip..];
    put16(udp, 0, plan.sport);
    put16(udp, 2, plan.dport);
    put16(udp, 4, length as u16);
    udp[8] = FLAG_VNI;
    udp[12..16].copy_from_slice(&(plan.vni << 8).to_be_bytes());
    if plan.checksum {
        let sum = match transport_checksum(plan.src, plan.dst, proto::UDP, udp) {
            0 => 0xffff,
            sum => sum,
        };
        put16(udp, 6, sum);
    }
    let mut skb = Skb::new(packet, plan.route.dev);
    skb.iif = DevId::NONE;
    skb.pkt_type = PktType::Outgoing;
    skb.mark = mark;
    skb.depth = depth + 1;
    skb.route = Some(plan.route);
    // What drops it has been recorded; the device counts it and says nothing.
    let _ = output::ip_local_out(ns, cx, skb);
}
