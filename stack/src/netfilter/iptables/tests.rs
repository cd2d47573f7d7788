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
    let rules: Vec<&str> = saved.lines().filter(|line| line.starts_with("-A")).collect();
    Ok(rules.join("\n"))
}

fn everything() -> impl Iterator<Item = (Family, &'static (&'static str, &'static str, &'static str))> {
    let v4 = corpus::RULES.iter().chain(corpus::MORE).map(|row| (Family::V4, row));
    v4.chain(corpus::V6.iter().map(|row| (Family::V6, row)))
}

#[test]
fn every_rule_is_printed_as_iptables_save_prints_it() {
    let mut wrong = Vec::new();
    for (family, (table, typed, saved)) in everything() {
        for variant in [Variant::Nft, Variant::Legacy] {
            match one(family, variant, table, typed) {
                Ok(got) if got == *saved => {}
                got => wrong.push(format!("typed    {typed}\nexpected {saved}\ngot      {got:?}\n")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_was_saved_is_read_back_unchanged() {
    for (family, (table, _, saved)) in everything() {
        assert_eq!(one(family, Variant::Nft, table, saved).as_deref(), Ok(*saved));
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

/// Runs a tool in a fresh namespace of the machine; none where this machine cannot.
fn real(family: Family, variant: &str, dump: &str) -> Option<String> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let tool = if family == Family::V4 { "iptables" } else { "ip6tables" };
    let script = format!("{tool}-{variant}-restore && {tool}-{variant}-save");
    // An unnamed namespace: gone with the process, whatever happens.
    let mut child = Command::new("unshare")
        .args(["--net", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(dump.as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_real_tool_reads_what_was_printed_and_prints_the_same() {
    if real(Family::V4, "nft", "*filter\nCOMMIT\n").is_none() {
        eprintln!("SKIPPED: needs root, unshare and iptables-nft");
        return;
    }
    for family in Family::BOTH {
        for table in ["raw", "mangle", "nat", "filter"] {
            let rules = everything().filter(|(of, row)| *of == family && row.0 == table).map(|(_, row)| row.2);
            let dump = format!("*{table}\n:A - [0:0]\n:KUBE-A - [0:0]\n{}\nCOMMIT\n", rules.collect::<Vec<_>>().join("\n"));
            let mut ns = Netns::new("test");
            netfilter::restore(&mut ns, family, &stdin(&dump), RestoreOptions::default()).expect("the corpus is right");
            let ours = ns.netfilter.get(family).save(None, false);
            let theirs = real(family, "nft", &ours).expect("the real tool reads what we print");
            let theirs: String = theirs.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
            assert_eq!(ours, theirs);
        }
    }
}
