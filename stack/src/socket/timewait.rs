//! `net/ipv4/tcp_minisocks.c`: what stays of a connection for a minute after its end.

use sim_core::SimTime;

use crate::Cx;
use crate::addr::Family;
use crate::netns::Netns;
use crate::socket::output::{self, IpFields, Outgoing};
use crate::socket::tcp::flag;
use crate::socket::{Kind, TcpState, arm, destroy, record_state};
use crate::trace::cause;
use crate::view::{be32, proto, put16, transport_checksum};

/// `TCP_TIMEWAIT_LEN`.
const TIMEWAIT: SimTime = SimTime::from_secs(60);

/// A connection in TIME-WAIT (`struct tcp_timewait_sock`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeWait {
    snd_nxt: u32,
    rcv_nxt: u32,
    window: u16,
    /// Our timestamp and the one that is echoed, and when that was.
    timestamps: Option<(u32, u32)>,
    since: SimTime,
}

/// What a segment of a connection in TIME-WAIT is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Answered or ignored.
    Taken,
    /// A new connection.
    Reopen,
}

/// `tcp_time_wait`: the buffers go, the ends and the sequence numbers stay.
pub(crate) fn enter(ns: &mut Netns, cx: &mut Cx<'_>, number: u32) {
    let Some(socket) = ns.sockets.get_mut(number) else { return };
    let Kind::Tcp(conn) = &socket.kind else { return };
    let rest = TimeWait {
        snd_nxt: conn.snd_max.unwrap_or(0),
        rcv_nxt: conn.rcv_nxt,
        window: conn.window,
        timestamps: conn.timestamps,
        since: cx.now(),
    };
    socket.kind = Kind::TimeWait(rest);
    socket.owner = None;
    arm(ns, cx, number, Some(cx.now() + TIMEWAIT));
}

/// `tcp_timewait_state_process`: a FIN that comes again is acknowledged again and begins the minute anew; a SYN with a later
/// sequence number opens anew; a RST ends it.
pub(crate) fn receive(ns: &mut Netns, cx: &mut Cx<'_>, number: u32, l4: &[u8]) -> Verdict {
    let Some(Kind::TimeWait(rest)) = ns.sockets.get(number).map(|socket| &socket.kind) else { return Verdict::Taken };
    let (seq, flags) = (be32(l4, 4), l4[13]);
    if flags & flag::RST != 0 {
        record_state(ns, cx, number, TcpState::TimeWait, TcpState::Close);
        destroy(ns, number);
        return Verdict::Taken;
    }
    let later = seq.wrapping_sub(rest.rcv_nxt) as i32 > 0;
    if flags & (flag::SYN | flag::ACK) == flag::SYN && later {
        record_state(ns, cx, number, TcpState::TimeWait, TcpState::Close);
        return Verdict::Reopen;
    }
    let length = l4.len() - usize::from(l4[12] >> 4) * 4;
    if flags & (flag::SYN | flag::FIN) != 0 || length > 0 || seq != rest.rcv_nxt {
        send_ack(ns, cx, number);
        arm(ns, cx, number, Some(cx.now() + TIMEWAIT));
    }
    Verdict::Taken
}

fn send_ack(ns: &mut Netns, cx: &mut Cx<'_>, number: u32) {
    let parent = ns.sockets.current;
    let Some(socket) = ns.sockets.get(number) else { return };
    let (Kind::TimeWait(rest), Some(remote)) = (&socket.kind, socket.remote) else { return };
    let (rest, options, local) = (*rest, socket.options, socket.local);
    let mut tcp = [0; 32];
    let length = if rest.timestamps.is_some() { 32 } else { 20 };
    put16(&mut tcp, 0, local.port());
    put16(&mut tcp, 2, remote.port());
    tcp[4..8].copy_from_slice(&rest.snd_nxt.to_be_bytes());
    tcp[8..12].copy_from_slice(&rest.rcv_nxt.to_be_bytes());
    tcp[12] = (length as u8 / 4) << 4;
    tcp[13] = flag::ACK;
    put16(&mut tcp, 14, rest.window);
    if let Some((ours, theirs)) = rest.timestamps {
        let ours = ours.wrapping_add((cx.now().since(rest.since).as_nanos() / 1_000_000) as u32);
        tcp[20..24].copy_from_slice(&[1, 1, 8, 10]);
        tcp[24..28].copy_from_slice(&ours.to_be_bytes());
        tcp[28..32].copy_from_slice(&theirs.to_be_bytes());
    }
    let tcp = &mut tcp[..length];
    let checksum = transport_checksum(local.ip(), remote.ip(), proto::TCP, tcp);
    put16(tcp, 16, checksum);
    let ttl = output::ttl(ns, &options, Family::of(remote.ip()));
    let mut bytes = Vec::with_capacity(72);
    let fields = IpFields { tos: options.tos, ttl, id: 0, df: true };
    output::put_ip_header(&mut bytes, local.ip(), remote.ip(), proto::TCP, tcp.len(), fields);
    bytes.extend_from_slice(tcp);
    let Ok(route) = output::route(ns, cx, &options, proto::TCP, local, remote) else { return };
    let out = Outgoing { owner: None, mark: options.mark, route, bytes: &bytes, cause: cause::REPLY, parent };
    // Nobody waits for it: what ended it has been recorded.
    let _ = output::emit(ns, cx, out);
}
