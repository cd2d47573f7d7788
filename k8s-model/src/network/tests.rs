use super::*;
use crate::config::ClusterConfig;
use crate::source::load_text;

fn planned_with(text: &str, change: impl FnOnce(&mut ClusterConfig)) -> (Cluster, Plan) {
    let mut config = ClusterConfig { nodes: 3, ..ClusterConfig::default() };
    change(&mut config);
    let cluster = Cluster::build(config, load_text("t.yaml", text).expect("loads")).expect("builds");
    let plan = plan(&cluster).expect("plans");
    (cluster, plan)
}

fn lines<'a>(plan: &'a Plan, netns: &str) -> Vec<&'a str> {
    plan.commands.iter().filter(|one| one.netns == netns && one.stdin.is_none()).map(|one| one.line.as_str()).collect()
}

const CLIENT: &str =
    "apiVersion: v1\nkind: Pod\nmetadata: {name: client}\nspec: {nodeName: kind-worker, containers: [{name: c, image: busybox}]}\n";

#[test]
fn a_pod_is_wired_as_ptp_wires_it() {
    let (_, plan) = planned_with(CLIENT, |_| {});
    assert_eq!(
        lines(&plan, "default/client"),
        [
            "ip link set lo up",
            "ip link set eth0 up",
            "ip addr add 10.244.1.2/24 dev eth0",
            "ip route add default via 10.244.1.1 dev eth0",
            "ip route del 10.244.1.0/24 dev eth0",
            "ip route add 10.244.1.1 dev eth0 src 10.244.1.2",
            "ip route add 10.244.1.0/24 via 10.244.1.1 dev eth0 src 10.244.1.2",
        ]
    );
    let link = plan.links.iter().find(|link| link.a.0 == "default/client").expect("a link");
    assert_eq!((link.a.1.as_str(), link.b.0.as_str()), ("eth0", "kind-worker"));
    assert_eq!(link.config, LinkConfig::default(), "a veth pair");
    let device = &link.b.1;
    assert!(device.len() == 12 && device.starts_with("veth"), "{device}");
    assert_eq!(
        lines(&plan, "kind-worker"),
        [
            "ip link set lo up".to_owned(),
            "ip link set eth0 up".to_owned(),
            "ip addr add 172.18.0.3/16 dev eth0".to_owned(),
            "ip route add default via 172.18.0.1 dev eth0".to_owned(),
            "sysctl -w net.ipv4.ip_forward=1".to_owned(),
            "sysctl -w net.ipv4.conf.all.route_localnet=1".to_owned(),
            "ip route add 10.244.0.0/24 via 172.18.0.2".to_owned(),
            "ip route add 10.244.2.0/24 via 172.18.0.4".to_owned(),
            format!("ip link set {device} up"),
            format!("ip addr add 10.244.1.1/32 dev {device}"),
            format!("ip route add 10.244.1.2 dev {device} scope host"),
        ]
    );
}

#[test]
fn nodes_and_the_world_outside_are_plugged_into_one_switch() {
    let (_, plan) = planned_with("", |c| c.node_link_delay_ns = 7);
    let cables: Vec<(&str, &str)> =
        plan.links.iter().filter(|link| link.b.0 == UNDERLAY).map(|link| (link.a.0.as_str(), link.b.1.as_str())).collect();
    assert_eq!(
        cables,
        [("external", "port0"), ("kind-control-plane", "port1"), ("kind-worker", "port2"), ("kind-worker2", "port3")]
    );
    assert!(plan.links.iter().filter(|link| link.b.0 == UNDERLAY).all(|link| link.config.delay == SimTime(7)));
    let switch = lines(&plan, UNDERLAY);
    assert_eq!(
        switch[..4],
        ["ip link add br0 type bridge", "ip link set br0 up", "ip link set port0 master br0", "ip link set port0 up"]
    );
    let outside = lines(&plan, EXTERNAL);
    assert!(outside.contains(&"ip addr add 172.18.0.1/16 dev eth0"));
    assert!(outside.contains(&"ip addr add 140.82.121.4/32 dev lo"));
    assert!(
        !outside.iter().any(|line| line.contains("10.244.") || line.contains("10.96.")),
        "it knows nothing of pods and Services"
    );
}

#[test]
fn rules_come_from_kubelet_kube_proxy_and_kindnet_in_that_order() {
    let (cluster, plan) = planned_with("", |_| {});
    let sets: Vec<&PlanCommand> = plan.commands.iter().filter(|one| one.netns == "kind-worker" && one.stdin.is_some()).collect();
    let by: Vec<&str> = sets.iter().map(|set| &*set.prov.generator).collect();
    assert_eq!(by, ["kubelet", "kube-proxy", "kube-proxy", "kindnet"]);
    assert!(sets.iter().all(|set| set.line == "iptables-restore --noflush"));
    let full = sets[2].stdin.as_ref().expect("a text");
    assert_eq!(crate::export_rules(&cluster, "kind-worker", 4).as_deref(), Ok(full.text.as_str()));
    let masquerade = &sets[3].stdin.as_ref().expect("a text").text;
    assert!(masquerade.contains("-A KIND-MASQ-AGENT -d 10.244.0.0/16 -j RETURN"), "{masquerade}");
    assert!(
        crate::export_rules(&cluster, "nowhere", 4)
            .expect_err("no such node")
            .to_string()
            .contains("the nodes are kind-control-plane")
    );
}

#[test]
fn two_families_are_wired_side_by_side() {
    let (_, plan) = planned_with(CLIENT, |c| {
        let net = |text: &str| text.parse().expect("a prefix");
        c.cluster_cidr.push(net("fd00:10:244::/56"));
        c.service_cluster_ip_range.push(net("fd00:10:96::/112"));
        c.node_network.push(net("fc00:f853:ccd:e793::/64"));
    });
    let pod = lines(&plan, "default/client");
    assert!(pod.contains(&"ip addr add fd00:10:244:1::2/64 dev eth0 nodad"), "{pod:?}");
    assert!(pod.contains(&"ip -6 route add fd00:10:244:1::/64 via fd00:10:244:1::1 dev eth0 src fd00:10:244:1::2"), "{pod:?}");
    let node = lines(&plan, "kind-worker");
    assert!(node.contains(&"sysctl -w net.ipv6.conf.all.forwarding=1"), "{node:?}");
    assert!(node.contains(&"ip -6 route add fd00:10:244::/64 via fc00:f853:ccd:e793::2"), "{node:?}");
    let sets = plan.commands.iter().filter(|one| one.netns == "kind-worker" && one.line == "ip6tables-restore --noflush");
    assert_eq!(sets.count(), 4);
}

#[test]
fn pods_on_the_hosts_network_are_found_in_their_node() {
    let host = CLIENT.replace("{nodeName", "{hostNetwork: true, nodeName");
    let (cluster, plan) = planned_with(&host, |_| {});
    assert!(plan.netns("default/client").is_none());
    assert_eq!(plan.netns_of_pod("default", "client").map(|ns| ns.name.as_str()), Some("kind-worker"));
    assert_eq!(plan.netns_by_ip("172.18.0.3".parse().expect("ip")).map(|ns| ns.kind), Some(NsKind::Node));
    assert_eq!(plan.resolver_of_pod("default", "client").map(|told| told.ndots), Some(0), "the node's own resolver");
    assert_eq!(cluster.pod("default", "client").map(|pod| pod.meta.name.as_str()), Some("client"));
    assert_eq!(cluster.service("default", "kubernetes").map(|service| service.ports.len()), Some(1));
    let dns = cluster.service_by_ip("10.96.0.10".parse().expect("ip")).map(|service| service.meta.full_name());
    assert_eq!(dns.as_deref(), Some("kube-system/kube-dns"));
}

#[test]
fn a_workload_stands_for_its_first_pod() {
    let (cluster, _) = planned_with("", |_| {});
    let pod = cluster.pod("kube-system", "coredns").expect("a replica");
    assert!(pod.meta.name.starts_with("coredns-"));
    assert_eq!(cluster.pod_by_ip(pod.ips[0]).map(|pod| pod.meta.name.clone()), Some(pod.meta.name.clone()));
}

#[test]
fn balanced_addresses_enter_by_a_node_and_that_is_said() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: LoadBalancer, externalIPs: [172.18.0.3], ports: [{port: 80}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.7}]}}\n";
    let (_, plan) = planned_with(text, |_| {});
    let outside = lines(&plan, EXTERNAL);
    assert!(outside.contains(&"ip route add 192.0.2.7 via 172.18.0.3"), "{outside:?}");
    assert!(!outside.iter().any(|line| line.contains("route add 172.18.0.3")), "a node's own address needs no route");
    assert!(
        plan.assumptions.iter().any(|note| note.contains("192.0.2.7 (Service default/web) enter the cluster by node kind-worker"))
    );
}

#[test]
fn nodes_of_a_dump_elsewhere_get_a_network_of_their_own() {
    let node = |name: &str, ip: &str| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nstatus: {{addresses: [{{type: InternalIP, address: {ip}}}]}}\n---\n"
        )
    };
    let (_, plan) = planned_with(&(node("a", "192.168.7.1") + &node("b", "192.168.6.2")), |_| {});
    assert!(lines(&plan, "a").contains(&"ip addr add 192.168.7.1/23 dev eth0"));
    assert!(lines(&plan, EXTERNAL).contains(&"ip addr add 192.168.6.1/23 dev eth0"));
    assert!(plan.assumptions.iter().any(|note| note.contains("one link, 192.168.6.0/23")), "{:?}", plan.assumptions);
}

#[test]
fn a_dump_whose_pod_has_the_gateways_address_gets_another_gateway() {
    let (_, plan) = planned_with(&format!("{}status: {{podIP: 10.244.1.1}}\n", CLIENT), |_| {});
    let pod = lines(&plan, "default/client");
    assert!(pod.contains(&"ip addr add 10.244.1.1/24 dev eth0"), "{pod:?}");
    assert!(pod.contains(&"ip route add default via 10.244.1.2 dev eth0"), "{pod:?}");
    plan.apply(&mut Network::new(1, stack::TraceMode::Off)).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_same_cluster_gives_the_same_plan() {
    let (_, one) = planned_with(CLIENT, |_| {});
    let (_, two) = planned_with(CLIENT, |_| {});
    assert_eq!(one, two);
    let (_, more) = planned_with(&format!("{CLIENT}---\n{}", CLIENT.replace("client", "other")), |_| {});
    let device = |plan: &Plan| plan.links.iter().find(|link| link.a.0 == "default/client").map(|link| link.b.1.clone());
    assert_eq!(device(&one), device(&more), "another pod does not rename the first one's device");
}

#[test]
fn every_line_of_a_plan_is_a_command() {
    let (_, plan) = planned_with(CLIENT, |c| {
        let net = |text: &str| text.parse().expect("a prefix");
        c.cluster_cidr.push(net("fd00:10:244::/56"));
        c.service_cluster_ip_range.push(net("fd00:10:96::/112"));
        c.node_network.push(net("fc00:f853:ccd:e793::/64"));
    });
    let mut provenances = Provenances::default();
    for one in &plan.commands {
        let command = one.command(&mut provenances).unwrap_or_else(|error| panic!("`{}`: {error}", one.line));
        let printed = command.to_string();
        let again = match command.stdin() {
            Some(stdin) => Command::with_stdin(&printed, stdin.clone()),
            None => printed.parse(),
        };
        assert_eq!(again.as_ref(), Ok(&command), "`{}` prints as `{printed}`", one.line);
    }
}

#[test]
fn the_plan_builds_a_network() {
    let (_, plan) = planned_with(CLIENT, |_| {});
    let mut network = Network::new(1, stack::TraceMode::default());
    if let Err(error) = plan.apply(&mut network) {
        panic!("{error}");
    }
    assert_eq!(network.names().count(), plan.namespaces.len());
}

#[test]
#[ignore = "reads the files below the directories that PKTLAB_MANIFESTS names"]
fn every_manifest_becomes_a_plan_or_an_error() {
    let paths = std::env::var("PKTLAB_MANIFESTS").expect("PKTLAB_MANIFESTS is set");
    let (mut plans, mut refused) = (0, 0);
    for path in paths.split(':') {
        for file in crate::source::manifest_files(path.as_ref()).expect("files") {
            let built = crate::load_paths(std::slice::from_ref(&file))
                .and_then(|manifests| Cluster::build(ClusterConfig::default(), manifests))
                .and_then(|cluster| plan(&cluster).map(|plan| (cluster, plan)));
            match built {
                Ok((cluster, plan)) => {
                    plans += 1;
                    let rules: u32 = plan.commands.iter().filter_map(|one| one.stdin.as_ref()).map(RuleText::lines).sum();
                    println!(
                        "{}: {} pods, {} Services, {} namespaces, {} commands, {rules} lines of rules, {} servers, {} DNS names, {} assumptions",
                        file.display(),
                        cluster.pods.len(),
                        cluster.services.len(),
                        plan.namespaces.len(),
                        plan.commands.len(),
                        plan.servers.len(),
                        dns::zones(&cluster).records.len(),
                        plan.assumptions.len()
                    );
                    let mut network = Network::new(1, stack::TraceMode::Off);
                    plan.apply(&mut network).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                }
                Err(errors) => {
                    refused += 1;
                    println!("{}: refused: {}", file.display(), errors.0[0]);
                }
            }
        }
    }
    println!("{plans} plans, {refused} refused");
    assert!(plans > 0, "nothing was planned");
}
