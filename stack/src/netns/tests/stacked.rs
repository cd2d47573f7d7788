//! Devices on top of others: VLANs and macvlan.

use super::{Lab, replied};
use crate::drop_reason::DropReason;
use crate::view::be16;

fn quiet(lab: &mut Lab, names: &[&str]) {
    for ns in names {
        lab.all(ns, &["sysctl -w net.ipv6.conf.all.disable_ipv6=1", "sysctl -w net.ipv6.conf.default.disable_ipv6=1"]);
    }
}

/// A wire between w and h; macvlan devices of this mode on h's end, one each in m1 and m2. 10.0.0.253 and .254 are w and h.
fn macvlan(mode: &str) -> Lab {
    let names = ["w", "h", "m1", "m2"];
    let mut lab = Lab::new(&names);
    quiet(&mut lab, &names);
    lab.link("w/eth0", "h/eth0");
    lab.run("w", "ip addr add 10.0.0.253/24 dev eth0");
    lab.run("h", "ip addr add 10.0.0.254/24 dev eth0");
    for number in [1, 2] {
        lab.run("h", &format!("ip link add link eth0 name mv0 netns m{number} type macvlan mode {mode}"));
        lab.all(&format!("m{number}"), &[&format!("ip addr add 10.0.0.{number}/24 dev mv0"), "ip link set mv0 up"]);
    }
    lab.settle();
    lab.forget();
    lab
}

#[test]
fn every_mode_reaches_the_wire_and_none_the_device_below() {
    for mode in ["private", "vepa", "bridge"] {
        let mut lab = macvlan(mode);
        assert!(replied(&lab.ping("m1", "10.0.0.253", 56)), "{mode}: out");
        assert!(replied(&lab.ping("w", "10.0.0.2", 56)), "{mode}: in");
        assert!(!replied(&lab.ping("m1", "10.0.0.254", 56)), "{mode}: the host itself");
        assert!(replied(&lab.ping("w", "10.0.0.254", 56)), "{mode}: the host keeps its own");
    }
}

#[test]
fn only_bridge_mode_joins_siblings_and_the_wire_does_not_see_it() {
    for (mode, joined) in [("private", false), ("vepa", false), ("bridge", true)] {
        let mut lab = macvlan(mode);
        assert_eq!(replied(&lab.ping("m1", "10.0.0.2", 56)), joined, "{mode}");
        assert_eq!(lab.sent_ip("h", "eth0").len(), 0, "{mode}: nothing but the question reached the wire");
    }
}

#[test]
fn a_switch_that_sends_frames_back_joins_vepa_siblings_but_not_private_ones() {
    for (mode, joined) in [("private", false), ("vepa", true)] {
        let mut lab = macvlan(mode);
        // w as a reflecting switch: a bridge with one hairpin port.
        lab.all("w", &["ip addr flush dev eth0", "ip link add br0 type bridge", "ip link set eth0 master br0"]);
        lab.all("w", &["ip link set br0 up", "bridge link set dev eth0 hairpin on"]);
        assert_eq!(replied(&lab.ping("m1", "10.0.0.2", 56)), joined, "{mode}");
    }
}

#[test]
fn passthru_has_the_mac_of_the_device_below_and_its_frames() {
    let mut lab = Lab::new(&["w", "h", "m"]);
    quiet(&mut lab, &["w", "h", "m"]);
    lab.link("w/eth0", "h/eth0");
    lab.run("w", "ip addr add 10.0.0.253/24 dev eth0");
    lab.run("h", "ip link add link eth0 name mv0 netns m type macvlan mode passthru");
    lab.all("m", &["ip addr add 10.0.0.1/24 dev mv0", "ip link set mv0 up"]);
    assert_eq!(lab.mac("m", "mv0"), lab.mac("h", "eth0"));
    assert!(replied(&lab.ping("w", "10.0.0.1", 56)));
    let ns = lab.ns("h");
    let second = "ip link add link eth0 name mv1 type macvlan".parse().unwrap();
    let refused = lab.net.apply(ns, &second, crate::ProvId(0)).unwrap_err();
    assert_eq!(refused.message, "RTNETLINK answers: Invalid argument");
}

#[test]
fn a_child_follows_the_device_below_and_goes_with_it() {
    let mut lab = macvlan("bridge");
    assert!(lab.run("m1", "ip link show mv0").contains("mv0@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500"));
    lab.run("h", "ip link set eth0 mtu 1400");
    assert!(lab.run("m1", "ip link show mv0").contains(" mtu 1400 "));
    lab.run("h", "ip link set eth0 down");
    assert!(lab.run("m1", "ip link show mv0").contains("NO-CARRIER"));
    lab.run("h", "ip link set eth0 up");
    assert!(replied(&lab.ping("m1", "10.0.0.2", 56)));
    lab.run("m2", "ip link set mv0 address 02:00:00:00:00:77");
    lab.run("m1", "ip neigh flush dev mv0");
    assert!(replied(&lab.ping("m1", "10.0.0.2", 56)), "the device below knows of the new MAC");
    lab.run("h", "ip link del eth0");
    assert!(lab.run("m1", "ip link").lines().all(|line| !line.contains("mv0")));
}

#[test]
fn a_child_that_is_moved_stays_where_it_is_plugged_in() {
    let mut lab = macvlan("bridge");
    lab.run("h", "ip link add link eth0 name mv3 type macvlan mode bridge");
    lab.run("h", "ip link set mv3 netns w name moved");
    lab.all("w", &["ip addr flush dev eth0", "ip addr add 10.0.0.3/24 dev moved", "ip link set moved up"]);
    assert!(replied(&lab.ping("w", "10.0.0.1", 56)));
}

#[test]
fn two_devices_of_one_mac_are_not_both_up() {
    let mut lab = macvlan("bridge");
    let mac = crate::Mac(lab.mac("m1", "mv0"));
    lab.run("h", &format!("ip link add link eth0 name mv3 address {mac} type macvlan"));
    let ns = lab.ns("h");
    let refused = lab.net.apply(ns, &"ip link set mv3 up".parse().unwrap(), crate::ProvId(0)).unwrap_err();
    assert_eq!(refused.message, "RTNETLINK answers: Address already in use");
}

/// Hosts a and b on a wire, with VLAN devices of these numbers and addresses.
fn vlans(of_a: u16, of_b: u16) -> Lab {
    let mut lab = Lab::new(&["a", "b"]);
    quiet(&mut lab, &["a", "b"]);
    lab.link("a/eth0", "b/eth0");
    for (number, ns, id) in [(1, "a", of_a), (2, "b", of_b)] {
        lab.run(ns, &format!("ip link add link eth0 name eth0.v type vlan id {id}"));
        lab.all(ns, &[&format!("ip addr add 10.1.0.{number}/24 dev eth0.v"), "ip link set eth0.v up"]);
    }
    lab.settle();
    lab.forget();
    lab
}

#[test]
fn a_vlan_device_tags_what_it_sends_and_takes_what_has_its_tag() {
    let mut lab = vlans(10, 10);
    assert!(replied(&lab.ping("a", "10.1.0.2", 56)));
    let sent = lab.sent("a", "eth0");
    assert!(sent.iter().all(|frame| (be16(frame, 12), be16(frame, 14)) == (0x8100, 10)), "{sent:02x?}");
    assert_eq!((be16(&sent[0], 16), be16(&sent[1], 16)), (0x0806, 0x0800));
    assert!(lab.run("a", "ip link show eth0.v").contains("eth0.v@eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500"));
}

#[test]
fn a_full_frame_has_room_for_its_tag() {
    let mut lab = vlans(10, 10);
    assert!(replied(&lab.ping("a", "10.1.0.2", 1472)));
}

#[test]
fn another_tag_is_for_somebody_else() {
    let mut lab = vlans(10, 20);
    assert!(!replied(&lab.ping("a", "10.1.0.2", 56)));
    assert!(lab.drops("b").iter().all(|reason| *reason == DropReason::OtherHost));
}

#[test]
fn a_vlan_device_is_down_with_the_device_below() {
    let mut lab = vlans(10, 10);
    lab.run("a", "ip link set eth0 down");
    assert!(!lab.run("a", "ip link show eth0.v").contains(",UP"));
    let ns = lab.ns("a");
    let refused = lab.net.apply(ns, &"ip link set eth0.v up".parse().unwrap(), crate::ProvId(0)).unwrap_err();
    assert_eq!(refused.message, "RTNETLINK answers: Network is down");
    lab.run("a", "ip link set eth0 up");
    assert!(replied(&lab.ping("a", "10.1.0.2", 56)));
}

#[test]
fn a_bridge_passes_tags_on_and_its_own_vlan_device_takes_them() {
    let mut lab = Lab::new(&["a", "b", "sw"]);
    quiet(&mut lab, &["a", "b", "sw"]);
    lab.run("sw", "ip link add br0 type bridge");
    for (number, ns) in [(1, "a"), (2, "b")] {
        lab.link(&format!("{ns}/eth0"), &format!("sw/p{ns}"));
        lab.run("sw", &format!("ip link set p{ns} master br0"));
        lab.run(ns, "ip link add link eth0 name v10 type vlan id 10");
        lab.all(ns, &[&format!("ip addr add 10.1.0.{number}/24 dev v10"), "ip link set v10 up"]);
    }
    lab.run("sw", "ip link set br0 up");
    lab.run("sw", "ip link add link br0 name br0.10 type vlan id 10");
    lab.all("sw", &["ip addr add 10.1.0.254/24 dev br0.10", "ip link set br0.10 up"]);
    assert!(replied(&lab.ping("a", "10.1.0.2", 56)), "across");
    assert!(replied(&lab.ping("a", "10.1.0.254", 56)), "up");
    // A VLAN device on a port comes before the bridge.
    lab.run("sw", "ip link add link pa name pa.10 type vlan id 10");
    lab.run("sw", "ip link set pa.10 up");
    lab.forget();
    assert!(!replied(&lab.ping("a", "10.1.0.2", 56)));
}
