//! `-m tos`.

use std::fmt::Write as _;

use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::{Args, parse_number};
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;

/// Names of RFC 1349.
const NAMES: &[(&str, u8)] = &[
    ("Minimize-Delay", 0x10),
    ("Maximize-Throughput", 0x08),
    ("Maximize-Reliability", 0x04),
    ("Minimize-Cost", 0x02),
    ("Normal-Service", 0x00),
];
/// The bits that a name speaks of.
const NAME_MASK: u8 = 0x3f;

/// `value`, `value/mask` or a name.
pub(crate) fn parse(args: &mut Args<'_, '_>, extension: &str) -> Parsed<(u8, u8)> {
    let text = args.value()?;
    if let Some((_, value)) = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Ok((*value, NAME_MASK));
    }
    let byte = |text: &str| parse_number(text).and_then(|n| u8::try_from(n).ok());
    let (value, mask) = text.split_once('/').map_or((text, None), |(v, m)| (v, Some(m)));
    byte(value)
        .zip(mask.map_or(Some(0xff), byte))
        .ok_or_else(|| args.bad(format!("{extension}: bad value for option \"{}\"", args.words[args.option].text)))
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tos {
    asked: Option<(u8, u8, bool)>,
}

impl Extension for Tos {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        if option != "--tos" {
            return Ok(false);
        }
        let not = args.inverted();
        let (value, mask) = parse(args, "tos")?;
        self.asked = Some((value, mask, not));
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if self.asked.is_none() { Err("tos: option \"--tos\" must be specified".into()) } else { Ok(()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        let (value, mask, not) = self.asked.unwrap_or_default();
        let _ = write!(out, " -m tos{} --tos 0x{value:02x}/0x{mask:02x}", if not { " !" } else { "" });
    }
}

impl Test for Tos {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let (value, mask, not) = self.asked.unwrap_or_default();
        (look.skb.tos() & mask == value) != not
    }
}
