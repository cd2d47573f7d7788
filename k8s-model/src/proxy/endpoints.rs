//! Endpoints of a Service port, and which of them a node uses (pkg/proxy/endpointslicecache.go, topology.go).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::names::endpoint_chain;
use super::service_map::ServicePortInfo;
use crate::api::EndpointSlice;
use crate::api::endpoints::{AddressType, Endpoint};
use crate::cluster::{Cluster, ClusterNode};

/// An endpoint of a Service port.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointInfo<'a> {
    /// Its address.
    pub ip: IpAddr,
    /// `ip:port`, `[ip]:port` for IPv6.
    pub address: String,
    /// Its chain.
    pub chain: String,
    /// Whether it is on the node that asks.
    pub local: bool,
    /// The entry of the slice.
    pub endpoint: &'a Endpoint,
}

impl EndpointInfo<'_> {
    fn is_ready(&self) -> bool {
        self.endpoint.is_ready()
    }

    /// Going away, but still answering: what is left when nothing is ready.
    fn serves_while_terminating(&self) -> bool {
        self.endpoint.is_serving() && self.endpoint.is_terminating()
    }
}

/// Slices by the Service that they belong to, so that a Service need not look at all of them.
#[derive(Debug)]
pub struct SlicesByService<'a> {
    index: BTreeMap<(&'a str, &'a str), Vec<&'a EndpointSlice>>,
}

impl<'a> SlicesByService<'a> {
    /// The slices of a family.
    pub fn new(cluster: &'a Cluster, family: u8) -> Self {
        let wanted = if family == 4 { AddressType::Ipv4 } else { AddressType::Ipv6 };
        let mut index: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
        for slice in cluster.slices.iter().filter(|slice| slice.address_type == wanted && !slice.service.is_empty()) {
            index.entry((&slice.meta.namespace, &slice.service)).or_default().push(slice);
        }
        Self { index }
    }

    /// The endpoints of a Service port as a node sees them, in the order of their text.
    ///
    /// An endpoint in two slices counts once: the one on this node wins, otherwise the first.
    pub fn endpoints(&self, port: &ServicePortInfo<'_>, node: &ClusterNode) -> Vec<EndpointInfo<'a>> {
        let mut found: BTreeMap<String, EndpointInfo<'a>> = BTreeMap::new();
        let key = (port.service.meta.namespace.as_str(), port.service.meta.name.as_str());
        for slice in self.index.get(&key).into_iter().flatten() {
            let same = slice.ports.iter().filter(|one| one.name == port.port_name && one.protocol == port.protocol);
            for number in same.filter_map(|one| one.port) {
                for endpoint in &slice.endpoints {
                    let Some(ip) = endpoint.addresses.first() else { continue };
                    let address = host_port(*ip, number);
                    let local = endpoint.node_name.as_ref() == Some(&node.name);
                    if found.get(&address).is_some_and(|old| old.local || !local) {
                        continue;
                    }
                    let chain = endpoint_chain(&port.name, port.protocol, &address);
                    found.insert(address.clone(), EndpointInfo { ip: *ip, address, chain, local, endpoint });
                }
            }
        }
        found.into_values().collect()
    }
}

/// `ip:port`, `[ip]:port` for IPv6.
pub fn host_port(ip: IpAddr, port: u16) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    }
}

/// Which endpoints a Service port uses on a node: indices into the list that was given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Categories {
    /// For traffic of policy Cluster.
    pub cluster: Vec<usize>,
    /// For traffic of policy Local.
    pub local: Vec<usize>,
    /// Either of them, in order.
    pub reachable: Vec<usize>,
    /// Whether there is a usable endpoint anywhere.
    pub any: bool,
}

/// `CategorizeEndpoints`.
pub fn categorize(endpoints: &[EndpointInfo<'_>], port: &ServicePortInfo<'_>, node: &ClusterNode) -> Categories {
    let select = |wanted: &dyn Fn(&EndpointInfo<'_>) -> bool| -> Vec<usize> {
        endpoints.iter().enumerate().filter(|(_, endpoint)| wanted(endpoint)).map(|(index, _)| index).collect()
    };
    let or_terminating = |ready: Vec<usize>, among: &dyn Fn(&EndpointInfo<'_>) -> bool| {
        if ready.is_empty() { select(&|one| among(one) && one.serves_while_terminating()) } else { ready }
    };
    let mut result = Categories::default();
    if port.uses_cluster_endpoints() {
        let hints = Hints::choose(endpoints, node);
        result.cluster = or_terminating(select(&|one| one.is_ready() && hints.allow(one, node)), &|_| true);
    }
    if port.uses_local_endpoints() {
        result.local = or_terminating(select(&|one| one.local && one.is_ready()), &|one| one.local);
    }
    result.reachable.clone_from(&result.cluster);
    result.reachable.extend(&result.local);
    result.reachable.sort_unstable();
    result.reachable.dedup();
    result.any = !result.reachable.is_empty() || endpoints.iter().any(|one| one.is_ready() || one.serves_while_terminating());
    result
}

/// Which hints of the slices count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hints {
    Node,
    Zone,
    Ignored,
}

impl Hints {
    /// Hints count only if every ready endpoint has one, and one of them is for this node or zone.
    fn choose(endpoints: &[EndpointInfo<'_>], node: &ClusterNode) -> Self {
        let every = |has: &dyn Fn(&Endpoint) -> bool| endpoints.iter().filter(|one| one.is_ready()).all(|one| has(one.endpoint));
        let some = |hints: Self| endpoints.iter().any(|one| one.is_ready() && hints.allow(one, node));
        if every(&|endpoint| !endpoint.hint_nodes.is_empty()) && some(Self::Node) {
            Self::Node
        } else if every(&|endpoint| !endpoint.hint_zones.is_empty()) && some(Self::Zone) {
            Self::Zone
        } else {
            Self::Ignored
        }
    }

    fn allow(self, one: &EndpointInfo<'_>, node: &ClusterNode) -> bool {
        match self {
            Self::Node => one.endpoint.hint_nodes.contains(&node.name),
            Self::Zone => node.zone.as_ref().is_some_and(|zone| !zone.is_empty() && one.endpoint.hint_zones.contains(zone)),
            Self::Ignored => true,
        }
    }
}
