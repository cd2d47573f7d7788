//! One rule as `iptables-save` prints it.

use std::fmt::Write as _;

use super::names;
use super::parse::{print_interface, print_net};
use crate::addr::Family;
use crate::netfilter::matches::Match;
use crate::netfilter::ruleset::{Base, Net, Rule};
use crate::netfilter::targets::Target;

/// `-A CHAIN ...`.
pub(crate) fn rule_text(chain: &str, rule: &Rule, family: Family) -> String {
    let mut out = String::with_capacity(96);
    write_rule(&mut out, chain, &rule.base, &rule.matches, &rule.target, family);
    out
}

pub(crate) fn write_rule(out: &mut String, chain: &str, base: &Base, matches: &[Match], target: &Target, family: Family) {
    out.push_str("-A ");
    out.push_str(chain);
    net(out, "-s", base.src, family);
    net(out, "-d", base.dst, family);
    if let Some(iface) = &base.iin {
        print_interface(out, "-i", iface);
    }
    if let Some(iface) = &base.out {
        print_interface(out, "-o", iface);
    }
    if base.proto != 0 {
        out.push_str(if base.not_proto { " ! -p " } else { " -p " });
        let _ = match names::protocol_name(base.proto) {
            Some(name) => out.write_str(name),
            None => write!(out, "{}", base.proto),
        };
    }
    match base.fragment {
        Some(true) => out.push_str(" -f"),
        Some(false) => out.push_str(" ! -f"),
        None => {}
    }
    for m in matches {
        m.print(out, family);
    }
    target.print(out, family);
}

fn net(out: &mut String, option: &str, net: Net, family: Family) {
    if net.is_any() {
        return;
    }
    let _ = write!(out, "{} {option} ", if net.invert { " !" } else { "" });
    print_net(out, net, family, false);
}
