//! The objects as pktlab uses them: small structs, made at once from the upstream types, each field with a place.
//!
//! - [`meta`]: names, labels, owners, selectors.
//! - [`pod`]: pods, containers, ports, what a pod asks of DNS and of the scheduler.
//! - [`workload`]: Deployments and the other kinds that make pods.
//! - [`service`]: Services and their ports.
//! - [`endpoints`]: EndpointSlices, and Endpoints turned into the same shape.
//! - [`node`]: nodes and namespaces.
//!
//! Deliberately elsewhere: reading them is in [`crate::decode`]; filling in what the control plane would is in
//! [`crate::controllers`].

pub mod endpoints;
pub mod meta;
pub mod node;
pub mod pod;
pub mod service;
pub mod workload;

pub use endpoints::{AddressType, Endpoint, EndpointPort, EndpointSlice, Endpoints, TargetRef};
pub use meta::{Meta, Owner, Requirement, Selector};
pub use node::{Namespace, Node, Taint};
pub use pod::{Container, ContainerPort, DnsConfig, DnsPolicy, ListenHint, Pod, PodSpec, PodStatus, Toleration};
pub use service::{ClusterIps, LbIngress, Policy, PortRef, Protocol, Service, ServicePort, ServiceType};
pub use workload::{Workload, WorkloadKind};

/// The objects of all files, each kind in the order of reading; a later object of the same name replaces the earlier.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {
    /// Bare pods, and pods of a dump.
    pub pods: Vec<Pod>,
    /// What makes pods.
    pub workloads: Vec<Workload>,
    /// Services.
    pub services: Vec<Service>,
    /// Endpoints (core/v1).
    pub endpoints: Vec<Endpoints>,
    /// EndpointSlices.
    pub slices: Vec<EndpointSlice>,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// Namespaces.
    pub namespaces: Vec<Namespace>,
}
