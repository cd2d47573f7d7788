//! The bytes that records point to. Of a frame that a packet is sent as once more, only what changed since the first time is kept.
//!
//! ```text
//!   whole     how many bytes are kept (2 bytes), how many there were (2), the bytes
//!   changed   where the first time stands (4 bytes), which words changed (2 bytes, a bit each), those words (4 bytes each)
//! ```
//!
//! A router changes the addresses of the link layer, TTL and checksum: five words.

use std::borrow::Cow;

use super::Snap;
use crate::packet::{FirstSent, Packet};

/// Set in [`Snap::at`] where only what changed stands there.
const CHANGED: u32 = 1 << 31;
/// Places are below this: none has the bit, and none with the bit is [`u32::MAX`].
const ROOM: usize = CHANGED as usize - 1;
/// Bytes that change together.
const WORD: usize = 4;
/// Words in which a frame may differ from what was sent first; behind them it must be the same.
const WORDS: usize = 16;
/// Bytes in front of the bytes that are whole.
const WHOLE_HEAD: usize = 4;
/// Bytes in front of the words that changed.
const CHANGED_HEAD: usize = 6;

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
        if at + WHOLE_HEAD + kept >= ROOM {
            return None;
        }
        let snap = Snap { at: at as u32, kept: kept as u16, full: bytes.len().min(u16::MAX as usize) as u16 };
        let ([a, b], [c, d]) = (snap.kept.to_le_bytes(), snap.full.to_le_bytes());
        self.arena.extend_from_slice(&[a, b, c, d]);
        self.arena.extend_from_slice(&bytes[..kept]);
        Some(snap)
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

    #[inline]
    fn keep_changes(&mut self, first: FirstSent, bytes: &[u8], limit: usize) -> Option<Snap> {
        let at = self.arena.len();
        let before = self.snap(first.at);
        let kept = usize::from(before.kept);
        if bytes.len() != usize::from(before.full) || bytes.len().min(limit) != kept || at + CHANGED_HEAD + WORD * WORDS >= ROOM {
            return None;
        }
        let base = &self.arena[first.at as usize + WHOLE_HEAD..][..kept];
        let bytes = &bytes[..kept];
        let compared = (kept / (2 * WORD)).min(WORDS / 2) * 2 * WORD;
        if bytes[compared..] != base[compared..] {
            return None;
        }
        let mut changed = 0u16;
        let mut changes = [0u8; CHANGED_HEAD + WORD * WORDS];
        let mut end = CHANGED_HEAD;
        // Two words at once: most are the same.
        let (new, old) = (bytes[..compared].as_chunks::<{ 2 * WORD }>().0, base[..compared].as_chunks::<{ 2 * WORD }>().0);
        for (pair, (new, old)) in new.iter().zip(old).enumerate() {
            let difference = u64::from_le_bytes(*new) ^ u64::from_le_bytes(*old);
            if difference == 0 {
                continue;
            }
            if difference as u32 != 0 {
                changes[end..end + WORD].copy_from_slice(&new[..WORD]);
                changed |= 1 << (2 * pair);
                end += WORD;
            }
            if difference >> 32 != 0 {
                changes[end..end + WORD].copy_from_slice(&new[WORD..]);
                changed |= 2 << (2 * pair);
                end += WORD;
            }
        }
        if changed == 0 {
            return Some(before);
        }
        changes[..4].copy_from_slice(&first.at.to_le_bytes());
        changes[4..6].copy_from_slice(&changed.to_le_bytes());
        self.arena.extend_from_slice(&changes[..end]);
        Some(Snap { at: at as u32 | CHANGED, ..before })
    }

    /// The snap of a place that was given out.
    #[inline]
    pub(super) fn snap(&self, at: u32) -> Snap {
        let [a, b, c, d] = self.four(if at & CHANGED == 0 { at } else { u32::from_le_bytes(self.four(at & !CHANGED)) });
        Snap { at, kept: u16::from_le_bytes([a, b]), full: u16::from_le_bytes([c, d]) }
    }

    #[inline]
    fn four(&self, at: u32) -> [u8; 4] {
        self.arena[at as usize..].first_chunk().copied().unwrap_or_default()
    }

    /// The bytes of a snap.
    pub(super) fn bytes(&self, snap: Snap) -> Cow<'_, [u8]> {
        if snap.kept == 0 {
            return Cow::Borrowed(&[]);
        }
        let whole = |at: u32| &self.arena[at as usize + WHOLE_HEAD..][..usize::from(snap.kept)];
        if snap.at & CHANGED == 0 {
            return Cow::Borrowed(whole(snap.at));
        }
        let [a, b, c, d, low, high, ref words @ ..] = self.arena[(snap.at & !CHANGED) as usize..] else {
            return Cow::Borrowed(&[]);
        };
        let mut bytes = whole(u32::from_le_bytes([a, b, c, d])).to_vec();
        let changed = u16::from_le_bytes([low, high]);
        let places = (0..WORDS).filter(|word| changed & 1 << word != 0);
        for (place, word) in places.zip(words.chunks_exact(WORD)) {
            bytes[place * WORD..][..WORD].copy_from_slice(word);
        }
        Cow::Owned(bytes)
    }
}
