//! `-m tcp` (`net/netfilter/xt_tcpudp.c`).

use std::fmt::Write as _;

use super::{Extension, Look, Ports, Test};
use crate::addr::Family;
use crate::netfilter::Variant;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;
use crate::view::proto;

const FLAGS: &[(&str, u8)] = &[("FIN", 1), ("SYN", 2), ("RST", 4), ("PSH", 8), ("ACK", 16), ("URG", 32)];
const ALL_FLAGS: u8 = 0x3f;
/// `--syn`: of FIN, SYN, RST, ACK only SYN.
const SYN_MASK: u8 = 0x17;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tcp {
    pub(crate) ports: Ports,
    /// Mask, value, inverted.
    pub(crate) flags: Option<(u8, u8, bool)>,
    option: Option<(u8, bool)>,
}

impl Tcp {
    pub(crate) fn ports_alone(&self) -> Option<Ports> {
        (self.flags.is_none() && self.option.is_none()).then_some(self.ports)
    }

    /// Whether it lets only SYN packets through, as TCPMSS demands.
    pub(crate) fn is_syn(&self) -> bool {
        self.flags.is_some_and(|(_, value, not)| value & 2 != 0 && !not)
    }
}

fn flag_list(args: &Args<'_, '_>, text: &str) -> Parsed<u8> {
    text.split(',').try_fold(0, |bits, word| match word {
        word if word.eq_ignore_ascii_case("ALL") => Ok(ALL_FLAGS),
        word if word.eq_ignore_ascii_case("NONE") => Ok(bits),
        word => match FLAGS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
            Some((_, bit)) => Ok(bits | bit),
            None => Err(args.bad(format!("Unknown TCP flag `{word}'"))),
        },
    })
}

fn print_flags(out: &mut String, bits: u8) {
    if bits == 0 {
        return out.push_str("NONE");
    }
    for (i, (name, _)) in FLAGS.iter().filter(|(_, bit)| bits & bit != 0).enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        out.push_str(name);
    }
}

impl Extension for Tcp {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        match option {
            "--syn" | "--tcp-flags" => {
                if self.flags.is_some() {
                    return Err(args.bad_option("Only one of `--syn' or `--tcp-flags'  allowed"));
                }
                let not = args.inverted();
                if option == "--syn" {
                    self.flags = Some((SYN_MASK, 2, not));
                } else {
                    let text = args.value()?;
                    let mask = flag_list(args, text)?;
                    let text = args.value().map_err(|_| args.bad_option("--tcp-flags requires two args."))?;
                    self.flags = Some((mask, flag_list(args, text)?, not));
                }
                Ok(true)
            }
            "--tcp-option" => {
                let not = args.inverted();
                self.option = Some((args.number("tcp", 255)? as u8, not));
                Ok(true)
            }
            _ => self.ports.option(option, args),
        }
    }

    fn finish(&self, base: &Base, _: Family) -> Result<(), String> {
        if base.is_proto(proto::TCP) { Ok(()) } else { Err("TCP match requires '-p tcp'".into()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        out.push_str(" -m tcp");
        self.ports.print(out);
        if let Some((kind, not)) = self.option {
            let _ = write!(out, "{} --tcp-option {kind}", if not { " !" } else { "" });
        }
        if let Some((mask, value, not)) = self.flags {
            out.push_str(if not { " ! --tcp-flags " } else { " --tcp-flags " });
            print_flags(out, mask);
            out.push(' ');
            print_flags(out, value);
        }
    }
}

impl Test for Tcp {
    /// `tcp_mt`. A header that fragmentation cut is dropped by the legacy back end; the nft one reads what is there.
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let legacy = look.ns.netfilter.get(look.state.family).variant(look.table) == Variant::Legacy;
        if look.seen.fragment_offset != 0 {
            // RFC 1858: an offset of one unit would overwrite the flags.
            look.hot_drop |= look.seen.fragment_offset == 1 && legacy;
            return false;
        }
        let tcp = look.skb.transport();
        if tcp.len() < 20 && legacy {
            look.hot_drop = true;
            return false;
        }
        let Some(ports) = tcp.get(..4) else { return false };
        if !self.ports.fit(u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]])) {
            return false;
        }
        if let Some((mask, value, not)) = self.flags {
            match tcp.get(13) {
                Some(flags) if (flags & mask == value) != not => {}
                _ => return false,
            }
        }
        self.option.is_none_or(|(kind, not)| has_option(tcp, kind) != not)
    }
}

fn has_option(tcp: &[u8], kind: u8) -> bool {
    let end = tcp.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4).min(tcp.len());
    let mut at = 20;
    while at < end {
        if tcp[at] == kind {
            return true;
        }
        at += if tcp[at] < 2 { 1 } else { usize::from(tcp.get(at + 1).copied().unwrap_or(1)).max(1) };
    }
    false
}
