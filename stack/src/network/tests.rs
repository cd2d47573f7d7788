//! Commands that span namespaces, and what their tools say when they fail (Linux 6.18).

use sim_core::SimTime;

use super::*;
use crate::trace::Record;

struct Lab(Network);

impl Lab {
    fn new(names: &[&str]) -> Lab {
        let mut net = Network::new(1, TraceMode::Frames);
        for name in names {
            net.add_netns(name).expect("a new name");
        }
        Lab(net)
    }

    fn try_run(&mut self, ns: &str, line: &str) -> Result<String, CommandError> {
        let command: Command = line.parse().unwrap_or_else(|error| panic!("{line}: {error:?}"));
        let node = self.0.named(ns).expect("a namespace");
        self.0.apply(node, &command, ProvId::default())
    }

    fn run(&mut self, ns: &str, line: &str) -> String {
        self.try_run(ns, line).unwrap_or_else(|error| panic!("{ns}: {line}: {error}"))
    }

    fn fails(&mut self, ns: &str, line: &str) -> (String, i32) {
        let error = self.try_run(ns, line).expect_err(line);
        assert!(!error.unsupported, "{line}: {error}");
        (error.message.trim_end().to_owned(), error.exit)
    }
}

#[test]
fn a_veth_has_a_carrier_while_both_ends_are_up() {
    let mut lab = Lab::new(&["a", "b"]);
    lab.run("a", "ip link add eth0 type veth peer name eth1 netns b");
    let carrier = |lab: &Lab, ns: &str, dev: &str| {
        let ns = lab.0.netns(lab.0.named(ns).expect("there"));
        ns.devices.get(ns.devices.named(dev).expect("there")).carrier
    };
    lab.run("a", "ip link set eth0 up");
    assert!(!carrier(&lab, "a", "eth0") && !carrier(&lab, "b", "eth1"));
    lab.run("b", "ip link set eth1 up");
    assert!(carrier(&lab, "a", "eth0") && carrier(&lab, "b", "eth1"));
    lab.run("a", "ip link set eth0 down");
    assert!(!carrier(&lab, "a", "eth0") && !carrier(&lab, "b", "eth1"));
}

#[test]
fn a_frame_that_is_injected_arrives_at_the_other_end() {
    let mut lab = Lab::new(&["a", "b"]);
    lab.run("a", "ip link add eth0 type veth peer name eth1 netns b");
    let (a, b) = (lab.0.named("a").expect("there"), lab.0.named("b").expect("there"));
    assert_eq!(lab.0.inject(a, "eth9", &[0; 60]), Err(Errno::NoDev));
    assert_eq!(lab.0.inject(a, "eth0", &[0; 60]), Err(Errno::NetDown));
    lab.run("a", "ip link set eth0 up");
    lab.run("b", "ip link set eth1 up");
    let packet = lab.0.inject(a, "eth0", &[2; 60]).expect("up");
    lab.0.sim.run_until(SimTime::from_millis(1));
    let arrived = lab
        .0
        .sim
        .tracer()
        .records()
        .iter()
        .any(|stamped| stamped.packet == packet && stamped.node == b && matches!(stamped.record, Record::Receive { .. }));
    assert!(arrived);
}

#[test]
fn a_device_that_moves_keeps_its_mac_and_its_link_and_loses_its_addresses() {
    let mut lab = Lab::new(&["a", "b", "c"]);
    lab.run("a", "ip link add eth0 address 02:00:00:00:00:01 mtu 1400 type veth peer name eth1 netns b");
    lab.run("b", "ip link set eth1 up");
    lab.run("a", "ip addr add 10.0.0.1/24 dev eth0");
    lab.run("a", "ip link set eth0 netns c name x0 up");
    assert_eq!(lab.fails("a", "ip link set eth0 up"), ("Cannot find device \"eth0\"".to_owned(), 1));
    let shown = lab.run("c", "ip addr show dev x0");
    assert!(shown.contains("x0@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1400"), "{shown}");
    assert!(shown.contains("link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff link-netns b"), "{shown}");
    assert!(!shown.contains("10.0.0.1"), "{shown}");
    assert_eq!(lab.fails("a", "ip link set lo netns b"), ("Error: The interface netns is immutable.".to_owned(), 2));
}

#[test]
fn a_veth_takes_its_other_end_with_it() {
    let mut lab = Lab::new(&["a", "b"]);
    lab.run("a", "ip link add eth0 type veth peer name eth1 netns b");
    lab.run("b", "ip link del eth1");
    assert_eq!(lab.run("a", "ip link").lines().count(), 2, "only lo is left");
    // The names are free again.
    lab.run("a", "ip link add eth0 type veth peer name eth1 netns b");
}

#[test]
fn refusals_are_told_in_the_words_of_the_tools() {
    let mut lab = Lab::new(&["n"]);
    for line in ["ip link set lo up", "ip link add br0 type bridge", "ip link add va type veth peer name vb"] {
        lab.run("n", line);
    }
    lab.run("n", "ip addr add 10.0.0.1/24 dev va");
    let down = lab.fails("n", "ip route add 10.5.0.0/16 dev va");
    assert_eq!(down, ("Error: Device for nexthop is not up.".to_owned(), 2));
    lab.run("n", "ip link set va up");
    lab.run("n", "ip link set vb up");
    lab.run("n", "ip route add 10.5.0.0/16 via 10.0.0.2");
    for (line, message, exit) in [
        ("ip link add va type veth peer name vc", "RTNETLINK answers: File exists", 2),
        ("ip link set zz up", "Cannot find device \"zz\"", 1),
        ("ip link set va master zz", "Error: argument \"zz\" is wrong: Device does not exist", 255),
        ("ip link set va master vb", "RTNETLINK answers: Operation not supported", 2),
        ("ip link set va mtu 10", "Error: mtu less than device minimum.", 2),
        ("ip link set va mtu 70000", "Error: mtu greater than device maximum.", 2),
        ("ip link set va netns nosuch", "Error: argument \"nosuch\" is wrong: Invalid \"netns\" value", 255),
        ("ip link set va name lo", "RTNETLINK answers: File exists", 2),
        ("ip link set va address 01:00:00:00:00:01", "RTNETLINK answers: Cannot assign requested address", 2),
        ("ip link set lo master br0", "RTNETLINK answers: Invalid argument", 2),
        ("ip link set br0 master br0", "Error: Can not enslave a bridge to a bridge.", 2),
        ("ip link del lo", "RTNETLINK answers: Operation not supported", 2),
        ("ip addr add 10.0.0.1/24 dev va", "Error: ipv4: Address already assigned.", 2),
        ("ip addr del 10.9.0.1/24 dev va", "Error: ipv4: Address not found.", 2),
        ("ip addr del fe80::6/64 dev va", "Error: ipv6: address not found.", 2),
        ("ip addr show dev zz", "Device \"zz\" does not exist.", 1),
        ("ip route add 10.6.0.0/16 via 10.77.0.1", "Error: Nexthop has invalid gateway.", 2),
        ("ip route add 10.5.0.0/16 via 10.0.0.2", "RTNETLINK answers: File exists", 2),
        ("ip route add 10.5.0.1/16 via 10.0.0.2", "Error: Invalid prefix for given prefix length.", 2),
        ("ip route change 10.6.0.0/16 via 10.0.0.2", "RTNETLINK answers: No such file or directory", 2),
        ("ip route add 10.7.0.0/16 src 1.2.3.4 dev va", "Error: Invalid prefsrc address.", 2),
        ("ip route add 10.7.0.0/16", "RTNETLINK answers: No such device", 2),
        ("ip route del 10.6.0.0/16", "RTNETLINK answers: No such process", 2),
        ("ip route add 10.7.0.0/16 dev zz", "Cannot find device \"zz\"", 1),
        ("ip rule del pref 99", "RTNETLINK answers: No such file or directory", 2),
        ("ip neigh del 10.0.0.9 dev va", "RTNETLINK answers: No such file or directory", 2),
        ("ip neigh add 10.0.0.9 dev va", "Error: No link layer address given.", 2),
        ("ip neigh del proxy 10.0.0.9 dev va", "RTNETLINK answers: No such file or directory", 2),
        ("bridge link set dev zz hairpin on", "Cannot find bridge device \"zz\"", 255),
        ("bridge link set dev vb hairpin on", "RTNETLINK answers: Operation not supported", 255),
        ("bridge fdb add 02:00:00:00:00:0a dev vb master", "RTNETLINK answers: Operation not supported", 255),
        (
            "sysctl -w net.ipv4.conf.foo.rp_filter=1",
            "sysctl: cannot stat /proc/sys/net/ipv4/conf/foo/rp_filter: No such file or directory",
            1,
        ),
        ("sysctl -w net.ipv4.ip_forward=a", "sysctl: setting key \"net.ipv4.ip_forward\": Invalid argument", 1),
    ] {
        assert_eq!(lab.fails("n", line), (message.to_owned(), exit), "{line}");
    }
}

#[test]
fn a_port_of_a_bridge_and_its_database_are_shown_as_bridge_shows_them() {
    let mut lab = Lab::new(&["n"]);
    for line in [
        "ip link add br0 address 02:00:00:00:00:bb type bridge stp_state 0",
        "ip link add va address 02:00:00:00:00:0a type veth peer name vb",
        "ip link set va master br0",
        "ip link set br0 up",
        "ip link set va up",
        "ip link set vb up",
        "bridge link set dev va hairpin on learning off",
        "bridge fdb add 02:00:00:00:00:01 dev va master static",
    ] {
        lab.run("n", line);
    }
    let port = "4: va@vb: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 master br0 state forwarding priority 32 cost 2 \n";
    assert_eq!(lab.run("n", "bridge link"), port);
    assert_eq!(
        lab.run("n", "bridge fdb show dev va"),
        "02:00:00:00:00:01 master br0 static\n02:00:00:00:00:0a master br0 permanent\n"
    );
    assert_eq!(lab.fails("n", "bridge fdb add 02:00:00:00:00:01 dev va master").0, "RTNETLINK answers: File exists");
    lab.run("n", "bridge fdb del 02:00:00:00:00:01 dev va master");
    assert_eq!(lab.fails("n", "bridge fdb del 02:00:00:00:00:01 dev va master").0, "RTNETLINK answers: No such file or directory");
}

#[test]
fn what_iproute2_takes_and_pktlab_lacks_is_refused_aloud() {
    let mut lab = Lab::new(&["n", "n2"]);
    for line in ["ip link add br0 type bridge", "ip link add d0 type dummy"] {
        lab.run("n", line);
    }
    for line in ["ip link set d0 netns n2", "ip link set br0 type bridge stp_state 1", "sysctl -w net.ipv4.tcp_timestamps=0"] {
        let error = lab.try_run("n", line).expect_err(line);
        assert!(error.unsupported, "{line}: {error}");
    }
}
