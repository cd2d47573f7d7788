//! The lines of `ip route`, `ip rule` and `ip route get` (iproute2 6.1), trailing blanks included.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::fib::{FibRoute, Hop, address_of, bits, mask, protocol, scope, table};
use super::lookup::{Found, Query, fib_lookup};
use super::select::on_subnet;
use super::{Flow, Route, RouteKind, RouteSpec, RuleAction, SpecKind, no_route, route_input, route_output, validate_source};
use crate::Cx;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::errno::Errno;
use crate::netns::Netns;
use crate::view::proto;

/// `ip route show [table X]`: main where no table is named, all where it is 0 (`table all`).
pub fn routes(ns: &Netns, family: Family, wanted: Option<u32>) -> String {
    let select = Select { table: wanted, ..Select::default() };
    routes_where(ns, family, select, |_| true)
}

/// What a listing leaves out because the question named it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Select {
    /// `table`: none is main, 0 all; words `table X` stand in the lines of `all` only.
    pub table: Option<u32>,
    /// `dev` was named: its word is left out.
    pub dev: bool,
    /// `proto` was named: its word is left out.
    pub protocol: bool,
}

/// [`routes`], those for which `keep` says so.
pub fn routes_where(ns: &Netns, family: Family, select: Select, keep: impl Fn(&RouteSpec) -> bool) -> String {
    let rib = ns.routes.get(family);
    let all = select.table == Some(0);
    let wanted = select.table.unwrap_or(table::MAIN);
    let mut text = String::new();
    for (id, table) in rib.tables().into_iter().filter(|&(id, _)| all || id == wanted) {
        for leaf in table.dump(family) {
            for route in leaf.routes.iter().filter(|route| keep(&route.spec(family, leaf.prefix, leaf.len, id))) {
                let shown = (all && id != table::MAIN).then_some(id);
                Line { ns, family, select, shown }.write(&mut text, (leaf.prefix, leaf.len), route);
            }
        }
    }
    text
}

/// One route's lines, and the context that they stand in.
struct Line<'n> {
    ns: &'n Netns,
    family: Family,
    select: Select,
    /// The table, where its word is shown.
    shown: Option<u32>,
}

impl Line<'_> {
    /// `print_route`.
    fn write(&self, text: &mut String, (prefix, len): (u128, u8), route: &FibRoute) {
        if route.kind != SpecKind::Unicast {
            let _ = write!(text, "{} ", kind_word(route.kind));
        }
        let dst = address_of(self.family, prefix);
        let _ = match len {
            0 => write!(text, "default "),
            len if len == self.family.bits() => write!(text, "{dst} "),
            len => write!(text, "{dst}/{len} "),
        };
        if route.tos != 0 {
            let _ = write!(text, "tos {:#04x} ", route.tos);
        }
        let single = if let [hop] = &route.hops[..] { Some(hop) } else { None };
        if let Some(hop) = single {
            self.hop_words(text, hop);
        }
        if let Some(id) = self.shown {
            let _ = write!(text, "table {} ", table_name(id));
        }
        if route.protocol != protocol::BOOT && !self.select.protocol {
            let _ = write!(text, "proto {} ", protocol_name(route.protocol));
        }
        if route.scope != scope::UNIVERSE {
            let _ = write!(text, "scope {} ", scope_name(route.scope));
        }
        if let Some(src) = route.src {
            let _ = write!(text, "src {src} ");
        }
        if route.metric != 0 || self.family == Family::V6 {
            let _ = write!(text, "metric {} ", route.metric);
        }
        match single {
            Some(hop) => flag_words(text, self.ns, hop),
            // IPv4 has a word for the route as well.
            None if self.family == Family::V4
                && !route.hops.is_empty()
                && route.hops.iter().all(|hop| is_linkdown(self.ns, hop)) =>
            {
                text.push_str("linkdown ");
            }
            None => {}
        }
        mtu_words(text, route.mtu, route.mtu_lock);
        if self.family == Family::V6 {
            let _ = write!(text, "pref {}", pref_word(route.pref));
        }
        text.push('\n');
        if single.is_none() {
            for hop in &route.hops {
                text.push_str("\tnexthop ");
                self.hop_words(text, hop);
                let _ = write!(text, "weight {} ", hop.weight);
                flag_words(text, self.ns, hop);
                text.push('\n');
            }
        }
    }

    fn hop_words(&self, text: &mut String, hop: &Hop) {
        if let Some(via) = hop.via {
            via_words(text, self.family, via);
        }
        if !self.select.dev {
            let _ = write!(text, "dev {} ", self.ns.devices.get(hop.dev).name);
        }
    }
}

/// A gateway of the other family is named with it.
fn via_words(text: &mut String, family: Family, via: IpAddr) {
    let other = if Family::of(via) == family { "" } else { "inet6 " };
    let _ = write!(text, "via {other}{via} ");
}

fn flag_words(text: &mut String, ns: &Netns, hop: &Hop) {
    for (word, set) in [("dead ", hop.dead), ("onlink ", hop.onlink), ("linkdown ", is_linkdown(ns, hop))] {
        if set {
            text.push_str(word);
        }
    }
}

fn is_linkdown(ns: &Netns, hop: &Hop) -> bool {
    hop.dead || (!ns.devices.get(hop.dev).carrier && hop.scope != scope::NOWHERE)
}

fn mtu_words(text: &mut String, mtu: u32, lock: bool) {
    if mtu != 0 {
        let _ = write!(text, "mtu {}{mtu} ", if lock { "lock " } else { "" });
    }
}

/// What `ip route get` asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GetArgs {
    /// The destination.
    pub dst: IpAddr,
    /// `from`.
    pub from: Option<IpAddr>,
    /// `iif`: as if the packet had come in there.
    pub iif: Option<DevId>,
    /// `oif` (`dev`).
    pub oif: Option<DevId>,
    /// `mark`.
    pub mark: u32,
    /// `tos`.
    pub tos: u8,
    /// `uid`.
    pub uid: Option<u32>,
    /// `ipproto`; UDP where none is named.
    pub ipproto: u8,
    /// `sport`.
    pub sport: u16,
    /// `dport`.
    pub dport: u16,
}

impl GetArgs {
    /// Asks for a destination and nothing else.
    pub fn to(dst: IpAddr) -> GetArgs {
        GetArgs { dst, from: None, iif: None, oif: None, mark: 0, tos: 0, uid: None, ipproto: proto::UDP, sport: 0, dport: 0 }
    }
}

/// `ip route get`. A multipath route draws the leg of the flow that is asked for, as a packet of it would.
///
/// # Errors
/// What the kernel answers: `NetUnreach`, `HostUnreach`, `Acces`, `Inval` (also for a source that the reverse path filter drops).
pub fn get(ns: &mut Netns, cx: &mut Cx<'_>, family: Family, args: &GetArgs) -> Result<String, Errno> {
    let of_family = |address: IpAddr| Family::of(address) == family;
    if !of_family(args.dst) || !args.from.is_none_or(of_family) {
        return Err(Errno::Inval);
    }
    let flow = Flow {
        src: args.from.unwrap_or(family.unspecified()),
        iif: args.iif.unwrap_or(DevId::NONE),
        oif: args.oif.unwrap_or(DevId::NONE),
        mark: args.mark,
        tos: args.tos,
        proto: args.ipproto,
        sport: args.sport,
        dport: args.dport,
        uid: args.uid.unwrap_or(0),
        ..Flow::to(args.dst)
    };
    let route = match args.iif {
        Some(_) => come_in(ns, cx, &flow)?,
        None => route_output(ns, cx, &flow),
    };
    match route.kind {
        RouteKind::None => {
            return Err(if args.iif.is_some() && family == Family::V4 { Errno::HostUnreach } else { Errno::NetUnreach });
        }
        RouteKind::Unreachable => return Err(Errno::HostUnreach),
        RouteKind::Prohibit => return Err(Errno::Acces),
        RouteKind::Blackhole => return Err(Errno::Inval),
        RouteKind::Local | RouteKind::Unicast | RouteKind::Broadcast | RouteKind::Multicast => {}
    }
    Ok(match family {
        Family::V4 => got_v4(ns, args, &route),
        Family::V6 => got_v6(ns, args, &route),
    })
}

/// With `iif`, the checks of a packet's source and of forwarding are part of the question.
fn come_in(ns: &mut Netns, cx: &mut Cx<'_>, flow: &Flow) -> Result<Route, Errno> {
    let route = route_input(ns, cx, flow);
    if flow.family == Family::V6 {
        return Ok(route);
    }
    validate_source(ns, flow).map_err(|_| Errno::Inval)?;
    let forwards = ns.devices.get(flow.iif).conf4.forwarding;
    if route.kind == RouteKind::Unicast && !forwards { Ok(no_route(flow)) } else { Ok(route) }
}

fn got_v4(ns: &Netns, args: &GetArgs, route: &Route) -> String {
    let mut text = String::new();
    let (word, flags) = match route.kind {
        RouteKind::Local => ("local ", "<local> "),
        RouteKind::Broadcast => ("broadcast ", "<local,brd> "),
        RouteKind::Multicast => ("multicast ", "<mc> "),
        _ => ("", ""),
    };
    let _ = write!(text, "{word}{} ", args.dst);
    if let Some(from) = args.from {
        let _ = write!(text, "from {from} ");
    }
    if args.tos != 0 {
        let _ = write!(text, "tos {:#04x} ", args.tos);
    }
    via_and_dev(&mut text, ns, Family::V4, route);
    if route.table != table::MAIN && route.table != 0 {
        let _ = write!(text, "table {} ", table_name(route.table));
    }
    if let (Some(src), None, None) = (route.src, args.from, args.iif) {
        let _ = write!(text, "src {src} ");
    }
    if route.kind == RouteKind::Multicast {
        // iproute2 takes RTCF_MULTICAST for RTM_F_OFFLOAD_FAILED: the same bit.
        text.push_str("rt_offload_failed ");
    }
    if args.mark != 0 {
        let _ = if args.mark >= 16 { write!(text, "mark {:#x} ", args.mark) } else { write!(text, "mark {} ", args.mark) };
    }
    if args.iif.is_none() {
        let _ = write!(text, "uid {} ", args.uid.unwrap_or(0));
    }
    let flags = if is_detour(ns, args, route) { "<redirect> " } else { flags };
    let _ = write!(text, "\n    cache {flags}");
    mtu_words(&mut text, route.mtu, route.mtu_lock);
    if let Some(iif) = args.iif {
        let _ = write!(text, "iif {} ", ns.devices.get(iif).name);
    }
    text.push('\n');
    text
}

/// `IPSKB_DOREDIRECT`: the packet would leave by the device that it came in through, and its sender, being on that link, could
/// have sent it to the next hop itself.
fn is_detour(ns: &Netns, args: &GetArgs, route: &Route) -> bool {
    let (Some(iif), Some(from), RouteKind::Unicast) = (args.iif, args.from, route.kind) else { return false };
    let device = ns.devices.get(iif);
    let (all, own) = (&ns.sysctls.all4, &device.conf4);
    let next_hop = route.via.unwrap_or(args.dst);
    let one_subnet = || device.addrs.iter().any(|addr| on_subnet(addr, from) && on_subnet(addr, next_hop));
    let on_link = || {
        let back = Flow::to(from);
        match fib_lookup(ns, &Query::new(&back, DevId::NONE)) {
            Found::Hit(hit) => ns.routes.v4.table(hit.table).is_some_and(|table| {
                table.at(hit.at).hops.get(usize::from(hit.at.hop)).is_some_and(|hop| hop.dev == iif && hop.scope >= scope::HOST)
            }),
            _ => false,
        }
    };
    route.dev == iif
        && (all.send_redirects || own.send_redirects)
        && ((all.shared_media || own.shared_media) || one_subnet())
        && on_link()
}

fn got_v6(ns: &Netns, args: &GetArgs, route: &Route) -> String {
    let mut text = String::new();
    let word = match route.kind {
        RouteKind::Local => "local ",
        RouteKind::Multicast => "multicast ",
        _ => "",
    };
    let _ = write!(text, "{word}{} from {} ", args.dst, args.from.unwrap_or(Family::V6.unspecified()));
    via_and_dev(&mut text, ns, Family::V6, route);
    if route.table != table::MAIN && route.table != 0 {
        let _ = write!(text, "table {} ", table_name(route.table));
    }
    let found = entry(ns, args.dst, route);
    if let Some(found) = found
        && found.protocol != protocol::BOOT
    {
        let _ = write!(text, "proto {} ", protocol_name(found.protocol));
    }
    if let (Some(src), None) = (route.src, args.iif) {
        let _ = write!(text, "src {src} ");
    }
    let _ = write!(text, "metric {} ", found.map_or(0, |found| found.metric));
    mtu_words(&mut text, route.mtu, route.mtu_lock);
    if let Some(iif) = args.iif {
        let _ = write!(text, "iif {} ", ns.devices.get(iif).name);
    }
    let _ = writeln!(text, "pref {}", pref_word(found.map_or(0, |found| found.pref)));
    text
}

fn via_and_dev(text: &mut String, ns: &Netns, family: Family, route: &Route) {
    if let Some(via) = route.via {
        via_words(text, family, via);
    }
    let _ = write!(text, "dev {} ", ns.devices.get(route.dev).name);
}

/// The entry behind an answer.
fn entry<'n>(ns: &'n Netns, dst: IpAddr, route: &Route) -> Option<&'n FibRoute> {
    let table = ns.routes.get(Family::of(dst)).table(route.table)?;
    let prefix = bits(dst) & mask(route.prefix_len);
    let uses = |found: &&FibRoute| {
        super::lookup::kind_of(found.kind) == route.kind
            && (route.kind == RouteKind::Local || found.hops.iter().any(|hop| hop.dev == route.dev && hop.via == route.via))
    };
    table.routes(prefix, route.prefix_len).iter().find(uses)
}

/// `ip rule`.
pub fn rules(ns: &Netns, family: Family) -> String {
    rules_where(ns, family, None)
}

/// `ip rule show [priority N]`.
pub fn rules_where(ns: &Netns, family: Family, priority: Option<u32>) -> String {
    let mut text = String::new();
    let rules = ns.routes.get(family).rules();
    let there = |name: &str| if ns.devices.named(name).is_some() { "" } else { " [detached]" };
    for rule in rules.iter().filter(|rule| priority.is_none() || rule.priority == priority) {
        let _ = write!(text, "{}:\t", rule.priority.unwrap_or(0));
        if rule.not {
            text.push_str("not ");
        }
        let _ = match rule.from {
            Some(from) => write!(text, "from {}", prefix(from)),
            None => write!(text, "from all"),
        };
        if let Some(to) = rule.to {
            let _ = write!(text, " to {}", prefix(to));
        }
        if rule.tos != 0 {
            let _ = write!(text, " tos {:#04x}", rule.tos);
        }
        if let Some((value, mask)) = rule.fwmark {
            let _ = write!(text, " fwmark {}", hex(value));
            if mask != u32::MAX {
                let _ = write!(text, "/{}", hex(mask));
            }
        }
        if let Some(name) = &rule.iif {
            let _ = write!(text, " iif {name}{}", there(name));
        }
        if let Some(name) = &rule.oif {
            let _ = write!(text, " oif {name}{}", there(name));
        }
        if let Some((low, high)) = rule.uidrange {
            let _ = write!(text, " uidrange {low}-{high}");
        }
        if let Some(proto) = rule.ipproto {
            let _ = write!(text, " ipproto {}", proto_name(proto));
        }
        for (word, range) in [("sport", rule.sport), ("dport", rule.dport)] {
            let _ = match range {
                Some((low, high)) if low == high => write!(text, " {word} {low}"),
                Some((low, high)) => write!(text, " {word} {low}-{high}"),
                None => Ok(()),
            };
        }
        let _ = match rule.action {
            RuleAction::Lookup(id) => write!(text, " lookup {}", table_name(id)),
            RuleAction::Goto(target) => {
                let resolved = rules.iter().any(|rule| rule.priority == Some(target));
                write!(text, " goto {target}{}", if resolved { "" } else { " [unresolved]" })
            }
            RuleAction::Nop => write!(text, " nop"),
            RuleAction::Blackhole => write!(text, " blackhole"),
            RuleAction::Unreachable => write!(text, " unreachable"),
            RuleAction::Prohibit => write!(text, " prohibit"),
        };
        if let Some(longest) = rule.suppress_prefixlength {
            let _ = write!(text, " suppress_prefixlength {longest}");
        }
        text.push('\n');
    }
    text
}

/// `%#x`: zero has no prefix.
fn hex(value: u32) -> String {
    if value == 0 { "0".to_owned() } else { format!("{value:#x}") }
}

fn prefix(prefix: IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() { prefix.addr().to_string() } else { prefix.to_string() }
}

fn kind_word(kind: SpecKind) -> &'static str {
    match kind {
        SpecKind::Unicast => "unicast",
        SpecKind::Local => "local",
        SpecKind::Broadcast => "broadcast",
        SpecKind::Anycast => "anycast",
        SpecKind::Multicast => "multicast",
        SpecKind::Blackhole => "blackhole",
        SpecKind::Unreachable => "unreachable",
        SpecKind::Prohibit => "prohibit",
        SpecKind::Throw => "throw",
    }
}

fn pref_word(pref: u8) -> &'static str {
    match pref {
        1 => "high",
        3 => "low",
        _ => "medium",
    }
}

/// `/etc/iproute2/rt_tables`.
pub fn table_name(id: u32) -> String {
    match id {
        table::DEFAULT => "default".to_owned(),
        table::MAIN => "main".to_owned(),
        table::LOCAL => "local".to_owned(),
        0 => "unspec".to_owned(),
        id => id.to_string(),
    }
}

/// `/etc/iproute2/rt_scopes`.
pub fn scope_name(scope: u8) -> String {
    match scope {
        scope::UNIVERSE => "global".to_owned(),
        scope::SITE => "site".to_owned(),
        scope::LINK => "link".to_owned(),
        scope::HOST => "host".to_owned(),
        scope::NOWHERE => "nowhere".to_owned(),
        scope => scope.to_string(),
    }
}

/// `/etc/iproute2/rt_protos`.
pub fn protocol_name(protocol: u8) -> String {
    PROTOCOLS.iter().find(|(number, _)| *number == protocol).map_or_else(|| protocol.to_string(), |(_, name)| (*name).to_owned())
}

/// Names of routing protocols, by number.
pub const PROTOCOLS: &[(u8, &str)] = &[
    (0, "unspec"),
    (1, "redirect"),
    (2, "kernel"),
    (3, "boot"),
    (4, "static"),
    (8, "gated"),
    (9, "ra"),
    (10, "mrt"),
    (11, "zebra"),
    (12, "bird"),
    (13, "dnrouted"),
    (14, "xorp"),
    (15, "ntk"),
    (16, "dhcp"),
    (18, "keepalived"),
    (42, "babel"),
    (99, "openr"),
    (186, "bgp"),
    (187, "isis"),
    (188, "ospf"),
    (189, "rip"),
    (192, "eigrp"),
];

fn proto_name(proto: u8) -> String {
    match proto {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        47 => "gre".to_owned(),
        58 => "ipv6-icmp".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}
