//! Sockets: the bind table, the demultiplexer, TCP by smoltcp, UDP, ICMP echo.

use crate::Cx;
use crate::drop_reason::DropReason;
use crate::netns::Netns;
use crate::skb::Skb;

/// The sockets of a namespace.
#[derive(Debug, Default)]
pub struct Sockets {}

/// `tcp_v4_rcv`, `udp_rcv`, `ping_rcv`: hands a packet that passed INPUT to its socket. The socket copies what it wants and the
/// caller records the end; the reason why no socket took it comes back (the caller owes the port unreachable; the RST of a
/// closed TCP port is sent here).
pub(crate) fn receive(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<Delivered, DropReason> {
    let _ = (ns, cx, skb);
    Err(DropReason::NoSocket)
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

/// Hands an ICMP error to the socket whose packet it quotes.
pub(crate) fn icmp_error(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, notice: IcmpNotice) {
    let _ = (ns, cx, skb, notice);
}

/// A timer of a socket has gone off.
pub(crate) fn on_timer(ns: &mut Netns, cx: &mut Cx<'_>, socket: u32) {
    let _ = (ns, cx, socket);
}
