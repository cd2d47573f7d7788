//! The header fields that rules read (`src/proto.c` of nftables).

use super::model::{Field, Header};
use super::types::Ty;

const fn field(header: Header, protocol: &'static str, name: &'static str, ty: Ty, at: u16, len: u16) -> Field {
    Field { header, protocol, name, ty, at, len }
}

const TCP: Header = Header::Transport(6);
const UDP: Header = Header::Transport(17);
const UDPLITE: Header = Header::Transport(136);
const SCTP: Header = Header::Transport(132);
const DCCP: Header = Header::Transport(33);

static FIELDS: &[Field] = &[
    field(Header::Ether, "ether", "daddr", Ty::Ether, 0, 48),
    field(Header::Ether, "ether", "saddr", Ty::Ether, 48, 48),
    field(Header::Ether, "ether", "type", Ty::EtherType, 96, 16),
    field(Header::Ip, "ip", "version", Ty::Integer(4), 0, 4),
    field(Header::Ip, "ip", "hdrlength", Ty::Integer(4), 4, 4),
    field(Header::Ip, "ip", "dscp", Ty::Dscp, 8, 6),
    field(Header::Ip, "ip", "ecn", Ty::Ecn, 14, 2),
    field(Header::Ip, "ip", "length", Ty::Integer(16), 16, 16),
    field(Header::Ip, "ip", "id", Ty::Integer(16), 32, 16),
    field(Header::Ip, "ip", "frag-off", Ty::Integer(16), 48, 16),
    field(Header::Ip, "ip", "ttl", Ty::Integer(8), 64, 8),
    field(Header::Ip, "ip", "protocol", Ty::Proto, 72, 8),
    field(Header::Ip, "ip", "checksum", Ty::Integer(16), 80, 16),
    field(Header::Ip, "ip", "saddr", Ty::Ipv4, 96, 32),
    field(Header::Ip, "ip", "daddr", Ty::Ipv4, 128, 32),
    field(Header::Ip6, "ip6", "version", Ty::Integer(4), 0, 4),
    field(Header::Ip6, "ip6", "dscp", Ty::Dscp, 4, 6),
    field(Header::Ip6, "ip6", "ecn", Ty::Ecn, 10, 2),
    field(Header::Ip6, "ip6", "flowlabel", Ty::Integer(20), 12, 20),
    field(Header::Ip6, "ip6", "length", Ty::Integer(16), 32, 16),
    field(Header::Ip6, "ip6", "nexthdr", Ty::Proto, 48, 8),
    field(Header::Ip6, "ip6", "hoplimit", Ty::Integer(8), 56, 8),
    field(Header::Ip6, "ip6", "saddr", Ty::Ipv6, 64, 128),
    field(Header::Ip6, "ip6", "daddr", Ty::Ipv6, 192, 128),
    field(TCP, "tcp", "sport", Ty::Service, 0, 16),
    field(TCP, "tcp", "dport", Ty::Service, 16, 16),
    field(TCP, "tcp", "sequence", Ty::Integer(32), 32, 32),
    field(TCP, "tcp", "ackseq", Ty::Integer(32), 64, 32),
    field(TCP, "tcp", "doff", Ty::Integer(4), 96, 4),
    field(TCP, "tcp", "flags", Ty::TcpFlag, 104, 8),
    field(TCP, "tcp", "window", Ty::Integer(16), 112, 16),
    field(TCP, "tcp", "checksum", Ty::Integer(16), 128, 16),
    field(TCP, "tcp", "urgptr", Ty::Integer(16), 144, 16),
    field(UDP, "udp", "sport", Ty::Service, 0, 16),
    field(UDP, "udp", "dport", Ty::Service, 16, 16),
    field(UDP, "udp", "length", Ty::Integer(16), 32, 16),
    field(UDP, "udp", "checksum", Ty::Integer(16), 48, 16),
    field(UDPLITE, "udplite", "sport", Ty::Service, 0, 16),
    field(UDPLITE, "udplite", "dport", Ty::Service, 16, 16),
    field(SCTP, "sctp", "sport", Ty::Service, 0, 16),
    field(SCTP, "sctp", "dport", Ty::Service, 16, 16),
    field(DCCP, "dccp", "sport", Ty::Service, 0, 16),
    field(DCCP, "dccp", "dport", Ty::Service, 16, 16),
    field(Header::Th, "th", "sport", Ty::Service, 0, 16),
    field(Header::Th, "th", "dport", Ty::Service, 16, 16),
    field(Header::Icmp, "icmp", "type", Ty::IcmpType, 0, 8),
    field(Header::Icmp, "icmp", "code", Ty::IcmpCode, 8, 8),
    field(Header::Icmp, "icmp", "checksum", Ty::Integer(16), 16, 16),
    field(Header::Icmp, "icmp", "id", Ty::Integer(16), 32, 16),
    field(Header::Icmp, "icmp", "sequence", Ty::Integer(16), 48, 16),
    field(Header::Icmp6, "icmpv6", "type", Ty::Icmpv6Type, 0, 8),
    field(Header::Icmp6, "icmpv6", "code", Ty::Icmpv6Code, 8, 8),
    field(Header::Icmp6, "icmpv6", "checksum", Ty::Integer(16), 16, 16),
    field(Header::Icmp6, "icmpv6", "id", Ty::Integer(16), 32, 16),
    field(Header::Icmp6, "icmpv6", "sequence", Ty::Integer(16), 48, 16),
];

/// The field of a name.
pub(crate) fn find(protocol: &str, name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.protocol == protocol && field.name == name)
}

/// The field of a transport that `th` names, once the transport is known.
pub(crate) fn of_transport(number: u8, name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.header == Header::Transport(number) && field.name == name)
}

impl Header {
    /// The protocol number that packets with it have.
    pub(crate) fn protocol(self) -> Option<u8> {
        match self {
            Header::Transport(number) => Some(number),
            Header::Icmp => Some(1),
            Header::Icmp6 => Some(58),
            Header::Ether | Header::Ip | Header::Ip6 | Header::Th => None,
        }
    }
}
