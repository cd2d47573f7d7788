//! The connections: an arena that never gives a number twice, and an index of the tuples of those that are confirmed.
//!
//! Expiry is lazy, as in the kernel since 4.9: a look-up that meets an expired connection removes it, and every new connection
//! looks at a few old ones. There is no timer.

use std::net::IpAddr;

use rustc_hash::FxHashMap;
use sim_core::SimTime;

use super::tcp::TcpTrack;
use super::tuple::Tuple;
use crate::dev::device::DevId;
use crate::trace::CtId;

/// `enum ip_conntrack_dir`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dir {
    /// That of the first packet.
    Original,
    /// That of the answers.
    Reply,
}

impl Dir {
    /// The other one.
    pub(crate) fn other(self) -> Dir {
        match self {
            Dir::Original => Dir::Reply,
            Dir::Reply => Dir::Original,
        }
    }
}

/// `enum ip_conntrack_status`, as bits.
pub(crate) mod status {
    pub(crate) const SEEN_REPLY: u16 = 1;
    pub(crate) const ASSURED: u16 = 1 << 1;
    pub(crate) const CONFIRMED: u16 = 1 << 2;
    pub(crate) const SRC_NAT: u16 = 1 << 3;
    pub(crate) const DST_NAT: u16 = 1 << 4;
    pub(crate) const SRC_NAT_DONE: u16 = 1 << 5;
    pub(crate) const DST_NAT_DONE: u16 = 1 << 6;
    pub(crate) const DYING: u16 = 1 << 7;
    pub(crate) const FIXED_TIMEOUT: u16 = 1 << 8;
    pub(crate) const NAT_CLASH: u16 = 1 << 9;
    /// Both sources and destination bits of NAT.
    pub(crate) const NAT_MASK: u16 = SRC_NAT | DST_NAT;
}

/// What the tracker of its protocol keeps.
#[derive(Clone, Debug)]
pub(crate) enum Track {
    /// Nothing (ICMP, GRE, unknown protocols).
    None,
    /// UDP: when it becomes a stream.
    Udp { stream_at: SimTime },
    /// TCP.
    Tcp(TcpTrack),
    /// SCTP.
    Sctp(super::sctp::SctpTrack),
}

/// `struct nf_conn`.
#[derive(Clone, Debug)]
pub(crate) struct Conn {
    pub(crate) original: Tuple,
    pub(crate) reply: Tuple,
    pub(crate) status: u16,
    pub(crate) zone: u16,
    pub(crate) mark: u32,
    /// When it is forgotten; while unconfirmed, how long it lives from its confirmation.
    pub(crate) timeout: SimTime,
    pub(crate) born: SimTime,
    pub(crate) track: Track,
    /// The device that its MASQUERADE goes out of (`nf_conn_nat::masq_index`).
    pub(crate) masq: DevId,
    /// When it entered the table, as a count.
    pub(crate) order: u64,
    /// Packets and bytes of both directions (`nf_conntrack_acct`).
    pub(crate) counts: Option<Box<[(u64, u64); 2]>>,
}

impl Conn {
    #[inline]
    pub(crate) fn has(&self, bits: u16) -> bool {
        self.status & bits == bits
    }

    #[inline]
    pub(crate) fn tuple(&self, dir: Dir) -> &Tuple {
        match dir {
            Dir::Original => &self.original,
            Dir::Reply => &self.reply,
        }
    }

    /// `nf_ct_refresh`: how long it lives from now.
    #[inline]
    pub(crate) fn refresh(&mut self, now: SimTime, seconds: u32) {
        if self.status & status::FIXED_TIMEOUT != 0 {
            return;
        }
        let span = SimTime::from_secs(u64::from(seconds));
        self.timeout = if self.has(status::CONFIRMED) { SimTime(now.0.saturating_add(span.0)) } else { span };
    }

    /// What is left of its life.
    pub(crate) fn expires_in(&self, now: SimTime) -> SimTime {
        if self.has(status::CONFIRMED) { self.timeout.since(now) } else { self.timeout }
    }
}

/// A tuple and its zone as the key of a hash map: 16 bytes for IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct KeyV4 {
    addresses: u64,
    ports: u32,
    rest: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct KeyV6 {
    src: u128,
    dst: u128,
    ports: u32,
    rest: u32,
}

enum Key {
    V4(KeyV4),
    V6(KeyV6),
}

#[inline]
fn key(tuple: &Tuple, zone: u16) -> Key {
    let ports = u32::from(tuple.sport) << 16 | u32::from(tuple.dport);
    let rest = u32::from(zone) << 8 | u32::from(tuple.proto);
    match (tuple.src, tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            Key::V4(KeyV4 { addresses: u64::from(src.to_bits()) << 32 | u64::from(dst.to_bits()), ports, rest })
        }
        (src, dst) => Key::V6(KeyV6 { src: bits(src), dst: bits(dst), ports, rest }),
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[derive(Clone, Copy, Debug)]
struct Found {
    id: CtId,
    reply: bool,
}

/// Connections in one piece of the arena.
const CHUNK: usize = 256;

/// Old connections that every new one looks at.
const SWEEP: usize = 8;

/// How long an entry that no look-up finds any more is kept for those who hold its number (a packet on its way).
const LINGER: SimTime = SimTime::from_secs(10);

/// The connections.
#[derive(Default)]
pub(crate) struct Table {
    chunks: Vec<Option<Vec<Conn>>>,
    next: u32,
    v4: FxHashMap<KeyV4, Found>,
    v6: FxHashMap<KeyV6, Found>,
    /// By protocol, source address and source port: those whose source was translated (`nf_nat_bysource`), oldest first.
    by_source: FxHashMap<(u8, IpAddr, u16), Vec<CtId>>,
    count: u32,
    order: u64,
    cursor: u32,
    victim: u32,
    swept_at: SimTime,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("confirmed", &self.count).field("made", &self.next).finish_non_exhaustive()
    }
}

impl Table {
    /// Connections in the table, expired ones that nobody has met yet included.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    #[inline]
    pub(crate) fn get(&self, id: CtId) -> Option<&Conn> {
        let at = id.0 as usize;
        self.chunks.get(at / CHUNK)?.as_ref()?.get(at % CHUNK)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: CtId) -> Option<&mut Conn> {
        let at = id.0 as usize;
        self.chunks.get_mut(at / CHUNK)?.as_mut()?.get_mut(at % CHUNK)
    }

    /// Adds an unconfirmed connection: it has a number, but no look-up finds it.
    pub(crate) fn add(&mut self, conn: Conn) -> CtId {
        let id = CtId(self.next);
        self.next = self.next.checked_add(1).expect("fewer than 2^32 connections in a run");
        match self.chunks.last_mut() {
            Some(Some(chunk)) if chunk.len() < CHUNK => chunk.push(conn),
            _ => {
                let mut chunk = Vec::with_capacity(if self.chunks.is_empty() { 8 } else { CHUNK });
                chunk.push(conn);
                self.chunks.push(Some(chunk));
            }
        }
        id
    }

    /// Takes back a connection that was just added and that nobody has heard of: its first packet was refused.
    pub(crate) fn retract(&mut self, id: CtId) {
        if id.0 + 1 == self.next
            && let Some(Some(chunk)) = self.chunks.last_mut()
            && chunk.last().is_some_and(|conn| !conn.has(status::CONFIRMED))
        {
            chunk.pop();
            self.next -= 1;
            if chunk.is_empty() {
                self.chunks.pop();
            }
        }
    }

    /// `nf_conntrack_find_get`, without regard to expiry.
    #[inline]
    pub(crate) fn find(&self, tuple: &Tuple, zone: u16) -> Option<(CtId, Dir)> {
        let found = match key(tuple, zone) {
            Key::V4(key) => self.v4.get(&key),
            Key::V6(key) => self.v6.get(&key),
        }?;
        Some((found.id, if found.reply { Dir::Reply } else { Dir::Original }))
    }

    fn index(&mut self, tuple: &Tuple, zone: u16, found: Found) {
        match key(tuple, zone) {
            Key::V4(key) => self.v4.insert(key, found),
            Key::V6(key) => self.v6.insert(key, found),
        };
    }

    /// Takes a tuple out of the index, if it is this connection's.
    fn unindex(&mut self, tuple: &Tuple, zone: u16, id: CtId) {
        match key(tuple, zone) {
            Key::V4(key) => {
                if self.v4.get(&key).is_some_and(|found| found.id == id) {
                    self.v4.remove(&key);
                }
            }
            Key::V6(key) => {
                if self.v6.get(&key).is_some_and(|found| found.id == id) {
                    self.v6.remove(&key);
                }
            }
        }
    }

    /// `__nf_conntrack_hash_insert`: the connection is in the table from now on; its tuples must be free. `original` says
    /// whether its first direction is found, too: not that of a clash (`nf_ct_resolve_clash_harder`).
    pub(crate) fn confirm(&mut self, id: CtId, now: SimTime, original: bool) {
        self.order += 1;
        let order = self.order;
        let Some(conn) = self.get_mut(id) else { return };
        conn.status |= status::CONFIRMED;
        conn.timeout = SimTime(now.0.saturating_add(conn.timeout.0));
        conn.order = order;
        let (first, reply, zone, bits) = (conn.original, conn.reply, conn.zone, conn.status);
        if original {
            self.index(&first, zone, Found { id, reply: false });
        }
        // A connection that is its own inverse has one tuple; look-ups then find its first direction.
        if !original || first != reply {
            self.index(&reply, zone, Found { id, reply: true });
        }
        if bits & status::SRC_NAT != 0 {
            self.by_source.entry((first.proto, first.src, first.sport)).or_default().push(id);
        }
        self.count += 1;
    }

    /// Those whose source was translated and is this one, newest first, as the kernel's list stands.
    pub(crate) fn of_source(&self, tuple: &Tuple) -> impl Iterator<Item = &Conn> {
        let ids = self.by_source.get(&(tuple.proto, tuple.src, tuple.sport)).map_or(&[][..], Vec::as_slice);
        ids.iter().rev().filter_map(|&id| self.get(id)).filter(|conn| !conn.has(status::DYING))
    }

    /// `nf_ct_kill`: no look-up finds it any more. False where it is already gone.
    pub(crate) fn kill(&mut self, id: CtId) -> bool {
        let Some(conn) = self.get_mut(id) else { return false };
        if conn.has(status::DYING) {
            return false;
        }
        conn.status |= status::DYING;
        let (original, reply, zone, bits) = (conn.original, conn.reply, conn.zone, conn.status);
        if bits & status::CONFIRMED != 0 {
            self.unindex(&original, zone, id);
            self.unindex(&reply, zone, id);
            self.count -= 1;
            let key = (original.proto, original.src, original.sport);
            if bits & status::SRC_NAT != 0
                && let Some(ids) = self.by_source.get_mut(&key)
            {
                ids.retain(|&other| other != id);
                if ids.is_empty() {
                    self.by_source.remove(&key);
                }
            }
        }
        true
    }

    /// The connections in the table that have not expired, in the order in which they entered it.
    pub(crate) fn list(&self, now: SimTime) -> Vec<CtId> {
        let mut found: Vec<(u64, CtId)> = Vec::new();
        for (at, chunk) in self.chunks.iter().enumerate() {
            for (within, conn) in chunk.iter().flatten().enumerate() {
                let hidden = status::DYING | status::NAT_CLASH;
                if conn.has(status::CONFIRMED) && conn.status & hidden == 0 && conn.timeout > now {
                    found.push((conn.order, CtId((at * CHUNK + within) as u32)));
                }
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// `gc_worker`: looks at a few connections and removes those that have expired; gives the memory of those back that nobody
    /// can name any more, unless a trace may (`keep`). Returns how many were removed.
    pub(crate) fn sweep(&mut self, now: SimTime, keep: bool, mut removed: impl FnMut(&mut Table, CtId)) {
        for _ in 0..SWEEP.min(self.next as usize) {
            let at = self.cursor as usize;
            if at >= self.next as usize {
                self.cursor = 0;
                continue;
            }
            if self.chunks[at / CHUNK].is_none() {
                self.cursor = ((at / CHUNK + 1) * CHUNK) as u32;
                continue;
            }
            let id = CtId(at as u32);
            self.cursor += 1;
            if self.get(id).is_some_and(|conn| conn.has(status::CONFIRMED) && !conn.has(status::DYING) && conn.timeout <= now) {
                removed(self, id);
            }
            if !keep && (self.cursor as usize).is_multiple_of(CHUNK) {
                self.release(at / CHUNK, now);
            }
        }
    }

    /// Gives back the memory of a full piece of the arena where all are gone. (An unconfirmed one dies with its packet, of which
    /// nobody tells us.)
    fn release(&mut self, chunk: usize, now: SimTime) {
        let gone = |conn: &Conn| {
            let old = conn.born.0.saturating_add(LINGER.0) < now.0;
            old && (conn.has(status::DYING) || !conn.has(status::CONFIRMED))
        };
        if chunk + 1 < self.chunks.len() && self.chunks[chunk].as_ref().is_some_and(|conns| conns.iter().all(gone)) {
            self.chunks[chunk] = None;
        }
    }

    /// Whether all that have expired were removed less than a second ago; else they are to be, by the caller.
    pub(crate) fn full_sweep_due(&mut self, now: SimTime) -> bool {
        let due = self.swept_at == SimTime::ZERO || now.since(self.swept_at) >= SimTime::from_secs(1);
        if due {
            self.swept_at = now;
        }
        due
    }

    /// One in the table that is not ASSURED; looks at a bounded number, from where it last stopped.
    pub(crate) fn unassured(&mut self) -> Option<CtId> {
        const LOOKED_AT: usize = 1024;
        for _ in 0..LOOKED_AT.min(self.next as usize) {
            if self.victim >= self.next {
                self.victim = 0;
            }
            let at = self.victim as usize;
            if self.chunks[at / CHUNK].is_none() {
                self.victim = ((at / CHUNK + 1) * CHUNK) as u32;
                continue;
            }
            self.victim += 1;
            let id = CtId(at as u32);
            if self
                .get(id)
                .is_some_and(|conn| conn.status & (status::CONFIRMED | status::DYING | status::ASSURED) == status::CONFIRMED)
            {
                return Some(id);
            }
        }
        None
    }

    /// Those that have expired and still stand in the table.
    pub(crate) fn expired(&self, now: SimTime) -> Vec<CtId> {
        self.select(|conn| conn.timeout <= now)
    }

    /// Those in the table that `wanted` says, in the order of their numbers.
    pub(crate) fn select(&self, wanted: impl Fn(&Conn) -> bool) -> Vec<CtId> {
        let mut found = Vec::new();
        for (at, chunk) in self.chunks.iter().enumerate() {
            for (within, conn) in chunk.iter().flatten().enumerate() {
                if conn.has(status::CONFIRMED) && !conn.has(status::DYING) && wanted(conn) {
                    found.push(CtId((at * CHUNK + within) as u32));
                }
            }
        }
        found
    }
}

#[cfg(test)]
impl Table {
    /// Connections in the arena.
    pub(crate) fn kept(&self) -> usize {
        self.chunks.iter().flatten().map(Vec::len).sum()
    }
}
