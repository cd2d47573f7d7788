//! What NAT writes into packets: `nf_nat_manip_pkt`, for a packet and for what an ICMP error quotes.

use std::net::IpAddr;

use super::Manip;
use crate::addr::Family;
use crate::conntrack::checksum;
use crate::conntrack::tuple::{Tuple, of_quote};
use crate::skb::Skb;
use crate::view::{be16, checksum_adjust, fold, proto, put16};

/// Makes one end of a packet that of `target`.
pub(super) fn packet(skb: &mut Skb, target: &Tuple, manip: Manip) {
    addresses(skb, target, manip);
    match skb.l4proto {
        proto::TCP | proto::UDP | proto::UDPLITE => {
            let (source, port) = match manip {
                Manip::Src => (true, target.sport),
                Manip::Dst => (false, target.dport),
            };
            if skb.ports().is_some_and(|(sport, dport)| port != if source { sport } else { dport }) {
                skb.set_port(source, port);
            }
        }
        proto::SCTP => {
            let (source, port) = match manip {
                Manip::Src => (true, target.sport),
                Manip::Dst => (false, target.dport),
            };
            skb.set_port(source, port);
            if let Some(crc) = checksum::payload(skb).and_then(checksum::sctp) {
                skb.transport_mut()[8..12].copy_from_slice(&crc);
            }
        }
        proto::ICMP | proto::ICMPV6 => {
            let l4 = skb.transport();
            if l4.len() >= 8 && has_id(skb.l4proto, l4[0]) && be16(l4, 4) != target.sport {
                skb.set_icmp_id(target.sport);
            }
        }
        // Version 1 (PPTP) has its call id rewritten only with the PPTP helper.
        _ => {}
    }
}

/// Makes one address of a packet that of `target`.
pub(super) fn addresses(skb: &mut Skb, target: &Tuple, manip: Manip) {
    match manip {
        Manip::Src if skb.src() != target.src => skb.set_src(target.src),
        Manip::Dst if skb.dst() != target.dst => skb.set_dst(target.dst),
        _ => {}
    }
}

/// Whether an ICMP message of this type has an identifier.
fn has_id(protocol: u8, kind: u8) -> bool {
    match protocol {
        proto::ICMP => matches!(kind, 0 | 8 | 13..=18),
        _ => matches!(kind, 128 | 129),
    }
}

/// Makes one end of the packet that an ICMP error quotes that of `target`, with the checksums inside, as far as they are quoted.
pub(super) fn quoted(skb: &mut Skb, target: &Tuple, manip: Manip) {
    let family = skb.ip_version();
    let Some(length) = checksum::payload(skb).map(<[u8]>::len).filter(|&length| length > 8) else { return };
    let quote = &mut skb.transport_mut()[8..length];
    let Some(inner) = of_quote(quote, family) else { return };
    let (old, new, port) = match manip {
        Manip::Src => (inner.tuple.src, target.src, target.sport),
        Manip::Dst => (inner.tuple.dst, target.dst, target.dport),
    };
    // The id of an echo is the same in both directions, and changes with either end.
    let port = if inner.tuple.is_icmp() { target.sport } else { port };
    let at = match (family, manip) {
        (Family::V4, Manip::Src) => 12,
        (Family::V4, Manip::Dst) => 16,
        (Family::V6, Manip::Src) => 8,
        (Family::V6, Manip::Dst) => 24,
    };
    let (old, new) = (octets(old), octets(new));
    let width = if family == Family::V4 { 4 } else { 16 };
    quote[at..at + width].copy_from_slice(&new[..width]);
    if family == Family::V4 {
        let sum = checksum_adjust(be16(quote, 10), &old[..width], &new[..width]);
        put16(quote, 10, sum);
    }
    transport(&mut quote[inner.l4..], inner.tuple.proto, (&old[..width], &new[..width]), port, manip);
}

/// The transport header inside: only its first 8 bytes are sure to be there.
fn transport(l4: &mut [u8], protocol: u8, (old, new): (&[u8], &[u8]), port: u16, manip: Manip) {
    let port_at = match manip {
        Manip::Src => 0,
        Manip::Dst => 2,
    };
    let (value_at, sum_at, pseudo) = match protocol {
        proto::TCP => (port_at, 16, true),
        proto::UDP | proto::UDPLITE => (port_at, 6, true),
        proto::SCTP => (port_at, usize::MAX, false),
        proto::ICMP | proto::ICMPV6 => match l4.first() {
            Some(&kind) if has_id(protocol, kind) => (4, 2, protocol == proto::ICMPV6),
            _ => return,
        },
        _ => return,
    };
    if l4.len() < value_at + 2 {
        return;
    }
    let before = be16(l4, value_at).to_be_bytes();
    put16(l4, value_at, port);
    if sum_at == usize::MAX || l4.len() < sum_at + 2 {
        return;
    }
    let mut sum = be16(l4, sum_at);
    let udp = protocol == proto::UDP;
    if udp && sum == 0 {
        return;
    }
    if pseudo {
        sum = checksum_adjust(sum, old, new);
    }
    sum = checksum_adjust(sum, &before, &port.to_be_bytes());
    put16(l4, sum_at, if udp && sum == 0 { 0xffff } else { sum });
}

/// Computes the checksum of an ICMP or ICMPv6 message anew.
pub(super) fn icmp_checksum(skb: &mut Skb) {
    let l4 = skb.transport_mut();
    if l4.len() < 4 {
        return;
    }
    put16(l4, 2, 0);
    let Some(l4) = checksum::payload(skb) else { return };
    let mut acc = checksum::ones_complement(l4);
    if skb.l4proto == proto::ICMPV6 {
        acc += u64::from(skb.l4proto) + l4.len() as u64;
        for address in [skb.src(), skb.dst()] {
            acc += checksum::ones_complement(&octets(address));
        }
    }
    let sum = fold(checksum::narrow(acc));
    put16(skb.transport_mut(), 2, sum);
}

/// An address as 16 bytes, those of IPv4 in front.
fn octets(address: IpAddr) -> [u8; 16] {
    let mut octets = [0; 16];
    match address {
        IpAddr::V4(v4) => octets[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => octets = v6.octets(),
    }
    octets
}
