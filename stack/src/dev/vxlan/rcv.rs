//! The way in: `vxlan_rcv`.

use std::net::IpAddr;

use super::fdb::{Remote, Snooped};
use super::{ECN_CE, ECN_MASK, FLAG_VNI, UDP_HLEN, VXLAN_HLEN, inner_headers};
use crate::Cx;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::dev::{MAX_BACKLOG, source_mac};
use crate::drop_reason::DropReason;
use crate::netns::Netns;
use crate::skb::Skb;
use crate::socket;
use crate::trace::{Record, cause};
use crate::view::{ETH_HLEN, be16, be32, checksum_adjust, put16};

/// `udp_rcv` of a VXLAN port: takes a datagram for one of our devices; false where none listens there. The inner frame comes in
/// through its device after what is queued already.
///
/// # Errors
/// Why the datagram was dropped.
pub(crate) fn rcv(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<bool, DropReason> {
    let family = skb.ip_version();
    let udp = skb.transport();
    if udp.len() < UDP_HLEN {
        return Ok(false);
    }
    let (port, length, checksum) = (be16(udp, 2), usize::from(be16(udp, 4)), be16(udp, 6));
    let listening = |dev: DevId| {
        ns.devices.get(dev).vxlan().map(|vxlan| &vxlan.config).filter(|it| it.dstport == port && it.family() == family)
    };
    let mut open = ns.vxlans.iter().filter_map(|&dev| Some((dev, listening(dev)?)));
    let Some((_, first)) = open.clone().next() else { return Ok(false) };
    if !(checksum == 0 && family == Family::V6 && first.udp6zerocsumrx) {
        socket::verified(skb, UDP_HLEN, DropReason::UdpCsum)?;
    }
    if length < UDP_HLEN + VXLAN_HLEN || length > udp.len() {
        return Err(DropReason::PktTooSmall);
    }
    // Any other bit belongs to an extension that the device was not told of.
    let header = &udp[UDP_HLEN..];
    if header[..4] != [FLAG_VNI, 0, 0, 0] || header[7] != 0 {
        return Err(DropReason::VxlanInvalidHdr);
    }
    let vni = be32(header, 4) >> 8;
    let Some((dev, config)) = open.find(|(_, config)| config.id == vni) else { return Err(DropReason::VxlanVniNotFound) };
    let learning = config.learning;
    let Some(source) = source_mac(&udp[UDP_HLEN + VXLAN_HLEN..length]) else { return Err(DropReason::PktTooSmall) };
    if source == ns.devices.get(dev).mac {
        return Err(DropReason::LocalMac);
    }
    if learning {
        snoop(ns, cx, dev, source, skb.src())?;
    }
    let start = usize::from(skb.l4) + UDP_HLEN + VXLAN_HLEN;
    let mark_ce = decapsulate_ecn(skb.tos(), &udp_payload(skb)[..length - UDP_HLEN - VXLAN_HLEN])?;
    if ns.backlog.len() >= MAX_BACKLOG {
        return Err(DropReason::CpuBacklog);
    }
    cx.record(skb.id(), Record::Consume { children: 1 });
    let flow = skb.packet.flow;
    let mut packet = cx.reborn(skb.packet.take(), cause::DECAP);
    packet.flow = flow;
    packet.pull(start);
    packet.trim(length - UDP_HLEN - VXLAN_HLEN);
    if mark_ce {
        set_ce(packet.bytes_mut());
    }
    let inner = Skb { mark: skb.mark, depth: skb.depth, ..Skb::new(packet, dev) };
    ns.requeue(cx, dev, inner);
    Ok(true)
}

fn udp_payload(skb: &Skb) -> &[u8] {
    &skb.transport()[UDP_HLEN + VXLAN_HLEN..]
}

/// `vxlan_snoop`.
fn snoop(ns: &mut Netns, cx: &Cx<'_>, dev: DevId, source: crate::addr::Mac, host: IpAddr) -> Result<(), DropReason> {
    if source.is_multicast() || source == crate::addr::Mac::ZERO {
        return Err(DropReason::MacInvalidSource);
    }
    let Some(vxlan) = ns.devices.vxlan_mut(dev) else { return Ok(()) };
    match vxlan.fdb.learn(source, Remote { dst: host, port: None, vni: None, via: None }, cx.now()) {
        Snooped::Taken => Ok(()),
        Snooped::Elsewhere => Err(DropReason::VxlanEntryExists),
    }
}

/// RFC 6040, 4.2 (`INET_ECN_decapsulate`): whether the inner packet has to be marked as having met congestion.
fn decapsulate_ecn(outer: u8, frame: &[u8]) -> Result<bool, DropReason> {
    let Some(headers) = inner_headers(frame) else { return Ok(false) };
    let ip = &frame[ETH_HLEN..];
    let inner = match headers.family {
        Family::V4 => ip[1],
        Family::V6 => (ip[0] << 4) | (ip[1] >> 4),
    };
    match (inner & ECN_MASK, outer & ECN_MASK) {
        (0, ECN_CE) => Err(DropReason::IpTunnelEcn),
        (0, _) | (ECN_CE, _) => Ok(false),
        (_, outer) => Ok(outer == ECN_CE),
    }
}

/// `INET_ECN_set_ce`.
fn set_ce(frame: &mut [u8]) {
    let Some(ip) = frame.get_mut(ETH_HLEN..) else { return };
    match ip.first().map(|first| first >> 4) {
        Some(4) => {
            let old = [ip[0], ip[1]];
            ip[1] |= ECN_CE;
            let checksum = checksum_adjust(be16(ip, 10), &old, &[ip[0], ip[1]]);
            put16(ip, 10, checksum);
        }
        Some(6) => ip[1] |= ECN_CE << 4,
        _ => {}
    }
}
