//! Deployment, ReplicaSet, StatefulSet, DaemonSet and Job controllers: workloads become pods.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::names::{generated, name_suffix, safe_hash};
use super::schedule;
use crate::api::pod::{Pod, PodStatus, Toleration};
use crate::api::{Meta, Owner, Workload, WorkloadKind};
use crate::cluster::ClusterNode;

/// All pods of one built cluster together; more are refused.
pub const MAX_PODS: usize = 200_000;

/// A pod and the workload at the root of its owners.
#[derive(Debug, Clone, PartialEq)]
pub struct Expanded {
    /// The pod.
    pub pod: Pod,
    /// The workload, as a person would name it: Deployment, not its ReplicaSet.
    pub workload: Option<Owner>,
}

/// The pods of the objects: those that are there, then those that workloads make.
///
/// A workload whose pods are in the dump makes no more. Fails with the name of the workload that would pass
/// [`MAX_PODS`].
pub fn expand(pods: &[Pod], workloads: &[Workload], nodes: &[ClusterNode]) -> Result<Vec<Expanded>, String> {
    let mut taken: BTreeSet<(String, String)> =
        pods.iter().map(|pod| (pod.meta.namespace.clone(), pod.meta.name.clone())).collect();
    let mut result: Vec<Expanded> =
        pods.iter().map(|pod| Expanded { workload: root_owner(&pod.meta, workloads), pod: pod.clone() }).collect();
    for workload in workloads {
        if has_children(workload, pods, workloads) {
            continue;
        }
        let count = match workload.kind {
            WorkloadKind::DaemonSet => nodes.len(),
            _ => workload.replicas as usize,
        };
        if result.len() + count > MAX_PODS {
            return Err(workload.meta.full_name());
        }
        let root = root_owner(&workload.meta, workloads)
            .unwrap_or_else(|| Owner { kind: workload.kind.name().to_owned(), name: workload.meta.name.clone() });
        let made = make(workload, nodes, &mut taken);
        result.extend(made.into_iter().map(|pod| Expanded { pod, workload: Some(root.clone()) }));
    }
    Ok(result)
}

/// Whether the dump already holds what this workload makes: its pods, or its ReplicaSet.
fn has_children(workload: &Workload, pods: &[Pod], workloads: &[Workload]) -> bool {
    let owns = |meta: &Meta| {
        meta.namespace == workload.meta.namespace
            && meta.owner.as_ref().is_some_and(|owner| owner.kind == workload.kind.name() && owner.name == workload.meta.name)
    };
    pods.iter().any(|pod| owns(&pod.meta)) || workloads.iter().any(|other| owns(&other.meta))
}

/// The Deployment behind a ReplicaSet's pod, the StatefulSet behind its own, ...
fn root_owner(meta: &Meta, workloads: &[Workload]) -> Option<Owner> {
    let owner = meta.owner.clone()?;
    let above = workloads.iter().find(|workload| {
        workload.kind.name() == owner.kind && workload.meta.name == owner.name && workload.meta.namespace == meta.namespace
    });
    match above.and_then(|workload| workload.meta.owner.clone()) {
        Some(root) => Some(root),
        // A dump of pods alone: the ReplicaSet's name is the Deployment's and the hash of its template.
        None if owner.kind == "ReplicaSet" && above.is_none() => match owner.name.rsplit_once('-') {
            Some((name, hash)) if meta.labels.get("pod-template-hash").is_some_and(|label| label == hash) => {
                Some(Owner { kind: "Deployment".to_owned(), name: name.to_owned() })
            }
            _ => Some(owner),
        },
        None => Some(owner),
    }
}

fn make(workload: &Workload, nodes: &[ClusterNode], taken: &mut BTreeSet<(String, String)>) -> Vec<Pod> {
    let Meta { namespace, name, .. } = &workload.meta;
    let mut fresh = |base: &str| {
        // Drawn again until nobody has it, as the API server does.
        let mut draw = 0u32;
        loop {
            let candidate = generated(base, &format!("{namespace}/{base}/{draw}"));
            if taken.insert((namespace.clone(), candidate.clone())) {
                return candidate;
            }
            draw += 1;
        }
    };
    let pod = |pod_name: String, owner: Owner| Pod {
        meta: Meta {
            namespace: namespace.clone(),
            name: pod_name,
            labels: workload.template_labels.clone(),
            annotations: workload.template_annotations.clone(),
            owner: Some(owner),
            deleting: false,
            live: false,
            origin: workload.meta.origin.clone(),
        },
        spec: workload.template.clone(),
        status: PodStatus::default(),
    };
    let own = || Owner { kind: workload.kind.name().to_owned(), name: name.clone() };
    match workload.kind {
        WorkloadKind::Deployment => {
            let hash = safe_hash(&template_text(workload), 10);
            let replica_set = format!("{name}-{hash}");
            let make_one = |_| {
                let owner = Owner { kind: "ReplicaSet".to_owned(), name: replica_set.clone() };
                let mut made = pod(fresh(&replica_set), owner);
                made.meta.labels.insert("pod-template-hash".to_owned(), hash.clone());
                made
            };
            (0..workload.replicas).map(make_one).collect()
        }
        WorkloadKind::ReplicaSet | WorkloadKind::ReplicationController | WorkloadKind::Job => {
            (0..workload.replicas).map(|_| pod(fresh(name), own())).collect()
        }
        WorkloadKind::StatefulSet => (0..workload.replicas)
            .map(|index| {
                let ordinal = workload.first_ordinal.saturating_add(index);
                let pod_name = format!("{name}-{ordinal}");
                let mut made = pod(pod_name.clone(), own());
                let labels = &mut made.meta.labels;
                labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), pod_name.clone());
                labels.insert("apps.kubernetes.io/pod-index".to_owned(), ordinal.to_string());
                made.spec.hostname = Some(pod_name);
                made.spec.subdomain = workload.service_name.clone().or(made.spec.subdomain);
                made
            })
            .collect(),
        WorkloadKind::DaemonSet => {
            let mut template = workload.template.clone();
            template.tolerations.extend(daemon_tolerations(template.host_network));
            let eligible = nodes.iter().filter(|node| schedule::fits(&template, node, schedule::Cordon::Borne));
            eligible
                .map(|node| {
                    let mut made = pod(fresh(name), own());
                    made.spec.tolerations = template.tolerations.clone();
                    made.spec.node_name = Some(node.name.clone());
                    made
                })
                .collect()
        }
    }
}

/// What the DaemonSet controller adds to its pods.
fn daemon_tolerations(host_network: bool) -> Vec<Toleration> {
    let mut keys = vec!["not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"];
    if host_network {
        keys.push("network-unavailable");
    }
    let bear =
        |key| Toleration { key: format!("node.kubernetes.io/{key}"), any_value: true, value: String::new(), effect: String::new() };
    keys.into_iter().map(bear).collect()
}

/// What of a template decides its hash: what it asks, not where it stands in a file.
fn template_text(workload: &Workload) -> String {
    let mut text = format!(
        "{}/{} {:?} {:?}",
        workload.meta.namespace, workload.meta.name, workload.template_labels, workload.template_annotations
    );
    for container in &workload.template.containers {
        let _ = write!(text, " {} {} {:?} {:?}", container.name, container.image, container.command, container.env);
        for port in &container.ports {
            let _ = write!(text, " {:?}:{}/{}", port.name, port.port, port.protocol);
        }
    }
    text
}

/// The pod of a Service's slice that nobody else knows gets a name too; see [`super::adopt`].
pub(super) fn unnamed_pod(service: &str, ip: &str) -> String {
    format!("{service}-{}", name_suffix(&format!("{service}/{ip}")))
}
