use std::collections::BTreeMap;

use super::*;
use crate::config::ClusterConfig;
use crate::source::load_text;

/// Three workers; the proxies of the tests run on `kind-worker`, whose address is 172.18.0.3.
const NODE: &str = "kind-worker";

fn cluster_with(text: &str, change: impl FnOnce(&mut ClusterConfig)) -> Cluster {
    let mut config = ClusterConfig::default();
    change(&mut config);
    Cluster::build(config, load_text("t.yaml", text).expect("loads")).expect("builds")
}

fn cluster(text: &str) -> Cluster {
    cluster_with(text, |_| {})
}

/// A Service `shop/web` with a port `http` 80/TCP, and what else its spec says.
fn service(spec: &str, status: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {{clusterIP: 10.96.1.1, {spec}}}\nstatus: {{{status}}}\n---\n"
    )
}

const PORT: &str = "ports: [{name: http, port: 80, targetPort: 8080}]";
const NODE_PORT: &str = "ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]";

/// A slice of `shop/web`; each endpoint is its address, its node, and further fields.
fn slice(name: &str, endpoints: &[(&str, &str, &str)]) -> String {
    let entry = |(ip, node, more): &(&str, &str, &str)| format!("- {{addresses: [{ip}], nodeName: {node}, {more}}}\n");
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints:\n{}---\n",
        endpoints.iter().map(entry).collect::<String>()
    )
}

const LOCAL: (&str, &str, &str) = ("10.244.1.5", "kind-worker", "");
const REMOTE: (&str, &str, &str) = ("10.244.2.6", "kind-worker2", "");

/// Rules by `table chain`, of the full sync of [`NODE`].
fn chains(cluster: &Cluster) -> BTreeMap<String, Vec<String>> {
    chains_of(cluster, NODE, 4)
}

fn chains_of(cluster: &Cluster, node: &str, family: u8) -> BTreeMap<String, Vec<String>> {
    let text = sync(cluster, cluster.node(node).expect("the node"), family).text;
    let mut table = "";
    let mut result: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(chain) = line.strip_prefix(':') {
            let chain = chain.strip_suffix(" - [0:0]").expect("a chain line");
            assert!(result.insert(format!("{table} {chain}"), Vec::new()).is_none(), "{chain} twice");
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let (chain, rule) = rule.split_once(' ').expect("a rule");
            result.get_mut(&format!("{table} {chain}")).expect("the chain is declared").push(rule.to_owned());
        } else {
            assert_eq!(line, "COMMIT");
        }
    }
    for (chain, rules) in &result {
        for target in rules.iter().filter_map(|rule| rule.rsplit_once("-j ").map(|(_, target)| target)) {
            let table = chain.split(' ').next().expect("a table");
            let known = result.contains_key(&format!("{table} {target}"));
            assert!(known || !target.starts_with("KUBE-"), "{chain} jumps to {target}, which is not there");
        }
    }
    result
}

fn chain(chains: &BTreeMap<String, Vec<String>>, name: &str) -> Vec<String> {
    chains.get(name).cloned().unwrap_or_default()
}

/// The rules of a chain that mention `shop/web`.
fn about_web(chains: &BTreeMap<String, Vec<String>>, name: &str) -> Vec<String> {
    chain(chains, name).into_iter().filter(|rule| rule.contains("shop/web")).collect()
}

/// Names of the chains of `shop/web:http`: base32 of sha256 of `shop/web:httptcp`.
fn own(kind: ChainKind) -> String {
    super::super::names::service_chain(kind, "shop/web:http", crate::api::Protocol::Tcp)
}

fn sep(endpoint: &str) -> String {
    super::super::names::endpoint_chain("shop/web:http", crate::api::Protocol::Tcp, endpoint)
}

fn nat(chain: &str) -> String {
    format!("nat {chain}")
}

#[test]
fn the_base_chains_are_those_of_every_node() {
    let chains = chains(&cluster(""));
    assert_eq!(
        chain(&chains, "nat KUBE-POSTROUTING"),
        [
            "-m mark ! --mark 0x4000/0x4000 -j RETURN",
            "-j MARK --xor-mark 0x4000",
            "-m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully",
        ]
    );
    assert_eq!(chain(&chains, "nat KUBE-MARK-MASQ"), ["-j MARK --or-mark 0x4000"]);
    assert_eq!(
        chain(&chains, "filter KUBE-FORWARD"),
        [
            "-m conntrack --ctstate INVALID -j DROP",
            "-m comment --comment \"kubernetes forwarding rules\" -m mark --mark 0x4000/0x4000 -j ACCEPT",
            "-m comment --comment \"kubernetes forwarding conntrack rule\" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ]
    );
    assert_eq!(
        chain(&chains, "filter KUBE-FIREWALL"),
        [
            "-m comment --comment \"block incoming localnet connections\" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
        ]
    );
    assert_eq!(
        chain(&chains, "nat KUBE-SERVICES"),
        [
            "-m comment --comment \"default/kubernetes:https cluster IP\" -m tcp -p tcp -d 10.96.0.1 --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y",
            "-m comment --comment \"kube-system/kube-dns:dns cluster IP\" -m udp -p udp -d 10.96.0.10 --dport 53 -j KUBE-SVC-TCOU7JCQXEZGVUNU",
            "-m comment --comment \"kube-system/kube-dns:dns-tcp cluster IP\" -m tcp -p tcp -d 10.96.0.10 --dport 53 -j KUBE-SVC-ERIFXISQEP7F7OF4",
            "-m comment --comment \"kube-system/kube-dns:metrics cluster IP\" -m tcp -p tcp -d 10.96.0.10 --dport 9153 -j KUBE-SVC-JD5MR3NA4I4DYORP",
            "-m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
        ]
    );
    assert_eq!(
        chain(&chains, "nat KUBE-SVC-TCOU7JCQXEZGVUNU"),
        [
            "-m comment --comment \"kube-system/kube-dns:dns cluster IP\" -m udp -p udp -d 10.96.0.10 --dport 53 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ",
            "-m comment --comment \"kube-system/kube-dns:dns -> 10.244.0.2:53\" -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-YIL6JZP7A3QYXJU2",
            "-m comment --comment \"kube-system/kube-dns:dns -> 10.244.0.3:53\" -j KUBE-SEP-6E7XQMQ4RAYOWTTM",
        ]
    );
    assert_eq!(
        chain(&chains, "nat KUBE-SEP-YIL6JZP7A3QYXJU2"),
        [
            "-m comment --comment kube-system/kube-dns:dns -s 10.244.0.2 -j KUBE-MARK-MASQ",
            "-m comment --comment kube-system/kube-dns:dns -m udp -p udp -j DNAT --to-destination 10.244.0.2:53",
        ]
    );
}

#[test]
fn jumps_end_up_in_the_order_of_a_real_node() {
    // What a chain holds after all insertions at its head.
    let text = base().text;
    let head = |chain: &str| {
        let mut rules: Vec<&str> = Vec::new();
        for line in text.lines().filter(|line| line.starts_with(&format!("-I {chain} "))) {
            rules.insert(0, line.rsplit(' ').next().expect("a target"));
        }
        rules
    };
    assert_eq!(head("INPUT"), ["KUBE-PROXY-FIREWALL", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES"]);
    assert_eq!(head("FORWARD"), ["KUBE-PROXY-FIREWALL", "KUBE-FORWARD", "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES"]);
    assert!(text.contains("-I PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n"));
}

#[test]
fn a_cluster_ip_spreads_by_chance_over_ready_endpoints_in_lexical_order() {
    let endpoints = [("10.244.2.10", "kind-worker2", ""), ("10.244.2.1", "kind-worker2", ""), ("10.244.2.2", "kind-worker2", "")];
    let chains = chains(&cluster(&(service(PORT, "") + &slice("a", &endpoints))));
    let rules = chain(&chains, &nat(&own(ChainKind::Cluster)));
    let order: Vec<&str> = rules.iter().filter_map(|rule| rule.split("-> ").nth(1)?.split('"').next()).collect();
    assert_eq!(order, ["10.244.2.10:8080", "10.244.2.1:8080", "10.244.2.2:8080"]);
    assert!(rules[1].contains("--probability 0.3333333333 "), "{}", rules[1]);
    assert!(rules[2].contains("--probability 0.5000000000 "), "{}", rules[2]);
    assert!(!rules[3].contains("statistic"), "{}", rules[3]);
    assert!(!chains.contains_key(&nat(&own(ChainKind::External))), "nothing outside reaches it");
}

#[test]
fn chances_are_rounded_as_printf_rounds_them() {
    let expected = [(1, "1.0000000000"), (3, "0.3333333333"), (6, "0.1666666667"), (7, "0.1428571429"), (1024, "0.0009765625")];
    for (n, text) in expected {
        assert_eq!(probability(n), text);
    }
    for n in 1..5000usize {
        assert_eq!(probability(n), format!("{:.10}", 1.0 / n as f64), "1/{n}");
    }
}

#[test]
fn no_endpoint_rejects_everywhere() {
    let text = service(
        &format!("type: LoadBalancer, externalIPs: [198.51.100.1], {NODE_PORT}"),
        "loadBalancer: {ingress: [{ip: 192.0.2.1}]}",
    );
    let not_ready = slice("a", &[("10.244.1.5", "kind-worker", "conditions: {ready: false}")]);
    for text in [text.clone(), text + &not_ready] {
        let chains = chains(&cluster(&text));
        let comment = "-m comment --comment \"shop/web:http has no endpoints\"";
        assert_eq!(
            about_web(&chains, "filter KUBE-SERVICES"),
            [format!("{comment} -m tcp -p tcp -d 10.96.1.1 --dport 80 -j REJECT")]
        );
        assert_eq!(
            about_web(&chains, "filter KUBE-EXTERNAL-SERVICES"),
            [
                format!("{comment} -m tcp -p tcp -d 198.51.100.1 --dport 80 -j REJECT"),
                format!("{comment} -m tcp -p tcp -d 192.0.2.1 --dport 80 -j REJECT"),
                format!("{comment} -m addrtype --dst-type LOCAL -m tcp -p tcp --dport 30080 -j REJECT"),
            ]
        );
        assert!(about_web(&chains, "nat KUBE-SERVICES").is_empty());
        assert!(!chains.contains_key(&nat(&own(ChainKind::External))));
    }
}

#[test]
fn outside_traffic_of_policy_cluster_is_masqueraded() {
    let spec = format!("type: NodePort, externalIPs: [198.51.100.1], {NODE_PORT}");
    let chains = chains(&cluster(&(service(&spec, "") + &slice("a", &[REMOTE]))));
    let (ext, svc) = (own(ChainKind::External), own(ChainKind::Cluster));
    assert_eq!(
        about_web(&chains, "nat KUBE-SERVICES"),
        [
            format!("-m comment --comment \"shop/web:http cluster IP\" -m tcp -p tcp -d 10.96.1.1 --dport 80 -j {svc}"),
            format!("-m comment --comment \"shop/web:http external IP\" -m tcp -p tcp -d 198.51.100.1 --dport 80 -j {ext}"),
        ]
    );
    assert_eq!(
        about_web(&chains, "nat KUBE-NODEPORTS"),
        [format!("-m comment --comment shop/web:http -m tcp -p tcp --dport 30080 -j {ext}")]
    );
    assert_eq!(
        chain(&chains, &nat(&ext)),
        [
            "-m comment --comment \"masquerade traffic for shop/web:http external destinations\" -j KUBE-MARK-MASQ".to_owned(),
            format!("-j {svc}"),
        ]
    );
    assert!(about_web(&chains, "filter KUBE-EXTERNAL-SERVICES").is_empty());
}

#[test]
fn external_policy_local_keeps_sources_and_short_circuits_pods_and_the_node() {
    let spec = format!("type: NodePort, externalTrafficPolicy: Local, {NODE_PORT}");
    let both = chains(&cluster(&(service(&spec, "") + &slice("a", &[LOCAL, REMOTE]))));
    let (ext, svc, svl) = (own(ChainKind::External), own(ChainKind::Cluster), own(ChainKind::Local));
    let short_circuit = [
        format!("-m comment --comment \"pod traffic for shop/web:http external destinations\" -s 10.244.0.0/16 -j {svc}"),
        "-m comment --comment \"masquerade LOCAL traffic for shop/web:http external destinations\" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ".to_owned(),
        format!("-m comment --comment \"route LOCAL traffic for shop/web:http external destinations\" -m addrtype --src-type LOCAL -j {svc}"),
    ];
    let rules = chain(&both, &nat(&ext));
    assert_eq!(rules[..3], short_circuit);
    assert_eq!(rules[3..], [format!("-j {svl}")]);
    assert_eq!(
        chain(&both, &nat(&svl)),
        [format!("-m comment --comment \"shop/web:http -> 10.244.1.5:8080\" -j {}", sep("10.244.1.5:8080"))]
    );
    assert_eq!(chain(&both, &nat(&svc)).len(), 3, "the clusterIP still spreads over both");

    let elsewhere = chains(&cluster(&(service(&spec, "") + &slice("a", &[REMOTE]))));
    assert_eq!(chain(&elsewhere, &nat(&ext)), short_circuit);
    assert!(!elsewhere.contains_key(&nat(&svl)));
    assert_eq!(
        about_web(&elsewhere, "filter KUBE-EXTERNAL-SERVICES"),
        [
            "-m comment --comment \"shop/web:http has no local endpoints\" -m addrtype --dst-type LOCAL -m tcp -p tcp --dport 30080 -j DROP"
        ]
    );
    assert!(about_web(&elsewhere, "filter KUBE-SERVICES").is_empty(), "the policy of outside traffic does not touch the clusterIP");
}

#[test]
fn internal_policy_local_uses_local_endpoints_or_drops() {
    let spec = format!("internalTrafficPolicy: Local, {PORT}");
    let svl = own(ChainKind::Local);
    let both = chains(&cluster(&(service(&spec, "") + &slice("a", &[LOCAL, REMOTE]))));
    assert_eq!(
        about_web(&both, "nat KUBE-SERVICES"),
        [format!("-m comment --comment \"shop/web:http cluster IP\" -m tcp -p tcp -d 10.96.1.1 --dport 80 -j {svl}")]
    );
    assert!(chain(&both, &nat(&svl))[0].ends_with("! -s 10.244.0.0/16 -j KUBE-MARK-MASQ"));
    assert!(!both.contains_key(&nat(&own(ChainKind::Cluster))), "nothing uses the endpoints of policy Cluster");
    assert!(!both.contains_key(&nat(&sep("10.244.2.6:8080"))));

    let elsewhere = chains(&cluster(&(service(&spec, "") + &slice("a", &[REMOTE]))));
    assert_eq!(
        about_web(&elsewhere, "filter KUBE-SERVICES"),
        ["-m comment --comment \"shop/web:http has no local endpoints\" -m tcp -p tcp -d 10.96.1.1 --dport 80 -j DROP"]
    );
}

#[test]
fn source_ranges_guard_the_balancers_address_alone() {
    let status = "loadBalancer: {ingress: [{ip: 192.0.2.1}, {ip: 192.0.2.2, ipMode: Proxy}, {hostname: lb.example}]}";
    let spec = format!("type: LoadBalancer, loadBalancerSourceRanges: [' 203.0.113.0/24', 172.18.0.0/16], {NODE_PORT}");
    let guarded = chains(&cluster(&(service(&spec, status) + &slice("a", &[REMOTE]))));
    let (ext, firewall) = (own(ChainKind::External), own(ChainKind::Firewall));
    let vip = about_web(&guarded, "nat KUBE-SERVICES");
    assert_eq!(
        vip[1..],
        [format!("-m comment --comment \"shop/web:http loadbalancer IP\" -m tcp -p tcp -d 192.0.2.1 --dport 80 -j {firewall}")],
        "an address of mode Proxy is left alone"
    );
    let comment = "-m comment --comment \"shop/web:http loadbalancer IP\"";
    assert_eq!(
        chain(&guarded, &nat(&firewall)),
        [
            format!("{comment} -s 203.0.113.0/24 -j {ext}"),
            format!("{comment} -s 172.18.0.0/16 -j {ext}"),
            format!("{comment} -s 192.0.2.1 -j {ext}"),
            "-m comment --comment \"other traffic to shop/web:http will be dropped by KUBE-PROXY-FIREWALL\"".to_owned(),
        ],
        "the node is in a range, so what comes from the balancer's own address passes too"
    );
    assert_eq!(
        about_web(&guarded, "filter KUBE-PROXY-FIREWALL"),
        [format!(
            "-m comment --comment \"shop/web:http traffic not accepted by {firewall}\" -m tcp -p tcp -d 192.0.2.1 --dport 80 -j DROP"
        )]
    );
    assert!(about_web(&guarded, "nat KUBE-NODEPORTS")[0].ends_with(&ext), "node ports go around the ranges");

    let open = chains(&cluster(&(service(&format!("type: LoadBalancer, {NODE_PORT}"), status) + &slice("a", &[REMOTE]))));
    assert!(about_web(&open, "nat KUBE-SERVICES")[1].ends_with(&ext));
    assert!(!open.contains_key(&nat(&firewall)));
}

#[test]
fn health_check_node_ports_count_with_policy_local_only() {
    let of = |policy: &str| {
        let spec = format!("type: LoadBalancer, externalTrafficPolicy: {policy}, healthCheckNodePort: 31999, {NODE_PORT}");
        about_web(&chains(&cluster(&(service(&spec, "") + &slice("a", &[REMOTE])))), "filter KUBE-NODEPORTS")
    };
    assert_eq!(
        of("Local"),
        ["-m comment --comment \"shop/web:http health check node port\" -m tcp -p tcp --dport 31999 -j ACCEPT"]
    );
    assert!(of("Cluster").is_empty());
}

#[test]
fn affinity_remembers_clients_before_chance_decides() {
    let spec = format!("sessionAffinity: ClientIP, {PORT}");
    let chains = chains(&cluster(&(service(&spec, "") + &slice("a", &[LOCAL, REMOTE]))));
    let (one, two) = (sep("10.244.1.5:8080"), sep("10.244.2.6:8080"));
    let rules = chain(&chains, &nat(&own(ChainKind::Cluster)));
    let comment = |endpoint: &str| format!("-m comment --comment \"shop/web:http -> {endpoint}\"");
    assert_eq!(
        rules[1..],
        [
            format!("{} -m recent --name {one} --rcheck --seconds 10800 --reap -j {one}", comment("10.244.1.5:8080")),
            format!("{} -m recent --name {two} --rcheck --seconds 10800 --reap -j {two}", comment("10.244.2.6:8080")),
            format!("{} -m statistic --mode random --probability 0.5000000000 -j {one}", comment("10.244.1.5:8080")),
            format!("{} -j {two}", comment("10.244.2.6:8080")),
        ]
    );
    assert_eq!(
        chain(&chains, &nat(&one))[1],
        format!(
            "-m comment --comment shop/web:http -m recent --name {one} --set -m tcp -p tcp -j DNAT --to-destination 10.244.1.5:8080"
        )
    );
}

#[test]
fn terminating_endpoints_serve_when_nothing_is_ready() {
    let dying = |ip, node| (ip, node, "conditions: {ready: false, serving: true, terminating: true}");
    let gone = ("10.244.1.9", "kind-worker", "conditions: {ready: false, serving: false, terminating: true}");
    let targets = |endpoints: &[(&str, &str, &str)], kind| {
        let spec = format!("type: NodePort, externalTrafficPolicy: Local, {NODE_PORT}");
        let chains = chains(&cluster(&(service(&spec, "") + &slice("a", endpoints))));
        let rules = chain(&chains, &nat(&own(kind)));
        rules.iter().filter_map(|rule| rule.split("-> ").nth(1)?.split('"').next().map(str::to_owned)).collect::<Vec<_>>()
    };
    let mixed = [dying("10.244.1.5", "kind-worker"), REMOTE, gone];
    assert_eq!(targets(&mixed, ChainKind::Cluster), ["10.244.2.6:8080"], "one is ready");
    assert_eq!(targets(&mixed, ChainKind::Local), ["10.244.1.5:8080"], "the two lists fall back by themselves");
    assert_eq!(targets(&[dying("10.244.2.7", "kind-worker2"), gone], ChainKind::Cluster), ["10.244.2.7:8080"]);
}

#[test]
fn an_endpoint_in_two_slices_counts_once_and_the_local_one_wins() {
    let text = service(&format!("internalTrafficPolicy: Local, {PORT}"), "")
        + &slice("a", &[("10.244.1.5", "kind-worker2", "")])
        + &slice("b", &[("10.244.1.5", "kind-worker", "")]);
    let chains = chains(&cluster(&text));
    assert_eq!(chain(&chains, &nat(&own(ChainKind::Local))).len(), 2);
}

#[test]
fn hints_count_only_if_all_ready_endpoints_have_them() {
    let nodes = |zone: &str| {
        let node = |name: &str, ip: &str, zone: &str| {
            format!(
                "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{topology.kubernetes.io/zone: {zone}}}}}\nspec: {{}}\nstatus: {{addresses: [{{type: InternalIP, address: {ip}}}]}}\n---\n"
            )
        };
        node("kind-worker", "172.18.0.3", zone) + &node("kind-worker2", "172.18.0.4", "b")
    };
    let in_zone = |ip, node, zone: &'static str| (ip, node, zone);
    let a = in_zone("10.244.1.5", "kind-worker", "hints: {forZones: [{name: a}]}");
    let b = in_zone("10.244.2.6", "kind-worker2", "hints: {forZones: [{name: b}]}");
    let count = |zone: &str, endpoints: &[(&str, &str, &str)]| {
        let chains = chains(&cluster(&(nodes(zone) + &service(PORT, "") + &slice("a", endpoints))));
        chain(&chains, &nat(&own(ChainKind::Cluster))).len() - 1
    };
    assert_eq!(count("a", &[a, b]), 1);
    assert_eq!(count("c", &[a, b]), 2, "no endpoint is for this zone");
    assert_eq!(count("a", &[a, REMOTE]), 2, "one endpoint has no hint");
    let down = ("10.244.2.9", "kind-worker2", "conditions: {ready: false}");
    assert_eq!(count("a", &[a, b, down]), 1, "endpoints that are not ready are not asked");
    let node_hint = ("10.244.2.6", "kind-worker2", "hints: {forZones: [{name: a}], forNodes: [{name: kind-worker}]}");
    let other = ("10.244.1.5", "kind-worker", "hints: {forZones: [{name: b}], forNodes: [{name: kind-worker2}]}");
    let chains = chains(&cluster(&(nodes("b") + &service(PORT, "") + &slice("a", &[node_hint, other]))));
    assert!(chain(&chains, &nat(&own(ChainKind::Cluster)))[1].contains("10.244.2.6"), "nodes come before zones");
}

#[test]
fn what_tells_pods_decides_what_is_masqueraded() {
    let text = service(PORT, "") + &slice("a", &[REMOTE]);
    let head = |change: &dyn Fn(&mut ClusterConfig)| {
        let rule = chain(&chains(&cluster_with(&text, change)), &nat(&own(ChainKind::Cluster))).swap_remove(0);
        rule.split("--dport 80").nth(1).map(str::to_owned)
    };
    let mode = |text: &str| text.parse().expect("a mode");
    assert_eq!(head(&|_| {}).as_deref(), Some(" ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ"));
    assert_eq!(head(&|c| c.masquerade_all = true).as_deref(), Some(" -j KUBE-MARK-MASQ"));
    assert_eq!(head(&|c| c.detect_local_mode = mode("NodeCIDR")).as_deref(), Some(" ! -s 10.244.1.0/24 -j KUBE-MARK-MASQ"));
    let bridge = head(&|c| {
        c.detect_local_mode = mode("BridgeInterface");
        c.pod_bridge_interface = "cni0".to_owned();
    });
    assert_eq!(bridge.as_deref(), Some(" ! -i cni0 -j KUBE-MARK-MASQ"));
    let prefix = head(&|c| {
        c.detect_local_mode = mode("InterfaceNamePrefix");
        c.pod_interface_name_prefix = "veth".to_owned();
    });
    assert_eq!(prefix.as_deref(), Some(" ! -i veth+ -j KUBE-MARK-MASQ"));
}

#[test]
fn node_port_addresses_choose_the_local_addresses() {
    let last = |change: &dyn Fn(&mut ClusterConfig)| {
        let chains = chains(&cluster_with("", change));
        let rules = chain(&chains, "nat KUBE-SERVICES");
        let to = |rule: &String| {
            rule.strip_prefix(
                "-m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\" ",
            )
            .map(str::to_owned)
        };
        (rules.iter().filter_map(to).collect::<Vec<_>>(), chains.contains_key("filter KUBE-FIREWALL"))
    };
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a prefix")).collect::<Vec<ipnet::IpNet>>();
    assert_eq!(last(&|_| {}), (vec!["-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS".to_owned()], true));
    assert_eq!(
        last(&|c| c.iptables_localhost_nodeports = false),
        (vec!["-m addrtype --dst-type LOCAL ! -d 127.0.0.0/8 -j KUBE-NODEPORTS".to_owned()], false)
    );
    assert_eq!(
        last(&|c| c.nodeport_addresses = nets(&["172.18.0.0/16"])),
        (vec!["-d 172.18.0.3 -j KUBE-NODEPORTS".to_owned()], false),
        "without loopback among the addresses there is nothing to guard"
    );
    assert_eq!(
        last(&|c| c.nodeport_addresses = nets(&["172.18.0.0/16", "127.0.0.0/8"])),
        (vec!["-d 127.0.0.1 -j KUBE-NODEPORTS".to_owned(), "-d 172.18.0.3 -j KUBE-NODEPORTS".to_owned()], true)
    );
}

#[test]
fn each_family_has_its_own_services_and_endpoints() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {type: NodePort, ipFamilyPolicy: PreferDualStack, clusterIPs: [10.96.1.1, 'fd00:10:96::1'], externalIPs: ['2001:db8::9', 198.51.100.1], ports: [{name: http, port: 80, nodePort: 30080}]}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: six, namespace: shop, labels: {kubernetes.io/service-name: web}}\naddressType: IPv6\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: ['fd00:10:244:1::5'], nodeName: kind-worker}]\n";
    let cluster = cluster_with(text, |c| {
        let net = |text: &str| text.parse().expect("a prefix");
        c.cluster_cidr.push(net("fd00:10:244::/56"));
        c.service_cluster_ip_range.push(net("fd00:10:96::/112"));
        c.node_network.push(net("fc00:f853:ccd:e793::/64"));
    });
    let six = chains_of(&cluster, NODE, 6);
    let ext = own(ChainKind::External);
    assert_eq!(
        about_web(&six, "nat KUBE-SERVICES"),
        [
            format!(
                "-m comment --comment \"shop/web:http cluster IP\" -m tcp -p tcp -d fd00:10:96::1 --dport 80 -j {}",
                own(ChainKind::Cluster)
            ),
            format!("-m comment --comment \"shop/web:http external IP\" -m tcp -p tcp -d 2001:db8::9 --dport 80 -j {ext}"),
        ]
    );
    let chain_of_endpoint = chain(&six, &nat(&sep("[fd00:10:244:1::5]:8080")));
    assert!(chain_of_endpoint[1].ends_with("--to-destination [fd00:10:244:1::5]:8080"), "{chain_of_endpoint:?}");
    assert!(chain(&six, "nat KUBE-SERVICES").last().expect("a rule").ends_with("--dst-type LOCAL ! -d ::1/128 -j KUBE-NODEPORTS"));
    assert!(!six.contains_key("filter KUBE-FIREWALL"));
    let four = chains_of(&cluster, NODE, 4);
    assert_eq!(about_web(&four, "filter KUBE-SERVICES").len(), 1, "IPv4 has no endpoint");
}

#[test]
fn headless_and_named_services_have_no_rules() {
    let headless = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: None, selector: {a: b}, ports: [{port: 80}]}\n---\n";
    let named = "apiVersion: v1\nkind: Service\nmetadata: {name: web2, namespace: shop}\nspec: {type: ExternalName, externalName: example.com}\n";
    let cluster = cluster(&format!("{headless}{named}"));
    assert!(!sync(&cluster, cluster.node(NODE).expect("a node"), 4).text.contains("shop/"));
}

#[test]
fn more_than_a_thousand_endpoints_lose_their_comments() {
    let ips: Vec<String> = (0..1001).map(|n| format!("10.244.{}.{}", 2 + n / 250, n % 250 + 2)).collect();
    let endpoints: Vec<(&str, &str, &str)> = ips.iter().map(|ip| (ip.as_str(), "kind-worker2", "")).collect();
    let chains = chains(&cluster(&(service(PORT, "") + &slice("a", &endpoints[..500]) + &slice("b", &endpoints[500..]))));
    let rules = chain(&chains, &nat(&own(ChainKind::Cluster)));
    assert_eq!(rules.len(), 1002);
    assert!(rules[1].starts_with("-m statistic --mode random --probability 0.0009990010 -j KUBE-SEP-"), "{}", rules[1]);
    assert!(rules[0].contains("cluster IP"), "rules of Services keep theirs");
}

#[test]
fn every_line_knows_the_service_port_and_its_place() {
    let cluster = cluster(&(service(NODE_PORT, "").replace("ports:", "type: NodePort, ports:") + &slice("a", &[REMOTE])));
    let text = sync(&cluster, cluster.node(NODE).expect("a node"), 4);
    for (number, line) in text.text.lines().enumerate() {
        let prov = text.prov(number as u32).expect("every line has a provenance");
        if line.contains("shop/web:http") || line.starts_with(&format!(":{}", sep("10.244.2.6:8080"))) {
            let printed = prov.to_string();
            assert!(printed.starts_with("kube-proxy for Service shop/web spec.ports[0] (t.yaml:4"), "{line}: {printed}");
        } else if line.contains("KUBE-FORWARD") || line == "COMMIT" {
            assert_eq!(prov.to_string(), "kube-proxy", "{line}");
        }
    }
}
