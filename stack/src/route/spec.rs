//! Routes and policy rules as `ip` is told them, and tells them.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::dev::device::DevId;

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
