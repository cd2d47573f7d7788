//! Walks of TCP segments, compared with what a router with Linux 6.18 made of the same segments.
//!
//! `walks.txt`: a walk is its name (and the sysctls `nf_conntrack_tcp_*` that it needs), then one line a segment:
//! `> FLAGS SEQ ACK [win=] [len=] [opt=] = CTSTATE | STATE TIMEOUT FLAGS`, `<` for the reply direction, `-` for no entry.

use sim_core::SimTime;

use crate::conntrack::tests::{Router, Tcp, tcp};
use crate::skb::Ct;
use crate::trace::CtInfo;

const WALKS: &str = include_str!("walks.txt");

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}

fn segment(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let options = value("opt").map(hex).unwrap_or_default();
    let rest = Tcp {
        flags: words[1],
        seq: words[2].parse().expect("a number"),
        ack: words[3].parse().expect("a number"),
        window: value("win").map_or(1000, |win| win.parse().expect("a number")),
        options: &options,
        len: value("len").map_or(0, |len| len.parse().expect("a number")),
    };
    match words[0] {
        ">" => tcp("10.0.1.2", 2000, "10.0.2.2", 80, rest),
        _ => tcp("10.0.2.2", 80, "10.0.1.2", 2000, rest),
    }
}

fn walk(block: &str) -> String {
    let mut lines = block.lines();
    let title = lines.next().expect("a walk has a name");
    let mut router = Router::new();
    for word in title.split_whitespace() {
        let sysctls = &mut router.netns().sysctls.ct;
        match word {
            "loose=0" => sysctls.tcp_loose = false,
            "be_liberal=1" => sysctls.tcp_be_liberal = true,
            "ignore_invalid_rst=1" => sysctls.tcp_ignore_invalid_rst = true,
            _ => {}
        }
    }
    let mut out = title.to_owned();
    for line in lines {
        let sent = line.split(" = ").next().expect("split yields one");
        let state = match router.forward(&segment(sent), &[]).map(|walked| walked.ct) {
            Err(_) => "DROP",
            Ok(Ct::Entry(_, CtInfo::New)) => "NEW",
            Ok(Ct::Entry(_, CtInfo::Related | CtInfo::RelatedReply)) => "RELATED",
            Ok(Ct::Entry(..)) => "ESTABLISHED",
            Ok(_) => "INVALID",
        };
        router.wait(SimTime::from_millis(20));
        let now = router.now();
        let entry = match router.netns().conntrack.list(now).first() {
            None => "-".to_owned(),
            Some(view) => format!(
                "{} {}{}{}",
                view.state.expect("TCP has a state"),
                view.timeout,
                if view.unreplied { " UNREPLIED" } else { "" },
                if view.assured { " ASSURED" } else { "" }
            ),
        };
        out.push_str(&format!("\n{sent} = {state} | {entry}"));
    }
    out
}

#[test]
fn every_walk_ends_as_on_linux() {
    let blocks: Vec<&str> = WALKS.trim_end().split("\n\n").collect();
    assert!(blocks.len() > 50);
    let got: Vec<String> = blocks.iter().map(|block| walk(block)).collect();
    let different: Vec<String> = blocks
        .iter()
        .zip(&got)
        .filter(|(want, got)| *want != got)
        .map(|(want, got)| format!("LINUX {want}\nGOT   {got}"))
        .collect();
    assert!(different.is_empty(), "{} of {}:\n{}", different.len(), blocks.len(), different.join("\n\n"));
}
