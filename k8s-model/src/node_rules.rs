//! All rules of a node, in the order in which its parts write them: kubelet, kube-proxy, kindnet, portmap.

use crate::cluster::{Cluster, ClusterNode};
use crate::config::{Cni, ProxyMode};
use crate::provenance::by;
use crate::proxy::iptables;
use crate::proxy::text::RuleText;
use crate::{ipam, portmap};

/// The title of what kube-proxy writes.
pub const FULL_SYNC: &str = "kube-proxy: full sync";

/// A text for `iptables-restore --noflush`, and what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSet {
    /// 4 or 6.
    pub family: u8,
    /// A heading for whoever prints it.
    pub title: &'static str,
    /// The text.
    pub text: RuleText,
}

impl RuleSet {
    /// The tool that reads it, as a command.
    pub fn command(&self) -> &'static str {
        if self.family == 4 { "iptables-restore --noflush" } else { "ip6tables-restore --noflush" }
    }
}

/// The families of a cluster's pods.
pub fn families(cluster: &Cluster) -> Vec<u8> {
    [4, 6].into_iter().filter(|family| cluster.nodes.iter().any(|node| node.ip(*family).is_some())).collect()
}

/// All rule sets of a node, in the order of their writing.
pub fn node_rules(cluster: &Cluster, node: &ClusterNode) -> Vec<RuleSet> {
    match cluster.config.proxy_mode {
        ProxyMode::Iptables => {}
    }
    match cluster.config.cni {
        Cni::Kindnet => {}
    }
    let mut result = Vec::new();
    for family in families(cluster) {
        result.push(RuleSet { family, title: "kubelet", text: kubelet(family) });
        result.push(RuleSet { family, title: "kube-proxy: jumps from the built-in chains", text: iptables::base() });
        result.push(RuleSet { family, title: FULL_SYNC, text: iptables::sync(cluster, node, family) });
        if let Some(text) = kindnet_masquerade(cluster, family) {
            result.push(RuleSet { family, title: "kindnet: masquerading towards the outside", text });
        }
        if let Some(text) = portmap::rules(cluster, node, family) {
            result.push(RuleSet { family, title: "portmap: host ports", text });
        }
    }
    result
}

/// pkg/kubelet/kubelet_network_linux.go: the hint chain, the canary chains, and the guard of 127.0.0.0/8.
fn kubelet(family: u8) -> RuleText {
    let prov = by("kubelet");
    let mut text = RuleText::default();
    for line in ["*mangle", ":KUBE-IPTABLES-HINT - [0:0]", ":KUBE-KUBELET-CANARY - [0:0]", "COMMIT"] {
        text.line(&prov, &[line]);
    }
    for line in
        ["*nat", ":KUBE-KUBELET-CANARY - [0:0]", "COMMIT", "*filter", ":KUBE-KUBELET-CANARY - [0:0]", ":KUBE-FIREWALL - [0:0]"]
    {
        text.line(&prov, &[line]);
    }
    if family == 4 {
        let comment = "-m comment --comment \"block incoming localnet connections\"";
        let rest = "-d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP";
        text.line(&prov, &["-A KUBE-FIREWALL", comment, rest]);
    }
    for line in ["-I OUTPUT -j KUBE-FIREWALL", "-I INPUT -j KUBE-FIREWALL", "COMMIT"] {
        text.line(&prov, &[line]);
    }
    text
}

/// kindnetd's masq.go: what leaves the pods' prefixes is masqueraded.
fn kindnet_masquerade(cluster: &Cluster, family: u8) -> Option<RuleText> {
    let of_family = |cidr: &&ipnet::IpNet| ipam::family(&cidr.addr()) == family;
    let cidr = cluster.config.cluster_cidr.iter().find(of_family)?;
    let prov = by("kindnet");
    let mut text = RuleText::default();
    text.line(&prov, &["*nat"]);
    text.line(&prov, &[":KIND-MASQ-AGENT - [0:0]"]);
    let comment = "-j RETURN -m comment --comment \"kind-masq-agent: local traffic is not subject to MASQUERADE\"";
    text.line(&prov, &["-A KIND-MASQ-AGENT -d", &cidr.to_string(), comment]);
    let comment = "\"kind-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)\"";
    text.line(&prov, &["-A KIND-MASQ-AGENT -j MASQUERADE -m comment --comment", comment]);
    let comment =
        "\"kind-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom KIND-MASQ-AGENT chain\"";
    let to = "-A POSTROUTING -m addrtype ! --dst-type LOCAL -j KIND-MASQ-AGENT -m comment --comment";
    text.line(&prov, &[to, comment]);
    text.line(&prov, &["COMMIT"]);
    Some(text)
}
