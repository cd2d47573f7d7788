//! Netfilter: the five hooks ([`hook`]), rule sets, the iptables dialect, matches and targets.

pub mod hook;

use crate::Cx;
use crate::drop_reason::DropReason;
use crate::netns::Netns;
use crate::skb::Skb;

/// The tables of iptables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TableName {
    /// Before connection tracking.
    Raw,
    /// Marks and header fields.
    Mangle,
    /// Addresses; seen by a connection until it is confirmed.
    Nat,
    /// Accept or drop.
    Filter,
    /// Mandatory access control.
    Security,
}

/// The rule sets of one IP family in a namespace.
#[derive(Debug, Default)]
pub struct Netfilter {}

/// `ipt_do_table`: walks the chain of a table that is registered at this hook.
pub(crate) fn do_table(
    ns: &mut Netns,
    cx: &mut Cx<'_>,
    state: &hook::HookState,
    skb: &mut Skb,
    table: TableName,
) -> Result<hook::HookVerdict, DropReason> {
    let _ = (ns, cx, state, skb, table);
    Ok(hook::HookVerdict::Accept)
}
