//! Pods: what they ask of the scheduler, of DNS and of the network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::meta::Meta;
use super::service::{PortRef, Protocol};
use crate::error::Origin;

/// A pod, bare or made by a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// Name, labels, owner.
    pub meta: Meta,
    /// What was asked.
    pub spec: PodSpec,
    /// What a dump says has become of it; empty for manifests.
    pub status: PodStatus,
}

/// `spec` of a pod or of a pod template.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PodSpec {
    /// The node that was asked for, or that a dump names.
    pub node_name: Option<String>,
    /// Labels that the node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pod bears.
    pub tolerations: Vec<Toleration>,
    /// Whether it shares the node's network namespace.
    pub host_network: bool,
    /// `hostname`, for DNS.
    pub hostname: Option<String>,
    /// `subdomain`: the headless Service whose records name the pod.
    pub subdomain: Option<String>,
    /// Where its resolver asks.
    pub dns_policy: DnsPolicy,
    /// `dnsConfig`.
    pub dns_config: DnsConfig,
    /// `hostAliases`: lines of /etc/hosts.
    pub host_aliases: Vec<(IpAddr, Vec<String>)>,
    /// The containers (and restartable init containers).
    pub containers: Vec<Container>,
}

/// What a dump says of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodStatus {
    /// `podIPs`, or `podIP`.
    pub ips: Vec<IpAddr>,
    /// `hostIP`.
    pub host_ip: Option<IpAddr>,
    /// `Pending`, `Running`, `Succeeded`, ...
    pub phase: Option<String>,
    /// The condition `Ready`.
    pub ready: Option<bool>,
}

impl Pod {
    /// Whether it runs no more: its addresses are free again.
    pub fn is_finished(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    /// Ready, as the dump says; a pod of a manifest has converged.
    pub fn is_ready(&self) -> bool {
        self.status.ready.unwrap_or(true)
    }
}

/// A container, as far as the network sees it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// `command`, then `args`.
    pub command: Vec<String>,
    /// Environment with literal values.
    pub env: Vec<(String, String)>,
    /// `ports`.
    pub ports: Vec<ContainerPort>,
    /// Ports that probes and lifecycle hooks ask.
    pub probes: Vec<ListenHint>,
}

/// An entry of a container's `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPort {
    /// Its name, for named targetPorts.
    pub name: Option<String>,
    /// The port in the pod.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// `hostPort`.
    pub host_port: Option<u16>,
    /// Where it stands.
    pub origin: Origin,
}

/// A port that something expects a container to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenHint {
    /// Which field says so: `readinessProbe.httpGet`.
    pub field: String,
    /// The port, or the name of a container port.
    pub port: PortRef,
    /// `httpGet.path`.
    pub path: Option<String>,
    /// Where it stands.
    pub origin: Origin,
}

/// A toleration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Toleration {
    /// The taint's key; empty with `Exists` bears every taint.
    pub key: String,
    /// Whether any value will do (`Exists`).
    pub any_value: bool,
    /// The value, for `Equal`.
    pub value: String,
    /// The effect; empty bears all.
    pub effect: String,
}

/// `dnsPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DnsPolicy {
    /// The cluster's DNS, unless the pod is on the host's network.
    #[default]
    ClusterFirst,
    /// The cluster's DNS in any case.
    ClusterFirstWithHostNet,
    /// The node's own resolver.
    Default,
    /// Only `dnsConfig`.
    None,
}

/// `dnsConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsConfig {
    /// Name servers.
    pub nameservers: Vec<IpAddr>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options, with a value or without.
    pub options: Vec<(String, Option<String>)>,
}
