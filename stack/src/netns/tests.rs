//! Namespaces wired together, frames put in, frames read off: every frame that leaves must parse strictly, with right checksums.

use std::collections::BTreeMap;
use std::net::IpAddr;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use sim_core::{LinkConfig, NodeId, PacketId, SimTime, TraceMode};

use crate::Command;
use crate::app::{Answer, AnswerResult, Client, Request, SocketOptions, Target};
use crate::drop_reason::DropReason;
use crate::network::Network;
use crate::provenance::ProvId;
use crate::trace::{Bridged, Record};
use crate::view;

mod bridges;
mod filtered;
mod fragments;
mod remembered;
mod routed;
mod stacked;
mod tunnels;

/// A network under test.
pub(super) struct Lab {
    pub(super) net: Network,
}

impl Lab {
    pub(super) fn new(names: &[&str]) -> Lab {
        let mut net = Network::new(7, TraceMode::Frames);
        for name in names {
            net.add_netns(name).unwrap();
        }
        Lab { net }
    }

    pub(super) fn ns(&self, name: &str) -> NodeId {
        self.net.named(name).unwrap()
    }

    /// Joins `ns/device` to `ns/device`; both ends up.
    pub(super) fn link(&mut self, a: &str, b: &str) {
        let ends = [a, b].map(|end| end.split_once('/').unwrap());
        let [(a, near), (b, far)] = ends;
        let (a, b) = (self.ns(a), self.ns(b));
        self.net.join((a, near), (b, far), LinkConfig::default(), ProvId(0)).unwrap();
        for (ns, device) in ends {
            self.run(ns, &format!("ip link set {device} up"));
        }
    }

    pub(super) fn run(&mut self, ns: &str, line: &str) -> String {
        let command: Command = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
        let ns = self.ns(ns);
        self.net.apply(ns, &command, ProvId(0)).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    pub(super) fn all(&mut self, ns: &str, lines: &[&str]) {
        for line in lines {
            self.run(ns, line);
        }
    }

    pub(super) fn mac(&self, ns: &str, device: &str) -> [u8; 6] {
        let devices = &self.net.netns(self.ns(ns)).devices;
        devices.get(devices.named(device).unwrap()).mac.0
    }

    /// Sends a frame out of a device, runs until nothing is left, and checks what all of it left behind.
    pub(super) fn send(&mut self, ns: &str, device: &str, frame: &[u8]) -> PacketId {
        let ns = self.ns(ns);
        let id = self.net.inject(ns, device, frame).unwrap();
        self.settle();
        id
    }

    pub(super) fn settle(&mut self) {
        self.net.sim.run_until(self.net.sim.now() + SimTime::from_secs(120));
        self.check();
    }

    /// Every frame parses, and every packet's records in a namespace are whole.
    pub(super) fn check(&self) {
        let tracer = self.net.sim.tracer();
        let mut open: BTreeMap<(NodeId, PacketId), &'static str> = BTreeMap::new();
        for stamped in tracer.records().iter() {
            let key = (stamped.node, stamped.packet);
            match stamped.record {
                Record::Receive { .. } | Record::Originate { .. } | Record::Resume { .. } => {
                    assert_ne!(open.insert(key, "open"), Some("open"), "begun twice: {:?}", stamped.record);
                }
                Record::Transmit { frame, .. } => {
                    strict(&tracer.bytes(frame));
                    assert_eq!(open.insert(key, "ended"), Some("open"), "{:?}", stamped.record);
                }
                Record::Deliver { .. } | Record::Drop { .. } | Record::Queue { .. } | Record::Consume { .. } => {
                    assert_eq!(open.insert(key, "ended"), Some("open"), "{:?}", stamped.record);
                }
                _ => {}
            }
        }
        let left: Vec<_> = open.iter().filter(|(_, state)| **state == "open").collect();
        assert!(left.is_empty(), "not ended: {left:?}");
    }

    /// What a device sent, in order.
    pub(super) fn sent(&self, ns: &str, device: &str) -> Vec<Vec<u8>> {
        let node = self.ns(ns);
        let dev = self.net.netns(node).devices.named(device).unwrap();
        let tracer = self.net.sim.tracer();
        let frames = tracer.records().iter().filter(|stamped| stamped.node == node);
        frames
            .filter_map(|stamped| match stamped.record {
                Record::Transmit { dev: at, frame } if at == dev => Some(tracer.bytes(frame).to_vec()),
                _ => None,
            })
            .collect()
    }

    /// What a device sent, IPv4 and IPv6 only.
    pub(super) fn sent_ip(&self, ns: &str, device: &str) -> Vec<Vec<u8>> {
        self.sent(ns, device).into_iter().filter(|frame| view::be16(frame, 12) != view::ethertype::ARP && !is_ndp(frame)).collect()
    }

    /// Why packets ended in a namespace.
    pub(super) fn drops(&self, ns: &str) -> Vec<DropReason> {
        let node = self.ns(ns);
        let records = self.net.sim.tracer().records().iter().filter(|stamped| stamped.node == node);
        records
            .filter_map(|stamped| match stamped.record {
                Record::Drop { reason, .. } => Some(reason),
                _ => None,
            })
            .collect()
    }

    pub(super) fn bridged(&self, ns: &str) -> Vec<Bridged> {
        let node = self.ns(ns);
        let records = self.net.sim.tracer().records().iter().filter(|stamped| stamped.node == node);
        records
            .filter_map(|stamped| match stamped.record {
                Record::Bridge { decision, .. } => Some(decision),
                _ => None,
            })
            .collect()
    }

    pub(super) fn forget(&mut self) {
        self.net.sim.tracer_mut().clear();
    }

    pub(super) fn ping(&mut self, ns: &str, to: &str, size: u16) -> Answer {
        let id = self.ns(ns);
        let app = self.net.ask(
            id,
            Client {
                name: "ping".into(),
                target: Target::Address(to.parse().unwrap()),
                port: 0,
                request: Request::Ping { count: 1, size, interval: SimTime::from_secs(1), id: Some(77), seq: 1, connected: true },
                resolver: None,
                options: SocketOptions::default(),
                timeout: Some(SimTime::from_secs(10)),
            },
        );
        self.settle();
        self.net.netns(id).apps.answer(app).unwrap().clone()
    }
}

pub(super) fn replied(answer: &Answer) -> bool {
    matches!(&answer.result, Some(AnswerResult::Ping(all)) if all.iter().all(Option::is_some))
}

fn is_ndp(frame: &[u8]) -> bool {
    view::be16(frame, 12) == view::ethertype::IPV6 && matches!((frame[20], frame.get(54)), (58, Some(133..=137)) | (0, _))
}

/// Parses a frame with etherparse, without lenience, and checks every checksum.
pub(super) fn strict(frame: &[u8]) {
    if view::be16(frame, 12) == view::ethertype::VLAN {
        return strict(&[&frame[..12], &frame[16..]].concat());
    }
    if view::be16(frame, 12) < 0x600 || frame.len() < 34 {
        return;
    }
    let parsed = SlicedPacket::from_ethernet(frame).unwrap_or_else(|error| panic!("{error}: {frame:02x?}"));
    let Some(net) = &parsed.net else { return };
    if let NetSlice::Ipv4(v4) = net {
        let header = v4.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum(), "IPv4 header checksum: {frame:02x?}");
    }
    if net.is_ip_payload_fragmented_or_arp() {
        return;
    }
    let headers = view::parse(frame, 14).unwrap();
    let bytes = &frame[usize::from(headers.l4)..usize::from(headers.end)];
    let (src, dst) = addresses(frame);
    let sum = match parsed.transport {
        Some(TransportSlice::Icmpv4(_)) => view::fold(view::sum(bytes, 0)),
        Some(TransportSlice::Udp(udp)) if udp.checksum() == 0 => 0,
        Some(_) => view::transport_checksum(src, dst, headers.l4proto, bytes),
        None => 0,
    };
    assert_eq!(sum, 0, "transport checksum: {frame:02x?}");
}

trait FragmentedOrArp {
    fn is_ip_payload_fragmented_or_arp(&self) -> bool;
}

impl FragmentedOrArp for NetSlice<'_> {
    fn is_ip_payload_fragmented_or_arp(&self) -> bool {
        match self {
            NetSlice::Ipv4(v4) => v4.is_payload_fragmented(),
            NetSlice::Ipv6(v6) => v6.is_payload_fragmented(),
            NetSlice::Arp(_) => true,
        }
    }
}

pub(super) fn addresses(frame: &[u8]) -> (IpAddr, IpAddr) {
    let at = |from: usize, len: usize| &frame[from..from + len];
    match frame[14] >> 4 {
        4 => {
            let v4 = |from| IpAddr::from(<[u8; 4]>::try_from(at(from, 4)).unwrap());
            (v4(26), v4(30))
        }
        _ => {
            let v6 = |from| IpAddr::from(<[u8; 16]>::try_from(at(from, 16)).unwrap());
            (v6(22), v6(38))
        }
    }
}

/// A UDP datagram in a frame.
pub(super) struct Udp<'a> {
    pub(super) macs: ([u8; 6], [u8; 6]),
    pub(super) src: &'a str,
    pub(super) dst: &'a str,
    pub(super) ttl: u8,
    pub(super) df: bool,
    pub(super) len: usize,
}

impl Udp<'_> {
    pub(super) fn frame(&self) -> Vec<u8> {
        let eth = PacketBuilder::ethernet2(self.macs.0, self.macs.1);
        let payload = vec![0x5a; self.len];
        let mut frame = Vec::new();
        match (self.src.parse().unwrap(), self.dst.parse().unwrap()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header =
                    etherparse::Ipv4Header::new(0, self.ttl, etherparse::IpNumber::UDP, src.octets(), dst.octets()).unwrap();
                header.dont_fragment = self.df;
                let ip = eth.ip(etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()));
                ip.udp(1111, 2222).write(&mut frame, &payload).unwrap();
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                eth.ipv6(src.octets(), dst.octets(), self.ttl).udp(1111, 2222).write(&mut frame, &payload).unwrap();
            }
            _ => panic!("one family"),
        }
        frame
    }
}
