//! One rule out of words: the options of iptables itself, and the handing of all others to matches and target.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::args::{Args, parse_number};
use super::lex::{Parsed, Problem, Word};
use super::names;
use crate::addr::Family;
use crate::netfilter::matches::{self, Match};
use crate::netfilter::ruleset::{Base, IfMatch, Net, unaligned};
use crate::netfilter::targets::{self, Target};

/// At most so many addresses in `-s` and `-d` lists multiply a rule.
const EXPANSION_LIMIT: usize = 4096;
/// `IFNAMSIZ - 1`.
const IFNAME_LEN: usize = 15;
/// `XT_EXTENSION_MAXNAMELEN - 1`.
const TARGET_NAME_LEN: usize = 28;

/// What `-j` and `-g` name.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Aim {
    /// An extension, a verdict, or nothing.
    Target(Target),
    /// A chain of the table.
    Chain { name: String, goto: bool },
}

/// A rule as it was written; one for each pair of addresses in its lists.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Spec {
    pub(crate) base: Base,
    pub(crate) sources: Vec<Net>,
    pub(crate) destinations: Vec<Net>,
    pub(crate) matches: Vec<Match>,
    pub(crate) aim: Aim,
    /// Word of the target's name, or the first word.
    pub(crate) target_word: usize,
    /// Words of the matches' names (that of the option that loaded an implicit one).
    pub(crate) match_words: Vec<usize>,
    /// Where the interfaces stand.
    pub(crate) iin_word: Option<usize>,
    pub(crate) out_word: Option<usize>,
    pub(crate) counters: Option<(u64, u64)>,
}

impl Spec {
    /// The rules that the address lists stand for, in the order in which iptables adds them.
    pub(crate) fn bases(&self) -> impl Iterator<Item = Base> + '_ {
        self.sources.iter().flat_map(move |&src| self.destinations.iter().map(move |&dst| Base { src, dst, ..self.base.clone() }))
    }
}

/// The number of a protocol, by name or number.
pub(crate) fn protocol(text: &str) -> Option<u8> {
    let folded = text.to_ascii_lowercase();
    names::protocol(&folded).or_else(|| parse_number(text).and_then(|n| u8::try_from(n).ok()))
}

/// `addr[/mask][,...]`.
pub(crate) fn networks(args: &Args<'_, '_>, text: &str) -> Parsed<Vec<Net>> {
    text.split(',').map(|part| network(args, part.trim())).collect()
}

fn network(args: &Args<'_, '_>, text: &str) -> Parsed<Net> {
    let (host, mask) = text.split_once('/').map_or((text, None), |(host, mask)| (host, Some(mask)));
    let bits = args.family.bits();
    let mask = match mask {
        None => u128::MAX << (128 - u32::from(bits)),
        Some(mask) => parse_mask(mask, args.family).ok_or_else(|| args.bad(format!("invalid mask `{mask}' specified")))?,
    };
    let addr = match args.family {
        Family::V4 => short_v4(host).map(|v4| u128::from(u32::from(v4)) << 96),
        Family::V6 => host.parse::<Ipv6Addr>().ok().map(u128::from),
    };
    let Some(addr) = addr else {
        let problem = args.bad(format!("host/network `{text}' not found", text = host));
        return Err(problem.help(match (host.parse::<Ipv4Addr>().is_ok(), host.parse::<Ipv6Addr>().is_ok()) {
            (true, _) => "an IPv4 address belongs into iptables",
            (_, true) => "an IPv6 address belongs into ip6tables",
            _ => "write a numeric address: names are not looked up",
        }));
    };
    Ok(Net { addr: addr & mask, mask, invert: false })
}

/// `10`, `10.1` and so on stand for networks, as in `inet_network`.
fn short_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        match parts.next() {
            Some(part) => {
                *octet = u8::try_from(part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u16>().ok())??).ok()?
            }
            None => break,
        }
    }
    if parts.next().is_some() || text.is_empty() { None } else { Some(Ipv4Addr::from(octets)) }
}

/// A length or a dotted mask, left-aligned.
fn parse_mask(text: &str, family: Family) -> Option<u128> {
    match family {
        Family::V4 if text.contains('.') => text.parse::<Ipv4Addr>().ok().map(|v4| u128::from(u32::from(v4)) << 96),
        Family::V6 if text.contains(':') => text.parse::<Ipv6Addr>().ok().map(u128::from),
        _ => {
            let len = parse_number(text).filter(|&len| len <= u64::from(family.bits()))? as u32;
            Some(u128::MAX.checked_shl(128 - len).unwrap_or(0))
        }
    }
}

/// `addr/len`; with `bare`, a host without its length.
pub(crate) fn print_net(out: &mut String, net: Net, family: Family, bare: bool) {
    let _ = write!(out, "{}", unaligned(net.addr, family));
    match net.prefix_len() {
        Some(len) if bare && len == family.bits() => {}
        Some(len) => {
            let _ = write!(out, "/{len}");
        }
        None => {
            let _ = write!(out, "/{}", unaligned(net.mask, family));
        }
    }
}

/// The name of a device; `+` at its end stands for any rest.
pub(crate) fn interface(args: &mut Args<'_, '_>) -> Parsed<IfMatch> {
    let invert = args.inverted();
    let text = args.value()?;
    if text.len() > IFNAME_LEN {
        return Err(args.bad(format!("interface name `{text}' must be shorter than IFNAMSIZ ({IFNAME_LEN})")));
    }
    let prefix = text.ends_with('+');
    Ok(IfMatch { name: text.strip_suffix('+').unwrap_or(text).into(), prefix, invert })
}

/// ` [! ]-i eth0`.
pub(crate) fn print_interface(out: &mut String, option: &str, iface: &IfMatch) {
    let _ = write!(out, "{} {option} {}{}", if iface.invert { " !" } else { "" }, iface.name, if iface.prefix { "+" } else { "" });
}

/// Reads a rule from `words[from..]`.
pub(crate) fn rule(words: &[Word<'_>], from: usize, family: Family) -> Parsed<Spec> {
    let mut reader = Reader {
        args: Args { words, at: from, option: from, invert: false, family, proto: 0 },
        spec: Spec {
            base: Base::default(),
            sources: Vec::new(),
            destinations: Vec::new(),
            matches: Vec::new(),
            aim: Aim::Target(Target::None),
            target_word: from.min(words.len().saturating_sub(1)),
            match_words: Vec::new(),
            iin_word: None,
            out_word: None,
            counters: None,
        },
        aimed: false,
        proto_loaded: false,
    };
    while reader.args.at < words.len() {
        reader.option()?;
    }
    reader.finish()
}

struct Reader<'w, 'a> {
    args: Args<'w, 'a>,
    spec: Spec,
    aimed: bool,
    /// Whether the match of the protocol was loaded because an option asked for it.
    proto_loaded: bool,
}

impl Reader<'_, '_> {
    fn option(&mut self) -> Parsed<()> {
        let words = self.args.words;
        let first = &words[self.args.at];
        if first.text == "!" && !first.quoted {
            self.args.at += 1;
            self.args.invert = true;
            match words.get(self.args.at) {
                None => return Err(first.problem("nothing appropriate following !")),
                Some(next) if next.text == "!" => return Err(next.problem("multiple consecutive ! not allowed")),
                Some(_) => {}
            }
        }
        self.args.option = self.args.at;
        let word = &words[self.args.at];
        self.args.at += 1;
        if !word.text.starts_with('-') || word.text.len() < 2 {
            return Err(word.problem(format!("Bad argument `{}'", word.text)));
        }
        self.dispatch(&word.text)?;
        if self.args.invert {
            let message = if word.text.starts_with("--") {
                format!("option \"{}\" cannot be inverted.", word.text)
            } else {
                format!("cannot have ! before {}", word.text)
            };
            return Err(word.problem(message));
        }
        Ok(())
    }

    fn dispatch(&mut self, option: &str) -> Parsed<()> {
        match option {
            "-s" | "--source" | "--src" => {
                let nets = self.nets("-s", self.spec.sources.is_empty())?;
                self.spec.sources = nets;
            }
            "-d" | "--destination" | "--dst" => {
                let nets = self.nets("-d", self.spec.destinations.is_empty())?;
                self.spec.destinations = nets;
            }
            "-i" | "--in-interface" => {
                self.once(self.spec.iin_word.is_none(), "-i")?;
                self.spec.iin_word = Some(self.args.option);
                self.spec.base.iin = Some(interface(&mut self.args)?).filter(|iface| !is_any(iface));
            }
            "-o" | "--out-interface" => {
                self.once(self.spec.out_word.is_none(), "-o")?;
                self.spec.out_word = Some(self.args.option);
                self.spec.base.out = Some(interface(&mut self.args)?).filter(|iface| !is_any(iface));
            }
            "-p" | "--protocol" | "--proto" => self.proto()?,
            "-f" | "--fragments" | "--fragment" => {
                if self.args.family == Family::V6 {
                    return Err(self.args.bad_option("unknown option \"-f\""));
                }
                self.spec.base.fragment = Some(!self.args.inverted());
            }
            "-m" | "--match" => self.load_match()?,
            "-j" | "--jump" | "-g" | "--goto" => self.aim(option.starts_with("-g") || option == "--goto")?,
            "-c" | "--set-counters" => {
                let packets = self.counter()?;
                let bytes = self.counter()?;
                self.spec.counters = Some((packets, bytes));
            }
            "-4" | "--ipv4" | "-6" | "--ipv6" => {
                let other = if self.args.family == Family::V4 { "-6" } else { "-4" };
                if option.starts_with(other) || option.ends_with(&other[1..]) {
                    return Err(self.args.words[self.args.option].unsupported(format!("{option} in a dump of the other family")));
                }
            }
            "-w" | "--wait" | "-W" | "--wait-interval" => {
                let _ = self.args.optional();
            }
            _ => self.extension(option)?,
        }
        Ok(())
    }

    fn once(&self, first: bool, option: &str) -> Parsed<()> {
        if first { Ok(()) } else { Err(self.args.bad_option(format!("multiple {option} flags not allowed"))) }
    }

    fn nets(&mut self, option: &str, first: bool) -> Parsed<Vec<Net>> {
        self.once(first, option)?;
        let invert = self.args.inverted();
        let text = self.args.value()?;
        if let ("!", Some(next)) = (text, self.args.words.get(self.args.at)) {
            let problem = next.problem(format!("Bad argument `{}'", next.text));
            return Err(problem.help(format!("put the ! before {option}")));
        }
        let mut nets = networks(&self.args, text)?;
        if invert && nets.len() > 1 {
            return Err(self.args.bad("! not allowed with multiple source or destination IP addresses"));
        }
        nets.iter_mut().for_each(|net| net.invert = invert);
        Ok(nets)
    }

    fn counter(&mut self) -> Parsed<u64> {
        let text = self.args.value()?;
        text.parse().map_err(|_| self.args.bad("-c packet counter not numeric"))
    }

    fn proto(&mut self) -> Parsed<()> {
        self.once(self.spec.base.proto == 0, "-p")?;
        let not = self.args.inverted();
        let text = self.args.value()?;
        let Some(number) = protocol(text) else {
            return Err(self.args.bad(format!("unknown protocol \"{text}\" specified")));
        };
        if number == 0 && not {
            return Err(self.args.bad("rule would never match protocol"));
        }
        self.spec.base.proto = number;
        self.spec.base.not_proto = not;
        self.args.proto = if not { 0 } else { number };
        Ok(())
    }

    fn load_match(&mut self) -> Parsed<()> {
        let name = self.args.value()?;
        let word = &self.args.words[self.args.at - 1];
        let known = Match::load(name).filter(|_| match name {
            "icmp" | "ttl" => self.args.family == Family::V4,
            "icmp6" | "icmpv6" | "hl" => self.args.family == Family::V6,
            _ => true,
        });
        let Some(known) = known else {
            if matches::UNSUPPORTED.contains(&name) {
                return Err(word.unsupported(format!("pktlab does not model match {name}")));
            }
            return Err(word.problem(format!("Couldn't load match `{name}':No such file or directory")));
        };
        self.spec.matches.push(known);
        self.spec.match_words.push(self.args.at - 1);
        Ok(())
    }

    fn aim(&mut self, goto: bool) -> Parsed<()> {
        self.once(!self.aimed, "-j")?;
        let name = self.args.value()?;
        let word = &self.args.words[self.args.at - 1];
        if name.len() > TARGET_NAME_LEN {
            return Err(word.problem(format!("Invalid target name `{name}' ({TARGET_NAME_LEN} chars max)")));
        }
        if name.starts_with('-') || name.is_empty() {
            return Err(word.problem("Invalid target name (may not start with '-')"));
        }
        self.aimed = true;
        self.spec.target_word = self.args.at - 1;
        self.spec.aim = match Target::load(name, self.args.family).filter(|_| !goto) {
            Some(target) => Aim::Target(target),
            None if targets::UNSUPPORTED.contains(&name) => {
                return Err(word.unsupported(format!("pktlab does not model target {name}")));
            }
            None => Aim::Chain { name: name.to_owned(), goto },
        };
        Ok(())
    }

    /// An option of a match or of the target: the last one loaded that knows it.
    fn extension(&mut self, option: &str) -> Parsed<()> {
        let from = self.args.at;
        if let Aim::Target(target) = &mut self.spec.aim
            && target.option(option, &mut self.args)?
        {
            return Ok(());
        }
        for m in self.spec.matches.iter_mut().rev() {
            self.args.at = from;
            if m.option(option, &mut self.args)? {
                return Ok(());
            }
        }
        // `-p tcp --dport 80`: the protocol's own match, if it was not named.
        self.args.at = from;
        if !self.proto_loaded && option.starts_with("--") {
            let name = match self.args.proto {
                1 if self.args.family == Family::V4 => "icmp",
                58 if self.args.family == Family::V6 => "icmp6",
                6 => "tcp",
                17 => "udp",
                132 => "sctp",
                _ => "",
            };
            if let Some(mut m) = Match::load(name)
                && m.option(option, &mut self.args)?
            {
                self.proto_loaded = true;
                self.spec.matches.push(m);
                self.spec.match_words.push(self.args.option);
                return Ok(());
            }
        }
        let problem = self.args.bad_option(format!("unknown option \"{option}\""));
        Err(match (option, self.args.proto) {
            ("--dport" | "--sport", 0) => problem.help("ports belong to a protocol: put -p tcp or -p udp before"),
            _ => problem,
        })
    }

    fn finish(mut self) -> Parsed<Spec> {
        let family = self.args.family;
        let words = self.args.words;
        for (m, &at) in self.spec.matches.iter().zip(&self.spec.match_words) {
            m.finish(&self.spec.base, family).map_err(|message| words[at].problem(message))?;
        }
        if let Aim::Target(target) = &self.spec.aim {
            target.finish(&self.spec.base, family).map_err(|message| words[self.spec.target_word].problem(message))?;
        }
        for side in [&mut self.spec.sources, &mut self.spec.destinations] {
            if side.is_empty() {
                side.push(Net::default());
            }
        }
        if self.spec.sources.len().saturating_mul(self.spec.destinations.len()) > EXPANSION_LIMIT {
            let word = &words[self.spec.target_word];
            return Err(word.unsupported(format!("more than {EXPANSION_LIMIT} rules out of one line")));
        }
        Ok(self.spec)
    }
}

/// `-i +`.
fn is_any(iface: &IfMatch) -> bool {
    iface.prefix && iface.name.is_empty() && !iface.invert
}

/// A problem about a word that is not there: points at the end of the line.
pub(crate) fn at_end(words: &[Word<'_>], message: impl Into<String>) -> Box<Problem> {
    let at = words.last().map_or(0, |word| word.at + word.len);
    Box::new(Problem { message: message.into(), at, len: 1, help: String::new(), unsupported: false })
}
