//! What a run leaves behind: fixed-size records, and an arena of the bytes that they point to.
//!
//! A record is the node's own type (see [`crate::Node::Record`]), stamped with time, node and packet. On the hot path it is a
//! small plain value; steps, text and JSON are rendered from it later. Captured frames and state changes stand in the arena.
//!
//! A trace is bound by the memory that it touches, and packets that go the same way leave the same records. So what is written for
//! each packet, node and instant is little: who and when, which sequence of records ([`words`]), and what changed in the frame
//! ([`frames`]). [`Records`] puts it together again.

mod frames;
mod words;

use std::borrow::Cow;
use std::hash::Hash;

use self::frames::Frames;
use self::words::{ROOT, Sequences};
use crate::id::{NodeId, PacketId};
use crate::packet::{Cause, Packet};
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
    /// Place in the arena.
    pub at: u32,
    /// Bytes kept.
    pub kept: u16,
    /// Bytes that there were.
    pub full: u16,
}

/// A record that can be told apart from others, without what it points to.
pub trait TraceRecord: Copy + Eq + Hash {
    /// What it points to, to be read or replaced; none where it points to nothing.
    fn snap_mut(&mut self) -> Option<&mut Snap>;
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

/// Successive records about one packet at one node and instant.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Nanoseconds since the milestone before it.
    time: u32,
    node: NodeId,
    packet: PacketId,
    /// The last step of its sequence.
    last: u32,
}

/// How far a trace has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    last: u32,
    count: usize,
    snaps: usize,
}

/// Records that one packet left, to be written down for another that leaves the same (see [`crate::Cx::record_again`]).
#[derive(Clone, Copy, Debug, Default)]
pub struct Memo {
    from: u32,
    to: u32,
    /// How often the trace had been cleared.
    epoch: u32,
    /// 0: nothing is remembered.
    records: u16,
}

/// Stands in front of every so many spans, so that they can be small, and be read from the middle.
#[derive(Clone, Copy, Debug)]
struct Milestone {
    /// The span that it stands in front of.
    span: u32,
    /// Records and snaps before it.
    records: u32,
    snaps: u32,
    time: SimTime,
}

/// At most this many spans from one milestone to the next.
const MILE: u32 = 64;

/// In the place of a snap that points to nothing.
const NOTHING: u32 = u32::MAX;

/// Records and bytes of a run, in the order of events.
#[derive(Debug)]
pub struct Tracer<R> {
    mode: TraceMode,
    count: usize,
    spans: Vec<Span>,
    /// The time of the last span.
    time: SimTime,
    milestones: Vec<Milestone>,
    sequences: Sequences<R>,
    /// Where what records point to stands in `frames`.
    snaps: Vec<u32>,
    frames: Frames,
    /// How often everything was forgotten.
    epoch: u32,
    lineage: Vec<Lineage>,
    packets: u32,
    limit: usize,
    truncated: bool,
}

/// Records kept unless told otherwise.
pub const RECORD_LIMIT: usize = 16 << 20;

/// The records of a run, in the order of events.
#[derive(Debug)]
pub struct Records<'a, R> {
    tracer: &'a Tracer<R>,
    from: usize,
}

impl<R> Clone for Records<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Records<'_, R> {}

impl<'a, R: TraceRecord> Records<'a, R> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.tracer.count - self.from
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those behind the first `n`.
    #[must_use]
    pub fn skip(self, n: usize) -> Records<'a, R> {
        Records { from: (self.from + n).min(self.tracer.count), ..self }
    }

    /// One of them, counted from 0.
    pub fn get(&self, at: usize) -> Option<Stamped<R>> {
        self.skip(at).iter().next()
    }

    /// All of them, stamped.
    pub fn iter(&self) -> impl Iterator<Item = Stamped<R>> + use<'a, R> {
        let milestones = &self.tracer.milestones;
        let mile = milestones.partition_point(|milestone| milestone.records as usize <= self.from).saturating_sub(1);
        let start = milestones.get(mile).copied();
        let Milestone { span, records, snaps, .. } =
            start.unwrap_or(Milestone { span: 0, records: 0, snaps: 0, time: SimTime::ZERO });
        let (span, snap) = (span as usize, snaps as usize);
        Reader { tracer: self.tracer, mile, span, snap, sequence: Vec::new(), at: 0 }.skip(self.from - records as usize)
    }
}

/// Puts records together again.
struct Reader<'a, R> {
    tracer: &'a Tracer<R>,
    /// The milestone before the present span.
    mile: usize,
    span: usize,
    snap: usize,
    /// The records of the present span, and how many of them have been read.
    sequence: Vec<R>,
    at: usize,
}

impl<R: TraceRecord> Iterator for Reader<'_, R> {
    type Item = Stamped<R>;

    fn next(&mut self) -> Option<Stamped<R>> {
        let tracer = self.tracer;
        let span = tracer.spans.get(self.span)?;
        if self.at == 0 {
            tracer.sequences.read(span.last, &mut self.sequence);
            self.mile += usize::from(tracer.milestones.get(self.mile + 1).is_some_and(|next| next.span as usize == self.span));
        }
        let mut record = *self.sequence.get(self.at)?;
        if let Some(blank) = record.snap_mut() {
            *blank = match tracer.snaps[self.snap] {
                NOTHING => Snap::default(),
                at => tracer.frames.snap(at),
            };
            self.snap += 1;
        }
        self.at += 1;
        if self.at == self.sequence.len() {
            self.span += 1;
            self.at = 0;
        }
        let time = tracer.milestones[self.mile].time + SimTime(u64::from(span.time));
        Some(Stamped { time, node: span.node, packet: span.packet, record })
    }
}

impl<R: TraceRecord> Tracer<R> {
    pub(crate) fn new(mode: TraceMode) -> Tracer<R> {
        Tracer {
            mode,
            count: 0,
            spans: Vec::new(),
            time: SimTime::ZERO,
            milestones: Vec::new(),
            sequences: Sequences::new(),
            snaps: Vec::new(),
            frames: Frames::default(),
            epoch: 0,
            lineage: Vec::new(),
            packets: 0,
            limit: RECORD_LIMIT,
            truncated: false,
        }
    }

    /// How much is written down.
    #[inline]
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
        Records { tracer: self, from: 0 }
    }

    /// The bytes that a record points to.
    pub fn bytes(&self, snap: Snap) -> Cow<'_, [u8]> {
        self.frames.bytes(snap)
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
        self.count = 0;
        self.spans.clear();
        self.milestones.clear();
        self.sequences = Sequences::new();
        self.snaps.clear();
        self.frames.clear();
        self.epoch += 1;
        self.truncated = false;
    }

    /// Writes a record down, of which what it points to has been taken out.
    #[inline(never)]
    pub(crate) fn push(&mut self, time: SimTime, node: NodeId, packet: PacketId, record: &R, snap: Option<Snap>) {
        if self.count >= self.limit {
            self.truncated = true;
            return;
        }
        self.count += 1;
        match self.spans.last_mut() {
            Some(span) if span.packet == packet && span.node == node && self.time == time => {
                span.last = self.sequences.step(span.last, node, record);
            }
            _ => self.begin(time, node, packet, record),
        }
        if let Some(snap) = snap {
            self.snaps.push(if snap.full == 0 { NOTHING } else { snap.at });
        }
    }

    /// How far the records of a packet have come.
    pub(crate) fn mark(&self, time: SimTime, node: NodeId, packet: PacketId) -> Mark {
        let last = self
            .spans
            .last()
            .filter(|span| span.packet == packet && span.node == node && self.time == time)
            .map_or(ROOT, |span| span.last);
        Mark { last, count: self.count, snaps: self.snaps.len() }
    }

    /// What was written down since a mark; nothing where that pointed to something.
    pub(crate) fn since(&self, from: Mark, to: Mark) -> Memo {
        let records = u16::try_from(to.count - from.count).unwrap_or(0);
        if from.last == ROOT || from.snaps != to.snaps {
            return Memo::default();
        }
        Memo { from: from.last, to: to.last, records, epoch: self.epoch }
    }

    /// Writes the same down once more, where the records of the packet have come to the same place; else false.
    #[inline]
    pub(crate) fn replay(&mut self, time: SimTime, node: NodeId, packet: PacketId, memo: Memo) -> bool {
        let records = usize::from(memo.records);
        match self.spans.last_mut() {
            Some(span)
                if records > 0
                    && span.last == memo.from
                    && memo.epoch == self.epoch
                    && span.packet == packet
                    && span.node == node
                    && self.time == time
                    && self.count + records <= self.limit =>
            {
                span.last = memo.to;
                self.count += records;
                true
            }
            _ => false,
        }
    }

    #[inline(never)]
    fn begin(&mut self, time: SimTime, node: NodeId, packet: PacketId, record: &R) {
        let at = self.spans.len() as u32;
        let near = |milestone: &Milestone| match time.0.checked_sub(milestone.time.0) {
            Some(since) if at - milestone.span < MILE => u32::try_from(since).ok(),
            _ => None,
        };
        let since = self.milestones.last().and_then(near).unwrap_or_else(|| {
            self.milestones.push(Milestone { span: at, records: self.count as u32 - 1, snaps: self.snaps.len() as u32, time });
            0
        });
        let last = self.sequences.step(ROOT, node, record);
        self.spans.push(Span { time: since, node, packet, last });
        self.time = time;
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
        let kept = if self.truncated { None } else { self.frames.keep(bytes, limit) };
        self.or_truncated(kept)
    }

    /// Keeps a frame that is about to be sent, as [`Tracer::mode`] says, and lets its receiver find it.
    #[inline]
    pub(crate) fn keep_sent(&mut self, packet: &mut Packet) -> Snap {
        let limit = match self.mode {
            TraceMode::Off => return Snap::default(),
            TraceMode::Headers => HEADER_SNAP,
            TraceMode::Frames => usize::MAX,
        };
        let kept = if self.truncated { None } else { self.frames.keep_sent(packet, limit) };
        packet.sent = self.or_truncated(kept);
        packet.sent
    }

    /// What was kept of a frame when it was sent, if it was and has not been forgotten.
    #[inline]
    pub(crate) fn take_sent(&self, packet: &mut Packet) -> Option<Snap> {
        let sent = std::mem::take(&mut packet.sent);
        (sent.full != 0 && packet.first_sent.epoch == self.frames.epoch).then_some(sent)
    }

    #[inline]
    fn or_truncated(&mut self, kept: Option<Snap>) -> Snap {
        self.truncated |= kept.is_none();
        kept.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
