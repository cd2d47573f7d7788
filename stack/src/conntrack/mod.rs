//! Connection tracking and NAT ([`nat`]).

pub mod nat;

use std::net::IpAddr;

use sim_core::SimTime;

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

/// A connection, as `conntrack -L` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CtView {
    /// Which.
    pub id: CtId,
    /// Its first direction.
    pub original: Tuple,
    /// What its replies look like: after NAT not the inverse of `original`.
    pub reply: Tuple,
    /// `ESTABLISHED`, `SYN_SENT`, ... for TCP and SCTP.
    pub state: Option<&'static str>,
    /// No reply was seen.
    pub unreplied: bool,
    /// `ASSURED`.
    pub assured: bool,
    /// `mark`.
    pub mark: u32,
    /// `zone`.
    pub zone: u16,
    /// Seconds until it is forgotten, rounded down.
    pub timeout: u64,
    /// Whether its source was translated.
    pub snat: bool,
    /// Whether its destination was translated.
    pub dnat: bool,
    /// Whether it is in the table.
    pub confirmed: bool,
}

/// `struct nf_conntrack_tuple`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Transport protocol.
    pub proto: u8,
    /// Source port; the id for ICMP echo; the source key for GRE; 0 where the protocol has none.
    pub sport: u16,
    /// Destination port; (type << 8 | code) for ICMP.
    pub dport: u16,
}

impl Conntrack {
    /// The connections in the table, in the order in which they entered it.
    pub fn list(&self, now: SimTime) -> Vec<CtView> {
        let _ = now;
        Vec::new()
    }

    /// One connection, also one that has left the table or never entered it.
    pub fn view(&self, id: CtId, now: SimTime) -> Option<CtView> {
        let _ = (id, now);
        None
    }

    /// `conntrack -L`'s line of a connection.
    pub fn line(view: &CtView) -> String {
        let _ = view;
        String::new()
    }

    /// The state of a connection at a record: what `Record::Conntrack::note` and `CtEvent`s encode.
    pub fn decode_note(bytes: &[u8]) -> Option<CtView> {
        let _ = bytes;
        None
    }
}
