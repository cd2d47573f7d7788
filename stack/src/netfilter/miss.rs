//! Why a rule did not match a packet: the first clause that it fails.

use super::Netfilter;
use super::iptables::names;
use super::iptables::parse::{print_interface, print_net};
use super::matches::Match;
use super::ruleset::{IfMatch, Net, Seen};
use crate::addr::Family;
use crate::trace::RuleRef;
use crate::view;

/// A packet as a record shows it: its headers, and what does not stand in them.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    /// The frame, or its beginning.
    pub frame: &'a [u8],
    /// Offset of the IP header.
    pub l3: usize,
    /// Name of the input device.
    pub indev: Option<&'a str>,
    /// Name of the output device.
    pub outdev: Option<&'a str>,
    /// Its mark.
    pub mark: u32,
}

/// Why a rule did not match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Miss {
    /// This clause is false of the headers.
    Clause(String),
    /// All that the headers tell is true; this clause asks for more (a connection, a chance, a time).
    Perhaps(String),
}

impl Netfilter {
    /// The first clause of a rule that a packet fails, in the order in which the kernel tests them; none where it fails none, or
    /// the record names no rule. A pure function: nothing is counted, drawn or remembered.
    pub fn first_miss(&self, rule: RuleRef, packet: &Headers<'_>) -> Option<Miss> {
        let table = self.programs.get(rule.program as usize)?;
        let chain = table.chains.get(rule.chain as usize)?.as_ref()?;
        let rule = chain.rules.get(rule.rule as usize)?;
        let family = table.family;
        let seen = seen(packet, family)?;
        let base = &rule.base;
        let net = |option: &str, net: Net, address: u128| {
            ((address & net.mask == net.addr) == net.invert).then(|| {
                let mut text = format!("{}{option} ", if net.invert { "! " } else { "" });
                print_net(&mut text, net, family, false);
                text
            })
        };
        let iface = |option: &str, asked: &Option<IfMatch>, name: Option<&str>| {
            asked.as_ref().filter(|asked| !asked.fits(name)).map(|asked| {
                let mut text = String::new();
                print_interface(&mut text, option, asked);
                text.trim_start().to_owned()
            })
        };
        let protocol = || {
            (base.proto != 0 && (base.proto == seen.proto) == base.not_proto).then(|| {
                let name = names::protocol_name(base.proto).map_or_else(|| base.proto.to_string(), str::to_owned);
                format!("{}-p {name}", if base.not_proto { "! " } else { "" })
            })
        };
        let fragment = || {
            let wrong = base.fragment.is_some_and(|later| later != (seen.fragment_offset != 0));
            wrong.then(|| if base.fragment == Some(true) { "-f".to_owned() } else { "! -f".to_owned() })
        };
        let clause = net("-s", base.src, seen.src)
            .or_else(|| net("-d", base.dst, seen.dst))
            .or_else(|| iface("-i", &base.iin, packet.indev))
            .or_else(|| iface("-o", &base.out, packet.outdev))
            .or_else(protocol)
            .or_else(fragment);
        if let Some(clause) = clause {
            return Some(Miss::Clause(clause));
        }
        rule.matches.iter().filter(|m| !m.is_remark()).find_map(|m| {
            let mut text = String::new();
            m.print(&mut text, family);
            let text = text.trim_start().to_owned();
            match fits(m, &seen, packet) {
                Some(true) => None,
                Some(false) => Some(Miss::Clause(text)),
                None => Some(Miss::Perhaps(text)),
            }
        })
    }
}

/// Whether a match holds, where the headers alone tell.
fn fits(m: &Match, seen: &Seen, packet: &Headers<'_>) -> Option<bool> {
    match m {
        Match::Tcp(_) | Match::Udp(_) => {
            let ports = m.ports_alone()?;
            Some(seen.ports.is_some_and(|(sport, dport)| ports.fit(sport, dport)))
        }
        Match::Mark(mark) => Some(mark.fits(packet.mark)),
        _ => None,
    }
}

fn seen(packet: &Headers<'_>, family: Family) -> Option<Seen> {
    let ip = packet.frame.get(packet.l3..)?;
    // A record may keep only the beginning of a frame: the lengths in its headers are not held against it.
    let (src, dst, proto, l4, fragment_offset) = match (family, ip.first()? >> 4) {
        (Family::V4, 4) if ip.len() >= 20 => {
            let word = |at: usize| u128::from(view::be32(ip, at)) << 96;
            (word(12), word(16), ip[9], usize::from(ip[0] & 15) * 4, view::be16(ip, 6) & 0x1fff)
        }
        (Family::V6, 6) if ip.len() >= 40 => {
            let wide = |at: usize| ip[at..at + 16].iter().fold(0u128, |acc, &byte| acc << 8 | u128::from(byte));
            match view::parse(packet.frame, packet.l3) {
                Ok(headers) => {
                    let offset = headers.fragment.map_or(0, |fragment| fragment.offset / 8);
                    (wide(8), wide(24), headers.l4proto, usize::from(headers.l4) - packet.l3, offset)
                }
                Err(_) => (wide(8), wide(24), ip[6], 40, 0),
            }
        }
        _ => return None,
    };
    let with_ports = matches!(proto, view::proto::TCP | view::proto::UDP | view::proto::UDPLITE | view::proto::SCTP);
    let ports = ip.get(l4..l4 + 4).filter(|_| with_ports && fragment_offset == 0);
    let ports = ports.map(|l4| (view::be16(l4, 0), view::be16(l4, 2)));
    Some(Seen { src, dst, proto, ports, fragment_offset })
}
