//! nftables: the second dialect of rule sets (`net/netfilter/nf_tables_api.c`, `nf_tables_core.c`).
//!
//! In reading order: `model` (what a rule set is), `walk` (how a packet goes through a base chain) and `eval` (what its rules read
//! and do), then the text: `lex`, `parser` with `expr`, `stmt` and `edit`, `print`; `types` and `fields` are nft's vocabulary.
//!
//! One rule set a namespace, for both IP versions. Base chains stand in the one hook table beside the tables of iptables, by their
//! own priorities; those of type nat are walked by the NAT of their hook, for new connections only.
//!
//! Deliberately not here, and refused: the families bridge, arp and netdev, flowtables, helpers, verdict queues, JSON.

mod edit;
mod eval;
mod expr;
mod fields;
mod lex;
pub(crate) mod model;
mod parser;
mod print;
mod stmt;
#[cfg(test)]
mod tests;
mod types;
pub(crate) mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::SimTime;

use self::model::{ChainId, ChainKind, ObjectKind, Ruleset, Stmt};
use super::hook::Hook;
use super::{RestoreError, RuleInfo};
use crate::addr::Family;
use crate::netns::Netns;
use crate::provenance::ProvId;

/// Elements that packets added to a set: when each is gone, and its own timeout.
pub(crate) type Live = BTreeMap<Box<[u128]>, (Option<SimTime>, Option<u64>)>;

/// What packets change.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Counters, quotas, limits and number generators, by slot.
    pub(crate) counts: Vec<[u64; 2]>,
    pub(crate) live: Vec<Live>,
}

/// The nftables of a namespace.
#[derive(Debug, Default)]
pub struct Nft {
    pub(crate) rules: Arc<Ruleset>,
    pub(crate) state: State,
}

/// A base chain, as the hooks see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Registered {
    pub(crate) hook: Hook,
    pub(crate) priority: i32,
    pub(crate) kind: ChainKind,
    pub(crate) chain: ChainId,
    /// Of two at one priority the younger comes first.
    pub(crate) order: u32,
}

/// A counter or quota of a rule set, for whoever compares them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NftCount {
    /// Of a rule: its chain, its number there from 0, packets, bytes.
    Rule(String, usize, u64, u64),
    /// A named counter: packets, bytes.
    Counter(String, u64, u64),
    /// A named quota: bytes used.
    Quota(String, u64),
}

impl Nft {
    /// `nft list ruleset`.
    pub fn list(&self, now: SimTime) -> String {
        print::ruleset(&self.rules, None, &print::Beside { state: &self.state, initial: &[], now, options: NftOptions::default() })
    }

    /// Every counter: family and name of its table, and what it counts.
    pub fn counters(&self) -> Vec<(&'static str, String, NftCount)> {
        let mut out = Vec::new();
        let count = |slot: u32| self.state.counts.get(slot as usize).copied().unwrap_or_default();
        for table in &self.rules.tables {
            let (family, name) = (table.family.as_str(), table.name.to_string());
            for object in table.objects.iter().flatten() {
                let [packets, bytes] = count(object.slot);
                out.push((
                    family,
                    name.clone(),
                    match object.kind {
                        ObjectKind::Counter => NftCount::Counter(object.name.to_string(), packets, bytes),
                        ObjectKind::Quota { bytes, .. } => NftCount::Quota(object.name.to_string(), packets.min(bytes)),
                    },
                ));
            }
            for chain in table.chains.iter().flatten() {
                for (at, rule) in chain.rules.iter().enumerate() {
                    for stmt in &rule.stmts {
                        if let Stmt::Counter(slot) = stmt {
                            let [packets, bytes] = count(*slot);
                            out.push((family, name.clone(), NftCount::Rule(chain.name.to_string(), at, packets, bytes)));
                        }
                    }
                }
            }
        }
        out
    }
}

/// The options of `nft`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NftOptions {
    /// `-a`: lists handles.
    pub handles: bool,
    /// `-s`: lists no counts.
    pub stateless: bool,
    /// `-c`: only looks.
    pub check: bool,
}

/// `nft -f`, `nft ARGUMENTS`: all commands of an input, or, where one is wrong, none. What `list` printed.
///
/// # Errors
/// See [`RestoreError`].
pub fn run(
    ns: &mut Netns,
    now: SimTime,
    input: &str,
    provs: &[(u32, ProvId)],
    options: NftOptions,
) -> Result<String, RestoreError> {
    let raw = lex::tokens(input)?;
    let tokens = lex::defined(raw)?;
    let mut parser = parser::Parser {
        tokens: &tokens,
        at: 0,
        draft: (*ns.nft.rules).clone(),
        initial: Vec::new(),
        table: 0,
        context: parser::Context::default(),
        now,
        provs,
        output: String::new(),
        changed: false,
        depth: 0,
        state: &ns.nft.state,
        options,
    };
    parser.commands()?;
    let parser::Parser { draft, initial, output, changed, .. } = parser;
    if options.check || !changed {
        return Ok(output);
    }
    let nft = &mut ns.nft;
    nft.state.counts.resize(draft.slots as usize, [0; 2]);
    nft.state.live.resize_with(draft.live as usize, Live::default);
    for (slot, first) in initial {
        nft.state.counts[slot as usize] = first;
    }
    let rules = Arc::new(draft);
    nft.rules = rules.clone();
    for family in [Family::V4, Family::V6] {
        let chains = registered(&rules, family);
        let tracking = needs_conntrack(&rules, family);
        ns.netfilter.get_mut(family).install_nft(rules.clone(), chains, tracking);
    }
    Ok(output)
}

/// The base chains that see packets of a family.
fn registered(rules: &Ruleset, family: Family) -> Vec<Registered> {
    let mut out = Vec::new();
    for (at, table) in rules.tables.iter().enumerate().filter(|(_, table)| table.family.sees(family) && !table.dormant) {
        for (slot, chain) in table.chains.iter().enumerate() {
            let Some(base) = chain.as_ref().and_then(|chain| chain.base) else { continue };
            out.push(Registered {
                hook: base.hook,
                priority: base.priority,
                kind: base.kind,
                chain: ChainId::new(at, slot as u32),
                order: base.order,
            });
        }
    }
    out.sort_by_key(|one| (one.priority, std::cmp::Reverse(one.order)));
    out
}

fn needs_conntrack(rules: &Ruleset, family: Family) -> bool {
    rules
        .tables
        .iter()
        .filter(|table| table.family.sees(family))
        .flat_map(|table| table.chains.iter().flatten())
        .flat_map(|chain| &chain.rules)
        .any(|rule| rule.stmts.iter().any(Stmt::needs_conntrack))
}

/// What a record names: a rule, or the end of a chain, which is the policy of a base chain.
pub(crate) fn rule_info(rules: &Ruleset, chain: u32, rule: u32) -> Option<RuleInfo> {
    let (table, chain) = rules.chain(ChainId(chain))?;
    let found = chain.rules.get(rule as usize);
    let (text, prov) = match (found, &chain.base) {
        (Some(found), _) => (print::rule(table, found, None), found.prov),
        (None, Some(base)) => (format!("policy {}", if base.drop { "drop" } else { "accept" }), chain.prov),
        (None, None) => (format!("end of {}", chain.name), chain.prov),
    };
    let table = format!("{} {}", table.family.as_str(), table.name).into();
    Some(RuleInfo { table, chain: chain.name.clone(), number: found.map(|_| rule + 1), text, prov })
}
