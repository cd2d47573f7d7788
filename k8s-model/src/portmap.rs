//! CNI plugin portmap, chained behind ptp in kindnet's configuration: `hostPort`, with iptables (portmap_iptables.go).

use sha2::{Digest, Sha256, Sha512};

use crate::api::ContainerPort;
use crate::cluster::{Cluster, ClusterNode, ClusterPod};
use crate::provenance::for_object;
use crate::proxy::endpoints::host_port;
use crate::proxy::text::RuleText;

/// The name of the network in kindnet's configuration.
const NETWORK: &str = "kindnet";
/// Who generates.
const PORTMAP: &str = "portmap";
/// iptables' multiport takes no more ports.
const MULTIPORT_MAX: usize = 15;
/// Longest name of a chain.
const MAX_CHAIN: usize = 28;
/// The bit that asks for masquerading (`markMasqBit` 13).
const MARK: &str = "0x2000/0x2000";

/// Whether the plugin has anything to do for a pod.
pub fn forwards(pod: &ClusterPod) -> bool {
    pod.has_netns() && host_ports(pod).next().is_some()
}

fn host_ports(pod: &ClusterPod) -> impl Iterator<Item = (&ContainerPort, u16)> {
    pod.container_ports().filter_map(|port| Some((port, port.host_port?)))
}

/// The rules of a node's host ports, for family 4 or 6; none where no pod has any.
pub fn rules(cluster: &Cluster, node: &ClusterNode, family: u8) -> Option<RuleText> {
    let here = |pod: &&ClusterPod| pod.node.as_ref() == Some(&node.name) && pod.ip(family).is_some() && forwards(pod);
    let pods: Vec<&ClusterPod> = cluster.pods.iter().filter(here).collect();
    let first = pods.first()?;
    let mut text = RuleText::default();
    let shared = for_object(PORTMAP, format!("pod {}", first.meta.full_name()), "", &first.meta.origin);
    text.line(&shared, &["*nat"]);
    for chain in ["CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-DNAT"] {
        text.line(&shared, &[&format!(":{chain} - [0:0]")]);
    }
    text.line(&shared, &["-A CNI-HOSTPORT-SETMARK -m comment --comment \"CNI portfwd masquerade mark\" -j MARK --set-xmark", MARK]);
    // In front of the CNI plugin's own masquerading.
    text.line(&shared, &["-I POSTROUTING -m comment --comment \"CNI portfwd requiring masquerade\" -j CNI-HOSTPORT-MASQ"]);
    text.line(&shared, &["-A CNI-HOSTPORT-MASQ -m mark --mark", MARK, "-j MASQUERADE"]);
    for chain in ["PREROUTING", "OUTPUT"] {
        text.line(&shared, &["-A", chain, "-m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT"]);
    }
    for pod in pods {
        pod_rules(&mut text, pod, node, family);
    }
    text.line(&shared, &["COMMIT"]);
    Some(text)
}

fn pod_rules(text: &mut RuleText, pod: &ClusterPod, node: &ClusterNode, family: u8) {
    let Some(ip) = pod.ip(family) else { return };
    let id = container_id(pod);
    let chain = chain_name(&id);
    let object = || format!("pod {}", pod.meta.full_name());
    let prov = for_object(PORTMAP, object(), "", &pod.meta.origin);
    text.line(&prov, &[&format!(":{chain} - [0:0]")]);
    let comment = format!("-m comment --comment \"dnat name: \\\"{NETWORK}\\\" id: \\\"{id}\\\"\"");
    for protocol in ["sctp", "tcp", "udp"] {
        let of_protocol = host_ports(pod).filter(|(port, _)| port.protocol.lower() == protocol);
        let ports: Vec<String> = of_protocol.map(|(_, host)| host.to_string()).collect();
        for some in ports.chunks(MULTIPORT_MAX) {
            let to = format!("-m multiport -p {protocol} --destination-ports {}", some.join(","));
            text.line(&prov, &["-A CNI-HOSTPORT-DNAT", &comment, &to, "-j", &chain]);
        }
    }
    // The container's network as the plugin is told it: its own address with the prefix of the node's pods.
    let length = node.pod_cidr(family).map_or(if family == 4 { 24 } else { 64 }, |cidr| cidr.prefix_len());
    for (port, host) in host_ports(pod) {
        let prov = for_object(PORTMAP, object(), "spec.containers[].ports[].hostPort", &port.origin);
        let to = format!("-p {} --dport {host}", port.protocol.lower());
        text.line(&prov, &["-A", &chain, &to, "-s", &format!("{ip}/{length}"), "-j CNI-HOSTPORT-SETMARK"]);
        if family == 4 {
            text.line(&prov, &["-A", &chain, &to, "-s 127.0.0.1 -j CNI-HOSTPORT-SETMARK"]);
        }
        text.line(&prov, &["-A", &chain, &to, "-j DNAT --to-destination", &host_port(ip, port.port)]);
    }
}

/// The id of a pod's sandbox: stable, where containerd draws one.
fn container_id(pod: &ClusterPod) -> String {
    hex(&Sha256::digest(pod.meta.full_name().as_bytes()))
}

/// `CNI-DN-` and as much of a hash as fits.
fn chain_name(container_id: &str) -> String {
    let mut name = format!("CNI-DN-{}", hex(&Sha512::digest(format!("{NETWORK}{container_id}").as_bytes())));
    name.truncate(MAX_CHAIN);
    name
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClusterConfig;
    use crate::source::load_text;

    #[test]
    fn a_host_port_is_translated_and_marked_where_the_answer_would_go_astray() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {nodeName: kind-worker, containers: [{name: c, image: x, ports: [{containerPort: 80, hostPort: 8080}, {containerPort: 53, hostPort: 53, protocol: UDP}]}]}\n";
        let cluster = Cluster::build(ClusterConfig::default(), load_text("t.yaml", text).expect("loads")).expect("builds");
        let node = cluster.node("kind-worker").expect("a node");
        let pod = cluster.pod("default", "web").expect("a pod");
        let id = container_id(pod);
        let chain = chain_name(&id);
        assert_eq!(chain.len(), 28);
        let text = rules(&cluster, node, 4).expect("rules").text;
        let tail: Vec<&str> = text.lines().skip(9).collect();
        let entry = |rest: &str| {
            format!("-A CNI-HOSTPORT-DNAT -m comment --comment \"dnat name: \\\"kindnet\\\" id: \\\"{id}\\\"\" {rest} -j {chain}")
        };
        assert_eq!(
            tail,
            [
                format!(":{chain} - [0:0]"),
                entry("-m multiport -p tcp --destination-ports 8080"),
                entry("-m multiport -p udp --destination-ports 53"),
                format!("-A {chain} -p tcp --dport 8080 -s 10.244.1.2/24 -j CNI-HOSTPORT-SETMARK"),
                format!("-A {chain} -p tcp --dport 8080 -s 127.0.0.1 -j CNI-HOSTPORT-SETMARK"),
                format!("-A {chain} -p tcp --dport 8080 -j DNAT --to-destination 10.244.1.2:80"),
                format!("-A {chain} -p udp --dport 53 -s 10.244.1.2/24 -j CNI-HOSTPORT-SETMARK"),
                format!("-A {chain} -p udp --dport 53 -s 127.0.0.1 -j CNI-HOSTPORT-SETMARK"),
                format!("-A {chain} -p udp --dport 53 -j DNAT --to-destination 10.244.1.2:53"),
                "COMMIT".to_owned(),
            ]
        );
        assert_eq!(rules(&cluster, cluster.node("kind-worker2").expect("a node"), 4), None);
    }

    #[test]
    fn a_pod_on_the_hosts_network_needs_no_translation() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {hostNetwork: true, nodeName: kind-worker, containers: [{name: c, image: x, ports: [{containerPort: 80, hostPort: 80}]}]}\n";
        let cluster = Cluster::build(ClusterConfig::default(), load_text("t.yaml", text).expect("loads")).expect("builds");
        assert_eq!(rules(&cluster, cluster.node("kind-worker").expect("a node"), 4), None);
    }
}
