//! Nodes and namespaces.

use k8s_openapi::api::core::v1 as core;

use super::meta;
use super::place::{Collected, Place};
use crate::api::node::{Namespace, Node, Taint};

pub(super) fn node(node: core::Node, at: &Place<'_>, collected: &mut Collected) -> Node {
    let meta = meta::cluster_scoped(node.metadata, at, collected);
    let spec = node.spec.unwrap_or_default();
    let mut texts = spec.pod_cidrs.unwrap_or_default();
    if let Some(cidr) = spec.pod_cidr.filter(|cidr| !cidr.is_empty())
        && texts.is_empty()
    {
        texts.push(cidr);
    }
    let place = at.field("spec").field("podCIDR");
    let cidr = |text: &String| meta::parse_cidr(text).ok_or_else(|| place.error(format!("{text:?} is not a prefix")));
    let pod_cidrs = texts.iter().filter_map(|text| collected.ok(cidr(text))).collect();
    let (mut internal_ips, mut external_ips) = (Vec::new(), Vec::new());
    let addresses = node.status.and_then(|status| status.addresses).unwrap_or_default();
    for (index, address) in addresses.into_iter().enumerate() {
        let place = at.field("status").field("addresses").item(index).field("address");
        match address.type_.as_str() {
            "InternalIP" => internal_ips.extend(meta::ip(&address.address, &place, collected)),
            "ExternalIP" => external_ips.extend(meta::ip(&address.address, &place, collected)),
            _ => {}
        }
    }
    Node {
        meta,
        internal_ips,
        external_ips,
        pod_cidrs,
        taints: spec
            .taints
            .unwrap_or_default()
            .into_iter()
            .map(|taint| Taint { key: taint.key, value: taint.value.unwrap_or_default(), effect: taint.effect })
            .collect(),
        unschedulable: spec.unschedulable.unwrap_or(false),
    }
}

pub(super) fn namespace(namespace: core::Namespace, at: &Place<'_>, collected: &mut Collected) -> Namespace {
    Namespace { meta: meta::cluster_scoped(namespace.metadata, at, collected) }
}
