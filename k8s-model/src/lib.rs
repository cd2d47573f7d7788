//! Kubernetes objects, turned into the commands that build their network.
//!
//! In reading order:
//!
//! - [`error`]: what is wrong with the input, with file, line and column.
//! - [`yaml`]: YAML as `kubectl` reads it, with the place of every node.
//! - [`source`]: files and directories.
//! - [`decode`]: documents to objects; which kinds have an effect.
//! - [`report`]: what was read, and what of it has no effect.
//! - [`api`]: the objects as pktlab uses them.
//! - [`config`]: how a cluster is set up, under the names of its owners' flags.
//! - [`controllers`]: what the control plane does before a packet flows; [`ipam`] gives out addresses.
//! - [`cluster`]: [`Cluster`], the result: nodes, pods, Services, slices, all filled in.
//! - [`resolv`]: what a pod's resolver is told.
//! - [`lookup`]: finding nodes, pods and Services by name and address.
//! - [`proxy`]: kube-proxy's rules; [`node_rules`]: all rules of a node; [`provenance`]: who made them.
//! - [`export`]: those rules as text.
//! - [`listen`]: what each pod and node listens on; [`images`]: what is known of images; [`dns`]: CoreDNS' records.
//! - [`outside`]: the world beyond the nodes.
//! - [`network`]: [`Plan`], all of it as plain data: namespaces, links, commands, servers; [`underlay`]: the nodes' network;
//!   [`kindnet`], [`portmap`]: what the CNI plugins do.
//!
//! Deliberately elsewhere: how a packet is processed is in `pktlab-stack`; this crate never touches one. It is a pure
//! function from objects to commands.

pub mod api;
pub mod cluster;
pub mod config;
pub mod controllers;
pub mod decode;
pub mod dns;
pub mod error;
pub mod export;
pub mod images;
pub mod ipam;
pub mod kindnet;
pub mod listen;
pub mod lookup;
pub mod network;
pub mod node_rules;
pub mod outside;
pub mod portmap;
pub mod provenance;
pub mod proxy;
pub mod report;
pub mod resolv;
pub mod source;
pub mod underlay;
pub mod yaml;

pub use cluster::{Cluster, ClusterNode, ClusterPod, PodState};
pub use config::ClusterConfig;
pub use decode::Manifests;
pub use error::{InputError, InputErrors, Origin, Pos};
pub use export::{ExportError, export_all_rules, export_rules, export_saved_rules};
pub use network::{ApplyError, NsKind, Plan, plan};
pub use report::LoadReport;
pub use source::{load_paths, load_text};
