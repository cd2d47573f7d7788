//! A cluster that has converged: nodes, pods, Services and slices with everything filled in.
//!
//! [`Cluster::build`] runs what a control plane would have run, once and to the end. What a dump says holds; what is
//! missing is allocated, always in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::api::endpoints::{AddressType, Endpoint, EndpointPort, EndpointSlice, SERVICE_NAME_LABEL};
use crate::api::pod::{ContainerPort, PodSpec};
use crate::api::service::{Protocol, Service, ServiceType};
use crate::api::{Meta, Objects, Owner, Taint};
use crate::config::ClusterConfig;
use crate::controllers::schedule::Scheduler;
use crate::controllers::slices::World;
use crate::controllers::workloads::Expanded;
use crate::controllers::{adopt, nodes, services, slices, workloads};
use crate::decode::Manifests;
use crate::error::{InputError, InputErrors, Origin};
use crate::ipam::{self, HostLocal};
use crate::report::LoadReport;
use crate::resolv::ResolvConf;

mod preset;
#[cfg(test)]
mod tests;

/// A converged cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// How it is set up.
    pub config: ClusterConfig,
    /// Its nodes: the control plane first, as kind numbers them.
    pub nodes: Vec<ClusterNode>,
    /// Its pods, by namespace and name.
    pub pods: Vec<ClusterPod>,
    /// Its Services with addresses and node ports, by namespace and name.
    pub services: Vec<Service>,
    /// Its EndpointSlices, by namespace and name.
    pub slices: Vec<EndpointSlice>,
    /// Its namespaces, by name.
    pub namespaces: Vec<String>,
    /// What was read, and what of it has no effect.
    pub report: LoadReport,
    /// What the answer rests on besides the input.
    pub assumptions: Vec<String>,
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterNode {
    /// Its name; its network namespace has the same.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses, at most one a family that packets use; the first is the primary.
    pub ips: Vec<IpAddr>,
    /// Where its pods' addresses come from.
    pub pod_cidrs: Vec<IpNet>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Cordoned.
    pub unschedulable: bool,
    /// Whether the API server runs here.
    pub control_plane: bool,
    /// Its zone.
    pub zone: Option<String>,
    /// Where it stands, or who made it.
    pub origin: Origin,
}

impl ClusterNode {
    /// Its address of a family.
    pub fn ip(&self, family: u8) -> Option<IpAddr> {
        self.ips.iter().copied().find(|ip| ipam::family(ip) == family)
    }

    /// Its podCIDR of a family.
    pub fn pod_cidr(&self, family: u8) -> Option<IpNet> {
        self.pod_cidrs.iter().copied().find(|cidr| ipam::family(&cidr.addr()) == family)
    }
}

/// A pod of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterPod {
    /// Name, labels, owner.
    pub meta: Meta,
    /// What was asked.
    pub spec: PodSpec,
    /// The workload that a person would name: the Deployment, not its ReplicaSet.
    pub workload: Option<Owner>,
    /// Its node, unless it is pending.
    pub node: Option<String>,
    /// Its addresses; those of the node on the host's network.
    pub ips: Vec<IpAddr>,
    /// Whether it is running.
    pub state: PodState,
    /// Whether it is ready.
    pub ready: bool,
    /// What its resolver is told.
    pub resolv: ResolvConf,
}

/// What has become of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodState {
    /// It runs.
    Running,
    /// It waits; why.
    Pending(String),
    /// It has run: no network is left of it.
    Finished,
}

impl ClusterPod {
    /// Its address of a family.
    pub fn ip(&self, family: u8) -> Option<IpAddr> {
        self.ips.iter().copied().find(|ip| ipam::family(ip) == family)
    }

    /// Whether it has a network namespace of its own.
    pub fn has_netns(&self) -> bool {
        self.state == PodState::Running && !self.spec.host_network && !self.ips.is_empty()
    }

    /// The number of a named container port, as the EndpointSlice controller finds it.
    pub fn named_port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let ports = self.container_ports();
        ports.filter(|port| port.name.as_deref() == Some(name) && port.protocol == protocol).map(|port| port.port).next()
    }

    /// The ports of all containers.
    pub fn container_ports(&self) -> impl Iterator<Item = &ContainerPort> {
        self.spec.containers.iter().flat_map(|container| &container.ports)
    }
}

impl Cluster {
    /// Builds the cluster of these objects.
    pub fn build(config: ClusterConfig, manifests: Manifests) -> Result<Self, InputErrors> {
        config.check("cluster")?;
        let Manifests { mut objects, report } = manifests;
        let mut assumptions = Vec::new();
        let nodes = nodes::nodes(&config, &objects, &mut assumptions).map_err(InputErrors)?;
        preset::add_system_objects(&config, &nodes, &mut objects);
        let namespaces = namespaces(&objects, &mut assumptions);

        let mut services = std::mem::take(&mut objects.services);
        services::allocate(&config, &mut services, &mut assumptions).map_err(InputErrors)?;
        services.sort_by(|a, b| a.meta.key().cmp(&b.meta.key()));

        let pods = pods(&config, &objects, &nodes, &services, &mut assumptions)?;
        let mut slices = slices::slices(World {
            services: &services,
            pods: &pods,
            nodes: &nodes,
            endpoints: &objects.endpoints,
            given: &objects.slices,
        });
        api_server_slice(&nodes, &mut slices);
        pending_load_balancers(&services, &mut assumptions);
        Ok(Self { config, nodes, pods, services, slices, namespaces, report, assumptions })
    }

    /// The default cluster with nothing but itself in it.
    pub fn empty(config: ClusterConfig) -> Result<Self, InputErrors> {
        Self::build(config, Manifests::default())
    }

    /// The addresses of the cluster's DNS: those of the Service kube-system/kube-dns.
    pub fn dns_ips(&self) -> Vec<IpAddr> {
        dns_ips(&self.config, &self.services)
    }

    /// The gateway of the node network, of one family.
    pub fn gateway(&self, family: u8) -> Option<IpAddr> {
        let network = self.config.node_network.iter().find(|prefix| ipam::family(&prefix.addr()) == family);
        network.map(|prefix| ipam::nth(*prefix, 1))
    }
}

fn dns_ips(config: &ClusterConfig, services: &[Service]) -> Vec<IpAddr> {
    let dns = services.iter().find(|service| service.meta.key() == ("kube-system", "kube-dns"));
    let ips = dns.map(|service| service.cluster_ips.addresses().to_vec()).unwrap_or_default();
    if ips.is_empty() { vec![config.cluster_dns()] } else { ips }
}

/// Namespaces of the cluster, those of the objects, and those that objects use without saying so.
fn namespaces(objects: &Objects, assumptions: &mut Vec<String>) -> Vec<String> {
    let preset = ["default", "kube-node-lease", "kube-public", "kube-system"];
    let mut names: BTreeSet<String> = preset.iter().map(|name| (*name).to_owned()).collect();
    names.extend(objects.namespaces.iter().map(|namespace| namespace.meta.name.clone()));
    let metas = (objects.pods.iter().map(|pod| &pod.meta))
        .chain(objects.workloads.iter().map(|workload| &workload.meta))
        .chain(objects.services.iter().map(|service| &service.meta))
        .chain(objects.slices.iter().map(|slice| &slice.meta));
    for meta in metas {
        if names.insert(meta.namespace.clone()) && !meta.live {
            assumptions.push(format!("namespace {} is not defined; it is taken as created ({})", meta.namespace, meta.origin));
        }
    }
    names.into_iter().collect()
}

/// Pods with nodes and addresses.
fn pods(
    config: &ClusterConfig,
    objects: &Objects,
    nodes: &[ClusterNode],
    services: &[Service],
    assumptions: &mut Vec<String>,
) -> Result<Vec<ClusterPod>, InputErrors> {
    let mut expanded = workloads::expand(&objects.pods, &objects.workloads, nodes).map_err(|workload| {
        InputError::whole("cluster", format!("{workload}: the cluster would have more than {} pods", workloads::MAX_PODS))
    })?;
    let node_ips: BTreeSet<IpAddr> = nodes.iter().flat_map(|node| &node.ips).copied().collect();
    adopt::adopt(&objects.slices, &node_ips, &mut expanded, assumptions);

    let index_of: BTreeMap<&str, usize> = nodes.iter().enumerate().map(|(index, node)| (node.name.as_str(), index)).collect();
    let mut scheduler = Scheduler::new(nodes.len());
    let mut on_node: Vec<Option<usize>> = Vec::with_capacity(expanded.len());
    for Expanded { pod, workload } in &expanded {
        let node = pod.spec.node_name.as_deref().and_then(|name| index_of.get(name)).copied();
        if let Some(node) = node.filter(|_| !pod.is_finished()) {
            scheduler.place(node, &pod.meta.namespace, workload.as_ref());
        }
        on_node.push(node);
    }
    for (Expanded { pod, workload }, node) in expanded.iter().zip(&mut on_node) {
        if node.is_none() && pod.spec.node_name.is_none() && !pod.is_finished() {
            *node = scheduler.choose(&pod.spec, nodes, &pod.meta.namespace, workload.as_ref());
            if let Some(node) = *node {
                scheduler.place(node, &pod.meta.namespace, workload.as_ref());
            }
        }
    }

    let mut pools: Vec<Vec<HostLocal>> =
        nodes.iter().map(|node| node.pod_cidrs.iter().map(|cidr| HostLocal::new(*cidr)).collect()).collect();
    let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
    for (Expanded { pod, .. }, node) in expanded.iter().zip(&on_node) {
        if pod.is_finished() || pod.spec.host_network {
            continue;
        }
        for ip in &pod.status.ips {
            if let Some(other) = owners.insert(*ip, pod.meta.full_name()) {
                let message = format!("{ip} is the address of pod {other} too");
                return Err(InputError::at(&pod.meta.origin, "status.podIP", message).into());
            }
            let Some(node) = node else { continue };
            for pool in pools[*node].iter_mut().filter(|pool| pool.subnet().contains(ip)) {
                pool.reserve(*ip);
            }
        }
    }

    let dns = dns_ips(config, services);
    let gateway = ipam::nth(config.node_network[0], 1);
    let node_resolv = ResolvConf::of_node(gateway);
    let mut result = Vec::with_capacity(expanded.len());
    for (Expanded { pod, workload }, node) in expanded.into_iter().zip(on_node) {
        let mut state = match node {
            _ if pod.is_finished() => PodState::Finished,
            Some(_) => PodState::Running,
            None => PodState::Pending(why_pending(&pod.spec, nodes)),
        };
        let mut ips = Vec::new();
        if let (PodState::Running, Some(node)) = (&state, node) {
            if pod.spec.host_network {
                ips.clone_from(&nodes[node].ips);
            } else if !pod.status.ips.is_empty() {
                ips.clone_from(&pod.status.ips);
            } else {
                for pool in &mut pools[node] {
                    match pool.allocate() {
                        Ok(ip) => ips.push(ip),
                        Err(error) => {
                            state = PodState::Pending(format!("node {}: {error}", nodes[node].name));
                            ips.clear();
                            break;
                        }
                    }
                }
                if ips.is_empty() && state == PodState::Running {
                    state = PodState::Pending(format!("node {} has no podCIDR", nodes[node].name));
                }
            }
        }
        if let PodState::Pending(why) = &state {
            assumptions.push(format!("pod {} stays Pending: {why} ({})", pod.meta.full_name(), pod.meta.origin));
        }
        let ready = pod.is_ready() && state == PodState::Running;
        let resolv = ResolvConf::of_pod(&pod.spec, &pod.meta.namespace, &dns, &config.cluster_domain, &node_resolv);
        result.push(ClusterPod {
            node: node.map(|node| nodes[node].name.clone()),
            meta: pod.meta,
            spec: pod.spec,
            workload,
            ips,
            state,
            ready,
            resolv,
        });
    }
    result.sort_by(|a, b| a.meta.key().cmp(&b.meta.key()));
    Ok(result)
}

/// The words of the scheduler's event, shortened.
fn why_pending(spec: &PodSpec, nodes: &[ClusterNode]) -> String {
    if let Some(name) = &spec.node_name {
        return format!("there is no node {name}");
    }
    let misses = |node: &&ClusterNode| spec.node_selector.iter().any(|(key, value)| node.labels.get(key) != Some(value));
    let selector = nodes.iter().filter(misses).count();
    let of = nodes.len();
    if selector == of && of > 0 {
        let wanted: Vec<String> = spec.node_selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        return format!("0/{of} nodes are available: no node has the labels {} of its nodeSelector", wanted.join(","));
    }
    format!("0/{of} nodes are available: {selector} lack its nodeSelector, the others have taints that it does not bear")
}

/// The slice of the Service `kubernetes`, which the API server keeps itself.
fn api_server_slice(nodes: &[ClusterNode], slices: &mut Vec<EndpointSlice>) {
    let known = |slice: &EndpointSlice| slice.meta.namespace == "default" && slice.service == "kubernetes";
    let server = nodes.iter().find(|node| node.control_plane).or(nodes.first());
    let (Some(server), false) = (server, slices.iter().any(known)) else { return };
    let Some(ip) = server.ips.first() else { return };
    let mut meta = Meta::made("kube-apiserver", "default", "kubernetes");
    meta.labels.insert(SERVICE_NAME_LABEL.to_owned(), "kubernetes".to_owned());
    let endpoint = Endpoint {
        addresses: vec![*ip],
        ready: Some(true),
        serving: None,
        terminating: None,
        node_name: None,
        zone: None,
        hint_zones: Vec::new(),
        hint_nodes: Vec::new(),
        hostname: None,
        target: None,
        origin: server.origin.clone(),
    };
    let port = EndpointPort { name: "https".to_owned(), protocol: Protocol::Tcp, port: Some(preset::API_SERVER_PORT) };
    let address_type = if ip.is_ipv4() { AddressType::Ipv4 } else { AddressType::Ipv6 };
    let service = "kubernetes".to_owned();
    slices.push(EndpointSlice { meta, service, address_type, ports: vec![port], endpoints: vec![endpoint] });
    slices.sort_by(|a, b| a.meta.key().cmp(&b.meta.key()));
}

fn pending_load_balancers(services: &[Service], assumptions: &mut Vec<String>) {
    for service in services {
        if service.kind == ServiceType::LoadBalancer && service.lb_ingress.is_empty() {
            assumptions.push(format!(
                "Service {}: no load balancer has given it an address (status.loadBalancer is empty), EXTERNAL-IP stays <pending> ({})",
                service.meta.full_name(),
                service.meta.origin
            ));
        }
    }
}
