//! `bridge` (`bridge/fdb.c`, `bridge/link.c` of iproute2).

use std::fmt;
use std::net::IpAddr;

use super::lex::{Parsed, Words, matches, quoted};
use super::link::{PORT_OPTIONS, pairs};
use crate::addr::Mac;

/// `bridge OBJECT COMMAND`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BridgeCommand {
    /// `link set`.
    LinkSet {
        /// The port.
        dev: String,
        /// Its options (`hairpin on`).
        options: Vec<(String, String)>,
    },
    /// `link show`.
    LinkShow {
        /// Of this port only.
        dev: Option<String>,
    },
    /// `fdb add`, `append`, `replace`, `del`.
    Fdb(FdbOp, FdbArgs),
    /// `fdb show`.
    FdbShow {
        /// Of this bridge only.
        br: Option<String>,
        /// Of this device only.
        dev: Option<String>,
    },
}

/// How an entry of a forwarding database changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are those of bridge(8)")]
pub enum FdbOp {
    Add,
    Append,
    Replace,
    Delete,
}

/// An entry of a forwarding database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FdbArgs {
    /// Link-layer address.
    pub mac: Mac,
    /// The port, or the bridge itself.
    pub dev: String,
    /// `local` (permanent), `static` or `dynamic`.
    pub state: FdbState,
    /// `dst`: the host behind a tunnel.
    pub dst: Option<IpAddr>,
    /// `vni`: the one that the host is sent.
    pub vni: Option<u32>,
    /// `port`: the UDP port of the host.
    pub port: Option<u16>,
    /// `via`: the device that the outer packet leaves by.
    pub via: Option<String>,
    /// `master`: in the bridge's database, as opposed to the device's own filter (`self`).
    pub master: bool,
}

/// How long an entry lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FdbState {
    /// `local`: the address is the bridge's own.
    Permanent,
    /// `static`: does not age.
    Static,
    /// `dynamic`: ages.
    Dynamic,
}

pub(super) fn parse(args: &mut Words<'_>) -> Parsed<BridgeCommand> {
    let object = args.need()?;
    match object.text.as_str() {
        "-n" | "-netns" => return Err(object.unsupported("this option here: say in which namespace the command runs instead")),
        option if option.starts_with('-') => return Err(object.unsupported("this option of bridge")),
        _ => {}
    }
    match object.text.as_str() {
        name if matches(name, "link") => link(args),
        name if matches(name, "fdb") => fdb(args),
        name if ["mdb", "vlan", "vni", "monitor", "mst"].iter().any(|known| matches(name, known)) => {
            Err(object.unsupported("this object of bridge"))
        }
        name => {
            let message = format!("Object \"{name}\" is unknown, try \"bridge help\".");
            Err(object.mistake(message, "the objects are link, fdb"))
        }
    }
}

fn link(args: &mut Words<'_>) -> Parsed<BridgeCommand> {
    let Some(word) = args.next() else { return Ok(BridgeCommand::LinkShow { dev: None }) };
    match word.text.as_str() {
        verb if matches(verb, "set") || matches(verb, "change") => {
            let mut dev = None;
            let mut found = Vec::new();
            while let Some(word) = args.peek() {
                match word.text.as_str() {
                    "dev" => {
                        args.next();
                        dev = Some(args.device("dev")?);
                    }
                    "self" | "master" => {
                        args.next();
                        if word.text == "self" {
                            return Err(word.unsupported("options of the device below the bridge"));
                        }
                    }
                    name if PORT_OPTIONS.contains(&name) => {
                        let value = option(args)?;
                        found.push(value);
                    }
                    "vlan_tunnel" | "mcast_router" | "backup_port" | "hwmode" | "mab" | "mcast_max_groups" => {
                        return Err(word.unsupported("this option of a port"));
                    }
                    _ => return Err(word.mistake(format!("`{}` is no option of `bridge link set`", word.text), "see bridge(8)")),
                }
            }
            let dev = dev.ok_or_else(|| args.missing("Device is a required argument.", "add `dev PORT`"))?;
            Ok(BridgeCommand::LinkSet { dev, options: found })
        }
        verb if matches(verb, "show") || matches(verb, "lst") || matches(verb, "list") => {
            let mut dev = None;
            while let Some(word) = args.next() {
                match word.text.as_str() {
                    "dev" => dev = Some(args.device("dev")?),
                    _ => return Err(word.unsupported("this choice of ports")),
                }
            }
            Ok(BridgeCommand::LinkShow { dev })
        }
        verb => {
            let message = format!("Command \"{verb}\" is unknown, try \"bridge link help\".");
            Err(word.mistake(message, "the commands are set, show"))
        }
    }
}

/// One option of a port, its value checked.
fn option(args: &mut Words<'_>) -> Parsed<(String, String)> {
    let name = args.need()?.text.clone();
    let value = args.need()?;
    let switch = !matches!(name.as_str(), "cost" | "priority" | "state");
    if switch && !matches!(value.text.as_str(), "on" | "off") {
        let message = format!("Error: argument of \"{name}\" must be one of \"off\", \"on\", not \"{}\"", value.text);
        return Err(value.mistake(message, "write on or off"));
    }
    Ok((name, value.text.clone()))
}

fn fdb(args: &mut Words<'_>) -> Parsed<BridgeCommand> {
    let Some(word) = args.next() else { return Ok(BridgeCommand::FdbShow { br: None, dev: None }) };
    match word.text.as_str() {
        verb if matches(verb, "add") => entry(args).map(|entry| BridgeCommand::Fdb(FdbOp::Add, entry)),
        verb if matches(verb, "append") => entry(args).map(|entry| BridgeCommand::Fdb(FdbOp::Append, entry)),
        verb if matches(verb, "replace") => entry(args).map(|entry| BridgeCommand::Fdb(FdbOp::Replace, entry)),
        verb if matches(verb, "delete") => entry(args).map(|entry| BridgeCommand::Fdb(FdbOp::Delete, entry)),
        verb if matches(verb, "show") || matches(verb, "lst") || matches(verb, "list") => {
            let (mut br, mut dev) = (None, None);
            while let Some(word) = args.next() {
                match word.text.as_str() {
                    "br" => br = Some(args.device("br")?),
                    "dev" | "brport" => dev = Some(args.device("dev")?),
                    _ => return Err(word.unsupported("this choice of entries")),
                }
            }
            Ok(BridgeCommand::FdbShow { br, dev })
        }
        verb if matches(verb, "get") || matches(verb, "flush") => Err(word.unsupported("this command of bridge fdb")),
        verb => {
            let message = format!("Command \"{verb}\" is unknown, try \"bridge fdb help\".");
            Err(word.mistake(message, "the commands are add, append, replace, delete, show"))
        }
    }
}

fn entry(args: &mut Words<'_>) -> Parsed<FdbArgs> {
    let (mut mac, mut dev, mut state, mut master, mut own) = (None, None, FdbState::Permanent, false, false);
    let (mut dst, mut vni, mut port, mut via) = (None, None, None, None);
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "dev" => dev = Some(args.device("dev")?),
            "self" => own = true,
            "dst" => {
                let value = args.need()?;
                if dst.replace(value.address(None)?).is_some() {
                    return Err(value.garbage("dst"));
                }
            }
            "vni" => {
                let value = args.need()?;
                let number = super::lex::number(&value.text).and_then(|vni| u32::try_from(vni).ok());
                let number = number.filter(|&vni| vni < 1 << 24).ok_or_else(|| value.wrong("invalid VNI"))?;
                if vni.replace(number).is_some() {
                    return Err(value.garbage("vni"));
                }
            }
            "port" => {
                let value = args.need()?;
                let number = super::lex::number(&value.text).and_then(|port| u16::try_from(port).ok());
                port = Some(number.filter(|&port| port != 0).ok_or_else(|| value.wrong("invalid port"))?);
            }
            "via" => via = Some(args.device("via")?),
            text if matches(text, "master") => master = true,
            text if matches(text, "local") || matches(text, "permanent") => state = FdbState::Permanent,
            text if matches(text, "temp") || matches(text, "static") => state = FdbState::Static,
            text if matches(text, "dynamic") => state = FdbState::Dynamic,
            "src_vni" | "nhid" => return Err(word.unsupported("this part of an entry")),
            text if matches(text, "vlan") => return Err(word.unsupported("VLANs of a bridge")),
            text if matches(text, "use") || matches(text, "router") || matches(text, "extern_learn") || matches(text, "sticky") => {
                return Err(word.unsupported("this flag of an entry"));
            }
            text => {
                let word = if text == "to" { args.need()? } else { word };
                if mac.is_some() {
                    return Err(word.garbage("to"));
                }
                let parsed = word.text.parse::<Mac>();
                mac = Some(parsed.map_err(|_| {
                    word.mistake(format!("Invalid mac address {}", word.text), "write six hexadecimal bytes: 02:00:00:00:00:01")
                })?);
            }
        }
    }
    let (Some(mac), Some(dev)) = (mac, dev) else {
        return Err(args.missing("Device and address are required arguments.", "write MAC and `dev DEVICE`"));
    };
    if own && master {
        return Err(args.missing("pktlab does not model an entry in both `self` and `master`", "write two commands"));
    }
    Ok(FdbArgs { mac, dev, state, dst, vni, port, via, master })
}

impl fmt::Display for BridgeCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BridgeCommand::LinkSet { dev, options } => {
                write!(f, "bridge link set dev {}", quoted(dev))?;
                pairs(f, options)
            }
            BridgeCommand::LinkShow { dev: None } => f.write_str("bridge link show"),
            BridgeCommand::LinkShow { dev: Some(dev) } => write!(f, "bridge link show dev {}", quoted(dev)),
            BridgeCommand::Fdb(op, entry) => {
                let verb = match op {
                    FdbOp::Add => "add",
                    FdbOp::Append => "append",
                    FdbOp::Replace => "replace",
                    FdbOp::Delete => "del",
                };
                let place = if entry.master { "master" } else { "self" };
                let state = match entry.state {
                    FdbState::Permanent => "local",
                    FdbState::Static => "static",
                    FdbState::Dynamic => "dynamic",
                };
                write!(f, "bridge fdb {verb} {} dev {}", entry.mac, quoted(&entry.dev))?;
                if let Some(dst) = entry.dst {
                    write!(f, " dst {dst}")?;
                }
                if let Some(vni) = entry.vni {
                    write!(f, " vni {vni}")?;
                }
                if let Some(port) = entry.port {
                    write!(f, " port {port}")?;
                }
                if let Some(via) = &entry.via {
                    write!(f, " via {}", quoted(via))?;
                }
                write!(f, " {place} {state}")
            }
            BridgeCommand::FdbShow { br, dev } => {
                f.write_str("bridge fdb show")?;
                if let Some(br) = br {
                    write!(f, " br {}", quoted(br))?;
                }
                match dev {
                    Some(dev) => write!(f, " dev {}", quoted(dev)),
                    None => Ok(()),
                }
            }
        }
    }
}
