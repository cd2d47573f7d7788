//! Devices: what frames come in through and go out of.

pub mod addr;
pub mod admin;
pub mod bridge;
pub mod device;

use crate::Cx;
use crate::netns::Netns;
use crate::skb::Skb;

/// `__netif_receive_skb_core`: a frame came in through `skb.dev`, its records have begun. `skb.packet` begins with the Ethernet
/// header (loopback included). Consumes it.
pub(crate) fn netif_receive(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb) {
    let _ = ns;
    cx.recycle(skb.packet);
}

/// `dev_queue_xmit`: a frame, link-layer header written, leaves through `skb.dev`: a port (`Record::Transmit`, `cx.transmit`), a
/// bridge's own interface (into the bridge), loopback (back in). Consumes it, records included.
pub(crate) fn dev_queue_xmit(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb) {
    let _ = ns;
    cx.recycle(skb.packet);
}
