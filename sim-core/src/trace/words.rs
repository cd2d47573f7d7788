//! Sequences of records, each kept once: a tree whose paths from the root are what packets left behind at one node and instant.
//!
//! ```text
//!   entries   Receive{dev} Route{..} Transmit{dev} Drop{..} ...      different records
//!   steps     root <- 1:Receive <- 2:Route <- 3:Transmit
//!                                     ^------ 4:Drop                 each names the step before it and an entry
//! ```
//!
//! Packets that go the same way take the same steps, and a sequence is one number: its last step.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use super::TraceRecord;
use crate::id::NodeId;

/// Where a sequence has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Step {
    before: u32,
    entry: u32,
}

/// The step that every sequence begins behind.
pub(super) const ROOT: u32 = 0;

/// Slots of the tables by which steps and entries are found. They forget: then an entry or a step is made once more.
const SLOTS: usize = 4096;

/// All sequences.
#[derive(Debug)]
pub(super) struct Sequences<R> {
    entries: Vec<R>,
    steps: Vec<Step>,
    /// The step that was taken last time from a step, at a node.
    guesses: Box<[u32]>,
    entry_by_hash: Box<[u32]>,
    step_by_hash: Box<[u32]>,
}

impl<R: TraceRecord> Sequences<R> {
    pub(super) fn new() -> Sequences<R> {
        let table = || vec![0; SLOTS].into_boxed_slice();
        Sequences {
            entries: Vec::new(),
            steps: vec![Step { before: ROOT, entry: u32::MAX }],
            guesses: table(),
            entry_by_hash: table(),
            step_by_hash: table(),
        }
    }

    /// The step from a step by a record, which points to nothing.
    #[inline]
    pub(super) fn step(&mut self, before: u32, node: NodeId, record: &R) -> u32 {
        let guess = (before.wrapping_mul(0x9e37_79b1) ^ node.0.wrapping_mul(0x85eb_ca6b)) as usize % SLOTS;
        let step = self.guesses[guess];
        let Step { before: from, entry } = self.steps[step as usize];
        if from == before && self.entries.get(entry as usize) == Some(record) {
            return step;
        }
        let step = self.find(before, record);
        self.guesses[guess] = step;
        step
    }

    #[inline(never)]
    fn find(&mut self, before: u32, record: &R) -> u32 {
        let mut hasher = FxHasher::default();
        record.hash(&mut hasher);
        let slot = &mut self.entry_by_hash[(hasher.finish() >> 20) as usize % SLOTS];
        if self.entries.get(*slot as usize) != Some(record) {
            *slot = self.entries.len() as u32;
            self.entries.push(*record);
        }
        let step = Step { before, entry: *slot };
        let mixed = (u64::from(before) << 32 | u64::from(step.entry)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = &mut self.step_by_hash[(mixed >> 40) as usize % SLOTS];
        if self.steps[*slot as usize] != step {
            *slot = self.steps.len() as u32;
            self.steps.push(step);
        }
        *slot
    }

    /// Entries and steps.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.entries.len(), self.steps.len())
    }

    /// The records of the sequence that ends with a step, what they point to left out. `into` is cleared.
    pub(super) fn read(&self, last: u32, into: &mut Vec<R>) {
        into.clear();
        let mut step = last;
        while step != ROOT {
            let Step { before, entry } = self.steps[step as usize];
            into.push(self.entries[entry as usize]);
            step = before;
        }
        into.reverse();
    }
}
