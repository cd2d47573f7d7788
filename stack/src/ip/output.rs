//! The way out: `ip_local_out`, `ip_output`, `ip_finish_output` (`net/ipv4/ip_output.c`, `net/ipv6/ip6_output.c`).

use std::net::IpAddr;

use crate::Cx;
use crate::addr::{Family, Mac};
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::ip::{frag, icmp, multicast, path_mtu, record_check, record_route};
use crate::neigh;
use crate::netfilter::hook::{Hook, HookState, HookVerdict, nf_hook};
use crate::netns::Netns;
use crate::route::{Route, RouteKind};
use crate::skb::Skb;
use crate::trace::{Check, CheckResult, Record, cause};
use crate::view::{ETH_HLEN, ethertype, proto, put16};

/// `ip_local_out`, `ip6_local_out`, with the records that it begins with: a packet of our own, whose `route` is set, whose
/// frame begins with its IP header (`l3` = 0), goes through OUTPUT. What is dropped on the way has been recorded; the reason
/// comes back for the socket's errno.
pub(crate) fn ip_local_out(ns: &mut Netns, cx: &mut Cx<'_>, mut skb: Skb) -> Result<(), DropReason> {
    let frame = cx.snap_made(&mut skb.packet);
    cx.record(skb.id(), Record::Originate { socket: skb.owner.map(|owner| owner.socket), frame });
    match local_out(ns, cx, &mut skb) {
        Ok(HookVerdict::Accept) => ip_output(ns, cx, &mut skb),
        Ok(HookVerdict::Stolen) => Ok(()),
        Err(reason) => {
            ns.finish(cx, skb, reason);
            Err(reason)
        }
    }
}

fn local_out(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<HookVerdict, DropReason> {
    let route = skb.route.expect("a packet of our own has been routed");
    record_route(cx, skb.id(), &route);
    leads_out(&route)?;
    if skb.family.is_none() {
        skb.parse_at(0)?;
    }
    skb.dev = route.dev;
    skb.iif = DevId::NONE;
    let state = HookState { hook: Hook::Output, family: skb.ip_version(), indev: None, outdev: Some(route.dev) };
    if nf_hook(ns, cx, &state, skb)? == HookVerdict::Stolen {
        return Ok(HookVerdict::Stolen);
    }
    // Where a rule changed what the route depends on, OUTPUT has looked it up anew (ip_route_me_harder), and recorded it.
    let again = skb.route.expect("OUTPUT replaces a route, it takes none away");
    leads_out(&again)?;
    skb.dev = again.dev;
    Ok(HookVerdict::Accept)
}

fn leads_out(route: &Route) -> Result<(), DropReason> {
    match route.kind {
        RouteKind::Local | RouteKind::Unicast | RouteKind::Broadcast | RouteKind::Multicast => Ok(()),
        RouteKind::Blackhole => Err(DropReason::IpBlackhole),
        RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::None => Err(DropReason::IpOutNoRoutes),
    }
}

/// `ip_output`, `ip_mc_output`, `ip6_output`: through POSTROUTING and out of the route's device. Ends the packet or takes it; what is
/// dropped has been recorded.
pub(crate) fn ip_output(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<(), DropReason> {
    match post_routing(ns, cx, skb) {
        Ok(HookVerdict::Accept) => ip_finish_output(ns, cx, skb),
        Ok(HookVerdict::Stolen) => Ok(()),
        Err(reason) => {
            ns.end(cx, skb, reason);
            Err(reason)
        }
    }
}

fn post_routing(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<HookVerdict, DropReason> {
    let route = skb.route.expect("a packet leaves by its route");
    let family = skb.ip_version();
    let indev = (skb.iif != DevId::NONE).then_some(skb.iif);
    skb.dev = route.dev;
    if family == Family::V6 && ns.devices.get(route.dev).conf6.disable_ipv6 {
        return Err(DropReason::Ipv6Disabled);
    }
    if indev.is_none() && matches!(route.kind, RouteKind::Broadcast | RouteKind::Multicast) {
        loop_back(ns, cx, skb, &route);
    }
    nf_hook(ns, cx, &HookState { hook: Hook::PostRouting, family, indev, outdev: Some(route.dev) }, skb)
}

/// `ip_mc_output`: a broadcast of our own is for us as well, and so is a multicast to a group that we listen to. The copy passes
/// POSTROUTING first, and comes in through the device that the original leaves by (`dev_loopback_xmit`).
fn loop_back(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, route: &Route) {
    let device = ns.devices.get(route.dev);
    let ours = route.kind == RouteKind::Broadcast || multicast::is_member(ns, route.dev, skb.dst());
    // Neighbour discovery does not hear itself (MC6_LOOP is off on its socket): a probe for our own address would find it taken.
    let of_kernel = skb.owner.is_none() && skb.l4proto == proto::ICMPV6;
    // Nor does a tunnel hear its own outer packets (IP_MULTICAST_LOOP is off).
    if device.is_loopback() || !ours || of_kernel || skb.depth > 0 {
        return;
    }
    let (mac, family) = (device.mac, skb.ip_version());
    let packet = cx.copy(&skb.packet, cause::FLOOD_COPY);
    let frame = cx.snap(packet.bytes());
    cx.record(packet.id(), Record::Resume { dev: route.dev, frame });
    let mut copy = Skb { packet, owner: None, ..*skb };
    let state = HookState { hook: Hook::PostRouting, family, indev: None, outdev: Some(route.dev) };
    match nf_hook(ns, cx, &state, &mut copy) {
        Ok(HookVerdict::Accept) => {}
        Ok(HookVerdict::Stolen) => return,
        Err(reason) => return ns.finish(cx, copy, reason),
    }
    cx.record(copy.id(), Record::Queue { dev: route.dev });
    let l3 = usize::from(copy.l3);
    copy.packet.pull(l3);
    let header = copy.packet.push(ETH_HLEN);
    header[..6].copy_from_slice(&Mac::BROADCAST.0);
    header[6..12].copy_from_slice(&mac.0);
    put16(header, 12, if family == Family::V4 { ethertype::IPV4 } else { ethertype::IPV6 });
    copy.l4 = copy.l4 - copy.l3 + ETH_HLEN as u16;
    copy.l3 = ETH_HLEN as u16;
    ns.requeue(cx, route.dev, copy);
}

/// `ip_finish_output`: cuts what is too large, asks the neighbour table.
fn ip_finish_output(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<(), DropReason> {
    let route = skb.route.expect("a packet leaves by its route");
    let family = skb.ip_version();
    let len = skb.ip_len();
    let next_hop = route.via.unwrap_or_else(|| skb.dst());
    let mtu = path_mtu(ns, family, &route, skb.iif != DevId::NONE);
    // What came as fragments leaves as fragments, no larger than they were.
    let most = if skb.frag_max != 0 { mtu.min(u32::from(skb.frag_max)) } else { mtu };
    if len <= most as usize {
        return neigh::output(ns, cx, skb, next_hop);
    }
    let may_cut = match family {
        Family::V4 => !skb.dont_fragment() || (skb.frag_max != 0 && u32::from(skb.frag_max) <= mtu),
        // Only its sender may cut an IPv6 packet, and whoever put it together.
        Family::V6 => skb.iif == DevId::NONE || (skb.frag_max != 0 && u32::from(skb.frag_max) <= mtu),
    };
    if !may_cut {
        record_check(cx, skb.id(), Check::Mtu, CheckResult::Fail, mtu);
        match family {
            Family::V4 => icmp::icmp_send(ns, cx, skb, icmp::V4_DEST_UNREACH, icmp::V4_FRAG_NEEDED, mtu),
            Family::V6 => icmp::icmp_send(ns, cx, skb, icmp::V6_PACKET_TOO_BIG, 0, mtu),
        }
        ns.end(cx, skb, DropReason::PktTooBig);
        return Err(DropReason::PktTooBig);
    }
    fragment_and_send(ns, cx, skb.take(), most, next_hop)
}

fn fragment_and_send(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb, mtu: u32, next_hop: IpAddr) -> Result<(), DropReason> {
    let pieces = match frag::cut(ns, cx, &skb, mtu) {
        Ok(pieces) => pieces,
        Err(reason) => {
            ns.finish(cx, skb, reason);
            return Err(reason);
        }
    };
    cx.record(skb.id(), Record::Consume { children: pieces.len() as u16 });
    cx.recycle(skb.packet);
    let mut answer = Ok(());
    for mut piece in pieces {
        let sent = neigh::output(ns, cx, &mut piece, next_hop);
        answer = answer.and(sent);
    }
    answer
}
