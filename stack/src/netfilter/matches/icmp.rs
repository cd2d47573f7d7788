//! `-m icmp`, `-m icmp6`: type and code.

use std::fmt::Write as _;

use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::{Args, parse_number};
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;
use crate::view::proto;

/// Name, type, first and last code.
type Named = (&'static str, u8, u8, u8);

const V4: &[Named] = &[
    ("any", 0xff, 0, 0xff),
    ("echo-reply", 0, 0, 0xff),
    ("pong", 0, 0, 0xff),
    ("destination-unreachable", 3, 0, 0xff),
    ("network-unreachable", 3, 0, 0),
    ("host-unreachable", 3, 1, 1),
    ("protocol-unreachable", 3, 2, 2),
    ("port-unreachable", 3, 3, 3),
    ("fragmentation-needed", 3, 4, 4),
    ("source-route-failed", 3, 5, 5),
    ("network-unknown", 3, 6, 6),
    ("host-unknown", 3, 7, 7),
    ("network-prohibited", 3, 9, 9),
    ("host-prohibited", 3, 10, 10),
    ("TOS-network-unreachable", 3, 11, 11),
    ("TOS-host-unreachable", 3, 12, 12),
    ("communication-prohibited", 3, 13, 13),
    ("host-precedence-violation", 3, 14, 14),
    ("precedence-cutoff", 3, 15, 15),
    ("source-quench", 4, 0, 0xff),
    ("redirect", 5, 0, 0xff),
    ("network-redirect", 5, 0, 0),
    ("host-redirect", 5, 1, 1),
    ("TOS-network-redirect", 5, 2, 2),
    ("TOS-host-redirect", 5, 3, 3),
    ("echo-request", 8, 0, 0xff),
    ("ping", 8, 0, 0xff),
    ("router-advertisement", 9, 0, 0xff),
    ("router-solicitation", 10, 0, 0xff),
    ("time-exceeded", 11, 0, 0xff),
    ("ttl-exceeded", 11, 0, 0xff),
    ("ttl-zero-during-transit", 11, 0, 0),
    ("ttl-zero-during-reassembly", 11, 1, 1),
    ("parameter-problem", 12, 0, 0xff),
    ("ip-header-bad", 12, 0, 0),
    ("required-option-missing", 12, 1, 1),
    ("timestamp-request", 13, 0, 0xff),
    ("timestamp-reply", 14, 0, 0xff),
    ("address-mask-request", 17, 0, 0xff),
    ("address-mask-reply", 18, 0, 0xff),
];

const V6: &[Named] = &[
    ("destination-unreachable", 1, 0, 0xff),
    ("no-route", 1, 0, 0),
    ("communication-prohibited", 1, 1, 1),
    ("beyond-scope", 1, 2, 2),
    ("address-unreachable", 1, 3, 3),
    ("port-unreachable", 1, 4, 4),
    ("failed-policy", 1, 5, 5),
    ("reject-route", 1, 6, 6),
    ("packet-too-big", 2, 0, 0xff),
    ("time-exceeded", 3, 0, 0xff),
    ("ttl-exceeded", 3, 0, 0xff),
    ("ttl-zero-during-transit", 3, 0, 0),
    ("ttl-zero-during-reassembly", 3, 1, 1),
    ("parameter-problem", 4, 0, 0xff),
    ("bad-header", 4, 0, 0),
    ("unknown-header-type", 4, 1, 1),
    ("unknown-option", 4, 2, 2),
    ("echo-request", 128, 0, 0xff),
    ("ping", 128, 0, 0xff),
    ("echo-reply", 129, 0, 0xff),
    ("pong", 129, 0, 0xff),
    ("mld-listener-query", 130, 0, 0xff),
    ("mld-listener-report", 131, 0, 0xff),
    ("mld-listener-done", 132, 0, 0xff),
    ("mld-listener-reduction", 132, 0, 0xff),
    ("router-solicitation", 133, 0, 0xff),
    ("router-advertisement", 134, 0, 0xff),
    ("neighbour-solicitation", 135, 0, 0xff),
    ("neighbor-solicitation", 135, 0, 0xff),
    ("neighbour-advertisement", 136, 0, 0xff),
    ("neighbor-advertisement", 136, 0, 0xff),
    ("redirect", 137, 0, 0xff),
];

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Icmp {
    /// Type, first and last code, inverted.
    asked: Option<(u8, u8, u8, bool)>,
}

fn parse(args: &Args<'_, '_>, text: &str, known: &[Named]) -> Parsed<(u8, u8, u8)> {
    let folded = text.to_ascii_lowercase();
    let mut found = known.iter().filter(|(name, ..)| name.to_ascii_lowercase().starts_with(&folded));
    let exact = known.iter().find(|(name, ..)| name.eq_ignore_ascii_case(text));
    if let Some(&(_, kind, lo, hi)) = exact.or_else(|| found.next()) {
        if exact.is_none() && found.next().is_some() {
            return Err(args.bad(format!("Ambiguous ICMP type `{text}'")));
        }
        return Ok((kind, lo, hi));
    }
    let (kind, code) = text.split_once('/').map_or((text, None), |(kind, code)| (kind, Some(code)));
    let byte = |text: &str| parse_number(text).and_then(|n| u8::try_from(n).ok());
    let Some(kind) = byte(kind) else { return Err(args.bad(format!("Unknown ICMP type `{text}'"))) };
    match code.map(byte) {
        None => Ok((kind, 0, 0xff)),
        Some(Some(code)) => Ok((kind, code, code)),
        Some(None) => Err(args.bad(format!("Unknown ICMP code `{}'", code.unwrap_or_default()))),
    }
}

impl Extension for Icmp {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        let known = match (option, args.family) {
            ("--icmp-type", Family::V4) => V4,
            ("--icmpv6-type", Family::V6) => V6,
            _ => return Ok(false),
        };
        let not = args.inverted();
        let text = args.value()?;
        let (kind, lo, hi) = parse(args, text, known)?;
        self.asked = Some((kind, lo, hi, not));
        Ok(true)
    }

    fn finish(&self, base: &Base, family: Family) -> Result<(), String> {
        match family {
            Family::V4 if !base.is_proto(proto::ICMP) => Err("ICMP match requires '-p icmp'".into()),
            Family::V6 if !base.is_proto(proto::ICMPV6) => Err("ICMPv6 match requires '-p icmpv6'".into()),
            Family::V4 if self.asked.is_none() => Err("icmp: option \"--icmp-type\" must be specified".into()),
            Family::V6 if self.asked.is_none() => Err("icmp6: option \"--icmpv6-type\" must be specified".into()),
            _ => Ok(()),
        }
    }

    fn print(&self, out: &mut String, family: Family) {
        let (name, option) = match family {
            Family::V4 => (" -m icmp", "--icmp-type"),
            Family::V6 => (" -m icmp6", "--icmpv6-type"),
        };
        out.push_str(name);
        let Some((kind, lo, hi, not)) = self.asked else { return };
        let _ = write!(out, "{} {option} ", if not { " !" } else { "" });
        if kind == 0xff && family == Family::V4 {
            return out.push_str("any");
        }
        let _ = write!(out, "{kind}");
        if (lo, hi) != (0, 0xff) {
            let _ = write!(out, "/{lo}");
        }
    }
}

impl Test for Icmp {
    /// `icmp_match`, `icmp6_match`.
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        if look.seen.fragment_offset != 0 {
            return false;
        }
        let icmp = look.skb.transport();
        let Some(&[kind, code, ..]) = icmp.get(..4) else {
            look.hot_drop = true;
            return false;
        };
        let Some((want, lo, hi, not)) = self.asked else { return true };
        let any = want == 0xff && look.state.family == Family::V4;
        (any || (kind == want && lo <= code && code <= hi)) != not
    }
}
