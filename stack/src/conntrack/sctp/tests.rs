//! Walks of SCTP packets, compared with what a router with Linux 6.18 made of the same packets.
//!
//! `walks.txt` is as that of TCP: `> TAG CHUNK... = CTSTATE | STATE TIMEOUT FLAGS`; `INIT:n` carries the initiate tag n, `+T` sets T.

use sim_core::SimTime;

use crate::conntrack::tests::{Router, ip};
use crate::skb::Ct;
use crate::trace::CtInfo;
use crate::view::proto;

const WALKS: &str = include_str!("walks.txt");

fn chunk(word: &str) -> Vec<u8> {
    let (word, tag) = word.split_once(':').unwrap_or((word, "0"));
    let flags = u8::from(word.ends_with("+T"));
    let kind = match word.trim_end_matches("+T") {
        "DATA" => 0,
        "INIT" => 1,
        "INITACK" => 2,
        "SACK" => 3,
        "HB" => 4,
        "HBACK" => 5,
        "ABORT" => 6,
        "SHUT" => 7,
        "SHUTACK" => 8,
        "ERR" => 9,
        "ECHO" => 10,
        "CACK" => 11,
        "COMP" => 14,
        _ => panic!("{word}"),
    };
    let length: usize = match kind {
        0..=3 => 20,
        _ => 8,
    };
    let mut chunk = vec![kind, flags, 0, length as u8];
    chunk.resize(length, 1);
    if matches!(kind, 1 | 2) {
        chunk[4..8].copy_from_slice(&tag.parse::<u32>().expect("a tag").to_be_bytes());
    }
    chunk
}

fn packet(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let there = words[0] == ">";
    let (sport, dport) = if there { (2000u16, 80u16) } else { (80, 2000) };
    let mut l4 = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    l4.extend(words[1].parse::<u32>().expect("a tag").to_be_bytes());
    l4.extend([0; 4]);
    l4.extend(words[2..].iter().flat_map(|word| chunk(word)));
    match there {
        true => ip("10.0.1.2", "10.0.2.2", proto::SCTP, l4),
        false => ip("10.0.2.2", "10.0.1.2", proto::SCTP, l4),
    }
}

fn walk(block: &str) -> String {
    let mut lines = block.lines();
    let mut out = lines.next().expect("a walk has a name").to_owned();
    let mut router = Router::new();
    for line in lines {
        let sent = line.split(" = ").next().expect("split yields one");
        let state = match router.forward(&packet(sent), &[]).map(|walked| walked.ct) {
            Err(_) => "DROP",
            Ok(Ct::Entry(_, CtInfo::New)) => "NEW",
            Ok(Ct::Entry(..)) => "ESTABLISHED",
            Ok(_) => "INVALID",
        };
        router.wait(SimTime::from_millis(20));
        let now = router.now();
        let entry = match router.netns().conntrack.list(now).first() {
            None => "-".to_owned(),
            Some(view) => {
                let flags = if view.unreplied { " UNREPLIED" } else { "" };
                let assured = if view.assured { " ASSURED" } else { "" };
                format!("{} {}{flags}{assured}", view.state.expect("SCTP has a state"), view.timeout)
            }
        };
        out.push_str(&format!("\n{sent} = {state} | {entry}"));
    }
    out
}

#[test]
fn every_walk_ends_as_on_linux() {
    let blocks: Vec<&str> = WALKS.trim_end().split("\n\n").collect();
    assert!(blocks.len() >= 20);
    let got: Vec<String> = blocks.iter().map(|block| walk(block)).collect();
    let different: Vec<String> = blocks
        .iter()
        .zip(&got)
        .filter(|(want, got)| *want != got)
        .map(|(want, got)| format!("LINUX {want}\nGOT   {got}"))
        .collect();
    assert!(different.is_empty(), "{} of {}:\n{}", different.len(), blocks.len(), different.join("\n\n"));
}
