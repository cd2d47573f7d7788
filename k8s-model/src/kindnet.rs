//! `--cni kindnet`: the CNI plugins ptp and host-local for each pod, and kindnetd's routes between nodes.
//!
//! ```text
//!   pod  eth0 10.244.1.2/24 ----- veth1a2b3c4d 10.244.1.1/32  node  eth0 172.18.0.3/16 ----- ...
//!        default via 10.244.1.1   10.244.1.2 dev veth1a2b3c4d      10.244.2.0/24 via 172.18.0.4
//! ```
//!
//! The order is that of plugins/main/ptp/ptp.go and of kindnetd's routes.go. IPv6 addresses are added with `nodad`: the
//! network is built as it stands once duplicate address detection is over.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::cluster::{ClusterNode, ClusterPod};
use crate::controllers::names::hex8;
use crate::{ipam, portmap};

/// The device of a pod.
pub const POD_DEVICE: &str = "eth0";

/// The node's end of a pod's veth pair: stable, where the plugin draws one.
pub fn host_device(pod: &ClusterPod) -> String {
    format!("veth{}", hex8(&pod.meta.full_name()))
}

/// An address of a pod, with the prefix and gateway that host-local hands out.
///
/// The gateway is the first address of the prefix. Another CNI may have given that one to a pod of a dump; then it is the
/// first that no pod has.
fn lease(pod: &ClusterPod, node: &ClusterNode, taken: &BTreeSet<IpAddr>) -> Vec<(IpAddr, IpNet, IpAddr)> {
    let mut leases = Vec::new();
    for family in [4, 6] {
        let Some(ip) = pod.ip(family) else { continue };
        let covering = node.pod_cidrs.iter().copied().find(|cidr| cidr.contains(&ip));
        // A dump's pod outside of every podCIDR of its node: a prefix of its own size keeps it reachable.
        let cidr = covering.or_else(|| IpNet::new(ip, if family == 4 { 24 } else { 64 }).map(|cidr| cidr.trunc()).ok());
        if let Some(cidr) = cidr {
            let mut candidates = (1..=taken.len() as u128 + 1).map(|n| ipam::nth(cidr, n));
            let gateway = candidates.find(|ip| !taken.contains(ip)).unwrap_or_else(|| ipam::nth(cidr, 1));
            leases.push((ip, cidr, gateway));
        }
    }
    leases
}

/// What ptp does in the pod's namespace; `taken` are the addresses of all pods.
pub fn pod_commands(pod: &ClusterPod, node: &ClusterNode, taken: &BTreeSet<IpAddr>) -> Vec<String> {
    let leases = lease(pod, node, taken);
    let mut commands = vec!["ip link set lo up".to_owned(), format!("ip link set {POD_DEVICE} up")];
    for (ip, cidr, _) in &leases {
        commands.push(format!("ip addr add {ip}/{} dev {POD_DEVICE}{}", cidr.prefix_len(), nodad(*ip)));
    }
    for (ip, _, gateway) in &leases {
        commands.push(format!("{} route add default via {gateway} dev {POD_DEVICE}", ip_tool(*ip)));
    }
    for (ip, cidr, gateway) in &leases {
        // All traffic goes by the gateway: the route that the address has brought is replaced by two.
        let tool = ip_tool(*ip);
        commands.push(format!("{tool} route del {cidr} dev {POD_DEVICE}"));
        commands.push(format!("{tool} route add {gateway} dev {POD_DEVICE} src {ip}"));
        commands.push(format!("{tool} route add {cidr} via {gateway} dev {POD_DEVICE} src {ip}"));
    }
    commands
}

/// What ptp does on the node for a pod, once the pod's end is set up; before that it sets the node's end up.
pub fn host_commands(pod: &ClusterPod, node: &ClusterNode, taken: &BTreeSet<IpAddr>) -> Vec<String> {
    let device = host_device(pod);
    let mut commands = Vec::new();
    for (ip, _, gateway) in lease(pod, node, taken) {
        let length = if ip.is_ipv4() { 32 } else { 128 };
        commands.push(format!("ip addr add {gateway}/{length} dev {device}{}", nodad(ip)));
        // ptp asks for scope host; IPv6 has no scopes.
        let scope = if ip.is_ipv4() { " scope host" } else { "" };
        commands.push(format!("{} route add {ip} dev {device}{scope}", ip_tool(ip)));
    }
    if portmap::forwards(pod) {
        // So that connections to 127.0.0.1:hostPort may leave by this device.
        commands.push(format!("sysctl -w net.ipv4.conf.{device}.route_localnet=1"));
    }
    commands
}

/// kindnetd: a route to the pods of every other node.
pub fn node_routes(node: &ClusterNode, nodes: &[ClusterNode]) -> Vec<String> {
    let mut commands = Vec::new();
    for other in nodes.iter().filter(|other| other.name != node.name) {
        for cidr in &other.pod_cidrs {
            let family = ipam::family(&cidr.addr());
            if let (Some(via), Some(_)) = (other.ip(family), node.ip(family)) {
                commands.push(format!("{} route add {cidr} via {via}", ip_tool(via)));
            }
        }
    }
    commands
}

pub(crate) fn ip_tool(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "ip" } else { "ip -6" }
}

pub(crate) fn nodad(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "" } else { " nodad" }
}
