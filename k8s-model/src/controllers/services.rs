//! What the API server allocates for Services: clusterIPs, node ports, health check ports.
//!
//! What is asked for is given first; the rest comes from the upper band, as KEP-3070 and KEP-3668 have it, at a place that
//! the Service's name decides instead of chance: adding one Service does not move the others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::names::number;
use crate::api::service::{ClusterIps, Policy, Service, ServiceType};
use crate::config::ClusterConfig;
use crate::error::InputError;
use crate::ipam;

/// Fills in addresses and ports; what cannot be had is an error at the field that asks.
pub fn allocate(config: &ClusterConfig, services: &mut [Service], assumptions: &mut Vec<String>) -> Result<(), Vec<InputError>> {
    let mut errors = Vec::new();
    families(config, services, &mut errors);
    cluster_ips(config, services, assumptions, &mut errors);
    node_ports(config, services, assumptions, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// `ipFamilies` and `ipFamilyPolicy`: how many addresses, of which family.
fn families(config: &ClusterConfig, services: &mut [Service], errors: &mut Vec<InputError>) {
    let possible = config.families();
    for service in services {
        let given: Vec<u8> = service.cluster_ips.addresses().iter().map(ipam::family).collect();
        let mut wanted = if service.ip_families.is_empty() { given } else { service.ip_families.clone() };
        if wanted.is_empty() {
            wanted.push(possible[0]);
        }
        let policy = service.ip_family_policy.as_deref().unwrap_or_default();
        if matches!(policy, "PreferDualStack" | "RequireDualStack") {
            let missing: Vec<u8> = possible.iter().copied().filter(|family| !wanted.contains(family)).collect();
            wanted.extend(missing);
        }
        let impossible = wanted.iter().find(|family| !possible.contains(family) && !service.meta.live);
        if let Some(family) = impossible {
            let message = format!("the cluster has no IPv{family} range for Services");
            let error = InputError::at(&service.meta.origin, "spec.ipFamilies", message);
            errors.push(error.help("set --service-cluster-ip-range and --cluster-cidr for both families"));
        } else if policy == "RequireDualStack" && wanted.len() < 2 {
            let error = InputError::at(&service.meta.origin, "spec.ipFamilyPolicy", "the cluster is not dual-stack");
            errors.push(error.help("PreferDualStack takes what there is"));
        }
        service.ip_families = wanted;
    }
}

fn cluster_ips(config: &ClusterConfig, services: &mut [Service], assumptions: &mut Vec<String>, errors: &mut Vec<InputError>) {
    let mut taken: BTreeMap<IpAddr, String> = BTreeMap::new();
    for service in services.iter() {
        for ip in service.cluster_ips.addresses() {
            if !config.service_cluster_ip_range.iter().any(|range| range.contains(ip)) {
                let ranges: Vec<String> = config.service_cluster_ip_range.iter().map(ToString::to_string).collect();
                let message = format!("{ip} is not in the valid range. The range of valid IPs is {}", ranges.join(","));
                if service.meta.live {
                    assumptions.push(format!("Service {}: clusterIP {message}; it is kept", service.meta.full_name()));
                } else {
                    let error = InputError::at(&service.meta.origin, "spec.clusterIPs", message);
                    errors.push(error.help("change it, leave it out, or set --service-cluster-ip-range"));
                }
            }
            if let Some(other) = taken.insert(*ip, service.meta.full_name()) {
                let message = format!("{ip} is already allocated, to Service {other}");
                errors.push(InputError::at(&service.meta.origin, "spec.clusterIPs", message));
            }
        }
    }
    for index in by_name(services) {
        let service = &mut services[index];
        if service.kind == ServiceType::ExternalName || service.is_headless() {
            continue;
        }
        let mut ips = service.cluster_ips.addresses().to_vec();
        for &family in &service.ip_families {
            if ips.iter().any(|ip| ipam::family(ip) == family) {
                continue;
            }
            let range = config.service_cluster_ip_range.iter().find(|range| ipam::family(&range.addr()) == family);
            let Some(range) = range else { continue };
            match free_ip(*range, &service.meta.full_name(), &taken) {
                Some(ip) => {
                    taken.insert(ip, service.meta.full_name());
                    ips.push(ip);
                }
                None => {
                    let message = format!("the range {range} is full");
                    errors.push(InputError::at(&service.meta.origin, "spec.clusterIPs", message));
                }
            }
        }
        service.cluster_ips = ClusterIps::Given(ips);
    }
}

/// A free address: from the name's place in the upper band onwards, then in the lower band.
fn free_ip(range: IpNet, name: &str, taken: &BTreeMap<IpAddr, String>) -> Option<IpAddr> {
    // The network address and, for IPv4, the broadcast address are never given.
    let usable = ipam::size(range) - if range.addr().is_ipv4() { 2 } else { 1 };
    let lower = (usable / 16).clamp(16, 256).min(usable);
    let upper = usable - lower;
    let place = |offset: u128| ipam::nth(range, 1 + offset);
    let start = if upper > 0 { u128::from(number(name)) % upper } else { 0 };
    // One look more than there are addresses taken finds a free one, if there is one.
    let looks = taken.len() as u128 + 1;
    let upper_band = (0..upper.min(looks)).map(|step| place(lower + (start + step) % upper));
    let lower_band = (0..lower).map(place);
    upper_band.chain(lower_band).find(|ip| !taken.contains_key(ip))
}

fn node_ports(config: &ClusterConfig, services: &mut [Service], assumptions: &mut Vec<String>, errors: &mut Vec<InputError>) {
    let (low, high) = config.service_node_port_range;
    let mut taken: BTreeMap<u16, String> = BTreeMap::new();
    for service in services.iter() {
        // TCP and UDP of one Service may share a number.
        let mut own = BTreeSet::new();
        for (index, port) in service.ports.iter().enumerate().filter(|(_, port)| port.node_port > 0) {
            let path = format!("spec.ports[{index}].nodePort");
            if !(low..=high).contains(&port.node_port) {
                let message = format!("{} is not in the valid range. The range of valid ports is {low}-{high}", port.node_port);
                if service.meta.live {
                    assumptions.push(format!("Service {}: nodePort {message}; it is kept", service.meta.full_name()));
                } else {
                    errors.push(InputError::at(&port.origin, path, message));
                    continue;
                }
            }
            if own.insert((port.node_port, port.protocol)) {
                match taken.get(&port.node_port) {
                    Some(other) if *other != service.meta.full_name() => {
                        let message = format!("port {} is already allocated, to Service {other}", port.node_port);
                        errors.push(InputError::at(&port.origin, path, message));
                    }
                    _ => {
                        taken.insert(port.node_port, service.meta.full_name());
                    }
                }
            } else {
                let message = format!("port {}/{} appears twice", port.node_port, port.protocol);
                errors.push(InputError::at(&port.origin, path, message));
            }
        }
        if service.health_check_node_port > 0 {
            taken.insert(service.health_check_node_port, service.meta.full_name());
        }
    }
    for index in by_name(services) {
        let service = &mut services[index];
        let wants = match service.kind {
            ServiceType::NodePort => true,
            ServiceType::LoadBalancer => service.lb_node_ports,
            ServiceType::ClusterIp | ServiceType::ExternalName => false,
        };
        let full_name = service.meta.full_name();
        let mut full = false;
        for port in 0..if wants { service.ports.len() } else { 0 } {
            let asked = &service.ports[port];
            if asked.node_port > 0 {
                continue;
            }
            // The same port for another protocol shares the node port.
            let twin = service.ports.iter().find(|other| other.port == asked.port && other.node_port > 0);
            let number = match twin {
                Some(twin) => Some(twin.node_port),
                None => free_port((low, high), &format!("{full_name}:{}", asked.port), &taken),
            };
            match number {
                Some(number) => {
                    taken.insert(number, full_name.clone());
                    service.ports[port].node_port = number;
                }
                None => full = true,
            }
        }
        let wants_health_check = service.kind == ServiceType::LoadBalancer
            && service.external_policy == Policy::Local
            && service.health_check_node_port == 0;
        if wants_health_check {
            match free_port((low, high), &format!("{full_name}:health"), &taken) {
                Some(number) => {
                    taken.insert(number, full_name.clone());
                    service.health_check_node_port = number;
                }
                None => full = true,
            }
        }
        if full {
            let message = format!("the range of node ports {low}-{high} is full");
            errors.push(InputError::at(&service.meta.origin, "spec.ports", message));
        }
    }
}

fn free_port((low, high): (u16, u16), name: &str, taken: &BTreeMap<u16, String>) -> Option<u16> {
    let usable = u32::from(high - low) + 1;
    let lower = (usable / 32).clamp(16, 128).min(usable);
    let upper = usable - lower;
    let place = |offset: u32| low + u16::try_from(offset).expect("an offset within a range of ports is a port");
    let start = if upper > 0 { (number(name) % u64::from(upper)) as u32 } else { 0 };
    let upper_band = (0..upper).map(|step| place(lower + (start + step) % upper));
    let lower_band = (0..lower).map(place);
    upper_band.chain(lower_band).find(|port| !taken.contains_key(port))
}

fn by_name(services: &[Service]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..services.len()).collect();
    order.sort_by(|&a, &b| services[a].meta.key().cmp(&services[b].meta.key()));
    order
}
