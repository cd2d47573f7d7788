//! The neighbour table: entries, their states and timers (`net/core/neighbour.c`).
//!
//! ```text
//!   NONE --packet--> INCOMPLETE --answer--> REACHABLE --time--> STALE --packet--> DELAY --time--> PROBE
//!                        |                      ^                                   |               |
//!                        | 3 probes             +----------- answer, or a proof from above ---------+
//!                        v                                                                          | 3 probes
//!                     FAILED <----------------------------------------------------------------------+
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

use rustc_hash::FxHashMap;
use sim_core::SimTime;

use super::{NeighInfo, NeighState};
use crate::Cx;
use crate::addr::{Family, Mac};
use crate::dev::device::DevId;
use crate::netns::Netns;
use crate::route::fib::bits;
use crate::skb::Skb;
use crate::timer::{Timer, TimerKey};
use crate::trace::purpose;

/// Entries of one namespace (`gc_thresh3` would be 1024; a large flat network may have more).
pub(crate) const ENTRIES_LIMIT: usize = 1 << 16;

/// Neighbours whose places are remembered.
const RECENT: usize = 4;

/// Device and address, packed for the hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key {
    address: u128,
    /// The device's slot, and one bit for the family.
    dev: u32,
}

impl Key {
    #[inline]
    pub(crate) fn new(dev: DevId, address: IpAddr) -> Key {
        Key { address: bits(address), dev: u32::from(dev.0) << 1 | u32::from(address.is_ipv6()) }
    }

    /// Its place among the recent ones.
    #[inline]
    fn recent(&self) -> usize {
        // The last bits of an address of either family, and those of the device.
        ((self.address >> 96) as u32 ^ self.address as u32 ^ self.dev >> 1) as usize % RECENT
    }
}

/// One neighbour (`struct neighbour`).
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) dev: DevId,
    pub(crate) address: IpAddr,
    pub(crate) mac: Mac,
    pub(crate) state: NeighState,
    pub(crate) router: bool,
    /// When the binding last changed: `locktime` counts from here.
    pub(crate) updated: SimTime,
    /// When somebody last proved that the neighbour answers.
    pub(crate) confirmed: SimTime,
    /// Until when it counts as REACHABLE without another proof.
    pub(crate) fresh_until: SimTime,
    /// When a packet last used it while it was valid but not proven.
    pub(crate) used: SimTime,
    /// Questions asked so far, in this state.
    pub(crate) probes: u8,
    pub(crate) timer: Option<TimerKey>,
    /// Packets that wait for the answer.
    pub(crate) waiting: VecDeque<Skb>,
}

/// Duplicate address detection of one address of ours.
#[derive(Debug)]
pub(crate) struct Dad {
    pub(crate) timer: Option<TimerKey>,
    /// Questions still to be asked.
    pub(crate) left: u8,
}

/// The neighbour table of a namespace, both families.
#[derive(Debug, Default)]
pub struct Neighbours {
    index: FxHashMap<Key, u32>,
    /// Where some of those that packets went to last stand, so that most need no look into the index.
    recent: [Option<(Key, u32)>; RECENT],
    /// Slots; none: free.
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// `ip neigh add proxy`.
    pub(crate) proxies: BTreeSet<(DevId, IpAddr)>,
    /// Addresses of ours that are tentative.
    pub(crate) dad: BTreeMap<(DevId, Ipv6Addr), Dad>,
    /// The last moment that the table was told of: what has grown STALE by then is listed as STALE.
    now: SimTime,
}

/// What an entry is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// Proven, or set by hand.
    Known(Mac),
    /// Known, but its proof is old.
    Aging(Mac),
    /// Nothing is known.
    Unknown,
}

impl Neighbours {
    /// All entries, in the order of device and address; STALE is told as of the last packet, or of [`Neighbours::tick`].
    pub fn list(&self) -> Vec<NeighInfo> {
        let entries = self.slots.iter().flatten().map(|entry| NeighInfo {
            dev: entry.dev,
            address: entry.address,
            mac: has_mac(entry.state).then_some(entry.mac),
            state: entry.state_at(self.now),
            proxy: false,
            router: entry.router,
        });
        let proxies = self.proxies.iter().map(|&(dev, address)| NeighInfo {
            dev,
            address,
            mac: None,
            state: NeighState::None,
            proxy: true,
            router: false,
        });
        let mut all: Vec<NeighInfo> = entries.chain(proxies).collect();
        all.sort_by_key(|info| (info.proxy, info.dev, info.address));
        all
    }

    /// Tells the table the time, before it is listed.
    pub fn tick(&mut self, now: SimTime) {
        self.now = self.now.max(now);
    }

    /// What is known of a neighbour. One comparison, or one hash.
    #[inline]
    pub(crate) fn reach(&mut self, key: Key, now: SimTime) -> Reach {
        self.now = now;
        let recent = &mut self.recent[key.recent()];
        let slot = match *recent {
            Some((known, slot)) if known == key => slot,
            _ => {
                let Some(&slot) = self.index.get(&key) else { return Reach::Unknown };
                *recent = Some((key, slot));
                slot
            }
        };
        let Some(entry) = &self.slots[slot as usize] else { return Reach::Unknown };
        match entry.state {
            NeighState::Permanent | NeighState::Noarp => Reach::Known(entry.mac),
            NeighState::Reachable if now <= entry.fresh_until => Reach::Known(entry.mac),
            NeighState::Reachable | NeighState::Stale => Reach::Aging(entry.mac),
            NeighState::Delay | NeighState::Probe => Reach::Known(entry.mac),
            NeighState::None | NeighState::Incomplete | NeighState::Failed => Reach::Unknown,
        }
    }

    /// Whether a neighbour was asked and has not answered (yet).
    pub(crate) fn is_silent(&self, dev: DevId, address: IpAddr) -> bool {
        let slot = self.index.get(&Key::new(dev, address));
        slot.and_then(|&slot| self.slots[slot as usize].as_ref()).is_some_and(|entry| !has_mac(entry.state))
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Entry> {
        let slot = *self.index.get(&key)?;
        self.slots[slot as usize].as_mut()
    }

    /// The entry of a neighbour, made if need be; none where the table is full.
    pub(crate) fn entry(&mut self, key: Key, dev: DevId, address: IpAddr) -> Option<&mut Entry> {
        let slot = match self.index.get(&key) {
            Some(&slot) => slot,
            None => {
                if self.index.len() >= ENTRIES_LIMIT {
                    return None;
                }
                let slot = self.free.pop().unwrap_or_else(|| {
                    self.slots.push(None);
                    (self.slots.len() - 1) as u32
                });
                self.index.insert(key, slot);
                slot
            }
        };
        Some(self.slots[slot as usize].get_or_insert_with(|| Entry {
            dev,
            address,
            mac: Mac::ZERO,
            state: NeighState::None,
            router: false,
            updated: SimTime::ZERO,
            confirmed: SimTime::ZERO,
            fresh_until: SimTime::ZERO,
            used: SimTime::ZERO,
            probes: 0,
            timer: None,
            waiting: VecDeque::new(),
        }))
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Entry> {
        let slot = self.index.remove(&key)?;
        self.recent[key.recent()] = None;
        self.free.push(slot);
        self.slots[slot as usize].take()
    }

    /// The entries of a device.
    pub(crate) fn of_device(&self, dev: DevId, family: Family) -> Vec<Key> {
        let of = |entry: &&Entry| entry.dev == dev && Family::of(entry.address) == family;
        self.slots.iter().flatten().filter(of).map(|entry| Key::new(entry.dev, entry.address)).collect()
    }

    /// Whether an address of a device is still being asked for.
    pub(crate) fn is_tentative(&self, dev: DevId, own: Ipv6Addr) -> bool {
        !self.dad.is_empty() && self.dad.contains_key(&(dev, own))
    }

    pub(crate) fn is_tentative_ip(&self, dev: DevId, own: IpAddr) -> bool {
        matches!(own, IpAddr::V6(own) if self.is_tentative(dev, own))
    }

    pub(crate) fn dad_is_due(&self, dev: DevId, own: Ipv6Addr) -> bool {
        self.dad.get(&(dev, own)).is_some_and(|dad| dad.timer.is_some())
    }
}

impl Entry {
    /// What `ip neigh` would say at a time: REACHABLE wears off.
    fn state_at(&self, now: SimTime) -> NeighState {
        if self.state == NeighState::Reachable && now > self.fresh_until { NeighState::Stale } else { self.state }
    }
}

fn has_mac(state: NeighState) -> bool {
    !matches!(state, NeighState::None | NeighState::Incomplete | NeighState::Failed)
}

/// `neigh_rand_reach_time`: 0.5 to 1.5 of the base, fixed for a device and a run.
fn reachable_time(ns: &Netns, cx: &Cx<'_>, dev: DevId, address: IpAddr) -> SimTime {
    let base = super::params(ns, dev, address).base_reachable_time.as_nanos();
    let key = sim_core::choice::key_of(ns.name.as_bytes()) ^ (u64::from(dev.0) << 1 | u64::from(address.is_ipv6()));
    let number = sim_core::choice::hash(cx.seed(), purpose::REACHABLE_TIME, key, 0);
    SimTime(base / 2 + ((u128::from(number) * u128::from(base)) >> 64) as u64)
}

fn arm(ns: &mut Netns, cx: &mut Cx<'_>, key: Key, after: SimTime) {
    let Some(entry) = ns.neighbours.get_mut(key) else { return };
    let timer = Timer::Neighbour(entry.dev, entry.address);
    if let Some(old) = entry.timer.take() {
        ns.timers.cancel(old);
    }
    let armed = ns.timers.arm(cx, cx.now() + after, timer);
    if let Some(entry) = ns.neighbours.get_mut(key) {
        entry.timer = Some(armed);
    }
}

fn disarm(ns: &mut Netns, key: Key) {
    if let Some(timer) = ns.neighbours.get_mut(key).and_then(|entry| entry.timer.take()) {
        ns.timers.cancel(timer);
    }
}

/// A packet needs the neighbour, nothing is known: the first question is asked by the caller.
pub(super) fn enter_incomplete(ns: &mut Netns, cx: &mut Cx<'_>, key: Key) {
    let now = cx.now();
    let Some(entry) = ns.neighbours.get_mut(key) else { return };
    entry.state = NeighState::Incomplete;
    entry.updated = now;
    entry.probes = 1;
    let (dev, address) = (entry.dev, entry.address);
    let wait = super::params(ns, dev, address).retrans_time;
    arm(ns, cx, key, wait);
}

/// A packet used an entry whose proof is old.
pub(super) fn enter_delay(ns: &mut Netns, cx: &mut Cx<'_>, key: Key, wait: SimTime) {
    let now = cx.now();
    if let Some(entry) = ns.neighbours.get_mut(key) {
        entry.state = NeighState::Delay;
        entry.used = now;
        arm(ns, cx, key, wait);
    }
}

/// `neigh_timer_handler`.
pub(super) fn on_timer(ns: &mut Netns, cx: &mut Cx<'_>, key: Key) {
    let now = cx.now();
    ns.neighbours.tick(now);
    let Some(entry) = ns.neighbours.get_mut(key) else { return };
    entry.timer = None;
    let (dev, address, mac) = (entry.dev, entry.address, entry.mac);
    let params = super::params(ns, dev, address);
    let (ucast, mcast, wait) = (params.ucast_solicit, params.mcast_solicit, params.retrans_time);
    let delay = params.delay_first_probe_time;
    let reach = reachable_time(ns, cx, dev, address);
    let entry = ns.neighbours.get_mut(key).expect("nothing came in between");
    match entry.state {
        NeighState::Delay if entry.confirmed > SimTime::ZERO && now <= entry.confirmed + delay => {
            entry.state = NeighState::Reachable;
            entry.fresh_until = entry.confirmed + reach;
        }
        NeighState::Delay => {
            entry.state = NeighState::Probe;
            entry.probes = 0;
            probe(ns, cx, key, (ucast, wait), Some(mac));
        }
        NeighState::Probe => probe(ns, cx, key, (ucast, wait), Some(mac)),
        NeighState::Incomplete => probe(ns, cx, key, (mcast, wait), None),
        _ => {}
    }
}

/// One question more, or the end.
fn probe(ns: &mut Netns, cx: &mut Cx<'_>, key: Key, (limit, wait): (u8, SimTime), known: Option<Mac>) {
    let now = cx.now();
    let Some(entry) = ns.neighbours.get_mut(key) else { return };
    let (dev, address) = (entry.dev, entry.address);
    if entry.probes >= limit {
        entry.state = NeighState::Failed;
        entry.updated = now;
        return super::fail_all(ns, cx, key);
    }
    entry.probes += 1;
    // The kernel asks in the name of the packet that has waited longest.
    let source = entry.waiting.front().and_then(super::source_of);
    arm(ns, cx, key, wait);
    super::solicit(ns, cx, dev, address, known, source);
}

/// How a message may change an entry (`NEIGH_UPDATE_F_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Update {
    /// Also where another MAC is known.
    pub(super) overrides: bool,
    /// Where another MAC is known: keep it, but trust it no longer (NDP).
    pub(super) weak: bool,
    /// Whether the neighbour says that it is a router; none: it does not say.
    pub(super) router: Option<bool>,
}

/// `neigh_update`: a message tells a binding. Whether the entry took it.
pub(super) fn update(ns: &mut Netns, cx: &mut Cx<'_>, key: Key, mac: Option<Mac>, state: NeighState, how: Update) -> bool {
    let now = cx.now();
    let Some(entry) = ns.neighbours.get_mut(key) else { return false };
    let (dev, address) = (entry.dev, entry.address);
    let old = entry.state_at(now);
    if matches!(old, NeighState::Permanent | NeighState::Noarp) {
        return false;
    }
    let valid = has_mac(old);
    let mut new = state;
    let mut mac = match mac {
        Some(mac) => mac,
        None if valid => entry.mac,
        None => return false,
    };
    let reach = reachable_time(ns, cx, dev, address);
    let entry = ns.neighbours.get_mut(key).expect("nothing came in between");
    if new == NeighState::Reachable {
        entry.confirmed = now;
        entry.fresh_until = now + reach;
    }
    let mut router = how.router;
    if valid {
        if mac != entry.mac && !how.overrides {
            router = None;
            if !how.weak || old != NeighState::Reachable {
                return false;
            }
            mac = entry.mac;
            new = NeighState::Stale;
        } else if mac == entry.mac && new == NeighState::Stale {
            new = old;
        }
    }
    if new != old || mac != entry.mac {
        entry.updated = now;
    }
    if mac != entry.mac {
        entry.mac = mac;
        if new != NeighState::Reachable {
            entry.confirmed = SimTime::ZERO;
        }
    }
    entry.state = new;
    if let Some(router) = router {
        entry.router = router;
    }
    if new != old {
        disarm(ns, key);
    }
    if !valid {
        super::release(ns, cx, key);
    }
    true
}

/// The administrator sets an entry.
pub(super) fn force(ns: &mut Netns, cx: &mut Cx<'_>, key: Key, mac: Option<Mac>, state: NeighState) {
    disarm(ns, key);
    let now = cx.now();
    let Some(entry) = ns.neighbours.get_mut(key) else { return };
    let (dev, address) = (entry.dev, entry.address);
    let reach = reachable_time(ns, cx, dev, address);
    let delay = super::params(ns, dev, address).delay_first_probe_time;
    let entry = ns.neighbours.get_mut(key).expect("nothing came in between");
    entry.mac = mac.unwrap_or(entry.mac);
    entry.state = state;
    entry.updated = now;
    entry.probes = 0;
    match state {
        NeighState::Reachable => {
            entry.confirmed = now;
            entry.fresh_until = now + reach;
        }
        NeighState::Delay => arm(ns, cx, key, delay),
        NeighState::Probe => arm(ns, cx, key, SimTime::ZERO),
        _ => {}
    }
}

/// `dst_confirm`, `neigh_confirm`: a socket heard from behind the neighbour; what it knows is proven.
pub(crate) fn confirm(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, address: IpAddr) {
    let now = cx.now();
    let reach = reachable_time(ns, cx, dev, address);
    if let Some(entry) = ns.neighbours.get_mut(Key::new(dev, address))
        && has_mac(entry.state)
    {
        entry.confirmed = now;
        if entry.state == NeighState::Reachable {
            entry.fresh_until = now + reach;
        }
    }
}
