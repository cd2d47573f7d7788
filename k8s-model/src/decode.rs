//! Documents to objects: the one module that knows the upstream types.
//!
//! - [`kinds`]: which kinds have an effect, which have none and why.
//! - `place`: a node, its file and its path, for positions and messages.
//! - `meta`, `pod`, `workload`, `service`, `endpoints`, `node`: upstream type to [`crate::api`].
//!
//! Each document is read into its k8s-openapi type (that finds wrong types and unknown fields) and converted at once.
//! Deliberately elsewhere: what the control plane would default or allocate is in [`crate::controllers`].

use std::sync::Arc;

use k8s_openapi::api::{apps, batch, core, discovery, networking};
use serde::de::DeserializeOwned;

use crate::api::{Objects, WorkloadKind};
use crate::error::{InputError, Origin};
use crate::report::{Effect, LoadReport, Note, ObjectReport};
use crate::yaml::{self, Limits, Node, Value};

mod endpoints;
pub mod kinds;
mod meta;
mod node;
mod place;
mod pod;
mod service;
#[cfg(test)]
mod tests;
mod workload;

pub use meta::{parse_cidr, parse_ip};
use place::{Collected, Place};

/// What the files hold, and what is to be said about it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifests {
    /// The objects with an effect.
    pub objects: Objects,
    /// Every object, with its effect; unknown fields; warnings.
    pub report: LoadReport,
}

/// Reads files one after another; the errors of all are collected.
#[derive(Debug, Default)]
pub struct Decoder {
    /// What was read so far.
    pub manifests: Manifests,
    /// What was wrong so far.
    pub errors: Vec<InputError>,
}

/// How a document that is not a Kubernetes object is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// It was named: an error.
    Refuse,
    /// It was found in a directory: a warning.
    Warn,
}

/// The document at hand.
#[derive(Debug, Clone, Copy)]
struct Doc<'a> {
    file: &'a Arc<str>,
    text: &'a str,
    node: &'a Node,
    api_version: &'a str,
    kind: &'a str,
}

impl Decoder {
    /// Reads the text of one file.
    pub fn read(&mut self, file: &Arc<str>, text: &str, limits: Limits, stranger: Stranger) {
        self.manifests.report.file(file);
        match yaml::parse(file, text, limits) {
            Ok(documents) => {
                for document in &documents {
                    self.document(file, text, document, stranger);
                }
            }
            Err(error) => self.errors.push(error),
        }
    }

    fn document(&mut self, file: &Arc<str>, text: &str, node: &Node, stranger: Stranger) {
        let api_version = node.field("apiVersion").and_then(Node::as_str).unwrap_or_default();
        let kind = node.field("kind").and_then(Node::as_str).unwrap_or_default();
        if kind.is_empty() || api_version.is_empty() {
            let missing = match (kind.is_empty(), api_version.is_empty()) {
                (true, true) => "kind and apiVersion are missing",
                (true, false) => "kind is missing",
                (false, _) => "apiVersion is missing",
            };
            return self.not_an_object(file, text, node, missing, stranger);
        }
        let items = node.field("items").filter(|_| kind == "List" || kind.ends_with("List"));
        match items {
            Some(Node { value: Value::Seq(items), .. }) => {
                // The items of a typed list (`PodList`) may leave out what the list says.
                let item_kind = kind.strip_suffix("List").unwrap_or_default();
                for item in items {
                    let of = |name: &str| item.field(name).and_then(Node::as_str);
                    let kind = of("kind").unwrap_or(item_kind);
                    let api_version = of("apiVersion").unwrap_or(if item_kind.is_empty() { "" } else { api_version });
                    if kind.is_empty() || api_version.is_empty() {
                        self.not_an_object(file, text, item, "kind or apiVersion of a list's item is missing", stranger);
                    } else {
                        self.object(Doc { file, text, node: item, api_version, kind });
                    }
                }
            }
            Some(Node { value: Value::Null, .. }) => {}
            _ => self.object(Doc { file, text, node, api_version, kind }),
        }
    }

    fn not_an_object(&mut self, file: &Arc<str>, text: &str, node: &Node, missing: &str, stranger: Stranger) {
        let message = format!("this is not a Kubernetes object: {missing}");
        match stranger {
            Stranger::Refuse => {
                let error = InputError { pos: node.pos, ..InputError::whole(&**file, message) };
                self.errors.push(error.help("every object starts with `apiVersion:` and `kind:`").quote(text));
            }
            Stranger::Warn => {
                let note = Note { pos: node.pos, path: String::new(), text: message, matters: false };
                self.manifests.report.file(file).warnings.push(note);
            }
        }
    }

    fn object(&mut self, doc: Doc<'_>) {
        use WorkloadKind as W;
        match (doc.api_version, doc.kind) {
            ("v1", "Pod") => self.take::<core::v1::Pod>(doc, |m, v, at, c| {
                let pod = pod::pod(v, at, c);
                replace(&mut m.objects.pods, pod, |pod| &pod.meta)
            }),
            ("apps/v1", "Deployment") => self.take::<apps::v1::Deployment>(doc, |m, v, at, c| {
                let spec = v.spec.unwrap_or_default();
                let made = workload::Parts::new(W::Deployment, v.metadata, spec.replicas, Some(spec.selector));
                keep_workload(m, made.with_template(Some(spec.template)).build(at, c))
            }),
            ("apps/v1", "ReplicaSet") => self.take::<apps::v1::ReplicaSet>(doc, |m, v, at, c| {
                let spec = v.spec.unwrap_or_default();
                let made = workload::Parts::new(W::ReplicaSet, v.metadata, spec.replicas, Some(spec.selector));
                keep_workload(m, made.with_template(spec.template).build(at, c))
            }),
            ("v1", "ReplicationController") => self.take::<core::v1::ReplicationController>(doc, |m, v, at, c| {
                let spec = v.spec.unwrap_or_default();
                let selector = spec.selector.map(meta::labels_selector);
                let made = workload::Parts::new(W::ReplicationController, v.metadata, spec.replicas, selector);
                keep_workload(m, made.with_template(spec.template).build(at, c))
            }),
            ("apps/v1", "StatefulSet") => self.take::<apps::v1::StatefulSet>(doc, |m, v, at, c| {
                let spec = v.spec.unwrap_or_default();
                let mut made = workload::Parts::new(W::StatefulSet, v.metadata, spec.replicas, Some(spec.selector));
                made.service_name = spec.service_name;
                made.first_ordinal = spec.ordinals.and_then(|ordinals| ordinals.start);
                keep_workload(m, made.with_template(Some(spec.template)).build(at, c))
            }),
            ("apps/v1", "DaemonSet") => self.take::<apps::v1::DaemonSet>(doc, |m, v, at, c| {
                let spec = v.spec.unwrap_or_default();
                let made = workload::Parts::new(W::DaemonSet, v.metadata, None, Some(spec.selector));
                keep_workload(m, made.with_template(Some(spec.template)).build(at, c))
            }),
            ("batch/v1", "Job") => self.take::<batch::v1::Job>(doc, |m, v, at, c| {
                let spec = v.spec.unwrap_or_default();
                let finished = v.status.is_some_and(|status| status.completion_time.is_some());
                let at_once = spec.parallelism.unwrap_or(1).min(spec.completions.unwrap_or(i32::MAX));
                let pods = if spec.suspend == Some(true) || finished { 0 } else { at_once };
                let mut made = workload::Parts::new(W::Job, v.metadata, Some(pods), spec.selector);
                made.own_labels = true;
                keep_workload(m, made.with_template(Some(spec.template)).build(at, c))
            }),
            ("v1", "Service") => self.take::<core::v1::Service>(doc, |m, v, at, c| {
                let service = service::service(v, at, c);
                replace(&mut m.objects.services, service, |service| &service.meta)
            }),
            ("v1", "Endpoints") => self.take::<core::v1::Endpoints>(doc, |m, v, at, c| {
                let endpoints = endpoints::endpoints(v, at, c);
                replace(&mut m.objects.endpoints, endpoints, |endpoints| &endpoints.meta)
            }),
            ("discovery.k8s.io/v1", "EndpointSlice") => self.take::<discovery::v1::EndpointSlice>(doc, |m, v, at, c| {
                let slice = endpoints::slice(v, at, c);
                replace(&mut m.objects.slices, slice, |slice| &slice.meta)
            }),
            ("v1", "Node") => self.take::<core::v1::Node>(doc, |m, v, at, c| {
                let node = node::node(v, at, c);
                replace(&mut m.objects.nodes, node, |node| &node.meta)
            }),
            ("v1", "Namespace") => self.take::<core::v1::Namespace>(doc, |m, v, at, c| {
                let namespace = node::namespace(v, at, c);
                replace(&mut m.objects.namespaces, namespace, |namespace| &namespace.meta)
            }),
            // Without effect, but read, so that wrong types and misspelt fields are found.
            ("v1", "ConfigMap") => self.check::<core::v1::ConfigMap>(doc),
            ("v1", "Secret") => self.check::<core::v1::Secret>(doc),
            ("v1", "ServiceAccount") => self.check::<core::v1::ServiceAccount>(doc),
            ("batch/v1", "CronJob") => self.check::<batch::v1::CronJob>(doc),
            ("networking.k8s.io/v1", "NetworkPolicy") => self.check::<networking::v1::NetworkPolicy>(doc),
            ("networking.k8s.io/v1", "Ingress") => self.check::<networking::v1::Ingress>(doc),
            ("networking.k8s.io/v1", "IngressClass") => self.check::<networking::v1::IngressClass>(doc),
            _ => {
                let report = self.report_of(doc, kinds::effect(doc.api_version, doc.kind));
                self.manifests.report.file(doc.file).objects.push(report);
            }
        }
    }

    /// Reads a kind that has an effect, and keeps it.
    fn take<T: DeserializeOwned>(
        &mut self,
        doc: Doc<'_>,
        keep: impl FnOnce(&mut Manifests, T, &Place<'_>, &mut Collected) -> Option<Origin>,
    ) {
        let Some(value) = self.typed::<T>(doc) else { return };
        let place = Place::new(doc.file, doc.node);
        let mut collected = Collected::default();
        let earlier = keep(&mut self.manifests, value, &place, &mut collected);
        self.errors.extend(collected.errors.into_iter().map(|error| error.quote(doc.text)));
        let mut report = self.report_of(doc, Effect::Used);
        report.unused = collected.unused;
        let again = earlier.map(|at| format!("{report} is defined again; this one replaces the one at {at}"));
        let file = self.manifests.report.file(doc.file);
        file.objects.push(report);
        if let Some(text) = again {
            file.warnings.push(Note { pos: doc.node.pos, path: String::new(), text, matters: false });
        }
    }

    /// Reads a kind that has no effect, for its mistakes only.
    fn check<T: DeserializeOwned>(&mut self, doc: Doc<'_>) {
        if self.typed::<T>(doc).is_some() {
            let report = self.report_of(doc, kinds::effect(doc.api_version, doc.kind));
            self.manifests.report.file(doc.file).objects.push(report);
        }
    }

    fn typed<T: DeserializeOwned>(&mut self, doc: Doc<'_>) -> Option<T> {
        // The items of a typed list may lack what their type asks for.
        let completed = complete(doc);
        match yaml::from_node::<T>(completed.as_ref().unwrap_or(doc.node)) {
            Ok((value, unknown)) => {
                let warnings = &mut self.manifests.report.file(doc.file).warnings;
                warnings.extend(unknown.into_iter().map(|field| {
                    let text = match field.meant {
                        Some(meant) => format!("unknown field of {}: did you mean `{meant}`?", doc.kind),
                        None => format!("unknown field of {}", doc.kind),
                    };
                    Note { pos: field.pos, path: field.path, text, matters: true }
                }));
                Some(value)
            }
            Err(wrong) => {
                let message = format!("{} of {}", wrong.message, doc.kind);
                let error = InputError { pos: wrong.pos, path: wrong.path, ..InputError::whole(&**doc.file, message) };
                self.errors.push(error.quote(doc.text));
                None
            }
        }
    }

    fn report_of(&self, doc: Doc<'_>, effect: Effect) -> ObjectReport {
        let metadata = doc.node.field("metadata");
        let of = |name: &str| metadata.and_then(|metadata| metadata.field(name)).and_then(Node::as_str).map(str::to_owned);
        let namespace = match kinds::scope(doc.api_version, doc.kind) {
            kinds::Scope::Cluster => None,
            kinds::Scope::Namespaced => Some(of("namespace").unwrap_or_else(|| "default".to_owned())),
            kinds::Scope::Unknown => of("namespace"),
        };
        ObjectReport {
            api_version: doc.api_version.to_owned(),
            kind: doc.kind.to_owned(),
            namespace,
            name: of("name").or_else(|| of("generateName")).unwrap_or_default(),
            pos: doc.node.pos,
            effect,
            unused: Vec::new(),
        }
    }
}

/// The item with the `kind` and `apiVersion` of its list, where it leaves them out.
fn complete(doc: Doc<'_>) -> Option<Node> {
    let Value::Map(entries) = &doc.node.value else { return None };
    let lacks = |name: &str| doc.node.field(name).is_none();
    if !lacks("kind") && !lacks("apiVersion") {
        return None;
    }
    let mut entries = entries.clone();
    for (name, value) in [("kind", doc.kind), ("apiVersion", doc.api_version)] {
        if lacks(name) {
            let key = yaml::Key { name: name.to_owned(), pos: doc.node.pos };
            entries.push((key, Node { pos: doc.node.pos, value: Value::Str(value.to_owned()) }));
        }
    }
    Some(Node { pos: doc.node.pos, value: Value::Map(entries) })
}

/// Keeps an object; one of the same name is replaced, and its place returned.
fn replace<T>(objects: &mut Vec<T>, object: T, meta: fn(&T) -> &crate::api::Meta) -> Option<Origin> {
    match objects.iter().position(|have| meta(have).key() == meta(&object).key()) {
        Some(index) => {
            let replaced = std::mem::replace(&mut objects[index], object);
            Some(meta(&replaced).origin.clone())
        }
        None => {
            objects.push(object);
            None
        }
    }
}

fn keep_workload(manifests: &mut Manifests, made: crate::api::Workload) -> Option<Origin> {
    let workloads = &mut manifests.objects.workloads;
    match workloads.iter().position(|have| have.kind == made.kind && have.meta.key() == made.meta.key()) {
        Some(index) => {
            let replaced = std::mem::replace(&mut workloads[index], made);
            Some(replaced.meta.origin)
        }
        None => {
            workloads.push(made);
            None
        }
    }
}
