//! The way in: `ip_rcv`, `ipv6_rcv` (`net/ipv4/ip_input.c`, `net/ipv6/ip6_input.c`), and the part of `net/ipv4/route.c` that judges
//! the addresses of what came in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sim_core::Memo;

use crate::Cx;
use crate::addr::Family;
use crate::drop_reason::DropReason;
use crate::ip::{flow_of, forward, icmp, local, multicast, record_check, record_route};
use crate::netfilter::hook::{Hook, HookState, HookVerdict, nf_hook};
use crate::netns::Netns;
use crate::route::cache::{self, Admitted, InputKey};
use crate::route::{self, Flow, Route, RouteKind};
use crate::skb::{PktType, Skb};
use crate::trace::{Check, CheckResult};
use crate::view::{self, be16};

/// What becomes of a packet behind PREROUTING, in the order of the figure of the hooks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Input {
    /// To this namespace.
    Local,
    /// Through it.
    Forward,
    /// Taken over by a hook.
    Stolen,
}

/// `ip_rcv`, `ipv6_rcv`: an IP packet that came in through `skb.dev`, `skb.l3` set. Ends it, or takes it.
pub(crate) fn ip_rcv(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) {
    match receive(ns, cx, skb) {
        Ok(Input::Local) => local::ip_local_deliver(ns, cx, skb.take()),
        Ok(Input::Forward) => forward::ip_forward(ns, cx, skb),
        Ok(Input::Stolen) => {}
        Err(reason) => ns.end(cx, skb, reason),
    }
}

fn receive(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<Input, DropReason> {
    if skb.pkt_type == PktType::OtherHost {
        return Err(DropReason::OtherHost);
    }
    if let Err(reason) = validate(ns, skb) {
        if !matches!(reason, DropReason::Ipv6Disabled) {
            record_check(cx, skb.id(), Check::Header, CheckResult::Fail, 0);
        }
        return Err(reason);
    }
    // ip_sabotage_in: what came up from a bridge with br_netfilter has been through PREROUTING.
    if skb.bridge.is_none() {
        let before = skb.route.map(|_| skb.dst());
        let state = HookState { hook: Hook::PreRouting, family: skb.ip_version(), indev: Some(skb.dev), outdev: None };
        if nf_hook(ns, cx, &state, skb)? == HookVerdict::Stolen {
            return Ok(Input::Stolen);
        }
        // A packet through loopback keeps the route that it was sent by, unless it was sent elsewhere now.
        if before.is_some_and(|before| before != skb.dst()) {
            skb.route = None;
        }
    }
    if let Some(route) = skb.route {
        // Judged when it was sent, or by br_netfilter.
        return match route.kind {
            RouteKind::Local | RouteKind::Broadcast | RouteKind::Multicast => Ok(Input::Local),
            _ => decide(ns, cx, skb, &route),
        };
    }
    let key = input_key(ns, skb);
    if let Some(key) = &key
        && let Some((answer, memo)) = ns.inputs.get(key)
    {
        return Ok(admit(cx, skb, answer, memo));
    }
    let flow = flow_of(skb);
    let route = route_input(ns, cx, skb, &flow)?;
    skb.route = Some(route);
    let input = decide(ns, cx, skb, &route)?;
    if let Some(key) = key {
        let rp_filter = rp_filter(ns, skb);
        cache::remember(ns, key, &flow, Admitted { route, rp_filter });
    }
    Ok(input)
}

/// Under which key the decision about a packet is remembered; none where it is not. What [`decide`] asks of the frame
/// (`drop_unicast_in_l2_multicast`) holds for every frame that is for us alone.
#[inline]
fn input_key(ns: &Netns, skb: &Skb) -> Option<InputKey> {
    if skb.pkt_type != PktType::Host {
        return None;
    }
    if skb.ip_version() != Family::V4 {
        return None;
    }
    InputKey::new(ns, skb.ip().first_chunk()?, skb.dev)
}

/// Lets a packet in as others like it were, with the records that [`route_input`] and [`decide`] write.
#[inline]
fn admit(cx: &mut Cx<'_>, skb: &mut Skb, answer: &Admitted, memo: &mut Memo) -> Input {
    let Admitted { route, rp_filter } = answer;
    skb.route = Some(*route);
    let forward = route.kind == RouteKind::Unicast;
    cx.record_again(skb.id(), memo, |cx| {
        record_route(cx, skb.id(), route);
        if forward {
            record_check(cx, skb.id(), Check::Forwarding, CheckResult::Pass, 1);
        }
        record_rp_filter(cx, skb, Ok(()), *rp_filter);
    });
    if forward { Input::Forward } else { Input::Local }
}

/// `ip_rcv_core`, `ip6_rcv_core`: what must hold of a header before anybody looks at it. Trims the frame to the packet.
fn validate(ns: &Netns, skb: &mut Skb) -> Result<(), DropReason> {
    let v6 = be16(skb.packet.bytes(), usize::from(skb.l3) - 2) == view::ethertype::IPV6;
    if v6 && ns.devices.get(skb.dev).conf6.disable_ipv6 {
        return Err(DropReason::Ipv6Disabled);
    }
    match validate_header(skb)? {
        Family::V4 => Ok(()),
        Family::V6 => validate_addresses6(ns, skb),
    }
}

/// `br_validate_ipv4`, `br_validate_ipv6`: the part of it that knows no device. The EtherType stands in front of the header.
pub(crate) fn validate_header(skb: &mut Skb) -> Result<Family, DropReason> {
    let l3 = usize::from(skb.l3);
    if let Some(checked) = validate_plain_header(skb, l3) {
        return checked;
    }
    let family = if be16(skb.packet.bytes(), l3 - 2) == view::ethertype::IPV4 { Family::V4 } else { Family::V6 };
    let headers = skb.parse_at(l3)?;
    if headers.family != family {
        return Err(DropReason::IpInHdr);
    }
    if family == Family::V4 && view::ipv4_header_checksum(&skb.packet.bytes()[l3..l3 + header_len4(skb)]) != 0 {
        return Err(DropReason::IpCsum);
    }
    skb.packet.trim(usize::from(headers.end));
    Ok(family)
}

/// The most frequent header, of IPv4 without options, is read at once; none for any other.
#[inline]
fn validate_plain_header(skb: &mut Skb, l3: usize) -> Option<Result<Family, DropReason>> {
    let frame = skb.packet.bytes();
    let ip = frame.get(l3..)?;
    let header: &[u8; 20] = ip.first_chunk()?;
    if header[0] != 0x45 || be16(frame, l3 - 2) != view::ethertype::IPV4 {
        return None;
    }
    let total = usize::from(be16(header, 2));
    if ip.len() < total {
        return Some(Err(DropReason::PktTooSmall));
    }
    if total < header.len() {
        return Some(Err(DropReason::IpInHdr));
    }
    let (right, l4proto) = (view::ipv4_header_checksum(header) == 0, header[9]);
    skb.l4 = skb.l3 + header.len() as u16;
    skb.family = Some(Family::V4);
    skb.l4proto = l4proto;
    if !right {
        return Some(Err(DropReason::IpCsum));
    }
    skb.packet.trim(l3 + total);
    Some(Ok(Family::V4))
}

fn header_len4(skb: &Skb) -> usize {
    usize::from(skb.l4 - skb.l3)
}

/// RFC 4291, 2.5.3 and 2.7: addresses that must not come in through a wire.
fn validate_addresses6(ns: &Netns, skb: &Skb) -> Result<(), DropReason> {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (skb.src(), skb.dst()) else { return Err(DropReason::IpInHdr) };
    let device = ns.devices.get(skb.dev);
    let wire = !device.is_loopback();
    if wire && (src == Ipv6Addr::LOCALHOST || dst == Ipv6Addr::LOCALHOST) {
        return Err(DropReason::IpInAddrErrors);
    }
    if src.is_multicast() {
        return Err(DropReason::IpInAddrErrors);
    }
    // Interface-local groups do not leave the interface; scope 0 is reserved.
    if dst.is_multicast() && matches!(dst.octets()[1] & 15, 0 | 1) && wire {
        return Err(DropReason::IpInAddrErrors);
    }
    if !dst.is_multicast()
        && matches!(skb.pkt_type, PktType::Broadcast | PktType::Multicast)
        && (device.conf6.drop_unicast_in_l2_multicast || ns.sysctls.all6.drop_unicast_in_l2_multicast)
    {
        return Err(DropReason::UnicastInL2Multicast);
    }
    Ok(())
}

/// `ip_route_input_noref`, `ip6_route_input`: judges the addresses, looks up the route, records both.
pub(crate) fn route_input(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, flow: &Flow) -> Result<Route, DropReason> {
    let multicast = flow.dst.is_multicast();
    let limited_broadcast = flow.dst == IpAddr::V4(Ipv4Addr::BROADCAST);
    if let IpAddr::V4(src) = flow.src {
        check_source4(ns, skb, src)?;
    }
    if let (IpAddr::V4(src), IpAddr::V4(dst)) = (flow.src, flow.dst)
        && !multicast
        && !limited_broadcast
        && !(src.is_unspecified() && dst.is_unspecified())
    {
        check_destination4(ns, skb, dst)?;
        if src.is_loopback() && !route_localnet(ns, skb) {
            return Err(DropReason::IpLocalnet);
        }
    }
    if multicast || limited_broadcast || flow.dst.is_unspecified() {
        return to_group(ns, cx, skb, flow);
    }
    let route = route::route_input(ns, cx, flow);
    record_route(cx, skb.id(), &route);
    Ok(route)
}

/// A destination that no route is looked up for: a group, or everybody on the link.
fn to_group(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, flow: &Flow) -> Result<Route, DropReason> {
    let kind = if flow.dst.is_multicast() { RouteKind::Multicast } else { RouteKind::Broadcast };
    let bits = flow.family.bits();
    let route =
        Route { kind, dev: skb.dev, prefix_len: if kind == RouteKind::Multicast { 0 } else { bits }, ..route::no_route(flow) };
    record_route(cx, skb.id(), &route);
    if kind == RouteKind::Multicast && !multicast::is_member(ns, skb.dev, flow.dst) {
        return Err(DropReason::IpInAddrErrors);
    }
    Ok(route)
}

/// Martian sources that need no table: groups, broadcast, 0.0.0.0.
fn check_source4(ns: &Netns, skb: &Skb, src: Ipv4Addr) -> Result<(), DropReason> {
    let dst = skb.dst();
    let special = dst.is_multicast() || dst == IpAddr::V4(Ipv4Addr::BROADCAST);
    if src.is_multicast() || src.is_broadcast() {
        return Err(DropReason::IpInvalidSource);
    }
    if src.is_unspecified() {
        // DHCP: nobody speaks to everybody. The rest of 0/8 is as good as any address since Linux 5.3.
        return if special || dst.is_unspecified() { Ok(()) } else { Err(DropReason::IpInvalidSource) };
    }
    if special && src.is_loopback() && !route_localnet(ns, skb) {
        return Err(DropReason::IpInvalidSource);
    }
    Ok(())
}

fn check_destination4(ns: &Netns, skb: &Skb, dst: Ipv4Addr) -> Result<(), DropReason> {
    if dst.is_unspecified() {
        // ipv4_is_zeronet holds for 0.0.0.0 alone since Linux 5.3: the rest of 0/8 is routed.
        return Err(DropReason::IpInAddrErrors);
    }
    if dst.is_loopback() && !route_localnet(ns, skb) {
        return Err(DropReason::IpLocalnet);
    }
    Ok(())
}

fn route_localnet(ns: &Netns, skb: &Skb) -> bool {
    ns.sysctls.all4.route_localnet || ns.devices.get(skb.dev).conf4.route_localnet
}

/// What the route, the sysctls and the source say.
fn decide(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb, route: &Route) -> Result<Input, DropReason> {
    match route.kind {
        RouteKind::Local => {
            validate_source(ns, cx, skb)?;
            drop_unicast_in_l2_multicast(ns, skb)?;
            Ok(Input::Local)
        }
        RouteKind::Broadcast if bc_forwarding(ns, skb) => {
            validate_source(ns, cx, skb)?;
            Ok(Input::Forward)
        }
        RouteKind::Broadcast | RouteKind::Multicast => {
            if !skb.src().is_unspecified() {
                validate_source(ns, cx, skb)?;
            }
            Ok(Input::Local)
        }
        RouteKind::Unicast => {
            forwarding(ns, cx, skb)?;
            validate_source(ns, cx, skb)?;
            drop_unicast_in_l2_multicast(ns, skb)?;
            Ok(Input::Forward)
        }
        RouteKind::Blackhole => Err(DropReason::IpBlackhole),
        RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::None => {
            icmp::route_error(ns, cx, skb, route);
            Err(DropReason::IpInNoRoutes)
        }
    }
}

/// `ip_forward`, `forwarding`: of the input device in IPv4, of the namespace in IPv6.
fn forwarding(ns: &Netns, cx: &mut Cx<'_>, skb: &Skb) -> Result<(), DropReason> {
    if is_forwarding(ns, skb) {
        record_check(cx, skb.id(), Check::Forwarding, CheckResult::Pass, 1);
        Ok(())
    } else {
        record_check(cx, skb.id(), Check::Forwarding, CheckResult::Fail, 0);
        Err(DropReason::IpForwardingOff)
    }
}

/// Whether packets that came in where this one did are passed on.
pub(crate) fn is_forwarding(ns: &Netns, skb: &Skb) -> bool {
    match skb.ip_version() {
        Family::V4 => ns.devices.get(skb.dev).conf4.forwarding,
        Family::V6 => ns.sysctls.all6.forwarding,
    }
}

/// `IN_DEV_BFORWARD`: whether a broadcast of a network is passed on.
fn bc_forwarding(ns: &Netns, skb: &Skb) -> bool {
    skb.dst() != IpAddr::V4(Ipv4Addr::BROADCAST) && ns.sysctls.all4.bc_forwarding && ns.devices.get(skb.dev).conf4.bc_forwarding
}

/// `fib_validate_source`, with its record. What comes back through loopback is ours.
fn validate_source(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb) -> Result<(), DropReason> {
    if skb.ip_version() == Family::V6 || ns.devices.get(skb.dev).is_loopback() {
        return Ok(());
    }
    let answer = route::validate_source(ns, &flow_of(skb));
    if cx.tracing() {
        record_rp_filter(cx, skb, answer, rp_filter(ns, skb));
    }
    answer
}

fn rp_filter(ns: &Netns, skb: &Skb) -> u8 {
    ns.sysctls.all4.rp_filter.max(ns.devices.get(skb.dev).conf4.rp_filter)
}

fn record_rp_filter(cx: &mut Cx<'_>, skb: &Skb, answer: Result<(), DropReason>, filter: u8) {
    let result = match answer {
        Err(_) => CheckResult::Fail,
        Ok(()) if filter == 0 => CheckResult::Off,
        Ok(()) => CheckResult::Pass,
    };
    record_check(cx, skb.id(), Check::RpFilter, result, u32::from(filter));
}

/// RFC 1122, 3.3.6: a unicast packet in a broadcast frame.
fn drop_unicast_in_l2_multicast(ns: &Netns, skb: &Skb) -> Result<(), DropReason> {
    let conf = &ns.devices.get(skb.dev).conf4;
    let on = conf.drop_unicast_in_l2_multicast || ns.sysctls.all4.drop_unicast_in_l2_multicast;
    if on && skb.ip_version() == Family::V4 && matches!(skb.pkt_type, PktType::Broadcast | PktType::Multicast) {
        return Err(DropReason::UnicastInL2Multicast);
    }
    Ok(())
}
