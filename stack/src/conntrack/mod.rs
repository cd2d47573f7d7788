//! Connection tracking and NAT: `net/netfilter/nf_conntrack_core.c`.
//!
//! In reading order:
//!
//! - [`tuple`]: what identifies one direction of a connection, read from a packet or from what an ICMP error quotes.
//! - [`table`]: the connections and their index.
//! - here: a packet comes in ([`nf_conntrack_in`]), a packet leaves ([`nf_confirm`]).
//! - [`tcp`], [`sctp`], [`datagram`]: the trackers of the protocols; [`icmp`]: errors about other packets.
//! - [`nat`]: what packets are rewritten to.
//! - [`show`]: `conntrack -L`, `-D`, `-F`; [`note`]: the state of a connection in a record.
//!
//! An unconfirmed connection belongs to its first packet: it has a number, but no look-up finds it until the packet leaves its last
//! hook alive. A dropped packet takes it along.
//!
//! Deliberately not here: expectations and helpers (FTP), zones of `CT --zone`, synproxy.

mod checksum;
mod datagram;
mod icmp;
pub mod nat;
mod note;
mod sctp;
mod show;
mod table;
mod tcp;
mod tuple;

#[cfg(test)]
mod tests;

use sim_core::{PacketId, SimTime};

use crate::Cx;
use crate::drop_reason::DropReason;
use crate::netfilter::hook::{Hook, HookState};
use crate::netns::Netns;
use crate::skb::{Ct, Skb};
use crate::sysctl::CtSysctls;
pub use crate::trace::{CtEvent, CtId, CtInfo};
use crate::trace::{NO_PACKET, Record};
use crate::view::proto;
pub use show::CtView;
use table::{Conn, Dir, Table, Track, status};
use tcp::Tracked;
pub use tuple::Tuple;

impl CtId {
    /// No connection.
    pub const NONE: CtId = CtId(u32::MAX);
}

impl CtInfo {
    /// `CTINFO2DIR`.
    fn dir(self) -> Dir {
        match self {
            CtInfo::Established | CtInfo::Related | CtInfo::New => Dir::Original,
            CtInfo::EstablishedReply | CtInfo::RelatedReply => Dir::Reply,
        }
    }
}

/// The connections of a namespace.
#[derive(Debug, Default)]
pub struct Conntrack {
    table: Table,
    /// The packet that NAT is being set up for: whose records a choice belongs to.
    nat_packet: Option<PacketId>,
    stats: CtStats,
}

/// `conntrack -S`: what befell packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CtStats {
    /// Packets that fit no connection.
    pub invalid: u64,
    /// Connections that could not enter the table, their tuple being taken.
    pub insert_failed: u64,
    /// Packets dropped for want of room, or with `insert_failed`.
    pub drop: u64,
    /// Connections removed to make room.
    pub early_drop: u64,
    /// Clashes that were resolved.
    pub clash_resolve: u64,
}

/// `nf_conntrack_in`: finds or makes the connection of a packet and sets `skb.ct`.
pub(crate) fn nf_conntrack_in(ns: &mut Netns, cx: &mut Cx<'_>, state: &HookState, skb: &mut Skb) -> Result<(), DropReason> {
    // A packet that came by already (loopback, a bridge, an error that the kernel attached to its cause) keeps what it has.
    match skb.ct {
        Ct::Untracked => {
            record(cx, &ns.conntrack, skb, CtId::NONE, CtInfo::New, CtEvent::Untracked);
            return Ok(());
        }
        Ct::Entry(..) => return Ok(()),
        Ct::None | Ct::Invalid => skb.ct = Ct::None,
    }
    if state.hook == Hook::PreRouting && ns.sysctls.ct.checksum && !checksum::is_right(skb) {
        return invalid(ns, cx, skb);
    }
    if matches!(skb.l4proto, proto::ICMP | proto::ICMPV6) {
        match icmp::classify(&ns.conntrack, skb) {
            icmp::Icmp::Ordinary => {}
            icmp::Icmp::Untracked => {
                skb.ct = Ct::Untracked;
                record(cx, &ns.conntrack, skb, CtId::NONE, CtInfo::New, CtEvent::Untracked);
                return Ok(());
            }
            icmp::Icmp::Error(Ct::Entry(id, info)) => {
                skb.ct = Ct::Entry(id, info);
                record(cx, &ns.conntrack, skb, id, info, CtEvent::Found);
                return Ok(());
            }
            icmp::Icmp::Error(_) | icmp::Icmp::Invalid => return invalid(ns, cx, skb),
        }
    }
    let Some(tuple) = tuple::of_packet(skb) else { return invalid(ns, cx, skb) };
    // A connection that is over may be replaced once by a new one.
    for _ in 0..2 {
        let Some((id, info)) = resolve(ns, cx, &tuple)? else { return invalid(ns, cx, skb) };
        let Netns { conntrack, sysctls, .. } = ns;
        let Some(conn) = conntrack.table.get_mut(id) else { return invalid(ns, cx, skb) };
        skb.ct = Ct::Entry(id, info);
        // What was found is recorded before the packet changes it.
        let before = cx.tracing().then(|| (conn.status, state_code(conn)));
        if before.is_some() && conn.has(status::CONFIRMED) {
            record(cx, conntrack, skb, id, info, CtEvent::Found);
        }
        let Some(conn) = conntrack.table.get_mut(id) else { return invalid(ns, cx, skb) };
        let verdict = track(conn, info.dir(), skb, &sysctls.ct, cx.now());
        match verdict {
            Tracked::Accept | Tracked::Kill => {
                if let Some(counts) = &mut conn.counts {
                    let count = &mut counts[info.dir() as usize];
                    *count = (count.0 + 1, count.1 + skb.ip_len() as u64);
                }
                if verdict == Tracked::Kill {
                    kill(conntrack, cx, id, skb.id());
                    return Ok(());
                }
                if info == CtInfo::EstablishedReply {
                    conn.status |= status::SEEN_REPLY;
                }
                if let Some(before) = before {
                    let after = (conn.status, state_code(conn));
                    if !conn.has(status::CONFIRMED) {
                        record(cx, conntrack, skb, id, info, CtEvent::New);
                    } else if before != after {
                        record(cx, conntrack, skb, id, info, CtEvent::Changed);
                    }
                }
                return Ok(());
            }
            Tracked::Invalid => {
                conntrack.table.retract(id);
                return invalid(ns, cx, skb);
            }
            Tracked::Reopen => {
                skb.ct = Ct::None;
                kill(conntrack, cx, id, skb.id());
            }
        }
    }
    invalid(ns, cx, skb)
}

/// The packet fits no connection: it goes on, as INVALID.
fn invalid(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<(), DropReason> {
    skb.ct = Ct::Invalid;
    ns.conntrack.stats.invalid += 1;
    record(cx, &ns.conntrack, skb, CtId::NONE, CtInfo::New, CtEvent::Invalid);
    Ok(())
}

/// `resolve_normal_ct`: the connection of a tuple, found or made, and how the packet relates to it.
#[inline]
fn resolve(ns: &mut Netns, cx: &mut Cx<'_>, tuple: &Tuple) -> Result<Option<(CtId, CtInfo)>, DropReason> {
    let now = cx.now();
    if let Some((id, dir)) = ns.conntrack.table.find(tuple, 0) {
        let conn = ns.conntrack.table.get(id).expect("what is indexed is in the arena: kill() takes it out of the index first");
        if conn.timeout > now {
            let info = match dir {
                Dir::Reply => CtInfo::EstablishedReply,
                Dir::Original if conn.has(status::SEEN_REPLY) => CtInfo::Established,
                Dir::Original => CtInfo::New,
            };
            return Ok(Some((id, info)));
        }
        kill(&mut ns.conntrack, cx, id, NO_PACKET);
    }
    init(ns, cx, tuple)
}

/// `init_conntrack`: a new connection, unconfirmed. Drops the packet where the table is full.
fn init(ns: &mut Netns, cx: &mut Cx<'_>, tuple: &Tuple) -> Result<Option<(CtId, CtInfo)>, DropReason> {
    let now = cx.now();
    let Netns { conntrack, sysctls, .. } = ns;
    // An ICMP type that neither asks nor answers.
    let Some(reply) = tuple.invert() else { return Ok(None) };
    let keep = cx.tracing();
    let mut expired = Vec::new();
    conntrack.table.sweep(now, keep, |table, id| {
        table.kill(id);
        expired.push(id);
    });
    for id in expired {
        record_gone(cx, conntrack, id, NO_PACKET);
    }
    if sysctls.ct.max != 0 && conntrack.table.count() >= sysctls.ct.max {
        make_room(conntrack, cx, &sysctls.ct)?;
    }
    let mut conn = blank(*tuple, reply, now);
    if sysctls.ct.acct {
        conn.counts = Some(Box::default());
    }
    Ok(Some((conntrack.table.add(conn), CtInfo::New)))
}

fn blank(original: Tuple, reply: Tuple, now: SimTime) -> Conn {
    Conn {
        original,
        reply,
        status: 0,
        zone: 0,
        mark: 0,
        timeout: SimTime::ZERO,
        born: now,
        track: Track::None,
        masq: crate::dev::device::DevId::NONE,
        order: 0,
        counts: None,
    }
}

/// `early_drop`: the table is full. The kernel looks at 8 hash buckets around the new tuple for a connection that is not ASSURED:
/// where the table is sparse (fewer than one entry there on average) it finds none, and the packet dies before any rule.
fn make_room(conntrack: &mut Conntrack, cx: &mut Cx<'_>, sysctls: &CtSysctls) -> Result<(), DropReason> {
    const EVICTION_RANGE: u64 = 8;
    let now = cx.now();
    if conntrack.table.full_sweep_due(now) {
        for id in conntrack.table.expired(now) {
            kill(conntrack, cx, id, NO_PACKET);
        }
    }
    if conntrack.table.count() < sysctls.max {
        return Ok(());
    }
    let tuples = 2 * u64::from(conntrack.table.count());
    if EVICTION_RANGE * tuples >= u64::from(sysctls.buckets) {
        // Which of the un-ASSURED ones stands in those buckets depends on the kernel's random seed; here it is an old one.
        if let Some(victim) = conntrack.table.unassured() {
            kill(conntrack, cx, victim, NO_PACKET);
            conntrack.stats.early_drop += 1;
            return Ok(());
        }
    }
    conntrack.stats.drop += 1;
    Err(DropReason::ConntrackDrop)
}

/// `nf_conntrack_handle_packet`.
#[inline]
fn track(conn: &mut Conn, dir: Dir, skb: &Skb, sysctls: &CtSysctls, now: SimTime) -> Tracked {
    let l4 = checksum::payload(skb).unwrap_or_default();
    match skb.l4proto {
        proto::TCP => tcp::packet(conn, dir, l4, sysctls, now),
        proto::UDP | proto::UDPLITE => datagram::udp(conn, l4, sysctls, now),
        proto::ICMP | proto::ICMPV6 => datagram::icmp(conn, sysctls, now),
        proto::SCTP => sctp::packet(conn, dir, l4, sysctls, now),
        proto::GRE => datagram::gre(conn, sysctls, now),
        _ => datagram::generic(conn, sysctls, now),
    }
}

/// `nf_confirm`: the packet leaves its last hook: its connection enters the table, unless another one has its tuple.
pub(crate) fn nf_confirm(ns: &mut Netns, cx: &mut Cx<'_>, state: &HookState, skb: &mut Skb) -> Result<(), DropReason> {
    let _ = state;
    let Ct::Entry(id, info) = skb.ct else { return Ok(()) };
    // What REJECT and icmp_send attached to their cause does not confirm it.
    if info.dir() == Dir::Reply {
        return Ok(());
    }
    let Some(conn) = ns.conntrack.table.get(id) else { return Ok(()) };
    if conn.has(status::CONFIRMED) {
        return Ok(());
    }
    if conn.has(status::DYING) {
        ns.conntrack.stats.insert_failed += 1;
        return Err(DropReason::ConntrackDrop);
    }
    let now = cx.now();
    let (original, reply, zone, protocol) = (conn.original, conn.reply, conn.zone, conn.original.proto);
    let mut taken = false;
    for tuple in [&original, &reply] {
        if let Some((other, _)) = ns.conntrack.table.find(tuple, zone) {
            if ns.conntrack.table.get(other).is_some_and(|other| other.timeout <= now) {
                kill(&mut ns.conntrack, cx, other, NO_PACKET);
            } else {
                taken = true;
            }
        }
    }
    if !taken {
        ns.conntrack.table.confirm(id, now, true);
        record(cx, &ns.conntrack, skb, id, info, CtEvent::Confirmed);
        return Ok(());
    }
    // `nf_conntrack_l4proto::allow_clash`.
    let may_clash = matches!(protocol, proto::UDP | proto::UDPLITE | proto::GRE);
    if may_clash && resolve_clash(&mut ns.conntrack, cx, skb, id, &original, &reply, zone) {
        ns.conntrack.stats.clash_resolve += 1;
        return Ok(());
    }
    ns.conntrack.stats.insert_failed += 1;
    ns.conntrack.stats.drop += 1;
    Err(DropReason::ConntrackDrop)
}

/// `nf_ct_resolve_clash`: two first packets of one flow. The second joins the connection of the first where both were translated
/// alike; else it keeps its own, which only replies find, for a second.
fn resolve_clash(
    conntrack: &mut Conntrack,
    cx: &mut Cx<'_>,
    skb: &mut Skb,
    loser: CtId,
    original: &Tuple,
    reply: &Tuple,
    zone: u16,
) -> bool {
    let winner = conntrack.table.find(original, zone).or_else(|| conntrack.table.find(reply, zone));
    if let Some((winner, _)) = winner
        && let Some(conn) = conntrack.table.get(winner)
    {
        let info = match (conn.original == *original && conn.reply == *reply, conn.original == *reply && conn.reply == *original) {
            (true, _) => Some(if conn.has(status::SEEN_REPLY) { CtInfo::Established } else { CtInfo::New }),
            (_, true) => Some(CtInfo::EstablishedReply),
            _ => None,
        };
        if let Some(info) = info {
            skb.ct = Ct::Entry(winner, info);
            record(cx, conntrack, skb, winner, info, CtEvent::Found);
            return true;
        }
    }
    if conntrack.table.find(reply, zone).is_some() {
        return false;
    }
    let now = cx.now();
    if let Some(conn) = conntrack.table.get_mut(loser) {
        conn.timeout = SimTime::from_secs(1);
        conn.status |= status::FIXED_TIMEOUT | status::NAT_CLASH;
    }
    conntrack.table.confirm(loser, now, false);
    record(cx, conntrack, skb, loser, CtInfo::New, CtEvent::Confirmed);
    true
}

/// `nf_ct_attach`: an error or reset that the kernel sends about a packet belongs to that packet's connection, also while that is
/// unconfirmed. Called by `icmp_send` and by REJECT, before the new packet walks OUTPUT.
pub(crate) fn attach(new: &mut Skb, about: &Skb) {
    if let Ct::Entry(id, info) = about.ct {
        let info = if info.dir() == Dir::Original { CtInfo::RelatedReply } else { CtInfo::Related };
        new.ct = Ct::Entry(id, info);
    }
}

/// `nf_ct_set_closing`: REJECT answered with a reset: the connection is over, although its packets may say otherwise.
pub(crate) fn set_closing(ns: &mut Netns, cx: &Cx<'_>, about: Ct) {
    let Ct::Entry(id, _) = about else { return };
    let Some(conn) = ns.conntrack.table.get_mut(id).filter(|conn| conn.has(status::CONFIRMED)) else { return };
    let Track::Tcp(track) = &mut conn.track else { return };
    let old = std::mem::replace(&mut track.state, tcp::TcpState::Close);
    if old != tcp::TcpState::Close {
        conn.refresh(cx.now(), ns.sysctls.ct.tcp_timeout_close);
    }
}

/// The state of a connection's protocol as a number, to see whether it changed.
fn state_code(conn: &Conn) -> u8 {
    match &conn.track {
        Track::None | Track::Udp { .. } => 0,
        Track::Tcp(track) => track.state as u8,
        Track::Sctp(track) => track.state as u8,
    }
}

/// `nf_ct_kill`: the connection leaves the table.
fn kill(conntrack: &mut Conntrack, cx: &mut Cx<'_>, id: CtId, packet: PacketId) {
    if conntrack.table.kill(id) {
        record_gone(cx, conntrack, id, packet);
    }
}

fn record_gone(cx: &mut Cx<'_>, conntrack: &Conntrack, id: CtId, packet: PacketId) {
    if cx.tracing()
        && let Some(view) = conntrack.view(id, cx.now())
    {
        let note = cx.note(note::encode(&view).bytes());
        cx.record(packet, Record::Conntrack { ct: id, info: CtInfo::Established, event: CtEvent::Destroyed, note });
    }
}

/// Writes down what was said of a packet, while tracing.
fn record(cx: &mut Cx<'_>, conntrack: &Conntrack, skb: &Skb, ct: CtId, info: CtInfo, event: CtEvent) {
    if !cx.tracing() {
        return;
    }
    let note = match conntrack.view(ct, cx.now()) {
        Some(view) => cx.note(note::encode(&view).bytes()),
        None => sim_core::Snap::default(),
    };
    cx.record(skb.id(), Record::Conntrack { ct, info, event, note });
}

impl Conntrack {
    /// The state of a connection at a record: what `Record::Conntrack::note` and `CtEvent`s encode.
    pub fn decode_note(bytes: &[u8]) -> Option<CtView> {
        note::decode(bytes)
    }

    /// `ct->mark`, for `-m connmark` and CONNMARK.
    pub(crate) fn mark(&self, id: CtId) -> Option<u32> {
        self.table.get(id).map(|conn| conn.mark)
    }

    /// Sets it.
    pub(crate) fn set_mark(&mut self, id: CtId, mark: u32) {
        if let Some(conn) = self.table.get_mut(id) {
            conn.mark = mark;
        }
    }

    /// `conntrack -S`.
    pub fn stats(&self) -> CtStats {
        self.stats
    }
}
