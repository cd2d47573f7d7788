//! What listens where, as far as manifests tell: container ports, ports of probes, target ports of Services.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use stack::app::{HttpFallback, HttpPage, HttpSite, L4, Server, Service};

use crate::api::service::{Policy, PortRef, Protocol, ServiceType};
use crate::api::{Container, Service as KubeService};
use crate::cluster::{Cluster, ClusterNode, ClusterPod, PodState};
use crate::images::{Program, Seat};
use crate::node_rules::families;
use crate::{dns, outside};

#[cfg(test)]
mod tests;

/// Something that listens.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// The namespace that it is in.
    pub netns: String,
    /// The server.
    pub server: Server,
    /// What has been assumed, as a sentence.
    pub assumption: String,
}

/// Everything that listens in a cluster, by namespace; `assumptions` takes what is said of more than one of them.
pub fn listeners(cluster: &Cluster, assumptions: &mut Vec<String>) -> Vec<Listener> {
    let any = any_address(cluster);
    let zones = dns::shared_zones(cluster);
    let mut result = Listeners { any, taken: BTreeMap::new(), result: Vec::new() };
    for (server, assumption) in outside::servers(cluster, any) {
        result.add(outside::EXTERNAL, server, assumption, assumptions);
    }
    for node in &cluster.nodes {
        node_listeners(cluster, node, &mut result, assumptions);
    }
    let by_namespace = services_by_namespace(cluster);
    for pod in cluster.pods.iter().filter(|pod| pod.state == PodState::Running) {
        let Some(netns) = cluster.netns_of(pod) else { continue };
        let services = by_namespace.get(pod.meta.namespace.as_str()).map_or(&[][..], Vec::as_slice);
        let seat = Seat { node: pod.node.as_deref().unwrap_or_default(), ip: pod.ips.first().copied(), zones: &zones };
        for ((l4, port), guess) in pod_ports(pod, services, assumptions) {
            let (service, what) = guess.program.service(l4, port, &seat);
            let name = if guess.container.is_empty() { "container" } else { guess.container };
            let server = Server { name: name.into(), bind: any, port, l4, service, transparent: false };
            let proto = if l4 == L4::Tcp { "TCP" } else { "UDP" };
            let assumption = format!(
                "pod {} listens on {proto} port {port} and {what}, since {}",
                pod.meta.full_name(),
                guess.reasons.join(", ")
            );
            result.add(&netns, server, assumption, assumptions);
        }
    }
    result.result
}

/// `0.0.0.0`, or `::` where there is IPv6: it takes both families.
fn any_address(cluster: &Cluster) -> IpAddr {
    if families(cluster).contains(&6) { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

struct Listeners {
    any: IpAddr,
    taken: BTreeMap<(String, L4, u16), String>,
    result: Vec<Listener>,
}

impl Listeners {
    fn add(&mut self, netns: &str, server: Server, assumption: String, assumptions: &mut Vec<String>) {
        let key = (netns.to_owned(), server.l4, server.port);
        if let Some(other) = self.taken.get(&key) {
            assumptions.push(format!("{assumption}; the port is taken in the network of {netns}, by {other}, and is left to it"));
            return;
        }
        self.taken.insert(key, server.name.to_string());
        self.result.push(Listener { netns: netns.to_owned(), server, assumption });
    }
}

fn services_by_namespace(cluster: &Cluster) -> BTreeMap<&str, Vec<&KubeService>> {
    let mut result: BTreeMap<&str, Vec<&KubeService>> = BTreeMap::new();
    for service in cluster.services.iter().filter(|service| !service.selector.is_empty()) {
        result.entry(&service.meta.namespace).or_default().push(service);
    }
    result
}

/// Why a port is taken as open, and who is behind it.
#[derive(Debug, Clone, PartialEq)]
struct Guess<'a> {
    program: Program,
    container: &'a str,
    reasons: Vec<String>,
}

/// The ports of a pod.
fn pod_ports<'a>(pod: &'a ClusterPod, services: &[&KubeService], assumptions: &mut Vec<String>) -> BTreeMap<(L4, u16), Guess<'a>> {
    let mut guesses: BTreeMap<(L4, u16), Guess<'a>> = BTreeMap::new();
    let mut clients = Vec::new();
    let mut add = |container: &'a Container, protocol: Protocol, port: u16, reason: String, assumptions: &mut Vec<String>| {
        let program = Program::of_image(&container.image);
        let l4 = match protocol {
            Protocol::Tcp => L4::Tcp,
            Protocol::Udp => L4::Udp,
            Protocol::Sctp => {
                assumptions.push(format!("pod {}: SCTP port {port} is not modelled; nothing listens on it", pod.meta.full_name()));
                return;
            }
        };
        if program == Program::Client {
            if !clients.contains(&container.image.as_str()) {
                clients.push(&container.image);
                let (pod, image) = (pod.meta.full_name(), &container.image);
                assumptions.push(format!("pod {pod}: nothing listens on port {port}, since {image} is an image of client tools"));
            }
            return;
        }
        let guess = guesses.entry((l4, port)).or_insert_with(|| Guess { program, container: &container.name, reasons: Vec::new() });
        if !guess.reasons.contains(&reason) {
            guess.reasons.push(reason);
        }
    };
    for container in &pod.spec.containers {
        for port in &container.ports {
            add(
                container,
                port.protocol,
                port.port,
                format!("container {} names it ({})", container.name, port.origin),
                assumptions,
            );
        }
        for probe in &container.probes {
            let port = match &probe.port {
                PortRef::Number(number) => Some(*number),
                PortRef::Name(name) => pod.named_port(name, Protocol::Tcp),
            };
            if let Some(port) = port {
                add(container, Protocol::Tcp, port, format!("{} asks it ({})", probe.field, probe.origin), assumptions);
            }
        }
        for (l4, port) in Program::of_image(&container.image).own_ports(&container.image) {
            let protocol = if *l4 == L4::Tcp { Protocol::Tcp } else { Protocol::Udp };
            add(container, protocol, *port, format!("image {} does", container.image), assumptions);
        }
    }
    let selects = |service: &&&KubeService| {
        service.kind != ServiceType::ExternalName
            && service.selector.iter().all(|(key, value)| pod.meta.labels.get(key) == Some(value))
    };
    for service in services.iter().filter(selects) {
        for port in &service.ports {
            let number = match &port.target {
                PortRef::Number(number) => Some(*number),
                PortRef::Name(name) => pod.named_port(name, port.protocol),
            };
            let Some(number) = number else { continue };
            let owner = owner_of(pod, number, port.protocol);
            let Some(container) = owner else { continue };
            let reason = format!("it is a target port of Service {} ({})", service.meta.full_name(), port.origin);
            add(container, port.protocol, number, reason, assumptions);
        }
    }
    guesses
}

/// The container behind a port that only a Service names: the one that has it, else the first that is no client.
fn owner_of(pod: &ClusterPod, number: u16, protocol: Protocol) -> Option<&Container> {
    let has = |container: &&Container| container.ports.iter().any(|port| port.port == number && port.protocol == protocol);
    let serves = |container: &&Container| Program::of_image(&container.image) != Program::Client;
    let containers = &pod.spec.containers;
    containers.iter().find(has).or_else(|| containers.iter().find(serves)).or(containers.first())
}

/// What a node itself listens on: kubelet, kube-proxy, the API server, health checks of Services.
fn node_listeners(cluster: &Cluster, node: &ClusterNode, result: &mut Listeners, assumptions: &mut Vec<String>) {
    let any = result.any;
    let server = |name: &str, bind: IpAddr, port, service| Server {
        name: name.into(),
        bind,
        port,
        l4: L4::Tcp,
        service,
        transparent: false,
    };
    let ok = || Service::Http(Arc::new(health_site(200, "ok".to_owned(), "text/plain; charset=utf-8")));
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let name = &node.name;
    let tls =
        |who: &str, port: u16| format!("{who} on {name} takes connections on port {port} and answers nothing: TLS is not modelled");
    if node.control_plane {
        result.add(name, server("kube-apiserver", any, 6443, Service::Sink), tls("kube-apiserver", 6443), assumptions);
    }
    result.add(name, server("kubelet", any, 10250, Service::Sink), tls("kubelet", 10250), assumptions);
    let healthy = |who: &str| format!("{who} on {name} says that it is healthy");
    result.add(name, server("kubelet", localhost, 10248, ok()), healthy("kubelet"), assumptions);
    result.add(name, server("kube-proxy", any, 10256, ok()), healthy("kube-proxy"), assumptions);
    for service in &cluster.services {
        let checked = service.kind == ServiceType::LoadBalancer && service.external_policy == Policy::Local;
        if checked && service.health_check_node_port > 0 {
            let (site, local) = service_health(cluster, node, service);
            let assumption =
                format!("kube-proxy on {name} reports {local} local endpoints of Service {}", service.meta.full_name());
            let port = service.health_check_node_port;
            result.add(name, server("kube-proxy", any, port, Service::Http(Arc::new(site))), assumption, assumptions);
        }
    }
}

/// pkg/proxy/healthcheck/service_health.go: 200 while a ready endpoint is on the node, 503 otherwise.
fn service_health(cluster: &Cluster, node: &ClusterNode, service: &KubeService) -> (HttpSite, usize) {
    let (namespace, name) = service.meta.key();
    let slices = cluster.slices.iter().filter(|slice| slice.meta.namespace == namespace && slice.service == name);
    let endpoints = slices.flat_map(|slice| &slice.endpoints);
    let here = endpoints.filter(|endpoint| endpoint.is_ready() && endpoint.node_name.as_ref() == Some(&node.name));
    let mut ips: Vec<IpAddr> = here.filter_map(|endpoint| endpoint.addresses.first().copied()).collect();
    ips.sort_unstable();
    ips.dedup();
    let local = ips.len();
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\"localEndpoints\": {local},\n\t\"serviceProxyHealthy\": true\n}}"
    );
    (health_site(if local > 0 { 200 } else { 503 }, body, "application/json"), local)
}

/// The same answer for every path.
fn health_site(status: u16, body: String, content_type: &str) -> HttpSite {
    let page = HttpPage { status, content_type: content_type.to_owned(), body: body.into_bytes() };
    HttpSite { fallback: Some(HttpFallback::Page(page)), ..HttpSite::default() }
}
