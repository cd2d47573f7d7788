//! A table under change: nothing of it counts before it is checked and installed.

use std::sync::Arc;

use super::lex::{Parsed, Problem, Word};
use super::parse::{Aim, Spec};
use super::print;
use crate::addr::Family;
use crate::netfilter::hook::Hook;
use crate::netfilter::matches::{Match, at};
use crate::netfilter::ruleset::{Base, Chain, ChainCounts, Count, Counts, Policy, Rule, Table, base_chains};
use crate::netfilter::targets::{Jump, Target};
use crate::netfilter::{Netfilter, TableName, Variant};
use crate::provenance::ProvId;

/// `XT_EXTENSION_MAXNAMELEN - 1`.
const CHAIN_NAME_LEN: usize = 28;
/// `NFT_JUMP_STACK_SIZE`: chains below a base chain, in nf_tables.
const NFT_DEPTH: u32 = 16;

/// A table under change.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) table: Table,
    pub(crate) counts: Counts,
}

/// Where a rule comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) prov: ProvId,
    /// Line, from 1.
    pub(crate) line: u32,
}

/// Where a rule goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Where {
    Append,
    /// From 0.
    Insert(usize),
    /// From 0.
    Replace(usize),
}

/// A check that failed, at a place of the input.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) place: (u32, u32),
    pub(crate) len: u32,
    pub(crate) message: String,
    pub(crate) help: String,
}

impl Draft {
    /// The present table, or an empty one.
    pub(crate) fn open(netfilter: &Netfilter, name: TableName, family: Family, variant: Variant) -> Draft {
        match netfilter.table(name) {
            Some(table) => Draft { table: (**table).clone(), counts: netfilter.counts[name as usize].clone() },
            None => Draft::empty(name, family, variant),
        }
    }

    /// An empty table.
    pub(crate) fn empty(name: TableName, family: Family, variant: Variant) -> Draft {
        let table = Table::new(name, family, variant);
        let mut counts = Counts::default();
        counts.fit(&table);
        Draft { table, counts }
    }

    /// The slot of a chain.
    pub(crate) fn slot(&self, word: &Word<'_>) -> Parsed<u32> {
        let found = self.table.by_name.get(&*word.text).copied();
        found.ok_or_else(|| {
            let table = self.table.name;
            word.problem("No chain/target/match by that name.")
                .help(format!("table {table} has no chain `{}`: declare it with `:{} - [0:0]` or -N first", word.text, word.text))
        })
    }

    /// `-N`.
    pub(crate) fn new_chain(&mut self, word: &Word<'_>, prov: ProvId) -> Parsed<u32> {
        if Target::load(&word.text, self.table.family).is_some() {
            return Err(word.problem("chain name may not clash with target name"));
        }
        self.declare(word, prov)
    }

    /// `:NAME - [0:0]`.
    pub(crate) fn declare(&mut self, word: &Word<'_>, prov: ProvId) -> Parsed<u32> {
        let name = &*word.text;
        if name.len() > CHAIN_NAME_LEN {
            let message = format!("chain name `{name}' too long (must be under {} chars)", CHAIN_NAME_LEN + 1);
            return Err(word.problem(message));
        }
        if name.starts_with(['-', '!']) || name.is_empty() {
            return Err(word.problem("chain name not allowed to start with `-' or `!'"));
        }
        if self.table.by_name.contains_key(name) {
            return Err(word.problem("Chain already exists."));
        }
        let slot = self.table.add_chain(Chain::new(name, None, prov));
        self.counts.chains.push(ChainCounts::default());
        Ok(slot)
    }

    /// `-F`.
    pub(crate) fn flush(&mut self, slot: u32) {
        let chain = self.table.chain(slot);
        if !chain.rules.is_empty() {
            self.table.chains[slot as usize] = Some(Arc::new(Chain::new(&chain.name, chain.policy, chain.prov)));
        }
        self.counts.chains[slot as usize].rules.clear();
    }

    /// `-X CHAIN`; the caller has looked whether it is empty and unused.
    pub(crate) fn delete_chain(&mut self, slot: u32) {
        let name = self.table.chain(slot).name.clone();
        self.table.by_name.remove(&name);
        self.table.chains[slot as usize] = None;
        self.counts.chains[slot as usize] = ChainCounts::default();
    }

    /// `-E`: also in the rules that jump to it.
    pub(crate) fn rename(&mut self, slot: u32, name: &str) {
        let old = self.table.chain(slot).name.clone();
        self.table.by_name.remove(&old);
        self.table.by_name.insert(name.into(), slot);
        self.table.chain_mut(slot).name = name.into();
        for at in 0..self.table.chains.len() as u32 {
            let jumps = |rule: &Rule| matches!(&rule.target, Target::Jump(jump) if jump.slot == slot);
            if self.table.chains[at as usize].as_ref().is_some_and(|chain| chain.rules.iter().any(jumps)) {
                for rule in &mut self.table.chain_mut(at).rules {
                    if let Target::Jump(jump) = &mut rule.target
                        && jump.slot == slot
                    {
                        jump.name = name.into();
                    }
                }
            }
        }
    }

    /// Whether a rule jumps to a chain.
    pub(crate) fn is_referenced(&self, slot: u32) -> bool {
        let chains = self.table.chains.iter().flatten();
        chains.flat_map(|chain| &chain.rules).any(|rule| matches!(&rule.target, Target::Jump(jump) if jump.slot == slot))
    }

    /// `-P`.
    pub(crate) fn set_policy(&mut self, slot: u32, policy: Policy) {
        self.table.chain_mut(slot).policy = Some(policy);
    }

    /// The target of a rule, with the slot of the chain that it names.
    fn target(&self, spec: &Spec, words: &[Word<'_>]) -> Parsed<Target> {
        let (name, goto) = match &spec.aim {
            Aim::Target(target) => return Ok(target.clone()),
            Aim::Chain { name, goto } => (name, *goto),
        };
        let word = &words[spec.target_word];
        match self.table.by_name.get(name.as_str()) {
            Some(&slot) if slot < base_chains(self.table.name).len() as u32 => {
                let message = match self.table.variant {
                    Variant::Nft => format!("RULE_APPEND failed (Operation not supported): rule that jumps to {name}"),
                    Variant::Legacy => "Invalid argument.".to_owned(),
                };
                Err(word.problem(message).help("a rule cannot jump to a base chain"))
            }
            Some(&slot) => Ok(Target::Jump(Jump { name: name.as_str().into(), slot, goto })),
            None => {
                let message = match (self.table.variant, goto) {
                    (Variant::Nft, _) => format!("Chain '{name}' does not exist"),
                    (Variant::Legacy, true) => format!("goto '{name}' is not a chain"),
                    (Variant::Legacy, false) => format!("Couldn't load target `{name}':No such file or directory"),
                };
                Err(word.problem(message).help("declare the chain before the first rule that names it, or mend the target's name"))
            }
        }
    }

    /// Puts a rule, or the rules that its address lists stand for, into a chain.
    pub(crate) fn add(&mut self, slot: u32, place: Where, spec: &Spec, words: &[Word<'_>], origin: Origin) -> Parsed<()> {
        self.check_interfaces(slot, spec, words)?;
        let target = self.target(spec, words)?;
        target.check(&spec.base, &spec.matches).map_err(|why| {
            let word = &words[spec.target_word];
            word.problem(self.kernel_refusal("Invalid argument", slot)).help(why)
        })?;
        let column = words.get(spec.target_word).map_or(1, |word| word.at + 1);
        for (n, base) in spec.bases().enumerate() {
            let mut matches: Box<[Match]> = spec.matches.clone().into();
            matches.iter_mut().for_each(|m| m.take_slot(&mut self.table.slots));
            let name = self.table.chain(slot).name.clone();
            let mut rule = Rule { base, matches, target: target.clone(), prov: origin.prov, place: (origin.line, column), key: 0 };
            if rule.matches.iter().any(Match::draws) {
                let text = print::rule_text(&name, &rule, self.table.family);
                rule.key = sim_core::choice::key_of(text.as_bytes());
            }
            let counts = &mut self.counts.chains[slot as usize].rules;
            let chain = self.table.chain_mut(slot);
            let at = match place {
                Where::Append => chain.rules.len(),
                Where::Insert(at) => at + n,
                Where::Replace(at) => {
                    chain.remove(at);
                    counts.remove(at);
                    at
                }
            };
            chain.insert(at, rule);
            counts.insert(at, spec.counters.unwrap_or_default());
        }
        Ok(())
    }

    /// Where the rule that `spec` describes stands: for `-D` and `-C`.
    pub(crate) fn find(&self, slot: u32, spec: &Spec, base: &Base, words: &[Word<'_>]) -> Parsed<Option<usize>> {
        let target = self.target(spec, words)?;
        let chain = self.table.chain(slot);
        Ok(chain.rules.iter().position(|rule| {
            rule.base == *base
                && rule.target == target
                && rule.matches.len() == spec.matches.len()
                && rule.matches.iter().zip(&spec.matches).all(|(a, b)| a.same(b))
        }))
    }

    /// `-D`.
    pub(crate) fn remove(&mut self, slot: u32, at: usize) {
        self.table.chain_mut(slot).remove(at);
        self.counts.chains[slot as usize].rules.remove(at);
    }

    /// Sets a rule's counters.
    pub(crate) fn set_count(&mut self, slot: u32, at: usize, count: Count) {
        self.counts.chains[slot as usize].rules[at] = count;
    }

    fn check_interfaces(&self, slot: u32, spec: &Spec, words: &[Word<'_>]) -> Parsed<()> {
        let name = &*self.table.chain(slot).name;
        let wrong = match name {
            "PREROUTING" | "INPUT" => spec.out_word.map(|at| ("-o", at)),
            "POSTROUTING" | "OUTPUT" => spec.iin_word.map(|at| ("-i", at)),
            _ => None,
        };
        match wrong {
            Some((option, at)) => Err(words[at].problem(format!("Can't use {option} with {name}"))),
            None => Ok(()),
        }
    }

    /// The tools' words for a `-EINVAL` of the kernel.
    fn kernel_refusal(&self, error: &str, slot: u32) -> String {
        let chain = &self.table.chain(slot).name;
        match self.table.variant {
            Variant::Nft => format!("RULE_APPEND failed ({error}): rule in chain {chain}"),
            Variant::Legacy => format!("{error}. Run `dmesg' for more information."),
        }
    }

    /// What the kernel checks when the whole is there: loops, depth, and whether each match and target may stand where the
    /// hooks reach it. Notes whether connection tracking is needed.
    pub(crate) fn check(&mut self) -> Result<(), Box<Refusal>> {
        let reach = self.reach()?;
        let mut needs = false;
        for (slot, chain) in self.table.chains.iter().enumerate() {
            let Some(chain) = chain else { continue };
            for rule in &chain.rules {
                needs |= rule.target.needs_conntrack() || rule.matches.iter().any(Match::needs_conntrack);
                self.check_place(slot as u32, rule, reach[slot])?;
            }
        }
        self.table.needs_conntrack = needs;
        self.table.build_indexes();
        Ok(())
    }

    fn check_place(&self, slot: u32, rule: &Rule, reach: u8) -> Result<(), Box<Refusal>> {
        let (table, hooks) = rule.target.place();
        let name = || {
            let mut text = String::new();
            rule.target.print(&mut text, self.table.family);
            text.split(' ').nth(2).unwrap_or_default().to_owned()
        };
        let help = if table.is_some_and(|table| table != self.table.name) {
            let table = table.map_or("", TableName::as_str);
            Some(format!("target {} works only in table {table}", name()))
        } else if rule.matches.iter().any(|m| m.tables().is_some_and(|tables| !tables.contains(&self.table.name))) {
            Some("a match of this rule works only in tables raw and mangle".to_owned())
        } else if reach & !hooks != 0 {
            Some(format!("target {} cannot be used from {}", name(), hook_names(reach & !hooks)))
        } else {
            let wrong = rule.matches.iter().find(|m| reach & !m.hooks() != 0);
            wrong.map(|m| format!("a match of this rule cannot be used from {}", hook_names(reach & !m.hooks())))
        };
        let Some(help) = help else { return Ok(()) };
        let len = name().len().max(1) as u32;
        Err(Box::new(Refusal { place: rule.place, len, message: self.kernel_refusal("Invalid argument", slot), help }))
    }

    /// From which hooks each chain can be reached.
    fn reach(&self) -> Result<Vec<u8>, Box<Refusal>> {
        let chains = &self.table.chains;
        let mut reach = vec![0u8; chains.len()];
        // 0: not seen, 1: on the way, 2: done; how many chains are below it.
        let mut seen = vec![(0u8, 0u32); chains.len()];
        for (base, &(hook, _)) in base_chains(self.table.name).iter().enumerate() {
            self.descend(base, &mut seen)?;
            self.spread(base, hook, &mut reach);
        }
        Ok(reach)
    }

    fn jumps(&self, slot: usize) -> &[Rule] {
        self.table.chains[slot].as_ref().map_or(&[], |chain| &chain.rules)
    }

    /// Walks down from a base chain, without recursion, looking for loops.
    fn descend(&self, base: usize, seen: &mut [(u8, u32)]) -> Result<(), Box<Refusal>> {
        let mut path: Vec<(usize, usize)> = vec![(base, 0)];
        seen[base].0 = 1;
        while let Some(&(slot, at)) = path.last() {
            let Some(rule) = self.jumps(slot).get(at) else {
                seen[slot].0 = 2;
                path.pop();
                if let Some(&(above, _)) = path.last() {
                    seen[above].1 = seen[above].1.max(seen[slot].1 + 1);
                    if above == base && seen[above].1 >= NFT_DEPTH && self.table.variant == Variant::Nft {
                        let (_, at) = path[path.len() - 1];
                        return Err(self.loop_refusal(base, &self.jumps(above)[at - 1], "more than 15 chains deep"));
                    }
                }
                continue;
            };
            if let Some(last) = path.last_mut() {
                last.1 += 1;
            }
            let Target::Jump(jump) = &rule.target else { continue };
            let next = jump.slot as usize;
            match seen[next].0 {
                0 => {
                    seen[next].0 = 1;
                    path.push((next, 0));
                }
                1 => return Err(self.loop_refusal(base, rule, "the chains jump in a circle")),
                _ => seen[slot].1 = seen[slot].1.max(seen[next].1 + 1),
            }
        }
        Ok(())
    }

    fn loop_refusal(&self, base: usize, rule: &Rule, why: &str) -> Box<Refusal> {
        let error = match self.table.variant {
            Variant::Nft => "Too many links",
            Variant::Legacy => "Too many levels of symbolic links",
        };
        let help = format!("{why}; this rule is part of it");
        Box::new(Refusal { place: rule.place, len: 1, message: self.kernel_refusal(error, base as u32), help })
    }

    fn spread(&self, base: usize, hook: Hook, reach: &mut [u8]) {
        let bit = at::bit(hook);
        let mut open = vec![base];
        reach[base] |= bit;
        while let Some(slot) = open.pop() {
            for rule in self.jumps(slot) {
                if let Target::Jump(jump) = &rule.target {
                    let next = jump.slot as usize;
                    if reach[next] & bit == 0 {
                        reach[next] |= bit;
                        open.push(next);
                    }
                }
            }
        }
    }
}

fn hook_names(bits: u8) -> String {
    let hooks = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
    let names: Vec<&str> = hooks.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0).map(|(_, name)| *name).collect();
    names.join(", ")
}

/// A policy, by name.
pub(crate) fn policy(word: &Word<'_>) -> Parsed<Policy> {
    match &*word.text {
        "ACCEPT" => Ok(Policy::Accept),
        "DROP" => Ok(Policy::Drop),
        _ => Err(word.problem("Bad policy name.").help("a policy is ACCEPT or DROP")),
    }
}

/// Turns a refusal of one line into that of the tool.
pub(crate) fn refused(problem: Problem, line: u32) -> crate::netfilter::RestoreError {
    crate::netfilter::RestoreError {
        message: problem.message,
        line,
        column: problem.at + 1,
        len: problem.len,
        help: problem.help,
        unsupported: problem.unsupported,
    }
}
