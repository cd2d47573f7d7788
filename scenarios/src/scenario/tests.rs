use super::*;

fn read_text(text: &str) -> Result<ScenarioFile, Problems> {
    parse("x.ron", PathBuf::from("."), text.to_owned(), &[])
}

fn refused(text: &str) -> String {
    read_text(text).expect_err("must be refused").render(false)
}

#[test]
fn the_example_of_the_contract_has_this_shape() {
    let text = r#"
    Scenario(
        title: "A pod reaches a Service on another node",
        seed: 1,
        network: [
            Ns("client"), Ns("router"),
            Link(a: "client/eth0", b: "router/eth0", delay: "50us", mtu: 1500),
            In("router", [Stdin("iptables-restore", file: "router.rules"), "sysctl -w net.ipv4.ip_forward=1"]),
        ],
        clusters: [Cluster(preset: Kind, nodes: 4, cni: Kindnet, proxy: Iptables, manifests: ["web.yaml", "service.yaml"])],
        steps: [
            At("0s",  Trace(name: "by address", from: "pod/default/dnsutils", to: "svc/default/web:80", expect: (outcome: Delivered, source_seen: "10.244.1.2"))),
            At("1s",  Shell(on: "client", "ping -c 1 10.96.0.1")),
            At("2s",  Kubectl("scale deployment web --replicas 0")),
            At("3s",  Link("client/eth0", Down)),
            At("4s",  Packet(from: "client/eth0", hex: "...")),
        ],
    )"#;
    let scenario: Scenario = read_ron("x.ron", text).unwrap_or_else(|problem| panic!("{}", problem.render(false)));
    assert_eq!(scenario.network.len(), 4);
    let Item::In(name, commands) = &scenario.network[3] else { panic!("{:?}", scenario.network[3]) };
    assert_eq!(name, "router");
    assert_eq!(commands[0], CommandSpec::Stdin("iptables-restore".to_owned(), "router.rules".to_owned()));
    assert_eq!(commands[1], CommandSpec::Line("sysctl -w net.ipv4.ip_forward=1".to_owned()));
    let Timed::At(time, Action::Trace(question)) = &scenario.steps[0] else { panic!("{:?}", scenario.steps[0]) };
    assert_eq!((time.as_str(), question.name.as_deref()), ("0s", Some("by address")));
    assert!(matches!(&scenario.steps[1], Timed::At(_, Action::Shell(on, line)) if on == "client" && line.starts_with("ping")));
    assert!(matches!(&scenario.steps[3], Timed::At(_, Action::Link(_, Carrier::Down))));
}

#[test]
fn an_unknown_field_is_underlined_and_the_right_one_named() {
    let shown = refused("Scenario(\n    title: \"x\",\n    sead: 3,\n)\n");
    assert!(shown.contains("x.ron:3:5") && shown.contains("^^^^"), "{shown}");
    assert!(shown.contains("`seed` was probably meant"), "{shown}");
}

#[test]
fn a_wrong_type_and_a_wrong_word_are_underlined() {
    let shown = refused("Scenario(\n    title: \"x\",\n    seed: \"one\",\n)\n");
    assert!(shown.contains("x.ron:3:"), "{shown}");
    let shown = refused("Scenario(title: \"x\", clusters: [Cluster(\n  cni: Kidnet,\n)])");
    assert!(shown.contains("x.ron:2:8") && shown.contains("`Kindnet` was probably meant"), "{shown}");
}

#[test]
fn mistakes_inside_strings_are_pointed_at() {
    let shown = refused(
        "Scenario(title: \"x\", steps: [\n  At(\"1 parsec\", Trace(from: \"pod/default/a\", to: \"svc/default/web:http_\")),\n])",
    );
    assert!(shown.contains("is not a time"), "{shown}");
    assert!(shown.contains("`http_` is no port") && shown.contains("^^^^^"), "{shown}");
    let shown = refused("Scenario(title: \"x\", steps: [At(\"0s\", Packet(from: \"a/eth0\", hex: \"00 0g\"))])");
    assert!(shown.contains("`g` is no hexadecimal digit"), "{shown}");
}

#[test]
fn what_is_not_modelled_says_so_with_its_place_and_another_exit_code() {
    let text = "Scenario(title: \"x\", steps: [\n  At(\"0s\", Kubectl(\"scale deployment web --replicas 0\")),\n])";
    let problems = read_text(text).expect_err("not modelled");
    assert_eq!(problems.exit_code(), 3);
    let shown = problems.render(false);
    assert!(shown.contains("unsupported") && shown.contains("x.ron:2:"), "{shown}");
}

#[test]
fn a_file_that_is_missing_is_named_with_the_folder_it_was_looked_for() {
    let shown = refused("Scenario(title: \"x\", clusters: [Cluster(manifests: [\"nowhere.yaml\"])])");
    assert!(shown.contains("nowhere.yaml: no such file") && shown.contains("folder of the scenario"), "{shown}");
}

#[test]
fn labels_are_blanked_only_where_they_stand() {
    let text = "[Stdin(\"a\", file: \"b\"), Shell(on: \"c\", \"on: file:\"), Link(on: 1)] // Shell(on: \"x\")";
    let blanked = literals::without_labels(text);
    assert_eq!(blanked.len(), text.len());
    assert_eq!(blanked, "[Stdin(\"a\",       \"b\"), Shell(    \"c\", \"on: file:\"), Link(on: 1)] // Shell(on: \"x\")");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        let _ = read_text(&text);
        let _ = read_text(&format!("Scenario(title: \"x\", steps: [{text}])"));
    }
}
