use super::*;
use crate::source::load_text;

fn build(text: &str) -> Cluster {
    Cluster::build(ClusterConfig::default(), load_text("t.yaml", text).expect("loads")).expect("builds")
}

fn refused(text: &str) -> String {
    Cluster::build(ClusterConfig::default(), load_text("t.yaml", text).expect("loads")).expect_err("refused").to_string()
}

/// `namespace/name node ip` of each pod, without the cluster's own.
fn rows(cluster: &Cluster) -> Vec<String> {
    let own = |pod: &&ClusterPod| pod.meta.namespace != "kube-system";
    let row = |pod: &ClusterPod| {
        let ips: Vec<String> = pod.ips.iter().map(ToString::to_string).collect();
        format!("{} {} {}", pod.meta.full_name(), pod.node.as_deref().unwrap_or("-"), ips.join(","))
    };
    cluster.pods.iter().filter(own).map(row).collect()
}

fn deployment(name: &str, replicas: u32) -> String {
    format!(
        "\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: web
        image: example/web:1
        ports: [{{name: http, containerPort: 8080}}]
---
"
    )
}

fn service(name: &str, spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
}

#[test]
fn the_empty_cluster_is_kind_with_coredns_and_the_api_server() {
    let cluster = Cluster::empty(ClusterConfig::default()).expect("builds");
    let nodes: Vec<String> =
        cluster.nodes.iter().map(|node| format!("{} {} {}", node.name, node.ips[0], node.pod_cidrs[0])).collect();
    assert_eq!(
        nodes,
        [
            "kind-control-plane 172.18.0.2 10.244.0.0/24",
            "kind-worker 172.18.0.3 10.244.1.0/24",
            "kind-worker2 172.18.0.4 10.244.2.0/24",
            "kind-worker3 172.18.0.5 10.244.3.0/24",
        ]
    );
    let pods: Vec<(&str, String)> =
        cluster.pods.iter().map(|pod| (pod.node.as_deref().expect("a node"), pod.ips[0].to_string())).collect();
    assert_eq!(pods.iter().map(|pod| pod.0).collect::<Vec<_>>(), ["kind-control-plane"; 2]);
    assert_eq!(pods.iter().map(|pod| pod.1.as_str()).collect::<BTreeSet<_>>(), BTreeSet::from(["10.244.0.2", "10.244.0.3"]));
    let services: Vec<String> = cluster
        .services
        .iter()
        .map(|service| format!("{} {:?}", service.meta.full_name(), service.cluster_ips.addresses()))
        .collect();
    assert_eq!(services, ["default/kubernetes [10.96.0.1]", "kube-system/kube-dns [10.96.0.10]"]);
    let api = cluster.slices.iter().find(|slice| slice.service == "kubernetes").expect("a slice");
    assert_eq!(api.endpoints[0].addresses[0].to_string(), "172.18.0.2");
    assert_eq!(api.ports[0].port, Some(6443));
    let dns = cluster.slices.iter().find(|slice| slice.service == "kube-dns").expect("a slice");
    assert_eq!(dns.endpoints.len(), 2);
    assert_eq!(dns.ports.len(), 3);
    assert!(cluster.assumptions.is_empty(), "{:?}", cluster.assumptions);
}

#[test]
fn replicas_spread_over_the_workers_and_their_names_come_from_their_content() {
    let cluster = build(&(deployment("web", 3) + &deployment("db", 1)));
    let rows = rows(&cluster);
    assert_eq!(rows.len(), 4);
    let mut by_node: Vec<&str> = rows[1..].iter().map(|row| row.split(' ').nth(1).expect("node")).collect();
    by_node.sort_unstable();
    assert_eq!(by_node, ["kind-worker", "kind-worker2", "kind-worker3"]);
    for pod in cluster.pods.iter().filter(|pod| pod.meta.namespace == "default") {
        let parts: Vec<&str> = pod.meta.name.split('-').collect();
        assert_eq!((parts.len(), parts[1].len(), parts[2].len()), (3, 10, 5), "{}", pod.meta.name);
        assert!(parts[1..].iter().all(|part| part.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b))));
        assert_eq!(pod.workload.as_ref().map(|owner| owner.kind.as_str()), Some("Deployment"));
    }
    assert_eq!(rows, super::tests::rows(&build(&(deployment("web", 3) + &deployment("db", 1)))));
    // The place in the file does not matter to a name.
    let shifted = build(&format!("# a comment\n{}", deployment("web", 3)));
    let names = |cluster: &Cluster| -> Vec<String> {
        cluster.pods.iter().map(|pod| pod.meta.name.clone()).filter(|name| name.starts_with("web")).collect()
    };
    assert_eq!(names(&cluster), names(&shifted));
}

#[test]
fn stateful_pods_are_numbered_and_daemons_run_on_each_node_that_they_bear() {
    let text = "\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: postgres:12.2}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      hostNetwork: true
      containers: [{name: agent, image: example/agent}]
";
    let cluster = build(text);
    let agents: Vec<(&str, String)> = cluster
        .pods
        .iter()
        .filter(|pod| pod.meta.labels.get("app").is_some_and(|app| app == "agent"))
        .map(|pod| (pod.node.as_deref().expect("node"), pod.ips[0].to_string()))
        .collect();
    let expected: BTreeSet<(&str, String)> = [("kind-worker", 3), ("kind-worker2", 4), ("kind-worker3", 5)]
        .map(|(node, last)| (node, format!("172.18.0.{last}")))
        .into();
    assert_eq!(agents.into_iter().collect::<BTreeSet<_>>(), expected);
    let db: Vec<&ClusterPod> = cluster.pods.iter().filter(|pod| pod.meta.name.starts_with("db-")).collect();
    assert_eq!((db[0].meta.name.as_str(), db[1].meta.name.as_str()), ("db-0", "db-1"));
    assert_eq!(db[0].spec.subdomain.as_deref(), Some("db"));
    assert!(db[0].has_netns());
}

#[test]
fn a_pod_that_fits_nowhere_stays_pending_and_says_why() {
    let text = "\
apiVersion: v1
kind: Pod
metadata: {name: picky}
spec:
  nodeSelector: {disk: ssd}
  containers: [{name: c, image: x}]
";
    let cluster = build(text);
    let pod = cluster.pods.iter().find(|pod| pod.meta.name == "picky").expect("there");
    let why = "0/4 nodes are available: no node has the labels disk=ssd of its nodeSelector";
    assert_eq!(pod.state, PodState::Pending(why.to_owned()));
    assert_eq!(cluster.assumptions, [format!("pod default/picky stays Pending: {why} (t.yaml:1)")]);
}

#[test]
fn services_get_addresses_that_do_not_depend_on_each_other() {
    let web = service("web", "{type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: http}]}");
    let other = service("other", "{ports: [{port: 80}]}");
    let alone = build(&(deployment("web", 2) + &web));
    let both = build(&(other + &deployment("web", 2) + &web));
    let of = |cluster: &Cluster| {
        let service = cluster.services.iter().find(|service| service.meta.name == "web").expect("web").clone();
        (service.cluster_ips, service.ports[0].node_port)
    };
    assert_eq!(of(&alone), of(&both));
    let (ClusterIps::Given(ips), node_port) = of(&alone) else { panic!("an address") };
    let range: IpNet = "10.96.0.0/16".parse().expect("range");
    assert!(range.contains(&ips[0]) && ips[0] > "10.96.1.0".parse::<IpAddr>().expect("ip"), "{ips:?}");
    assert!((30_086..=32_767).contains(&node_port), "{node_port}");
}

use crate::api::service::ClusterIps;

#[test]
fn what_cannot_be_allocated_is_refused_at_its_field() {
    let outside = refused(&service("a", "{clusterIP: 10.97.0.1, ports: [{port: 80}]}"));
    assert!(outside.starts_with("t.yaml:1:1: spec.clusterIPs: 10.97.0.1 is not in the valid range"), "{outside}");
    let twice = service("a", "{clusterIP: 10.96.5.5, ports: [{port: 80}]}");
    let twice = refused(&(twice + &service("b", "{clusterIP: 10.96.5.5, ports: [{port: 80}]}")));
    assert!(twice.contains("10.96.5.5 is already allocated, to Service default/a"), "{twice}");
    let low = refused(&service("a", "{type: NodePort, ports: [{port: 80, nodePort: 80}]}"));
    assert!(low.contains("spec.ports[0].nodePort: 80 is not in the valid range"), "{low}");
    let taken = service("a", "{type: NodePort, ports: [{port: 80, nodePort: 30080}]}");
    let taken = refused(&(taken + &service("b", "{type: NodePort, ports: [{port: 80, nodePort: 30080}]}")));
    assert!(taken.contains("port 30080 is already allocated, to Service default/a"), "{taken}");
}

#[test]
fn tcp_and_udp_of_one_port_share_a_node_port() {
    let cluster = build(&service("dns", "{type: NodePort, ports: [{name: u, port: 53, protocol: UDP}, {name: t, port: 53}]}"));
    let dns = cluster.services.iter().find(|service| service.meta.name == "dns").expect("dns");
    assert_eq!(dns.ports[0].node_port, dns.ports[1].node_port);
}

#[test]
fn slices_follow_selectors_and_named_ports() {
    let web = service("web", "{selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}");
    let headless = service("peers", "{clusterIP: None, selector: {app: web}}");
    let nobody = service("nobody", "{selector: {app: none}, ports: [{port: 80}]}");
    let cluster = build(&(deployment("web", 2) + &web + &headless + &nobody));
    let of = |name: &str| cluster.slices.iter().filter(|slice| slice.service == name).collect::<Vec<_>>();
    let [slice] = of("web")[..] else { panic!("one slice") };
    assert_eq!(slice.ports, [EndpointPort { name: "http".into(), protocol: Protocol::Tcp, port: Some(8080) }]);
    assert_eq!(slice.endpoints.len(), 2);
    assert!(slice.endpoints.iter().all(|endpoint| endpoint.is_ready() && endpoint.node_name.is_some()));
    assert!(of("peers")[0].ports.is_empty() && of("peers")[0].endpoints.len() == 2);
    assert!(of("nobody")[0].endpoints.is_empty());
}

#[test]
fn a_dump_keeps_its_addresses_and_only_what_is_missing_is_allocated() {
    let text = "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Node
  metadata: {name: n1, uid: a}
  spec: {podCIDR: 10.42.0.0/24}
  status: {addresses: [{type: InternalIP, address: 192.168.1.10}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: web-7d4b9-x, uid: b, labels: {app: web}}
  spec: {nodeName: n1, containers: [{name: c, image: x}]}
  status: {podIP: 10.42.0.2, phase: Running, conditions: [{type: Ready, status: 'True'}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: late}
  spec: {containers: [{name: c, image: x}]}
- apiVersion: v1
  kind: Service
  metadata: {name: web, uid: c}
  spec: {clusterIP: 10.43.0.77, selector: {app: web}, ports: [{port: 80}]}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata:
    name: web-abcde
    labels: {kubernetes.io/service-name: web, endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io}
  addressType: IPv4
  ports: [{name: '', port: 80}]
  endpoints:
  - {addresses: [10.42.0.2], nodeName: n1}
  - {addresses: [10.42.0.9], nodeName: n1, targetRef: {kind: Pod, name: ghost, namespace: default}}
";
    let cluster = build(text);
    assert_eq!(cluster.nodes.len(), 1);
    assert_eq!(rows(&cluster), ["default/ghost n1 10.42.0.9", "default/late n1 10.42.0.3", "default/web-7d4b9-x n1 10.42.0.2"]);
    let web: Vec<&EndpointSlice> = cluster.slices.iter().filter(|slice| slice.service == "web").collect();
    assert_eq!(web.len(), 1, "the controller's slice of the dump is the only one");
    assert!(cluster.assumptions.iter().any(|text| text.contains("clusterIP 10.43.0.77 is not in the valid range")));
    assert!(cluster.assumptions.iter().any(|text| text.contains("pod default/ghost (10.42.0.9, node n1) is known from")));
}

#[test]
fn pods_of_a_dump_name_their_nodes() {
    let text = "\
{apiVersion: v1, kind: Pod, metadata: {name: a, uid: x}, spec: {nodeName: ip-10-0-0-7, containers: [{name: c, image: x}]}, status: {podIP: 10.1.7.5, hostIP: 10.0.0.7}}
";
    let cluster = build(text);
    let node = &cluster.nodes[0];
    assert_eq!(
        (node.name.as_str(), node.ips[0].to_string(), node.pod_cidrs[0].to_string()),
        ("ip-10-0-0-7", "10.0.0.7".to_owned(), "10.1.7.0/24".to_owned())
    );
}

#[test]
fn hand_written_endpoints_are_mirrored() {
    let text = service("legacy", "{ports: [{port: 5432}]}")
        + "apiVersion: v1\nkind: Endpoints\nmetadata: {name: legacy}\nsubsets: [{addresses: [{ip: 192.0.2.7}], ports: [{port: 5432}]}]\n";
    let cluster = build(&text);
    let slice = cluster.slices.iter().find(|slice| slice.service == "legacy").expect("mirrored");
    assert_eq!(slice.endpoints[0].addresses[0].to_string(), "192.0.2.7");
    assert_eq!(slice.meta.labels[crate::api::endpoints::MANAGED_BY_LABEL], "endpointslicemirroring-controller.k8s.io");
}

#[test]
fn dual_stack_gives_each_pod_node_and_service_two_addresses() {
    let nets = |texts: [&str; 2]| texts.map(|text| text.parse().expect("prefix")).to_vec();
    let config = ClusterConfig {
        cluster_cidr: nets(["10.244.0.0/16", "fd00:10:244::/56"]),
        service_cluster_ip_range: nets(["10.96.0.0/16", "fd00:10:96::/112"]),
        node_network: nets(["172.18.0.0/16", "fc00:f853:ccd:e793::/64"]),
        ..ClusterConfig::default()
    };
    let text =
        deployment("web", 1) + &service("web", "{ipFamilyPolicy: PreferDualStack, selector: {app: web}, ports: [{port: 80}]}");
    let cluster = Cluster::build(config, load_text("t.yaml", &text).expect("loads")).expect("builds");
    assert!(rows(&cluster)[0].ends_with(" kind-worker 10.244.1.2,fd00:10:244:1::2"), "{:?}", rows(&cluster));
    let web = cluster.services.iter().find(|service| service.meta.name == "web").expect("web");
    assert_eq!(web.cluster_ips.addresses().len(), 2);
    assert_eq!(cluster.slices.iter().filter(|slice| slice.service == "web").count(), 2);
}
