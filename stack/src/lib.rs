//! One Linux network namespace, in the words of the kernel.
//!
//! In the order in which a packet meets them:
//!
//! - [`netns`]: [`Netns`], a namespace: receive, wake, finish.
//! - [`skb`]: a packet and what belongs to it inside *one* namespace; [`view`]: uniform accessors over both IP families.
//! - `dev`: devices: `netif_receive`, `dev_queue_xmit`, bridge, veth, loopback, dummy, VXLAN, VLAN, macvlan.
//! - `neigh`: ARP and NDP, and the neighbour table.
//! - `ip`: input, forward, output, local delivery, ICMP and ICMPv6, fragments.
//! - [`route`]: the FIB and the policy rules.
//! - [`netfilter`]: the five hooks, rule sets, the iptables dialect, matches and targets.
//! - [`conntrack`]: tuples, the connection table, TCP and UDP states, NAT.
//! - [`socket`]: what listens and connects (TCP by smoltcp), [`app`]: what runs on the sockets.
//! - [`command`]: the control plane as plain data: the lines of `ip`, `bridge`, `sysctl`, `iptables-restore`.
//! - [`trace`]: the records that all of this leaves behind; [`drop_reason`]: why a packet ends.
//! - [`network`]: namespaces joined by links; commands that span two of them.
//!
//! Deliberately elsewhere: pods, Services and YAML (`pktlab-k8s-model`), drawing and prose (`pktlab-scenarios`).
//!
//! Invariant: inside a namespace a packet is handled by plain calls, run to completion. Between namespaces, through loopback
//! and after decapsulation it is always a queue event.
//! Invariant: a packet's records in a namespace begin with Receive, Originate or Resume and end with exactly one of Transmit,
//! Deliver, Drop, Queue, Consume.

pub mod addr;
pub mod app;
pub mod command;
pub mod conntrack;
pub mod dev;
pub mod drop_reason;
pub mod errno;
pub mod ip;
pub mod neigh;
pub mod netfilter;
pub mod netns;
pub mod network;
pub mod provenance;
pub mod route;
pub mod skb;
pub mod socket;
pub mod sysctl;
pub mod timer;
pub mod trace;
pub mod view;

pub use addr::{ByFamily, Family, Mac};
pub use command::Command;
pub use dev::device::DevId;
pub use drop_reason::DropReason;
pub use errno::Errno;
pub use netns::Netns;
pub use network::Network;
pub use provenance::{ProvId, Provenance, Provenances};
pub use trace::Record;

pub use sim_core::{LinkConfig, SimTime, TraceMode};

/// The powers of a namespace during one event.
pub type Cx<'a> = sim_core::Cx<'a, Record>;
