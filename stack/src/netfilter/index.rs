//! A way past rules that cannot match: derived, never the truth.
//!
//! Most rules of a long chain name one destination (a Service), one source (a block list) or one port (node ports). Those are
//! found by hashing; all others, and whatever was found, are compared as ever, in the order of the chain. What the kernel would
//! have walked (`tried`) follows from the positions.

use rustc_hash::FxHashMap;

use super::ruleset::{Block, Seen};
use crate::addr::Family;
use crate::view::proto;

/// Shorter chains are compared rule by rule.
const LEAST_RULES: usize = 24;

/// Where in `order` the rules of a key stand.
type Span = (u32, u32);

/// Of a chain.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Index {
    dst: FxHashMap<u128, Span>,
    src: FxHashMap<u128, Span>,
    dport: FxHashMap<(u8, u16), Span>,
    /// Positions, by key, ascending within one.
    order: Vec<u32>,
    /// Positions of rules without a key.
    rest: Vec<u32>,
}

/// What a rule is found by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Key {
    Dst(u128),
    Src(u128),
    Dport(u8, u16),
}

impl Index {
    /// An index; none where it would not help.
    pub(crate) fn of(blocks: &[Block], family: Family) -> Option<Box<Index>> {
        if blocks.len() < LEAST_RULES {
            return None;
        }
        let mut keyed: Vec<(Key, u32)> = Vec::with_capacity(blocks.len());
        let mut rest = Vec::new();
        for (at, block) in blocks.iter().enumerate() {
            match block.key(family) {
                Some(key) => keyed.push((key, at as u32)),
                None => rest.push(at as u32),
            }
        }
        if keyed.len() < LEAST_RULES {
            return None;
        }
        keyed.sort_unstable();
        let mut index = Index {
            dst: FxHashMap::default(),
            src: FxHashMap::default(),
            dport: FxHashMap::default(),
            order: keyed.iter().map(|&(_, at)| at).collect(),
            rest,
        };
        let mut from = 0;
        for group in keyed.chunk_by(|a, b| a.0 == b.0) {
            let span = (from, from + group.len() as u32);
            from = span.1;
            match group[0].0 {
                Key::Dst(addr) => index.dst.insert(addr, span),
                Key::Src(addr) => index.src.insert(addr, span),
                Key::Dport(number, port) => index.dport.insert((number, port), span),
            };
        }
        Some(Box::new(index))
    }

    /// The positions, from `from` on, that a packet must be compared at; none where all of them are.
    pub(crate) fn candidates(&self, seen: &Seen, from: u32) -> Option<Candidates<'_>> {
        // A later fragment, or a header that is cut, is for the matches to judge.
        if seen.ports.is_none() && matches!(seen.proto, proto::TCP | proto::UDP) {
            return None;
        }
        let list = |span: Option<&Span>| span.map_or(&[][..], |&(lo, hi)| &self.order[lo as usize..hi as usize]);
        let dport = seen.ports.and_then(|(_, dport)| self.dport.get(&(seen.proto, dport)));
        let lists = [list(self.dst.get(&seen.dst)), list(self.src.get(&seen.src)), list(dport), &self.rest[..]];
        Some(Candidates { lists: lists.map(|list| &list[list.partition_point(|&at| at < from)..]) })
    }
}

/// Positions in ascending order, out of some ascending lists.
pub(crate) struct Candidates<'i> {
    lists: [&'i [u32]; 4],
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let head = |list: &[u32]| list.first().copied().unwrap_or(u32::MAX);
        let least = self.lists.iter_mut().min_by_key(|list| head(list))?;
        let (first, others) = least.split_first()?;
        *least = others;
        Some(*first)
    }
}
