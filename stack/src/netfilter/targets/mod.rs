//! The targets (`-j`), one file each or each family of them.

pub(crate) mod connmark;
pub(crate) mod ct;
pub(crate) mod header;
pub(crate) mod log;
pub(crate) mod mark;
pub(crate) mod nat;
pub(crate) mod reject;
pub(crate) mod tcpmss;

use std::sync::Arc;

use super::TableName;
use super::hook::HookState;
use super::iptables::args::Args;
use super::iptables::lex::Parsed;
use super::matches::{Extension, Match, at};
use super::ruleset::Base;
use crate::Cx;
use crate::addr::Family;
use crate::drop_reason::DropReason;
use crate::netns::Netns;
use crate::skb::Skb;

/// What a target works on.
pub(crate) struct Act<'a, 'c> {
    pub(crate) ns: &'a mut Netns,
    pub(crate) cx: &'a mut Cx<'c>,
    pub(crate) state: &'a HookState,
    pub(crate) skb: &'a mut Skb,
}

/// What a target of an extension said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Done {
    /// On with the next rule.
    Continue,
    /// An address was chosen; the walk ends.
    Nat,
    /// The packet ends.
    Drop(DropReason),
    /// The packet ends; its sender was told.
    Reject,
}

/// Where a jump leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Jump {
    pub(crate) name: Arc<str>,
    /// Slot of the chain.
    pub(crate) slot: u32,
    /// `-g`.
    pub(crate) goto: bool,
}

/// What a rule does.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Target {
    /// No `-j`: the rule only counts.
    None,
    Accept,
    Drop,
    Return,
    Jump(Jump),
    Connmark(connmark::Connmark),
    Ct(ct::CtTarget),
    Header(header::Header),
    Log(Box<log::Log>),
    Mark(mark::Mark),
    Nat(Box<nat::Nat>),
    Reject(reject::Reject),
    Tcpmss(tcpmss::Tcpmss),
    /// Real, and without a consequence here: `TRACE` (everything is traced), `CHECKSUM` (all checksums are real).
    Idle(Idle),
}

/// See [`Target::Idle`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Idle {
    Trace,
    Checksum { fill: bool },
}

/// Real targets that are refused as not modelled.
pub(crate) const UNSUPPORTED: &[&str] = &[
    "AUDIT",
    "CLASSIFY",
    "CLUSTERIP",
    "CONNSECMARK",
    "DNPT",
    "ECN",
    "HMARK",
    "IDLETIMER",
    "LED",
    "NFQUEUE",
    "QUEUE",
    "RATEEST",
    "SECMARK",
    "SET",
    "SNPT",
    "SYNPROXY",
    "TCPOPTSTRIP",
    "TEE",
    "TPROXY",
    "ULOG",
];

impl Target {
    /// `-j NAME`, for a name that is not a chain.
    pub(crate) fn load(name: &str, family: Family) -> Option<Target> {
        Some(match name {
            "ACCEPT" => Target::Accept,
            "DROP" => Target::Drop,
            "RETURN" => Target::Return,
            "CONNMARK" => Target::Connmark(connmark::Connmark::default()),
            "CT" | "NOTRACK" => Target::Ct(ct::CtTarget::new(name)),
            "LOG" | "NFLOG" => Target::Log(Box::new(log::Log::new(name))),
            "MARK" => Target::Mark(mark::Mark::default()),
            "DNAT" | "SNAT" | "MASQUERADE" | "REDIRECT" | "NETMAP" => Target::Nat(Box::new(nat::Nat::new(name)?)),
            "REJECT" => Target::Reject(reject::Reject::new(family)),
            "TCPMSS" => Target::Tcpmss(tcpmss::Tcpmss::default()),
            "TRACE" => Target::Idle(Idle::Trace),
            "CHECKSUM" => Target::Idle(Idle::Checksum { fill: false }),
            _ => Target::Header(header::Header::new(name, family)?),
        })
    }

    pub(crate) fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Parsed<bool> {
        match self {
            Target::Connmark(t) => t.option(option, args),
            Target::Ct(t) => t.option(option, args),
            Target::Header(t) => t.option(option, args),
            Target::Log(t) => t.option(option, args),
            Target::Mark(t) => t.option(option, args),
            Target::Nat(t) => t.option(option, args),
            Target::Reject(t) => t.option(option, args),
            Target::Tcpmss(t) => t.option(option, args),
            Target::Idle(Idle::Checksum { fill }) if option == "--checksum-fill" => {
                *fill = true;
                Ok(true)
            }
            Target::Idle(_) | Target::None | Target::Accept | Target::Drop | Target::Return | Target::Jump(_) => Ok(false),
        }
    }

    pub(crate) fn finish(&self, base: &Base, family: Family) -> Result<(), String> {
        match self {
            Target::Connmark(t) => t.finish(base, family),
            Target::Ct(t) => t.finish(base, family),
            Target::Header(t) => t.finish(base, family),
            Target::Log(t) => t.finish(base, family),
            Target::Mark(t) => t.finish(base, family),
            Target::Nat(t) => t.finish(base, family),
            Target::Reject(t) => t.finish(base, family),
            Target::Tcpmss(t) => t.finish(base, family),
            Target::Idle(Idle::Checksum { fill: false }) => Err("CHECKSUM target: Parameter --checksum-fill is required".into()),
            Target::Idle(_) | Target::None | Target::Accept | Target::Drop | Target::Return | Target::Jump(_) => Ok(()),
        }
    }

    pub(crate) fn print(&self, out: &mut String, family: Family) {
        match self {
            Target::None => {}
            Target::Accept => out.push_str(" -j ACCEPT"),
            Target::Drop => out.push_str(" -j DROP"),
            Target::Return => out.push_str(" -j RETURN"),
            Target::Jump(jump) => {
                out.push_str(if jump.goto { " -g " } else { " -j " });
                out.push_str(&jump.name);
            }
            Target::Connmark(t) => t.print(out, family),
            Target::Ct(t) => t.print(out, family),
            Target::Header(t) => t.print(out, family),
            Target::Log(t) => t.print(out, family),
            Target::Mark(t) => t.print(out, family),
            Target::Nat(t) => t.print(out, family),
            Target::Reject(t) => t.print(out, family),
            Target::Tcpmss(t) => t.print(out, family),
            Target::Idle(Idle::Trace) => out.push_str(" -j TRACE"),
            Target::Idle(Idle::Checksum { .. }) => out.push_str(" -j CHECKSUM --checksum-fill"),
        }
    }

    /// What an extension does. The others are the walk's.
    pub(crate) fn act(&self, act: &mut Act<'_, '_>) -> Done {
        match self {
            Target::Connmark(t) => t.act(act),
            Target::Ct(t) => t.act(act),
            Target::Header(t) => t.act(act),
            Target::Mark(t) => t.act(act),
            Target::Nat(t) => t.act(act),
            Target::Reject(t) => t.act(act),
            Target::Tcpmss(t) => t.act(act),
            Target::Log(_) | Target::Idle(_) => Done::Continue,
            Target::None | Target::Accept | Target::Drop | Target::Return | Target::Jump(_) => Done::Continue,
        }
    }

    /// Whether loading it switches connection tracking on.
    pub(crate) fn needs_conntrack(&self) -> bool {
        match self {
            Target::Connmark(_) | Target::Nat(_) => true,
            Target::Ct(t) => t.needs_conntrack(),
            _ => false,
        }
    }

    /// The table that it is bound to, and the hooks from which it may be reached.
    pub(crate) fn place(&self) -> (Option<TableName>, u8) {
        match self {
            Target::Nat(t) => (Some(TableName::Nat), t.hooks()),
            Target::Reject(_) => (Some(TableName::Filter), at::IN | at::FORWARD | at::OUT),
            Target::Ct(_) | Target::Idle(Idle::Trace) => (Some(TableName::Raw), at::ALL),
            Target::Header(_) | Target::Idle(Idle::Checksum { .. }) => (Some(TableName::Mangle), at::ALL),
            Target::Tcpmss(t) => (None, t.hooks()),
            _ => (None, at::ALL),
        }
    }

    /// What the kernel asks of the rest of the rule (`checkentry`).
    pub(crate) fn check(&self, base: &Base, matches: &[Match]) -> Result<(), &'static str> {
        match self {
            Target::Reject(t) => t.check(base),
            Target::Tcpmss(t) => t.check(base, matches),
            _ => Ok(()),
        }
    }
}
