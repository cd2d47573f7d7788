//! The bytes that records point to. Of a frame that a packet is sent as once more, only what changed since the first time is kept.
//!
//! ```text
//!   whole     the bytes
//!   changed   where the first time stands (4 bytes), which words changed (1 byte, a bit each), those words (8 bytes each)
//! ```
//!
//! A router changes the addresses of the link layer, TTL and checksum: four words.

use std::borrow::Cow;

use super::Snap;
use crate::packet::{FirstSent, Packet};

/// Set in [`Snap::at`] where only what changed stands there.
const CHANGED: u32 = 1 << 31;
/// Bytes compared at once.
const WORD: usize = 8;
/// Words in which a frame may differ from what was sent first; behind them it must be the same.
const WORDS: usize = 8;
/// Bytes in front of the words that changed.
const HEAD: usize = 5;

/// The arena.
#[derive(Debug, Default)]
pub(super) struct Frames {
    arena: Vec<u8>,
    /// How often the arena was cleared: what packets remember of an earlier one is void.
    pub(super) epoch: u16,
}

impl Frames {
    pub(super) fn clear(&mut self) {
        self.arena.clear();
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Keeps at most `limit` bytes; none where the arena is full.
    #[inline]
    pub(super) fn keep(&mut self, bytes: &[u8], limit: usize) -> Option<Snap> {
        let kept = bytes.len().min(limit).min(u16::MAX as usize);
        let at = self.arena.len();
        if at + kept >= CHANGED as usize {
            return None;
        }
        self.arena.extend_from_slice(&bytes[..kept]);
        Some(Snap { at: at as u32, kept: kept as u16, full: full(bytes) })
    }

    /// Keeps the frame of a packet, or what changed since it was first sent.
    #[inline]
    pub(super) fn keep_sent(&mut self, packet: &mut Packet, limit: usize) -> Option<Snap> {
        let first = packet.first_sent;
        if first.kept != 0
            && first.epoch == self.epoch
            && let Some(snap) = self.keep_changes(first, packet.bytes(), limit)
        {
            return Some(snap);
        }
        let snap = self.keep(packet.bytes(), limit)?;
        packet.first_sent = FirstSent { at: snap.at, kept: snap.kept, epoch: self.epoch };
        Some(snap)
    }

    fn keep_changes(&mut self, first: FirstSent, bytes: &[u8], limit: usize) -> Option<Snap> {
        let kept = usize::from(first.kept);
        if bytes.len().min(limit) != kept {
            return None;
        }
        let at = self.arena.len();
        if at + HEAD + WORD * WORDS >= CHANGED as usize {
            return None;
        }
        let base = &self.arena[first.at as usize..first.at as usize + kept];
        let (bytes, full) = (&bytes[..kept], full(bytes));
        let compared = (kept / WORD).min(WORDS) * WORD;
        if bytes[compared..] != base[compared..] {
            return None;
        }
        let mut changed = 0u8;
        let mut changes = [0u8; HEAD + WORD * WORDS];
        let mut end = HEAD;
        let words = bytes.chunks_exact(WORD).zip(base.chunks_exact(WORD)).take(WORDS);
        for (word, (new, old)) in words.enumerate() {
            if new != old {
                changes[end..end + WORD].copy_from_slice(new);
                changed |= 1 << word;
                end += WORD;
            }
        }
        changes[..4].copy_from_slice(&first.at.to_le_bytes());
        changes[4] = changed;
        self.arena.extend_from_slice(&changes[..end]);
        Some(Snap { at: at as u32 | CHANGED, kept: first.kept, full })
    }

    /// The bytes of a snap.
    pub(super) fn bytes(&self, snap: Snap) -> Cow<'_, [u8]> {
        let kept = usize::from(snap.kept);
        let from = |at: u32| &self.arena[at as usize..];
        if snap.at & CHANGED == 0 {
            return Cow::Borrowed(&from(snap.at)[..kept]);
        }
        let [a, b, c, d, changed, ref words @ ..] = *from(snap.at & !CHANGED) else { return Cow::Borrowed(&[]) };
        let mut bytes = from(u32::from_le_bytes([a, b, c, d]))[..kept].to_vec();
        let places = (0..WORDS).filter(|word| changed & 1 << word != 0);
        for (place, word) in places.zip(words.chunks_exact(WORD)) {
            bytes[place * WORD..][..WORD].copy_from_slice(word);
        }
        Cow::Owned(bytes)
    }
}

fn full(bytes: &[u8]) -> u16 {
    bytes.len().min(u16::MAX as usize) as u16
}
