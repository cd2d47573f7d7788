//! The five hooks, and what is registered at each of them.
//!
//! ```text
//!   in -> [PREROUTING] -> route -> [FORWARD] -----------> [POSTROUTING] -> out
//!                           |                                  ^
//!                           v                                  |
//!                        [INPUT] -> sockets -> route -> [OUTPUT]
//! ```

use crate::Cx;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::netns::Netns;
use crate::skb::Skb;

/// `enum nf_inet_hooks`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Hook {
    /// Before the route of a packet that came in is looked up.
    PreRouting,
    /// On the way to a socket here.
    Input,
    /// Through this namespace.
    Forward,
    /// A packet of our own.
    Output,
    /// Just before it leaves.
    PostRouting,
}

/// `struct nf_hook_state`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HookState {
    /// Where we are.
    pub hook: Hook,
    /// IP version.
    pub family: Family,
    /// The device that the packet came in through.
    pub indev: Option<DevId>,
    /// The device that it goes out of.
    pub outdev: Option<DevId>,
}

/// What the hook said, where it did not drop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum HookVerdict {
    /// Go on.
    Accept,
    /// The packet was taken over (a fragment that waits for the others): its records have ended.
    Stolen,
}

/// `nf_hook`: everything registered at this hook, in the order of priority.
pub(crate) fn nf_hook(ns: &mut Netns, cx: &mut Cx<'_>, state: &HookState, skb: &mut Skb) -> Result<HookVerdict, DropReason> {
    let _ = (ns, cx, state, skb);
    Ok(HookVerdict::Accept)
}
