//! The EndpointSlice controller and the mirroring controller: Services get slices.

use std::collections::BTreeMap;

use super::names::generated;
use crate::api::endpoints::{
    AddressType, Endpoint, EndpointPort, EndpointSlice, Endpoints, MANAGED_BY_LABEL, SERVICE_NAME_LABEL, TargetRef,
};
use crate::api::service::{PortRef, Service, ServiceType};
use crate::api::{Meta, Owner};
use crate::cluster::{ClusterNode, ClusterPod, PodState};
use crate::ipam;

/// `--max-endpoints-per-slice` of kube-controller-manager.
const MAX_ENDPOINTS_PER_SLICE: usize = 100;
/// Who keeps the slices of Services with a selector.
const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// Who keeps the slices of Endpoints that a person wrote.
const MIRRORING: &str = "endpointslicemirroring-controller.k8s.io";

/// What the controllers see.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The Services, with their families filled in.
    pub services: &'a [Service],
    /// The pods, with their addresses.
    pub pods: &'a [ClusterPod],
    /// The nodes.
    pub nodes: &'a [ClusterNode],
    /// Endpoints of the input.
    pub endpoints: &'a [Endpoints],
    /// Slices of the input.
    pub given: &'a [EndpointSlice],
}

/// All slices: those of the input, then those that the controllers make, by namespace and name.
pub fn slices(world: World<'_>) -> Vec<EndpointSlice> {
    let by_label = PodsByLabel::new(world.pods);
    let mut result = world.given.to_vec();
    for service in world.services {
        let given = |managed_by: Option<&str>| {
            world.given.iter().any(|slice| {
                slice.meta.namespace == service.meta.namespace
                    && slice.service == service.meta.name
                    && managed_by.is_none_or(|by| slice.meta.labels.get(MANAGED_BY_LABEL).is_some_and(|has| has == by))
            })
        };
        let endpoints = world.endpoints.iter().find(|endpoints| endpoints.meta.key() == service.meta.key());
        if service.kind == ServiceType::ExternalName {
            continue;
        }
        if service.selector.is_empty() {
            if let Some(endpoints) = endpoints
                && !given(Some(MIRRORING))
            {
                result.extend(mirror(service, endpoints, MIRRORING));
            }
            continue;
        }
        if given(Some(CONTROLLER)) {
            continue;
        }
        let selected = by_label.select(service);
        match endpoints.filter(|_| selected.is_empty() && !given(None)) {
            // A dump of Services and Endpoints without pods: the Endpoints are all that is known.
            Some(endpoints) => result.extend(mirror(service, endpoints, CONTROLLER)),
            None => result.extend(from_pods(service, &selected, world.nodes)),
        }
    }
    result.sort_by(|a, b| a.meta.key().cmp(&b.meta.key()));
    result
}

/// Pods by one label, so that a Service need not look at all of them.
#[derive(Debug)]
struct PodsByLabel<'a> {
    index: BTreeMap<(&'a str, &'a str, &'a str), Vec<&'a ClusterPod>>,
}

impl<'a> PodsByLabel<'a> {
    fn new(pods: &'a [ClusterPod]) -> Self {
        let mut index: BTreeMap<_, Vec<&ClusterPod>> = BTreeMap::new();
        for pod in pods.iter().filter(|pod| pod.state == PodState::Running) {
            for (key, value) in &pod.meta.labels {
                index.entry((pod.meta.namespace.as_str(), key.as_str(), value.as_str())).or_default().push(pod);
            }
        }
        Self { index }
    }

    /// The pods that a Service selects, by name.
    fn select(&self, service: &Service) -> Vec<&'a ClusterPod> {
        let mut fewest: &[&ClusterPod] = &[];
        for (index, (key, value)) in service.selector.iter().enumerate() {
            let label = (service.meta.namespace.as_str(), key.as_str(), value.as_str());
            let pods = self.index.get(&label).map_or(&[][..], Vec::as_slice);
            if index == 0 || pods.len() < fewest.len() {
                fewest = pods;
            }
        }
        let matches = |pod: &&&ClusterPod| service.selector.iter().all(|(key, value)| pod.meta.labels.get(key) == Some(value));
        let mut selected: Vec<&ClusterPod> = fewest.iter().filter(matches).copied().collect();
        selected.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
        selected
    }
}

/// Names, protocols and numbers of a pod's ports: pods with the same share a slice.
type PortsKey = Vec<(String, &'static str, Option<u16>)>;

/// One slice for each family and each set of ports; a new one after [`MAX_ENDPOINTS_PER_SLICE`] endpoints.
fn from_pods(service: &Service, pods: &[&ClusterPod], nodes: &[ClusterNode]) -> Vec<EndpointSlice> {
    let mut groups: BTreeMap<(u8, PortsKey), Vec<Endpoint>> = BTreeMap::new();
    for pod in pods {
        let ports = ports_for(service, pod);
        let key: Vec<_> = ports.iter().map(|port| (port.name.clone(), port.protocol.upper(), port.port)).collect();
        for ip in &pod.ips {
            let family = ipam::family(ip);
            if service.ip_families.contains(&family) {
                let endpoint = endpoint(service, pod, *ip, nodes);
                groups.entry((family, key.clone())).or_default().push(endpoint);
            }
        }
    }
    // A Service without endpoints has an empty slice a family.
    for &family in &service.ip_families {
        if !groups.keys().any(|(have, _)| *have == family) {
            groups.insert((family, Vec::new()), Vec::new());
        }
    }
    let mut result = Vec::new();
    for ((family, key), endpoints) in groups {
        let ports: Vec<EndpointPort> = service
            .ports
            .iter()
            .filter_map(|port| {
                let (_, _, number) = key.iter().find(|(name, proto, _)| *name == port.name && *proto == port.protocol.upper())?;
                Some(EndpointPort { name: port.name.clone(), protocol: port.protocol, port: *number })
            })
            .collect();
        let chunks: Vec<Vec<Endpoint>> = match endpoints.len() {
            0 => vec![Vec::new()],
            _ => endpoints.chunks(MAX_ENDPOINTS_PER_SLICE).map(<[Endpoint]>::to_vec).collect(),
        };
        for endpoints in chunks {
            result.push(slice(service, family, result.len(), ports.clone(), endpoints, CONTROLLER));
        }
    }
    result
}

fn slice(
    service: &Service,
    family: u8,
    number: usize,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
    managed_by: &str,
) -> EndpointSlice {
    let namespace = &service.meta.namespace;
    let name = generated(&service.meta.name, &format!("{namespace}/{}/slice/{family}/{number}", service.meta.name));
    let mut meta = Meta::made(managed_by, namespace, &name);
    meta.owner = Some(Owner { kind: "Service".to_owned(), name: service.meta.name.clone() });
    meta.labels.insert(SERVICE_NAME_LABEL.to_owned(), service.meta.name.clone());
    meta.labels.insert(MANAGED_BY_LABEL.to_owned(), managed_by.to_owned());
    let address_type = if family == 4 { AddressType::Ipv4 } else { AddressType::Ipv6 };
    EndpointSlice { meta, service: service.meta.name.clone(), address_type, ports, endpoints }
}

fn endpoint(service: &Service, pod: &ClusterPod, ip: std::net::IpAddr, nodes: &[ClusterNode]) -> Endpoint {
    let serving = service.publish_not_ready || pod.ready;
    let node = pod.node.as_ref().and_then(|name| nodes.iter().find(|node| node.name == *name));
    let zone = node.and_then(|node| node.zone.clone());
    let named = pod.spec.hostname.as_ref().filter(|_| pod.spec.subdomain.as_ref() == Some(&service.meta.name));
    let distribution = service.traffic_distribution.as_deref().unwrap_or_default();
    let hint_zone = matches!(distribution, "PreferClose" | "PreferSameZone" | "PreferSameNode") && serving;
    let hint_node = distribution == "PreferSameNode" && serving;
    Endpoint {
        addresses: vec![ip],
        ready: Some(serving && (service.publish_not_ready || !pod.meta.deleting)),
        serving: Some(serving),
        terminating: Some(pod.meta.deleting),
        node_name: pod.node.clone(),
        hint_zones: zone.iter().filter(|_| hint_zone).cloned().collect(),
        hint_nodes: pod.node.iter().filter(|_| hint_node).cloned().collect(),
        zone,
        hostname: named.cloned(),
        target: Some(TargetRef { kind: "Pod".to_owned(), namespace: pod.meta.namespace.clone(), name: pod.meta.name.clone() }),
        origin: pod.meta.origin.clone(),
    }
}

/// The ports of one pod behind a Service: a name that the pod does not have leaves that port out.
fn ports_for(service: &Service, pod: &ClusterPod) -> Vec<EndpointPort> {
    let resolve = |port: &crate::api::ServicePort| {
        let number = match &port.target {
            PortRef::Number(number) => *number,
            PortRef::Name(name) => pod.named_port(name, port.protocol)?,
        };
        Some(EndpointPort { name: port.name.clone(), protocol: port.protocol, port: Some(number) })
    };
    service.ports.iter().filter_map(resolve).collect()
}

/// Endpoints in the shape of slices, one for each subset and family.
fn mirror(service: &Service, endpoints: &Endpoints, managed_by: &str) -> Vec<EndpointSlice> {
    let skip = endpoints.meta.labels.get("endpointslice.kubernetes.io/skip-mirror");
    if skip.is_some_and(|value| value == "true") && managed_by == MIRRORING {
        return Vec::new();
    }
    let mut result = Vec::new();
    for (ports, members) in &endpoints.subsets {
        for family in [4, 6] {
            let of_family = |member: &&Endpoint| member.addresses.first().is_some_and(|ip| ipam::family(ip) == family);
            let members: Vec<Endpoint> = members.iter().filter(of_family).cloned().collect();
            if !members.is_empty() {
                result.push(slice(service, family, result.len(), ports.clone(), members, managed_by));
            }
        }
    }
    result
}
