//! `iptables-save` and `iptables -S`.

use std::fmt::Write as _;

use super::print::write_rule;
use crate::netfilter::ruleset::{Counts, Table};

/// A table as `iptables-save` prints it, without the comment lines that hold dates.
pub(crate) fn table(out: &mut String, table: &Table, counts: &Counts, counters: bool) {
    let _ = writeln!(out, "*{}", table.name);
    for slot in table.in_order() {
        let chain = table.chain(slot);
        let policy = chain.policy.map_or("-", |policy| policy.as_str());
        let (packets, bytes) = counts.chains[slot as usize].policy;
        let _ = writeln!(out, ":{} {policy} [{packets}:{bytes}]", chain.name);
    }
    for slot in table.in_order() {
        let chain = table.chain(slot);
        for (rule, (packets, bytes)) in chain.rules.iter().zip(&counts.chains[slot as usize].rules) {
            if counters {
                let _ = write!(out, "[{packets}:{bytes}] ");
            }
            write_rule(out, &chain.name, &rule.base, &rule.matches, &rule.target, table.family);
            out.push('\n');
        }
    }
    out.push_str("COMMIT\n");
}

/// `iptables -S [CHAIN]`.
pub(crate) fn list_rules(table: &Table, only: Option<u32>) -> String {
    let mut out = String::new();
    let slots = || table.in_order().filter(move |&slot| only.is_none_or(|only| only == slot));
    for slot in slots() {
        let chain = table.chain(slot);
        let _ = match chain.policy {
            Some(policy) => writeln!(out, "-P {} {}", chain.name, policy.as_str()),
            None => writeln!(out, "-N {}", chain.name),
        };
    }
    for slot in slots() {
        let chain = table.chain(slot);
        for rule in &chain.rules {
            write_rule(&mut out, &chain.name, &rule.base, &rule.matches, &rule.target, table.family);
            out.push('\n');
        }
    }
    out
}
