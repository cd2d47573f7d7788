//! What the control plane does to the objects before a packet flows: pods, addresses, endpoints.
//!
//! In the order in which [`crate::cluster`] calls them:
//!
//! - [`names`]: the names that controllers give, derived from content instead of drawn.
//! - [`nodes`]: nodes, their addresses and podCIDRs.
//! - [`workloads`]: Deployments and the like become pods.
//! - [`adopt`]: pods that only an EndpointSlice of a dump knows.
//! - [`schedule`]: pods get a node.
//! - [`services`]: Services get addresses and node ports.
//! - [`slices`]: Services get EndpointSlices.

pub mod adopt;
pub mod names;
pub mod nodes;
pub mod schedule;
pub mod services;
pub mod slices;
pub mod workloads;
