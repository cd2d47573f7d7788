//! Lines as people type them, and as the tools refuse them (iproute2 6.1 on Linux 6.18).

use std::net::IpAddr;

use proptest::option;
use proptest::prelude::*;
use proptest::strategy::Union;

use super::addr::{AddrCommand, AddrOp, AddrSelect, NewAddr};
use super::bridge::{BridgeCommand, FdbArgs, FdbOp, FdbState};
use super::conntrack::{ConntrackCommand, CtFilter};
use super::link::{LinkCommand, LinkEnd, LinkSet, NewKind, NewLink};
use super::neigh::{NeighCommand, NeighOp, NeighSelect};
use super::route::{NexthopArgs, RouteArgs, RouteCommand, RouteGet, RouteSelect, TableSelect, Within};
use super::rule::RuleCommand;
use super::sysctl::SysctlCommand;
use super::vxlan::VxlanArgs;
use super::*;
use crate::addr::Mac;
use crate::dev::macvlan::MacvlanMode;
use crate::dev::vxlan::Inherit;
use crate::neigh::NeighState;
use crate::route::{RouteOp, RuleAction, RuleSpec, SpecKind};

/// A line and the canonical line that it means.
const MEANINGS: [(&str, &str); 45] = [
    ("ip a add 10.0.0.1/24 dev eth0", "ip addr add 10.0.0.1/24 dev eth0"),
    ("ip addr add dev eth0 10.0.0.1/24 brd +", "ip addr add 10.0.0.1/24 brd 10.0.0.255 dev eth0"),
    ("ip address add local 10.1/16 dev eth0", "ip addr add 10.1.0.0/16 dev eth0"),
    ("ip addr add 10.0.0.1 peer 10.0.0.2 dev eth0", "ip addr add 10.0.0.1/32 peer 10.0.0.2/32 dev eth0"),
    ("ip -6 a a fd00::1/64 dev eth0 nodad", "ip addr add fd00::1/64 nodad dev eth0"),
    ("ip addr del 10.0.0.1 dev eth0", "ip addr del 10.0.0.1 dev eth0"),
    ("ip a", "ip addr show"),
    ("ip -4 addr show eth0", "ip -4 addr show dev eth0"),
    ("ip addr flush dev eth0 scope link", "ip addr flush dev eth0 scope link"),
    ("ip l", "ip link show"),
    ("ip link set eth0 up", "ip link set dev eth0 up"),
    ("ip link set up dev eth0 mtu 1400", "ip link set dev eth0 mtu 1400 up"),
    ("ip link set eth0 netns blue", "ip link set dev eth0 netns blue"),
    ("ip link set eth0 nomaster", "ip link set dev eth0 nomaster"),
    ("ip link add veth0 type veth peer name veth1", "ip link add name veth0 type veth peer name veth1"),
    (
        "ip link add v0 mtu 1450 type veth peer name v1 address 02:0:0:0:0:1 netns blue",
        "ip link add name v0 mtu 1450 type veth peer name v1 address 02:00:00:00:00:01 netns blue",
    ),
    ("ip link add name br0 type bridge stp_state 0", "ip link add name br0 type bridge stp_state 0"),
    ("ip link delete eth0", "ip link del dev eth0"),
    ("ip link set v1 type bridge_slave hairpin on", "ip link set dev v1 type bridge_slave hairpin on"),
    ("ip r", "ip route show"),
    ("ip route show table all", "ip route show table all"),
    ("ip r add default via 10.0.0.1", "ip route add default via 10.0.0.1"),
    ("ip route add default via fd00::1", "ip -6 route add default via fd00::1"),
    ("ip -6 route add default dev eth0", "ip -6 route add default dev eth0"),
    (
        "ip route add to unicast 10/8 dev eth0 proto kernel scope link src 10.0.0.1",
        "ip route add 10.0.0.0/8 dev eth0 src 10.0.0.1 scope link proto kernel",
    ),
    ("ip route replace blackhole 10.9.0.0/255.255.0.0 metric 0x10", "ip route replace blackhole 10.9.0.0/16 metric 16"),
    ("ip route add 10.0.0.0/8 via inet6 fe80::1 dev eth0 onlink", "ip route add 10.0.0.0/8 via inet6 fe80::1 dev eth0 onlink"),
    (
        "ip route add default nexthop via 10.0.0.1 weight 2 nexthop via 10.0.1.1 dev eth1",
        "ip route add default nexthop via 10.0.0.1 weight 2 nexthop via 10.0.1.1 dev eth1",
    ),
    (
        "ip route add 10.0.0.0/8 dev eth0 mtu lock 1400 table 100 tos 0x10",
        "ip route add 10.0.0.0/8 dev eth0 table 100 tos 0x10 mtu lock 1400",
    ),
    ("ip ro del 10.0.0.1", "ip route del 10.0.0.1"),
    ("ip route get 10.0.0.1 from 10.0.1.1 iif eth0 mark 5", "ip route get 10.0.0.1 from 10.0.1.1 iif eth0 mark 0x5"),
    ("ip route flush table 100", "ip route flush table 100"),
    ("ip ru add from 10.0.0.0/8 lookup 100 prio 10", "ip rule add pref 10 from 10.0.0.0/8 lookup 100"),
    ("ip rule add not fwmark 0x1/0xff table main", "ip rule add not fwmark 0x1/0xff lookup main"),
    ("ip rule add to 10.0.0.1", "ip rule add to 10.0.0.1 lookup main"),
    (
        "ip -6 rule add iif lo uidrange 0-5 ipproto tcp dport 80 prohibit",
        "ip -6 rule add iif lo uidrange 0-5 ipproto tcp dport 80 prohibit",
    ),
    ("ip rule del pref 10", "ip rule del pref 10"),
    ("ip rule", "ip rule show"),
    (
        "ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0",
        "ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:02 nud permanent dev eth0",
    ),
    ("ip n add proxy 10.0.0.3 dev eth0", "ip neigh add proxy 10.0.0.3 dev eth0"),
    ("bridge fdb add 02:00:00:00:00:01 dev v1 master static", "bridge fdb add 02:00:00:00:00:01 dev v1 master static"),
    ("bridge link set dev v1 hairpin on learning off", "bridge link set dev v1 hairpin on learning off"),
    ("sysctl -w net.ipv4.ip_local_port_range=\"1024 65000\"", "sysctl -w 'net.ipv4.ip_local_port_range=1024 65000'"),
    ("conntrack -L -p tcp --dport 80", "conntrack -L -p tcp --dport 80"),
    ("ip6tables-legacy-restore -n --counters", "ip6tables-legacy-restore --noflush --counters"),
];

#[test]
fn what_people_type_means_one_canonical_line_that_means_itself() {
    for (line, canonical) in MEANINGS {
        let command: Command = line.parse().unwrap_or_else(|error| panic!("{line}: {error:?}"));
        assert_eq!(command.to_string(), canonical, "{line}");
        assert_eq!(canonical.parse::<Command>().as_ref(), Ok(&command), "{canonical}");
    }
}

/// A wrong line, the tool's words, and the word that is wrong.
const MISTAKES: [(&str, &str, &str); 36] = [
    ("ip route add 10.5.0.0/16 dev va bogus", "Error: either \"to\" is duplicate, or \"bogus\" is a garbage.", "bogus"),
    ("ip route add 10.5.0.0/16 dev va metric foo", "Error: argument \"foo\" is wrong: \"metric\" value is invalid", "foo"),
    ("ip route add 10.5.0.0/16 table foo", "Error: argument \"foo\" is wrong: \"table\" value is invalid", "foo"),
    ("ip route add 10.7.0.0/16 dev va scope foo", "Error: argument \"foo\" is wrong: invalid \"scope\" value", "foo"),
    ("ip route add 10.7.0.0/16 via foo", "Error: inet address is expected rather than \"foo\".", "foo"),
    ("ip route add 10.15.0.0/16 nexthop via 10.0.0.2 weight 0", "Error: argument \"0\" is wrong: \"weight\" is invalid", "0"),
    ("ip route add bogus", "Error: any valid prefix is expected rather than \"bogus\".", "bogus"),
    ("ip route add default via", "Command line is not complete. Try option \"help\"", ""),
    ("ip route frob", "Command \"frob\" is unknown, try \"ip route help\".", "frob"),
    ("ip route flush", "\"ip route flush\" requires arguments.", ""),
    ("ip frob", "Object \"frob\" is unknown, try \"ip help\".", "frob"),
    ("ip link frob", "Command \"frob\" is unknown, try \"ip link help\".", "frob"),
    ("ip link set va bogus", "Error: either \"dev\" is duplicate, or \"bogus\" is a garbage.", "bogus"),
    ("ip link set va address zz", "\"zz\" is invalid lladdr.", "zz"),
    ("ip link add a type veth peer name b", "\"type\" is invalid lladdr.", "type"),
    ("ip link add x type bogus", "Error: Unknown device type.", "bogus"),
    ("ip link add x", "Not enough information: \"type\" argument is required", ""),
    ("ip link add x type veth peer name", "Command line is not complete. Try option \"help\"", ""),
    ("ip link add foo/bar type dummy", "Error: argument \"foo/bar\" is wrong: \"dev\" not a valid ifname", "foo/bar"),
    ("ip addr frob", "Command \"frob\" is unknown, try \"ip address help\".", "frob"),
    ("ip addr add 10.0.0.1/33 dev va", "Error: any valid prefix is expected rather than \"10.0.0.1/33\".", "10.0.0.1/33"),
    ("ip addr add 10.0.0.1/24", "Not enough information: \"dev\" argument is required.", ""),
    ("ip addr add 10.1.0.1/24 dev va bogus", "Error: either \"local\" is duplicate, or \"bogus\" is a garbage.", "bogus"),
    ("ip addr add 10.1.0.1/24 dev va scope foo", "Error: argument \"foo\" is wrong: invalid scope value.", "foo"),
    ("ip rule add bogus", "Error: argument \"bogus\" is wrong: Failed to parse rule type", "bogus"),
    ("ip rule add fwmark zz lookup 100", "Error: argument \"zz\" is wrong: fwmark value is invalid", "zz"),
    ("ip neigh add 10.0.0.9", "Device and destination are required arguments.", ""),
    ("ip neigh add 10.0.0.9 dev va nud zz", "Error: argument \"zz\" is wrong: nud state is bad", "zz"),
    ("ip link add vx type vxlan id 16777216", "Error: argument \"16777216\" is wrong: invalid id", "16777216"),
    ("ip link add vx type vxlan dstport 1", "vxlan: missing virtual network identifier", ""),
    ("ip link add vx type vxlan id 3 bogus", "vxlan: unknown command \"bogus\"?", "bogus"),
    (
        "ip link add vx type vxlan id 3 local 1::1 remote 10.0.0.2",
        "Error: inet6 address is expected rather than \"10.0.0.2\".",
        "10.0.0.2",
    ),
    (
        "ip link add vx type vxlan id 3 remote 10.0.0.2 remote 1.1.1.1",
        "Error: either \"remote\" is duplicate, or \"1.1.1.1\" is a garbage.",
        "1.1.1.1",
    ),
    ("bridge fdb add zz dev va", "Invalid mac address zz", "zz"),
    ("bridge link set dev va hairpin foo", "Error: argument of \"hairpin\" must be one of \"off\", \"on\", not \"foo\"", "foo"),
    ("bridge frob", "Object \"frob\" is unknown, try \"bridge help\".", "frob"),
];

#[test]
fn a_mistake_is_told_in_the_words_of_the_tool_at_the_wrong_word() {
    for (line, message, word) in MISTAKES {
        let error = line.parse::<Command>().expect_err(line);
        assert_eq!(error.message.trim_end(), message, "{line}");
        assert_eq!(&line[error.at..error.at + error.len], word, "{line}");
        assert!(!error.unsupported, "{line}");
    }
}

#[test]
fn what_the_tool_takes_and_pktlab_lacks_is_named_as_unsupported() {
    for (line, word) in [
        ("ip link add vx0 type vxlan id 1 gbp", "gbp"),
        ("ip link add gn0 type geneve id 1 remote 10.0.0.1", "geneve"),
        ("ip link set eth0 promisc on", "promisc"),
        ("ip route add 10.0.0.0/8 dev eth0 advmss 500", "advmss"),
        ("ip -n blue link", "-n"),
        ("nft -j list ruleset", "-j"),
        ("ipset restore", "ipset"),
        ("conntrack -E", "-E"),
        ("bridge fdb append 00:00:00:00:00:00 dev vx nhid 1", "nhid"),
    ] {
        let error = line.parse::<Command>().expect_err(line);
        assert!(error.unsupported, "{line}: {error:?}");
        assert_eq!(&line[error.at..error.at + error.len], word, "{line}");
        assert!(error.message.contains(word), "{line}: {error}");
    }
}

#[test]
fn a_shell_is_not_here() {
    for (line, at) in [("ip link | cat", 8), ("iptables-restore < rules", 17), ("ip link set $DEV up", 12), ("ip link; ip addr", 7)]
    {
        let error = line.parse::<Command>().expect_err(line);
        assert_eq!((error.at, error.unsupported), (at, false), "{line}: {error:?}");
    }
    assert_eq!("ip link # all of them".parse::<Command>().expect("a comment").to_string(), "ip link show");
    assert!("ip link 'set".parse::<Command>().is_err());
    assert!("  ".parse::<Command>().is_err());
    assert!("frobnicate".parse::<Command>().is_err());
}

#[test]
fn standard_input_is_for_restore_only() {
    let stdin = Stdin { text: "*filter\nCOMMIT\n".into(), provs: [].into() };
    let command = Command::with_stdin("iptables-restore --noflush", stdin.clone()).expect("reads standard input");
    assert_eq!(command.stdin(), Some(&stdin));
    let error = Command::with_stdin("ip link", stdin).expect_err("reads none");
    assert_eq!((error.at, error.len), (0, 2));
}

#[test]
fn a_script_makes_the_same_network_of_real_namespaces() {
    let line = |ns: &str, line: &str| (ns.to_owned(), line.parse::<Command>().expect(line));
    let stdin = Stdin { text: "*filter\nEOF\nCOMMIT".into(), provs: [].into() };
    let commands = [
        line("a", "ip link add eth0 type veth peer name eth0 netns b"),
        line("b", "ip link set eth0 up"),
        ("b".to_owned(), Command::with_stdin("iptables-restore", stdin).expect("reads standard input")),
    ];
    let (near, far) = (Mac::of_name("a/eth0"), Mac::of_name("b/eth0"));
    assert_eq!(
        script::script("t-", &commands),
        format!(
            "#!/bin/sh\nset -e\nip netns add t-a\nip netns add t-b\n\
             ip netns exec t-a ip link add name eth0 address {near} type veth peer name eth0 address {far} netns t-b\n\
             ip netns exec t-b ip link set dev eth0 up\n\
             ip netns exec t-b iptables-restore <<'EOF_'\n*filter\nEOF\nCOMMIT\nEOF_\n"
        )
    );
}

fn name() -> impl Strategy<Value = String> {
    // Also words that are keywords elsewhere.
    prop_oneof![
        "[a-zA-Z_][a-zA-Z0-9_.-]{0,13}",
        prop::sample::select(vec!["up", "dev", "address", "default", "type", "master", "lo", "a", "via", "all", "name", "peer"])
            .prop_map(str::to_owned)
    ]
    .prop_filter("`.` and `..` are no names", |name| name != "." && name != "..")
}

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_map(Mac)
}

fn v4() -> impl Strategy<Value = IpAddr> {
    any::<[u8; 4]>().prop_map(IpAddr::from)
}

fn v6() -> impl Strategy<Value = IpAddr> {
    any::<[u16; 8]>().prop_map(IpAddr::from)
}

fn address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => v4().boxed(),
        Family::V6 => v6().boxed(),
    }
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![v4(), v6()]
}

fn net(family: Family) -> impl Strategy<Value = ipnet::IpNet> {
    (address(family), 0..=family.bits()).prop_map(|(address, length)| ipnet::IpNet::new(address, length).expect("fits").trunc())
}

fn family() -> impl Strategy<Value = Family> {
    prop::sample::select(vec![Family::V4, Family::V6])
}

fn value() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_ '\"$]{1,8}".prop_map(|text| text.trim().to_owned()).prop_filter("not empty", |text| !text.is_empty())
}

fn end() -> impl Strategy<Value = LinkEnd> {
    (name(), option::of(mac()), option::of(any::<u32>()), option::of("[a-z]{1,8}"), any::<bool>())
        .prop_map(|(name, mac, mtu, netns, up)| LinkEnd { name, mac, mtu, netns, up })
}

fn vxlan() -> impl Strategy<Value = VxlanArgs> {
    let inherit = || option::of(prop_oneof![(2..=255u8).prop_map(Inherit::Value), Just(Inherit::Inner)]);
    let flags = prop::array::uniform5(option::of(any::<bool>()));
    let places = family().prop_flat_map(|family| (option::of(address(family)), option::of(address(family))));
    let numbers = (option::of(any::<u16>()), option::of(any::<(u16, u16)>()), option::of(any::<u32>()), option::of(any::<u32>()));
    (0..1u32 << 24, places, option::of(name()), numbers, (inherit(), inherit()), flags).prop_map(
        |(id, (remote, local), dev, (dstport, srcport, ageing, maxaddress), (ttl, tos), switches)| VxlanArgs {
            id,
            remote,
            local: local.filter(|local| !local.is_multicast()),
            dev,
            dstport,
            srcport,
            ttl,
            tos,
            df: None,
            ageing,
            maxaddress,
            switches,
        },
    )
}

fn link() -> impl Strategy<Value = LinkCommand> {
    let kind = prop_oneof![
        end().prop_map(NewKind::Veth),
        Just(NewKind::Dummy),
        vxlan().prop_map(|args| NewKind::Vxlan(Box::new(args))),
        Just(NewKind::Bridge(vec![("stp_state".to_owned(), "0".to_owned())])),
    ];
    let mode = prop::sample::select(MacvlanMode::WORDS.to_vec()).prop_map(|(_, mode)| NewKind::Macvlan(mode));
    let stacked = prop_oneof![any::<u16>().prop_map(NewKind::Vlan), mode];
    let set = (
        name(),
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(mac()),
        option::of(option::of(name())),
        option::of(name()),
        option::of("[a-z]{1,8}"),
    );
    prop_oneof![
        (end(), kind).prop_map(|(end, kind)| LinkCommand::Add(NewLink { end, kind, link: None })),
        (end(), stacked, name()).prop_map(|(end, kind, link)| LinkCommand::Add(NewLink { end, kind, link: Some(link) })),
        name().prop_map(|dev| LinkCommand::Delete { dev }),
        option::of(name()).prop_map(|dev| LinkCommand::Show { dev }),
        set.prop_map(|(dev, up, mtu, mac, master, name, netns)| {
            LinkCommand::Set(Box::new(LinkSet { dev, up, mtu, mac, master, name, netns, ..LinkSet::default() }))
        }),
    ]
}

fn addr() -> impl Strategy<Value = AddrCommand> {
    let op = prop::sample::select(vec![AddrOp::Add, AddrOp::Change, AddrOp::Replace]);
    let new = family().prop_flat_map(|family| {
        let length = 0..=family.bits();
        let broadcast = option::of(any::<[u8; 4]>()).prop_map(move |b| b.map(Into::into).filter(|_| family == Family::V4));
        (
            name(),
            address(family),
            length.clone(),
            option::of((address(family), length)),
            broadcast,
            option::of(any::<u8>()),
            any::<bool>(),
        )
    });
    let new = new.prop_map(|(dev, address, prefix_len, peer, broadcast, scope, nodad)| NewAddr {
        dev,
        address,
        prefix_len,
        peer,
        broadcast,
        scope,
        nodad,
    });
    let select = (option::of(family()), option::of(name()), option::of(any::<u8>()))
        .prop_map(|(family, dev, scope)| AddrSelect { family, dev, scope })
        .boxed();
    prop_oneof![
        (op, new).prop_map(|(op, new)| AddrCommand::Add(op, new)),
        (name(), any_address(), option::of(0..=32u8)).prop_map(|(dev, address, prefix_len)| AddrCommand::Delete {
            dev,
            address,
            prefix_len
        }),
        select.clone().prop_map(AddrCommand::Show),
        select.prop_filter("needs arguments", |s| s.dev.is_some() || s.scope.is_some()).prop_map(AddrCommand::Flush),
    ]
}

fn hop(family: Family) -> impl Strategy<Value = NexthopArgs> {
    let via = option::of(prop_oneof![4 => address(family), 1 => v6()]);
    (via, option::of(name()), 1..=256u32, any::<bool>())
        .prop_map(|(via, dev, weight, onlink)| NexthopArgs { via, dev, weight, onlink })
        .prop_filter("a next hop has something", |hop| hop.via.is_some() || hop.dev.is_some())
}

fn route_args() -> impl Strategy<Value = RouteArgs> {
    let kinds = super::route::KINDS.iter().map(|(_, kind)| *kind).collect::<Vec<SpecKind>>();
    family().prop_flat_map(move |family| {
        (
            (
                net(family),
                prop::sample::select(kinds.clone()),
                prop::collection::vec(hop(family), 0..3),
                option::of(address(family)),
            ),
            (option::of(any::<u32>()), option::of(any::<u32>()), option::of(any::<u8>()), option::of(any::<u8>()), any::<u8>()),
            (option::of(any::<u32>()), any::<bool>(), 0..=3u8),
        )
            .prop_map(move |((dst, kind, nexthops, src), (metric, table, scope, protocol, tos), (mtu, lock, pref))| {
                RouteArgs {
                    family,
                    dst,
                    kind,
                    nexthops,
                    src,
                    metric,
                    table,
                    scope,
                    protocol,
                    tos,
                    mtu,
                    mtu_lock: lock && mtu.is_some(),
                    pref,
                }
            })
    })
}

fn route() -> impl Strategy<Value = RouteCommand> {
    let ops = vec![RouteOp::Add, RouteOp::Append, RouteOp::Prepend, RouteOp::Replace, RouteOp::Change];
    let table = prop_oneof![Just(TableSelect::Main), Just(TableSelect::All), any::<u32>().prop_map(TableSelect::One)];
    let within = prop::sample::select(vec![Within::Exact, Within::Root]);
    let select =
        family().prop_flat_map(move |family| {
            let dst = option::of((within.clone(), net(family)));
            (table.clone(), option::of(name()), option::of(any::<u8>()), dst)
                .prop_map(move |(table, dev, protocol, dst)| RouteSelect { family, table, dev, protocol, dst })
        });
    let get = family().prop_flat_map(|family| {
        (
            (address(family), option::of(address(family)), option::of(name()), option::of(name()), any::<u32>(), any::<u8>()),
            (option::of(any::<u32>()), option::of(any::<u8>()), option::of(any::<u16>()), option::of(any::<u16>())),
        )
    });
    prop_oneof![
        3 => (prop::sample::select(ops), route_args()).prop_map(|(op, route)| RouteCommand::Change(op, route)),
        1 => route_args().prop_map(RouteCommand::Delete),
        1 => select.prop_map(RouteCommand::Show),
        1 => get.prop_map(|((dst, from, iif, oif, mark, tos), (uid, ipproto, sport, dport))| {
            RouteCommand::Get(RouteGet { dst, from, iif, oif, mark, tos, uid, ipproto, sport, dport })
        }),
    ]
}

fn rule() -> impl Strategy<Value = RuleCommand> {
    let action = prop_oneof![
        (1..=u32::MAX).prop_map(RuleAction::Lookup),
        any::<u32>().prop_map(RuleAction::Goto),
        Just(RuleAction::Nop),
        Just(RuleAction::Blackhole),
        Just(RuleAction::Unreachable),
        Just(RuleAction::Prohibit),
    ];
    let action = action.boxed();
    let spec = family().prop_flat_map(move |family| {
        (
            (option::of(any::<u32>()), any::<bool>(), option::of(net(family)), option::of(net(family))),
            (option::of(name()), option::of(name()), option::of(any::<(u32, u32)>()), any::<u8>(), option::of(any::<u8>())),
            (
                option::of(any::<(u16, u16)>()),
                option::of(any::<(u16, u16)>()),
                option::of(any::<(u32, u32)>()),
                option::of(0..=128u8),
            ),
            action.clone(),
        )
            .prop_map(
                move |((priority, not, from, to), (iif, oif, fwmark, tos, ipproto), (sport, dport, uidrange, suppress), action)| {
                    let suppress_prefixlength = suppress;
                    (
                        family,
                        RuleSpec {
                            priority,
                            not,
                            from,
                            to,
                            iif,
                            oif,
                            fwmark,
                            tos,
                            ipproto,
                            sport,
                            dport,
                            uidrange,
                            suppress_prefixlength,
                            action,
                        },
                    )
                },
            )
    });
    let spec = spec.boxed();
    prop_oneof![
        spec.clone().prop_map(|(family, spec)| RuleCommand::Add(family, spec)),
        spec.prop_map(|(family, spec)| RuleCommand::Delete(family, spec)),
        family().prop_map(RuleCommand::Flush),
        (family(), option::of(any::<u32>())).prop_map(|(family, priority)| RuleCommand::Show { family, priority }),
    ]
}

fn neigh() -> impl Strategy<Value = NeighCommand> {
    let op = prop::sample::select(vec![NeighOp::Add, NeighOp::Change, NeighOp::Replace]);
    let state = prop::sample::select(vec![NeighState::Permanent, NeighState::Reachable, NeighState::Stale, NeighState::Noarp]);
    let select = (option::of(family()), option::of(name()), any::<bool>()).prop_map(|(family, dev, proxy)| NeighSelect {
        family,
        dev,
        proxy,
    });
    prop_oneof![
        (op, name(), any_address(), option::of(mac()), state).prop_map(|(op, dev, address, mac, state)| NeighCommand::Set {
            op,
            dev,
            address,
            mac,
            state
        }),
        (name(), any_address()).prop_map(|(dev, address)| NeighCommand::AddProxy { dev, address }),
        (name(), any_address(), any::<bool>()).prop_map(|(dev, address, proxy)| NeighCommand::Delete { dev, address, proxy }),
        select.prop_map(NeighCommand::Show),
    ]
}

fn bridge() -> impl Strategy<Value = BridgeCommand> {
    let op = prop::sample::select(vec![FdbOp::Add, FdbOp::Append, FdbOp::Replace, FdbOp::Delete]);
    let host = (option::of(any_address()), option::of(0..1u32 << 24), option::of(1..=u16::MAX), option::of(name()));
    let state = prop::sample::select(vec![FdbState::Permanent, FdbState::Static, FdbState::Dynamic]);
    prop_oneof![
        (op, mac(), name(), state, any::<bool>(), host).prop_map(|(op, mac, dev, state, master, (dst, vni, port, via))| {
            BridgeCommand::Fdb(op, FdbArgs { mac, dev, state, dst, vni, port, via, master })
        }),
        name().prop_map(|dev| BridgeCommand::LinkSet { dev, options: vec![("hairpin".to_owned(), "on".to_owned())] }),
        (option::of(name()), option::of(name())).prop_map(|(br, dev)| BridgeCommand::FdbShow { br, dev }),
        option::of(name()).prop_map(|dev| BridgeCommand::LinkShow { dev }),
    ]
}

fn sysctl() -> impl Strategy<Value = SysctlCommand> {
    let items = |set: bool| {
        let value = if set { value().prop_map(Some).boxed() } else { Just(None).boxed() };
        prop::collection::vec(("[a-z_]{1,8}(\\.[a-z0-9_]{1,8}){1,3}", value), 1..3)
    };
    (any::<bool>(), any::<bool>(), any::<bool>(), prop_oneof![items(true), items(false)])
        .prop_map(|(quiet, values, ignore, items)| SysctlCommand { quiet, values, ignore, items })
}

fn conntrack() -> impl Strategy<Value = ConntrackCommand> {
    let filter = family().prop_flat_map(|family| {
        (
            option::of(any::<u8>()),
            option::of(address(family)),
            option::of(address(family)),
            option::of(any::<u16>()),
            option::of(any::<(u32, u32)>()),
        )
            .prop_map(move |(proto, orig_src, reply_dst, dport, mark)| CtFilter {
                family: Some(family),
                proto,
                orig_src,
                reply_dst,
                dport,
                mark,
                ..CtFilter::default()
            })
    });
    let filter = filter.boxed();
    prop_oneof![
        filter.clone().prop_map(ConntrackCommand::List),
        filter.prop_map(ConntrackCommand::Delete),
        Just(ConntrackCommand::Flush)
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let arms: Vec<BoxedStrategy<Command>> = vec![
        link().prop_map(|c| Command::Ip(IpCommand::Link(c))).boxed(),
        addr().prop_map(|c| Command::Ip(IpCommand::Addr(c))).boxed(),
        route().prop_map(|c| Command::Ip(IpCommand::Route(c))).boxed(),
        rule().prop_map(|c| Command::Ip(IpCommand::Rule(c))).boxed(),
        neigh().prop_map(|c| Command::Ip(IpCommand::Neigh(c))).boxed(),
        bridge().prop_map(Command::Bridge).boxed(),
        sysctl().prop_map(Command::Sysctl).boxed(),
        conntrack().prop_map(Command::Conntrack).boxed(),
    ];
    Union::new(arms)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read_back(command in command()) {
        let line = command.to_string();
        prop_assert_eq!(line.parse::<Command>(), Ok(command), "{}", line);
    }

    #[test]
    fn no_line_makes_the_parser_fail(line in "(ip|bridge|sysctl|conntrack|iptables)?( -?[a-z0-9./:'\"\\\\-]{0,9}){0,6}") {
        let parsed = line.parse::<Command>();
        if let Err(error) = parsed {
            prop_assert!(line.get(error.at..error.at + error.len).is_some(), "{:?}", error);
        }
    }
}
