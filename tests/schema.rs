//! Every JSON that the binary prints is what its schema in `docs/schema` says, and the schemas leave no room for more.

use std::path::{Path, PathBuf};
use std::process::Command;

use jsonschema::Registry;
use serde_json::{Value, json};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What the binary prints, and its exit code.
fn pktlab(args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pktlab")).args(args).current_dir(root()).output().expect("the binary starts");
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stdout).expect("JSON is UTF-8"))
}

fn document(args: &[&str], code: i32) -> Value {
    let (exit, text) = pktlab(args);
    assert_eq!(exit, code, "{args:?}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}\n{text}"))
}

fn schema(name: &str) -> Value {
    let path = root().join(format!("docs/schema/{name}.schema.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What of a document is not as its schema says; empty where all is.
fn faults(name: &str, document: &Value) -> String {
    let mut registry = Registry::new();
    for other in ["answer", "exchange"] {
        registry = registry.add(format!("urn:pktlab:{other}:1"), schema(other)).expect("a schema");
    }
    let registry = registry.prepare().expect("the schemas refer to each other");
    let schema = schema(name);
    let validator = jsonschema::options().with_registry(&registry).build(&schema).expect("a schema");
    let faults: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).take(5).collect();
    faults.join("\n")
}

fn holds(name: &str, document: &Value, what: &dyn std::fmt::Debug) {
    let faults = faults(name, document);
    assert!(faults.is_empty(), "{what:?} is not as docs/schema/{name}.schema.json says:\n{faults}");
}

const WEB: [&str; 2] = ["-f", "tests/data/web"];
const CLIENT: &str = "pod/default/client";

fn trace<'a>(from: &'a str, to: &'a str, more: &[&'a str], code: i32) -> Value {
    let args: Vec<&str> =
        ["trace", WEB[0], WEB[1], "--output", "json", "--from", from, "--to", to].into_iter().chain(more.iter().copied()).collect();
    let document = document(&args, code);
    holds("trace", &document, &args);
    document
}

#[test]
fn traces_are_as_their_schema_says_however_they_end() {
    let outcomes = [
        trace(CLIENT, "http://web/", &["--expect", "delivered"], 0),
        trace(CLIENT, "svc/default/web:80", &["--explore"], 0),
        trace(CLIENT, "svc/default/web:80", &["--expect", "rejected"], 1),
        trace(CLIENT, "pod/default/web:81", &[], 0),
        trace(CLIENT, "svc/kube-system/kube-dns:53", &["--proto", "udp"], 0),
        trace(CLIENT, "node/kind-worker2", &["--proto", "icmp"], 0),
        trace(CLIENT, "http://nosuchname/", &[], 0),
        trace(CLIENT, "svc/default/web:81", &[], 0),
        trace(CLIENT, "[2001:db8::1]:80", &[], 0),
        trace("external", "svc/default/web:80", &["--via", "node/kind-worker"], 0),
    ];
    let outcomes: Vec<&str> = outcomes.iter().filter_map(|document| document["outcome"].as_str()).collect();
    let expected = [
        "delivered",
        "delivered",
        "delivered",
        "rejected",
        "delivered",
        "delivered",
        "unresolved",
        "dropped",
        "dropped",
        "delivered",
    ];
    assert_eq!(outcomes, expected);
}

#[test]
fn a_trace_of_two_hosts_is_the_golden_file() {
    let args = ["trace", "-s", "scenarios/book/ch1/two-hosts.ron", "--from", "ns/client", "--to", "10.0.0.2", "--proto", "icmp"];
    let args: Vec<&str> = args.into_iter().chain(["--output", "json"]).collect();
    holds("trace", &document(&args, 0), &args);
    insta::assert_snapshot!("trace", pktlab(&args).1);
}

#[test]
fn probes_are_as_their_schema_says() {
    let args = ["probe", WEB[0], WEB[1], "-p", "tests/data/probes.yaml", "--output", "json"];
    let all = document(&args, 0);
    holds("probe", &all, &args);
    let (_, lines) = pktlab(&["probe", WEB[0], WEB[1], "-p", "tests/data/probes.yaml", "--output", "ndjson"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!(all["answers"], Value::Array(lines.clone()));
    for line in &lines {
        holds("answer", line, &"a line of probe");
    }
}

#[test]
fn matrices_are_as_their_schema_says() {
    let args = ["matrix", WEB[0], WEB[1], "--output", "json"];
    holds("matrix", &document(&args, 0), &args);
}

#[test]
fn runs_of_all_scenarios_are_as_their_schema_says() {
    for entry in scenarios::book::BOOK {
        let args = ["run", entry.name, "--output", "json"];
        let run = document(&args, 0);
        holds("run", &run, &args);
        let exchanges = run["steps"].as_array().expect("steps").iter().filter_map(|step| step.get("exchange"));
        for exchange in exchanges {
            holds("exchange", exchange, &args);
        }
    }
}

#[test]
fn mistakes_are_as_their_schema_says() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schema");
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("x.ron");
    std::fs::write(&file, "Scenario(title: \"x\", steps: [At(\"0s\", Kubectl(\"delete all\"))])").expect("a file");
    let file = file.to_string_lossy();
    for (args, code) in [
        (vec!["trace", "--from", "pod/x", "--to", "10.0.0.300:1", "--expect", "delivred", "--output", "json"], 2),
        (vec!["run", "nowhere.ron", "--output", "json"], 2),
        (vec!["run", &file, "--output", "json"], 3),
        (vec!["matrix", "-f", "docs/schema", "--output", "ndjson"], 2),
    ] {
        let said = document(&args, code);
        holds("error", &said, &args);
        assert_eq!(said["exit_code"], json!(code));
    }
}

/// What no schema names is refused, at every depth: else the tests above could not fail.
#[test]
fn schemas_refuse_what_they_do_not_name() {
    let good = trace(CLIENT, "http://web/", &[], 0);
    for path in ["", "/packets/0", "/packets/0/steps/0", "/packets/0/layers/0", "/delivered_to", "/coverage", "/decided_by/0"] {
        let mut bad = good.clone();
        let object = bad.pointer_mut(path).and_then(Value::as_object_mut).unwrap_or_else(|| panic!("an object at {path}"));
        object.insert("surprise".to_owned(), json!(1));
        assert!(faults("trace", &bad).contains("surprise"), "a field more at `{path}` is not refused");
    }
    for field in ["outcome", "packets", "seed", "coverage"] {
        let mut bad = good.clone();
        bad.as_object_mut().expect("an object").remove(field);
        assert!(!faults("trace", &bad).is_empty(), "a trace without {field} is not refused");
    }
}
