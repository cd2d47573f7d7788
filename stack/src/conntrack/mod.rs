//! Connection tracking and NAT ([`nat`]).

pub mod nat;

use crate::Cx;
use crate::drop_reason::DropReason;
use crate::netfilter::hook::HookState;
use crate::netns::Netns;
use crate::skb::Skb;
pub use crate::trace::{CtEvent, CtId, CtInfo};

/// The connections of a namespace.
#[derive(Debug, Default)]
pub struct Conntrack {}

/// `nf_conntrack_in`: finds or makes the connection of a packet and sets `skb.ct`.
pub(crate) fn nf_conntrack_in(ns: &mut Netns, cx: &mut Cx<'_>, state: &HookState, skb: &mut Skb) -> Result<(), DropReason> {
    let _ = (ns, cx, state, skb);
    Ok(())
}

/// `nf_confirm`: the packet leaves its last hook: its connection enters the table, unless another one has its tuple.
pub(crate) fn nf_confirm(ns: &mut Netns, cx: &mut Cx<'_>, state: &HookState, skb: &mut Skb) -> Result<(), DropReason> {
    let _ = (ns, cx, state, skb);
    Ok(())
}
