//! Which flow a frame belongs to: `skb_get_hash` (`net/core/flow_dissector.c`), `udp_flow_src_port`.
//!
//! A packet of a connected socket carries the socket's own hash (`sk_txhash`), drawn for its direction. Any other is hashed by
//! protocol, addresses and ports, the same for both directions; what is not IP by its EtherType alone.

use sim_core::Packet;
use sim_core::choice::{hash, key_of};

use crate::Cx;
use crate::trace::purpose;
use crate::view::{self, ETH_HLEN, be16, ethertype, proto};

/// Bytes that a flow is hashed over: EtherType, VLAN, protocol, two addresses, two ports.
const KEY_LEN: usize = 2 + 2 + 1 + 32 + 4;

/// The hash of a frame that begins with its Ethernet header: of the run's seed, and of the flow.
pub(crate) fn flow_hash(cx: &Cx<'_>, packet: &Packet) -> u32 {
    let of_socket = packet.flow != 0;
    let key = if of_socket { packet.flow } else { key_of(&dissect(packet.bytes())) };
    (hash(cx.seed(), purpose::FLOW_HASH, key, u64::from(of_socket)) >> 32) as u32
}

/// `udp_flow_src_port`: a port of the range; its end is never drawn.
pub(crate) fn source_port(hash: u32, (low, high): (u16, u16)) -> u16 {
    let mixed = hash ^ (hash << 16);
    let offset = (u64::from(mixed) * u64::from(high.saturating_sub(low))) >> 32;
    low.saturating_add(offset as u16)
}

/// `__skb_flow_dissect`, with addresses and ports in order of their values (`__flow_hash_consistentify`).
fn dissect(frame: &[u8]) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    let Some(header) = frame.get(..ETH_HLEN) else { return key };
    let (mut kind, mut l3) = (be16(header, 12), ETH_HLEN);
    if kind == ethertype::VLAN && frame.len() >= l3 + 4 {
        key[2..4].copy_from_slice(&(be16(frame, l3) & 0x0fff).to_be_bytes());
        kind = be16(frame, l3 + 2);
        l3 += 4;
    }
    key[..2].copy_from_slice(&kind.to_be_bytes());
    if !matches!(kind, ethertype::IPV4 | ethertype::IPV6) {
        return key;
    }
    let Ok(headers) = view::parse(frame, l3) else { return key };
    key[4] = headers.l4proto;
    let (at, width) = if kind == ethertype::IPV4 { (l3 + 12, 4) } else { (l3 + 8, 16) };
    let (src, dst) = (&frame[at..at + width], &frame[at + width..at + 2 * width]);
    let (low, high) = if dst < src { (dst, src) } else { (src, dst) };
    key[5..5 + width].copy_from_slice(low);
    key[21..21 + width].copy_from_slice(high);
    let l4 = usize::from(headers.l4);
    let has_ports = matches!(headers.l4proto, proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP);
    if has_ports && headers.fragment.is_none() && frame.len() >= l4 + 4 {
        let (sport, dport) = (be16(frame, l4), be16(frame, l4 + 2));
        key[37..39].copy_from_slice(&sport.min(dport).to_be_bytes());
        key[39..41].copy_from_slice(&sport.max(dport).to_be_bytes());
    }
    key
}
