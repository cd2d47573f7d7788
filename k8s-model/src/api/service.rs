//! Services.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::meta::Meta;
use crate::error::Origin;

/// A Service; in a built cluster with its addresses and node ports allocated.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Name, labels, annotations.
    pub meta: Meta,
    /// `spec.type`.
    pub kind: ServiceType,
    /// `spec.clusterIPs`.
    pub cluster_ips: ClusterIps,
    /// `spec.ipFamilies`: 4 and 6, in order of preference; empty = not asked.
    pub ip_families: Vec<u8>,
    /// `spec.ipFamilyPolicy`.
    pub ip_family_policy: Option<String>,
    /// `spec.selector`; without one somebody else keeps the endpoints.
    pub selector: BTreeMap<String, String>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `spec.externalName`.
    pub external_name: Option<String>,
    /// Session affinity by client address: the timeout in seconds.
    pub affinity_seconds: Option<u32>,
    /// `spec.internalTrafficPolicy`.
    pub internal_policy: Policy,
    /// `spec.externalTrafficPolicy`.
    pub external_policy: Policy,
    /// `status.loadBalancer.ingress`.
    pub lb_ingress: Vec<LbIngress>,
    /// `spec.loadBalancerSourceRanges`, as written.
    pub lb_source_ranges: Vec<String>,
    /// `spec.healthCheckNodePort`; 0 = none.
    pub health_check_node_port: u16,
    /// `spec.allocateLoadBalancerNodePorts`.
    pub lb_node_ports: bool,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// `spec.trafficDistribution`.
    pub traffic_distribution: Option<String>,
}

/// `spec.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServiceType {
    /// Reached inside the cluster only.
    #[default]
    ClusterIp,
    /// And by a port of every node.
    NodePort,
    /// And by an address outside.
    LoadBalancer,
    /// A name for another name: DNS only.
    ExternalName,
}

/// `spec.clusterIP(s)`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClusterIps {
    /// Not said: allocated when the cluster is built.
    #[default]
    Unset,
    /// `None`: DNS answers with the pods' own addresses.
    Headless,
    /// Given, or allocated; the first is `clusterIP`.
    Given(Vec<IpAddr>),
}

impl ClusterIps {
    /// The addresses; none for headless Services.
    pub fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Given(ips) => ips,
            Self::Unset | Self::Headless => &[],
        }
    }
}

/// `internalTrafficPolicy`, `externalTrafficPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Any endpoint.
    #[default]
    Cluster,
    /// Only endpoints on the node that the packet meets.
    Local,
}

/// An entry of `status.loadBalancer.ingress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LbIngress {
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Its name.
    pub hostname: Option<String>,
    /// Whether `ipMode` is `Proxy`: kube-proxy leaves such an address alone.
    pub proxy_mode: bool,
}

/// An entry of `spec.ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty where a Service with one port has none.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The port of the Service's addresses.
    pub port: u16,
    /// The port of the pods.
    pub target: PortRef,
    /// The port of the nodes; 0 = none.
    pub node_port: u16,
    /// Where the entry stands.
    pub origin: Origin,
}

/// A port, or the name of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortRef {
    /// By number.
    Number(u16),
    /// By the name of a container port.
    Name(String),
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(port) => port.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A transport protocol, as Kubernetes knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// `TCP`, as the API writes it.
    pub fn upper(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    /// `tcp`, as iptables writes it.
    pub fn lower(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.upper())
    }
}

impl Service {
    /// Whether `clusterIP` is `None`.
    pub fn is_headless(&self) -> bool {
        self.cluster_ips == ClusterIps::Headless
    }

    /// Whether it has node ports, external addresses or load balancer addresses: `externalTrafficPolicy` counts.
    pub fn is_external(&self) -> bool {
        matches!(self.kind, ServiceType::NodePort | ServiceType::LoadBalancer) || !self.external_ips.is_empty()
    }

    /// The port of that number, or of that name.
    pub fn port(&self, port: &PortRef) -> Option<&ServicePort> {
        self.ports.iter().find(|candidate| match port {
            PortRef::Number(number) => candidate.port == *number,
            PortRef::Name(name) => candidate.name == *name,
        })
    }
}
