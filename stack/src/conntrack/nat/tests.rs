//! The picture of the module, in packets; the laws of NAT; and what real routers did with ports.

use std::net::IpAddr;

use proptest::prelude::*;
use sim_core::SimTime;

use super::{Manip, NatRange, masq_address_gone, masq_device_down, needed, set_masq_device};
use crate::addr::Family;
use crate::conntrack::Tuple;
use crate::conntrack::table::{Dir, status};
use crate::conntrack::tests::{Router, Rule, Tcp, echo, error, ip, tcp, udp};
use crate::conntrack::tuple::of_quote;
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::netfilter::hook::Hook;
use crate::skb::Ct;
use crate::view::proto;

fn to(address: &str) -> NatRange {
    let address: IpAddr = address.parse().expect("an address");
    NatRange { addresses: Some((address, address)), ..NatRange::default() }
}

fn to_port(address: &str, port: u16) -> NatRange {
    NatRange { ports: Some((port, port)), ..to(address) }
}

/// The tuple of a whole packet.
fn tuple(packet: &[u8]) -> Tuple {
    let family = if packet[0] >> 4 == 4 { Family::V4 } else { Family::V6 };
    of_quote(packet, family).expect("a packet").tuple
}

fn ends(packet: &[u8]) -> String {
    let tuple = tuple(packet);
    format!("{}:{} > {}:{}", tuple.src, tuple.sport, tuple.dst, tuple.dport)
}

#[test]
fn the_table_of_hooks_and_directions() {
    let rows = [
        (Hook::PreRouting, Dir::Original, Some(status::DST_NAT)),
        (Hook::PreRouting, Dir::Reply, Some(status::SRC_NAT)),
        (Hook::Output, Dir::Original, Some(status::DST_NAT)),
        (Hook::Output, Dir::Reply, Some(status::SRC_NAT)),
        (Hook::PostRouting, Dir::Original, Some(status::SRC_NAT)),
        (Hook::PostRouting, Dir::Reply, Some(status::DST_NAT)),
        (Hook::Input, Dir::Original, Some(status::SRC_NAT)),
        (Hook::Input, Dir::Reply, Some(status::DST_NAT)),
        (Hook::Forward, Dir::Original, None),
        (Hook::Forward, Dir::Reply, None),
    ];
    for (hook, dir, expected) in rows {
        assert_eq!(Manip::of_hook(hook).map(|manip| needed(manip, dir)), expected, "{hook:?} {dir:?}");
    }
}

#[test]
fn the_reply_of_a_translated_flow_is_translated_back() {
    let mut router = Router::new();
    let rules = [Rule(Hook::PreRouting, to_port("10.0.2.2", 9)), Rule(Hook::PostRouting, to("10.0.2.1"))];
    let there = router.forward(&udp("10.0.1.2", 1000, "10.96.0.10", 53), &rules).expect("it passes");
    assert_eq!(ends(&there.ip), "10.0.2.1:1000 > 10.0.2.2:9");
    let back = router.forward(&udp("10.0.2.2", 9, "10.0.2.1", 1000), &[]).expect("it passes");
    assert_eq!(ends(&back.ip), "10.96.0.10:53 > 10.0.1.2:1000");
    // The rules are not asked again.
    let again = router.forward(&udp("10.0.1.2", 1000, "10.96.0.10", 53), &[]).expect("it passes");
    assert_eq!(ends(&again.ip), "10.0.2.1:1000 > 10.0.2.2:9");
}

#[test]
fn an_error_from_a_hop_beyond_seems_to_come_from_the_service() {
    let mut router = Router::new();
    let rules = [Rule(Hook::PreRouting, to_port("10.0.2.2", 9)), Rule(Hook::PostRouting, to("10.0.2.1"))];
    let there = router.forward(&udp("10.0.1.2", 1000, "10.96.0.10", 53), &rules).expect("it passes");
    let got = router.forward(&error("10.0.2.77", "10.0.2.1", 11, 0, &there.ip), &[]).expect("it passes");
    let outer = tuple(&got.ip);
    assert_eq!((outer.src.to_string(), outer.dst.to_string()), ("10.96.0.10".into(), "10.0.1.2".into()));
    // Whole again, with the right checksums: what the client had sent.
    assert_eq!(got.ip[28..], udp("10.0.1.2", 1000, "10.96.0.10", 53));
}

#[test]
fn an_error_about_ipv6_is_translated_like_one_about_ipv4() {
    let mut router = Router::new();
    let rules = [Rule(Hook::PreRouting, to_port("fd00:2::2", 9)), Rule(Hook::PostRouting, to("fd00:2::1"))];
    let sent = udp("fd00:1::2", 1000, "fd00:96::10", 53);
    let there = router.forward(&sent, &rules).expect("it passes");
    assert_eq!(ends(&there.ip), "fd00:2::1:1000 > fd00:2::2:9");
    let got = router.forward(&error("fd00:2::77", "fd00:2::1", 3, 0, &there.ip), &[]).expect("it passes");
    assert_eq!(got.ip[48..], sent);
    let outer = tuple(&got.ip);
    assert_eq!((outer.src.to_string(), outer.dst.to_string()), ("fd00:96::10".into(), "fd00:1::2".into()));
}

#[test]
fn a_redirect_about_a_translated_flow_dies() {
    let mut router = Router::new();
    let there = router.forward(&udp("10.0.1.2", 1, "10.0.2.2", 9), &[Rule(Hook::PostRouting, to("10.0.2.1"))]).expect("it passes");
    assert_eq!(router.forward(&error("10.0.2.9", "10.0.2.1", 5, 1, &there.ip), &[]).unwrap_err(), DropReason::NetfilterDrop);
}

#[test]
fn a_taken_port_changes_within_its_class() {
    let mut router = Router::new();
    let rule = [Rule(Hook::PostRouting, to("10.0.2.1"))];
    for (port, class) in [(123, 1..=511), (700, 600..=1023), (5000, 1024..=65535)] {
        let first = router.forward(&udp("10.0.1.2", port, "10.0.2.2", 9), &rule).expect("it passes");
        assert_eq!(tuple(&first.ip).sport, port, "free: it stays");
        let second = router.forward(&udp("10.0.1.3", port, "10.0.2.2", 9), &rule).expect("it passes");
        let got = tuple(&second.ip).sport;
        assert!(got != port && class.contains(&got), "{port} became {got}");
    }
}

#[test]
fn a_null_binding_moves_a_port_that_a_translated_flow_has_taken() {
    let mut router = Router::new();
    router.forward(&udp("10.0.1.2", 1000, "10.0.2.2", 9), &[]).expect("it passes");
    let dnat = [Rule(Hook::PreRouting, to_port("10.0.2.2", 9))];
    let second = router.forward(&udp("10.0.1.2", 1000, "10.96.0.10", 53), &dnat).expect("it passes");
    let port = tuple(&second.ip).sport;
    assert!((600..=1023).contains(&port) && port != 1000, "no rule says so, but the replies would be the same: {port}");
    let back = router.forward(&udp("10.0.2.2", 9, "10.0.1.2", port), &[]).expect("it passes");
    assert_eq!(ends(&back.ip), "10.96.0.10:53 > 10.0.1.2:1000");
}

#[test]
fn a_destination_port_range_is_not_random() {
    let mut router = Router::new();
    let rule = [Rule(Hook::PreRouting, NatRange { ports: Some((7000, 7002)), ..to("10.0.2.2") })];
    let inside = router.forward(&udp("10.0.1.2", 1, "10.96.0.10", 7001), &rule).expect("it passes");
    assert_eq!(tuple(&inside.ip).dport, 7001, "a port within the range stays");
    let outside = router.forward(&udp("10.0.1.2", 1, "10.96.0.10", 53), &rule).expect("it passes");
    assert_eq!(tuple(&outside.ip).dport, 7000, "else it is the first free one");
    let next = router.forward(&udp("10.0.1.2", 1, "10.96.0.10", 54), &rule).expect("it passes");
    assert_eq!(tuple(&next.ip).dport, 7002, "7000 and 7001 have such a reply");
    assert!(router.sim.choices().is_empty());
    let shifted = NatRange { ports: Some((7000, 7999)), base_port: Some(5000), ..to("10.0.2.2") };
    let moved = router.forward(&udp("10.0.1.2", 2, "10.96.0.10", 5123), &[Rule(Hook::PreRouting, shifted)]).expect("it passes");
    assert_eq!(tuple(&moved.ip).dport, 7123, "--to-destination A:7000-7999/5000");
}

#[test]
fn a_source_keeps_the_address_of_a_range_that_it_already_has() {
    let mut router = Router::new();
    let range = NatRange { addresses: Some(([10, 9, 0, 1].into(), [10, 9, 0, 200].into())), ..NatRange::default() };
    let rule = [Rule(Hook::PostRouting, range)];
    let of =
        |router: &mut Router, dst: &str| tuple(&router.forward(&udp("10.0.1.2", 1000, dst, 9), &rule).expect("it passes").ip).src;
    let first = of(&mut router, "10.0.2.2");
    for last in 3..40 {
        assert_eq!(of(&mut router, &format!("10.0.2.{last}")), first);
    }
}

#[test]
fn the_id_of_an_echo_changes_where_it_is_taken() {
    let mut router = Router::new();
    let rule = [Rule(Hook::PostRouting, to("10.0.2.1"))];
    let first = router.forward(&echo("10.0.1.2", "10.0.2.2", 8, 7), &rule).expect("it passes");
    let second = router.forward(&echo("10.0.1.3", "10.0.2.2", 8, 7), &rule).expect("it passes");
    let id = tuple(&second.ip).sport;
    assert!(tuple(&first.ip).sport == 7 && id != 7);
    let back = router.forward(&echo("10.0.2.2", "10.0.2.1", 0, id), &[]).expect("it passes");
    assert_eq!((tuple(&back.ip).dst.to_string(), tuple(&back.ip).sport), ("10.0.1.3".into(), 7));
}

#[test]
fn an_error_about_an_echo_shows_the_id_that_was_sent() {
    let mut router = Router::new();
    let rules = [Rule(Hook::PreRouting, to("10.0.2.2")), Rule(Hook::PostRouting, to("10.0.2.1"))];
    router.forward(&echo("10.0.1.2", "10.0.2.2", 8, 7), &rules[1..]).expect("the id is taken from here on");
    let sent = echo("10.0.1.3", "10.96.0.10", 8, 7);
    let there = router.forward(&sent, &rules).expect("it passes");
    assert_ne!(tuple(&there.ip).sport, 7);
    let got = router.forward(&error("10.0.2.77", "10.0.2.1", 11, 0, &there.ip), &[]).expect("it passes");
    assert_eq!(got.ip[28..], sent);
}

#[test]
fn a_datagram_without_checksum_stays_without() {
    let mut router = Router::new();
    let mut sent = udp("10.0.1.2", 1000, "10.96.0.10", 53);
    sent[26..28].fill(0);
    let there = router.forward(&sent, &[Rule(Hook::PreRouting, to_port("10.0.2.2", 9))]).expect("it passes");
    assert_eq!((there.ip[26], there.ip[27], ends(&there.ip)), (0, 0, "10.0.1.2:1000 > 10.0.2.2:9".into()));
    assert_eq!(router.lines().len(), 1);
}

#[test]
fn random_ports_are_drawn_and_recorded() {
    let mut router = Router::new();
    let rule = [Rule(Hook::PostRouting, NatRange { random: true, ..to("10.0.2.1") })];
    let ports: Vec<u16> = (2..12)
        .map(|client| {
            tuple(&router.forward(&udp(&format!("10.0.1.{client}"), 5000, "10.0.2.2", 9), &rule).expect("it passes").ip).sport
        })
        .collect();
    assert!(ports.iter().all(|&port| port >= 1024) && ports.iter().any(|&port| port != 5000), "{ports:?}");
    assert_eq!(router.sim.choices().len(), 10);
}

#[test]
fn an_exhausted_range_drops_the_packet_when_it_is_confirmed() {
    let mut router = Router::new();
    let rule = [Rule(Hook::PostRouting, NatRange { ports: Some((4000, 4003)), ..to("10.0.2.1") })];
    let syn = Tcp { flags: "S", seq: 1, ack: 0, window: 1000, options: &[], len: 0 };
    for client in 2..6 {
        router.forward(&tcp(&format!("10.0.1.{client}"), 5000, "10.0.2.2", 80, syn), &rule).expect("there is a port");
    }
    assert_eq!(router.forward(&tcp("10.0.1.9", 5000, "10.0.2.2", 80, syn), &rule).unwrap_err(), DropReason::ConntrackDrop);
    assert_eq!(router.netns().conntrack.stats().insert_failed, 1);
    router.forward(&tcp("10.0.1.9", 5000, "10.0.2.3", 80, syn), &rule).expect("to another server the ports are free");
}

#[test]
fn protocols_without_ports_have_their_addresses_translated() {
    let mut router = Router::new();
    let dnat = [Rule(Hook::PreRouting, to("10.0.2.2"))];
    let there = router.forward(&ip("10.0.1.2", "10.96.0.10", 253, vec![1; 20]), &dnat).expect("it passes");
    assert_eq!(tuple(&there.ip).dst.to_string(), "10.0.2.2");
    let gre = [0, 0, 8, 0, 0x45, 0, 0, 0].to_vec();
    router.forward(&ip("10.0.1.2", "10.0.2.2", proto::GRE, gre), &[Rule(Hook::PostRouting, to("10.0.2.1"))]).expect("it passes");
    assert_eq!(
        router.lines()[1],
        "gre      47 30 src=10.0.1.2 dst=10.0.2.2 srckey=0x0 dstkey=0x0 [UNREPLIED] src=10.0.2.2 dst=10.0.2.1 srckey=0x0 \
         dstkey=0x0 mark=0 use=1"
    );
}

#[test]
fn the_crc_of_sctp_is_computed_anew() {
    let mut router = Router::new();
    let mut init = vec![0; 12];
    init[..4].copy_from_slice(&[0x13, 0x88, 0, 80]);
    init.extend([1, 0, 0, 20, 0, 0, 0, 9, 0, 0, 16, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    // `walk` checks the CRC of what leaves.
    let there = router
        .forward(&ip("10.0.1.2", "10.96.0.10", proto::SCTP, init), &[Rule(Hook::PreRouting, to_port("10.0.2.2", 8080))])
        .expect("it passes");
    assert_eq!(ends(&there.ip), "10.0.1.2:5000 > 10.0.2.2:8080");
    assert!(router.lines()[0].starts_with("sctp     132 10 CLOSED src=10.0.1.2"), "{:?}", router.lines());
}

#[test]
fn source_nat_in_input_is_undone_in_output() {
    let mut router = Router::new();
    let rule = [Rule(Hook::Input, to("10.9.9.9"))];
    let got = router.walk(&udp("10.0.1.2", 1000, "10.0.1.1", 7000), &rule, &[Hook::PreRouting, Hook::Input]).expect("it passes");
    assert_eq!(ends(&got.ip), "10.9.9.9:1000 > 10.0.1.1:7000");
    let answer = router.walk(&udp("10.0.1.1", 7000, "10.9.9.9", 1000), &[], &[Hook::Output, Hook::PostRouting]).expect("it passes");
    assert_eq!(ends(&answer.ip), "10.0.1.1:7000 > 10.0.1.2:1000");
}

#[test]
fn what_was_masqueraded_goes_with_its_device_and_its_address() {
    let masqueraded = |client: &str| {
        let mut router = Router::new();
        let walked = router.forward(&udp(client, 1, "10.0.2.2", 9), &[Rule(Hook::PostRouting, to("10.0.2.1"))]).expect("it passes");
        let Ct::Entry(id, _) = walked.ct else { panic!("tracked") };
        set_masq_device(router.netns(), id, DevId(2));
        router
    };
    let mut router = masqueraded("10.0.1.2");
    masq_device_down(router.netns(), DevId(3));
    assert_eq!(router.lines().len(), 1);
    masq_device_down(router.netns(), DevId(2));
    assert!(router.lines().is_empty());
    let mut router = masqueraded("10.0.1.2");
    masq_address_gone(router.netns(), [10, 0, 2, 9].into());
    assert_eq!(router.lines().len(), 1);
    masq_address_gone(router.netns(), [10, 0, 2, 1].into());
    assert!(router.lines().is_empty());
}

#[test]
fn a_translated_connection_in_time_wait_makes_way_for_a_newer_one() {
    let mut router = Router::new();
    let rule = [Rule(Hook::PostRouting, NatRange { ports: Some((4000, 4000)), ..to("10.0.2.1") })];
    let there = |router: &mut Router, client: &str, flags: &str, seq, ack| {
        let rest = Tcp { flags, seq, ack, window: 1000, options: &[], len: 0 };
        router.forward(&tcp(client, 5000, "10.0.2.2", 80, rest), &rule).map(|walked| tuple(&walked.ip).sport)
    };
    let back = |router: &mut Router, flags: &str, seq, ack| {
        let rest = Tcp { flags, seq, ack, window: 1000, options: &[], len: 0 };
        router.forward(&tcp("10.0.2.2", 80, "10.0.2.1", 4000, rest), &[]).expect("it passes");
    };
    there(&mut router, "10.0.1.2", "S", 1000, 0).expect("free");
    back(&mut router, "SA", 5000, 1001);
    there(&mut router, "10.0.1.2", "FA", 1001, 5001).expect("known");
    back(&mut router, "FA", 5001, 1002);
    assert_eq!(there(&mut router, "10.0.1.3", "S", 9000, 0), Err(DropReason::ConntrackDrop), "the port is in use");
    there(&mut router, "10.0.1.2", "A", 1002, 5002).expect("known");
    router.wait(SimTime::from_secs(1));
    // A single port is taken without a search; only a search evicts.
    let searched = [Rule(Hook::PostRouting, NatRange { ports: Some((4000, 4001)), ..to("10.0.2.1") })];
    let syn = Tcp { flags: "S", seq: 9000, ack: 0, window: 1000, options: &[], len: 0 };
    router.forward(&tcp("10.0.1.8", 4001, "10.0.2.2", 80, syn), &searched).expect("free");
    let walked = router.forward(&tcp("10.0.1.9", 4000, "10.0.2.2", 80, syn), &searched).expect("the old one makes way");
    assert_eq!(tuple(&walked.ip).sport, 4000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Undoing what was done gives what was there: for any number of clients, services and rules.
    #[test]
    fn no_two_connections_share_a_tuple_and_every_reply_finds_its_way(
        flows in proptest::collection::vec((2u8..6, 1u16..6, 10u8..13, any::<bool>(), any::<bool>(), any::<bool>()), 1..60),
    ) {
        let mut router = Router::new();
        let mut sent = std::collections::BTreeMap::new();
        for (client, port, service, dnat, snat, random) in flows {
            let mut rules = Vec::new();
            if dnat {
                rules.push(Rule(Hook::PreRouting, to_port("10.0.2.2", 9)));
            }
            if snat {
                rules.push(Rule(Hook::PostRouting, NatRange { random, ..to("10.0.2.1") }));
            }
            let packet = udp(&format!("10.0.1.{client}"), port, &format!("10.96.0.{service}"), 53);
            let left = router.forward(&packet, &rules).expect("there are enough ports");
            let before = sent.entry(packet.clone()).or_insert_with(|| left.ip.clone());
            prop_assert_eq!(&*before, &left.ip, "a flow is translated alike all its life");
        }
        let now = router.now();
        let views = router.netns().conntrack.list(now);
        let mut tuples: Vec<Tuple> = views.iter().flat_map(|view| [view.original, view.reply]).collect();
        tuples.sort();
        let count = tuples.len();
        tuples.dedup();
        prop_assert_eq!(tuples.len(), count);
        for (packet, left) in &sent {
            let (first, out) = (tuple(packet), tuple(left));
            let reply = udp(&out.dst.to_string(), out.dport, &out.src.to_string(), out.sport);
            let back = router.forward(&reply, &[]).expect("it passes");
            prop_assert_eq!(Some(tuple(&back.ip)), first.invert());
        }
    }
}
