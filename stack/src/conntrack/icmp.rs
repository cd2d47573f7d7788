//! ICMP messages that are about another packet: `nf_conntrack_inet_error`, and which ICMPv6 messages are not tracked.

use super::Conntrack;
use super::table::Dir;
use super::tuple::of_quote;
use crate::addr::Family;
use crate::skb::{Ct, Skb};
use crate::trace::CtInfo;
use crate::view::proto;

/// What conntrack makes of an ICMP message before it looks at tuples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Icmp {
    /// An ordinary packet (echo).
    Ordinary,
    /// An error about a packet of this connection, or about none that is known.
    Error(Ct),
    /// Not tracked: neighbour discovery, multicast listener discovery.
    Untracked,
    /// Cut short, or of an unknown type.
    Invalid,
}

/// Whether an ICMP type quotes a packet (`icmp_is_err`).
pub(crate) fn is_error(protocol: u8, kind: u8) -> bool {
    match protocol {
        proto::ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        _ => kind < 128,
    }
}

/// `nf_conntrack_icmpv4_error`, `nf_conntrack_icmpv6_error`. The checksum has been looked at.
pub(crate) fn classify(conntrack: &Conntrack, skb: &Skb) -> Icmp {
    let l4 = skb.transport();
    if l4.len() < 8 {
        return Icmp::Invalid;
    }
    let kind = l4[0];
    if skb.l4proto == proto::ICMPV6 {
        // 130-132, 143: MLD. 133-136: neighbour discovery. 137, a redirect, is not in the list.
        if matches!(kind, 130..=136 | 143) {
            return Icmp::Untracked;
        }
        if kind == 137 {
            return redirect(conntrack, skb);
        }
    } else if kind > 18 {
        return Icmp::Invalid;
    }
    if !is_error(skb.l4proto, kind) {
        return Icmp::Ordinary;
    }
    Icmp::Error(about(conntrack, skb, &l4[8..]))
}

/// `nf_conntrack_icmpv6_redirect`: the redirected packet stands in an option.
fn redirect(conntrack: &Conntrack, skb: &Skb) -> Icmp {
    if skb.hop_limit() != 255 {
        return Icmp::Ordinary;
    }
    let l4 = skb.transport();
    let mut at = 40;
    // Bounded: every option takes at least 8 bytes.
    while let Some(&[kind, length]) = l4.get(at..at + 2) {
        if length == 0 {
            break;
        }
        if kind == 4 {
            return Icmp::Error(about(conntrack, skb, l4.get(at + 8..).unwrap_or_default()));
        }
        at += usize::from(length) * 8;
    }
    Icmp::Ordinary
}

/// ```text
///   A ----> R (here) ----> B        a connection A -> B, its replies B -> A, or B -> R where the source was translated
///           R <---- M               an error from somewhere, quoting A -> B as M saw it
/// ```
/// Looked up is the inverse of the quoted packet: a packet that would come back. The error must go where that one would go:
/// one with another destination is a forgery, and INVALID.
fn about(conntrack: &Conntrack, skb: &Skb, quote: &[u8]) -> Ct {
    let family = skb.ip_version();
    debug_assert!(matches!(family, Family::V4 | Family::V6));
    let Some(inner) = of_quote(quote, family).and_then(|quoted| quoted.tuple.invert()) else { return Ct::Invalid };
    let Some((id, dir)) = conntrack.table.find(&inner, 0) else { return Ct::Invalid };
    match conntrack.table.get(id) {
        Some(conn) if conn.tuple(dir).dst == skb.dst() => {
            Ct::Entry(id, if dir == Dir::Reply { CtInfo::RelatedReply } else { CtInfo::Related })
        }
        _ => Ct::Invalid,
    }
}
