//! Verdicts, counters and records of hand-made packets.

use std::fmt::Write as _;
use std::sync::Arc;

use sim_core::{ChoiceKey, NodeId, Sim, SimTime, TraceMode};

use super::hook::{Hook, HookState, nf_hook};
use super::*;
use crate::dev::admin;
use crate::dev::device::{DevId, DeviceKind};
use crate::trace::{Record, cause, purpose};
use crate::view::{ipv4_header_checksum, put16, transport_checksum};

/// A namespace with the devices eth0 and eth1, of which only netfilter is at work.
struct Bench {
    sim: Sim<Netns>,
    id: NodeId,
    eth0: DevId,
    eth1: DevId,
}

const UDP: u8 = 17;
const TCP: u8 = 6;

/// An IPv4 packet without options.
fn ip(proto: u8, src: [u8; 4], dst: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, proto, 0, 0];
    frame.extend_from_slice(&src);
    frame.extend_from_slice(&dst);
    frame.extend_from_slice(payload);
    let len = frame.len() as u16;
    put16(&mut frame, 2, len);
    let at = match proto {
        UDP => 26,
        _ => 36,
    };
    if payload.len() >= at - 18 {
        let checksum = transport_checksum(src.into(), dst.into(), proto, &frame[20..]);
        put16(&mut frame, at, checksum);
    }
    let checksum = ipv4_header_checksum(&frame[..20]);
    put16(&mut frame, 10, checksum);
    frame
}

fn udp(src: [u8; 4], sport: u16, dst: [u8; 4], dport: u16) -> Vec<u8> {
    let mut payload = vec![0; 12];
    put16(&mut payload, 0, sport);
    put16(&mut payload, 2, dport);
    put16(&mut payload, 4, 12);
    ip(UDP, src, dst, &payload)
}

fn syn(src: [u8; 4], sport: u16, dst: [u8; 4], dport: u16) -> Vec<u8> {
    let mut payload = vec![0; 20];
    put16(&mut payload, 0, sport);
    put16(&mut payload, 2, dport);
    payload[12] = 5 << 4;
    payload[13] = 2;
    ip(TCP, src, dst, &payload)
}

const A: [u8; 4] = [10, 0, 1, 2];
const B: [u8; 4] = [10, 0, 2, 2];

impl Bench {
    fn new(rules: &str) -> Bench {
        Bench::with(rules, Variant::Nft)
    }

    fn with(rules: &str, variant: Variant) -> Bench {
        let mut sim = Sim::new(1, TraceMode::Headers);
        let id = sim.add_node("r", Netns::new("r"));
        let netns = sim.node_mut(id);
        let mut device = |name| admin::add(netns, name, DeviceKind::Veth, ProvId(0)).expect("the name is free");
        let (eth0, eth1) = (device("eth0"), device("eth1"));
        let stdin = Stdin { text: rules.into(), provs: Arc::new([]) };
        restore(netns, Family::V4, &stdin, RestoreOptions { variant, ..RestoreOptions::default() })
            .expect("the test's rules are right");
        Bench { sim, id, eth0, eth1 }
    }

    fn netfilter(&self) -> &Netfilter {
        &self.sim.node(self.id).netfilter.v4
    }

    fn state(&self, hook: Hook) -> HookState {
        let (indev, outdev) = match hook {
            Hook::PreRouting | Hook::Input => (Some(self.eth0), None),
            Hook::Forward => (Some(self.eth0), Some(self.eth1)),
            Hook::Output | Hook::PostRouting => (None, Some(self.eth1)),
        };
        HookState { hook, family: Family::V4, indev, outdev }
    }

    /// One packet through some hooks; the mark that it has afterwards.
    fn walk(&mut self, hooks: &[Hook], frame: &[u8]) -> Result<u32, DropReason> {
        let states: Vec<HookState> = hooks.iter().map(|&hook| self.state(hook)).collect();
        let eth0 = self.eth0;
        self.sim.with(self.id, |ns, cx| {
            let mut skb = Skb::new(cx.packet(frame, None, cause::ORIGINAL), eth0);
            skb.parse_at(0)?;
            for state in &states {
                assert_eq!(nf_hook(ns, cx, state, &mut skb)?, hook::HookVerdict::Accept);
            }
            Ok(skb.mark)
        })
    }

    fn wait(&mut self, seconds: u64) {
        let until = SimTime(self.sim.now().0 + seconds * 1_000_000_000);
        self.sim.run_until(until);
    }

    /// The rules that were recorded: text, tried, verdict.
    fn rules(&self) -> String {
        let mut out = String::new();
        for stamped in self.sim.tracer().records().iter() {
            if let Record::Rule { rule, tried, verdict, .. } = stamped.record {
                let info = self.netfilter().rule_info(rule).expect("a record names a rule that is there");
                let _ = writeln!(out, "{} after {tried}: {verdict:?}", info.text);
            }
        }
        out
    }

    /// Packets of the rules of a chain.
    fn counts(&self, chain: &str) -> Vec<u64> {
        let all = self.netfilter().counters();
        let chain = all.iter().find(|c| &*c.chain == chain).expect("the chain is there");
        chain.rules.iter().map(|rule| rule.1).collect()
    }
}

fn filter(rules: &str) -> String {
    format!("*filter\n{rules}COMMIT\n")
}

#[test]
fn a_walk_records_every_match_and_every_end_with_how_many_rules_were_tried_before() {
    let mut bench = Bench::new(&filter(
        ":FORWARD DROP\n:A -\n:B -\n-A FORWARD -p tcp\n-A FORWARD -s 10.0.9.0/24\n-A FORWARD -j A\n-A FORWARD -p udp -j B\n\
         -A FORWARD -i eth1\n-A A -d 10.0.9.9\n-A A -p tcp -j RETURN\n-A A -p udp -m udp --dport 53 -j RETURN\n\
         -A B -p udp -m udp --dport 54\n",
    ));
    assert_eq!(bench.walk(&[Hook::Forward], &udp(A, 5, B, 53)), Err(DropReason::NetfilterDrop));
    assert_eq!(
        bench.rules(),
        "-A FORWARD -j A after 2: Jump\n\
         -A A -p udp -m udp --dport 53 -j RETURN after 2: Return\n\
         -A FORWARD -p udp -j B after 0: Jump\n\
         -N B after 1: Return\n\
         -P FORWARD DROP after 1: Drop\n"
    );
    assert_eq!(bench.counts("FORWARD"), [0, 0, 1, 1, 0]);
    let counters = bench.netfilter().counters();
    assert_eq!(counters[1].policy_counts, (1, 32));
}

#[test]
fn after_a_goto_the_end_of_the_chain_is_the_end_of_the_caller() {
    let mut bench = Bench::new(&filter(":INPUT DROP\n:A -\n:B -\n-A INPUT -j A\n-A INPUT -j ACCEPT\n-A A -g B\n-A A -j DROP\n"));
    assert_eq!(bench.walk(&[Hook::Input], &udp(A, 5, B, 53)), Ok(0), "B's end returns behind INPUT's jump to A");
    let mut bench = Bench::new(&filter(":INPUT DROP\n:B -\n-A INPUT -g B\n-A INPUT -j ACCEPT\n"));
    assert_eq!(bench.walk(&[Hook::Input], &udp(A, 5, B, 53)), Err(DropReason::NetfilterDrop), "a base chain has only its policy");
    assert!(bench.rules().ends_with("-N B after 0: Return\n-P INPUT DROP after 0: Drop\n"), "{}", bench.rules());
}

#[test]
fn interfaces_networks_and_ports_are_compared_as_the_kernel_does() {
    let fits = |rule: &str, hook: Hook, frame: &[u8]| {
        let chain = match hook {
            Hook::Input => "INPUT",
            Hook::Output => "OUTPUT",
            _ => "FORWARD",
        };
        let mut bench = Bench::new(&filter(&format!("-A {chain} {rule} -j DROP\n")));
        bench.walk(&[hook], frame).is_err()
    };
    let packet = udp(A, 1000, B, 53);
    for (rule, hook, want) in [
        ("-i eth0", Hook::Forward, true),
        ("-i eth+", Hook::Forward, true),
        ("-i eth", Hook::Forward, false),
        ("! -i eth1", Hook::Forward, true),
        ("-o eth1", Hook::Forward, true),
        ("-o eth0", Hook::Forward, false),
        ("! -o eth0", Hook::Output, true),
        ("-s 10.0.0.0/255.0.0.255", Hook::Forward, false),
        ("-s 10.0.0.2/255.0.0.255", Hook::Forward, true),
        ("-s 10.0.1.0/24 -d 10.0.2.2", Hook::Forward, true),
        ("! -s 10.0.1.0/24", Hook::Forward, false),
        ("! -d 0.0.0.0/0", Hook::Forward, false),
        ("! -p tcp", Hook::Forward, true),
        ("-f", Hook::Forward, false),
        ("! -f", Hook::Forward, true),
        ("-p udp --dport 50:60", Hook::Forward, true),
        ("-p udp ! --sport 1000", Hook::Forward, false),
        ("-p udp -m multiport --dports 1,2,50:54", Hook::Forward, true),
        ("-p udp -m multiport ! --ports 53", Hook::Forward, false),
        ("-m length --length 32", Hook::Input, true),
        ("-m ttl --ttl-lt 64", Hook::Input, false),
        ("-m iprange --src-range 10.0.1.1-10.0.1.2", Hook::Input, true),
        ("-m mark ! --mark 0", Hook::Input, false),
        ("-m physdev ! --physdev-is-bridged", Hook::Forward, true),
        ("-m owner --uid-owner 0", Hook::Output, false),
        ("-m owner ! --socket-exists", Hook::Output, true),
    ] {
        assert_eq!(fits(rule, hook, &packet), want, "{rule}");
    }
}

#[test]
fn conntrack_is_off_until_a_rule_needs_it() {
    let bench = Bench::new("*nat\n-A PREROUTING -p udp\nCOMMIT\n");
    assert!(!bench.netfilter().needs_conntrack() && bench.netfilter().has_nat());
    assert!(bench.netfilter().steps[Hook::PreRouting as usize].is_empty(), "a nat table that only counts is never walked");
    let bench = Bench::new(&filter("-A INPUT -m state --state NEW\n"));
    assert!(bench.netfilter().needs_conntrack() && !bench.netfilter().has_nat());
    let mut bench =
        Bench::new("*raw\n-A PREROUTING -j NOTRACK\nCOMMIT\n*filter\n-A INPUT -m conntrack --ctstate UNTRACKED -j DROP\nCOMMIT\n");
    assert_eq!(bench.walk(&[Hook::PreRouting, Hook::Input], &udp(A, 5, B, 53)), Err(DropReason::NetfilterDrop));
}

#[test]
fn security_comes_before_nat_input_with_legacy_and_behind_it_with_nft() {
    use hook::Step;
    let rules = "*nat\n-A INPUT -j SNAT --to-source 1.2.3.4\nCOMMIT\n*security\n-A INPUT -j ACCEPT\nCOMMIT\n";
    let order = |variant| {
        let bench = Bench::with(rules, variant);
        let steps = &bench.netfilter().steps[Hook::Input as usize];
        steps.iter().filter(|step| !matches!(step, Step::Confirm)).copied().collect::<Vec<_>>()
    };
    let nat = Step::Nat(crate::conntrack::nat::Manip::Src);
    assert_eq!(order(Variant::Legacy), [Step::Table(TableName::Security), nat]);
    assert_eq!(order(Variant::Nft), [nat, Step::Table(TableName::Security)]);
}

#[test]
fn marks_are_set_cleared_and_flipped() {
    let mark = |target: &str| {
        let rules = format!("*mangle\n-A PREROUTING -j MARK --set-mark 0xf0\n-A PREROUTING -j MARK {target}\nCOMMIT\n");
        Bench::new(&rules).walk(&[Hook::PreRouting], &udp(A, 5, B, 53))
    };
    assert_eq!(mark("--or-mark 0x4000"), Ok(0x40f0));
    assert_eq!(mark("--and-mark 0x30"), Ok(0x30));
    assert_eq!(mark("--xor-mark 0x11"), Ok(0xe1));
    assert_eq!(mark("--set-mark 0x3/0x30"), Ok(0xc3));
    assert_eq!(mark("--set-xmark 0x30/0x10"), Ok(0xd0));
}

#[test]
fn a_header_that_fragmentation_cut_is_dropped_by_legacy_and_passed_by_nft() {
    let rules = filter("-A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT\n-A FORWARD -j ACCEPT\n");
    let mut frame = ip(TCP, A, B, &[0, 5, 0, 81, 0, 0, 0, 1]);
    put16(&mut frame, 6, 0x2000);
    assert_eq!(Bench::with(&rules, Variant::Legacy).walk(&[Hook::Forward], &frame), Err(DropReason::NetfilterDrop));
    assert_eq!(Bench::with(&rules, Variant::Nft).walk(&[Hook::Forward], &frame), Ok(0));
}

/// kube-proxy's choice among three endpoints.
const SVC: &str = "*filter\n:SVC -\n-A FORWARD -j SVC\n-A SVC -m statistic --mode random --probability 0.33333333349 -j ACCEPT\n\
                   -A SVC -m statistic --mode random --probability 0.50000000000 -j ACCEPT\n-A SVC -j ACCEPT\nCOMMIT\n";

#[test]
fn chance_is_even_over_flows_and_stable_for_one_and_can_be_forced() {
    let mut bench = Bench::new(SVC);
    for port in 0..3000 {
        bench.walk(&[Hook::Forward], &syn(A, port, B, 80)).expect("all are accepted");
    }
    let counts = bench.counts("SVC");
    assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    let keys = |extra: &str| {
        let mut bench = Bench::new(&format!("{extra}{SVC}"));
        bench.walk(&[Hook::Forward], &syn(A, 7, B, 80)).expect("all are accepted");
        bench.sim.choices().iter().map(|choice| (choice.key, choice.arm)).collect::<Vec<_>>()
    };
    let first = keys("");
    assert_eq!(first, keys("*mangle\n-A PREROUTING -j MARK --set-mark 1\nCOMMIT\n"), "an edit elsewhere changes nothing");
    let mut bench = Bench::new(SVC);
    let key = ChoiceKey { purpose: purpose::STATISTIC, ..first[0].0 };
    bench.sim.force_choice(key, 1);
    bench.walk(&[Hook::Forward], &syn(A, 7, B, 80)).expect("all are accepted");
    assert_eq!(bench.counts("SVC"), [1, 0, 0]);
}

#[test]
fn every_nth_packet_and_no_more_than_the_limit() {
    let mut bench = Bench::new(&filter(
        "-A INPUT -m statistic --mode nth --every 3 --packet 1\n-A INPUT -m limit --limit 1/s --limit-burst 2\n-A INPUT -m quota --quota 70\n",
    ));
    for _ in 0..6 {
        bench.walk(&[Hook::Input], &udp(A, 5, B, 53)).expect("the policy accepts");
    }
    assert_eq!(bench.counts("INPUT"), [2, 2, 2]);
    bench.sim.with(bench.id, |_, cx| cx.wake_at(SimTime(1_500_000_000)));
    bench.wait(2);
    bench.walk(&[Hook::Input], &udp(A, 5, B, 53)).expect("the policy accepts");
    assert_eq!(bench.counts("INPUT")[1], 3, "the bucket has filled again");
}

#[test]
fn recent_keeps_a_client_at_its_endpoint_until_the_time_is_over() {
    let mut bench = Bench::new(&filter(
        ":SEP -\n-A FORWARD -m recent --rcheck --seconds 10 --reap --name SEP -j SEP\n-A FORWARD -p tcp -j SEP\n\
         -A SEP -p tcp -m recent --set --name SEP -j ACCEPT\n",
    ));
    bench.walk(&[Hook::Forward], &syn(A, 1, B, 80)).expect("accepted");
    bench.walk(&[Hook::Forward], &syn(A, 2, B, 80)).expect("accepted");
    assert_eq!(bench.counts("FORWARD"), [1, 1]);
    bench.sim.with(bench.id, |_, cx| cx.wake_at(SimTime(20_000_000_000)));
    bench.wait(20);
    bench.walk(&[Hook::Forward], &syn(A, 3, B, 80)).expect("accepted");
    assert_eq!(bench.counts("FORWARD"), [1, 2]);
}

#[test]
fn counters_survive_a_reload_of_other_chains_and_records_stay_readable() {
    let mut bench = Bench::new(&filter(":A -\n:B -\n-A INPUT -j A\n-A INPUT -j B\n-A A -p udp\n-A B -p udp\n"));
    bench.walk(&[Hook::Input], &udp(A, 5, B, 53)).expect("the policy accepts");
    let before = bench.rules();
    let stdin = Stdin { text: filter(":B -\n-A B -p udp -m comment --comment new\n").into(), provs: Arc::new([]) };
    let options = RestoreOptions { noflush: true, ..RestoreOptions::default() };
    restore(bench.sim.node_mut(bench.id), Family::V4, &stdin, options).expect("the test's rules are right");
    assert_eq!((bench.counts("A"), bench.counts("B")), (vec![1], vec![0]));
    assert_eq!(bench.rules(), before, "old records name the old rules");
    let line = |args: &str, bench: &mut Bench| iptables(bench.sim.node_mut(bench.id), Family::V4, Variant::Nft, args, ProvId(0));
    line("-I INPUT 1 -s 10.9.9.9 -j DROP", &mut bench).expect("a good command");
    assert_eq!(bench.counts("INPUT"), [0, 1, 1], "the counters move with their rules");
    line("-D INPUT -s 10.9.9.9 -j DROP", &mut bench).expect("a good command");
    line("-E B C", &mut bench).expect("a good command");
    let listed = line("-S", &mut bench).expect("a listing");
    assert!(listed.contains("-N C\n") && listed.contains("-A INPUT -j C\n"), "{listed}");
    bench.sim.node_mut(bench.id).netfilter.v4.zero_counters();
    assert_eq!(bench.counts("A"), [0]);
}

#[test]
fn a_long_chain_is_walked_through_its_index_with_the_same_result() {
    // Rules of every kind, in an order that mixes them; only every ninth ends the walk.
    let rules: String = (0..400u32)
        .map(|n| {
            let spec = match n % 8 {
                0 | 1 => format!("-d 10.96.0.{}/32 -p udp -m udp --dport {}", n % 16, n % 5),
                2 => format!("-s 10.0.1.{}/32", n % 8),
                3 => format!("-p udp -m udp --dport {}", n % 6),
                4 => format!("-d 10.96.0.{}/31", (n % 16) & !1),
                5 => format!("! -d 10.96.0.{}/32 -i eth1", n % 16),
                6 => format!("-p tcp -m tcp --dport {} --sport 7", n % 6),
                _ => format!("-d 10.96.0.{}/32 -m mark --mark 0x1", n % 16),
            };
            let target = if n % 9 == 8 && n > 200 { " -j ACCEPT" } else { "" };
            format!("-A INPUT {spec}{target}\n")
        })
        .collect();
    let mut indexed = Bench::new(&filter(&rules));
    let mut plain = Bench::new(&filter(&rules));
    let netfilter = &mut plain.sim.node_mut(plain.id).netfilter.v4;
    let program = netfilter.current[TableName::Filter as usize].expect("the table is there");
    let table = Arc::make_mut(&mut netfilter.programs[program as usize]);
    let slot = table.by_name["INPUT"];
    assert!(table.chain(slot).index.is_some(), "400 rules are worth an index");
    table.chain_mut(slot).index = None;
    for n in 0..200u16 {
        let (src, dst) = ([10, 0, 1, (n % 11) as u8], [10, 96, 0, (n % 17) as u8]);
        let mut cut = ip(TCP, src, dst, &[0; 8]);
        put16(&mut cut, 6, 0x2000);
        for frame in [udp(src, 7, dst, n % 7), syn(src, 7, dst, n % 7), ip(1, src, dst, &[8, 0, 0, 0, 0, 0, 0, 0]), cut] {
            assert_eq!(indexed.walk(&[Hook::Input], &frame), plain.walk(&[Hook::Input], &frame));
        }
    }
    assert_eq!(indexed.netfilter().counters(), plain.netfilter().counters());
    assert_eq!(indexed.rules(), plain.rules());
}

#[test]
fn a_rule_says_which_of_its_clauses_a_packet_failed() {
    let bench = Bench::new(&filter(
        "-A FORWARD -s 10.9.0.0/16 -p tcp\n-A FORWARD -s 10.0.0.0/8 ! -i eth+\n-A FORWARD -p tcp\n-A FORWARD -p udp -m udp --dport 54\n\
         -A FORWARD -p udp -m comment --comment x -m mark --mark 0x1\n-A FORWARD -m conntrack --ctstate NEW\n-A FORWARD -p udp\n",
    ));
    let frame = udp(A, 1000, B, 53);
    let headers = Headers { frame: &frame, l3: 0, indev: Some("eth0"), outdev: Some("eth1"), mark: 0 };
    let miss = |rule| bench.netfilter().first_miss(RuleRef { program: 0, chain: 1, rule }, &headers);
    let clause = |text: &str| Some(Miss::Clause(text.to_owned()));
    assert_eq!(miss(0), clause("-s 10.9.0.0/16"));
    assert_eq!(miss(1), clause("! -i eth+"));
    assert_eq!(miss(2), clause("-p tcp"));
    assert_eq!(miss(3), clause("-m udp --dport 54"));
    assert_eq!(miss(4), clause("-m mark --mark 0x1"));
    assert_eq!(miss(5), Some(Miss::Perhaps("-m conntrack --ctstate NEW".to_owned())));
    assert_eq!(miss(6), None);
}
