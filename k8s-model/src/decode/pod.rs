//! Pods and pod templates.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta;
use super::place::{Collected, Place};
use crate::api::pod::{Container, ContainerPort, DnsConfig, DnsPolicy, ListenHint, Pod, PodSpec, PodStatus, Toleration};

pub(super) fn pod(pod: core::Pod, at: &Place<'_>, collected: &mut Collected) -> Pod {
    let meta = meta::namespaced(pod.metadata, at, collected);
    let status = pod.status.map(|status| pod_status(status, &at.field("status"), collected)).unwrap_or_default();
    let spec = spec(pod.spec.unwrap_or_default(), &at.field("spec"), collected);
    Pod { meta, spec, status }
}

fn pod_status(status: core::PodStatus, at: &Place<'_>, collected: &mut Collected) -> PodStatus {
    let mut texts: Vec<String> = status.pod_ips.unwrap_or_default().into_iter().map(|ip| ip.ip).collect();
    if let Some(ip) = status.pod_ip.filter(|ip| !ip.is_empty())
        && texts.is_empty()
    {
        texts.push(ip);
    }
    let place = at.field("podIP");
    let ready = status.conditions.unwrap_or_default().into_iter().find(|condition| condition.type_ == "Ready");
    PodStatus {
        ips: texts.iter().filter_map(|text| meta::ip(text, &place, collected)).collect(),
        host_ip: status.host_ip.filter(|ip| !ip.is_empty()).and_then(|text| meta::ip(&text, &at.field("hostIP"), collected)),
        phase: status.phase,
        ready: ready.map(|condition| condition.status == "True"),
    }
}

pub(super) fn spec(spec: core::PodSpec, at: &Place<'_>, collected: &mut Collected) -> PodSpec {
    at.field("affinity").unused(collected, false, "affinity does not steer the scheduler here: pods spread evenly");
    let spread = at.field("topologySpreadConstraints");
    spread.unused(collected, false, "does not steer the scheduler here: pods spread evenly");
    at.field("securityContext").field("sysctls").unused(collected, true, "the pod's sysctls are not set");
    at.field("initContainers").unused(collected, false, "init containers have run; what they changed is not modelled");

    let dns_policy = match spec.dns_policy.as_deref() {
        None | Some("" | "ClusterFirst") => DnsPolicy::ClusterFirst,
        Some("ClusterFirstWithHostNet") => DnsPolicy::ClusterFirstWithHostNet,
        Some("Default") => DnsPolicy::Default,
        Some("None") => DnsPolicy::None,
        Some(other) => {
            let error = at.field("dnsPolicy").error(format!("unknown dnsPolicy {other:?}"));
            collected.errors.push(error.help("ClusterFirst, ClusterFirstWithHostNet, Default or None"));
            DnsPolicy::ClusterFirst
        }
    };
    let dns_config = spec.dns_config.map(|config| dns(config, &at.field("dnsConfig"), collected)).unwrap_or_default();
    if dns_policy == DnsPolicy::None && dns_config.nameservers.is_empty() {
        let error = at.field("dnsConfig").error("dnsPolicy None needs at least one name server");
        collected.errors.push(error.help("set `dnsConfig.nameservers`"));
    }
    let sidecars = spec.init_containers.unwrap_or_default().into_iter().enumerate();
    let sidecars = sidecars.filter(|(_, container)| container.restart_policy.as_deref() == Some("Always"));
    let sidecars: Vec<Container> =
        sidecars.map(|(index, item)| container(item, &at.field("initContainers").item(index), collected)).collect();
    let containers = spec.containers.into_iter().enumerate();
    let mut all: Vec<Container> =
        containers.map(|(index, item)| container(item, &at.field("containers").item(index), collected)).collect();
    if all.is_empty() {
        collected.errors.push(at.field("containers").error("a pod needs at least one container"));
    }
    all.extend(sidecars);
    let aliases = spec.host_aliases.unwrap_or_default().into_iter().enumerate();
    PodSpec {
        node_name: spec.node_name.filter(|name| !name.is_empty()),
        node_selector: spec.node_selector.unwrap_or_default(),
        tolerations: spec.tolerations.unwrap_or_default().into_iter().map(toleration).collect(),
        host_network: spec.host_network.unwrap_or(false),
        hostname: spec.hostname.filter(|name| !name.is_empty()),
        subdomain: spec.subdomain.filter(|name| !name.is_empty()),
        dns_policy,
        dns_config,
        host_aliases: aliases
            .filter_map(|(index, alias)| {
                let place = at.field("hostAliases").item(index).field("ip");
                Some((meta::ip(&alias.ip, &place, collected)?, alias.hostnames.unwrap_or_default()))
            })
            .collect(),
        containers: all,
    }
}

fn toleration(toleration: core::Toleration) -> Toleration {
    Toleration {
        key: toleration.key.unwrap_or_default(),
        any_value: toleration.operator.as_deref() == Some("Exists"),
        value: toleration.value.unwrap_or_default(),
        effect: toleration.effect.unwrap_or_default(),
    }
}

fn dns(config: core::PodDNSConfig, at: &Place<'_>, collected: &mut Collected) -> DnsConfig {
    let servers = config.nameservers.unwrap_or_default().into_iter().enumerate();
    DnsConfig {
        nameservers: servers.filter_map(|(index, text)| meta::ip(&text, &at.field("nameservers").item(index), collected)).collect(),
        searches: config.searches.unwrap_or_default(),
        options: config
            .options
            .unwrap_or_default()
            .into_iter()
            .map(|option| (option.name.unwrap_or_default(), option.value))
            .collect(),
    }
}

fn container(container: core::Container, at: &Place<'_>, collected: &mut Collected) -> Container {
    let mut ports = Vec::new();
    for (index, port) in container.ports.unwrap_or_default().into_iter().enumerate() {
        let place = at.field("ports").item(index);
        let host_port = place.field("hostPort");
        if port.host_ip.is_some_and(|ip| !ip.is_empty() && ip != "0.0.0.0" && ip != "::") {
            place.field("hostIP").unused(collected, true, "hostIP is not modelled: every address of the node forwards the port");
        }
        ports.push(ContainerPort {
            name: port.name.filter(|name| !name.is_empty()),
            port: meta::port(port.container_port, &place.field("containerPort"), collected),
            protocol: meta::protocol(port.protocol.as_deref(), &place, collected),
            host_port: port.host_port.filter(|port| *port > 0).map(|port| meta::port(port, &host_port, collected)),
            origin: place.origin(),
        });
    }
    let mut probes = Vec::new();
    let asked = [
        ("startupProbe", container.startup_probe),
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
    ];
    for (name, probe) in asked {
        if let Some(probe) = probe {
            probes.extend(probe_port(name, probe, &at.field(name), collected));
        }
    }
    Container {
        name: container.name,
        image: container.image.unwrap_or_default(),
        command: container.command.into_iter().chain(container.args).flatten().collect(),
        env: container.env.unwrap_or_default().into_iter().filter_map(|variable| Some((variable.name, variable.value?))).collect(),
        ports,
        probes,
    }
}

/// The port that a probe asks; commands ask none.
fn probe_port(name: &str, probe: core::Probe, at: &Place<'_>, collected: &mut Collected) -> Option<ListenHint> {
    let (kind, port, path, elsewhere) = if let Some(http) = probe.http_get {
        ("httpGet", http.port, http.path, http.host)
    } else if let Some(tcp) = probe.tcp_socket {
        ("tcpSocket", tcp.port, None, tcp.host)
    } else if let Some(grpc) = probe.grpc {
        ("grpc", IntOrString::Int(grpc.port), None, None)
    } else {
        return None;
    };
    if elsewhere.is_some_and(|host| !host.is_empty()) {
        return None;
    }
    let place = at.field(kind).field("port");
    Some(ListenHint {
        field: format!("{name}.{kind}"),
        port: meta::port_ref(port, &place, collected),
        path,
        origin: place.origin(),
    })
}
