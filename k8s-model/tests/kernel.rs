//! The plan against the real tools: its commands run, its rules load, and a packet arrives, in namespaces of this machine.
//!
//! Needs root, `ip` and `iptables-restore`; skipped, loudly, where they are missing, unless `PKTLAB_REQUIRE_KERNEL=1`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use pktlab_k8s_model::network::PlanCommand;
use pktlab_k8s_model::{Cluster, ClusterConfig, Plan, export_saved_rules, load_text, plan};

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: example/web:1, ports: [{containerPort: 8080, hostPort: 8088}, {containerPort: 53, hostPort: 5353, protocol: UDP}, {containerPort: 9, protocol: SCTP}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  externalIPs: [198.51.100.9]
  externalTrafficPolicy: Local
  sessionAffinity: ClientIP
  loadBalancerSourceRanges: [172.18.0.0/16, 203.0.113.0/24]
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: dns, port: 53, protocol: UDP}
  - {name: sctp, port: 9, protocol: SCTP}
status: {loadBalancer: {ingress: [{ip: 192.0.2.7}, {ip: 192.0.2.8, ipMode: Proxy}]}}
---
apiVersion: v1
kind: Service
metadata: {name: near}
spec: {selector: {app: web}, internalTrafficPolicy: Local, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {type: NodePort, selector: {app: nobody}, externalIPs: [198.51.100.10], ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: c, image: busybox}]}
";

/// Whether the tools are there and may be used; a missing one fails the test where the kernel is required.
fn kernel(test: &str) -> bool {
    let works = |tool: &str, arguments: &[&str]| {
        let status = Command::new(tool).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let probe = format!("pkltest-{}-{test}", std::process::id());
    let ready = works("ip", &["netns", "add", &probe])
        && works("ip", &["netns", "exec", &probe, "iptables-save"])
        && works("ip", &["netns", "exec", &probe, "ip6tables-save"]);
    works("ip", &["netns", "del", &probe]);
    if !ready {
        assert!(
            std::env::var_os("PKTLAB_REQUIRE_KERNEL").is_none(),
            "PKTLAB_REQUIRE_KERNEL is set, but root, ip or iptables is missing"
        );
        eprintln!("SKIPPED: this test needs root, ip and iptables");
    }
    ready
}

/// The rules of a table dump, without counters and what names the run: comparable as a set of chains.
fn rules_of(saved: &str) -> Vec<String> {
    let mut table = String::new();
    let mut rules = Vec::new();
    for line in saved.lines().filter(|line| !line.starts_with('#') && *line != "COMMIT") {
        match line.strip_prefix('*') {
            Some(name) => name.clone_into(&mut table),
            None => rules.push(format!("{table} {}", line.split(" [").next().unwrap_or_default())),
        }
    }
    // Chains are a set; the rules of a chain are a list, and stay in order: the sort is stable.
    rules.sort_by(|a, b| chain_of(a).cmp(chain_of(b)));
    rules
}

/// `nat :KUBE-SERVICES` or `nat -A KUBE-SERVICES`.
fn chain_of(rule: &str) -> &str {
    let words = if rule.contains(" :") { 2 } else { 3 };
    rule.match_indices(' ').nth(words - 1).map_or(rule, |(end, _)| &rule[..end])
}

/// The namespaces of a plan on this machine, removed at the end.
struct RealNetwork {
    names: BTreeMap<String, String>,
}

impl Drop for RealNetwork {
    fn drop(&mut self) {
        for name in self.names.values() {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn run(arguments: &[&str], stdin: Option<&str>) -> Result<String, String> {
    let mut command = Command::new(arguments[0]);
    command.args(&arguments[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut pipe = child.stdin.take().expect("stdin is piped");
    let text = stdin.unwrap_or_default().to_owned();
    let written = pipe.write_all(text.as_bytes());
    drop(pipe);
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        written.map_err(|error| error.to_string())?;
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("`{}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)))
}

impl RealNetwork {
    fn new(plan: &Plan, tag: &str) -> Self {
        let name = |(index, ns): (usize, &pktlab_k8s_model::network::PlanNs)| {
            (ns.name.clone(), format!("pkltest-{}-{tag}{index}", std::process::id()))
        };
        let network = Self { names: plan.namespaces.iter().enumerate().map(name).collect() };
        for name in network.names.values() {
            run(&["ip", "netns", "add", name], None).expect("a namespace");
        }
        for link in &plan.links {
            let (a, b) = (&network.names[&link.a.0], &network.names[&link.b.0]);
            let words = ["ip", "-n", a, "link", "add", &link.a.1, "type", "veth", "peer", "name", &link.b.1, "netns", b];
            run(&words, None).expect("a veth pair");
        }
        network
    }

    fn exec(&self, netns: &str, line: &str, stdin: Option<&str>) -> Result<String, String> {
        let mut words = vec!["ip", "netns", "exec", &self.names[netns]];
        words.extend(line.split(' '));
        run(&words, stdin)
    }

    fn command(&self, command: &PlanCommand) -> Result<String, String> {
        self.exec(&command.netns, &command.line, command.stdin.as_ref().map(|text| text.text.as_str()))
    }
}

fn config(change: impl FnOnce(&mut ClusterConfig)) -> ClusterConfig {
    let mut config = ClusterConfig { nodes: 3, ..ClusterConfig::default() };
    change(&mut config);
    config
}

fn dual_stack(config: &mut ClusterConfig) {
    let net = |text: &str| text.parse().expect("a prefix");
    config.cluster_cidr.push(net("fd00:10:244::/56"));
    config.service_cluster_ip_range.push(net("fd00:10:96::/112"));
    config.node_network.push(net("fc00:f853:ccd:e793::/64"));
}

fn planned(config: ClusterConfig) -> (Cluster, Plan) {
    let cluster = Cluster::build(config, load_text("web.yaml", WEB).expect("loads")).expect("builds");
    let plan = plan(&cluster).expect("plans");
    (cluster, plan)
}

#[test]
fn the_rules_of_every_node_pass_the_real_iptables_restore() {
    if !kernel("rules") {
        return;
    }
    let net = |text: &str| vec![text.parse().expect("a prefix")];
    let variants: [(&str, ClusterConfig); 5] = [
        ("default", config(|_| {})),
        ("dual stack", config(dual_stack)),
        (
            "masquerade all, node ports on the nodes' own addresses",
            config(|c| {
                c.masquerade_all = true;
                c.nodeport_addresses = net("172.18.0.0/16");
            }),
        ),
        (
            "by bridge",
            config(|c| {
                c.detect_local_mode = "BridgeInterface".parse().expect("a mode");
                c.pod_bridge_interface = "cni0".to_owned();
            }),
        ),
        (
            "by device",
            config(|c| {
                c.detect_local_mode = "InterfaceNamePrefix".parse().expect("a mode");
                c.pod_interface_name_prefix = "veth".to_owned();
                c.iptables_localhost_nodeports = false;
            }),
        ),
    ];
    for (index, (what, config)) in variants.into_iter().enumerate() {
        let (_, plan) = planned(config);
        let sets: Vec<&PlanCommand> = plan.commands.iter().filter(|command| command.stdin.is_some()).collect();
        assert!(sets.len() >= 4 * 3, "{what}: {} rule sets", sets.len());
        let network = RealNetwork::new(&plan, &format!("r{index}-"));
        for set in sets {
            let text = set.stdin.as_ref().map(|text| text.text.as_str());
            if let Err(error) = network.exec(&set.netns, &format!("{} --test", set.line), text) {
                panic!("{what}: {error}\n{}", text.unwrap_or_default());
            }
            network.command(set).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
}

#[test]
fn every_command_of_a_plan_runs_and_pods_reach_each_other_across_nodes() {
    if !kernel("plan") {
        return;
    }
    for (tag, families, config) in [("4-", &[4][..], config(|_| {})), ("46-", &[4, 6][..], config(dual_stack))] {
        let (cluster, plan) = planned(config);
        let network = RealNetwork::new(&plan, tag);
        for command in &plan.commands {
            network.command(command).unwrap_or_else(|error| panic!("{}: {error}", command.netns));
        }
        let client = cluster.pod("default", "client").expect("the client");
        let other =
            cluster.pods.iter().find(|pod| pod.meta.namespace == "default" && pod.node != client.node).expect("a pod elsewhere");
        for &family in families {
            let far = other.ip(family).expect("an address");
            let answer = network.exec("default/client", &format!("ping -c 1 -W 3 {far}"), None);
            assert!(answer.as_ref().is_ok_and(|answer| answer.contains("1 received")), "pod to pod: {answer:?}");
            // Masqueraded by kindnet: the world outside has no route to pods.
            let gateway = plan.netns("external").expect("external").ips[if family == 4 { 0 } else { 1 }];
            let answer = network.exec("default/client", &format!("ping -c 1 -W 3 {gateway}"), None);
            assert!(answer.as_ref().is_ok_and(|answer| answer.contains("1 received")), "pod to outside: {answer:?}");
        }
        let route = network.exec(client.node.as_deref().expect("a node"), "ip route", None).expect("routes");
        let own = client.ip(4).expect("an address");
        assert!(route.contains(&format!("{own} dev veth")) && route.contains("scope host"), "{route}");
        let refused = network.exec("default/client", "ip route get 10.96.0.1", None).expect("a route");
        assert!(refused.contains("via 10.244."), "{refused}");
    }
}

#[test]
fn the_rules_are_given_back_as_the_real_iptables_save_gives_them_back() {
    if !kernel("save") {
        return;
    }
    let (cluster, plan) = planned(config(dual_stack));
    let network = RealNetwork::new(&plan, "s-");
    for set in plan.commands.iter().filter(|command| command.stdin.is_some()) {
        network.command(set).unwrap_or_else(|error| panic!("{error}"));
    }
    for node in &cluster.nodes {
        for (family, save) in [(4, "iptables-save"), (6, "ip6tables-save")] {
            let real = rules_of(&network.exec(&node.name, save, None).expect("a dump"));
            let ours = rules_of(&export_saved_rules(&cluster, &node.name, family).expect("rules"));
            assert!(real.len() > 40, "{} rules", real.len());
            let differing = real.iter().zip(&ours).find(|(real, ours)| real != ours);
            assert_eq!((differing, real.len()), (None, ours.len()), "{}, IPv{family}: real, ours", node.name);
        }
    }
}
