//! Nodes: those of the dump, those that the dump's pods name, or kind's; node IPAM.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::api::Objects;
use crate::api::node::{CONTROL_PLANE, Taint, ZONE_LABEL};
use crate::cluster::ClusterNode;
use crate::config::ClusterConfig;
use crate::error::{InputError, Origin};
use crate::ipam;

/// The nodes of the cluster, with addresses and podCIDRs; what had to be assumed is added to `assumptions`.
pub fn nodes(
    config: &ClusterConfig,
    objects: &Objects,
    assumptions: &mut Vec<String>,
) -> Result<Vec<ClusterNode>, Vec<InputError>> {
    let preset = config.node_names();
    let named: BTreeSet<&String> = named_nodes(objects).collect();
    let mut result: Vec<ClusterNode> = if !objects.nodes.is_empty() {
        objects.nodes.iter().map(given).collect()
    } else if named.iter().any(|name| !preset.contains(name)) {
        Vec::new()
    } else {
        kind_nodes(config, &preset)
    };
    let strangers: Vec<String> = named.into_iter().filter(|name| !result.iter().any(|node| node.name == **name)).cloned().collect();
    for name in strangers {
        assumptions.push(format!("node {name}: no Node object says more than its name, which pods of the input carry"));
        let mut node = kind_node(&name, false);
        node.ips.extend(host_ip(objects, &name));
        node.origin = Origin::made("the input's pods");
        result.push(node);
    }
    let mut errors = Vec::new();
    address(config, &mut result, &mut errors);
    pod_cidrs(config, objects, &mut result, assumptions, &mut errors);
    if errors.is_empty() { Ok(result) } else { Err(errors) }
}

/// Nodes that pods and slices of the input are on.
fn named_nodes(objects: &Objects) -> impl Iterator<Item = &String> {
    let of_pods = objects.pods.iter().filter_map(|pod| pod.spec.node_name.as_ref());
    let of_slices = objects.slices.iter().flat_map(|slice| &slice.endpoints).filter_map(|one| one.node_name.as_ref());
    of_pods.chain(of_slices)
}

fn host_ip(objects: &Objects, node: &str) -> Option<IpAddr> {
    let on_node = objects.pods.iter().filter(|pod| pod.spec.node_name.as_deref() == Some(node));
    on_node.filter_map(|pod| pod.status.host_ip).next()
}

fn given(node: &crate::api::Node) -> ClusterNode {
    let labels = node.meta.labels.clone();
    let control_plane = labels.contains_key(CONTROL_PLANE) || labels.contains_key("node-role.kubernetes.io/master");
    ClusterNode {
        name: node.meta.name.clone(),
        ips: node.internal_ips.clone(),
        pod_cidrs: node.pod_cidrs.clone(),
        taints: node.taints.clone(),
        unschedulable: node.unschedulable,
        control_plane,
        zone: labels.get(ZONE_LABEL).cloned(),
        labels,
        origin: node.meta.origin.clone(),
    }
}

fn kind_nodes(config: &ClusterConfig, names: &[String]) -> Vec<ClusterNode> {
    let mut nodes: Vec<ClusterNode> = names.iter().enumerate().map(|(index, name)| kind_node(name, index == 0)).collect();
    if config.nodes > 1 {
        nodes[0].taints.push(Taint { key: CONTROL_PLANE.to_owned(), value: String::new(), effect: "NoSchedule".to_owned() });
    }
    nodes
}

fn kind_node(name: &str, control_plane: bool) -> ClusterNode {
    let mut labels: BTreeMap<String, String> = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", "amd64"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    if control_plane {
        labels.insert(CONTROL_PLANE.to_owned(), String::new());
        labels.insert("node.kubernetes.io/exclude-from-external-load-balancers".to_owned(), String::new());
    }
    ClusterNode {
        name: name.to_owned(),
        labels,
        ips: Vec::new(),
        pod_cidrs: Vec::new(),
        taints: Vec::new(),
        unschedulable: false,
        control_plane,
        zone: None,
        origin: Origin::made("kind"),
    }
}

/// Addresses of nodes that have none: the gateway is the first of the network, nodes follow in order.
fn address(config: &ClusterConfig, nodes: &mut [ClusterNode], errors: &mut Vec<InputError>) {
    let mut taken: BTreeMap<IpAddr, String> = BTreeMap::new();
    for node in nodes.iter() {
        for ip in &node.ips {
            if let Some(other) = taken.insert(*ip, node.name.clone()) {
                let message = format!("node {} has the address {ip} of node {other}", node.name);
                errors.push(InputError::at(&node.origin, "status.addresses", message));
            }
        }
    }
    for prefix in &config.node_network {
        let family = ipam::family(&prefix.addr());
        let mut next = 2;
        for node in nodes.iter_mut().filter(|node| !node.ips.iter().any(|ip| ipam::family(ip) == family)) {
            // Nodes of a dump may be on IPv4 only; they stay so.
            if node.origin.is_read() && !node.ips.is_empty() {
                continue;
            }
            let mut ip = ipam::nth(*prefix, next);
            while taken.contains_key(&ip) {
                next += 1;
                ip = ipam::nth(*prefix, next);
            }
            next += 1;
            if !prefix.contains(&ip) || Some(ip) == prefix.addr().is_ipv4().then(|| prefix.broadcast()) {
                let message = format!("node_network {prefix} has no address left for node {}", node.name);
                errors.push(InputError::at(&node.origin, "", message));
                break;
            }
            taken.insert(ip, node.name.clone());
            node.ips.push(ip);
        }
    }
}

/// nodeipam's range allocator: the next free piece of the cluster's range; what the dump says holds.
fn pod_cidrs(
    config: &ClusterConfig,
    objects: &Objects,
    nodes: &mut [ClusterNode],
    assumptions: &mut Vec<String>,
    errors: &mut Vec<InputError>,
) {
    if !config.allocate_node_cidrs {
        return;
    }
    for prefix in &config.cluster_cidr {
        let family = ipam::family(&prefix.addr());
        let mask = if family == 4 { config.node_cidr_mask_size } else { config.node_cidr_mask_size_ipv6 };
        let in_family = |cidr: &IpNet| ipam::family(&cidr.addr()) == family;
        let mut taken: BTreeSet<IpNet> = nodes.iter().flat_map(|node| &node.pod_cidrs).copied().collect();
        // Pods with addresses tell the podCIDR of their node, where all agree.
        for node in nodes.iter_mut().filter(|node| !node.pod_cidrs.iter().any(in_family)) {
            if let Some(cidr) = cidr_of_pods(objects, &node.name, family, mask).filter(|cidr| !taken.contains(cidr)) {
                assumptions.push(format!("node {}: podCIDR {cidr}, since the addresses of its pods lie in it", node.name));
                taken.insert(cidr);
                node.pod_cidrs.push(cidr);
            }
        }
        let mut pieces = prefix.subnets(mask).into_iter().flatten();
        for node in nodes.iter_mut().filter(|node| !node.pod_cidrs.iter().any(in_family)) {
            let overlaps = |piece: &IpNet| taken.iter().any(|other| other.contains(piece) || piece.contains(other));
            match pieces.find(|piece| !overlaps(piece)) {
                Some(piece) => {
                    taken.insert(piece);
                    node.pod_cidrs.push(piece);
                }
                None => {
                    let message = format!("cluster_cidr {prefix} in pieces of /{mask} has none left for node {}", node.name);
                    errors.push(InputError::at(&node.origin, "spec.podCIDR", message));
                    break;
                }
            }
        }
    }
}

fn cidr_of_pods(objects: &Objects, node: &str, family: u8, mask: u8) -> Option<IpNet> {
    let on_node = |pod: &&crate::api::Pod| pod.spec.node_name.as_deref() == Some(node) && !pod.spec.host_network;
    let ips = objects.pods.iter().filter(on_node).flat_map(|pod| &pod.status.ips);
    let mut cidrs = ips.filter(|ip| ipam::family(ip) == family).filter_map(|ip| Some(IpNet::new(*ip, mask).ok()?.trunc()));
    let first = cidrs.next()?;
    cidrs.all(|cidr| cidr == first).then_some(first)
}
