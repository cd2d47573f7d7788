//! The accessors against the checksums of smoltcp and the parser of etherparse.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{PacketBuilder, SlicedPacket};
use proptest::prelude::*;
use sim_core::{Sim, TraceMode};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire;

use super::*;
use crate::dev::device::DevId;
use crate::netns::Netns;

fn skb(frame: &[u8]) -> Skb {
    let mut sim: Sim<Netns> = Sim::new(1, TraceMode::Off);
    let ns = sim.add_node("a", Netns::new("a"));
    let packet = sim.with(ns, |_, cx| cx.packet(frame, None, sim_core::Cause(0)));
    let mut skb = Skb::new(packet, DevId(0));
    skb.parse_at(ETH_HLEN).unwrap();
    skb
}

fn v4(proto: u8, payload: &[u8], (src, dst): ([u8; 4], [u8; 4])) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(src, dst, 64);
    let mut frame = Vec::new();
    match proto {
        proto::TCP => builder.tcp(1000, 80, 7, 4096).write(&mut frame, payload).unwrap(),
        proto::UDP => builder.udp(1000, 53).write(&mut frame, payload).unwrap(),
        _ => builder.icmpv4_echo_request(7, 9).write(&mut frame, payload).unwrap(),
    }
    frame
}

fn v6(proto: u8, payload: &[u8], (src, dst): ([u8; 16], [u8; 16])) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(src, dst, 64);
    let mut frame = Vec::new();
    match proto {
        proto::TCP => builder.tcp(1000, 80, 7, 4096).write(&mut frame, payload).unwrap(),
        proto::UDP => builder.udp(1000, 53).write(&mut frame, payload).unwrap(),
        _ => builder.icmpv6_echo_request(7, 9).write(&mut frame, payload).unwrap(),
    }
    frame
}

/// All checksums of a frame, by smoltcp.
fn right(frame: &[u8]) -> bool {
    SlicedPacket::from_ethernet(frame).unwrap();
    let caps = ChecksumCapabilities::default();
    let _ = caps;
    match frame[14] >> 4 {
        4 => {
            let ip = wire::Ipv4Packet::new_checked(&frame[14..]).unwrap();
            let (src, dst) = (ip.src_addr().into(), ip.dst_addr().into());
            ip.verify_checksum() && transport_right(ip.next_header().into(), ip.payload(), &src, &dst)
        }
        _ => {
            let ip = wire::Ipv6Packet::new_checked(&frame[14..]).unwrap();
            let (src, dst) = (ip.src_addr().into(), ip.dst_addr().into());
            transport_right(ip.next_header().into(), ip.payload(), &src, &dst)
        }
    }
}

fn transport_right(proto: u8, bytes: &[u8], src: &wire::IpAddress, dst: &wire::IpAddress) -> bool {
    match proto {
        proto::TCP => wire::TcpPacket::new_checked(bytes).unwrap().verify_checksum(src, dst),
        proto::UDP => wire::UdpPacket::new_checked(bytes).unwrap().verify_checksum(src, dst),
        proto::ICMP => wire::Icmpv4Packet::new_checked(bytes).unwrap().verify_checksum(),
        _ => {
            let (wire::IpAddress::Ipv6(src), wire::IpAddress::Ipv6(dst)) = (src, dst) else { panic!("ICMPv6 in IPv6") };
            wire::Icmpv6Packet::new_checked(bytes).unwrap().verify_checksum(src, dst)
        }
    }
}

fn protocols(icmp: u8) -> impl Strategy<Value = u8> {
    prop::sample::select(vec![proto::TCP, proto::UDP, icmp])
}

proptest! {
    #[test]
    fn every_rewrite_leaves_right_checksums_in_ipv4(
        kind in protocols(proto::ICMP), payload in prop::collection::vec(any::<u8>(), 0..64),
        ends in any::<([u8; 4], [u8; 4])>(), new in any::<([u8; 4], [u8; 4])>(), ttl in any::<u8>(), tos in any::<u8>(), port in any::<u16>(),
    ) {
        let mut skb = skb(&v4(kind, &payload, ends));
        prop_assert!(right(skb.packet.bytes()));
        skb.set_src(IpAddr::V4(Ipv4Addr::from(new.0)));
        skb.set_dst(IpAddr::V4(Ipv4Addr::from(new.1)));
        skb.set_hop_limit(ttl);
        skb.set_tos(tos);
        if kind == proto::ICMP { skb.set_icmp_id(port) } else { skb.set_port(true, port); skb.set_port(false, port) }
        prop_assert!(right(skb.packet.bytes()), "{:02x?}", skb.packet.bytes());
        prop_assert_eq!((skb.src(), skb.dst()), (IpAddr::from(new.0), IpAddr::from(new.1)));
        prop_assert_eq!((skb.hop_limit(), skb.tos(), skb.ip_len()), (ttl, tos, skb.packet.len() - ETH_HLEN));
        if kind != proto::ICMP { prop_assert_eq!(skb.ports(), Some((port, port))) }
    }

    #[test]
    fn every_rewrite_leaves_right_checksums_in_ipv6(
        kind in protocols(proto::ICMPV6), payload in prop::collection::vec(any::<u8>(), 0..64),
        ends in any::<([u8; 16], [u8; 16])>(), new in any::<([u8; 16], [u8; 16])>(), ttl in any::<u8>(), tos in any::<u8>(), port in any::<u16>(),
    ) {
        let mut skb = skb(&v6(kind, &payload, ends));
        prop_assert!(right(skb.packet.bytes()));
        skb.set_src(IpAddr::V6(Ipv6Addr::from(new.0)));
        skb.set_dst(IpAddr::V6(Ipv6Addr::from(new.1)));
        skb.set_hop_limit(ttl);
        skb.set_tos(tos);
        if kind == proto::ICMPV6 { skb.set_icmp_id(port) } else { skb.set_port(true, port); skb.set_port(false, port) }
        prop_assert!(right(skb.packet.bytes()), "{:02x?}", skb.packet.bytes());
        prop_assert_eq!((skb.src(), skb.dst()), (IpAddr::from(new.0), IpAddr::from(new.1)));
        prop_assert_eq!((skb.hop_limit(), skb.tos()), (ttl, tos));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..128), first in prop::sample::select(vec![0x45u8, 0x4f, 0x60])) {
        let mut bytes = bytes;
        if let Some(byte) = bytes.first_mut() { *byte = first }
        if let Ok(headers) = parse(&bytes, 0) {
            prop_assert!(usize::from(headers.l4) <= bytes.len() && usize::from(headers.end) <= bytes.len());
        }
    }
}
