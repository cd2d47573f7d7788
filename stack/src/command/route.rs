//! `ip route` (`ip/iproute.c`).

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::ip::ip;
use super::lex::{Parsed, Prefix, Word, Words, abbreviated, everything, matches, number, quoted};
use crate::addr::Family;
use crate::route::{RouteOp, SpecKind};

/// `ip route COMMAND`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteCommand {
    /// `add`, `append`, `prepend`, `replace`, `change`.
    Change(RouteOp, RouteArgs),
    /// `delete`.
    Delete(RouteArgs),
    /// `flush`.
    Flush(RouteSelect),
    /// `show`.
    Show(RouteSelect),
    /// `get`.
    Get(RouteGet),
}

/// A route as it is written: devices by name, what was not written is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteArgs {
    /// IP version.
    pub family: Family,
    /// Destination.
    pub dst: IpNet,
    /// Type.
    pub kind: SpecKind,
    /// Next hops.
    pub nexthops: Vec<NexthopArgs>,
    /// `src`.
    pub src: Option<IpAddr>,
    /// `metric`.
    pub metric: Option<u32>,
    /// `table`.
    pub table: Option<u32>,
    /// `scope`.
    pub scope: Option<u8>,
    /// `proto`.
    pub protocol: Option<u8>,
    /// `tos`.
    pub tos: u8,
    /// `mtu`.
    pub mtu: Option<u32>,
    /// `mtu lock`.
    pub mtu_lock: bool,
    /// `pref`.
    pub pref: u8,
}

/// One next hop as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NexthopArgs {
    /// `via`.
    pub via: Option<IpAddr>,
    /// `dev`.
    pub dev: Option<String>,
    /// `weight`.
    pub weight: u32,
    /// `onlink`.
    pub onlink: bool,
}

/// Which routes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteSelect {
    /// IP version.
    pub family: Family,
    /// `table`; none: main.
    pub table: TableSelect,
    /// `dev`.
    pub dev: Option<String>,
    /// `proto`.
    pub protocol: Option<u8>,
    /// `exact` destination, or `root` (this prefix and those inside it).
    pub dst: Option<(Within, IpNet)>,
}

/// Which tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TableSelect {
    /// `main`, when nothing is said.
    #[default]
    Main,
    /// `table N`.
    One(u32),
    /// `table all`.
    All,
}

/// How a destination is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Within {
    /// It alone.
    Exact,
    /// It and those inside it.
    Root,
}

/// A question to the FIB.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteGet {
    /// Destination.
    pub dst: IpAddr,
    /// `from`.
    pub from: Option<IpAddr>,
    /// `iif`.
    pub iif: Option<String>,
    /// `oif`.
    pub oif: Option<String>,
    /// `mark`.
    pub mark: u32,
    /// `tos`.
    pub tos: u8,
    /// `uid`.
    pub uid: Option<u32>,
    /// `ipproto`.
    pub ipproto: Option<u8>,
    /// `sport`.
    pub sport: Option<u16>,
    /// `dport`.
    pub dport: Option<u16>,
}

/// `/etc/iproute2/rt_scopes`.
pub(super) const SCOPES: [(&str, u8); 5] = [("global", 0), ("nowhere", 255), ("host", 254), ("link", 253), ("site", 200)];
/// `/etc/iproute2/rt_tables`.
const TABLES: [(&str, u32); 4] = [("main", 254), ("local", 255), ("default", 253), ("unspec", 0)];
/// `/etc/iproute2/rt_protos`.
const PROTOCOLS: [(&str, u8); 17] = [
    ("unspec", 0),
    ("redirect", 1),
    ("kernel", 2),
    ("boot", 3),
    ("static", 4),
    ("gated", 8),
    ("ra", 9),
    ("mrt", 10),
    ("zebra", 11),
    ("bird", 12),
    ("dnrouted", 13),
    ("xorp", 14),
    ("ntk", 15),
    ("dhcp", 16),
    ("keepalived", 18),
    ("bgp", 186),
    ("ospf", 188),
];
/// `rtnl_rtntype_a2n`.
pub(super) const KINDS: [(&str, SpecKind); 9] = [
    ("unicast", SpecKind::Unicast),
    ("local", SpecKind::Local),
    ("broadcast", SpecKind::Broadcast),
    ("anycast", SpecKind::Anycast),
    ("multicast", SpecKind::Multicast),
    ("blackhole", SpecKind::Blackhole),
    ("unreachable", SpecKind::Unreachable),
    ("prohibit", SpecKind::Prohibit),
    ("throw", SpecKind::Throw),
];
/// `pref` of IPv6 (RFC 4191).
const PREFERENCES: [(&str, u8); 3] = [("medium", 0), ("high", 1), ("low", 3)];
const IP_PROTOCOLS: [(&str, u8); 12] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("sctp", 132),
    ("udplite", 136),
];

const VERBS: [(&str, Verb); 13] = [
    ("list", Verb::Show),
    ("show", Verb::Show),
    ("lst", Verb::Show),
    ("get", Verb::Get),
    ("add", Verb::Change(RouteOp::Add)),
    ("change", Verb::Change(RouteOp::Change)),
    ("chg", Verb::Change(RouteOp::Change)),
    ("replace", Verb::Change(RouteOp::Replace)),
    ("prepend", Verb::Change(RouteOp::Prepend)),
    ("append", Verb::Change(RouteOp::Append)),
    ("delete", Verb::Delete),
    ("flush", Verb::Flush),
    ("save", Verb::Other),
];

#[derive(Clone, Copy)]
enum Verb {
    Show,
    Get,
    Change(RouteOp),
    Delete,
    Flush,
    Other,
}

pub(super) fn parse(args: &mut Words<'_>, family: Option<Family>) -> Parsed<RouteCommand> {
    let Some(word) = args.next() else { return select(args, family).map(RouteCommand::Show) };
    match abbreviated(&word.text, &VERBS) {
        Some(Verb::Show) => select(args, family).map(RouteCommand::Show),
        Some(Verb::Get) => get(args, family).map(RouteCommand::Get),
        Some(Verb::Change(op)) => route(args, family).map(|route| RouteCommand::Change(op, route)),
        Some(Verb::Delete) => route(args, family).map(RouteCommand::Delete),
        Some(Verb::Flush) if args.peek().is_none() => {
            Err(args.missing("\"ip route flush\" requires arguments.", "say which: `ip route flush table 100`"))
        }
        Some(Verb::Flush) => select(args, family).map(RouteCommand::Flush),
        Some(Verb::Other) => Err(word.unsupported("this command of ip route")),
        None => {
            let message = format!("Command \"{}\" is unknown, try \"ip route help\".", word.text);
            Err(word.mistake(message, "the commands are add, append, prepend, replace, change, delete, flush, show, get"))
        }
    }
}

/// The parts of a route while its family is still open.
#[derive(Default)]
struct Draft {
    kind: Option<SpecKind>,
    dst: Option<Prefix>,
    via: Option<IpAddr>,
    dev: Option<String>,
    onlink: bool,
    nexthops: Vec<NexthopArgs>,
    src: Option<IpAddr>,
    metric: Option<u32>,
    table: Option<u32>,
    scope: Option<u8>,
    protocol: Option<u8>,
    tos: u8,
    mtu: Option<u32>,
    mtu_lock: bool,
    pref: u8,
}

fn route(args: &mut Words<'_>, asked: Option<Family>) -> Parsed<RouteArgs> {
    let mut draft = Draft::default();
    let mut family = asked;
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "src" => {
                let source = args.address(family)?;
                family = family.or(Some(Family::of(source)));
                draft.src = Some(source);
            }
            "via" => {
                let gateway = via(args, family)?;
                family = family.or(Some(Family::of(gateway)));
                draft.via = Some(gateway);
            }
            text if text == "tos" || matches(text, "dsfield") => {
                draft.tos = args.number(255, "\"tos\" value is invalid")? as u8;
            }
            text if matches(text, "metric") || matches(text, "priority") || text == "preference" => {
                draft.metric = Some(args.number(u64::from(u32::MAX), "\"metric\" value is invalid")? as u32);
            }
            "scope" => draft.scope = Some(named(args, &SCOPES, u64::from(u8::MAX), "invalid \"scope\" value")? as u8),
            "mtu" => {
                draft.mtu_lock = args.take("lock");
                draft.mtu = Some(args.number(u64::from(u32::MAX), "\"mtu\" value is invalid")? as u32);
            }
            "onlink" => draft.onlink = true,
            text if matches(text, "table") => {
                draft.table = Some(named(args, &TABLES, u64::from(u32::MAX), "\"table\" value is invalid")? as u32);
            }
            text if matches(text, "protocol") => {
                draft.protocol = Some(named(args, &PROTOCOLS, u64::from(u8::MAX), "\"protocol\" value is invalid")? as u8);
            }
            "dev" | "oif" => draft.dev = Some(args.device("dev")?),
            "pref" => draft.pref = named(args, &PREFERENCES, 3, "\"pref\" value is invalid")? as u8,
            "nexthop" => nexthops(args, &mut family, &mut draft.nexthops)?,
            text if OTHER_WORDS.contains(&text) => return Err(word.unsupported("this attribute of a route")),
            text => {
                let word = if text == "to" { args.need()? } else { word };
                let kind = KINDS.iter().find(|(name, _)| *name == word.text).map(|(_, kind)| *kind);
                let word = if let Some(kind) = kind {
                    draft.kind = Some(kind);
                    args.need()?
                } else {
                    word
                };
                if draft.dst.is_some() {
                    return Err(word.garbage("to"));
                }
                let prefix = word.prefix(family)?;
                family = family.or(prefix.family());
                draft.dst = Some(prefix);
            }
        }
    }
    finish(args, draft, family)
}

fn finish(args: &Words<'_>, draft: Draft, family: Option<Family>) -> Parsed<RouteArgs> {
    let Some(prefix) = draft.dst else {
        return Err(args.missing("Command line is not complete. Try option \"help\"", "say which destination: PREFIX or `default`"));
    };
    let family = family.unwrap_or(Family::V4);
    let mut nexthops = draft.nexthops;
    if draft.via.is_some() || draft.dev.is_some() {
        if !nexthops.is_empty() {
            return Err(args.missing("a route has `via` and `dev`, or `nexthop`s, not both", "write every next hop as `nexthop`"));
        }
        nexthops.push(NexthopArgs { via: draft.via, dev: draft.dev, weight: 1, onlink: draft.onlink });
    }
    Ok(RouteArgs {
        family,
        dst: prefix.net(family),
        kind: draft.kind.unwrap_or(SpecKind::Unicast),
        nexthops,
        src: draft.src,
        metric: draft.metric,
        table: draft.table,
        scope: draft.scope,
        protocol: draft.protocol,
        tos: draft.tos,
        mtu: draft.mtu,
        mtu_lock: draft.mtu_lock,
        pref: draft.pref,
    })
}

/// `via [inet|inet6] ADDRESS`.
fn via(args: &mut Words<'_>, family: Option<Family>) -> Parsed<IpAddr> {
    if args.take("inet6") {
        return args.address(Some(Family::V6));
    }
    if args.take("inet") {
        return args.address(Some(Family::V4));
    }
    args.address(family)
}

/// `parse_nexthops`.
fn nexthops(args: &mut Words<'_>, family: &mut Option<Family>, hops: &mut Vec<NexthopArgs>) -> Parsed<()> {
    loop {
        let mut hop = NexthopArgs { via: None, dev: None, weight: 1, onlink: false };
        while let Some(word) = args.peek().filter(|word| word.text != "nexthop") {
            args.next();
            match word.text.as_str() {
                "via" => {
                    let gateway = via(args, *family)?;
                    *family = family.or(Some(Family::of(gateway)));
                    hop.via = Some(gateway);
                }
                "dev" => hop.dev = Some(args.device("dev")?),
                "weight" => {
                    let value = args.need()?;
                    let weight = number(&value.text).filter(|weight| (1..=256).contains(weight));
                    hop.weight = weight.ok_or_else(|| value.wrong("\"weight\" is invalid"))? as u32;
                }
                "onlink" => hop.onlink = true,
                _ => return Err(word.mistake(format!("Error: unexpected end of line or \"{}\" is a garbage.", word.text), "")),
            }
        }
        hops.push(hop);
        if !args.take("nexthop") {
            return Ok(());
        }
    }
}

/// Attributes that iproute2 takes.
const OTHER_WORDS: [&str; 26] = [
    "as",
    "from",
    "expires",
    "advmss",
    "hoplimit",
    "reordering",
    "rtt",
    "rto_min",
    "window",
    "cwnd",
    "initcwnd",
    "initrwnd",
    "features",
    "quickack",
    "congctl",
    "rttvar",
    "ssthresh",
    "realms",
    "encap",
    "ttl-propagate",
    "fastopen_no_cookie",
    "nhid",
    "pervasive",
    "vrf",
    "equalize",
    "offload",
];

/// A name of a list, or a number.
fn named<T: Copy + Into<u64>>(args: &mut Words<'_>, names: &[(&str, T)], max: u64, wrong: &str) -> Parsed<u64> {
    let word = args.need()?;
    named_word(word, names, max, wrong)
}

fn named_word<T: Copy + Into<u64>>(word: &Word, names: &[(&str, T)], max: u64, wrong: &str) -> Parsed<u64> {
    let named = names.iter().find(|(name, _)| *name == word.text).map(|(_, value)| (*value).into());
    named.or_else(|| number(&word.text)).filter(|&value| value <= max).ok_or_else(|| word.wrong(wrong))
}

/// A table, by name or number.
pub(super) fn table(args: &mut Words<'_>, wrong: &str) -> Parsed<u32> {
    named(args, &TABLES, u64::from(u32::MAX), wrong).map(|table| table as u32)
}

/// A transport protocol, by name or number.
pub(super) fn ip_protocol(args: &mut Words<'_>) -> Parsed<u8> {
    named(args, &IP_PROTOCOLS, u64::from(u8::MAX), "Invalid \"ipproto\" value\n").map(|proto| proto as u8)
}

fn select(args: &mut Words<'_>, family: Option<Family>) -> Parsed<RouteSelect> {
    let mut select =
        RouteSelect { family: family.unwrap_or(Family::V4), table: TableSelect::Main, dev: None, protocol: None, dst: None };
    while let Some(word) = args.next() {
        match word.text.as_str() {
            text if matches(text, "table") => {
                let value = args.need()?;
                select.table = match value.text.as_str() {
                    "all" => TableSelect::All,
                    "cache" => return Err(value.unsupported("the route cache")),
                    _ => TableSelect::One(named_word(value, &TABLES, u64::from(u32::MAX), "table id value is invalid")? as u32),
                };
            }
            "dev" | "oif" | "iif" => select.dev = Some(args.device("dev")?),
            text if matches(text, "protocol") => {
                select.protocol = Some(named(args, &PROTOCOLS, u64::from(u8::MAX), "\"protocol\" is invalid")? as u8);
            }
            "cached" | "cloned" | "via" | "src" | "scope" | "type" | "tos" | "match" | "metric" | "from" | "vrf" | "realms" => {
                return Err(word.unsupported("this choice of routes"));
            }
            text => {
                let (within, value) = match text {
                    "root" => (Within::Root, args.need()?),
                    "exact" | "to" => (Within::Exact, args.need()?),
                    _ => (Within::Exact, word),
                };
                if select.dst.is_some() {
                    return Err(value.garbage("to"));
                }
                let prefix = value.prefix(family)?;
                select.family = prefix.family().unwrap_or(select.family);
                select.dst = Some((within, prefix.net(select.family)));
            }
        }
    }
    Ok(select)
}

fn get(args: &mut Words<'_>, family: Option<Family>) -> Parsed<RouteGet> {
    let mut get = RouteGet {
        dst: IpAddr::from([0; 4]),
        from: None,
        iif: None,
        oif: None,
        mark: 0,
        tos: 0,
        uid: None,
        ipproto: None,
        sport: None,
        dport: None,
    };
    let mut dst = None;
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "from" => get.from = Some(args.address(dst.map(Family::of).or(family))?),
            "iif" => get.iif = Some(args.device("iif")?),
            "oif" | "dev" => get.oif = Some(args.device("oif")?),
            "mark" => get.mark = args.number(u64::from(u32::MAX), "Invalid \"mark\" value\n")? as u32,
            "tos" | "dsfield" => get.tos = args.number(255, "TOS value is invalid\n")? as u8,
            "uid" => get.uid = Some(args.number(u64::from(u32::MAX), "invalid UID\n")? as u32),
            "ipproto" => get.ipproto = Some(ip_protocol(args)?),
            "sport" => get.sport = Some(args.number(u64::from(u16::MAX), "invalid sport\n")? as u16),
            "dport" => get.dport = Some(args.number(u64::from(u16::MAX), "invalid dport\n")? as u16),
            "fibmatch" | "vrf" | "notify" | "connected" => return Err(word.unsupported("this option of ip route get")),
            text => {
                let word = if text == "to" { args.need()? } else { word };
                if dst.is_some() {
                    return Err(word.garbage("to"));
                }
                dst = Some(word.address(family)?);
            }
        }
    }
    get.dst = dst.ok_or_else(|| args.missing("need at least a destination address", "write the address"))?;
    Ok(get)
}

/// A scope's name, or number.
pub(super) fn scope_name(scope: u8) -> String {
    name_of(&SCOPES, scope)
}

/// A table's name, or number.
pub(super) fn table_name(table: u32) -> String {
    name_of(&TABLES[..3], table)
}

/// The name of who installed a route, or its number.
pub(super) fn protocol_name(protocol: u8) -> String {
    name_of(&PROTOCOLS, protocol)
}

/// A transport protocol's name, or number.
pub(super) fn ip_protocol_name(proto: u8) -> String {
    name_of(&IP_PROTOCOLS, proto)
}

/// The word of a type.
pub(super) fn kind_name(kind: SpecKind) -> &'static str {
    KINDS.iter().find(|(_, known)| *known == kind).map_or("unicast", |(name, _)| name)
}

/// The word of an IPv6 preference.
pub(super) fn preference_name(pref: u8) -> String {
    name_of(&PREFERENCES, pref)
}

fn name_of<T: Copy + PartialEq + fmt::Display>(names: &[(&str, T)], value: T) -> String {
    names.iter().find(|(_, known)| *known == value).map_or_else(|| value.to_string(), |(name, _)| (*name).to_owned())
}

/// A destination as `ip` prints it.
pub(super) fn destination(net: &IpNet) -> String {
    if net.prefix_len() == 0 && *net == everything(Family::of(net.addr())) {
        "default".to_owned()
    } else if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

impl fmt::Display for RouteCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteCommand::Change(op, route) => {
                let verb = match op {
                    RouteOp::Add => "add",
                    RouteOp::Append => "append",
                    RouteOp::Prepend => "prepend",
                    RouteOp::Replace => "replace",
                    RouteOp::Change => "change",
                };
                write!(f, "{} route {verb} {route}", ip(named_family(route)))
            }
            RouteCommand::Delete(route) => write!(f, "{} route del {route}", ip(named_family(route))),
            RouteCommand::Flush(select) => write!(f, "{} route flush{select}", ip(v6(select.family))),
            RouteCommand::Show(select) => write!(f, "{} route show{select}", ip(v6(select.family))),
            RouteCommand::Get(get) => get.fmt(f),
        }
    }
}

/// `default via inet6 ...` alone would be an IPv6 route: then the family has to be said.
fn named_family(route: &RouteArgs) -> Option<Family> {
    let foreign = |hop: &NexthopArgs| hop.via.is_some_and(|via| via.is_ipv6());
    let ambiguous = route.family == Family::V4 && route.dst.prefix_len() == 0 && route.nexthops.iter().any(foreign);
    if ambiguous { Some(Family::V4) } else { v6(route.family) }
}

fn v6(family: Family) -> Option<Family> {
    (family == Family::V6).then_some(family)
}

impl fmt::Display for RouteArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != SpecKind::Unicast {
            write!(f, "{} ", kind_name(self.kind))?;
        }
        f.write_str(&destination(&self.dst))?;
        let single = match self.nexthops.as_slice() {
            [hop] if hop.weight == 1 && (hop.via.is_some() || hop.dev.is_some()) => Some(hop),
            _ => None,
        };
        if let Some(hop) = single {
            nexthop(f, self.family, hop)?;
        }
        if let Some(src) = self.src {
            write!(f, " src {src}")?;
        }
        if let Some(metric) = self.metric {
            write!(f, " metric {metric}")?;
        }
        if let Some(table) = self.table {
            write!(f, " table {}", table_name(table))?;
        }
        if let Some(scope) = self.scope {
            write!(f, " scope {}", scope_name(scope))?;
        }
        if let Some(protocol) = self.protocol {
            write!(f, " proto {}", protocol_name(protocol))?;
        }
        if self.tos != 0 {
            write!(f, " tos {:#x}", self.tos)?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {}{mtu}", if self.mtu_lock { "lock " } else { "" })?;
        }
        if self.pref != 0 {
            write!(f, " pref {}", preference_name(self.pref))?;
        }
        if single.is_none() {
            for hop in &self.nexthops {
                f.write_str(" nexthop")?;
                nexthop(f, self.family, hop)?;
                if hop.weight != 1 {
                    write!(f, " weight {}", hop.weight)?;
                }
            }
        }
        Ok(())
    }
}

fn nexthop(f: &mut fmt::Formatter<'_>, family: Family, hop: &NexthopArgs) -> fmt::Result {
    if let Some(via) = hop.via {
        let other = match Family::of(via) {
            same if same == family => "",
            Family::V4 => "inet ",
            Family::V6 => "inet6 ",
        };
        write!(f, " via {other}{via}")?;
    }
    if let Some(dev) = &hop.dev {
        write!(f, " dev {}", quoted(dev))?;
    }
    if hop.onlink { f.write_str(" onlink") } else { Ok(()) }
}

impl fmt::Display for RouteSelect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((within, dst)) = &self.dst {
            let word = if *within == Within::Root { "root" } else { "exact" };
            let dst = if dst.prefix_len() == 0 { dst.to_string() } else { destination(dst) };
            write!(f, " {word} {dst}")?;
        }
        match self.table {
            TableSelect::Main => {}
            TableSelect::One(table) => write!(f, " table {}", table_name(table))?,
            TableSelect::All => f.write_str(" table all")?,
        }
        if let Some(dev) = &self.dev {
            write!(f, " dev {}", quoted(dev))?;
        }
        if let Some(protocol) = self.protocol {
            write!(f, " proto {}", protocol_name(protocol))?;
        }
        Ok(())
    }
}

impl fmt::Display for RouteGet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ip route get {}", self.dst)?;
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        if let Some(iif) = &self.iif {
            write!(f, " iif {}", quoted(iif))?;
        }
        if let Some(oif) = &self.oif {
            write!(f, " oif {}", quoted(oif))?;
        }
        if self.mark != 0 {
            write!(f, " mark {:#x}", self.mark)?;
        }
        if self.tos != 0 {
            write!(f, " tos {:#x}", self.tos)?;
        }
        if let Some(uid) = self.uid {
            write!(f, " uid {uid}")?;
        }
        if let Some(proto) = self.ipproto {
            write!(f, " ipproto {}", ip_protocol_name(proto))?;
        }
        if let Some(port) = self.sport {
            write!(f, " sport {port}")?;
        }
        if let Some(port) = self.dport {
            write!(f, " dport {port}")?;
        }
        Ok(())
    }
}
