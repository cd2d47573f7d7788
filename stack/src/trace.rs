//! The trace vocabulary: what a namespace writes down about a packet, in small plain values.
//!
//! Text, JSON and captures are rendered from these by `pktlab-scenarios`. Records hold ids (device, rule, connection), not
//! text; names are looked up in the namespace, which never forgets a device or a rule program that a record may name.
//!
//! Invariant: a packet's records in a namespace begin with `Receive`, `Originate` or `Resume` and end with exactly one of
//! `Transmit`, `Deliver`, `Drop`, `Queue`, `Consume`.

use std::net::IpAddr;

use sim_core::{PacketId, PortNo, Snap, TraceRecord, WireEvent, WireRecord};

use crate::addr::{Family, Mac};
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::netfilter::hook::Hook;
use crate::provenance::ProvId;

/// Why a packet exists: the values of [`sim_core::Cause`].
pub mod cause {
    use sim_core::Cause;

    /// What somebody asked for.
    pub const ORIGINAL: Cause = Cause(0);
    /// The answer of a socket, or of the kernel, to a packet.
    pub const REPLY: Cause = Cause(1);
    /// The same segment or datagram once more.
    pub const RETRANSMIT: Cause = Cause(2);
    /// An ICMP error about its parent.
    pub const ICMP_ERROR: Cause = Cause(3);
    /// An ARP request or reply.
    pub const ARP: Cause = Cause(4);
    /// A neighbour solicitation or advertisement.
    pub const NDP: Cause = Cause(5);
    /// A DNS query or answer that somebody's question needed.
    pub const DNS: Cause = Cause(6);
    /// The outer packet of its parent.
    pub const ENCAP: Cause = Cause(7);
    /// The inner packet of its parent.
    pub const DECAP: Cause = Cause(8);
    /// A piece of its parent.
    pub const FRAGMENT: Cause = Cause(9);
    /// Put together from pieces.
    pub const REASSEMBLED: Cause = Cause(10);
    /// One of the copies that a bridge floods.
    pub const FLOOD_COPY: Cause = Cause(11);
    /// The copy that TEE made.
    pub const TEE: Cause = Cause(12);
    /// The other connection of a proxy.
    pub const PROXIED: Cause = Cause(13);

    /// The name of a cause, as JSON has it.
    pub fn name(cause: Cause) -> &'static str {
        match cause.0 {
            0 => "original",
            1 => "reply",
            2 => "retransmit",
            3 => "icmp_error",
            4 => "arp",
            5 => "ndp",
            6 => "dns",
            7 => "encap",
            8 => "decap",
            9 => "fragment",
            10 => "reassembled",
            11 => "flood_copy",
            12 => "tee",
            13 => "proxied",
            _ => "unknown",
        }
    }
}

/// What decisions are for: the values of [`sim_core::Purpose`].
pub mod purpose {
    use sim_core::Purpose;

    /// `-m statistic --mode random`: does this rule match?
    pub const STATISTIC: Purpose = Purpose(1);
    /// Where the search for a free NAT port begins.
    pub const NAT_PORT: Purpose = Purpose(2);
    /// The ephemeral port of a socket.
    pub const EPHEMERAL_PORT: Purpose = Purpose(3);
    /// The next hop of a multipath route.
    pub const MULTIPATH: Purpose = Purpose(4);
    /// The initial sequence number of a TCP socket.
    pub const ISN: Purpose = Purpose(5);
    /// The identification of an IPv4 packet.
    pub const IP_ID: Purpose = Purpose(6);
    /// The transaction id of a DNS query.
    pub const DNS_ID: Purpose = Purpose(7);
    /// The order of the records in a DNS answer.
    pub const DNS_ORDER: Purpose = Purpose(8);
    /// The ICMP identifier of a ping.
    pub const PING_ID: Purpose = Purpose(9);
    /// Which flow a packet belongs to: the source port of a tunnel. Not logged: no decision, but a hash.
    pub const FLOW_HASH: Purpose = Purpose(10);
    /// `numgen random` of nftables: which number?
    pub const NUMGEN: Purpose = Purpose(11);
    /// How long a neighbour counts as reachable.
    pub const REACHABLE_TIME: Purpose = Purpose(40);
}

/// What a bridge decided (`br_handle_frame_finish`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Bridged {
    /// To one port, known from the fdb.
    Port(DevId),
    /// To all other ports, this many of them: the destination is unknown, broadcast or multicast.
    Flood(u16),
    /// Up to the bridge's own interface.
    Up,
    /// Up, and to all other ports, this many of them.
    UpAndFlood(u16),
}

/// What happened at the neighbour table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NeighEvent {
    /// An entry has the address: the packet goes on.
    Resolved,
    /// No entry: the packet waits and a question is asked.
    Incomplete,
    /// An entry was made or refreshed from a packet.
    Learned,
    /// A question about an address of ours was answered.
    Answered,
    /// A question was not for us, or must not be answered.
    Ignored,
    /// Nobody answered: what waited is dropped.
    Failed,
}

/// The verdict of a rule, of the end of a chain, or of a target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RuleVerdict {
    /// The packet goes on to the next table or hook.
    Accept,
    /// The packet ends.
    Drop,
    /// The packet ends and its sender is told.
    Reject,
    /// Back to the calling chain.
    Return,
    /// On with the next rule (MARK, LOG, a rule that only counts).
    Continue,
    /// Into another chain.
    Jump,
    /// Into another chain, not to come back here.
    Goto,
    /// An address was chosen for the connection (SNAT, DNAT, MASQUERADE, REDIRECT): ends the walk of the table.
    Nat,
    /// The packet was taken away (a queue).
    Stolen,
}

/// A rule that a record names: an index into the rule programs that the namespace has had.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RuleRef {
    /// Which rule program; those of nftables have the highest bit.
    pub program: u32,
    /// Which chain of it.
    pub chain: u32,
    /// Which rule of the chain, from 0; `u32::MAX` is the policy, or the end, of the chain.
    pub rule: u32,
}

/// What happened to the connection of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CtEvent {
    /// A new, unconfirmed connection.
    New,
    /// A packet of a known connection.
    Found,
    /// The connection entered the table.
    Confirmed,
    /// The packet fits no connection.
    Invalid,
    /// The packet is exempt (NOTRACK, neighbour discovery).
    Untracked,
    /// The connection's state changed.
    Changed,
    /// The connection left the table.
    Destroyed,
}

/// `enum ip_conntrack_info`: how a packet relates to its connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CtInfo {
    /// Original direction, replies seen.
    Established,
    /// An ICMP error, or an expected connection, in the original direction.
    Related,
    /// Original direction, no reply seen.
    New,
    /// Reply direction.
    EstablishedReply,
    /// An ICMP error about the reply direction.
    RelatedReply,
}

/// A connection of a namespace. Never reused within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CtId(pub u32);

/// Which checks a step names when they pass, fail or do not apply.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Check {
    /// `rp_filter`.
    RpFilter,
    /// `ip_forward` / `forwarding`.
    Forwarding,
    /// TTL or hop limit.
    HopLimit,
    /// Packet length against MTU.
    Mtu,
    /// Header and checksum.
    Header,
}

/// What one check said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CheckResult {
    /// It holds.
    Pass,
    /// It does not: a `Drop` follows.
    Fail,
    /// It was not applied: switched off by its sysctl.
    Off,
}

/// Where a route lookup led.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RouteKind {
    /// To this namespace.
    Local,
    /// Out of a device.
    Unicast,
    /// Broadcast: to this namespace or out of a device.
    Broadcast,
    /// Multicast.
    Multicast,
    /// Silently dropped.
    Blackhole,
    /// Refused: host unreachable.
    Unreachable,
    /// Refused: administratively prohibited.
    Prohibit,
    /// No route.
    None,
}

/// What a namespace writes down.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the text of a variant says what its fields are")]
pub enum Record {
    /// A frame came in through a device (begins a packet's records here). The frame as it came.
    Receive { dev: DevId, frame: Snap },
    /// A packet was made here: by a socket (its number), or by the kernel (none).
    Originate { socket: Option<u32>, frame: Snap },
    /// A packet goes on that was queued, reassembled or decapsulated here.
    Resume { dev: DevId, frame: Snap },
    /// A frame passed a device on its way up, above the one that received it (a bridge, a tunnel): what tcpdump sees.
    DevIn { dev: DevId, frame: Snap },
    /// A frame passed a device on its way down, above the one that sends it: what tcpdump sees.
    DevOut { dev: DevId, frame: Snap },
    /// A frame left through a device (ends).
    Transmit { dev: DevId, frame: Snap },
    /// A socket, or the kernel's own answerer, took the packet (ends).
    Deliver { socket: Option<u32> },
    /// The packet ends here; `dev` is where it was.
    Drop { reason: DropReason, dev: DevId },
    /// The packet waits (ends): for a neighbour's address, for its other fragments, or in a device's queue.
    Queue { dev: DevId },
    /// The packet became `children` others (ends).
    Consume { children: u16 },
    /// What a bridge learned and decided. The port that it came from.
    Bridge { bridge: DevId, port: DevId, learned: bool, decision: Bridged },
    /// What the neighbour table said or learned.
    Neigh { dev: DevId, address: IpAddr, mac: Mac, event: NeighEvent },
    /// A route lookup. `prefix_len` and `table` name the route; `rule` is the priority of the policy rule that led there. Of a
    /// socket that has no route, and hence no packet, `via` is the destination.
    Route { kind: RouteKind, dev: DevId, prefix_len: u8, table: u32, rule: u32, via: Option<IpAddr>, prov: ProvId },
    /// A hook is entered at which something is registered.
    Hook { hook: Hook, family: Family, indev: Option<DevId>, outdev: Option<DevId> },
    /// A rule matched, or a chain ended. `tried` rules of this chain before it did not match. The target chain of a jump.
    Rule { rule: RuleRef, tried: u32, verdict: RuleVerdict, target_chain: u32 },
    /// What connection tracking said. The tuples and state afterwards, encoded (see `conntrack::note`).
    Conntrack { ct: CtId, info: CtInfo, event: CtEvent, note: Snap },
    /// NAT rewrote the packet at this hook; the headers afterwards.
    Nat { ct: CtId, hook: Hook, source: bool, frame: Snap },
    /// A rule changed the mark.
    Mark { old: u32, new: u32 },
    /// TTL or hop limit.
    HopLimit { old: u8, new: u8 },
    /// A check that passed, failed or was skipped.
    Check { check: Check, result: CheckResult, value: u32 },
    /// The packet was cut into pieces, or put together from them.
    Fragment { pieces: u16, mtu: u32 },
    /// An ICMP error about this packet is sent, or was held back by the rate limit.
    IcmpError { kind: u8, code: u8, limited: bool },
    /// A socket's state changed. The codes are `socket::TcpState`'s.
    Socket { socket: u32, old: u8, new: u8 },
    /// An app said something: text in the arena.
    App { app: u32, text: Snap },
    /// A decision was drawn: index into the run's choices by purpose, key and draw.
    Choice { purpose: u16, key: u64, draw: u32, arm: u32 },
    /// Something befell the frame on the wire behind a port.
    Wire { port: PortNo, event: WireEvent },
}

impl WireRecord for Record {
    fn wire(port: PortNo, event: WireEvent) -> Record {
        Record::Wire { port, event }
    }
}

impl TraceRecord for Record {
    #[inline(always)]
    fn snap_mut(&mut self) -> Option<&mut Snap> {
        match self {
            Record::Receive { frame, .. }
            | Record::Originate { frame, .. }
            | Record::Resume { frame, .. }
            | Record::DevIn { frame, .. }
            | Record::DevOut { frame, .. }
            | Record::Transmit { frame, .. }
            | Record::Nat { frame, .. } => Some(frame),
            Record::Conntrack { note, .. } => Some(note),
            Record::App { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// The packet under which a namespace records what concerns no packet (a timer, an app).
pub const NO_PACKET: PacketId = PacketId(u32::MAX);

const _: () = assert!(size_of::<sim_core::Stamped<Record>>() <= 72, "a stamped record is small");
