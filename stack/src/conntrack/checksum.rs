//! `nf_checksum`: is the transport checksum of a packet that came in right?

use std::net::IpAddr;

use crate::skb::Skb;
use crate::view::{fold, proto};

/// Whether the checksum over the transport header and what follows is right. True where the protocol has none, or UDP says so.
pub(crate) fn is_right(skb: &Skb) -> bool {
    let Some(l4) = payload(skb) else { return true };
    let pseudo = match skb.l4proto {
        proto::ICMP => false,
        // UDP without a checksum.
        proto::UDP if l4.len() >= 8 && l4[6..8] == [0, 0] => return true,
        proto::TCP | proto::UDP | proto::ICMPV6 => true,
        proto::SCTP => return sctp(l4) == l4.get(8..12).map(|field| [field[0], field[1], field[2], field[3]]),
        _ => return true,
    };
    let mut acc = ones_complement(l4);
    if pseudo {
        acc += u64::from(skb.l4proto) + l4.len() as u64;
        for address in [skb.src(), skb.dst()] {
            acc += match address {
                IpAddr::V4(v4) => ones_complement(&v4.octets()),
                IpAddr::V6(v6) => ones_complement(&v6.octets()),
            };
        }
    }
    fold(narrow(acc)) == 0
}

/// From the transport header to the end of the IP packet: what may follow it in the frame (Ethernet's padding) does not count.
pub(crate) fn payload(skb: &Skb) -> Option<&[u8]> {
    let header = usize::from(skb.l4 - skb.l3);
    let l4 = skb.transport();
    let length = skb.ip_len().checked_sub(header)?;
    Some(&l4[..length.min(l4.len())])
}

/// The sum of big-endian 16-bit words, taken four bytes at a time: 2^16 is 1 in ones' complement, so it may be folded at the end.
pub(crate) fn ones_complement(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(4);
    let mut acc = 0u64;
    for word in &mut words {
        acc += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut rest = [0; 4];
    let tail = words.remainder();
    rest[..tail.len()].copy_from_slice(tail);
    acc + u64::from(u32::from_be_bytes(rest))
}

/// Folds 64 bits into 32 without changing the ones' complement sum.
pub(crate) fn narrow(mut acc: u64) -> u32 {
    while acc > 0xffff_ffff {
        acc = (acc & 0xffff_ffff) + (acc >> 32);
    }
    acc as u32
}

/// RFC 9260 appendix A: the CRC32c of an SCTP packet, as it stands in the field; none where there is no whole header.
pub(crate) fn sctp(l4: &[u8]) -> Option<[u8; 4]> {
    if l4.len() < 12 {
        return None;
    }
    let mut crc = crc32c(!0, &l4[..8]);
    crc = crc32c(crc, &[0; 4]);
    crc = crc32c(crc, &l4[12..]);
    Some((!crc).to_le_bytes())
}

const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

fn crc32c(mut crc: u32, bytes: &[u8]) -> u32 {
    for &byte in bytes {
        crc = CRC32C[usize::from(crc as u8 ^ byte)] ^ crc >> 8;
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sum;

    #[test]
    fn the_check_value_of_crc32c_comes_out() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn four_bytes_at_a_time_sum_as_two_do() {
        let bytes: Vec<u8> = (0..=255).cycle().take(777).collect();
        for length in [0, 1, 2, 3, 4, 5, 776, 777] {
            assert_eq!(fold(narrow(ones_complement(&bytes[..length]))), fold(sum(&bytes[..length], 0)), "{length}");
        }
    }
}
