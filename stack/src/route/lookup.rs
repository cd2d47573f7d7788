//! The lookup: rules, tables, next hops (`fib_lookup`, `fib_table_lookup`, `fib6_rule_lookup`, `fib_select_multipath`).

use std::net::IpAddr;

use sim_core::choice::Arms;

use super::fib::{At, FibRoute, Hop, Table, bits, scope, table};
use super::rule::{self, DEFAULT_RULE, LOCAL_RULE, MAIN_RULE};
use super::{Flow, LOOPBACK, Route, RouteKind, RuleAction, SpecKind};
use crate::Cx;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::netns::Netns;
use crate::trace::{Record, purpose};

/// At most this many flows are remembered with their leg of a multipath route. Those beyond take the same leg each time too,
/// but are not choice points.
const LEGS_LIMIT: usize = 1 << 16;

/// One lookup: the flow, and how to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'f> {
    pub(crate) flow: &'f Flow,
    /// Next hops through other devices are passed over (IPv4), or count less (IPv6).
    pub(crate) oif: DevId,
    /// IPv6, `RT6_LOOKUP_F_IFACE`: they are passed over there as well.
    pub(crate) strict: bool,
    /// Routes of a wider scope are passed over: link, when a gateway is looked for.
    pub(crate) scope: u8,
    /// `FIB_LOOKUP_IGNORE_LINKSTATE`.
    pub(crate) ignore_linkstate: bool,
}

impl<'f> Query<'f> {
    pub(crate) fn new(flow: &'f Flow, oif: DevId) -> Query<'f> {
        Query { flow, oif, strict: false, scope: scope::UNIVERSE, ignore_linkstate: false }
    }
}

/// A route that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hit {
    pub(crate) table: u32,
    pub(crate) rule: u32,
    pub(crate) at: At,
    pub(crate) kind: SpecKind,
}

/// What the rules said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// A route.
    Hit(Hit),
    /// A rule that ends the lookup itself.
    Rule(RouteKind, u32),
    /// Nothing.
    Nothing,
}

/// `fib_lookup`, `fib6_rule_lookup`.
#[inline]
pub(crate) fn fib_lookup(ns: &Netns, query: &Query<'_>) -> Found {
    let rib = ns.routes.get(query.flow.family);
    if rib.rules.is_some() {
        return by_rules(ns, query);
    }
    let address = bits(query.flow.dst);
    let local = in_table(ns, &rib.local, query, address);
    match query.flow.family {
        Family::V4 => merged(ns, query, address, local),
        Family::V6 => {
            if let Some((at, kind)) = local.filter(|found| found.1 != SpecKind::Throw) {
                return Found::Hit(Hit { table: table::LOCAL, rule: LOCAL_RULE, at, kind });
            }
            match in_table(ns, &rib.main, query, address).filter(|found| found.1 != SpecKind::Throw) {
                Some((at, kind)) => Found::Hit(Hit { table: table::MAIN, rule: MAIN_RULE, at, kind }),
                None => Found::Nothing,
            }
        }
    }
}

/// Until a rule is added or deleted, IPv4 keeps `local` and `main` in one trie (`fib_unmerge`): the longer prefix of the two
/// wins, and `local` among equals.
#[inline]
fn merged(ns: &Netns, query: &Query<'_>, address: u128, local: Option<(At, SpecKind)>) -> Found {
    let rib = &ns.routes.v4;
    let local = local.map(|(at, kind)| Hit { table: table::LOCAL, rule: LOCAL_RULE, at, kind });
    if let Some(hit) = local
        && hit.at.len == 32
        && hit.kind != SpecKind::Throw
    {
        return Found::Hit(hit);
    }
    let main = in_table(ns, &rib.main, query, address)
        .map(|(at, kind)| Hit { table: table::MAIN, rule: MAIN_RULE, at, kind })
        .filter(|main| local.is_none_or(|local| local.at.len < main.at.len));
    if let Some(hit) = main.or(local).filter(|hit| hit.kind != SpecKind::Throw) {
        return Found::Hit(hit);
    }
    let default = rib.others.get(&table::DEFAULT).and_then(|routes| in_table(ns, routes, query, address));
    match default.filter(|found| found.1 != SpecKind::Throw) {
        Some((at, kind)) => Found::Hit(Hit { table: table::DEFAULT, rule: DEFAULT_RULE, at, kind }),
        None => Found::Nothing,
    }
}

/// `fib_rules_lookup`: the rules in turn. `goto` leads forward only, so this ends.
fn by_rules(ns: &Netns, query: &Query<'_>) -> Found {
    let rib = ns.routes.get(query.flow.family);
    let rules = rib.rules.as_deref().unwrap_or_default();
    let address = bits(query.flow.dst);
    let mut at = 0;
    while let Some(spec) = rules.get(at) {
        at += 1;
        if !rule::matches(ns, spec, query.flow) {
            continue;
        }
        let priority = spec.priority.unwrap_or(0);
        match spec.action {
            RuleAction::Nop => {}
            // A target that is not there counts as none.
            RuleAction::Goto(target) => {
                let next = rules.partition_point(|rule| rule.priority.unwrap_or(0) < target);
                if rules.get(next).is_some_and(|rule| rule.priority == Some(target)) {
                    at = at.max(next);
                }
            }
            RuleAction::Blackhole => return Found::Rule(RouteKind::Blackhole, priority),
            // Network, not host, unreachable: as if there were no route.
            RuleAction::Unreachable => return Found::Rule(RouteKind::None, priority),
            RuleAction::Prohibit => return Found::Rule(RouteKind::Prohibit, priority),
            RuleAction::Lookup(id) => {
                let Some((found, kind)) = rib.table(id).and_then(|routes| in_table(ns, routes, query, address)) else { continue };
                if kind == SpecKind::Throw {
                    continue;
                }
                let refused = matches!(kind, SpecKind::Blackhole | SpecKind::Unreachable | SpecKind::Prohibit);
                if !refused && spec.suppress_prefixlength.is_some_and(|longest| found.len <= longest) {
                    continue;
                }
                return Found::Hit(Hit { table: id, rule: priority, at: found, kind });
            }
        }
    }
    Found::Nothing
}

/// `fib_table_lookup`, `fib6_table_lookup`. A `throw` is found like any other: it ends the lookup in this table.
#[inline]
pub(crate) fn in_table(ns: &Netns, routes: &Table, query: &Query<'_>, address: u128) -> Option<(At, SpecKind)> {
    let at = match query.flow.family {
        Family::V4 => routes.longest(address, |routes| first_usable(ns, query, routes)),
        Family::V6 => routes.longest(address, |routes| best_scored(ns, query, routes)),
    }?;
    Some((at, routes.at(at).kind))
}

fn is_refusal(kind: SpecKind) -> bool {
    matches!(kind, SpecKind::Blackhole | SpecKind::Unreachable | SpecKind::Prohibit | SpecKind::Throw)
}

/// IPv4: the first route of the prefix whose TOS and scope fit and that has a usable next hop.
#[inline]
fn first_usable(ns: &Netns, query: &Query<'_>, routes: &[FibRoute]) -> Option<(u16, u16)> {
    for (at, route) in routes.iter().enumerate() {
        if (route.tos != 0 && route.tos != rule::dsfield(query.flow)) || route.scope < query.scope {
            continue;
        }
        if is_refusal(route.kind) {
            return Some((at as u16, 0));
        }
        let usable = |hop: &Hop| is_usable(ns, query, hop) && (query.oif == DevId::NONE || query.oif == hop.dev);
        if let Some(hop) = route.hops.iter().position(usable) {
            return Some((at as u16, hop as u16));
        }
    }
    None
}

/// IPv6, `find_rr_leaf`: among the routes of the lowest metric the one with the best score (device, then router preference); the
/// others only where none of them will do. The reachability of routers (`rt6_check_neigh`) is not part of the score here.
fn best_scored(ns: &Netns, query: &Query<'_>, routes: &[FibRoute]) -> Option<(u16, u16)> {
    let mut best: Option<(u32, u8, (u16, u16))> = None;
    for (at, route) in routes.iter().enumerate() {
        if best.is_some_and(|(metric, _, _)| metric < route.metric) {
            break;
        }
        let offer = if is_refusal(route.kind) {
            Some((0, 0))
        } else {
            let scored = route.hops.iter().enumerate().filter(|(_, hop)| is_usable(ns, query, hop)).filter_map(|(at, hop)| {
                let same = query.oif == DevId::NONE || query.oif == hop.dev;
                (same || !query.strict).then(|| (at as u16, u8::from(same) * 2 + (preference(route.pref) << 2)))
            });
            // The first of the best.
            scored
                .fold(None, |best: Option<(u16, u8)>, next| if best.is_none_or(|best| next.1 > best.1) { Some(next) } else { best })
        };
        if let Some((hop, score)) = offer
            && best.is_none_or(|(_, best, _)| score > best)
        {
            best = Some((route.metric, score, (at as u16, hop)));
        }
    }
    best.map(|(_, _, place)| place)
}

/// `IPV6_DECODE_PREF`: low 0, medium 1, high 2 of the bits 3, 0, 1.
fn preference(pref: u8) -> u8 {
    (pref ^ 2).saturating_sub(1).min(2)
}

#[inline]
fn is_usable(ns: &Netns, query: &Query<'_>, hop: &Hop) -> bool {
    if hop.dead {
        return false;
    }
    if query.ignore_linkstate || hop.scope == scope::NOWHERE {
        return true;
    }
    let device = ns.devices.get(hop.dev);
    device.carrier
        || !match query.flow.family {
            Family::V4 => device.conf4.ignore_routes_with_linkdown,
            Family::V6 => device.conf6.ignore_routes_with_linkdown,
        }
}

/// `fib_select_multipath`: the leg of a flow. The choice is drawn once for each value of what the hash policy looks at; a leg
/// whose device has the flow's source address is preferred, as since Linux 6.16.
pub(crate) fn select_leg(ns: &mut Netns, cx: &mut Cx<'_>, query: &Query<'_>, hit: &mut Hit, source: Option<IpAddr>) {
    let family = query.flow.family;
    let routes = ns.routes.get(family);
    let Some(route) = routes.table(hit.table).map(|table| table.at(hit.at)) else { return };
    let mut legs = [(0u16, 0u32); MAX_LEGS];
    let mut count = 0;
    let mut total = 0;
    let preferred =
        |hop: &Hop| source.is_some_and(|source| ns.devices.get(hop.dev).addrs.iter().any(|addr| addr.address == source));
    let prefer =
        family == Family::V4 && source.is_some() && route.hops.iter().any(|hop| is_usable(ns, query, hop) && preferred(hop));
    // `fib_good_nh`: a gateway that is known not to answer is passed over.
    let use_neigh = family == Family::V4 && ns.sysctls.fib_multipath_use_neigh;
    let silent = |hop: &Hop| use_neigh && hop.via.is_some_and(|via| ns.neighbours.is_silent(hop.dev, via));
    for (at, hop) in route.hops.iter().enumerate() {
        let elsewhere = (query.strict && hop.dev != query.oif) || silent(hop);
        if count == MAX_LEGS || elsewhere || !is_usable(ns, query, hop) || (prefer && !preferred(hop)) {
            continue;
        }
        total += hop.weight.max(1);
        legs[count] = (at as u16, total);
        count += 1;
    }
    if count <= 1 {
        hit.at.hop = if count == 1 { legs[0].0 } else { hit.at.hop };
        return;
    }
    let equal = (1..count).all(|leg| legs[leg].1 - legs[leg - 1].1 == legs[0].1);
    let arms = if equal { count as u32 } else { total };
    let arm = draw(ns, cx, query.flow, arms);
    let leg = if equal { arm as usize } else { legs[..count].partition_point(|&(_, upper)| upper <= arm) };
    hit.at.hop = legs[leg.min(count - 1)].0;
}

/// Next hops of one route that are told apart.
pub(crate) const MAX_LEGS: usize = 64;

/// The number that a flow draws among `arms`: always the same one.
fn draw(ns: &mut Netns, cx: &mut Cx<'_>, flow: &Flow, arms: u32) -> u32 {
    let key = flow_key(ns, flow, arms);
    let legs = &mut ns.routes.get_mut(flow.family).legs;
    if let Some(&arm) = legs.get(&key) {
        return arm;
    }
    if legs.len() >= LEGS_LIMIT {
        let number = sim_core::choice::hash(cx.seed(), purpose::MULTIPATH, key, 0);
        return ((u128::from(number) * u128::from(arms)) >> 64) as u32;
    }
    let choice = cx.decide(purpose::MULTIPATH, key, Arms::Equal(arms));
    legs.insert(key, choice.arm);
    let draw = choice.key.draw;
    cx.record(crate::trace::NO_PACKET, Record::Choice { purpose: purpose::MULTIPATH.0, key, draw, arm: choice.arm });
    choice.arm
}

/// `fib_multipath_hash`, `rt6_multipath_hash`: what `fib_multipath_hash_policy` looks at, under the name of the namespace (each host
/// has its own seed): 0 the addresses (and the protocol in IPv6), 1 the ports as well, 3 its default fields (addresses and protocol).
/// 2 would look into tunnels: here it is 0.
fn flow_key(ns: &Netns, flow: &Flow, arms: u32) -> u64 {
    let mut bytes = [0u8; 48];
    bytes[..8].copy_from_slice(&sim_core::choice::key_of(ns.name.as_bytes()).to_be_bytes());
    bytes[8..24].copy_from_slice(&bits(flow.src).to_be_bytes());
    bytes[24..40].copy_from_slice(&bits(flow.dst).to_be_bytes());
    let policy = ns.sysctls.fib_multipath_hash_policy;
    let by_ports = policy == 1;
    if by_ports {
        bytes[40..42].copy_from_slice(&flow.sport.to_be_bytes());
        bytes[42..44].copy_from_slice(&flow.dport.to_be_bytes());
    }
    if by_ports || policy == 3 || flow.family == Family::V6 {
        bytes[44] = flow.proto;
    }
    bytes[45] = arms as u8;
    bytes[46] = u8::from(flow.family == Family::V6);
    sim_core::choice::key_of(&bytes)
}

/// The answer for a hit: its next hop, its device, and where it was found.
#[inline]
pub(crate) fn answer(ns: &Netns, family: Family, hit: &Hit) -> Route {
    let table = ns.routes.get(family).table(hit.table).expect("a hit names the table that it was found in");
    let route = table.at(hit.at);
    let hop = route.hops.get(hit.at.hop as usize);
    let kind = kind_of(hit.kind);
    let dev = match kind {
        RouteKind::Unicast => hop.map_or(DevId::NONE, |hop| hop.dev),
        // IPv6 multicast and IPv4 broadcast leave by their device; a packet that came in looks only at the kind.
        RouteKind::Broadcast | RouteKind::Multicast => hop.map_or(LOOPBACK, |hop| hop.dev),
        _ => LOOPBACK,
    };
    Route {
        kind,
        dev,
        via: hop.filter(|hop| hop.scope == scope::LINK).and_then(|hop| hop.via),
        src: route.src,
        mtu: route.mtu,
        mtu_lock: route.mtu_lock,
        prefix_len: hit.at.len,
        table: hit.table,
        rule: hit.rule,
        prov: route.prov,
    }
}

/// The word of the trace for the type of a route.
pub(crate) fn kind_of(kind: SpecKind) -> RouteKind {
    match kind {
        SpecKind::Unicast => RouteKind::Unicast,
        // Delivered here.
        SpecKind::Local | SpecKind::Anycast => RouteKind::Local,
        SpecKind::Broadcast => RouteKind::Broadcast,
        SpecKind::Multicast => RouteKind::Multicast,
        SpecKind::Blackhole => RouteKind::Blackhole,
        SpecKind::Unreachable => RouteKind::Unreachable,
        SpecKind::Prohibit => RouteKind::Prohibit,
        SpecKind::Throw => RouteKind::None,
    }
}
