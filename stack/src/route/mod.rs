//! Where a packet goes: the policy rules ([`rule`]) choose a table, the table ([`fib`]) holds the routes.

use std::net::IpAddr;

use crate::addr::Family;
use crate::dev::device::DevId;
use crate::netns::Netns;
use crate::provenance::ProvId;
pub use crate::trace::RouteKind;

/// What a lookup is asked (`struct flowi4`, `struct flowi6`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// IP version.
    pub family: Family,
    /// Source; unspecified where a socket has none yet.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// The device that it came in through; [`DevId::NONE`] for our own.
    pub iif: DevId,
    /// The device that a socket is bound to; [`DevId::NONE`] where to none.
    pub oif: DevId,
    /// `fwmark`.
    pub mark: u32,
    /// TOS or traffic class.
    pub tos: u8,
    /// Transport protocol.
    pub proto: u8,
    /// Source port, where it has one.
    pub sport: u16,
    /// Destination port, where it has one.
    pub dport: u16,
    /// User of the socket.
    pub uid: u32,
}

/// What a lookup answers (`struct rtable`, `struct rt6_info`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// What happens with the packet.
    pub kind: RouteKind,
    /// The device that it goes out of (the loopback device where it is local).
    pub dev: DevId,
    /// The next hop; none where the destination is on the link.
    pub via: Option<IpAddr>,
    /// The source address that a packet of our own takes (`prefsrc`, or chosen by scope).
    pub src: Option<IpAddr>,
    /// `mtu` of the route (0: the device's).
    pub mtu: u32,
    /// Whether that MTU is locked (`mtu lock`).
    pub mtu_lock: bool,
    /// Length of the prefix that matched.
    pub prefix_len: u8,
    /// Table that holds the route.
    pub table: u32,
    /// Priority of the policy rule that led there.
    pub rule: u32,
    /// Who made the route.
    pub prov: ProvId,
}

/// `ip_route_input_slow`, `ip6_route_input`: the lookup for a packet that came in, without the checks of its source
/// (`fib_validate_source` is [`validate_source`]).
pub(crate) fn route_input(ns: &mut Netns, flow: &Flow) -> Route {
    let _ = ns;
    no_route(flow)
}

/// `ip_route_output_key_hash`, `ip6_route_output`: the lookup for a packet of our own; chooses its source address.
pub(crate) fn route_output(ns: &mut Netns, flow: &Flow) -> Route {
    let _ = ns;
    no_route(flow)
}

/// The answer where there is none.
pub(crate) fn no_route(flow: &Flow) -> Route {
    let _ = flow;
    Route {
        kind: RouteKind::None,
        dev: DevId::NONE,
        via: None,
        src: None,
        mtu: 0,
        mtu_lock: false,
        prefix_len: 0,
        table: 0,
        rule: 0,
        prov: ProvId(0),
    }
}
