//! Metadata, selectors, addresses and ports.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::place::{Collected, Place};
use crate::api::{Meta, Owner, PortRef, Protocol, Requirement, Selector};
use crate::controllers::names::name_suffix;

/// The metadata of a kind that lives in a namespace.
pub(super) fn namespaced(meta: ObjectMeta, at: &Place<'_>, collected: &mut Collected) -> Meta {
    let namespace = meta.namespace.clone().filter(|namespace| !namespace.is_empty());
    Meta { namespace: namespace.unwrap_or_else(|| "default".to_owned()), ..cluster_scoped(meta, at, collected) }
}

/// The metadata of a kind that lives in none.
pub(super) fn cluster_scoped(meta: ObjectMeta, at: &Place<'_>, collected: &mut Collected) -> Meta {
    let place = at.field("metadata");
    let name = match (meta.name, meta.generate_name) {
        (Some(name), _) if !name.is_empty() => {
            if !is_object_name(&name) {
                let message = format!("{name:?} is not a name: lower-case letters, digits, `-` and `.` are allowed");
                collected.errors.push(place.field("name").error(message));
            }
            name
        }
        (_, Some(prefix)) if !prefix.is_empty() => {
            let seed = format!("{}:{}", place.origin(), prefix);
            format!("{prefix}{}", name_suffix(&seed))
        }
        _ => {
            collected.errors.push(place.error("a name is missing").help("every object needs `metadata.name`"));
            String::new()
        }
    };
    let owner = meta.owner_references.unwrap_or_default().into_iter().find(|owner| owner.controller == Some(true));
    Meta {
        namespace: String::new(),
        name,
        labels: meta.labels.unwrap_or_default(),
        annotations: meta.annotations.unwrap_or_default(),
        owner: owner.map(|owner| Owner { kind: owner.kind, name: owner.name }),
        deleting: meta.deletion_timestamp.is_some(),
        live: meta.uid.is_some_and(|uid| !uid.is_empty()),
        origin: at.origin(),
    }
}

/// RFC 1123 subdomain, as far as names of all kinds agree on it.
fn is_object_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b':');
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= 253 && name.bytes().all(inner) && name.as_bytes().first().is_some_and(edge)
}

/// A selector of labels only, in the shape of one with expressions.
pub(super) fn labels_selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

pub(super) fn selector(selector: LabelSelector, at: &Place<'_>, collected: &mut Collected) -> Selector {
    let place = at.field("matchExpressions");
    let mut expressions = Vec::new();
    for (index, expression) in selector.match_expressions.unwrap_or_default().into_iter().enumerate() {
        let values = expression.values.unwrap_or_default();
        let requirement = match expression.operator.as_str() {
            "In" => Requirement::In(values),
            "NotIn" => Requirement::NotIn(values),
            "Exists" => Requirement::Exists,
            "DoesNotExist" => Requirement::DoesNotExist,
            other => {
                let place = place.item(index).field("operator");
                let message = format!("unknown operator {other:?}");
                collected.errors.push(place.error(message).help("In, NotIn, Exists or DoesNotExist"));
                continue;
            }
        };
        expressions.push((expression.key, requirement));
    }
    Selector { labels: selector.match_labels.unwrap_or_default(), expressions }
}

/// An address as Kubernetes reads it: IPv4 parts may have leading zeros and are decimal; mapped IPv4 is IPv4.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A prefix as Kubernetes reads it; surrounding white space is allowed.
pub fn parse_cidr(text: &str) -> Option<IpNet> {
    let (ip, length) = text.trim().split_once('/')?;
    let length = length.bytes().all(|b| b.is_ascii_digit()).then(|| length.parse().ok())??;
    IpNet::new(parse_ip(ip)?, length).ok()
}

pub(super) fn ip(text: &str, at: &Place<'_>, collected: &mut Collected) -> Option<IpAddr> {
    collected.ok(parse_ip(text).ok_or_else(|| at.error(format!("{text:?} is not an IP address"))))
}

pub(super) fn protocol(text: Option<&str>, at: &Place<'_>, collected: &mut Collected) -> Protocol {
    match text {
        None | Some("" | "TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some(other) => {
            let error = at.field("protocol").error(format!("unknown protocol {other:?}"));
            collected.errors.push(error.help("TCP, UDP or SCTP"));
            Protocol::Tcp
        }
    }
}

/// A port from 1 to 65535.
pub(super) fn port(number: i32, at: &Place<'_>, collected: &mut Collected) -> u16 {
    match u16::try_from(number) {
        Ok(port) if port > 0 => port,
        _ => {
            collected.errors.push(at.error(format!("{number} is not a port")).help("ports are 1 to 65535"));
            1
        }
    }
}

pub(super) fn port_ref(target: IntOrString, at: &Place<'_>, collected: &mut Collected) -> PortRef {
    match target {
        IntOrString::Int(number) => PortRef::Number(port(number, at, collected)),
        IntOrString::String(text) => {
            // The API server refuses a name without a letter; a quoted number is the usual slip.
            if text.is_empty() || !text.bytes().any(|b| b.is_ascii_lowercase()) || text.len() > 15 {
                let error = at.error(format!("{text:?} is not the name of a port"));
                collected
                    .errors
                    .push(error.help("a name has at most 15 characters and a lower-case letter; write a number without quotes"));
            }
            PortRef::Name(text)
        }
    }
}
