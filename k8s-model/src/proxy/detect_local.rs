//! `--detect-local-mode`: the match that tells whether a packet comes from a pod of this node (or, by ClusterCIDR, of any).

use ipnet::IpNet;

use crate::cluster::{Cluster, ClusterNode};
use crate::config::DetectLocalMode;
use crate::ipam;

/// What tells local traffic, for one IP family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detector {
    /// There is no prefix of this family: nothing is told.
    None,
    /// By source prefix.
    Cidr(IpNet),
    /// By the device that it comes in at: a bridge.
    Bridge(String),
    /// By the name of the device that it comes in at.
    Prefix(String),
}

impl Detector {
    /// The detector of a node, for family 4 or 6.
    pub fn new(cluster: &Cluster, node: &ClusterNode, family: u8) -> Self {
        let config = &cluster.config;
        let cidr = |cidr: Option<IpNet>| cidr.map_or(Self::None, Self::Cidr);
        match config.detect_local_mode {
            DetectLocalMode::ClusterCidr => {
                cidr(config.cluster_cidr.iter().copied().find(|cidr| ipam::family(&cidr.addr()) == family))
            }
            DetectLocalMode::NodeCidr => cidr(node.pod_cidr(family)),
            DetectLocalMode::BridgeInterface => Self::Bridge(config.pod_bridge_interface.clone()),
            DetectLocalMode::InterfaceNamePrefix => Self::Prefix(config.pod_interface_name_prefix.clone()),
        }
    }

    /// The match for local traffic; none where nothing is told.
    pub fn if_local(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Cidr(cidr) => Some(format!("-s {cidr}")),
            Self::Bridge(bridge) => Some(format!("-i {bridge}")),
            Self::Prefix(prefix) => Some(format!("-i {prefix}+")),
        }
    }

    /// The match for all other traffic; none where nothing is told.
    pub fn if_not_local(&self) -> Option<String> {
        self.if_local().map(|local| format!("! {local}"))
    }
}
