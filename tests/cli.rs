//! The binary, from outside: what is wrong with the input gives exit code 2, one error that points at the place, and no panic.

use std::path::{Path, PathBuf};
use std::process::Command;

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn pktlab(args: &[&str]) -> Said {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_pktlab"))
        .args(args)
        .current_dir(root)
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A folder of its own for each test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    }

    fn path(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Exit code 2 (or another), exactly `errors` errors, and these words.
fn refused(args: &[&str], code: i32, errors: usize, words: &[&str]) {
    let said = pktlab(args);
    assert_eq!(said.code, code, "{args:?}\n{}{}", said.out, said.err);
    assert!(!said.err.contains("panicked"), "{args:?}\n{}", said.err);
    let count = said.err.lines().filter(|line| line.starts_with("error")).count();
    assert_eq!(count, errors, "{args:?}\n{}", said.err);
    for word in words {
        assert!(said.err.contains(word), "{args:?}: {word} is missing in\n{}", said.err);
    }
}

const ASK: [&str; 5] = ["trace", "--from", "pod/default/client", "--to", "svc/default/web:80"];

fn ask<'a>(more: &[&'a str]) -> Vec<&'a str> {
    ASK.iter().copied().chain(more.iter().copied()).collect()
}

#[test]
fn a_typo_in_an_end_is_underlined() {
    let args = ["trace", "--from", "pod/client", "--to", "svc/default/web:80"];
    refused(&args, 2, 1, &["--from:1:5", "^^^^^^", "namespace is missing", "pod/default/NAME"]);
    let args = ["trace", "--from", "pod/default/client", "--to", "svc/default/web:99999"];
    refused(&args, 2, 1, &["--to:1:17", "^^^^^", "99999 is no port"]);
}

#[test]
fn files_that_are_not_there_are_named() {
    refused(&ask(&["-f", "nowhere.yaml"]), 2, 1, &["nowhere.yaml", "no such file"]);
    refused(&ask(&["-s", "nowhere.ron"]), 2, 1, &["nowhere.ron", "no such file"]);
    refused(&["run", "nowhere.ron"], 2, 1, &["nowhere.ron", "no such file"]);
    refused(&["run", "frist-packet"], 2, 1, &["`first-packet` was probably meant"]);
    refused(&["probe", "-p", "nowhere.yaml"], 2, 1, &["nowhere.yaml", "no such file"]);
    refused(&["cases", "run", "nowhere", "--out", "target/tmp/nothing"], 2, 1, &["nowhere"]);
}

#[test]
fn an_empty_folder_is_one_error() {
    let folder = Folder::new("empty");
    refused(&ask(&["-f", &folder.path()]), 2, 1, &["holds no manifest"]);
}

#[test]
fn a_scenario_and_manifests_are_not_taken_for_each_other() {
    refused(&ask(&["-s", "tests/data/web/web.yaml"]), 2, 1, &["a manifest is no scenario", "-f"]);
    refused(&ask(&["-f", "scenarios/book/ch1/router.ron"]), 2, 1, &["a scenario is no manifest", "-s"]);
    refused(&["run", "tests/data/web"], 2, 1, &["is a directory"]);
}

#[test]
fn a_wrong_type_in_a_manifest_stands_in_its_line() {
    let folder = Folder::new("wrong-type");
    let file =
        folder.file("service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports:\n    - port: eighty\n");
    refused(&ask(&["-f", &file]), 2, 1, &["service.yaml:6:13", "^^^^^^", "spec.ports[0].port"]);
}

#[test]
fn mistakes_in_a_scenario_stand_in_their_line() {
    let folder = Folder::new("scenario");
    let run = |text: &str, code: i32, words: &[&str]| {
        let file = folder.file("x.ron", text);
        refused(&["run", &file], code, 1, words);
    };
    run("Scenario(\n  title: \"x\",\n  netwerk: [],\n)\n", 2, &["x.ron:3:3", "^^^^^^^", "`network` was probably meant"]);
    run("Scenario(\n  title: 5,\n)\n", 2, &["x.ron:2:"]);
    run("Scenario(\n  title: \"x\",\n", 2, &["x.ron"]);
    run("", 2, &["x.ron"]);
    run(
        "Scenario(title: \"x\", network: [\n  Ns(\"a\"),\n  In(\"a\", [\"ip adress add 10.0.0.1/24 dev lo\"]),\n])\n",
        2,
        &["x.ron:3:16", "^^^^^^", "adress"],
    );
    run(
        "Scenario(title: \"x\", steps: [\n  At(\"soon\", Link(\"a/eth0\", Down)),\n])\n",
        2,
        &["x.ron:2:7", "^^^^", "is not a time"],
    );
    run(
        "Scenario(title: \"x\", steps: [\n  At(\"0s\", Kubectl(\"scale deployment web --replicas 0\")),\n])\n",
        3,
        &["unsupported", "x.ron:2:"],
    );
    run("Scenario(title: \"x\", clusters: [\n  Cluster(cni: Cilium),\n])\n", 3, &["x.ron:2:", "cilium", "^^^^^^"]);
}

#[test]
fn an_unknown_match_in_rules_stands_in_the_rules() {
    let folder = Folder::new("rules");
    folder.file("bad.rules", "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m nosuchmatch --foo 1 -j DROP\nCOMMIT\n");
    let file = folder.file(
        "x.ron",
        "Scenario(title: \"x\", network: [Ns(\"a\"), In(\"a\", [Stdin(\"iptables-restore\", file: \"bad.rules\")])])\n",
    );
    refused(&["run", &file], 2, 1, &["bad.rules:3:", "nosuchmatch"]);
}

#[test]
fn flags_with_values_that_no_cluster_has_are_refused() {
    refused(&ask(&["--cni", "kindent"]), 2, 1, &["--cni", "kindent"]);
    refused(&ask(&["--cni", "cilium"]), 3, 1, &["unsupported", "cilium"]);
    refused(&ask(&["--cluster-cidr", "10.96.0.0/14"]), 2, 1, &["overlaps"]);
    refused(&ask(&["--cluster-cidr", "ten"]), 2, 1, &["--cluster-cidr:1:1", "`ten` is no prefix"]);
    refused(&ask(&["--nodes", "0"]), 2, 1, &["nodes"]);
    assert_eq!(pktlab(&ask(&["--nodes", "many"])).code, 2);
    assert_eq!(pktlab(&["tracee"]).code, 2);
}

#[test]
fn every_mistake_of_a_question_is_told_at_once() {
    let args = ["trace", "--from", "pod/x", "--to", "10.0.0.300:1", "--expect", "delivred"];
    refused(&args, 2, 3, &["--from", "--to", "--expect", "`delivred` is no outcome"]);
}

#[test]
fn mistakes_of_probes_stand_in_their_line() {
    let folder = Folder::new("probes");
    let file = folder.file("p.yaml", "- from: pod/default/client\n  to: svc/default/web:80\n  exspect: {}\n");
    refused(&["probe", "-p", &file], 2, 1, &["p.yaml:3:3", "exspect"]);
    let file = folder.file("p.yaml", "- from: pod/default/client\n  to: svc/default/web:huge_\n");
    refused(&["probe", "-p", &file], 2, 1, &["p.yaml:2:23", "`huge_` is no port"]);
}

#[test]
fn mistakes_are_json_where_json_was_asked_for() {
    let said = pktlab(&["trace", "--from", "pod/client", "--to", "svc/default/web:80", "--output", "json"]);
    assert_eq!((said.code, said.err.as_str()), (2, ""));
    insta::assert_snapshot!("error", said.out);
}

const WEB: [&str; 2] = ["-f", "tests/data/web"];

#[test]
fn answers_of_probes_are_a_line_each_and_junit_too() {
    let folder = Folder::new("answers");
    let probes = folder.file(
        "p.yaml",
        "- {name: web, from: pod/default/client, to: 'svc/default/web:80', expect: {outcome: delivered, status: 200}}\n\
         - {name: wrong port, from: pod/default/client, to: 'pod/default/web:81', expect: {outcome: delivered}}\n\
         - {name: dns, from: pod/default/client, to: 'svc/kube-system/kube-dns:53', proto: udp}\n",
    );
    let junit = folder.0.join("junit.xml").to_string_lossy().into_owned();
    let said = pktlab(&["probe", WEB[0], WEB[1], "-p", &probes, "--output", "ndjson", "--junit", &junit]);
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert_eq!(said.out.lines().count(), 3, "{}", said.out);
    insta::assert_snapshot!("probe", said.out);
    let xml = std::fs::read_to_string(junit).expect("a report").replace(&folder.path(), "");
    assert!(xml.contains("tests=\"3\" failures=\"1\" skipped=\"1\""), "{xml}");
}

#[test]
fn a_matrix_has_a_cell_for_each_pair() {
    let said = pktlab(&["matrix", WEB[0], WEB[1], "--output", "json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    insta::assert_snapshot!("matrix", said.out);
}

#[test]
fn all_endpoints_of_a_service_are_found_with_their_chances() {
    let said = pktlab(&ask(&[WEB[0], WEB[1], "--explore"]));
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.out.matches(" 1/2 ").count(), 2, "{}", said.out);
}

#[test]
fn an_expectation_decides_the_exit_code_of_a_trace() {
    assert_eq!(pktlab(&ask(&[WEB[0], WEB[1], "--expect", "delivered"])).code, 0);
    assert_eq!(pktlab(&ask(&[WEB[0], WEB[1], "--expect", "outcome=Delivered,status=404"])).code, 1);
    assert_eq!(pktlab(&ask(&[WEB[0], WEB[1], "--expect", "rejected"])).code, 1);
}

#[test]
fn exports_are_what_the_real_tools_take() {
    let said = pktlab(&["export", "rules", WEB[0], WEB[1], "--node", "kind-worker"]);
    assert!(said.code == 0 && said.out.starts_with("*filter\n") && said.out.contains("-A KUBE-SERVICES"), "{}", said.out);
    refused(&["export", "rules", WEB[0], WEB[1], "--node", "kind-werker"], 2, 1, &["kind-werker", "kind-worker"]);
    let said = pktlab(&["export", "commands", WEB[0], WEB[1]]);
    assert!(said.code == 0 && said.out.contains("ip netns exec kind-worker iptables-restore"), "{}", said.out);
    refused(&["export", "pcapng", WEB[0], WEB[1]], 2, 1, &["--from END --to END"]);
}

#[test]
fn codes_have_pages() {
    let said = pktlab(&["explain", "pl0104"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("PL0104") && said.out.contains("selector"), "{}", said.out);
    refused(&["explain", "PL9999"], 2, 1, &["PL9999"]);
}

#[test]
fn the_scenarios_that_come_with_pktlab_are_listed() {
    let said = pktlab(&["run", "--list"]);
    assert_eq!(said.code, 0);
    assert!(said.out.lines().count() >= 10 && said.out.contains("first-packet"), "{}", said.out);
}

const SHOP: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: shop, labels: {app: shop}}
spec: {containers: [{name: c, image: example/shop, ports: [{containerPort: 8080}, {name: echo, containerPort: 5353, protocol: UDP}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: c, image: busybox}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: web, port: 80, targetPort: 8080}, {name: echo, port: 53, targetPort: 5353, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: bare}
spec: {clusterIP: None, selector: {app: shop}, ports: [{port: 80, targetPort: 8080}]}
";

#[test]
fn a_port_of_udp_alone_is_asked_by_udp() {
    let folder = Folder::new("udp");
    let file = folder.file("shop.yaml", SHOP);
    for to in ["svc/default/shop:echo", "svc/default/shop:53", "pod/default/shop:5353", "pod/default/shop:echo"] {
        let said = pktlab(&["trace", "-f", &file, "--from", "pod/default/client", "--to", to]);
        assert_eq!(said.code, 0, "{}", said.err);
        for words in ["(udp)", "delivered  PL0001", "7 bytes from", "listens on UDP port 5353"] {
            assert!(said.out.contains(words), "{to}: {words} is missing in\n{}", said.out);
        }
    }
}

#[test]
fn a_server_of_dns_on_tcp_is_not_assumed_to_be_one_on_udp() {
    let said = pktlab(&["trace", WEB[0], WEB[1], "--from", "pod/default/client", "--to", "svc/kube-system/kube-dns:dns-tcp"]);
    assert!(said.out.contains("listens on TCP port 53") && !said.out.contains("listens on UDP"), "{}", said.out);
}

#[test]
fn no_rule_translates_the_port_of_a_headless_service() {
    let folder = Folder::new("headless");
    let file = folder.file("shop.yaml", SHOP);
    for to in ["svc/default/bare:80", "http://bare/"] {
        let said = pktlab(&["trace", "-f", &file, "--from", "pod/default/client", "--to", to]);
        assert!(said.out.contains("Connection refused"), "{to}\n{}", said.out);
    }
    let said = pktlab(&["trace", "-f", &file, "--from", "pod/default/client", "--to", "http://bare:8080/"]);
    assert!(said.out.contains("HTTP 200"), "{}", said.out);
}

#[test]
fn who_has_no_route_reads_so_although_no_packet_tells() {
    let said = pktlab(&["trace", WEB[0], WEB[1], "--from", "external", "--to", "svc/default/web:80"]);
    for words in ["nothing was sent", "external", "no route", "Network is unreachable"] {
        assert!(said.out.contains(words), "{words} is missing in\n{}", said.out);
    }
}

#[test]
fn what_is_sent_again_and_ends_there_again_is_a_line() {
    let folder = Folder::new("again");
    let file = folder.file(
        "x.ron",
        "Scenario(title: \"x\", network: [Ns(\"a\"), Ns(\"b\"), Link(a: \"a/eth0\", b: \"b/eth0\"),\n\
         In(\"a\", [\"ip addr add 10.0.0.1/24 dev eth0\", \"ip link set eth0 up\"]),\n\
         In(\"b\", [\"ip addr add 10.0.0.2/24 dev eth0\", \"ip link set eth0 up\", \"iptables -A INPUT -p tcp -j DROP\"])])\n",
    );
    let said = pktlab(&["trace", "-s", &file, "--from", "ns/a", "--to", "10.0.0.2:80"]);
    let full = said.out.lines().filter(|line| line.starts_with("there ")).count();
    let lines = said.out.lines().filter(|line| line.trim_start().starts_with("-> p")).count();
    assert_eq!((full, lines), (1, 10), "{}", said.out);
    let flat = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(flat.matches("-- dropped in b: NETFILTER_DROP").count(), 10, "{}", said.out);
    assert!(flat.contains("(again, 2 s)") && flat.contains("(again, 68 s)"), "{}", said.out);
}

#[test]
fn text_fits_a_hundred_columns() {
    let folder = Folder::new("columns");
    let file = folder.file("shop.yaml", SHOP);
    for to in ["http://shop/", "svc/default/bare:80", "svc/kube-system/kube-dns:dns", "svc/default/shop:81"] {
        let said = pktlab(&["trace", "-f", &file, "--from", "pod/default/client", "--to", to]);
        let long: Vec<&str> = said.out.lines().filter(|line| line.chars().count() > 100).collect();
        assert!(long.is_empty(), "{to}: {long:#?}");
    }
}

#[test]
fn a_field_that_no_object_has_is_a_warning_in_every_verb() {
    let folder = Folder::new("unknown-field");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: client}\nspec:\n  nodeNme: kind-worker3\n  containers: [{name: c}]\n";
    let file = folder.file("pod.yaml", pod);
    let probes = folder.file("p.yaml", "- {from: pod/default/client, to: 'svc/default/kubernetes:443'}\n");
    let one = ["--from", "pod/default/client", "--to", "svc/default/kubernetes:443"];
    for args in [&["trace", one[0], one[1], one[2], one[3]][..], &["probe", "-p", &probes], &["matrix"], &["export", "rules"]] {
        let args: Vec<&str> = args.iter().copied().chain(["-f", &file]).collect();
        let said = pktlab(&args);
        assert_eq!(said.code, 0, "{args:?} {}", said.err);
        assert!(said.err.contains("pod.yaml:5:") && said.err.contains("did you mean `nodeName`"), "{args:?} {}", said.err);
    }
}

#[test]
fn probes_say_what_is_not_modelled_where_that_is_their_exit_code() {
    let folder = Folder::new("policy");
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny}\nspec: {podSelector: {}}\n";
    let (shop, policy) = (folder.file("shop.yaml", SHOP), folder.file("policy.yaml", policy));
    let probes = folder.file("p.yaml", "- {from: pod/default/client, to: 'svc/default/shop:80'}\n");
    let said = pktlab(&["probe", "-f", &shop, "-f", &policy, "-p", &probes]);
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.out.contains("not modelled: ") && said.out.contains("NetworkPolicy default/deny"), "{}", said.out);
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_mistake() {
    let folder = Folder::new("bom");
    let text = "\u{feff}Scenario(\r\n  title: \"x\",\r\n  network: [Ns(\"a\")],\r\n)\r\n";
    assert_eq!(pktlab(&["run", &folder.file("x.ron", text)]).code, 0);
    let probes = "\u{feff}[\r\n(from: \"external\", to: \"10.0.0.1:80\")]\r\n";
    assert_eq!(pktlab(&["probe", "-p", &folder.file("p.ron", probes)]).code, 0);
}

#[test]
fn what_a_rule_sends_out_of_the_cluster_has_left_it() {
    let folder = Folder::new("outside");
    let file = folder.file(
        "outside.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: outside}\nspec: {ports: [{port: 80}]}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {name: outside-1, labels: {kubernetes.io/service-name: outside}}\naddressType: IPv4\n\
         ports: [{port: 80, protocol: TCP}]\nendpoints: [{addresses: [\"203.0.113.80\"]}]\n",
    );
    let said = pktlab(&["trace", WEB[0], WEB[1], "-f", &file, "--from", "pod/default/client", "--to", "svc/default/outside:80"]);
    assert!(said.out.contains("left_model  PL0301") && said.out.contains("collect "), "{}", said.out);
    let said = pktlab(&["trace", WEB[0], WEB[1], "--from", "pod/default/client", "--to", "svc/default/web:81"]);
    assert!(said.out.contains("PL0218"), "{}", said.out);
}

#[test]
fn all_of_a_trace_counts_the_bytes_of_each_header() {
    let said = pktlab(&[
        "trace",
        "-s",
        "scenarios/book/ch1/two-hosts.ron",
        "--from",
        "ns/client",
        "--to",
        "http://10.0.0.2/",
        "--explain",
        "full",
    ]);
    for sum in ["74 bytes = 14 ethernet + 20 ipv4 + 40 tcp", "131 bytes = 14 ethernet + 20 ipv4 + 32 tcp + 65 payload"] {
        assert!(said.out.contains(sum), "{sum} is missing in\n{}", said.out);
    }
}

#[test]
fn prefixes_of_both_families_are_all_that_a_dual_stack_cluster_needs() {
    let folder = Folder::new("dual");
    let six = "---\napiVersion: v1\nkind: Service\nmetadata: {name: six}\nspec: {ipFamilies: [IPv6], selector: {app: shop}, ports: [{port: 80, targetPort: 8080}]}\n";
    let file = folder.file("shop.yaml", &format!("{SHOP}{six}"));
    let both = ["--cluster-cidr", "10.244.0.0/16,fd00:10:244::/56", "--service-cluster-ip-range", "10.96.0.0/16,fd00:10:96::/112"];
    for to in ["svc/default/six:80", "http://six/"] {
        let args = ["trace", "-f", &file, "--from", "pod/default/client", "--to", to, "--expect", "outcome=delivered,status=200"];
        let args: Vec<&str> = args.into_iter().chain(both).collect();
        let said = pktlab(&args);
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        assert!(said.out.contains("source seen  fd00:10:244:"), "{}", said.out);
    }
}
