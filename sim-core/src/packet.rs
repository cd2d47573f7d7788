//! A packet: an owned buffer with headroom, rewritten in place, and its lineage.
//!
//! ```text
//!   buf   [ ....headroom.... | frame, as it is on the wire ............ ]
//!                            ^ head
//! ```
//!
//! Encapsulation pushes bytes into the headroom, decapsulation pulls them off: the payload is never copied.

use crate::id::PacketId;
use crate::trace::Snap;

/// Room in front of a fresh frame: enough for VXLAN over IPv6 (70 bytes) and an Ethernet header more.
pub const HEADROOM: usize = 128;

/// Why a packet exists: an opaque tag here; `pktlab-stack` names its values (original, reply, icmp_error, arp, ...).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Cause(pub u8);

/// One packet. Not `Clone`: [`crate::Cx::copy`] makes a child with an id of its own.
#[derive(Debug)]
pub struct Packet {
    buf: Vec<u8>,
    head: u32,
    id: PacketId,
    /// The connected socket that made it, as a number that is its own within the run; 0 where none did. What hashes a packet into a
    /// flow (a tunnel's source port) goes by it, as the kernel by `skb->hash`; a copy has it, a packet made of another has not.
    pub flow: u64,
    /// What the trace kept of the frame when it was sent; taken on receive.
    pub(crate) sent: Snap,
    /// What the trace kept of the frame when it was first sent.
    pub(crate) first_sent: FirstSent,
}

/// A frame that the trace keeps whole, so that of the later ones only what changed need be kept.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FirstSent {
    pub(crate) at: u32,
    /// Bytes kept; 0: there was none yet.
    pub(crate) kept: u16,
    /// Which of the tracer's arenas this and [`Packet::sent`] stand in.
    pub(crate) epoch: u16,
}

impl Packet {
    #[inline]
    pub(crate) fn new(id: PacketId, mut buf: Vec<u8>, frame: &[u8]) -> Packet {
        buf.clear();
        buf.reserve(HEADROOM + frame.len());
        buf.resize(HEADROOM, 0);
        buf.extend_from_slice(frame);
        Packet { buf, head: HEADROOM as u32, id, flow: 0, sent: Snap::default(), first_sent: FirstSent::default() }
    }

    #[inline]
    pub(crate) fn with_id(mut self, id: PacketId) -> Packet {
        self.id = id;
        self.flow = 0;
        self
    }

    #[inline]
    pub(crate) fn into_buf(self) -> Vec<u8> {
        self.buf
    }

    /// Who this packet is.
    #[inline]
    pub fn id(&self) -> PacketId {
        self.id
    }

    /// Takes the packet out of where it is, and leaves an empty one of the same id behind.
    #[inline]
    pub fn take(&mut self) -> Packet {
        let empty = Packet {
            buf: Vec::new(),
            head: 0,
            id: self.id,
            flow: self.flow,
            sent: Snap::default(),
            first_sent: FirstSent::default(),
        };
        std::mem::replace(self, empty)
    }

    /// The frame.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buf[self.head as usize..]
    }

    /// The frame, to be rewritten in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.head as usize..]
    }

    /// Bytes in the frame.
    #[inline]
    pub fn len(&self) -> usize {
        self.buf.len() - self.head as usize
    }

    /// Whether the frame has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Grows the frame by `n` zero bytes at the front (`skb_push`) and returns it.
    #[inline]
    pub fn push(&mut self, n: usize) -> &mut [u8] {
        if n > self.head as usize {
            let grow = n - self.head as usize + HEADROOM;
            self.buf.splice(0..0, std::iter::repeat_n(0, grow));
            self.head += grow as u32;
        }
        self.head -= n as u32;
        let head = self.head as usize;
        self.buf[head..head + n].fill(0);
        self.bytes_mut()
    }

    /// Cuts `n` bytes off the front (`skb_pull`); cuts all where there are fewer.
    #[inline]
    pub fn pull(&mut self, n: usize) {
        self.head += n.min(self.len()) as u32;
    }

    /// Cuts the frame to `len` bytes (`skb_trim`); no effect where it is shorter.
    #[inline]
    pub fn trim(&mut self, len: usize) {
        if len < self.len() {
            self.buf.truncate(self.head as usize + len);
        }
    }

    /// Appends bytes at the end (`skb_put`).
    pub fn put(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Replaces the whole frame, keeping the id.
    pub fn replace(&mut self, frame: &[u8]) {
        let head = self.head as usize;
        self.buf.truncate(head);
        self.buf.extend_from_slice(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_and_pull_are_inverse_even_past_the_headroom() {
        let mut packet = Packet::new(PacketId(1), Vec::new(), b"payload");
        packet.push(300)[0] = 7;
        assert_eq!((packet.len(), packet.bytes()[0]), (307, 7));
        packet.pull(300);
        assert_eq!(packet.bytes(), b"payload");
        packet.trim(3);
        packet.put(b"!");
        assert_eq!(packet.bytes(), b"pay!");
        packet.pull(100);
        assert!(packet.is_empty());
    }
}
