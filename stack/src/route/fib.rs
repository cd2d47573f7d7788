//! A routing table: longest prefix first, then TOS, metric and order (`net/ipv4/fib_trie.c`, `net/ipv6/ip6_fib.c`).
//!
//! One hash map for each prefix length that occurs, the longest first: a lookup probes as many maps as there are lengths (three
//! in most tables), and going on to a shorter prefix, as `linkdown` and `suppress_prefixlength` need, is the next probe.

use std::cmp::Ordering;
use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::FxHashMap;

use super::{Nexthop, RouteSpec, SpecKind};
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::provenance::ProvId;

/// `RT_SCOPE_*`.
pub(crate) mod scope {
    pub(crate) const UNIVERSE: u8 = 0;
    pub(crate) const SITE: u8 = 200;
    pub(crate) const LINK: u8 = 253;
    pub(crate) const HOST: u8 = 254;
    pub(crate) const NOWHERE: u8 = 255;
}

/// `RTPROT_*`.
pub(crate) mod protocol {
    pub(crate) const KERNEL: u8 = 2;
    pub(crate) const BOOT: u8 = 3;
}

/// `RT_TABLE_*`.
pub(crate) mod table {
    pub(crate) const DEFAULT: u32 = 253;
    pub(crate) const MAIN: u32 = 254;
    pub(crate) const LOCAL: u32 = 255;
}

/// The bits of an address, from the left, so that both families mask alike.
#[inline]
pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address of some bits.
pub(crate) fn address_of(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from(((bits >> 96) as u32).to_be_bytes()),
        Family::V6 => IpAddr::from(bits.to_be_bytes()),
    }
}

/// A mask of `len` ones, from the left.
#[inline]
pub(crate) fn mask(len: u8) -> u128 {
    if len == 0 { 0 } else { u128::MAX << (128 - u32::from(len)) }
}

/// One next hop (`struct fib_nh`, `struct fib6_nh`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hop {
    pub(crate) via: Option<IpAddr>,
    pub(crate) dev: DevId,
    pub(crate) weight: u32,
    pub(crate) onlink: bool,
    /// `nh_scope`: link where `via` is a neighbour, host where the destination is, nowhere for a local route.
    pub(crate) scope: u8,
    /// `RTNH_F_DEAD`: its device is down, and other next hops keep the route alive.
    pub(crate) dead: bool,
}

/// A route (`struct fib_alias` and its `fib_info`, or the siblings of a `fib6_info`).
#[derive(Clone, Debug)]
pub(crate) struct FibRoute {
    pub(crate) kind: SpecKind,
    pub(crate) tos: u8,
    pub(crate) metric: u32,
    pub(crate) scope: u8,
    pub(crate) protocol: u8,
    pub(crate) src: Option<IpAddr>,
    pub(crate) mtu: u32,
    pub(crate) mtu_lock: bool,
    pub(crate) pref: u8,
    pub(crate) hops: Vec<Hop>,
    pub(crate) prov: ProvId,
}

impl FibRoute {
    /// Whether two routes of one prefix are the same to the kernel (`fib_find_info`): all but who made them.
    pub(crate) fn same(&self, other: &FibRoute) -> bool {
        self.kind == other.kind
            && self.tos == other.tos
            && self.metric == other.metric
            && self.scope == other.scope
            && self.protocol == other.protocol
            && self.src == other.src
            && (self.mtu, self.mtu_lock) == (other.mtu, other.mtu_lock)
            && self.hops.len() == other.hops.len()
            && self.hops.iter().zip(&other.hops).all(|(a, b)| Hop { dead: b.dead, ..a.clone() } == *b)
    }

    /// The route as `ip route` would be told it.
    pub(crate) fn spec(&self, family: Family, prefix: u128, len: u8, table: u32) -> RouteSpec {
        let dst = IpNet::new(address_of(family, prefix), len).expect("a stored prefix is no longer than its family's addresses");
        let nexthop = |hop: &Hop| Nexthop { via: hop.via, dev: Some(hop.dev), weight: hop.weight, onlink: hop.onlink };
        RouteSpec {
            dst,
            kind: self.kind,
            nexthops: self.hops.iter().map(nexthop).collect(),
            src: self.src,
            metric: Some(self.metric),
            table: Some(table),
            scope: Some(self.scope),
            protocol: Some(self.protocol),
            tos: self.tos,
            mtu: (self.mtu != 0).then_some(self.mtu),
            mtu_lock: self.mtu_lock,
            pref: self.pref,
        }
    }
}

/// The routes of one prefix, in the order in which they are tried.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) prefix: u128,
    pub(crate) len: u8,
    pub(crate) routes: Vec<FibRoute>,
}

/// The prefixes of one length.
#[derive(Clone, Debug)]
struct Level {
    len: u8,
    mask: u128,
    leaves: FxHashMap<u128, u32>,
}

/// A routing table of one family.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// Longest first. No level is empty.
    levels: Vec<Level>,
    /// Slots; one without routes is free.
    leaves: Vec<Leaf>,
    free: Vec<u32>,
}

/// Where a lookup stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct At {
    pub(crate) leaf: u32,
    pub(crate) route: u16,
    pub(crate) hop: u16,
    pub(crate) len: u8,
}

impl Table {
    /// Offers the routes that cover an address, longest prefix first, until one of them is taken: `take` sees the routes of a
    /// prefix and answers with the places of one and of a next hop of it.
    #[inline]
    pub(crate) fn longest(&self, address: u128, mut take: impl FnMut(&[FibRoute]) -> Option<(u16, u16)>) -> Option<At> {
        for level in &self.levels {
            if let Some(&leaf) = level.leaves.get(&(address & level.mask))
                && let Some((route, hop)) = take(&self.leaves[leaf as usize].routes)
            {
                return Some(At { leaf, route, hop, len: level.len });
            }
        }
        None
    }

    /// The route at a place that [`Table::longest`] gave.
    #[inline]
    pub(crate) fn at(&self, at: At) -> &FibRoute {
        &self.leaves[at.leaf as usize].routes[at.route as usize]
    }

    /// The routes of a prefix.
    pub(crate) fn routes(&self, prefix: u128, len: u8) -> &[FibRoute] {
        self.find(prefix, len).map(|leaf| &self.leaves[leaf as usize].routes[..]).unwrap_or_default()
    }

    fn find(&self, prefix: u128, len: u8) -> Option<u32> {
        self.levels.iter().find(|level| level.len == len)?.leaves.get(&prefix).copied()
    }

    /// Changes the routes of a prefix, which is made if need be and forgotten once it has none.
    pub(crate) fn edit<T>(&mut self, prefix: u128, len: u8, change: impl FnOnce(&mut Vec<FibRoute>) -> T) -> T {
        let prefix = prefix & mask(len);
        let slot = match self.find(prefix, len) {
            Some(slot) => slot,
            None => self.insert_leaf(prefix, len),
        };
        let result = change(&mut self.leaves[slot as usize].routes);
        if self.leaves[slot as usize].routes.is_empty() {
            self.remove_leaf(slot);
        }
        result
    }

    fn insert_leaf(&mut self, prefix: u128, len: u8) -> u32 {
        let leaf = Leaf { prefix, len, routes: Vec::new() };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.leaves[slot as usize] = leaf;
                slot
            }
            None => {
                self.leaves.push(leaf);
                (self.leaves.len() - 1) as u32
            }
        };
        let at = self.levels.partition_point(|level| level.len > len);
        if self.levels.get(at).is_none_or(|level| level.len != len) {
            self.levels.insert(at, Level { len, mask: mask(len), leaves: FxHashMap::default() });
        }
        self.levels[at].leaves.insert(prefix, slot);
        slot
    }

    fn remove_leaf(&mut self, slot: u32) {
        let (prefix, len) = (self.leaves[slot as usize].prefix, self.leaves[slot as usize].len);
        let at = self.levels.partition_point(|level| level.len > len);
        self.levels[at].leaves.remove(&prefix);
        if self.levels[at].leaves.is_empty() {
            self.levels.remove(at);
        }
        self.free.push(slot);
    }

    /// Looks at every route, may change it, and keeps those for which `keep` says so. Whether any went.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u128, u8, &mut FibRoute) -> bool) -> bool {
        let mut gone = false;
        for slot in 0..self.leaves.len() {
            let leaf = &mut self.leaves[slot];
            if leaf.routes.is_empty() {
                continue;
            }
            let before = leaf.routes.len();
            let (prefix, len) = (leaf.prefix, leaf.len);
            leaf.routes.retain_mut(|route| keep(prefix, len, route));
            gone |= leaf.routes.len() != before;
            if leaf.routes.is_empty() {
                self.remove_leaf(slot as u32);
            }
        }
        gone
    }

    /// The prefixes in the order in which the kernel dumps them.
    pub(crate) fn dump(&self, family: Family) -> Vec<&Leaf> {
        let mut leaves: Vec<&Leaf> = self.leaves.iter().filter(|leaf| !leaf.routes.is_empty()).collect();
        leaves.sort_by(|a, b| match family {
            // fib_trie: by address, then the longer prefix first.
            Family::V4 => a.prefix.cmp(&b.prefix).then(b.len.cmp(&a.len)),
            // fib6: a walk of the tree, below before above.
            Family::V6 => post_order(a, b),
        });
        leaves
    }
}

fn post_order(a: &Leaf, b: &Leaf) -> Ordering {
    let common = mask(a.len.min(b.len));
    (a.prefix & common).cmp(&(b.prefix & common)).then(b.len.cmp(&a.len))
}
