//! The way of an IP packet: [`input`], [`forward`], [`output`], [`local`] delivery, [`icmp`], fragments ([`frag`]).

pub mod forward;
pub mod frag;
pub mod icmp;
pub mod icmp_input;
pub mod input;
pub mod local;
pub mod multicast;
pub mod output;

use sim_core::PacketId;

use crate::Cx;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::netns::Netns;
use crate::route::{Flow, Route};
use crate::skb::Skb;
use crate::trace::{Check, CheckResult, Record};

/// What a route lookup is asked for a packet that came in.
pub(crate) fn flow_of(skb: &Skb) -> Flow {
    let (sport, dport) = skb.ports().unwrap_or_default();
    Flow {
        family: skb.ip_version(),
        src: skb.src(),
        dst: skb.dst(),
        iif: skb.dev,
        oif: DevId::NONE,
        mark: skb.mark,
        tos: skb.tos(),
        proto: skb.l4proto,
        sport,
        dport,
        uid: 0,
    }
}

/// Writes down where a lookup led.
#[inline]
pub(crate) fn record_route(cx: &mut Cx<'_>, packet: PacketId, route: &Route) {
    cx.record(
        packet,
        Record::Route {
            kind: route.kind,
            dev: route.dev,
            prefix_len: route.prefix_len,
            table: route.table,
            rule: route.rule,
            via: route.via,
            prov: route.prov,
        },
    );
}

/// Writes down what a check said.
#[inline]
pub(crate) fn record_check(cx: &mut Cx<'_>, packet: PacketId, check: Check, result: CheckResult, value: u32) {
    cx.record(packet, Record::Check { check, result, value });
}

/// `ip_dst_mtu_maybe_forward`, `ip6_dst_mtu_maybe_forward`: the largest packet that a route takes. IPv6 ignores the MTU of a route for
/// what it forwards, unless it is locked.
pub(crate) fn path_mtu(ns: &Netns, family: Family, route: &Route, forwarded: bool) -> u32 {
    let of_route = route.mtu != 0 && (family == Family::V4 || !forwarded || route.mtu_lock);
    let mtu = if of_route { route.mtu } else { ns.devices.get(route.dev).mtu };
    match family {
        Family::V4 => mtu.min(65_535),
        Family::V6 => mtu.clamp(1280, 65_575),
    }
}

/// `__ip_select_ident`: the identification of a packet of our own. Drawn, but never logged as a choice: nothing depends on it.
pub(crate) fn ip_ident(ns: &mut Netns, cx: &Cx<'_>) -> u16 {
    ns.ip_ids += 1;
    let draw = sim_core::choice::hash(cx.seed(), crate::trace::purpose::IP_ID, u64::from(cx.node().0), ns.ip_ids);
    draw as u16
}
