//! How a cluster is set up: fields carry the names of the flags of those who own them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use crate::error::InputError;
use crate::ipam;

/// More nodes than this are refused.
const MAX_NODES: usize = 5_000;
/// Delay of a node's cable unless it is set: 50 µs.
const NODE_LINK_DELAY_NS: u64 = 50_000;
/// The API server refuses Service ranges with more host bits.
const MAX_SERVICE_HOST_BITS: u8 = 20;

/// A cluster's set-up; the default is what `kind create cluster` with three workers makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Its name, in front of its nodes' names.
    pub name: String,
    /// `--nodes`: how many, the control plane included; node objects of a dump replace them.
    pub nodes: usize,
    /// `--cni`.
    pub cni: Cni,
    /// `--proxy-mode` of kube-proxy.
    pub proxy_mode: ProxyMode,
    /// `--cluster-cidr`: pods, at most one prefix a family.
    pub cluster_cidr: Vec<IpNet>,
    /// `--node-cidr-mask-size` (IPv4) of kube-controller-manager.
    pub node_cidr_mask_size: u8,
    /// `--node-cidr-mask-size-ipv6`.
    pub node_cidr_mask_size_ipv6: u8,
    /// `--allocate-node-cidrs`: whether nodes without a podCIDR get one.
    pub allocate_node_cidrs: bool,
    /// `--service-cluster-ip-range`: Services, at most one prefix a family; the first is the default family.
    pub service_cluster_ip_range: Vec<IpNet>,
    /// `--detect-local-mode` of kube-proxy.
    pub detect_local_mode: DetectLocalMode,
    /// `--pod-bridge-interface`, for detect-local mode BridgeInterface.
    pub pod_bridge_interface: String,
    /// `--pod-interface-name-prefix`, for detect-local mode InterfaceNamePrefix.
    pub pod_interface_name_prefix: String,
    /// `--masquerade-all`.
    pub masquerade_all: bool,
    /// `--nodeport-addresses`; empty = the mode's own default.
    pub nodeport_addresses: Vec<IpNet>,
    /// `--iptables-localhost-nodeports`.
    pub iptables_localhost_nodeports: bool,
    /// `--ipvs-scheduler`.
    pub ipvs_scheduler: String,
    /// `--service-node-port-range`, both ends included.
    pub service_node_port_range: (u16, u16),
    /// The network of the nodes, one prefix a family; its first address is the gateway.
    pub node_network: Vec<IpNet>,
    /// `clusterDomain` of the kubelet.
    pub cluster_domain: String,
    /// Delay of the cable of each node, in nanoseconds.
    pub node_link_delay_ns: u64,
    /// Names of the world outside and their addresses: what upstream DNS servers are taken to know.
    pub outside_names: Vec<(String, Vec<IpAddr>)>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        let v4 = |a, b, c, d, length| IpNet::V4(Ipv4Net::new(Ipv4Addr::new(a, b, c, d), length).expect("a constant prefix length"));
        Self {
            name: "kind".to_owned(),
            nodes: 4,
            cni: Cni::Kindnet,
            proxy_mode: ProxyMode::Iptables,
            cluster_cidr: vec![v4(10, 244, 0, 0, 16)],
            node_cidr_mask_size: 24,
            node_cidr_mask_size_ipv6: 64,
            allocate_node_cidrs: true,
            service_cluster_ip_range: vec![v4(10, 96, 0, 0, 16)],
            detect_local_mode: DetectLocalMode::ClusterCidr,
            pod_bridge_interface: String::new(),
            pod_interface_name_prefix: String::new(),
            masquerade_all: false,
            nodeport_addresses: Vec::new(),
            iptables_localhost_nodeports: true,
            ipvs_scheduler: "rr".to_owned(),
            service_node_port_range: (30_000, 32_767),
            node_network: vec![v4(172, 18, 0, 0, 16)],
            cluster_domain: "cluster.local".to_owned(),
            node_link_delay_ns: NODE_LINK_DELAY_NS,
            outside_names: crate::outside::default_names(),
        }
    }
}

impl ClusterConfig {
    /// Refuses values that no cluster can have; `file` names where they stand.
    pub fn check(&self, file: &str) -> Result<(), InputError> {
        let wrong = |flag: &str, message: String, help: &str| {
            Err(InputError { path: flag.to_owned(), ..InputError::whole(file, message) }.help(help))
        };
        if self.nodes == 0 || self.nodes > MAX_NODES {
            return wrong("nodes", format!("{} nodes", self.nodes), &format!("1 to {MAX_NODES} are possible"));
        }
        let ranges = [
            ("cluster_cidr", &self.cluster_cidr),
            ("service_cluster_ip_range", &self.service_cluster_ip_range),
            ("node_network", &self.node_network),
        ];
        for (flag, prefixes) in ranges {
            if prefixes.is_empty() {
                return wrong(flag, "no prefix".to_owned(), "give at least one");
            }
            for family in [4, 6] {
                if prefixes.iter().filter(|prefix| ipam::family(&prefix.addr()) == family).count() > 1 {
                    return wrong(flag, format!("two prefixes of IPv{family}"), "one prefix a family is possible");
                }
            }
            if let Some(prefix) = prefixes.iter().find(|prefix| prefix.addr() != prefix.network()) {
                return wrong(flag, format!("{prefix} has host bits set"), &format!("write {}", prefix.trunc()));
            }
        }
        for (index, (flag, prefixes)) in ranges.iter().enumerate() {
            for (other_flag, others) in &ranges[..index] {
                for (prefix, other) in prefixes.iter().flat_map(|prefix| others.iter().map(move |other| (prefix, other))) {
                    if prefix.contains(other) || other.contains(prefix) {
                        let message = format!("{prefix} overlaps {other} of {other_flag}");
                        return wrong(flag, message, "pods, Services and nodes need ranges of their own");
                    }
                }
            }
        }
        for prefix in &self.service_cluster_ip_range {
            let host_bits = prefix.max_prefix_len() - prefix.prefix_len();
            if !(4..=MAX_SERVICE_HOST_BITS).contains(&host_bits) {
                let longest = prefix.max_prefix_len() - MAX_SERVICE_HOST_BITS;
                let help = format!("prefix lengths {longest} to {} are possible", prefix.max_prefix_len() - 4);
                return wrong("service_cluster_ip_range", format!("{prefix} has {host_bits} host bits"), &help);
            }
            if !self.has_family(&self.cluster_cidr, prefix) || !self.has_family(&self.node_network, prefix) {
                let message = format!("{prefix} is of a family that pods or nodes do not have");
                return wrong("service_cluster_ip_range", message, "give cluster_cidr and node_network of that family too");
            }
        }
        for prefix in &self.cluster_cidr {
            let (flag, mask) = match prefix {
                IpNet::V4(_) => ("node_cidr_mask_size", self.node_cidr_mask_size),
                IpNet::V6(_) => ("node_cidr_mask_size_ipv6", self.node_cidr_mask_size_ipv6),
            };
            if mask < prefix.prefix_len() || mask > prefix.max_prefix_len() - 2 || mask - prefix.prefix_len() > 16 {
                let help = "it must be longer than the cluster's, by at most 16 bits, and leave two host bits";
                return wrong(flag, format!("/{mask} for a node out of {prefix}"), help);
            }
            let possible = 1usize << (mask - prefix.prefix_len());
            if self.allocate_node_cidrs && possible < self.nodes {
                let message = format!("{prefix} in pieces of /{mask} is enough for {possible} nodes, not {}", self.nodes);
                return wrong(flag, message, "make the pieces smaller or cluster_cidr larger");
            }
        }
        if self.detect_local_mode == DetectLocalMode::BridgeInterface && self.pod_bridge_interface.is_empty() {
            let help = "set pod_bridge_interface to the bridge of the pods";
            return wrong("detect_local_mode", "BridgeInterface needs the name of a bridge".to_owned(), help);
        }
        if self.detect_local_mode == DetectLocalMode::InterfaceNamePrefix && self.pod_interface_name_prefix.is_empty() {
            let help = "set pod_interface_name_prefix; kindnet's devices start with `veth`";
            return wrong("detect_local_mode", "InterfaceNamePrefix needs a prefix".to_owned(), help);
        }
        let (low, high) = self.service_node_port_range;
        if low == 0 || low > high {
            return wrong("service_node_port_range", format!("{low}-{high}"), "for example 30000-32767");
        }
        Ok(())
    }

    fn has_family(&self, prefixes: &[IpNet], like: &IpNet) -> bool {
        prefixes.iter().any(|prefix| ipam::family(&prefix.addr()) == ipam::family(&like.addr()))
    }

    /// The address of the cluster's DNS: the tenth of the first Service range, as kubeadm chooses it.
    pub fn cluster_dns(&self) -> IpAddr {
        ipam::nth(self.service_cluster_ip_range[0], 10)
    }

    /// The families of Services, the default one first.
    pub fn families(&self) -> Vec<u8> {
        self.service_cluster_ip_range.iter().map(|prefix| ipam::family(&prefix.addr())).collect()
    }

    /// The names of the nodes, as kind gives them.
    pub fn node_names(&self) -> Vec<String> {
        let worker = |index: usize| match index {
            1 => format!("{}-worker", self.name),
            index => format!("{}-worker{index}", self.name),
        };
        let control_plane = format!("{}-control-plane", self.name);
        std::iter::once(control_plane).chain((1..self.nodes).map(worker)).collect()
    }
}

/// The value of a flag that is none of those that are possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// Nobody knows it.
    #[error("{value:?} is not a value of {flag}: {possible}")]
    Unknown {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What is possible.
        possible: &'static str,
    },
    /// It exists, but is not modelled.
    #[error("unsupported: {flag} {value} is not modelled; {possible}")]
    Unsupported {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What is modelled.
        possible: &'static str,
    },
}

/// `--cni`: who wires the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cni {
    /// kind's own: ptp, host-local, a route per node, masquerading towards the outside.
    #[default]
    Kindnet,
}

impl FromStr for Cni {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let value = text.to_ascii_lowercase();
        let possible = "kindnet is modelled";
        match value.as_str() {
            "kindnet" => Ok(Self::Kindnet),
            "bridge" | "ptp" | "flannel" | "calico" | "cilium" | "weave" | "antrea" | "aws" | "azure" | "kubenet" => {
                Err(FlagError::Unsupported { flag: "--cni", value, possible })
            }
            _ => Err(FlagError::Unknown { flag: "--cni", value, possible }),
        }
    }
}

impl fmt::Display for Cni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kindnet => f.write_str("kindnet"),
        }
    }
}

/// `--proxy-mode`: how Services are written into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyMode {
    /// Rules of iptables.
    #[default]
    Iptables,
}

impl FromStr for ProxyMode {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let value = text.to_ascii_lowercase();
        let possible = "iptables is modelled";
        match value.as_str() {
            "iptables" => Ok(Self::Iptables),
            "ipvs" | "nftables" | "userspace" | "kernelspace" | "none" => {
                Err(FlagError::Unsupported { flag: "--proxy-mode", value, possible })
            }
            _ => Err(FlagError::Unknown { flag: "--proxy-mode", value, possible }),
        }
    }
}

impl fmt::Display for ProxyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iptables => f.write_str("iptables"),
        }
    }
}

/// `--detect-local-mode`: how kube-proxy tells traffic of its node's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DetectLocalMode {
    /// By `--cluster-cidr`.
    #[default]
    ClusterCidr,
    /// By the node's podCIDR.
    NodeCidr,
    /// By the bridge that it comes from.
    BridgeInterface,
    /// By the name of the device that it comes from.
    InterfaceNamePrefix,
}

impl FromStr for DetectLocalMode {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        match text {
            "ClusterCIDR" => Ok(Self::ClusterCidr),
            "NodeCIDR" => Ok(Self::NodeCidr),
            "BridgeInterface" => Ok(Self::BridgeInterface),
            "InterfaceNamePrefix" => Ok(Self::InterfaceNamePrefix),
            other => Err(FlagError::Unknown {
                flag: "--detect-local-mode",
                value: other.to_owned(),
                possible: "ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix",
            }),
        }
    }
}

impl fmt::Display for DetectLocalMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClusterCidr => "ClusterCIDR",
            Self::NodeCidr => "NodeCIDR",
            Self::BridgeInterface => "BridgeInterface",
            Self::InterfaceNamePrefix => "InterfaceNamePrefix",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut ClusterConfig)) -> String {
        let mut config = ClusterConfig::default();
        change(&mut config);
        config.check("flags").expect_err("must be refused").to_string()
    }

    #[test]
    fn the_default_is_kind_with_three_workers() {
        let config = ClusterConfig::default();
        config.check("flags").expect("the default holds");
        assert_eq!(config.node_names(), ["kind-control-plane", "kind-worker", "kind-worker2", "kind-worker3"]);
        assert_eq!(config.cluster_dns().to_string(), "10.96.0.10");
    }

    #[test]
    fn values_that_do_not_go_together_are_refused() {
        let net = |text: &str| vec![text.parse::<IpNet>().expect("a prefix")];
        assert!(refused(|c| c.nodes = 0).contains("nodes: 0 nodes"));
        assert!(refused(|c| c.cluster_cidr = net("10.96.0.0/14")).contains("overlaps"));
        assert!(refused(|c| c.cluster_cidr = net("10.244.0.1/16")).contains("write 10.244.0.0/16"));
        assert!(refused(|c| c.service_cluster_ip_range = net("100.0.0.0/8")).contains("24 host bits"));
        assert!(refused(|c| c.node_cidr_mask_size = 17).contains("enough for 2 nodes, not 4"));
        assert!(refused(|c| c.node_cidr_mask_size = 15).contains("/15 for a node"));
        assert!(refused(|c| c.detect_local_mode = DetectLocalMode::BridgeInterface).contains("name of a bridge"));
        assert!(refused(|c| c.service_cluster_ip_range = net("fd00::/112")).contains("family"));
    }

    #[test]
    fn flags_say_what_is_possible_and_what_is_not_modelled() {
        assert_eq!("kindnet".parse(), Ok(Cni::Kindnet));
        let calico = "calico".parse::<Cni>().expect_err("not modelled");
        assert_eq!(calico.to_string(), "unsupported: --cni calico is not modelled; kindnet is modelled");
        assert!(matches!("ipvs".parse::<ProxyMode>(), Err(FlagError::Unsupported { .. })));
        assert!(matches!("NodeCidr".parse::<DetectLocalMode>(), Err(FlagError::Unknown { .. })));
    }
}
