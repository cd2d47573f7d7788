//! `conntrack` (conntrack-tools 1.4): listing, deleting, flushing.

use std::fmt;
use std::net::IpAddr;

use super::lex::{Parsed, Words};
use super::route::{ip_protocol, ip_protocol_name};
use crate::addr::Family;

/// `conntrack COMMAND`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConntrackCommand {
    /// `-L`.
    List(CtFilter),
    /// `-D`.
    Delete(CtFilter),
    /// `-F`.
    Flush,
}

/// Which connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CtFilter {
    /// `-f`.
    pub family: Option<Family>,
    /// `-p`.
    pub proto: Option<u8>,
    /// `-s`, `--orig-src`.
    pub orig_src: Option<IpAddr>,
    /// `-d`, `--orig-dst`.
    pub orig_dst: Option<IpAddr>,
    /// `-r`, `--reply-src`.
    pub reply_src: Option<IpAddr>,
    /// `-q`, `--reply-dst`.
    pub reply_dst: Option<IpAddr>,
    /// `--sport`, `--orig-port-src`.
    pub sport: Option<u16>,
    /// `--dport`, `--orig-port-dst`.
    pub dport: Option<u16>,
    /// `-m`.
    pub mark: Option<(u32, u32)>,
}

pub(super) fn parse(args: &mut Words<'_>) -> Parsed<ConntrackCommand> {
    let word = args.need()?;
    match word.text.as_str() {
        "-L" | "--dump" => filter(args).map(ConntrackCommand::List),
        "-D" | "--delete" => filter(args).map(ConntrackCommand::Delete),
        "-F" | "--flush" => match args.next() {
            None => Ok(ConntrackCommand::Flush),
            Some(word) => Err(word.unsupported("this argument of conntrack -F")),
        },
        "-G" | "-I" | "-U" | "-E" | "-C" | "-S" | "--get" | "--create" | "--update" | "--event" | "--count" | "--stats" => {
            Err(word.unsupported("this command of conntrack"))
        }
        _ => Err(word.mistake("conntrack v1.4.7 (conntrack-tools): You need to supply a command", "the commands are -L, -D, -F")),
    }
}

fn filter(args: &mut Words<'_>) -> Parsed<CtFilter> {
    let mut filter = CtFilter::default();
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "conntrack" => {}
            "-f" | "--family" => {
                let value = args.need()?;
                filter.family = Some(match value.text.as_str() {
                    "ipv4" => Family::V4,
                    "ipv6" => Family::V6,
                    _ => return Err(value.wrong("the families are ipv4 and ipv6")),
                });
            }
            "-p" | "--proto" => filter.proto = Some(ip_protocol(args)?),
            "-s" | "--src" | "--orig-src" => filter.orig_src = Some(args.address(filter.family)?),
            "-d" | "--dst" | "--orig-dst" => filter.orig_dst = Some(args.address(filter.family)?),
            "-r" | "--reply-src" => filter.reply_src = Some(args.address(filter.family)?),
            "-q" | "--reply-dst" => filter.reply_dst = Some(args.address(filter.family)?),
            "--sport" | "--orig-port-src" => filter.sport = Some(args.number(65535, "a port is expected")? as u16),
            "--dport" | "--orig-port-dst" => filter.dport = Some(args.number(65535, "a port is expected")? as u16),
            "-m" | "--mark" => {
                let value = args.need()?;
                let (mark, mask) = value.text.split_once('/').unwrap_or((&value.text, "0xffffffff"));
                let bits = |text| super::lex::number(text).and_then(|bits| u32::try_from(bits).ok());
                filter.mark = Some(bits(mark).zip(bits(mask)).ok_or_else(|| value.wrong("a mark is expected"))?);
            }
            _ => return Err(word.unsupported("this option of conntrack")),
        }
    }
    Ok(filter)
}

impl CtFilter {
    /// Whether a connection is one of these.
    pub fn matches(&self, view: &crate::conntrack::CtView) -> bool {
        let (orig, reply) = (&view.original, &view.reply);
        let is = |asked: Option<IpAddr>, got| asked.is_none_or(|asked| asked == got);
        self.family.is_none_or(|family| Family::of(orig.src) == family)
            && self.proto.is_none_or(|proto| proto == orig.proto)
            && is(self.orig_src, orig.src)
            && is(self.orig_dst, orig.dst)
            && is(self.reply_src, reply.src)
            && is(self.reply_dst, reply.dst)
            && self.sport.is_none_or(|port| port == orig.sport)
            && self.dport.is_none_or(|port| port == orig.dport)
            && self.mark.is_none_or(|(mark, mask)| view.mark & mask == mark)
    }
}

impl fmt::Display for ConntrackCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConntrackCommand::List(filter) => write!(f, "conntrack -L{filter}"),
            ConntrackCommand::Delete(filter) => write!(f, "conntrack -D{filter}"),
            ConntrackCommand::Flush => f.write_str("conntrack -F"),
        }
    }
}

impl fmt::Display for CtFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.family {
            Some(Family::V4) => f.write_str(" -f ipv4")?,
            Some(Family::V6) => f.write_str(" -f ipv6")?,
            None => {}
        }
        if let Some(proto) = self.proto {
            write!(f, " -p {}", ip_protocol_name(proto))?;
        }
        let addresses = [("-s", self.orig_src), ("-d", self.orig_dst), ("-r", self.reply_src), ("-q", self.reply_dst)];
        for (name, address) in addresses {
            if let Some(address) = address {
                write!(f, " {name} {address}")?;
            }
        }
        for (name, port) in [("--sport", self.sport), ("--dport", self.dport)] {
            if let Some(port) = port {
                write!(f, " {name} {port}")?;
            }
        }
        match self.mark {
            Some((mark, u32::MAX)) => write!(f, " -m {mark}"),
            Some((mark, mask)) => write!(f, " -m {mark}/{mask}"),
            None => Ok(()),
        }
    }
}
