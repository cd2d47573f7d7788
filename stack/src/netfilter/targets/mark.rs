//! `-j MARK` (`net/netfilter/xt_mark.c`).

use std::fmt::Write as _;

use super::{Act, Done};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::matches::Extension;
use crate::netfilter::ruleset::Base;
use crate::trace::Record;

/// Clear the bits of `mask`, then flip those of `value`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark {
    pub(crate) change: Option<(u32, u32)>,
}

/// Reads the five spellings of a change of a mark, as (value, mask) of `--set-xmark`.
pub(crate) fn change(name: &str, option: &str, args: &mut Args<'_, '_>) -> Parsed<Option<(u32, u32)>> {
    Ok(Some(match option {
        "--set-xmark" => args.mark(name)?,
        "--set-mark" => {
            let (value, mask) = args.mark(name)?;
            // Clear the mask, then or: the value's bits are cleared as well, so that flipping sets them.
            (value, mask | value)
        }
        "--or-mark" => {
            let bits = args.number(name, u64::from(u32::MAX))? as u32;
            (bits, bits)
        }
        "--and-mark" => (0, !(args.number(name, u64::from(u32::MAX))? as u32)),
        "--xor-mark" => (args.number(name, u64::from(u32::MAX))? as u32, 0),
        _ => return Ok(None),
    }))
}

impl Extension for Mark {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        let Some(change) = change("MARK", option, args)? else { return Ok(false) };
        if self.change.is_some() {
            return Err(args.bad_option("MARK: only one of --set-xmark, --{and,or,xor,set}-mark is allowed"));
        }
        self.change = Some(change);
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        match self.change {
            None => Err("MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required".into()),
            Some(_) => Ok(()),
        }
    }

    fn print(&self, out: &mut String, _: Family) {
        let (value, mask) = self.change.unwrap_or_default();
        let _ = write!(out, " -j MARK --set-xmark 0x{value:x}/0x{mask:x}");
    }
}

impl Mark {
    pub(crate) fn act(&self, act: &mut Act<'_, '_>) -> Done {
        let (value, mask) = self.change.unwrap_or_default();
        let old = act.skb.mark;
        let new = (old & !mask) ^ value;
        if new != old {
            act.skb.mark = new;
            act.cx.record(act.skb.id(), Record::Mark { old, new });
        }
        Done::Continue
    }
}
