//! `ip rule` (`ip/iprule.c`).

use std::fmt;

use super::ip::ip;
use super::lex::{Parsed, Prefix, Word, Words, matches, number, quoted};
use super::route::{destination, ip_protocol, ip_protocol_name, table, table_name};
use crate::addr::Family;
use crate::route::{RuleAction, RuleSpec};

/// `ip rule COMMAND`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RuleCommand {
    /// `add`.
    Add(Family, RuleSpec),
    /// `delete`. An action of [`ANY_ACTION`] matches every action.
    Delete(Family, RuleSpec),
    /// `flush`.
    Flush(Family),
    /// `show`.
    Show {
        /// IP version.
        family: Family,
        /// Of this priority only.
        priority: Option<u32>,
    },
}

/// The action of a rule to be deleted whose action was not written: table 0 (`RT_TABLE_UNSPEC`).
pub const ANY_ACTION: RuleAction = RuleAction::Lookup(0);

pub(super) fn parse(args: &mut Words<'_>, asked: Option<Family>) -> Parsed<RuleCommand> {
    let family = asked.unwrap_or(Family::V4);
    let Some(word) = args.next() else { return Ok(RuleCommand::Show { family, priority: None }) };
    match word.text.as_str() {
        verb if matches(verb, "list") || matches(verb, "lst") || matches(verb, "show") => show(args, family),
        verb if matches(verb, "add") => {
            let (spec, action) = rule(args, family)?;
            let action = action.unwrap_or(RuleAction::Lookup(254));
            Ok(RuleCommand::Add(family, RuleSpec { action, ..spec }))
        }
        verb if matches(verb, "delete") => {
            let (spec, action) = rule(args, family)?;
            Ok(RuleCommand::Delete(family, RuleSpec { action: action.unwrap_or(ANY_ACTION), ..spec }))
        }
        verb if matches(verb, "flush") => match args.next() {
            None => Ok(RuleCommand::Flush(family)),
            Some(word) => Err(word.unsupported("this choice of rules")),
        },
        verb if matches(verb, "save") || matches(verb, "restore") => Err(word.unsupported("this command of ip rule")),
        verb => {
            let message = format!("Command \"{verb}\" is unknown, try \"ip rule help\".");
            Err(word.mistake(message, "the commands are add, delete, flush, show"))
        }
    }
}

fn show(args: &mut Words<'_>, family: Family) -> Parsed<RuleCommand> {
    let mut priority = None;
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "pref" | "priority" | "preference" | "order" => {
                priority = Some(args.number(u64::from(u32::MAX), "preference value is invalid\n")? as u32);
            }
            _ => return Err(word.unsupported("this choice of rules")),
        }
    }
    Ok(RuleCommand::Show { family, priority })
}

fn rule(args: &mut Words<'_>, family: Family) -> Parsed<(RuleSpec, Option<RuleAction>)> {
    let mut spec = empty();
    let mut action = None;
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "not" => spec.not = true,
            "from" => spec.from = net(args, family)?,
            "to" => spec.to = net(args, family)?,
            text if matches(text, "preference") || matches(text, "order") || matches(text, "priority") => {
                spec.priority = Some(args.number(u64::from(u32::MAX), "preference value is invalid\n")? as u32);
            }
            text if text == "tos" || matches(text, "dsfield") => {
                spec.tos = args.number(255, "TOS value is invalid\n")? as u8;
            }
            "fwmark" => {
                let value = args.need()?;
                spec.fwmark = Some(fwmark(value)?);
            }
            text if matches(text, "table") || text == "lookup" => {
                action = Some(RuleAction::Lookup(table(args, "invalid table ID\n")?));
            }
            "suppress_prefixlength" | "sup_pl" => {
                spec.suppress_prefixlength = Some(args.number(128, "suppress_prefixlength value is invalid\n")? as u8);
            }
            "dev" | "iif" => spec.iif = Some(args.device("iif")?),
            "oif" => spec.oif = Some(args.device("oif")?),
            "uidrange" => {
                let value = args.need()?;
                let ends = value.text.split_once('-').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
                spec.uidrange = Some(ends.ok_or_else(|| value.wrong("invalid UID range\n"))?);
            }
            "ipproto" => spec.ipproto = Some(ip_protocol(args)?),
            "sport" => spec.sport = Some(ports(args.need()?, "invalid port range\n")?),
            "dport" => spec.dport = Some(ports(args.need()?, "invalid dport range\n")?),
            "l3mdev" | "suppress_ifgroup" | "sup_group" | "realms" | "nat" | "map-to" | "tun_id" => {
                return Err(word.unsupported("this part of a rule"));
            }
            "protocol" => {
                // Who installed a rule is only shown.
                args.need()?;
            }
            text => {
                let word = if text == "type" { args.need()? } else { word };
                action = Some(match word.text.as_str() {
                    kind if matches(kind, "goto") => RuleAction::Goto(args.number(u64::from(u32::MAX), "invalid target\n")? as u32),
                    kind if matches(kind, "nop") => RuleAction::Nop,
                    "blackhole" => RuleAction::Blackhole,
                    "unreachable" => RuleAction::Unreachable,
                    "prohibit" => RuleAction::Prohibit,
                    _ => return Err(word.wrong("Failed to parse rule type")),
                });
            }
        }
    }
    Ok((spec, action))
}

fn net(args: &mut Words<'_>, family: Family) -> Parsed<Option<ipnet::IpNet>> {
    match args.need()?.prefix(Some(family))? {
        Prefix::All => Ok(None),
        Prefix::Net(net) => Ok(Some(net)),
    }
}

fn fwmark(word: &Word) -> Parsed<(u32, u32)> {
    let (value, mask) = word.text.split_once('/').unwrap_or((&word.text, "0xffffffff"));
    let bits = |text: &str| number(text).and_then(|bits| u32::try_from(bits).ok());
    let value = bits(value).ok_or_else(|| word.wrong("fwmark value is invalid\n"))?;
    let mask = bits(mask).ok_or_else(|| word.wrong("fwmark mask is invalid\n"))?;
    Ok((value, mask))
}

fn ports(word: &Word, wrong: &str) -> Parsed<(u16, u16)> {
    let (low, high) = word.text.split_once('-').unwrap_or((&word.text, &word.text));
    low.parse().ok().zip(high.parse().ok()).ok_or_else(|| word.wrong(wrong))
}

/// A rule that matches everything.
pub(super) fn empty() -> RuleSpec {
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
        action: ANY_ACTION,
    }
}

impl fmt::Display for RuleCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tool = |family: &Family| ip((*family == Family::V6).then_some(*family));
        match self {
            RuleCommand::Add(family, spec) => write!(f, "{} rule add{}", tool(family), Written(spec)),
            RuleCommand::Delete(family, spec) => write!(f, "{} rule del{}", tool(family), Written(spec)),
            RuleCommand::Flush(family) => write!(f, "{} rule flush", tool(family)),
            RuleCommand::Show { family, priority: None } => write!(f, "{} rule show", tool(family)),
            RuleCommand::Show { family, priority: Some(priority) } => write!(f, "{} rule show pref {priority}", tool(family)),
        }
    }
}

/// A rule as it is typed.
struct Written<'a>(&'a RuleSpec);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = self.0;
        if let Some(priority) = spec.priority {
            write!(f, " pref {priority}")?;
        }
        if spec.not {
            f.write_str(" not")?;
        }
        if let Some(from) = &spec.from {
            write!(f, " from {}", whole(from))?;
        }
        selectors(f, spec)?;
        match spec.action {
            ANY_ACTION => Ok(()),
            action => write!(f, " {}", Action(action, spec.suppress_prefixlength)),
        }
    }
}

/// A prefix that cannot be taken for "no prefix".
fn whole(net: &ipnet::IpNet) -> String {
    if net.prefix_len() == 0 { net.to_string() } else { destination(net) }
}

/// What stands between `from` and the action, in the order in which `ip` prints it.
pub(super) fn selectors(f: &mut impl fmt::Write, spec: &RuleSpec) -> fmt::Result {
    if let Some(to) = &spec.to {
        write!(f, " to {}", whole(to))?;
    }
    if spec.tos != 0 {
        write!(f, " tos {:#x}", spec.tos)?;
    }
    if let Some((mark, mask)) = spec.fwmark {
        match mask {
            u32::MAX => write!(f, " fwmark {mark:#x}")?,
            mask => write!(f, " fwmark {mark:#x}/{mask:#x}")?,
        }
    }
    if let Some(iif) = &spec.iif {
        write!(f, " iif {}", quoted(iif))?;
    }
    if let Some(oif) = &spec.oif {
        write!(f, " oif {}", quoted(oif))?;
    }
    if let Some((low, high)) = spec.uidrange {
        write!(f, " uidrange {low}-{high}")?;
    }
    if let Some(proto) = spec.ipproto {
        write!(f, " ipproto {}", ip_protocol_name(proto))?;
    }
    for (name, range) in [("sport", spec.sport), ("dport", spec.dport)] {
        match range {
            Some((low, high)) if low == high => write!(f, " {name} {low}")?,
            Some((low, high)) => write!(f, " {name} {low}-{high}")?,
            None => {}
        }
    }
    Ok(())
}

/// The end of a rule.
pub(super) struct Action(pub(super) RuleAction, pub(super) Option<u8>);

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            RuleAction::Lookup(table) => write!(f, "lookup {}", table_name(table))?,
            RuleAction::Goto(priority) => write!(f, "goto {priority}")?,
            RuleAction::Nop => f.write_str("nop")?,
            RuleAction::Blackhole => f.write_str("blackhole")?,
            RuleAction::Unreachable => f.write_str("unreachable")?,
            RuleAction::Prohibit => f.write_str("prohibit")?,
        }
        match self.1 {
            Some(length) => write!(f, " suppress_prefixlength {length}"),
            None => Ok(()),
        }
    }
}
