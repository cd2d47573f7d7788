//! kube-proxy 1.35: Services and EndpointSlices become rules of one node.
//!
//! - [`text`]: the standard input of a tool, each line with its provenance.
//! - [`names`]: the chains' names.
//! - [`service_map`]: Service ports, as the proxy of one IP family sees them.
//! - [`endpoints`]: endpoints, and which of them a node uses.
//! - [`detect_local`]: how traffic of the node's own pods is told.
//! - [`node_ports`]: on which addresses node ports answer.
//! - [`iptables`]: mode iptables.
//!
//! Deliberately elsewhere: what else is on a node (kubelet's chains, the CNI plugin's) is in [`crate::node_rules`]; the mode's
//! conntrack cleanup and health check server are not rules.

pub mod detect_local;
pub mod endpoints;
pub mod iptables;
pub mod names;
pub mod node_ports;
pub mod service_map;
pub mod text;
