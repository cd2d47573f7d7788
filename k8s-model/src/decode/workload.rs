//! The kinds that make pods: they differ in few fields.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::place::{Collected, Place};
use super::{meta, pod};
use crate::api::{Workload, WorkloadKind};

/// More pods of one workload than this are refused: a slip of the keyboard, not a cluster.
const MAX_REPLICAS: i32 = 100_000;

/// What the kinds have in common, still in the upstream types.
#[derive(Debug)]
pub(super) struct Parts {
    kind: WorkloadKind,
    metadata: ObjectMeta,
    replicas: Option<i32>,
    selector: Option<LabelSelector>,
    template: Option<PodTemplateSpec>,
    /// StatefulSet: `serviceName`.
    pub(super) service_name: Option<String>,
    /// StatefulSet: `ordinals.start`.
    pub(super) first_ordinal: Option<i32>,
    /// Job: the controller labels the pods and selects by that label.
    pub(super) own_labels: bool,
}

impl Parts {
    pub(super) fn new(kind: WorkloadKind, metadata: ObjectMeta, replicas: Option<i32>, selector: Option<LabelSelector>) -> Self {
        Self { kind, metadata, replicas, selector, template: None, service_name: None, first_ordinal: None, own_labels: false }
    }

    pub(super) fn with_template(mut self, template: Option<PodTemplateSpec>) -> Self {
        self.template = template;
        self
    }

    pub(super) fn build(self, at: &Place<'_>, collected: &mut Collected) -> Workload {
        let spec_at = at.field("spec");
        let template_at = spec_at.field("template");
        let meta = meta::namespaced(self.metadata, at, collected);
        let replicas = self.replicas.unwrap_or(1);
        if !(0..=MAX_REPLICAS).contains(&replicas) {
            let error = spec_at.field("replicas").error(format!("{replicas} replicas"));
            collected.errors.push(error.help(format!("0 to {MAX_REPLICAS} are possible")));
        }
        let template = self.template.unwrap_or_default();
        let template_meta = template.metadata.unwrap_or_default();
        let mut labels = template_meta.labels.unwrap_or_default();
        let selector_at = spec_at.field("selector");
        let mut selector = meta::selector(self.selector.unwrap_or_default(), &selector_at, collected);
        if self.own_labels {
            labels.insert("batch.kubernetes.io/job-name".to_owned(), meta.name.clone());
            labels.insert("job-name".to_owned(), meta.name.clone());
            selector.labels.insert("batch.kubernetes.io/job-name".to_owned(), meta.name.clone());
        }
        // v1 ReplicationControllers default their selector to the template's labels.
        if selector.is_empty() && self.kind == WorkloadKind::ReplicationController {
            selector.labels = labels.clone();
        }
        if selector.is_empty() {
            let error = selector_at.error(format!("a {} needs a selector", self.kind.name()));
            collected.errors.push(error.help("set `spec.selector.matchLabels` to the labels of the template"));
        } else if !selector.matches(&labels) {
            let error = selector_at.error("the selector does not match the labels of the template");
            collected.errors.push(error.help("the API server refuses this: make `spec.template.metadata.labels` match"));
        }
        Workload {
            kind: self.kind,
            meta,
            replicas: u32::try_from(replicas).unwrap_or(0),
            selector,
            template_labels: labels,
            template_annotations: template_meta.annotations.unwrap_or_default(),
            template: pod::spec(template.spec.unwrap_or_default(), &template_at.field("spec"), collected),
            service_name: self.service_name.filter(|name| !name.is_empty()),
            first_ordinal: u32::try_from(self.first_ordinal.unwrap_or(0)).unwrap_or(0),
        }
    }
}
