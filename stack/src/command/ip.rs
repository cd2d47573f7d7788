//! `ip`: its options and objects (`ip/ip.c` of iproute2 6.1).

use std::fmt;

use super::addr::{self, AddrCommand};
use super::lex::{Parsed, Words, abbreviated};
use super::link::{self, LinkCommand};
use super::neigh::{self, NeighCommand};
use super::route::{self, RouteCommand};
use super::rule::{self, RuleCommand};
use crate::addr::Family;

/// `ip OBJECT COMMAND`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IpCommand {
    /// `ip link`.
    Link(LinkCommand),
    /// `ip address`.
    Addr(AddrCommand),
    /// `ip route`.
    Route(RouteCommand),
    /// `ip rule`.
    Rule(RuleCommand),
    /// `ip neighbour`.
    Neigh(NeighCommand),
}

#[derive(Clone, Copy)]
enum Object {
    Link,
    Addr,
    Route,
    Rule,
    Neigh,
    Other,
}

/// In the order in which iproute2 tries them.
const OBJECTS: [(&str, Object); 33] = [
    ("address", Object::Addr),
    ("addrlabel", Object::Other),
    ("maddress", Object::Other),
    ("route", Object::Route),
    ("rule", Object::Rule),
    ("neighbor", Object::Neigh),
    ("neighbour", Object::Neigh),
    ("ntable", Object::Other),
    ("ntbl", Object::Other),
    ("link", Object::Link),
    ("l2tp", Object::Other),
    ("fou", Object::Other),
    ("ila", Object::Other),
    ("macsec", Object::Other),
    ("tunnel", Object::Other),
    ("tunl", Object::Other),
    ("tuntap", Object::Other),
    ("tap", Object::Other),
    ("token", Object::Other),
    ("tcpmetrics", Object::Other),
    ("tcp_metrics", Object::Other),
    ("monitor", Object::Other),
    ("xfrm", Object::Other),
    ("mroute", Object::Other),
    ("mrule", Object::Other),
    ("netns", Object::Other),
    ("netconf", Object::Other),
    ("vrf", Object::Other),
    ("sr", Object::Other),
    ("nexthop", Object::Other),
    ("mptcp", Object::Other),
    ("ioam", Object::Other),
    ("help", Object::Other),
];

pub(super) fn parse(args: &mut Words<'_>) -> Parsed<IpCommand> {
    let mut family = None;
    loop {
        let word = args.need()?;
        match word.text.as_str() {
            "-4" => family = Some(Family::V4),
            "-6" => family = Some(Family::V6),
            "-f" | "-family" | "--family" => {
                let value = args.need()?;
                family = Some(match value.text.as_str() {
                    "inet" => Family::V4,
                    "inet6" => Family::V6,
                    _ => return Err(value.wrong("invalid protocol family")),
                });
            }
            "-n" | "-netns" | "--netns" => {
                return Err(word.unsupported("this option here: say in which namespace the command runs instead"));
            }
            option if option.starts_with('-') => return Err(word.unsupported("this option of ip")),
            object => {
                return match abbreviated(object, &OBJECTS) {
                    Some(Object::Link) => link::parse(args).map(IpCommand::Link),
                    Some(Object::Addr) => addr::parse(args, family).map(IpCommand::Addr),
                    Some(Object::Route) => route::parse(args, family).map(IpCommand::Route),
                    Some(Object::Rule) => rule::parse(args, family).map(IpCommand::Rule),
                    Some(Object::Neigh) => neigh::parse(args, family).map(IpCommand::Neigh),
                    Some(Object::Other) => Err(word.unsupported("this object of ip")),
                    None => {
                        let message = format!("Object \"{object}\" is unknown, try \"ip help\".");
                        Err(word.mistake(message, "the objects are link, address, route, rule, neighbour"))
                    }
                };
            }
        }
    }
}

impl fmt::Display for IpCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IpCommand::Link(command) => command.fmt(f),
            IpCommand::Addr(command) => command.fmt(f),
            IpCommand::Route(command) => command.fmt(f),
            IpCommand::Rule(command) => command.fmt(f),
            IpCommand::Neigh(command) => command.fmt(f),
        }
    }
}

/// `ip`, with the family where one was asked for.
pub(super) fn ip(family: Option<Family>) -> &'static str {
    match family {
        None => "ip",
        Some(Family::V4) => "ip -4",
        Some(Family::V6) => "ip -6",
    }
}
