//! Tables, chains, sets and rules of nft as they are walked and printed.
//!
//! A [`Ruleset`] is immutable while it is walked; a transaction works on a copy, of which only what it touches is copied. What
//! changes with every packet stands beside it, in [`super::State`]: rules name slots.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use sim_core::SimTime;

use super::types::Ty;
use crate::addr::Family;
use crate::netfilter::hook::Hook;
use crate::provenance::ProvId;

/// The family of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TableFamily {
    Ip,
    Ip6,
    Inet,
}

impl TableFamily {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            TableFamily::Ip => "ip",
            TableFamily::Ip6 => "ip6",
            TableFamily::Inet => "inet",
        }
    }

    /// Whether it sees packets of this IP version.
    pub(crate) fn sees(self, family: Family) -> bool {
        match self {
            TableFamily::Ip => family == Family::V4,
            TableFamily::Ip6 => family == Family::V6,
            TableFamily::Inet => true,
        }
    }

    /// The one IP version of its packets.
    pub(crate) fn only(self) -> Option<Family> {
        match self {
            TableFamily::Ip => Some(Family::V4),
            TableFamily::Ip6 => Some(Family::V6),
            TableFamily::Inet => None,
        }
    }
}

/// All tables of a namespace, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ruleset {
    pub(crate) tables: Vec<Arc<Table>>,
    /// Handles of tables given out.
    pub(crate) handles: u64,
    /// Slots of state given out.
    pub(crate) slots: u32,
    /// Sets whose elements packets may change.
    pub(crate) live: u32,
    /// Base chains registered so far.
    pub(crate) registered: u32,
}

/// A chain of a rule set: its table and its slot there, in one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ChainId(pub(crate) u32);

const SLOT_BITS: u32 = 20;
/// Chains (or sets) of one table; tables of one namespace.
pub(crate) const SLOTS: usize = 1 << SLOT_BITS;
pub(crate) const TABLES: usize = 1 << (32 - SLOT_BITS - 1);

impl ChainId {
    pub(crate) fn new(table: usize, slot: u32) -> ChainId {
        ChainId((table as u32) << SLOT_BITS | slot)
    }

    pub(crate) fn table(self) -> usize {
        (self.0 >> SLOT_BITS) as usize
    }

    pub(crate) fn slot(self) -> u32 {
        self.0 & (SLOTS as u32 - 1)
    }
}

impl Ruleset {
    pub(crate) fn chain(&self, id: ChainId) -> Option<(&Table, &Chain)> {
        let table = self.tables.get(id.table())?;
        Some((table, table.chains.get(id.slot() as usize)?.as_deref()?))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) family: TableFamily,
    pub(crate) name: Arc<str>,
    pub(crate) handle: u64,
    pub(crate) comment: Option<Arc<str>>,
    pub(crate) dormant: bool,
    /// A chain keeps its slot for as long as it lives; jumps name slots.
    pub(crate) chains: Vec<Option<Arc<Chain>>>,
    pub(crate) sets: Vec<Option<Arc<Set>>>,
    pub(crate) objects: Vec<Option<Arc<Object>>>,
    /// Handles of what is in it given out.
    pub(crate) handles: u64,
}

impl Table {
    pub(crate) fn chain_named(&self, name: &str) -> Option<u32> {
        self.chains.iter().position(|chain| chain.as_ref().is_some_and(|chain| &*chain.name == name)).map(|at| at as u32)
    }

    pub(crate) fn set_named(&self, name: &str) -> Option<u32> {
        self.sets.iter().position(|set| set.as_ref().is_some_and(|set| &*set.name == name)).map(|at| at as u32)
    }

    pub(crate) fn object_named(&self, name: &str) -> Option<u32> {
        self.objects.iter().position(|object| object.as_ref().is_some_and(|object| &*object.name == name)).map(|at| at as u32)
    }

    pub(crate) fn next_handle(&mut self) -> u64 {
        self.handles += 1;
        self.handles
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ChainKind {
    Filter,
    Nat,
    Route,
}

impl ChainKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
            ChainKind::Route => "route",
        }
    }
}

/// `struct nft_base_chain`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    pub(crate) kind: ChainKind,
    pub(crate) hook: Hook,
    pub(crate) priority: i32,
    pub(crate) drop: bool,
    /// Of two at one priority the younger comes first.
    pub(crate) order: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) name: Arc<str>,
    pub(crate) handle: u64,
    pub(crate) comment: Option<Arc<str>>,
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) prov: ProvId,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) handle: u64,
    pub(crate) stmts: Vec<Stmt>,
    pub(crate) comment: Option<Arc<str>>,
    pub(crate) prov: ProvId,
    /// Line and column in its input.
    pub(crate) place: (u32, u32),
    /// Names the rule in random choices.
    pub(crate) key: u64,
    /// The statements before this one can end the rule without a match.
    pub(crate) settled: usize,
}

/// What a stateful object counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ObjectKind {
    Counter,
    Quota { over: bool, bytes: u64 },
}

/// A named counter or quota.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) name: Arc<str>,
    pub(crate) handle: u64,
    pub(crate) comment: Option<Arc<str>>,
    pub(crate) kind: ObjectKind,
    /// Where it counts.
    pub(crate) slot: u32,
}

/// Where a rule goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Continue,
    Return,
    Jump { slot: u32, name: Arc<str> },
    Goto { slot: u32, name: Arc<str> },
}

/// How one part of an element is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    One,
    Prefix(u8),
    Range,
}

/// One field of an element: a value, or all from `lo` to `hi`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) lo: u128,
    pub(crate) hi: u128,
    pub(crate) form: Form,
}

impl Part {
    pub(crate) fn one(value: u128) -> Part {
        Part { lo: value, hi: value, form: Form::One }
    }

    pub(crate) fn holds(&self, value: u128) -> bool {
        self.lo <= value && value <= self.hi
    }
}

/// What a map gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Data {
    Verdict(Verdict),
    Values(Vec<Part>),
}

#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) key: Vec<Part>,
    pub(crate) data: Option<Data>,
    pub(crate) comment: Option<Arc<str>>,
    /// Milliseconds; its own timeout, where that differs from the set's.
    pub(crate) timeout: Option<u64>,
    /// When it is gone.
    pub(crate) expires: Option<SimTime>,
}

/// What a map's data are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum DataType {
    Verdict,
    Values(Vec<Ty>),
}

/// Fields of a concatenation at most.
pub(crate) const FIELDS: usize = 6;

/// A set or map, named or of one rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Set {
    pub(crate) name: Arc<str>,
    pub(crate) handle: u64,
    pub(crate) types: Vec<Ty>,
    /// `typeof ...`, as printed.
    pub(crate) of: Option<String>,
    pub(crate) data: Option<DataType>,
    pub(crate) constant: bool,
    pub(crate) interval: bool,
    pub(crate) dynamic: bool,
    pub(crate) timeouts: bool,
    pub(crate) auto_merge: bool,
    /// Milliseconds.
    pub(crate) timeout: Option<u64>,
    pub(crate) gc_interval: Option<u64>,
    pub(crate) size: Option<u32>,
    pub(crate) comment: Option<Arc<str>>,
    pub(crate) elements: Vec<Element>,
    /// Where its elements stand that packets added.
    pub(crate) live: Option<u32>,
    /// Positions in `elements` of those without ranges.
    pub(crate) index: FxHashMap<Box<[u128]>, u32>,
    /// Positions of the others; sorted, where there is one field and none overlap.
    pub(crate) ranges: Vec<u32>,
}

impl Set {
    /// Builds the ways to find elements.
    pub(crate) fn reindex(&mut self) {
        self.index.clear();
        self.ranges.clear();
        for (at, element) in self.elements.iter().enumerate() {
            if element.key.iter().all(|part| part.lo == part.hi) {
                self.index.insert(element.key.iter().map(|part| part.lo).collect(), at as u32);
            } else {
                self.ranges.push(at as u32);
            }
        }
        if self.types.len() == 1 {
            let elements = &self.elements;
            self.ranges.sort_by_key(|&at| elements[at as usize].key[0].lo);
        }
    }

    /// The element of a key.
    pub(crate) fn find(&self, key: &[u128]) -> Option<&Element> {
        if let Some(&at) = self.index.get(key) {
            return self.elements.get(at as usize);
        }
        if let [value] = *key {
            let behind = self.ranges.partition_point(|&at| self.elements[at as usize].key[0].lo <= value);
            let element = &self.elements[*self.ranges.get(behind.checked_sub(1)?)? as usize];
            return element.key[0].holds(value).then_some(element);
        }
        let holds = |element: &&Element| element.key.iter().zip(key).all(|(part, &value)| part.holds(value));
        self.ranges.iter().map(|&at| &self.elements[at as usize]).find(holds)
    }
}

/// A set that a rule uses.
#[derive(Clone, Debug)]
pub(crate) enum SetRef {
    /// Slot in the table.
    Named(u32, Arc<str>),
    Own(Arc<Set>),
}

/// Which header a field is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Header {
    Ether,
    Ip,
    Ip6,
    /// TCP, UDP, ...: the protocol's number.
    Transport(u8),
    Icmp,
    Icmp6,
    /// Whatever transport it is.
    Th,
}

/// A field of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Field {
    pub(crate) header: Header,
    pub(crate) protocol: &'static str,
    pub(crate) name: &'static str,
    pub(crate) ty: Ty,
    /// Where it begins, in bits.
    pub(crate) at: u16,
    /// How long it is, in bits.
    pub(crate) len: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meta {
    L4Proto,
    NfProto,
    Protocol,
    Mark,
    Iifname,
    Oifname,
    Iif,
    Oif,
    Skuid,
    Skgid,
    Pkttype,
    Length,
    Random,
    Priority,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CtKey {
    State,
    Status,
    Mark,
    Direction,
    Expiration,
    Zone,
    /// Of one direction, or of the packet's.
    L3Proto(Option<Side>),
    Protocol(Option<Side>),
    Saddr(Side, Family),
    Daddr(Side, Family),
    ProtoSrc(Side),
    ProtoDst(Side),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Original,
    Reply,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Fib {
    pub(crate) source: bool,
    pub(crate) mark: bool,
    pub(crate) iif: bool,
    pub(crate) oif: bool,
    /// `type` (else a device).
    pub(crate) kind: bool,
    /// `oifname`.
    pub(crate) name: bool,
}

/// What is read from a packet.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Const(u128, Ty),
    Payload(&'static Field),
    Meta(Meta),
    Ct(CtKey),
    Fib(Fib),
    Numgen {
        random: bool,
        modulus: u32,
        offset: u32,
        slot: u32,
    },
    Jhash {
        of: Vec<Expr>,
        modulus: u32,
        seed: Option<u32>,
        offset: u32,
    },
    /// `(x & and) ^ xor`.
    Bits {
        of: Box<Expr>,
        and: u128,
        xor: u128,
    },
    Concat(Vec<Expr>),
    Map {
        key: Box<Expr>,
        set: SetRef,
        data: Vec<Ty>,
    },
}

/// What an expression is compared with.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    Eq(u128),
    Ne(u128),
    Less(u128),
    Greater(u128),
    AtMost(u128),
    AtLeast(u128),
    In {
        part: Part,
        not: bool,
    },
    Set {
        set: SetRef,
        not: bool,
    },
    /// Any of the bits.
    Any(u128),
    /// None of them.
    NoneOf(u128),
    /// Just these of the bits of a mask.
    Masked {
        mask: u128,
        value: u128,
        not: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NatKind {
    Dnat,
    Snat,
    Masquerade,
    Redirect,
}

#[derive(Clone, Debug)]
pub(crate) struct Nat {
    pub(crate) kind: NatKind,
    /// Of the addresses.
    pub(crate) family: Option<Family>,
    pub(crate) address: Option<Target>,
    pub(crate) port: Option<Target>,
    /// `prefix to`.
    pub(crate) prefix: bool,
    pub(crate) random: bool,
    pub(crate) fully_random: bool,
    pub(crate) persistent: bool,
}

/// What a translation leads to.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Range(u128, u128),
    Of(Box<Expr>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reject {
    Reset,
    Icmp(u8),
    Icmp6(u8),
    Icmpx(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SetOp {
    Add,
    Update,
    Delete,
}

/// What a rule does, one after the other.
#[derive(Clone, Debug)]
pub(crate) enum Stmt {
    Match {
        left: Expr,
        test: Test,
    },
    Vmap {
        key: Expr,
        set: SetRef,
    },
    Verdict(Verdict),
    Counter(u32),
    CounterOf {
        name: Arc<str>,
        slot: u32,
    },
    Limit {
        rate: u64,
        unit: u64,
        over: bool,
        burst: u64,
        bytes: bool,
        slot: u32,
    },
    Quota {
        over: bool,
        bytes: u64,
        slot: u32,
    },
    QuotaOf {
        name: Arc<str>,
        over: bool,
        bytes: u64,
        slot: u32,
    },
    /// Writes a line into the kernel's log; its options as printed.
    Log(String),
    SetMark(Expr),
    SetCtMark(Expr),
    SetPayload {
        field: &'static Field,
        value: Expr,
    },
    Notrack,
    Reject(Reject),
    Nat(Box<Nat>),
    Update {
        op: SetOp,
        set: u32,
        name: Arc<str>,
        key: Expr,
        timeout: Option<u64>,
    },
    /// Real, and without a consequence here (`meta nftrace set 1`).
    Idle(&'static str),
}

impl Stmt {
    /// Whether it can end its rule without a verdict.
    pub(crate) fn may_break(&self) -> bool {
        match self {
            Stmt::Match { .. } | Stmt::Vmap { .. } | Stmt::Limit { .. } | Stmt::Quota { .. } | Stmt::QuotaOf { .. } => true,
            Stmt::SetMark(value) | Stmt::SetCtMark(value) | Stmt::SetPayload { value, .. } => !matches!(value, Expr::Const(..)),
            Stmt::Update { .. } => true,
            _ => false,
        }
    }

    /// Whether loading it switches connection tracking on (`nf_ct_netns_get`).
    pub(crate) fn needs_conntrack(&self) -> bool {
        match self {
            Stmt::Match { left, .. } => left.reads_conntrack(),
            Stmt::Vmap { key, .. } | Stmt::Update { key, .. } => key.reads_conntrack(),
            Stmt::SetMark(value) | Stmt::SetPayload { value, .. } => value.reads_conntrack(),
            Stmt::SetCtMark(_) | Stmt::Nat(_) => true,
            _ => false,
        }
    }
}

impl Expr {
    fn reads_conntrack(&self) -> bool {
        match self {
            Expr::Ct(_) => true,
            Expr::Bits { of, .. } => of.reads_conntrack(),
            Expr::Concat(all) | Expr::Jhash { of: all, .. } => all.iter().any(Expr::reads_conntrack),
            Expr::Map { key, .. } => key.reads_conntrack(),
            _ => false,
        }
    }

    /// How many bits it has; of a concatenation, the first field.
    pub(crate) fn width(&self) -> u8 {
        match self {
            Expr::Const(_, ty) => ty.bits(),
            Expr::Payload(field) => field.ty.bits(),
            Expr::Meta(meta) => meta.ty().bits(),
            Expr::Ct(key) => key.ty().bits(),
            Expr::Fib(fib) if fib.kind => Ty::FibType.bits(),
            Expr::Fib(_) => Ty::Ifindex.bits(),
            Expr::Numgen { .. } | Expr::Jhash { .. } => 32,
            Expr::Bits { of, .. } => of.width(),
            Expr::Concat(all) => all.first().map_or(32, Expr::width),
            Expr::Map { data, .. } => data.first().map_or(32, |ty| ty.bits()),
        }
    }

    /// The types of its fields.
    pub(crate) fn types(&self) -> Vec<Ty> {
        match self {
            Expr::Const(_, ty) => vec![*ty],
            Expr::Payload(field) => vec![field.ty],
            Expr::Meta(meta) => vec![meta.ty()],
            Expr::Ct(key) => vec![key.ty()],
            Expr::Fib(fib) => vec![if fib.kind { Ty::FibType } else { Ty::Ifindex }],
            Expr::Numgen { .. } | Expr::Jhash { .. } => vec![Ty::Integer(32)],
            Expr::Bits { of, .. } => of.types(),
            Expr::Concat(all) => all.iter().flat_map(Expr::types).collect(),
            Expr::Map { data, .. } => data.clone(),
        }
    }
}

impl Meta {
    pub(crate) fn ty(self) -> Ty {
        match self {
            Meta::L4Proto => Ty::Proto,
            Meta::NfProto => Ty::NfProto,
            Meta::Protocol => Ty::EtherType,
            Meta::Mark => Ty::Mark,
            Meta::Iifname | Meta::Oifname => Ty::Ifname,
            Meta::Iif | Meta::Oif => Ty::Ifindex,
            Meta::Skuid => Ty::Uid,
            Meta::Skgid => Ty::Gid,
            Meta::Pkttype => Ty::PktType,
            Meta::Length | Meta::Random | Meta::Priority => Ty::Integer(32),
        }
    }

    /// As it is printed; where it is one of those that may stand without `meta`, so.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Meta::L4Proto => "meta l4proto",
            Meta::NfProto => "meta nfproto",
            Meta::Protocol => "meta protocol",
            Meta::Mark => "meta mark",
            Meta::Iifname => "iifname",
            Meta::Oifname => "oifname",
            Meta::Iif => "iif",
            Meta::Oif => "oif",
            Meta::Skuid => "meta skuid",
            Meta::Skgid => "meta skgid",
            Meta::Pkttype => "meta pkttype",
            Meta::Length => "meta length",
            Meta::Random => "meta random",
            Meta::Priority => "meta priority",
        }
    }
}

impl CtKey {
    pub(crate) fn ty(self) -> Ty {
        match self {
            CtKey::State => Ty::CtState,
            CtKey::Status => Ty::CtStatus,
            CtKey::Mark => Ty::Mark,
            CtKey::Direction => Ty::CtDir,
            CtKey::Expiration => Ty::Time,
            CtKey::Zone => Ty::Integer(16),
            CtKey::L3Proto(_) => Ty::NfProto,
            CtKey::Protocol(_) => Ty::Proto,
            CtKey::Saddr(_, Family::V4) | CtKey::Daddr(_, Family::V4) => Ty::Ipv4,
            CtKey::Saddr(_, Family::V6) | CtKey::Daddr(_, Family::V6) => Ty::Ipv6,
            CtKey::ProtoSrc(_) | CtKey::ProtoDst(_) => Ty::Service,
        }
    }
}

/// A value as an address of a family.
pub(crate) fn address(value: u128, family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4((value as u32).into()),
        Family::V6 => IpAddr::V6(value.into()),
    }
}
