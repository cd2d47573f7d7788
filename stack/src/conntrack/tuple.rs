//! What identifies one direction of a connection: `struct nf_conntrack_tuple`, `nf_ct_get_tuple`, `nf_ct_invert_tuple`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::Family;
use crate::skb::Skb;
use crate::view::{be16, proto};

/// One direction of a connection, as a packet of that direction carries it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Transport protocol.
    pub proto: u8,
    /// Source port; the id for ICMP echo; the source key for GRE; 0 where the protocol has none.
    pub sport: u16,
    /// Destination port; (type << 8 | code) for ICMP; the destination key for GRE.
    pub dport: u16,
}

impl Tuple {
    /// IP version.
    pub fn family(&self) -> Family {
        Family::of(self.src)
    }

    /// Whether `sport` and `dport` are ports.
    pub fn has_ports(&self) -> bool {
        matches!(self.proto, proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP)
    }

    /// Whether it is of ICMP or ICMPv6.
    pub fn is_icmp(&self) -> bool {
        matches!(self.proto, proto::ICMP | proto::ICMPV6)
    }

    /// `nf_ct_invert_tuple`: the other direction; none for an ICMP type that has no counterpart.
    #[inline]
    pub fn invert(&self) -> Option<Tuple> {
        let (sport, dport) = if self.is_icmp() {
            let counterpart = icmp_counterpart(self.proto, (self.dport >> 8) as u8)?;
            (self.sport, u16::from(counterpart) << 8 | (self.dport & 0xff))
        } else {
            (self.dport, self.sport)
        };
        Some(Tuple { src: self.dst, dst: self.src, proto: self.proto, sport, dport })
    }

    /// Its bytes, as the stable key of a decision about it.
    pub(crate) fn key_bytes(&self) -> [u8; 37] {
        let mut key = [0; 37];
        for (at, address) in [(0, self.src), (16, self.dst)] {
            match address {
                IpAddr::V4(v4) => key[at..at + 4].copy_from_slice(&v4.octets()),
                IpAddr::V6(v6) => key[at..at + 16].copy_from_slice(&v6.octets()),
            }
        }
        key[32..34].copy_from_slice(&self.sport.to_be_bytes());
        key[34..36].copy_from_slice(&self.dport.to_be_bytes());
        key[36] = self.proto;
        key
    }
}

/// The type that answers an ICMP type (`invmap`); none where none does.
fn icmp_counterpart(protocol: u8, kind: u8) -> Option<u8> {
    match (protocol, kind) {
        (proto::ICMP, 8) => Some(0),
        (proto::ICMP, 0) => Some(8),
        (proto::ICMP, 13 | 15 | 17) | (proto::ICMPV6, 128 | 139) => Some(kind + 1),
        (proto::ICMP, 14 | 16 | 18) | (proto::ICMPV6, 129 | 140) => Some(kind - 1),
        _ => None,
    }
}

/// The tuple of a packet; none where its transport header is missing or cut.
#[inline]
pub(crate) fn of_packet(skb: &Skb) -> Option<Tuple> {
    let (sport, dport) = ports_of(skb.l4proto, skb.transport())?;
    Some(Tuple { src: skb.src(), dst: skb.dst(), proto: skb.l4proto, sport, dport })
}

#[inline]
fn ports_of(protocol: u8, l4: &[u8]) -> Option<(u16, u16)> {
    match protocol {
        proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP => (l4.len() >= 4).then(|| (be16(l4, 0), be16(l4, 2))),
        proto::ICMP | proto::ICMPV6 => (l4.len() >= 8).then(|| (be16(l4, 4), be16(l4, 0))),
        proto::GRE => {
            // Only version 1 (PPTP) has a key that conntrack looks at: the call id.
            let version = *l4.get(1)? & 7;
            if version != 1 {
                return Some((0, 0));
            }
            (l4.len() >= 8).then(|| (0, be16(l4, 6)))
        }
        _ => Some((0, 0)),
    }
}

/// A packet quoted in an ICMP error: its tuple and where its transport header is, from the start of the quote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Quoted {
    /// As the quoted packet carries it.
    pub tuple: Tuple,
    /// Offset of its transport header.
    pub l4: usize,
}

/// `nf_ct_get_tuplepr`: reads a quoted packet. Its length field is not believed: an error quotes only the beginning.
pub(crate) fn of_quote(quote: &[u8], family: Family) -> Option<Quoted> {
    let (src, dst, protocol, l4) = match family {
        Family::V4 => {
            let header = usize::from(quote.first()? & 15) * 4;
            if quote[0] >> 4 != 4 || header < 20 || quote.len() < header || be16(quote, 6) & 0x1fff != 0 {
                return None;
            }
            let address = |at: usize| IpAddr::V4(Ipv4Addr::new(quote[at], quote[at + 1], quote[at + 2], quote[at + 3]));
            (address(12), address(16), quote[9], header)
        }
        Family::V6 => {
            if quote.len() < 40 || quote[0] >> 4 != 6 {
                return None;
            }
            let address = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&quote[at..at + 16]);
                IpAddr::V6(Ipv6Addr::from(octets))
            };
            let (next, l4) = skip_extensions(quote)?;
            (address(8), address(24), next, l4)
        }
    };
    let (sport, dport) = ports_of(protocol, &quote[l4..])?;
    Some(Quoted { tuple: Tuple { src, dst, proto: protocol, sport, dport }, l4 })
}

/// `ipv6_skip_exthdr`: the transport protocol and where it begins; none for a fragment behind the first.
fn skip_extensions(ip: &[u8]) -> Option<(u8, usize)> {
    let (mut next, mut at) = (ip[6], 40);
    // Bounded: every header takes at least 8 bytes.
    while at < ip.len() {
        let length = match next {
            proto::HOPOPT | proto::ROUTING | proto::DSTOPTS => 8 + usize::from(*ip.get(at + 1)?) * 8,
            proto::AH => 8 + usize::from(*ip.get(at + 1)?) * 4,
            proto::FRAGMENT => {
                if ip.len() < at + 8 || be16(ip, at + 2) & 0xfff8 != 0 {
                    return None;
                }
                8
            }
            _ => break,
        };
        next = ip[at];
        at += length;
    }
    (at <= ip.len()).then_some((next, at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_tuple() -> impl Strategy<Value = Tuple> {
        let protocols = prop_oneof![Just(1), Just(6), Just(17), Just(47), Just(58), Just(132), Just(253)];
        (any::<bool>(), any::<[u8; 16]>(), any::<[u8; 16]>(), protocols, any::<(u16, u16)>()).prop_map(
            |(six, a, b, proto, ports)| {
                let address = |octets: [u8; 16]| match six {
                    true => IpAddr::from(octets),
                    false => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
                };
                Tuple { src: address(a), dst: address(b), proto, sport: ports.0, dport: ports.1 }
            },
        )
    }

    proptest! {
        #[test]
        fn inversion_is_an_involution(tuple in any_tuple()) {
            if let Some(inverse) = tuple.invert() {
                prop_assert_eq!(inverse.invert(), Some(tuple));
            } else {
                prop_assert!(tuple.is_icmp());
            }
        }

        #[test]
        fn any_bytes_may_be_quoted(bytes in proptest::collection::vec(any::<u8>(), 0..120), six in any::<bool>()) {
            let family = if six { Family::V6 } else { Family::V4 };
            if let Some(quoted) = of_quote(&bytes, family) {
                prop_assert!(quoted.l4 <= bytes.len());
            }
        }
    }

    #[test]
    fn an_echo_is_answered_by_an_echo_reply_of_the_same_id() {
        let request = Tuple { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into(), proto: proto::ICMP, sport: 7, dport: 0x0800 };
        let reply = request.invert().expect("echo has a reply");
        assert_eq!((reply.src, reply.sport, reply.dport), ([10, 0, 0, 2].into(), 7, 0));
    }
}
