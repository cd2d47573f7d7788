//! `-m recent`: lists of addresses and when they were seen (`net/netfilter/xt_recent.c`).

use std::fmt::Write as _;
use std::sync::Arc;

use indexmap::IndexMap;
use sim_core::SimTime;

use super::{Extension, Look, Test};
use crate::addr::Family;
use crate::netfilter::iptables::args::Args;
use crate::netfilter::iptables::lex::Parsed;
use crate::netfilter::ruleset::{Base, aligned, unaligned};

/// `ip_list_tot`: entries a list holds; the least recently seen goes first.
const LIST_LIMIT: usize = 100;
/// Stamps an entry holds where no rule asks for more hits (`ip_pkt_list_tot`, rounded up).
const STAMPS: u32 = 32;
const NAME_LEN: usize = 200;

/// An address of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    ttl: u8,
    /// A ring.
    stamps: Vec<SimTime>,
    next: usize,
}

/// A list: by address, the least recently updated first.
#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    entries: IndexMap<u128, Entry, rustc_hash::FxBuildHasher>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Set,
    Rcheck,
    Update,
    Remove,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Recent {
    mode: Option<Mode>,
    not: bool,
    seconds: u32,
    hitcount: u32,
    reap: bool,
    rttl: bool,
    name: Arc<str>,
    /// Left-aligned.
    mask: u128,
    dest: bool,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent {
            mode: None,
            not: false,
            seconds: 0,
            hitcount: 0,
            reap: false,
            rttl: false,
            name: "DEFAULT".into(),
            mask: u128::MAX,
            dest: false,
        }
    }
}

impl Recent {
    fn stamps(&self) -> usize {
        self.hitcount.next_power_of_two().max(STAMPS) as usize
    }
}

impl Extension for Recent {
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        let mode = match option {
            "--set" => Some(Mode::Set),
            "--rcheck" => Some(Mode::Rcheck),
            "--update" => Some(Mode::Update),
            "--remove" => Some(Mode::Remove),
            _ => None,
        };
        if let Some(mode) = mode {
            if self.mode.is_some() {
                return Err(args.bad_option("recent: only one of `--set', `--rcheck' `--update' or `--remove' may be set"));
            }
            (self.mode, self.not) = (Some(mode), args.inverted());
            return Ok(true);
        }
        match option {
            "--seconds" => self.seconds = args.number("recent", u64::from(u32::MAX))? as u32,
            "--hitcount" => self.hitcount = args.number("recent", u64::from(u32::MAX))? as u32,
            "--reap" => self.reap = true,
            "--rttl" => self.rttl = true,
            "--name" => {
                let name = args.value()?;
                if name.is_empty() || name.len() >= NAME_LEN {
                    return Err(args.bad(format!("recent: name must be 1 to {} characters", NAME_LEN - 1)));
                }
                self.name = name.into();
            }
            "--mask" => {
                let text = args.value()?;
                self.mask = aligned(args.address(text)?);
            }
            "--rsource" => self.dest = false,
            "--rdest" => self.dest = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(&self, _: &Base, _: Family) -> Result<(), String> {
        let Some(mode) = self.mode else {
            return Err("recent: you must specify one of `--set', `--rcheck' `--update' or `--remove'".into());
        };
        let checks = matches!(mode, Mode::Rcheck | Mode::Update);
        for (on, name) in [(self.seconds > 0, "--seconds"), (self.hitcount > 0, "--hitcount")] {
            if on && !checks {
                return Err(format!("recent: option \"{name}\" also requires \"--rcheck\" or \"--update\"."));
            }
        }
        if self.reap && self.seconds == 0 {
            return Err("recent: option \"--reap\" also requires \"--seconds\".".into());
        }
        Ok(())
    }

    fn print(&self, out: &mut String, family: Family) {
        let mode = match self.mode {
            Some(Mode::Set) | None => "--set",
            Some(Mode::Rcheck) => "--rcheck",
            Some(Mode::Update) => "--update",
            Some(Mode::Remove) => "--remove",
        };
        let _ = write!(out, " -m recent{} {mode}", if self.not { " !" } else { "" });
        if self.seconds > 0 {
            let _ = write!(out, " --seconds {}", self.seconds);
        }
        if self.reap {
            out.push_str(" --reap");
        }
        if self.hitcount > 0 {
            let _ = write!(out, " --hitcount {}", self.hitcount);
        }
        if self.rttl {
            out.push_str(" --rttl");
        }
        let side = if self.dest { "--rdest" } else { "--rsource" };
        let _ = write!(out, " --name {} --mask {} {side}", self.name, unaligned(self.mask, family));
    }
}

impl Test for Recent {
    /// `recent_mt`.
    fn test(&self, look: &mut Look<'_, '_>) -> bool {
        let now = look.cx.now();
        let mut ttl = look.skb.hop_limit();
        // The TTL as it was before forwarding.
        if look.state.outdev.is_some() && look.skb.owner.is_none() {
            ttl = ttl.wrapping_add(1);
        }
        let address = if self.dest { look.seen.dst } else { look.seen.src } & self.mask;
        let lists = &mut look.ns.netfilter.get_mut(look.state.family).recent;
        let list = lists.entry(self.name.clone()).or_default();
        let known = list.entries.get(&address).is_some_and(|entry| !self.rttl || entry.ttl == ttl || ttl == 0 || entry.ttl == 0);
        if !known {
            if self.mode != Some(Mode::Set) {
                return self.not;
            }
            if list.entries.len() >= LIST_LIMIT {
                list.entries.shift_remove_index(0);
            }
            list.touch(address, ttl, now, self.stamps());
            return !self.not;
        }
        let mut fits = self.not;
        match self.mode {
            Some(Mode::Set) => fits = !fits,
            Some(Mode::Remove) => {
                list.entries.shift_remove(&address);
                return !self.not;
            }
            Some(Mode::Rcheck | Mode::Update) => {
                let since = now.0.saturating_sub(u64::from(self.seconds) * 1_000_000_000);
                if self.enough(&list.entries[&address].stamps, since) {
                    fits = !fits;
                }
                if self.reap {
                    list.reap(since);
                }
            }
            None => {}
        }
        if self.mode == Some(Mode::Set) || self.mode == Some(Mode::Update) && fits {
            list.touch(address, ttl, now, self.stamps());
        }
        fits
    }
}

impl Recent {
    fn enough(&self, stamps: &[SimTime], since: u64) -> bool {
        let young = stamps.iter().filter(|stamp| self.seconds == 0 || stamp.0 >= since).count();
        young >= self.hitcount.max(1) as usize
    }
}

impl List {
    /// `recent_entry_update`, `recent_entry_init`.
    fn touch(&mut self, address: u128, ttl: u8, now: SimTime, limit: usize) {
        let mut entry = self.entries.shift_remove(&address).unwrap_or_default();
        entry.ttl = ttl;
        entry.next %= limit;
        match entry.stamps.get_mut(entry.next) {
            Some(stamp) => *stamp = now,
            None => entry.stamps.push(now),
        }
        entry.next += 1;
        self.entries.insert(address, entry);
    }

    /// `recent_entry_reap`: the oldest entry goes, where its last stamp is older than `since`.
    fn reap(&mut self, since: u64) {
        let old = self
            .entries
            .get_index(0)
            .is_some_and(|(_, entry)| entry.stamps.get(entry.next.wrapping_sub(1)).is_some_and(|stamp| stamp.0 < since));
        if old {
            self.entries.shift_remove_index(0);
        }
    }
}
