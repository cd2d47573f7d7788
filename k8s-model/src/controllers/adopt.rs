//! Pods that only an EndpointSlice of a dump knows: without them, a packet to the endpoint would find nobody.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::workloads::{Expanded, unnamed_pod};
use crate::api::pod::{Container, ContainerPort, Pod, PodSpec, PodStatus};
use crate::api::{EndpointSlice, Meta};

/// Adds a pod for every endpoint with a node and an address that no pod and no node has.
pub fn adopt(slices: &[EndpointSlice], node_ips: &BTreeSet<IpAddr>, pods: &mut Vec<Expanded>, assumptions: &mut Vec<String>) {
    let mut known: BTreeSet<IpAddr> = pods.iter().flat_map(|one| &one.pod.status.ips).copied().collect();
    known.extend(node_ips);
    let mut names: BTreeSet<(String, String)> =
        pods.iter().map(|one| (one.pod.meta.namespace.clone(), one.pod.meta.name.clone())).collect();
    let mut made = Vec::new();
    for slice in slices {
        for endpoint in &slice.endpoints {
            let (Some(node), Some(ip)) = (&endpoint.node_name, endpoint.addresses.first()) else { continue };
            let target = endpoint.target.as_ref().filter(|target| target.kind == "Pod");
            let name = target.map_or_else(|| unnamed_pod(&slice.service, &ip.to_string()), |target| target.name.clone());
            let key = (slice.meta.namespace.clone(), name);
            if known.contains(ip) || names.contains(&key) {
                continue;
            }
            known.insert(*ip);
            let mut meta = Meta::made("the input's slices", &key.0, &key.1);
            meta.origin = endpoint.origin.clone();
            assumptions.push(format!(
                "pod {} ({ip}, node {node}) is known from EndpointSlice {} only ({})",
                meta.full_name(),
                slice.meta.full_name(),
                endpoint.origin
            ));
            names.insert(key);
            let ports = slice.ports.iter().filter_map(|port| {
                Some(ContainerPort {
                    name: Some(port.name.clone()).filter(|name| !name.is_empty()),
                    port: port.port?,
                    protocol: port.protocol,
                    host_port: None,
                    origin: endpoint.origin.clone(),
                })
            });
            let container = Container { name: "unknown".to_owned(), ports: ports.collect(), ..Container::default() };
            made.push(Expanded {
                pod: Pod {
                    meta,
                    spec: PodSpec {
                        node_name: Some(node.clone()),
                        hostname: endpoint.hostname.clone(),
                        containers: vec![container],
                        ..PodSpec::default()
                    },
                    status: PodStatus { ips: endpoint.addresses.clone(), ready: Some(endpoint.is_ready()), ..PodStatus::default() },
                },
                workload: None,
            });
        }
    }
    pods.extend(made);
}
