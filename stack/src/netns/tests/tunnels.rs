//! Frames through VXLAN tunnels, and what a dummy swallows.

use std::net::Ipv4Addr;

use super::{Lab, replied};
use crate::drop_reason::DropReason;
use crate::trace::{Record, cause};
use crate::view::{be16, be32};

/// Bytes in front of the inner frame: Ethernet, IPv4, UDP, VXLAN.
const OUTER: usize = 14 + 20 + 8 + 8;

/// Hosts a and b on a wire, without tunnels.
fn wire() -> Lab {
    let mut lab = Lab::new(&["a", "b"]);
    for ns in ["a", "b"] {
        lab.all(ns, &["sysctl -w net.ipv6.conf.all.disable_ipv6=1", "sysctl -w net.ipv6.conf.default.disable_ipv6=1"]);
    }
    lab.link("a/eth0", "b/eth0");
    for (number, ns) in [(1, "a"), (2, "b")] {
        lab.run(ns, &format!("ip addr add 192.168.7.{number}/24 dev eth0"));
    }
    lab
}

/// A tunnel end in a and one in b, with these options.
fn tunnel(of_a: &str, of_b: &str) -> Lab {
    let mut lab = wire();
    for (number, ns, options) in [(1, "a", of_a), (2, "b", of_b)] {
        lab.run(ns, &format!("ip link add vx type vxlan id 42 dstport 4789 {options}"));
        lab.run(ns, &format!("ip addr add 10.9.0.{number}/24 dev vx"));
        lab.run(ns, "ip link set vx up");
    }
    lab.settle();
    lab.forget();
    lab
}

/// The outer packets that left a host.
fn outer(lab: &Lab, ns: &str) -> Vec<Vec<u8>> {
    lab.sent_ip(ns, "eth0").into_iter().filter(|frame| frame[23] == 17 && be16(frame, 36) == 4789).collect()
}

fn mac_text(mac: [u8; 6]) -> String {
    crate::Mac(mac).to_string()
}

#[test]
fn a_ping_crosses_a_tunnel_and_both_ends_learn() {
    let mut lab = tunnel("local 192.168.7.1 dev eth0 remote 192.168.7.2", "local 192.168.7.2 dev eth0 remote 192.168.7.1");
    let answer = lab.ping("a", "10.9.0.2", 56);
    assert!(replied(&answer), "{answer:?}");
    let out = outer(&lab, "a");
    assert_eq!(out.len(), 3, "ARP, the echo request, and a probe of the neighbour later");
    for frame in &out {
        assert_eq!(frame[42..50], [8, 0, 0, 0, 0, 0, 42, 0], "VXLAN header");
        assert_eq!((frame[15], frame[20] & 0x40, frame[22]), (0, 0, 64), "TOS, DF, TTL");
        assert_ne!(be16(frame, 40), 0, "udpcsum is on for IPv4");
        assert!((32_768..=60_999).contains(&be16(frame, 34)));
    }
    let learned = format!("{} dst 192.168.7.2 self \n", mac_text(lab.mac("b", "vx")));
    assert_eq!(
        lab.run("a", "bridge fdb show dev vx"),
        format!("00:00:00:00:00:00 dst 192.168.7.2 via eth0 self permanent\n{learned}")
    );
    // Inner and outer packets are each other's kin.
    let tracer = lab.net.sim.tracer();
    let begun = |record: &Record| matches!(record, Record::Receive { .. } | Record::Originate { .. } | Record::Resume { .. });
    let kin = |wanted| {
        let of = |packet| tracer.lineage(packet).is_some_and(|lineage| lineage.cause == wanted);
        tracer.records().iter().filter(|stamped| begun(&stamped.record) && of(stamped.packet)).count()
    };
    assert_eq!((kin(cause::ENCAP), kin(cause::DECAP)), (13, 6), "begun: each outer packet in both namespaces, each inner one once");
}

#[test]
fn a_flow_keeps_its_source_port_and_another_gets_its_own() {
    let mut lab = tunnel("remote 192.168.7.2", "remote 192.168.7.1");
    lab.ping("a", "10.9.0.2", 56);
    let ports = |lab: &Lab, ns: &str| outer(lab, ns).iter().map(|frame| be16(frame, 34)).collect::<Vec<_>>();
    let (first, back) = (ports(&lab, "a"), ports(&lab, "b"));
    assert_eq!(first[0], back[0], "ARP is hashed by its EtherType alone");
    assert_eq!(first[1], back[1], "and an echo by its addresses, the same both ways");
    assert_ne!(first[0], first[1]);
}

#[test]
fn without_an_entry_for_everybody_an_unknown_mac_has_no_remote() {
    let mut lab = tunnel("local 192.168.7.1", "local 192.168.7.2");
    let answer = lab.ping("a", "10.9.0.2", 56);
    assert!(!replied(&answer));
    assert!(outer(&lab, "a").is_empty());
    assert_eq!(lab.drops("a")[0], DropReason::VxlanNoRemote);
}

#[test]
fn a_broadcast_goes_to_every_host_of_the_entry_for_everybody() {
    let mut lab = tunnel("nolearning", "nolearning");
    for host in [2, 3, 4] {
        lab.run("a", &format!("bridge fdb append 00:00:00:00:00:00 dev vx dst 192.168.7.{host}"));
        let mac = format!("02:00:00:00:00:0{host}");
        lab.run("a", &format!("ip neigh replace 192.168.7.{host} lladdr {mac} dev eth0"));
    }
    lab.ping("a", "10.9.0.2", 56);
    let first: Vec<_> = outer(&lab, "a").into_iter().take(3).map(|frame| Ipv4Addr::from(be32(&frame, 30)).octets()[3]).collect();
    assert_eq!(first, [3, 4, 2], "the first host gets the original, which is sent last");
}

#[test]
fn an_entry_by_hand_is_not_moved_and_its_impostor_is_dropped() {
    let mut lab = tunnel("remote 192.168.7.2", "remote 192.168.7.1");
    let of_b = mac_text(lab.mac("b", "vx"));
    lab.run("a", &format!("bridge fdb add {of_b} dev vx dst 192.168.7.99"));
    lab.ping("b", "10.9.0.1", 56);
    assert!(lab.drops("a").contains(&DropReason::VxlanEntryExists));
    lab.run("a", &format!("bridge fdb replace {of_b} dev vx dst 192.168.7.2"));
    assert!(replied(&lab.ping("b", "10.9.0.1", 56)));
}

#[test]
fn the_mark_stays_on_the_outside_and_the_outer_packet_has_rules_of_its_own() {
    let mut lab = tunnel("remote 192.168.7.2", "remote 192.168.7.1");
    lab.run("a", "iptables -t mangle -A OUTPUT -p icmp -j MARK --set-mark 7");
    lab.run("a", "iptables -A OUTPUT -o eth0 -p udp -m mark --mark 7 -j DROP");
    assert!(!replied(&lab.ping("a", "10.9.0.2", 56)));
    assert!(lab.drops("a").contains(&DropReason::NetfilterDrop));
    lab.run("a", "iptables -D OUTPUT -o eth0 -p udp -m mark --mark 7 -j DROP");
    // The echo was NEW inside; its outer packet is of a connection of its own, and the reply's of another.
    lab.run("a", "iptables -A OUTPUT -o eth0 -p udp -m conntrack ! --ctstate NEW -j DROP");
    lab.run("a", "iptables -A INPUT -i eth0 -p udp -m conntrack ! --ctstate NEW -j DROP");
    assert!(replied(&lab.ping("a", "10.9.0.2", 56)));
}

#[test]
fn the_outer_tos_ttl_df_and_checksum_follow_the_options() {
    let mut lab = tunnel("remote 192.168.7.2 ttl 9 tos 0x10 df set noudpcsum", "remote 192.168.7.1 ttl inherit tos inherit");
    assert!(replied(&lab.ping("a", "10.9.0.2", 56)));
    let out = &outer(&lab, "a")[1];
    assert_eq!((out[15], out[20] & 0x40, out[22], be16(out, 40)), (0x10, 0x40, 9, 0));
    let back = &outer(&lab, "b")[1];
    assert_eq!((back[15], back[22]), (0, 64));
}

#[test]
fn a_payload_that_does_not_fit_the_underlay_leaves_in_pieces() {
    let mut lab = tunnel("remote 192.168.7.2", "remote 192.168.7.1");
    assert!(replied(&lab.ping("a", "10.9.0.2", 1472)));
    let pieces = lab.sent_ip("a", "eth0").into_iter().filter(|frame| be16(frame, 20) & 0x3fff != 0).count();
    assert_eq!(pieces, 2);
}

#[test]
fn the_mtu_is_that_of_the_device_below_less_fifty() {
    let mut lab = wire();
    lab.all(
        "a",
        &["ip link set eth0 mtu 1400", "ip link add v1 mtu 9000 type vxlan id 1 dev eth0", "ip link add v2 type vxlan id 2"],
    );
    assert!(lab.run("a", "ip link show v1").contains(" mtu 1350 "));
    assert!(lab.run("a", "ip link show v2").contains(" mtu 1500 "));
    let ns = lab.ns("a");
    let refused = lab.net.apply(ns, &"ip link set v1 mtu 1351".parse().unwrap(), crate::ProvId(0)).unwrap_err();
    assert_eq!((refused.message.as_str(), refused.exit), ("RTNETLINK answers: Invalid argument", 2));
    lab.run("a", "ip link set v2 mtu 9000");
}

#[test]
fn proxy_answers_for_whom_it_knows_and_swallows_the_rest() {
    let mut lab = tunnel("remote 192.168.7.2 proxy", "remote 192.168.7.1");
    assert!(!replied(&lab.ping("a", "10.9.0.2", 56)));
    assert!(outer(&lab, "a").is_empty());
    // A host behind a bridge asks: here the neighbour is the router's own, so only the answer to a third party can be seen.
    let of_b = mac_text(lab.mac("b", "vx"));
    lab.all("a", &["ip link add br0 type bridge", "ip link set vx master br0", "ip link set br0 up", "ip addr flush dev vx"]);
    let of_a = mac_text(lab.mac("a", "br0"));
    lab.run("b", &format!("ip neigh replace 10.9.0.1 lladdr {of_a} dev vx"));
    lab.all("a", &["ip addr add 10.9.0.1/24 dev br0", &format!("ip neigh replace 10.9.0.2 lladdr {of_b} dev vx")]);
    lab.forget();
    assert!(replied(&lab.ping("a", "10.9.0.2", 56)));
    assert!(outer(&lab, "a").iter().all(|frame| be16(frame, OUTER + 12) != 0x0806), "no question crossed the tunnel");
}

#[test]
fn what_is_no_vxlan_or_of_another_vni_is_dropped_by_name() {
    for (at, value, reason) in
        [(42, 0, DropReason::VxlanInvalidHdr), (49, 1, DropReason::VxlanInvalidHdr), (48, 43, DropReason::VxlanVniNotFound)]
    {
        let mut lab = tunnel("remote 192.168.7.2 noudpcsum", "remote 192.168.7.1");
        lab.ping("a", "10.9.0.2", 56);
        let mut frame = outer(&lab, "a").remove(0);
        frame[at] = value;
        lab.forget();
        lab.send("a", "eth0", &frame);
        assert_eq!(lab.drops("b"), [reason]);
    }
}

#[test]
fn a_tunnel_that_is_down_leaves_its_port_closed() {
    let mut lab = tunnel("remote 192.168.7.2", "remote 192.168.7.1");
    lab.run("b", "ip link set vx down");
    lab.ping("a", "10.9.0.2", 56);
    assert!(lab.drops("b").contains(&DropReason::NoSocket));
}

#[test]
fn a_tunnel_whose_way_leads_into_itself_is_no_endless_loop() {
    let mut lab = tunnel("remote 192.168.7.2", "remote 192.168.7.1");
    lab.run("a", "ip route add 192.168.7.2/32 dev vx");
    lab.ping("a", "10.9.0.2", 56);
    assert!(lab.drops("a").contains(&DropReason::TunnelDepth));
}

#[test]
fn a_dummy_has_its_addresses_and_swallows_what_it_is_sent() {
    let mut lab = wire();
    lab.all("a", &["ip link add d0 type dummy", "ip addr add 10.7.0.1/24 dev d0", "ip link set d0 up", "ip link set lo up"]);
    assert!(replied(&lab.ping("a", "10.7.0.1", 56)));
    assert!(!replied(&lab.ping("a", "10.7.0.9", 56)));
    let sent = lab.sent("a", "d0");
    assert_eq!(sent.len(), 1, "no question: NOARP");
    assert_eq!(sent[0][..6], lab.mac("a", "d0"));
    assert!(lab.run("a", "ip link show d0").contains("<BROADCAST,NOARP,UP,LOWER_UP> mtu 1500 qdisc noqueue state UNKNOWN"));
}
