//! Sockets: the bind table, the demultiplexer, TCP by smoltcp, UDP, ICMP echo.
//!
//! In reading order: [`Sockets`] and the seam ([`receive`], [`icmp_error`], [`on_timer`]) here; [`table`] binds and looks up;
//! [`tcp`] drives smoltcp, one `Interface` and one `SocketSet` for each connection ([`conn`]), [`segment`] sends what it writes; [`timewait`] keeps what outlives a
//! connection; [`udp`] and [`ping`] are small enough to be our own; [`output`] routes a packet of ours and puts its IP header
//! right; [`rst`] refuses what nobody takes; [`error`] turns ICMP errors into errno.
//!
//! What a socket has to say to its app is queued as an [`Event`]; `app::run` takes the events up before control goes back to
//! the walk. Between `receive` and [`flush`] nothing is sent: the caller records the end of the packet first, so that a trace
//! shows the delivery before the answer.
//!
//! Where TCP differs from Linux on the wire: the window is at most 64240 and its scale 0, one SACK block is sent and none read, no
//! congestion window (at most 16 KiB in flight, about Linux' first flight of ten segments), RTO between 200 ms and 12 s, a SYN
//! that is sent again keeps its timestamp, no PAWS, no ECN, no keepalive, an acknowledgement of a bare FIN is never delayed.

mod conn;
pub(crate) mod error;
pub(crate) mod output;
pub(crate) mod ping;
pub(crate) mod rst;
mod segment;
pub(crate) mod state;
pub(crate) mod table;
pub(crate) mod tcp;
#[cfg(test)]
mod tests;
pub(crate) mod timewait;
pub(crate) mod udp;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use rustc_hash::FxHashMap;
use sim_core::{PacketId, SimTime};

use crate::Cx;
use crate::addr::Family;
use crate::app::{AppId, SocketOptions};
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::errno::Errno;
use crate::netns::Netns;
use crate::skb::{Owner, Skb};
use crate::timer::{Timer, TimerKey};
use crate::trace::{NO_PACKET, Record};
use crate::view::{be16, proto, transport_checksum};
pub use state::TcpState;
use table::Flow;

/// The sockets of a namespace.
#[derive(Debug, Default)]
pub struct Sockets {
    /// By number. Numbers are never reused, so that records can name a socket that is gone.
    slots: Vec<Option<Box<Socket>>>,
    /// Who is bound to a port, in the order of binding.
    bound: FxHashMap<(u8, u16), Vec<u32>>,
    /// TCP connections.
    flows: FxHashMap<Flow, u32>,
    /// What the apps have not heard yet.
    pub(crate) events: VecDeque<Event>,
    /// The packet that is being handled: what is sent meanwhile answers it.
    current: Option<PacketId>,
    /// The connection whose segments lie in `tx` until [`flush`].
    pending: Option<u32>,
    /// Packets that smoltcp has written, one behind the other, and where each ends.
    tx: output::TxQueue,
    /// Path MTUs that ICMP errors have told (`fib_nh_exception`), and until when they hold.
    pmtu: BTreeMap<IpAddr, (u32, SimTime)>,
    /// Identifications drawn so far for packets that belong to no connection.
    ids_drawn: u64,
}

/// A socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) proto: u8,
    pub(crate) owner: Option<AppId>,
    /// Where it is bound; its address is unspecified while it is bound to any.
    pub(crate) local: SocketAddr,
    /// The other end, where it is connected.
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) options: Options,
    /// `inet_id`: the next identification of an IPv4 packet of a connected socket.
    pub(crate) ip_id: u16,
    pub(crate) timer: Option<TimerKey>,
    /// Its packets serve somebody's name look-up: they get the cause `dns`.
    pub(crate) dns: bool,
    pub(crate) kind: Kind,
}

/// What a socket is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// TCP, nothing yet.
    Closed,
    /// `LISTEN`: how many handshakes are under way.
    Listen { half_open: u32 },
    /// A TCP connection.
    Tcp(Box<conn::Conn>),
    /// What is left of one.
    TimeWait(timewait::TimeWait),
    /// A UDP socket.
    Udp,
    /// An ICMP echo socket; whether ICMP errors come back as errno.
    Ping { errors: bool },
}

/// `setsockopt(2)`, resolved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) device: DevId,
    pub(crate) mark: u32,
    pub(crate) uid: u32,
    pub(crate) tos: u8,
    pub(crate) ttl: Option<u8>,
    pub(crate) df: Option<bool>,
    pub(crate) broadcast: bool,
    pub(crate) transparent: bool,
}

impl Options {
    /// Looks up the device.
    ///
    /// # Errors
    /// `NoDev`.
    pub(crate) fn resolve(ns: &Netns, options: &SocketOptions) -> Result<Options, Errno> {
        let device = match &options.device {
            None => DevId::NONE,
            Some(name) => ns.devices.named(name).ok_or(Errno::NoDev)?,
        };
        Ok(Options {
            device,
            mark: options.mark,
            uid: options.uid,
            tos: options.tos,
            ttl: options.ttl,
            df: options.df,
            broadcast: options.broadcast,
            transparent: options.transparent,
        })
    }
}

/// What a socket tells its app.
#[derive(Debug)]
pub(crate) enum Event {
    /// The handshake of `connect()` is done.
    Connected { socket: u32 },
    /// A connection for `accept()`.
    Accepted { listener: u32, socket: u32 },
    /// Data, room to send, or the end of the other side's stream: look.
    Ready { socket: u32 },
    /// A datagram.
    Datagram { socket: u32, from: SocketAddr, to: SocketAddr, data: Vec<u8> },
    /// An echo reply.
    EchoReply { socket: u32, seq: u16, ttl: u8 },
    /// `sk_err`. A TCP socket is gone: it names its app.
    Error { socket: u32, app: Option<AppId>, errno: Errno },
}

/// A socket, as `ss` lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SocketInfo {
    /// Its number, as records name it.
    pub number: u32,
    /// IP protocol: TCP, UDP or ICMP.
    pub proto: u8,
    /// State, as `ss` names it.
    pub state: &'static str,
    /// Where it is bound.
    pub local: SocketAddr,
    /// Its other end, where it is connected.
    pub remote: Option<SocketAddr>,
    /// Whose it is; none for a connection that its app has closed.
    pub owner: Option<AppId>,
}

impl Sockets {
    /// All sockets, by number.
    pub fn list(&self) -> Vec<SocketInfo> {
        let numbered = self.slots.iter().enumerate();
        numbered
            .filter_map(|(number, socket)| {
                let socket = socket.as_deref()?;
                Some(SocketInfo {
                    number: number as u32,
                    proto: socket.proto,
                    state: socket.state().name(),
                    local: socket.local,
                    remote: socket.remote,
                    owner: socket.owner,
                })
            })
            .collect()
    }

    /// The packet that is being handled.
    pub(crate) fn current(&self) -> Option<PacketId> {
        self.current
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Socket> {
        self.slots.get(number as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Socket> {
        self.slots.get_mut(number as usize)?.as_deref_mut()
    }

    pub(crate) fn conn_mut(&mut self, number: u32) -> Option<&mut conn::Conn> {
        match &mut self.get_mut(number)?.kind {
            Kind::Tcp(conn) => Some(conn),
            _ => None,
        }
    }

    /// `socket(2)`.
    pub(crate) fn open(&mut self, proto: u8, family: Family, options: Options, owner: Option<AppId>) -> u32 {
        let kind = match proto {
            proto::TCP => Kind::Closed,
            proto::UDP => Kind::Udp,
            _ => Kind::Ping { errors: false },
        };
        let local = SocketAddr::new(family.unspecified(), 0);
        let socket = Socket { proto, owner, local, remote: None, options, ip_id: 0, timer: None, dns: false, kind };
        self.slots.push(Some(Box::new(socket)));
        self.slots.len() as u32 - 1
    }
}

impl Socket {
    pub(crate) fn state(&self) -> TcpState {
        match &self.kind {
            Kind::Closed => TcpState::Close,
            Kind::Listen { .. } => TcpState::Listen,
            Kind::Tcp(conn) => conn.shown,
            Kind::TimeWait(_) => TcpState::TimeWait,
            Kind::Udp | Kind::Ping { .. } if self.remote.is_some() => TcpState::Established,
            Kind::Udp | Kind::Ping { .. } => TcpState::Close,
        }
    }

    /// Who its packets belong to. A connection in TIME-WAIT has no process any more.
    pub(crate) fn skb_owner(&self, number: u32) -> Option<Owner> {
        let uid = self.options.uid;
        (!matches!(self.kind, Kind::TimeWait(_))).then_some(Owner { socket: number, uid, gid: uid })
    }
}

/// `close(2)` of anything but a connection, and the end of a connection: out of all tables.
pub(crate) fn destroy(ns: &mut Netns, number: u32) {
    table::unbind(&mut ns.sockets, number);
    let slot = ns.sockets.slots.get_mut(number as usize);
    if let Some(key) = slot.and_then(Option::take).and_then(|socket| socket.timer) {
        ns.timers.cancel(key);
    }
}

/// (Re)arms the one timer of a socket.
pub(crate) fn arm(ns: &mut Netns, cx: &mut Cx<'_>, number: u32, at: Option<SimTime>) {
    let Some(socket) = ns.sockets.get_mut(number) else { return };
    let old = socket.timer.take();
    if let Some(key) = old {
        ns.timers.cancel(key);
    }
    if let Some(at) = at {
        let key = ns.timers.arm(cx, at, Timer::Socket(number));
        if let Some(socket) = ns.sockets.get_mut(number) {
            socket.timer = Some(key);
        }
    }
}

/// Records that a socket's state changed.
pub(crate) fn record_state(ns: &Netns, cx: &mut Cx<'_>, socket: u32, old: TcpState, new: TcpState) {
    let packet = ns.sockets.current.unwrap_or(NO_PACKET);
    cx.record(packet, Record::Socket { socket, old: old.code(), new: new.code() });
}

/// `tcp_v4_rcv`, `udp_rcv`, `ping_rcv`: hands a packet that passed INPUT to its socket. The socket copies what it wants and the
/// caller records the end; the reason why no socket took it comes back (the caller owes the port unreachable; the RST of a
/// closed TCP port is sent here). Then the caller owes a [`flush`].
pub(crate) fn receive(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<Delivered, DropReason> {
    // What an earlier packet still owes goes first; with a caller that keeps its promise there is nothing.
    flush(ns, cx);
    ns.sockets.current = Some(skb.id());
    let taken = match skb.l4proto {
        proto::TCP => tcp::receive(ns, cx, skb),
        proto::UDP => udp::receive(ns, skb),
        proto::ICMP | proto::ICMPV6 => ping::receive(ns, skb),
        _ => Err(DropReason::IpNoProto),
    };
    if taken.is_err() {
        ns.sockets.current = None;
    }
    taken.map(|socket| Delivered { socket })
}

/// What a received packet leads to: segments that wait are sent, apps hear of it and answer. Call it after the end of the
/// packet has been recorded.
pub(crate) fn flush(ns: &mut Netns, cx: &mut Cx<'_>) {
    let pending = ns.sockets.pending.take();
    let waiting = pending.filter(|&number| tcp::may_wait(ns, number));
    match (pending, waiting) {
        (None, _) => {}
        (Some(number), None) => tcp::poll(ns, cx, number),
        (Some(number), Some(_)) => segment::transmit(ns, cx, number),
    }
    crate::app::run(ns, cx);
    if let Some(number) = waiting {
        tcp::poll(ns, cx, number);
        crate::app::run(ns, cx);
    }
    ns.sockets.current = None;
}

/// Who took a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Delivered {
    /// The socket's number.
    pub(crate) socket: u32,
}

/// What an ICMP error says to the socket whose packet it quotes (`tcp_v4_err`, `udp_err`, `ping_err`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IcmpNotice {
    /// ICMP or ICMPv6 type.
    pub(crate) kind: u8,
    /// Its code.
    pub(crate) code: u8,
    /// The MTU that it names, for fragmentation needed and packet too big.
    pub(crate) mtu: u32,
    /// Offset of the quoted IP header in the frame.
    pub(crate) quoted: usize,
}

/// Hands an ICMP error to the socket whose packet it quotes. Then the caller owes a [`flush`].
pub(crate) fn icmp_error(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, notice: IcmpNotice) {
    flush(ns, cx);
    ns.sockets.current = Some(skb.id());
    error::icmp_error(ns, cx, skb, notice);
}

/// A timer of a socket has gone off.
pub(crate) fn on_timer(ns: &mut Netns, cx: &mut Cx<'_>, socket: u32) {
    match ns.sockets.get_mut(socket).map(|socket| &socket.kind) {
        Some(Kind::Tcp(_)) => tcp::on_timer(ns, cx, socket),
        Some(Kind::TimeWait(_)) => {
            record_state(ns, cx, socket, TcpState::TimeWait, TcpState::Close);
            destroy(ns, socket);
        }
        _ => {}
    }
    crate::app::run(ns, cx);
}

/// The transport packet of an skb, Ethernet padding cut off, its checksum verified.
///
/// # Errors
/// `PktTooSmall`; `bad` where the checksum is wrong.
pub(crate) fn verified(skb: &Skb, header: usize, bad: DropReason) -> Result<&[u8], DropReason> {
    let end = usize::from(skb.l3) + skb.ip_len();
    let frame = skb.packet.bytes();
    let l4 = frame.get(usize::from(skb.l4)..end.min(frame.len())).unwrap_or_default();
    if l4.len() < header {
        return Err(DropReason::PktTooSmall);
    }
    // RFC 768: zero is no checksum; RFC 8200 forbids it.
    if skb.l4proto == proto::UDP && be16(l4, 6) == 0 && skb.ip_version() == Family::V4 {
        return Ok(l4);
    }
    let covered =
        if skb.l4proto == proto::UDP { l4.get(..usize::from(be16(l4, 4)).max(8)).ok_or(DropReason::PktTooSmall)? } else { l4 };
    match transport_checksum(skb.src(), skb.dst(), skb.l4proto, covered) {
        0 => Ok(covered),
        _ => Err(bad),
    }
}
