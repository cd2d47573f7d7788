//! `ip address` (`ip/ipaddress.c`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::ip::ip;
use super::lex::{Parsed, Prefix, Words, matches, quoted};
use super::route::{SCOPES, scope_name};
use crate::addr::Family;

/// `ip address COMMAND`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddrCommand {
    /// `add`, `replace`, `change`.
    Add(AddrOp, NewAddr),
    /// `delete`.
    Delete {
        /// Device.
        dev: String,
        /// Address.
        address: IpAddr,
        /// Length of its prefix; none: any.
        prefix_len: Option<u8>,
    },
    /// `flush`.
    Flush(AddrSelect),
    /// `show`.
    Show(AddrSelect),
}

/// How an address is put among those of its device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are those of ip-address(8)")]
pub enum AddrOp {
    Add,
    Change,
    Replace,
}

/// An address to be set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewAddr {
    /// Device.
    pub dev: String,
    /// The address itself.
    pub address: IpAddr,
    /// Length of its prefix.
    pub prefix_len: u8,
    /// `peer`: the far end, and the length of its prefix.
    pub peer: Option<(IpAddr, u8)>,
    /// `brd`.
    pub broadcast: Option<Ipv4Addr>,
    /// `scope`.
    pub scope: Option<u8>,
    /// `nodad`.
    pub nodad: bool,
}

/// Which addresses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AddrSelect {
    /// `-4`, `-6`.
    pub family: Option<Family>,
    /// Of this device only.
    pub dev: Option<String>,
    /// Of this scope only.
    pub scope: Option<u8>,
}

pub(super) fn parse(args: &mut Words<'_>, family: Option<Family>) -> Parsed<AddrCommand> {
    let Some(word) = args.next() else { return Ok(AddrCommand::Show(AddrSelect { family, ..AddrSelect::default() })) };
    match word.text.as_str() {
        verb if matches(verb, "add") => modify(args, family).map(|(new, _)| AddrCommand::Add(AddrOp::Add, new)),
        verb if matches(verb, "change") || verb == "chg" => {
            modify(args, family).map(|(new, _)| AddrCommand::Add(AddrOp::Change, new))
        }
        verb if matches(verb, "replace") => modify(args, family).map(|(new, _)| AddrCommand::Add(AddrOp::Replace, new)),
        verb if matches(verb, "delete") => {
            let (new, exact) = modify(args, family)?;
            Ok(AddrCommand::Delete { dev: new.dev, address: new.address, prefix_len: exact.then_some(new.prefix_len) })
        }
        verb if matches(verb, "show") || matches(verb, "lst") || matches(verb, "list") => {
            select(args, family).map(AddrCommand::Show)
        }
        verb if matches(verb, "flush") => {
            if args.peek().is_none() {
                return Err(args.missing("Flush requires arguments.", "name a device: `ip addr flush dev eth0`"));
            }
            select(args, family).map(AddrCommand::Flush)
        }
        verb => {
            let message = format!("Command \"{verb}\" is unknown, try \"ip address help\".");
            Err(word.mistake(message, "the commands are add, change, replace, delete, show, flush"))
        }
    }
}

fn select(args: &mut Words<'_>, family: Option<Family>) -> Parsed<AddrSelect> {
    let mut select = AddrSelect { family, ..AddrSelect::default() };
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "dev" => select.dev = Some(args.device("dev")?),
            "scope" => {
                let value = args.need()?;
                select.scope = Some(scope(&value.text).ok_or_else(|| value.wrong("invalid \"scope\""))?);
            }
            "to" | "label" | "up" | "type" | "master" | "vrf" | "permanent" | "dynamic" | "secondary" | "primary" | "tentative" => {
                return Err(word.unsupported("this choice of addresses"));
            }
            _ if select.dev.is_none() => select.dev = Some(word.device("dev")?),
            _ => return Err(word.garbage("dev")),
        }
    }
    Ok(select)
}

fn scope(text: &str) -> Option<u8> {
    let named = SCOPES.iter().find(|(name, _)| *name == text).map(|(_, scope)| *scope);
    named.or_else(|| super::lex::number(text).and_then(|scope| u8::try_from(scope).ok()))
}

/// Also whether the length of the prefix was written.
fn modify(args: &mut Words<'_>, family: Option<Family>) -> Parsed<(NewAddr, bool)> {
    let (mut local, mut dev, mut peer, mut broadcast, mut scope_given, mut nodad) = (None, None, None, None, None, false);
    let mut exact = false;
    let mut family = family;
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "peer" | "remote" => {
                let value = args.need()?;
                let Prefix::Net(net) = value.prefix(family)? else { return Err(value.wrong("a peer is one address")) };
                if peer.is_some() {
                    return Err(value.duplicate("peer"));
                }
                family = Some(Family::of(net.addr()));
                peer = Some((net.addr(), net.prefix_len()));
            }
            text if matches(text, "broadcast") || text == "brd" => {
                let value = args.need()?;
                if broadcast.is_some() {
                    return Err(value.duplicate("broadcast"));
                }
                broadcast = Some(value);
            }
            "anycast" | "label" | "metric" | "priority" | "preference" | "noprefixroute" | "home" | "mngtmpaddr" | "optimistic"
            | "autojoin" | "proto" => {
                return Err(word.unsupported("this option of an address"));
            }
            "scope" => {
                let value = args.need()?;
                scope_given = Some(scope(&value.text).ok_or_else(|| value.wrong("invalid scope value."))?);
            }
            "dev" => dev = Some(args.device("dev")?),
            "nodad" => nodad = true,
            "valid_lft" | "preferred_lft" => {
                let value = args.need()?;
                if value.text != "forever" {
                    return Err(value.unsupported("addresses that expire"));
                }
            }
            text => {
                let word = if text == "local" { args.need()? } else { word };
                if local.is_some() {
                    return Err(word.garbage("local"));
                }
                let Prefix::Net(net) = word.prefix(family)? else {
                    return Err(word.mistake(
                        format!("Error: any valid prefix is expected rather than \"{}\".", word.text),
                        "write ADDRESS/LENGTH",
                    ));
                };
                exact = word.text.contains('/');
                family = Some(Family::of(net.addr()));
                local = Some(net);
            }
        }
    }
    let dev = dev.ok_or_else(|| args.missing("Not enough information: \"dev\" argument is required.", "add `dev DEVICE`"))?;
    let local = local.ok_or_else(|| args.missing("Error: an address is required", "write ADDRESS/LENGTH"))?;
    let prefix_len = local.prefix_len();
    let broadcast = match broadcast {
        None => None,
        Some(word) => Some(match (word.text.as_str(), local.addr()) {
            ("+" | "-", IpAddr::V4(address)) if peer.is_none() && prefix_len <= 30 => {
                let host = u32::MAX >> prefix_len;
                let bits = u32::from(address);
                Ipv4Addr::from(if word.text == "+" { bits | host } else { bits & !host })
            }
            ("+" | "-", IpAddr::V4(_)) => return Err(word.wrong("no broadcast address exists for this prefix")),
            (_, IpAddr::V4(_)) => match word.address(Some(Family::V4))? {
                IpAddr::V4(address) => address,
                IpAddr::V6(_) => return Err(word.wrong("an IPv4 address is expected")),
            },
            (_, IpAddr::V6(_)) => return Err(word.wrong("Broadcast can be set only for IPv4 addresses")),
        }),
    };
    let new = NewAddr { dev, address: local.addr(), prefix_len, peer, broadcast, scope: scope_given, nodad };
    Ok((new, exact))
}

impl fmt::Display for AddrCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddrCommand::Add(op, new) => {
                let verb = match op {
                    AddrOp::Add => "add",
                    AddrOp::Change => "change",
                    AddrOp::Replace => "replace",
                };
                write!(f, "ip addr {verb} {new}")
            }
            AddrCommand::Delete { dev, address, prefix_len: Some(length) } => {
                write!(f, "ip addr del {address}/{length} dev {}", quoted(dev))
            }
            AddrCommand::Delete { dev, address, prefix_len: None } => write!(f, "ip addr del {address} dev {}", quoted(dev)),
            AddrCommand::Flush(select) => write!(f, "{} addr flush{select}", ip(select.family)),
            AddrCommand::Show(select) => write!(f, "{} addr show{select}", ip(select.family)),
        }
    }
}

impl fmt::Display for NewAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)?;
        if let Some((peer, length)) = self.peer {
            write!(f, " peer {peer}/{length}")?;
        }
        if let Some(broadcast) = self.broadcast {
            write!(f, " brd {broadcast}")?;
        }
        if let Some(scope) = self.scope {
            write!(f, " scope {}", scope_name(scope))?;
        }
        if self.nodad {
            f.write_str(" nodad")?;
        }
        write!(f, " dev {}", quoted(&self.dev))
    }
}

impl fmt::Display for AddrSelect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(dev) = &self.dev {
            write!(f, " dev {}", quoted(dev))?;
        }
        if let Some(scope) = self.scope {
            write!(f, " scope {}", scope_name(scope))?;
        }
        Ok(())
    }
}
