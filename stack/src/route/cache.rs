//! What was decided about packets that came in, remembered: the lookup and the judgement of the addresses are made once for all
//! packets that are alike in what both depend on. The kernel keeps its answers in the next hop instead (`rt_cache_route`).
//!
//! Exact: an entry is used only where everything that the decision read is as it was. What was read is the key (addresses, input
//! device, TOS, the sysctls of `all`), or counts a generation (routes, rules, devices with their addresses and sysctls). Only plain
//! IPv4 unicast is remembered; policy rules (which look at anything) and multipath routes (which draw) are not.

use std::net::IpAddr;

use sim_core::Memo;

use super::lookup::{Found, Query, fib_lookup};
use super::{Flow, LOOPBACK, Route, RouteKind, is_multipath};
use crate::dev::device::DevId;
use crate::netns::Netns;
use crate::sysctl::Conf4;
use crate::view::be32;

/// Slots at first; a namespace that receives nothing has none.
const SLOTS_FIRST: usize = 16;
/// Slots at most.
const SLOTS_MAX: usize = 1024;

/// What an answer depends on, besides what counts a generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InputKey {
    src: u32,
    dst: u32,
    iif: u16,
    tos: u8,
    rp_filter: u8,
    switches: u8,
    generation: u64,
}

/// A packet that is let in: where it goes, and how strictly its source was checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted {
    pub(crate) route: Route,
    pub(crate) rp_filter: u8,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    key: InputKey,
    answer: Admitted,
    /// What was written down about it.
    memo: Memo,
}

/// The answers of a namespace: direct-mapped, grown while answers push each other out.
#[derive(Debug, Default)]
pub(crate) struct InputCache {
    slots: Vec<Option<Slot>>,
    conflicts: usize,
}

impl InputKey {
    /// The key of a packet; none where it is of a kind that is not remembered.
    #[inline]
    pub(crate) fn new(ns: &Netns, header: &[u8; 20], iif: DevId) -> Option<InputKey> {
        let rib = &ns.routes.v4;
        if rib.rules.is_some() || iif == LOOPBACK {
            return None;
        }
        let Conf4 { rp_filter, route_localnet, accept_local, drop_unicast_in_l2_multicast, .. } = ns.sysctls.all4;
        let switches = u8::from(route_localnet) | u8::from(accept_local) << 1 | u8::from(drop_unicast_in_l2_multicast) << 2;
        Some(InputKey {
            src: be32(header, 12),
            dst: be32(header, 16),
            iif: iif.0,
            tos: header[1],
            rp_filter,
            switches,
            generation: rib.generation() + ns.devices.generation(),
        })
    }

    #[inline]
    fn slot(&self, slots: usize) -> usize {
        let mixed = (u64::from(self.src) << 32 | u64::from(self.dst)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(self.iif);
        // The high bits are the mixed ones.
        (mixed.rotate_left(20)) as usize & (slots - 1)
    }
}

impl InputCache {
    /// What was decided about such a packet.
    #[inline]
    pub(crate) fn get(&mut self, key: &InputKey) -> Option<(&Admitted, &mut Memo)> {
        if self.slots.is_empty() {
            return None;
        }
        let slot = key.slot(self.slots.len());
        match &mut self.slots[slot] {
            Some(slot) if slot.key == *key => Some((&slot.answer, &mut slot.memo)),
            _ => None,
        }
    }

    fn insert(&mut self, key: InputKey, answer: Admitted) {
        if self.slots.is_empty() || (self.conflicts > self.slots.len() && self.slots.len() < SLOTS_MAX) {
            let slots = (self.slots.len() * 2).max(SLOTS_FIRST);
            self.slots = vec![None; slots];
            self.conflicts = 0;
        }
        let count = self.slots.len();
        let slot = &mut self.slots[key.slot(count)];
        if slot.is_some_and(|old| old.key.generation == key.generation) {
            self.conflicts += 1;
        }
        *slot = Some(Slot { key, answer, memo: Memo::default() });
    }
}

/// Remembers that a packet was let in, where that holds for every packet with this key.
pub(crate) fn remember(ns: &mut Netns, key: InputKey, flow: &Flow, answer: Admitted) {
    if !matches!(answer.route.kind, RouteKind::Local | RouteKind::Unicast) {
        return;
    }
    let special = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified(),
        IpAddr::V6(_) => true,
    };
    if special(flow.src) || special(flow.dst) {
        return;
    }
    let one_way = match fib_lookup(ns, &Query::new(flow, DevId::NONE)) {
        Found::Hit(hit) => !is_multipath(ns, flow.family, &hit),
        Found::Rule(..) | Found::Nothing => false,
    };
    if one_way {
        ns.inputs.insert(key, answer);
    }
}
