//! TCP: `tcp_v4_rcv`, `tcp_v4_connect`, `inet_csk_accept`, over one smoltcp socket for each connection.
//!
//! smoltcp has the segments, the windows, the reassembly and the data timers. Ours are the demultiplexer, the listener and
//! its backlog, the SYN timers (Linux since 6.5: 1, 2, 3, 4 s, then exponential), the limits after which Linux gives up,
//! ICMP errors, path MTU, TIME-WAIT, and what the IP header says.
//!
//! smoltcp's clock runs five times as fast as ours once a connection is established, because its smallest RTO is 1 s and
//! Linux' is 200 ms; until then it stands still, and only the measured round trip of the handshake is let through to it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;

use sim_core::choice::{hash, key_of};
use sim_core::{PacketId, SimTime};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket as SmolSocket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpEndpoint};

use crate::Cx;
use crate::addr::Family;
use crate::drop_reason::DropReason;
use crate::errno::Errno;
use crate::neigh;
use crate::netns::Netns;
use crate::route::RouteKind;
use crate::skb::Skb;
use crate::socket::output::{self, IPV4_HLEN, IPV6_HLEN, IpFields, Outgoing, PollDevice};
use crate::socket::table::{self, Flow};
use crate::socket::{Event, Kind, TcpState, arm, destroy, record_state, rst, timewait, verified};
use crate::trace::{cause, purpose};
use crate::view::{be32, proto};

/// Receive buffer: the window of a fresh Linux socket.
const RX_BUFFER: usize = 64_240;
/// Send buffer, and so the most that is in flight: about Linux' first flight of ten segments.
const TX_BUFFER: usize = 16_384;
/// Handshakes under way on one listener (`somaxconn`).
const BACKLOG: u32 = 4096;
/// `TCP_TIMEOUT_INIT`.
const SYN_TIMEOUT: SimTime = SimTime::from_secs(1);
/// `tcp_synack_retries`.
const SYNACK_RETRIES: u32 = 5;
/// `tcp_retries2` = 15, as the time that its documentation names.
const GIVE_UP: SimTime = SimTime::from_millis(924_600);
/// `tcp_orphan_retries` = 8 for a connection that its process has closed.
const GIVE_UP_ORPHAN: SimTime = SimTime::from_millis(102_200);
/// smoltcp's seconds in one of ours.
const CLOCK_FACTOR: u64 = 5;
/// The longest round trip of a handshake that smoltcp is told, in its time: less than its RTO.
const MAX_HANDSHAKE_US: i64 = 999_000;
/// Segments whose packets are remembered, for the parents of retransmissions.
const SENT_LIMIT: usize = 64;
/// What is waited where smoltcp wants to be polled at once after a poll.
const RESTLESS: SimTime = SimTime::from_millis(10);

/// `TCP_MAX_QUICKACKS`: pure acknowledgements at once before they are delayed.
const QUICK_ACKS: u8 = 16;
/// `TCP_ATO_MIN`, `TCP_DELACK_MIN`: what is sent this soon after data came is an answer, and how long an acknowledgement waits for one.
const DELAYED_ACK: SimTime = SimTime::from_millis(40);

thread_local! {
    /// What smoltcp's next segment has as its timestamp. smoltcp asks a function without arguments; this is set before each poll.
    static TIMESTAMP: Cell<u32> = const { Cell::new(0) };
}

/// Flags of a TCP header.
pub(crate) mod flag {
    pub(crate) const FIN: u8 = 1;
    pub(crate) const SYN: u8 = 2;
    pub(crate) const RST: u8 = 4;
    pub(crate) const ACK: u8 = 16;
}

/// A connection.
pub(crate) struct Conn {
    set: SocketSet<'static>,
    handle: SocketHandle,
    iface: Interface,
    mtu: usize,
    seed: u64,
    clock: Clock,
    /// The state as of the last poll.
    pub(crate) shown: TcpState,
    /// Whether we called `connect()`.
    active: bool,
    /// Whose SYN queue it is in.
    listener: Option<u32>,
    /// Whether its process has closed it.
    orphan: bool,
    /// The SYN or SYN-ACK, its packet, when it was last sent, and how often again.
    syn: Vec<u8>,
    syn_packet: Option<PacketId>,
    syn_at: SimTime,
    syn_retries: u32,
    /// `snd_nxt` at its highest, `rcv_nxt` and window as last sent.
    pub(crate) snd_max: Option<u32>,
    pub(crate) rcv_nxt: u32,
    pub(crate) window: u16,
    /// First sequence number and packet of the segments last sent.
    sent: VecDeque<(u32, PacketId)>,
    /// Timestamps of the segment that was sent last: ours, and the one that it echoed.
    pub(crate) timestamps: Option<(u32, u32)>,
    /// The highest acknowledgement that came, and whether it was news (`sk_dst_pending_confirm`): the next hop is there.
    acked: Option<u32>,
    confirm: bool,
    /// When data last came.
    data_at: Option<SimTime>,
    /// Acknowledgements still to be sent at once (`icsk_ack.quick`), and whether the app answers what comes (`pingpong`): then an
    /// acknowledgement waits for the answer.
    quick: u8,
    /// Since when nothing more was acknowledged, and what was outstanding then.
    stuck: Option<(SimTime, usize, TcpState)>,
    /// Bytes in the send buffer as of the last poll.
    queued: usize,
    /// Since when it is in FIN-WAIT-2.
    fin_wait2: Option<SimTime>,
}

/// smoltcp's time.
#[derive(Debug, Default)]
struct Clock {
    /// When it began to run; until then it stands at `base`.
    started: Option<SimTime>,
    /// Microseconds that it showed then.
    base: i64,
}

impl Clock {
    fn at(&self, now: SimTime) -> Instant {
        let ran = self.started.map_or(0, |start| now.since(start).as_nanos() / (1_000 / CLOCK_FACTOR));
        Instant::from_micros(self.base + ran as i64)
    }

    /// Our time of a time of smoltcp's: exact, since a microsecond of its is a whole number of our nanoseconds.
    fn ours(&self, at: Instant) -> SimTime {
        let ahead = (at.total_micros() - self.base).max(0) as u64;
        self.started.map_or(SimTime::MAX, |start| start + SimTime(ahead * (1_000 / CLOCK_FACTOR)))
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("state", &self.shown)
            .field("mtu", &self.mtu)
            .field("orphan", &self.orphan)
            .finish_non_exhaustive()
    }
}

impl Conn {
    fn new(seed: u64, mtu: usize, state: TcpState) -> Conn {
        let mut socket = SmolSocket::new(SocketBuffer::new(vec![0; RX_BUFFER]), SocketBuffer::new(vec![0; TX_BUFFER]));
        socket.set_ack_delay(None);
        socket.set_tsval_generator(Some(|| TIMESTAMP.get()));
        socket.set_congestion_control(CongestionControl::None);
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Conn {
            set,
            handle,
            iface: interface(seed, mtu, Instant::ZERO),
            mtu,
            seed,
            clock: Clock::default(),
            shown: state,
            active: false,
            listener: None,
            orphan: false,
            syn: Vec::new(),
            syn_packet: None,
            syn_at: SimTime::ZERO,
            syn_retries: 0,
            snd_max: None,
            rcv_nxt: 0,
            window: 0,
            sent: VecDeque::new(),
            timestamps: None,
            acked: None,
            confirm: false,
            data_at: None,
            quick: QUICK_ACKS,
            stuck: None,
            queued: 0,
            fin_wait2: None,
        }
    }

    fn smol(&self) -> &SmolSocket<'static> {
        self.set.get(self.handle)
    }

    fn smol_mut(&mut self) -> &mut SmolSocket<'static> {
        self.set.get_mut(self.handle)
    }

    /// `tcp_time_stamp_ms`: milliseconds, from where the seed puts their start.
    fn timestamp(&self, now: SimTime) -> u32 {
        (self.seed as u32).wrapping_add((now.as_nanos() / 1_000_000) as u32)
    }

    /// Leaves quickack mode.
    fn delay_acks(&mut self) {
        self.quick = 0;
        let delay = DELAYED_ACK.as_micros() * CLOCK_FACTOR;
        self.smol_mut().set_ack_delay(Some(smoltcp::time::Duration::from_micros(delay)));
    }

    /// Sent or to be sent, and not acknowledged.
    fn outstanding(&self) -> usize {
        let fin = matches!(self.shown, TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck);
        self.smol().send_queue() + usize::from(fin)
    }
}

fn interface(seed: u64, mtu: usize, now: Instant) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut none = output::TxQueue::default();
    let mut iface = Interface::new(config, &mut PollDevice { rx: None, tx: &mut none, mtu }, now);
    iface.set_any_ip(true);
    iface
}

/// `secure_tcp_seq`: of the namespace, the connection and the time, so that a port that is used again starts elsewhere.
fn seed_of(ns: &Netns, cx: &Cx<'_>, flow: &Flow) -> u64 {
    let key = key_of(format!("{} {} {}", ns.name, flow.local, flow.remote).as_bytes());
    hash(cx.seed(), purpose::ISN, key, cx.now().as_nanos())
}

/// `listen(2)`.
pub(crate) fn listen(ns: &mut Netns, cx: &mut Cx<'_>, number: u32) {
    if let Some(socket) = ns.sockets.get_mut(number) {
        socket.kind = Kind::Listen { half_open: 0 };
        record_state(ns, cx, number, TcpState::Close, TcpState::Listen);
    }
}

/// `connect(2)`, without waiting: [`Event::Connected`] or [`Event::Error`] follows.
///
/// # Errors
/// `NetUnreach`, `HostUnreach`, `Acces`, `Inval` (by the route), `AddrNotAvail` (no free port, or the pair is taken).
pub(crate) fn connect(ns: &mut Netns, cx: &mut Cx<'_>, number: u32, remote: SocketAddr) -> Result<(), Errno> {
    let Some(socket) = ns.sockets.get(number) else { return Err(Errno::Inval) };
    let (options, bound) = (socket.options, socket.local);
    let route = output::route(ns, cx, &options, proto::TCP, bound, remote)?;
    if matches!(route.kind, RouteKind::Broadcast | RouteKind::Multicast) {
        return Err(Errno::NetUnreach);
    }
    let address = route.src.unwrap_or(bound.ip());
    let port = match bound.port() {
        0 => table::ephemeral(ns, cx, number, address, Some(remote))?,
        port => port,
    };
    let flow = Flow { local: SocketAddr::new(address, port), remote };
    if ns.sockets.flows.contains_key(&flow) {
        return Err(Errno::AddrNotAvail);
    }
    table::unbind(&mut ns.sockets, number);
    table::put(&mut ns.sockets, number, flow.local);
    ns.sockets.flows.insert(flow, number);
    let mtu = output::path_mtu(ns, cx.now(), &route, remote.ip()) as usize;
    let mut conn = Conn::new(seed_of(ns, cx, &flow), mtu, TcpState::SynSent);
    conn.active = true;
    TIMESTAMP.set(conn.timestamp(cx.now()));
    let Conn { set, handle, iface, .. } = &mut conn;
    let connected = set.get_mut::<SmolSocket<'_>>(*handle).connect(iface.context(), remote, flow.local);
    let id = output::random_id(ns, cx);
    if let Some(socket) = ns.sockets.get_mut(number) {
        socket.remote = Some(remote);
        socket.ip_id = id;
        socket.kind = Kind::Tcp(Box::new(conn));
    }
    // smoltcp refuses what has no address or port: 0.0.0.0 and port 0.
    if connected.is_err() {
        return Err(Errno::AddrNotAvail);
    }
    record_state(ns, cx, number, TcpState::Close, TcpState::SynSent);
    poll(ns, cx, number);
    Ok(())
}

/// `tcp_v4_rcv`.
pub(crate) fn receive(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb) -> Result<u32, DropReason> {
    let l4 = verified(skb, 20, DropReason::TcpCsum)?;
    let header = usize::from(l4[12] >> 4) * 4;
    if header < 20 || header > l4.len() {
        return Err(DropReason::PktTooSmall);
    }
    let flags = l4[13];
    let ports = skb.ports().ok_or(DropReason::PktTooSmall)?;
    let flow = Flow { local: SocketAddr::new(skb.dst(), ports.1), remote: SocketAddr::new(skb.src(), ports.0) };
    if let Some(&number) = ns.sockets.flows.get(&flow) {
        match ns.sockets.get_mut(number).map(|socket| &mut socket.kind) {
            Some(Kind::Tcp(conn)) if conn.shown == TcpState::SynRecv && flags & (flag::SYN | flag::ACK) == flag::SYN => {
                // The SYN once more: so did our answer not arrive.
                send_syn_again(ns, cx, number);
                return Ok(number);
            }
            Some(Kind::Tcp(_)) => {
                ingress(ns, cx, number, skb, l4);
                return Ok(number);
            }
            Some(Kind::TimeWait(_)) => match timewait::receive(ns, cx, number, l4) {
                timewait::Verdict::Taken => return Ok(number),
                // A new connection of the same ends, with a later sequence number: to the listener.
                timewait::Verdict::Reopen => destroy(ns, number),
            },
            _ => {}
        }
    }
    let Some(listener) = table::lookup(&ns.sockets, proto::TCP, flow.local, flow.remote, skb.iif) else {
        if flags & flag::RST == 0 {
            rst::send_reset(ns, cx, skb, l4);
        }
        return Err(DropReason::NoSocket);
    };
    if flags & flag::RST != 0 {
        return Err(DropReason::TcpInvalid);
    }
    if flags & flag::ACK != 0 {
        rst::send_reset(ns, cx, skb, l4);
        return Err(DropReason::TcpInvalid);
    }
    if flags & flag::SYN == 0 || flags & flag::FIN != 0 {
        return Err(DropReason::TcpInvalid);
    }
    let number = spawn(ns, cx, listener, flow)?;
    ingress(ns, cx, number, skb, l4);
    Ok(number)
}

/// `tcp_conn_request`: a socket for a SYN.
fn spawn(ns: &mut Netns, cx: &mut Cx<'_>, listener: u32, flow: Flow) -> Result<u32, DropReason> {
    let Some(parent) = ns.sockets.get_mut(listener) else { return Err(DropReason::NoSocket) };
    let (options, owner, dns) = (parent.options, parent.owner, parent.dns);
    match &mut parent.kind {
        Kind::Listen { half_open } if *half_open < BACKLOG => *half_open += 1,
        _ => return Err(DropReason::TcpListenOverflow),
    }
    let route = output::route(ns, cx, &options, proto::TCP, flow.local, flow.remote);
    let Ok(route) = route else {
        leave_queue(ns, Some(listener));
        return Err(DropReason::IpOutNoRoutes);
    };
    let number = ns.sockets.open(proto::TCP, Family::of(flow.local.ip()), options, owner);
    let mtu = output::path_mtu(ns, cx.now(), &route, flow.remote.ip()) as usize;
    let mut conn = Conn::new(seed_of(ns, cx, &flow), mtu, TcpState::Listen);
    conn.listener = Some(listener);
    let listening = conn.smol_mut().listen(IpEndpoint::from(flow.local));
    if listening.is_err() {
        // Port 0, which no listener has.
        leave_queue(ns, Some(listener));
        destroy(ns, number);
        return Err(DropReason::NoSocket);
    }
    let id = output::random_id(ns, cx);
    if let Some(socket) = ns.sockets.get_mut(number) {
        socket.remote = Some(flow.remote);
        socket.ip_id = id;
        socket.dns = dns;
        socket.kind = Kind::Tcp(Box::new(conn));
    }
    table::put(&mut ns.sockets, number, flow.local);
    ns.sockets.flows.insert(flow, number);
    Ok(number)
}

fn leave_queue(ns: &mut Netns, listener: Option<u32>) {
    if let Some(socket) = listener.and_then(|number| ns.sockets.get_mut(number))
        && let Kind::Listen { half_open } = &mut socket.kind
    {
        *half_open = half_open.saturating_sub(1);
    }
}

/// Gives a segment to smoltcp. What it answers lies in the queue until the flush.
fn ingress(ns: &mut Netns, cx: &mut Cx<'_>, number: u32, skb: &Skb, l4: &[u8]) {
    let now = cx.now();
    let rebuilt;
    let ip = skb.ip();
    // smoltcp does not know all extension headers: it gets a plain header where there are any.
    let packet = if skb.ip_version() == Family::V6 && usize::from(skb.l4 - skb.l3) != IPV6_HLEN {
        let mut plain = Vec::with_capacity(IPV6_HLEN + l4.len());
        let fields = IpFields { tos: skb.tos(), ttl: skb.hop_limit(), id: 0, df: true };
        output::put_ip_header(&mut plain, skb.src(), skb.dst(), proto::TCP, l4.len(), fields);
        plain.extend_from_slice(l4);
        rebuilt = plain;
        &rebuilt[..]
    } else {
        &ip[..skb.ip_len().min(ip.len())]
    };
    if let Some(conn) = ns.sockets.conn_mut(number)
        && matches!(conn.shown, TcpState::SynSent | TcpState::SynRecv)
    {
        let round_trip = now.since(conn.syn_at).as_micros().saturating_mul(CLOCK_FACTOR);
        let measured = i64::try_from(round_trip).unwrap_or(i64::MAX).min(MAX_HANDSHAKE_US);
        conn.clock.base = conn.clock.base.max(measured);
    }
    let mut tx = std::mem::take(&mut ns.sockets.tx);
    if let Some(conn) = ns.sockets.conn_mut(number) {
        let ack = be32(l4, 8);
        if l4[13] & flag::ACK != 0 && conn.acked.is_none_or(|acked| ack.wrapping_sub(acked) as i32 > 0) {
            conn.acked = Some(ack);
            conn.confirm = true;
        }
        if l4.len() > usize::from(l4[12] >> 4) * 4 {
            conn.data_at = Some(now);
        }
        TIMESTAMP.set(conn.timestamp(now));
        let at = conn.clock.at(now);
        let Conn { set, iface, mtu, .. } = conn;
        iface.poll_ingress_single(at, &mut PollDevice { rx: Some(packet), tx: &mut tx, mtu: *mtu }, set);
    }
    ns.sockets.tx = tx;
    ns.sockets.pending = Some(number);
}

/// Whether what a segment asks for may wait until the app has seen it: an answer, or a FIN, then carries the acknowledgement.
pub(crate) fn may_wait(ns: &mut Netns, number: u32) -> bool {
    ns.sockets.conn_mut(number).is_some_and(|conn| {
        let state = TcpState::of(conn.smol().state());
        let old = matches!(conn.shown, TcpState::Established | TcpState::CloseWait);
        conn.quick == 0 && old && matches!(state, TcpState::Established | TcpState::CloseWait)
    })
}

fn egress(ns: &mut Netns, now: SimTime, number: u32) {
    let mut tx = std::mem::take(&mut ns.sockets.tx);
    if let Some(conn) = ns.sockets.conn_mut(number) {
        TIMESTAMP.set(conn.timestamp(now));
        let at = conn.clock.at(now);
        let Conn { set, iface, mtu, .. } = conn;
        iface.poll(at, &mut PollDevice { rx: None, tx: &mut tx, mtu: *mtu }, set);
    }
    ns.sockets.tx = tx;
}

/// Lets smoltcp do what is due, sends what it wrote, and sees what became of the connection.
pub(crate) fn poll(ns: &mut Netns, cx: &mut Cx<'_>, number: u32) {
    egress(ns, cx.now(), number);
    transmit(ns, cx, number);
}

/// Sends what smoltcp wrote, and sees what became of the connection.
pub(crate) fn transmit(ns: &mut Netns, cx: &mut Cx<'_>, number: u32) {
    let mut tx = std::mem::take(&mut ns.sockets.tx);
    let mut start = 0;
    for &end in &tx.ends {
        send_segment(ns, cx, number, &mut tx.bytes[start..end]);
        start = end;
    }
    tx.bytes.clear();
    tx.ends.clear();
    if ns.sockets.tx.ends.is_empty() {
        ns.sockets.tx = tx;
    }
    settle(ns, cx, number);
}

/// `__tcp_transmit_skb`, `ip_queue_xmit`: completes one segment of smoltcp's and sends it.
fn send_segment(ns: &mut Netns, cx: &mut Cx<'_>, number: u32, bytes: &mut [u8]) {
    let now = cx.now();
    let current = ns.sockets.current;
    let no_pmtu_disc = ns.sysctls.ip_no_pmtu_disc != 0;
    let at = if bytes[0] >> 4 == 4 { IPV4_HLEN } else { IPV6_HLEN };
    let l4 = &bytes[at..];
    let (seq, flags) = (be32(l4, 4), l4[13]);
    let payload = l4.len() - usize::from(l4[12] >> 4) * 4;
    let length = payload as u32 + u32::from(flags & flag::SYN != 0) + u32::from(flags & flag::FIN != 0);
    let Some(socket) = ns.sockets.get_mut(number) else { return };
    let Some(remote) = socket.remote else { return };
    let (options, local, dns) = (socket.options, socket.local, socket.dns);
    let owner = socket.skb_owner(number);
    let Kind::Tcp(conn) = &mut socket.kind else { return };
    if flags & flag::ACK != 0 {
        conn.rcv_nxt = be32(l4, 8);
        conn.window = u16::from_be_bytes([l4[14], l4[15]]);
    }
    conn.timestamps = timestamps(l4);
    if length == 0 && flags & flag::RST == 0 && conn.quick > 0 {
        conn.quick -= 1;
        if conn.quick == 0 {
            conn.delay_acks();
        }
    }
    // tcp_event_data_sent: the app answers what comes.
    if payload > 0 && conn.quick > 0 && conn.data_at.is_some_and(|came| now.since(came) < DELAYED_ACK) {
        conn.delay_acks();
    }
    let again = length > 0 && conn.snd_max.is_some_and(|max| seq.wrapping_add(length).wrapping_sub(max) as i32 <= 0);
    let (why, parent) = if again {
        let first = conn.sent.iter().find(|(first, _)| *first == seq).map(|&(_, packet)| packet);
        (cause::RETRANSMIT, first.or(current))
    } else if conn.active && payload > 0 && !dns {
        (cause::ORIGINAL, current)
    } else {
        (output::cause_of(dns, current), current)
    };
    if length > 0 && !again {
        conn.snd_max = Some(seq.wrapping_add(length));
    }
    // A SYN-ACK is sent before there is a socket that could count.
    let synack = flags & (flag::SYN | flag::ACK) == flag::SYN | flag::ACK;
    let id = if synack { 0 } else { socket.ip_id };
    if !synack {
        socket.ip_id = socket.ip_id.wrapping_add(1);
    }
    let ttl = output::ttl(ns, &options, Family::of(remote.ip()));
    let fields = IpFields { tos: options.tos, ttl, id, df: options.df.unwrap_or(!no_pmtu_disc) };
    output::set_fields(bytes, fields);
    // Looked up for each segment: the routes may have changed. Without one the segment is lost and the timers go on, as in Linux.
    let Ok(route) = output::route(ns, cx, &options, proto::TCP, local, remote) else { return };
    if ns.sockets.conn_mut(number).is_some_and(|conn| std::mem::take(&mut conn.confirm)) && route.kind == RouteKind::Unicast {
        neigh::table::confirm(ns, cx, route.dev, route.via.unwrap_or(remote.ip()));
    }
    let out = Outgoing { owner, mark: options.mark, route, bytes, cause: why, parent };
    let (packet, _) = output::emit(ns, cx, out);
    let Some(conn) = ns.sockets.conn_mut(number) else { return };
    if length > 0 && !again {
        if conn.sent.len() >= SENT_LIMIT {
            conn.sent.pop_front();
        }
        conn.sent.push_back((seq, packet));
    }
    if flags & flag::SYN != 0 {
        conn.syn.clear();
        conn.syn.extend_from_slice(bytes);
        conn.syn_packet = Some(packet);
        conn.syn_at = now;
    }
}

/// The timestamps option of a segment (RFC 7323).
fn timestamps(l4: &[u8]) -> Option<(u32, u32)> {
    let mut options = l4.get(20..usize::from(l4[12] >> 4) * 4)?;
    // Bounded: every option takes at least a byte.
    while let [kind, rest @ ..] = options {
        match kind {
            0 => return None,
            1 => options = rest,
            8 if rest.len() >= 9 => return Some((be32(rest, 1), be32(rest, 5))),
            _ => options = options.get(usize::from(*rest.first()?).max(2)..)?,
        }
    }
    None
}

/// `tcp_retransmit_timer` of SYN-SENT and SYN-RECV: the segment as it was, with an identification of its own.
fn send_syn_again(ns: &mut Netns, cx: &mut Cx<'_>, number: u32) {
    let now = cx.now();
    let Some(socket) = ns.sockets.get_mut(number) else { return };
    let Some(remote) = socket.remote else { return };
    let (options, local) = (socket.options, socket.local);
    let (owner, id) = (socket.skb_owner(number), socket.ip_id);
    let Kind::Tcp(conn) = &mut socket.kind else { return };
    conn.syn_at = now;
    let mut bytes = std::mem::take(&mut conn.syn);
    let parent = conn.syn_packet;
    if conn.active {
        socket.ip_id = socket.ip_id.wrapping_add(1);
        if bytes.first().is_some_and(|first| first >> 4 == 4) {
            let fields = IpFields { tos: bytes[1], ttl: bytes[8], id, df: bytes[6] & 0x40 != 0 };
            output::set_fields(&mut bytes, fields);
        }
    }
    if let Ok(route) = output::route(ns, cx, &options, proto::TCP, local, remote) {
        let out = Outgoing { owner, mark: options.mark, route, bytes: &bytes, cause: cause::RETRANSMIT, parent };
        let _ = output::emit(ns, cx, out);
    }
    if let Some(conn) = ns.sockets.conn_mut(number) {
        conn.syn = bytes;
    }
}

/// How long the n-th SYN (from 0) is waited for: `tcp_syn_linear_timeouts` times 1 s, then twice as long each time.
pub(crate) fn syn_timeout(retries: u32, linear: u32) -> SimTime {
    SimTime(SYN_TIMEOUT.as_nanos() << retries.saturating_sub(linear).min(16))
}

/// Sees what a poll has made of a connection: state changes, data for the app, the next timer.
fn settle(ns: &mut Netns, cx: &mut Cx<'_>, number: u32) {
    let now = cx.now();
    let Some(conn) = ns.sockets.conn_mut(number) else { return };
    let (old, new) = (conn.shown, TcpState::of(conn.smol().state()));
    // smoltcp takes a SYN-RECV that was reset back to LISTEN; ours ends.
    let new = if old == TcpState::SynRecv && new == TcpState::Listen { TcpState::Close } else { new };
    let (orphan, listener) = (conn.orphan, conn.listener);
    if new != old {
        conn.shown = new;
        if matches!(old, TcpState::SynSent | TcpState::SynRecv) && conn.clock.started.is_none() {
            conn.clock.started = Some(now);
        }
        if new == TcpState::FinWait2 {
            conn.fin_wait2 = Some(now);
        }
        let half_open = (old == TcpState::SynRecv).then(|| conn.listener.take()).flatten();
        record_state(ns, cx, number, old, new);
        leave_queue(ns, half_open);
        match (old, new) {
            (TcpState::SynSent, TcpState::Established) => ns.sockets.events.push_back(Event::Connected { socket: number }),
            (TcpState::SynRecv, TcpState::Established | TcpState::CloseWait) => {
                if let Some(listener) = listener {
                    ns.sockets.events.push_back(Event::Accepted { listener, socket: number });
                }
            }
            (_, TcpState::TimeWait) => return timewait::enter(ns, cx, number),
            (TcpState::LastAck, TcpState::Close) => return destroy(ns, number),
            (TcpState::SynSent, TcpState::Close) => return fail(ns, number, Errno::ConnRefused),
            (_, TcpState::Close) => return fail(ns, number, Errno::ConnReset),
            (_, TcpState::Listen) => {
                // The SYN did not please smoltcp.
                leave_queue(ns, listener);
                return destroy(ns, number);
            }
            _ => {}
        }
    } else if old == TcpState::Listen {
        leave_queue(ns, listener);
        return destroy(ns, number);
    }
    let Some(conn) = ns.sockets.conn_mut(number) else { return };
    if orphan && conn.smol().can_recv() {
        // Data for a process that has gone: RST.
        return abort(ns, cx, number);
    }
    let queued = conn.smol().send_queue();
    let news = new != old || conn.smol().can_recv() || queued < conn.queued;
    conn.queued = queued;
    if news && !orphan && !matches!(new, TcpState::SynSent | TcpState::SynRecv) {
        ns.sockets.events.push_back(Event::Ready { socket: number });
    }
    let at = next_timer(ns, now, number);
    arm(ns, cx, number, at);
}

/// A connection that ended by force. Its app is told unless it had closed it.
fn fail(ns: &mut Netns, number: u32, errno: Errno) {
    let told = ns.sockets.conn_mut(number).is_some_and(|conn| !conn.orphan && (conn.active || conn.listener.is_none()));
    let app = ns.sockets.get(number).and_then(|socket| socket.owner);
    destroy(ns, number);
    if told {
        ns.sockets.events.push_back(Event::Error { socket: number, app, errno });
    }
}

fn next_timer(ns: &mut Netns, now: SimTime, number: u32) -> Option<SimTime> {
    let (linear, fin_timeout) = (u32::from(ns.sysctls.tcp_syn_linear_timeouts), ns.sysctls.tcp_fin_timeout);
    let conn = ns.sockets.conn_mut(number)?;
    match conn.shown {
        TcpState::SynSent => return Some(conn.syn_at + syn_timeout(conn.syn_retries, linear)),
        TcpState::SynRecv => return Some(conn.syn_at + syn_timeout(conn.syn_retries, 0)),
        _ => {}
    }
    let outstanding = conn.outstanding();
    conn.stuck = match conn.stuck {
        _ if outstanding == 0 => None,
        Some((since, before, state)) if before <= outstanding && state == conn.shown => Some((since, outstanding, state)),
        _ => Some((now, outstanding, conn.shown)),
    };
    let at = conn.clock.at(now);
    let wish = conn.iface.poll_at(at, &conn.set).map(|wish| {
        // Never in the past: smoltcp may want to be polled where a poll changes nothing.
        if wish <= at { now + RESTLESS } else { conn.clock.ours(wish) }
    });
    let orphan_end = conn.fin_wait2.filter(|_| conn.orphan).map(|since| since + SimTime::from_secs(u64::from(fin_timeout)));
    [wish, orphan_end].into_iter().flatten().min()
}

/// The timer of a connection.
pub(crate) fn on_timer(ns: &mut Netns, cx: &mut Cx<'_>, number: u32) {
    let now = cx.now();
    let (retries, linear) = (u32::from(ns.sysctls.tcp_syn_retries), u32::from(ns.sysctls.tcp_syn_linear_timeouts));
    let fin_timeout = SimTime::from_secs(u64::from(ns.sysctls.tcp_fin_timeout));
    let Some(conn) = ns.sockets.conn_mut(number) else { return };
    match conn.shown {
        TcpState::SynSent | TcpState::SynRecv => {
            let most = if conn.active { retries + linear } else { SYNACK_RETRIES };
            if conn.syn_retries >= most {
                return end(ns, cx, number, Errno::TimedOut);
            }
            conn.syn_retries += 1;
            send_syn_again(ns, cx, number);
            let at = next_timer(ns, now, number);
            return arm(ns, cx, number, at);
        }
        _ => {}
    }
    let limit = if conn.orphan { GIVE_UP_ORPHAN } else { GIVE_UP };
    if conn.stuck.is_some_and(|(since, ..)| now.since(since) >= limit) {
        return end(ns, cx, number, Errno::TimedOut);
    }
    if conn.orphan && conn.fin_wait2.is_some_and(|since| now.since(since) >= fin_timeout) {
        return end(ns, cx, number, Errno::TimedOut);
    }
    poll(ns, cx, number);
}

/// `tcp_done_with_error`: ends a connection without a word to the other side.
pub(crate) fn end(ns: &mut Netns, cx: &mut Cx<'_>, number: u32, errno: Errno) {
    let Some(conn) = ns.sockets.conn_mut(number) else { return };
    let (old, listener) = (conn.shown, conn.listener);
    record_state(ns, cx, number, old, TcpState::Close);
    leave_queue(ns, listener.filter(|_| old == TcpState::SynRecv));
    fail(ns, number, errno);
}

/// Path MTU discovery (`tcp_v4_mtu_reduced`): what is larger is sent again by the flush, in smaller pieces.
pub(crate) fn reduce_mtu(ns: &mut Netns, cx: &mut Cx<'_>, number: u32, mtu: usize) {
    let now = cx.now();
    let Some(conn) = ns.sockets.conn_mut(number) else { return };
    if mtu >= conn.mtu {
        return;
    }
    conn.mtu = mtu;
    let at = conn.clock.at(now);
    conn.iface = interface(conn.seed, mtu, at);
    if conn.outstanding() == 0 {
        return;
    }
    // smoltcp sends again only when its timer is due: its clock is put there.
    if let (Some(due), Some(started)) = (conn.iface.poll_at(at, &conn.set), conn.clock.started)
        && due > at
    {
        conn.clock.base += due.total_micros() - at.total_micros();
        conn.clock.started = Some(started);
    }
    ns.sockets.pending = Some(number);
}

/// `send(2)`: takes as much as the buffer has room for. Call [`poll`] afterwards.
pub(crate) fn send(ns: &mut Netns, number: u32, data: &[u8]) -> usize {
    let Some(conn) = ns.sockets.conn_mut(number) else { return 0 };
    if conn.smol().can_send() { conn.smol_mut().send_slice(data).unwrap_or(0) } else { 0 }
}

/// `recv(2)`: all that is there. Call [`poll`] afterwards.
pub(crate) fn recv(ns: &mut Netns, number: u32) -> Vec<u8> {
    let Some(conn) = ns.sockets.conn_mut(number) else { return Vec::new() };
    let mut data = Vec::new();
    // Bounded: the ring is read in at most two pieces.
    while conn.smol().can_recv() {
        let read = conn.smol_mut().recv(|piece| {
            data.extend_from_slice(piece);
            (piece.len(), piece.len())
        });
        if !matches!(read, Ok(1..)) {
            break;
        }
    }
    data
}

/// Whether the other side has closed and all of its data has been read.
pub(crate) fn at_end(ns: &mut Netns, number: u32) -> bool {
    ns.sockets.conn_mut(number).is_none_or(|conn| {
        matches!(conn.shown, TcpState::CloseWait | TcpState::LastAck | TcpState::Closing | TcpState::Close)
            && !conn.smol().can_recv()
    })
}

/// `close(2)`: FIN, or RST where data has not been read. The app hears no more of it.
pub(crate) fn close(ns: &mut Netns, cx: &mut Cx<'_>, number: u32) {
    let Some(socket) = ns.sockets.get_mut(number) else { return };
    let Kind::Tcp(conn) = &mut socket.kind else { return destroy(ns, number) };
    conn.orphan = true;
    if conn.shown == TcpState::SynSent || conn.smol().recv_queue() > 0 {
        return abort(ns, cx, number);
    }
    socket.owner = None;
    conn.smol_mut().close();
    poll(ns, cx, number);
}

/// `close(2)` with `SO_LINGER` 0: RST, or nothing where there is no connection yet.
pub(crate) fn abort(ns: &mut Netns, cx: &mut Cx<'_>, number: u32) {
    let Some(conn) = ns.sockets.conn_mut(number) else { return };
    conn.orphan = true;
    if conn.shown == TcpState::SynSent {
        return end(ns, cx, number, Errno::ConnReset);
    }
    conn.smol_mut().abort();
    poll(ns, cx, number);
}
