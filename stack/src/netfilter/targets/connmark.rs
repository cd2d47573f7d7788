//! `-j CONNMARK` (`net/netfilter/xt_connmark.c`).

use std::fmt::Write as _;

use super::{Act, Done, mark};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::matches::Extension;
use crate::netfilter::ruleset::Base;
use crate::skb::Ct;
use crate::trace::Record;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Set(u32, u32),
    Save,
    Restore,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Connmark {
    mode: Option<Mode>,
    nfmask: u32,
    ctmask: u32,
}

impl Default for Connmark {
    fn default() -> Connmark {
        Connmark { mode: None, nfmask: u32::MAX, ctmask: u32::MAX }
    }
}

impl Extension for Connmark {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        let mode = match option {
            "--save-mark" => Mode::Save,
            "--restore-mark" => Mode::Restore,
            "--nfmask" | "--ctmask" | "--mask" => {
                if !matches!(self.mode, Some(Mode::Save | Mode::Restore)) {
                    let message = format!("CONNMARK: option \"{option}\" also requires \"--save-mark\" or \"--restore-mark\".");
                    return Err(args.bad_option(message));
                }
                let mask = args.number("CONNMARK", u64::from(u32::MAX))? as u32;
                self.nfmask = if option == "--ctmask" { self.nfmask } else { mask };
                self.ctmask = if option == "--nfmask" { self.ctmask } else { mask };
                return Ok(true);
            }
            _ => match mark::change("CONNMARK", option, args)? {
                Some((value, mask)) => Mode::Set(value, mask),
                None => return Ok(false),
            },
        };
        if self.mode.is_some() {
            return Err(args.bad_option("CONNMARK: only one operation is allowed"));
        }
        self.mode = Some(mode);
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if self.mode.is_some() { Ok(()) } else { Err("CONNMARK target: No operation specified".into()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        let _ = match self.mode {
            Some(Mode::Set(value, mask)) => write!(out, " -j CONNMARK --set-xmark 0x{value:x}/0x{mask:x}"),
            Some(Mode::Save) => write!(out, " -j CONNMARK --save-mark --nfmask 0x{:x} --ctmask 0x{:x}", self.nfmask, self.ctmask),
            Some(Mode::Restore) => {
                write!(out, " -j CONNMARK --restore-mark --nfmask 0x{:x} --ctmask 0x{:x}", self.nfmask, self.ctmask)
            }
            None => Ok(()),
        };
    }
}

impl Connmark {
    /// `connmark_tg`.
    pub(crate) fn act(&self, act: &mut Act<'_, '_>) -> Done {
        let Ct::Entry(id, _) = act.skb.ct else { return Done::Continue };
        let Some(ctmark) = act.ns.conntrack.mark(id) else { return Done::Continue };
        match self.mode {
            Some(Mode::Set(value, mask)) => act.ns.conntrack.set_mark(id, (ctmark & !mask) ^ value),
            Some(Mode::Save) => act.ns.conntrack.set_mark(id, (ctmark & !self.ctmask) ^ (act.skb.mark & self.nfmask)),
            Some(Mode::Restore) => {
                let old = act.skb.mark;
                let new = (old & !self.nfmask) ^ (ctmark & self.ctmask);
                if old != new {
                    act.skb.mark = new;
                    act.cx.record(act.skb.id(), Record::Mark { old, new });
                }
            }
            None => {}
        }
        Done::Continue
    }
}
