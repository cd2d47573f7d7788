//! What the dialect reads, prints and refuses. The expectations were recorded from iptables 1.8.9.

mod corpus;
mod refused;

use std::sync::Arc;

use crate::addr::Family;
use crate::command::Stdin;
use crate::netfilter::{self, RestoreError, RestoreOptions, Variant};
use crate::netns::Netns;

fn stdin(text: &str) -> Stdin {
    Stdin { text: text.into(), provs: Arc::new([]) }
}

fn load(ns: &mut Netns, text: &str, noflush: bool) -> Result<(), RestoreError> {
    let options = RestoreOptions { noflush, counters: true, ..RestoreOptions::default() };
    netfilter::restore(ns, Family::V4, &stdin(text), options)
}

/// What becomes of one command in a table that has the chains A and KUBE-A.
fn one(family: Family, variant: Variant, table: &str, line: &str) -> Result<String, RestoreError> {
    let mut ns = Netns::new("test");
    let text = format!("*{table}\n:A - [0:0]\n:KUBE-A - [0:0]\n{line}\nCOMMIT\n");
    netfilter::restore(&mut ns, family, &stdin(&text), RestoreOptions { variant, ..RestoreOptions::default() })?;
    let saved = ns.netfilter.get(family).save(None, false);
    Ok(saved.lines().find(|line| line.starts_with("-A")).unwrap_or_default().to_owned())
}

#[test]
fn every_rule_is_printed_as_iptables_save_prints_it() {
    let mut wrong = Vec::new();
    for (table, typed, saved) in corpus::RULES {
        for variant in [Variant::Nft, Variant::Legacy] {
            match one(Family::V4, variant, table, typed) {
                Ok(got) if got == *saved => {}
                got => wrong.push(format!("typed    {typed}\nexpected {saved}\ngot      {got:?}\n")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_was_saved_is_read_back_unchanged() {
    for (table, _, saved) in corpus::RULES {
        assert_eq!(one(Family::V4, Variant::Nft, table, saved).as_deref(), Ok(*saved));
    }
}

#[test]
fn what_the_real_tool_refuses_is_refused_in_its_words_and_at_its_place() {
    let mut wrong = Vec::new();
    for (table, line, message) in refused::LINES {
        let mut ns = Netns::new("test");
        load(&mut ns, "*filter\n:A - [0:0]\n-A A -j ACCEPT\nCOMMIT\n", false).expect("the start is right");
        let before = ns.netfilter.v4.save(None, true);
        match load(&mut ns, &format!("*{table}\n{line}\nCOMMIT\n"), true) {
            Err(error) if error.message.contains(message) && error.line == 2 && error.column >= 1 && !error.unsupported => {
                let (from, len) = (error.column as usize - 1, error.len as usize);
                assert!(from + len <= line.len() + 1, "{line}: the place {from}+{len} is not in the line");
            }
            got => wrong.push(format!("line     {line}\nexpected {message}\ngot      {got:?}\n")),
        }
        assert_eq!(ns.netfilter.v4.save(None, true), before, "nothing changes");
        // The chain A is empty there, and -X takes it.
        if *line != "-X A"
            && !matches!(one(Family::V4, Variant::Legacy, table, line), Err(error) if !error.unsupported)
            && !line.starts_with("-N")
        {
            wrong.push(format!("line     {line}\nthe legacy back end took it"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
