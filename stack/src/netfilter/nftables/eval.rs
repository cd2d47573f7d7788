//! What the statements of a rule read from a packet and do to it (`net/netfilter/nft_*.c`).

use std::net::IpAddr;

use sim_core::SimTime;
use sim_core::choice::{self, Arms};

use super::model::{
    self, CtKey, Data, Element, Expr, FIELDS, Fib, Field, Header, Meta, Nat, NatKind, Part, Reject, Set, SetOp, SetRef, Side, Stmt,
    Table, Target, Test, Verdict,
};
use super::types::{address_bits, name_bits};
use crate::Cx;
use crate::addr::Family;
use crate::conntrack::nat::{self, Manip, NatRange};
use crate::conntrack::{CtInfo, CtView, Tuple};
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::netfilter::hook::HookState;
use crate::netfilter::ruleset::aligned;
use crate::netfilter::targets;
use crate::netns::Netns;
use crate::route::{self, Flow, RouteKind};
use crate::skb::{Ct, PktType, Skb};
use crate::trace::{Record, purpose};

/// What a statement led to.
pub(crate) enum Effect<'r> {
    /// On with the next statement.
    Next,
    /// The rule does not match.
    Break,
    Verdict(&'r Verdict),
    /// An address was chosen; the chain ends.
    Accept,
    Drop(DropReason),
}

/// A packet in a base chain.
pub(crate) struct Eval<'a, 'c, 'r> {
    pub(crate) ns: &'a mut Netns,
    pub(crate) cx: &'a mut Cx<'c>,
    pub(crate) state: &'a HookState,
    pub(crate) skb: &'a mut Skb,
    pub(crate) table: &'r Table,
    /// Names the rule in random choices.
    pub(crate) key: u64,
}

/// The fields of a concatenation.
struct Key {
    fields: [u128; FIELDS],
    len: usize,
}

const NSEC: u64 = 1_000_000_000;

impl<'r> Eval<'_, '_, 'r> {
    pub(crate) fn run(&mut self, stmt: &'r Stmt) -> Effect<'r> {
        let goes_on = match stmt {
            Stmt::Match { left, test } => self.test(left, test),
            Stmt::Vmap { key, set } => {
                return match self.lookup(key, set).and_then(|element| element.data.as_ref()) {
                    Some(Data::Verdict(verdict)) => Effect::Verdict(verdict),
                    _ => Effect::Break,
                };
            }
            Stmt::Verdict(verdict) => return Effect::Verdict(verdict),
            Stmt::Counter(slot) | Stmt::CounterOf { slot, .. } => {
                let len = self.skb.ip_len() as u64;
                let count = self.count(*slot);
                *count = [count[0].wrapping_add(1), count[1].wrapping_add(len)];
                true
            }
            Stmt::Limit { rate, unit, over, burst, bytes, slot } => self.limit((*rate, *unit, *burst), *bytes, *slot) != *over,
            Stmt::Quota { over, bytes, slot } | Stmt::QuotaOf { over, bytes, slot, .. } => {
                let len = self.skb.ip_len() as u64;
                let used = &mut self.count(*slot)[0];
                *used = used.saturating_add(len);
                (*used > *bytes) == *over
            }
            Stmt::Log(_) | Stmt::Idle(_) => true,
            Stmt::SetMark(value) => match self.read(value) {
                Some(value) => {
                    let (old, new) = (self.skb.mark, value as u32);
                    if old != new {
                        self.skb.mark = new;
                        self.cx.record(self.skb.id(), Record::Mark { old, new });
                    }
                    true
                }
                None => false,
            },
            Stmt::SetCtMark(value) => match self.read(value) {
                Some(value) => {
                    if let Ct::Entry(id, _) = self.skb.ct {
                        self.ns.conntrack.set_mark(id, value as u32);
                    }
                    true
                }
                None => false,
            },
            Stmt::SetPayload { field, value } => self.write(field, value),
            Stmt::Notrack => {
                if self.skb.ct == Ct::None {
                    self.skb.ct = Ct::Untracked;
                }
                true
            }
            Stmt::Reject(kind) => return self.reject(*kind),
            Stmt::Nat(nat) => return self.nat(nat),
            Stmt::Update { op, set, key, timeout, .. } => self.update(*op, *set, key, *timeout),
        };
        if goes_on { Effect::Next } else { Effect::Break }
    }

    /// The state in a slot.
    fn count(&mut self, slot: u32) -> &mut [u64; 2] {
        let counts = &mut self.ns.nft.state.counts;
        counts.get_mut(slot as usize).expect("loading a rule set makes room for every slot that it names")
    }

    /// `nft_limit_eval`: whether the packet is within the rate.
    fn limit(&mut self, (rate, unit, burst): (u64, u64, u64), bytes: bool, slot: u32) -> bool {
        let now = self.cx.now().as_nanos();
        let span = unit * NSEC;
        let whole = |amount: u64| u64::try_from(u128::from(span) * u128::from(amount) / u128::from(rate)).unwrap_or(u64::MAX);
        let (most, cost) = if bytes {
            (whole(rate.saturating_add(burst)), whole(self.skb.ip_len() as u64))
        } else {
            ((span / rate).saturating_mul(burst), span / rate)
        };
        let state = self.count(slot);
        let [tokens, last] = *state;
        let tokens = if last == u64::MAX { most } else { tokens.saturating_add(now - last).min(most) };
        let within = tokens >= cost;
        *state = [if within { tokens - cost } else { tokens }, now];
        within
    }

    fn test(&mut self, left: &Expr, test: &'r Test) -> bool {
        if let Test::Set { set, not } = test {
            let Some(key) = self.fields(left) else { return false };
            return self.holds(set, &key) != *not;
        }
        let Some(value) = self.read(left) else { return false };
        match test {
            Test::Eq(want) => value == *want,
            Test::Ne(want) => value != *want,
            Test::Less(want) => value < *want,
            Test::Greater(want) => value > *want,
            Test::AtMost(want) => value <= *want,
            Test::AtLeast(want) => value >= *want,
            Test::In { part, not } => part.holds(value) != *not,
            Test::Any(mask) => value & mask != 0,
            Test::NoneOf(mask) => value & mask == 0,
            Test::Masked { mask, value: want, not } => (value & mask == *want) != *not,
            Test::Set { .. } => false,
        }
    }

    fn set(&self, set: &'r SetRef) -> Option<&'r Set> {
        match set {
            SetRef::Own(set) => Some(set),
            SetRef::Named(slot, _) => self.table.sets.get(*slot as usize)?.as_deref(),
        }
    }

    fn element(&self, set: &'r SetRef, key: &Key) -> Option<&'r Element> {
        let now = self.cx.now();
        self.set(set)?.find(&key.fields[..key.len]).filter(|element| element.expires.is_none_or(|at| at > now))
    }

    fn holds(&self, set: &'r SetRef, key: &Key) -> bool {
        if self.element(set, key).is_some() {
            return true;
        }
        let live = self.set(set).and_then(|set| set.live).and_then(|live| self.ns.nft.state.live.get(live as usize));
        let now = self.cx.now();
        let found = live.and_then(|live| live.get(&key.fields[..key.len]));
        found.is_some_and(|(expires, _)| expires.is_none_or(|at| at > now))
    }

    fn lookup(&mut self, key: &Expr, set: &'r SetRef) -> Option<&'r Element> {
        let key = self.fields(key)?;
        self.element(set, &key)
    }

    fn fields(&mut self, expr: &Expr) -> Option<Key> {
        let mut key = Key { fields: [0; FIELDS], len: 1 };
        if let Expr::Concat(all) = expr {
            for (at, one) in all.iter().enumerate() {
                key.fields[at] = self.read(one)?;
            }
            key.len = all.len();
        } else {
            key.fields[0] = self.read(expr)?;
        }
        Some(key)
    }

    /// The value of an expression; none where the packet has none: then the rule does not match.
    fn read(&mut self, expr: &Expr) -> Option<u128> {
        match expr {
            Expr::Const(value, _) => Some(*value),
            Expr::Payload(field) => self.payload(field),
            Expr::Meta(meta) => self.meta(*meta),
            Expr::Ct(key) => self.ct(*key),
            Expr::Fib(fib) => self.fib(*fib),
            Expr::Numgen { random: false, modulus, offset, slot } => {
                let modulus = u64::from(*modulus);
                let last = &mut self.count(*slot)[0];
                *last = if *last + 1 < modulus { *last + 1 } else { 0 };
                Some(u128::from(*last) + u128::from(*offset))
            }
            Expr::Numgen { random: true, modulus, offset, .. } => Some(u128::from(self.draw(*modulus)) + u128::from(*offset)),
            Expr::Jhash { of, modulus, seed, offset } => {
                // A register holds whole words: a field has four of them at most.
                let (mut words, mut count) = ([0; 4 * FIELDS], 0);
                for one in of.iter().take(FIELDS) {
                    let bits = u32::from(one.width());
                    let value = self.read(one)? << (128 - bits);
                    for word in value.to_be_bytes().chunks_exact(4).take(bits.div_ceil(32) as usize) {
                        words[count] = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                        count += 1;
                    }
                }
                let hash = jhash2(&words[..count], seed.unwrap_or_default());
                Some(u128::from((u64::from(hash) * u64::from(*modulus)) >> 32) + u128::from(*offset))
            }
            Expr::Bits { of, and, xor } => self.read(of).map(|value| (value & and) ^ xor),
            Expr::Concat(_) => None,
            Expr::Map { key, set, .. } => {
                let key = self.fields(key)?;
                let now = self.cx.now();
                let set = match set {
                    SetRef::Own(set) => Some(&**set),
                    SetRef::Named(slot, _) => self.table.sets.get(*slot as usize)?.as_deref(),
                };
                let element = set?.find(&key.fields[..key.len]).filter(|element| element.expires.is_none_or(|at| at > now))?;
                match &element.data {
                    Some(Data::Values(parts)) => parts.first().map(|part| part.lo),
                    _ => None,
                }
            }
        }
    }

    fn payload(&self, field: &Field) -> Option<u128> {
        let skb = &*self.skb;
        let bytes = match field.header {
            Header::Ether => {
                // Only what came in has a link header.
                let at = usize::from(skb.l3).checked_sub(crate::view::ETH_HLEN)?;
                self.state.indev?;
                &skb.packet.bytes()[at..]
            }
            Header::Ip if skb.ip_version() == Family::V4 => skb.ip(),
            Header::Ip6 if skb.ip_version() == Family::V6 => skb.ip(),
            Header::Ip | Header::Ip6 => return None,
            header => {
                if header.protocol().is_some_and(|number| number != skb.l4proto) || skb.is_later_fragment() {
                    return None;
                }
                skb.transport()
            }
        };
        bits(bytes, usize::from(field.at), usize::from(field.len))
    }

    fn device(&self, dev: Option<DevId>) -> u128 {
        dev.and_then(|dev| name_bits(&self.ns.devices.get(dev).name)).unwrap_or(0)
    }

    fn meta(&mut self, meta: Meta) -> Option<u128> {
        let skb = &*self.skb;
        Some(match meta {
            Meta::L4Proto => u128::from(skb.l4proto),
            Meta::NfProto => {
                if skb.ip_version() == Family::V4 {
                    2
                } else {
                    10
                }
            }
            Meta::Protocol => {
                if skb.ip_version() == Family::V4 {
                    0x800
                } else {
                    0x86dd
                }
            }
            Meta::Mark => u128::from(skb.mark),
            Meta::Iifname | Meta::Iif => self.device(self.state.indev),
            Meta::Oifname | Meta::Oif => self.device(self.state.outdev),
            Meta::Skuid => u128::from(skb.owner?.uid),
            Meta::Skgid => u128::from(skb.owner?.gid),
            Meta::Pkttype => match skb.pkt_type {
                PktType::Host => 0,
                PktType::Broadcast => 1,
                PktType::Multicast => 2,
                PktType::OtherHost => 3,
                PktType::Outgoing => 4,
            },
            Meta::Length => skb.ip_len() as u128,
            Meta::Random => u128::from(self.draw(u32::MAX)),
            Meta::Priority => 0,
        })
    }

    fn view(&self) -> Option<(CtView, CtInfo)> {
        let Ct::Entry(id, info) = self.skb.ct else { return None };
        self.ns.conntrack.view(id, self.cx.now()).map(|view| (view, info))
    }

    fn ct(&mut self, key: CtKey) -> Option<u128> {
        if key == CtKey::State {
            return Some(match self.skb.ct {
                Ct::Untracked => 64,
                Ct::None | Ct::Invalid => 1,
                Ct::Entry(_, CtInfo::New) => 8,
                Ct::Entry(_, CtInfo::Established | CtInfo::EstablishedReply) => 2,
                Ct::Entry(_, CtInfo::Related | CtInfo::RelatedReply) => 4,
            });
        }
        let (view, info) = self.view()?;
        let reply = matches!(info, CtInfo::EstablishedReply | CtInfo::RelatedReply);
        let of = |side: Side| -> &Tuple { if side == Side::Original { &view.original } else { &view.reply } };
        let of_family = |address: IpAddr, family| (Family::of(address) == family).then(|| address_bits(address));
        Some(match key {
            CtKey::State => return None,
            CtKey::Status => {
                let bit = |on: bool, bit: u128| if on { bit } else { 0 };
                bit(!view.unreplied, 2)
                    | bit(view.assured, 4)
                    | bit(view.confirmed, 8)
                    | bit(view.snat, 0x10)
                    | bit(view.dnat, 0x20)
            }
            CtKey::Mark => u128::from(view.mark),
            CtKey::Direction => u128::from(reply),
            CtKey::Expiration => u128::from(view.timeout),
            CtKey::Zone => u128::from(view.zone),
            CtKey::L3Proto(_) => {
                if Family::of(view.original.src) == Family::V4 {
                    2
                } else {
                    10
                }
            }
            CtKey::Protocol(_) => u128::from(view.original.proto),
            CtKey::Saddr(side, family) => return of_family(of(side).src, family),
            CtKey::Daddr(side, family) => return of_family(of(side).dst, family),
            CtKey::ProtoSrc(side) => u128::from(of(side).sport),
            CtKey::ProtoDst(side) => u128::from(of(side).dport),
        })
    }

    /// `nft_fib4_eval_type`, `nft_fib4_eval` and their twins.
    fn fib(&mut self, fib: Fib) -> Option<u128> {
        let skb = &*self.skb;
        let address = if fib.source { skb.src() } else { skb.dst() };
        let dev = if fib.iif {
            self.state.indev
        } else if fib.oif {
            self.state.outdev
        } else {
            None
        };
        if fib.kind {
            return Some(match route::address_type(self.ns, address, dev) {
                RouteKind::Unicast => 1,
                RouteKind::Local => 2,
                RouteKind::Broadcast => 3,
                RouteKind::Multicast => 5,
                RouteKind::Blackhole => 6,
                RouteKind::Unreachable => 7,
                RouteKind::Prohibit => 8,
                RouteKind::None if address.is_ipv4() => 1,
                RouteKind::None => 0,
            });
        }
        // A packet of this host to itself would find no way back.
        if let Some(indev) = self.state.indev
            && self.ns.devices.get(indev).is_loopback()
        {
            return Some(self.device(Some(indev)));
        }
        let family = self.state.family;
        let flow = Flow {
            family,
            src: family.unspecified(),
            dst: address,
            iif: DevId::NONE,
            oif: DevId::NONE,
            mark: if fib.mark { skb.mark } else { 0 },
            tos: skb.tos(),
            proto: skb.l4proto,
            sport: 0,
            dport: 0,
            uid: 0,
        };
        let found = route::route_output(self.ns, self.cx, &flow);
        let leads = match found.kind {
            RouteKind::Unicast => dev.is_none_or(|dev| dev == found.dev),
            RouteKind::Local => !fib.source && dev.is_none(),
            _ => false,
        };
        Some(if leads { self.device(Some(found.dev)) } else { 0 })
    }

    /// Draws for this rule and this connection: the same packet of the same run always gets the same answer.
    fn draw(&mut self, arms: u32) -> u32 {
        let original = self.view().map(|(view, _)| view.original);
        let (src, dst, proto, sport, dport) = match original {
            Some(t) => (t.src, t.dst, t.proto, t.sport, t.dport),
            None => {
                let (sport, dport) = self.skb.ports().unwrap_or_default();
                (self.skb.src(), self.skb.dst(), self.skb.l4proto, sport, dport)
            }
        };
        let mut bytes = [0; 45];
        bytes[..8].copy_from_slice(&self.key.to_le_bytes());
        bytes[8..24].copy_from_slice(&aligned(src).to_le_bytes());
        bytes[24..40].copy_from_slice(&aligned(dst).to_le_bytes());
        bytes[40] = proto;
        bytes[41..43].copy_from_slice(&sport.to_le_bytes());
        bytes[43..].copy_from_slice(&dport.to_le_bytes());
        let drawn = self.cx.decide(purpose::NUMGEN, choice::key_of(&bytes), Arms::Equal(arms));
        let record = Record::Choice { purpose: drawn.key.purpose.0, key: drawn.key.key, draw: drawn.key.draw, arm: drawn.arm };
        self.cx.record(self.skb.id(), record);
        drawn.arm
    }

    fn write(&mut self, field: &Field, value: &Expr) -> bool {
        if self.payload(field).is_none() {
            return false;
        }
        let Some(value) = self.read(value) else { return false };
        match field.name {
            "dscp" => {
                let tos = self.skb.tos();
                self.skb.set_tos((value as u8) << 2 | tos & 3);
            }
            "ecn" => {
                let tos = self.skb.tos();
                self.skb.set_tos(tos & !3 | value as u8 & 3);
            }
            _ => {
                let old = self.skb.hop_limit();
                self.skb.set_hop_limit(value as u8);
                self.cx.record(self.skb.id(), Record::HopLimit { old, new: value as u8 });
            }
        }
        true
    }

    fn reject(&mut self, kind: Reject) -> Effect<'r> {
        let v4 = self.skb.ip_version() == Family::V4;
        let target = match kind {
            Reject::Reset => targets::reject::Reject::reset(),
            Reject::Icmp(code) if v4 => targets::reject::Reject::with(code),
            Reject::Icmp6(code) if !v4 => targets::reject::Reject::with(code),
            // `nft_reject_icmp_code`, `nft_reject_icmpv6_code`.
            Reject::Icmpx(code) => targets::reject::Reject::with(match (code, v4) {
                (0, _) => 0,
                (1, true) => 3,
                (1, false) => 4,
                (2, true) => 1,
                (2, false) => 3,
                (_, true) => 13,
                (_, false) => 1,
            }),
            Reject::Icmp(_) | Reject::Icmp6(_) => return Effect::Break,
        };
        target.act(&mut targets::Act { ns: self.ns, cx: self.cx, state: self.state, skb: self.skb });
        Effect::Drop(DropReason::NetfilterDrop)
    }

    /// `nft_nat_eval`, `nft_masq_eval`, `nft_redir_eval`.
    fn nat(&mut self, nat: &'r Nat) -> Effect<'r> {
        let Ct::Entry(id, info) = self.skb.ct else { return Effect::Accept };
        if !matches!(info, CtInfo::New | CtInfo::Related | CtInfo::RelatedReply) {
            return Effect::Accept;
        }
        let family = self.state.family;
        if nat.address.is_some() && nat.family.is_some_and(|wanted| wanted != family) {
            return Effect::Break;
        }
        let manip = if matches!(nat.kind, NatKind::Dnat | NatKind::Redirect) { Manip::Dst } else { Manip::Src };
        let mut range =
            NatRange { random: nat.random, random_fully: nat.fully_random, persistent: nat.persistent, ..NatRange::default() };
        let port = |part: Part| Some((part.lo as u16, part.hi as u16));
        match &nat.address {
            None => {}
            Some(target) => {
                let Some((first, second)) = self.target(target) else { return Effect::Break };
                range.addresses = Some((model::address(first.lo, family), model::address(first.hi, family)));
                range.ports = second.and_then(port);
                if nat.prefix {
                    // `nft_nat_setup_netmap`.
                    let host = first.lo ^ first.hi;
                    let old = address_bits(if manip == Manip::Dst { self.skb.dst() } else { self.skb.src() });
                    let new = model::address(old & host | first.lo & !host, family);
                    range.addresses = Some((new, new));
                }
            }
        }
        if let Some(target) = &nat.port {
            let Some((first, _)) = self.target(target) else { return Effect::Break };
            range.ports = port(first);
        }
        let act = targets::Act { ns: self.ns, cx: self.cx, state: self.state, skb: self.skb };
        let own = match nat.kind {
            NatKind::Masquerade => Some(targets::nat::masquerade_address(&act)),
            NatKind::Redirect => Some(targets::nat::redirect_address(&act)),
            NatKind::Dnat | NatKind::Snat => None,
        };
        match own {
            Some(Some(address)) => range.addresses = Some((address, address)),
            Some(None) => return Effect::Drop(DropReason::NetfilterDrop),
            None => {}
        }
        match nat::setup_info(self.ns, self.cx, id, &range, manip) {
            Ok(()) => {
                if let (NatKind::Masquerade, Some(out)) = (nat.kind, self.state.outdev) {
                    nat::set_masq_device(self.ns, id, out);
                }
                Effect::Accept
            }
            Err(reason) => Effect::Drop(reason),
        }
    }

    /// An address or port, and the port behind an address.
    fn target(&mut self, target: &'r Target) -> Option<(Part, Option<Part>)> {
        match target {
            &Target::Range(lo, hi) => Some((Part { lo, hi, form: model::Form::Range }, None)),
            Target::Of(expr) => match &**expr {
                Expr::Map { key, set, .. } => match &self.lookup(key, set)?.data {
                    Some(Data::Values(parts)) => Some((*parts.first()?, parts.get(1).copied())),
                    _ => None,
                },
                other => self.read(other).map(|value| (Part::one(value), None)),
            },
        }
    }

    /// `nft_dynset_eval`.
    fn update(&mut self, op: SetOp, slot: u32, key: &Expr, timeout: Option<u64>) -> bool {
        let Some(key) = self.fields(key) else { return false };
        let Some(set) = self.table.sets.get(slot as usize).and_then(Option::as_ref) else { return false };
        let now = self.cx.now();
        let fields = &key.fields[..key.len];
        let there = set.find(fields).is_some();
        let Some(live) = set.live.and_then(|live| self.ns.nft.state.live.get_mut(live as usize)) else { return false };
        if op == SetOp::Delete {
            return live.remove(fields).is_some() || !there;
        }
        live.retain(|_, (expires, _)| expires.is_none_or(|at| at > now));
        let lasts = timeout.or(set.timeout);
        let expires = lasts.map(|lasts| now + SimTime::from_millis(lasts));
        if let Some(entry) = live.get_mut(fields) {
            if op == SetOp::Update {
                entry.0 = expires;
            }
            return true;
        }
        if there {
            return true;
        }
        // `NFT_SET_MAXSIZE` of userspace: a set that packets fill has a size.
        const DEFAULT_SIZE: u32 = 65_535;
        if live.len() + set.elements.len() >= set.size.unwrap_or(DEFAULT_SIZE) as usize {
            return false;
        }
        live.insert(fields.into(), (expires, timeout));
        true
    }
}

/// Bits of a header, counted from its first one; none where it is shorter.
fn bits(bytes: &[u8], at: usize, len: usize) -> Option<u128> {
    let (from, to) = (at / 8, (at + len).div_ceil(8));
    let value = bytes.get(from..to)?.iter().fold(0_u128, |sum, &byte| sum << 8 | u128::from(byte));
    let tail = to * 8 - (at + len);
    Some(value >> tail & u128::MAX >> (128 - len))
}

/// `jhash2` (Bob Jenkins' lookup3, in words).
fn jhash2(words: &[u32], seed: u32) -> u32 {
    let first = 0xdead_beef_u32.wrapping_add((words.len() as u32) << 2).wrapping_add(seed);
    let [mut a, mut b, mut c] = [first; 3];
    let mut rest = words;
    while rest.len() > 3 {
        a = a.wrapping_add(rest[0]);
        b = b.wrapping_add(rest[1]);
        c = c.wrapping_add(rest[2]);
        for (turns, which) in [(4, 0), (6, 1), (8, 2), (16, 0), (19, 1), (4, 2)] {
            let (x, y, z) = match which {
                0 => (&mut a, &mut c, b),
                1 => (&mut b, &mut a, c),
                _ => (&mut c, &mut b, a),
            };
            *x = x.wrapping_sub(*y) ^ y.rotate_left(turns);
            *y = y.wrapping_add(z);
        }
        rest = &rest[3..];
    }
    if rest.is_empty() {
        return c;
    }
    a = a.wrapping_add(rest[0]);
    b = b.wrapping_add(rest.get(1).copied().unwrap_or(0));
    c = c.wrapping_add(rest.get(2).copied().unwrap_or(0));
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}
