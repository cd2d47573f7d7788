//! What a namespace remembers of its decisions (`route::cache`) changes nothing but their price.

use super::routed::{line, udp};
use crate::trace::Record;

/// What the router writes down about three packets that came in after a change: one that is plain, one with a TOS, one whose source
/// is elsewhere. Where `before`, as many went through before the change, twice.
fn said(changes: &[&str], before: bool) -> Vec<String> {
    let mut lab = line();
    for (device, address, ns) in [("eth1", "10.0.2.2", "server"), ("eth0", "10.0.1.2", "client"), ("eth0", "10.0.1.9", "client")] {
        let [a, b, c, d, e, f] = lab.mac(ns, "eth0");
        lab.run(
            "router",
            &format!("ip neigh replace {address} lladdr {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} dev {device}"),
        );
    }
    let mut frames: Vec<Vec<u8>> = ["10.0.1.2", "10.9.9.9"].map(|src| udp(&lab, src, "10.0.2.2").frame()).into();
    let mut with_tos = frames[0].clone();
    with_tos[15] = 0x10;
    // RFC 1624: the checksum falls by what the header grew by.
    let checksum = u16::from_be_bytes([with_tos[24], with_tos[25]]);
    let mended = checksum.checked_sub(0x10).unwrap_or(checksum.wrapping_sub(0x11));
    with_tos[24..26].copy_from_slice(&mended.to_be_bytes());
    frames.push(with_tos);
    if before {
        for frame in frames.iter().chain(&frames) {
            lab.send("client", "eth0", frame);
        }
    }
    lab.all("router", changes);
    lab.settle();
    lab.forget();
    let router = lab.ns("router");
    let mut said = Vec::new();
    for frame in &frames {
        let id = lab.send("client", "eth0", frame);
        let tracer = lab.net.sim.tracer();
        let ours = tracer.records().iter().filter(|stamped| stamped.node == router && stamped.packet == id);
        said.extend(ours.map(|stamped| match stamped.record {
            Record::Receive { dev, frame } => format!("Receive {dev:?} {:?}", tracer.bytes(frame)),
            Record::Transmit { dev, frame } => format!("Transmit {dev:?} {:?}", tracer.bytes(frame)),
            // How often an ICMP error was sent before is no matter of the decision.
            Record::IcmpError { kind, code, .. } => format!("IcmpError {kind} {code}"),
            record => format!("{record:?}"),
        }));
    }
    said
}

#[test]
fn a_decision_is_forgotten_with_anything_that_it_was_made_of() {
    let changes: &[&[&str]] = &[
        &[],
        &["sysctl -w net.ipv4.ip_forward=0"],
        &["sysctl -w net.ipv4.conf.eth0.forwarding=0"],
        &["sysctl -w net.ipv4.conf.all.rp_filter=1"],
        &["sysctl -w net.ipv4.conf.eth0.rp_filter=1"],
        &["sysctl -w net.ipv4.conf.all.rp_filter=2"],
        &["sysctl -w net.ipv4.conf.all.rp_filter=2", "ip route add 10.9.9.0/24 via 10.0.2.2"],
        &["sysctl -w net.ipv4.conf.all.rp_filter=1", "ip route add 10.9.9.0/24 via 10.0.1.2"],
        &["ip addr add 10.0.1.2/32 dev lo"],
        &["ip addr add 10.0.1.2/32 dev lo", "sysctl -w net.ipv4.conf.all.accept_local=1"],
        &["ip addr add 10.0.2.2/32 dev lo"],
        &["ip addr del 10.0.2.1/24 dev eth1"],
        &["ip route add 10.0.2.2/32 via 10.0.1.9"],
        &["ip route add blackhole 10.0.2.2/32"],
        &["ip route add unreachable 10.0.2.2/32"],
        &["ip route add 10.0.2.2/32 via 10.0.1.9 tos 0x10"],
        &["ip route add local 10.0.2.2/32 dev lo"],
        &["ip route add 10.0.2.2/32 dev eth1 mtu 576"],
        &["ip link set eth1 down"],
        &["ip link set eth1 down", "ip link set eth1 up"],
        &["ip link set eth1 mtu 1000"],
        &["ip rule add from 10.0.1.2 blackhole"],
        &["ip rule add to 10.0.2.2 table 100", "ip route add 10.0.2.2/32 via 10.0.1.9 table 100"],
        &["ip rule add tos 0x10 prohibit"],
    ];
    let unchanged = said(&[], false);
    let mut different = 0;
    for change in changes {
        let fresh = said(change, false);
        assert_eq!(said(change, true), fresh, "{change:?}");
        different += usize::from(fresh != unchanged);
    }
    assert!(different >= 18, "changes that change something: {different}");
}
