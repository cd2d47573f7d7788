//! `-m ttl` (IPv4), `-m hl` (IPv6): as seen here, that is, already decremented where the packet is forwarded.

use std::fmt::Write as _;

use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    Equal,
    NotEqual,
    Less,
    Greater,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ttl {
    asked: Option<(How, u8)>,
}

impl Extension for Ttl {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        let (name, prefix) = match args.family {
            Family::V4 => ("ttl", "--ttl"),
            Family::V6 => ("hl", "--hl"),
        };
        let how = match option.strip_prefix(prefix) {
            Some("-eq" | "") => How::Equal,
            Some("-lt") => How::Less,
            Some("-gt") => How::Greater,
            _ => return Ok(false),
        };
        if self.asked.is_some() {
            return Err(args.bad_option(format!("{name}: only one of {prefix}-eq, {prefix}-lt, {prefix}-gt is allowed")));
        }
        let not = how == How::Equal && args.inverted();
        let value = args.number(name, 255)? as u8;
        self.asked = Some((if not { How::NotEqual } else { how }, value));
        Ok(true)
    }

    fn finish(&self, _: &Base, family: Family) -> Result<(), String> {
        match (self.asked, family) {
            (Some(_), _) => Ok(()),
            (None, Family::V4) => Err("TTL match: You must specify one of `--ttl-eq', `--ttl-lt', `--ttl-gt".into()),
            (None, Family::V6) => Err("HL match: You must specify one of `--hl-eq', `--hl-lt', `--hl-gt'".into()),
        }
    }

    fn print(&self, out: &mut String, family: Family) {
        let name = if family == Family::V4 { "ttl" } else { "hl" };
        let Some((how, value)) = self.asked else { return };
        let (not, how) = match how {
            How::Equal => ("", "eq"),
            How::NotEqual => (" !", "eq"),
            How::Less => ("", "lt"),
            How::Greater => ("", "gt"),
        };
        let _ = write!(out, " -m {name}{not} --{name}-{how} {value}");
    }
}

impl Test for Ttl {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let ttl = look.skb.hop_limit();
        self.asked.is_some_and(|(how, value)| match how {
            How::Equal => ttl == value,
            How::NotEqual => ttl != value,
            How::Less => ttl < value,
            How::Greater => ttl > value,
        })
    }
}
