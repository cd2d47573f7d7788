//! `iptables-restore`: tables out of a dump.

use super::draft::{Draft, Origin, policy, refused};
use super::edit;
use super::lex::{Parsed, Word, words};
use super::parse::at_end;
use crate::addr::Family;
use crate::command::Stdin;
use crate::netfilter::ruleset::{Count, base_chains};
use crate::netfilter::{Netfilter, RestoreError, RestoreOptions, TableName, Variant};
use crate::netns::Netns;
use crate::provenance::ProvId;

/// Reads a dump; see [`crate::netfilter::restore`].
pub(crate) fn restore(ns: &mut Netns, family: Family, input: &Stdin, options: RestoreOptions) -> Result<(), RestoreError> {
    let drafts = read(ns.netfilter.get(family), family, input, options)?;
    if !options.test {
        let netfilter = ns.netfilter.get_mut(family);
        drafts.into_iter().for_each(|draft| netfilter.install(draft));
    }
    Ok(())
}

/// Who wrote a line (from 1).
fn prov_at(provs: &[(u32, ProvId)], line: u32, cursor: &mut usize) -> ProvId {
    while provs.get(*cursor).is_some_and(|&(from, _)| from < line) {
        *cursor += 1;
    }
    match *cursor {
        0 => ProvId::default(),
        n => provs[n - 1].1,
    }
}

fn read(netfilter: &Netfilter, family: Family, input: &Stdin, options: RestoreOptions) -> Result<Vec<Draft>, RestoreError> {
    let mut done: Vec<Draft> = Vec::new();
    let mut open: Option<Draft> = None;
    let (mut number, mut cursor) = (0, 0);
    let mut cut: Vec<Word<'_>> = Vec::new();
    let mut lines = input.text.split('\n').peekable();
    while let Some(line) = lines.next() {
        number += 1;
        // What follows the last newline is no line; the legacy tool also wants one behind COMMIT.
        let last = lines.peek().is_none();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        cut.clear();
        words(line, 0, false, &mut cut).map_err(|problem| refused(*problem, number))?;
        let origin = Origin { prov: prov_at(&input.provs, number, &mut cursor), line: number };
        match &mut open {
            Some(draft) if line == "COMMIT" && !(last && options.variant == Variant::Legacy) => {
                check(draft)?;
                done.extend(open.take());
            }
            Some(draft) => statement(draft, line, &cut, options, origin).map_err(|problem| refused(*problem, number))?,
            None if line.starts_with('*') => {
                let draft = begin(netfilter, &mut done, family, &cut[0], options);
                open = Some(draft.map_err(|problem| refused(*problem, number))?);
            }
            None => {
                let problem = match cut.first() {
                    Some(word) => word.problem(format!("line {number} failed")),
                    None => at_end(&[], format!("line {number} failed")),
                };
                return Err(refused(*problem.help("a table begins with a line such as *filter"), number));
            }
        }
    }
    if open.is_some() {
        let problem = at_end(&[], format!("COMMIT expected at line {}", number + 1));
        return Err(refused(*problem.help("end each table with a line COMMIT"), number + 1));
    }
    Ok(done)
}

fn check(draft: &mut Draft) -> Result<(), RestoreError> {
    draft.check().map_err(|refusal| RestoreError {
        message: format!("line {}: {}", refusal.place.0, refusal.message),
        line: refusal.place.0,
        column: refusal.place.1,
        len: refusal.len,
        help: refusal.help,
        unsupported: false,
    })
}

/// `*filter`.
fn begin(netfilter: &Netfilter, done: &mut Vec<Draft>, family: Family, word: &Word<'_>, options: RestoreOptions) -> Parsed<Draft> {
    let name = &word.text[1..];
    let table = edit::table_name(name).ok_or_else(|| word.problem(format!("table name '{name}' invalid")))?;
    edit::one_variant(netfilter, options.variant, word)?;
    // A dump may come back to a table.
    let earlier = done.iter().position(|draft| draft.table.name == table).map(|at| done.remove(at));
    if options.noflush {
        return Ok(earlier.unwrap_or_else(|| Draft::open(netfilter, table, family, options.variant)));
    }
    let mut draft = Draft::empty(table, family, options.variant);
    if options.variant == Variant::Legacy {
        keep_policies(netfilter, &mut draft, table);
    }
    Ok(draft)
}

/// The legacy tool keeps the policies that a dump does not name; the nft one makes the table anew.
fn keep_policies(netfilter: &Netfilter, draft: &mut Draft, table: TableName) {
    let Some(old) = netfilter.table(table) else { return };
    for slot in 0..base_chains(table).len() as u32 {
        if let Some(policy) = old.chain(slot).policy {
            draft.set_policy(slot, policy);
            draft.counts.chains[slot as usize].policy = netfilter.counts[table as usize].chains[slot as usize].policy;
        }
    }
}

fn statement(draft: &mut Draft, line: &str, cut: &[Word<'_>], options: RestoreOptions, origin: Origin) -> Parsed<()> {
    if line.starts_with(':') {
        return chain(draft, cut, options, origin);
    }
    let (counters, rest) = match cut.first() {
        Some(first) if first.text.starts_with('[') && !first.text.ends_with(']') => {
            return Err(first.problem(format!("Bad line {}: need ]", origin.line)));
        }
        Some(first) if first.text.starts_with('[') => (Some(counters(first)?), &cut[1..]),
        _ => (None, cut),
    };
    let command = edit::Command::read(rest, draft.table.family)?;
    if let Some(word) = command.table {
        return Err(rest[word].problem("The -t option cannot be used in iptables-restore."));
    }
    let counters = counters.filter(|_| options.counters);
    command.run(draft, counters, origin)
}

/// `:CHAIN POLICY [packets:bytes]`.
fn chain(draft: &mut Draft, cut: &[Word<'_>], options: RestoreOptions, origin: Origin) -> Parsed<()> {
    let name =
        Word { text: cut[0].text[1..].to_owned().into(), at: cut[0].at + 1, len: cut[0].len.saturating_sub(1), quoted: false };
    let Some(second) = cut.get(1) else { return Err(at_end(cut, "line failed: Bad policy name.").help("write `:NAME - [0:0]`")) };
    // The tools read these only where they are asked to.
    let count = cut.get(2).filter(|_| options.counters).map(counters).transpose()?;
    let known = draft.table.by_name.get(&*name.text).copied();
    if let Some(slot) = known.filter(|&slot| (slot as usize) < base_chains(draft.table.name).len()) {
        if second.text != "-" {
            draft.set_policy(slot, policy(second)?);
        }
        if let Some(count) = count {
            draft.counts.chains[slot as usize].policy = count;
        }
        return Ok(());
    }
    if second.text != "-" && draft.table.variant == Variant::Legacy {
        let message =
            format!("Can't set policy `{}' on `{}' line {}: Bad built-in chain name", second.text, name.text, origin.line);
        return Err(second.problem(message).help("a chain of one's own has no policy: write -"));
    }
    if second.text != "-" {
        policy(second)?;
    }
    match known {
        Some(slot) => draft.flush(slot),
        None => {
            draft.declare(&name, origin.prov)?;
        }
    }
    Ok(())
}

/// `[packets:bytes]`.
fn counters(word: &Word<'_>) -> Parsed<Count> {
    let inner = word.text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let pair = inner.and_then(|text| text.split_once(':')).and_then(|(p, b)| Some((p.parse().ok()?, b.parse().ok()?)));
    pair.ok_or_else(|| word.problem("invalid counters").help("write [packets:bytes], such as [0:0]"))
}
