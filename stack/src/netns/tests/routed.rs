//! Through a router, to a host, and what comes back.

use super::{Lab, Udp, addresses, replied};
use crate::drop_reason::DropReason;
use crate::view::{be16, be32};

/// client - router - server, IPv4 and IPv6, everything reachable.
pub(super) fn line() -> Lab {
    let mut lab = Lab::new(&["client", "router", "server"]);
    lab.link("client/eth0", "router/eth0");
    lab.link("router/eth1", "server/eth0");
    for ns in ["client", "router", "server"] {
        lab.run(ns, "ip link set lo up");
    }
    lab.all("client", &["ip addr add 10.0.1.2/24 dev eth0", "ip route add default via 10.0.1.1"]);
    lab.all("client", &["ip addr add fd00:1::2/64 dev eth0 nodad", "ip -6 route add default via fd00:1::1"]);
    lab.all("router", &["ip addr add 10.0.1.1/24 dev eth0", "ip addr add 10.0.2.1/24 dev eth1"]);
    lab.all("router", &["ip addr add fd00:1::1/64 dev eth0 nodad", "ip addr add fd00:2::1/64 dev eth1 nodad"]);
    lab.all("router", &["sysctl -w net.ipv4.ip_forward=1", "sysctl -w net.ipv6.conf.all.forwarding=1"]);
    lab.all("server", &["ip addr add 10.0.2.2/24 dev eth0", "ip route add default via 10.0.2.1"]);
    lab.all("server", &["ip addr add fd00:2::2/64 dev eth0 nodad", "ip -6 route add default via fd00:2::1"]);
    lab.settle();
    lab.forget();
    lab
}

pub(super) fn udp<'a>(lab: &Lab, src: &'a str, dst: &'a str) -> Udp<'a> {
    Udp { macs: (lab.mac("client", "eth0"), lab.mac("router", "eth0")), src, dst, ttl: 64, df: false, len: 10 }
}

#[test]
fn a_datagram_is_forwarded_and_a_closed_port_answers() {
    let mut lab = line();
    let frame = udp(&lab, "10.0.1.2", "10.0.2.2").frame();
    lab.send("client", "eth0", &frame);
    let out = lab.sent_ip("router", "eth1");
    assert_eq!(out[0][22], 63, "TTL");
    assert_eq!(out[0][..6], lab.mac("server", "eth0"));
    assert_eq!(out[0][6..12], lab.mac("router", "eth1"));
    let back = lab.sent_ip("router", "eth0");
    assert_eq!((back[0][34], back[0][35]), (3, 3), "port unreachable");
    assert_eq!(addresses(&back[0]), ("10.0.2.2".parse().unwrap(), "10.0.1.2".parse().unwrap()));
    assert_eq!(back[0][15], 0xc0, "TOS");
    assert_eq!(&back[0][42..], &out[0][14..], "quoted as the server saw it");
    assert_eq!(lab.drops("server"), [DropReason::NoSocket]);
}

#[test]
fn ping_works_through_a_router_to_oneself_and_in_both_families() {
    let mut lab = line();
    for to in ["10.0.2.2", "127.0.0.1", "10.0.1.2", "fd00:2::2", "::1", "fd00:1::2"] {
        let answer = lab.ping("client", to, 56);
        assert!(replied(&answer), "{to}: {answer:?}");
    }
    // Four pings to itself, each with its reply.
    assert_eq!(lab.sent("client", "lo").len(), 8);
}

#[test]
fn a_ttl_that_runs_out_is_answered_by_the_address_that_the_answer_leaves_by() {
    let mut lab = line();
    lab.run("router", "ip addr add 10.0.99.1/32 dev lo");
    for (src, dst, kind) in [("10.0.1.2", "10.0.2.2", 11), ("fd00:1::2", "fd00:2::2", 3)] {
        lab.forget();
        let frame = Udp { ttl: 1, ..udp(&lab, src, dst) }.frame();
        lab.send("client", "eth0", &frame);
        let back = &lab.sent_ip("router", "eth0")[0];
        let at = if kind == 11 { 34 } else { 54 };
        assert_eq!((back[at], back[at + 1]), (kind, 0));
        let router = if kind == 11 { "10.0.1.1" } else { "fd00:1::1" };
        assert_eq!(addresses(back), (router.parse().unwrap(), src.parse().unwrap()));
        assert_eq!(&back[at + 8..], &frame[14..], "as received");
        assert_eq!(lab.drops("router"), [DropReason::IpTtlExceeded]);
    }
}

#[test]
fn what_does_not_fit_is_answered_where_it_must_not_be_cut() {
    let mut lab = line();
    lab.run("router", "ip link set eth1 mtu 1280");
    let frame = Udp { df: true, len: 1400, ..udp(&lab, "10.0.1.2", "10.0.2.2") }.frame();
    lab.send("client", "eth0", &frame);
    let back = &lab.sent_ip("router", "eth0")[0];
    assert_eq!((back[34], back[35], be16(back, 40)), (3, 4, 1280));
    assert_eq!(back.len() - 42, 548, "quoted");
    lab.forget();
    let frame = Udp { len: 1400, ..udp(&lab, "fd00:1::2", "fd00:2::2") }.frame();
    lab.send("client", "eth0", &frame);
    let back = &lab.sent_ip("router", "eth0")[0];
    assert_eq!((back[54], be32(back, 58), back.len() - 62), (2, 1280, 1232));
    assert_eq!(lab.drops("router"), [DropReason::PktTooBig]);
}

#[test]
fn what_may_be_cut_is_cut_on_the_way() {
    let mut lab = line();
    lab.run("router", "ip link set eth1 mtu 1000");
    let frame = Udp { len: 1400, ..udp(&lab, "10.0.1.2", "10.0.2.2") }.frame();
    lab.send("client", "eth0", &frame);
    let out = lab.sent_ip("router", "eth1");
    assert_eq!(out.iter().map(|frame| (be16(frame, 16), be16(frame, 20))).collect::<Vec<_>>(), [(996, 0x2000), (452, 122)]);
    assert_eq!(lab.drops("server"), [DropReason::NoSocket], "whole again");
}

#[test]
fn forwarding_off_is_silent() {
    let mut lab = line();
    lab.all("router", &["sysctl -w net.ipv4.ip_forward=0", "sysctl -w net.ipv6.conf.all.forwarding=0"]);
    for (src, dst) in [("10.0.1.2", "10.0.2.2"), ("10.0.1.2", "172.16.0.1"), ("fd00:1::2", "fd00:2::2")] {
        let frame = udp(&lab, src, dst).frame();
        lab.send("client", "eth0", &frame);
    }
    assert_eq!(lab.sent_ip("router", "eth0").len() + lab.sent_ip("router", "eth1").len(), 0);
    assert_eq!(lab.drops("router"), [DropReason::IpForwardingOff, DropReason::IpInNoRoutes, DropReason::IpForwardingOff]);
}

#[test]
fn routing_errors_are_told_twice_in_a_row_and_other_errors_six_times() {
    let mut lab = line();
    let flood = |lab: &mut Lab, dst: &str, ttl: u8| {
        lab.forget();
        let frame = Udp { ttl, ..udp(lab, "10.0.1.2", dst) }.frame();
        let ns = lab.ns("client");
        for _ in 0..8 {
            lab.net.inject(ns, "eth0", &frame).unwrap();
        }
        lab.settle();
        lab.sent_ip("router", "eth0").iter().map(|frame| (frame[34], frame[35])).collect::<Vec<_>>()
    };
    assert_eq!(flood(&mut lab, "10.0.2.2", 1), [(11, 0); 6]);
    assert_eq!(flood(&mut lab, "172.16.0.1", 64), [(3, 0); 2]);
    let six = Udp { ttl: 1, ..udp(&lab, "fd00:1::2", "fd00:2::2") }.frame();
    lab.forget();
    let ns = lab.ns("client");
    for number in 0..40 {
        lab.net.inject(ns, "eth0", &six).unwrap();
        let later = lab.net.sim.now() + sim_core::SimTime::from_millis(if number < 20 { 0 } else { 50 });
        lab.net.sim.run_until(later);
    }
    // Six at once, then one each 100 ms.
    assert_eq!(lab.sent_ip("router", "eth0").len(), 6 + 9);
    lab.run("router", "ip route add unreachable 172.17.0.0/16");
    lab.run("router", "ip route add prohibit 172.18.0.0/16");
    lab.run("router", "ip route add blackhole 172.19.0.0/16");
    assert_eq!(flood(&mut lab, "172.17.0.1", 64), [(3, 1); 2]);
    assert_eq!(flood(&mut lab, "172.18.0.1", 64), [(3, 13); 2]);
    assert_eq!(flood(&mut lab, "172.19.0.1", 64), []);
}

#[test]
fn no_error_is_sent_about_an_error_or_a_broadcast() {
    let mut lab = line();
    let inner = Udp { ttl: 1, ..udp(&lab, "10.0.1.2", "10.0.2.2") }.frame();
    lab.send("client", "eth0", &inner);
    let mut error = lab.sent_ip("router", "eth0")[0].clone();
    let (client, router) = (lab.mac("client", "eth0"), lab.mac("router", "eth0"));
    error[..6].copy_from_slice(&router);
    error[6..12].copy_from_slice(&client);
    // From the client to the server now, about to die.
    error[26..30].copy_from_slice(&[10, 0, 1, 2]);
    error[30..34].copy_from_slice(&[10, 0, 2, 2]);
    error[22] = 1;
    error[24..26].fill(0);
    let checksum = crate::view::ipv4_header_checksum(&error[14..34]);
    error[24..26].copy_from_slice(&checksum.to_be_bytes());
    lab.forget();
    lab.send("client", "eth0", &error);
    assert!(lab.sent_ip("router", "eth0").is_empty());
    assert_eq!(lab.drops("router"), [DropReason::IpTtlExceeded]);
    lab.forget();
    let broadcast = Udp { macs: (client, [0xff; 6]), ..udp(&lab, "10.0.1.2", "255.255.255.255") }.frame();
    lab.send("client", "eth0", &broadcast);
    assert!(lab.sent_ip("router", "eth0").is_empty());
    assert_eq!(lab.drops("router"), [DropReason::NoSocket]);
}

#[test]
fn a_frame_for_somebody_else_dies_in_ip_and_a_bad_header_before_any_hook() {
    let mut lab = line();
    let frame = Udp { macs: (lab.mac("client", "eth0"), [2, 9, 9, 9, 9, 9]), ..udp(&lab, "10.0.1.2", "10.0.2.2") }.frame();
    lab.send("client", "eth0", &frame);
    let mut bad = udp(&lab, "10.0.1.2", "10.0.2.2").frame();
    bad[24] ^= 1;
    let ns = lab.ns("client");
    // Not `send`: the frame is wrong on purpose.
    lab.net.inject(ns, "eth0", &bad).unwrap();
    lab.net.sim.run_until(lab.net.sim.now() + sim_core::SimTime::from_secs(5));
    assert_eq!(lab.drops("router"), [DropReason::OtherHost, DropReason::IpCsum]);
}

#[test]
fn martians_are_dropped() {
    let mut lab = line();
    for (src, dst) in [
        ("10.0.1.2", "127.0.0.1"),
        ("127.0.0.1", "10.0.2.2"),
        ("224.0.0.1", "10.0.2.2"),
        ("10.0.1.1", "10.0.2.2"),
        ("0.0.0.0", "10.0.2.2"),
        ("10.0.1.2", "0.0.0.0"),
    ] {
        lab.forget();
        let frame = udp(&lab, src, dst).frame();
        lab.send("client", "eth0", &frame);
        assert_eq!(lab.sent_ip("router", "eth1").len(), 0, "{src} -> {dst}");
        assert_eq!(lab.drops("router").len(), 1, "{src} -> {dst}");
    }
    // Class E is as good as any address.
    lab.forget();
    lab.run("router", "ip route add 240.0.0.0/4 via 10.0.2.2");
    let frame = udp(&lab, "10.0.1.2", "240.0.0.1").frame();
    lab.send("client", "eth0", &frame);
    assert!(!lab.sent_ip("router", "eth1").is_empty());
}

#[test]
fn a_sender_on_the_same_link_is_told_the_better_way() {
    let mut lab = line();
    lab.run("router", "ip route add 172.16.0.0/16 via 10.0.1.77");
    lab.run("router", "ip neigh replace 10.0.1.77 dev eth0 lladdr 02:00:00:00:00:77 nud permanent");
    let frame = udp(&lab, "10.0.1.2", "172.16.0.1").frame();
    lab.send("client", "eth0", &frame);
    let out = lab.sent_ip("router", "eth0");
    assert_eq!((out[0][22], &out[0][..6]), (63, &[2, 0, 0, 0, 0, 0x77][..]));
    assert_eq!((out[1][34], out[1][35], &out[1][38..42]), (5, 1, &[10, 0, 1, 77][..]));
    lab.forget();
    lab.all("router", &["sysctl -w net.ipv4.conf.all.send_redirects=0", "sysctl -w net.ipv4.conf.eth0.send_redirects=0"]);
    lab.send("client", "eth0", &frame);
    assert_eq!(lab.sent_ip("router", "eth0").len(), 1);
}

#[test]
fn nobody_answers_for_the_next_hop() {
    let mut lab = line();
    let frame = udp(&lab, "10.0.1.2", "10.0.2.99").frame();
    lab.send("client", "eth0", &frame);
    let back = &lab.sent_ip("router", "eth0")[0];
    assert_eq!((back[34], back[35], back[42 + 8]), (3, 1, 63), "quoted as it would have left");
    assert_eq!(lab.drops("router"), [DropReason::NeighFailed]);
}

#[test]
fn a_broadcast_of_a_subnet_is_passed_on_only_where_all_allow_it() {
    let mut lab = line();
    let frame = udp(&lab, "10.0.1.2", "10.0.2.255").frame();
    lab.send("client", "eth0", &frame);
    assert!(lab.sent_ip("router", "eth1").is_empty());
    lab.all("router", &["sysctl -w net.ipv4.conf.all.bc_forwarding=1", "sysctl -w net.ipv4.conf.eth0.bc_forwarding=1"]);
    lab.forget();
    lab.send("client", "eth0", &frame);
    let out = lab.sent_ip("router", "eth1");
    assert_eq!((&out[0][..6], out[0][22]), (&[0xff; 6][..], 63));
}
