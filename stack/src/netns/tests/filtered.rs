//! Bridged frames that the IP rules see (br_netfilter).

use super::{Lab, Udp, addresses};
use crate::DevId;
use crate::drop_reason::DropReason;
use crate::trace::Record;

/// Hosts a and b on one bridge of `sw`.
fn pair(address: &str) -> Lab {
    let mut lab = Lab::new(&["a", "b", "sw"]);
    for ns in ["a", "b", "sw"] {
        lab.run(ns, "sysctl -w net.ipv6.conf.all.disable_ipv6=1");
    }
    lab.run("sw", "ip link add br0 type bridge");
    for (number, host) in ["a", "b"].iter().enumerate() {
        lab.link(&format!("{host}/eth0"), &format!("sw/p{host}"));
        lab.run("sw", &format!("ip link set p{host} master br0"));
        lab.run(host, &format!("ip addr add 10.0.0.{}/24 dev eth0", number + 1));
    }
    lab.all("sw", &["ip link set br0 up", &format!("ip addr add {address} dev br0"), "sysctl -w net.ipv4.ip_forward=1"]);
    lab.settle();
    lab.forget();
    lab
}

fn to_b(lab: &Lab, dst: &str, mac: [u8; 6]) -> Vec<u8> {
    Udp { macs: (lab.mac("a", "eth0"), mac), src: "10.0.0.1", dst, ttl: 64, df: false, len: 10 }.frame()
}

#[test]
fn a_rule_of_forward_drops_a_bridged_frame_unless_the_sysctl_is_off() {
    let mut lab = pair("10.0.0.254/24");
    lab.run("sw", "iptables -A FORWARD -p udp -j DROP");
    let b = lab.mac("b", "eth0");
    let frame = to_b(&lab, "10.0.0.2", b);
    lab.send("a", "eth0", &frame);
    assert!(lab.sent_ip("sw", "pb").is_empty());
    lab.run("sw", "sysctl -w net.bridge.bridge-nf-call-iptables=0");
    lab.forget();
    lab.send("a", "eth0", &frame);
    assert_eq!(lab.sent_ip("sw", "pb").len(), 1);
}

#[test]
fn dnat_to_a_neighbour_on_the_bridge_keeps_ttl_and_source_mac() {
    let mut lab = pair("10.0.0.254/24");
    lab.run("sw", "iptables -t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.2");
    let br0 = lab.mac("sw", "br0");
    let frame = to_b(&lab, "10.96.0.1", br0);
    lab.send("a", "eth0", &frame);
    let out = &lab.sent_ip("sw", "pb")[0];
    assert_eq!((&out[..6], &out[6..12]), (&lab.mac("b", "eth0")[..], &lab.mac("a", "eth0")[..]));
    assert_eq!((out[22], addresses(out).1), (64, "10.0.0.2".parse().unwrap()));
    // The tap of the bridge saw it half way: with the bridge's MAC.
    let ns = lab.ns("sw");
    let br0 = lab.net.netns(ns).devices.named("br0").unwrap();
    assert_eq!(taps(&lab, br0).first().map(|frame| frame[6..12].to_vec()), Some(lab.mac("sw", "br0").to_vec()));
}

/// What a tap of a device saw on the way down, IPv4 only.
fn taps(lab: &Lab, dev: DevId) -> Vec<Vec<u8>> {
    let tracer = lab.net.sim.tracer();
    let frames = tracer.records().iter().filter_map(|stamped| match stamped.record {
        Record::DevOut { dev: at, frame } if at == dev => Some(tracer.bytes(frame).to_vec()),
        _ => None,
    });
    frames.filter(|frame| frame[12..14] == [8, 0]).collect()
}

#[test]
fn reject_of_a_bridged_frame_is_answered_by_the_bridge() {
    let mut lab = pair("10.0.0.254/24");
    lab.run("sw", "iptables -A FORWARD -p udp -j REJECT");
    let b = lab.mac("b", "eth0");
    let frame = to_b(&lab, "10.0.0.2", b);
    lab.send("a", "eth0", &frame);
    let back = &lab.sent_ip("sw", "pa")[0];
    assert_eq!((back[34], back[35], addresses(back).0), (3, 3, "10.0.0.254".parse().unwrap()));
}

#[test]
fn dnat_on_a_bridge_needs_forwarding_all_the_same() {
    let mut lab = pair("10.0.0.254/24");
    lab.run("sw", "iptables -t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.2");
    lab.run("sw", "sysctl -w net.ipv4.ip_forward=0");
    let br0 = lab.mac("sw", "br0");
    let frame = to_b(&lab, "10.96.0.1", br0);
    lab.send("a", "eth0", &frame);
    assert!(lab.sent_ip("sw", "pb").is_empty());
    assert_eq!(lab.drops("sw"), [DropReason::IpForwardingOff]);
}
