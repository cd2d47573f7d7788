//! The total order of events: (time, sequence number).
//!
//! Several structures hold it together, so that the common case costs no ordered map:
//!
//! - what is due next stands in a short sorted ring, what is due behind all of that in an ordered map ([`Later`] events),
//! - a link with a fixed delay keeps its own FIFO, of which only the head stands in the ring (see [`crate::link`]),
//! - what is due at the present instant stands in that instant's FIFO.
//!
//! At one instant the ring is drained first, then the FIFO. That is exactly the order of sequence numbers: whatever the ring
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

/// Events in the sorted ring. What is sent over a link of some delay comes in near its end: that is found in a step or two.
const NEAR_LIMIT: usize = 64;

/// When an event is due, and its rank.
type Key = (SimTime, Seq);

#[derive(Debug)]
pub(crate) struct Queue {
    next_seq: Seq,
    /// What is due next, sorted.
    near: VecDeque<(Key, Later)>,
    /// What is due behind all that `near` holds.
    far: BTreeMap<Key, Later>,
    /// The first key of `far`; [`NEVER`] where it is empty.
    far_first: Key,
    instant: VecDeque<Now>,
}

/// Behind every event.
const NEVER: Key = (SimTime::MAX, Seq::MAX);

impl Default for Queue {
    fn default() -> Queue {
        Queue { next_seq: 0, near: VecDeque::new(), far: BTreeMap::new(), far_first: NEVER, instant: VecDeque::new() }
    }
}

impl Queue {
    #[inline]
    pub(crate) fn seq(&mut self) -> Seq {
        self.next_seq += 1;
        self.next_seq
    }

    #[inline]
    pub(crate) fn push_now(&mut self, event: Now) {
        self.instant.push_back(event);
    }

    #[inline]
    pub(crate) fn pop_now(&mut self) -> Option<Now> {
        self.instant.pop_front()
    }

    #[inline]
    pub(crate) fn push_later(&mut self, at: Key, event: Later) {
        if at > self.far_first {
            self.far.insert(at, event);
            return;
        }
        // From the end: new events are mostly due behind the others.
        let mut place = self.near.len();
        while place > 0 && self.near[place - 1].0 > at {
            place -= 1;
        }
        if place == self.near.len() {
            self.near.push_back((at, event));
        } else {
            self.near.insert(place, (at, event));
        }
        if self.near.len() > NEAR_LIMIT {
            self.spill();
        }
    }

    /// The last of the ring goes over to the map.
    fn spill(&mut self) {
        if let Some((key, event)) = self.near.pop_back() {
            self.far.insert(key, event);
            self.far_first = key;
        }
    }

    /// The ring is empty: it takes over the first half of a ring from the map.
    fn refill(&mut self) {
        while self.near.len() < NEAR_LIMIT / 2
            && let Some(first) = self.far.pop_first()
        {
            self.near.push_back(first);
        }
        self.far_first = self.far.first_key_value().map_or(NEVER, |(key, _)| *key);
    }

    pub(crate) fn cancel(&mut self, at: Key) {
        if at >= self.far_first {
            self.far.remove(&at);
            self.far_first = self.far.first_key_value().map_or(NEVER, |(key, _)| *key);
        } else if let Ok(place) = self.near.binary_search_by_key(&at, |(key, _)| *key) {
            self.near.remove(place);
        }
    }

    #[inline]
    pub(crate) fn first_key(&self) -> Option<Key> {
        match self.near.front() {
            Some((key, _)) => Some(*key),
            None if self.far_first == NEVER => None,
            None => Some(self.far_first),
        }
    }

    #[inline]
    pub(crate) fn pop_later(&mut self) -> Option<(Key, Later)> {
        if self.near.is_empty() {
            self.refill();
        }
        self.near.pop_front()
    }

    #[inline]
    pub(crate) fn has_instant(&self) -> bool {
        !self.instant.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_in_the_order_of_time_and_rank_however_many_there_are() {
        for count in [1u64, 5, 63, 64, 65, 200, 1000] {
            let mut queue = Queue::default();
            let mut model: BTreeMap<Key, u32> = BTreeMap::new();
            let mut state = count;
            let mut random = move |below: u64| {
                state = crate::choice::hash(state, crate::sim::LINK_CHANCE, below, 1);
                state % below
            };
            let mut now = 0;
            for step in 0..count * 8 {
                match random(8) {
                    0..=3 if model.len() < count as usize => {
                        let key = (SimTime(now + 1 + random(500)), queue.seq());
                        queue.push_later(key, Later::Wake(NodeId(step as u32)));
                        model.insert(key, step as u32);
                    }
                    4 => {
                        let at = random(model.len() as u64 + 1) as usize;
                        if let Some(&key) = model.keys().nth(at) {
                            queue.cancel(key);
                            model.remove(&key);
                        }
                    }
                    _ => {
                        assert_eq!(queue.first_key(), model.first_key_value().map(|(key, _)| *key));
                        let popped = queue.pop_later().map(|(key, event)| match event {
                            Later::Wake(node) => (key, node.0),
                            other => panic!("nobody pushed {other:?}"),
                        });
                        assert_eq!(popped, model.pop_first());
                        now = popped.map_or(now, |(key, _)| key.0.0);
                    }
                }
            }
            while let Some((key, _)) = queue.pop_later() {
                assert_eq!(Some(key), model.pop_first().map(|(key, _)| key));
            }
            assert!(model.is_empty());
        }
    }
}
