//! Which source address a packet of our own takes: `inet_select_addr`, and RFC 6724 for IPv6 (`ipv6_dev_get_saddr`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::fib::{bits, mask, scope};
use crate::dev::device::{DevId, IfAddr};
use crate::netns::Netns;

/// `inet_select_addr`: the first primary address of a device that is no narrower than `limit`, one in the subnet of `toward`
/// first; else one of any other device.
pub(crate) fn inet_select_addr(ns: &Netns, dev: DevId, toward: Option<Ipv4Addr>, limit: u8) -> Option<Ipv4Addr> {
    if dev != DevId::NONE {
        let device = ns.devices.get(dev);
        let local = if device.conf4.route_localnet || ns.sysctls.all4.route_localnet { scope::LINK } else { scope::HOST };
        let mut first = None;
        for addr in device.addrs.iter().filter(|addr| !addr.secondary && addr.scope.min(local) <= limit) {
            let IpAddr::V4(address) = addr.address else { continue };
            match toward {
                Some(toward) if on_subnet(addr, IpAddr::V4(toward)) => return Some(address),
                None => return Some(address),
                Some(_) => first = first.or(Some(address)),
            }
        }
        if first.is_some() {
            return first;
        }
    }
    let usable = |addr: &&IfAddr| !addr.secondary && addr.scope != scope::LINK && addr.scope <= limit;
    ns.devices.iter().flat_map(|device| device.addrs.iter()).filter(usable).find_map(|addr| match addr.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

/// `inet_ifa_match`: whether an address is in the subnet of a device's address.
pub(crate) fn on_subnet(addr: &IfAddr, address: IpAddr) -> bool {
    addr.peer.is_ipv4() == address.is_ipv4() && (bits(addr.peer) ^ bits(address)) & mask(addr.prefix_len) == 0
}

/// `ipv6_dev_get_saddr`: RFC 6724 section 5 over the addresses of all devices; over those of `dev` alone where the destination
/// is a multicast or link-local address. Rules 3, 4 and 7 (deprecated, home and temporary addresses) have nothing to tell apart
/// here: such addresses are not modelled.
pub(crate) fn ipv6_select_addr(ns: &Netns, dev: DevId, dst: Ipv6Addr) -> Option<Ipv6Addr> {
    let wanted = scope_of(dst);
    let confined = dst.is_multicast() || wanted <= LINK_LOCAL;
    let mut best: Option<(Rank, Ipv6Addr)> = None;
    for device in ns.devices.iter().filter(|device| !confined || dev == DevId::NONE || device.id == dev) {
        for addr in &device.addrs {
            let IpAddr::V6(address) = addr.address else { continue };
            if ns.neighbours.is_tentative(device.id, address) {
                continue;
            }
            let rank = Rank {
                same: address == dst,
                scope: scope_rank(scope_of(address), wanted),
                outgoing: device.id == dev,
                label: label(address) == label(dst),
                common: common_bits(address, dst).min(addr.prefix_len),
            };
            if best.as_ref().is_none_or(|(best, _)| rank > *best) {
                best = Some((rank, address));
            }
        }
    }
    best.map(|(_, address)| address)
}

/// The rules 1, 2, 5, 6 and 8, in the order in which they decide; larger is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Rank {
    same: bool,
    scope: i16,
    outgoing: bool,
    label: bool,
    common: u8,
}

const LINK_LOCAL: u8 = 2;
const GLOBAL: u8 = 14;

/// `ipv6_addr_src_scope`; unique local addresses are global.
pub(crate) fn scope_of(address: Ipv6Addr) -> u8 {
    let [first, second, ..] = address.octets();
    match first {
        0xff => second & 15,
        0xfe if second & 0xc0 == 0x80 => LINK_LOCAL,
        0xfe if second & 0xc0 == 0xc0 => 5,
        _ if address.is_loopback() => LINK_LOCAL,
        _ => GLOBAL,
    }
}

/// Rule 2: the narrowest scope that is wide enough; else the widest.
fn scope_rank(scope: u8, wanted: u8) -> i16 {
    if scope >= wanted { 128 - i16::from(scope) } else { i16::from(scope) - 128 }
}

/// The default policy table of Linux (`ip_addrlabel`): the label of the longest prefix.
fn label(address: Ipv6Addr) -> u32 {
    let octets = address.octets();
    let segments = address.segments();
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 1] => 0,
        [0, 0, 0, 0, 0, 0xffff, ..] => 4,
        [0, 0, 0, 0, 0, 0, ..] => 3,
        [0x2001, second, ..] if second & 0xfff0 == 0x10 => 7,
        [0x2001, 0, ..] => 6,
        [0x2002, ..] => 2,
        [0x3ffe, ..] => 12,
        _ if octets[0] & 0xfe == 0xfc => 5,
        _ if octets[0] == 0xfe && octets[1] & 0xc0 == 0xc0 => 11,
        _ => 1,
    }
}

fn common_bits(a: Ipv6Addr, b: Ipv6Addr) -> u8 {
    (u128::from(a) ^ u128::from(b)).leading_zeros() as u8
}
