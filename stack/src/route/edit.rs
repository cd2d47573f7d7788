//! Routes come and go: `fib_table_insert`, `fib_table_delete`, `fib_check_nh`, `fib6_add`, and what a device or an address takes
//! along when it goes (`fib_sync_down_dev`, `fib_sync_down_addr`).

use std::net::IpAddr;

use super::fib::{FibRoute, Hop, bits, mask, protocol, scope, table};
use super::lookup::{Found, Query, fib_lookup, in_table};
use super::{Flow, LOOPBACK, RouteKind, RouteOp, RouteSpec, SpecKind, address_type};
use crate::addr::Family;
use crate::dev::device::{DevId, DeviceKind};
use crate::errno::Errno;
use crate::netns::Netns;
use crate::provenance::ProvId;

/// At most this many next hops a route.
const HOPS_LIMIT: usize = super::lookup::MAX_LEGS;
/// `IP6_RT_PRIO_USER`.
const METRIC_USER_V6: u32 = 1024;

/// `inet_rtm_newroute`, `inet6_rtm_newroute`.
pub(super) fn add(ns: &mut Netns, spec: RouteSpec, op: RouteOp, prov: ProvId) -> Result<(), Errno> {
    let family = Family::of(spec.dst.addr());
    let (prefix, len) = (bits(spec.dst.addr()), spec.dst.prefix_len());
    if family == Family::V4 && prefix & !mask(len) != 0 {
        return Err(Errno::Inval);
    }
    let id = table_of(&spec);
    let route = resolve(ns, &spec, family, id, prov)?;
    let rib = ns.routes.get_mut(family);
    insert(rib.table_mut(id), family, (prefix & mask(len), len), route, op)?;
    if family == Family::V4 && spec.kind == SpecKind::Local {
        rib.custom_local = true;
    }
    rib.touch();
    Ok(())
}

/// `fib_magic`, `ip6_ins_rt`: a route that the kernel itself makes. One that is there already stays.
pub(crate) fn add_kernel(ns: &mut Netns, family: Family, id: u32, to: (u128, u8), route: FibRoute) {
    let rib = ns.routes.get_mut(family);
    rib.table_mut(id).edit(to.0, to.1, |routes| {
        if !routes.iter().any(|known| known.same(&route)) {
            let at = routes.partition_point(|known| order(known) <= order(&route));
            routes.insert(at, route);
        }
    });
    rib.touch();
}

/// Takes away a route that the kernel made: of this kind, through this device.
pub(crate) fn delete_kernel(ns: &mut Netns, family: Family, id: u32, to: (u128, u8), kind: SpecKind, dev: DevId) {
    let rib = ns.routes.get_mut(family);
    rib.table_mut(id).edit(to.0, to.1, |routes| {
        let ours = |route: &FibRoute| {
            route.kind == kind && route.protocol == protocol::KERNEL && route.hops.first().is_some_and(|hop| hop.dev == dev)
        };
        if let Some(at) = routes.iter().position(ours) {
            routes.remove(at);
        }
    });
    rib.touch();
}

/// The table that a route goes into, or is looked for in.
fn table_of(spec: &RouteSpec) -> u32 {
    match spec.table {
        Some(id) if id != 0 => id,
        _ => match spec.kind {
            SpecKind::Local | SpecKind::Broadcast | SpecKind::Anycast => table::LOCAL,
            _ => table::MAIN,
        },
    }
}

/// Routes of one prefix: the larger TOS first, then the smaller metric.
fn order(route: &FibRoute) -> (std::cmp::Reverse<u8>, u32) {
    (std::cmp::Reverse(route.tos), route.metric)
}

fn insert(table: &mut super::Table, family: Family, to: (u128, u8), route: FibRoute, op: RouteOp) -> Result<(), Errno> {
    let known = table.routes(to.0, to.1);
    let first = known.partition_point(|known| order(known) < order(&route));
    let last = known.partition_point(|known| order(known) <= order(&route));
    let alike = first < last;
    let twin = known[first..last].iter().position(|known| known.same(&route)).map(|at| at + first);
    match op {
        RouteOp::Add if alike => return Err(Errno::Exist),
        RouteOp::Change if !alike => return Err(Errno::NoEnt),
        RouteOp::Replace | RouteOp::Change if alike => {
            if twin.is_some_and(|twin| twin != first) {
                return Err(Errno::Exist);
            }
            table.edit(to.0, to.1, |routes| routes[first] = route);
            return Ok(());
        }
        RouteOp::Append | RouteOp::Prepend if twin.is_some() => return Err(Errno::Exist),
        _ => {}
    }
    table.edit(to.0, to.1, |routes| {
        if family == Family::V6 && alike {
            let gateways = |route: &FibRoute| route.protocol != protocol::KERNEL && route.hops.iter().any(|hop| hop.via.is_some());
            // Routes of one metric with gateways become legs of one route (`rt6_qualify_for_ecmp`).
            if let Some(sibling) = routes[first..last].iter_mut().find(|known| gateways(known)).filter(|_| gateways(&route)) {
                for hop in &route.hops {
                    if sibling.hops.iter().any(|known| known.via == hop.via && known.dev == hop.dev) {
                        return Err(Errno::Exist);
                    }
                }
                if sibling.hops.len() + route.hops.len() > HOPS_LIMIT {
                    return Err(Errno::Inval);
                }
                sibling.hops.extend(route.hops);
                return Ok(());
            }
            routes.insert(last, route);
        } else {
            routes.insert(if op == RouteOp::Prepend { first } else { last }, route);
        }
        Ok(())
    })
}

/// `fib_table_delete`, `ip6_route_del`.
pub(super) fn delete(ns: &mut Netns, spec: &RouteSpec) -> Result<(), Errno> {
    let family = Family::of(spec.dst.addr());
    let (prefix, len) = (bits(spec.dst.addr()) & mask(spec.dst.prefix_len()), spec.dst.prefix_len());
    let any_kind = spec.kind == SpecKind::Unicast && (family == Family::V6 || spec.nexthops.is_empty());
    let rib = ns.routes.get_mut(family);
    // `ip route del local ...` looks into `local`, one without a type into `main`.
    let id = table_of(spec);
    let matches = |route: &FibRoute| {
        (any_kind || route.kind == spec.kind)
            && (family == Family::V6 || route.tos == spec.tos)
            && spec.metric.is_none_or(|metric| metric == 0 || route.metric == metric)
            && spec.protocol.is_none_or(|protocol| protocol == 0 || route.protocol == protocol)
            && (family == Family::V6 || spec.scope.is_none_or(|wanted| wanted == scope::NOWHERE || route.scope == wanted))
            && spec.src.is_none_or(|src| route.src == Some(src))
            && spec.mtu.is_none_or(|mtu| route.mtu == mtu)
    };
    let wanted = |hop: &Hop, nexthop: &super::Nexthop| {
        nexthop.dev.is_none_or(|dev| dev == hop.dev) && nexthop.via.is_none_or(|via| hop.via == Some(via))
    };
    let result = rib.table_mut(id).edit(prefix, len, |routes| {
        for at in 0..routes.len() {
            if !matches(&routes[at]) {
                continue;
            }
            let hops = &routes[at].hops;
            // IPv6: one next hop names one of the siblings.
            if family == Family::V6
                && hops.len() > 1
                && let [nexthop] = &spec.nexthops[..]
            {
                if let Some(leg) = hops.iter().position(|hop| wanted(hop, nexthop)) {
                    routes[at].hops.remove(leg);
                    return Ok(());
                }
                continue;
            }
            let named = match &spec.nexthops[..] {
                [] => true,
                [nexthop] => hops.first().is_some_and(|hop| wanted(hop, nexthop)),
                nexthops => hops.len() == nexthops.len() && hops.iter().zip(nexthops).all(|(hop, nexthop)| wanted(hop, nexthop)),
            };
            if named {
                routes.remove(at);
                return Ok(());
            }
        }
        Err(Errno::Srch)
    });
    rib.touch();
    result
}

/// `fib_create_info`, `ip6_route_info_create`: defaults filled in, next hops checked.
fn resolve(ns: &Netns, spec: &RouteSpec, family: Family, id: u32, prov: ProvId) -> Result<FibRoute, Errno> {
    if spec.nexthops.len() > HOPS_LIMIT || (family == Family::V6 && spec.tos != 0) || spec.tos & !0x1c != 0 {
        return Err(Errno::Inval);
    }
    let refusal = matches!(spec.kind, SpecKind::Blackhole | SpecKind::Unreachable | SpecKind::Prohibit | SpecKind::Throw);
    let scope = match (family, spec.kind) {
        (Family::V6, _) => scope::UNIVERSE,
        (_, SpecKind::Local) => spec.scope.unwrap_or(scope::HOST),
        (_, SpecKind::Broadcast | SpecKind::Multicast | SpecKind::Anycast) => spec.scope.unwrap_or(scope::LINK),
        (_, SpecKind::Unicast) if spec.nexthops.iter().all(|hop| hop.via.is_none()) => spec.scope.unwrap_or(scope::LINK),
        _ => spec.scope.unwrap_or(scope::UNIVERSE),
    };
    let hops = match (refusal, family) {
        // IPv6 refuses through the loopback device, IPv4 through none.
        (true, Family::V6) => vec![hop(None, LOOPBACK, scope::NOWHERE)],
        (true, Family::V4) if spec.nexthops.is_empty() => Vec::new(),
        (true, Family::V4) => return Err(Errno::Inval),
        (false, _) if spec.nexthops.is_empty() => return Err(Errno::NoDev),
        (false, Family::V4) => hops_v4(ns, spec, id, scope)?,
        (false, Family::V6) => hops_v6(ns, spec, id)?,
    };
    if let Some(src) = spec.src {
        let own = match family {
            Family::V4 => spec.kind == SpecKind::Local && spec.dst.addr() == src || address_type(ns, src, None) == RouteKind::Local,
            Family::V6 => ns.devices.iter().any(|device| {
                device.addrs.iter().any(|addr| addr.address == src && !ns.neighbours.is_tentative_ip(device.id, src))
            }),
        };
        if !own || Family::of(src) != family {
            return Err(Errno::Inval);
        }
    }
    let metric = match family {
        Family::V4 => spec.metric.unwrap_or(0),
        Family::V6 => spec.metric.filter(|&metric| metric != 0).unwrap_or(METRIC_USER_V6),
    };
    Ok(FibRoute {
        kind: spec.kind,
        tos: spec.tos,
        metric,
        scope,
        protocol: spec.protocol.unwrap_or(protocol::BOOT),
        src: spec.src,
        mtu: spec.mtu.unwrap_or(0),
        mtu_lock: spec.mtu_lock,
        pref: spec.pref,
        hops,
        prov,
    })
}

/// A next hop of weight 1.
pub(crate) fn hop(via: Option<IpAddr>, dev: DevId, scope: u8) -> Hop {
    Hop { via, dev, weight: 1, onlink: false, scope, dead: false }
}

fn hops_v4(ns: &Netns, spec: &RouteSpec, id: u32, limit: u8) -> Result<Vec<Hop>, Errno> {
    if limit == scope::HOST {
        // A local address: the device need not be up.
        let [only] = &spec.nexthops[..] else { return Err(Errno::Inval) };
        let dev = only.dev.ok_or(Errno::NoDev)?;
        return if only.via.is_some() { Err(Errno::Inval) } else { Ok(vec![hop(None, dev, scope::NOWHERE)]) };
    }
    spec.nexthops.iter().map(|nexthop| hop_v4(ns, nexthop, id, limit)).collect()
}

/// `fib_check_nh`: a gateway must be reached by a route that is nearer than the one that it serves.
fn hop_v4(ns: &Netns, nexthop: &super::Nexthop, id: u32, limit: u8) -> Result<Hop, Errno> {
    let up = |dev: DevId| if ns.devices.get(dev).up { Ok(dev) } else { Err(Errno::NetDown) };
    let done = |via, dev, scope| Hop { via, dev, weight: nexthop.weight.max(1), onlink: nexthop.onlink, scope, dead: false };
    match nexthop.via {
        None => Ok(done(None, up(nexthop.dev.ok_or(Errno::NoDev)?)?, scope::HOST)),
        Some(via @ IpAddr::V6(v6)) => {
            if v6.is_unicast_link_local() && nexthop.dev.is_none() {
                return Err(Errno::Inval);
            }
            let dev = gateway_v6(ns, via, nexthop, table::MAIN)?;
            Ok(done(Some(via), dev, scope::LINK))
        }
        Some(via) if nexthop.onlink => {
            if limit >= scope::LINK {
                return Err(Errno::Inval);
            }
            let dev = up(nexthop.dev.ok_or(Errno::NoDev)?)?;
            if address_type(ns, via, None) != RouteKind::Unicast {
                return Err(Errno::Inval);
            }
            Ok(done(Some(via), dev, scope::LINK))
        }
        Some(via) => {
            let flow = Flow { oif: nexthop.dev.unwrap_or(DevId::NONE), ..Flow::to(via) };
            let query =
                Query { scope: limit.saturating_add(1).max(scope::LINK), ignore_linkstate: true, ..Query::new(&flow, flow.oif) };
            let own = ns
                .routes
                .v4
                .table(id)
                .and_then(|routes| in_table(ns, routes, &query, bits(via)).map(|(at, _)| routes.at(at).clone().at_hop(at.hop)));
            let (route, dev) = match own.filter(|(route, _)| route.kind == SpecKind::Unicast || route.kind == SpecKind::Local) {
                Some(found) => found,
                None => match fib_lookup(ns, &query) {
                    Found::Hit(hit) => {
                        let routes = ns.routes.v4.table(hit.table).ok_or(Errno::NetUnreach)?;
                        routes.at(hit.at).clone().at_hop(hit.at.hop)
                    }
                    Found::Rule(RouteKind::Prohibit, _) => return Err(Errno::Acces),
                    Found::Rule(RouteKind::Blackhole, _) => return Err(Errno::Inval),
                    _ => return Err(Errno::NetUnreach),
                },
            };
            match route.kind {
                SpecKind::Unicast | SpecKind::Local => {}
                SpecKind::Unreachable => return Err(Errno::HostUnreach),
                SpecKind::Prohibit => return Err(Errno::Acces),
                _ => return Err(Errno::Inval),
            }
            Ok(done(Some(via), up(dev.ok_or(Errno::Inval)?)?, route.scope))
        }
    }
}

impl FibRoute {
    fn at_hop(self, hop: u16) -> (FibRoute, Option<DevId>) {
        let dev = self.hops.get(hop as usize).map(|hop| hop.dev);
        (self, dev)
    }
}

fn hops_v6(ns: &Netns, spec: &RouteSpec, id: u32) -> Result<Vec<Hop>, Errno> {
    let resolve = |nexthop: &super::Nexthop| {
        let dev = match nexthop.via {
            Some(via) => gateway_v6(ns, via, nexthop, id)?,
            None => nexthop.dev.ok_or(Errno::NoDev)?,
        };
        let device = ns.devices.get(dev);
        if !device.up {
            return Err(Errno::NetDown);
        }
        if device.conf6.disable_ipv6 {
            return Err(Errno::Acces);
        }
        let scope = match (spec.kind, nexthop.via) {
            (SpecKind::Local | SpecKind::Anycast, _) => scope::NOWHERE,
            (_, Some(_)) => scope::LINK,
            (_, None) => scope::HOST,
        };
        Ok(Hop { via: nexthop.via, dev, weight: nexthop.weight.max(1), onlink: nexthop.onlink, scope, dead: false })
    };
    spec.nexthops.iter().map(resolve).collect()
}

/// `ip6_validate_gw`: the device through which a gateway is a neighbour.
fn gateway_v6(ns: &Netns, via: IpAddr, nexthop: &super::Nexthop, id: u32) -> Result<DevId, Errno> {
    let IpAddr::V6(gateway) = via else { return Err(Errno::Inval) };
    let own = |dev: DevId| ns.devices.get(dev).addrs.iter().any(|addr| addr.address == via);
    if gateway.is_multicast() || gateway.is_unspecified() || gateway.is_loopback() || nexthop.dev.is_some_and(own) {
        return Err(Errno::Inval);
    }
    let dev = if gateway.is_unicast_link_local() {
        nexthop.dev.ok_or(Errno::Inval)?
    } else if nexthop.onlink {
        nexthop.dev.ok_or(Errno::NoDev)?
    } else {
        let flow = Flow { oif: nexthop.dev.unwrap_or(DevId::NONE), ..Flow::to(via) };
        let query = Query { strict: nexthop.dev.is_some(), ignore_linkstate: true, ..Query::new(&flow, flow.oif) };
        let neighbour = |route: &FibRoute, at: u16| match route.hops.get(at as usize) {
            Some(hop) if hop.via.is_none() && route.kind == SpecKind::Unicast => Some(hop.dev),
            _ => None,
        };
        let rib = &ns.routes.v6;
        let in_own = rib
            .table(id)
            .and_then(|routes| in_table(ns, routes, &query, bits(via)).and_then(|(at, _)| neighbour(routes.at(at), at.hop)));
        let found = in_own.or_else(|| match fib_lookup(ns, &query) {
            Found::Hit(hit) => rib.table(hit.table).and_then(|routes| neighbour(routes.at(hit.at), hit.at.hop)),
            _ => None,
        });
        found.ok_or(Errno::HostUnreach)?
    };
    let device = ns.devices.get(dev);
    match device.kind {
        DeviceKind::Loopback => Err(Errno::Inval),
        _ if !device.up => Err(Errno::NetDown),
        _ => Ok(dev),
    }
}

/// `fib_sync_down_dev`, `fib6_ifdown`: the device went down. Routes of which no next hop is left go, those of local addresses
/// stay (IPv4, unless `all`: the device lost its last address, or is deleted).
pub(crate) fn device_down(ns: &mut Netns, family: Family, dev: DevId, all: bool) {
    let rib = ns.routes.get_mut(family);
    rib.retain(|_, _, _, route| {
        if route.hops.iter().all(|hop| hop.dev != dev) {
            return true;
        }
        for hop in route.hops.iter_mut().filter(|hop| hop.dev == dev) {
            hop.dead |= all || family == Family::V6 || hop.scope != scope::NOWHERE;
        }
        !route.hops.iter().all(|hop| hop.dead)
    });
}

/// `fib_sync_up`: next hops through the device are alive again.
pub(crate) fn device_up(ns: &mut Netns, family: Family, dev: DevId) {
    ns.routes.get_mut(family).retain(|_, _, _, route| {
        route.hops.iter_mut().filter(|hop| hop.dev == dev).for_each(|hop| hop.dead = false);
        true
    });
}

/// `fib_sync_down_addr`: an address is no longer ours; routes that prefer it as source go (in IPv6 they only forget it).
pub(crate) fn address_gone(ns: &mut Netns, address: IpAddr) {
    let family = Family::of(address);
    ns.routes.get_mut(family).retain(|_, _, _, route| {
        if route.src != Some(address) {
            return true;
        }
        match family {
            Family::V4 => false,
            Family::V6 => {
                route.src = None;
                true
            }
        }
    });
}
