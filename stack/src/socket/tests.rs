//! The tables and the timers, without a network.

use std::net::{IpAddr, SocketAddr};

use sim_core::{Sim, SimTime, TraceMode};

use super::{Options, segment, table, tcp};
use crate::addr::Family;
use crate::app::SocketOptions;
use crate::dev::device::DevId;
use crate::errno::Errno;
use crate::netns::Netns;
use crate::view::proto;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}

/// A namespace where any address may be bound.
fn namespace() -> (Sim<Netns>, sim_core::NodeId) {
    let mut sim = Sim::new(1, TraceMode::Off);
    let node = sim.add_node("ns", Netns::new("ns"));
    sim.node_mut(node).sysctls.ip_nonlocal_bind = true;
    (sim, node)
}

fn bind(sim: &mut Sim<Netns>, node: sim_core::NodeId, l4: u8, address: &str, port: u16) -> Result<u32, Errno> {
    sim.with(node, |ns, cx| {
        let options = Options::resolve(ns, &SocketOptions::default())?;
        let number = ns.sockets.open(l4, Family::of(ip(address)), options, None);
        let bound = table::bind(ns, cx, number, ip(address), port);
        if bound.is_ok() && l4 == proto::TCP {
            tcp::listen(ns, cx, number);
        }
        bound.map(|()| number)
    })
}

#[test]
fn an_address_that_overlaps_is_in_use() {
    for (first, second, expected) in [
        ("0.0.0.0", "0.0.0.0", Err(Errno::AddrInUse)),
        ("0.0.0.0", "10.0.0.1", Err(Errno::AddrInUse)),
        ("10.0.0.1", "0.0.0.0", Err(Errno::AddrInUse)),
        ("10.0.0.1", "10.0.0.2", Ok(())),
        ("::", "0.0.0.0", Err(Errno::AddrInUse)),
        ("::", "10.0.0.1", Err(Errno::AddrInUse)),
        ("0.0.0.0", "fd00::1", Ok(())),
        ("::1", "0.0.0.0", Ok(())),
    ] {
        for l4 in [proto::TCP, proto::UDP] {
            let (mut sim, node) = namespace();
            bind(&mut sim, node, l4, first, 80).expect("the first");
            assert_eq!(bind(&mut sim, node, l4, second, 80).map(|_| ()), expected, "{first} then {second}");
            bind(&mut sim, node, l4, second, 81).expect("another port");
        }
    }
}

#[test]
fn the_socket_that_fits_best_takes_a_packet() {
    let (mut sim, node) = namespace();
    let specific = bind(&mut sim, node, proto::UDP, "10.0.0.1", 53).expect("free");
    let other = bind(&mut sim, node, proto::UDP, "10.0.0.2", 53).expect("free");
    let any6 = bind(&mut sim, node, proto::UDP, "::", 54).expect("free");
    let sockets = &sim.node(node).sockets;
    let take = |to: &str| table::lookup(sockets, proto::UDP, at(to), at("10.9.9.9:1000"), DevId(1));
    assert_eq!(take("10.0.0.1:53"), Some(specific));
    assert_eq!(take("10.0.0.2:53"), Some(other));
    assert_eq!(take("10.0.0.3:53"), None);
    assert_eq!(take("10.0.0.3:54"), Some(any6), "a socket of :: takes IPv4 as well");
}

#[test]
fn binding_prefers_odd_offsets_and_connecting_even_ones() {
    let (mut sim, node) = namespace();
    let (low, high) = sim.node(node).sysctls.ip_local_port_range;
    for _ in 0..20 {
        let number = bind(&mut sim, node, proto::TCP, "0.0.0.0", 0).expect("free");
        let port = sim.node(node).sockets.get(number).expect("there").local.port();
        assert!((low..=high).contains(&port) && (port - low) % 2 == 1, "{port}");
        let remote = Some(at("10.0.0.9:80"));
        let port = sim.with(node, |ns, cx| table::ephemeral(ns, cx, number, ip("10.0.0.1"), remote)).expect("free");
        assert!((low..=high).contains(&port) && (port - low) % 2 == 0, "{port}");
    }
}

#[test]
fn when_all_ports_are_taken_the_call_says_so() {
    let (mut sim, node) = namespace();
    sim.node_mut(node).sysctls.ip_local_port_range = (40_000, 40_002);
    for _ in 0..3 {
        bind(&mut sim, node, proto::UDP, "0.0.0.0", 0).expect("free");
    }
    assert_eq!(bind(&mut sim, node, proto::UDP, "0.0.0.0", 0), Err(Errno::AddrInUse));
}

#[test]
fn syns_are_sent_at_the_times_of_linux() {
    // Measured on 6.18: 0, 1, 2, 3, 4, 5, 7, 11 s; documented: the last at 67 s, given up at 131 s.
    let mut at = SimTime::ZERO;
    let times: Vec<u64> = (0..=10)
        .map(|retries| {
            at += segment::syn_timeout(retries, 4);
            at.as_secs()
        })
        .collect();
    assert_eq!(times, [1, 2, 3, 4, 5, 7, 11, 19, 35, 67, 131]);
}
