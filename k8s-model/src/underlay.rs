//! The network of the nodes: which prefix each address is in, and who leads out of it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::cluster::Cluster;
use crate::ipam;

/// The namespace of the switch that the nodes' cables are plugged into.
pub const UNDERLAY: &str = "underlay";

/// The node network of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeNetwork {
    /// Its prefix: all nodes are on one link.
    pub prefix: IpNet,
    /// The way out, an address of the namespace `external`.
    pub gateway: IpAddr,
}

/// The node network of family 4 or 6; none where no node has an address of it.
///
/// Nodes of a dump may have addresses that the configured prefix does not cover. Then the longest prefix that covers all of
/// them, and one address more, is taken, and that is said in `assumptions`.
pub fn node_network(cluster: &Cluster, family: u8, assumptions: &mut Vec<String>) -> Option<NodeNetwork> {
    let ips: BTreeSet<IpAddr> = cluster.nodes.iter().filter_map(|node| node.ip(family)).collect();
    let first = *ips.first()?;
    let configured = cluster.config.node_network.iter().copied().find(|prefix| ipam::family(&prefix.addr()) == family);
    if let Some(prefix) = configured.filter(|prefix| ips.iter().all(|ip| prefix.contains(ip))) {
        return Some(NodeNetwork { prefix, gateway: free(prefix, &ips) });
    }
    let longest = if family == 4 { 24 } else { 64 };
    let covers = |length: &u8| IpNet::new(first, *length).is_ok_and(|prefix| ips.iter().all(|ip| prefix.contains(ip)));
    let length = (0..=longest).rev().find(covers).unwrap_or(0);
    let prefix = IpNet::new(first, length).map(|prefix| prefix.trunc()).ok()?;
    let gateway = free(prefix, &ips);
    assumptions.push(format!(
        "the addresses of the nodes are not in node_network; all nodes are taken to be on one link, {prefix}, with the gateway {gateway}"
    ));
    Some(NodeNetwork { prefix, gateway })
}

/// The first address that no node has.
fn free(prefix: IpNet, taken: &BTreeSet<IpAddr>) -> IpAddr {
    let mut candidates = (1..=taken.len() as u128 + 1).map(|n| ipam::nth(prefix, n));
    candidates.find(|ip| !taken.contains(ip)).expect("one more candidate than there are addresses taken")
}
