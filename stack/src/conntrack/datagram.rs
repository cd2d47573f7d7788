//! The trackers of protocols without a state machine: UDP, ICMP, GRE and what is unknown
//! (`nf_conntrack_proto_udp.c`, `_icmp.c`, `_icmpv6.c`, `_gre.c`, `_generic.c`).

use sim_core::SimTime;

use super::table::{Conn, Track, status};
use super::tcp::Tracked;
use crate::sysctl::CtSysctls;
use crate::view::{be16, proto};

/// Seconds after which traffic both ways is a stream.
const STREAM_AFTER: SimTime = SimTime::from_secs(2);

/// `nf_conntrack_udp_packet`, also of UDP-Lite.
pub(crate) fn udp(conn: &mut Conn, l4: &[u8], sysctls: &CtSysctls, now: SimTime) -> Tracked {
    if l4.len() < 8 {
        return Tracked::Invalid;
    }
    let length = usize::from(be16(l4, 4));
    // UDP-Lite has the checksum's coverage there: 0 is all.
    let lite = conn.original.proto == proto::UDPLITE;
    if length > l4.len() || (length < 8 && !(lite && length == 0)) {
        return Tracked::Invalid;
    }
    if !conn.has(status::CONFIRMED) {
        conn.track = Track::Udp { stream_at: SimTime(now.0.saturating_add(STREAM_AFTER.0)) };
    }
    if !conn.has(status::SEEN_REPLY) {
        conn.refresh(now, sysctls.udp_timeout);
        return Tracked::Accept;
    }
    let stream = matches!(conn.track, Track::Udp { stream_at } if now > stream_at);
    conn.refresh(now, if stream { sysctls.udp_timeout_stream } else { sysctls.udp_timeout });
    if stream && !conn.has(status::NAT_CLASH) {
        conn.status |= status::ASSURED;
    }
    Tracked::Accept
}

/// `nf_conntrack_icmp_packet`, `nf_conntrack_icmpv6_packet`: only a question begins a connection.
pub(crate) fn icmp(conn: &mut Conn, sysctls: &CtSysctls, now: SimTime) -> Tracked {
    let kind = (conn.original.dport >> 8) as u8;
    let v6 = conn.original.proto == proto::ICMPV6;
    let question = if v6 { matches!(kind, 128 | 139) } else { matches!(kind, 8 | 13 | 15 | 17) };
    if !conn.has(status::CONFIRMED) && !question {
        return Tracked::Invalid;
    }
    conn.refresh(now, if v6 { sysctls.icmpv6_timeout } else { sysctls.icmp_timeout });
    Tracked::Accept
}

/// `nf_conntrack_gre_packet`.
pub(crate) fn gre(conn: &mut Conn, sysctls: &CtSysctls, now: SimTime) -> Tracked {
    if !conn.has(status::SEEN_REPLY) {
        conn.refresh(now, sysctls.gre_timeout);
        return Tracked::Accept;
    }
    conn.refresh(now, sysctls.gre_timeout_stream);
    if !conn.has(status::NAT_CLASH) {
        conn.status |= status::ASSURED;
    }
    Tracked::Accept
}

/// `generic_packet`.
pub(crate) fn generic(conn: &mut Conn, sysctls: &CtSysctls, now: SimTime) -> Tracked {
    conn.refresh(now, sysctls.generic_timeout);
    Tracked::Accept
}
