//! The forwarding database of a VXLAN device: behind which hosts a MAC is.

use std::net::IpAddr;

use rustc_hash::FxHashMap;
use sim_core::SimTime;

use crate::addr::Mac;
use crate::dev::device::DevId;
use crate::errno::Errno;

/// Entries of one database, where `maxaddress` does not say less.
const MAX_ENTRIES: usize = 1 << 20;
/// Hosts of one entry. The kernel has no bound.
const MAX_REMOTES: usize = 4096;

/// A host that frames are sent to (`struct vxlan_rdst`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remote {
    /// Its address.
    pub dst: IpAddr,
    /// Its UDP port; none: the device's.
    pub port: Option<u16>,
    /// The VNI that it is sent; none: the device's.
    pub vni: Option<u32>,
    /// The device that the outer packet must leave by; none: the route decides.
    pub via: Option<DevId>,
}

/// How an entry came about, and how long it stays.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EntryKind {
    /// Learned, or `dynamic`: ages.
    Dynamic,
    /// `static` (`NUD_NOARP`): does not age, is not moved.
    Static,
    /// `permanent`: does not age, is not moved.
    Permanent,
}

/// Where a MAC is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Kind.
    pub kind: EntryKind,
    /// When a frame last came from there, or it was entered.
    pub updated: SimTime,
    /// The hosts, in the order in which they were entered. Never empty.
    pub remotes: Vec<Remote>,
}

/// What snooping on a frame said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Snooped {
    /// The source was known to be there, or is now.
    Taken,
    /// An entry that is not to be moved says that it is elsewhere.
    Elsewhere,
}

/// How an entry is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Add,
    Append,
    Replace,
}

/// The database. Entries age when they are looked at.
#[derive(Debug, Default)]
pub struct Fdb {
    entries: FxHashMap<Mac, Entry>,
    /// `ageing`; zero: never.
    ageing: SimTime,
    /// `maxaddress`; 0: no bound.
    most: usize,
}

/// Whether an entry may have several hosts: everybody's, and those of groups.
fn is_list(mac: Mac) -> bool {
    mac == Mac::ZERO || mac.is_multicast()
}

impl Fdb {
    pub(crate) fn new(ageing: SimTime, most: u32) -> Fdb {
        Fdb { entries: FxHashMap::default(), ageing, most: most as usize }
    }

    fn aged(&self, entry: &Entry, now: SimTime) -> bool {
        entry.kind == EntryKind::Dynamic && self.ageing != SimTime::ZERO && entry.updated + self.ageing <= now
    }

    fn full(&self) -> bool {
        self.entries.len() >= if self.most == 0 { MAX_ENTRIES } else { self.most.min(MAX_ENTRIES) }
    }

    /// `vxlan_find_mac`.
    #[inline]
    pub fn find(&self, mac: Mac, now: SimTime) -> Option<&Entry> {
        let entry = self.entries.get(&mac)?;
        if self.aged(entry, now) { None } else { Some(entry) }
    }

    /// Where a frame for a MAC is sent: to the hosts of its entry, else to everybody's.
    #[inline]
    pub(crate) fn remotes(&self, mac: Mac, now: SimTime) -> &[Remote] {
        self.find(mac, now).or_else(|| self.find(Mac::ZERO, now)).map_or(&[], |entry| &entry.remotes)
    }

    /// `vxlan_snoop`: a frame of this MAC came from a host.
    pub(crate) fn learn(&mut self, mac: Mac, host: Remote, now: SimTime) -> Snooped {
        let aged = self.entries.get(&mac).is_some_and(|entry| self.aged(entry, now));
        let full = self.full();
        match self.entries.get_mut(&mac) {
            Some(entry) if !aged => {
                let known = entry.remotes.first().is_some_and(|first| first.dst == host.dst && first.via == host.via);
                if !known && entry.kind != EntryKind::Dynamic {
                    return Snooped::Elsewhere;
                }
                if !known && let Some(first) = entry.remotes.first_mut() {
                    first.dst = host.dst;
                }
                entry.updated = now;
            }
            None if full => {}
            _ => {
                self.entries.insert(mac, Entry { kind: EntryKind::Dynamic, updated: now, remotes: vec![host] });
            }
        }
        Snooped::Taken
    }

    /// `bridge fdb add`, `append`, `replace`.
    ///
    /// # Errors
    /// `Exist`, `OpNotSupp` (replace of an entry for everybody or a group), `NoBufs` (too many).
    pub(crate) fn change(&mut self, change: Change, mac: Mac, kind: EntryKind, host: Remote, now: SimTime) -> Result<(), Errno> {
        if self.entries.get(&mac).is_some_and(|entry| self.aged(entry, now)) {
            self.entries.remove(&mac);
        }
        if change == Change::Replace && is_list(mac) {
            return Err(Errno::OpNotSupp);
        }
        let full = self.full();
        let Some(entry) = self.entries.get_mut(&mac) else {
            if full {
                return Err(Errno::NoBufs);
            }
            self.entries.insert(mac, Entry { kind, updated: now, remotes: vec![host] });
            return Ok(());
        };
        if change == Change::Add {
            return Err(Errno::Exist);
        }
        if entry.kind != kind {
            entry.kind = kind;
            entry.updated = now;
        }
        match change {
            Change::Replace => entry.remotes = vec![host],
            // Another host for a single MAC changes nothing, without a word.
            Change::Append if is_list(mac) && !entry.remotes.contains(&host) => {
                if entry.remotes.len() >= MAX_REMOTES {
                    return Err(Errno::NoBufs);
                }
                entry.remotes.push(host);
            }
            Change::Append | Change::Add => {}
        }
        Ok(())
    }

    /// `bridge fdb del`: one host of an entry, or all of it.
    ///
    /// # Errors
    /// `NoEnt` where there is no such entry; a host that it does not have is no error.
    pub(crate) fn delete(&mut self, mac: Mac, host: Option<Remote>, now: SimTime) -> Result<(), Errno> {
        if self.find(mac, now).is_none() {
            return Err(Errno::NoEnt);
        }
        let Some(entry) = self.entries.get_mut(&mac) else { return Err(Errno::NoEnt) };
        if let Some(host) = host {
            if !entry.remotes.contains(&host) {
                return Ok(());
            }
            if entry.remotes.len() > 1 {
                entry.remotes.retain(|remote| *remote != host);
                return Ok(());
            }
        }
        self.entries.remove(&mac);
        Ok(())
    }

    /// `vxlan_flush`: what is not permanent goes when the device goes down.
    pub(crate) fn flush_dynamic(&mut self) {
        self.entries.retain(|_, entry| entry.kind != EntryKind::Dynamic);
    }

    /// The entries that have not aged, by MAC (the kernel lists them in the order of its hash).
    pub fn list(&self, now: SimTime) -> Vec<(Mac, &Entry)> {
        let mut list: Vec<_> =
            self.entries.iter().filter(|(_, entry)| !self.aged(entry, now)).map(|(mac, entry)| (*mac, entry)).collect();
        list.sort_unstable_by_key(|(mac, _)| *mac);
        list
    }
}
