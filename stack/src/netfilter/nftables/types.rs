//! Data types of nft: how a value of each is written, read and printed (`src/datatype.c` of nftables).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netfilter::iptables::names;

/// A type of values. A value is a number of [`Ty::bits`] bits; names of devices are sixteen bytes, the first on top.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ty {
    Ipv4,
    Ipv6,
    Ether,
    Proto,
    Service,
    Mark,
    Ifname,
    /// A device by its index. Kept by its name: a device here keeps that.
    Ifindex,
    CtState,
    CtStatus,
    CtDir,
    IcmpType,
    IcmpCode,
    Icmpv6Type,
    Icmpv6Code,
    NfProto,
    EtherType,
    PktType,
    Uid,
    Gid,
    FibType,
    TcpFlag,
    Dscp,
    Ecn,
    Bool,
    /// Seconds.
    Time,
    Integer(u8),
}

type Symbols = &'static [(&'static str, u128)];

const ICMP_TYPES: Symbols = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("info-request", 15),
    ("info-reply", 16),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
];
pub(crate) const ICMP_CODES: Symbols = &[
    ("net-unreachable", 0),
    ("host-unreachable", 1),
    ("prot-unreachable", 2),
    ("port-unreachable", 3),
    ("frag-needed", 4),
    ("net-prohibited", 9),
    ("host-prohibited", 10),
    ("admin-prohibited", 13),
];
const ICMPV6_TYPES: Symbols = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("mld-listener-reduction", 132),
    ("nd-router-solicit", 133),
    ("nd-router-advert", 134),
    ("nd-neighbor-solicit", 135),
    ("nd-neighbor-advert", 136),
    ("nd-redirect", 137),
    ("router-renumbering", 138),
    ("ind-neighbor-solicit", 141),
    ("ind-neighbor-advert", 142),
    ("mld2-listener-report", 143),
];
pub(crate) const ICMPV6_CODES: Symbols = &[
    ("no-route", 0),
    ("admin-prohibited", 1),
    ("addr-unreachable", 3),
    ("port-unreachable", 4),
    ("policy-fail", 5),
    ("reject-route", 6),
];
pub(crate) const ICMPX_CODES: Symbols =
    &[("port-unreachable", 1), ("admin-prohibited", 3), ("no-route", 0), ("host-unreachable", 2)];
const TCP_FLAGS: Symbols = &[("fin", 1), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 16), ("urg", 32), ("ecn", 64), ("cwr", 128)];
const CT_STATES: Symbols = &[("invalid", 1), ("established", 2), ("related", 4), ("new", 8), ("untracked", 64)];
const CT_STATUS: Symbols =
    &[("expected", 1), ("seen-reply", 2), ("assured", 4), ("confirmed", 8), ("snat", 0x10), ("dnat", 0x20), ("dying", 0x200)];
const FIB_TYPES: Symbols = &[
    ("unspec", 0),
    ("unicast", 1),
    ("local", 2),
    ("broadcast", 3),
    ("anycast", 4),
    ("multicast", 5),
    ("blackhole", 6),
    ("unreachable", 7),
    ("prohibit", 8),
];
const DSCPS: Symbols = &[
    ("cs0", 0),
    ("cs1", 8),
    ("cs2", 16),
    ("cs3", 24),
    ("cs4", 32),
    ("cs5", 40),
    ("cs6", 48),
    ("cs7", 56),
    ("df", 0),
    ("be", 0),
    ("lephb", 1),
    ("af11", 0x0a),
    ("af12", 0x0c),
    ("af13", 0x0e),
    ("af21", 0x12),
    ("af22", 0x14),
    ("af23", 0x16),
    ("af31", 0x1a),
    ("af32", 0x1c),
    ("af33", 0x1e),
    ("af41", 0x22),
    ("af42", 0x24),
    ("af43", 0x26),
    ("va", 0x2c),
    ("ef", 0x2e),
];
/// `/etc/protocols`.
const PROTOCOLS: Symbols = &[
    ("icmp", 1),
    ("igmp", 2),
    ("ggp", 3),
    ("ipencap", 4),
    ("st", 5),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("pup", 12),
    ("udp", 17),
    ("hmp", 20),
    ("xns-idp", 22),
    ("rdp", 27),
    ("iso-tp4", 29),
    ("dccp", 33),
    ("xtp", 36),
    ("ddp", 37),
    ("idpr-cmtp", 38),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("idrp", 45),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("skip", 57),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("rspf", 73),
    ("vmtp", 81),
    ("eigrp", 88),
    ("ospf", 89),
    ("ax.25", 93),
    ("ipip", 94),
    ("etherip", 97),
    ("encap", 98),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("isis", 124),
    ("sctp", 132),
    ("fc", 133),
    ("mobility-header", 135),
    ("udplite", 136),
    ("mpls-in-ip", 137),
];

/// Types that can be named in a set (`type NAME`).
const NAMED: &[(&str, Ty)] = &[
    ("ipv4_addr", Ty::Ipv4),
    ("ipv6_addr", Ty::Ipv6),
    ("ether_addr", Ty::Ether),
    ("inet_proto", Ty::Proto),
    ("inet_service", Ty::Service),
    ("mark", Ty::Mark),
    ("ifname", Ty::Ifname),
    ("iface_index", Ty::Ifindex),
    ("ct_state", Ty::CtState),
    ("ct_status", Ty::CtStatus),
    ("ct_dir", Ty::CtDir),
    ("icmp_type", Ty::IcmpType),
    ("icmp_code", Ty::IcmpCode),
    ("icmpv6_type", Ty::Icmpv6Type),
    ("icmpv6_code", Ty::Icmpv6Code),
    ("nf_proto", Ty::NfProto),
    ("ether_type", Ty::EtherType),
    ("pkt_type", Ty::PktType),
    ("uid", Ty::Uid),
    ("gid", Ty::Gid),
    ("fib_addrtype", Ty::FibType),
    ("tcp_flag", Ty::TcpFlag),
    ("dscp", Ty::Dscp),
    ("ecn", Ty::Ecn),
    ("boolean", Ty::Bool),
];

impl Ty {
    pub(crate) fn named(name: &str) -> Option<Ty> {
        NAMED.iter().find(|(known, _)| *known == name).map(|&(_, ty)| ty)
    }

    pub(crate) fn name(self) -> &'static str {
        NAMED.iter().find(|&&(_, ty)| ty == self).map_or("integer", |&(name, _)| name)
    }

    pub(crate) fn bits(self) -> u8 {
        match self {
            Ty::Ipv6 | Ty::Ifname | Ty::Ifindex => 128,
            Ty::Ether => 48,
            Ty::Ipv4 | Ty::Mark | Ty::CtState | Ty::CtStatus | Ty::Uid | Ty::Gid | Ty::FibType | Ty::Time => 32,
            Ty::Service | Ty::EtherType => 16,
            Ty::Proto
            | Ty::CtDir
            | Ty::IcmpType
            | Ty::IcmpCode
            | Ty::Icmpv6Type
            | Ty::Icmpv6Code
            | Ty::NfProto
            | Ty::PktType
            | Ty::TcpFlag => 8,
            Ty::Dscp => 6,
            Ty::Ecn => 2,
            Ty::Bool => 1,
            Ty::Integer(bits) => bits,
        }
    }

    pub(crate) fn max(self) -> u128 {
        u128::MAX >> (128 - u32::from(self.bits()))
    }

    /// Types whose values are sets of bits.
    pub(crate) fn is_flags(self) -> bool {
        matches!(self, Ty::CtState | Ty::CtStatus | Ty::TcpFlag)
    }

    /// Names that are kept in the byte order of the host: what orders elements of a set.
    pub(crate) fn is_name(self) -> bool {
        matches!(self, Ty::Ifname | Ty::Ifindex)
    }

    fn symbols(self) -> Symbols {
        match self {
            Ty::Proto => PROTOCOLS,
            Ty::CtState => CT_STATES,
            Ty::CtStatus => CT_STATUS,
            Ty::CtDir => &[("original", 0), ("reply", 1)],
            Ty::IcmpType => ICMP_TYPES,
            Ty::IcmpCode => ICMP_CODES,
            Ty::Icmpv6Type => ICMPV6_TYPES,
            Ty::Icmpv6Code => ICMPV6_CODES,
            Ty::NfProto => &[("ipv4", 2), ("ipv6", 10)],
            Ty::EtherType => &[("ip", 0x800), ("arp", 0x806), ("ip6", 0x86dd), ("8021q", 0x8100), ("vlan", 0x8100)],
            Ty::PktType => &[("host", 0), ("unicast", 0), ("broadcast", 1), ("multicast", 2), ("other", 3)],
            Ty::FibType => FIB_TYPES,
            Ty::TcpFlag => TCP_FLAGS,
            Ty::Dscp => DSCPS,
            Ty::Ecn => &[("not-ect", 0), ("ect1", 1), ("ect0", 2), ("ce", 3)],
            Ty::Bool => &[("exists", 1), ("missing", 0)],
            Ty::Uid | Ty::Gid => &[("root", 0)],
            _ => &[],
        }
    }

    /// Reads one word.
    pub(crate) fn read(self, text: &str) -> Option<u128> {
        match self {
            Ty::Ipv4 => {
                if let Ok(address) = text.parse::<Ipv4Addr>() {
                    return Some(u128::from(u32::from(address)));
                }
            }
            Ty::Ipv6 => return text.parse::<Ipv6Addr>().ok().map(u128::from),
            Ty::Ether => {
                return text.parse::<crate::addr::Mac>().ok().map(|mac| mac.0.iter().fold(0, |sum, &b| sum << 8 | u128::from(b)));
            }
            Ty::Ifname | Ty::Ifindex => return name_bits(text),
            Ty::Time => return duration(text).map(|ms| u128::from(ms / 1000)),
            Ty::Service => {
                if let Some(port) = names::service(text) {
                    return Some(u128::from(port));
                }
            }
            _ => {}
        }
        if let Some(&(_, value)) = self.symbols().iter().find(|(name, _)| *name == text) {
            return Some(value);
        }
        number(text).filter(|&value| value <= self.max())
    }

    /// Prints one value.
    pub(crate) fn print(self, out: &mut String, value: u128) {
        let _ = match self {
            Ty::Ipv4 => write!(out, "{}", Ipv4Addr::from(value as u32)),
            Ty::Ipv6 => write!(out, "{}", Ipv6Addr::from(value)),
            Ty::Ether => {
                let bytes = value.to_be_bytes();
                let text: Vec<String> = bytes[10..].iter().map(|byte| format!("{byte:02x}")).collect();
                out.write_str(&text.join(":"))
            }
            Ty::Ifname | Ty::Ifindex if value == 0 && self == Ty::Ifindex => out.write_str("0"),
            Ty::Ifname | Ty::Ifindex => write!(out, "\"{}\"", name_text(value)),
            Ty::Mark => write!(out, "0x{value:08x}"),
            Ty::Time => {
                print_duration(out, (value as u64).saturating_mul(1000));
                Ok(())
            }
            Ty::Uid | Ty::Gid | Ty::Service | Ty::Integer(_) => write!(out, "{value}"),
            _ => match self.symbols().iter().find(|&&(_, known)| known == value) {
                Some((name, _)) => out.write_str(name),
                None if self.is_flags() && value != 0 => {
                    self.print_flags(out, value, " | ");
                    Ok(())
                }
                None if self == Ty::Dscp || self.is_flags() => {
                    write!(out, "0x{value:0width$x}", width = usize::from(self.bits()).div_ceil(4))
                }
                None => write!(out, "{value}"),
            },
        };
    }

    /// Prints the bits of a set of bits, lowest first.
    pub(crate) fn print_flags(self, out: &mut String, value: u128, separator: &str) {
        let mut left = value;
        let mut first = true;
        for &(name, bit) in self.symbols() {
            if left & bit != 0 {
                out.push_str(if first { "" } else { separator });
                out.push_str(name);
                (first, left) = (false, left & !bit);
            }
        }
        if left != 0 || first {
            out.push_str(if first { "" } else { separator });
            let _ = write!(out, "0x{left:x}");
        }
    }
}

/// A number, decimal or hexadecimal.
pub(crate) fn number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u128::from_str_radix(hex, 16).ok(),
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

/// The name of a device as a value.
pub(crate) fn name_bits(name: &str) -> Option<u128> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > 15 {
        return None;
    }
    let mut all = [0; 16];
    all[..bytes.len()].copy_from_slice(bytes);
    Some(u128::from_be_bytes(all))
}

pub(crate) fn name_text(value: u128) -> String {
    value.to_be_bytes().iter().take_while(|&&byte| byte != 0).map(|&byte| byte as char).collect()
}

/// An address as a value.
#[inline]
pub(crate) fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// `1d2h3m4s5ms`, or seconds, in milliseconds.
pub(crate) fn duration(text: &str) -> Option<u64> {
    if let Some(seconds) = number(text) {
        return u64::try_from(seconds).ok()?.checked_mul(1000);
    }
    let (mut total, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let amount: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let each = match &rest[digits..digits + unit] {
            "w" => 604_800_000,
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        total = total.checked_add(amount.checked_mul(each)?)?;
        rest = &rest[digits + unit..];
    }
    Some(total)
}

/// `time_print`.
pub(crate) fn print_duration(out: &mut String, ms: u64) {
    if ms == 0 {
        return out.push_str("0s");
    }
    for (each, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")] {
        let amount = match unit {
            "d" => ms / each,
            "h" => ms / each % 24,
            "m" | "s" => ms / each % 60,
            _ => ms % 1000,
        };
        if amount != 0 {
            let _ = write!(out, "{amount}{unit}");
        }
    }
}
