//! A cursor over the words of one rule, and the readers of values that many options share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::lex::{Parsed, Problem, Word};
use super::names;
use crate::addr::Family;

/// What an extension reads its options from.
pub(crate) struct Args<'w, 'a> {
    pub(crate) words: &'w [Word<'a>],
    /// The next word.
    pub(crate) at: usize,
    /// The option that is being read.
    pub(crate) option: usize,
    /// Whether `!` stood before it. Taken by [`Args::inverted`]; what is left over is an error.
    pub(crate) invert: bool,
    pub(crate) family: Family,
    /// The rule's protocol so far (0: any), which service names and ICMP types depend on.
    pub(crate) proto: u8,
}

impl<'w, 'a> Args<'w, 'a> {
    /// The value of the present option.
    pub(crate) fn value(&mut self) -> Parsed<&'w str> {
        let words = self.words;
        match words.get(self.at) {
            Some(word) => {
                self.at += 1;
                Ok(&word.text)
            }
            None => Err(self.bad_option(format!("option \"{}\" requires an argument", self.words[self.option].text))),
        }
    }

    /// The next word where it is no option: for options with an optional value.
    pub(crate) fn optional(&mut self) -> Option<&'w str> {
        let words = self.words;
        let word = words.get(self.at).filter(|word| !word.text.starts_with('-') && word.text != "!")?;
        self.at += 1;
        Some(&word.text)
    }

    /// Takes the `!` of the present option.
    pub(crate) fn inverted(&mut self) -> bool {
        std::mem::take(&mut self.invert)
    }

    /// A refusal that points at the value just read.
    pub(crate) fn bad(&self, message: impl Into<String>) -> Box<Problem> {
        self.words[self.at.saturating_sub(1)].problem(message)
    }

    /// A refusal that points at the option.
    pub(crate) fn bad_option(&self, message: impl Into<String>) -> Box<Problem> {
        self.words[self.option].problem(message)
    }

    /// `XTTYPE_UINT*`: decimal, hexadecimal or octal.
    pub(crate) fn number(&mut self, extension: &str, max: u64) -> Parsed<u64> {
        let text = self.value()?;
        parse_number(text).filter(|&n| n <= max).ok_or_else(|| {
            let option = &self.words[self.option].text;
            self.bad(format!("{extension}: bad integer value for option \"{option}\", or out of range."))
        })
    }

    /// `XTTYPE_MARKMASK32`: `value[/mask]`.
    pub(crate) fn mark(&mut self, extension: &str) -> Parsed<(u32, u32)> {
        let text = self.value()?;
        let (value, mask) = text.split_once('/').map_or((text, None), |(v, m)| (v, Some(m)));
        let number = |text: &str| parse_number(text).and_then(|n| u32::try_from(n).ok());
        let pair = number(value).zip(mask.map_or(Some(u32::MAX), number));
        pair.ok_or_else(|| {
            let option = &self.words[self.option].text;
            self.bad(format!("{extension}: bad integer value for option \"{option}\", or out of range."))
        })
    }

    /// `lo[:hi]` of numbers.
    pub(crate) fn range(&mut self, extension: &str, max: u64) -> Parsed<(u64, u64)> {
        let text = self.value()?;
        let (lo, hi) = text.split_once(':').map_or((text, None), |(l, h)| (l, Some(h)));
        let lo = if lo.is_empty() { Some(0) } else { parse_number(lo) };
        let hi = match hi {
            None => lo,
            Some("") => Some(max),
            Some(hi) => parse_number(hi),
        };
        lo.zip(hi).filter(|&(lo, hi)| lo <= hi && hi <= max).ok_or_else(|| {
            let option = &self.words[self.option].text;
            self.bad(format!("{extension}: bad value for option \"{option}\", or out of range (0-{max})."))
        })
    }

    /// A port or the name of a service.
    pub(crate) fn port(&self, text: &str) -> Parsed<u16> {
        parse_number(text)
            .and_then(|n| u16::try_from(n).ok())
            .or_else(|| names::service(text))
            .ok_or_else(|| self.bad(format!("invalid port/service `{text}' specified")))
    }

    /// `lo[:hi]` of ports.
    pub(crate) fn ports(&self, text: &str, separator: char) -> Parsed<(u16, u16)> {
        let Some((lo, hi)) = text.split_once(separator) else {
            let port = self.port(text)?;
            return Ok((port, port));
        };
        let lo = if lo.is_empty() { 0 } else { self.port(lo)? };
        let hi = if hi.is_empty() { u16::MAX } else { self.port(hi)? };
        if lo > hi {
            return Err(self.bad("invalid portrange (min > max)"));
        }
        Ok((lo, hi))
    }

    /// An address of the rule's family.
    pub(crate) fn address(&self, text: &str) -> Parsed<IpAddr> {
        let parsed = match self.family {
            Family::V4 => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            Family::V6 => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        };
        parsed.ok_or_else(|| self.bad(format!("Bad IP address \"{text}\"")))
    }
}

/// `xtables_strtoui`: decimal, `0x` hexadecimal, `0` octal.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok();
    }
    if text.len() > 1 && text.starts_with('0') {
        return u64::from_str_radix(&text[1..], 8).ok();
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) { None } else { text.parse().ok() }
}
