//! Netfilter: the five hooks ([`hook`]), rule sets, the iptables dialect, matches and targets.

pub mod hook;

use std::fmt;
use std::sync::Arc;

use crate::Cx;
use crate::addr::Family;
use crate::command::Stdin;
use crate::drop_reason::DropReason;
use crate::netns::Netns;
use crate::provenance::ProvId;
use crate::skb::Skb;
use crate::trace::RuleRef;

/// The tables of iptables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TableName {
    /// Before connection tracking.
    Raw,
    /// Marks and header fields.
    Mangle,
    /// Addresses; seen by a connection until it is confirmed.
    Nat,
    /// Accept or drop.
    Filter,
    /// Mandatory access control.
    Security,
}

impl TableName {
    /// As `iptables -t` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            TableName::Raw => "raw",
            TableName::Mangle => "mangle",
            TableName::Nat => "nat",
            TableName::Filter => "filter",
            TableName::Security => "security",
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which iptables: the two differ in the priority of `security`, and in the text of some errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Variant {
    /// `iptables-legacy`.
    Legacy,
    /// `iptables-nft`, Debian's default.
    #[default]
    Nft,
}

/// The rule sets of one IP family in a namespace.
#[derive(Debug, Default)]
pub struct Netfilter {}

/// What a record's [`RuleRef`] names, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleInfo {
    /// Table.
    pub table: TableName,
    /// Chain.
    pub chain: Arc<str>,
    /// Number in the chain, from 1, as `iptables -L --line-numbers` counts; none for the policy or the end of the chain.
    pub number: Option<u32>,
    /// The rule as `iptables-save` prints it (`-A KUBE-SERVICES ...`), or `-P FORWARD DROP`.
    pub text: String,
    /// Who wrote it.
    pub prov: ProvId,
}

/// Why a rule set was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RestoreError {
    /// What is wrong, in the real tool's words where it has some.
    pub message: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// Bytes of the offending text.
    pub len: u32,
    /// What to do.
    pub help: String,
    /// Whether the real tool takes it and pktlab does not model it.
    pub unsupported: bool,
}

impl Netfilter {
    /// What a record names.
    pub fn rule_info(&self, rule: RuleRef) -> Option<RuleInfo> {
        let _ = rule;
        None
    }

    /// The name of a chain that a record names (`target_chain` of a jump).
    pub fn chain_name(&self, program: u32, chain: u32) -> Option<Arc<str>> {
        let _ = (program, chain);
        None
    }

    /// `iptables-save`: all tables that exist, or one. `counters` as `-c` prints them.
    pub fn save(&self, table: Option<TableName>, counters: bool) -> String {
        let _ = (table, counters);
        String::new()
    }

    /// Counters of every table that exists, in the order raw, mangle, nat, filter, security; chains in the order in which
    /// `iptables-save` prints them.
    pub fn counters(&self) -> Vec<ChainCounters> {
        Vec::new()
    }

    /// `iptables -Z`, in all tables.
    pub fn zero_counters(&mut self) {}
}

/// The counters of one chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChainCounters {
    /// Table.
    pub table: TableName,
    /// Chain.
    pub chain: Arc<str>,
    /// `ACCEPT` or `DROP` for a base chain.
    pub policy: Option<&'static str>,
    /// Packets and bytes that the policy took.
    pub policy_counts: (u64, u64),
    /// Each rule: its text, packets, bytes.
    pub rules: Vec<(String, u64, u64)>,
}

/// `iptables-restore`, `ip6tables-restore`: loads tables from a dump; `noflush` as the flag. Nothing changes where a line is
/// wrong. `test` as `--test`: only looks.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(ns: &mut Netns, family: Family, input: &Stdin, options: RestoreOptions) -> Result<(), RestoreError> {
    let _ = (ns, family, input, options);
    Ok(())
}

/// The flags of `iptables-restore`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RestoreOptions {
    /// `--noflush`.
    pub noflush: bool,
    /// `--counters`.
    pub counters: bool,
    /// `--test`.
    pub test: bool,
    /// Which iptables.
    pub variant: Variant,
}

/// `iptables ARGS`, `ip6tables ARGS`: one change (`-A`, `-I`, `-D`, `-R`, `-N`, `-X`, `-F`, `-P`, `-Z`, `-E`, `-C`), or a listing
/// (`-S`, `-L`), which is returned. Line 1 of an error is the argument line.
///
/// # Errors
/// See [`RestoreError`].
pub fn iptables(ns: &mut Netns, family: Family, variant: Variant, args: &str, prov: ProvId) -> Result<String, RestoreError> {
    let _ = (ns, family, variant, args, prov);
    Ok(String::new())
}

/// Whether a line of `iptables-save` format, or the arguments of `iptables`, can be read: the same parser as [`restore`]'s, without
/// a namespace. Lets commands be checked when they are read.
///
/// # Errors
/// See [`RestoreError`].
pub fn check_arguments(family: Family, args: &str) -> Result<(), RestoreError> {
    let _ = (family, args);
    Ok(())
}

/// `ipt_do_table`: walks the chain of a table that is registered at this hook.
pub(crate) fn do_table(
    ns: &mut Netns,
    cx: &mut Cx<'_>,
    state: &hook::HookState,
    skb: &mut Skb,
    table: TableName,
) -> Result<hook::HookVerdict, DropReason> {
    let _ = (ns, cx, state, skb, table);
    Ok(hook::HookVerdict::Accept)
}
