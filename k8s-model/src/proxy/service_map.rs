//! Service ports, as the proxy of one IP family sees them (pkg/proxy/servicechangetracker.go, serviceport.go).

use std::net::IpAddr;

use ipnet::IpNet;
use stack::Provenance;

use super::names::{ChainKind, service_chain};
use crate::api::service::{Policy, Protocol, Service, ServiceType};
use crate::cluster::Cluster;
use crate::{ipam, provenance};

/// Who generates.
pub(super) const KUBE_PROXY: &str = "kube-proxy";

/// A port of a Service that has an address of the family.
#[derive(Debug, Clone, PartialEq)]
pub struct ServicePortInfo<'a> {
    /// The Service.
    pub service: &'a Service,
    /// The port's own name; empty = unnamed.
    pub port_name: &'a str,
    /// `namespace/name:port`, or `namespace/name` for an unnamed port.
    pub name: String,
    /// The address.
    pub cluster_ip: IpAddr,
    /// The port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its node port; 0 = none.
    pub node_port: u16,
    /// `externalIPs` of the family.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of load balancers whose `ipMode` is VIP, of the family.
    pub vips: Vec<IpAddr>,
    /// `loadBalancerSourceRanges` of the family.
    pub source_ranges: Vec<IpNet>,
    /// `healthCheckNodePort`, where it counts; 0 = none.
    pub health_check_node_port: u16,
    /// The line of the port.
    pub prov: Provenance,
}

impl ServicePortInfo<'_> {
    /// Whether traffic from outside can reach it.
    pub fn externally_accessible(&self) -> bool {
        self.node_port != 0 || !self.vips.is_empty() || !self.external_ips.is_empty()
    }

    /// `internalTrafficPolicy: Local`.
    pub fn internal_local(&self) -> bool {
        self.service.internal_policy == Policy::Local
    }

    /// `externalTrafficPolicy: Local`.
    pub fn external_local(&self) -> bool {
        self.service.external_policy == Policy::Local
    }

    /// Whether some traffic goes to any endpoint.
    pub fn uses_cluster_endpoints(&self) -> bool {
        !self.internal_local() || self.externally_accessible()
    }

    /// Whether some traffic goes to endpoints of its node only.
    pub fn uses_local_endpoints(&self) -> bool {
        self.internal_local() || (self.external_local() && self.externally_accessible())
    }

    /// One of its chains.
    pub fn chain(&self, kind: ChainKind) -> String {
        service_chain(kind, &self.name, self.protocol)
    }
}

/// All Service ports of a family, by namespace, name and place among the ports.
///
/// kube-proxy walks a map in any order; here it is always the same.
pub fn service_ports(cluster: &Cluster, family: u8) -> Vec<ServicePortInfo<'_>> {
    let of_family = |ip: &IpAddr| ipam::family(ip) == family;
    let mut result = Vec::new();
    for service in &cluster.services {
        if service.kind == ServiceType::ExternalName {
            continue;
        }
        // A label that hands the Service to another proxy, and headless Services that say so by label.
        if service.meta.labels.contains_key("service.kubernetes.io/service-proxy-name")
            || service.meta.labels.contains_key("service.kubernetes.io/headless")
        {
            continue;
        }
        let Some(cluster_ip) = service.cluster_ips.addresses().iter().copied().find(of_family) else { continue };
        let health_check = service.kind == ServiceType::LoadBalancer && service.external_policy == Policy::Local;
        let vips = service.lb_ingress.iter().filter(|ingress| !ingress.proxy_mode).filter_map(|ingress| ingress.ip);
        let vips: Vec<IpAddr> = vips.filter(of_family).collect();
        let ranges = service.lb_source_ranges.iter().filter_map(|text| source_range(text));
        let source_ranges: Vec<IpNet> = ranges.filter(|range| ipam::family(&range.addr()) == family).collect();
        for (index, port) in service.ports.iter().enumerate() {
            let full_name = service.meta.full_name();
            let name = if port.name.is_empty() { full_name.clone() } else { format!("{full_name}:{}", port.name) };
            let field = format!("spec.ports[{index}]");
            result.push(ServicePortInfo {
                service,
                port_name: &port.name,
                name,
                cluster_ip,
                port: port.port,
                protocol: port.protocol,
                node_port: port.node_port,
                external_ips: service.external_ips.iter().copied().filter(of_family).collect(),
                vips: vips.clone(),
                source_ranges: source_ranges.clone(),
                health_check_node_port: if health_check { service.health_check_node_port } else { 0 },
                prov: provenance::for_object(KUBE_PROXY, format!("Service {full_name}"), &field, &port.origin),
            });
        }
    }
    result
}

/// A source range: blanks around it and leading zeros in it are taken, as `ParseCIDRSloppy` does.
fn source_range(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let (address, length) = text.split_once('/')?;
    let sloppy = |part: &str| {
        let digits = part.trim_start_matches('0');
        if digits.is_empty() { "0".to_owned() } else { digits.to_owned() }
    };
    let address =
        if address.contains(':') { address.to_owned() } else { address.split('.').map(sloppy).collect::<Vec<_>>().join(".") };
    format!("{address}/{length}").parse::<IpNet>().ok().map(|range| range.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_ranges_are_read_as_upstream_reads_them() {
        let read = |text: &str| source_range(text).map(|range| range.to_string());
        assert_eq!(read(" 10.0.0.0/8 ").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(read("010.001.2.3/24").as_deref(), Some("10.1.2.0/24"));
        assert_eq!(read("2001:db8::/32").as_deref(), Some("2001:db8::/32"));
        assert_eq!(read("10.0.0.1"), None);
    }
}
