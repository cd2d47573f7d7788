//! Services, with the checks of the API server that concern the network.

use k8s_openapi::api::core::v1 as core;

use super::meta;
use super::place::{Collected, Place};
use crate::api::service::{ClusterIps, LbIngress, Policy, PortRef, Service, ServicePort, ServiceType};

/// `sessionAffinityConfig.clientIP.timeoutSeconds`, unless set: three hours.
const AFFINITY_SECONDS: i32 = 10_800;

pub(super) fn service(service: core::Service, at: &Place<'_>, collected: &mut Collected) -> Service {
    let meta = meta::namespaced(service.metadata, at, collected);
    let spec = service.spec.unwrap_or_default();
    let spec_at = at.field("spec");
    let kind = match spec.type_.as_deref() {
        None | Some("" | "ClusterIP") => ServiceType::ClusterIp,
        Some("NodePort") => ServiceType::NodePort,
        Some("LoadBalancer") => ServiceType::LoadBalancer,
        Some("ExternalName") => ServiceType::ExternalName,
        Some(other) => {
            let error = spec_at.field("type").error(format!("unknown type {other:?}"));
            collected.errors.push(error.help("ClusterIP, NodePort, LoadBalancer or ExternalName"));
            ServiceType::ClusterIp
        }
    };
    let affinity_seconds = match spec.session_affinity.as_deref() {
        None | Some("" | "None") => None,
        Some("ClientIP") => {
            let configured = spec.session_affinity_config.and_then(|config| config.client_ip?.timeout_seconds);
            let seconds = configured.unwrap_or(AFFINITY_SECONDS);
            if !(1..=86_400).contains(&seconds) {
                let place = spec_at.field("sessionAffinityConfig").field("clientIP").field("timeoutSeconds");
                collected.errors.push(place.error(format!("{seconds} s")).help("1 to 86400 seconds are possible"));
            }
            Some(u32::try_from(seconds).unwrap_or(1))
        }
        Some(other) => {
            let error = spec_at.field("sessionAffinity").error(format!("unknown sessionAffinity {other:?}"));
            collected.errors.push(error.help("None or ClientIP"));
            None
        }
    };
    let mut result = Service {
        meta,
        kind,
        cluster_ips: cluster_ips(spec.cluster_ip, spec.cluster_ips, &spec_at, collected),
        ip_families: families(spec.ip_families, &spec_at, collected),
        ip_family_policy: spec.ip_family_policy,
        selector: spec.selector.unwrap_or_default(),
        ports: ports(spec.ports.unwrap_or_default(), &spec_at, collected),
        external_ips: spec
            .external_ips
            .unwrap_or_default()
            .into_iter()
            .enumerate()
            .filter_map(|(index, text)| meta::ip(&text, &spec_at.field("externalIPs").item(index), collected))
            .collect(),
        external_name: spec.external_name.filter(|name| !name.is_empty()),
        affinity_seconds,
        internal_policy: policy(spec.internal_traffic_policy, &spec_at.field("internalTrafficPolicy"), collected),
        external_policy: policy(spec.external_traffic_policy.clone(), &spec_at.field("externalTrafficPolicy"), collected),
        lb_ingress: Vec::new(),
        lb_source_ranges: spec.load_balancer_source_ranges.unwrap_or_default(),
        health_check_node_port: spec.health_check_node_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
        lb_node_ports: spec.allocate_load_balancer_node_ports.unwrap_or(true),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        traffic_distribution: spec.traffic_distribution,
    };
    for (index, range) in result.lb_source_ranges.iter().enumerate() {
        if meta::parse_cidr(range).is_none() {
            let place = spec_at.field("loadBalancerSourceRanges").item(index);
            collected.errors.push(place.error(format!("{range:?} is not a prefix")).help("for example 203.0.113.0/24"));
        }
    }
    let status = service.status.and_then(|status| status.load_balancer).and_then(|balancer| balancer.ingress);
    let ingress_at = at.field("status").field("loadBalancer").field("ingress");
    for (index, ingress) in status.unwrap_or_default().into_iter().enumerate() {
        let place = ingress_at.item(index).field("ip");
        result.lb_ingress.push(LbIngress {
            ip: ingress.ip.filter(|ip| !ip.is_empty()).and_then(|text| meta::ip(&text, &place, collected)),
            hostname: ingress.hostname.filter(|name| !name.is_empty()),
            proxy_mode: ingress.ip_mode.as_deref() == Some("Proxy"),
        });
    }
    if kind == ServiceType::LoadBalancer && result.lb_ingress.is_empty() {
        let text = "no address in status.loadBalancer.ingress: EXTERNAL-IP stays <pending>";
        spec_at.field("loadBalancerIP").unused(collected, true, text);
    }
    check(&result, spec.external_traffic_policy.is_some(), &spec_at, collected);
    result
}

/// What `ValidateService` of the API server refuses, as far as packets would show it.
fn check(service: &Service, has_external_policy: bool, at: &Place<'_>, collected: &mut Collected) {
    let external_name = service.kind == ServiceType::ExternalName;
    if service.ports.is_empty() && !service.is_headless() && !external_name {
        let error = at.field("ports").error("a Service needs at least one port");
        collected.errors.push(error.help("only headless Services (`clusterIP: None`) and ExternalName may have none"));
    }
    if external_name && service.external_name.is_none() {
        collected.errors.push(at.error("type ExternalName needs `externalName`"));
    }
    if external_name && !service.cluster_ips.addresses().is_empty() {
        collected.errors.push(at.field("clusterIP").error("type ExternalName has no clusterIP"));
    }
    let from_nodes = matches!(service.kind, ServiceType::NodePort | ServiceType::LoadBalancer);
    if from_nodes && service.is_headless() {
        collected.errors.push(at.field("clusterIP").error("`None` is for type ClusterIP only"));
    }
    if has_external_policy && !service.is_external() {
        let error = at.field("externalTrafficPolicy").error("may be set for externally reachable Services only");
        collected.errors.push(error.help("set type NodePort or LoadBalancer, or externalIPs"));
    }
    let mut seen: Vec<&ServicePort> = Vec::new();
    for (index, port) in service.ports.iter().enumerate() {
        let place = at.field("ports").item(index);
        if service.ports.len() > 1 && port.name.is_empty() {
            let error = place.field("name").error("each port of a Service with several ports needs a name");
            collected.errors.push(error.help("for example `name: http`"));
        }
        if port.node_port > 0 && !from_nodes {
            let error = place.field("nodePort").error("may be set for types NodePort and LoadBalancer only");
            collected.errors.push(error.help("set `type: NodePort`"));
        }
        if !port.name.is_empty() && seen.iter().any(|other| other.name == port.name) {
            collected.errors.push(place.field("name").error(format!("two ports are named {:?}", port.name)));
        }
        if seen.iter().any(|other| other.port == port.port && other.protocol == port.protocol) {
            let message = format!("port {}/{} appears twice", port.port, port.protocol);
            collected.errors.push(place.field("port").error(message));
        }
        seen.push(port);
    }
}

fn cluster_ips(first: Option<String>, all: Option<Vec<String>>, at: &Place<'_>, collected: &mut Collected) -> ClusterIps {
    let (texts, place) = match (all, first) {
        (Some(all), _) if !all.is_empty() => (all, at.field("clusterIPs")),
        (_, Some(one)) if !one.is_empty() => (vec![one], at.field("clusterIP")),
        _ => return ClusterIps::Unset,
    };
    if texts.iter().any(|text| text == "None") {
        return ClusterIps::Headless;
    }
    if texts.len() > 2 {
        collected.errors.push(place.error("a Service has at most two addresses, one a family"));
    }
    ClusterIps::Given(texts.iter().filter_map(|text| meta::ip(text, &place, collected)).collect())
}

fn families(families: Option<Vec<String>>, at: &Place<'_>, collected: &mut Collected) -> Vec<u8> {
    let place = at.field("ipFamilies");
    let read = |(index, text): (usize, String)| match text.as_str() {
        "IPv4" => Some(4),
        "IPv6" => Some(6),
        other => {
            let error = place.item(index).error(format!("unknown family {other:?}"));
            collected.errors.push(error.help("IPv4 or IPv6"));
            None
        }
    };
    families.unwrap_or_default().into_iter().enumerate().filter_map(read).collect()
}

fn policy(text: Option<String>, at: &Place<'_>, collected: &mut Collected) -> Policy {
    match text.as_deref() {
        None | Some("" | "Cluster") => Policy::Cluster,
        Some("Local") => Policy::Local,
        Some(other) => {
            collected.errors.push(at.error(format!("unknown policy {other:?}")).help("Cluster or Local"));
            Policy::Cluster
        }
    }
}

fn ports(ports: Vec<core::ServicePort>, at: &Place<'_>, collected: &mut Collected) -> Vec<ServicePort> {
    let mut result = Vec::with_capacity(ports.len());
    for (index, port) in ports.into_iter().enumerate() {
        let place = at.field("ports").item(index);
        let number = meta::port(port.port, &place.field("port"), collected);
        let target = match port.target_port {
            None | Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(0)) => PortRef::Number(number),
            Some(target) => meta::port_ref(target, &place.field("targetPort"), collected),
        };
        let node_port = match port.node_port {
            None | Some(0) => 0,
            Some(node_port) => meta::port(node_port, &place.field("nodePort"), collected),
        };
        result.push(ServicePort {
            name: port.name.unwrap_or_default(),
            protocol: meta::protocol(port.protocol.as_deref(), &place, collected),
            port: number,
            target,
            node_port,
            origin: place.origin(),
        });
    }
    result
}
