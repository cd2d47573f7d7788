//! The five hooks, and what is registered at each of them.
//!
//! ```text
//!   in -> [PREROUTING] -> route -> [FORWARD] -----------> [POSTROUTING] -> out
//!                           |                                  ^
//!                           v                                  |
//!                        [INPUT] -> sockets -> route -> [OUTPUT]
//! ```

use super::nftables::model::{ChainId, ChainKind};
use super::nftables::{self, Registered};
use super::{TableName, Variant};
use crate::Cx;
use crate::addr::Family;
use crate::conntrack;
use crate::conntrack::nat::{self, Manip};
use crate::dev::device::DevId;
use crate::drop_reason::DropReason;
use crate::ip::frag::{self, DefragUser};
use crate::netns::Netns;
use crate::route::{self, Flow, RouteKind};
use crate::skb::{Ct, Skb};
use crate::trace::Record;

/// `enum nf_inet_hooks`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Hook {
    /// Before the route of a packet that came in is looked up.
    PreRouting,
    /// On the way to a socket here.
    Input,
    /// Through this namespace.
    Forward,
    /// A packet of our own.
    Output,
    /// Just before it leaves.
    PostRouting,
}

impl Hook {
    /// All of them.
    pub const ALL: [Hook; 5] = [Hook::PreRouting, Hook::Input, Hook::Forward, Hook::Output, Hook::PostRouting];
}

/// `struct nf_hook_state`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HookState {
    /// Where we are.
    pub hook: Hook,
    /// IP version.
    pub family: Family,
    /// The device that the packet came in through.
    pub indev: Option<DevId>,
    /// The device that it goes out of.
    pub outdev: Option<DevId>,
}

/// What the hook said, where it did not drop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum HookVerdict {
    /// Go on.
    Accept,
    /// The packet was taken over (a fragment that waits for the others): its records have ended.
    Stolen,
}

/// What can be registered at a hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Defrag,
    ConntrackIn,
    Table(TableName),
    Nat(Manip),
    /// A base chain of nftables.
    Chain(ChainId),
    /// One of type route: a packet of our own whose mark or addresses it changes is routed anew.
    RouteChain(ChainId),
    Confirm,
}

/// What the NAT of a hook walks for a new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NatChain {
    /// The nat table of iptables.
    Iptables,
    /// A base chain of nftables.
    Chain(ChainId),
}

/// What stands at which hook, by priority (`enum nf_ip_hook_priorities`).
///
/// The nat table has no line of its own: [`Step::Nat`] walks it, for the first packet of a connection. `security` is at 50, with
/// iptables-nft at 150.
const REGISTERED: &[(Hook, i32, Step)] = &[
    (Hook::PreRouting, -400, Step::Defrag),
    (Hook::PreRouting, -300, Step::Table(TableName::Raw)),
    (Hook::PreRouting, -200, Step::ConntrackIn),
    (Hook::PreRouting, -150, Step::Table(TableName::Mangle)),
    (Hook::PreRouting, -100, Step::Nat(Manip::Dst)),
    (Hook::Input, -150, Step::Table(TableName::Mangle)),
    (Hook::Input, 0, Step::Table(TableName::Filter)),
    (Hook::Input, 50, Step::Table(TableName::Security)),
    (Hook::Input, 100, Step::Nat(Manip::Src)),
    (Hook::Input, i32::MAX, Step::Confirm),
    (Hook::Forward, -150, Step::Table(TableName::Mangle)),
    (Hook::Forward, 0, Step::Table(TableName::Filter)),
    (Hook::Forward, 50, Step::Table(TableName::Security)),
    (Hook::Output, -400, Step::Defrag),
    (Hook::Output, -300, Step::Table(TableName::Raw)),
    (Hook::Output, -200, Step::ConntrackIn),
    (Hook::Output, -150, Step::Table(TableName::Mangle)),
    (Hook::Output, -100, Step::Nat(Manip::Dst)),
    (Hook::Output, 0, Step::Table(TableName::Filter)),
    (Hook::Output, 50, Step::Table(TableName::Security)),
    (Hook::PostRouting, -150, Step::Table(TableName::Mangle)),
    (Hook::PostRouting, 100, Step::Nat(Manip::Src)),
    (Hook::PostRouting, i32::MAX, Step::Confirm),
];

/// `NF_IP_PRI_SECURITY` as iptables-nft registers it.
const SECURITY_NFT: i32 = 150;

/// What of [`REGISTERED`] is there, at each hook. `table` says which tables exist, and of which back end.
pub(crate) fn steps(tracking: bool, table: impl Fn(TableName) -> Option<Variant>, chains: &[Registered]) -> [Vec<Step>; 5] {
    let nat_chains = chains.iter().any(|chain| chain.kind == ChainKind::Nat);
    Hook::ALL.map(|hook| {
        // Of two at one priority the younger is first: chains are taken to be younger than tables.
        let mut here: Vec<(i32, Step)> = chains
            .iter()
            .filter(|chain| chain.hook == hook && chain.kind != ChainKind::Nat)
            .map(|chain| match chain.kind {
                ChainKind::Route => (chain.priority, Step::RouteChain(chain.chain)),
                ChainKind::Filter | ChainKind::Nat => (chain.priority, Step::Chain(chain.chain)),
            })
            .collect();
        let fixed = REGISTERED
            .iter()
            .filter(|&&(at, _, step)| {
                at == hook
                    && match step {
                        Step::Defrag | Step::ConntrackIn | Step::Confirm => tracking,
                        Step::Table(name) => table(name).is_some(),
                        // Without connections there is nobody to translate: a nat table that only counts is never walked.
                        Step::Nat(_) => tracking && (nat_chains || table(TableName::Nat).is_some()),
                        Step::Chain(_) | Step::RouteChain(_) => false,
                    }
            })
            .map(|&(_, priority, step)| match step {
                Step::Table(TableName::Security) if table(TableName::Security) == Some(Variant::Nft) => (SECURITY_NFT, step),
                _ => (priority, step),
            });
        here.extend(fixed);
        here.sort_by_key(|&(priority, _)| priority);
        here.into_iter().map(|(_, step)| step).collect()
    })
}

/// What the NAT of each hook walks, by priority: chains of type nat have theirs among themselves and the nat table only, the NAT
/// itself always runs at -100 or 100.
pub(crate) fn nat_chains(table: bool, chains: &[Registered]) -> [Vec<NatChain>; 5] {
    Hook::ALL.map(|hook| {
        let mut here: Vec<(i32, NatChain)> = chains
            .iter()
            .filter(|chain| chain.hook == hook && chain.kind == ChainKind::Nat)
            .map(|chain| (chain.priority, NatChain::Chain(chain.chain)))
            .collect();
        if table && hook != Hook::Forward {
            let priority = if matches!(hook, Hook::PreRouting | Hook::Output) { -100 } else { 100 };
            here.push((priority, NatChain::Iptables));
        }
        here.sort_by_key(|&(priority, _)| priority);
        here.into_iter().map(|(_, chain)| chain).collect()
    })
}

/// `nf_hook`: everything registered at this hook, in the order of priority.
#[inline]
pub(crate) fn nf_hook(ns: &mut Netns, cx: &mut Cx<'_>, state: &HookState, skb: &mut Skb) -> Result<HookVerdict, DropReason> {
    let at = state.hook as usize;
    if ns.netfilter.get(state.family).steps[at].is_empty() {
        return Ok(HookVerdict::Accept);
    }
    nf_hook_slow(ns, cx, state, skb)
}

/// `nf_hook_slow`: there is something.
fn nf_hook_slow(ns: &mut Netns, cx: &mut Cx<'_>, state: &HookState, skb: &mut Skb) -> Result<HookVerdict, DropReason> {
    let at = state.hook as usize;
    cx.record(skb.id(), Record::Hook { hook: state.hook, family: state.family, indev: state.indev, outdev: state.outdev });
    let mut next = 0;
    // The steps are looked up anew each time: what a step does belongs to the namespace that holds them.
    while let Some(&step) = ns.netfilter.get(state.family).steps[at].get(next) {
        next += 1;
        if run(ns, cx, state, skb, step)? == HookVerdict::Stolen {
            return Ok(HookVerdict::Stolen);
        }
    }
    Ok(HookVerdict::Accept)
}

fn run(ns: &mut Netns, cx: &mut Cx<'_>, state: &HookState, skb: &mut Skb, step: Step) -> Result<HookVerdict, DropReason> {
    match step {
        Step::Defrag => {
            if skb.ct != Ct::None {
                return Ok(HookVerdict::Accept);
            }
            let user = match (state.hook, skb.bridge) {
                (_, Some(_)) => DEFRAG_BRIDGE,
                (Hook::Output, None) => DEFRAG_OUT,
                (_, None) => DEFRAG_IN,
            };
            frag::defrag(ns, cx, skb, DefragUser::Conntrack(user))
        }
        Step::ConntrackIn => conntrack::nf_conntrack_in(ns, cx, state, skb).map(|()| HookVerdict::Accept),
        Step::Confirm => conntrack::nf_confirm(ns, cx, state, skb).map(|()| HookVerdict::Accept),
        Step::Table(TableName::Mangle) if state.hook == Hook::Output => {
            let before = Steering::of(skb);
            let verdict = super::do_table(ns, cx, state, skb, TableName::Mangle)?;
            if Steering::of(skb) != before {
                ip_route_me_harder(ns, cx, skb)?;
            }
            Ok(verdict)
        }
        Step::Chain(chain) => nftables::walk::do_chain(ns, cx, state, skb, chain),
        Step::RouteChain(chain) => {
            let before = Steering::of(skb);
            let verdict = nftables::walk::do_chain(ns, cx, state, skb, chain)?;
            if Steering::of(skb) != before {
                ip_route_me_harder(ns, cx, skb)?;
            }
            Ok(verdict)
        }
        Step::Table(table) => super::do_table(ns, cx, state, skb, table),
        Step::Nat(manip) => {
            let dst = skb.dst();
            nat::nat_hook(ns, cx, state, skb, manip)?;
            if state.hook == Hook::Output && skb.dst() != dst {
                ip_route_me_harder(ns, cx, skb)?;
            }
            Ok(HookVerdict::Accept)
        }
    }
}

/// `enum ip_defrag_users`: the queues of the three ways into connection tracking are apart.
const DEFRAG_IN: u8 = 0;
const DEFRAG_OUT: u8 = 1;
const DEFRAG_BRIDGE: u8 = 2;

/// What the route of a packet of our own depends on, as far as a rule can change it.
#[derive(PartialEq, Eq)]
struct Steering {
    src: std::net::IpAddr,
    dst: std::net::IpAddr,
    mark: u32,
    tos: u8,
    /// IPv6 only: `ip6t_mangle_out` looks at the hop limit as well.
    hop_limit: u8,
}

impl Steering {
    fn of(skb: &Skb) -> Steering {
        let hop_limit = if skb.ip_version() == Family::V6 { skb.hop_limit() } else { 0 };
        Steering { src: skb.src(), dst: skb.dst(), mark: skb.mark, tos: skb.tos(), hop_limit }
    }
}

/// `ip_route_me_harder`, `ip6_route_me_harder`: a new route for a packet of our own whose mark or addresses a rule changed. Its
/// source address stays that of the first lookup.
pub(crate) fn ip_route_me_harder(ns: &mut Netns, cx: &mut Cx<'_>, skb: &mut Skb) -> Result<(), DropReason> {
    let family = skb.ip_version();
    let src = skb.src();
    let usable = family == Family::V6 || matches!(route::address_type(ns, src, None), RouteKind::Local | RouteKind::Unicast);
    let (sport, dport) = skb.ports().unwrap_or_default();
    let flow = Flow {
        family,
        src: if usable { src } else { family.unspecified() },
        dst: skb.dst(),
        iif: DevId::NONE,
        oif: DevId::NONE,
        mark: skb.mark,
        tos: skb.tos(),
        proto: skb.l4proto,
        sport,
        dport,
        uid: skb.owner.map_or(0, |owner| owner.uid),
    };
    let route = route::route_output(ns, cx, &flow);
    let route::Route { kind, dev, prefix_len, table, rule, via, prov, .. } = route;
    cx.record(skb.id(), Record::Route { kind, dev, prefix_len, table, rule, via, prov });
    match kind {
        RouteKind::Local | RouteKind::Unicast | RouteKind::Broadcast | RouteKind::Multicast => {
            skb.route = Some(route);
            skb.dev = dev;
            Ok(())
        }
        // A loopback address leaves only where `route_localnet` lets it: the lookup itself refuses (EINVAL).
        RouteKind::None if family == Family::V4 && src.is_loopback() => Err(DropReason::IpInvalidSource),
        RouteKind::Blackhole => Err(DropReason::IpBlackhole),
        RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::None => Err(DropReason::IpOutNoRoutes),
    }
}
