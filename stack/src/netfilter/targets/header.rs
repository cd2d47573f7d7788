//! Targets that rewrite a byte of the IP header: DSCP, TOS, TTL, HL.

use std::fmt::Write as _;

use super::{Act, Done};
use crate::addr::Family;
use crate::drop_reason::DropReason;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::matches::{Extension, dscp, tos};
use crate::netfilter::ruleset::Base;
use crate::trace::Record;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Dscp,
    Tos,
    Ttl,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Unset,
    Dscp(u8),
    /// Value, mask: clear the mask, flip the value.
    Tos(u8, u8),
    TtlSet(u8),
    TtlDec(u8),
    TtlInc(u8),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    field: Field,
    change: Change,
}

impl Header {
    pub(crate) fn new(name: &str, family: Family) -> Option<Header> {
        let field = match (name, family) {
            ("DSCP", _) => Field::Dscp,
            ("TOS", _) => Field::Tos,
            ("TTL", Family::V4) | ("HL", Family::V6) => Field::Ttl,
            _ => return None,
        };
        Some(Header { field, change: Change::Unset })
    }

    pub(crate) fn act(&self, act: &mut Act<'_, '_>) -> Done {
        let skb = &mut *act.skb;
        match self.change {
            Change::Dscp(value) => skb.set_tos((skb.tos() & 3) | value << 2),
            Change::Tos(value, mask) => skb.set_tos((skb.tos() & !mask) ^ value),
            Change::TtlSet(_) | Change::TtlDec(_) | Change::TtlInc(_) => {
                let old = skb.hop_limit();
                let new = match self.change {
                    Change::TtlDec(by) => match old.checked_sub(by) {
                        Some(new) => new,
                        // ttl_tg: never below zero.
                        None => return Done::Drop(DropReason::NetfilterDrop),
                    },
                    Change::TtlInc(by) => old.saturating_add(by),
                    Change::TtlSet(to) => to,
                    _ => old,
                };
                if new != old {
                    skb.set_hop_limit(new);
                    act.cx.record(skb.id(), Record::HopLimit { old, new });
                }
            }
            Change::Unset => {}
        }
        Done::Continue
    }
}

impl Extension for Header {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        let change = match (self.field, option) {
            (Field::Dscp, "--set-dscp") => Change::Dscp(args.number("DSCP", 63)? as u8),
            (Field::Dscp, "--set-dscp-class") => Change::Dscp(dscp::class(args)?),
            (Field::Tos, "--set-tos") => {
                let (value, mask) = tos::parse(args, "TOS")?;
                Change::Tos(value, mask)
            }
            (Field::Tos, "--and-tos") => Change::Tos(0, !(args.number("TOS", 255)? as u8)),
            (Field::Tos, "--or-tos") => {
                let bits = args.number("TOS", 255)? as u8;
                Change::Tos(bits, bits)
            }
            (Field::Tos, "--xor-tos") => Change::Tos(args.number("TOS", 255)? as u8, 0),
            (Field::Ttl, _) => match option.strip_prefix(if args.family == Family::V4 { "--ttl-" } else { "--hl-" }) {
                Some("set") => Change::TtlSet(args.number("TTL", 255)? as u8),
                Some("dec") => Change::TtlDec(args.number("TTL", 255)? as u8),
                Some("inc") => Change::TtlInc(args.number("TTL", 255)? as u8),
                _ => return Ok(false),
            },
            _ => return Ok(false),
        };
        if self.change != Change::Unset {
            return Err(args.bad_option("only one operation of this target is allowed"));
        }
        self.change = change;
        Ok(true)
    }

    fn finish(&self, _: &Base, family: Family) -> Result<(), String> {
        match (self.change, self.field, family) {
            (Change::Unset, Field::Dscp, _) => Err("DSCP target: Parameter --set-dscp is required".into()),
            (Change::Unset, Field::Tos, _) => {
                Err("TOS: One of the --set-tos, --and-tos, --or-tos or --xor-tos options is required".into())
            }
            (Change::Unset, Field::Ttl, Family::V4) => Err("TTL: You must specify an action".into()),
            (Change::Unset, Field::Ttl, Family::V6) => Err("HL: You must specify an action".into()),
            _ => Ok(()),
        }
    }

    fn print(&self, out: &mut String, family: Family) {
        let (upper, lower) = if family == Family::V4 { ("TTL", "ttl") } else { ("HL", "hl") };
        let _ = match self.change {
            Change::Dscp(value) => write!(out, " -j DSCP --set-dscp 0x{value:02x}"),
            Change::Tos(value, mask) => write!(out, " -j TOS --set-tos 0x{value:02x}/0x{mask:02x}"),
            Change::TtlSet(value) => write!(out, " -j {upper} --{lower}-set {value}"),
            Change::TtlDec(value) => write!(out, " -j {upper} --{lower}-dec {value}"),
            Change::TtlInc(value) => write!(out, " -j {upper} --{lower}-inc {value}"),
            Change::Unset => Ok(()),
        };
    }
}
