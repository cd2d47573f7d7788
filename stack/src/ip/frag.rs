//! Fragments: cutting (`ip_fragment`) and putting together (`ip_defrag`).

use crate::Cx;
use crate::drop_reason::DropReason;
use crate::netfilter::hook::HookVerdict;
use crate::netns::Netns;
use crate::skb::Skb;

/// Who puts fragments together (`enum ip_defrag_users`): their queues are apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum DefragUser {
    /// Local delivery.
    LocalDeliver,
    /// Connection tracking, at PREROUTING and OUTPUT.
    Conntrack(u8),
}

/// The reassembly queues of a namespace.
#[derive(Debug, Default)]
pub struct Fragments {}

/// `ip_defrag`, `nf_ct_frag6_gather`: takes a fragment; `Stolen` where others are missing (its records have ended with Queue), and
/// the skb's packet has been taken out. `Accept` where it is no fragment, or the last one: then `skb` is the whole packet
/// (`frag_max` set, a packet of cause `reassembled`, records resumed).
pub(crate) fn defrag(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb, user: DefragUser) -> Result<HookVerdict, DropReason> {
    let _ = (ns, cx, skb, user);
    Ok(HookVerdict::Accept)
}

/// A reassembly queue has waited too long.
pub(crate) fn on_timer(ns: &mut Netns, cx: &mut Cx<'_>, queue: u32) {
    let _ = (ns, cx, queue);
}
