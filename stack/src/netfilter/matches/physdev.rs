//! `-m physdev`: bridge ports (`net/netfilter/xt_physdev.c`).

use super::{Extension, Look, Test, at};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::iptables::parse;
use crate::netfilter::ruleset::{Base, IfMatch};

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Physdev {
    physin: Option<IfMatch>,
    physout: Option<IfMatch>,
    /// Whether inverted.
    is_in: Option<bool>,
    is_out: Option<bool>,
    bridged: Option<bool>,
}

impl Physdev {
    /// Where a packet is not bridged yet, its output port is not known.
    pub(crate) fn hooks(&self) -> u8 {
        let out = self.is_out.is_some() || self.physout.is_some();
        if out && self.bridged.is_none_or(|not| not) { at::ALL & !at::OUT } else { at::ALL }
    }
}

fn fits(asked: &IfMatch, name: &str) -> bool {
    asked.fits(Some(name))
}

impl Extension for Physdev {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        match option {
            "--physdev-in" => self.physin = Some(parse::interface(args)?),
            "--physdev-out" => self.physout = Some(parse::interface(args)?),
            "--physdev-is-in" => self.is_in = Some(args.inverted()),
            "--physdev-is-out" => self.is_out = Some(args.inverted()),
            "--physdev-is-bridged" => self.bridged = Some(args.inverted()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        if *self == Physdev::default() { Err("PHYSDEV: no physdev option specified".into()) } else { Ok(()) }
    }

    fn print(&self, out: &mut String, _: Family) {
        let word = |out: &mut String, name: &str, asked: Option<bool>| {
            if let Some(not) = asked {
                out.push_str(if not { " ! " } else { " " });
                out.push_str(name);
            }
        };
        let iface = |out: &mut String, name: &str, asked: &Option<IfMatch>| {
            if let Some(iface) = asked {
                parse::print_interface(out, name, iface);
            }
        };
        out.push_str(" -m physdev");
        word(out, "--physdev-is-in", self.is_in);
        iface(out, "--physdev-in", &self.physin);
        word(out, "--physdev-is-out", self.is_out);
        iface(out, "--physdev-out", &self.physout);
        word(out, "--physdev-is-bridged", self.bridged);
    }
}

impl Test for Physdev {
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let Some(bridge) = look.skb.bridge else {
            // Not bridged: true only where all that is asked is inverted.
            let ports = [&self.physin, &self.physout].into_iter().flatten().map(|iface| iface.invert);
            return ports.chain([self.is_in, self.is_out, self.bridged].into_iter().flatten()).all(|not| not);
        };
        if self.bridged.is_some_and(|not| bridge.physout.is_some() == not)
            || self.is_in.is_some_and(|not| bridge.physin.is_some() == not)
            || self.is_out.is_some_and(|not| bridge.physout.is_some() == not)
        {
            return false;
        }
        if let Some(asked) = &self.physin
            && let Some(name) = look.device_name(bridge.physin)
            && !fits(asked, name)
        {
            return false;
        }
        match &self.physout {
            None => true,
            Some(asked) => look.device_name(bridge.physout).is_some_and(|name| fits(asked, name)),
        }
    }
}
