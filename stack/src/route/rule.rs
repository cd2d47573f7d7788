//! Policy rules: which table a packet is looked up in (`net/core/fib_rules.c`, `net/ipv4/fib_rules.c`, `net/ipv6/fib6_rules.c`).

use ipnet::IpNet;

use super::fib::table;
use super::{Flow, Rib, RuleAction, RuleSpec};
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::errno::Errno;
use crate::netns::Netns;

/// The priority of the rule that leads to `local`.
pub(crate) const LOCAL_RULE: u32 = 0;
/// The priority of the rule that leads to `main`.
pub(crate) const MAIN_RULE: u32 = 32_766;
/// The priority of the rule that leads to `default` (IPv4).
pub(crate) const DEFAULT_RULE: u32 = 32_767;

/// The rules that a namespace is born with.
pub(crate) fn defaults(family: Family) -> Vec<RuleSpec> {
    let rule = |priority, table| RuleSpec { priority: Some(priority), ..matching_all(RuleAction::Lookup(table)) };
    let mut rules = vec![rule(LOCAL_RULE, table::LOCAL), rule(MAIN_RULE, table::MAIN)];
    if family == Family::V4 {
        rules.push(rule(DEFAULT_RULE, table::DEFAULT));
    }
    rules
}

/// A rule that matches every packet.
pub(crate) fn matching_all(action: RuleAction) -> RuleSpec {
    RuleSpec {
        priority: None,
        not: false,
        from: None,
        to: None,
        iif: None,
        oif: None,
        fwmark: None,
        tos: 0,
        ipproto: None,
        sport: None,
        dport: None,
        uidrange: None,
        suppress_prefixlength: None,
        action,
    }
}

/// `fib_rule_match`. What is sent from here counts as having come in through `lo`.
pub(crate) fn matches(ns: &Netns, rule: &RuleSpec, flow: &Flow) -> bool {
    matches_all(ns, rule, flow) != rule.not
}

fn matches_all(ns: &Netns, rule: &RuleSpec, flow: &Flow) -> bool {
    let named = |wanted: &str, dev: DevId| dev != DevId::NONE && *ns.devices.get(dev).name == *wanted;
    let iif = if flow.iif == DevId::NONE { super::LOOPBACK } else { flow.iif };
    rule.iif.as_deref().is_none_or(|name| named(name, iif))
        && rule.oif.as_deref().is_none_or(|name| named(name, flow.oif))
        && rule.fwmark.is_none_or(|(value, mask)| (value ^ flow.mark) & mask == 0)
        && rule.uidrange.is_none_or(|(low, high)| (low..=high).contains(&flow.uid))
        && covers(rule.from, flow.src)
        && covers(rule.to, flow.dst)
        && (rule.tos == 0 || rule.tos == dsfield(flow))
        && rule.ipproto.is_none_or(|proto| proto == flow.proto)
        && rule.sport.is_none_or(|(low, high)| (low..=high).contains(&flow.sport))
        && rule.dport.is_none_or(|(low, high)| (low..=high).contains(&flow.dport))
}

/// `from` with a length does not cover the unspecified source that a socket has before its first lookup.
fn covers(prefix: Option<IpNet>, address: std::net::IpAddr) -> bool {
    prefix.is_none_or(|prefix| prefix.prefix_len() == 0 || prefix.contains(&address))
}

/// What rules and routes compare with `tos`: IPv4 knows the old TOS bits only (`IPTOS_RT_MASK`), IPv6 the whole DSCP.
pub(crate) fn dsfield(flow: &Flow) -> u8 {
    match flow.family {
        Family::V4 => flow.tos & 0x1c,
        Family::V6 => flow.tos & 0xfc,
    }
}

/// `fib_nl_newrule`. A rule without priority goes in front of all but the first.
pub(super) fn add(ns: &mut Netns, family: Family, mut spec: RuleSpec) -> Result<(), Errno> {
    let of_family = |prefix: Option<IpNet>| prefix.is_none_or(|prefix| Family::of(prefix.addr()) == family);
    if !of_family(spec.from) || !of_family(spec.to) {
        return Err(Errno::Inval);
    }
    spec.from = normal(spec.from);
    spec.to = normal(spec.to);
    let rib = ns.routes.get_mut(family);
    let rules = rib.rules.get_or_insert_with(|| defaults(family));
    let priority = spec.priority.unwrap_or_else(|| match rules.get(1).and_then(|rule| rule.priority) {
        Some(second) if second > 0 => second - 1,
        _ => 0,
    });
    spec.priority = Some(priority);
    if let RuleAction::Goto(target) = spec.action
        && target <= priority
    {
        return Err(Errno::Inval);
    }
    if rules.contains(&spec) {
        return Err(Errno::Exist);
    }
    let at = rules.partition_point(|rule| rule.priority.unwrap_or(0) <= priority);
    rules.insert(at, spec);
    rib.touch();
    Ok(())
}

/// `fib_nl_delrule`: the first that has all that `spec` names. `RuleAction::Lookup(0)` names no action.
pub(super) fn delete(ns: &mut Netns, family: Family, spec: &RuleSpec) -> Result<(), Errno> {
    let (from, to) = (normal(spec.from), normal(spec.to));
    let rib = ns.routes.get_mut(family);
    let rules = rib.rules.get_or_insert_with(|| defaults(family));
    let at = rules.iter().position(|rule| {
        (spec.action == RuleAction::Lookup(0) || rule.action == spec.action)
            && spec.priority.is_none_or(|priority| rule.priority == Some(priority))
            && (!spec.not || rule.not)
            && wants(&from, &rule.from)
            && wants(&to, &rule.to)
            && wants(&spec.iif, &rule.iif)
            && wants(&spec.oif, &rule.oif)
            && wants(&spec.fwmark, &rule.fwmark)
            && (spec.tos == 0 || spec.tos == rule.tos)
            && wants(&spec.ipproto, &rule.ipproto)
            && wants(&spec.sport, &rule.sport)
            && wants(&spec.dport, &rule.dport)
            && wants(&spec.uidrange, &rule.uidrange)
            && wants(&spec.suppress_prefixlength, &rule.suppress_prefixlength)
    });
    rules.remove(at.ok_or(Errno::NoEnt)?);
    rib.touch();
    Ok(())
}

fn wants<T: PartialEq>(asked: &Option<T>, has: &Option<T>) -> bool {
    asked.is_none() || asked == has
}

/// `from all` is the same as no `from`; host bits do not count.
fn normal(prefix: Option<IpNet>) -> Option<IpNet> {
    prefix.filter(|prefix| prefix.prefix_len() > 0).map(|prefix| prefix.trunc())
}

impl Rib {
    /// The policy rules, by priority.
    pub fn rules(&self) -> Vec<RuleSpec> {
        self.rules.clone().unwrap_or_else(|| defaults(self.family))
    }
}
