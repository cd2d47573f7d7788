//! The total order of events: (time, sequence number).
//!
//! Three structures hold it together, so that the common case costs no ordered map:
//!
//! - what is due at a later instant stands in an ordered map,
//! - a link with a fixed delay keeps its own FIFO, of which only the head stands in the map (see [`crate::link`]),
//! - what is due at the present instant stands in that instant's FIFO.
//!
//! At one instant the map is drained first, then the FIFO. That is exactly the order of sequence numbers: whatever the map
//! holds for this instant was put there at an earlier one.

use std::collections::{BTreeMap, VecDeque};

use crate::id::{LinkId, NodeId, PortNo};
use crate::packet::Packet;
use crate::time::SimTime;

/// The rank of an event among those of its instant.
pub type Seq = u64;

/// What happens at a later instant.
#[derive(Debug)]
pub(crate) enum Later {
    /// The head of the FIFO of one direction of a link arrives.
    LinkHead(LinkId, u8),
    /// A packet arrives that overtook, or was held back by, its link.
    Stray(NodeId, PortNo, Box<Packet>),
    /// A node asked to be woken.
    Wake(NodeId),
}

/// What happens at the present instant.
#[derive(Debug)]
pub(crate) enum Now {
    Deliver(NodeId, PortNo, Packet),
    Wake(NodeId),
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    next_seq: Seq,
    later: BTreeMap<(SimTime, Seq), Later>,
    instant: VecDeque<Now>,
}

impl Queue {
    pub(crate) fn seq(&mut self) -> Seq {
        self.next_seq += 1;
        self.next_seq
    }

    pub(crate) fn push_now(&mut self, event: Now) {
        self.instant.push_back(event);
    }

    pub(crate) fn pop_now(&mut self) -> Option<Now> {
        self.instant.pop_front()
    }

    pub(crate) fn push_later(&mut self, at: (SimTime, Seq), event: Later) {
        self.later.insert(at, event);
    }

    pub(crate) fn cancel(&mut self, at: (SimTime, Seq)) {
        self.later.remove(&at);
    }

    pub(crate) fn first_key(&self) -> Option<(SimTime, Seq)> {
        self.later.first_key_value().map(|(key, _)| *key)
    }

    pub(crate) fn pop_later(&mut self) -> Option<((SimTime, Seq), Later)> {
        self.later.pop_first()
    }

    pub(crate) fn has_instant(&self) -> bool {
        !self.instant.is_empty()
    }
}
