//! Where a packet goes: the policy rules ([`rule`]) choose a table, the table ([`fib`]) holds the routes.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::Cx;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::errno::Errno;
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
pub(crate) fn route_input(ns: &mut Netns, cx: &mut Cx<'_>, flow: &Flow) -> Route {
    let _ = (ns, cx);
    no_route(flow)
}

/// `ip_route_output_key_hash`, `ip6_route_output`: the lookup for a packet of our own; chooses its source address.
pub(crate) fn route_output(ns: &mut Netns, cx: &mut Cx<'_>, flow: &Flow) -> Route {
    let _ = (ns, cx);
    no_route(flow)
}

/// `fib_validate_source`: is the source of a packet that came in plausible (`rp_filter`, `accept_local`, martians)? IPv4 only.
///
/// # Errors
/// `IpRpfilter`, `IpLocalSource`, `IpInvalidSource`.
pub(crate) fn validate_source(ns: &mut Netns, flow: &Flow) -> Result<(), DropReason> {
    let _ = (ns, flow);
    Ok(())
}

/// `inet_addr_type_dev_table`: what an address is to this namespace (for `-m addrtype`, `fib daddr type`).
pub fn address_type(ns: &Netns, address: IpAddr, dev: Option<DevId>) -> RouteKind {
    let _ = (ns, address, dev);
    RouteKind::Unicast
}

/// The routes and policy rules of one IP family.
#[derive(Debug, Default)]
pub struct Rib {}

/// A route, as `ip route` reads and shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteSpec {
    /// Destination.
    pub dst: IpNet,
    /// `unicast` (None of the words), `local`, `broadcast`, `multicast`, `blackhole`, `unreachable`, `prohibit`, `throw`.
    pub kind: SpecKind,
    /// Next hops; one without `via` where the destination is on the link; none for blackhole and the like.
    pub nexthops: Vec<Nexthop>,
    /// `src`.
    pub src: Option<IpAddr>,
    /// `metric` (`priority`); none: 0 in IPv4, 1024 in IPv6.
    pub metric: Option<u32>,
    /// `table`; none: main (local for local and broadcast routes).
    pub table: Option<u32>,
    /// `scope`; none: link without `via`, else global; host for local.
    pub scope: Option<u8>,
    /// `proto`: 2 kernel, 3 boot, 4 static, ...; none: boot.
    pub protocol: Option<u8>,
    /// `tos`.
    pub tos: u8,
    /// `mtu`.
    pub mtu: Option<u32>,
    /// `mtu lock`.
    pub mtu_lock: bool,
    /// `pref` (IPv6): 0 medium, 1 high, 3 low.
    pub pref: u8,
}

/// The type of a route.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names are those of ip-route(8)")]
pub enum SpecKind {
    Unicast,
    Local,
    Broadcast,
    Anycast,
    Multicast,
    Blackhole,
    Unreachable,
    Prohibit,
    Throw,
}

/// One next hop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nexthop {
    /// Gateway (of either family: `via inet6`).
    pub via: Option<IpAddr>,
    /// Device; none: found by looking up `via`.
    pub dev: Option<DevId>,
    /// `weight`, from 1.
    pub weight: u32,
    /// `onlink`.
    pub onlink: bool,
}

/// How a route is put among those of the same destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are those of ip-route(8)")]
pub enum RouteOp {
    Add,
    Append,
    Prepend,
    Replace,
    Change,
}

/// A policy rule, as `ip rule` reads and shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleSpec {
    /// `priority` (`pref`); none: one before the first but 0, as the kernel numbers.
    pub priority: Option<u32>,
    /// `not`.
    pub not: bool,
    /// `from`.
    pub from: Option<IpNet>,
    /// `to`.
    pub to: Option<IpNet>,
    /// `iif`.
    pub iif: Option<String>,
    /// `oif`.
    pub oif: Option<String>,
    /// `fwmark` value and mask.
    pub fwmark: Option<(u32, u32)>,
    /// `tos`.
    pub tos: u8,
    /// `ipproto`.
    pub ipproto: Option<u8>,
    /// `sport`, both ends.
    pub sport: Option<(u16, u16)>,
    /// `dport`, both ends.
    pub dport: Option<(u16, u16)>,
    /// `uidrange`.
    pub uidrange: Option<(u32, u32)>,
    /// `suppress_prefixlength`.
    pub suppress_prefixlength: Option<u8>,
    /// What it does.
    pub action: RuleAction,
}

/// What a policy rule does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleAction {
    /// `lookup TABLE`.
    Lookup(u32),
    /// `goto PRIORITY`.
    Goto(u32),
    /// `nop`.
    Nop,
    /// `blackhole`.
    Blackhole,
    /// `unreachable`.
    Unreachable,
    /// `prohibit`.
    Prohibit,
}

impl Rib {
    /// The routes, all tables, as `ip route show table all` orders them.
    pub fn routes(&self) -> Vec<(RouteSpec, ProvId)> {
        Vec::new()
    }

    /// The policy rules, by priority.
    pub fn rules(&self) -> Vec<RuleSpec> {
        Vec::new()
    }
}

/// `ip route add|append|prepend|replace|change`.
///
/// # Errors
/// `Exist`, `NetUnreach` (a gateway that no route reaches), `NoDev`, `NetDown`, `NoEnt`, `Inval`.
pub(crate) fn add_route(ns: &mut Netns, spec: RouteSpec, op: RouteOp, prov: ProvId) -> Result<(), Errno> {
    let _ = (ns, spec, op, prov);
    Err(Errno::OpNotSupp)
}

/// `ip route del`: the first that has all that `spec` says (`Unicast` without next hops matches any type).
///
/// # Errors
/// `Srch`.
pub(crate) fn delete_route(ns: &mut Netns, spec: &RouteSpec) -> Result<(), Errno> {
    let _ = (ns, spec);
    Err(Errno::OpNotSupp)
}

/// `ip rule add`.
///
/// # Errors
/// `Exist`, `Inval`.
pub(crate) fn add_rule(ns: &mut Netns, family: Family, spec: RuleSpec) -> Result<(), Errno> {
    let _ = (ns, family, spec);
    Err(Errno::OpNotSupp)
}

/// `ip rule del`.
///
/// # Errors
/// `NoEnt`.
pub(crate) fn delete_rule(ns: &mut Netns, family: Family, spec: &RuleSpec) -> Result<(), Errno> {
    let _ = (ns, family, spec);
    Err(Errno::OpNotSupp)
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
