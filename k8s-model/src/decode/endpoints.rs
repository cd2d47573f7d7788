//! EndpointSlices and Endpoints.

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};

use super::meta;
use super::place::{Collected, Place};
use crate::api::endpoints::{AddressType, Endpoint, EndpointPort, EndpointSlice, Endpoints, SERVICE_NAME_LABEL, TargetRef};

pub(super) fn slice(slice: discovery::EndpointSlice, at: &Place<'_>, collected: &mut Collected) -> EndpointSlice {
    let meta = meta::namespaced(slice.metadata, at, collected);
    let service = meta.labels.get(SERVICE_NAME_LABEL).cloned().unwrap_or_default();
    if service.is_empty() {
        let text = format!("the label {SERVICE_NAME_LABEL} is missing: the slice belongs to no Service");
        at.field("metadata").unused(collected, true, &text);
    }
    let address_type = match slice.address_type.as_str() {
        "IPv4" => AddressType::Ipv4,
        "IPv6" => AddressType::Ipv6,
        "FQDN" => AddressType::Fqdn,
        other => {
            let error = at.field("addressType").error(format!("unknown addressType {other:?}"));
            collected.errors.push(error.help("IPv4, IPv6 or FQDN"));
            AddressType::Ipv4
        }
    };
    let mut endpoints = Vec::with_capacity(slice.endpoints.len());
    for (index, endpoint) in slice.endpoints.into_iter().enumerate() {
        let place = at.field("endpoints").item(index);
        let conditions = endpoint.conditions.unwrap_or_default();
        let hints = endpoint.hints.unwrap_or_default();
        let addresses = if address_type == AddressType::Fqdn { Vec::new() } else { endpoint.addresses };
        let addresses = addresses.iter().enumerate();
        endpoints.push(Endpoint {
            addresses: addresses
                .filter_map(|(index, text)| meta::ip(text, &place.field("addresses").item(index), collected))
                .collect(),
            ready: conditions.ready,
            serving: conditions.serving,
            terminating: conditions.terminating,
            node_name: endpoint.node_name,
            zone: endpoint.zone,
            hint_zones: hints.for_zones.unwrap_or_default().into_iter().map(|zone| zone.name).collect(),
            hint_nodes: hints.for_nodes.unwrap_or_default().into_iter().map(|node| node.name).collect(),
            hostname: endpoint.hostname,
            target: endpoint.target_ref.and_then(target),
            origin: place.origin(),
        });
    }
    let ports = slice.ports.unwrap_or_default().into_iter().enumerate();
    let ports = ports.map(|(index, port)| {
        let place = at.field("ports").item(index);
        EndpointPort {
            name: port.name.unwrap_or_default(),
            protocol: meta::protocol(port.protocol.as_deref(), &place, collected),
            port: port.port.map(|number| meta::port(number, &place.field("port"), collected)),
        }
    });
    let ports = ports.collect();
    EndpointSlice { meta, service, address_type, ports, endpoints }
}

pub(super) fn endpoints(endpoints: core::Endpoints, at: &Place<'_>, collected: &mut Collected) -> Endpoints {
    let meta = meta::namespaced(endpoints.metadata, at, collected);
    let mut subsets = Vec::new();
    for (index, subset) in endpoints.subsets.unwrap_or_default().into_iter().enumerate() {
        let place = at.field("subsets").item(index);
        let ports = subset.ports.unwrap_or_default().into_iter().enumerate();
        let ports = ports
            .map(|(index, port)| {
                let place = place.field("ports").item(index);
                EndpointPort {
                    name: port.name.unwrap_or_default(),
                    protocol: meta::protocol(port.protocol.as_deref(), &place, collected),
                    port: Some(meta::port(port.port, &place.field("port"), collected)),
                }
            })
            .collect();
        let mut members = Vec::new();
        for (field, ready, addresses) in
            [("addresses", true, subset.addresses), ("notReadyAddresses", false, subset.not_ready_addresses)]
        {
            for (index, address) in addresses.unwrap_or_default().into_iter().enumerate() {
                let place = place.field(field).item(index);
                let ip = meta::ip(&address.ip, &place.field("ip"), collected);
                members.push(Endpoint {
                    addresses: ip.into_iter().collect(),
                    ready: Some(ready),
                    serving: None,
                    terminating: None,
                    node_name: address.node_name,
                    zone: None,
                    hint_zones: Vec::new(),
                    hint_nodes: Vec::new(),
                    hostname: address.hostname,
                    target: address.target_ref.and_then(target),
                    origin: place.origin(),
                });
            }
        }
        subsets.push((ports, members));
    }
    Endpoints { meta, subsets }
}

fn target(reference: core::ObjectReference) -> Option<TargetRef> {
    Some(TargetRef { kind: reference.kind?, namespace: reference.namespace.unwrap_or_default(), name: reference.name? })
}
