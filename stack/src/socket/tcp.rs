//! TCP: `tcp_v4_rcv`, `tcp_v4_connect`, `inet_csk_accept`, over one smoltcp socket for each connection.
//!
//! smoltcp has the segments, the windows, the reassembly and the data timers. Ours are the demultiplexer, the listener and
//! its backlog, the SYN timers (Linux since 6.5: 1, 2, 3, 4 s, then exponential), the limits after which Linux gives up,
//! ICMP errors, path MTU, TIME-WAIT, and what the IP header says.

use std::net::SocketAddr;

use sim_core::SimTime;
use sim_core::choice::{hash, key_of};
use smoltcp::socket::tcp::Socket as SmolSocket;
use smoltcp::wire::IpEndpoint;

use crate::Cx;
use crate::addr::Family;
use crate::drop_reason::DropReason;
use crate::errno::Errno;
use crate::netns::Netns;
use crate::route::RouteKind;
use crate::skb::Skb;
use crate::socket::conn::{CLOCK_FACTOR, Conn, MAX_HANDSHAKE_US, TIMESTAMP, interface};
use crate::socket::output::{self, IPV6_HLEN, IpFields, PollDevice};
use crate::socket::segment::{send_syn_again, syn_timeout, transmit};
use crate::socket::table::{self, Flow};
use crate::socket::{Event, Kind, TcpState, arm, destroy, record_state, rst, timewait, verified};
use crate::trace::purpose;
use crate::view::{be32, proto};

/// Handshakes under way on one listener (`somaxconn`).
const BACKLOG: u32 = 4096;
/// `tcp_synack_retries`.
const SYNACK_RETRIES: u32 = 5;
/// `tcp_retries2` = 15, as the time that its documentation names.
const GIVE_UP: SimTime = SimTime::from_millis(924_600);
/// `tcp_orphan_retries` = 8 for a connection that its process has closed.
const GIVE_UP_ORPHAN: SimTime = SimTime::from_millis(102_200);
/// What is waited where smoltcp wants to be polled at once after a poll.
const RESTLESS: SimTime = SimTime::from_millis(10);

/// Flags of a TCP header.
pub(crate) mod flag {
    pub(crate) const FIN: u8 = 1;
    pub(crate) const SYN: u8 = 2;
    pub(crate) const RST: u8 = 4;
    pub(crate) const ACK: u8 = 16;
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

/// Sees what a poll has made of a connection: state changes, data for the app, the next timer.
pub(super) fn settle(ns: &mut Netns, cx: &mut Cx<'_>, number: u32) {
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
