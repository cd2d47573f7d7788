//! To this namespace: `ip_local_deliver` (`net/ipv4/ip_input.c`), `ip6_input` (`net/ipv6/ip6_input.c`).

use crate::Cx;
use crate::addr::Family;
use crate::dev::vxlan;
use crate::drop_reason::DropReason;
use crate::ip::frag::{self, DefragUser};
use crate::ip::icmp;
use crate::ip::icmp_input::{self, Answer};
use crate::netfilter::hook::{Hook, HookState, HookVerdict, nf_hook};
use crate::netns::Netns;
use crate::skb::Skb;
use crate::socket;
use crate::trace::Record;
use crate::view::proto;

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Local {
    Answer(Answer),
    /// It waits for its other fragments, or a hook took it over.
    Stolen,
}

/// `ip_local_deliver`, `ip6_input`: a packet whose route says that it is ours. Consumes it.
pub(crate) fn ip_local_deliver(ns: &mut Netns, cx: &mut Cx<'_>, mut skb: Skb) {
    match deliver(ns, cx, &mut skb) {
        Ok(Local::Answer(Answer::Delivered(socket))) => {
            cx.record(skb.id(), Record::Deliver { socket });
            cx.recycle(skb.packet);
            socket::flush(ns, cx);
        }
        Ok(Local::Answer(Answer::Echo)) => {
            cx.record(skb.id(), Record::Deliver { socket: None });
            icmp_input::echo_reply(ns, cx, skb);
        }
        Ok(Local::Stolen) => {}
        Err(reason) => ns.finish(cx, skb, reason),
    }
}

fn deliver(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<Local, DropReason> {
    let family = skb.ip_version();
    if frag::is_fragment(skb) && frag::defrag(ns, cx, skb, DefragUser::LocalDeliver)? == HookVerdict::Stolen {
        return Ok(Local::Stolen);
    }
    let state = HookState { hook: Hook::Input, family, indev: Some(skb.dev), outdev: None };
    if nf_hook(ns, cx, &state, skb)? == HookVerdict::Stolen {
        return Ok(Local::Stolen);
    }
    if skb.l4proto == proto::UDP && !ns.vxlans.is_empty() && vxlan::rcv(ns, cx, skb)? {
        return Ok(Local::Stolen);
    }
    let answer = match (family, skb.l4proto) {
        (Family::V4, proto::ICMP) => icmp_input::icmp_rcv(ns, cx, skb)?,
        (Family::V6, proto::ICMPV6) => icmp_input::icmpv6_rcv(ns, cx, skb)?,
        (_, proto::TCP | proto::UDP) => Answer::Delivered(Some(to_socket(ns, cx, skb)?)),
        // What others join or leave concerns multicast routers only.
        (Family::V4, proto::IGMP) => return Err(DropReason::IcmpUnwanted),
        (Family::V6, proto::NONE) => return Err(DropReason::IpNoProto),
        (Family::V4, _) => {
            icmp::icmp_send(ns, cx, skb, icmp::V4_DEST_UNREACH, icmp::V4_PROTOCOL, 0);
            return Err(DropReason::IpNoProto);
        }
        (Family::V6, _) => {
            const UNKNOWN_NEXT_HEADER: u8 = 1;
            let pointer = frag::next_header_offset(skb);
            icmp::icmp_send(ns, cx, skb, icmp::V6_PARAMETER_PROBLEM, UNKNOWN_NEXT_HEADER, pointer as u32);
            return Err(DropReason::IpNoProto);
        }
    };
    Ok(Local::Answer(answer))
}

/// `tcp_v4_rcv`, `udp_rcv` and their twins. A closed TCP port is answered by the sockets, a closed UDP port here.
fn to_socket(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<u32, DropReason> {
    match socket::receive(ns, cx, skb) {
        Ok(taken) => Ok(taken.socket),
        Err(reason) => {
            if reason == DropReason::NoSocket && skb.l4proto == proto::UDP {
                match skb.ip_version() {
                    Family::V4 => icmp::icmp_send(ns, cx, skb, icmp::V4_DEST_UNREACH, icmp::V4_PORT, 0),
                    Family::V6 => icmp::icmp_send(ns, cx, skb, icmp::V6_DEST_UNREACH, icmp::V6_PORT, 0),
                }
            }
            Err(reason)
        }
    }
}
