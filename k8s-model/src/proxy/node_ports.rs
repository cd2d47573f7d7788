//! `--nodeport-addresses`: on which of a node's addresses node ports answer (pkg/proxy/util/nodeport_addresses.go).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::cluster::{Cluster, ClusterNode, ClusterPod};
use crate::ipam;

/// Which addresses, of one IP family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// Every local address.
    All,
    /// These, in order.
    Only(Vec<IpAddr>),
}

impl NodePortAddresses {
    /// The addresses of a node: its own, loopback, and the pods' gateway on the node's side of each pod.
    pub fn new(cluster: &Cluster, node: &ClusterNode, family: u8) -> Self {
        let of_family = |prefix: &&IpNet| ipam::family(&prefix.addr()) == family;
        let cidrs: Vec<IpNet> = cluster.config.nodeport_addresses.iter().filter(of_family).copied().collect();
        if cidrs.is_empty() || cidrs.iter().any(|cidr| cidr.prefix_len() == 0) {
            return Self::All;
        }
        let loopback = if family == 4 { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        let mut local = vec![loopback];
        local.extend(node.ips.iter().copied().filter(|ip| ipam::family(ip) == family));
        let has_pods = |pod: &ClusterPod| pod.has_netns() && pod.node.as_ref() == Some(&node.name);
        if cluster.pods.iter().any(has_pods) {
            local.extend(node.pod_cidr(family).map(|cidr| ipam::nth(cidr, 1)));
        }
        local.retain(|ip| cidrs.iter().any(|cidr| cidr.contains(ip)));
        Self::Only(local)
    }

    /// Whether 127.0.0.0/8 is among what the flag selects, as far as IPv4 goes.
    pub fn contains_ipv4_loopback(cluster: &Cluster) -> bool {
        let mut cidrs = cluster.config.nodeport_addresses.iter().filter(|cidr| cidr.addr().is_ipv4()).peekable();
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        cidrs.peek().is_none() || cidrs.any(|cidr| cidr.addr().is_loopback() || cidr.contains(&localhost))
    }
}
