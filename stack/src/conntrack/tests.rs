//! A namespace of which only conntrack and NAT are at work: packets walk the hooks of a router by hand.

use std::net::IpAddr;

use sim_core::{NodeId, Packet, Sim, SimTime, TraceMode};

use super::nat::{Manip, NatRange, nat_hook, setup_info};
use super::*;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::trace::cause;
use crate::view::{fold, ipv4_header_checksum, put16, transport_checksum};

/// What a rule of the nat table would say at a hook.
#[derive(Clone, Copy)]
pub(super) struct Rule(pub(super) Hook, pub(super) NatRange);

/// What became of a packet.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) ct: Ct,
    pub(super) ip: Vec<u8>,
}

pub(super) struct Router {
    pub(super) sim: Sim<Netns>,
    id: NodeId,
}

impl Router {
    pub(super) fn new() -> Router {
        let mut sim = Sim::new(1, TraceMode::Headers);
        let id = sim.add_node("r", Netns::new("r"));
        Router { sim, id }
    }

    pub(super) fn netns(&mut self) -> &mut Netns {
        self.sim.node_mut(self.id)
    }

    pub(super) fn now(&self) -> SimTime {
        self.sim.now()
    }

    pub(super) fn wait(&mut self, time: SimTime) {
        let until = SimTime(self.sim.now().0 + time.0);
        self.sim.with(self.id, |_, cx| cx.wake_at(until));
        self.sim.run_until(until);
        assert_eq!(self.sim.now(), until);
    }

    /// An IP packet on its way through the router.
    pub(super) fn forward(&mut self, ip: &[u8], rules: &[Rule]) -> Result<Walked, DropReason> {
        self.walk(ip, rules, &[Hook::PreRouting, Hook::PostRouting])
    }

    pub(super) fn walk(&mut self, ip: &[u8], rules: &[Rule], hooks: &[Hook]) -> Result<Walked, DropReason> {
        self.sim.with(self.id, |ns, cx| {
            let packet: Packet = cx.packet(ip, None, cause::ORIGINAL);
            let mut skb = Skb::new(packet, DevId(1));
            skb.parse_at(0)?;
            let family = skb.ip_version();
            for &hook in hooks {
                let state = HookState { hook, family, indev: Some(DevId(1)), outdev: Some(DevId(2)) };
                if matches!(hook, Hook::PreRouting | Hook::Output) {
                    nf_conntrack_in(ns, cx, &state, &mut skb)?;
                }
                if let Some(manip) = Manip::of_hook(hook) {
                    if let (Some(rule), Ct::Entry(id, _)) = (rules.iter().find(|rule| rule.0 == hook), skb.ct)
                        && !nat::is_initialized(ns, id, manip)
                    {
                        setup_info(ns, cx, id, &rule.1, manip)?;
                    }
                    nat_hook(ns, cx, &state, &mut skb, manip)?;
                }
                if matches!(hook, Hook::PostRouting | Hook::Input) {
                    nf_confirm(ns, cx, &state, &mut skb)?;
                }
            }
            let walked = Walked { ct: skb.ct, ip: skb.packet.bytes().to_vec() };
            assert!(checksum::is_right(&skb), "the transport checksum is right after a walk");
            if family == Family::V4 {
                assert_eq!(ipv4_header_checksum(&walked.ip[..20]), 0, "the header's checksum is right after a walk");
            }
            cx.recycle(skb.packet);
            Ok(walked)
        })
    }

    pub(super) fn lines(&mut self) -> Vec<String> {
        let now = self.now();
        self.netns().conntrack.list(now).iter().map(Conntrack::line).collect()
    }
}

/// An IP packet around a transport header, whose checksum is mended.
pub(super) fn ip(src: &str, dst: &str, protocol: u8, mut l4: Vec<u8>) -> Vec<u8> {
    let (src, dst): (IpAddr, IpAddr) = (src.parse().expect("an address"), dst.parse().expect("an address"));
    let at = match protocol {
        proto::TCP => Some(16),
        proto::UDP => Some(6),
        proto::ICMP | proto::ICMPV6 => Some(2),
        _ => None,
    };
    if let Some(at) = at {
        put16(&mut l4, at, 0);
        let sum = match protocol {
            proto::ICMP => fold(crate::view::sum(&l4, 0)),
            _ => transport_checksum(src, dst, protocol, &l4),
        };
        put16(&mut l4, at, sum);
    }
    if protocol == proto::SCTP {
        let crc = checksum::sctp(&l4).expect("a whole header");
        l4[8..12].copy_from_slice(&crc);
    }
    let mut ip;
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ip = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0];
            ip.extend(src.octets());
            ip.extend(dst.octets());
            put16(&mut ip, 2, (20 + l4.len()) as u16);
            let sum = ipv4_header_checksum(&ip);
            put16(&mut ip, 10, sum);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            ip = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
            put16(&mut ip, 4, l4.len() as u16);
            ip.extend(src.octets());
            ip.extend(dst.octets());
        }
        _ => panic!("one family"),
    }
    ip.extend(l4);
    ip
}

pub(super) fn udp(src: &str, sport: u16, dst: &str, dport: u16) -> Vec<u8> {
    let mut l4 = vec![0; 8];
    put16(&mut l4, 0, sport);
    put16(&mut l4, 2, dport);
    put16(&mut l4, 4, 12);
    l4.extend(b"ping");
    ip(src, dst, proto::UDP, l4)
}

pub(super) fn tcp(src: &str, sport: u16, dst: &str, dport: u16, rest: Tcp<'_>) -> Vec<u8> {
    let mut l4 = vec![0; 20];
    put16(&mut l4, 0, sport);
    put16(&mut l4, 2, dport);
    l4[4..8].copy_from_slice(&rest.seq.to_be_bytes());
    l4[8..12].copy_from_slice(&rest.ack.to_be_bytes());
    l4.extend(rest.options);
    l4.resize(l4.len().next_multiple_of(4), 0);
    l4[12] = ((l4.len() / 4) << 4) as u8;
    l4[13] = rest.flags.bytes().fold(0, |flags, letter| flags | "FSRPAUEC".find(letter as char).map_or(0, |bit| 1 << bit));
    put16(&mut l4, 14, rest.window);
    l4.resize(l4.len() + rest.len, b'x');
    ip(src, dst, proto::TCP, l4)
}

#[derive(Clone, Copy)]
pub(super) struct Tcp<'a> {
    pub(super) flags: &'a str,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u16,
    pub(super) options: &'a [u8],
    pub(super) len: usize,
}

pub(super) fn echo(src: &str, dst: &str, kind: u8, id: u16) -> Vec<u8> {
    let six = src.contains(':');
    let mut l4 = vec![kind, 0, 0, 0, 0, 0, 0, 1, b'd', b'a', b't', b'a'];
    put16(&mut l4, 4, id);
    ip(src, dst, if six { proto::ICMPV6 } else { proto::ICMP }, l4)
}

/// An ICMP error of `src` that quotes the beginning of a packet.
pub(super) fn error(src: &str, dst: &str, kind: u8, code: u8, quote: &[u8]) -> Vec<u8> {
    let six = src.contains(':');
    let mut l4 = vec![kind, code, 0, 0, 0, 0, 0, 0];
    l4.extend(quote);
    ip(src, dst, if six { proto::ICMPV6 } else { proto::ICMP }, l4)
}

fn info(walked: &Walked) -> Option<CtInfo> {
    match walked.ct {
        Ct::Entry(_, info) => Some(info),
        _ => None,
    }
}

const MS: SimTime = SimTime::from_millis(20);

#[test]
fn udp_is_new_until_the_first_reply_and_assured_after_two_seconds_of_both() {
    let mut router = Router::new();
    let (there, back) = (udp("10.0.1.2", 1, "10.0.2.2", 9), udp("10.0.2.2", 9, "10.0.1.2", 1));
    let mut seen = Vec::new();
    for packet in [&there, &there, &back, &there, &back] {
        seen.push(info(&router.forward(packet, &[]).expect("it passes")).expect("tracked"));
        router.wait(MS);
    }
    assert_eq!(seen, [CtInfo::New, CtInfo::New, CtInfo::EstablishedReply, CtInfo::Established, CtInfo::EstablishedReply]);
    assert_eq!(
        router.lines(),
        ["udp      17 29 src=10.0.1.2 dst=10.0.2.2 sport=1 dport=9 src=10.0.2.2 dst=10.0.1.2 sport=9 dport=1 mark=0 use=1"]
    );
    router.wait(SimTime::from_secs(2));
    router.forward(&there, &[]).expect("it passes");
    assert!(router.lines()[0].starts_with("udp      17 120 ") && router.lines()[0].contains("[ASSURED]"));
    router.wait(SimTime::from_secs(121));
    assert!(router.lines().is_empty(), "a stream is forgotten after 120 s");
    assert_eq!(info(&router.forward(&there, &[]).expect("it passes")), Some(CtInfo::New));
}

#[test]
fn an_unknown_protocol_is_known_by_its_addresses() {
    let mut router = Router::new();
    let there = ip("10.0.1.2", "10.0.2.2", 253, vec![7; 20]);
    let back = ip("10.0.2.2", "10.0.1.2", 253, vec![7; 20]);
    assert_eq!(info(&router.forward(&there, &[]).expect("it passes")), Some(CtInfo::New));
    assert_eq!(info(&router.forward(&back, &[]).expect("it passes")), Some(CtInfo::EstablishedReply));
    assert_eq!(router.lines(), ["unknown  253 600 src=10.0.1.2 dst=10.0.2.2 src=10.0.2.2 dst=10.0.1.2 mark=0 use=1"]);
}

#[test]
fn an_icmp_error_is_related_by_what_it_quotes_and_invalid_for_another_destination() {
    let mut router = Router::new();
    let sent = udp("10.0.1.2", 1000, "10.0.2.2", 9);
    router.forward(&sent, &[]).expect("it passes");
    let row = |router: &mut Router, packet: Vec<u8>| info(&router.forward(&packet, &[]).expect("it passes"));
    assert_eq!(row(&mut router, error("10.0.2.2", "10.0.1.2", 3, 3, &sent[..28])), Some(CtInfo::RelatedReply));
    assert_eq!(row(&mut router, error("10.0.2.77", "10.0.1.2", 11, 0, &sent[..28])), Some(CtInfo::RelatedReply));
    assert_eq!(row(&mut router, error("10.0.2.2", "10.0.1.9", 3, 3, &sent[..28])), None, "it must go where a reply would");
    let unknown = udp("10.0.1.2", 1001, "10.0.2.2", 9);
    assert_eq!(row(&mut router, error("10.0.2.2", "10.0.1.2", 3, 3, &unknown[..28])), None);
    assert_eq!(row(&mut router, echo("10.0.2.2", "10.0.1.2", 0, 7)), None, "a reply that nobody asked for");
    assert_eq!(router.lines().len(), 1);
    assert_eq!(router.netns().conntrack.stats().invalid, 3);
}

#[test]
fn neighbour_discovery_is_untracked_and_echo_is_not() {
    let mut router = Router::new();
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend([0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let packet = ip("fd00:1::2", "ff02::1:ff00:1", proto::ICMPV6, solicitation);
    assert_eq!(router.forward(&packet, &[]).expect("it passes").ct, Ct::Untracked);
    router.forward(&echo("fd00:1::2", "fd00:2::2", 128, 7), &[]).expect("it passes");
    assert_eq!(
        router.lines(),
        ["icmpv6   58 30 src=fd00:1::2 dst=fd00:2::2 type=128 code=0 id=7 [UNREPLIED] src=fd00:2::2 dst=fd00:1::2 type=129 \
          code=0 id=7 mark=0 use=1"]
    );
}

#[test]
fn a_bad_checksum_is_invalid_unless_nobody_looks() {
    let mut bad = udp("10.0.1.2", 1, "10.0.2.2", 9);
    let last = bad.len() - 1;
    bad[last] ^= 1;
    let mut router = Router::new();
    let walk = |router: &mut Router| {
        let id = router.id;
        router.sim.with(id, |ns, cx| {
            let mut skb = Skb::new(cx.packet(&bad, None, cause::ORIGINAL), DevId(1));
            skb.parse_at(0).expect("whole");
            let state = HookState { hook: Hook::PreRouting, family: Family::V4, indev: None, outdev: None };
            nf_conntrack_in(ns, cx, &state, &mut skb).expect("it passes");
            skb.ct
        })
    };
    assert_eq!(walk(&mut router), Ct::Invalid);
    router.netns().sysctls.ct.checksum = false;
    assert!(matches!(walk(&mut router), Ct::Entry(_, CtInfo::New)));
}

#[test]
fn a_connection_whose_first_packet_is_dropped_was_never_there() {
    let mut router = Router::new();
    let packet = udp("10.0.1.2", 1, "10.0.2.2", 9);
    // It never reaches POSTROUTING.
    router.walk(&packet, &[], &[Hook::PreRouting]).expect("it passes");
    assert!(router.lines().is_empty());
    assert_eq!(info(&router.forward(&packet, &[]).expect("it passes")), Some(CtInfo::New));
    assert_eq!(router.lines().len(), 1);
}

#[test]
fn a_full_sparse_table_drops_what_is_new_and_lets_known_flows_pass() {
    let mut router = Router::new();
    router.netns().sysctls.ct.max = 2;
    for port in 1..3 {
        router.forward(&udp("10.0.1.2", port, "10.0.2.2", 9), &[]).expect("there is room");
    }
    assert_eq!(router.forward(&udp("10.0.1.2", 3, "10.0.2.2", 9), &[]).unwrap_err(), DropReason::ConntrackDrop);
    router.forward(&udp("10.0.1.2", 1, "10.0.2.2", 9), &[]).expect("it is known");
    router.netns().sysctls.ct.buckets = 8;
    router.forward(&udp("10.0.1.2", 3, "10.0.2.2", 9), &[]).expect("in a crowded table an un-ASSURED one makes room");
    assert_eq!(router.netns().conntrack.stats().early_drop, 1);
    router.wait(SimTime::from_secs(31));
    router.netns().sysctls.ct.buckets = 262_144;
    router.forward(&udp("10.0.1.2", 4, "10.0.2.2", 9), &[]).expect("the others have expired");
    assert_eq!(router.lines().len(), 1);
}

#[test]
fn what_a_filter_names_is_deleted_and_no_more() {
    let mut router = Router::new();
    for port in 1..4 {
        router.forward(&udp("10.0.1.2", port, "10.0.2.2", 9), &[]).expect("it passes");
    }
    let now = router.now();
    let gone = router.netns().conntrack.delete_matching(|view| view.original.sport == 2, now);
    assert_eq!(gone.iter().map(|view| view.original.sport).collect::<Vec<_>>(), [2]);
    assert_eq!(router.lines().len(), 2);
    router.netns().conntrack.flush();
    assert!(router.lines().is_empty());
    assert_eq!(router.netns().conntrack.count(), 0);
}

#[test]
fn accounting_counts_both_directions_where_it_is_on() {
    let mut router = Router::new();
    router.netns().sysctls.ct.acct = true;
    router.forward(&udp("10.0.1.2", 1, "10.0.2.2", 9), &[]).expect("it passes");
    router.forward(&udp("10.0.2.2", 9, "10.0.1.2", 1), &[]).expect("it passes");
    assert_eq!(
        router.lines(),
        ["udp      17 30 src=10.0.1.2 dst=10.0.2.2 sport=1 dport=9 packets=1 bytes=32 src=10.0.2.2 dst=10.0.1.2 sport=9 dport=1 \
          packets=1 bytes=32 mark=0 use=1"]
    );
}

#[test]
fn memory_of_flows_that_are_gone_is_given_back_where_nothing_is_traced() {
    let mut router = Router::new();
    router.sim.tracer_mut().set_mode(TraceMode::Off);
    for round in 0..40u16 {
        for port in 0..100 {
            router.walk(&udp("10.0.1.2", round * 100 + port, "10.0.2.2", 9), &[], &[Hook::PreRouting]).expect("it passes");
        }
        router.wait(SimTime::from_secs(1));
    }
    let kept = router.netns().conntrack.table.kept();
    assert!(kept < 2600, "{kept} of 4000 unconfirmed connections are kept");
    assert_eq!(router.netns().conntrack.view(CtId(0), SimTime::ZERO), None, "and their numbers name nothing");
}

#[test]
fn a_record_says_what_was_found_and_what_it_became() {
    let mut router = Router::new();
    router.forward(&udp("10.0.1.2", 1, "10.0.2.2", 9), &[]).expect("it passes");
    router.forward(&udp("10.0.2.2", 9, "10.0.1.2", 1), &[]).expect("it passes");
    let tracer = router.sim.tracer();
    let events: Vec<(CtEvent, bool)> = tracer
        .records()
        .iter()
        .filter_map(|stamped| match stamped.record {
            Record::Conntrack { event, note, .. } => {
                Some((event, Conntrack::decode_note(&tracer.bytes(note)).expect("a note").unreplied))
            }
            _ => None,
        })
        .collect();
    let expected = [(CtEvent::New, true), (CtEvent::Confirmed, true), (CtEvent::Found, true), (CtEvent::Changed, false)];
    assert_eq!(events, expected);
}

/// What a router with Linux 6.18 printed for the same packets (`conntrack -E`, 1.4.7).
const EVENTS: &str = "    \
    [NEW] tcp      6 120 SYN_SENT src=10.0.1.2 dst=10.0.2.2 sport=3000 dport=80 [UNREPLIED] src=10.0.2.2 dst=10.0.1.2 sport=80 dport=3000
 [UPDATE] tcp      6 60 SYN_RECV src=10.0.1.2 dst=10.0.2.2 sport=3000 dport=80 src=10.0.2.2 dst=10.0.1.2 sport=80 dport=3000
 [UPDATE] tcp      6 432000 ESTABLISHED src=10.0.1.2 dst=10.0.2.2 sport=3000 dport=80 src=10.0.2.2 dst=10.0.1.2 sport=80 dport=3000 [ASSURED]
 [UPDATE] tcp      6 120 FIN_WAIT src=10.0.1.2 dst=10.0.2.2 sport=3000 dport=80 src=10.0.2.2 dst=10.0.1.2 sport=80 dport=3000 [ASSURED]
 [UPDATE] tcp      6 30 LAST_ACK src=10.0.1.2 dst=10.0.2.2 sport=3000 dport=80 src=10.0.2.2 dst=10.0.1.2 sport=80 dport=3000 [ASSURED]
 [UPDATE] tcp      6 120 TIME_WAIT src=10.0.1.2 dst=10.0.2.2 sport=3000 dport=80 src=10.0.2.2 dst=10.0.1.2 sport=80 dport=3000 [ASSURED]
    [NEW] udp      17 30 src=10.0.1.2 dst=10.0.2.2 sport=1 dport=9 [UNREPLIED] src=10.0.2.2 dst=10.0.1.2 sport=9 dport=1
 [UPDATE] udp      17 30 src=10.0.1.2 dst=10.0.2.2 sport=1 dport=9 src=10.0.2.2 dst=10.0.1.2 sport=9 dport=1
 [UPDATE] udp      17 120 src=10.0.1.2 dst=10.0.2.2 sport=1 dport=9 src=10.0.2.2 dst=10.0.1.2 sport=9 dport=1 [ASSURED]
    [NEW] icmp     1 30 src=10.0.1.2 dst=10.0.2.2 type=8 code=0 id=7 [UNREPLIED] src=10.0.2.2 dst=10.0.1.2 type=0 code=0 id=7
 [UPDATE] icmp     1 30 src=10.0.1.2 dst=10.0.2.2 type=8 code=0 id=7 src=10.0.2.2 dst=10.0.1.2 type=0 code=0 id=7
    [NEW] tcp      6 120 SYN_SENT src=10.0.1.2 dst=10.0.2.2 sport=3001 dport=80 [UNREPLIED] src=10.0.2.2 dst=10.0.1.2 sport=80 dport=3001
[DESTROY] tcp      6 119 CLOSE src=10.0.1.2 dst=10.0.2.2 sport=3001 dport=80 [UNREPLIED] src=10.0.2.2 dst=10.0.1.2 sport=80 dport=3001";

#[test]
fn the_events_are_those_that_linux_reports() {
    let mut router = Router::new();
    let there = |flags: &'static str, seq, ack, port| {
        tcp("10.0.1.2", port, "10.0.2.2", 80, Tcp { flags, seq, ack, window: 1000, options: &[], len: 0 })
    };
    let back = |flags: &'static str, seq, ack, port| {
        tcp("10.0.2.2", 80, "10.0.1.2", port, Tcp { flags, seq, ack, window: 1000, options: &[], len: 0 })
    };
    let (ask, answer) = (udp("10.0.1.2", 1, "10.0.2.2", 9), udp("10.0.2.2", 9, "10.0.1.2", 1));
    for packet in [
        there("S", 1000, 0, 3000),
        back("SA", 5000, 1001, 3000),
        there("A", 1001, 5001, 3000),
        there("FA", 1001, 5001, 3000),
        back("FA", 5001, 1002, 3000),
        there("A", 1002, 5002, 3000),
        ask.clone(),
        answer,
        ask.clone(),
    ] {
        router.forward(&packet, &[]).expect("it passes");
        router.wait(MS);
    }
    router.wait(SimTime::from_millis(2200));
    for packet in [
        ask,
        echo("10.0.1.2", "10.0.2.2", 8, 7),
        echo("10.0.2.2", "10.0.1.2", 0, 7),
        there("S", 1000, 0, 3001),
        back("RA", 0, 1001, 3001),
    ] {
        router.forward(&packet, &[]).expect("it passes");
        router.wait(MS);
    }
    let tracer = router.sim.tracer();
    let lines: Vec<String> = tracer
        .records()
        .iter()
        .filter_map(|stamped| match stamped.record {
            Record::Conntrack { event, note, .. } => {
                Conntrack::event_line(event, &Conntrack::decode_note(&tracer.bytes(note)).expect("a note"))
            }
            _ => None,
        })
        .collect();
    assert_eq!(lines.join("\n"), EVENTS);
}
