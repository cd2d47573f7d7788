//! `ip link` (`ip/iplink.c`).

use std::fmt;

use super::lex::{Parsed, Word, Words, matches, quoted, valid_name};
use super::vxlan::{self, VxlanArgs};
use crate::addr::Mac;
use crate::dev::macvlan::MacvlanMode;

/// `ip link COMMAND`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkCommand {
    /// `add`.
    Add(NewLink),
    /// `delete`.
    Delete {
        /// Its name.
        dev: String,
    },
    /// `set`.
    Set(Box<LinkSet>),
    /// `show`.
    Show {
        /// One device, or all.
        dev: Option<String>,
    },
}

/// What `ip link add` makes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewLink {
    /// The device.
    pub end: LinkEnd,
    /// Its type.
    pub kind: NewKind,
    /// `link`: the device below.
    pub link: Option<String>,
}

/// A device to be made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkEnd {
    /// Its name.
    pub name: String,
    /// `address`; none: derived from its name.
    pub mac: Option<Mac>,
    /// `mtu`.
    pub mtu: Option<u32>,
    /// `netns`: where it is made; none: here.
    pub netns: Option<String>,
    /// `up`.
    pub up: bool,
}

/// The type of a new device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NewKind {
    /// `veth`, with its other end.
    Veth(LinkEnd),
    /// `bridge`, with its options.
    Bridge(Vec<(String, String)>),
    /// `dummy`.
    Dummy,
    /// `vxlan`, with its options.
    Vxlan(Box<VxlanArgs>),
    /// `vlan id VID`.
    Vlan(u16),
    /// `macvlan mode MODE`.
    Macvlan(MacvlanMode),
}

/// What `ip link set` changes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkSet {
    /// The device.
    pub dev: String,
    /// `up`, `down`.
    pub up: Option<bool>,
    /// `mtu`.
    pub mtu: Option<u32>,
    /// `address`.
    pub mac: Option<Mac>,
    /// `master BRIDGE`, `nomaster`.
    pub master: Option<Option<String>>,
    /// `name`.
    pub name: Option<String>,
    /// `netns`.
    pub netns: Option<String>,
    /// `type bridge OPTIONS`.
    pub bridge: Vec<(String, String)>,
    /// `type bridge_slave OPTIONS`.
    pub port: Vec<(String, String)>,
}

/// Link types that iproute2 has and pktlab lacks.
const OTHER_KINDS: [&str; 28] = [
    "macvtap",
    "ipvlan",
    "ipvtap",
    "ipip",
    "sit",
    "gre",
    "gretap",
    "ip6gre",
    "ip6gretap",
    "ip6tnl",
    "vti",
    "vti6",
    "geneve",
    "vrf",
    "bond",
    "team",
    "ifb",
    "wireguard",
    "macsec",
    "nlmon",
    "vcan",
    "tun",
    "xfrm",
    "bareudp",
    "gtp",
    "hsr",
    "erspan",
    "batadv",
];

/// Options of a bridge.
const BRIDGE_OPTIONS: [&str; 10] = [
    "group_fwd_mask",
    "forward_delay",
    "stp_state",
    "mcast_snooping",
    "ageing_time",
    "vlan_filtering",
    "hello_time",
    "max_age",
    "priority",
    "mcast_querier",
];

/// Options of a bridge port.
pub(super) const PORT_OPTIONS: [&str; 17] = [
    "hairpin",
    "isolated",
    "learning",
    "flood",
    "mcast_flood",
    "bcast_flood",
    "neigh_suppress",
    "guard",
    "fastleave",
    "root_block",
    "mcast_to_unicast",
    "proxy_arp",
    "proxy_arp_wifi",
    "cost",
    "priority",
    "state",
    "locked",
];

pub(super) fn parse(args: &mut Words<'_>) -> Parsed<LinkCommand> {
    let Some(word) = args.next() else { return Ok(LinkCommand::Show { dev: None }) };
    match word.text.as_str() {
        verb if matches(verb, "add") => add(args).map(LinkCommand::Add),
        verb if matches(verb, "set") => set(args).map(|set| LinkCommand::Set(Box::new(set))),
        verb if matches(verb, "change") || matches(verb, "replace") => Err(word.unsupported("this command of `ip link`: use set")),
        verb if matches(verb, "delete") => delete(args),
        verb if matches(verb, "show") || matches(verb, "lst") || matches(verb, "list") => show(args),
        verb => {
            let message = format!("Command \"{verb}\" is unknown, try \"ip link help\".");
            Err(word.mistake(message, "the commands are add, set, delete, show"))
        }
    }
}

fn show(args: &mut Words<'_>) -> Parsed<LinkCommand> {
    let mut dev = None;
    while let Some(word) = args.next() {
        let name = if word.text == "dev" { args.device("dev")? } else { word.device("dev")? };
        if dev.replace(name).is_some() {
            return Err(word.garbage("dev"));
        }
    }
    Ok(LinkCommand::Show { dev })
}

fn delete(args: &mut Words<'_>) -> Parsed<LinkCommand> {
    let mut dev = None;
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "type" => {
                args.need()?;
            }
            "dev" => dev = Some(args.device("dev")?),
            _ if dev.is_none() => dev = Some(word.device("dev")?),
            _ => return Err(word.garbage("dev")),
        }
    }
    let dev = dev.ok_or_else(|| args.missing("Not enough information: \"dev\" argument is required.", "name the device"))?;
    Ok(LinkCommand::Delete { dev })
}

/// The words in front of `type`, and those of a veth's peer.
fn end(args: &mut Words<'_>, end: &mut LinkEnd, word: &Word) -> Parsed<bool> {
    match word.text.as_str() {
        "up" => end.up = true,
        "down" => end.up = false,
        "name" | "dev" => {
            let value = args.need()?;
            let name = value.device("name")?;
            if !end.name.is_empty() {
                return Err(value.duplicate(&word.text));
            }
            end.name = name;
        }
        "mtu" => {
            let value = args.need()?;
            let mtu = super::lex::number(&value.text).and_then(|mtu| u32::try_from(mtu).ok());
            let mtu = mtu.ok_or_else(|| value.wrong("Invalid \"mtu\" value"))?;
            if end.mtu.replace(mtu).is_some() {
                return Err(value.duplicate("mtu"));
            }
        }
        "netns" => {
            let value = args.need()?;
            if value.text.is_empty() || value.text.contains('/') {
                return Err(value.wrong("Invalid \"netns\" value"));
            }
            if end.netns.replace(value.text.clone()).is_some() {
                return Err(value.duplicate("netns"));
            }
        }
        "numtxqueues" | "numrxqueues" | "txqueuelen" | "qlen" | "txqlen" => {
            // Queues do not exist here, so their sizes cannot matter.
            args.number(u64::from(u32::MAX), "Invalid \"queues\" value")?;
        }
        other if matches(other, "address") => end.mac = Some(args.mac()?),
        "link" | "index" | "alias" | "group" | "broadcast" | "brd" | "gso_max_size" | "gso_max_segs" | "arp" | "promisc"
        | "multicast" => {
            return Err(word.unsupported("this option of a device"));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn add(args: &mut Words<'_>) -> Parsed<NewLink> {
    let mut first = LinkEnd::default();
    let mut link: Option<(String, &Word)> = None;
    while let Some(word) = args.next() {
        if word.text == "type" {
            let kind = args.need()?;
            let new = match kind.text.as_str() {
                "veth" => NewKind::Veth(peer(args, &mut first)?),
                "bridge" => NewKind::Bridge(options(args, &BRIDGE_OPTIONS)?),
                "dummy" => match args.next() {
                    None => NewKind::Dummy,
                    Some(word) => return Err(word.garbage("dev")),
                },
                "vlan" => NewKind::Vlan(vlan(args)?),
                "macvlan" => NewKind::Macvlan(macvlan(args)?),
                "vxlan" => NewKind::Vxlan(Box::new(vxlan::parse(args)?)),
                other if OTHER_KINDS.contains(&other) => return Err(kind.unsupported("this type of device")),
                _ => {
                    return Err(
                        kind.mistake("Error: Unknown device type.", "the types are veth, bridge, dummy, vxlan, vlan, macvlan")
                    );
                }
            };
            if first.name.is_empty() {
                return Err(args.missing("Not enough information: \"dev\" argument is required.", "name the device"));
            }
            if let Some((_, word)) = link.as_ref().filter(|_| !matches!(new, NewKind::Vlan(_) | NewKind::Macvlan(_))) {
                return Err(word.unsupported("this option of a device of this type"));
            }
            return Ok(NewLink { end: first, kind: new, link: link.map(|(name, _)| name) });
        }
        if word.text == "link" {
            let name = args.device("link")?;
            if link.replace((name, word)).is_some() {
                return Err(word.duplicate("link"));
            }
            continue;
        }
        if !end(args, &mut first, word)? {
            if !first.name.is_empty() {
                return Err(word.garbage("dev"));
            }
            first.name = word.device("dev")?;
        }
    }
    Err(args.missing("Not enough information: \"type\" argument is required", "say `type veth peer name NAME`, `type bridge`"))
}

/// `vlan_parse_opt` (`ip/iplink_vlan.c`).
fn vlan(args: &mut Words<'_>) -> Parsed<u16> {
    let mut id = None;
    while let Some(word) = args.next() {
        match word.text.as_str() {
            text if matches(text, "id") => {
                let value = args.need()?;
                let number = super::lex::number(&value.text).and_then(|id| u16::try_from(id).ok());
                id = Some(number.ok_or_else(|| value.wrong("id is invalid"))?);
            }
            "protocol" => {
                let value = args.need()?;
                if !value.text.eq_ignore_ascii_case("802.1q") {
                    return Err(value.unsupported("VLANs of this protocol"));
                }
            }
            "reorder_hdr" => {
                let value = args.need()?;
                if value.text != "on" {
                    return Err(value.unsupported("VLAN devices that keep the tag"));
                }
            }
            "gvrp" | "mvrp" | "loose_binding" | "bridge_binding" => {
                let value = args.need()?;
                if value.text != "off" {
                    return Err(word.unsupported("this option of a VLAN"));
                }
            }
            "ingress-qos-map" | "egress-qos-map" => return Err(word.unsupported("priorities of a VLAN")),
            text => return Err(word.mistake(format!("vlan: unknown command \"{text}\"?"), "see ip-link(8)")),
        }
    }
    id.ok_or_else(|| args.missing("Error: 8021q: VLAN properties not specified.", "add `id VID`"))
}

/// `macvlan_parse_opt` (`ip/iplink_macvlan.c`).
fn macvlan(args: &mut Words<'_>) -> Parsed<MacvlanMode> {
    let mut mode = MacvlanMode::default();
    while let Some(word) = args.next() {
        match word.text.as_str() {
            text if matches(text, "mode") => {
                let value = args.need()?;
                if value.text == "source" {
                    return Err(value.unsupported("this mode of macvlan"));
                }
                let found = MacvlanMode::WORDS.iter().find(|(word, _)| *word == value.text).map(|(_, mode)| *mode);
                mode = found.ok_or_else(|| {
                    let wanted = "\"private\", \"vepa\", \"bridge\", \"passthru\" or \"source\"";
                    let message = format!("Error: argument of \"mode\" must be {wanted}, not \"{}\"", value.text);
                    value.mistake(message, "write one of these")
                })?;
            }
            "nopromisc" | "macaddr" | "flag" | "bcqueuelen" | "bclim" => return Err(word.unsupported("this option of macvlan")),
            text => return Err(word.mistake(format!("macvlan: unknown option \"{text}\"?"), "see ip-link(8)")),
        }
    }
    Ok(mode)
}

/// `iplink_parse` of the words behind `peer`.
fn peer(args: &mut Words<'_>, first: &mut LinkEnd) -> Parsed<LinkEnd> {
    let mut peer = LinkEnd::default();
    match args.next() {
        Some(word) if word.text == "peer" => {}
        Some(word) => {
            let message = format!("Error: either \"dev\" is duplicate, or \"{}\" is a garbage.", word.text);
            return Err(word.mistake(message, "say `type veth peer name NAME`"));
        }
        None => return Err(args.missing("the peer of the veth has no name", "pktlab does not invent names: say `peer name NAME`")),
    }
    while let Some(word) = args.next() {
        if !end(args, &mut peer, word)? {
            if !peer.name.is_empty() {
                return Err(word.garbage("name"));
            }
            peer.name = word.device("name")?;
        }
    }
    if peer.name.is_empty() {
        return Err(args.missing("the peer of the veth has no name", "pktlab does not invent names: say `peer name NAME`"));
    }
    if first.name.is_empty() {
        return Err(args.missing("the veth has no name", "pktlab does not invent names: say `ip link add NAME type veth`"));
    }
    Ok(peer)
}

/// Pairs of option and value to the end of the line.
pub(super) fn options(args: &mut Words<'_>, known: &[&str]) -> Parsed<Vec<(String, String)>> {
    let mut options: Vec<(String, String)> = Vec::new();
    while let Some(word) = args.next() {
        if !known.contains(&word.text.as_str()) {
            return Err(word.unsupported("this option"));
        }
        let value = args.need()?;
        if options.iter().any(|(name, _)| *name == word.text) {
            return Err(value.duplicate(&word.text));
        }
        options.push((word.text.clone(), value.text.clone()));
    }
    Ok(options)
}

fn set(args: &mut Words<'_>) -> Parsed<LinkSet> {
    let mut set = LinkSet::default();
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "up" => set.up = Some(true),
            "down" => set.up = Some(false),
            "master" | "nomaster" => {
                let master = if word.text == "master" { Some(args.device("master")?) } else { None };
                if set.master.replace(master).is_some() {
                    return Err(word.duplicate("master"));
                }
            }
            "vrf" => return Err(word.unsupported("VRFs")),
            "name" => {
                let value = args.need()?;
                if set.name.replace(value.device("name")?).is_some() {
                    return Err(value.duplicate("name"));
                }
            }
            "type" => {
                let kind = args.need()?;
                match kind.text.as_str() {
                    "bridge" => set.bridge = options(args, &BRIDGE_OPTIONS)?,
                    "bridge_slave" => set.port = options(args, &PORT_OPTIONS)?,
                    _ => return Err(kind.unsupported("changing devices of this type")),
                }
            }
            "dev" => {
                let value = args.need()?;
                if !set.dev.is_empty() {
                    return Err(value.duplicate("dev"));
                }
                set.dev = value.device("dev")?;
            }
            "mtu" | "netns" => {
                let mut part = LinkEnd { mtu: set.mtu, netns: set.netns.take(), ..LinkEnd::default() };
                end(args, &mut part, word)?;
                (set.mtu, set.netns) = (part.mtu, part.netns);
            }
            "txqueuelen" | "qlen" | "txqlen" => {
                args.number(u64::from(u32::MAX), "Invalid \"txqueuelen\" value")?;
            }
            "arp" | "promisc" | "multicast" | "allmulticast" | "dynamic" | "trailers" | "alias" | "group" | "broadcast" | "brd"
            | "carrier" | "addrgenmode" | "gso_max_size" | "xdp" | "vf" | "link" | "index" => {
                return Err(word.unsupported("this option of a device"));
            }
            other if matches(other, "address") => set.mac = Some(args.mac()?),
            _ if set.dev.is_empty() && valid_name(&word.text) => set.dev = word.text.clone(),
            _ => return Err(word.garbage("dev")),
        }
    }
    if set.dev.is_empty() {
        return Err(args.missing("Not enough information: \"dev\" argument is required.", "name the device"));
    }
    Ok(set)
}

impl fmt::Display for LinkCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkCommand::Add(new) => new.fmt(f),
            LinkCommand::Delete { dev } => write!(f, "ip link del dev {}", quoted(dev)),
            LinkCommand::Show { dev: None } => f.write_str("ip link show"),
            LinkCommand::Show { dev: Some(dev) } => write!(f, "ip link show dev {}", quoted(dev)),
            LinkCommand::Set(set) => set.fmt(f),
        }
    }
}

impl fmt::Display for NewLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ip link add ")?;
        if let Some(link) = &self.link {
            write!(f, "link {} ", quoted(link))?;
        }
        write!(f, "{} type ", self.end)?;
        match &self.kind {
            NewKind::Veth(peer) => write!(f, "veth peer {peer}"),
            NewKind::Bridge(options) => {
                f.write_str("bridge")?;
                pairs(f, options)
            }
            NewKind::Dummy => f.write_str("dummy"),
            NewKind::Vxlan(args) => args.fmt(f),
            NewKind::Vlan(id) => write!(f, "vlan id {id}"),
            NewKind::Macvlan(mode) => write!(f, "macvlan mode {mode}"),
        }
    }
}

/// `name` in front, so that no name is taken for a keyword.
impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "name {}", quoted(&self.name))?;
        if let Some(mac) = self.mac {
            write!(f, " address {mac}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        if let Some(netns) = &self.netns {
            write!(f, " netns {}", quoted(netns))?;
        }
        if self.up {
            f.write_str(" up")?;
        }
        Ok(())
    }
}

impl fmt::Display for LinkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ip link set dev {}", quoted(&self.dev))?;
        match &self.master {
            Some(Some(master)) => write!(f, " master {}", quoted(master))?,
            Some(None) => f.write_str(" nomaster")?,
            None => {}
        }
        if let Some(mac) = self.mac {
            write!(f, " address {mac}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        if let Some(name) = &self.name {
            write!(f, " name {}", quoted(name))?;
        }
        if let Some(netns) = &self.netns {
            write!(f, " netns {}", quoted(netns))?;
        }
        if let Some(up) = self.up {
            f.write_str(if up { " up" } else { " down" })?;
        }
        if !self.bridge.is_empty() {
            f.write_str(" type bridge")?;
            pairs(f, &self.bridge)?;
        }
        if !self.port.is_empty() {
            f.write_str(" type bridge_slave")?;
            pairs(f, &self.port)?;
        }
        Ok(())
    }
}

pub(super) fn pairs(f: &mut fmt::Formatter<'_>, options: &[(String, String)]) -> fmt::Result {
    options.iter().try_for_each(|(name, value)| write!(f, " {name} {}", quoted(value)))
}
