//! Rules as nft 1.0.6 lists them: `rules.txt` holds what the real tool was given and what it printed.

use sim_core::SimTime;

use super::*;

/// What the rules of the list may name.
const AROUND: &str = "
    counter cn { packets 5 bytes 10
    }
    counter cm { }
    quota q1 { over 100 mbytes }
    set s1 { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }
    }
    set s4 { type ipv4_addr; flags dynamic,timeout; timeout 3h; size 100; }
    map m2 { type ipv4_addr . inet_proto . inet_service : verdict; }
    map m4 { type ipv4_addr : ipv4_addr; flags interval; elements = { 10.0.0.0/24 : 10.1.0.1 }
    }
    chain c1 { }
    chain c2 { }
";

fn load(ns: &mut Netns, text: &str) -> Result<String, RestoreError> {
    run(ns, SimTime::ZERO, text, &[], NftOptions::default())
}

/// The namespace, family and table of a section of the list: `ip filter forward`.
fn section(title: &str) -> (Netns, String) {
    let words: Vec<&str> = title.split(' ').collect();
    let mut ns = Netns::new("test");
    let base = format!("chain f {{ type {} hook {} priority 0; policy accept; }}\n", words[1], words[2]);
    load(&mut ns, &format!("table {} t {{\n{AROUND}{base}}}\n", words[0])).expect("the rules around are right");
    (ns, words[0].to_owned())
}

/// The rules of the chain that is tested.
fn listed(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines[3..lines.len() - 2].join("|")
}

#[test]
fn rules_are_listed_as_nft_lists_them() {
    let mut wrong = Vec::new();
    let mut at = section("ip filter forward");
    for line in include_str!("tests/rules.txt").lines() {
        if let Some(title) = line.strip_prefix("# ") {
            at = section(title);
            continue;
        }
        let (rule, expected) = line.split_once("  =>  ").unwrap_or((line, line));
        let (ns, family) = &mut at;
        let done = load(ns, &format!("flush chain {family} t f\nadd rule {family} t f {rule}\nlist chain {family} t f\n"));
        let found = match done {
            Ok(text) => listed(&text),
            Err(error) => format!("column {}: {}", error.column, error.message),
        };
        if found != expected {
            wrong.push(format!("  {rule}\n    nft    {expected}\n    pktlab {found}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_not_modelled_is_refused_with_its_place() {
    let (mut ns, _) = section("inet filter forward");
    for rule in include_str!("tests/unsupported.txt").lines() {
        let error = load(&mut ns, &format!("add rule inet t f {rule}")).expect_err(rule);
        assert!(error.unsupported && error.line == 1 && error.column >= 19, "{rule}: {error:?}");
    }
}

/// The error of an input: line, column, message.
fn error(input: &str) -> (u32, u32, String) {
    let mut ns = Netns::new("test");
    let error = load(&mut ns, input).expect_err(input);
    assert_eq!(ns.nft.list(SimTime::ZERO), "", "an input that is wrong changes nothing");
    (error.line, error.column, error.message)
}

#[test]
fn a_mistake_is_told_in_the_words_of_nft() {
    let rows = [
        (
            "table ip t {\n chain c { type filter hook input priority 0; ip6 saddr ::1; }\n}",
            2,
            47,
            "conflicting protocols specified: ip vs. ip6",
        ),
        (
            "table ip t {\n chain c { type nat hook prerouting priority 0; dnat to 10.0.0.1:80; }\n}",
            2,
            66,
            "transport protocol mapping is only valid after transport protocol match",
        ),
        (
            "table inet t {\n chain c { type nat hook prerouting priority 0; dnat to 10.0.0.1; }\n}",
            2,
            49,
            "ip or ip6 must be specified with address for inet tables.",
        ),
        ("table ip t {\n chain c { meta nfproto ipv4 accept; }\n}", 2, 12, "meta nfproto is only useful in the inet family"),
        (
            "table ip t {\n chain c { type filter hook input priority dstnat; }\n}",
            2,
            35,
            "invalid priority expression value in this context.",
        ),
        ("table ip t {\n chain c { jump d; }\n}", 2, 17, "Could not process rule: No such file or directory"),
        ("table ip t {\n chain c { reject with icmpx type no-route; }\n}", 2, 35, "abstracted ICMP unreachable not supported"),
        ("add rule ip t c accept", 1, 13, "Could not process rule: No such file or directory"),
        (
            "table ip t {\n chain c { jump c; }\n chain b { type filter hook input priority 0; jump c; }\n}",
            3,
            47,
            "Could not process rule: Too many links",
        ),
        (
            "table ip t {\n chain b { type filter hook input priority 0; masquerade; }\n}",
            2,
            47,
            "Could not process rule: Operation not supported",
        ),
        ("table ip t {\n chain b { ip saddr @nobody; }\n}", 2, 21, "No such file or directory"),
        ("table ip t {\n chain b { accept }\n}", 2, 19, "syntax error, unexpected '}', expecting newline or semicolon"),
        ("table ip t {\n chain b { tcp dport 80 $x; }\n}", 2, 26, "unknown identifier 'x'"),
    ];
    for (input, line, column, message) in rows {
        assert_eq!(error(input), (line, column, message.to_owned()), "{input}");
    }
}

#[test]
fn no_input_brings_it_down() {
    let deep = format!("table ip t {{\n chain c {{ meta mark {} 1 }}\n}}", "(".repeat(10_000));
    let rows = [
        deep.as_str(),
        "table ip t {\n chain c { type filter hook prerouting priority dstnat-2147483647; }\n}",
        "table ip t {\n set s { type ipv4_addr; timeout 99999999w; }\n}",
        "table ip t {\n chain c { numgen inc mod 0 1; }\n}",
        "table ip t {\n chain c { ip daddr map {",
        "table ip t {\n chain c { tcp dport vmap { 80 : ",
        "table ip t {\n set s { elements = {",
        "define x = $x\n",
        "\"",
        "{}}}{",
        "add element ip t s { 1",
        "table ip t { chain \u{e9} { } }",
    ];
    for input in rows {
        error(input);
    }
    let counts = "table ip t {\n counter c { packets 18446744073709551615 bytes 18446744073709551615\n }\n}";
    load(&mut Netns::new("test"), counts).expect("the largest counts are counts");
}
