//! Answers that Linux 6.18 gave in a namespace set up the same way, and the table against a naive scan.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use sim_core::{NodeId, Sim, TraceMode};

use super::fib::{FibRoute, Table, bits, mask};
use super::show::{GetArgs, get, routes, rules};
use super::*;
use crate::addr::Mac;
use crate::dev::device::{DeviceKind, IfAddr};
use crate::dev::{addr, admin};

/// A namespace without a network around it, told what `ip` would tell it.
pub(crate) struct Lab {
    pub(crate) sim: Sim<Netns>,
    pub(crate) ns: NodeId,
}

impl Lab {
    /// With `lo` up, and two devices that are up, without duplicate address detection.
    pub(crate) fn new() -> Lab {
        let mut sim = Sim::new(1, TraceMode::Frames);
        let ns = sim.add_node("r", Netns::new("r"));
        let mut lab = Lab { sim, ns };
        lab.run(|ns, _| {
            for (name, number) in [("e0", 1), ("e1", 2)] {
                let dev = admin::add(ns, name, DeviceKind::Veth, ProvId(0)).expect("the name is free");
                let device = ns.devices.get_mut(dev);
                device.mac = Mac([2, 0, 0, 0, 0, number]);
                device.conf6.accept_dad = 0;
            }
        });
        for name in ["lo", "e0", "e1"] {
            lab.up(name);
        }
        lab
    }

    pub(crate) fn run<T>(&mut self, call: impl FnOnce(&mut Netns, &mut Cx<'_>) -> T) -> T {
        self.sim.with(self.ns, call)
    }

    pub(crate) fn dev(&self, name: &str) -> DevId {
        self.sim.node(self.ns).devices.named(name).expect("the lab has this device")
    }

    pub(crate) fn up(&mut self, name: &str) {
        let dev = self.dev(name);
        self.run(|ns, cx| {
            ns.devices.get_mut(dev).up = true;
            ns.devices.get_mut(dev).carrier = true;
            addr::device_up(ns, cx, dev);
        });
    }

    pub(crate) fn down(&mut self, name: &str) {
        let dev = self.dev(name);
        self.run(|ns, cx| {
            ns.devices.get_mut(dev).up = false;
            addr::device_down(ns, cx, dev);
        });
    }

    pub(crate) fn addr(&mut self, text: &str, name: &str) {
        let net: IpNet = text.parse().expect("a prefix");
        let dev = self.dev(name);
        let address = IfAddr {
            address: net.addr(),
            peer: net.addr(),
            prefix_len: net.prefix_len(),
            scope: 0,
            secondary: false,
            broadcast: None,
            nodad: false,
            prov: ProvId(0),
        };
        self.run(|ns, cx| addr::add(ns, cx, dev, address)).expect("the address can be added");
    }

    pub(crate) fn route(&mut self, line: &str) -> Result<(), Errno> {
        let (op, spec) = self.spec(line);
        self.run(|ns, _| add_route(ns, spec, op, ProvId(0)))
    }

    pub(crate) fn unroute(&mut self, line: &str) -> Result<(), Errno> {
        let (_, spec) = self.spec(line);
        self.run(|ns, _| delete_route(ns, &spec))
    }

    /// The words of `ip route` that the tests need.
    fn spec(&self, line: &str) -> (RouteOp, RouteSpec) {
        let mut spec = RouteSpec {
            dst: "0.0.0.0/0".parse().expect("a prefix"),
            kind: SpecKind::Unicast,
            nexthops: Vec::new(),
            src: None,
            metric: None,
            table: None,
            scope: None,
            protocol: None,
            tos: 0,
            mtu: None,
            mtu_lock: false,
            pref: 0,
        };
        let mut op = RouteOp::Add;
        let hop = || Nexthop { via: None, dev: None, weight: 1, onlink: false };
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let mut value = || words.next().expect("a value follows");
            let last = |spec: &mut RouteSpec| {
                if spec.nexthops.is_empty() {
                    spec.nexthops.push(hop());
                }
                spec.nexthops.len() - 1
            };
            match word {
                "append" => op = RouteOp::Append,
                "prepend" => op = RouteOp::Prepend,
                "replace" => op = RouteOp::Replace,
                "blackhole" => spec.kind = SpecKind::Blackhole,
                "unreachable" => spec.kind = SpecKind::Unreachable,
                "prohibit" => spec.kind = SpecKind::Prohibit,
                "throw" => spec.kind = SpecKind::Throw,
                "local" => spec.kind = SpecKind::Local,
                "nexthop" => spec.nexthops.push(hop()),
                "via" => {
                    let via = value().parse().expect("an address");
                    let at = last(&mut spec);
                    spec.nexthops[at].via = Some(via);
                }
                "dev" => {
                    let dev = self.dev(value());
                    let at = last(&mut spec);
                    spec.nexthops[at].dev = Some(dev);
                }
                "weight" => {
                    let weight = value().parse().expect("a number");
                    let at = last(&mut spec);
                    spec.nexthops[at].weight = weight;
                }
                "onlink" => {
                    let at = last(&mut spec);
                    spec.nexthops[at].onlink = true;
                }
                "src" => spec.src = Some(value().parse().expect("an address")),
                "metric" => spec.metric = Some(value().parse().expect("a number")),
                "table" => spec.table = Some(value().parse().expect("a number")),
                "scope" => spec.scope = Some(value().parse().expect("a number")),
                "proto" => spec.protocol = Some(value().parse().expect("a number")),
                "tos" => spec.tos = value().parse().expect("a number"),
                "mtu" => spec.mtu = Some(value().parse().expect("a number")),
                "lock" => spec.mtu_lock = true,
                "pref" => spec.pref = 1,
                "default" => {}
                "default6" => spec.dst = "::/0".parse().expect("a prefix"),
                dst => {
                    let host = || dst.parse::<IpAddr>().map(IpNet::from);
                    spec.dst = dst.parse().or_else(|_| host()).expect("a destination");
                }
            }
        }
        (op, spec)
    }

    pub(crate) fn rule(
        &mut self,
        family: Family,
        priority: Option<u32>,
        action: RuleAction,
        change: impl FnOnce(&mut RuleSpec),
    ) -> Result<(), Errno> {
        let mut spec = RuleSpec { priority, ..rule::matching_all(action) };
        change(&mut spec);
        self.run(|ns, _| add_rule(ns, family, spec))
    }

    pub(crate) fn get(&mut self, dst: &str, change: impl FnOnce(&mut GetArgs)) -> String {
        let dst: IpAddr = dst.parse().expect("an address");
        let mut args = GetArgs::to(dst);
        change(&mut args);
        self.run(|ns, cx| get(ns, cx, Family::of(dst), &args)).unwrap_or_else(|errno| errno.symbol().to_owned())
    }

    pub(crate) fn show(&self, family: Family, table: Option<u32>) -> String {
        routes(self.sim.node(self.ns), family, table)
    }
}

/// The namespace whose answers were recorded.
fn recorded() -> Lab {
    let mut lab = Lab::new();
    lab.addr("10.0.0.1/24", "e0");
    lab.addr("10.0.0.2/24", "e0");
    lab.addr("2001:db8::1/64", "e0");
    lab.addr("10.0.0.7/32", "e1");
    for line in [
        "default via 10.0.0.254",
        "10.0.0.0/8 via 10.0.0.253 metric 100",
        "10.0.0.0/25 dev e0",
        "10.7.0.0/16 nexthop via 10.0.0.3 weight 2 nexthop via 10.0.0.4 dev e0 onlink",
        "blackhole 10.8.0.0/16",
        "unreachable 10.8.1.0/24 metric 5",
        "prohibit 10.8.2.0/24",
        "throw 10.8.3.0/24 table 100",
        "10.8.4.0/24 via 10.0.0.3 mtu 1400 src 10.0.0.2 proto 4 tos 16",
        "10.8.5.0/24 via 10.0.0.3 mtu 1400 lock proto 42",
        "10.8.6.0/24 dev e0 scope 0",
        "local 10.8.8.0/24 dev lo",
        "10.8.7.0/24 via 2001:db8::9 dev e0",
        "append 10.8.7.0/24 via 10.0.0.3",
        "default6 via 2001:db8::fe",
        "2001:db8:1::/48 nexthop via 2001:db8::2 nexthop via 2001:db8::3 weight 3",
        "unreachable 2001:db8:2::/48",
        "blackhole 2001:db8:3::/48 metric 7",
        "2001:db8:4::/48 via fe80::1 dev e0 src 2001:db8::1 mtu 1400 proto 4",
        "throw 2001:db8:5::/48",
        "prohibit 2001:db8:6::/48",
        "2001:db8:7::/64 dev e0 pref",
    ] {
        lab.route(line).unwrap_or_else(|errno| panic!("{line}: {errno}"));
    }
    lab
}

#[test]
fn routes_are_shown_as_iproute2_shows_them() {
    let lab = recorded();
    assert_eq!(
        lab.show(Family::V4, None),
        "default via 10.0.0.254 dev e0 \n\
         10.0.0.0/25 dev e0 scope link \n\
         10.0.0.0/24 dev e0 proto kernel scope link src 10.0.0.1 \n\
         10.0.0.0/8 via 10.0.0.253 dev e0 metric 100 \n\
         10.7.0.0/16 \n\
         \tnexthop via 10.0.0.3 dev e0 weight 2 \n\
         \tnexthop via 10.0.0.4 dev e0 weight 1 onlink \n\
         blackhole 10.8.0.0/16 \n\
         unreachable 10.8.1.0/24 metric 5 \n\
         prohibit 10.8.2.0/24 \n\
         10.8.4.0/24 tos 0x10 via 10.0.0.3 dev e0 proto static src 10.0.0.2 mtu 1400 \n\
         10.8.5.0/24 via 10.0.0.3 dev e0 proto babel mtu lock 1400 \n\
         10.8.6.0/24 dev e0 \n\
         10.8.7.0/24 via inet6 2001:db8::9 dev e0 \n\
         10.8.7.0/24 via 10.0.0.3 dev e0 \n"
    );
    assert_eq!(
        lab.show(Family::V4, Some(255)),
        "local 10.0.0.1 dev e0 proto kernel scope host src 10.0.0.1 \n\
         local 10.0.0.2 dev e0 proto kernel scope host src 10.0.0.1 \n\
         local 10.0.0.7 dev e1 proto kernel scope host src 10.0.0.7 \n\
         broadcast 10.0.0.255 dev e0 proto kernel scope link src 10.0.0.1 \n\
         local 10.8.8.0/24 dev lo scope host \n\
         local 127.0.0.0/8 dev lo proto kernel scope host src 127.0.0.1 \n\
         local 127.0.0.1 dev lo proto kernel scope host src 127.0.0.1 \n\
         broadcast 127.255.255.255 dev lo proto kernel scope link src 127.0.0.1 \n"
    );
    assert_eq!(
        lab.show(Family::V6, None),
        "2001:db8::/64 dev e0 proto kernel metric 256 pref medium\n\
         2001:db8:1::/48 metric 1024 pref medium\n\
         \tnexthop via 2001:db8::2 dev e0 weight 1 \n\
         \tnexthop via 2001:db8::3 dev e0 weight 3 \n\
         unreachable 2001:db8:2::/48 dev lo metric 1024 pref medium\n\
         blackhole 2001:db8:3::/48 dev lo metric 7 pref medium\n\
         2001:db8:4::/48 via fe80::1 dev e0 proto static src 2001:db8::1 metric 1024 mtu 1400 pref medium\n\
         throw 2001:db8:5::/48 dev lo metric 1024 pref medium\n\
         prohibit 2001:db8:6::/48 dev lo metric 1024 pref medium\n\
         2001:db8:7::/64 dev e0 metric 1024 pref high\n\
         fe80::/64 dev e0 proto kernel metric 256 pref medium\n\
         fe80::/64 dev e1 proto kernel metric 256 pref medium\n\
         default via 2001:db8::fe dev e0 metric 1024 pref medium\n"
    );
    assert_eq!(
        lab.show(Family::V6, Some(255)),
        "local ::1 dev lo proto kernel metric 0 pref medium\n\
         local 2001:db8::1 dev e0 proto kernel metric 0 pref medium\n\
         local fe80::ff:fe00:1 dev e0 proto kernel metric 0 pref medium\n\
         local fe80::ff:fe00:2 dev e1 proto kernel metric 0 pref medium\n\
         multicast ff00::/8 dev e0 proto kernel metric 256 pref medium\n\
         multicast ff00::/8 dev e1 proto kernel metric 256 pref medium\n"
    );
    assert!(lab.show(Family::V4, Some(0)).starts_with("throw 10.8.3.0/24 table 100 \ndefault via"));
    assert!(lab.show(Family::V4, Some(0)).contains("local 10.0.0.1 dev e0 table local proto kernel"));
}

#[test]
fn routes_through_a_device_without_carrier_are_marked() {
    let mut lab = recorded();
    let e0 = lab.dev("e0");
    lab.run(|ns, _| ns.devices.get_mut(e0).carrier = false);
    let shown = lab.show(Family::V4, None);
    for line in [
        "default via 10.0.0.254 dev e0 linkdown \n",
        "10.7.0.0/16 linkdown \n\tnexthop via 10.0.0.3 dev e0 weight 2 linkdown \n\tnexthop via 10.0.0.4 dev e0 weight 1 onlink linkdown \n",
        "10.8.4.0/24 tos 0x10 via 10.0.0.3 dev e0 proto static src 10.0.0.2 linkdown mtu 1400 \n",
    ] {
        assert!(shown.contains(line), "{line}{shown}");
    }
    assert!(
        lab.show(Family::V6, None)
            .contains("2001:db8:1::/48 metric 1024 pref medium\n\tnexthop via 2001:db8::2 dev e0 weight 1 linkdown \n")
    );
    assert!(!lab.show(Family::V4, Some(255)).contains("local 10.0.0.1 dev e0 proto kernel scope host src 10.0.0.1 linkdown"));
    assert!(lab.get("10.0.0.9", |_| {}).starts_with("10.0.0.9 dev e0"), "and used nevertheless");
    lab.run(|ns, _| ns.devices.get_mut(e0).conf4.ignore_routes_with_linkdown = true);
    assert_eq!(lab.get("10.0.0.9", |_| {}), "ENETUNREACH");
}

#[test]
fn rules_are_shown_as_iproute2_shows_them() {
    let mut lab = Lab::new();
    let net = |text: &str| Some(text.parse::<IpNet>().expect("a prefix"));
    lab.rule(Family::V4, None, RuleAction::Lookup(100), |rule| {
        rule.from = net("10.1.0.0/16");
        rule.to = net("10.2.0.1/32");
        rule.iif = Some("e0".to_owned());
        rule.fwmark = Some((1, 0xff));
    })
    .expect("a rule");
    lab.rule(Family::V4, None, RuleAction::Lookup(254), |rule| {
        rule.not = true;
        rule.fwmark = Some((0x10, u32::MAX));
        rule.suppress_prefixlength = Some(0);
    })
    .expect("a rule");
    lab.rule(Family::V4, Some(50), RuleAction::Prohibit, |rule| {
        rule.oif = Some("e0".to_owned());
        rule.ipproto = Some(6);
        rule.sport = Some((1, 2));
        rule.dport = Some((80, 80));
        rule.uidrange = Some((0, 10));
    })
    .expect("a rule");
    lab.rule(Family::V4, Some(60), RuleAction::Goto(32_766), |_| {}).expect("a rule");
    lab.rule(Family::V4, Some(61), RuleAction::Goto(99), |_| {}).expect("a rule");
    lab.rule(Family::V4, Some(80), RuleAction::Unreachable, |rule| rule.tos = 16).expect("a rule");
    lab.rule(Family::V4, Some(95), RuleAction::Lookup(77), |rule| rule.iif = Some("gone".to_owned())).expect("a rule");
    assert_eq!(lab.rule(Family::V4, Some(80), RuleAction::Unreachable, |rule| rule.tos = 16), Err(Errno::Exist));
    assert_eq!(
        rules(lab.sim.node(lab.ns), Family::V4),
        "0:\tfrom all lookup local\n\
         50:\tfrom all oif e0 uidrange 0-10 ipproto tcp sport 1-2 dport 80 prohibit\n\
         60:\tfrom all goto 32766\n\
         61:\tfrom all goto 99 [unresolved]\n\
         80:\tfrom all tos 0x10 unreachable\n\
         95:\tfrom all iif gone [detached] lookup 77\n\
         32764:\tnot from all fwmark 0x10 lookup main suppress_prefixlength 0\n\
         32765:\tfrom 10.1.0.0/16 to 10.2.0.1 fwmark 0x1/0xff iif e0 lookup 100\n\
         32766:\tfrom all lookup main\n\
         32767:\tfrom all lookup default\n"
    );
    assert_eq!(rules(lab.sim.node(lab.ns), Family::V6), "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n");
}

#[test]
fn route_get_answers_as_the_kernel_did() {
    let mut lab = recorded();
    lab.route("default via 10.0.0.254 table 7").expect("a route");
    lab.rule(Family::V4, Some(40), RuleAction::Lookup(7), |rule| rule.fwmark = Some((7, u32::MAX))).expect("a rule");
    let e0 = lab.dev("e0");
    let address = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
    let plain = |_: &mut GetArgs| {};
    for (dst, answer) in [
        ("10.0.0.9", "10.0.0.9 dev e0 src 10.0.0.1 uid 0 \n    cache \n"),
        ("10.8.0.1", "EINVAL"),
        ("10.8.1.1", "EHOSTUNREACH"),
        ("10.8.2.1", "EACCES"),
        ("10.0.0.1", "local 10.0.0.1 dev lo table local src 10.0.0.1 uid 0 \n    cache <local> \n"),
        ("10.0.0.2", "local 10.0.0.2 dev lo table local src 10.0.0.1 uid 0 \n    cache <local> \n"),
        ("127.0.0.1", "local 127.0.0.1 dev lo table local src 127.0.0.1 uid 0 \n    cache <local> \n"),
        ("8.8.8.8", "8.8.8.8 via 10.0.0.254 dev e0 src 10.0.0.1 uid 0 \n    cache \n"),
        ("10.0.0.255", "broadcast 10.0.0.255 dev e0 table local src 10.0.0.1 uid 0 \n    cache <local,brd> \n"),
        ("224.0.0.5", "multicast 224.0.0.5 dev e0 src 10.0.0.1 rt_offload_failed uid 0 \n    cache <mc> \n"),
        ("10.8.5.1", "10.8.5.1 via 10.0.0.3 dev e0 src 10.0.0.1 uid 0 \n    cache mtu lock 1400 \n"),
        ("10.8.7.9", "10.8.7.9 via inet6 2001:db8::9 dev e0 src 10.0.0.1 uid 0 \n    cache \n"),
        ("255.255.255.255", "broadcast 255.255.255.255 dev e0 src 10.0.0.1 uid 0 \n    cache <local,brd> \n"),
        ("2001:db8::9", "2001:db8::9 from :: dev e0 proto kernel src 2001:db8::1 metric 256 pref medium\n"),
        ("2001:db8:2::9", "EHOSTUNREACH"),
        ("2001:db8:3::9", "EINVAL"),
        ("2001:db8:6::9", "EACCES"),
        ("2001:db8::1", "local 2001:db8::1 from :: dev lo table local proto kernel src 2001:db8::1 metric 0 pref medium\n"),
        ("::1", "local ::1 from :: dev lo table local proto kernel src ::1 metric 0 pref medium\n"),
        ("ff02::1", "multicast ff02::1 from :: dev e0 table local proto kernel src fe80::ff:fe00:1 metric 256 pref medium\n"),
        (
            "2001:db8:4::9",
            "2001:db8:4::9 from :: via fe80::1 dev e0 proto static src 2001:db8::1 metric 1024 mtu 1400 pref medium\n",
        ),
    ] {
        assert_eq!(lab.get(dst, plain), answer, "{dst}");
    }
    assert_eq!(
        lab.get("8.8.8.8", |args| args.from = address("10.0.0.2")),
        "8.8.8.8 from 10.0.0.2 via 10.0.0.254 dev e0 uid 0 \n    cache \n"
    );
    let in_from = |from: &'static str| move |args: &mut GetArgs| (args.iif, args.from) = (Some(e0), address(from));
    assert_eq!(lab.get("8.8.8.8", in_from("10.0.0.9")), "EHOSTUNREACH");
    assert_eq!(
        lab.get("10.0.0.1", in_from("10.0.0.9")),
        "local 10.0.0.1 from 10.0.0.9 dev lo table local \n    cache <local> iif e0 \n"
    );
    lab.run(|ns, _| ns.devices.get_mut(e0).conf4.forwarding = true);
    assert_eq!(
        lab.get("8.8.8.8", in_from("10.0.0.9")),
        "8.8.8.8 from 10.0.0.9 via 10.0.0.254 dev e0 \n    cache <redirect> iif e0 \n"
    );
    assert_eq!(lab.get("9.9.9.9", in_from("10.9.9.9")), "9.9.9.9 from 10.9.9.9 via 10.0.0.254 dev e0 \n    cache iif e0 \n");
    lab.run(|ns, _| ns.sysctls.all4.rp_filter = 1);
    assert_eq!(
        lab.get("8.8.8.8", |args| (args.iif, args.from) = (Some(DevId(2)), address("10.0.0.9"))),
        "EINVAL",
        "the wrong device"
    );
    assert_eq!(lab.get("0.0.0.0", plain), "local 0.0.0.0 dev lo src 127.0.0.1 uid 0 \n    cache <local> \n");
    assert_eq!(
        lab.get("8.8.8.8", |args| args.mark = 7),
        "8.8.8.8 via 10.0.0.254 dev e0 table 7 src 10.0.0.1 mark 7 uid 0 \n    cache \n"
    );
    assert_eq!(
        lab.get("10.8.4.9", |args| args.tos = 16),
        "10.8.4.9 tos 0x10 via 10.0.0.3 dev e0 src 10.0.0.2 uid 0 \n    cache mtu 1400 \n"
    );
    assert_eq!(
        lab.get("fe80::5", |args| args.oif = Some(e0)),
        "fe80::5 from :: dev e0 proto kernel src fe80::ff:fe00:1 metric 256 pref medium\n"
    );
    assert_eq!(
        lab.get("2600::1", |args| args.from = address("2001:db8::1")),
        "2600::1 from 2001:db8::1 via 2001:db8::fe dev e0 src 2001:db8::1 metric 1024 pref medium\n"
    );
    assert_eq!(
        lab.get("2001:db8::9", in_from("2001:db8:9::1")),
        "2001:db8::9 from 2001:db8:9::1 dev e0 proto kernel metric 256 iif e0 pref medium\n"
    );
}

#[test]
fn a_route_that_cannot_be_is_refused_as_by_the_kernel() {
    let mut lab = Lab::new();
    lab.addr("10.0.0.1/24", "e0");
    lab.addr("2001:db8::1/64", "e0");
    for (line, errno) in [
        ("10.1.0.0/16 via 10.9.9.9", Errno::NetUnreach),
        ("10.1.0.1/16 via 10.0.0.9", Errno::Inval),
        ("10.0.0.0/24 via 10.0.0.3 metric 0 src 10.0.0.77", Errno::Inval),
        ("10.1.0.0/16", Errno::NoDev),
        ("blackhole 10.1.0.0/16 dev e0", Errno::Inval),
        ("2001:db8:1::/48 via 2001:db9::1", Errno::HostUnreach),
        ("2001:db8:1::/48 via fe80::1", Errno::Inval),
        ("2001:db8:1::/48 via 2001:db8::1 dev e0", Errno::Inval),
    ] {
        assert_eq!(lab.route(line), Err(errno), "{line}");
    }
    lab.route("10.1.0.0/16 via 10.0.0.3").expect("a route");
    assert_eq!(lab.route("10.1.0.0/16 via 10.0.0.4"), Err(Errno::Exist), "the same prefix, TOS and metric");
    lab.route("10.1.0.0/16 via 10.0.0.4 metric 5").expect("another metric is another route");
    lab.route("replace 10.1.0.0/16 via 10.0.0.5").expect("a replacement");
    assert_eq!(lab.unroute("10.1.0.0/16 via 10.0.0.3"), Err(Errno::Srch));
    lab.unroute("10.1.0.0/16 via 10.0.0.5").expect("it is there");
    lab.down("e1");
    assert_eq!(lab.route("10.3.0.0/16 dev e1"), Err(Errno::NetDown));
}

#[test]
fn prepended_routes_win_and_appended_ones_wait() {
    let mut lab = Lab::new();
    lab.addr("10.0.0.1/24", "e0");
    lab.route("10.1.0.0/16 via 10.0.0.3").expect("a route");
    lab.route("append 10.1.0.0/16 via 10.0.0.4").expect("a route");
    assert!(lab.get("10.1.0.1", |_| {}).contains("via 10.0.0.3"));
    lab.route("prepend 10.1.0.0/16 via 10.0.0.5").expect("a route");
    assert!(lab.get("10.1.0.1", |_| {}).contains("via 10.0.0.5"));
}

#[test]
fn throw_and_suppress_go_on_to_the_next_rule() {
    let mut lab = Lab::new();
    lab.addr("10.0.0.1/24", "e0");
    lab.route("default via 10.0.0.254").expect("a route");
    lab.route("default via 10.0.0.7 table 100").expect("a route");
    lab.route("throw 10.5.0.0/16 table 100").expect("a route");
    lab.rule(Family::V4, Some(200), RuleAction::Lookup(100), |_| {}).expect("a rule");
    assert!(lab.get("10.6.0.1", |_| {}).contains("via 10.0.0.7 dev e0 table 100"));
    assert!(lab.get("10.5.0.1", |_| {}).contains("via 10.0.0.254"));
    lab.rule(Family::V4, Some(100), RuleAction::Lookup(254), |rule| rule.suppress_prefixlength = Some(0)).expect("a rule");
    assert!(lab.get("10.0.0.9", |_| {}).starts_with("10.0.0.9 dev e0 src"), "longer than 0 is not suppressed");
    assert!(lab.get("10.6.0.1", |_| {}).contains("via 10.0.0.7"), "the default route is");
    lab.rule(Family::V4, Some(50), RuleAction::Unreachable, |rule| rule.to = Some("10.6.0.0/16".parse().expect("a prefix")))
        .expect("a rule");
    assert_eq!(lab.get("10.6.0.1", |_| {}), "ENETUNREACH");
}

#[test]
fn a_device_going_down_takes_its_routes_and_coming_up_brings_back_the_connected_one() {
    let mut lab = Lab::new();
    lab.addr("10.0.0.1/24", "e0");
    lab.addr("10.1.0.1/24", "e1");
    lab.route("default via 10.0.0.254").expect("a route");
    lab.route("10.9.0.0/16 nexthop via 10.0.0.9 nexthop via 10.1.0.9").expect("a route");
    lab.down("e0");
    assert_eq!(
        lab.show(Family::V4, None),
        "10.1.0.0/24 dev e1 proto kernel scope link src 10.1.0.1 \n\
         10.9.0.0/16 \n\
         \tnexthop via 10.0.0.9 dev e0 weight 1 dead linkdown \n\
         \tnexthop via 10.1.0.9 dev e1 weight 1 \n"
    );
    assert!(addr::is_local(lab.sim.node(lab.ns), "10.0.0.1".parse().expect("an address")), "a weak host knows it still");
    assert!((0..20).all(|host| lab.get(&format!("10.9.0.{host}"), |_| {}).contains("via 10.1.0.9")));
    lab.up("e0");
    assert_eq!(
        lab.show(Family::V4, None),
        "10.0.0.0/24 dev e0 proto kernel scope link src 10.0.0.1 \n\
         10.1.0.0/24 dev e1 proto kernel scope link src 10.1.0.1 \n\
         10.9.0.0/16 \n\
         \tnexthop via 10.0.0.9 dev e0 weight 1 \n\
         \tnexthop via 10.1.0.9 dev e1 weight 1 \n"
    );
}

#[test]
fn a_flow_keeps_its_leg_and_the_weights_are_kept_over_many() {
    let mut lab = Lab::new();
    lab.addr("10.0.0.1/24", "e0");
    lab.route("10.9.0.0/16 nexthop via 10.0.0.9 weight 3 nexthop via 10.0.0.8").expect("a route");
    let leg = |lab: &mut Lab, host: u32| {
        let dst = IpAddr::from([10, 9, (host >> 8) as u8, host as u8]);
        lab.run(|ns, cx| route_output(ns, cx, &Flow::to(dst))).via
    };
    let first: Vec<_> = (0..1000).map(|host| leg(&mut lab, host)).collect();
    let again: Vec<_> = (0..1000).map(|host| leg(&mut lab, host)).collect();
    assert_eq!(first, again);
    let heavy = first.iter().filter(|via| **via == Some(IpAddr::from([10, 0, 0, 9]))).count();
    assert!((690..=810).contains(&heavy), "{heavy} of 1000 took the leg of weight 3 in 4");
    assert_eq!(lab.sim.choices().len(), 1000, "one choice a flow");
}

#[test]
fn the_hash_policy_says_what_makes_a_flow_and_use_neigh_passes_over_the_silent() {
    let mut lab = Lab::new();
    lab.addr("10.0.0.1/24", "e0");
    lab.route("10.9.0.0/16 nexthop via 10.0.0.9 nexthop via 10.0.0.8").expect("a route");
    let legs = |lab: &mut Lab, policy: u8| {
        let flow = |port| Flow { proto: 17, sport: port, dport: 53, ..Flow::to(IpAddr::from([10, 9, 0, 1])) };
        let ask = |ns: &mut Netns, cx: &mut Cx<'_>| {
            ns.sysctls.fib_multipath_hash_policy = policy;
            let mut legs: Vec<_> = (1..=64).map(|port| route_output(ns, cx, &flow(port)).via).collect();
            legs.sort();
            legs.dedup();
            legs.len()
        };
        lab.run(ask)
    };
    assert_eq!((legs(&mut lab, 0), legs(&mut lab, 1)), (1, 2), "ports count with policy 1 only");
    let e0 = lab.dev("e0");
    lab.run(|ns, cx| {
        ns.sysctls.fib_multipath_use_neigh = true;
        crate::neigh::set(ns, cx, e0, IpAddr::from([10, 0, 0, 9]), None, crate::neigh::NeighState::Failed)
    })
    .expect("an entry");
    assert_eq!(legs(&mut lab, 1), 1);
}

#[test]
fn the_reverse_path_filter_is_the_larger_of_all_and_device() {
    let mut lab = Lab::new();
    lab.addr("10.0.0.1/24", "e0");
    lab.addr("10.1.0.1/24", "e1");
    let (e0, e1) = (lab.dev("e0"), lab.dev("e1"));
    let mut verdict = |all: u8, own: u8, src: &str, iif: DevId| {
        lab.run(|ns, _| {
            ns.sysctls.all4.rp_filter = all;
            ns.devices.get_mut(iif).conf4.rp_filter = own;
            let flow = Flow { src: src.parse().expect("an address"), iif, ..Flow::to(IpAddr::from([10, 1, 0, 9])) };
            validate_source(ns, &flow)
        })
    };
    use DropReason::{IpInvalidSource, IpLocalSource, IpLocalnet, IpRpfilter};
    for (all, own, src, iif, answer) in [
        (0, 0, "10.0.0.9", e1, Ok(())),
        (1, 0, "10.0.0.9", e0, Ok(())),
        (1, 0, "10.0.0.9", e1, Err(IpRpfilter)),
        (0, 1, "10.0.0.9", e1, Err(IpRpfilter)),
        (1, 2, "10.0.0.9", e1, Ok(())),
        (2, 0, "172.16.0.1", e1, Err(IpRpfilter)),
        (0, 0, "172.16.0.1", e1, Ok(())),
        (0, 0, "10.0.0.1", e1, Err(IpLocalSource)),
        (1, 0, "10.0.0.1", e1, Err(IpLocalSource)),
        (0, 0, "127.0.0.1", e1, Err(IpLocalnet)),
        (0, 0, "224.0.0.1", e1, Err(IpInvalidSource)),
        (0, 0, "0.0.0.0", e1, Err(IpInvalidSource)),
        (0, 0, "10.0.0.1", LOOPBACK, Ok(())),
    ] {
        assert_eq!(verdict(all, own, src, iif), answer, "{all} {own} {src} {iif:?}");
    }
}

#[test]
fn ipv6_takes_the_source_that_rfc_6724_names() {
    let mut lab = Lab::new();
    lab.addr("2001:db8:a::1/64", "e0");
    lab.addr("fd00::1/64", "e0");
    lab.addr("2001:db8:b::1/64", "e1");
    lab.route("default6 via fe80::1 dev e0").expect("a route");
    lab.route("2001:db8:b:1::/64 via fe80::1 dev e0").expect("a route");
    let mut source = |dst: &str| {
        let dst: IpAddr = dst.parse().expect("an address");
        lab.run(|ns, cx| route_output(ns, cx, &Flow::to(dst))).src.map(|src| src.to_string())
    };
    assert_eq!(source("2600::1").as_deref(), Some("2001:db8:a::1"), "the same label as a global destination");
    assert_eq!(source("fd00:1::1").as_deref(), Some("fd00::1"), "a unique local address for its like");
    assert_eq!(source("2001:db8:b:1::9").as_deref(), Some("2001:db8:a::1"), "the outgoing device before the common prefix");
    assert_eq!(source("fe80::9").as_deref(), Some("fe80::ff:fe00:1"), "its own scope");
}

/// A prefix and a metric.
fn prefixes() -> impl Strategy<Value = Vec<(u32, u8, u32)>> {
    // Few distinct bits, so that prefixes nest.
    let bits =
        prop::collection::vec(any::<bool>(), 6).prop_map(|bits| bits.iter().fold(0, |all, &bit| all << 1 | u32::from(bit)) << 26);
    prop::collection::vec((bits, 0u8..=8, 0u32..3), 0..40)
}

proptest! {
    #[test]
    fn the_table_finds_what_a_naive_scan_finds(routes in prefixes(), gone in prefixes(), wanted in any::<u32>()) {
        let mut table = Table::default();
        let mut naive: Vec<(u128, u8, u32)> = Vec::new();
        let of = |(address, len, metric): (u32, u8, u32)| (bits(IpAddr::from(address.to_be_bytes())) & mask(len), len, metric);
        for (prefix, len, metric) in routes.into_iter().map(of) {
            if naive.contains(&(prefix, len, metric)) {
                continue;
            }
            naive.push((prefix, len, metric));
            table.edit(prefix, len, |routes| {
                let at = routes.partition_point(|known| known.metric <= metric);
                routes.insert(at, blackhole(metric));
            });
        }
        for gone in gone.into_iter().map(of) {
            naive.retain(|known| *known != gone);
            table.edit(gone.0, gone.1, |routes| routes.retain(|known| known.metric != gone.2));
        }
        let address = bits(IpAddr::from(wanted.to_be_bytes()));
        let found = table.longest(address, |routes| (!routes.is_empty()).then_some((0, 0))).map(|at| (at.len, table.at(at).metric));
        let best = naive.iter().filter(|(prefix, len, _)| address & mask(*len) == *prefix).max_by_key(|(_, len, metric)| (*len, std::cmp::Reverse(*metric)));
        prop_assert_eq!(found, best.map(|&(_, len, metric)| (len, metric)));
        let listed: usize = table.dump(Family::V4).iter().map(|leaf| leaf.routes.len()).sum();
        prop_assert_eq!(listed, naive.len());
    }
}

fn blackhole(metric: u32) -> FibRoute {
    FibRoute {
        kind: SpecKind::Blackhole,
        tos: 0,
        metric,
        scope: 0,
        protocol: 3,
        src: None,
        mtu: 0,
        mtu_lock: false,
        pref: 0,
        hops: Vec::new(),
        prov: ProvId(0),
    }
}
