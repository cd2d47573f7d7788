//! k8s-model
