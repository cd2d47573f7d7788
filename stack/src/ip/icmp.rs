//! ICMP and ICMPv6: errors, echo.

use crate::Cx;
use crate::netns::Netns;
use crate::skb::Skb;

/// `icmp_send`, `icmpv6_send`: tells the sender of a packet what went wrong, within the rate limits. `info` is the next hop's
/// MTU, the pointer, or the gateway of a redirect (IPv4, as a big-endian number).
pub(crate) fn icmp_send(ns: &mut Netns, cx: &mut Cx<'_>, about: &Skb, kind: u8, code: u8, info: u32) {
    let _ = (ns, cx, about, kind, code, info);
}

/// `arp_error_report`, `ndisc_error_report`: nobody answered for the packet's next hop. Sends 3/1 (1/3), records the drop
/// (`NeighFailed`), tells a local socket. Consumes it.
pub(crate) fn neigh_failed(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb) {
    let _ = ns;
    cx.recycle(skb.packet);
}
