//! What the dialect reads, prints and refuses. The expectations were recorded from iptables 1.8.9.

mod corpus;

use std::sync::Arc;

use crate::addr::Family;
use crate::command::Stdin;
use crate::netfilter::{self, RestoreError, RestoreOptions, TableName, Variant};
use crate::netns::Netns;
use crate::provenance::ProvId;

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
