//! `ip neighbour` (`ip/ipneigh.c`).

use std::fmt;
use std::net::IpAddr;

use super::ip::ip;
use super::lex::{Parsed, Words, matches, quoted};
use crate::addr::{Family, Mac};
use crate::neigh::NeighState;

/// `ip neighbour COMMAND`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NeighCommand {
    /// `add`, `replace`, `change`.
    Set {
        /// Whether it must be new, must be there, or neither.
        op: NeighOp,
        /// Device.
        dev: String,
        /// IP address.
        address: IpAddr,
        /// `lladdr`.
        mac: Option<Mac>,
        /// `nud`.
        state: NeighState,
    },
    /// `add proxy`.
    AddProxy {
        /// Device.
        dev: String,
        /// IP address.
        address: IpAddr,
    },
    /// `delete`.
    Delete {
        /// Device.
        dev: String,
        /// IP address.
        address: IpAddr,
        /// Whether it is a proxy entry.
        proxy: bool,
    },
    /// `flush`.
    Flush(NeighSelect),
    /// `show`.
    Show(NeighSelect),
}

/// How an entry is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are those of ip-neighbour(8)")]
pub enum NeighOp {
    Add,
    Change,
    Replace,
}

/// Which entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NeighSelect {
    /// `-4`, `-6`.
    pub family: Option<Family>,
    /// `dev`.
    pub dev: Option<String>,
    /// `proxy`.
    pub proxy: bool,
}

const STATES: [(&str, NeighState); 9] = [
    ("permanent", NeighState::Permanent),
    ("reachable", NeighState::Reachable),
    ("noarp", NeighState::Noarp),
    ("none", NeighState::None),
    ("stale", NeighState::Stale),
    ("incomplete", NeighState::Incomplete),
    ("delay", NeighState::Delay),
    ("probe", NeighState::Probe),
    ("failed", NeighState::Failed),
];

/// The word of a state.
pub(super) fn state_name(state: NeighState) -> &'static str {
    STATES.iter().find(|(_, known)| *known == state).map_or("none", |(name, _)| name)
}

pub(super) fn parse(args: &mut Words<'_>, family: Option<Family>) -> Parsed<NeighCommand> {
    let Some(word) = args.next() else { return Ok(NeighCommand::Show(NeighSelect { family, ..NeighSelect::default() })) };
    match word.text.as_str() {
        verb if matches(verb, "add") => modify(args, family, Some(NeighOp::Add)),
        verb if matches(verb, "change") || verb == "chg" => modify(args, family, Some(NeighOp::Change)),
        verb if matches(verb, "replace") => modify(args, family, Some(NeighOp::Replace)),
        verb if matches(verb, "delete") => modify(args, family, None),
        verb if matches(verb, "show") || matches(verb, "lst") || matches(verb, "list") => {
            select(args, family).map(NeighCommand::Show)
        }
        verb if matches(verb, "flush") => {
            if args.peek().is_none() {
                return Err(args.missing("Flush requires arguments.", "name a device: `ip neigh flush dev eth0`"));
            }
            select(args, family).map(NeighCommand::Flush)
        }
        verb if matches(verb, "get") => Err(word.unsupported("this command of ip neigh")),
        verb => {
            let message = format!("Command \"{verb}\" is unknown, try \"ip neigh help\".");
            Err(word.mistake(message, "the commands are add, change, replace, delete, show, flush"))
        }
    }
}

fn select(args: &mut Words<'_>, family: Option<Family>) -> Parsed<NeighSelect> {
    let mut select = NeighSelect { family, ..NeighSelect::default() };
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "dev" => select.dev = Some(args.device("dev")?),
            "proxy" => select.proxy = true,
            _ => return Err(word.unsupported("this choice of neighbours")),
        }
    }
    Ok(select)
}

fn modify(args: &mut Words<'_>, family: Option<Family>, op: Option<NeighOp>) -> Parsed<NeighCommand> {
    let (mut dev, mut address, mut mac, mut state, mut proxy) = (None, None, None, None, false);
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "lladdr" => {
                if args.take("null") {
                    mac = None;
                } else {
                    mac = Some(args.mac()?);
                }
            }
            "nud" => {
                let value = args.need()?;
                let named = STATES.iter().find(|(name, _)| *name == value.text).map(|(_, state)| *state);
                state = Some(named.ok_or_else(|| value.wrong("nud state is bad"))?);
            }
            text if matches(text, "proxy") => {
                let value = args.need()?;
                if address.replace(value.address(family)?).is_some() {
                    return Err(value.duplicate("address"));
                }
                proxy = true;
            }
            "dev" => dev = Some(args.device("dev")?),
            "router" | "managed" | "use" | "extern_learn" | "nhid" => return Err(word.unsupported("this flag of a neighbour")),
            "protocol" => {
                // Who installed an entry is only shown.
                args.need()?;
            }
            text => {
                let word = if text == "to" { args.need()? } else { word };
                if address.is_some() {
                    return Err(word.garbage("to"));
                }
                address = Some(word.address(family)?);
            }
        }
    }
    let (Some(dev), Some(address)) = (dev, address) else {
        return Err(args.missing("Device and destination are required arguments.", "write ADDRESS and `dev DEVICE`"));
    };
    Ok(match op {
        None => NeighCommand::Delete { dev, address, proxy },
        Some(_) if proxy => NeighCommand::AddProxy { dev, address },
        Some(op) => NeighCommand::Set { op, dev, address, mac, state: state.unwrap_or(NeighState::Permanent) },
    })
}

impl fmt::Display for NeighCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NeighCommand::Set { op, dev, address, mac, state } => {
                let verb = match op {
                    NeighOp::Add => "add",
                    NeighOp::Change => "change",
                    NeighOp::Replace => "replace",
                };
                write!(f, "ip neigh {verb} {address}")?;
                if let Some(mac) = mac {
                    write!(f, " lladdr {mac}")?;
                }
                write!(f, " nud {} dev {}", state_name(*state), quoted(dev))
            }
            NeighCommand::AddProxy { dev, address } => write!(f, "ip neigh add proxy {address} dev {}", quoted(dev)),
            NeighCommand::Delete { dev, address, proxy } => {
                write!(f, "ip neigh del {}{address} dev {}", if *proxy { "proxy " } else { "" }, quoted(dev))
            }
            NeighCommand::Flush(select) => write!(f, "{} neigh flush{select}", ip(select.family)),
            NeighCommand::Show(select) => write!(f, "{} neigh show{select}", ip(select.family)),
        }
    }
}

impl fmt::Display for NeighSelect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.proxy {
            f.write_str(" proxy")?;
        }
        match &self.dev {
            Some(dev) => write!(f, " dev {}", quoted(dev)),
            None => Ok(()),
        }
    }
}
