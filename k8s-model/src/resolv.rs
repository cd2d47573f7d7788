//! resolv.conf of a pod: dnsPolicy and dnsConfig (kubelet, pkg/kubelet/network/dns).

use std::fmt;
use std::net::IpAddr;

use crate::api::pod::{DnsPolicy, PodSpec};

/// resolv.conf(5) takes no more name servers, and kubelet writes no more.
const MAX_NAMESERVERS: usize = 3;

/// What a resolver is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResolvConf {
    /// `search`.
    pub search: Vec<String>,
    /// `nameserver`, in order.
    pub nameservers: Vec<IpAddr>,
    /// `options`, with a value or without.
    pub options: Vec<(String, Option<String>)>,
}

impl ResolvConf {
    /// A node's own: kind points it at the gateway of the node network.
    pub fn of_node(gateway: IpAddr) -> Self {
        Self { search: Vec::new(), nameservers: vec![gateway], options: vec![("ndots".to_owned(), Some("0".to_owned()))] }
    }

    /// A pod's, as the kubelet writes it.
    pub fn of_pod(spec: &PodSpec, namespace: &str, dns: &[IpAddr], domain: &str, node: &Self) -> Self {
        let cluster_first = match spec.dns_policy {
            DnsPolicy::ClusterFirst => !spec.host_network,
            DnsPolicy::ClusterFirstWithHostNet => true,
            DnsPolicy::Default | DnsPolicy::None => false,
        };
        let mut conf = if cluster_first {
            let mut search = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
            search.extend(node.search.iter().cloned());
            Self { search, nameservers: dns.to_vec(), options: vec![("ndots".to_owned(), Some("5".to_owned()))] }
        } else if spec.dns_policy == DnsPolicy::None {
            Self::default()
        } else {
            node.clone()
        };
        for server in &spec.dns_config.nameservers {
            if !conf.nameservers.contains(server) {
                conf.nameservers.push(*server);
            }
        }
        conf.nameservers.truncate(MAX_NAMESERVERS);
        for search in &spec.dns_config.searches {
            if !conf.search.contains(search) {
                conf.search.push(search.clone());
            }
        }
        for (name, value) in &spec.dns_config.options {
            match conf.options.iter_mut().find(|(have, _)| have == name) {
                Some(option) => option.1.clone_from(value),
                None => conf.options.push((name.clone(), value.clone())),
            }
        }
        conf
    }

    /// `options ndots`, 1 unless set.
    pub fn ndots(&self) -> usize {
        let ndots = self.options.iter().find(|(name, _)| name == "ndots");
        ndots.and_then(|(_, value)| value.as_ref()?.parse().ok()).unwrap_or(1)
    }

    /// The names that a resolver asks for, in order, until one is found: resolver(3), `search` and `ndots`.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let dots = name.bytes().filter(|&b| b == b'.').count();
        let searched = self.search.iter().map(|domain| format!("{name}.{domain}"));
        if dots >= self.ndots() {
            std::iter::once(name.to_owned()).chain(searched).collect()
        } else {
            searched.chain(std::iter::once(name.to_owned())).collect()
        }
    }
}

/// The file, as containerd writes it.
impl fmt::Display for ResolvConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.search.is_empty() {
            writeln!(f, "search {}", self.search.join(" "))?;
        }
        for server in &self.nameservers {
            writeln!(f, "nameserver {server}")?;
        }
        if !self.options.is_empty() {
            f.write_str("options")?;
            for (name, value) in &self.options {
                match value {
                    Some(value) => write!(f, " {name}:{value}")?,
                    None => write!(f, " {name}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::pod::DnsConfig;

    fn conf(policy: DnsPolicy, host_network: bool, dns_config: DnsConfig) -> String {
        let spec = PodSpec { dns_policy: policy, host_network, dns_config, ..PodSpec::default() };
        let node = ResolvConf::of_node("172.18.0.1".parse().expect("ip"));
        let dns = ["10.96.0.10".parse().expect("ip")];
        ResolvConf::of_pod(&spec, "shop", &dns, "cluster.local", &node).to_string()
    }

    const CLUSTER: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";
    const NODE: &str = "nameserver 172.18.0.1\noptions ndots:0\n";

    #[test]
    fn the_policy_decides_who_is_asked() {
        assert_eq!(conf(DnsPolicy::ClusterFirst, false, DnsConfig::default()), CLUSTER);
        assert_eq!(conf(DnsPolicy::ClusterFirst, true, DnsConfig::default()), NODE);
        assert_eq!(conf(DnsPolicy::ClusterFirstWithHostNet, true, DnsConfig::default()), CLUSTER);
        assert_eq!(conf(DnsPolicy::Default, false, DnsConfig::default()), NODE);
    }

    #[test]
    fn dns_config_is_added_and_its_options_win() {
        let config = DnsConfig {
            nameservers: vec!["1.1.1.1".parse().expect("ip")],
            searches: vec!["example.com".to_owned()],
            options: vec![("ndots".to_owned(), Some("2".to_owned())), ("edns0".to_owned(), None)],
        };
        assert_eq!(conf(DnsPolicy::None, false, config.clone()), "search example.com\nnameserver 1.1.1.1\noptions ndots:2 edns0\n");
        let merged = conf(DnsPolicy::ClusterFirst, false, config);
        assert!(merged.contains("cluster.local example.com\nnameserver 10.96.0.10\nnameserver 1.1.1.1"), "{merged}");
        assert!(merged.contains("options ndots:2 edns0"), "{merged}");
    }

    #[test]
    fn few_dots_mean_search_first() {
        let spec = PodSpec::default();
        let node = ResolvConf::default();
        let conf = ResolvConf::of_pod(&spec, "default", &[], "cluster.local", &node);
        assert_eq!(conf.candidates("web"), ["web.default.svc.cluster.local", "web.svc.cluster.local", "web.cluster.local", "web"]);
        assert_eq!(conf.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f");
        assert_eq!(conf.candidates("web.default.svc.cluster.local."), ["web.default.svc.cluster.local"]);
    }
}
