//! `-m statistic`: by chance, or every nth packet (`net/netfilter/xt_statistic.c`).

use std::fmt::Write as _;

use sim_core::choice::{self, Arms};

use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::Base;
use crate::skb::Ct;
use crate::trace::{Record, purpose};

/// Probabilities are in 2^31ths.
const WHOLE: u32 = 1 << 31;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Mode {
    #[default]
    Unset,
    Random(Option<u32>),
    Nth {
        every: u32,
        packet: Option<u32>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Statistic {
    mode: Mode,
    not: bool,
    pub(crate) slot: u32,
}

impl Statistic {
    pub(crate) fn is_random(&self) -> bool {
        matches!(self.mode, Mode::Random(_))
    }
}

impl Extension for Statistic {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        match option {
            "--mode" => {
                self.mode = match args.value()? {
                    "random" => Mode::Random(None),
                    "nth" => Mode::Nth { every: 0, packet: None },
                    text => return Err(args.bad(format!("Bad mode \"{text}\"")).help("write random or nth")),
                }
            }
            "--probability" => {
                let Mode::Random(chance) = &mut self.mode else {
                    return Err(args.bad_option("statistic: \"--probability\" requires \"--mode random\""));
                };
                self.not = args.inverted();
                let value = args.value()?.parse::<f64>().ok().filter(|p| (0.0..=1.0).contains(p));
                let Some(value) = value else {
                    return Err(args.bad("statistic: bad value for option \"--probability\", or out of range (0-1)."));
                };
                // lround(0x80000000 * p), as the real tool does.
                *chance = Some((value * f64::from(WHOLE)).round() as u32);
            }
            "--every" => {
                let Mode::Nth { every, .. } = &mut self.mode else {
                    return Err(args.bad_option("statistic: \"--every\" requires \"--mode nth\""));
                };
                self.not = args.inverted();
                *every = args.number("statistic", u64::from(u32::MAX))? as u32;
                if *every == 0 {
                    return Err(args.bad("statistic: bad integer value for option \"--every\", or out of range."));
                }
            }
            "--packet" => {
                let Mode::Nth { packet, .. } = &mut self.mode else {
                    return Err(args.bad_option("statistic: \"--packet\" requires \"--mode nth\""));
                };
                *packet = Some(args.number("statistic", u64::from(u32::MAX))? as u32);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        match self.mode {
            Mode::Unset => Err("statistic: option \"--mode\" must be specified".into()),
            Mode::Random(None) => Err("statistic: \"--probability\" must be specified when using random mode".into()),
            Mode::Nth { every: 0, .. } => Err("statistic: \"--every\" must be specified when using nth mode".into()),
            Mode::Nth { packet: None, .. } => Err("statistic: option \"--every\" also requires \"--packet\".".into()),
            Mode::Nth { every, packet: Some(packet) } if packet >= every => Err("the --packet p must be 0 <= p <= n-1".into()),
            _ => Ok(()),
        }
    }

    fn print(&self, out: &mut String, _: Family) {
        let not = if self.not { " !" } else { "" };
        let _ = match self.mode {
            Mode::Random(chance) => {
                let chance = f64::from(chance.unwrap_or(0)) / f64::from(WHOLE);
                write!(out, " -m statistic --mode random{not} --probability {chance:.11}")
            }
            Mode::Nth { every, packet } => {
                write!(out, " -m statistic --mode nth{not} --every {every} --packet {}", packet.unwrap_or(0))
            }
            Mode::Unset => Ok(()),
        };
    }
}

impl Test for Statistic {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let hit = match self.mode {
            Mode::Random(chance) => draw(look, chance.unwrap_or(0)),
            Mode::Nth { every, packet } => {
                let (last, packet) = (u64::from(every - 1), u64::from(packet.unwrap_or(0)));
                let count = &mut look.slot(self.slot)[0];
                if *count == u64::MAX {
                    *count = last - packet;
                }
                *count = if *count == last { 0 } else { *count + 1 };
                *count == 0
            }
            Mode::Unset => false,
        };
        hit != self.not
    }
}

/// Draws for this rule and this connection: the same packet of the same run always gets the same answer, whatever else is edited.
fn draw(look: &mut Look<'_, '_>, chance: u32) -> bool {
    let mut bytes = [0u8; 48];
    bytes[..8].copy_from_slice(&look.key.to_le_bytes());
    let original = match look.skb.ct {
        Ct::Entry(id, _) => look.ns.conntrack.view(id, look.cx.now()).map(|view| view.original),
        _ => None,
    };
    let (src, dst, proto, sport, dport) = match original {
        Some(t) => (super::super::ruleset::aligned(t.src), super::super::ruleset::aligned(t.dst), t.proto, t.sport, t.dport),
        None => {
            let (sport, dport) = look.seen.ports.unwrap_or_default();
            (look.seen.src, look.seen.dst, look.seen.proto, sport, dport)
        }
    };
    bytes[8..24].copy_from_slice(&src.to_le_bytes());
    bytes[24..40].copy_from_slice(&dst.to_le_bytes());
    bytes[40] = proto;
    bytes[41..43].copy_from_slice(&sport.to_le_bytes());
    bytes[43..45].copy_from_slice(&dport.to_le_bytes());
    let drawn = look.cx.decide(purpose::STATISTIC, choice::key_of(&bytes), Arms::Chance { yes: chance, of: WHOLE });
    let record = Record::Choice { purpose: drawn.key.purpose.0, key: drawn.key.key, draw: drawn.key.draw, arm: drawn.arm };
    look.cx.record(look.skb.id(), record);
    drawn.arm == 1
}
