//! Netfilter: the five hooks ([`hook`]), rule sets, the iptables dialect, matches and targets.
//!
//! In reading order: `hook` (what runs where), `walk` (one table), `ruleset` (tables, chains, rules), `matches` and `targets` (one
//! file each), `iptables` (the text that all of it comes from).
//!
//! Deliberately elsewhere: connections and translation ([`crate::conntrack`]); a NAT target only names a range.

pub mod hook;
mod index;
mod iptables;
mod matches;
mod miss;
pub(crate) mod nftables;
mod ruleset;
mod targets;
mod walk;

pub use self::miss::{Headers, Miss};
pub use self::nftables::{Nft, NftCount, NftOptions, run as nft};

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use self::hook::{NatChain, Step};
use self::iptables::draft::Draft;
use self::iptables::{edit, print, save};
use self::nftables::Registered;
use self::nftables::model::{ChainId, Ruleset};
use self::ruleset::{Counts, Table};
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
pub struct Netfilter {
    /// Every table that a record may name, and the present ones.
    programs: Vec<Arc<Table>>,
    /// Of each program, whether it was walked while tracing: then it stays as it is.
    named: Vec<bool>,
    /// The present program of each table.
    current: [Option<u32>; 5],
    /// The order in which the tables were first made.
    made: Vec<TableName>,
    pub(crate) counts: [Counts; 5],
    pub(crate) steps: [Vec<Step>; 5],
    /// What NAT walks at each hook.
    nat: [Vec<NatChain>; 5],
    tracking: bool,
    pub(crate) recent: BTreeMap<Arc<str>, matches::recent::List>,
    /// What nftables has in this family.
    nft: NftView,
    /// Kept for the next walk, so that it need not allocate.
    pub(crate) stack: Vec<walk::Frame>,
}

/// The rule set of nftables as one family sees it.
#[derive(Debug, Default)]
struct NftView {
    /// Every rule set that a record may name; the last one is present.
    programs: Vec<Arc<Ruleset>>,
    /// Whether the present one was walked while tracing: then it stays as it is.
    named: bool,
    /// Its base chains, in the order of priority.
    chains: Vec<Registered>,
    tracking: bool,
}

/// What a record's [`RuleRef`] names, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleInfo {
    /// Table: `nat`, or, of nftables, with its family: `ip kube-proxy`.
    pub table: Arc<str>,
    /// Chain.
    pub chain: Arc<str>,
    /// Number in the chain, from 1, as `iptables -L --line-numbers` counts; none for the policy or the end of the chain.
    pub number: Option<u32>,
    /// The rule as `iptables-save` prints it (`-A KUBE-SERVICES ...`), or `-P FORWARD DROP`; of nftables as `nft list` does, or
    /// `policy drop`.
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
        if rule.program & nftables::walk::PROGRAM != 0 {
            let rules = self.nft.programs.get((rule.program & !nftables::walk::PROGRAM) as usize)?;
            return nftables::rule_info(rules, rule.chain, rule.rule);
        }
        let table = self.programs.get(rule.program as usize)?;
        let chain = table.chains.get(rule.chain as usize)?.as_ref()?;
        let found = chain.rules.get(rule.rule as usize);
        let (text, prov) = match (found, chain.policy) {
            (Some(found), _) => (print::rule_text(&chain.name, found, table.family), found.prov),
            (None, Some(policy)) => (format!("-P {} {}", chain.name, policy.as_str()), chain.prov),
            (None, None) => (format!("-N {}", chain.name), chain.prov),
        };
        Some(RuleInfo {
            table: table.name.as_str().into(),
            chain: chain.name.clone(),
            number: found.map(|_| rule.rule + 1),
            text,
            prov,
        })
    }

    /// The name of a chain that a record names (`target_chain` of a jump).
    pub fn chain_name(&self, program: u32, chain: u32) -> Option<Arc<str>> {
        if program & nftables::walk::PROGRAM != 0 {
            let rules = self.nft.programs.get((program & !nftables::walk::PROGRAM) as usize)?;
            return rules.chain(ChainId(chain)).map(|(_, chain)| chain.name.clone());
        }
        let chain = self.programs.get(program as usize)?.chains.get(chain as usize)?.as_ref()?;
        Some(chain.name.clone())
    }

    /// `iptables-save`: all tables that exist, or one. `counters` as `-c` prints them. The comment lines with dates are left out.
    pub fn save(&self, table: Option<TableName>, counters: bool) -> String {
        let mut out = String::new();
        for present in self.in_save_order().filter(|present| table.is_none_or(|table| present.name == table)) {
            save::table(&mut out, present, &self.counts[present.name as usize], counters);
        }
        out
    }

    /// The nft variant lists tables in an order of its own, the legacy one the youngest first.
    fn in_save_order(&self) -> impl Iterator<Item = &Arc<Table>> {
        const NFT: [TableName; 5] = [TableName::Mangle, TableName::Security, TableName::Raw, TableName::Filter, TableName::Nat];
        let legacy = self.tables().next().is_some_and(|table| table.variant == Variant::Legacy);
        let order: Vec<TableName> = if legacy { self.made.iter().rev().copied().collect() } else { NFT.to_vec() };
        order.into_iter().filter_map(|name| self.table(name))
    }

    /// Counters of every table that exists, in the order raw, mangle, nat, filter, security; chains in the order in which
    /// `iptables-save` prints them.
    pub fn counters(&self) -> Vec<ChainCounters> {
        let mut out = Vec::new();
        for table in self.tables() {
            for slot in table.in_order() {
                let chain = table.chain(slot);
                let counts = &self.counts[table.name as usize].chains[slot as usize];
                let texts = chain.rules.iter().map(|rule| print::rule_text(&chain.name, rule, table.family));
                out.push(ChainCounters {
                    table: table.name,
                    chain: chain.name.clone(),
                    policy: chain.policy.map(|policy| policy.as_str()),
                    policy_counts: counts.policy,
                    rules: texts.zip(&counts.rules).map(|(text, &(packets, bytes))| (text, packets, bytes)).collect(),
                });
            }
        }
        out
    }

    /// `iptables -Z`, in all tables.
    pub fn zero_counters(&mut self) {
        for chain in self.counts.iter_mut().flat_map(|counts| &mut counts.chains) {
            chain.policy = (0, 0);
            chain.rules.fill((0, 0));
        }
    }

    /// Whether a loaded rule needs connection tracking: then it is on in this namespace, for this family.
    pub fn needs_conntrack(&self) -> bool {
        self.tracking
    }

    /// Whether a chain that translates exists: then every connection gets a binding, if only an empty one.
    pub fn has_nat(&self) -> bool {
        self.nat.iter().any(|chains| !chains.is_empty())
    }

    /// The present table of a name.
    fn table(&self, name: TableName) -> Option<&Arc<Table>> {
        self.current[name as usize].map(|program| &self.programs[program as usize])
    }

    /// The present tables, in the order of [`TableName`].
    fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.current.iter().flatten().map(|&program| &self.programs[program as usize])
    }

    fn variant(&self, name: TableName) -> Variant {
        self.table(name).map_or(Variant::default(), |table| table.variant)
    }

    fn counts_mut(&mut self, name: TableName) -> &mut Counts {
        &mut self.counts[name as usize]
    }

    /// The present program of a table, to be walked.
    #[inline]
    fn enter(&mut self, name: TableName, tracing: bool) -> Option<(u32, Arc<Table>)> {
        let program = self.current[name as usize]?;
        self.named[program as usize] |= tracing;
        Some((program, self.programs[program as usize].clone()))
    }

    /// Makes a checked draft the present table.
    fn install(&mut self, draft: Draft) {
        let name = draft.table.name;
        let table = Arc::new(draft.table);
        if !self.made.contains(&name) {
            self.made.push(name);
        }
        match self.current[name as usize] {
            Some(program) if !self.named[program as usize] => self.programs[program as usize] = table,
            _ => {
                self.current[name as usize] = Some(self.programs.len() as u32);
                self.programs.push(table);
                self.named.push(false);
            }
        }
        self.counts[name as usize] = draft.counts;
        self.register();
    }

    /// Makes a checked rule set of nftables the present one.
    fn install_nft(&mut self, rules: Arc<Ruleset>, chains: Vec<Registered>, tracking: bool) {
        match self.nft.programs.last_mut() {
            Some(last) if !self.nft.named => *last = rules,
            _ => self.nft.programs.push(rules),
        }
        (self.nft.named, self.nft.chains, self.nft.tracking) = (false, chains, tracking);
        self.register();
    }

    /// The present rule set of nftables, to be walked.
    #[inline]
    fn enter_nft(&mut self, tracing: bool) -> (u32, Arc<Ruleset>) {
        self.nft.named |= tracing;
        let last = self.nft.programs.last().expect("a chain is registered only with the rule set that it is in");
        (self.nft.programs.len() as u32 - 1, last.clone())
    }

    /// What is walked for new connections at a hook, by the NAT there.
    #[inline]
    pub(crate) fn nat_chain(&self, hook: hook::Hook, at: usize) -> Option<NatChain> {
        self.nat[hook as usize].get(at).copied()
    }

    /// Registers all that there is at the hooks.
    fn register(&mut self) {
        self.tracking = self.nft.tracking || self.tables().any(|table| table.needs_conntrack);
        let variant = |name| self.table(name).map(|table| table.variant);
        let steps = hook::steps(self.tracking, variant, &self.nft.chains);
        let nat = hook::nat_chains(variant(TableName::Nat).is_some(), &self.nft.chains);
        (self.steps, self.nat) = (steps, nat);
    }
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
    iptables::restore::restore(ns, family, input, options)
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
    edit::run(ns, family, variant, args, prov)
}

/// Whether a line of `iptables-save` format, or the arguments of `iptables`, can be read: the same parser as [`restore`]'s, without
/// a namespace. Lets commands be checked when they are read.
///
/// # Errors
/// See [`RestoreError`].
pub fn check_arguments(family: Family, args: &str) -> Result<(), RestoreError> {
    edit::check(family, args)
}

/// `ipt_do_table`: walks the chain of a table that is registered at this hook.
pub(crate) fn do_table(
    ns: &mut Netns,
    cx: &mut Cx<'_>,
    state: &hook::HookState,
    skb: &mut Skb,
    table: TableName,
) -> Result<hook::HookVerdict, DropReason> {
    walk::do_table(ns, cx, state, skb, table)
}
