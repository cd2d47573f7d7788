//! The forwarding database of a bridge (`net/bridge/br_fdb.c`), without VLANs.

use sim_core::SimTime;

use super::ByMac;
use crate::addr::Mac;
use crate::dev::device::DevId;
use crate::errno::Errno;

/// `ageing_time`, unless told otherwise.
pub(crate) const AGEING: SimTime = SimTime::from_secs(300);
/// Entries of one database: the kernel bounds only those that were learned, and only where told.
const MAX_ENTRIES: usize = 1 << 20;

/// How an entry came about, and how long it stays.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FdbKind {
    /// Learned, or `dynamic`: ages.
    Dynamic,
    /// `static`: does not age. A frame from elsewhere moves it, as the kernel does.
    Static,
    /// `permanent`, `local`: the MAC of the bridge or of a port; frames for it go up.
    Local,
}

/// Where a MAC is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FdbEntry {
    /// The port; the bridge itself for its own MAC.
    pub port: DevId,
    /// Kind.
    pub kind: FdbKind,
    /// When a frame last came from there.
    pub updated: SimTime,
    /// Whether somebody entered it by hand.
    pub by_user: bool,
}

/// The forwarding database. Entries age when they are looked at.
#[derive(Debug)]
pub struct Fdb {
    entries: ByMac,
    /// `ageing_time`; zero: nothing is learned.
    pub ageing: SimTime,
}

impl Default for Fdb {
    fn default() -> Fdb {
        Fdb { entries: ByMac::default(), ageing: AGEING }
    }
}

impl Fdb {
    fn aged(&self, entry: &FdbEntry, now: SimTime) -> bool {
        entry.kind == FdbKind::Dynamic && entry.updated + self.ageing <= now
    }

    /// Where a MAC is.
    #[inline]
    pub fn find(&self, mac: Mac, now: SimTime) -> Option<FdbEntry> {
        let entry = self.entries.get(&mac)?;
        if self.aged(entry, now) { None } else { Some(*entry) }
    }

    /// `br_fdb_update`: a frame came from there. Whether that was news.
    #[inline]
    pub(crate) fn learn(&mut self, mac: Mac, port: DevId, now: SimTime) -> bool {
        if self.ageing == SimTime::ZERO {
            return false;
        }
        let (ageing, full) = (self.ageing, self.entries.len() >= MAX_ENTRIES);
        match self.entries.get_mut(&mac) {
            // A frame with our own address as its source.
            Some(entry) if entry.kind == FdbKind::Local => false,
            Some(entry) => {
                let news = entry.port != port || (entry.kind == FdbKind::Dynamic && entry.updated + ageing <= now);
                entry.updated = now;
                entry.port = port;
                news
            }
            None if full => false,
            None => {
                self.entries.insert(mac, FdbEntry { port, kind: FdbKind::Dynamic, updated: now, by_user: false });
                true
            }
        }
    }

    /// `bridge fdb add`, `replace`.
    pub(crate) fn add(&mut self, mac: Mac, entry: FdbEntry, replace: bool) -> Result<(), Errno> {
        if self.entries.contains_key(&mac) && !replace {
            return Err(Errno::Exist);
        }
        self.entries.insert(mac, entry);
        Ok(())
    }

    /// `bridge fdb del`.
    pub(crate) fn delete(&mut self, mac: Mac, port: DevId) -> Result<(), Errno> {
        match self.entries.get(&mac) {
            Some(entry) if entry.port == port => {
                self.entries.remove(&mac);
                Ok(())
            }
            _ => Err(Errno::NoEnt),
        }
    }

    /// Enters the MACs of bridge and ports, in place of those that were entered before.
    pub(crate) fn set_locals(&mut self, locals: impl Iterator<Item = (DevId, Mac)>) {
        self.entries.retain(|_, entry| entry.kind != FdbKind::Local || entry.by_user);
        for (port, mac) in locals {
            // The first holder of a MAC keeps it, as in the kernel.
            let local = FdbEntry { port, kind: FdbKind::Local, updated: SimTime::ZERO, by_user: false };
            match self.entries.get(&mac) {
                Some(entry) if entry.kind == FdbKind::Local => {}
                _ => {
                    self.entries.insert(mac, local);
                }
            }
        }
    }

    /// `br_fdb_delete_by_port`: what was learned there goes; `all`: also what was entered by hand.
    pub(crate) fn forget_port(&mut self, port: DevId, all: bool) {
        self.entries.retain(|_, entry| entry.port != port || (!all && entry.kind != FdbKind::Dynamic));
    }

    /// What was learned goes, at all ports.
    pub(crate) fn flush_dynamic(&mut self) {
        self.entries.retain(|_, entry| entry.kind != FdbKind::Dynamic);
    }

    /// The entries that have not aged, by port and MAC.
    pub fn list(&self, now: SimTime) -> Vec<(Mac, FdbEntry)> {
        let mut list: Vec<_> =
            self.entries.iter().filter(|(_, entry)| !self.aged(entry, now)).map(|(mac, entry)| (*mac, *entry)).collect();
        list.sort_unstable_by_key(|(mac, entry)| (entry.port, *mac));
        list
    }
}
