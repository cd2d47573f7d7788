//! nft is the judge: what pktlab lists of a rule set is what nft 1.0.6 lists of it.
//!
//! Needs root, `ip` and `nft` 1.0.6. Without them the tests say so and pass, unless `PKTLAB_REQUIRE_KERNEL=1`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command as Process, Stdio};

use sim_core::{NodeId, TraceMode};
use stack::Network;
use stack::command::{Command, Stdin};
use stack::provenance::ProvId;

/// A namespace of the kernel that goes with its owner.
struct Real(String);

impl Real {
    /// None where there is no nft to ask.
    fn new(name: &str) -> Option<Real> {
        let version = Process::new("nft").arg("--version").output().ok();
        let right = version.is_some_and(|out| String::from_utf8_lossy(&out.stdout).contains("v1.0.6"));
        let name = format!("pktlab-nft-{name}");
        let made = right
            && Process::new("ip").args(["netns", "add", &name]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !made {
            assert!(std::env::var("PKTLAB_REQUIRE_KERNEL").as_deref() != Ok("1"), "no root, or no nft 1.0.6");
            eprintln!("SKIPPED {name}: no root, or no nft 1.0.6 (PKTLAB_REQUIRE_KERNEL=1 makes this a failure)");
            return None;
        }
        Some(Real(name))
    }

    fn nft(&self, args: &[&str], input: &str) -> String {
        let mut child = Process::new("ip")
            .args(["netns", "exec", &self.0, "nft"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ip was there a moment ago");
        child.stdin.take().expect("it was asked for").write_all(input.as_bytes()).expect("nft reads all of it");
        let out = child.wait_with_output().expect("it was started");
        assert!(out.status.success(), "nft {args:?}\n{input}\n{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("nft prints text")
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = Process::new("ip").args(["netns", "del", &self.0]).status();
    }
}

struct Ours(Network, NodeId);

impl Ours {
    fn new() -> Ours {
        let mut network = Network::new(1, TraceMode::Off);
        let node = network.add_netns("a").expect("a new name");
        Ours(network, node)
    }

    fn nft(&mut self, line: &str, input: Option<&str>) -> String {
        let command = match input {
            None => line.parse(),
            Some(text) => Command::with_stdin(line, Stdin { text: text.into(), provs: [].into() }),
        };
        let command = command.unwrap_or_else(|error| panic!("{line}: {error}"));
        self.0.apply(self.1, &command, ProvId::default()).unwrap_or_else(|error| panic!("{line}: {:?} {error}", error.place))
    }
}

fn same(what: &str, real: &str, ours: &str) {
    assert!(real == ours, "{what}\n--- nft\n{real}\n--- pktlab\n{ours}");
}

#[test]
fn rule_sets_are_listed_as_nft_lists_them() {
    let Some(real) = Real::new("list") else { return };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/nftables");
    for file in ["sets.nft", "kube-proxy.nft", "edge.nft"] {
        let text = std::fs::read_to_string(folder.join(file)).expect(file);
        let mut ours = Ours::new();
        real.nft(&["-f", "-"], &format!("flush ruleset\n{text}"));
        ours.nft("nft -f -", Some(&text));
        let listed = ours.nft("nft list ruleset", None);
        same(file, &real.nft(&["list", "ruleset"], ""), &listed);
        // Handles count alike: they name rules in what is typed later. Those of tables count over all that ever was.
        let inside = |text: &str| text.lines().filter(|line| line.starts_with('\t')).collect::<Vec<_>>().join("\n");
        same(file, &inside(&real.nft(&["-a", "list", "ruleset"], "")), &inside(&ours.nft("nft -a list ruleset", None)));
        // What was listed can be read again.
        real.nft(&["-f", "-"], &format!("flush ruleset\n{listed}"));
        let mut again = Ours::new();
        again.nft("nft -f -", Some(&listed));
        same(file, &real.nft(&["list", "ruleset"], ""), &again.nft("nft list ruleset", None));
    }
}

#[test]
fn what_is_typed_changes_a_rule_set_as_nft_does() {
    let Some(real) = Real::new("edit") else { return };
    let mut ours = Ours::new();
    for line in [
        "add table inet f",
        "add chain inet f in { type filter hook input priority 0 ; policy drop ; }",
        "add chain inet f web",
        "add rule inet f in ct state established,related accept",
        "add rule inet f in tcp dport 22 accept",
        "insert rule inet f in iifname lo accept",
        "add rule inet f in tcp dport { 80, 443 } jump web",
        "add rule inet f in index 0 counter packets 3 bytes 4",
        "replace rule inet f in handle 4 tcp dport 2222 accept",
        "delete rule inet f in handle 3",
        "add set inet f block { type ipv4_addr ; flags interval ; }",
        "add element inet f block { 10.0.0.0/8, 192.168.0.1 }",
        "add map inet f ports { type inet_service : verdict ; }",
        "add chain inet f other",
        "add element inet f ports { 80 : accept, 81 : jump other }",
        "add rule inet f web ip saddr @block drop",
        "add rule inet f web tcp dport vmap @ports",
        "delete element inet f block { 192.168.0.1 }",
        "delete element inet f ports { 80 }",
        "add counter inet f seen",
        "add rule inet f web counter name seen",
        "add chain inet f in { policy accept ; }",
        "flush chain inet f web",
        "delete map inet f ports",
        "delete chain inet f web",
    ] {
        // The last one is refused by both: a rule still leads there.
        if line == "delete chain inet f web" {
            real.nft(&["flush", "chain", "inet", "f", "in"], "");
            ours.nft("nft flush chain inet f in", None);
        }
        real.nft(&["-f", "-"], line);
        ours.nft("nft -f -", Some(line));
        same(line, &real.nft(&["-a", "list", "table", "inet", "f"], ""), &ours.nft("nft -a list table inet f", None));
    }
}

#[test]
fn the_rules_of_the_unit_tests_are_those_of_nft() {
    let Some(real) = Real::new("rules") else { return };
    let around = "counter cn { packets 5 bytes 10\n}\ncounter cm { }\nquota q1 { over 100 mbytes }\n\
        set s1 { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }\n}\n\
        set s4 { type ipv4_addr; flags dynamic,timeout; timeout 3h; size 100; }\n\
        map m2 { type ipv4_addr . inet_proto . inet_service : verdict; }\n\
        map m4 { type ipv4_addr : ipv4_addr; flags interval; elements = { 10.0.0.0/24 : 10.1.0.1 }\n}\n\
        chain c1 { }\nchain c2 { }\n";
    let mut family = String::new();
    let mut rules = Vec::new();
    let check = |family: &str, rules: &mut Vec<(String, String)>| {
        if rules.is_empty() {
            return;
        }
        let text: String = rules.iter().map(|(rule, _)| format!("add rule {family} t f {rule}\n")).collect();
        real.nft(&["-f", "-"], &text);
        let listed = real.nft(&["list", "chain", family, "t", "f"], "");
        let found: Vec<&str> = listed.lines().map(str::trim).skip(3).collect();
        for ((rule, expected), found) in rules.iter().zip(found) {
            assert_eq!(found, expected, "{rule}");
        }
        rules.clear();
    };
    for line in include_str!("../stack/src/netfilter/nftables/tests/rules.txt").lines() {
        if let Some(title) = line.strip_prefix("# ") {
            check(&family, &mut rules);
            let words: Vec<&str> = title.split(' ').collect();
            family = words[0].to_owned();
            let base = format!("chain f {{ type {} hook {} priority 0; policy accept; }}\n", words[1], words[2]);
            real.nft(&["-f", "-"], &format!("flush ruleset\ntable {family} t {{\n{around}{base}}}\n"));
            continue;
        }
        let (rule, expected) = line.split_once("  =>  ").unwrap_or((line, line));
        rules.push((rule.to_owned(), expected.to_owned()));
    }
    check(&family, &mut rules);
}
