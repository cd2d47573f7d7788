//! A line as words, and a cursor over them that reports mistakes as iproute2 does (`lib/utils.c`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::ParseCommandError;
use crate::addr::{Family, Mac};

pub(super) type Parsed<T> = Result<T, ParseCommandError>;

/// One word of a line, quotes taken off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Word {
    pub(super) text: String,
    /// Where it begins in the line.
    pub(super) at: usize,
    /// Bytes in the line, quotes included.
    pub(super) len: usize,
}

/// What only a shell understands, unless quoted.
const SHELL: &str = "|;&<>$`(){}";

/// Splits a line as a shell does: blanks, quotes, backslashes, a comment behind `#`. Everything else that a shell would do is refused.
pub(super) fn split(line: &str) -> Parsed<Vec<Word>> {
    let mut words = Vec::new();
    let mut chars = line.char_indices().peekable();
    while let Some(&(at, first)) = chars.peek() {
        if first.is_whitespace() {
            chars.next();
            continue;
        }
        if first == '#' {
            break;
        }
        let mut text = String::new();
        let mut end = at;
        let mut quote: Option<char> = None;
        while let Some(&(here, c)) = chars.peek() {
            match (quote, c) {
                (None, c) if c.is_whitespace() => break,
                (Some(open), c) if c == open => quote = None,
                (None, '\'' | '"') => quote = Some(c),
                (None | Some('"'), '\\') => {
                    chars.next();
                    match chars.peek() {
                        Some(&(_, escaped)) => text.push(escaped),
                        None => return Err(mistake(here, 1, "a backslash with nothing behind it", "take it away")),
                    }
                }
                (None, c) if SHELL.contains(c) => {
                    let message = format!("`{c}` is for a shell, and there is none here");
                    return Err(mistake(here, c.len_utf8(), &message, "write one plain command a line, or put the word in quotes"));
                }
                (_, c) => text.push(c),
            }
            let (here, c) = chars.next().expect("a backslash is followed by what it escapes");
            end = here + c.len_utf8();
        }
        if quote.is_some() {
            return Err(mistake(at, end - at, "a quote that is not closed", "close it"));
        }
        words.push(Word { text, at, len: end - at });
    }
    Ok(words)
}

/// A word as a shell needs it.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:/=,+@%!^~*".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn mistake(at: usize, len: usize, message: &str, help: &str) -> ParseCommandError {
    ParseCommandError { message: message.to_owned(), at, len, help: help.to_owned(), unsupported: false }
}

/// `matches()`: whether a word abbreviates a keyword.
pub(super) fn matches(word: &str, keyword: &str) -> bool {
    !word.is_empty() && keyword.starts_with(word)
}

/// The first keyword of a list that a word abbreviates.
pub(super) fn abbreviated<T: Copy>(word: &str, keywords: &[(&str, T)]) -> Option<T> {
    keywords.iter().find(|(keyword, _)| matches(word, keyword)).map(|(_, meaning)| *meaning)
}

/// A cursor over the words of a line.
#[derive(Debug)]
pub(super) struct Words<'a> {
    line: &'a str,
    words: &'a [Word],
    next: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a str, words: &'a [Word]) -> Words<'a> {
        Words { line, words, next: 0 }
    }

    pub(super) fn peek(&self) -> Option<&'a Word> {
        self.words.get(self.next)
    }

    pub(super) fn next(&mut self) -> Option<&'a Word> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }

    /// Takes the next word where it is this one.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let taken = self.peek().is_some_and(|word| word.text == text);
        self.next += usize::from(taken);
        taken
    }

    /// `NEXT_ARG()`.
    pub(super) fn need(&mut self) -> Parsed<&'a Word> {
        let end = self.line.trim_end().len();
        self.next().ok_or_else(|| mistake(end, 0, "Command line is not complete. Try option \"help\"", "write what is missing"))
    }

    /// The rest of the line, as it was written.
    pub(super) fn rest(&self) -> &'a str {
        self.peek().map_or("", |word| self.line[word.at..].trim_end())
    }

    pub(super) fn here(&self) -> usize {
        self.peek().map_or(self.line.trim_end().len(), |word| word.at)
    }

    /// A mistake that is not in a word but in what is missing.
    pub(super) fn missing(&self, message: &str, help: &str) -> ParseCommandError {
        mistake(self.line.trim_end().len(), 0, message, help)
    }

    /// `get_unsigned` and its like.
    pub(super) fn number(&mut self, max: u64, wrong: &str) -> Parsed<u64> {
        let word = self.need()?;
        number(&word.text).filter(|&number| number <= max).ok_or_else(|| word.wrong(wrong))
    }

    /// `get_addr`, in a family if one is known.
    pub(super) fn address(&mut self, family: Option<Family>) -> Parsed<IpAddr> {
        let word = self.need()?;
        word.address(family)
    }

    /// `ll_addr_a2n`.
    pub(super) fn mac(&mut self) -> Parsed<Mac> {
        let word = self.need()?;
        word.text.parse().map_err(|_| {
            mistake(
                word.at,
                word.len,
                &format!("\"{}\" is invalid lladdr.", word.text),
                "write six hexadecimal bytes: 02:00:00:00:00:01",
            )
        })
    }

    /// The name of a device (`check_ifname`).
    pub(super) fn device(&mut self, keyword: &str) -> Parsed<String> {
        let word = self.need()?;
        word.device(keyword)
    }
}

impl Word {
    pub(super) fn mistake(&self, message: impl AsRef<str>, help: &str) -> ParseCommandError {
        mistake(self.at, self.len, message.as_ref(), help)
    }

    /// `invarg`.
    pub(super) fn wrong(&self, message: &str) -> ParseCommandError {
        self.mistake(format!("Error: argument \"{}\" is wrong: {message}", self.text), "")
    }

    /// `duparg`.
    pub(super) fn duplicate(&self, keyword: &str) -> ParseCommandError {
        let message = format!("Error: duplicate \"{keyword}\": \"{}\" is the second value.", self.text);
        self.mistake(message, "say it once")
    }

    /// `duparg2`: a word that is neither a keyword nor may stand for the object a second time.
    pub(super) fn garbage(&self, object: &str) -> ParseCommandError {
        let message = format!("Error: either \"{object}\" is duplicate, or \"{}\" is a garbage.", self.text);
        self.mistake(message, "take the word away, or correct it")
    }

    /// What the tool takes and pktlab does not model.
    pub(super) fn unsupported(&self, what: &str) -> ParseCommandError {
        let message = format!("`{}`: pktlab does not model {what}", self.text);
        ParseCommandError { unsupported: true, ..self.mistake(message, "leave it out, if what you look at does not depend on it") }
    }

    pub(super) fn device(&self, keyword: &str) -> Parsed<String> {
        if valid_name(&self.text) { Ok(self.text.clone()) } else { Err(self.wrong(&format!("\"{keyword}\" not a valid ifname"))) }
    }

    pub(super) fn address(&self, family: Option<Family>) -> Parsed<IpAddr> {
        address(&self.text).filter(|found| family.is_none_or(|family| Family::of(*found) == family)).ok_or_else(|| {
            let kind = family_word(family, "any valid");
            self.mistake(format!("Error: {kind} address is expected rather than \"{}\".", self.text), "write an address")
        })
    }

    /// `get_prefix`: `default`, `all` and `any` are everything; without a family those are of none.
    pub(super) fn prefix(&self, family: Option<Family>) -> Parsed<Prefix> {
        prefix(&self.text).filter(|found| family.is_none_or(|family| found.family().is_none_or(|f| f == family))).ok_or_else(|| {
            let kind = family_word(family, "any valid");
            self.mistake(format!("Error: {kind} prefix is expected rather than \"{}\".", self.text), "write ADDRESS/LENGTH")
        })
    }
}

/// A prefix whose family may be open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Prefix {
    All,
    Net(IpNet),
}

impl Prefix {
    pub(super) fn family(self) -> Option<Family> {
        match self {
            Prefix::All => None,
            Prefix::Net(net) => Some(Family::of(net.addr())),
        }
    }

    pub(super) fn net(self, family: Family) -> IpNet {
        match self {
            Prefix::All => everything(family),
            Prefix::Net(net) => net,
        }
    }
}

/// `0.0.0.0/0` or `::/0`.
pub(super) fn everything(family: Family) -> IpNet {
    IpNet::new(family.unspecified(), 0).expect("no length is shorter")
}

fn family_word(family: Option<Family>, none: &str) -> &str {
    match family {
        Some(Family::V4) => "inet",
        Some(Family::V6) => "inet6",
        None => none,
    }
}

/// `strtoul` with base 0.
pub(super) fn number(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(digits, 16).ok();
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if text.len() > 1 && text.starts_with('0') { u64::from_str_radix(&text[1..], 8).ok() } else { text.parse().ok() }
}

/// `get_addr_1`: IPv4 may be short of bytes at its end.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let Some(part) = parts.next() else { break };
        *octet = u8::try_from(number(part).filter(|_| !part.is_empty())?).ok()?;
    }
    if parts.next().is_some() { None } else { Some(IpAddr::V4(Ipv4Addr::from(octets))) }
}

fn prefix(text: &str) -> Option<Prefix> {
    if matches!(text, "default" | "all" | "any") {
        return Some(Prefix::All);
    }
    let (addr, length) = match text.split_once('/') {
        None => (address(text)?, None),
        Some((addr, length)) => (address(addr)?, Some(length)),
    };
    let bits = Family::of(addr).bits();
    let length = match length {
        None => bits,
        Some(mask) if mask.contains('.') => u8::try_from(mask.parse::<Ipv4Addr>().ok().and_then(contiguous)?).ok()?,
        Some(length) => u8::try_from(number(length)?).ok().filter(|&length| length <= bits)?,
    };
    IpNet::new(addr, length).ok().map(Prefix::Net)
}

fn contiguous(mask: Ipv4Addr) -> Option<u32> {
    let bits = u32::from(mask);
    (bits.leading_ones() + bits.trailing_zeros() >= 32).then(|| bits.leading_ones())
}

/// `check_ifname`, `dev_valid_name`.
pub(super) fn valid_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= 15
        && !name.bytes().any(|byte| byte == b'/' || byte == b':' || byte.is_ascii_whitespace())
}
