//! The kinds that make pods.

use super::meta::{Meta, Selector};
use super::pod::PodSpec;
use std::collections::BTreeMap;

/// A Deployment, ReplicaSet, StatefulSet, DaemonSet, Job or ReplicationController.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Which of them.
    pub kind: WorkloadKind,
    /// Name, labels.
    pub meta: Meta,
    /// How many pods; for a DaemonSet one a node, whatever stands here.
    pub replicas: u32,
    /// Which pods are its own.
    pub selector: Selector,
    /// Labels of its pods.
    pub template_labels: BTreeMap<String, String>,
    /// Annotations of its pods.
    pub template_annotations: BTreeMap<String, String>,
    /// What its pods ask.
    pub template: PodSpec,
    /// StatefulSet: the Service that names its pods.
    pub service_name: Option<String>,
    /// StatefulSet: `ordinals.start`.
    pub first_ordinal: u32,
}

/// What kind of pod maker it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkloadKind {
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 ReplicaSet.
    ReplicaSet,
    /// v1 ReplicationController.
    ReplicationController,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 DaemonSet.
    DaemonSet,
    /// batch/v1 Job.
    Job,
}

impl WorkloadKind {
    /// The kind as `ownerReferences` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::Job => "Job",
        }
    }
}
