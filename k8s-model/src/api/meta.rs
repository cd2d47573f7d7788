//! What every object has: a name, labels, owners; and the selectors that look for them.

use std::collections::BTreeMap;

use crate::error::Origin;

/// `metadata`, and where the object was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The namespace; empty for kinds that have none.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Who made it: the controller among its `ownerReferences`.
    pub owner: Option<Owner>,
    /// Whether `deletionTimestamp` is set: it is going away.
    pub deleting: bool,
    /// Whether it has a `uid`: it was read from a running cluster, which has accepted it.
    pub live: bool,
    /// Where it stands.
    pub origin: Origin,
}

/// The controller that made an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Meta {
    /// The metadata of something that a part of the cluster makes.
    pub fn made(by: &str, namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            owner: None,
            deleting: false,
            live: false,
            origin: Origin::made(by),
        }
    }

    /// `namespace/name`.
    pub fn key(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }

    /// `namespace/name`, as kube-proxy and kubectl print it.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// A label selector; the empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// `matchLabels`, or the whole of a Service's selector.
    pub labels: BTreeMap<String, String>,
    /// `matchExpressions`.
    pub expressions: Vec<(String, Requirement)>,
}

/// The operator of a `matchExpressions` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// The label has one of these values.
    In(Vec<String>),
    /// The label is absent or has another value.
    NotIn(Vec<String>),
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

impl Selector {
    /// Whether these labels are selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|(key, requirement)| match requirement {
                Requirement::In(values) => labels.get(key).is_some_and(|have| values.contains(have)),
                Requirement::NotIn(values) => labels.get(key).is_none_or(|have| !values.contains(have)),
                Requirement::Exists => labels.contains_key(key),
                Requirement::DoesNotExist => !labels.contains_key(key),
            })
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.expressions.is_empty()
    }
}
