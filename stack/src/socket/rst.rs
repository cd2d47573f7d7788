//! `tcp_v4_send_reset`, `tcp_v6_send_response`: the answer to a segment that no socket takes.

use std::net::SocketAddr;

use crate::Cx;
use crate::dev::device::DevId;
use crate::netns::Netns;
use crate::route::RouteKind;
use crate::skb::Skb;
use crate::socket::Options;
use crate::socket::output::{self, IpFields, Outgoing};
use crate::socket::tcp::flag;
use crate::trace::cause;
use crate::view::{be16, be32, proto, put16, transport_checksum};

/// Refuses a segment (`l4`, verified). Sequence numbers by RFC 9293, section 3.10.7.1; DF and identification 0, as the kernel's
/// control socket sends, TOS 0 whatever the segment had (seen on 6.18); the segment's mark only with `fwmark_reflect`.
pub(crate) fn send_reset(ns: &mut Netns, cx: &mut Cx<'_>, skb: &Skb, l4: &[u8]) {
    // What was not for an address of ours, only delivered here (broadcast), is not answered.
    if skb.route.is_some_and(|route| route.kind != RouteKind::Local) {
        return;
    }
    let flags = l4[13];
    let payload = l4.len() - usize::from(l4[12] >> 4) * 4;
    let mut tcp = [0; 20];
    put16(&mut tcp, 0, be16(l4, 2));
    put16(&mut tcp, 2, be16(l4, 0));
    tcp[12] = 5 << 4;
    if flags & flag::ACK != 0 {
        tcp[4..8].copy_from_slice(&l4[8..12]);
        tcp[13] = flag::RST;
    } else {
        let length = payload as u32 + u32::from(flags & flag::SYN != 0) + u32::from(flags & flag::FIN != 0);
        tcp[8..12].copy_from_slice(&be32(l4, 4).wrapping_add(length).to_be_bytes());
        tcp[13] = flag::RST | flag::ACK;
    }
    let (src, dst) = (skb.dst(), skb.src());
    let checksum = transport_checksum(src, dst, proto::TCP, &tcp);
    put16(&mut tcp, 16, checksum);
    let mark = if ns.sysctls.fwmark_reflect { skb.mark } else { 0 };
    let options = Options { device: DevId::NONE, mark, uid: 0, tos: 0, ttl: None, df: None, broadcast: false, transparent: true };
    let ttl = output::ttl(ns, &options, skb.ip_version());
    let mut bytes = Vec::with_capacity(60);
    let fields = IpFields { tos: options.tos, ttl, id: 0, df: true };
    output::put_ip_header(&mut bytes, src, dst, proto::TCP, tcp.len(), fields);
    bytes.extend_from_slice(&tcp);
    let (local, remote) = (SocketAddr::new(src, be16(l4, 2)), SocketAddr::new(dst, be16(l4, 0)));
    let Ok(route) = output::route(ns, cx, &options, proto::TCP, local, remote) else { return };
    let out = Outgoing { owner: None, mark, route, bytes: &bytes, cause: cause::REPLY, parent: Some(skb.id()) };
    // Nobody waits for it: what ended it has been recorded.
    let _ = output::emit(ns, cx, out);
}
