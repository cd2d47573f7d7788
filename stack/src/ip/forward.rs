//! Through this namespace: `ip_forward` (`net/ipv4/ip_forward.c`), `ip6_forward` (`net/ipv6/ip6_output.c`).

use std::net::{IpAddr, Ipv6Addr};

use crate::Cx;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::ip::{flow_of, icmp, output, path_mtu, record_check};
use crate::netfilter::hook::{Hook, HookState, HookVerdict, nf_hook};
use crate::netns::Netns;
use crate::route::{self, Flow, Route};
use crate::skb::{PktType, Skb};
use crate::trace::{Check, CheckResult, Record};

/// `ip_forward`, `ip6_forward`: a packet whose route leads out of a device. Ends it, or takes it.
pub(crate) fn ip_forward(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) {
    match forward(ns, cx, skb) {
        // What is dropped on the way out has been recorded there, and there is nobody to tell.
        Ok(HookVerdict::Accept) => {
            let _ = output::ip_output(ns, cx, skb);
        }
        Ok(HookVerdict::Stolen) => {}
        Err(reason) => ns.end(cx, skb, reason),
    }
}

fn forward(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<HookVerdict, DropReason> {
    if skb.pkt_type != PktType::Host {
        // Only frames that were meant for us.
        return Err(DropReason::UnicastInL2Multicast);
    }
    let route = skb.route.expect("a packet is forwarded by its route");
    let family = skb.ip_version();
    check_options(skb)?;
    let hop_limit = skb.hop_limit();
    if hop_limit <= 1 {
        record_check(cx, skb.id(), Check::HopLimit, CheckResult::Fail, u32::from(hop_limit));
        icmp::time_exceeded(ns, cx, skb);
        return Err(DropReason::IpTtlExceeded);
    }
    if family == Family::V6 {
        check_source6(ns, cx, skb)?;
    }
    check_mtu(ns, cx, skb, &route)?;
    skb.set_hop_limit(hop_limit - 1);
    cx.record(skb.id(), Record::HopLimit { old: hop_limit, new: hop_limit - 1 });
    if route.dev == skb.dev && family == Family::V4 {
        redirect(ns, cx, skb, &route);
    }
    let state = HookState { hook: Hook::Forward, family, indev: Some(skb.dev), outdev: Some(route.dev) };
    nf_hook(ns, cx, &state, skb)
}

/// `ip_forward_options`: options that a router writes to are not modelled.
fn check_options(skb: &Skb) -> Result<(), DropReason> {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const ROUTER_ALERT: u8 = 148;
    if skb.ip_version() == Family::V6 || skb.l4 == skb.l3 + 20 {
        return Ok(());
    }
    let mut options = &skb.packet.bytes()[usize::from(skb.l3) + 20..usize::from(skb.l4)];
    while let Some((&kind, rest)) = options.split_first() {
        options = match kind {
            END => return Ok(()),
            NOP => rest,
            ROUTER_ALERT => options.get(4..).ok_or(DropReason::IpInHdr)?,
            _ => return Err(DropReason::Unsupported),
        };
    }
    Ok(())
}

/// RFC 4291, 2.5: sources that no router passes on.
fn check_source6(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb) -> Result<(), DropReason> {
    const NOT_NEIGHBOUR: u8 = 2;
    let IpAddr::V6(src) = skb.src() else { return Ok(()) };
    if src.is_unspecified() || src == Ipv6Addr::LOCALHOST {
        return Err(DropReason::IpInAddrErrors);
    }
    if src.is_unicast_link_local() {
        icmp::icmp_send(ns, cx, skb, icmp::V6_DEST_UNREACH, NOT_NEIGHBOUR, 0);
        return Err(DropReason::IpInAddrErrors);
    }
    Ok(())
}

/// `ip_exceeds_mtu`, `ip6_pkt_too_big`.
fn check_mtu(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, route: &Route) -> Result<(), DropReason> {
    let family = skb.ip_version();
    let mtu = path_mtu(ns, family, route, true);
    if skb.ip_len() <= mtu as usize {
        return Ok(());
    }
    // What came as fragments leaves as fragments, as large as they were.
    let was_fragmented = skb.frag_max != 0 && u32::from(skb.frag_max) <= mtu;
    if !skb.dont_fragment() || was_fragmented {
        return Ok(());
    }
    record_check(cx, skb.id(), Check::Mtu, CheckResult::Fail, mtu);
    match family {
        Family::V4 => icmp::icmp_send(ns, cx, skb, icmp::V4_DEST_UNREACH, icmp::V4_FRAG_NEEDED, mtu),
        Family::V6 => icmp::icmp_send(ns, cx, skb, icmp::V6_PACKET_TOO_BIG, 0, mtu),
    }
    Err(DropReason::PktTooBig)
}

/// `ip_rt_send_redirect`: the packet leaves where it came in, and its sender could have reached the next hop itself. Sent before
/// FORWARD is asked.
fn redirect(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, route: &Route) {
    const REDIRECT_HOST: u8 = 1;
    let conf = &ns.devices.get(skb.dev).conf4;
    let all = &ns.sysctls.all4;
    if !(conf.send_redirects || all.send_redirects) {
        return;
    }
    let shared_media = conf.shared_media || all.shared_media;
    let gateway = match (route.via, skb.dst()) {
        (Some(IpAddr::V4(gateway)), _) | (None, IpAddr::V4(gateway)) => gateway,
        _ => return,
    };
    // fib_validate_source answers 1 only for a source on this link.
    let back = Flow { src: skb.dst(), dst: skb.src(), iif: DevId::NONE, oif: skb.dev, ..flow_of(skb) };
    let to_source = route::route_output(ns, cx, &back);
    if to_source.via.is_some() || to_source.dev != skb.dev {
        return;
    }
    if !shared_media && !on_link(ns, skb, gateway.into()) {
        return;
    }
    if icmp::redirect_allowed(ns, cx, skb.src()) {
        icmp::icmp_send(ns, cx, skb, icmp::V4_REDIRECT, REDIRECT_HOST, gateway.into());
    }
}

/// `inet_addr_onlink`: whether sender and gateway are of one subnet of the device.
fn on_link(ns: &Netns, skb: &Skb, gateway: IpAddr) -> bool {
    ns.devices
        .get(skb.dev)
        .addrs
        .iter()
        .filter(|at| !at.secondary)
        .any(|at| ipnet::IpNet::new(at.peer, at.prefix_len).is_ok_and(|net| net.contains(&skb.src()) && net.contains(&gateway)))
}
