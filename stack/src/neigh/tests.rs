//! Who answers whom, and what becomes of an entry; the rows are what Linux 6.18 did.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sim_core::SimTime;

use super::*;
use crate::route::tests::Lab;
use crate::trace::cause;
use crate::view::{be16, proto, transport_checksum};

const OTHER: Mac = Mac([2, 0, 0, 0, 0x0c, 1]);

/// Two subnets, one on each device.
fn router() -> Lab {
    let mut lab = Lab::new();
    lab.addr("10.0.1.1/24", "e0");
    lab.addr("10.0.2.1/24", "e1");
    lab.addr("fd00:1::1/64", "e0");
    lab.addr("fd00:2::1/64", "e1");
    lab.sim.tracer_mut().clear();
    lab
}

/// What the namespace sent since the last look, in order.
fn sent(lab: &mut Lab) -> Vec<Vec<u8>> {
    let tracer = lab.sim.tracer();
    let frame = |record: &Record| match record {
        Record::Originate { frame, .. } => Some(tracer.bytes(*frame).to_vec()),
        _ => None,
    };
    let frames = tracer.records().iter().filter_map(|stamped| frame(&stamped.record)).collect();
    lab.sim.tracer_mut().clear();
    frames
}

/// What the neighbour table said since the last look.
fn said(lab: &mut Lab) -> Vec<String> {
    let say = |record: &Record| match record {
        Record::Neigh { event, .. } => Some(format!("{event:?}")),
        Record::Queue { .. } => Some("queue".to_owned()),
        Record::Resume { .. } => Some("resume".to_owned()),
        _ => None,
    };
    let said = lab.sim.tracer().records().iter().filter_map(|stamped| say(&stamped.record)).collect();
    lab.sim.tracer_mut().clear();
    said
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

/// An ARP packet comes in: operation, sender, target.
fn arp_in(lab: &mut Lab, name: &str, op: u16, sha: Mac, spa: &str, tpa: &str) {
    let dev = lab.dev(name);
    let mut frame = [0u8; 42];
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, op as u8]);
    frame[22..28].copy_from_slice(&sha.0);
    frame[28..32].copy_from_slice(&v4(spa).octets());
    frame[38..42].copy_from_slice(&v4(tpa).octets());
    lab.run(|ns, cx| {
        let mut skb = Skb::new(cx.packet(&frame, None, cause::ARP), dev);
        skb.l3 = 14;
        skb.pkt_type = if op == 1 { PktType::Broadcast } else { PktType::Host };
        arp_rcv(ns, cx, skb);
    });
}

/// A UDP packet of 10 bytes leaves for a next hop.
fn packet_out(lab: &mut Lab, name: &str, src: &str, next_hop: &str) {
    let dev = lab.dev(name);
    let mut bytes = [0u8; 30];
    bytes[..2].copy_from_slice(&[0x45, 0]);
    bytes[3] = 30;
    bytes[9] = proto::UDP;
    bytes[12..16].copy_from_slice(&v4(src).octets());
    bytes[16..20].copy_from_slice(&v4(next_hop).octets());
    lab.run(|ns, cx| {
        let mut skb = Skb::new(cx.packet(&bytes, None, cause::ORIGINAL), dev);
        skb.parse_at(0).expect("a whole header");
        let _ = output(ns, cx, &mut skb, IpAddr::V4(v4(next_hop)));
    });
}

fn entry(lab: &Lab, address: &str) -> Option<(NeighState, Option<Mac>)> {
    let address: IpAddr = address.parse().expect("an address");
    lab.sim.node(lab.ns).neighbours.list().into_iter().find(|info| info.address == address).map(|info| (info.state, info.mac))
}

#[test]
fn arp_is_answered_as_the_sysctls_say() {
    type Set = fn(&mut Netns);
    let rows: &[(&str, Set, &str, &str, bool)] = &[
        ("an own address", |_| {}, "10.0.1.9", "10.0.1.1", true),
        ("weak host: an address of another device", |_| {}, "10.0.1.9", "10.0.2.1", true),
        ("not an address of ours", |_| {}, "10.0.1.9", "10.0.1.7", false),
        ("a sender without a route", |_| {}, "172.31.0.9", "10.0.1.1", true),
        ("a duplicate address probe", |_| {}, "0.0.0.0", "10.0.1.1", true),
        ("arp_ignore 1, another device", |ns| ns.sysctls.all4.arp_ignore = 1, "10.0.1.9", "10.0.2.1", false),
        ("arp_ignore 1, this device", |ns| ns.sysctls.all4.arp_ignore = 1, "10.0.1.9", "10.0.1.1", true),
        ("arp_ignore 2, another subnet", |ns| ns.sysctls.all4.arp_ignore = 2, "10.0.2.9", "10.0.1.1", false),
        ("arp_ignore 8", |ns| ns.sysctls.all4.arp_ignore = 8, "10.0.1.9", "10.0.1.1", false),
        ("arp_filter, the way back is elsewhere", |ns| ns.sysctls.all4.arp_filter = true, "10.0.2.9", "10.0.1.1", false),
        ("arp_filter, the way back is here", |ns| ns.sysctls.all4.arp_filter = true, "10.0.1.2", "10.0.2.1", true),
        ("strict, a sender without a route", |ns| ns.sysctls.all4.rp_filter = 1, "172.31.0.9", "10.0.1.1", false),
        ("strict, the way back is elsewhere", |ns| ns.sysctls.all4.rp_filter = 1, "10.0.2.9", "10.0.1.1", false),
        ("a proxy must forward", |ns| ns.sysctls.all4.proxy_arp = true, "10.0.1.2", "10.0.2.2", false),
        (
            "proxy_arp",
            |ns| (ns.sysctls.all4.proxy_arp, ns.devices.get_mut(DevId(1)).conf4.forwarding) = (true, true),
            "10.0.1.2",
            "10.0.2.2",
            true,
        ),
        (
            "proxy_arp, the same side",
            |ns| (ns.sysctls.all4.proxy_arp, ns.devices.get_mut(DevId(1)).conf4.forwarding) = (true, true),
            "10.0.1.2",
            "10.0.1.3",
            false,
        ),
        (
            "ip neigh add proxy",
            |ns| {
                ns.devices.get_mut(DevId(1)).conf4.forwarding = true;
                set_proxy(ns, DevId(1), IpAddr::from([10, 0, 2, 2])).expect("room for one");
            },
            "10.0.1.2",
            "10.0.2.2",
            true,
        ),
    ];
    for (what, set, spa, tpa, answered) in rows {
        let mut lab = router();
        lab.run(|ns, _| set(ns));
        arp_in(&mut lab, "e0", 1, OTHER, spa, tpa);
        let frames = sent(&mut lab);
        assert_eq!(frames.len(), usize::from(*answered), "{what}");
        if let Some(frame) = frames.first() {
            assert_eq!(
                &frame[..12],
                &[OTHER.0, [2, 0, 0, 0, 0, 1]].concat(),
                "{what}: to the sender, from the device that was asked"
            );
            assert_eq!(
                (be16(frame, 20), &frame[28..32], &frame[38..42]),
                (2, &v4(tpa).octets()[..], &v4(spa).octets()[..]),
                "{what}"
            );
        }
    }
}

#[test]
fn a_request_for_us_teaches_and_another_only_refreshes() {
    let mut lab = router();
    arp_in(&mut lab, "e0", 1, OTHER, "10.0.1.9", "10.0.1.7");
    assert_eq!(entry(&lab, "10.0.1.9"), None, "what others ask each other makes no entry");
    arp_in(&mut lab, "e0", 1, OTHER, "10.0.1.9", "10.0.1.1");
    assert_eq!(entry(&lab, "10.0.1.9"), Some((NeighState::Stale, Some(OTHER))));
    let moved = Mac([2, 0, 0, 0, 0x0c, 0x77]);
    arp_in(&mut lab, "e0", 1, moved, "10.0.1.9", "10.0.1.7");
    assert_eq!(entry(&lab, "10.0.1.9"), Some((NeighState::Stale, Some(OTHER))), "locktime holds a plain claim off");
    arp_in(&mut lab, "e0", 1, moved, "10.0.1.9", "10.0.1.9");
    assert_eq!(entry(&lab, "10.0.1.9"), Some((NeighState::Stale, Some(moved))), "a gratuitous one is believed");
    arp_in(&mut lab, "e0", 1, OTHER, "10.0.1.9", "10.0.1.1");
    assert_eq!(entry(&lab, "10.0.1.9"), Some((NeighState::Stale, Some(OTHER))), "so is one that asks us");
}

#[test]
fn arp_accept_makes_entries_of_what_nobody_asked_for() {
    for (accept, found) in [(0, false), (1, true)] {
        let mut lab = router();
        lab.run(|ns, _| ns.sysctls.all4.arp_accept = accept);
        arp_in(&mut lab, "e0", 1, OTHER, "10.0.1.9", "10.0.1.9");
        assert_eq!(entry(&lab, "10.0.1.9").is_some(), found);
    }
}

#[test]
fn a_packet_waits_for_the_answer_and_goes_on() {
    let mut lab = router();
    packet_out(&mut lab, "e0", "10.0.1.1", "10.0.1.9");
    packet_out(&mut lab, "e0", "10.0.1.1", "10.0.1.9");
    assert_eq!(entry(&lab, "10.0.1.9"), Some((NeighState::Incomplete, None)));
    let asked = sent(&mut lab);
    assert_eq!(asked.len(), 1, "two packets, one question");
    assert_eq!((&asked[0][..6], be16(&asked[0], 20), &asked[0][38..42]), (&[0xff; 6][..], 1, &[10, 0, 1, 9][..]));
    arp_in(&mut lab, "e0", 2, OTHER, "10.0.1.9", "10.0.1.1");
    assert_eq!(said(&mut lab), ["Learned", "resume", "Resolved", "resume", "Resolved"]);
    assert_eq!(entry(&lab, "10.0.1.9"), Some((NeighState::Reachable, Some(OTHER))));
    packet_out(&mut lab, "e0", "10.0.1.1", "10.0.1.9");
    assert_eq!(said(&mut lab), ["Resolved"]);
}

#[test]
fn three_questions_without_an_answer_fail_what_waits() {
    let mut lab = router();
    packet_out(&mut lab, "e0", "10.0.1.1", "10.0.1.9");
    assert_eq!(sent(&mut lab).len(), 1);
    for second in 1..=2 {
        lab.sim.run_until(SimTime::from_secs(second));
        assert_eq!(sent(&mut lab).len(), 1, "one a second");
    }
    lab.sim.run_until(SimTime::from_secs(3));
    assert_eq!(said(&mut lab)[..2], ["resume", "Failed"]);
    assert_eq!(entry(&lab, "10.0.1.9"), Some((NeighState::Failed, None)));
}

#[test]
fn a_proof_wears_off_and_the_neighbour_is_asked_alone() {
    let mut lab = router();
    let dev = lab.dev("e0");
    let address = IpAddr::from([10, 0, 1, 9]);
    lab.run(|ns, cx| set(ns, cx, dev, address, Some(OTHER), NeighState::Reachable)).expect("an entry");
    lab.sim.run_until(SimTime::from_secs(46));
    packet_out(&mut lab, "e0", "10.0.1.1", "10.0.1.9");
    assert_eq!(said(&mut lab), ["Resolved"], "it is used as it is");
    assert_eq!(entry(&lab, "10.0.1.9"), Some((NeighState::Delay, Some(OTHER))));
    lab.sim.run_until(SimTime::from_secs(51));
    let asked = sent(&mut lab);
    assert_eq!((entry(&lab, "10.0.1.9"), &asked[0][..6]), (Some((NeighState::Probe, Some(OTHER))), &OTHER.0[..]));
    arp_in(&mut lab, "e0", 2, OTHER, "10.0.1.9", "10.0.1.1");
    assert_eq!(entry(&lab, "10.0.1.9"), Some((NeighState::Reachable, Some(OTHER))));
}

#[test]
fn the_sender_of_a_question_is_chosen_by_arp_announce() {
    for (announce, waiting, sender) in [
        (0, "10.0.2.1", "10.0.2.1"),
        (1, "10.0.2.1", "10.0.1.1"),
        (1, "10.0.1.5", "10.0.1.5"),
        (2, "10.0.1.5", "10.0.1.1"),
        (0, "8.8.8.8", "10.0.1.1"),
    ] {
        let mut lab = router();
        lab.addr("10.0.1.5/24", "e0");
        lab.run(|ns, _| ns.sysctls.all4.arp_announce = announce);
        packet_out(&mut lab, "e0", waiting, "10.0.1.9");
        assert_eq!(sent(&mut lab)[0][28..32], v4(sender).octets(), "{announce}, the packet comes from {waiting}");
    }
}

#[test]
fn permanent_entries_do_not_change_and_groups_need_none() {
    let mut lab = router();
    let dev = lab.dev("e0");
    lab.run(|ns, cx| set(ns, cx, dev, IpAddr::from([10, 0, 1, 9]), Some(OTHER), NeighState::Permanent)).expect("an entry");
    arp_in(&mut lab, "e0", 1, Mac([2, 9, 9, 9, 9, 9]), "10.0.1.9", "10.0.1.1");
    assert_eq!(entry(&lab, "10.0.1.9"), Some((NeighState::Permanent, Some(OTHER))));
    sent(&mut lab);
    packet_out(&mut lab, "e0", "10.0.1.1", "10.0.1.255");
    packet_out(&mut lab, "e0", "10.0.1.1", "224.0.0.251");
    assert!(said(&mut lab).is_empty(), "no entry is looked for");
}

/// A neighbour solicitation comes in.
fn solicitation_in(lab: &mut Lab, name: &str, src: &str, dst: Ipv6Addr, target: &str, mac: Option<Mac>) {
    let dev = lab.dev(name);
    let length: usize = if mac.is_some() { 32 } else { 24 };
    let mut frame = vec![0u8; 14 + 40 + length];
    let ip = &mut frame[14..];
    ip[0] = 0x60;
    ip[5] = length as u8;
    ip[6..8].copy_from_slice(&[proto::ICMPV6, 255]);
    ip[8..24].copy_from_slice(&v6(src).octets());
    ip[24..40].copy_from_slice(&dst.octets());
    ip[40] = 135;
    ip[48..64].copy_from_slice(&v6(target).octets());
    if let Some(mac) = mac {
        ip[64..66].copy_from_slice(&[1, 1]);
        ip[66..72].copy_from_slice(&mac.0);
    }
    let checksum = transport_checksum(IpAddr::V6(v6(src)), IpAddr::V6(dst), proto::ICMPV6, &ip[40..]);
    put16(ip, 42, checksum);
    lab.run(|ns, cx| {
        let mut skb = Skb::new(cx.packet(&frame, None, cause::NDP), dev);
        skb.parse_at(14).expect("a whole header");
        let _ = ndisc_rcv(ns, cx, &mut skb);
        cx.recycle(skb.packet);
    });
}

#[test]
fn ndp_answers_for_the_addresses_of_the_device_only() {
    let group = |target: &str| solicited_node(v6(target));
    type Row<'r> = (&'r str, &'r str, Ipv6Addr, &'r str, Option<Mac>, &'r [&'r str]);
    let rows: &[Row<'_>] = &[
        ("to the group", "fd00:1::2", group("fd00:1::1"), "fd00:1::1", Some(OTHER), &["Learned", "Answered"]),
        ("to us alone", "fd00:1::2", v6("fd00:1::1"), "fd00:1::1", Some(OTHER), &["Learned", "Answered"]),
        ("strong host", "fd00:1::2", group("fd00:2::1"), "fd00:2::1", Some(OTHER), &["Ignored"]),
        ("somebody tries our address", "::", group("fd00:1::1"), "fd00:1::1", None, &["Answered"]),
    ];
    for (what, src, dst, target, mac, answers) in rows {
        let mut lab = router();
        solicitation_in(&mut lab, "e0", src, *dst, target, *mac);
        assert_eq!(said(&mut lab)[..answers.len()], **answers, "{what}");
    }
}
