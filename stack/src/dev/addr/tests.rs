//! What `ip addr` does to addresses and routes, as Linux 6.18 did it.

use std::net::IpAddr;

use super::*;
use crate::route::tests::Lab;

fn addresses(lab: &Lab, name: &str) -> Vec<String> {
    let device = lab.sim.node(lab.ns).devices.get(lab.dev(name));
    let text = |addr: &IfAddr| format!("{}/{}{}", addr.address, addr.prefix_len, if addr.secondary { " secondary" } else { "" });
    device.addrs.iter().map(text).collect()
}

fn delete_addr(lab: &mut Lab, address: &str, name: &str) {
    let (address, dev): (IpAddr, _) = (address.parse().expect("an address"), lab.dev(name));
    lab.run(|ns, cx| delete(ns, cx, dev, address, None)).expect("the device has it");
}

#[test]
fn primaries_stand_in_front_of_secondaries_and_new_ipv6_addresses_in_front_of_old_ones() {
    let mut lab = Lab::new();
    for text in ["10.0.0.1/24", "10.0.0.2/24", "10.1.0.1/24", "2001:db8::1/64", "2001:db8::2/64"] {
        lab.addr(text, "e0");
    }
    assert_eq!(
        addresses(&lab, "e0"),
        ["10.0.0.1/24", "10.1.0.1/24", "10.0.0.2/24 secondary", "2001:db8::2/64", "2001:db8::1/64", "fe80::ff:fe00:1/64"]
    );
}

#[test]
fn a_primary_takes_its_secondaries_along_unless_they_are_promoted() {
    for promote in [false, true] {
        let mut lab = Lab::new();
        lab.run(|ns, _| ns.sysctls.all4.promote_secondaries = promote);
        for text in ["10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24"] {
            lab.addr(text, "e0");
        }
        delete_addr(&mut lab, "10.0.0.1", "e0");
        let (left, shown): (&[&str], _) = match promote {
            false => (&["fe80::ff:fe00:1/64"], ""),
            true => (
                &["10.0.0.2/24", "10.0.0.3/24 secondary", "fe80::ff:fe00:1/64"],
                "10.0.0.0/24 dev e0 proto kernel scope link src 10.0.0.2 \n",
            ),
        };
        assert_eq!(addresses(&lab, "e0"), left);
        assert_eq!(lab.show(Family::V4, None), shown);
        assert_eq!(is_local(lab.sim.node(lab.ns), IpAddr::from([10, 0, 0, 3])), promote);
    }
}

#[test]
fn deleting_an_address_takes_the_routes_that_prefer_it_and_the_last_one_all() {
    let mut lab = Lab::new();
    lab.addr("10.0.0.1/24", "e0");
    lab.addr("10.1.0.1/24", "e0");
    lab.route("10.8.0.0/16 via 10.0.0.9 src 10.1.0.1").expect("a route");
    lab.route("10.9.0.0/16 via 10.0.0.9").expect("a route");
    delete_addr(&mut lab, "10.1.0.1", "e0");
    assert_eq!(
        lab.show(Family::V4, None),
        "10.0.0.0/24 dev e0 proto kernel scope link src 10.0.0.1 \n10.9.0.0/16 via 10.0.0.9 dev e0 \n"
    );
    delete_addr(&mut lab, "10.0.0.1", "e0");
    assert_eq!(lab.show(Family::V4, None), "");
    assert!(!is_local(lab.sim.node(lab.ns), IpAddr::from([10, 0, 0, 1])));
}

#[test]
fn a_host_address_makes_no_connected_route_and_a_subnet_of_two_no_broadcast() {
    let mut lab = Lab::new();
    lab.addr("10.0.0.1/32", "e0");
    lab.addr("10.2.0.0/31", "e0");
    assert_eq!(lab.show(Family::V4, None), "10.2.0.0/31 dev e0 proto kernel scope link src 10.2.0.0 \n");
    assert!(!lab.show(Family::V4, Some(255)).contains("broadcast 10."));
}

#[test]
fn ipv6_addresses_go_with_the_device_and_ipv4_addresses_stay() {
    let mut lab = Lab::new();
    lab.addr("10.0.0.1/24", "e0");
    lab.addr("2001:db8::1/64", "e0");
    lab.down("e0");
    assert_eq!(addresses(&lab, "e0"), ["10.0.0.1/24"]);
    assert_eq!(lab.show(Family::V6, None), "fe80::/64 dev e1 proto kernel metric 256 pref medium\n");
    lab.up("e0");
    assert_eq!(addresses(&lab, "e0"), ["10.0.0.1/24", "fe80::ff:fe00:1/64"]);
}

#[test]
fn an_ipv6_address_is_ours_after_a_second_without_objection() {
    let mut lab = Lab::new();
    let dev = lab.dev("e0");
    lab.run(|ns, _| ns.devices.get_mut(dev).conf6.accept_dad = 1);
    lab.addr("2001:db8::1/64", "e0");
    let own: IpAddr = "2001:db8::1".parse().expect("an address");
    assert!(!is_local(lab.sim.node(lab.ns), own), "it is tentative");
    lab.run(|ns, cx| neigh::on_timer(ns, cx, dev, own));
    assert!(is_local(lab.sim.node(lab.ns), own));
}

#[test]
fn an_ipv6_address_with_nodad_is_ours_at_once_even_on_a_device_that_is_down() {
    let mut lab = Lab::new();
    let dev = lab.dev("e0");
    lab.run(|ns, _| ns.devices.get_mut(dev).conf6.accept_dad = 1);
    let own: IpAddr = "2001:db8::1".parse().expect("an address");
    let address = IfAddr {
        address: own,
        peer: own,
        prefix_len: 64,
        scope: 0,
        secondary: false,
        broadcast: None,
        nodad: true,
        prov: ProvId(0),
    };
    lab.down("e0");
    lab.run(|ns, cx| add(ns, cx, dev, address)).expect("the address can be added");
    assert!(is_local(lab.sim.node(lab.ns), own));
    assert!(!lab.show(Family::V6, None).contains("2001:db8::/64"), "its prefix has to wait for the device");
    lab.up("e0");
    assert!(is_local(lab.sim.node(lab.ns), own));
    assert!(lab.show(Family::V6, None).contains("2001:db8::/64 dev e0"));
}
