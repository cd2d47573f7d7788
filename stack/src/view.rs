//! Uniform accessors over IPv4 and IPv6 headers in a frame, and rewriting in place with incremental checksums (RFC 1624).
//!
//! [`parse`] reads the headers once and checks every length; it costs a few nanoseconds, so it is run anew after an edit that
//! moves headers. The accessors of [`Skb`] rely on it: call them only on an skb whose `family` is set.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::Family;
use crate::drop_reason::DropReason;
use crate::skb::Skb;

/// Protocol numbers (IANA).
pub mod proto {
    #![allow(missing_docs, reason = "the names are IANA's")]
    pub const HOPOPT: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AH: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NONE: u8 = 59;
    pub const DSTOPTS: u8 = 60;
    pub const SCTP: u8 = 132;
    pub const UDPLITE: u8 = 136;
}

/// EtherTypes.
pub mod ethertype {
    #![allow(missing_docs, reason = "the names are IANA's")]
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const VLAN: u16 = 0x8100;
    pub const IPV6: u16 = 0x86dd;
}

/// Bytes of an Ethernet header.
pub const ETH_HLEN: usize = 14;

/// What [`parse`] found. Offsets are from the start of the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Headers {
    /// IP version.
    pub family: Family,
    /// Offset of the transport header (for IPv6: behind the extension headers).
    pub l4: u16,
    /// Transport protocol.
    pub l4proto: u8,
    /// Offset just behind the IP packet, by its own length field.
    pub end: u16,
    /// Whether it is a fragment of a larger packet.
    pub fragment: Option<Fragment>,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Identification (16 bits in IPv4).
    pub id: u32,
    /// Offset of its data in that of the whole, in bytes.
    pub offset: u16,
    /// Whether others follow.
    pub more: bool,
    /// IPv6: offset of the fragment header in the frame.
    pub header: u16,
}

/// Reads the IP header at `l3`, its extension headers, and checks their lengths (not their checksum).
///
/// # Errors
/// `PktTooSmall` where the frame is shorter than its headers say, `IpInHdr` where a header is malformed.
#[inline]
pub fn parse(frame: &[u8], l3: usize) -> Result<Headers, DropReason> {
    let ip = frame.get(l3..).ok_or(DropReason::PktTooSmall)?;
    match ip.first().ok_or(DropReason::PktTooSmall)? >> 4 {
        4 => parse_v4(ip, l3),
        6 => parse_v6(ip, l3),
        _ => Err(DropReason::IpInHdr),
    }
}

#[inline]
fn parse_v4(ip: &[u8], l3: usize) -> Result<Headers, DropReason> {
    if ip.len() < 20 {
        return Err(DropReason::PktTooSmall);
    }
    let header = usize::from(ip[0] & 15) * 4;
    let total = usize::from(be16(ip, 2));
    if header < 20 {
        return Err(DropReason::IpInHdr);
    }
    if ip.len() < header || ip.len() < total {
        return Err(DropReason::PktTooSmall);
    }
    if total < header {
        return Err(DropReason::IpInHdr);
    }
    let bits = be16(ip, 6);
    let (offset, more) = ((bits & 0x1fff) * 8, bits & 0x2000 != 0);
    let fragment = (offset != 0 || more).then(|| Fragment { id: u32::from(be16(ip, 4)), offset, more, header: 0 });
    Ok(Headers { family: Family::V4, l4: (l3 + header) as u16, l4proto: ip[9], end: (l3 + total) as u16, fragment })
}

fn parse_v6(ip: &[u8], l3: usize) -> Result<Headers, DropReason> {
    if ip.len() < 40 {
        return Err(DropReason::PktTooSmall);
    }
    let total = 40 + usize::from(be16(ip, 4));
    if ip.len() < total {
        return Err(DropReason::PktTooSmall);
    }
    let ip = &ip[..total];
    let (mut next, mut at, mut fragment) = (ip[6], 40, None);
    // Bounded: every header takes at least 8 bytes.
    loop {
        let length = match next {
            proto::HOPOPT | proto::ROUTING | proto::DSTOPTS => 8 + usize::from(*ip.get(at + 1).ok_or(DropReason::PktTooSmall)?) * 8,
            proto::AH => 8 + usize::from(*ip.get(at + 1).ok_or(DropReason::PktTooSmall)?) * 4,
            proto::FRAGMENT => 8,
            _ => break,
        };
        if at + length > total {
            return Err(DropReason::PktTooSmall);
        }
        if next == proto::FRAGMENT {
            let bits = be16(ip, at + 2);
            let offset = bits & 0xfff8;
            let id = u32::from_be_bytes([ip[at + 4], ip[at + 5], ip[at + 6], ip[at + 7]]);
            fragment = Some(Fragment { id, offset, more: bits & 1 != 0, header: (l3 + at) as u16 });
            if offset != 0 {
                // What follows is the middle of something.
                next = ip[at];
                at += length;
                break;
            }
        }
        next = ip[at];
        at += length;
    }
    Ok(Headers { family: Family::V6, l4: (l3 + at) as u16, l4proto: next, end: (l3 + total) as u16, fragment })
}

/// A big-endian 16-bit number. `at + 1` must be inside.
#[inline]
pub fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// A big-endian 32-bit number. `at + 3` must be inside.
#[inline]
pub fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes a big-endian 16-bit number.
#[inline]
pub fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Adds bytes to a ones' complement sum; fold it with [`fold`].
#[inline]
pub fn sum(bytes: &[u8], acc: u32) -> u32 {
    // Words of 32 bits add up to the same, modulo 2^16 - 1, as their halves.
    let mut words = bytes.chunks_exact(4);
    let mut total = u64::from(acc);
    for word in &mut words {
        total += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    total += match *words.remainder() {
        [a] => u64::from(a) << 8,
        [a, b] => u64::from(a) << 8 | u64::from(b),
        [a, b, c] => (u64::from(a) << 8 | u64::from(b)) + (u64::from(c) << 8),
        _ => 0,
    };
    // The carries come back in, until what is left fits 17 bits.
    total = (total & 0xffff_ffff) + (total >> 32);
    total = (total & 0xffff_ffff) + (total >> 32);
    total = (total & 0xffff) + (total >> 16);
    ((total & 0xffff) + (total >> 16)) as u32
}

/// Folds a sum and complements it: the Internet checksum (RFC 1071).
#[inline]
pub fn fold(mut acc: u32) -> u16 {
    while acc > 0xffff {
        acc = (acc & 0xffff) + (acc >> 16);
    }
    !(acc as u16)
}

/// The checksum of an IPv4 header whose checksum field is taken as it stands: 0 where it is right.
#[inline]
pub fn ipv4_header_checksum(header: &[u8]) -> u16 {
    fold(sum(header, 0))
}

/// The checksum of a transport payload with its pseudo header; `bytes` runs from the transport header to the end.
pub fn transport_checksum(src: IpAddr, dst: IpAddr, proto: u8, bytes: &[u8]) -> u16 {
    let mut acc = u32::from(proto) + bytes.len() as u32;
    for address in [src, dst] {
        acc = match address {
            IpAddr::V4(v4) => sum(&v4.octets(), acc),
            IpAddr::V6(v6) => sum(&v6.octets(), acc),
        };
    }
    fold(sum(bytes, acc))
}

/// RFC 1624, equation 3: the checksum after `old` bytes became `new` ones (of the same, even length).
#[inline]
pub fn checksum_adjust(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    let mut acc = u32::from(!checksum);
    for word in old.chunks_exact(2) {
        acc += u32::from(!u16::from_be_bytes([word[0], word[1]]));
    }
    for word in new.chunks_exact(2) {
        acc += u32::from(u16::from_be_bytes([word[0], word[1]]));
    }
    fold(acc)
}

/// Offset of the checksum in a transport header; none where the protocol has none that covers the addresses or ports.
fn checksum_offset(l4proto: u8) -> Option<usize> {
    match l4proto {
        proto::TCP => Some(16),
        proto::UDP | proto::UDPLITE => Some(6),
        proto::ICMP | proto::ICMPV6 => Some(2),
        _ => None,
    }
}

/// Accessors. All but `parse_at` need `family` set, that is, a packet that passed [`parse`].
impl Skb {
    /// Reads the headers at `l3` and sets the offsets.
    ///
    /// # Errors
    /// As [`parse`].
    #[inline]
    pub fn parse_at(&mut self, l3: usize) -> Result<Headers, DropReason> {
        let headers = parse(self.packet.bytes(), l3)?;
        self.l3 = l3 as u16;
        self.l4 = headers.l4;
        self.family = Some(headers.family);
        self.l4proto = headers.l4proto;
        Ok(headers)
    }

    /// IP version.
    #[inline]
    pub fn ip_version(&self) -> Family {
        self.family.expect("only a parsed packet is asked for its headers")
    }

    /// From the IP header to the end of the frame.
    #[inline]
    pub fn ip(&self) -> &[u8] {
        &self.packet.bytes()[self.l3 as usize..]
    }

    /// From the IP header to the end of the frame, to be rewritten.
    #[inline]
    pub fn ip_mut(&mut self) -> &mut [u8] {
        &mut self.packet.bytes_mut()[self.l3 as usize..]
    }

    /// From the transport header to the end of the frame. May be empty.
    #[inline]
    pub fn transport(&self) -> &[u8] {
        self.packet.bytes().get(self.l4 as usize..).unwrap_or_default()
    }

    /// From the transport header to the end of the frame, to be rewritten.
    #[inline]
    pub fn transport_mut(&mut self) -> &mut [u8] {
        let at = self.l4 as usize;
        self.packet.bytes_mut().get_mut(at..).unwrap_or_default()
    }

    /// Source address.
    #[inline]
    pub fn src(&self) -> IpAddr {
        address(self.ip(), self.ip_version(), 12, 8)
    }

    /// Destination address.
    #[inline]
    pub fn dst(&self) -> IpAddr {
        address(self.ip(), self.ip_version(), 16, 24)
    }

    /// TTL or hop limit.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        match self.ip_version() {
            Family::V4 => self.ip()[8],
            Family::V6 => self.ip()[7],
        }
    }

    /// TOS or traffic class.
    #[inline]
    pub fn tos(&self) -> u8 {
        let ip = self.ip();
        match self.ip_version() {
            Family::V4 => ip[1],
            Family::V6 => (ip[0] << 4) | (ip[1] >> 4),
        }
    }

    /// Bytes of the IP packet, header included, by its own length field.
    #[inline]
    pub fn ip_len(&self) -> usize {
        match self.ip_version() {
            Family::V4 => usize::from(be16(self.ip(), 2)),
            Family::V6 => 40 + usize::from(be16(self.ip(), 4)),
        }
    }

    /// Whether it is a fragment behind the first: it has no transport header.
    #[inline]
    pub fn is_later_fragment(&self) -> bool {
        match self.ip_version() {
            Family::V4 => be16(self.ip(), 6) & 0x1fff != 0,
            Family::V6 => parse(self.packet.bytes(), self.l3 as usize)
                .is_ok_and(|headers| headers.fragment.is_some_and(|fragment| fragment.offset != 0)),
        }
    }

    /// IPv4: whether DF is set. IPv6: true.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.ip_version() == Family::V6 || self.ip()[6] & 0x40 != 0
    }

    /// Source and destination port, for TCP, UDP, UDP-Lite and SCTP, where the header is there.
    #[inline]
    pub fn ports(&self) -> Option<(u16, u16)> {
        if !matches!(self.l4proto, proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP) || self.is_later_fragment() {
            return None;
        }
        let l4 = self.transport();
        (l4.len() >= 4).then(|| (be16(l4, 0), be16(l4, 2)))
    }

    /// Sets TTL or hop limit, and mends the checksum.
    #[inline]
    pub fn set_hop_limit(&mut self, value: u8) {
        let family = self.ip_version();
        let ip = self.ip_mut();
        match family {
            Family::V4 => {
                let old = [ip[8], ip[9]];
                ip[8] = value;
                let checksum = checksum_adjust(be16(ip, 10), &old, &[value, old[1]]);
                put16(ip, 10, checksum);
            }
            Family::V6 => ip[7] = value,
        }
    }

    /// Sets TOS or traffic class, and mends the checksum.
    pub fn set_tos(&mut self, value: u8) {
        let family = self.ip_version();
        let ip = self.ip_mut();
        match family {
            Family::V4 => {
                let old = [ip[0], ip[1]];
                ip[1] = value;
                let checksum = checksum_adjust(be16(ip, 10), &old, &[old[0], value]);
                put16(ip, 10, checksum);
            }
            Family::V6 => {
                ip[0] = (ip[0] & 0xf0) | (value >> 4);
                ip[1] = (ip[1] & 0x0f) | (value << 4);
            }
        }
    }

    /// Sets the source address, and mends the checksums of header and transport.
    pub fn set_src(&mut self, value: IpAddr) {
        self.set_address(value, 12, 8);
    }

    /// Sets the destination address, and mends the checksums of header and transport.
    pub fn set_dst(&mut self, value: IpAddr) {
        self.set_address(value, 16, 24);
    }

    fn set_address(&mut self, value: IpAddr, at4: usize, at6: usize) {
        let later = self.is_later_fragment();
        let ip = self.ip_mut();
        let mut old = [0u8; 16];
        let mut new = [0u8; 16];
        let width = match value {
            IpAddr::V4(v4) => {
                old[..4].copy_from_slice(&ip[at4..at4 + 4]);
                new[..4].copy_from_slice(&v4.octets());
                ip[at4..at4 + 4].copy_from_slice(&v4.octets());
                let checksum = checksum_adjust(be16(ip, 10), &old[..4], &new[..4]);
                put16(ip, 10, checksum);
                4
            }
            IpAddr::V6(v6) => {
                old.copy_from_slice(&ip[at6..at6 + 16]);
                new = v6.octets();
                ip[at6..at6 + 16].copy_from_slice(&new);
                16
            }
        };
        // ICMP has no pseudo header.
        if self.l4proto != proto::ICMP && !later {
            self.adjust_transport(&old[..width], &new[..width]);
        }
    }

    /// Sets source or destination port (TCP, UDP, UDP-Lite, SCTP), and mends the checksum (SCTP's CRC is left to the caller).
    pub fn set_port(&mut self, source: bool, value: u16) {
        let at = if source { 0 } else { 2 };
        let l4 = self.transport_mut();
        if l4.len() < 4 {
            return;
        }
        let old = [l4[at], l4[at + 1]];
        put16(l4, at, value);
        self.adjust_transport(&old, &value.to_be_bytes());
    }

    /// Sets the identifier of an ICMP or ICMPv6 echo, and mends the checksum.
    pub fn set_icmp_id(&mut self, value: u16) {
        let l4 = self.transport_mut();
        if l4.len() < 8 {
            return;
        }
        let old = [l4[4], l4[5]];
        put16(l4, 4, value);
        self.adjust_transport(&old, &value.to_be_bytes());
    }

    /// Mends the transport checksum after some bytes that it covers changed. A UDP checksum of zero stays zero.
    pub fn adjust_transport(&mut self, old: &[u8], new: &[u8]) {
        let l4proto = self.l4proto;
        let Some(at) = checksum_offset(l4proto) else { return };
        let l4 = self.transport_mut();
        if l4.len() < at + 2 {
            return;
        }
        let before = be16(l4, at);
        if l4proto == proto::UDP && before == 0 {
            return;
        }
        let mut after = checksum_adjust(before, old, new);
        if l4proto == proto::UDP && after == 0 {
            after = 0xffff;
        }
        put16(l4, at, after);
    }
}

#[inline]
fn address(ip: &[u8], family: Family, at4: usize, at6: usize) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(ip[at4], ip[at4 + 1], ip[at4 + 2], ip[at4 + 3])),
        Family::V6 => {
            let mut octets = [0; 16];
            octets.copy_from_slice(&ip[at6..at6 + 16]);
            IpAddr::V6(Ipv6Addr::from(octets))
        }
    }
}

#[cfg(test)]
mod tests;
