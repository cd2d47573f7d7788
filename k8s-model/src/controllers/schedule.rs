//! The scheduler: which node a pod runs on. Filters as upstream; among the nodes left, an even spread in node order.

use std::collections::BTreeMap;

use crate::api::pod::{PodSpec, Toleration};
use crate::api::{Owner, Taint};
use crate::cluster::ClusterNode;

/// Whether a cordoned node counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cordon {
    /// Pods stay away from it.
    Kept,
    /// DaemonSet pods come all the same.
    Borne,
}

/// Whether a pod may run on a node: nodeSelector, taints, cordon.
pub fn fits(spec: &PodSpec, node: &ClusterNode, cordon: Cordon) -> bool {
    let selected = spec.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    let borne = node.taints.iter().all(|taint| {
        !matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            || spec.tolerations.iter().any(|toleration| tolerates(toleration, taint))
    });
    selected && borne && (cordon == Cordon::Borne || !node.unschedulable)
}

/// v1.Toleration.ToleratesTaint.
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    (toleration.effect.is_empty() || toleration.effect == taint.effect)
        && (toleration.key.is_empty() || toleration.key == taint.key)
        && (toleration.any_value || (!toleration.key.is_empty() && toleration.value == taint.value))
}

/// How the nodes are loaded so far.
#[derive(Debug)]
pub struct Scheduler {
    pods: Vec<usize>,
    of_workload: BTreeMap<(String, Owner), BTreeMap<usize, usize>>,
}

impl Scheduler {
    /// Empty nodes.
    pub fn new(nodes: usize) -> Self {
        Self { pods: vec![0; nodes], of_workload: BTreeMap::new() }
    }

    /// Counts a pod that is on a node.
    pub fn place(&mut self, node: usize, namespace: &str, workload: Option<&Owner>) {
        self.pods[node] += 1;
        if let Some(workload) = workload {
            let siblings = self.of_workload.entry((namespace.to_owned(), workload.clone())).or_default();
            *siblings.entry(node).or_default() += 1;
        }
    }

    /// The node with fewest pods of the same workload, then with fewest pods, then the first; none if no node fits.
    pub fn choose(&self, spec: &PodSpec, nodes: &[ClusterNode], namespace: &str, workload: Option<&Owner>) -> Option<usize> {
        let siblings = workload.and_then(|workload| self.of_workload.get(&(namespace.to_owned(), workload.clone())));
        let load = |index: usize| {
            let of_workload = siblings.and_then(|siblings| siblings.get(&index)).copied().unwrap_or(0);
            (of_workload, self.pods[index], index)
        };
        let fitting = nodes.iter().enumerate().filter(|(_, node)| fits(spec, node, Cordon::Kept));
        fitting.map(|(index, _)| load(index)).min().map(|(_, _, index)| index)
    }
}
