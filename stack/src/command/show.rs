//! What the listings of `ip` print (iproute2 6.1). Timers, queue disciplines that do not exist here and `valid_lft` are as on an
//! idle host.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::addr::AddrSelect;
use super::apply::{Done, device, failed, rtnetlink, selected};
use super::neigh::NeighSelect;
use super::route::{RouteGet, RouteSelect, TableSelect, Within, scope_name};
use crate::Cx;
use crate::addr::{Family, Mac};
use crate::dev::device::{DevId, Device, DeviceKind, IfAddr};
use crate::neigh;
use crate::netns::Netns;
use crate::route::show::{GetArgs, Select};
use crate::route::{self, RouteSpec, SpecKind};
use crate::view::proto;

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
    flags.extend(match (loopback, device.noarp()) {
        (true, _) => &["LOOPBACK"][..],
        (false, true) => &["BROADCAST", "NOARP"],
        (false, false) => &["BROADCAST", "MULTICAST"],
    });
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
        (true, _, _) if device.keeps_carrier() => "UNKNOWN",
        (true, _, true) => "UP",
        // default_operstate looks for the device below in its own namespace.
        (true, _, false) if matches!(device.kind, DeviceKind::Macvlan(_)) && peer.is_some_and(|peer| peer.netns.is_some()) => {
            "DOWN"
        }
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
    let table = match select.table {
        TableSelect::Main => None,
        TableSelect::One(table) => Some(table),
        TableSelect::All => Some(0),
    };
    let named = Select { table, dev: select.dev.is_some(), protocol: select.protocol.is_some() };
    Ok(route::show::routes_where(ns, select.family, named, |spec| route_is_selected(ns, select, spec)))
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

/// `ip route get`.
pub(crate) fn route_get(ns: &mut Netns, cx: &mut Cx<'_>, get: &RouteGet) -> Done {
    let named = |name: &Option<String>| name.as_deref().map(|name| device(ns, name)).transpose();
    let args = GetArgs {
        from: get.from,
        iif: named(&get.iif)?,
        oif: named(&get.oif)?,
        mark: get.mark,
        tos: get.tos,
        uid: get.uid,
        ipproto: get.ipproto.unwrap_or(proto::UDP),
        sport: get.sport.unwrap_or(0),
        dport: get.dport.unwrap_or(0),
        ..GetArgs::to(get.dst)
    };
    route::show::get(ns, cx, Family::of(get.dst), &args).map_err(rtnetlink)
}

/// `ip rule show`.
pub(crate) fn rules(ns: &Netns, family: Family, priority: Option<u32>) -> String {
    route::show::rules_where(ns, family, priority)
}

/// `ip neigh show`.
pub(crate) fn neighbours(ns: &Netns, select: &NeighSelect) -> Done {
    let dev = select.dev.as_deref().map(|name| device(ns, name)).transpose()?;
    let list = if select.proxy { neigh::show_proxies } else { neigh::show };
    Ok(list(ns, select.family, dev))
}
