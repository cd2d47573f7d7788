//! What a command does inside one namespace, and what its tool says when the kernel refuses.

use std::net::IpAddr;

use sim_core::SimTime;

use super::addr::{AddrCommand, AddrSelect, NewAddr};
use super::conntrack::ConntrackCommand;
use super::ip::IpCommand;
use super::iptables::{Iptables, Restore};
use super::neigh::{NeighCommand, NeighOp};
use super::nft::{NftCommand, NftDoes};
use super::route::{RouteArgs, RouteCommand};
use super::rule::RuleCommand;
use super::sysctl::SysctlCommand;
use super::{Command, CommandError, Stdin, show};
use crate::Cx;
use crate::addr::Family;
use crate::conntrack::Conntrack;
use crate::dev::device::{DevId, IfAddr};
use crate::errno::Errno;
use crate::neigh::{self, NeighState};
use crate::netfilter::{self, NftOptions, RestoreError, RestoreOptions};
use crate::netns::Netns;
use crate::provenance::ProvId;
use crate::route::{self, Nexthop, RouteOp, RouteSpec, SpecKind};
use crate::sysctl::{self, SysctlError};

pub(crate) mod bridge;
pub(crate) mod vxlan;

pub(crate) type Done = Result<String, CommandError>;

/// `RTNETLINK answers: ...`.
pub(crate) fn rtnetlink(errno: Errno) -> CommandError {
    failed(2, format!("RTNETLINK answers: {errno}"))
}

/// What the kernel says in its own words (`extack`).
pub(crate) fn kernel(message: &str) -> CommandError {
    failed(2, format!("Error: {message}"))
}

/// `Cannot find device "x"`.
pub(crate) fn no_device(name: &str) -> CommandError {
    failed(1, format!("Cannot find device \"{name}\""))
}

pub(crate) fn failed(exit: i32, message: String) -> CommandError {
    CommandError { message, exit, place: None, unsupported: false }
}

pub(crate) fn unsupported(what: &str) -> CommandError {
    CommandError { unsupported: true, ..failed(1, format!("pktlab does not model {what}")) }
}

/// The device of a name.
pub(crate) fn device(ns: &Netns, name: &str) -> Result<DevId, CommandError> {
    ns.devices.named(name).ok_or_else(|| no_device(name))
}

/// Runs a command that needs one namespace only. `ip link` is [`crate::network`]'s.
pub(crate) fn apply(ns: &mut Netns, cx: &mut Cx<'_>, command: &Command, prov: ProvId) -> Done {
    match command {
        Command::Ip(IpCommand::Link(_)) => Err(unsupported("this command within one namespace")),
        Command::Ip(IpCommand::Addr(command)) => addr(ns, cx, command, prov),
        Command::Ip(IpCommand::Route(command)) => route(ns, cx, command, prov),
        Command::Ip(IpCommand::Rule(command)) => rule(ns, command),
        Command::Ip(IpCommand::Neigh(command)) => neighbour(ns, cx, command),
        Command::Bridge(command) => bridge::bridge(ns, cx, command),
        Command::Sysctl(command) => sysctls(ns, cx, command),
        Command::Restore(command) => restore(ns, command, prov),
        Command::Iptables(command) => iptables(ns, command, prov),
        Command::Save(save) => Ok(ns.netfilter.get(save.family).save(save.table, save.counters)),
        Command::Nft(command) => nft(ns, cx.now(), command, prov),
        Command::Conntrack(command) => conntrack(ns, cx.now(), command),
    }
}

fn addr(ns: &mut Netns, cx: &mut Cx<'_>, command: &AddrCommand, prov: ProvId) -> Done {
    match command {
        AddrCommand::Add(op, new) => {
            let dev = device(ns, &new.dev)?;
            let there = |addr: &IfAddr| addr.address == new.address && addr.prefix_len == new.prefix_len;
            if *op != super::addr::AddrOp::Add && ns.devices.get(dev).addrs.iter().any(there) {
                return Ok(String::new());
            }
            add_address(ns, cx, dev, new, prov)
        }
        AddrCommand::Delete { dev, address, prefix_len } => {
            let dev = device(ns, dev)?;
            crate::dev::addr::delete(ns, cx, dev, *address, *prefix_len).map_err(|errno| match (errno, address) {
                (Errno::AddrNotAvail, IpAddr::V4(_)) => kernel("ipv4: Address not found."),
                (Errno::AddrNotAvail, IpAddr::V6(_)) => kernel("ipv6: address not found."),
                (other, _) => rtnetlink(other),
            })?;
            Ok(String::new())
        }
        AddrCommand::Flush(select) => {
            for dev in selected(ns, select)? {
                for addr in ns.devices.get(dev).addrs.clone() {
                    // A secondary may have gone with its primary.
                    let there = ns
                        .devices
                        .get(dev)
                        .addrs
                        .iter()
                        .any(|now| now.address == addr.address && now.prefix_len == addr.prefix_len);
                    if there && select.takes(&addr) {
                        crate::dev::addr::delete(ns, cx, dev, addr.address, Some(addr.prefix_len)).map_err(rtnetlink)?;
                    }
                }
            }
            Ok(String::new())
        }
        AddrCommand::Show(_) => Err(unsupported("this command within one namespace")),
    }
}

impl AddrSelect {
    /// Whether an address is one of these.
    pub(crate) fn takes(&self, addr: &IfAddr) -> bool {
        self.family.is_none_or(|family| Family::of(addr.address) == family) && self.scope.is_none_or(|scope| scope == addr.scope)
    }
}

/// The devices whose addresses are meant.
pub(super) fn selected(ns: &Netns, select: &AddrSelect) -> Result<Vec<DevId>, CommandError> {
    match &select.dev {
        None => Ok(ns.devices.iter().map(|device| device.id).collect()),
        Some(name) => {
            let dev = ns.devices.named(name).ok_or_else(|| failed(1, format!("Device \"{name}\" does not exist.")))?;
            Ok(vec![dev])
        }
    }
}

/// `default_scope` of iproute2 for IPv4, `ipv6_addr_scope` for IPv6.
fn scope_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) if v4.is_loopback() => 254,
        IpAddr::V6(v6) if v6.is_loopback() => 254,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => 253,
        _ => 0,
    }
}

fn add_address(ns: &mut Netns, cx: &mut Cx<'_>, dev: DevId, new: &NewAddr, prov: ProvId) -> Done {
    let addr = IfAddr {
        address: new.address,
        peer: new.peer.map_or(new.address, |(peer, _)| peer),
        prefix_len: new.peer.map_or(new.prefix_len, |(_, length)| length),
        scope: new.scope.unwrap_or_else(|| scope_of(new.address)),
        secondary: false,
        broadcast: new.broadcast.map(IpAddr::V4),
        nodad: new.nodad,
        prov,
    };
    crate::dev::addr::add(ns, cx, dev, addr).map_err(|errno| match (errno, new.address) {
        (Errno::Exist, IpAddr::V4(_)) => kernel("ipv4: Address already assigned."),
        (Errno::Exist, IpAddr::V6(_)) => kernel("ipv6: address already assigned."),
        (Errno::Acces, IpAddr::V6(_)) => kernel("ipv6: IPv6 is disabled on this device."),
        (other, _) => rtnetlink(other),
    })?;
    Ok(String::new())
}

/// A route with its devices looked up.
fn spec(ns: &Netns, args: &RouteArgs) -> Result<RouteSpec, CommandError> {
    let mut nexthops = Vec::new();
    for hop in &args.nexthops {
        let dev = hop.dev.as_deref().map(|name| device(ns, name)).transpose()?;
        nexthops.push(Nexthop { via: hop.via, dev, weight: hop.weight, onlink: hop.onlink });
    }
    let dst = match args.family {
        Family::V4 if args.dst != args.dst.trunc() => return Err(kernel("Invalid prefix for given prefix length.")),
        Family::V4 => args.dst,
        Family::V6 => args.dst.trunc(),
    };
    Ok(RouteSpec {
        dst,
        kind: args.kind,
        nexthops,
        src: args.src,
        metric: args.metric,
        table: args.table,
        scope: args.scope,
        protocol: args.protocol,
        tos: args.tos,
        mtu: args.mtu,
        mtu_lock: args.mtu_lock,
        pref: args.pref,
    })
}

fn route(ns: &mut Netns, cx: &mut Cx<'_>, command: &RouteCommand, prov: ProvId) -> Done {
    match command {
        RouteCommand::Change(op, args) => {
            let spec = spec(ns, args)?;
            let needs_hop = matches!(args.kind, SpecKind::Unicast | SpecKind::Local | SpecKind::Broadcast);
            if needs_hop && spec.nexthops.is_empty() {
                return Err(rtnetlink(Errno::NoDev));
            }
            if let Some(src) = spec.src
                && !crate::dev::addr::is_local(ns, src)
            {
                return Err(match args.family {
                    Family::V4 => kernel("Invalid prefsrc address."),
                    Family::V6 => kernel("Invalid source address."),
                });
            }
            route::add_route(ns, spec, *op, prov).map_err(|errno| route_refused(args, *op, errno))?;
            Ok(String::new())
        }
        RouteCommand::Delete(args) => {
            let spec = spec(ns, args)?;
            route::delete_route(ns, &spec).map_err(rtnetlink)?;
            Ok(String::new())
        }
        RouteCommand::Flush(select) => {
            let mut chosen = ns.routes.get(select.family).routes();
            chosen.retain(|(spec, _)| show::route_is_selected(ns, select, spec));
            for (spec, _) in &chosen {
                route::delete_route(ns, spec).map_err(rtnetlink)?;
            }
            Ok(String::new())
        }
        RouteCommand::Show(select) => show::routes(ns, select),
        RouteCommand::Get(get) => show::route_get(ns, cx, get),
    }
}

/// What the kernel says about a route that it does not take.
fn route_refused(args: &RouteArgs, op: RouteOp, errno: Errno) -> CommandError {
    let has_gateway = args.nexthops.iter().any(|hop| hop.via.is_some());
    match (args.family, errno) {
        (Family::V4, Errno::NetUnreach) if has_gateway => kernel("Nexthop has invalid gateway."),
        (Family::V4, Errno::NetDown) => kernel("Device for nexthop is not up."),
        (Family::V6, Errno::NetDown) => kernel("Nexthop device is not up."),
        (Family::V6, Errno::NetUnreach) if has_gateway => rtnetlink(Errno::HostUnreach),
        (Family::V6, Errno::Exist) if op == RouteOp::Change => rtnetlink(Errno::NoEnt),
        (_, other) => rtnetlink(other),
    }
}

fn rule(ns: &mut Netns, command: &RuleCommand) -> Done {
    match command {
        RuleCommand::Add(family, spec) => route::add_rule(ns, *family, spec.clone()).map_err(rtnetlink)?,
        RuleCommand::Delete(family, spec) => route::delete_rule(ns, *family, spec).map_err(rtnetlink)?,
        RuleCommand::Flush(family) => {
            let rules = ns.routes.get(*family).rules();
            for rule in rules.iter().filter(|rule| rule.priority.is_some_and(|priority| priority != 0)) {
                route::delete_rule(ns, *family, rule).map_err(rtnetlink)?;
            }
        }
        RuleCommand::Show { family, priority } => return Ok(show::rules(ns, *family, *priority)),
    }
    Ok(String::new())
}

fn neighbour(ns: &mut Netns, cx: &mut Cx<'_>, command: &NeighCommand) -> Done {
    match command {
        NeighCommand::Set { op, dev, address, mac, state } => {
            let dev = device(ns, dev)?;
            let there = ns.neighbours.list().iter().any(|entry| entry.dev == dev && entry.address == *address && !entry.proxy);
            match op {
                NeighOp::Add if there => return Err(rtnetlink(Errno::Exist)),
                NeighOp::Change if !there => return Err(rtnetlink(Errno::NoEnt)),
                _ => {}
            }
            let valid = matches!(
                state,
                NeighState::Permanent
                    | NeighState::Noarp
                    | NeighState::Reachable
                    | NeighState::Stale
                    | NeighState::Delay
                    | NeighState::Probe
            );
            if valid && mac.is_none() && !there {
                return Err(kernel("No link layer address given."));
            }
            neigh::set(ns, cx, dev, *address, *mac, *state).map_err(rtnetlink)?;
            Ok(String::new())
        }
        NeighCommand::AddProxy { dev, address } => {
            let dev = device(ns, dev)?;
            neigh::set_proxy(ns, dev, *address).map_err(rtnetlink)?;
            Ok(String::new())
        }
        NeighCommand::Delete { dev, address, proxy } => {
            let dev = device(ns, dev)?;
            neigh::delete(ns, cx, dev, *address, *proxy).map_err(rtnetlink)?;
            Ok(String::new())
        }
        NeighCommand::Flush(select) => {
            let dev = select.dev.as_deref().map(|name| device(ns, name)).transpose()?;
            for entry in ns.neighbours.list() {
                let chosen = select.family.is_none_or(|family| Family::of(entry.address) == family)
                    && dev.is_none_or(|dev| dev == entry.dev)
                    && entry.proxy == select.proxy
                    // Unless asked, `ip neigh flush` leaves these.
                    && !matches!(entry.state, NeighState::Permanent | NeighState::Noarp);
                if chosen {
                    neigh::delete(ns, cx, entry.dev, entry.address, entry.proxy).map_err(rtnetlink)?;
                }
            }
            Ok(String::new())
        }
        NeighCommand::Show(select) => {
            ns.neighbours.tick(cx.now());
            show::neighbours(ns, select)
        }
    }
}

fn sysctls(ns: &mut Netns, cx: &mut Cx<'_>, command: &SysctlCommand) -> Done {
    let (mut out, mut errors, mut unmodelled) = (String::new(), Vec::new(), false);
    for (key, value) in &command.items {
        let done = match value {
            Some(value) => sysctl::set(ns, cx, key, value).map(|()| value.clone()),
            None => sysctl::get(ns, key),
        };
        match done {
            Ok(_) if command.quiet && value.is_some() => {}
            Ok(value) if command.values => out.push_str(&format!("{value}\n")),
            Ok(value) => out.push_str(&format!("{} = {value}\n", key.replace('/', "."))),
            Err(SysctlError::Unknown(_)) if command.ignore => {}
            Err(error) => {
                unmodelled |= matches!(error, SysctlError::Unsupported(_));
                errors.push(format!("sysctl: {error}"));
            }
        }
    }
    if errors.is_empty() { Ok(out) } else { Err(CommandError { unsupported: unmodelled, ..failed(1, errors.join("\n")) }) }
}

fn restore(ns: &mut Netns, command: &Restore, prov: ProvId) -> Done {
    let options = RestoreOptions {
        noflush: command.noflush,
        counters: command.counters,
        test: command.test,
        variant: command.variant.unwrap_or_default(),
    };
    let done = if command.input.provs.is_empty() {
        let input = Stdin { text: command.input.text.clone(), provs: [(0, prov)].into() };
        netfilter::restore(ns, command.family, &input, options)
    } else {
        netfilter::restore(ns, command.family, &command.input, options)
    };
    done.map(|()| String::new()).map_err(refused)
}

fn iptables(ns: &mut Netns, command: &Iptables, prov: ProvId) -> Done {
    let variant = command.variant.unwrap_or_default();
    netfilter::iptables(ns, command.family, variant, &command.args, prov).map_err(refused)
}

/// The tool ends with 1 where the kernel (or the rule set as it stands) refuses, with 2 where the line is wrong.
fn refused(error: RestoreError) -> CommandError {
    let by_kernel = ["iptables: ", "ip6tables: "].iter().any(|tool| error.message.starts_with(tool));
    CommandError {
        message: error.message,
        exit: if by_kernel { 1 } else { 2 },
        place: Some((error.line, error.column)),
        unsupported: error.unsupported,
    }
}

fn nft(ns: &mut Netns, now: SimTime, command: &NftCommand, prov: ProvId) -> Done {
    let own = [(0, prov)];
    let (text, provs) = match &command.does {
        NftDoes::File(input) if input.provs.is_empty() => (input.text.to_string(), &own[..]),
        NftDoes::File(input) => (input.text.to_string(), &input.provs[..]),
        NftDoes::Arguments(words) => (words.join(" "), &own[..]),
    };
    let options = NftOptions { handles: command.handles, stateless: command.stateless, check: command.check };
    netfilter::nft(ns, now, &text, provs, options).map_err(|error| CommandError {
        message: format!("Error: {}", error.message),
        exit: 1,
        place: Some((error.line, error.column)),
        unsupported: error.unsupported,
    })
}

fn conntrack(ns: &mut Netns, now: SimTime, command: &ConntrackCommand) -> Done {
    match command {
        ConntrackCommand::List(filter) => {
            let views = ns.conntrack.list(now);
            Ok(views.iter().filter(|view| filter.matches(view)).map(|view| format!("{}\n", Conntrack::line(view))).collect())
        }
        ConntrackCommand::Delete(filter) => {
            let gone = ns.conntrack.delete_matching(|view| filter.matches(view), now);
            if gone.is_empty() {
                return Err(failed(1, "conntrack v1.4.7 (conntrack-tools): 0 flow entries have been deleted.".into()));
            }
            Ok(gone.iter().map(|view| format!("{}\n", Conntrack::line(view))).collect())
        }
        ConntrackCommand::Flush => {
            ns.conntrack.flush();
            Ok(String::new())
        }
    }
}
