//! A cluster as a network: [`plan`] makes it plain data, [`Plan::apply`] builds it.
//!
//! ```text
//!   default/web-...   default/dnsutils                      external   the gateway, and what lies beyond
//!      eth0 |            | eth0                             eth0 |
//!           |            |                                       |
//!      veth |            | veth                                  | port0
//!   kind-worker ------------------ eth0 --- portN --- underlay --+     a switch
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use stack::app::{Resolver, Server};
use stack::command::{CommandError, ParseCommandError};
use stack::{Command, Errno, LinkConfig, Network, Provenance, Provenances, SimTime};

use crate::cluster::{Cluster, ClusterNode, ClusterPod, PodState};
use crate::config::{Cni, ProxyMode};
use crate::error::{InputError, InputErrors};
use crate::node_rules::{families, node_rules};
use crate::outside::{self, EXTERNAL};
use crate::proxy::iptables::localhost_node_ports;
use crate::proxy::text::RuleText;
use crate::resolv::ResolvConf;
use crate::underlay::{NodeNetwork, UNDERLAY, node_network};
use crate::{dns, kindnet, listen, provenance};

#[cfg(test)]
mod tests;

/// The device of a node, and of the world outside.
const NODE_DEVICE: &str = "eth0";
/// The bridge of the switch.
const SWITCH: &str = "br0";

/// What a namespace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NsKind {
    /// A node; pods on the host's network are in it too.
    Node,
    /// A pod.
    Pod,
    /// The gateway of the nodes, and all that lies beyond.
    External,
    /// The switch between them.
    Underlay,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanNs {
    /// Its name: that of the node, `NAMESPACE/NAME` of the pod, `external`, `underlay`.
    pub name: String,
    /// What it is.
    pub kind: NsKind,
    /// The addresses that others reach it by.
    pub ips: Vec<IpAddr>,
    /// The pods in it.
    pub pods: Vec<(String, String)>,
    /// The object that it stands for.
    pub prov: Provenance,
}

/// A cable, or a veth pair where it has no delay.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanLink {
    /// Namespace and device of one end.
    pub a: (String, String),
    /// Namespace and device of the other.
    pub b: (String, String),
    /// What it does to frames.
    pub config: LinkConfig,
    /// Who has made it.
    pub prov: Provenance,
}

/// A command, to be run in a namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanCommand {
    /// The namespace.
    pub netns: String,
    /// The line.
    pub line: String,
    /// What the tool reads.
    pub stdin: Option<RuleText>,
    /// Who runs it, and for what.
    pub prov: Provenance,
}

impl PlanCommand {
    /// The command, with the provenances of a network.
    ///
    /// # Errors
    /// The line is none that is modelled.
    pub fn command(&self, provenances: &mut Provenances) -> Result<Command, ParseCommandError> {
        match &self.stdin {
            Some(text) => Command::with_stdin(&self.line, text.stdin(provenances)),
            None => self.line.parse(),
        }
    }
}

/// A server, to be started in a namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanServer {
    /// The namespace.
    pub netns: String,
    /// The server.
    pub server: Server,
    /// What has been assumed.
    pub assumption: String,
}

/// A network, as plain data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Its namespaces.
    pub namespaces: Vec<PlanNs>,
    /// Its links; devices are made by them.
    pub links: Vec<PlanLink>,
    /// Commands, in order.
    pub commands: Vec<PlanCommand>,
    /// What listens.
    pub servers: Vec<PlanServer>,
    /// What the resolver of each namespace is told; for pods on the host's network see [`Plan::pod_resolvers`].
    pub resolvers: BTreeMap<String, Resolver>,
    /// What the resolver of each pod is told, by namespace and name.
    pub pod_resolvers: BTreeMap<(String, String), Resolver>,
    /// What the network rests on besides the input.
    pub assumptions: Vec<String>,
}

/// The network of a cluster.
///
/// # Errors
/// The cluster has what is not modelled, or no node.
pub fn plan(cluster: &Cluster) -> Result<Plan, InputErrors> {
    // One arm for each that is modelled; a new variant does not compile until somebody writes it.
    match cluster.config.cni {
        Cni::Kindnet => {}
    }
    match cluster.config.proxy_mode {
        ProxyMode::Iptables => {}
    }
    if cluster.nodes.is_empty() {
        return Err(InputError::whole("cluster", "the cluster has no node").help("set --nodes").into());
    }
    if let Some(node) = cluster.nodes.iter().find(|node| node.ips.is_empty()) {
        let error = InputError::at(&node.origin, "status.addresses", format!("node {} has no InternalIP", node.name));
        return Err(error.help("give it one").into());
    }
    let mut planner = Planner { cluster, plan: Plan { assumptions: cluster.assumptions.clone(), ..Plan::default() } };
    planner.build();
    Ok(planner.plan)
}

struct Planner<'a> {
    cluster: &'a Cluster,
    plan: Plan,
}

impl Planner<'_> {
    fn build(&mut self) {
        let cluster = self.cluster;
        let networks: Vec<NodeNetwork> =
            families(cluster).into_iter().filter_map(|family| node_network(cluster, family, &mut self.plan.assumptions)).collect();
        self.underlay();
        self.external(&networks);
        let mut by_node: BTreeMap<&str, Vec<&ClusterPod>> = BTreeMap::new();
        for pod in cluster.pods.iter().filter(|pod| pod.state == PodState::Running) {
            by_node.entry(pod.node.as_deref().unwrap_or_default()).or_default().push(pod);
        }
        let pods_on = |node: &ClusterNode| by_node.get(node.name.as_str()).map_or(&[][..], Vec::as_slice);
        for (index, node) in cluster.nodes.iter().enumerate() {
            self.node(node, index + 1, &networks);
            let own = pods_on(node).iter().filter(|pod| pod.spec.host_network);
            let names = own.map(|pod| (pod.meta.namespace.clone(), pod.meta.name.clone())).collect();
            self.plan.namespaces.last_mut().expect("the node's namespace has just been added").pods = names;
        }
        let taken: BTreeSet<IpAddr> = cluster.pods.iter().filter(|pod| pod.has_netns()).flat_map(|pod| &pod.ips).copied().collect();
        for node in &cluster.nodes {
            for pod in pods_on(node).iter().filter(|pod| pod.has_netns()) {
                self.pod(pod, node, &taken);
            }
        }
        for node in &cluster.nodes {
            self.node_rules(node);
        }
        self.resolvers(&networks);
        let mut notes = Vec::new();
        for listener in listen::listeners(cluster, &mut notes) {
            let listen::Listener { netns, server, assumption } = listener;
            self.plan.servers.push(PlanServer { netns, server, assumption });
        }
        self.plan.assumptions.extend(notes);
        self.host_aliases();
    }

    fn namespace(&mut self, name: &str, kind: NsKind, ips: Vec<IpAddr>, prov: Provenance) {
        self.plan.namespaces.push(PlanNs { name: name.to_owned(), kind, ips, pods: Vec::new(), prov });
    }

    fn run(&mut self, netns: &str, prov: &Provenance, line: impl Into<String>) {
        let (netns, line, prov) = (netns.to_owned(), line.into(), prov.clone());
        self.plan.commands.push(PlanCommand { netns, line, stdin: None, prov });
    }

    /// A switch: a bridge, and a port for each cable.
    fn underlay(&mut self) {
        let prov = provenance::by("kind");
        self.namespace(UNDERLAY, NsKind::Underlay, Vec::new(), prov.clone());
        self.run(UNDERLAY, &prov, format!("ip link add {SWITCH} type bridge"));
        self.run(UNDERLAY, &prov, format!("ip link set {SWITCH} up"));
    }

    /// A cable from a namespace to the switch.
    fn cable(&mut self, netns: &str, index: usize, prov: &Provenance) {
        let port = format!("port{index}");
        self.plan.links.push(PlanLink {
            a: (netns.to_owned(), NODE_DEVICE.to_owned()),
            b: (UNDERLAY.to_owned(), port.clone()),
            config: LinkConfig { delay: SimTime(self.cluster.config.node_link_delay_ns), ..LinkConfig::default() },
            prov: prov.clone(),
        });
        self.run(UNDERLAY, prov, format!("ip link set {port} master {SWITCH}"));
        self.run(UNDERLAY, prov, format!("ip link set {port} up"));
    }

    /// The machine that the nodes stand on: it knows the node network and nothing of pods and Services.
    fn external(&mut self, networks: &[NodeNetwork]) {
        let prov = provenance::by("kind");
        let beyond = outside::addresses(self.cluster);
        let ips = networks.iter().map(|network| network.gateway).chain(beyond.iter().copied()).collect();
        self.namespace(EXTERNAL, NsKind::External, ips, prov.clone());
        self.cable(EXTERNAL, 0, &prov);
        self.run(EXTERNAL, &prov, "ip link set lo up");
        self.run(EXTERNAL, &prov, format!("ip link set {NODE_DEVICE} up"));
        for NodeNetwork { prefix, gateway } in networks {
            let (length, nodad) = (prefix.prefix_len(), kindnet::nodad(*gateway));
            self.run(EXTERNAL, &prov, format!("ip addr add {gateway}/{length} dev {NODE_DEVICE}{nodad}"));
        }
        for ip in beyond {
            let (length, nodad) = (if ip.is_ipv4() { 32 } else { 128 }, kindnet::nodad(ip));
            self.run(EXTERNAL, &prov, format!("ip addr add {ip}/{length} dev lo{nodad}"));
        }
        self.routes_to_balanced_addresses();
    }

    /// Load balancers' and external addresses are nobody's: the world outside sends them to a node, as a MetalLB speaker or a
    /// router would have it.
    fn routes_to_balanced_addresses(&mut self) {
        let cluster = self.cluster;
        let mut seen: Vec<IpAddr> = Vec::new();
        for service in &cluster.services {
            let vips = service.lb_ingress.iter().filter(|ingress| !ingress.proxy_mode).filter_map(|ingress| ingress.ip);
            for ip in vips.chain(service.external_ips.iter().copied()) {
                if seen.contains(&ip) || cluster.node_by_ip(ip).is_some() {
                    continue;
                }
                seen.push(ip);
                let name = service.meta.full_name();
                let Some((node, via)) = self.announcer(service, ip) else { continue };
                let prov = provenance::for_object("the load balancer", format!("Service {name}"), "", &service.meta.origin);
                let line = format!("{} route add {ip} via {via}", kindnet::ip_tool(ip));
                self.run(EXTERNAL, &prov, line);
                let note = format!("packets from outside to {ip} (Service {name}) enter the cluster by node {node}");
                self.plan.assumptions.push(note);
            }
        }
    }

    /// The node that an address is sent to: the first worker, or with policy Local the first node with an endpoint.
    fn announcer(&self, service: &crate::api::Service, ip: IpAddr) -> Option<(String, IpAddr)> {
        let cluster = self.cluster;
        let family = crate::ipam::family(&ip);
        let local = service.external_policy == crate::api::service::Policy::Local;
        let slices = cluster
            .slices
            .iter()
            .filter(|slice| slice.meta.namespace == service.meta.namespace && slice.service == service.meta.name);
        let endpoints: Vec<_> = slices.flat_map(|slice| &slice.endpoints).filter(|endpoint| endpoint.is_ready()).collect();
        let has_endpoint = |node: &&ClusterNode| endpoints.iter().any(|one| one.node_name.as_ref() == Some(&node.name));
        let of_family = || cluster.nodes.iter().filter(|node| node.ip(family).is_some());
        let chosen = of_family().filter(|_| local).find(has_endpoint);
        let node = chosen.or_else(|| of_family().find(|node| !node.control_plane)).or_else(|| of_family().next())?;
        Some((node.name.clone(), node.ip(family)?))
    }

    fn node(&mut self, node: &ClusterNode, index: usize, networks: &[NodeNetwork]) {
        let prov = provenance::for_object("kind", format!("Node {}", node.name), "", &node.origin);
        self.namespace(&node.name, NsKind::Node, node.ips.clone(), prov.clone());
        self.cable(&node.name, index, &prov);
        self.run(&node.name, &prov, "ip link set lo up");
        self.run(&node.name, &prov, format!("ip link set {NODE_DEVICE} up"));
        for network in networks {
            let Some(ip) = node.ip(crate::ipam::family(&network.gateway)) else { continue };
            let (length, nodad) = (network.prefix.prefix_len(), kindnet::nodad(ip));
            self.run(&node.name, &prov, format!("ip addr add {ip}/{length} dev {NODE_DEVICE}{nodad}"));
            let default = format!("{} route add default via {} dev {NODE_DEVICE}", kindnet::ip_tool(ip), network.gateway);
            self.run(&node.name, &prov, default);
            let forwarding = if ip.is_ipv4() { "net.ipv4.ip_forward=1" } else { "net.ipv6.conf.all.forwarding=1" };
            self.run(&node.name, &prov, format!("sysctl -w {forwarding}"));
        }
        if localhost_node_ports(self.cluster) && node.ip(4).is_some() {
            self.run(&node.name, &provenance::by("kube-proxy"), "sysctl -w net.ipv4.conf.all.route_localnet=1");
        }
        let kindnetd = provenance::by("kindnet");
        for line in kindnet::node_routes(node, &self.cluster.nodes) {
            self.run(&node.name, &kindnetd, line);
        }
    }

    fn pod(&mut self, pod: &ClusterPod, node: &ClusterNode, taken: &BTreeSet<IpAddr>) {
        let name = pod.meta.full_name();
        let prov = provenance::for_object("kindnet", format!("pod {name}"), "", &pod.meta.origin);
        self.namespace(&name, NsKind::Pod, pod.ips.clone(), prov.clone());
        let own = (pod.meta.namespace.clone(), pod.meta.name.clone());
        self.plan.namespaces.last_mut().expect("the pod's namespace has just been added").pods.push(own);
        self.plan.links.push(PlanLink {
            a: (name.clone(), kindnet::POD_DEVICE.to_owned()),
            b: (node.name.clone(), kindnet::host_device(pod)),
            config: LinkConfig::default(),
            prov: prov.clone(),
        });
        self.run(&node.name, &prov, format!("ip link set {} up", kindnet::host_device(pod)));
        for line in kindnet::pod_commands(pod, node, taken) {
            self.run(&name, &prov, line);
        }
        for line in kindnet::host_commands(pod, node, taken) {
            self.run(&node.name, &prov, line);
        }
    }

    fn node_rules(&mut self, node: &ClusterNode) {
        for set in node_rules(self.cluster, node) {
            let line = set.command().to_owned();
            let generator = set.title.split(':').next().unwrap_or_default();
            let prov = provenance::by(generator);
            self.plan.commands.push(PlanCommand { netns: node.name.clone(), line, stdin: Some(set.text), prov });
        }
    }

    fn resolvers(&mut self, networks: &[NodeNetwork]) {
        if let Some(network) = networks.first() {
            let own = dns::resolver(&ResolvConf::of_node(network.gateway));
            for node in &self.cluster.nodes {
                self.plan.resolvers.insert(node.name.clone(), own.clone());
            }
            self.plan.resolvers.insert(EXTERNAL.to_owned(), own);
        }
        for pod in self.cluster.pods.iter().filter(|pod| self.cluster.netns_of(pod).is_some()) {
            let resolver = dns::resolver(&pod.resolv);
            if pod.has_netns() {
                self.plan.resolvers.insert(pod.meta.full_name(), resolver.clone());
            }
            self.plan.pod_resolvers.insert((pod.meta.namespace.clone(), pod.meta.name.clone()), resolver);
        }
    }

    fn host_aliases(&mut self) {
        for pod in self.cluster.pods.iter().filter(|pod| !pod.spec.host_aliases.is_empty()) {
            let note = format!("pod {}: hostAliases are not modelled; names are looked up in DNS alone", pod.meta.full_name());
            self.plan.assumptions.push(format!("{note} ({})", pod.meta.origin));
        }
    }
}

/// Why a plan could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A namespace of that name is there already.
    #[error("namespace {0}: {1}")]
    Namespace(String, Errno),
    /// A device of that name is there already.
    #[error("the link between {a} and {b}: {errno}")]
    Link {
        /// Namespace and device.
        a: String,
        /// Namespace and device.
        b: String,
        /// Why.
        errno: Errno,
    },
    /// A line is no command that is modelled.
    #[error("{netns}: `{line}`: {error}")]
    Parse {
        /// The namespace.
        netns: String,
        /// The line.
        line: String,
        /// Why.
        error: ParseCommandError,
    },
    /// A command failed.
    #[error("{netns}: `{line}`: {error}")]
    Command {
        /// The namespace.
        netns: String,
        /// The line.
        line: String,
        /// What the tool says.
        error: CommandError,
    },
    /// A server could not be started.
    #[error("{netns}: {server}: {errno}")]
    Server {
        /// The namespace.
        netns: String,
        /// Its name and port.
        server: String,
        /// Why.
        errno: Errno,
    },
}

impl Plan {
    /// Builds the network: namespaces, links, commands, servers.
    ///
    /// # Errors
    /// The first that fails; the network is then half built.
    pub fn apply(&self, network: &mut Network) -> Result<(), ApplyError> {
        for ns in &self.namespaces {
            network.add_netns(&ns.name).map_err(|errno| ApplyError::Namespace(ns.name.clone(), errno))?;
        }
        let named =
            |network: &Network, name: &str| network.named(name).ok_or_else(|| ApplyError::Namespace(name.to_owned(), Errno::NoEnt));
        for link in &self.links {
            let prov = network.provenances.intern(link.prov.clone());
            let (a, b) = (named(network, &link.a.0)?, named(network, &link.b.0)?);
            network.join((a, &link.a.1), (b, &link.b.1), link.config, prov).map_err(|errno| {
                let end = |(ns, device): &(String, String)| format!("{ns}/{device}");
                ApplyError::Link { a: end(&link.a), b: end(&link.b), errno }
            })?;
        }
        for one in &self.commands {
            let ns = named(network, &one.netns)?;
            let prov = network.provenances.intern(one.prov.clone());
            let (netns, line) = (one.netns.clone(), one.line.clone());
            match one.command(&mut network.provenances) {
                Ok(command) => {
                    network.apply(ns, &command, prov).map_err(|error| ApplyError::Command { netns, line, error })?;
                }
                Err(error) => return Err(ApplyError::Parse { netns, line, error }),
            }
        }
        for one in &self.servers {
            let ns = named(network, &one.netns)?;
            network.serve(ns, one.server.clone()).map_err(|errno| ApplyError::Server {
                netns: one.netns.clone(),
                server: format!("{} on port {}", one.server.name, one.server.port),
                errno,
            })?;
        }
        Ok(())
    }

    /// A namespace by its name.
    pub fn netns(&self, name: &str) -> Option<&PlanNs> {
        self.namespaces.iter().find(|ns| ns.name == name)
    }

    /// The namespace that a pod is in: its own, or its node's.
    pub fn netns_of_pod(&self, namespace: &str, name: &str) -> Option<&PlanNs> {
        self.namespaces.iter().find(|ns| ns.pods.iter().any(|(of, pod)| of == namespace && pod == name))
    }

    /// The namespace that an address leads to.
    pub fn netns_by_ip(&self, ip: IpAddr) -> Option<&PlanNs> {
        self.namespaces.iter().find(|ns| ns.ips.contains(&ip))
    }

    /// The resolver of a pod, or of a namespace.
    pub fn resolver_of_pod(&self, namespace: &str, name: &str) -> Option<&Resolver> {
        self.pod_resolvers.get(&(namespace.to_owned(), name.to_owned()))
    }
}
