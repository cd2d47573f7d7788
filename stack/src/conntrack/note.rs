//! The state of a connection as bytes: what a record of the trace points to.
//!
//! ```text
//!   id 4 | bits 2 | proto 1 | state 1 | mark 4 | zone 2 | timeout 8 | original | reply
//!   tuple: family 1 | src 4 or 16 | dst 4 or 16 | sport 2 | dport 2
//! ```

use std::net::IpAddr;

use super::sctp::SctpState;
use super::tcp::TcpState;
use super::{CtView, Tuple};
use crate::trace::CtId;
use crate::view::proto;

/// The longest note.
const MAX: usize = 24 + 2 * 37;

/// A note, on the stack.
pub(crate) struct Note {
    bytes: [u8; MAX],
    len: usize,
}

impl Note {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn put_tuple(&mut self, tuple: &Tuple) {
        match (tuple.src, tuple.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                self.put(&[4]);
                self.put(&src.octets());
                self.put(&dst.octets());
            }
            (src, dst) => {
                self.put(&[6]);
                for address in [src, dst] {
                    match address {
                        IpAddr::V4(v4) => self.put(&v4.to_ipv6_mapped().octets()),
                        IpAddr::V6(v6) => self.put(&v6.octets()),
                    }
                }
            }
        }
        self.put(&tuple.sport.to_be_bytes());
        self.put(&tuple.dport.to_be_bytes());
    }
}

/// The states of a protocol, by code.
fn states(protocol: u8) -> &'static [&'static str] {
    match protocol {
        proto::TCP => &TcpState::NAMES,
        proto::SCTP => &SctpState::NAMES,
        _ => &[],
    }
}

/// Writes a view down.
pub(crate) fn encode(view: &CtView) -> Note {
    let mut note = Note { bytes: [0; MAX], len: 0 };
    let flags = [view.unreplied, view.assured, view.snat, view.dnat, view.confirmed];
    let bits = flags.iter().enumerate().fold(0u16, |bits, (at, &flag)| bits | u16::from(flag) << at);
    let state = view.state.and_then(|state| states(view.original.proto).iter().position(|&name| name == state));
    note.put(&view.id.0.to_be_bytes());
    note.put(&bits.to_be_bytes());
    note.put(&[view.original.proto, state.map_or(u8::MAX, |at| at as u8)]);
    note.put(&view.mark.to_be_bytes());
    note.put(&view.zone.to_be_bytes());
    note.put(&view.timeout.to_be_bytes());
    note.put_tuple(&view.original);
    note.put_tuple(&view.reply);
    note
}

/// Reads it back; none where the bytes are no note.
pub(crate) fn decode(bytes: &[u8]) -> Option<CtView> {
    let mut reader = Reader(bytes);
    let id = CtId(u32::from_be_bytes(reader.take()?));
    let bits = u16::from_be_bytes(reader.take()?);
    let [protocol, state] = reader.take()?;
    let mark = u32::from_be_bytes(reader.take()?);
    let zone = u16::from_be_bytes(reader.take()?);
    let timeout = u64::from_be_bytes(reader.take()?);
    let original = reader.tuple(protocol)?;
    let reply = reader.tuple(protocol)?;
    Some(CtView {
        id,
        original,
        reply,
        state: states(protocol).get(usize::from(state)).copied(),
        unreplied: bits & 1 != 0,
        assured: bits & 2 != 0,
        mark,
        zone,
        timeout,
        snat: bits & 4 != 0,
        dnat: bits & 8 != 0,
        confirmed: bits & 16 != 0,
        counts: None,
    })
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn tuple(&mut self, proto: u8) -> Option<Tuple> {
        let (src, dst) = match self.take::<1>()? {
            [4] => (IpAddr::from(self.take::<4>()?), IpAddr::from(self.take::<4>()?)),
            [6] => (IpAddr::from(self.take::<16>()?), IpAddr::from(self.take::<16>()?)),
            _ => return None,
        };
        let (sport, dport) = (u16::from_be_bytes(self.take()?), u16::from_be_bytes(self.take()?));
        Some(Tuple { src, dst, proto, sport, dport })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_back() {
        let original = Tuple { src: [10, 0, 0, 1].into(), dst: [10, 96, 0, 1].into(), proto: 6, sport: 40000, dport: 80 };
        let reply = Tuple { src: [10, 1, 0, 1].into(), dst: [10, 0, 0, 1].into(), proto: 6, sport: 8080, dport: 40000 };
        let view = CtView {
            id: CtId(7),
            original,
            reply,
            state: Some("SYN_RECV"),
            unreplied: false,
            assured: true,
            mark: 0x4000,
            zone: 3,
            timeout: 59,
            snat: false,
            dnat: true,
            confirmed: true,
            counts: None,
        };
        assert_eq!(decode(encode(&view).bytes()), Some(view.clone()));
        let six = Tuple { src: [7; 16].into(), dst: [8; 16].into(), proto: 17, sport: 1, dport: 2 };
        let view = CtView { original: six, reply: six, state: None, ..view };
        assert_eq!(decode(encode(&view).bytes()), Some(view));
        assert_eq!(decode(&[1, 2, 3]), None);
    }
}
