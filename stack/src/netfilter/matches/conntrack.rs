//! `-m conntrack` (`net/netfilter/xt_conntrack.c`, revision 3).

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Extension, Look, Test, print_range};
use crate::addr::Family;
use crate::conntrack::{CtInfo, CtView, Tuple};
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::iptables::parse;
use crate::netfilter::ruleset::{Base, Net, aligned};
use crate::skb::Ct;

const INVALID: u16 = 1;
const NEW: u16 = 1 << 1;
const RELATED: u16 = 1 << 2;
const ESTABLISHED: u16 = 1 << 3;
const UNTRACKED: u16 = 1 << 4;
const SNAT: u16 = 1 << 5;
const DNAT: u16 = 1 << 6;

/// In the order in which `-m conntrack` prints them.
const CTSTATES: &[(&str, u16)] = &[
    ("INVALID", INVALID),
    ("NEW", NEW),
    ("RELATED", RELATED),
    ("ESTABLISHED", ESTABLISHED),
    ("UNTRACKED", UNTRACKED),
    ("SNAT", SNAT),
    ("DNAT", DNAT),
];

/// In the order in which `-m state` prints them.
const STATES: &[(&str, u16)] =
    &[("INVALID", INVALID), ("NEW", NEW), ("RELATED", RELATED), ("ESTABLISHED", ESTABLISHED), ("UNTRACKED", UNTRACKED)];

const EXPECTED: u8 = 1;
const SEEN_REPLY: u8 = 1 << 1;
const ASSURED: u8 = 1 << 2;
const CONFIRMED: u8 = 1 << 3;

const STATUSES: &[(&str, u8)] =
    &[("EXPECTED", EXPECTED), ("SEEN_REPLY", SEEN_REPLY), ("ASSURED", ASSURED), ("CONFIRMED", CONFIRMED)];

pub(crate) fn parse_states(text: &str, nat: bool) -> Option<u16> {
    let known = if nat { CTSTATES } else { STATES };
    text.split(',')
        .try_fold(0, |bits, word| known.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, bit)| bits | bit))
}

pub(crate) fn print_states(bits: u16, out: &mut String, nat: bool) {
    let known = if nat { CTSTATES } else { STATES };
    print_list(known.iter().filter(|(_, bit)| bits & bit != 0).map(|(name, _)| *name), out);
}

fn print_list(names: impl Iterator<Item = &'static str>, out: &mut String) {
    for (i, name) in names.enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(name);
    }
}

/// The state of a packet, as a rule sees it.
pub(crate) fn state_bit(ct: Ct) -> u16 {
    match ct {
        Ct::Untracked => UNTRACKED,
        Ct::None | Ct::Invalid => INVALID,
        Ct::Entry(_, CtInfo::New) => NEW,
        Ct::Entry(_, CtInfo::Related | CtInfo::RelatedReply) => RELATED,
        Ct::Entry(_, CtInfo::Established | CtInfo::EstablishedReply) => ESTABLISHED,
    }
}

/// A value and whether it is inverted; none where it is not asked for.
type Asked<T> = Option<(T, bool)>;

#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Conntrack {
    state: Asked<u16>,
    proto: Asked<u8>,
    orig_src: Option<Net>,
    orig_dst: Option<Net>,
    repl_src: Option<Net>,
    repl_dst: Option<Net>,
    orig_sport: Asked<(u16, u16)>,
    orig_dport: Asked<(u16, u16)>,
    repl_sport: Asked<(u16, u16)>,
    repl_dport: Asked<(u16, u16)>,
    status: Asked<u8>,
    expire: Asked<(u32, u32)>,
    /// `ORIGINAL`.
    direction: Option<bool>,
}

fn net(args: &mut Args<'_, '_>) -> Parsed<Option<Net>> {
    let invert = args.inverted();
    let text = args.value()?;
    let nets = parse::networks(args, text)?;
    match nets[..] {
        [one] => Ok(Some(Net { invert, ..one })),
        _ => Err(args.bad("conntrack: multiple IP addresses not allowed")),
    }
}

fn ports(args: &mut Args<'_, '_>) -> Parsed<Asked<(u16, u16)>> {
    let not = args.inverted();
    let text = args.value()?;
    Ok(Some((args.ports(text, ':')?, not)))
}

impl Extension for Conntrack {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        match option {
            "--ctstate" => {
                let not = args.inverted();
                let text = args.value()?;
                let bits = parse_states(text, true).ok_or_else(|| args.bad(format!("Bad ctstate \"{text}\"")))?;
                self.state = Some((bits, not));
            }
            "--ctstatus" => {
                let not = args.inverted();
                let text = args.value()?;
                let mut bits = 0;
                for word in text.split(',').filter(|word| !word.eq_ignore_ascii_case("NONE")) {
                    let found = STATUSES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
                    bits |= found.ok_or_else(|| args.bad(format!("Bad ctstatus \"{text}\"")))?.1;
                }
                self.status = Some((bits, not));
            }
            "--ctproto" => {
                let not = args.inverted();
                let text = args.value()?;
                let number = parse::protocol(text).ok_or_else(|| args.bad(format!("unknown protocol \"{text}\" specified")))?;
                self.proto = Some((number, not));
            }
            "--ctdir" => {
                if args.inverted() {
                    return Err(args.bad_option("conntrack: option \"--ctdir\" cannot be inverted."));
                }
                self.direction = Some(match args.value()? {
                    text if text.eq_ignore_ascii_case("ORIGINAL") => true,
                    text if text.eq_ignore_ascii_case("REPLY") => false,
                    text => return Err(args.bad(format!("Bad ctdir \"{text}\"")).help("write ORIGINAL or REPLY")),
                });
            }
            "--ctorigsrc" => self.orig_src = net(args)?,
            "--ctorigdst" => self.orig_dst = net(args)?,
            "--ctreplsrc" => self.repl_src = net(args)?,
            "--ctrepldst" => self.repl_dst = net(args)?,
            "--ctorigsrcport" => self.orig_sport = ports(args)?,
            "--ctorigdstport" => self.orig_dport = ports(args)?,
            "--ctreplsrcport" => self.repl_sport = ports(args)?,
            "--ctrepldstport" => self.repl_dport = ports(args)?,
            "--ctexpire" => {
                let not = args.inverted();
                let (lo, hi) = args.range("conntrack", u64::from(u32::MAX))?;
                self.expire = Some(((lo as u32, hi as u32), not));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if *self == Conntrack::default() { Err("conntrack: At least one option is required".into()) } else { Ok(()) }
    }

    fn print(&self, out: &mut String, family: Family) {
        let option = |out: &mut String, name: &str, not: bool| {
            out.push_str(if not { " ! --" } else { " --" });
            out.push_str(name);
            out.push(' ');
        };
        out.push_str(" -m conntrack");
        if let Some((bits, not)) = self.state {
            option(out, "ctstate", not);
            print_states(bits, out, true);
        }
        if let Some((number, not)) = self.proto {
            option(out, "ctproto", not);
            let _ = write!(out, "{number}");
        }
        for (name, net) in
            [("ctorigsrc", self.orig_src), ("ctorigdst", self.orig_dst), ("ctreplsrc", self.repl_src), ("ctrepldst", self.repl_dst)]
        {
            if let Some(net) = net {
                option(out, name, net.invert);
                parse::print_net(out, net, family, true);
            }
        }
        for (name, asked) in [
            ("ctorigsrcport", self.orig_sport),
            ("ctorigdstport", self.orig_dport),
            ("ctreplsrcport", self.repl_sport),
            ("ctrepldstport", self.repl_dport),
        ] {
            if let Some(((lo, hi), not)) = asked {
                option(out, name, not);
                print_range(out, lo, hi, ':');
            }
        }
        if let Some((bits, not)) = self.status {
            option(out, "ctstatus", not);
            if bits == 0 {
                out.push_str("NONE");
            }
            print_list(STATUSES.iter().filter(|(_, bit)| bits & bit != 0).map(|(name, _)| *name), out);
        }
        if let Some(((lo, hi), not)) = self.expire {
            option(out, "ctexpire", not);
            let _ = if lo == hi { write!(out, "{lo}") } else { write!(out, "{lo}:{hi}") };
        }
        if let Some(original) = self.direction {
            out.push_str(if original { " --ctdir ORIGINAL" } else { " --ctdir REPLY" });
        }
    }
}

impl Test for Conntrack {
    /// `conntrack_mt`.
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let ct = match look.skb.ct {
            Ct::Entry(id, info) => look.ns.conntrack.view(id, look.cx.now()).map(|view| (view, info)),
            _ => None,
        };
        if let Some((want, not)) = self.state {
            let mut bits = state_bit(look.skb.ct);
            if let Some((view, _)) = &ct {
                bits |= if view.snat { SNAT } else { 0 } | if view.dnat { DNAT } else { 0 };
            }
            if (bits & want != 0) == not {
                return false;
            }
        }
        let Some((view, info)) = ct else { return self.state.is_some() };
        if let Some(original) = self.direction
            && original != !matches!(info, CtInfo::EstablishedReply | CtInfo::RelatedReply)
        {
            return false;
        }
        self.tuples_fit(&view) && self.rest_fits(&view)
    }
}

impl Conntrack {
    fn tuples_fit(&self, view: &CtView) -> bool {
        let addr =
            |asked: Option<Net>, address: IpAddr| asked.is_none_or(|net| (aligned(address) & net.mask == net.addr) != net.invert);
        let port = |asked: Asked<(u16, u16)>, port: u16| asked.is_none_or(|((lo, hi), not)| (lo <= port && port <= hi) != not);
        let side = |t: &Tuple, src: Option<Net>, dst: Option<Net>, sport, dport| {
            addr(src, t.src) && addr(dst, t.dst) && port(sport, t.sport) && port(dport, t.dport)
        };
        side(&view.original, self.orig_src, self.orig_dst, self.orig_sport, self.orig_dport)
            && side(&view.reply, self.repl_src, self.repl_dst, self.repl_sport, self.repl_dport)
    }

    fn rest_fits(&self, view: &CtView) -> bool {
        if self.proto.is_some_and(|(proto, not)| (view.original.proto == proto) == not) {
            return false;
        }
        if let Some((want, not)) = self.status {
            let bits = if view.unreplied { 0 } else { SEEN_REPLY }
                | if view.assured { ASSURED } else { 0 }
                | if view.confirmed { CONFIRMED } else { 0 };
            // `NONE` asks for no bit: it never holds by itself.
            if (bits & want != 0) == not {
                return false;
            }
        }
        self.expire.is_none_or(|((lo, hi), not)| {
            // The time of an unconfirmed one has not begun to run; the kernel sees none left.
            let left = if view.confirmed { view.timeout } else { 0 };
            (u64::from(lo) <= left && left <= u64::from(hi)) != not
        })
    }
}
