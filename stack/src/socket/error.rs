//! `tcp_v4_err`, `__udp4_lib_err`, `ping_err`, and their IPv6 brothers: what an ICMP error means to a socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Cx;
use crate::addr::Family;
use crate::errno::Errno;
use crate::netns::Netns;
use crate::skb::Skb;
use crate::socket::table::{self, Flow};
use crate::socket::{Event, IcmpNotice, Kind, TcpState, output, tcp};
use crate::view::{be16, be32, proto};

/// The packet that an ICMP error quotes, seen from its sender: us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Quoted {
    l4: u8,
    local: SocketAddr,
    remote: SocketAddr,
    /// Of TCP.
    seq: u32,
}

/// What an error is to a socket: its errno, and whether it ends a connection that stands (`icmp_err_convert[].fatal`).
pub(crate) fn errno(family: Family, kind: u8, code: u8) -> Option<(Errno, bool)> {
    Some(match (family, kind, code) {
        (Family::V4, 3, 0) => (Errno::NetUnreach, false),
        (Family::V4, 3, 1) => (Errno::HostUnreach, false),
        (Family::V4, 3, 2) => (Errno::NoProtoOpt, true),
        (Family::V4, 3, 3) => (Errno::ConnRefused, true),
        (Family::V4, 3, 4) => (Errno::MsgSize, false),
        (Family::V4, 3, 5) => (Errno::OpNotSupp, false),
        (Family::V4, 3, 6 | 9) => (Errno::NetUnreach, true),
        (Family::V4, 3, 7) => (Errno::HostDown, true),
        (Family::V4, 3, 8) => (Errno::NoNet, true),
        (Family::V4, 3, 10 | 13 | 14 | 15) => (Errno::HostUnreach, true),
        (Family::V4, 3, 11) => (Errno::NetUnreach, false),
        (Family::V4, 3, 12) => (Errno::HostUnreach, false),
        (Family::V4, 11, _) => (Errno::HostUnreach, false),
        (Family::V4, 12, _) => (Errno::Proto, true),
        (Family::V6, 1, 0) => (Errno::NetUnreach, false),
        (Family::V6, 1, 1 | 5 | 6) => (Errno::Acces, true),
        (Family::V6, 1, 2 | 3) => (Errno::HostUnreach, false),
        (Family::V6, 1, 4) => (Errno::ConnRefused, true),
        (Family::V6, 2, _) => (Errno::MsgSize, false),
        (Family::V6, 3, _) => (Errno::HostUnreach, false),
        (Family::V6, 4, _) => (Errno::Proto, true),
        _ => return None,
    })
}

/// Hands an ICMP error to the socket whose packet it quotes.
pub(crate) fn icmp_error(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, notice: IcmpNotice) {
    let Some(quoted) = skb.packet.bytes().get(notice.quoted..).and_then(quoted) else { return };
    let family = Family::of(quoted.local.ip());
    let Some((errno, fatal)) = errno(family, notice.kind, notice.code) else { return };
    let too_big = errno == Errno::MsgSize;
    if too_big {
        if ns.sysctls.ip_no_pmtu_disc != 0 && family == Family::V4 {
            return;
        }
        output::learn_pmtu(ns, cx.now(), quoted.remote.ip(), notice.mtu);
    }
    if quoted.l4 == proto::TCP {
        return tcp_error(ns, cx, quoted, errno, too_big);
    }
    let Some(number) = table::lookup(&ns.sockets, quoted.l4, quoted.local, quoted.remote, skb.iif) else { return };
    let Some(socket) = ns.sockets.get(number) else { return };
    // Only where the socket is connected, and only what is fatal; a message that is too big where it must not be cut.
    let connected = match socket.kind {
        Kind::Udp => socket.remote.is_some(),
        Kind::Ping { errors } => errors,
        _ => false,
    };
    if connected && (fatal || (too_big && socket.options.df == Some(true))) {
        let app = socket.owner;
        ns.sockets.events.push_back(Event::Error { socket: number, app, errno });
    }
}

/// `tcp_v4_err`: only a connection that is being made ends by it; one that stands sends on.
fn tcp_error(ns: &mut Netns, cx: &mut Cx<'_>, quoted: Quoted, errno: Errno, too_big: bool) {
    let flow = Flow { local: quoted.local, remote: quoted.remote };
    let Some(&number) = ns.sockets.flows.get(&flow) else { return };
    let Some(socket) = ns.sockets.get_mut(number) else { return };
    let options = socket.options;
    let Kind::Tcp(conn) = &mut socket.kind else { return };
    let state = conn.shown;
    // A forged error does not know the sequence numbers.
    let sent = conn.snd_max.is_some_and(|max| (0..=1 << 17).contains(&(max.wrapping_sub(quoted.seq) as i32)));
    if !sent {
        return;
    }
    if too_big {
        let Ok(route) = output::route(ns, cx, &options, proto::TCP, quoted.local, quoted.remote) else { return };
        let mtu = output::path_mtu(ns, cx.now(), &route, quoted.remote.ip());
        return tcp::reduce_mtu(ns, cx, number, mtu as usize);
    }
    // `sock_owned_by_user`: an answer over veth pairs comes back while connect() still holds the socket, and is but a soft error;
    // with IPv6 nobody is woken for it (`ipv6_icmp_error` wants RECVERR, `ip_icmp_error` does not), and the next SYN has to find out.
    let in_connect = conn.active && conn.syn_retries == 0 && conn.syn_at == cx.now();
    if in_connect && Family::of(quoted.local.ip()) == Family::V6 {
        return;
    }
    if matches!(state, TcpState::SynSent | TcpState::SynRecv) {
        tcp::end(ns, cx, number, errno);
    }
}

/// Reads a quoted packet, of which the kernel asks only for 8 bytes behind the IP header.
fn quoted(ip: &[u8]) -> Option<Quoted> {
    let (l4, src, dst, at): (u8, IpAddr, IpAddr, usize) = match ip.first()? >> 4 {
        4 if ip.len() >= 20 => {
            let address = |at: usize| IpAddr::from(Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]));
            (ip[9], address(12), address(16), usize::from(ip[0] & 15) * 4)
        }
        6 if ip.len() >= 40 => {
            let address = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&ip[at..at + 16]);
                IpAddr::from(Ipv6Addr::from(octets))
            };
            // The one extension header that we send is that of a fragment.
            let (l4, at) = if ip[6] == proto::FRAGMENT { (*ip.get(40)?, 48) } else { (ip[6], 40) };
            (l4, address(8), address(24), at)
        }
        _ => return None,
    };
    let head = ip.get(at..at + 8)?;
    let (local, remote) = match l4 {
        proto::TCP | proto::UDP => (be16(head, 0), be16(head, 2)),
        // An echo request of ours: its identifier stands for the port.
        proto::ICMP if head[0] == 8 => (be16(head, 4), 0),
        proto::ICMPV6 if head[0] == 128 => (be16(head, 4), 0),
        _ => return None,
    };
    Some(Quoted { l4, local: SocketAddr::new(src, local), remote: SocketAddr::new(dst, remote), seq: be32(head, 4) })
}
