//! The IP hooks for frames that a bridge passes on (`net/bridge/br_netfilter_hooks.c`).
//!
//! The rules see the bridge as device; the ports are what `-m physdev` matches. A frame that goes up has been through PREROUTING here
//! and does not go through it again. A frame whose destination DNAT changed to a neighbour on the same bridge gets that neighbour's
//! MAC and is bridged on, TTL and source MAC untouched.

use std::net::IpAddr;

use sim_core::SimTime;

use crate::Cx;
use crate::dev::bridge;
use crate::dev::device::DevId;
use crate::dev::source_mac;
use crate::drop_reason::DropReason;
use crate::ip::{flow_of, frag, input};
use crate::neigh::table::Key;
use crate::neigh::{self, NeighState};
use crate::netfilter::hook::{Hook, HookState, HookVerdict, nf_hook};
use crate::netns::Netns;
use crate::route::RouteKind;
use crate::skb::{BridgeInfo, BridgedDnat, PktType, Skb};
use crate::trace::Record;
use crate::view::{ETH_HLEN, be16, ethertype};

/// Permanent neighbours of a bridge whose first frame is remembered.
const CACHED_HEADERS_MAX: usize = 65_536;

/// What PREROUTING made of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bridging {
    /// On to the decision of the bridge.
    GoOn,
    /// DNAT sent it to a neighbour on the same bridge.
    ToNeighbour,
    /// A hook took it over.
    Stolen,
}

/// `br_nf_pre_routing`: a frame came in through a port. None: it was taken over, or it ended.
pub(crate) fn pre_routing(ns: &mut Netns, cx: &mut Cx<'_>, mut skb: Skb, bridge: DevId) -> Option<Skb> {
    let on = match be16(skb.packet.bytes(), 12) {
        ethertype::IPV4 => ns.sysctls.bridge_nf_call_iptables,
        ethertype::IPV6 => ns.sysctls.bridge_nf_call_ip6tables,
        _ => false,
    };
    if !on {
        return Some(skb);
    }
    let port = skb.dev;
    let bridging = enter(ns, cx, &mut skb, bridge);
    match bridging {
        Ok(Bridging::GoOn) => {
            skb.dev = port;
            Some(skb)
        }
        Ok(Bridging::ToNeighbour) => {
            let route = skb.route.expect("it was routed to a neighbour");
            let next_hop = route.via.unwrap_or_else(|| skb.dst());
            let source = source_mac(skb.packet.bytes()).unwrap_or_default();
            skb.bridged_dnat = Some(BridgedDnat { source, tapped: !has_cached_header(ns, cx.now(), bridge, next_hop) });
            skb.dev = bridge;
            // Comes back in `resume_bridged_dnat`; what is dropped on the way has been recorded.
            let _ = neigh::output(ns, cx, &mut skb, next_hop);
            None
        }
        Ok(Bridging::Stolen) => None,
        Err(reason) => {
            ns.finish(cx, skb, reason);
            None
        }
    }
}

fn enter(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb, bridge: DevId) -> Result<Bridging, DropReason> {
    let port = skb.dev;
    skb.l3 = ETH_HLEN as u16;
    let family = input::validate_header(skb)?;
    skb.bridge = Some(BridgeInfo { physin: Some(port), physout: None });
    skb.dev = bridge;
    let seen = skb.pkt_type;
    skb.pkt_type = host_instead(seen);
    let before = skb.dst();
    if nf_hook(ns, cx, &HookState { hook: Hook::PreRouting, family, indev: Some(bridge), outdev: None }, skb)?
        == HookVerdict::Stolen
    {
        return Ok(Bridging::Stolen);
    }
    skb.pkt_type = seen;
    if skb.dst() == before {
        return Ok(Bridging::GoOn);
    }
    skb.pkt_type = PktType::Host;
    let route = input::route_input(ns, cx, skb, &flow_of(skb))?;
    skb.route = Some(route);
    if route.kind == RouteKind::Unicast && route.dev == bridge && input::is_forwarding(ns, skb) {
        return Ok(Bridging::ToNeighbour);
    }
    // Up, to be routed or delivered.
    let own = ns.devices.get(bridge).mac;
    skb.packet.bytes_mut()[..6].copy_from_slice(&own.0);
    Ok(Bridging::GoOn)
}

/// The IP stack would not look at another host's frame; netfilter shall.
fn host_instead(kind: PktType) -> PktType {
    if kind == PktType::OtherHost { PktType::Host } else { kind }
}

/// `neigh->nud_state & NUD_CONNECTED && neigh->hh.hh_len`: whether the MAC is taken from the cache. A neighbour that was found
/// reachable has been sent to before; a permanent one may not have been.
fn has_cached_header(ns: &mut Netns, now: SimTime, bridge: DevId, next_hop: IpAddr) -> bool {
    let state = ns.neighbours.get_mut(Key::new(bridge, next_hop)).map(|entry| (entry.state, entry.fresh_until));
    match state {
        Some((NeighState::Reachable, fresh_until)) => now <= fresh_until,
        Some((NeighState::Permanent | NeighState::Noarp, _)) => {
            let Some(bridge) = ns.devices.bridge_mut(bridge) else { return false };
            if bridge.cached_headers.len() >= CACHED_HEADERS_MAX {
                return true;
            }
            !bridge.cached_headers.insert(next_hop)
        }
        _ => false,
    }
}

/// `br_nf_pre_routing_finish_bridge_slow`: the neighbour table has written the destination MAC; the source goes back to what it was.
pub(crate) fn resume_bridged_dnat(ns: &mut Netns, cx: &mut Cx<'_>, mut skb: Skb, bridge: DevId, dnat: BridgedDnat) {
    if dnat.tapped {
        let frame = cx.snap(skb.packet.bytes());
        cx.record(skb.id(), Record::DevOut { dev: bridge, frame });
    }
    skb.packet.bytes_mut()[6..12].copy_from_slice(&dnat.source.0);
    skb.pkt_type = PktType::Host;
    let Some(port) = skb.bridge.and_then(|info| info.physin) else {
        return ns.finish(cx, skb, DropReason::BridgeNoPort);
    };
    skb.dev = port;
    bridge::handle_frame_finish(ns, cx, skb, bridge);
}

/// `br_nf_forward_ip`: out of one port, `skb.dev`.
pub(crate) fn forward(
    ns: &mut Netns,
    cx: &mut Cx<'_>,
    skb: &mut Skb,
    bridge: DevId,
    from: DevId,
) -> Result<HookVerdict, DropReason> {
    let family = skb.ip_version();
    skb.bridge = Some(BridgeInfo { physin: Some(from), physout: Some(skb.dev) });
    let seen = skb.pkt_type;
    skb.pkt_type = host_instead(seen);
    let state = HookState { hook: Hook::Forward, family, indev: Some(bridge), outdev: Some(bridge) };
    let verdict = nf_hook(ns, cx, &state, skb)?;
    skb.pkt_type = seen;
    Ok(verdict)
}

/// `br_nf_post_routing`, `br_nf_dev_queue_xmit`: what was put together from fragments leaves as fragments. Consumes it.
pub(crate) fn post_routing(ns: &mut Netns, cx: &mut Cx<'_>, mut skb: Skb, bridge: DevId) {
    let family = skb.ip_version();
    skb.pkt_type = host_instead(skb.pkt_type);
    let state = HookState { hook: Hook::PostRouting, family, indev: None, outdev: Some(bridge) };
    match nf_hook(ns, cx, &state, &mut skb) {
        Ok(HookVerdict::Accept) => {}
        Ok(HookVerdict::Stolen) => return,
        Err(reason) => return ns.finish(cx, skb, reason),
    }
    skb.bridge = None;
    let mtu = ns.devices.get(skb.dev).mtu.min(u32::from(skb.frag_max));
    if skb.frag_max == 0 || skb.ip_len() <= mtu as usize {
        return bridge::push_xmit(ns, cx, skb);
    }
    let pieces = match frag::cut(ns, cx, &skb, mtu) {
        Ok(pieces) => pieces,
        Err(reason) => return ns.finish(cx, skb, reason),
    };
    cx.record(skb.id(), Record::Consume { children: pieces.len() as u16 });
    cx.recycle(skb.packet);
    for piece in pieces {
        bridge::push_xmit(ns, cx, piece);
    }
}
