//! Frames through a bridge.

use sim_core::SimTime;

use super::{Lab, Udp, replied};
use crate::DevId;
use crate::addr::Mac;
use crate::dev::bridge::{self, BridgePort, FdbKind};
use crate::drop_reason::DropReason;
use crate::trace::Bridged;

/// Hosts a, b, c on one bridge of `sw`, which has an address of its own.
fn star() -> Lab {
    let mut lab = Lab::new(&["a", "b", "c", "sw"]);
    for ns in ["a", "b", "c", "sw"] {
        lab.run(ns, "sysctl -w net.ipv6.conf.all.disable_ipv6=1");
    }
    lab.run("sw", "ip link add br0 type bridge");
    for (number, host) in ["a", "b", "c"].iter().enumerate() {
        lab.link(&format!("{host}/eth0"), &format!("sw/p{host}"));
        lab.run("sw", &format!("ip link set p{host} master br0"));
        lab.run(host, &format!("ip addr add 10.0.0.{}/24 dev eth0", number + 1));
    }
    lab.all("sw", &["ip link set br0 up", "ip addr add 10.0.0.254/24 dev br0"]);
    lab.settle();
    lab.forget();
    lab
}

fn frame(lab: &Lab, from: &str, to: [u8; 6]) -> Vec<u8> {
    Udp { macs: (lab.mac(from, "eth0"), to), src: "10.0.0.1", dst: "10.0.0.2", ttl: 64, df: false, len: 10 }.frame()
}

fn ports_that_sent(lab: &Lab) -> Vec<&'static str> {
    ["pa", "pb", "pc"].into_iter().filter(|port| !lab.sent("sw", port).is_empty()).collect()
}

fn dev(lab: &Lab, name: &str) -> DevId {
    lab.net.netns(lab.ns("sw")).devices.named(name).unwrap()
}

fn port<'a>(lab: &'a mut Lab, name: &str) -> &'a mut BridgePort {
    let (ns, dev) = (lab.ns("sw"), dev(lab, name));
    &mut lab.net.sim.node_mut(ns).devices.get_mut(dev).bridge_port
}

#[test]
fn an_unknown_address_is_flooded_and_a_learned_one_is_not() {
    let mut lab = star();
    let b = lab.mac("b", "eth0");
    let to_b = frame(&lab, "a", b);
    lab.send("a", "eth0", &to_b);
    assert_eq!(lab.bridged("sw")[0], Bridged::Flood(2));
    assert!(ports_that_sent(&lab).contains(&"pc"));
    assert_eq!(lab.drops("c")[0], DropReason::OtherHost);
    lab.forget();
    lab.send("a", "eth0", &to_b);
    assert_eq!(lab.bridged("sw")[0], Bridged::Port(dev(&lab, "pb")), "b has answered by now");
    assert!(!ports_that_sent(&lab).contains(&"pc"));
}

#[test]
fn hosts_reach_each_other_and_the_bridge_itself() {
    let mut lab = star();
    for to in ["10.0.0.2", "10.0.0.254"] {
        let answer = lab.ping("a", to, 56);
        assert!(replied(&answer), "{to}: {answer:?}");
    }
    let answer = lab.ping("sw", "10.0.0.3", 56);
    assert!(replied(&answer), "{answer:?}");
}

#[test]
fn what_was_learned_is_forgotten_after_five_minutes() {
    let mut lab = star();
    // From a MAC that nobody answers to, so that nothing is learned on the way.
    let stranger = [2, 0, 0, 0, 0, 9];
    let mut from_stranger = frame(&lab, "b", lab.mac("sw", "br0"));
    from_stranger[6..12].copy_from_slice(&stranger);
    lab.send("b", "eth0", &from_stranger);
    let to_stranger = frame(&lab, "a", stranger);
    lab.forget();
    lab.send("a", "eth0", &to_stranger);
    assert_eq!(lab.bridged("sw")[0], Bridged::Port(dev(&lab, "pb")));
    let later = lab.net.sim.now() + SimTime::from_secs(301);
    lab.net.sim.run_until(later);
    lab.forget();
    lab.send("a", "eth0", &to_stranger);
    assert_eq!(lab.bridged("sw")[0], Bridged::Flood(2));
}

#[test]
fn the_mac_of_a_port_goes_up_and_dies_there_unless_it_is_the_bridges() {
    let mut lab = star();
    let macs = ["pa", "pb", "pc"].map(|port| lab.mac("sw", port));
    let own = lab.mac("sw", "br0");
    assert_eq!(own, *macs.iter().min().unwrap(), "the least of its ports'");
    let other = macs.into_iter().find(|mac| *mac != own && *mac != lab.mac("sw", "pa")).unwrap();
    let to_port = frame(&lab, "a", other);
    lab.send("a", "eth0", &to_port);
    assert_eq!(lab.bridged("sw"), [Bridged::Up]);
    assert_eq!(lab.drops("sw"), [DropReason::OtherHost]);
}

#[test]
fn link_local_groups_are_not_flooded_except_those_of_the_protocol_that_is_off() {
    let mut lab = star();
    for (last, sent, reason) in
        [(0u8, 2, None), (1, 0, Some(DropReason::BridgeLinkLocal)), (0x0e, 0, Some(DropReason::UnhandledProto))]
    {
        lab.forget();
        let mut group = frame(&lab, "a", [1, 0x80, 0xc2, 0, 0, last]);
        group[12..14].copy_from_slice(&0x88ccu16.to_be_bytes());
        lab.send("a", "eth0", &group);
        assert_eq!(ports_that_sent(&lab).len(), sent, "{last}");
        assert_eq!(lab.drops("sw").first().copied().filter(|_| sent == 0), reason);
    }
}

#[test]
fn flags_of_ports_and_entries_by_hand_decide() {
    let mut lab = star();
    let stranger = [2, 0, 0, 0, 0, 9];
    let to_stranger = frame(&lab, "a", stranger);
    port(&mut lab, "pb").flood = false;
    lab.send("a", "eth0", &to_stranger);
    assert_eq!(ports_that_sent(&lab), ["pc"]);
    // Two isolated ports do not hear each other.
    lab.forget();
    port(&mut lab, "pa").isolated = true;
    port(&mut lab, "pc").isolated = true;
    lab.send("a", "eth0", &to_stranger);
    assert_eq!(lab.drops("sw"), [DropReason::BridgeNoPort]);
    // Back out of the port that it came in through: only with hairpin.
    let (ns, pa, now) = (lab.ns("sw"), dev(&lab, "pa"), lab.net.sim.now());
    bridge::fdb_add(lab.net.sim.node_mut(ns), now, pa, (Mac(stranger), FdbKind::Static), false).unwrap();
    lab.forget();
    lab.send("a", "eth0", &to_stranger);
    assert_eq!(lab.drops("sw"), [DropReason::BridgeNoPort]);
    *port(&mut lab, "pa") = BridgePort { hairpin: true, ..BridgePort::default() };
    lab.forget();
    lab.send("a", "eth0", &to_stranger);
    assert_eq!(ports_that_sent(&lab), ["pa"]);
    // Nothing is learned where learning is off.
    port(&mut lab, "pc").learning = false;
    let before = listed(&lab);
    let mut strange = frame(&lab, "c", stranger);
    strange[11] ^= 0x55;
    lab.send("c", "eth0", &strange);
    assert_eq!(listed(&lab), before);
}

fn listed(lab: &Lab) -> usize {
    let netns = lab.net.netns(lab.ns("sw"));
    netns.devices.get(dev(lab, "br0")).bridge().unwrap().fdb.list(lab.net.sim.now()).len()
}

#[test]
fn a_bridge_without_running_ports_has_no_carrier() {
    let mut lab = star();
    let carrier = |lab: &Lab| lab.net.netns(lab.ns("sw")).devices.get(dev(lab, "br0")).carrier;
    assert!(carrier(&lab));
    for host in ["a", "b", "c"] {
        lab.run(host, "ip link set eth0 down");
    }
    assert!(!carrier(&lab));
    lab.run("a", "ip link set eth0 up");
    assert!(carrier(&lab));
}
