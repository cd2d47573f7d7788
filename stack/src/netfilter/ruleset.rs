//! Tables, chains and rules as they are walked (`struct ipt_entry`).
//!
//! A [`Table`] is immutable while it is walked and shared by `Arc`; what changes with every packet (counters, the state of
//! `limit` and the like) stands beside it, in [`Counts`]. Each rule has a [`Block`] of fixed size with everything that most
//! rules test: a packet is compared with it first, and only then with the extended matches, as the kernel does.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::hook::Hook;
use super::index::{Index, Key};
use super::matches::Match;
use super::targets::Target;
use super::{TableName, Variant};
use crate::addr::Family;
use crate::provenance::ProvId;
use crate::view::proto;

/// An address and a mask, both left-aligned in 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Net {
    pub(crate) addr: u128,
    pub(crate) mask: u128,
    pub(crate) invert: bool,
}

impl Net {
    pub(crate) fn is_any(self) -> bool {
        self.mask == 0 && !self.invert
    }

    /// Length of the prefix, where the mask is one.
    pub(crate) fn prefix_len(self) -> Option<u8> {
        let ones = self.mask.leading_ones();
        (self.mask.count_ones() == ones).then_some(ones as u8)
    }
}

/// An address, left-aligned in 128 bits.
#[inline]
pub(crate) fn aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The inverse of [`aligned`].
pub(crate) fn unaligned(bits: u128, family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from((bits >> 96) as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

/// `-i`, `-o`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct IfMatch {
    pub(crate) name: Arc<str>,
    /// Whether it ended in `+`, which is not part of `name`.
    pub(crate) prefix: bool,
    pub(crate) invert: bool,
}

impl IfMatch {
    pub(crate) fn fits(&self, device: Option<&str>) -> bool {
        let name = device.unwrap_or("");
        let same = if self.prefix { name.starts_with(&*self.name) } else { name == &*self.name };
        same != self.invert
    }
}

/// What a rule tests without extensions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Base {
    pub(crate) src: Net,
    pub(crate) dst: Net,
    pub(crate) iin: Option<IfMatch>,
    pub(crate) out: Option<IfMatch>,
    /// 0: any.
    pub(crate) proto: u8,
    pub(crate) not_proto: bool,
    /// `-f`: only fragments behind the first (`Some(true)`), or all but those.
    pub(crate) fragment: Option<bool>,
}

impl Base {
    /// Whether the rule asks for this protocol, without `!`.
    pub(crate) fn is_proto(&self, number: u8) -> bool {
        self.proto == number && !self.not_proto
    }
}

/// One rule.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Rule {
    pub(crate) base: Base,
    /// All extended matches, in the order in which they are printed and tested.
    pub(crate) matches: Box<[Match]>,
    pub(crate) target: Target,
    pub(crate) prov: ProvId,
    /// Where it stands in its input: line and column of its target (or its beginning), from 1.
    pub(crate) place: (u32, u32),
    /// Names the rule in random choices: a hash of chain and text, where it draws some.
    pub(crate) key: u64,
}

mod flag {
    pub(super) const NOT_SRC: u16 = 1;
    pub(super) const NOT_DST: u16 = 1 << 1;
    pub(super) const NOT_PROTO: u16 = 1 << 2;
    pub(super) const IFACE: u16 = 1 << 3;
    pub(super) const FRAGMENT: u16 = 1 << 4;
    pub(super) const NOT_FRAGMENT: u16 = 1 << 5;
    pub(super) const PORTS: u16 = 1 << 6;
    pub(super) const NOT_SPORT: u16 = 1 << 7;
    pub(super) const NOT_DPORT: u16 = 1 << 8;
    pub(super) const SRC: u16 = 1 << 9;
    pub(super) const DST: u16 = 1 << 10;
    pub(super) const ODD_MASK: u16 = 1 << 11;
    pub(super) const MORE: u16 = 1 << 12;
}

/// The fixed part of a rule: one cache line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Block {
    src: u128,
    dst: u128,
    /// How far to shift so that only the prefix is left.
    src_shift: u8,
    dst_shift: u8,
    proto: u8,
    flags: u16,
    sport: (u16, u16),
    dport: (u16, u16),
}

const _: () = assert!(size_of::<Block>() <= 64, "a predicate block is one cache line");

/// What the blocks are compared with: read off a packet once per walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) src: u128,
    pub(crate) dst: u128,
    pub(crate) proto: u8,
    /// Ports of TCP, UDP, UDP-Lite, SCTP; none in a later fragment, or where the header is cut.
    pub(crate) ports: Option<(u16, u16)>,
    /// Offset in the whole, in units of 8 bytes.
    pub(crate) fragment_offset: u16,
}

/// What a block said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fit {
    No,
    /// The rule matches.
    Yes,
    /// So far; interfaces, odd masks or extended matches are still to be asked.
    SoFar,
}

impl Block {
    pub(crate) fn of(base: &Base, matches: &[Match]) -> Block {
        let mut flags = 0;
        let mut set = |on: bool, bit: u16| {
            if on {
                flags |= bit;
            }
        };
        set(base.src.invert, flag::NOT_SRC);
        set(base.dst.invert, flag::NOT_DST);
        set(base.not_proto, flag::NOT_PROTO);
        set(base.iin.is_some() || base.out.is_some(), flag::IFACE);
        set(base.fragment == Some(true), flag::FRAGMENT);
        set(base.fragment == Some(false), flag::NOT_FRAGMENT);
        let (src_len, dst_len) = (base.src.prefix_len(), base.dst.prefix_len());
        set(src_len.is_none() || dst_len.is_none(), flag::ODD_MASK);
        set(src_len.is_some() && !base.src.is_any(), flag::SRC);
        set(dst_len.is_some() && !base.dst.is_any(), flag::DST);
        let mut block = Block {
            src: base.src.addr,
            dst: base.dst.addr,
            src_shift: 128 - src_len.unwrap_or(0),
            dst_shift: 128 - dst_len.unwrap_or(0),
            proto: base.proto,
            flags: 0,
            sport: (0, u16::MAX),
            dport: (0, u16::MAX),
        };
        let mut folded = false;
        for m in matches {
            match m.ports_alone() {
                Some(ports) if !folded => {
                    folded = true;
                    block.sport = ports.sport;
                    block.dport = ports.dport;
                    set(true, flag::PORTS);
                    set(ports.not_sport, flag::NOT_SPORT);
                    set(ports.not_dport, flag::NOT_DPORT);
                }
                _ => set(!m.is_remark(), flag::MORE),
            }
        }
        block.flags = flags;
        block
    }

    /// `ip_packet_match`, and the ports of `-m tcp`, `-m udp`.
    #[inline]
    pub(crate) fn fits(&self, seen: &Seen) -> Fit {
        let flags = self.flags;
        if flags & flag::DST != 0 {
            let same = (self.dst ^ seen.dst).checked_shr(u32::from(self.dst_shift)).unwrap_or(0) == 0;
            if same == (flags & flag::NOT_DST != 0) {
                return Fit::No;
            }
        }
        if flags & flag::SRC != 0 {
            let same = (self.src ^ seen.src).checked_shr(u32::from(self.src_shift)).unwrap_or(0) == 0;
            if same == (flags & flag::NOT_SRC != 0) {
                return Fit::No;
            }
        }
        if self.proto != 0 && (self.proto == seen.proto) == (flags & flag::NOT_PROTO != 0) {
            return Fit::No;
        }
        if flags & (flag::FRAGMENT | flag::NOT_FRAGMENT) != 0 {
            let later = seen.fragment_offset != 0;
            if later != (flags & flag::FRAGMENT != 0) {
                return Fit::No;
            }
        }
        if flags & flag::PORTS != 0 {
            // A later fragment, or a header that is cut, is left to the extended match, which knows about hot drops.
            let Some((sport, dport)) = seen.ports else { return Fit::SoFar };
            let inside = |port: u16, range: (u16, u16)| range.0 <= port && port <= range.1;
            if inside(sport, self.sport) == (flags & flag::NOT_SPORT != 0)
                || inside(dport, self.dport) == (flags & flag::NOT_DPORT != 0)
            {
                return Fit::No;
            }
        }
        if flags & (flag::IFACE | flag::ODD_MASK | flag::MORE) != 0 { Fit::SoFar } else { Fit::Yes }
    }
}

impl Block {
    /// What the rule can be found by: one destination, one source, or one port.
    pub(crate) fn key(&self, family: Family) -> Option<Key> {
        let plain = |on: u16, not: u16| self.flags & (on | not) == on;
        let host = 128 - family.bits();
        if plain(flag::DST, flag::NOT_DST) && self.dst_shift == host {
            return Some(Key::Dst(self.dst));
        }
        if plain(flag::SRC, flag::NOT_SRC) && self.src_shift == host {
            return Some(Key::Src(self.src));
        }
        let port = plain(flag::PORTS, flag::NOT_DPORT) && self.dport.0 == self.dport.1 && self.flags & flag::NOT_PROTO == 0;
        (port && self.proto != 0).then_some(Key::Dport(self.proto, self.dport.0))
    }
}

/// `ACCEPT` or `DROP`, of a base chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Policy {
    Accept,
    Drop,
}

impl Policy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Policy::Accept => "ACCEPT",
            Policy::Drop => "DROP",
        }
    }
}

/// A chain: its blocks stand together, the rest of its rules apart.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Chain {
    pub(crate) name: Arc<str>,
    /// Of a base chain.
    pub(crate) policy: Option<Policy>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) prov: ProvId,
    /// Built when the chain is installed; gone when it changes.
    pub(crate) index: Option<Box<Index>>,
}

impl Chain {
    pub(crate) fn new(name: &str, policy: Option<Policy>, prov: ProvId) -> Chain {
        Chain { name: name.into(), policy, blocks: Vec::new(), rules: Vec::new(), prov, index: None }
    }

    pub(crate) fn insert(&mut self, at: usize, rule: Rule) {
        self.index = None;
        self.blocks.insert(at, Block::of(&rule.base, &rule.matches));
        self.rules.insert(at, rule);
    }

    pub(crate) fn remove(&mut self, at: usize) {
        self.index = None;
        self.blocks.remove(at);
        self.rules.remove(at);
    }
}

/// One table of one family. A chain keeps its slot for as long as it lives; jumps name slots.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Table {
    pub(crate) name: TableName,
    pub(crate) family: Family,
    pub(crate) variant: Variant,
    pub(crate) chains: Vec<Option<Arc<Chain>>>,
    pub(crate) by_name: BTreeMap<Arc<str>, u32>,
    /// How many slots for the state of matches (`limit`, `quota`, `statistic --mode nth`) were given out.
    pub(crate) slots: u32,
    /// Whether a rule needs connection tracking.
    pub(crate) needs_conntrack: bool,
}

/// The base chains of a table, in the order in which `iptables-save` prints them.
pub(crate) fn base_chains(table: TableName) -> &'static [(Hook, &'static str)] {
    use Hook::*;
    match table {
        TableName::Raw => &[(PreRouting, "PREROUTING"), (Output, "OUTPUT")],
        TableName::Mangle => {
            &[(PreRouting, "PREROUTING"), (Input, "INPUT"), (Forward, "FORWARD"), (Output, "OUTPUT"), (PostRouting, "POSTROUTING")]
        }
        TableName::Nat => &[(PreRouting, "PREROUTING"), (Input, "INPUT"), (Output, "OUTPUT"), (PostRouting, "POSTROUTING")],
        TableName::Filter | TableName::Security => &[(Input, "INPUT"), (Forward, "FORWARD"), (Output, "OUTPUT")],
    }
}

impl Table {
    /// A table with its base chains, all empty and accepting.
    pub(crate) fn new(name: TableName, family: Family, variant: Variant) -> Table {
        let mut table =
            Table { name, family, variant, chains: Vec::new(), by_name: BTreeMap::new(), slots: 0, needs_conntrack: false };
        for (_, chain) in base_chains(name) {
            table.add_chain(Chain::new(chain, Some(Policy::Accept), ProvId::default()));
        }
        table
    }

    /// The slot of the base chain at a hook: they come first, in the order of [`base_chains`].
    #[inline]
    pub(crate) fn base(&self, hook: Hook) -> Option<u32> {
        base_chains(self.name).iter().position(|&(at, _)| at == hook).map(|at| at as u32)
    }

    #[inline]
    pub(crate) fn chain(&self, slot: u32) -> &Arc<Chain> {
        self.chains[slot as usize].as_ref().expect("a slot that a rule or a name points at is taken")
    }

    /// A chain to be changed: copied where a record may still name it.
    pub(crate) fn chain_mut(&mut self, slot: u32) -> &mut Chain {
        Arc::make_mut(self.chains[slot as usize].as_mut().expect("a slot that a rule or a name points at is taken"))
    }

    pub(crate) fn add_chain(&mut self, chain: Chain) -> u32 {
        let slot = self.chains.len() as u32;
        self.by_name.insert(chain.name.clone(), slot);
        self.chains.push(Some(Arc::new(chain)));
        slot
    }

    /// Builds the index of each chain that changed.
    pub(crate) fn build_indexes(&mut self) {
        let family = self.family;
        for chain in self.chains.iter_mut().flatten().filter(|chain| chain.index.is_none()) {
            if let Some(index) = Index::of(&chain.blocks, family) {
                Arc::make_mut(chain).index = Some(index);
            }
        }
    }

    /// Slots as `iptables-save` orders them: base chains by hook, then the others by name.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = u32> + '_ {
        let base = base_chains(self.name).len() as u32;
        (0..base).chain(self.by_name.values().copied().filter(move |&slot| slot >= base))
    }
}

/// Packets and bytes.
pub(crate) type Count = (u64, u64);

/// The counters of a chain.
#[derive(Clone, Default, Debug)]
pub(crate) struct ChainCounts {
    pub(crate) policy: Count,
    pub(crate) rules: Vec<Count>,
}

/// What of a table changes with every packet.
#[derive(Clone, Default, Debug)]
pub(crate) struct Counts {
    /// By slot of the chain.
    pub(crate) chains: Vec<ChainCounts>,
    /// The state of matches, by their slot.
    pub(crate) states: FxHashMap<u32, [u64; 2]>,
}

impl Counts {
    /// Grows to the shape of a table.
    pub(crate) fn fit(&mut self, table: &Table) {
        self.chains.resize_with(table.chains.len(), ChainCounts::default);
        for (counts, chain) in self.chains.iter_mut().zip(&table.chains) {
            counts.rules.resize(chain.as_ref().map_or(0, |chain| chain.rules.len()), (0, 0));
        }
    }
}

impl Seen {
    /// Reads the headers. `skb` must have been parsed.
    #[inline]
    pub(crate) fn of(skb: &crate::skb::Skb) -> Seen {
        let ip = skb.ip();
        let (src, dst, fragment_offset) = match skb.ip_version() {
            Family::V4 => {
                let word = |at: usize| u128::from(crate::view::be32(ip, at)) << 96;
                (word(12), word(16), crate::view::be16(ip, 6) & 0x1fff)
            }
            Family::V6 => {
                let wide = |at: usize| {
                    let mut octets = [0; 16];
                    octets.copy_from_slice(&ip[at..at + 16]);
                    u128::from_be_bytes(octets)
                };
                (wide(8), wide(24), fragment_offset_v6(skb))
            }
        };
        let l4 = skb.transport();
        let with_ports = matches!(skb.l4proto, proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP | 33);
        let whole = match skb.l4proto {
            proto::TCP => l4.len() >= 20,
            _ => l4.len() >= 8,
        };
        let ports = (with_ports && whole && fragment_offset == 0).then(|| (crate::view::be16(l4, 0), crate::view::be16(l4, 2)));
        Seen { src, dst, proto: skb.l4proto, ports, fragment_offset }
    }
}

fn fragment_offset_v6(skb: &crate::skb::Skb) -> u16 {
    // Only a packet with extension headers can be a fragment.
    if skb.l4 == skb.l3 + 40 {
        return 0;
    }
    let headers = crate::view::parse(skb.packet.bytes(), usize::from(skb.l3));
    headers.ok().and_then(|headers| headers.fragment).map_or(0, |fragment| fragment.offset / 8)
}
