//! Commands as a shell script that builds the same network out of real namespaces.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::ip::IpCommand;
use super::lex::{quoted, split};
use super::link::{LinkCommand, LinkEnd, LinkSet, NewKind, NewLink};
use super::{Command, xtables_name};
use crate::addr::Mac;
use crate::dev::macvlan::MacvlanMode;

/// The real namespace of a name here: a pod's `NAMESPACE/NAME` would be a path.
pub fn real_name(prefix: &str, ns: &str) -> String {
    format!("{prefix}{}", ns.replace('/', "."))
}

/// The command that makes a veth pair as [`crate::Network::join`] does, and the namespace that it runs in. Ends are namespace and
/// device.
pub fn veth(a: (&str, &str), b: (&str, &str)) -> (String, Command) {
    let end = |name: &str| LinkEnd { name: name.to_owned(), ..LinkEnd::default() };
    let peer = LinkEnd { netns: Some(b.0.to_owned()), ..end(b.1) };
    let new = NewLink { end: end(a.1), kind: NewKind::Veth(peer), link: None };
    (a.0.to_owned(), Command::Ip(IpCommand::Link(LinkCommand::Add(new))))
}

/// A script for `sh`, run as root: makes the namespaces ([`real_name`]) of all that the commands name, then runs the commands in
/// their order, each in its namespace. Devices get the MACs that they have here. Stops at the first command that fails.
pub fn script(prefix: &str, commands: &[(String, Command)]) -> String {
    let mut out = String::from("#!/bin/sh\nset -e\n");
    for name in namespaces(commands) {
        let _ = writeln!(out, "ip netns add {}", quoted(&real_name(prefix, name)));
    }
    for (ns, command) in commands {
        let place = quoted(&real_name(prefix, ns));
        let line = line(prefix, ns, command);
        let _ = match command.stdin() {
            None => writeln!(out, "ip netns exec {place} {line}"),
            Some(stdin) => {
                let end = delimiter(&stdin.text);
                let newline = if stdin.text.is_empty() || stdin.text.ends_with('\n') { "" } else { "\n" };
                writeln!(out, "ip netns exec {place} {line} <<'{end}'\n{}{newline}{end}", stdin.text)
            }
        };
    }
    out
}

/// A script that takes away what [`script`] made, as far as it is there.
pub fn cleanup(prefix: &str, commands: &[(String, Command)]) -> String {
    let mut out = String::from("#!/bin/sh\n");
    for name in namespaces(commands) {
        let _ = writeln!(out, "ip netns del {} 2>/dev/null || true", quoted(&real_name(prefix, name)));
    }
    out
}

/// The namespaces that commands run in or name, in the order of their names.
fn namespaces(commands: &[(String, Command)]) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for (ns, command) in commands {
        names.insert(ns.as_str());
        let Command::Ip(IpCommand::Link(link)) = command else { continue };
        match link {
            LinkCommand::Add(new) => {
                names.extend(new.end.netns.as_deref());
                if let NewKind::Veth(peer) = &new.kind {
                    names.extend(peer.netns.as_deref());
                }
            }
            LinkCommand::Set(set) => names.extend(set.netns.as_deref()),
            _ => {}
        }
    }
    names
}

/// A word that no line of the text is.
fn delimiter(text: &str) -> String {
    let mut end = String::from("EOF");
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    end
}

/// The command as it runs inside its real namespace.
fn line(prefix: &str, ns: &str, command: &Command) -> String {
    match command {
        Command::Ip(IpCommand::Link(LinkCommand::Add(new))) => {
            let kind = match &new.kind {
                NewKind::Veth(peer) => NewKind::Veth(real(prefix, ns, peer)),
                other => other.clone(),
            };
            let end = match new.kind {
                // They have the MAC of the device below.
                NewKind::Vlan(_) | NewKind::Macvlan(MacvlanMode::Passthru) => {
                    LinkEnd { mac: new.end.mac, ..real(prefix, ns, &new.end) }
                }
                _ => real(prefix, ns, &new.end),
            };
            NewLink { end, kind, link: new.link.clone() }.to_string()
        }
        Command::Ip(IpCommand::Link(LinkCommand::Set(set))) if set.netns.is_some() => {
            let netns = set.netns.as_deref().map(|netns| real_name(prefix, netns));
            LinkCommand::Set(Box::new(LinkSet { netns, ..(**set).clone() })).to_string()
        }
        // What was written may hold what a shell expands inside double quotes.
        Command::Iptables(iptables) => match split(&iptables.args) {
            Ok(words) => {
                let words: Vec<String> = words.iter().map(|word| quoted(&word.text)).collect();
                format!("{} {}", xtables_name(iptables.family, iptables.variant), words.join(" "))
            }
            Err(_) => command.to_string(),
        },
        other => other.to_string(),
    }
}

/// An end with its MAC written, and its namespace by its real name.
fn real(prefix: &str, ns: &str, end: &LinkEnd) -> LinkEnd {
    let home = end.netns.as_deref().unwrap_or(ns);
    LinkEnd {
        mac: end.mac.or_else(|| Some(Mac::of_name(&format!("{home}/{}", end.name)))),
        netns: end.netns.as_deref().map(|netns| real_name(prefix, netns)),
        ..end.clone()
    }
}
