//! What a kind cluster has before anything is applied: CoreDNS, its Service, and the Service of the API server.

use std::collections::BTreeMap;

use crate::api::node::CONTROL_PLANE;
use crate::api::pod::{Container, ContainerPort, DnsPolicy, PodSpec, Toleration};
use crate::api::service::{ClusterIps, PortRef, Protocol, Service, ServicePort};
use crate::api::{Meta, Objects, Selector, Workload, WorkloadKind};
use crate::cluster::ClusterNode;
use crate::config::ClusterConfig;
use crate::error::Origin;
use crate::ipam;

/// Where kubeadm's API server listens.
pub(crate) const API_SERVER_PORT: u16 = 6443;
/// CoreDNS of Kubernetes 1.35.
const COREDNS_IMAGE: &str = "registry.k8s.io/coredns/coredns:v1.13.1";

/// Adds the objects of the cluster itself, unless the input has them.
pub(super) fn add_system_objects(config: &ClusterConfig, nodes: &[ClusterNode], objects: &mut Objects) {
    let has_service = |objects: &Objects, namespace: &str, name: &str| {
        objects.services.iter().any(|service| service.meta.key() == (namespace, name))
    };
    if !has_service(objects, "default", "kubernetes") {
        objects.services.push(kubernetes(config));
    }
    if !has_service(objects, "kube-system", "kube-dns") {
        objects.services.push(kube_dns(config));
    }
    let is_dns = |meta: &Meta, labels: &BTreeMap<String, String>| {
        meta.namespace == "kube-system" && labels.get("k8s-app").is_some_and(|app| app == "kube-dns")
    };
    let has_dns = objects.pods.iter().any(|pod| is_dns(&pod.meta, &pod.meta.labels))
        || objects.workloads.iter().any(|workload| is_dns(&workload.meta, &workload.template_labels))
        || objects.slices.iter().any(|slice| slice.meta.namespace == "kube-system" && slice.service == "kube-dns");
    if !has_dns {
        // First of all: in kind it is there before the workers join, and so runs on the control plane.
        objects.workloads.insert(0, coredns(nodes));
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn service(by: &str, namespace: &str, name: &str, ports: Vec<ServicePort>) -> Service {
    Service {
        meta: Meta::made(by, namespace, name),
        kind: Default::default(),
        cluster_ips: ClusterIps::Unset,
        ip_families: Vec::new(),
        ip_family_policy: None,
        selector: BTreeMap::new(),
        ports,
        external_ips: Vec::new(),
        external_name: None,
        affinity_seconds: None,
        internal_policy: Default::default(),
        external_policy: Default::default(),
        lb_ingress: Vec::new(),
        lb_source_ranges: Vec::new(),
        health_check_node_port: 0,
        lb_node_ports: true,
        publish_not_ready: false,
        traffic_distribution: None,
    }
}

fn port(by: &str, name: &str, protocol: Protocol, port: u16, target: u16) -> ServicePort {
    let (name, target, origin) = (name.to_owned(), PortRef::Number(target), Origin::made(by));
    ServicePort { name, protocol, port, target, node_port: 0, origin }
}

fn kubernetes(config: &ClusterConfig) -> Service {
    let by = "kube-apiserver";
    let ports = vec![port(by, "https", Protocol::Tcp, 443, API_SERVER_PORT)];
    let mut service = service(by, "default", "kubernetes", ports);
    service.meta.labels = labels(&[("component", "apiserver"), ("provider", "kubernetes")]);
    service.cluster_ips = ClusterIps::Given(vec![ipam::nth(config.service_cluster_ip_range[0], 1)]);
    service
}

fn kube_dns(config: &ClusterConfig) -> Service {
    let by = "kubeadm";
    let ports = vec![
        port(by, "dns", Protocol::Udp, 53, 53),
        port(by, "dns-tcp", Protocol::Tcp, 53, 53),
        port(by, "metrics", Protocol::Tcp, 9153, 9153),
    ];
    let mut service = service(by, "kube-system", "kube-dns", ports);
    service.meta.labels = labels(&[("k8s-app", "kube-dns"), ("kubernetes.io/cluster-service", "true")]);
    service.selector = labels(&[("k8s-app", "kube-dns")]);
    service.cluster_ips = ClusterIps::Given(vec![config.cluster_dns()]);
    service
}

fn coredns(nodes: &[ClusterNode]) -> Workload {
    let by = "kubeadm";
    let named = |name: &str, port, protocol| ContainerPort {
        name: Some(name.to_owned()),
        port,
        protocol,
        host_port: None,
        origin: Origin::made(by),
    };
    let container = Container {
        name: "coredns".to_owned(),
        image: COREDNS_IMAGE.to_owned(),
        ports: vec![
            named("dns", 53, Protocol::Udp),
            named("dns-tcp", 53, Protocol::Tcp),
            named("metrics", 9153, Protocol::Tcp),
            named("liveness-probe", 8080, Protocol::Tcp),
            named("readiness-probe", 8181, Protocol::Tcp),
        ],
        ..Container::default()
    };
    let toleration =
        Toleration { key: CONTROL_PLANE.to_owned(), any_value: false, value: String::new(), effect: "NoSchedule".to_owned() };
    let control_plane = nodes.iter().find(|node| node.control_plane && node.origin == Origin::made("kind"));
    let template_labels = labels(&[("k8s-app", "kube-dns")]);
    Workload {
        kind: WorkloadKind::Deployment,
        meta: Meta::made(by, "kube-system", "coredns"),
        replicas: 2,
        selector: Selector { labels: template_labels.clone(), expressions: Vec::new() },
        template_labels,
        template_annotations: BTreeMap::new(),
        template: PodSpec {
            node_name: control_plane.map(|node| node.name.clone()),
            node_selector: labels(&[("kubernetes.io/os", "linux")]),
            tolerations: vec![toleration],
            dns_policy: DnsPolicy::Default,
            containers: vec![container],
            ..PodSpec::default()
        },
        service_name: None,
        first_ordinal: 0,
    }
}
