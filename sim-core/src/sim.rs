//! [`Sim`] owns the nodes, the links and the queue; [`Cx`] is what one node may do during one event.

use crate::choice::{self, Arms, Choice, ChoiceKey, Choices, Purpose};
use crate::id::{LinkId, NodeId, PacketId, PortNo};
use crate::link::{Direction, Link, LinkConfig, MILLION, WireEvent};
use crate::packet::{Cause, Packet};
use crate::queue::{Later, Now, Queue, Seq};
use crate::time::SimTime;
use crate::trace::{HEADER_SNAP, Lineage, Memo, Snap, TraceMode, TraceRecord, Tracer};

/// A state machine without I/O: packets and the clock go in, packets, records and wishes come out through [`Cx`].
pub trait Node {
    /// What the node writes down: small and plain.
    type Record: TraceRecord + WireRecord;

    /// A packet has come in through a port.
    fn receive(&mut self, cx: &mut Cx<'_, Self::Record>, port: PortNo, packet: Packet);

    /// The time that the node asked for has come.
    fn wake(&mut self, cx: &mut Cx<'_, Self::Record>);

    /// The link at a port went up or down.
    fn link_changed(&mut self, cx: &mut Cx<'_, Self::Record>, port: PortNo, up: bool);
}

/// Why a run stopped before it ran out of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// Nothing is left to do.
    Idle,
    /// The time that was asked for is reached.
    Until,
    /// More events at one instant than allowed: something loops without time passing.
    InstantLimit,
    /// More events in all than allowed.
    EventLimit,
}

/// Events at one instant unless told otherwise.
pub const INSTANT_LIMIT: u64 = 4_000_000;
/// Events of a run unless told otherwise.
pub const EVENT_LIMIT: u64 = 10_000_000_000;
/// Buffers kept for the next packets.
const POOL_LIMIT: usize = 1024;

/// Everything of a run except the nodes themselves.
#[derive(Debug)]
struct Fabric {
    now: SimTime,
    queue: Queue,
    links: Vec<Link>,
    /// Of each node, what is plugged into each port.
    ports: Vec<Vec<Option<(LinkId, u8)>>>,
    /// Of each node, when it will be woken.
    wakes: Vec<Option<(SimTime, Seq)>>,
    choices: Choices,
    pool: Vec<Vec<u8>>,
    frames_sent: u64,
}

/// A run: nodes, links, the queue, the clock and the seed.
#[derive(Debug)]
pub struct Sim<N: Node> {
    nodes: Vec<N>,
    names: Vec<String>,
    fabric: Fabric,
    tracer: Tracer<N::Record>,
    instant_events: u64,
    events: u64,
    instant_limit: u64,
    event_limit: u64,
}

/// The powers of a node during one event.
pub struct Cx<'a, R> {
    node: NodeId,
    fabric: &'a mut Fabric,
    tracer: &'a mut Tracer<R>,
}

impl<N: Node> Sim<N> {
    /// An empty run.
    pub fn new(seed: u64, mode: TraceMode) -> Sim<N> {
        Sim {
            nodes: Vec::new(),
            names: Vec::new(),
            fabric: Fabric {
                now: SimTime::ZERO,
                queue: Queue::default(),
                links: Vec::new(),
                ports: Vec::new(),
                wakes: Vec::new(),
                choices: Choices { seed, ..Choices::default() },
                pool: Vec::new(),
                frames_sent: 0,
            },
            tracer: Tracer::new(mode),
            instant_events: 0,
            events: 0,
            instant_limit: INSTANT_LIMIT,
            event_limit: EVENT_LIMIT,
        }
    }

    /// Adds a node. Its name must be stable: it keys what the node draws.
    pub fn add_node(&mut self, name: &str, node: N) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("fewer than 2^32 nodes"));
        self.nodes.push(node);
        self.names.push(name.to_owned());
        self.fabric.ports.push(Vec::new());
        self.fabric.wakes.push(None);
        id
    }

    /// Joins two ports. What was plugged into them before is unplugged.
    pub fn connect(&mut self, a: (NodeId, PortNo), b: (NodeId, PortNo), config: LinkConfig) -> LinkId {
        self.disconnect(a);
        self.disconnect(b);
        let id = LinkId(u32::try_from(self.fabric.links.len()).expect("fewer than 2^32 links"));
        let label = format!("{}/{}~{}/{}", self.names[a.0.0 as usize], a.1.0, self.names[b.0.0 as usize], b.1.0);
        let key = choice::key_of(label.as_bytes());
        self.fabric.links.push(Link {
            ends: [a, b],
            config,
            up: true,
            plain: config == LinkConfig::default(),
            key,
            directions: [Direction::default(), Direction::default()],
        });
        for (side, end) in [a, b].into_iter().enumerate() {
            let ports = &mut self.fabric.ports[end.0.0 as usize];
            if ports.len() <= end.1.0 as usize {
                ports.resize(end.1.0 as usize + 1, None);
            }
            ports[end.1.0 as usize] = Some((id, side as u8));
        }
        id
    }

    /// Unplugs a port, at both ends of its link. What is under way still arrives.
    pub fn disconnect(&mut self, end: (NodeId, PortNo)) {
        let Some((link, _)) = self.fabric.plug(end.0, end.1) else { return };
        for (node, port) in self.fabric.links[link.0 as usize].ends {
            let slot = &mut self.fabric.ports[node.0 as usize][port.0 as usize];
            if slot.is_some_and(|(plugged, _)| plugged == link) {
                *slot = None;
            }
        }
    }

    /// The link at a port.
    pub fn link_at(&self, node: NodeId, port: PortNo) -> Option<LinkId> {
        self.fabric.plug(node, port).map(|(link, _)| link)
    }

    /// The two ends of a link.
    pub fn link_ends(&self, link: LinkId) -> [(NodeId, PortNo); 2] {
        self.fabric.links[link.0 as usize].ends
    }

    /// What a link does to frames.
    pub fn link_config(&self, link: LinkId) -> LinkConfig {
        self.fabric.links[link.0 as usize].config
    }

    /// Changes what a link does to the frames sent from here on.
    pub fn set_link_config(&mut self, link: LinkId, config: LinkConfig) {
        let link = &mut self.fabric.links[link.0 as usize];
        link.set(config, link.up);
    }

    /// Whether a link is up.
    pub fn link_is_up(&self, link: LinkId) -> bool {
        self.fabric.links[link.0 as usize].up
    }

    /// Takes a link up or down, and tells both ends.
    pub fn set_link_up(&mut self, link: LinkId, up: bool) {
        if self.fabric.links[link.0 as usize].up == up {
            return;
        }
        let state = &mut self.fabric.links[link.0 as usize];
        state.set(state.config, up);
        for (node, port) in self.fabric.links[link.0 as usize].ends {
            self.with(node, |n, cx| n.link_changed(cx, port, up));
        }
    }

    /// All links.
    pub fn links(&self) -> impl Iterator<Item = LinkId> + use<N> {
        let count = self.fabric.links.len() as u32;
        (0..count).map(LinkId)
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &N)> {
        self.nodes.iter().enumerate().map(|(at, node)| (NodeId(at as u32), node))
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &N {
        &self.nodes[id.0 as usize]
    }

    /// A node, to be changed without its powers (see [`Sim::with`]).
    pub fn node_mut(&mut self, id: NodeId) -> &mut N {
        &mut self.nodes[id.0 as usize]
    }

    /// The name of a node.
    pub fn name(&self, id: NodeId) -> &str {
        &self.names[id.0 as usize]
    }

    /// Calls a node from outside, with its powers, at the present time.
    #[inline]
    pub fn with<T>(&mut self, id: NodeId, call: impl FnOnce(&mut N, &mut Cx<'_, N::Record>) -> T) -> T {
        let mut cx = Cx { node: id, fabric: &mut self.fabric, tracer: &mut self.tracer };
        call(&mut self.nodes[id.0 as usize], &mut cx)
    }

    /// The present time.
    pub fn now(&self) -> SimTime {
        self.fabric.now
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Frames sent into links so far.
    pub fn frames_sent(&self) -> u64 {
        self.fabric.frames_sent
    }

    /// The records.
    pub fn tracer(&self) -> &Tracer<N::Record> {
        &self.tracer
    }

    /// The records, to change how they are kept.
    pub fn tracer_mut(&mut self) -> &mut Tracer<N::Record> {
        &mut self.tracer
    }

    /// The decisions taken so far.
    pub fn choices(&self) -> &[Choice] {
        &self.fabric.choices.log
    }

    /// Forces the arm of a decision to come.
    pub fn force_choice(&mut self, key: ChoiceKey, arm: u32) {
        self.fabric.choices.force(key, arm);
    }

    /// Bounds the run: events at one instant, and in all.
    pub fn set_limits(&mut self, instant: u64, all: u64) {
        self.instant_limit = instant;
        self.event_limit = all;
    }

    /// Runs until nothing is left, or the clock would pass `until`. Afterwards the clock stands at `until` if that was
    /// reached, else at the last event.
    pub fn run_until(&mut self, until: SimTime) -> Halt {
        loop {
            if self.instant_events > self.instant_limit {
                return Halt::InstantLimit;
            }
            if self.events > self.event_limit {
                return Halt::EventLimit;
            }
            if !self.step_until(until) {
                let idle = self.fabric.queue.first_key().is_none();
                if until != SimTime::MAX {
                    self.advance(until);
                }
                return if idle { Halt::Idle } else { Halt::Until };
            }
        }
    }

    /// Runs until nothing is left.
    pub fn run(&mut self) -> Halt {
        self.run_until(SimTime::MAX)
    }

    fn advance(&mut self, to: SimTime) {
        if to > self.fabric.now {
            self.fabric.now = to;
            self.instant_events = 0;
        }
    }

    /// When the next event is due; none where nothing is left.
    pub fn next_event_at(&self) -> Option<SimTime> {
        if self.fabric.queue.has_instant() {
            return Some(self.fabric.now);
        }
        self.fabric.queue.first_key().map(|(time, _)| time)
    }

    /// Processes one event that is due by `until`; false where there is none.
    #[inline]
    fn step_until(&mut self, until: SimTime) -> bool {
        let due_now = self.fabric.queue.first_key().is_some_and(|(time, _)| time <= self.fabric.now);
        if !due_now && let Some(event) = self.fabric.queue.pop_now() {
            self.count();
            match event {
                Now::Deliver(node, port, packet) => self.with(node, |n, cx| n.receive(cx, port, packet)),
                Now::Wake(node) => self.with(node, |n, cx| n.wake(cx)),
            }
            return true;
        }
        let Some((time, _)) = self.fabric.queue.first_key() else { return false };
        if time > until {
            return false;
        }
        let Some(((time, _), event)) = self.fabric.queue.pop_later() else { return false };
        self.advance(time);
        self.count();
        match event {
            Later::Wake(node) => {
                self.fabric.wakes[node.0 as usize] = None;
                self.with(node, |n, cx| n.wake(cx));
            }
            Later::Stray(node, port, packet) => self.with(node, |n, cx| n.receive(cx, port, *packet)),
            Later::LinkHead(link, side) => self.drain_link(link, side),
        }
        true
    }

    /// Delivers the head of a link's FIFO, and those behind it for as long as they are next in the total order.
    #[inline]
    fn drain_link(&mut self, link: LinkId, side: u8) {
        let (node, port) = self.fabric.links[link.0 as usize].ends[1 - side as usize];
        loop {
            let direction = &mut self.fabric.links[link.0 as usize].directions[side as usize];
            let Some((_, _, packet)) = direction.fifo.pop_front() else { return };
            let next = direction.fifo.front().map(|(time, seq, _)| (*time, *seq));
            self.with(node, |n, cx| n.receive(cx, port, packet));
            let Some(key) = next else { return };
            let first = self.fabric.queue.first_key();
            if key.0 > self.fabric.now || first.is_some_and(|first| first < key) {
                self.fabric.queue.push_later(key, Later::LinkHead(link, side));
                return;
            }
            self.count();
        }
    }

    fn count(&mut self) {
        self.events += 1;
        self.instant_events += 1;
    }
}

impl Fabric {
    #[inline]
    fn plug(&self, node: NodeId, port: PortNo) -> Option<(LinkId, u8)> {
        self.ports.get(node.0 as usize)?.get(port.0 as usize).copied().flatten()
    }
}

impl<R: TraceRecord> Cx<'_, R> {
    /// The present time.
    #[inline]
    pub fn now(&self) -> SimTime {
        self.fabric.now
    }

    /// The node whose turn it is.
    #[inline]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The seed of the run.
    #[inline]
    pub fn seed(&self) -> u64 {
        self.fabric.choices.seed
    }

    /// Whether records are kept. What only serves a record need not be computed where not.
    #[inline]
    pub fn tracing(&self) -> bool {
        self.tracer.mode() != TraceMode::Off
    }

    /// Writes a record about a packet.
    #[inline(always)]
    pub fn record(&mut self, packet: PacketId, mut record: R) {
        if self.tracing() {
            // Here, where the kind of the record is known, this costs nothing.
            let snap = record.snap_mut().map(std::mem::take);
            self.tracer.push(self.fabric.now, self.node, packet, &record, snap);
        }
    }

    /// Writes what `write` writes about a packet. What it wrote before may be written instead, where the packet has left the same
    /// records so far as that other one had: so `write` must write nothing but records about this packet that point to no bytes,
    /// and the same each time that it is called with this `memo`.
    #[inline]
    pub fn record_again(&mut self, packet: PacketId, memo: &mut Memo, write: impl FnOnce(&mut Self)) {
        if !self.tracing() || self.tracer.replay(self.fabric.now, self.node, packet, *memo) {
            return;
        }
        let from = self.tracer.mark(self.fabric.now, self.node, packet);
        write(self);
        let to = self.tracer.mark(self.fabric.now, self.node, packet);
        *memo = self.tracer.since(from, to);
    }

    /// Keeps a frame for a record: its headers, or all of it, as the trace mode says.
    #[inline]
    pub fn snap(&mut self, frame: &[u8]) -> Snap {
        match self.tracer.mode() {
            TraceMode::Off => Snap::default(),
            TraceMode::Headers => self.tracer.keep(frame, HEADER_SNAP),
            TraceMode::Frames => self.tracer.keep(frame, usize::MAX),
        }
    }

    /// Keeps the frame of a packet that was just made: of what is sent of it only what changed by then need be kept.
    #[inline]
    pub fn snap_made(&mut self, packet: &mut Packet) -> Snap {
        let snap = self.tracer.keep_sent(packet);
        packet.sent = Snap::default();
        snap
    }

    /// Keeps a frame that is about to be sent, so that who receives it need not keep it once more.
    #[inline]
    pub fn snap_sent(&mut self, packet: &mut Packet) -> Snap {
        self.tracer.keep_sent(packet)
    }

    /// Keeps a frame that was just received: what its sender kept, where it did.
    #[inline]
    pub fn snap_received(&mut self, packet: &mut Packet) -> Snap {
        match self.tracer.take_sent(packet) {
            None => self.snap(packet.bytes()),
            Some(sent) => sent,
        }
    }

    /// Keeps bytes for a record, whole (a state change, a line of text).
    pub fn note(&mut self, bytes: &[u8]) -> Snap {
        if self.tracing() { self.tracer.keep(bytes, usize::MAX) } else { Snap::default() }
    }

    /// Makes a packet of these bytes.
    pub fn packet(&mut self, frame: &[u8], parent: Option<PacketId>, cause: Cause) -> Packet {
        let lineage = Lineage { parent, cause, born: self.fabric.now, node: self.node };
        let id = self.tracer.next_packet(lineage);
        Packet::new(id, self.fabric.pool.pop().unwrap_or_default(), frame)
    }

    /// Makes a child of a packet, with the same bytes (`skb_clone`).
    pub fn copy(&mut self, packet: &Packet, cause: Cause) -> Packet {
        let mut copy = self.packet(packet.bytes(), Some(packet.id()), cause);
        copy.first_sent = packet.first_sent;
        copy.flow = packet.flow;
        copy
    }

    /// Gives a packet a new identity in place: a reply made of its request's buffer, an inner packet after decapsulation.
    pub fn reborn(&mut self, packet: Packet, cause: Cause) -> Packet {
        let lineage = Lineage { parent: Some(packet.id()), cause, born: self.fabric.now, node: self.node };
        let id = self.tracer.next_packet(lineage);
        packet.with_id(id)
    }

    /// Takes back the buffer of a packet that has ended.
    #[inline]
    pub fn recycle(&mut self, packet: Packet) {
        if self.fabric.pool.len() < POOL_LIMIT {
            self.fabric.pool.push(packet.into_buf());
        }
    }

    /// Takes one of `arms`. See [`crate::choice`].
    pub fn decide(&mut self, purpose: Purpose, key: u64, arms: Arms) -> Choice {
        let arm = self.fabric.choices.decide(purpose, key, arms);
        match self.fabric.choices.log.last() {
            Some(choice) if choice.key.purpose == purpose && choice.key.key == key => *choice,
            _ => Choice { key: ChoiceKey { purpose, key, draw: 0 }, arms, arm },
        }
    }

    /// Whether a link is plugged into the port, and up.
    pub fn has_carrier(&self, port: PortNo) -> bool {
        self.fabric.plug(self.node, port).is_some_and(|(link, _)| self.fabric.links[link.0 as usize].up)
    }

    /// Wakes this node at `at`, or earlier if it asked for that before. A time that has passed means now.
    pub fn wake_at(&mut self, at: SimTime) {
        if at <= self.fabric.now {
            return self.wake_now();
        }
        let slot = self.node.0 as usize;
        if let Some(armed) = self.fabric.wakes[slot] {
            if armed.0 <= at {
                return;
            }
            self.fabric.queue.cancel(armed);
        }
        let key = (at, self.fabric.queue.seq());
        self.fabric.wakes[slot] = Some(key);
        self.fabric.queue.push_later(key, Later::Wake(self.node));
    }

    /// Wakes this node at this instant, after what is queued already; one wake for each call.
    pub fn wake_now(&mut self) {
        self.fabric.queue.push_now(Now::Wake(self.node));
    }

    /// Sends a frame out of a port.
    #[inline]
    pub fn transmit(&mut self, port: PortNo, packet: Packet)
    where
        R: WireRecord,
    {
        let Some((id, side)) = self.fabric.plug(self.node, port) else {
            self.record(packet.id(), R::wire(port, WireEvent::Unplugged));
            return self.recycle(packet);
        };
        let fabric = &mut *self.fabric;
        fabric.frames_sent += 1;
        let link = &mut fabric.links[id.0 as usize];
        let far = link.ends[1 - side as usize];
        if link.plain {
            fabric.queue.push_now(Now::Deliver(far.0, far.1, packet));
            return;
        }
        self.transmit_shaped(id, side, port, packet);
    }

    /// The wire with a delay, a rate, or a chance of harm.
    #[inline]
    fn transmit_shaped(&mut self, id: LinkId, side: u8, port: PortNo, packet: Packet)
    where
        R: WireRecord,
    {
        let now = self.fabric.now;
        let seed = self.fabric.choices.seed;
        let link = &mut self.fabric.links[id.0 as usize];
        let (config, up, key) = (link.config, link.up, link.key);
        let far = link.ends[1 - side as usize];
        let direction = &mut link.directions[side as usize];
        let draw = direction.sent;
        direction.sent += 1;
        let chance = |what: u64, ppm: u32| {
            ppm > 0 && choice::below(choice::hash(seed, LINK_CHANCE, key ^ what ^ u64::from(side), draw), MILLION) < ppm
        };
        let lost = chance(0x10, config.loss_ppm);
        let twice = chance(0x20, config.duplicate_ppm);
        let held = chance(0x30, config.reorder_ppm);
        let mut arrival = now;
        if config.rate_bps > 0 {
            let bits = packet.len() as u128 * 8 * 1_000_000_000;
            let serialise = SimTime((bits / u128::from(config.rate_bps)) as u64);
            direction.busy_until = direction.busy_until.max(now) + serialise;
            arrival = direction.busy_until;
        }
        arrival += config.delay;
        let harm = if !up {
            Some(WireEvent::LinkDown)
        } else if config.max_frame > 0 && packet.len() > config.max_frame as usize {
            Some(WireEvent::TooBig)
        } else if lost {
            Some(WireEvent::Lost)
        } else {
            None
        };
        if let Some(event) = harm {
            self.record(packet.id(), R::wire(port, event));
            return self.recycle(packet);
        }
        let second = twice.then(|| self.copy(&packet, Cause::default()));
        if let Some(second) = &second {
            self.record(packet.id(), R::wire(port, WireEvent::Duplicated(second.id())));
        }
        if held {
            self.record(packet.id(), R::wire(port, WireEvent::HeldBack));
            let at = (arrival + config.delay, self.fabric.queue.seq());
            self.fabric.queue.push_later(at, Later::Stray(far.0, far.1, Box::new(packet)));
        } else {
            self.enqueue(id, side, far, arrival, packet);
        }
        if let Some(second) = second {
            self.enqueue(id, side, far, arrival, second);
        }
    }

    #[inline]
    fn enqueue(&mut self, id: LinkId, side: u8, far: (NodeId, PortNo), arrival: SimTime, packet: Packet) {
        let fabric = &mut *self.fabric;
        if arrival <= fabric.now {
            return fabric.queue.push_now(Now::Deliver(far.0, far.1, packet));
        }
        let at = (arrival, fabric.queue.seq());
        let fifo = &mut fabric.links[id.0 as usize].directions[side as usize].fifo;
        match fifo.back() {
            // A config change may shorten the delay; then the frame overtakes those under way.
            Some((last, _, _)) if *last > arrival => fabric.queue.push_later(at, Later::Stray(far.0, far.1, Box::new(packet))),
            Some(_) => fifo.push_back((at.0, at.1, packet)),
            None => {
                fifo.push_back((at.0, at.1, packet));
                fabric.queue.push_later(at, Later::LinkHead(id, side));
            }
        }
    }
}

/// The purpose under which links draw their chances; other crates number theirs from 1.
pub const LINK_CHANCE: Purpose = Purpose(0);

/// A record type that can say what befell a frame on the wire.
pub trait WireRecord {
    /// The record of what befell a frame behind a port.
    fn wire(port: PortNo, event: WireEvent) -> Self;
}

#[cfg(test)]
mod tests;
