//! pkg/proxy/iptables/proxier.go: what kube-proxy gives to `iptables-restore` in a full sync, rule by rule.
//!
//! ```text
//! nat     PREROUTING, OUTPUT -> KUBE-SERVICES -+- clusterIP --------------------> KUBE-SVC | KUBE-SVL -> KUBE-SEP -> DNAT
//!                                              +- externalIP, VIP [-> KUBE-FW] -> KUBE-EXT -> KUBE-SVC | KUBE-SVL
//!                                              +- any local address -> KUBE-NODEPORTS -> KUBE-EXT
//!         POSTROUTING -> KUBE-POSTROUTING: masquerades what KUBE-MARK-MASQ has marked
//! filter  what nobody has translated and must not pass: KUBE-SERVICES, KUBE-EXTERNAL-SERVICES, KUBE-PROXY-FIREWALL
//!         FORWARD -> KUBE-FORWARD: lets marked and established traffic pass
//! ```
//!
//! Differs from upstream on purpose: Service ports come in the order of their names instead of that of a map, and without
//! nfacct counters, which a node has only where the kernel module is there.

use std::cmp::Ordering;
use std::net::IpAddr;

use stack::Provenance;

use super::detect_local::Detector;
use super::endpoints::{Categories, EndpointInfo, SlicesByService, categorize};
use super::names::ChainKind;
use super::node_ports::NodePortAddresses;
use super::service_map::{KUBE_PROXY, ServicePortInfo, service_ports};
use super::text::RuleText;
use crate::cluster::{Cluster, ClusterNode};
use crate::provenance::by;

#[cfg(test)]
mod tests;

/// The bit that asks for masquerading (`--iptables-masquerade-bit` 14).
const MASQUERADE_MARK: &str = "0x4000";
/// With more endpoints, rules of endpoints carry no comments.
const LARGE_CLUSTER_ENDPOINTS: usize = 1000;

/// Where the rules of the built-in chains jump to, in the order in which kube-proxy puts each in front of those before:
/// table, target, built-in chain, comment, whether only for new connections.
const JUMPS: [(&str, &str, &str, &str, bool); 12] = [
    ("filter", "KUBE-EXTERNAL-SERVICES", "INPUT", "kubernetes externally-visible service portals", true),
    ("filter", "KUBE-EXTERNAL-SERVICES", "FORWARD", "kubernetes externally-visible service portals", true),
    ("filter", "KUBE-NODEPORTS", "INPUT", "kubernetes health check service ports", false),
    ("filter", "KUBE-SERVICES", "FORWARD", "kubernetes service portals", true),
    ("filter", "KUBE-SERVICES", "OUTPUT", "kubernetes service portals", true),
    ("filter", "KUBE-FORWARD", "FORWARD", "kubernetes forwarding rules", false),
    ("filter", "KUBE-PROXY-FIREWALL", "INPUT", "kubernetes load balancer firewall", true),
    ("filter", "KUBE-PROXY-FIREWALL", "OUTPUT", "kubernetes load balancer firewall", true),
    ("filter", "KUBE-PROXY-FIREWALL", "FORWARD", "kubernetes load balancer firewall", true),
    ("nat", "KUBE-SERVICES", "OUTPUT", "kubernetes service portals", false),
    ("nat", "KUBE-SERVICES", "PREROUTING", "kubernetes service portals", false),
    ("nat", "KUBE-POSTROUTING", "POSTROUTING", "kubernetes postrouting rules", false),
];

/// What kube-proxy sets up once, before its first sync: its canary chains, and the jumps that it puts at the head of the
/// built-in chains with `iptables -I`.
pub fn base() -> RuleText {
    let prov = by(KUBE_PROXY);
    let mut text = RuleText::default();
    text.line(&prov, &["*mangle"]);
    text.line(&prov, &[":KUBE-PROXY-CANARY - [0:0]"]);
    text.line(&prov, &["COMMIT"]);
    for table in ["nat", "filter"] {
        text.line(&prov, &[&format!("*{table}")]);
        text.line(&prov, &[":KUBE-PROXY-CANARY - [0:0]"]);
        let mut chains: Vec<&str> = Vec::new();
        for (of, target, ..) in JUMPS {
            if of == table && !chains.contains(&target) {
                chains.push(target);
                text.line(&prov, &[&format!(":{target} - [0:0]")]);
            }
        }
        for (of, target, chain, comment, new) in JUMPS {
            if of == table {
                let state = if new { "-m conntrack --ctstate NEW" } else { "" };
                let comment = format!("-m comment --comment \"{comment}\"");
                text.line(&prov, &["-I", chain, state, &comment, "-j", target]);
            }
        }
        text.line(&prov, &["COMMIT"]);
    }
    text
}

/// Whether a node has node ports on 127.0.0.0/8, and therefore `route_localnet`.
pub fn localhost_node_ports(cluster: &Cluster) -> bool {
    cluster.config.iptables_localhost_nodeports && NodePortAddresses::contains_ipv4_loopback(cluster)
}

/// A full sync of a node, for family 4 or 6.
pub fn sync(cluster: &Cluster, node: &ClusterNode, family: u8) -> RuleText {
    let mut writer = Writer {
        cluster,
        node,
        family,
        detector: Detector::new(cluster, node, family),
        localhost: localhost_node_ports(cluster),
        large: false,
        own: by(KUBE_PROXY),
        filter_chains: RuleText::default(),
        filter: RuleText::default(),
        nat_chains: RuleText::default(),
        nat: RuleText::default(),
    };
    writer.write();
    let Writer { own, filter_chains, filter, nat_chains, nat, .. } = writer;
    let mut text = RuleText::default();
    for (table, chains, rules) in [("*filter", filter_chains, filter), ("*nat", nat_chains, nat)] {
        text.line(&own, &[table]);
        text.append(&chains);
        text.append(&rules);
        text.line(&own, &["COMMIT"]);
    }
    text
}

struct Writer<'a> {
    cluster: &'a Cluster,
    node: &'a ClusterNode,
    family: u8,
    detector: Detector,
    localhost: bool,
    large: bool,
    own: Provenance,
    filter_chains: RuleText,
    filter: RuleText,
    nat_chains: RuleText,
    nat: RuleText,
}

/// A Service port on this node: what is usable, and which chains there are.
struct PortRules<'a> {
    info: &'a ServicePortInfo<'a>,
    endpoints: &'a [EndpointInfo<'a>],
    used: Categories,
    has_internal: bool,
    has_external: bool,
    svc: String,
    svl: String,
    ext: String,
    /// Where traffic of policy Cluster or Local of the clusterIP goes.
    internal: String,
    /// `KUBE-FW-`, where source ranges guard a load balancer's address.
    firewall: Option<String>,
}

impl<'a> PortRules<'a> {
    fn new(info: &'a ServicePortInfo<'a>, endpoints: &'a [EndpointInfo<'a>], node: &ClusterNode) -> Self {
        let used = categorize(endpoints, info, node);
        let (svc, svl) = (info.chain(ChainKind::Cluster), info.chain(ChainKind::Local));
        let usable = |local: bool| used.any && (!local || !used.local.is_empty());
        let guarded = used.any && !info.vips.is_empty() && !info.source_ranges.is_empty();
        Self {
            has_internal: usable(info.internal_local()),
            has_external: usable(info.external_local()),
            internal: if info.internal_local() { svl.clone() } else { svc.clone() },
            ext: info.chain(ChainKind::External),
            firewall: guarded.then(|| info.chain(ChainKind::Firewall)),
            info,
            endpoints,
            used,
            svc,
            svl,
        }
    }

    /// `-m comment --comment "..." -m tcp -p tcp -d IP --dport PORT`.
    fn to(&self, comment: &str, ip: IpAddr) -> String {
        let protocol = self.info.protocol.lower();
        format!("-m comment --comment \"{comment}\" -m {protocol} -p {protocol} -d {ip} --dport {}", self.info.port)
    }

    /// Target and comment for packets that nobody translates although they are for this port.
    fn refusal(&self) -> (&'static str, String) {
        let (target, what) = if self.used.any { ("DROP", "no local endpoints") } else { ("REJECT", "no endpoints") };
        (target, format!("{} has {what}", self.info.name))
    }
}

impl Writer<'_> {
    fn write(&mut self) {
        let own = self.own.clone();
        for chain in ["KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-FORWARD", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL"] {
            self.filter_chains.line(&own, &[&format!(":{chain} - [0:0]")]);
        }
        for chain in ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"] {
            self.nat_chains.line(&own, &[&format!(":{chain} - [0:0]")]);
        }
        let marked = format!("--mark {MASQUERADE_MARK}/{MASQUERADE_MARK}");
        self.nat.line(&own, &["-A KUBE-POSTROUTING -m mark !", &marked, "-j RETURN"]);
        self.nat.line(&own, &["-A KUBE-POSTROUTING -j MARK --xor-mark", MASQUERADE_MARK]);
        let snat = "-m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully";
        self.nat.line(&own, &["-A KUBE-POSTROUTING", snat]);
        self.nat.line(&own, &["-A KUBE-MARK-MASQ -j MARK --or-mark", MASQUERADE_MARK]);
        if self.family == 4 && self.localhost {
            // route_localnet opens 127.0.0.0/8 to the network (CVE-2020-8558); this closes it.
            self.filter_chains.line(&own, &[":KUBE-FIREWALL - [0:0]"]);
            let comment = "-m comment --comment \"block incoming localnet connections\"";
            let rest = "-d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP";
            self.filter.line(&own, &["-A KUBE-FIREWALL", comment, rest]);
        }

        let ports = service_ports(self.cluster, self.family);
        let slices = SlicesByService::new(self.cluster, self.family);
        let endpoints: Vec<Vec<EndpointInfo<'_>>> = ports.iter().map(|port| slices.endpoints(port, self.node)).collect();
        self.large = endpoints.iter().map(Vec::len).sum::<usize>() > LARGE_CLUSTER_ENDPOINTS;
        for (port, endpoints) in ports.iter().zip(&endpoints) {
            self.port(&PortRules::new(port, endpoints, self.node));
        }

        self.node_ports_last();
        self.filter.line(&own, &["-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP"]);
        let comment = "-m comment --comment \"kubernetes forwarding rules\" -m mark";
        self.filter.line(&own, &["-A KUBE-FORWARD", comment, &marked, "-j ACCEPT"]);
        let comment = "-m comment --comment \"kubernetes forwarding conntrack rule\"";
        self.filter.line(&own, &["-A KUBE-FORWARD", comment, "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"]);
    }

    /// The tail call to KUBE-NODEPORTS: after all other rules of KUBE-SERVICES.
    fn node_ports_last(&mut self) {
        let own = self.own.clone();
        let comment = "-m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\"";
        match NodePortAddresses::new(self.cluster, self.node, self.family) {
            NodePortAddresses::All => {
                let not_loopback = match self.family {
                    6 => "! -d ::1/128",
                    _ if !self.localhost => "! -d 127.0.0.0/8",
                    _ => "",
                };
                let to = "-m addrtype --dst-type LOCAL";
                self.nat.line(&own, &["-A KUBE-SERVICES", comment, to, not_loopback, "-j KUBE-NODEPORTS"]);
            }
            NodePortAddresses::Only(ips) => {
                // IPv6 has no route_localnet; IPv4 has it only if asked for.
                for ip in ips.iter().filter(|ip| !ip.is_loopback() || (ip.is_ipv4() && self.localhost)) {
                    self.nat.line(&own, &["-A KUBE-SERVICES", comment, "-d", &ip.to_string(), "-j KUBE-NODEPORTS"]);
                }
            }
        }
    }

    /// All rules of one Service port.
    fn port(&mut self, rules: &PortRules<'_>) {
        self.cluster_ip(rules);
        self.external_ips(rules);
        self.load_balancer_ips(rules);
        self.node_port(rules);
        self.health_check_node_port(rules);
        self.masquerade_cluster_ip(rules);
        self.external_chain(rules);
        self.firewall_chain(rules);
        if rules.info.uses_cluster_endpoints() && !rules.used.cluster.is_empty() {
            self.spread(rules, &rules.svc, &rules.used.cluster);
        }
        if rules.info.uses_local_endpoints() && !rules.used.local.is_empty() {
            self.spread(rules, &rules.svl, &rules.used.local);
        }
        for &index in &rules.used.reachable {
            self.endpoint_chain(rules, &rules.endpoints[index]);
        }
    }

    fn cluster_ip(&mut self, rules: &PortRules<'_>) {
        let (info, prov) = (rules.info, &rules.info.prov);
        if rules.has_internal {
            let to = rules.to(&format!("{} cluster IP", info.name), info.cluster_ip);
            self.nat.line(prov, &["-A KUBE-SERVICES", &to, "-j", &rules.internal]);
        } else {
            let (target, comment) = rules.refusal();
            self.filter.line(prov, &["-A KUBE-SERVICES", &rules.to(&comment, info.cluster_ip), "-j", target]);
        }
    }

    fn external_ips(&mut self, rules: &PortRules<'_>) {
        let (info, prov) = (rules.info, &rules.info.prov);
        for &ip in &info.external_ips {
            if rules.used.any {
                let to = rules.to(&format!("{} external IP", info.name), ip);
                self.nat.line(prov, &["-A KUBE-SERVICES", &to, "-j", &rules.ext]);
            }
            self.refuse_external(rules, ip);
        }
    }

    fn load_balancer_ips(&mut self, rules: &PortRules<'_>) {
        let (info, prov) = (rules.info, &rules.info.prov);
        for &ip in &info.vips {
            if rules.used.any {
                let to = rules.to(&format!("{} loadbalancer IP", info.name), ip);
                let chain = rules.firewall.as_ref().unwrap_or(&rules.ext);
                self.nat.line(prov, &["-A KUBE-SERVICES", &to, "-j", chain]);
            }
            if let Some(firewall) = &rules.firewall {
                let to = rules.to(&format!("{} traffic not accepted by {firewall}", info.name), ip);
                self.filter.line(prov, &["-A KUBE-PROXY-FIREWALL", &to, "-j DROP"]);
            }
        }
        for &ip in &info.vips {
            self.refuse_external(rules, ip);
        }
    }

    /// What the external chain did not short-circuit is refused where there is no endpoint for it.
    fn refuse_external(&mut self, rules: &PortRules<'_>, ip: IpAddr) {
        if !rules.has_external {
            let (target, comment) = rules.refusal();
            self.filter.line(&rules.info.prov, &["-A KUBE-EXTERNAL-SERVICES", &rules.to(&comment, ip), "-j", target]);
        }
    }

    fn node_port(&mut self, rules: &PortRules<'_>) {
        let (info, prov) = (rules.info, &rules.info.prov);
        if info.node_port == 0 {
            return;
        }
        let protocol = info.protocol.lower();
        let to = format!("-m {protocol} -p {protocol} --dport {}", info.node_port);
        if rules.used.any {
            let comment = format!("-m comment --comment {}", info.name);
            self.nat.line(prov, &["-A KUBE-NODEPORTS", &comment, &to, "-j", &rules.ext]);
        }
        if !rules.has_external {
            let (target, comment) = rules.refusal();
            let comment = format!("-m comment --comment \"{comment}\"");
            let local = "-m addrtype --dst-type LOCAL";
            self.filter.line(prov, &["-A KUBE-EXTERNAL-SERVICES", &comment, local, &to, "-j", target]);
        }
    }

    fn health_check_node_port(&mut self, rules: &PortRules<'_>) {
        let (info, prov) = (rules.info, &rules.info.prov);
        if info.health_check_node_port != 0 {
            let comment = format!("-m comment --comment \"{} health check node port\"", info.name);
            let to = format!("-m tcp -p tcp --dport {}", info.health_check_node_port);
            self.filter.line(prov, &["-A KUBE-NODEPORTS", &comment, &to, "-j ACCEPT"]);
        }
    }

    /// The head of the chain that serves the clusterIP: what comes from outside the pods leaves with the node's address.
    fn masquerade_cluster_ip(&mut self, rules: &PortRules<'_>) {
        let info = rules.info;
        let from = if self.cluster.config.masquerade_all { Some(String::new()) } else { self.detector.if_not_local() };
        if let (true, Some(from)) = (rules.has_internal, from) {
            let to = rules.to(&format!("{} cluster IP", info.name), info.cluster_ip);
            self.nat.line(&info.prov, &["-A", &rules.internal, &to, &from, "-j KUBE-MARK-MASQ"]);
        }
    }

    fn external_chain(&mut self, rules: &PortRules<'_>) {
        let (info, prov, ext) = (rules.info, &rules.info.prov, &rules.ext);
        if !rules.used.any || !info.externally_accessible() {
            return;
        }
        self.nat_chains.line(prov, &[&format!(":{ext} - [0:0]")]);
        let comment = |what: &str| format!("-m comment --comment \"{what} {} external destinations\"", info.name);
        if info.external_local() {
            // Pods and the node itself go around the policy, as if they had gone out and come back through the balancer.
            if let Some(local) = self.detector.if_local() {
                self.nat.line(prov, &["-A", ext, &comment("pod traffic for"), &local, "-j", &rules.svc]);
            }
            let from_node = "-m addrtype --src-type LOCAL";
            self.nat.line(prov, &["-A", ext, &comment("masquerade LOCAL traffic for"), from_node, "-j KUBE-MARK-MASQ"]);
            self.nat.line(prov, &["-A", ext, &comment("route LOCAL traffic for"), from_node, "-j", &rules.svc]);
        } else {
            self.nat.line(prov, &["-A", ext, &comment("masquerade traffic for"), "-j KUBE-MARK-MASQ"]);
        }
        if rules.has_external {
            let policy = if info.external_local() { &rules.svl } else { &rules.svc };
            self.nat.line(prov, &["-A", ext, "-j", policy]);
        }
    }

    fn firewall_chain(&mut self, rules: &PortRules<'_>) {
        let Some(firewall) = &rules.firewall else { return };
        let (info, prov) = (rules.info, &rules.info.prov);
        self.nat_chains.line(prov, &[&format!(":{firewall} - [0:0]")]);
        let comment = format!("-m comment --comment \"{} loadbalancer IP\"", info.name);
        for range in &info.source_ranges {
            self.nat.line(prov, &["-A", firewall, &comment, "-s", &range.to_string(), "-j", &rules.ext]);
        }
        // A node that has the balancer's address itself sends from it.
        let node_ip = self.node.ip(self.family);
        if node_ip.is_some_and(|ip| info.source_ranges.iter().any(|range| range.contains(&ip))) {
            for ip in &info.vips {
                self.nat.line(prov, &["-A", firewall, &comment, "-s", &ip.to_string(), "-j", &rules.ext]);
            }
        }
        let comment = format!("\"other traffic to {} will be dropped by KUBE-PROXY-FIREWALL\"", info.name);
        self.nat.line(prov, &["-A", firewall, "-m comment --comment", &comment]);
    }

    /// The rules that spread over endpoints: first those of clients that have been here before, then by chance.
    fn spread(&mut self, rules: &PortRules<'_>, chain: &str, members: &[usize]) {
        let prov = &rules.info.prov;
        self.nat_chains.line(prov, &[&format!(":{chain} - [0:0]")]);
        let comment = |large: bool, endpoint: &EndpointInfo<'_>| match large {
            true => String::new(),
            false => format!("-m comment --comment \"{} -> {}\"", rules.info.name, endpoint.address),
        };
        if let Some(seconds) = rules.info.service.affinity_seconds {
            for &index in members {
                let endpoint = &rules.endpoints[index];
                let recent = format!("-m recent --name {} --rcheck --seconds {seconds} --reap", endpoint.chain);
                self.nat.line(prov, &["-A", chain, &comment(self.large, endpoint), &recent, "-j", &endpoint.chain]);
            }
        }
        for (place, &index) in members.iter().enumerate() {
            let endpoint = &rules.endpoints[index];
            let left = members.len() - place;
            let chance =
                if left > 1 { format!("-m statistic --mode random --probability {}", probability(left)) } else { String::new() };
            self.nat.line(prov, &["-A", chain, &comment(self.large, endpoint), &chance, "-j", &endpoint.chain]);
        }
    }

    fn endpoint_chain(&mut self, rules: &PortRules<'_>, endpoint: &EndpointInfo<'_>) {
        let (info, prov, chain) = (rules.info, &rules.info.prov, &endpoint.chain);
        self.nat_chains.line(prov, &[&format!(":{chain} - [0:0]")]);
        let comment = if self.large { String::new() } else { format!("-m comment --comment {}", info.name) };
        // An endpoint that asks its own Service must not see its own address as the peer's.
        self.nat.line(prov, &["-A", chain, &comment, "-s", &endpoint.ip.to_string(), "-j KUBE-MARK-MASQ"]);
        let affinity = info.service.affinity_seconds.map(|_| format!("-m recent --name {chain} --set")).unwrap_or_default();
        let protocol = info.protocol.lower();
        let dnat = format!("-m {protocol} -p {protocol} -j DNAT --to-destination {}", endpoint.address);
        self.nat.line(prov, &["-A", chain, &comment, &affinity, &dnat]);
    }
}

/// One in `n`, with ten decimals.
fn probability(n: usize) -> String {
    // printf rounds a tie to the even digit; ties are exact in binary too, since only powers of two have them.
    const TEN_DECIMALS: u64 = 10_000_000_000;
    let n = n as u64;
    let (down, rest) = (TEN_DECIMALS / n, TEN_DECIMALS % n);
    let up = match (2 * rest).cmp(&n) {
        Ordering::Less => 0,
        Ordering::Equal => down % 2,
        Ordering::Greater => 1,
    };
    let scaled = down + up;
    format!("{}.{:010}", scaled / TEN_DECIMALS, scaled % TEN_DECIMALS)
}
