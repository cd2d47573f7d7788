//! Where a packet goes: the policy rules ([`rule`]) choose a table, the table ([`fib`]) holds the routes.
//!
//! In reading order: the seam (this file), [`spec`] (routes and rules as they are typed), [`fib`] (a table), [`rule`], [`lookup`]
//! (rules, tables, next hops), [`cache`] (what was decided about packets that came in), [`select`] (source addresses), [`edit`] (`ip route add`, `del`, and what a device's going down takes
//! along), [`show`] (the lines of `ip`).
//!
//! Not here: routes that ICMP redirects and path MTU discovery leave behind (next hop exceptions), source-specific IPv6 routes,
//! VRFs.

pub(crate) mod cache;
pub(crate) mod edit;
pub(crate) mod fib;
pub(crate) mod lookup;
pub(crate) mod rule;
pub(crate) mod select;
pub mod show;
mod spec;

use std::collections::BTreeMap;
use std::net::IpAddr;

use rustc_hash::FxHashMap;

use self::fib::{Table, scope};
use self::lookup::{Found, Hit, Query, fib_lookup, select_leg};
use self::select::{inet_select_addr, ipv6_select_addr};
pub use self::spec::{Nexthop, RouteOp, RouteSpec, RuleAction, RuleSpec, SpecKind};
use crate::Cx;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::errno::Errno;
use crate::netns::Netns;
use crate::provenance::ProvId;
pub use crate::trace::RouteKind;

/// What a lookup is asked (`struct flowi4`, `struct flowi6`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// IP version.
    pub family: Family,
    /// Source; unspecified where a socket has none yet.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// The device that it came in through; [`DevId::NONE`] for our own.
    pub iif: DevId,
    /// The device that a socket is bound to; [`DevId::NONE`] where to none.
    pub oif: DevId,
    /// `fwmark`.
    pub mark: u32,
    /// TOS or traffic class.
    pub tos: u8,
    /// Transport protocol.
    pub proto: u8,
    /// Source port, where it has one.
    pub sport: u16,
    /// Destination port, where it has one.
    pub dport: u16,
    /// User of the socket.
    pub uid: u32,
}

/// What a lookup answers (`struct rtable`, `struct rt6_info`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// What happens with the packet.
    pub kind: RouteKind,
    /// The device that it goes out of (the loopback device where it is local).
    pub dev: DevId,
    /// The next hop; none where the destination is on the link.
    pub via: Option<IpAddr>,
    /// The source address that a packet of our own takes (`prefsrc`, or chosen by scope).
    pub src: Option<IpAddr>,
    /// `mtu` of the route (0: the device's).
    pub mtu: u32,
    /// Whether that MTU is locked (`mtu lock`).
    pub mtu_lock: bool,
    /// Length of the prefix that matched.
    pub prefix_len: u8,
    /// Table that holds the route.
    pub table: u32,
    /// Priority of the policy rule that led there.
    pub rule: u32,
    /// Who made the route.
    pub prov: ProvId,
}

/// The loopback device: a namespace makes it first.
pub(crate) const LOOPBACK: DevId = DevId(0);

/// `ip_route_input_slow`, `ip6_route_input`: the lookup for a packet that came in, without the checks of its source
/// (`fib_validate_source` is [`validate_source`]).
pub(crate) fn route_input(ns: &mut Netns, cx: &mut Cx<'_>, flow: &Flow) -> Route {
    let query = match (flow.dst, flow.src) {
        (IpAddr::V4(dst), IpAddr::V4(src)) => {
            if dst.is_broadcast() || (dst.is_unspecified() && src.is_unspecified()) {
                return on_device(RouteKind::Broadcast, LOOPBACK);
            }
            if dst.is_multicast() {
                return on_device(RouteKind::Multicast, LOOPBACK);
            }
            Query::new(flow, DevId::NONE)
        }
        (IpAddr::V6(dst), _) => {
            // What the loopback device hands back has been routed already; its device says nothing.
            let oif = if flow.iif == LOOPBACK { DevId::NONE } else { flow.iif };
            Query { strict: oif != DevId::NONE && needs_device(dst), ..Query::new(flow, oif) }
        }
        _ => return no_route(flow),
    };
    match fib_lookup(ns, &query) {
        Found::Hit(mut hit) => {
            if hit.kind == SpecKind::Unicast && is_multipath(ns, flow.family, &hit) {
                select_leg(ns, cx, &query, &mut hit, None);
            }
            lookup::answer(ns, flow.family, &hit)
        }
        Found::Rule(kind, rule) => Route { kind, rule, ..no_route(flow) },
        Found::Nothing => no_route(flow),
    }
}

/// `ip_route_output_key_hash`, `ip6_route_output`: the lookup for a packet of our own; chooses its source address.
pub(crate) fn route_output(ns: &mut Netns, cx: &mut Cx<'_>, flow: &Flow) -> Route {
    match flow.family {
        Family::V4 => output_v4(ns, cx, flow),
        Family::V6 => output_v6(ns, cx, flow),
    }
}

fn output_v4(ns: &mut Netns, cx: &mut Cx<'_>, flow: &Flow) -> Route {
    let (IpAddr::V4(dst), IpAddr::V4(src)) = (flow.dst, flow.src) else { return no_route(flow) };
    let given = (!src.is_unspecified()).then_some(flow.src);
    let group = dst.is_multicast() || dst.is_broadcast();
    let kind = match (dst.is_broadcast(), dst.is_multicast()) {
        (true, _) => RouteKind::Broadcast,
        (_, true) => RouteKind::Multicast,
        _ => RouteKind::Unicast,
    };
    let select = |ns: &Netns, dev, limit| given.or_else(|| inet_select_addr(ns, dev, None, limit).map(IpAddr::V4));
    if let Some(source) = given
        && flow.oif == DevId::NONE
        && group
        && let Some(dev) =
            ns.devices.iter().find(|device| device.addrs.iter().any(|addr| addr.address == source)).map(|device| device.id)
    {
        return Route { src: given, ..on_device(kind, dev) };
    }
    if flow.oif != DevId::NONE {
        if !ns.devices.get(flow.oif).up {
            return no_route(flow);
        }
        if dst.is_broadcast() || dst.octets()[..3] == [224, 0, 0] {
            return Route { src: select(ns, flow.oif, scope::LINK), ..on_device(kind, flow.oif) };
        }
    }
    if dst.is_unspecified() {
        let of_device = if flow.oif == DevId::NONE { given } else { select(ns, flow.oif, scope::HOST) };
        let source = of_device.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
        return Route { src: Some(source), ..on_device(RouteKind::Local, LOOPBACK) };
    }
    let query = Query::new(flow, flow.oif);
    let mut hit = match fib_lookup(ns, &query) {
        Found::Hit(hit) => hit,
        Found::Rule(kind, rule) if flow.oif == DevId::NONE => return Route { kind, rule, ..no_route(flow) },
        Found::Nothing if flow.oif == DevId::NONE => return no_route(flow),
        // "Apparently, routing tables are wrong": whoever binds to a device may send on its link.
        _ => return Route { src: select(ns, flow.oif, scope::LINK), ..on_device(kind, flow.oif) },
    };
    if hit.kind == SpecKind::Unicast && flow.oif == DevId::NONE && is_multipath(ns, Family::V4, &hit) {
        select_leg(ns, cx, &query, &mut hit, given);
    }
    let mut route = lookup::answer(ns, Family::V4, &hit);
    if group && route.kind == RouteKind::Unicast {
        route.kind = kind;
    }
    let gateway = route.via;
    if route.kind == RouteKind::Broadcast || (group && route.prefix_len < 4) {
        // "Use the default route, but do not gateway in this case."
        (route.via, route.mtu, route.mtu_lock) = (None, 0, false);
    }
    route.src = match route.kind {
        RouteKind::Local => given.or(route.src).or(Some(flow.dst)),
        RouteKind::Unicast | RouteKind::Broadcast | RouteKind::Multicast => given.or(route.src).or_else(|| {
            let limit = ns.routes.v4.table(hit.table).map_or(scope::UNIVERSE, |table| table.at(hit.at).scope);
            let toward = match gateway {
                Some(IpAddr::V4(via)) => Some(via),
                _ => None,
            };
            inet_select_addr(ns, route.dev, toward, limit).map(IpAddr::V4)
        }),
        _ => None,
    };
    // 127/8 does not leave the machine.
    if route.kind != RouteKind::Local && route.dev != LOOPBACK && src.is_loopback() && !route_localnet(ns, route.dev) {
        return no_route(flow);
    }
    route
}

fn output_v6(ns: &mut Netns, cx: &mut Cx<'_>, flow: &Flow) -> Route {
    let IpAddr::V6(dst) = flow.dst else { return no_route(flow) };
    let unset = flow.src.is_unspecified();
    let mut flow = Flow { dst: if dst.is_unspecified() { IpAddr::V6(std::net::Ipv6Addr::LOCALHOST) } else { flow.dst }, ..*flow };
    let route = lookup_v6(ns, cx, &flow, needs_device(dst) || (flow.oif != DevId::NONE && unset));
    if !unset {
        return Route { src: Some(flow.src), ..route };
    }
    let toward = if route.kind == RouteKind::Local { DevId::NONE } else { route.dev };
    let select = |route: &Route| route.src.or_else(|| ipv6_select_addr(ns, toward, dst).map(IpAddr::V6));
    let src = match route.kind {
        RouteKind::Local if dst.is_loopback() || !dst.is_unspecified() => route.src.or(Some(flow.dst)),
        RouteKind::None | RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => None,
        _ => select(&route),
    };
    let Some(source) = src else { return Route { src, ..route } };
    if ns.routes.v6.rules.is_some() {
        // `ip6_dst_lookup_tail`: once more, with the source that rules may ask for.
        flow.src = source;
        return Route { src, ..lookup_v6(ns, cx, &flow, needs_device(dst)) };
    }
    Route { src, ..route }
}

fn lookup_v6(ns: &mut Netns, cx: &mut Cx<'_>, flow: &Flow, strict: bool) -> Route {
    let query = Query { strict: strict && flow.oif != DevId::NONE, ..Query::new(flow, flow.oif) };
    match fib_lookup(ns, &query) {
        Found::Hit(mut hit) => {
            if hit.kind == SpecKind::Unicast && is_multipath(ns, Family::V6, &hit) {
                select_leg(ns, cx, &query, &mut hit, None);
            }
            lookup::answer(ns, Family::V6, &hit)
        }
        Found::Rule(kind, rule) => Route { kind, rule, ..no_route(flow) },
        Found::Nothing => no_route(flow),
    }
}

/// `rt6_need_strict`: a destination that means something on one link only.
fn needs_device(dst: std::net::Ipv6Addr) -> bool {
    dst.is_multicast() || dst.is_unicast_link_local() || dst.is_loopback()
}

fn route_localnet(ns: &Netns, dev: DevId) -> bool {
    ns.sysctls.all4.route_localnet || ns.devices.get(dev).conf4.route_localnet
}

fn is_multipath(ns: &Netns, family: Family, hit: &Hit) -> bool {
    ns.routes.get(family).table(hit.table).is_some_and(|table| table.at(hit.at).hops.len() > 1)
}

/// A route that stands in no table.
fn on_device(kind: RouteKind, dev: DevId) -> Route {
    Route { kind, dev, ..nothing() }
}

/// `fib_validate_source`: is the source of a packet that came in plausible (`rp_filter`, `accept_local`, martians)? IPv4 only.
///
/// # Errors
/// `IpRpfilter`, `IpLocalSource`, `IpInvalidSource`, `IpLocalnet`.
pub(crate) fn validate_source(ns: &mut Netns, flow: &Flow) -> Result<(), DropReason> {
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (flow.src, flow.dst) else { return Ok(()) };
    // What loops back keeps the route that it left by, and is not checked again.
    if flow.iif == LOOPBACK || flow.iif == DevId::NONE {
        return Ok(());
    }
    if src.is_multicast() || src.is_broadcast() {
        return Err(DropReason::IpInvalidSource);
    }
    if src.octets()[0] == 0 {
        let to_all = dst.is_broadcast() || (src.is_unspecified() && (dst.is_unspecified() || dst.is_multicast()));
        return if to_all { Ok(()) } else { Err(DropReason::IpInvalidSource) };
    }
    if src.is_loopback() && !route_localnet(ns, flow.iif) {
        return Err(DropReason::IpLocalnet);
    }
    let device = ns.devices.get(flow.iif);
    let all = &ns.sysctls.all4;
    let rp_filter = all.rp_filter.max(device.conf4.rp_filter);
    let accept_local = all.accept_local || device.conf4.accept_local;
    if rp_filter == 0 && ns.routes.v4.rules.is_none() && !ns.routes.v4.custom_local {
        let ours = !accept_local && is_own_v4(ns, flow.src);
        return if ours { Err(DropReason::IpLocalSource) } else { Ok(()) };
    }
    full_check(ns, flow, rp_filter, accept_local)
}

/// `__fib_validate_source`: the lookup of the way back.
fn full_check(ns: &Netns, flow: &Flow, rp_filter: u8, accept_local: bool) -> Result<(), DropReason> {
    let device = ns.devices.get(flow.iif);
    let vmark = ns.sysctls.all4.src_valid_mark || device.conf4.src_valid_mark;
    let back = Flow {
        src: flow.dst,
        dst: flow.src,
        // As if sent from here: rules with `iif` do not match.
        iif: DevId::NONE,
        oif: DevId::NONE,
        mark: if vmark { flow.mark } else { 0 },
        sport: flow.dport,
        dport: flow.sport,
        ..*flow
    };
    let last_resort = if rp_filter != 0 { Err(DropReason::IpRpfilter) } else { Ok(()) };
    let Found::Hit(hit) = fib_lookup(ns, &Query::new(&back, DevId::NONE)) else { return last_resort };
    match hit.kind {
        SpecKind::Unicast => {}
        SpecKind::Local if accept_local => {}
        SpecKind::Local => return Err(DropReason::IpLocalSource),
        SpecKind::Blackhole | SpecKind::Unreachable | SpecKind::Prohibit | SpecKind::Throw => return last_resort,
        _ => return Err(DropReason::IpInvalidSource),
    }
    let uses = ns.routes.v4.table(hit.table).is_some_and(|table| table.at(hit.at).hops.iter().any(|hop| hop.dev == flow.iif));
    if uses {
        return Ok(());
    }
    let has_address = device.addrs.iter().any(|addr| addr.address.is_ipv4());
    if !has_address {
        return last_resort;
    }
    if rp_filter == 1 { Err(DropReason::IpRpfilter) } else { Ok(()) }
}

/// `inet_lookup_ifaddr_rcu`: an address of a device, 127/8 and routes of type local not included.
fn is_own_v4(ns: &Netns, address: IpAddr) -> bool {
    let routes = ns.routes.v4.local.routes(fib::bits(address), 32);
    routes.iter().any(|route| route.kind == SpecKind::Local && route.protocol == fib::protocol::KERNEL)
}

/// `inet_addr_type_dev_table`: what an address is to this namespace (for `-m addrtype`, `fib daddr type`).
pub fn address_type(ns: &Netns, address: IpAddr, dev: Option<DevId>) -> RouteKind {
    match address {
        IpAddr::V4(v4) if v4.is_broadcast() || v4.octets()[0] == 0 => return RouteKind::Broadcast,
        IpAddr::V6(v6) if v6.is_unspecified() => return RouteKind::None,
        _ if address.is_multicast() => return RouteKind::Multicast,
        _ => {}
    }
    let flow = Flow::to(address);
    let query = Query { ignore_linkstate: true, ..Query::new(&flow, DevId::NONE) };
    let rib = ns.routes.get(flow.family);
    let found = match flow.family {
        // IPv4 asks the table `local`, which is one with `main` until a rule is made.
        Family::V4 if rib.rules.is_none() => fib_lookup(ns, &query),
        Family::V4 => local_only(ns, &query),
        Family::V6 => fib_lookup(ns, &query),
    };
    let Found::Hit(hit) = found else {
        return if flow.family == Family::V6 { RouteKind::Unreachable } else { RouteKind::Unicast };
    };
    let on = rib.table(hit.table).and_then(|table| table.at(hit.at).hops.first()).map(|hop| hop.dev);
    if dev.is_some() && dev != on && hit.kind != SpecKind::Unicast {
        return RouteKind::Unicast;
    }
    match (flow.family, hit.kind) {
        (Family::V4, SpecKind::Blackhole | SpecKind::Unreachable | SpecKind::Prohibit | SpecKind::Throw) => RouteKind::Unicast,
        _ => lookup::kind_of(hit.kind),
    }
}

fn local_only(ns: &Netns, query: &Query<'_>) -> Found {
    match lookup::in_table(ns, &ns.routes.v4.local, query, fib::bits(query.flow.dst)) {
        Some((at, kind)) => Found::Hit(Hit { table: fib::table::LOCAL, rule: rule::LOCAL_RULE, at, kind }),
        None => Found::Nothing,
    }
}

impl Flow {
    /// A lookup that asks for an address and nothing else.
    pub(crate) fn to(dst: IpAddr) -> Flow {
        let family = Family::of(dst);
        Flow {
            family,
            src: family.unspecified(),
            dst,
            iif: DevId::NONE,
            oif: DevId::NONE,
            mark: 0,
            tos: 0,
            proto: 0,
            sport: 0,
            dport: 0,
            uid: 0,
        }
    }
}

/// The routes and policy rules of one IP family.
#[derive(Debug)]
pub struct Rib {
    pub(crate) family: Family,
    pub(crate) local: Table,
    pub(crate) main: Table,
    pub(crate) others: BTreeMap<u32, Table>,
    /// None: those that a namespace is born with, and then a lookup does not walk them.
    pub(crate) rules: Option<Vec<RuleSpec>>,
    /// Whether somebody put a route of type local (`fib_has_custom_local_routes`).
    pub(crate) custom_local: bool,
    /// The leg that each flow drew at a multipath route.
    pub(crate) legs: FxHashMap<u64, u32>,
    generation: u64,
}

impl Rib {
    /// No routes, and the rules that a namespace is born with.
    pub fn new(family: Family) -> Rib {
        Rib {
            family,
            local: Table::default(),
            main: Table::default(),
            others: BTreeMap::new(),
            rules: None,
            custom_local: false,
            legs: FxHashMap::default(),
            generation: 0,
        }
    }

    /// A number that changes with every change of a route or a rule: what was looked up under another one is stale.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn touch(&mut self) {
        self.generation += 1;
    }

    #[inline]
    pub(crate) fn table(&self, id: u32) -> Option<&Table> {
        match id {
            fib::table::LOCAL => Some(&self.local),
            fib::table::MAIN => Some(&self.main),
            _ => self.others.get(&id),
        }
    }

    pub(crate) fn table_mut(&mut self, id: u32) -> &mut Table {
        match id {
            fib::table::LOCAL => &mut self.local,
            fib::table::MAIN => &mut self.main,
            _ => self.others.entry(id).or_default(),
        }
    }

    /// The tables in the order in which the kernel dumps them: by the low byte of their number.
    pub(crate) fn tables(&self) -> Vec<(u32, &Table)> {
        let mut tables: Vec<(u32, &Table)> = self.others.iter().map(|(&id, table)| (id, table)).collect();
        tables.push((fib::table::MAIN, &self.main));
        tables.push((fib::table::LOCAL, &self.local));
        tables.sort_by_key(|&(id, _)| (id & 0xff, std::cmp::Reverse(id)));
        tables
    }

    /// Looks at every route of every table; see [`Table::retain`].
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u32, u128, u8, &mut fib::FibRoute) -> bool) {
        self.local.retain(|prefix, len, route| keep(fib::table::LOCAL, prefix, len, route));
        self.main.retain(|prefix, len, route| keep(fib::table::MAIN, prefix, len, route));
        for (&id, table) in &mut self.others {
            table.retain(|prefix, len, route| keep(id, prefix, len, route));
        }
        self.touch();
    }
}

impl Rib {
    /// The routes, all tables, as `ip route show table all` orders them.
    pub fn routes(&self) -> Vec<(RouteSpec, ProvId)> {
        let mut all = Vec::new();
        for (id, table) in self.tables() {
            for leaf in table.dump(self.family) {
                all.extend(leaf.routes.iter().map(|route| (route.spec(self.family, leaf.prefix, leaf.len, id), route.prov)));
            }
        }
        all
    }
}

/// `ip route add|append|prepend|replace|change`.
///
/// # Errors
/// `Exist`, `NetUnreach` (a gateway that no route reaches), `NoDev`, `NetDown`, `NoEnt`, `Inval`.
pub(crate) fn add_route(ns: &mut Netns, spec: RouteSpec, op: RouteOp, prov: ProvId) -> Result<(), Errno> {
    edit::add(ns, spec, op, prov)
}

/// `ip route del`: the first that has all that `spec` says (`Unicast` without next hops matches any type).
///
/// # Errors
/// `Srch`.
pub(crate) fn delete_route(ns: &mut Netns, spec: &RouteSpec) -> Result<(), Errno> {
    edit::delete(ns, spec)
}

/// `ip rule add`.
///
/// # Errors
/// `Exist`, `Inval`.
pub(crate) fn add_rule(ns: &mut Netns, family: Family, spec: RuleSpec) -> Result<(), Errno> {
    rule::add(ns, family, spec)
}

/// `ip rule del`.
///
/// `RuleAction::Lookup(0)` names no action: any will do.
///
/// # Errors
/// `NoEnt`.
pub(crate) fn delete_rule(ns: &mut Netns, family: Family, spec: &RuleSpec) -> Result<(), Errno> {
    rule::delete(ns, family, spec)
}

/// The answer where there is none.
pub(crate) fn no_route(flow: &Flow) -> Route {
    let _ = flow;
    nothing()
}

fn nothing() -> Route {
    Route {
        kind: RouteKind::None,
        dev: DevId::NONE,
        via: None,
        src: None,
        mtu: 0,
        mtu_lock: false,
        prefix_len: 0,
        table: 0,
        rule: 0,
        prov: ProvId(0),
    }
}

#[cfg(test)]
pub(crate) mod tests;
