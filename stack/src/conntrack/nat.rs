//! NAT: a connection's reply tuple says what its packets are rewritten to: `net/netfilter/nf_nat_core.c`, `nf_nat_proto.c`.
//!
//! ```text
//!     A ------------------> R ------------------> B        A asks V, R sends it on to B, in its own name
//!
//!     A > V   PREROUTING (dst: V to B)    A > B   POSTROUTING (src: A to R)   R > B
//!     V > A   POSTROUTING (src: B to V)   B > A   PREROUTING (dst: R to A)    B > R
//!
//!     original tuple  A > V        what comes in first
//!     reply tuple     B > R        what comes back: its inverse is what the first packet leaves as
//! ```
//!
//! A hook rewrites one end: the destination in PREROUTING and OUTPUT, the source in POSTROUTING and INPUT. In which direction this
//! needs which kind of NAT stands once, in [`needed`].
//!
//! - [`unique`]: which tuple a connection gets. [`rewrite`]: what is written into packets.

mod rewrite;
mod unique;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use super::table::{Dir, status};
use super::{CtInfo, kill};
use crate::Cx;
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::netfilter::hook::{Hook, HookState, HookVerdict, NatChain};
use crate::netfilter::nftables::walk::do_chain;
use crate::netfilter::{TableName, do_table};
use crate::netns::Netns;
use crate::skb::{Ct, Skb};
use crate::trace::{CtId, Record};
use crate::view::proto;

/// `enum nf_nat_manip_type`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Manip {
    /// The source changes.
    Src,
    /// The destination changes.
    Dst,
}

impl Manip {
    /// `HOOK2MANIP`: what a hook changes; FORWARD changes nothing.
    pub(crate) fn of_hook(hook: Hook) -> Option<Manip> {
        match hook {
            Hook::PreRouting | Hook::Output => Some(Manip::Dst),
            Hook::PostRouting | Hook::Input => Some(Manip::Src),
            Hook::Forward => None,
        }
    }

    fn done(self) -> u16 {
        match self {
            Manip::Src => status::SRC_NAT_DONE,
            Manip::Dst => status::DST_NAT_DONE,
        }
    }

    fn bit(self) -> u16 {
        match self {
            Manip::Src => status::SRC_NAT,
            Manip::Dst => status::DST_NAT,
        }
    }

    fn other(self) -> Manip {
        match self {
            Manip::Src => Manip::Dst,
            Manip::Dst => Manip::Src,
        }
    }
}

/// The kind of NAT that a connection must have for a hook to rewrite a packet:
///
/// |               | original | reply   |
/// |---------------|----------|---------|
/// | source hooks  | SRC_NAT  | DST_NAT |
/// | dest. hooks   | DST_NAT  | SRC_NAT |
fn needed(manip: Manip, dir: Dir) -> u16 {
    match dir {
        Dir::Original => manip.bit(),
        Dir::Reply => manip.other().bit(),
    }
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
    let Some(conn) = ns.conntrack.table.get(ct) else { return Ok(()) };
    // Too late for a connection in the table.
    if conn.has(status::CONFIRMED) {
        return Ok(());
    }
    if conn.has(manip.done()) {
        return Err(DropReason::ConntrackDrop);
    }
    // What the packet is now: the inverse of the reply, in which an earlier rewriting already stands.
    let Some(current) = conn.reply.invert() else { return Err(DropReason::ConntrackDrop) };
    let new = unique::tuple(&mut ns.conntrack, cx, ct, &current, range, manip);
    let Some(reply) = new.invert() else { return Err(DropReason::ConntrackDrop) };
    let conn = ns.conntrack.table.get_mut(ct).expect("it was there a moment ago, and choosing a tuple frees no memory");
    if new != current {
        conn.reply = reply;
        conn.status |= manip.bit();
    }
    conn.status |= manip.done();
    Ok(())
}

/// MASQUERADE: remembers the device, whose going down ends the connection (`nf_conn_nat::masq_index`).
pub(crate) fn set_masq_device(ns: &mut Netns, ct: CtId, dev: DevId) {
    if let Some(conn) = ns.conntrack.table.get_mut(ct) {
        conn.masq = dev;
    }
}

/// `masq_device_event`: a device went down: what was masqueraded through it is forgotten.
pub(crate) fn masq_device_down(ns: &mut Netns, dev: DevId) {
    let table = &mut ns.conntrack.table;
    for id in table.select(|conn| conn.masq == dev) {
        table.kill(id);
    }
}

/// `masq_inet_event`: an address was deleted: what was masqueraded with it is forgotten.
pub(crate) fn masq_address_gone(ns: &mut Netns, address: IpAddr) {
    let table = &mut ns.conntrack.table;
    for id in table.select(|conn| conn.masq != DevId::NONE && conn.reply.dst == address) {
        table.kill(id);
    }
}

/// `nf_nat_inet_fn`: the NAT of one hook: for the first packet of a connection walks the `nat` table
/// (`netfilter::do_table`), or makes a null binding; then rewrites the packet. Translates what an ICMP error quotes.
pub(crate) fn nat_hook(ns: &mut Netns, cx: &mut Cx<'_>, state: &HookState, skb: &mut Skb, manip: Manip) -> Result<(), DropReason> {
    let Ct::Entry(id, info) = skb.ct else { return Ok(()) };
    let Some(conn) = ns.conntrack.table.get(id) else { return Ok(()) };
    let related = matches!(info, CtInfo::Related | CtInfo::RelatedReply);
    if related && matches!(skb.l4proto, proto::ICMP | proto::ICMPV6) {
        return icmp_error(ns, cx, state, skb, manip);
    }
    let new = related || info == CtInfo::New;
    if new && !conn.has(manip.done()) {
        ns.conntrack.nat_packet = Some(skb.id());
        let mut at = 0;
        while let Some(chain) = ns.netfilter.get(state.family).nat_chain(state.hook, at) {
            at += 1;
            let walked = match chain {
                NatChain::Iptables => do_table(ns, cx, state, skb, TableName::Nat),
                NatChain::Chain(chain) => do_chain(ns, cx, state, skb, chain),
            };
            if walked? == HookVerdict::Stolen {
                return Ok(());
            }
            // What one chain bound, the next ones do not see.
            if ns.conntrack.table.get(id).is_none_or(|conn| conn.has(manip.done())) {
                break;
            }
        }
        let Some(conn) = ns.conntrack.table.get(id) else { return Ok(()) };
        if !conn.has(manip.done()) {
            null_binding(ns, cx, id, manip)?;
        }
        ns.conntrack.nat_packet = None;
    } else if conn.masq != DevId::NONE
        && state.hook == Hook::PostRouting
        && info.dir() == Dir::Original
        && state.outdev.is_some_and(|out| out != conn.masq)
    {
        // The route has changed: the masqueraded address is that of another device (`nf_nat_oif_changed`).
        kill(&mut ns.conntrack, cx, id, skb.id());
        return Err(DropReason::ConntrackDrop);
    }
    packet(ns, cx, state, skb, (id, info), manip)
}

/// `nf_nat_alloc_null_binding`: nothing translates this end. The tuple may be taken all the same, by a connection that was
/// translated into it: then the source port changes without any rule that says so.
fn null_binding(ns: &mut Netns, cx: &mut Cx<'_>, id: CtId, manip: Manip) -> Result<(), DropReason> {
    let Some(conn) = ns.conntrack.table.get(id) else { return Ok(()) };
    let address = match manip {
        Manip::Src => conn.reply.dst,
        Manip::Dst => conn.reply.src,
    };
    let range = NatRange { addresses: Some((address, address)), ..NatRange::default() };
    setup_info(ns, cx, id, &range, manip)
}

/// `nf_nat_packet`: rewrites one end of a packet, so that it looks like the inverse of the other direction.
fn packet(
    ns: &mut Netns,
    cx: &mut Cx<'_>,
    state: &HookState,
    skb: &mut Skb,
    (id, info): (CtId, CtInfo),
    manip: Manip,
) -> Result<(), DropReason> {
    let Some(conn) = ns.conntrack.table.get(id) else { return Ok(()) };
    if !conn.has(needed(manip, info.dir())) {
        return Ok(());
    }
    let Some(target) = conn.tuple(info.dir().other()).invert() else { return Ok(()) };
    rewrite::packet(skb, &target, manip);
    record(cx, state, skb, id, manip);
    Ok(())
}

/// `nf_nat_icmp_reply_translation`: of an ICMP error the quoted packet is rewritten, in the other sense, then the error itself.
fn icmp_error(ns: &mut Netns, cx: &mut Cx<'_>, state: &HookState, skb: &mut Skb, manip: Manip) -> Result<(), DropReason> {
    let Ct::Entry(id, info) = skb.ct else { return Ok(()) };
    let Some(conn) = ns.conntrack.table.get(id) else { return Ok(()) };
    if !super::checksum::is_right(skb) {
        return Err(DropReason::NetfilterDrop);
    }
    let kind = skb.transport().first().copied().unwrap_or_default();
    let redirect = if skb.l4proto == proto::ICMP { 5 } else { 137 };
    if kind == redirect {
        // A router must not hear of next hops for addresses that it does not see.
        let done = status::SRC_NAT_DONE | status::DST_NAT_DONE;
        if !conn.has(done) || conn.status & status::NAT_MASK != 0 {
            return Err(DropReason::NetfilterDrop);
        }
    }
    let dir = info.dir();
    if !conn.has(needed(manip, dir)) {
        return Ok(());
    }
    let other = *conn.tuple(dir.other());
    let Some(outer) = other.invert() else { return Ok(()) };
    rewrite::quoted(skb, &other, manip.other());
    rewrite::addresses(skb, &outer, manip);
    rewrite::icmp_checksum(skb);
    record(cx, state, skb, id, manip);
    Ok(())
}

fn record(cx: &mut Cx<'_>, state: &HookState, skb: &Skb, ct: CtId, manip: Manip) {
    if cx.tracing() {
        let frame = cx.snap(skb.packet.bytes());
        cx.record(skb.id(), Record::Nat { ct, hook: state.hook, source: manip == Manip::Src, frame });
    }
}

/// Whether a NAT target already chose this end of a connection.
#[cfg(test)]
pub(crate) fn is_initialized(ns: &Netns, ct: CtId, manip: Manip) -> bool {
    ns.conntrack.table.get(ct).is_some_and(|conn| conn.has(manip.done()))
}
