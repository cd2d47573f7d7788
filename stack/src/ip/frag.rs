//! Fragments: cutting (`ip_do_fragment`, `ip6_fragment`) and putting together (`ip_defrag`, `ipv6_frag_rcv`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use rustc_hash::FxHashMap;
use sim_core::SimTime;

use crate::Cx;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::ip::{flow_of, icmp};
use crate::netfilter::hook::HookVerdict;
use crate::netns::Netns;
use crate::route::{self, RouteKind};
use crate::skb::Skb;
use crate::timer::{Timer, TimerKey};
use crate::trace::{Record, cause, purpose};
use crate::view::{self, be16, proto, put16};

/// Who puts fragments together (`enum ip_defrag_users`): their queues are apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum DefragUser {
    /// Local delivery.
    LocalDeliver,
    /// Connection tracking, at PREROUTING and OUTPUT.
    Conntrack(u8),
}

/// `ipfrag_high_thresh`: bytes that wait in a namespace.
const BYTES_MAX: usize = 4 << 20;
/// The largest packet.
const PACKET_MAX: u32 = 65_535;
/// The IPv6 fragment header.
const FRAG_HLEN: usize = 8;
const DF: u16 = 0x4000;
const MF: u16 = 0x2000;

/// What fragments of one packet have in common (`struct frag_v4_compare_key`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// IPv4 only.
    proto: u8,
    user: DefragUser,
    /// Only for link-local IPv6 addresses, which mean nothing elsewhere.
    dev: DevId,
}

#[derive(Debug)]
struct Piece {
    offset: u32,
    end: u32,
    /// Where its data begin in its frame.
    data: usize,
    skb: Skb,
}

#[derive(Debug)]
struct Queue {
    key: Key,
    /// Sorted by offset, without overlaps.
    pieces: Vec<Piece>,
    /// Length of the whole, once the last fragment is here.
    total: Option<u32>,
    bytes: usize,
    max_size: u16,
    max_df_size: u16,
    timer: TimerKey,
}

/// The reassembly queues of a namespace.
#[derive(Debug, Default)]
pub struct Fragments {
    queues: BTreeMap<u32, Queue>,
    by_key: FxHashMap<Key, u32>,
    next: u32,
    bytes: usize,
}

impl Fragments {
    fn remove(&mut self, id: u32) -> Option<Queue> {
        let queue = self.queues.remove(&id)?;
        self.by_key.remove(&queue.key);
        self.bytes -= queue.bytes;
        Some(queue)
    }
}

/// Whether a packet is a fragment of a larger one.
#[inline]
pub(crate) fn is_fragment(skb: &Skb) -> bool {
    match skb.ip_version() {
        Family::V4 => be16(skb.ip(), 6) & 0x3fff != 0,
        // Without extension headers there is no fragment header.
        Family::V6 => {
            skb.ip()[6] != skb.l4proto
                && view::parse(skb.packet.bytes(), usize::from(skb.l3))
                    .is_ok_and(|headers| headers.fragment.is_some_and(|fragment| fragment.offset != 0 || fragment.more))
        }
    }
}

/// Offset, from the IPv6 header, of the next-header field that names the transport protocol.
pub(crate) fn next_header_offset(skb: &Skb) -> usize {
    let ip = skb.ip();
    let l4 = usize::from(skb.l4 - skb.l3);
    let (mut at, mut field) = (40, 6);
    let mut next = ip[6];
    while at < l4 {
        let length = match next {
            proto::FRAGMENT => FRAG_HLEN,
            proto::AH => 8 + usize::from(ip[at + 1]) * 4,
            _ => 8 + usize::from(ip[at + 1]) * 8,
        };
        next = ip[at];
        field = at;
        at += length;
    }
    field
}

/// `ip_defrag`, `nf_ct_frag6_gather`: takes a fragment; `Stolen` where others are missing (its records have ended with Queue), and
/// the skb's packet has been taken out. `Accept` where it is no fragment, or the last one: then `skb` is the whole packet
/// (`frag_max` set, a packet of cause `reassembled`, records resumed).
pub(crate) fn defrag(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb, user: DefragUser) -> Result<HookVerdict, DropReason> {
    if !is_fragment(skb) {
        return Ok(HookVerdict::Accept);
    }
    let headers = view::parse(skb.packet.bytes(), usize::from(skb.l3))?;
    let fragment = headers.fragment.expect("is_fragment says so");
    let family = headers.family;
    let data = match family {
        Family::V4 => usize::from(headers.l4),
        Family::V6 => usize::from(fragment.header) + FRAG_HLEN,
    };
    let mut end = u32::from(fragment.offset) + (usize::from(headers.end) - data) as u32;
    if fragment.more && end & 7 != 0 {
        if family == Family::V6 {
            return Err(DropReason::IpInHdr);
        }
        end &= !7;
    }
    if end > PACKET_MAX {
        return Err(DropReason::IpInHdr);
    }
    let src = skb.src();
    let link_local = matches!(src, IpAddr::V6(src) if src.is_unicast_link_local());
    let key = Key {
        src,
        dst: skb.dst(),
        id: fragment.id,
        proto: if family == Family::V4 { headers.l4proto } else { 0 },
        user,
        dev: if link_local { skb.dev } else { DevId::NONE },
    };
    let size = skb.ip_len() as u16;
    let df = family == Family::V4 && skb.dont_fragment();
    let id = queue_of(ns, cx, key, family)?;
    let place = Place { offset: u32::from(fragment.offset), end, last: !fragment.more };
    if let Err(harm) = check_place(&ns.fragments.queues[&id], place) {
        if harm == Harm::Queue {
            drop_queue(ns, cx, id, DropReason::FragInvalid);
        }
        return Err(DropReason::FragInvalid);
    }
    cx.record(skb.id(), Record::Queue { dev: skb.dev });
    let bytes = skb.packet.len();
    let taken = Skb { packet: skb.packet.take(), ..*skb };
    let dev = skb.dev;
    let queue = ns.fragments.queues.get_mut(&id).expect("queue_of made it, or found it");
    let at = queue.pieces.partition_point(|piece| piece.offset < place.offset);
    queue.pieces.insert(at, Piece { offset: place.offset, end, data, skb: taken });
    queue.bytes += bytes;
    ns.fragments.bytes += bytes;
    queue.max_size = queue.max_size.max(size);
    if df {
        queue.max_df_size = queue.max_df_size.max(size);
    }
    if place.last {
        queue.total = Some(end);
    }
    let held: u32 = queue.pieces.iter().map(|piece| piece.end - piece.offset).sum();
    if queue.total != Some(held) {
        return Ok(HookVerdict::Stolen);
    }
    let queue = ns.fragments.remove(id).expect("it was there a moment ago");
    ns.timers.cancel(queue.timer);
    reassemble(cx, skb, queue, family)?;
    skb.dev = dev;
    Ok(HookVerdict::Accept)
}

/// `ip_find`: the queue of a packet, made if need be.
fn queue_of(ns: &mut Netns, cx: &mut Cx<'_>, key: Key, family: Family) -> Result<u32, DropReason> {
    if let Some(&id) = ns.fragments.by_key.get(&key) {
        return Ok(id);
    }
    if ns.fragments.bytes > BYTES_MAX {
        return Err(DropReason::FragTooFar);
    }
    let seconds = match family {
        Family::V4 => ns.sysctls.ipfrag_time,
        Family::V6 => ns.sysctls.ip6frag_time,
    };
    ns.fragments.next += 1;
    let id = ns.fragments.next;
    let timer = ns.timers.arm(cx, cx.now() + SimTime::from_secs(u64::from(seconds)), Timer::Fragments(id));
    let queue = Queue { key, pieces: Vec::new(), total: None, bytes: 0, max_size: 0, max_df_size: 0, timer };
    ns.fragments.queues.insert(id, queue);
    ns.fragments.by_key.insert(key, id);
    Ok(id)
}

#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u32,
    end: u32,
    last: bool,
}

/// What a fragment that does not fit harms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Harm {
    /// Only itself: it is here already.
    Itself,
    /// All that wait with it (RFC 5722, and Linux since 4.20 also for IPv4).
    Queue,
}

/// `inet_frag_queue_insert`, and the checks of the end before it.
fn check_place(queue: &Queue, place: Place) -> Result<(), Harm> {
    if place.end <= place.offset {
        return Err(Harm::Queue);
    }
    let reach = queue.pieces.last().map_or(0, |piece| piece.end);
    let contradicts = if place.last {
        place.end < reach || queue.total.is_some_and(|total| total != place.end)
    } else {
        queue.total.is_some_and(|total| place.end > total)
    };
    if contradicts {
        return Err(Harm::Queue);
    }
    let common: u32 =
        queue.pieces.iter().map(|piece| piece.end.min(place.end).saturating_sub(piece.offset.max(place.offset))).sum();
    match common {
        0 => Ok(()),
        common if common == place.end - place.offset => Err(Harm::Itself),
        _ => Err(Harm::Queue),
    }
}

/// `ip_frag_reasm`, `ip6_frag_reasm`: the first fragment's headers and everybody's data.
fn reassemble(cx: &mut Cx<'_>, skb: &mut Skb, queue: Queue, family: Family) -> Result<(), DropReason> {
    let first = queue.pieces.first().expect("a complete queue has pieces");
    let l3 = usize::from(first.skb.l3);
    let mut whole = match family {
        Family::V4 => first.skb.packet.bytes()[..first.data].to_vec(),
        Family::V6 => first.skb.packet.bytes()[..first.data - FRAG_HLEN].to_vec(),
    };
    let header = whole.len();
    for piece in &queue.pieces {
        let length = (piece.end - piece.offset) as usize;
        whole.extend_from_slice(&piece.skb.packet.bytes()[piece.data..piece.data + length]);
    }
    let length = whole.len() - l3;
    match family {
        Family::V4 => {
            if length > PACKET_MAX as usize {
                return Err(DropReason::IpInHdr);
            }
            let ip = &mut whole[l3..header];
            put16(ip, 2, length as u16);
            // As large with DF as without: whoever sends it on cuts it with DF set again.
            put16(ip, 6, if queue.max_df_size == queue.max_size { DF } else { 0 });
            put16(ip, 10, 0);
            let checksum = view::ipv4_header_checksum(ip);
            put16(ip, 10, checksum);
        }
        Family::V6 => {
            let next = first.skb.packet.bytes()[first.data - FRAG_HLEN];
            let field = field_before(&whole[l3..]);
            whole[l3 + field] = next;
            if length - 40 > PACKET_MAX as usize {
                return Err(DropReason::IpInHdr);
            }
            put16(&mut whole[l3..], 4, (length - 40) as u16);
        }
    }
    let last = skb.id();
    let packet = cx.packet(&whole, Some(last), cause::REASSEMBLED);
    let (id, dev) = (packet.id(), skb.dev);
    let frame = cx.snap(packet.bytes());
    cx.record(id, Record::Resume { dev, frame });
    cx.record(id, Record::Fragment { pieces: queue.pieces.len() as u16, mtu: u32::from(queue.max_size) });
    skb.packet = packet;
    skb.frag_max = queue.max_size;
    for piece in queue.pieces {
        cx.recycle(piece.skb.packet);
    }
    skb.parse_at(l3).map(|_| ())
}

/// The next-header field that said that a fragment header follows; its header is the last one here.
fn field_before(ip: &[u8]) -> usize {
    let (mut at, mut field, mut next) = (40, 6, ip[6]);
    while next != proto::FRAGMENT && at + 1 < ip.len() {
        let length = 8 + usize::from(ip[at + 1]) * if next == proto::AH { 4 } else { 8 };
        next = ip[at];
        field = at;
        at += length;
    }
    field
}

/// Ends all that wait in a queue.
fn drop_queue(ns: &mut Netns, cx: &mut Cx<'_>, id: u32, reason: DropReason) {
    let Some(queue) = ns.fragments.remove(id) else { return };
    ns.timers.cancel(queue.timer);
    for piece in queue.pieces {
        drop_piece(ns, cx, piece.skb, reason);
    }
}

fn drop_piece(ns: &mut Netns, cx: &mut Cx<'_>, skb: Skb, reason: DropReason) {
    let frame = cx.snap(skb.packet.bytes());
    cx.record(skb.id(), Record::Resume { dev: skb.dev, frame });
    ns.finish(cx, skb, reason);
}

/// `ip_expire`, `ip6frag_expire_frag_queue`: a reassembly queue has waited too long. The sender is told where the first fragment is
/// here, in IPv4 only by an end host.
pub(crate) fn on_timer(ns: &mut Netns, cx: &mut Cx<'_>, queue: u32) {
    const REASSEMBLY: u8 = 1;
    let Some(queue) = ns.fragments.remove(queue) else { return };
    let user = queue.key.user;
    for mut piece in queue.pieces {
        let frame = cx.snap(piece.skb.packet.bytes());
        cx.record(piece.skb.id(), Record::Resume { dev: piece.skb.dev, frame });
        if piece.offset == 0 {
            let skb = &mut piece.skb;
            match skb.ip_version() {
                Family::V4 => {
                    let route = skb.route.unwrap_or_else(|| route::route_input(ns, cx, &flow_of(skb)));
                    skb.route = Some(route);
                    if user == DefragUser::LocalDeliver || route.kind == RouteKind::Local {
                        icmp::icmp_send(ns, cx, skb, icmp::V4_TIME_EXCEEDED, REASSEMBLY, 0);
                    }
                }
                Family::V6 => icmp::icmp_send(ns, cx, skb, icmp::V6_TIME_EXCEEDED, REASSEMBLY, 0),
            }
        }
        ns.finish(cx, piece.skb, DropReason::FragReasmTimeout);
    }
}

/// `ip_do_fragment`, `ip6_fragment`: the pieces of a packet, none larger than `mtu`, each with its records begun. A link-layer header
/// in front is copied. The caller ends the whole.
pub(crate) fn cut(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, mtu: u32) -> Result<Vec<Skb>, DropReason> {
    let pieces = match skb.ip_version() {
        Family::V4 => cut4(cx, skb, mtu as usize)?,
        Family::V6 => cut6(ns, cx, skb, mtu as usize)?,
    };
    cx.record(skb.id(), Record::Fragment { pieces: pieces.len() as u16, mtu });
    for piece in &pieces {
        let frame = cx.snap(piece.packet.bytes());
        cx.record(piece.id(), Record::Resume { dev: piece.dev, frame });
    }
    Ok(pieces)
}

fn cut4(cx: &mut Cx<'_>, skb: &Skb, mtu: usize) -> Result<Vec<Skb>, DropReason> {
    let frame = skb.packet.bytes();
    let (l3, l4) = (usize::from(skb.l3), usize::from(skb.l4));
    let data = &frame[l4..l3 + skb.ip_len()];
    let room = mtu.saturating_sub(l4 - l3) & !7;
    if room == 0 {
        return Err(DropReason::PktTooBig);
    }
    // A fragment may be cut again: its own place counts.
    let bits = be16(skb.ip(), 6);
    let (base, more) = (usize::from(bits & 0x1fff) * 8, bits & MF);
    let mut header = frame[..l4].to_vec();
    let mut pieces = Vec::with_capacity(data.len().div_ceil(room));
    for (number, chunk) in data.chunks(room).enumerate() {
        let at = number * room;
        if number == 1 {
            blank_options(&mut header[l3 + 20..]);
        }
        let last = at + chunk.len() == data.len();
        let ip = &mut header[l3..];
        put16(ip, 2, (l4 - l3 + chunk.len()) as u16);
        put16(ip, 6, (bits & DF) | if last { more } else { MF } | ((base + at) / 8) as u16);
        put16(ip, 10, 0);
        let checksum = view::ipv4_header_checksum(ip);
        put16(ip, 10, checksum);
        let mut packet = cx.packet(&header, Some(skb.id()), cause::FRAGMENT);
        packet.put(chunk);
        pieces.push(Skb { packet, ..*skb });
    }
    Ok(pieces)
}

/// `ip_options_fragment`: what is not for every fragment becomes padding behind the first.
fn blank_options(mut options: &mut [u8]) {
    while let Some(&kind) = options.first() {
        let length = match kind {
            0 => return,
            1 => 1,
            _ => usize::from(*options.get(1).unwrap_or(&0)),
        };
        if length == 0 || length > options.len() {
            return;
        }
        if kind & 0x80 == 0 {
            options[..length].fill(1);
        }
        options = &mut options[length..];
    }
}

fn cut6(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, mtu: usize) -> Result<Vec<Skb>, DropReason> {
    let frame = skb.packet.bytes();
    let l3 = usize::from(skb.l3);
    let ip = &frame[l3..l3 + skb.ip_len()];
    let (split, field) = unfragmentable(ip);
    let room = mtu.saturating_sub(split + FRAG_HLEN) & !7;
    if room == 0 {
        return Err(DropReason::PktTooBig);
    }
    ns.ip_ids += 1;
    let id = sim_core::choice::hash(cx.seed(), purpose::IP_ID, u64::from(cx.node().0) | 1 << 32, ns.ip_ids) as u32;
    let data = &ip[split..];
    let mut header = frame[..l3 + split].to_vec();
    let next = std::mem::replace(&mut header[l3 + field], proto::FRAGMENT);
    header.extend_from_slice(&[next, 0, 0, 0]);
    header.extend_from_slice(&id.to_be_bytes());
    let mut pieces = Vec::with_capacity(data.len().div_ceil(room));
    for (number, chunk) in data.chunks(room).enumerate() {
        let at = number * room;
        let last = at + chunk.len() == data.len();
        put16(&mut header[l3..], 4, (split - 40 + FRAG_HLEN + chunk.len()) as u16);
        put16(&mut header[l3 + split..], 2, at as u16 | u16::from(!last));
        let mut packet = cx.packet(&header, Some(skb.id()), cause::FRAGMENT);
        packet.put(chunk);
        let mut piece = Skb { packet, ..*skb };
        piece.parse_at(l3)?;
        pieces.push(piece);
    }
    Ok(pieces)
}

/// `ip6_find_1stfragopt`: where the part that every fragment repeats ends, and its last next-header field.
fn unfragmentable(ip: &[u8]) -> (usize, usize) {
    let (mut at, mut field, mut routed) = (40, 6, false);
    loop {
        let stop = match ip[field] {
            proto::HOPOPT => false,
            proto::ROUTING => {
                routed = true;
                false
            }
            proto::DSTOPTS => routed,
            _ => true,
        };
        if stop || at + 2 > ip.len() {
            return (at, field);
        }
        field = at;
        at += 8 + usize::from(ip[at + 1]) * 8;
    }
}
