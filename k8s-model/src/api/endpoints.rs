//! EndpointSlices, and Endpoints, their elder sibling.

use std::net::IpAddr;

use super::meta::Meta;
use super::service::Protocol;
use crate::error::Origin;

/// The label of a slice that names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The label of a slice that names who keeps it.
pub const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";

/// An EndpointSlice, read or made.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSlice {
    /// Name, labels.
    pub meta: Meta,
    /// The Service it belongs to: the label `kubernetes.io/service-name`; empty = none.
    pub service: String,
    /// What its addresses are.
    pub address_type: AddressType,
    /// Ports of every endpoint.
    pub ports: Vec<EndpointPort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// `addressType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressType {
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// Names: kube-proxy ignores such a slice.
    Fqdn,
}

/// A port of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointPort {
    /// The name of the Service's port; empty = unnamed.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The port; kube-proxy ignores an entry without one.
    pub port: Option<u16>,
}

/// An endpoint of a slice.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Its addresses; only the first is used.
    pub addresses: Vec<IpAddr>,
    /// `conditions.ready`.
    pub ready: Option<bool>,
    /// `conditions.serving`.
    pub serving: Option<bool>,
    /// `conditions.terminating`.
    pub terminating: Option<bool>,
    /// The node it is on.
    pub node_name: Option<String>,
    /// The zone it is in.
    pub zone: Option<String>,
    /// `hints.forZones`.
    pub hint_zones: Vec<String>,
    /// `hints.forNodes`.
    pub hint_nodes: Vec<String>,
    /// Its name in DNS, below the Service's.
    pub hostname: Option<String>,
    /// The pod behind it.
    pub target: Option<TargetRef>,
    /// Where it stands.
    pub origin: Origin,
}

impl Endpoint {
    /// `ready`: absent counts as true.
    pub fn is_ready(&self) -> bool {
        self.ready.unwrap_or(true)
    }

    /// `serving`: absent counts as `ready`.
    pub fn is_serving(&self) -> bool {
        self.serving.unwrap_or_else(|| self.is_ready())
    }

    /// `terminating`: absent counts as false.
    pub fn is_terminating(&self) -> bool {
        self.terminating.unwrap_or(false)
    }
}

/// The object behind an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRef {
    /// `Pod`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Endpoints (core/v1): each subset is addresses times ports.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoints {
    /// Name (the Service's), labels.
    pub meta: Meta,
    /// Ports and endpoints of each subset; `ready` tells `addresses` from `notReadyAddresses`.
    pub subsets: Vec<(Vec<EndpointPort>, Vec<Endpoint>)>,
}
