//! Which tuple a connection is translated into: `get_unique_tuple`.
//!
//! Addresses of a range are not random: they are a hash of the packet's own ([`jhash2`] without a seed), the same on every boot.
//! Ports are random, but only where the old one is taken or `--random` asks for it.

use std::net::IpAddr;

use sim_core::choice::key_of;
use sim_core::{Arms, SimTime};

use super::{Manip, NatRange};
use crate::Cx;
use crate::conntrack::table::{Conn, Dir, Track, status};
use crate::conntrack::tcp::TcpState;
use crate::conntrack::tuple::Tuple;
use crate::conntrack::{Conntrack, kill};
use crate::trace::{CtId, NO_PACKET, Record, purpose};
use crate::view::proto;

/// Ports tried in one round (`NF_NAT_MAX_ATTEMPTS`).
const MAX_ATTEMPTS: u32 = 128;
/// From this many attempts left on, a TCP connection that is over may be evicted (`NF_NAT_HARDER_THRESH`).
const HARDER: u32 = MAX_ATTEMPTS / 4;

/// `get_unique_tuple`: `current`, with one end within `range`, such that no other connection has its replies. Where the search
/// fails the last try comes back, and the packet dies when it is confirmed.
pub(super) fn tuple(
    conntrack: &mut Conntrack,
    cx: &mut Cx<'_>,
    ct: CtId,
    current: &Tuple,
    range: &NatRange,
    manip: Manip,
) -> Tuple {
    let now = cx.now();
    let random = range.random || range.random_fully;
    // 1. The packet as it is, or the mapping that its source already has.
    if manip == Manip::Src && !random {
        if in_range(current, range) {
            if !is_used_by_other(conntrack, ct, current, now) {
                return *current;
            }
        } else if let Some(found) = mapping_of_source(conntrack, current, range, now) {
            return found;
        }
    }
    // 2. An address of the range.
    let mut new = *current;
    if let Some((first, last)) = range.addresses {
        let address = address_of_range(current, first, last, range.persistent);
        match manip {
            Manip::Src => new.src = address,
            Manip::Dst => new.dst = address,
        }
    }
    // 3. A port, if it must change.
    if !random {
        match range.ports {
            Some((first, last)) => {
                let stays = range.base_port.is_none() && port_in_range(&new, manip, first, last);
                if stays && (first == last || !is_used(conntrack, ct, &new, now)) {
                    return new;
                }
            }
            None if !is_used(conntrack, ct, &new, now) => return new,
            None => {}
        }
    }
    search(conntrack, cx, ct, &mut new, range, manip);
    new
}

/// `nf_in_range`: whether the source already is within the range.
fn in_range(tuple: &Tuple, range: &NatRange) -> bool {
    range.addresses.is_none_or(|(first, last)| first <= tuple.src && tuple.src <= last)
        && range.ports.is_none_or(|(first, last)| port_in_range(tuple, Manip::Src, first, last))
}

/// `l4proto_in_range`.
fn port_in_range(tuple: &Tuple, manip: Manip, first: u16, last: u16) -> bool {
    let port = match (tuple.proto, manip) {
        (proto::ICMP | proto::ICMPV6, _) => tuple.sport,
        (proto::GRE | proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP, Manip::Src) => tuple.sport,
        (proto::GRE | proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP, Manip::Dst) => tuple.dport,
        _ => return true,
    };
    (first..=last).contains(&port)
}

/// The connection in the table, other than `ct`, that has the replies of a tuple. Those that have expired do not count.
fn holder<'a>(conntrack: &'a Conntrack, ct: CtId, tuple: &Tuple, now: SimTime) -> Option<(CtId, Dir, &'a Conn)> {
    let reply = tuple.invert()?;
    let (other, dir) = conntrack.table.find(&reply, 0)?;
    let conn = conntrack.table.get(other)?;
    (other != ct && conn.timeout > now).then_some((other, dir, conn))
}

/// `nf_nat_used_tuple`.
fn is_used(conntrack: &Conntrack, ct: CtId, tuple: &Tuple, now: SimTime) -> bool {
    holder(conntrack, ct, tuple, now).is_some()
}

/// `nf_nat_used_tuple_new`: not by a UDP connection that is the same one in both directions and untranslated: the two will be made
/// one when they are confirmed.
fn is_used_by_other(conntrack: &Conntrack, ct: CtId, tuple: &Tuple, now: SimTime) -> bool {
    let Some((_, _, other)) = holder(conntrack, ct, tuple, now) else { return false };
    let clash = matches!(tuple.proto, proto::UDP | proto::UDPLITE | proto::GRE) && other.status & status::NAT_MASK == 0;
    !(clash && conntrack.table.get(ct).is_some_and(|own| own.original == other.original && own.reply == other.reply))
}

/// `find_appropriate_src`: a mapping that this source already has, if it is within the range and its tuple is free.
fn mapping_of_source(conntrack: &Conntrack, tuple: &Tuple, range: &NatRange, now: SimTime) -> Option<Tuple> {
    conntrack.table.of_source(tuple).filter(|conn| conn.timeout > now).find_map(|conn| {
        let mapped = conn.reply.invert()?;
        let found = Tuple { src: mapped.src, sport: mapped.sport, ..*tuple };
        let taken = conntrack.table.find(&found.invert()?, 0).is_some();
        (in_range(&found, range) && !taken).then_some(found)
    })
}

/// `find_best_ips_proto`.
fn address_of_range(tuple: &Tuple, first: IpAddr, last: IpAddr, persistent: bool) -> IpAddr {
    if first == last {
        return first;
    }
    // The kernel's union of both address families: IPv4 in the first of four words.
    let (src, dst) = (words(tuple.src), words(tuple.dst));
    let (low, high) = (words(first), words(last));
    let max = if first.is_ipv4() { 0 } else { 3 };
    let mut hash = jhash2(&src, if persistent { 0 } else { dst[max] });
    let mut chosen = [0u32; 4];
    let mut full_range = false;
    for at in 0..=max {
        let (least, distance) = if full_range {
            (0, u32::MAX)
        } else {
            let (least, most) = (low[at].swap_bytes(), high[at].swap_bytes());
            (least, most.wrapping_sub(least).wrapping_add(1))
        };
        chosen[at] = least.wrapping_add(scale(hash, distance)).swap_bytes();
        full_range |= chosen[at] != high[at];
        if !persistent {
            hash ^= dst[at];
        }
    }
    let octet = |at: usize| chosen[at / 4].to_le_bytes()[at % 4];
    match first {
        IpAddr::V4(_) => IpAddr::from(std::array::from_fn::<u8, 4, _>(octet)),
        IpAddr::V6(_) => IpAddr::from(std::array::from_fn::<u8, 16, _>(octet)),
    }
}

/// An address as four words as a little-endian machine (the kernel that this was measured on) loads them.
fn words(address: IpAddr) -> [u32; 4] {
    let mut octets = [0u8; 16];
    match address {
        IpAddr::V4(v4) => octets[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => octets = v6.octets(),
    }
    std::array::from_fn(|at| u32::from_le_bytes([octets[at * 4], octets[at * 4 + 1], octets[at * 4 + 2], octets[at * 4 + 3]]))
}

/// `reciprocal_scale`.
fn scale(value: u32, range: u32) -> u32 {
    ((u64::from(value) * u64::from(range)) >> 32) as u32
}

/// `jhash2` of include/linux/jhash.h (Bob Jenkins, lookup3).
pub(crate) fn jhash2(mut key: &[u32], initval: u32) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add((key.len() as u32) << 2).wrapping_add(initval);
    let (mut a, mut b, mut c) = (start, start, start);
    while let [x, y, z, rest @ ..] = key
        && !rest.is_empty()
    {
        a = a.wrapping_add(*x);
        b = b.wrapping_add(*y);
        c = c.wrapping_add(*z);
        a = a.wrapping_sub(c) ^ c.rotate_left(4);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(6);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(8);
        b = b.wrapping_add(a);
        a = a.wrapping_sub(c) ^ c.rotate_left(16);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(19);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(4);
        b = b.wrapping_add(a);
        key = rest;
    }
    if key.is_empty() {
        return c;
    }
    let word = |at: usize| key.get(at).copied().unwrap_or_default();
    c = c.wrapping_add(word(2));
    b = b.wrapping_add(word(1));
    a = a.wrapping_add(word(0));
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// `nf_nat_l4proto_unique_tuple`: searches for a free port (or ICMP id): of a source from a random one on, of a destination from
/// the first of the range.
fn search(conntrack: &mut Conntrack, cx: &mut Cx<'_>, ct: CtId, tuple: &mut Tuple, range: &NatRange, manip: Manip) {
    let icmp = tuple.is_icmp();
    // GRE's keys belong to the PPTP helper; other protocols have nothing to vary.
    if !icmp && !tuple.has_ports() {
        return;
    }
    let old = if icmp || manip == Manip::Src { tuple.sport } else { tuple.dport };
    let (min, size) = match (range.ports, icmp, manip, old) {
        (Some((first, last)), ..) => (u32::from(first.min(last)), u32::from(first.abs_diff(last)) + 1),
        (None, true, ..) => (0, 65536),
        // Without a range a destination port does not change.
        (None, _, Manip::Dst, _) => return,
        // A port keeps its class.
        (None, _, _, ..512) => (1, 511),
        (None, _, _, ..1024) => (600, 424),
        (None, ..) => (1024, 64512),
    };
    let mut offset = match range.base_port {
        Some(base) => u32::from(old.wrapping_sub(base)) % size,
        None if manip == Manip::Dst && !range.random && !range.random_fully => 0,
        None => draw(conntrack, cx, ct, size),
    };
    let now = cx.now();
    let mut attempts = size.min(MAX_ATTEMPTS);
    loop {
        for tried in 0..attempts {
            let port = (min + (offset + tried) % size) as u16;
            if icmp || manip == Manip::Src {
                tuple.sport = port;
            } else {
                tuple.dport = port;
            }
            if is_free_or_freed(conntrack, cx, ct, tuple, attempts - tried, now) {
                return;
            }
        }
        if attempts >= size || attempts < 16 {
            return;
        }
        // Elsewhere, in ever smaller rounds.
        attempts /= 2;
        offset = draw(conntrack, cx, ct, size);
    }
}

/// A random place to start from. Keyed by the connection as it came, so that a retry draws anew and others are not disturbed.
fn draw(conntrack: &Conntrack, cx: &mut Cx<'_>, ct: CtId, size: u32) -> u32 {
    let key = conntrack.table.get(ct).map_or(0, |conn| key_of(&conn.original.key_bytes()));
    let choice = cx.decide(purpose::NAT_PORT, key, Arms::Equal(size));
    if cx.tracing() {
        let (key, draw, arm) = (choice.key.key, choice.key.draw, choice.arm);
        let packet = conntrack.nat_packet.unwrap_or(NO_PACKET);
        cx.record(packet, Record::Choice { purpose: purpose::NAT_PORT.0, key, draw, arm });
    }
    choice.arm
}

/// `nf_nat_used_tuple_harder`: towards the end of the search a translated TCP connection in TIME_WAIT makes way for a new one, if
/// the new one's sequence numbers are ahead.
fn is_free_or_freed(conntrack: &mut Conntrack, cx: &mut Cx<'_>, ct: CtId, tuple: &Tuple, left: u32, now: SimTime) -> bool {
    let Some((other, dir, old)) = holder(conntrack, ct, tuple, now) else { return true };
    let Some(own) = conntrack.table.get(ct) else { return false };
    let (Track::Tcp(new), Track::Tcp(was)) = (&own.track, &old.track) else { return false };
    let may_go = left <= HARDER
        && new.state == TcpState::SynSent
        && dir == Dir::Reply
        && was.state >= TcpState::TimeWait
        && old.status & (status::FIXED_TIMEOUT | status::DYING) == 0
        && old.has(status::SRC_NAT)
        && (new.original_end().wrapping_sub(was.original_end()) as i32) > 0;
    if may_go {
        kill(conntrack, cx, other, NO_PACKET);
    }
    may_go
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(src: [u8; 4], dst: [u8; 4]) -> Tuple {
        Tuple { src: src.into(), dst: dst.into(), proto: proto::UDP, sport: 1000, dport: 53 }
    }

    #[test]
    fn an_address_of_a_range_is_the_one_that_linux_takes() {
        // Recorded on Linux 6.18: DNAT of 10.96.0.10-13 to 10.0.2.2-10.0.2.4, from 10.0.1.2, .3, .4.
        let recorded = [(10, [2, 2, 2]), (11, [3, 3, 2]), (12, [3, 4, 3]), (13, [4, 3, 3])];
        for (service, expected) in recorded {
            let got = [2, 3, 4].map(|client| {
                let tuple = udp([10, 0, 1, client], [10, 96, 0, service]);
                address_of_range(&tuple, [10, 0, 2, 2].into(), [10, 0, 2, 4].into(), false)
            });
            assert_eq!(got, expected.map(|last| IpAddr::from([10, 0, 2, last])), "10.96.0.{service}");
        }
    }

    #[test]
    fn a_persistent_address_does_not_depend_on_the_destination() {
        let of = |service| {
            address_of_range(&udp([10, 0, 1, 2], [10, 96, 0, service]), [10, 9, 0, 0].into(), [10, 9, 255, 255].into(), true)
        };
        assert!((1..50).all(|service| of(service) == of(0)));
    }
}
