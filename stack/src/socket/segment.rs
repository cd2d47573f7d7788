//! `__tcp_transmit_skb`: what smoltcp has written becomes packets of ours.

use sim_core::SimTime;

use crate::Cx;
use crate::addr::Family;
use crate::neigh;
use crate::netns::Netns;
use crate::route::RouteKind;
use crate::socket::Kind;
use crate::socket::conn::{DELAYED_ACK, SENT_LIMIT};
use crate::socket::output::{self, IPV4_HLEN, IPV6_HLEN, IpFields, Outgoing};
use crate::socket::tcp::{flag, settle};
use crate::trace::cause;
use crate::view::{be32, proto};

/// `TCP_TIMEOUT_INIT`.
const SYN_TIMEOUT: SimTime = SimTime::from_secs(1);

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
    } else if !dns && flags & (flag::SYN | flag::ACK) == flag::SYN {
        // It begins something, even where a DNS answer led to it.
        (cause::ORIGINAL, None)
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
pub(super) fn send_syn_again(ns: &mut Netns, cx: &mut Cx<'_>, number: u32) {
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
