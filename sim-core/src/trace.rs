//! What a run leaves behind: fixed-size records, and an arena of the bytes that they point to.
//!
//! A record is the node's own type (see [`crate::Node::Record`]), stamped with time, node and packet. On the hot path it is a
//! small plain value; steps, text and JSON are rendered from it later. Captured frames and state changes stand in the arena.

use crate::id::{NodeId, PacketId};
use crate::packet::Cause;
use crate::time::SimTime;

/// How much a run writes down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TraceMode {
    /// Nothing.
    #[default]
    Off,
    /// Every record; of each frame the first [`HEADER_SNAP`] bytes.
    Headers,
    /// Every record and every frame whole, as a capture needs.
    Frames,
}

/// Bytes of a frame kept in [`TraceMode::Headers`]: Ethernet, IPv6 and a TCP header with options, and a quoted header.
pub const HEADER_SNAP: usize = 128;

/// Where bytes stand in the arena.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Snap {
    /// Offset in the arena.
    pub at: u32,
    /// Bytes kept.
    pub kept: u16,
    /// Bytes that there were.
    pub full: u16,
}

/// One record, stamped.
#[derive(Clone, Copy, Debug)]
pub struct Stamped<R> {
    /// When.
    pub time: SimTime,
    /// In which node.
    pub node: NodeId,
    /// About which packet.
    pub packet: PacketId,
    /// What happened.
    pub record: R,
}

/// Where a packet came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lineage {
    /// The packet that caused it, if one did.
    pub parent: Option<PacketId>,
    /// Why it exists.
    pub cause: Cause,
    /// When it was made.
    pub born: SimTime,
    /// Where it was made.
    pub node: NodeId,
}

/// What successive records have in common. A packet leaves several records at one node and instant, so that this is written once
/// for all of them: a trace is bound by the memory that it touches.
#[derive(Clone, Copy, Debug)]
struct Span {
    time: SimTime,
    node: NodeId,
    packet: PacketId,
    /// The first record of the span; it ends where the next one begins.
    first: u32,
}

/// Records and bytes of a run, in the order of events.
#[derive(Debug)]
pub struct Tracer<R> {
    mode: TraceMode,
    records: Vec<R>,
    spans: Vec<Span>,
    arena: Vec<u8>,
    lineage: Vec<Lineage>,
    packets: u32,
    limit: usize,
    truncated: bool,
}

/// Records kept unless told otherwise.
pub const RECORD_LIMIT: usize = 16 << 20;

/// The records of a run, in the order of events.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a, R> {
    records: &'a [R],
    spans: &'a [Span],
    from: usize,
}

impl<'a, R: Copy> Records<'a, R> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len() - self.from
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those behind the first `n`.
    #[must_use]
    pub fn skip(self, n: usize) -> Records<'a, R> {
        Records { from: (self.from + n).min(self.records.len()), ..self }
    }

    /// One of them, counted from 0.
    pub fn get(&self, at: usize) -> Option<Stamped<R>> {
        self.skip(at).iter().next()
    }

    /// All of them, stamped.
    pub fn iter(&self) -> impl Iterator<Item = Stamped<R>> + use<'a, R> {
        let Records { records, spans, from } = *self;
        let mut span = spans.partition_point(|span| span.first as usize <= from).saturating_sub(1);
        (from..records.len()).map(move |at| {
            while spans.get(span + 1).is_some_and(|next| next.first as usize <= at) {
                span += 1;
            }
            let Span { time, node, packet, .. } = spans[span];
            Stamped { time, node, packet, record: records[at] }
        })
    }
}

impl<R: Copy> Tracer<R> {
    pub(crate) fn new(mode: TraceMode) -> Tracer<R> {
        Tracer {
            mode,
            records: Vec::new(),
            spans: Vec::new(),
            arena: Vec::new(),
            lineage: Vec::new(),
            packets: 0,
            limit: RECORD_LIMIT,
            truncated: false,
        }
    }

    /// How much is written down.
    pub fn mode(&self) -> TraceMode {
        self.mode
    }

    /// Changes how much is written down from here on. Packets made while off have no lineage.
    pub fn set_mode(&mut self, mode: TraceMode) {
        self.mode = mode;
    }

    /// Keeps at most `records` records (and at most 2^32).
    pub fn set_limit(&mut self, records: usize) {
        self.limit = records.min(u32::MAX as usize);
    }

    /// Whether the limit cut the trace short.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// The records, in the order of events.
    pub fn records(&self) -> Records<'_, R> {
        Records { records: &self.records, spans: &self.spans, from: 0 }
    }

    /// The bytes that a record points to.
    pub fn bytes(&self, snap: Snap) -> &[u8] {
        &self.arena[snap.at as usize..snap.at as usize + snap.kept as usize]
    }

    /// Where a packet came from; none for one made while tracing was off.
    pub fn lineage(&self, packet: PacketId) -> Option<Lineage> {
        self.lineage.get(packet.0 as usize).copied().filter(|lineage| lineage.born != SimTime::MAX)
    }

    /// Packets made so far; ids run from 0 to here.
    pub fn packet_count(&self) -> u32 {
        self.packets
    }

    /// Forgets all records and bytes, keeping ids and lineage.
    pub fn clear(&mut self) {
        self.records.clear();
        self.spans.clear();
        self.arena.clear();
        self.truncated = false;
    }

    #[inline]
    pub(crate) fn push(&mut self, time: SimTime, node: NodeId, packet: PacketId, record: R) {
        if self.records.len() >= self.limit {
            self.truncated = true;
            return;
        }
        let same = self.spans.last().is_some_and(|last| last.packet == packet && last.time == time && last.node == node);
        if !same {
            self.spans.push(Span { time, node, packet, first: self.records.len() as u32 });
        }
        self.records.push(record);
    }

    pub(crate) fn next_packet(&mut self, lineage: Lineage) -> PacketId {
        let id = PacketId(self.packets);
        self.packets += 1;
        if self.mode != TraceMode::Off {
            let unknown = Lineage { parent: None, cause: Cause(0), born: SimTime::MAX, node: lineage.node };
            self.lineage.resize(id.0 as usize, unknown);
            self.lineage.push(lineage);
        }
        id
    }

    #[inline]
    pub(crate) fn keep(&mut self, bytes: &[u8], limit: usize) -> Snap {
        let kept = bytes.len().min(limit).min(u16::MAX as usize);
        let at = self.arena.len();
        if self.truncated || at + kept > u32::MAX as usize {
            self.truncated = true;
            return Snap::default();
        }
        self.arena.extend_from_slice(&bytes[..kept]);
        Snap { at: at as u32, kept: kept as u16, full: bytes.len().min(u16::MAX as usize) as u16 }
    }
}
