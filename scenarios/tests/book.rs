//! The scenarios of the book: each holds, runs twice to the same bytes, and fails once it is broken.

use std::path::Path;

use pktlab_scenarios::book::{BOOK, named};
use pktlab_scenarios::load::Input;
use pktlab_scenarios::outcome::OutcomeClass;
use pktlab_scenarios::render::TextOptions;
use pktlab_scenarios::run::{RunReport, run};
use pktlab_scenarios::scenario::{self, ScenarioFile};

fn run_file(file: ScenarioFile) -> RunReport {
    let loaded = Input::default().load_with(Some(file)).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    run(&loaded).unwrap_or_else(|problems| panic!("{}", problems.render(false)))
}

fn run_named(name: &str) -> RunReport {
    run_file(named(name).unwrap_or_else(|problems| panic!("{}", problems.render(false))))
}

fn json(report: &RunReport) -> String {
    serde_json::to_string_pretty(report).expect("a report is JSON")
}

#[test]
fn every_expectation_of_the_book_holds() {
    let mut wrong = String::new();
    for entry in BOOK {
        let report = run_named(entry.name);
        assert!(report.held + report.failed > 0, "{} expects nothing", entry.path);
        if report.exit_code() != 0 {
            wrong.push_str(&format!(
                "--- {} (exit code {})\n{}\n",
                entry.path,
                report.exit_code(),
                report.text(&TextOptions::default())
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn two_runs_are_the_same_bytes() {
    for entry in BOOK {
        let (first, second) = (run_named(entry.name), run_named(entry.name));
        assert!(json(&first) == json(&second), "{} differs between two runs", entry.path);
        let full = TextOptions { full: true, ..TextOptions::default() };
        assert!(first.text(&full) == second.text(&full), "{} prints differently in two runs", entry.path);
    }
}

#[test]
fn the_built_in_scenarios_are_those_of_the_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("book");
    let mut found = Vec::new();
    for chapter in std::fs::read_dir(&folder).expect("the book is a folder").flatten() {
        for file in std::fs::read_dir(chapter.path()).expect("a chapter is a folder").flatten() {
            if file.path().extension().is_some_and(|end| end == "ron") {
                let path = file.path().strip_prefix(&folder).expect("below the book").to_string_lossy().into_owned();
                let from_disk = scenario::read(&file.path()).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
                let entry = BOOK.iter().find(|entry| entry.path == path).unwrap_or_else(|| panic!("{path} is not built in"));
                assert_eq!(from_disk.text, entry.text, "{path}");
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), BOOK.len());
}

/// A scenario with one piece of its text replaced.
fn broken(name: &str, from: &str, to: &str) -> RunReport {
    let entry = BOOK.iter().find(|entry| entry.name == name).expect("a scenario of the book");
    assert!(entry.text.contains(from), "{name} does not have {from}");
    let text = entry.text.replacen(from, to, 1);
    let file = scenario::parse(entry.path, Default::default(), text, entry.files);
    run_file(file.unwrap_or_else(|problems| panic!("{}", problems.render(false))))
}

/// What holds must be able to fail: each row breaks one thing, and the run must say so.
#[test]
fn broken_variants_fail() {
    for (name, from, to) in [
        ("two-hosts", "ip addr add 10.0.0.2/24", "ip addr add 10.0.0.22/24"),
        ("two-hosts", "source_seen: \"10.0.0.1\"", "source_seen: \"10.0.0.9\""),
        ("router", "\"sysctl -w net.ipv4.ip_forward=1\",", "\"sysctl -w net.ipv4.ip_forward=0\","),
        ("forwarding-off", "\"sysctl -w net.ipv4.ip_forward=0\",", "\"sysctl -w net.ipv4.ip_forward=1\","),
        ("snat", "\"iptables -t nat -A POSTROUTING -s 10.0.0.0/24 -o eth1 -j MASQUERADE\",", ""),
        ("firewall", "Stdin(\"iptables-restore\", file: \"firewall.rules\"),", ""),
        ("bridge", "\"ip link set port2 master br0\",", ""),
        ("pod-to-pod", "source_seen: \"10.244.1.2\"", "source_seen: \"172.18.0.3\""),
        ("cluster-ip", "via: [\"KUBE-SERVICES\", \"kind-worker\"]", "not_via: [\"KUBE-SERVICES\"]"),
        ("no-endpoints", "outcome: Rejected", "outcome: Delivered"),
        ("dns", "http://cart.shop:7070/", "http://cart.shopp:7070/"),
        ("node-port", "to: \"node/kind-worker:30040\"", "to: \"node/kind-worker:30041\""),
        ("headless", "db-1.db:5432", "db-0.db:5432"),
    ] {
        let report = broken(name, from, to);
        assert!(
            report.failed > 0 && report.exit_code() == 1,
            "{name} with {to:?} holds:\n{}",
            report.text(&TextOptions::default())
        );
    }
}

#[test]
fn a_trace_of_the_book_is_json_of_this_shape() {
    let mut report = run_named("no-such-port");
    for step in &mut report.steps {
        step.exchange = None;
    }
    insta::assert_snapshot!("run", json(&report));
}

#[test]
fn outcomes_differ_by_what_the_application_sees() {
    let report = run_named("no-such-port");
    let symptoms: Vec<(OutcomeClass, &str)> = report
        .steps
        .iter()
        .filter_map(|step| step.answer.as_ref())
        .map(|answer| (answer.outcome, answer.symptom.as_str()))
        .collect();
    assert_eq!(
        symptoms[..3],
        [
            (OutcomeClass::Rejected, "Connection refused"),
            (OutcomeClass::Dropped, "No route to host"),
            (OutcomeClass::Dropped, "Network is unreachable"),
        ]
    );
}
