//! `-m dscp`.

use std::fmt::Write as _;

use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;

const CLASSES: &[(&str, u8)] = &[
    ("CS0", 0x00),
    ("CS1", 0x08),
    ("CS2", 0x10),
    ("CS3", 0x18),
    ("CS4", 0x20),
    ("CS5", 0x28),
    ("CS6", 0x30),
    ("CS7", 0x38),
    ("BE", 0x00),
    ("AF11", 0x0a),
    ("AF12", 0x0c),
    ("AF13", 0x0e),
    ("AF21", 0x12),
    ("AF22", 0x14),
    ("AF23", 0x16),
    ("AF31", 0x1a),
    ("AF32", 0x1c),
    ("AF33", 0x1e),
    ("AF41", 0x22),
    ("AF42", 0x24),
    ("AF43", 0x26),
    ("EF", 0x2e),
];

/// The name of a class.
pub(crate) fn class(args: &mut Args<'_, '_>) -> Parsed<u8> {
    let text = args.value()?;
    let found = CLASSES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, value)| *value).ok_or_else(|| args.bad(format!("Invalid DSCP value `{text}'")))
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Dscp {
    asked: Option<(u8, bool)>,
}

impl Extension for Dscp {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        let not = args.invert;
        let value = match option {
            "--dscp" => args.number("dscp", 63)? as u8,
            "--dscp-class" => class(args)?,
            _ => return Ok(false),
        };
        args.inverted();
        self.asked = Some((value, not));
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if self.asked.is_none() { Err("DSCP match: Parameter --dscp is required".into()) } else { Ok(()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        let (value, not) = self.asked.unwrap_or_default();
        let _ = write!(out, " -m dscp{} --dscp 0x{value:02x}", if not { " !" } else { "" });
    }
}

impl Test for Dscp {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let (value, not) = self.asked.unwrap_or_default();
        (look.skb.tos() >> 2 == value) != not
    }
}
