//! The way in: `ip_rcv`, `ipv6_rcv`.

use crate::Cx;
use crate::netns::Netns;
use crate::skb::Skb;

/// `ip_rcv`, `ipv6_rcv`: an IP packet that came in through `skb.dev`, `skb.l3` set. Consumes it.
pub(crate) fn ip_rcv(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb) {
    let _ = ns;
    cx.recycle(skb.packet);
}
