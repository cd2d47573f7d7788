//! What the listings of `ip` print (iproute2 6.1). Timers, queue disciplines that do not exist here and `valid_lft` are as on an
//! idle host.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::addr::AddrSelect;
use super::apply::{Done, device, failed, rtnetlink, selected};
use super::neigh::{NeighSelect, state_name};
use super::route::{
    RouteGet, RouteSelect, TableSelect, Within, destination, kind_name, preference_name, protocol_name, scope_name, table_name,
};
use super::rule::{Action, selectors};
use crate::Cx;
use crate::addr::{Family, Mac};
use crate::dev::device::{DevId, Device, IfAddr};
use crate::errno::Errno;
use crate::netns::Netns;
use crate::route::{Flow, RouteSpec, SpecKind, route_input, route_output};
use crate::trace::RouteKind;

/// The other end of a veth, for a listing.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its namespace, where that is another one.
    pub(crate) netns: Option<String>,
    pub(crate) name: String,
    pub(crate) ifindex: u32,
    pub(crate) up: bool,
}

pub(crate) type Peers = BTreeMap<DevId, Peer>;

/// `ip link show`.
pub(crate) fn links(ns: &Netns, peers: &Peers, dev: Option<&str>) -> Done {
    let select = AddrSelect { dev: dev.map(str::to_owned), ..AddrSelect::default() };
    let mut out = String::new();
    for dev in selected(ns, &select)? {
        header(&mut out, ns, peers, ns.devices.get(dev), " mode DEFAULT");
    }
    Ok(out)
}

/// `bridge link show`.
pub(crate) fn bridge_links(ns: &Netns, peers: &Peers, dev: Option<&str>) -> Done {
    let only = match dev {
        None => None,
        Some(name) => Some(ns.devices.named(name).ok_or_else(|| failed(255, format!("Cannot find device \"{name}\"")))?),
    };
    let mut out = String::new();
    for device in ns.devices.iter().filter(|device| only.is_none_or(|only| only == device.id)) {
        let Some(master) = device.master else { continue };
        let master = ns.devices.get(master);
        let state = if device.running() && master.up { "forwarding" } else { "disabled" };
        let _ = writeln!(out, "{} master {} state {state} priority 32 cost 2 ", head(device, peers.get(&device.id)), master.name);
    }
    Ok(out)
}

/// `ip addr show`.
pub(crate) fn addresses(ns: &Netns, peers: &Peers, select: &AddrSelect) -> Done {
    let mut out = String::new();
    for dev in selected(ns, select)? {
        let device = ns.devices.get(dev);
        let narrowed = select.family.is_some() || select.scope.is_some();
        if narrowed && select.dev.is_none() && !device.addrs.iter().any(|addr| select.takes(addr)) {
            continue;
        }
        header(&mut out, ns, peers, device, "");
        for family in Family::BOTH {
            let of_family = device.addrs.iter().filter(|addr| Family::of(addr.address) == family && select.takes(addr));
            of_family.for_each(|addr| address(&mut out, device, addr));
        }
    }
    Ok(out)
}

/// `INDEX: NAME@PEER: <FLAGS> mtu N`.
fn head(device: &Device, peer: Option<&Peer>) -> String {
    let loopback = device.is_loopback();
    let mut flags = Vec::new();
    if device.up && !device.carrier && !loopback {
        flags.push("NO-CARRIER");
    }
    flags.extend(if loopback { &["LOOPBACK"][..] } else { &["BROADCAST", "MULTICAST"] });
    if device.up {
        flags.push("UP");
    }
    if device.up && (device.carrier || loopback) {
        flags.push("LOWER_UP");
    }
    if peer.is_some_and(|peer| peer.netns.is_none() && !peer.up) {
        flags.push("M-DOWN");
    }
    let at = match peer {
        Some(Peer { netns: None, name, .. }) => format!("@{name}"),
        Some(Peer { ifindex, .. }) => format!("@if{ifindex}"),
        None => String::new(),
    };
    format!("{}: {}{at}: <{}> mtu {}", device.ifindex, device.name, flags.join(","), device.mtu)
}

fn header(out: &mut String, ns: &Netns, peers: &Peers, device: &Device, mode: &str) {
    let loopback = device.is_loopback();
    let peer = peers.get(&device.id);
    let state = match (device.up, loopback, device.carrier) {
        (true, true, _) => "UNKNOWN",
        (true, _, true) => "UP",
        (true, _, false) if peer.is_some() => "LOWERLAYERDOWN",
        _ => "DOWN",
    };
    let queue = if device.up { "noqueue" } else { "noop" };
    let master = device.master.map(|master| format!(" master {}", ns.devices.get(master).name)).unwrap_or_default();
    let _ = writeln!(out, "{} qdisc {queue}{master} state {state}{mode} group default qlen 1000", head(device, peer));
    let (kind, broadcast) = if loopback { ("loopback", Mac::ZERO) } else { ("ether", Mac::BROADCAST) };
    let netns = peer.and_then(|peer| peer.netns.as_ref()).map(|netns| format!(" link-netns {netns}")).unwrap_or_default();
    let _ = writeln!(out, "    link/{kind} {} brd {broadcast}{netns}", device.mac);
}

fn address(out: &mut String, device: &Device, addr: &IfAddr) {
    let family = if addr.address.is_ipv4() { "inet" } else { "inet6" };
    let _ = write!(out, "    {family} {}", addr.address);
    if addr.peer != addr.address {
        let _ = write!(out, " peer {}", addr.peer);
    }
    let _ = write!(out, "/{}", addr.prefix_len);
    if let Some(broadcast) = addr.broadcast {
        let _ = write!(out, " brd {broadcast}");
    }
    let _ = write!(out, " scope {}", scope_name(addr.scope));
    if addr.secondary {
        out.push_str(" secondary");
    }
    if addr.nodad {
        out.push_str(" nodad");
    }
    out.push(' ');
    if addr.address.is_ipv4() {
        out.push_str(&device.name);
    }
    out.push_str("\n       valid_lft forever preferred_lft forever\n");
}

/// `ip route show`.
pub(crate) fn routes(ns: &Netns, select: &RouteSelect) -> Done {
    if let Some(name) = &select.dev {
        device(ns, name)?;
    }
    let mut out = String::new();
    for (spec, _) in ns.routes.get(select.family).routes().iter().filter(|(spec, _)| route_is_selected(ns, select, spec)) {
        out.push_str(&route_line(ns, select, spec));
        out.push('\n');
    }
    Ok(out)
}

/// The table that a route is in.
fn table_of(spec: &RouteSpec) -> u32 {
    spec.table.unwrap_or(match spec.kind {
        SpecKind::Local | SpecKind::Broadcast | SpecKind::Anycast => 255,
        _ => 254,
    })
}

/// Whether a route is one of those that a listing, or a flush, asks for.
pub(crate) fn route_is_selected(ns: &Netns, select: &RouteSelect, spec: &RouteSpec) -> bool {
    let table = table_of(spec);
    let in_table = match select.table {
        TableSelect::Main => table == 254,
        TableSelect::One(asked) => table == asked,
        TableSelect::All => true,
    };
    let through = |dev: DevId| select.dev.as_deref().is_none_or(|name| *ns.devices.get(dev).name == *name);
    let on_dev = select.dev.is_none() || spec.nexthops.iter().any(|hop| hop.dev.is_some_and(through));
    let within = match &select.dst {
        None => true,
        Some((Within::Exact, dst)) => spec.dst == dst.trunc(),
        Some((Within::Root, dst)) => dst.contains(&spec.dst),
    };
    in_table && on_dev && within && select.protocol.is_none_or(|asked| asked == spec.protocol.unwrap_or(3))
}

/// `print_route`.
fn route_line(ns: &Netns, select: &RouteSelect, spec: &RouteSpec) -> String {
    let mut line = String::new();
    if spec.kind != SpecKind::Unicast {
        let _ = write!(line, "{} ", kind_name(spec.kind));
    }
    let _ = write!(line, "{} ", destination(&spec.dst));
    if spec.tos != 0 {
        let _ = write!(line, "tos {:#04x} ", spec.tos);
    }
    let family = Family::of(spec.dst.addr());
    let hop_words = |line: &mut String, hop: &crate::route::Nexthop| {
        if let Some(via) = hop.via {
            let other = match Family::of(via) {
                same if same == family => "",
                Family::V4 => "inet ",
                Family::V6 => "inet6 ",
            };
            let _ = write!(line, "via {other}{via} ");
        }
        if let (Some(dev), None) = (hop.dev, select.dev.as_ref()) {
            let _ = write!(line, "dev {} ", ns.devices.get(dev).name);
        }
    };
    if let [hop] = spec.nexthops.as_slice() {
        hop_words(&mut line, hop);
    }
    let table = table_of(spec);
    if !matches!(select.table, TableSelect::One(_)) && table != 254 {
        let _ = write!(line, "table {} ", table_name(table));
    }
    let protocol = spec.protocol.unwrap_or(3);
    if protocol != 3 && select.protocol.is_none() {
        let _ = write!(line, "proto {} ", protocol_name(protocol));
    }
    if family == Family::V4 {
        let linked = spec.nexthops.iter().all(|hop| hop.via.is_none()) && !spec.nexthops.is_empty();
        let default = match spec.kind {
            SpecKind::Local => 254,
            SpecKind::Unicast | SpecKind::Broadcast | SpecKind::Multicast | SpecKind::Anycast if linked => 253,
            _ => 0,
        };
        let scope = spec.scope.unwrap_or(default);
        if scope != 0 {
            let _ = write!(line, "scope {} ", scope_name(scope));
        }
    }
    if let Some(src) = spec.src {
        let _ = write!(line, "src {src} ");
    }
    match (family, spec.metric) {
        (Family::V4, Some(metric)) if metric != 0 => {
            let _ = write!(line, "metric {metric} ");
        }
        (Family::V6, metric) => {
            let _ = write!(line, "metric {} ", metric.unwrap_or(1024));
        }
        _ => {}
    }
    if spec.nexthops.len() == 1 && spec.nexthops[0].onlink {
        line.push_str("onlink ");
    }
    if let Some(mtu) = spec.mtu {
        let _ = write!(line, "mtu {}{mtu} ", if spec.mtu_lock { "lock " } else { "" });
    }
    if spec.nexthops.len() > 1 {
        for hop in &spec.nexthops {
            line.push_str("\n\tnexthop ");
            hop_words(&mut line, hop);
            let _ = write!(line, "weight {} ", hop.weight);
            if hop.onlink {
                line.push_str("onlink ");
            }
        }
    }
    if family == Family::V6 {
        let _ = write!(line, "pref {}", preference_name(spec.pref));
    }
    line
}

/// `ip route get`.
pub(crate) fn route_get(ns: &mut Netns, cx: &mut Cx<'_>, get: &RouteGet) -> Done {
    let family = Family::of(get.dst);
    let named = |ns: &Netns, name: &Option<String>| match name {
        None => Ok(DevId::NONE),
        Some(name) => device(ns, name),
    };
    let (iif, oif) = (named(ns, &get.iif)?, named(ns, &get.oif)?);
    let flow = Flow {
        family,
        src: get.from.unwrap_or(family.unspecified()),
        dst: get.dst,
        iif,
        oif,
        mark: get.mark,
        tos: get.tos,
        proto: get.ipproto.unwrap_or(17),
        sport: get.sport.unwrap_or(0),
        dport: get.dport.unwrap_or(0),
        uid: get.uid.unwrap_or(0),
    };
    let route = if iif == DevId::NONE { route_output(ns, cx, &flow) } else { route_input(ns, cx, &flow) };
    let refused = match route.kind {
        RouteKind::None if family == Family::V6 || iif == DevId::NONE => Some(Errno::NetUnreach),
        RouteKind::None | RouteKind::Unreachable => Some(Errno::HostUnreach),
        RouteKind::Prohibit => Some(Errno::Acces),
        RouteKind::Blackhole => Some(Errno::Inval),
        RouteKind::Local | RouteKind::Unicast | RouteKind::Broadcast | RouteKind::Multicast => None,
    };
    if let Some(errno) = refused {
        return Err(rtnetlink(errno));
    }
    let mut line = String::new();
    match route.kind {
        RouteKind::Local => line.push_str("local "),
        RouteKind::Broadcast => line.push_str("broadcast "),
        RouteKind::Multicast => line.push_str("multicast "),
        _ => {}
    }
    let _ = write!(line, "{} ", get.dst);
    match get.from {
        Some(from) => {
            let _ = write!(line, "from {from} ");
        }
        None if family == Family::V6 => line.push_str("from :: "),
        None => {}
    }
    if let Some(via) = route.via {
        let _ = write!(line, "via {via} ");
    }
    if route.dev == DevId::NONE {
        return Err(failed(2, "RTNETLINK answers: No such device".to_owned()));
    }
    let _ = write!(line, "dev {} ", ns.devices.get(route.dev).name);
    if route.table != 254 && route.table != 0 {
        let _ = write!(line, "table {} ", table_name(route.table));
    }
    if let Some(src) = route.src.filter(|_| iif == DevId::NONE) {
        let _ = write!(line, "src {src} ");
    }
    if get.mark != 0 {
        let _ = write!(line, "mark {:#x} ", get.mark);
    }
    match family {
        Family::V4 if iif == DevId::NONE => {
            let _ = write!(line, "uid {} \n    cache ", flow.uid);
        }
        Family::V4 => {
            let _ = write!(line, "\n    cache iif {} ", ns.devices.get(iif).name);
        }
        Family::V6 => {
            let metric = route_metric(ns, &flow.dst, &route);
            let _ = write!(line, "metric {metric} pref medium");
        }
    }
    line.push('\n');
    Ok(line)
}

/// The metric of the IPv6 route that was found.
fn route_metric(ns: &Netns, dst: &IpAddr, found: &crate::route::Route) -> u32 {
    let routes = ns.routes.v6.routes();
    let same = |spec: &RouteSpec| {
        let holds = IpNet::new(*dst, found.prefix_len).is_ok_and(|net| net.trunc() == spec.dst.trunc());
        holds && table_of(spec) == found.table
    };
    routes.iter().find(|(spec, _)| same(spec)).map_or(1024, |(spec, _)| spec.metric.unwrap_or(1024))
}

/// `ip rule show`.
pub(crate) fn rules(ns: &Netns, family: Family, priority: Option<u32>) -> String {
    let mut out = String::new();
    for rule in ns.routes.get(family).rules() {
        let number = rule.priority.unwrap_or(0);
        if priority.is_some_and(|asked| asked != number) {
            continue;
        }
        let from = rule.from.map_or("all".to_owned(), |from| destination(&from));
        let _ = write!(out, "{number}:\t{}from {from}", if rule.not { "not " } else { "" });
        let _ = selectors(&mut out, &rule);
        let _ = writeln!(out, " {}", Action(rule.action, rule.suppress_prefixlength));
    }
    out
}

/// `ip neigh show`.
pub(crate) fn neighbours(ns: &Netns, select: &NeighSelect) -> Done {
    let dev = select.dev.as_deref().map(|name| device(ns, name)).transpose()?;
    let mut out = String::new();
    for entry in ns.neighbours.list() {
        let chosen = entry.proxy == select.proxy
            && dev.is_none_or(|dev| dev == entry.dev)
            && select.family.is_none_or(|family| Family::of(entry.address) == family);
        if !chosen {
            continue;
        }
        let _ = write!(out, "{} ", entry.address);
        if dev.is_none() {
            let _ = write!(out, "dev {} ", ns.devices.get(entry.dev).name);
        }
        if let Some(mac) = entry.mac {
            let _ = write!(out, "lladdr {mac} ");
        }
        if entry.router {
            out.push_str("router ");
        }
        if entry.proxy {
            out.push_str("proxy \n");
        } else {
            let _ = writeln!(out, "{} ", state_name(entry.state).to_uppercase());
        }
    }
    Ok(out)
}
