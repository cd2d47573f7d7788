//! One command: `-A INPUT ...`, `-D INPUT 3`, `-P FORWARD DROP`.

use super::draft::{Draft, Origin, Where, policy, refused};
use super::lex::{Parsed, Word, words};
use super::parse::{self, Spec, at_end};
use super::save;
use crate::addr::Family;
use crate::netfilter::ruleset::{Count, base_chains};
use crate::netfilter::{Netfilter, RestoreError, TableName, Variant};
use crate::netns::Netns;
use crate::provenance::ProvId;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verb {
    Append,
    Insert,
    Delete,
    Replace,
    Check,
    NewChain,
    DeleteChain,
    Flush,
    Policy,
    Zero,
    Rename,
    List,
    ListRules,
}

const VERBS: &[(&str, &str, Verb)] = &[
    ("-A", "--append", Verb::Append),
    ("-I", "--insert", Verb::Insert),
    ("-D", "--delete", Verb::Delete),
    ("-R", "--replace", Verb::Replace),
    ("-C", "--check", Verb::Check),
    ("-N", "--new-chain", Verb::NewChain),
    ("-X", "--delete-chain", Verb::DeleteChain),
    ("-F", "--flush", Verb::Flush),
    ("-P", "--policy", Verb::Policy),
    ("-Z", "--zero", Verb::Zero),
    ("-E", "--rename-chain", Verb::Rename),
    ("-L", "--list", Verb::List),
    ("-S", "--list-rules", Verb::ListRules),
];

/// A table, by name.
pub(crate) fn table_name(name: &str) -> Option<TableName> {
    use TableName::*;
    [Raw, Mangle, Nat, Filter, Security].into_iter().find(|table| table.as_str() == name)
}

/// A namespace has one back end: the kernel would walk both, pktlab does not.
pub(crate) fn one_variant(netfilter: &Netfilter, variant: Variant, word: &Word<'_>) -> Parsed<()> {
    match netfilter.tables().find(|table| table.variant != variant) {
        Some(_) => Err(word.unsupported("pktlab does not model iptables-legacy and iptables-nft in one namespace")),
        None => Ok(()),
    }
}

/// A command that was read.
pub(crate) struct Command<'w, 'a> {
    verb: Verb,
    /// The words of the command itself: the verb, a chain, a number, ...
    own: Vec<&'w Word<'a>>,
    /// All the others.
    rest: Vec<Word<'a>>,
    /// Where `-t` stands.
    pub(crate) table: Option<usize>,
    pub(crate) table_name: TableName,
    spec: Option<Spec>,
}

impl<'w, 'a> Command<'w, 'a> {
    /// Reads the words of a command and of the rule that it may carry.
    pub(crate) fn read(cut: &'w [Word<'a>], family: Family) -> Parsed<Command<'w, 'a>> {
        let is_verb =
            |word: &Word<'_>| VERBS.iter().find(|(short, long, _)| !word.quoted && (word.text == *short || word.text == *long));
        let Some(at) = cut.iter().position(|word| is_verb(word).is_some()) else {
            // Say what is wrong with the first word, where that is more than the verb's absence.
            return match cut.first() {
                Some(word) if !word.text.starts_with('-') => Err(word.problem(format!("Bad argument `{}'", word.text))),
                Some(word) => Err(word.problem("no command specified")),
                None => Err(at_end(cut, "no command specified")),
            };
        };
        let verb = is_verb(&cut[at]).map_or(Verb::List, |&(.., verb)| verb);
        let (least, most) = verb.operands();
        let mut own = vec![&cut[at]];
        let mut next = at + 1;
        while own.len() <= most && cut.get(next).is_some_and(|word| !word.text.starts_with('-') && word.text != "!") {
            let number = own.len() == 2 && matches!(verb, Verb::Insert | Verb::Delete);
            if number && !cut[next].text.bytes().all(|b| b.is_ascii_digit()) {
                break;
            }
            own.push(&cut[next]);
            next += 1;
        }
        if own.len() <= least {
            let name = &cut[at].text;
            return Err(cut[at].problem(format!("option \"{name}\" requires an argument")));
        }
        let mut command = Command { verb, own, rest: Vec::new(), table: None, table_name: TableName::Filter, spec: None };
        let mut i = 0;
        while i < cut.len() {
            if i == at {
                i = next;
                continue;
            }
            match &*cut[i].text {
                "-t" | "--table" if !cut[i].quoted => {
                    let name = cut.get(i + 1).ok_or_else(|| cut[i].problem("option \"-t\" requires an argument"))?;
                    command.table = Some(i);
                    let Some(table) = table_name(&name.text) else {
                        return Err(name.problem(format!("table `{}' does not exist", name.text)));
                    };
                    command.table_name = table;
                    i += 2;
                }
                _ => {
                    command.rest.push(cut[i].clone());
                    i += 1;
                }
            }
        }
        if verb.has_rule(command.own.len()) {
            command.spec = Some(parse::rule(&command.rest, 0, family)?);
        } else if let Some(word) = command.rest.iter().find(|word| !verb.takes(&word.text)) {
            return Err(match word.text.starts_with('-') {
                true => word.problem(format!("Illegal option `{}' with this command", word.text)),
                false => word.problem(format!("Bad argument `{}'", word.text)),
            });
        }
        Ok(command)
    }

    fn number(&self, at: usize, length: usize, message: &str) -> Parsed<usize> {
        let word = self.own[at];
        let number = word.text.parse::<usize>().ok().filter(|&n| n > 0);
        let number = number.ok_or_else(|| word.problem(format!("Invalid rule number `{}'", word.text)))?;
        if number > length { Err(word.problem(message)) } else { Ok(number - 1) }
    }

    /// Does it to a table.
    pub(crate) fn run(&self, draft: &mut Draft, counters: Option<Count>, origin: Origin) -> Parsed<()> {
        let chain = self.own.get(1).copied();
        match (self.verb, chain) {
            (Verb::NewChain, Some(word)) => draft.new_chain(word, origin.prov).map(|_| ()),
            (Verb::Append | Verb::Insert | Verb::Replace | Verb::Delete | Verb::Check, Some(word)) => {
                let slot = draft.slot(word)?;
                self.change_rules(draft, slot, counters, origin)
            }
            (Verb::Policy, Some(word)) => {
                let base =
                    draft.table.by_name.get(&*word.text).filter(|&&slot| (slot as usize) < base_chains(draft.table.name).len());
                let Some(&slot) = base else { return Err(word.problem("Bad built-in chain name.")) };
                draft.set_policy(slot, policy(self.own[2])?);
                Ok(())
            }
            (Verb::Rename, Some(word)) => self.rename(draft, word),
            (Verb::Flush, None) => {
                let slots: Vec<u32> = draft.table.in_order().collect();
                slots.into_iter().for_each(|slot| draft.flush(slot));
                Ok(())
            }
            (Verb::Flush, Some(word)) => {
                let slot = draft.slot(word)?;
                draft.flush(slot);
                Ok(())
            }
            (Verb::DeleteChain, Some(word)) => self.delete_chain(draft, word),
            (Verb::DeleteChain, None) => self.delete_chains(draft),
            (Verb::Zero, _) => self.zero(draft),
            (Verb::List | Verb::ListRules, _) | (_, None) => Ok(()),
        }
    }

    fn change_rules(&self, draft: &mut Draft, slot: u32, counters: Option<Count>, origin: Origin) -> Parsed<()> {
        let length = draft.table.chain(slot).rules.len();
        if self.verb == Verb::Delete && self.own.len() == 3 {
            let message = match draft.table.variant {
                Variant::Nft => "No chain/target/match by that name.",
                Variant::Legacy => "Index of deletion too big.",
            };
            let at = self.number(2, length, message)?;
            draft.remove(slot, at);
            return Ok(());
        }
        let Some(spec) = &self.spec else { return Ok(()) };
        let words = &self.rest;
        let place = match self.verb {
            Verb::Append => Where::Append,
            Verb::Insert if self.own.len() == 3 => Where::Insert(self.number(2, length + 1, "Index of insertion too big.")?),
            Verb::Insert => Where::Insert(0),
            Verb::Replace => {
                if spec.bases().count() > 1 {
                    return Err(self.own[0].problem("Replacement rule does not specify a unique address"));
                }
                Where::Replace(self.number(2, length, "Index of replacement too big.")?)
            }
            _ => {
                for base in spec.bases() {
                    let Some(at) = draft.find(slot, spec, &base, words)? else {
                        let word = self.own[0];
                        return Err(word.problem("Bad rule (does a matching rule exist in that chain?)."));
                    };
                    if self.verb == Verb::Delete {
                        draft.remove(slot, at);
                    }
                }
                return Ok(());
            }
        };
        draft.add(slot, place, spec, words, origin)?;
        if let Some(count) = counters {
            let at = match place {
                Where::Append => draft.table.chain(slot).rules.len() - 1,
                Where::Insert(at) | Where::Replace(at) => at,
            };
            draft.set_count(slot, at, count);
        }
        Ok(())
    }

    fn rename(&self, draft: &mut Draft, old: &Word<'_>) -> Parsed<()> {
        let slot = draft.slot(old)?;
        let new = self.own[2];
        if (slot as usize) < base_chains(draft.table.name).len() {
            return Err(old.problem("Bad built-in chain name."));
        }
        if draft.table.by_name.contains_key(&*new.text) {
            return Err(new.problem("Chain already exists."));
        }
        draft.rename(slot, &new.text);
        Ok(())
    }

    fn delete_chain(&self, draft: &mut Draft, word: &Word<'_>) -> Parsed<()> {
        let slot = draft.slot(word)?;
        let legacy = draft.table.variant == Variant::Legacy;
        let busy = |word: &Word<'_>, help: &str| {
            let message = if legacy {
                "Too many links.".to_owned()
            } else {
                format!("CHAIN_DEL failed (Device or resource busy): chain {}", word.text)
            };
            word.problem(message).help(help)
        };
        if (slot as usize) < base_chains(draft.table.name).len() {
            return Err(if legacy { word.problem("Invalid argument.") } else { busy(word, "a base chain stays") });
        }
        if !draft.table.chain(slot).rules.is_empty() {
            return Err(if legacy { word.problem("Directory not empty.") } else { busy(word, "flush the chain first") });
        }
        if draft.is_referenced(slot) {
            return Err(busy(word, "a rule still jumps to it"));
        }
        draft.delete_chain(slot);
        Ok(())
    }

    /// `-X`: all chains of one's own; each must be empty and unused.
    fn delete_chains(&self, draft: &mut Draft) -> Parsed<()> {
        let base = base_chains(draft.table.name).len() as u32;
        let slots: Vec<u32> = draft.table.in_order().filter(|&slot| slot >= base).collect();
        for slot in slots {
            let name = draft.table.chain(slot).name.to_string();
            let word = Word { text: name.into(), ..self.own[0].clone() };
            self.delete_chain(draft, &word)?;
        }
        Ok(())
    }

    fn zero(&self, draft: &mut Draft) -> Parsed<()> {
        let Some(word) = self.own.get(1) else {
            for chain in &mut draft.counts.chains {
                chain.policy = (0, 0);
                chain.rules.fill((0, 0));
            }
            return Ok(());
        };
        let slot = draft.slot(word)? as usize;
        let length = draft.counts.chains[slot].rules.len();
        if self.own.len() == 3 {
            let at = self.number(2, length, "Index of deletion too big.")?;
            draft.counts.chains[slot].rules[at] = (0, 0);
        } else {
            draft.counts.chains[slot].policy = (0, 0);
            draft.counts.chains[slot].rules.fill((0, 0));
        }
        Ok(())
    }
}

impl Verb {
    /// How many words it takes at least and at most, besides itself and the rule.
    fn operands(self) -> (usize, usize) {
        match self {
            Verb::Append | Verb::Check | Verb::NewChain => (1, 1),
            Verb::Insert | Verb::Delete => (1, 2),
            Verb::Replace | Verb::Policy | Verb::Rename => (2, 2),
            Verb::DeleteChain | Verb::Flush => (0, 1),
            Verb::Zero | Verb::List | Verb::ListRules => (0, 2),
        }
    }

    fn has_rule(self, own: usize) -> bool {
        match self {
            Verb::Append | Verb::Insert | Verb::Replace | Verb::Check => true,
            Verb::Delete => own < 3,
            _ => false,
        }
    }

    /// Options beside it that are not a rule's.
    fn takes(self, option: &str) -> bool {
        match option {
            "-w" | "--wait" | "-4" | "-6" | "--ipv4" | "--ipv6" => true,
            "-v" | "--verbose" | "-n" | "--numeric" | "-x" | "--exact" | "--line-numbers" | "-nv" | "-vn" => {
                matches!(self, Verb::List | Verb::ListRules | Verb::Zero)
            }
            _ => option.bytes().all(|b| b.is_ascii_digit()) && !option.is_empty(),
        }
    }
}

/// See [`crate::netfilter::iptables()`].
pub(crate) fn run(ns: &mut Netns, family: Family, variant: Variant, line: &str, prov: ProvId) -> Result<String, RestoreError> {
    let mut cut = Vec::new();
    let refuse = |problem: Box<super::lex::Problem>| refused(*problem, 1);
    words(line, 0, true, &mut cut).map_err(refuse)?;
    let cut = bundled(cut);
    let command = Command::read(&cut, family).map_err(refuse)?;
    let netfilter = ns.netfilter.get_mut(family);
    one_variant(netfilter, variant, command.own[0]).map_err(refuse)?;
    let mut draft = Draft::open(netfilter, command.table_name, family, variant);
    if let Verb::List | Verb::ListRules = command.verb {
        let slot = command.own.get(1).map(|word| draft.slot(word)).transpose().map_err(refuse)?;
        if command.verb == Verb::List {
            let word = command.own[0];
            return Err(refuse(
                word.unsupported("pktlab does not print iptables -L").help("use -S, or iptables-save -c for counters"),
            ));
        }
        return Ok(save::list_rules(&draft.table, slot));
    }
    command.run(&mut draft, None, Origin { prov, line: 1 }).map_err(refuse)?;
    if command.verb == Verb::Check {
        return Ok(String::new());
    }
    draft.check().map_err(|refusal| RestoreError {
        message: refusal.message,
        line: 1,
        column: refusal.place.1,
        len: refusal.len,
        help: refusal.help,
        unsupported: false,
    })?;
    netfilter.install(draft);
    Ok(String::new())
}

/// `-nvL` is `-n -v -L`.
fn bundled(cut: Vec<Word<'_>>) -> Vec<Word<'_>> {
    let mut out = Vec::with_capacity(cut.len());
    for word in cut {
        let flags = word
            .text
            .strip_prefix('-')
            .filter(|flags| flags.len() > 1 && !word.quoted && flags.bytes().all(|b| b"nvxLSZ".contains(&b)));
        match flags {
            None => out.push(word),
            Some(flags) => {
                let all: Vec<String> = flags.chars().map(|flag| format!("-{flag}")).collect();
                out.extend(all.into_iter().map(|text| Word { text: text.into(), ..word.clone() }));
            }
        }
    }
    out
}

/// See [`crate::netfilter::check_arguments`].
pub(crate) fn check(family: Family, line: &str) -> Result<(), RestoreError> {
    let mut cut = Vec::new();
    words(line, 0, true, &mut cut).map_err(|problem| refused(*problem, 1))?;
    let cut = bundled(cut);
    if cut.first().is_some_and(|word| word.text.starts_with(['*', ':', '#'])) || line.trim() == "COMMIT" || cut.is_empty() {
        return Ok(());
    }
    let from = usize::from(cut[0].text.starts_with('['));
    Command::read(&cut[from..], family).map(|_| ()).map_err(|problem| refused(*problem, 1))
}
