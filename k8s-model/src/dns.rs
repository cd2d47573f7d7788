//! CoreDNS' plugin kubernetes, with kubeadm's Corefile: the records of a cluster (DNS-Based Service Discovery 1.1.0).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use stack::app::{DnsData, DnsRecord, DnsZones, Resolver};

use crate::api::endpoints::{AddressType, Endpoint, EndpointSlice};
use crate::api::service::{Protocol, Service, ServiceType};
use crate::cluster::Cluster;
use crate::outside;
use crate::resolv::ResolvConf;

#[cfg(test)]
mod tests;

/// `ttl 30` of kubeadm's Corefile, in seconds.
const TTL: u32 = 30;
/// The version of the specification, as `dns-version` says it.
const SPECIFICATION: &str = "1.1.0";
/// CoreDNS spreads this weight over the targets of one SRV answer.
const SRV_WEIGHT: usize = 100;
/// glibc's `options timeout`, in seconds, and `options attempts`.
const RESOLVER_DEFAULTS: (u32, u32) = (5, 2);

/// The records that the cluster's DNS answers from.
pub fn zones(cluster: &Cluster) -> DnsZones {
    let domain = cluster.config.cluster_domain.trim_end_matches('.').to_ascii_lowercase();
    let mut zone = Zone { domain: domain.clone(), records: BTreeMap::new() };
    zone.add(format!("dns-version.{domain}"), DnsData::Txt(SPECIFICATION.to_owned()));
    zone.add(domain.clone(), DnsData::Ns(format!("kube-dns.kube-system.svc.{domain}")));
    let mut slices: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in cluster.slices.iter().filter(|slice| slice.address_type != AddressType::Fqdn) {
        slices.entry((&slice.meta.namespace, &slice.service)).or_default().push(slice);
    }
    for service in &cluster.services {
        zone.service(service, slices.get(&service.meta.key()).map_or(&[], Vec::as_slice));
    }
    DnsZones {
        origins: vec![domain, "in-addr.arpa".to_owned(), "ip6.arpa".to_owned()],
        records: zone.records,
        pods_insecure: cluster.namespaces.clone(),
        forward: Some(outside::records(cluster)),
        ttl: TTL,
        shuffle: true,
    }
}

struct Zone {
    domain: String,
    records: BTreeMap<String, Vec<DnsRecord>>,
}

impl Zone {
    fn add(&mut self, name: String, data: DnsData) {
        let records = self.records.entry(name.to_ascii_lowercase()).or_default();
        let record = DnsRecord { ttl: TTL, data };
        if !records.contains(&record) {
            records.push(record);
        }
    }

    fn add_address(&mut self, name: &str, ip: IpAddr) {
        let data = match ip {
            IpAddr::V4(ip) => DnsData::A(ip),
            IpAddr::V6(ip) => DnsData::Aaaa(ip),
        };
        self.add(name.to_owned(), data);
    }

    fn service(&mut self, service: &Service, slices: &[&EndpointSlice]) {
        let name = format!("{}.{}.svc.{}", service.meta.name, service.meta.namespace, self.domain);
        if service.kind == ServiceType::ExternalName {
            if let Some(target) = &service.external_name {
                self.add(name, DnsData::Cname(target.trim_end_matches('.').to_ascii_lowercase()));
            }
            return;
        }
        for &ip in service.cluster_ips.addresses() {
            self.add_address(&name, ip);
            self.add(reverse_name(ip), DnsData::Ptr(name.clone()));
        }
        let mut targets: BTreeMap<(&str, Protocol, u16), Vec<String>> = BTreeMap::new();
        if !service.is_headless() {
            for port in &service.ports {
                targets.entry((&port.name, port.protocol, port.port)).or_default().push(name.clone());
            }
        }
        for slice in slices {
            // `ready` already counts publishNotReadyAddresses.
            for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.is_ready()) {
                let Some(&ip) = endpoint.addresses.first() else { continue };
                let host = format!("{}.{name}", host_label(endpoint, ip));
                self.add_address(&host, ip);
                if endpoint.hostname.as_ref().is_some_and(|hostname| !hostname.is_empty()) {
                    self.add(reverse_name(ip), DnsData::Ptr(host.clone()));
                }
                if service.is_headless() {
                    self.add_address(&name, ip);
                    for (port, number) in slice.ports.iter().filter_map(|port| Some((port, port.port?))) {
                        let hosts = targets.entry((&port.name, port.protocol, number)).or_default();
                        if !hosts.contains(&host) {
                            hosts.push(host.clone());
                        }
                    }
                }
            }
        }
        self.srv(&name, &targets);
    }

    /// SRV of each named port, and of all ports at the Service's own name.
    fn srv(&mut self, name: &str, targets: &BTreeMap<(&str, Protocol, u16), Vec<String>>) {
        let all: usize = targets.values().map(Vec::len).sum();
        let record = |port: u16, target: &String, among: usize| DnsData::Srv {
            priority: 0,
            weight: (SRV_WEIGHT / among).max(1) as u16,
            port,
            target: target.clone(),
        };
        for (&(port_name, protocol, port), hosts) in targets {
            for host in hosts {
                self.add(name.to_owned(), record(port, host, all));
                if !port_name.is_empty() {
                    // Two slices may give one named port several numbers: they share the answer.
                    let same = targets.iter().filter(|((other, proto, _), _)| *other == port_name && *proto == protocol);
                    let among = same.map(|(_, hosts)| hosts.len()).sum();
                    self.add(format!("_{port_name}._{}.{name}", protocol.lower()), record(port, host, among));
                }
            }
        }
    }
}

/// The label of an endpoint below its Service: its hostname, or its address with dashes.
fn host_label(endpoint: &Endpoint, ip: IpAddr) -> String {
    match &endpoint.hostname {
        Some(hostname) if !hostname.is_empty() => hostname.clone(),
        _ => ip.to_string().replace(['.', ':'], "-"),
    }
}

/// The name of an address in reverse: `1.0.96.10.in-addr.arpa`.
pub fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            let labels: Vec<String> = nibbles.map(|nibble| format!("{nibble:x}")).collect();
            format!("{}.ip6.arpa", labels.join("."))
        }
    }
}

/// A pod's or node's resolv.conf as its resolver uses it.
pub fn resolver(conf: &ResolvConf) -> Resolver {
    let option = |name: &str, default: u32| {
        let found = conf.options.iter().find(|(have, _)| have == name);
        found.and_then(|(_, value)| value.as_ref()?.parse().ok()).unwrap_or(default)
    };
    Resolver {
        nameservers: conf.nameservers.clone(),
        search: conf.search.clone(),
        // resolv.conf(5) caps it at 15.
        ndots: conf.ndots().min(15) as u8,
        timeout: option("timeout", RESOLVER_DEFAULTS.0).clamp(1, 30),
        attempts: option("attempts", RESOLVER_DEFAULTS.1).clamp(1, 5),
    }
}

/// The zones, to be shared by all replicas.
pub fn shared_zones(cluster: &Cluster) -> Arc<DnsZones> {
    Arc::new(zones(cluster))
}
