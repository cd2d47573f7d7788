//! The world beyond the nodes: the host that the nodes stand on, names and addresses behind it.
//!
//! In kind the gateway of the node network is the machine that runs the containers; it resolves names for the nodes. What
//! lies beyond is not known to any manifest: a short list of names, [`crate::ClusterConfig::outside_names`], stands for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use stack::app::{DnsData, DnsRecord, DnsZones, HttpFallback, HttpPage, HttpSite, L4, Server, Service};

use crate::cluster::Cluster;
use crate::node_rules::families;
use crate::{dns, ipam};

/// The namespace of the world outside.
pub const EXTERNAL: &str = "external";
/// TTL of names of the world outside, in seconds.
const TTL: u32 = 300;

/// Names that stand for the world outside, unless a scenario says otherwise.
pub fn default_names() -> Vec<(String, Vec<IpAddr>)> {
    let names: [(&str, &[&str]); 8] = [
        ("dns.google", &["8.8.8.8", "8.8.4.4", "2001:4860:4860::8888"]),
        ("example.com", &["23.192.228.80", "2600:1406:5e00:6::17ce:bc1b"]),
        ("github.com", &["140.82.121.4"]),
        ("google.com", &["142.250.74.110", "2a00:1450:400f:801::200e"]),
        ("kubernetes.io", &["15.197.167.90", "3.33.186.135"]),
        ("one.one.one.one", &["1.1.1.1", "1.0.0.1", "2606:4700:4700::1111"]),
        ("registry.k8s.io", &["34.96.108.209"]),
        ("www.google.com", &["142.250.74.100", "2a00:1450:400f:801::2004"]),
    ];
    let address = |text: &&str| text.parse().expect("a constant address");
    names.iter().map(|(name, addresses)| ((*name).to_owned(), addresses.iter().map(address).collect())).collect()
}

/// The addresses of the world outside, of the cluster's families, each once.
pub fn addresses(cluster: &Cluster) -> BTreeSet<IpAddr> {
    let families = families(cluster);
    let all = cluster.config.outside_names.iter().flat_map(|(_, addresses)| addresses).copied();
    all.filter(|ip| families.contains(&ipam::family(ip))).collect()
}

/// The names as DNS records, with the names in reverse.
pub fn records(cluster: &Cluster) -> BTreeMap<String, Vec<DnsRecord>> {
    let mut records: BTreeMap<String, Vec<DnsRecord>> = BTreeMap::new();
    for (name, addresses) in &cluster.config.outside_names {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        for ip in addresses {
            let data = match ip {
                IpAddr::V4(ip) => DnsData::A(*ip),
                IpAddr::V6(ip) => DnsData::Aaaa(*ip),
            };
            records.entry(name.clone()).or_default().push(DnsRecord { ttl: TTL, data });
            let reverse = DnsRecord { ttl: TTL, data: DnsData::Ptr(name.clone()) };
            records.entry(dns::reverse_name(*ip)).or_default().push(reverse);
        }
    }
    records
}

/// What the world outside answers: DNS at the gateway, a page on every address.
pub fn servers(cluster: &Cluster, any: IpAddr) -> Vec<(Server, String)> {
    let server = |name: &str, port, l4, service| Server { name: name.into(), bind: any, port, l4, service, transparent: false };
    let zones = Arc::new(DnsZones { forward: Some(records(cluster)), ttl: TTL, ..DnsZones::default() });
    let page = HttpPage { status: 200, content_type: "text/plain".to_owned(), body: b"The world outside the cluster\n".to_vec() };
    let site = Arc::new(HttpSite { fallback: Some(HttpFallback::Page(page)), ..HttpSite::default() });
    let names = cluster.config.outside_names.len();
    let dns = format!("the gateway of the node network answers DNS, for {names} names of the world outside; others do not exist");
    vec![
        (server("dockerd", 53, L4::Udp, Service::Dns(zones.clone())), dns.clone()),
        (server("dockerd", 53, L4::Tcp, Service::Dns(zones)), dns),
        (
            server("web", 80, L4::Tcp, Service::Http(site)),
            "the world outside answers HTTP on port 80 of all its addresses".to_owned(),
        ),
        (
            server("web", 443, L4::Tcp, Service::Sink),
            "the world outside takes connections on port 443 of all its addresses; TLS is not modelled".to_owned(),
        ),
    ]
}
