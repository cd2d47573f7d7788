//! Which kinds have an effect on packets, which have none and why, and which pktlab does not model.

use crate::report::Effect;

/// Whether objects of a kind live in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// They do.
    Namespaced,
    /// They do not.
    Cluster,
    /// A kind that pktlab does not know.
    Unknown,
}

/// Kinds of the cluster itself, by name: all groups that Kubernetes ships.
const CLUSTER_SCOPED: [&str; 28] = [
    "APIService",
    "CSIDriver",
    "CSINode",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "ComponentStatus",
    "CustomResourceDefinition",
    "DeviceClass",
    "FlowSchema",
    "IPAddress",
    "IngressClass",
    "MutatingAdmissionPolicy",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PodSecurityPolicy",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "ResourceSlice",
    "RuntimeClass",
    "ServiceCIDR",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
];

/// Where objects of this kind live.
pub fn scope(api_version: &str, kind: &str) -> Scope {
    let group = group(api_version);
    let shipped = !group.contains('.') || group.ends_with(".k8s.io");
    if shipped && CLUSTER_SCOPED.contains(&kind) {
        Scope::Cluster
    } else if shipped && !api_version.ends_with(".x-k8s.io/v1alpha4") {
        Scope::Namespaced
    } else {
        Scope::Unknown
    }
}

fn group(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
}

/// What an object that is not turned into network has for an effect.
pub fn effect(api_version: &str, kind: &str) -> Effect {
    let none = |why: &str| Effect::None(why.to_owned());
    let missing = |why: &str| Effect::NotModelled(why.to_owned());
    match (group(api_version), kind) {
        ("", "ConfigMap" | "Secret") => none("configuration that containers read"),
        ("", "ServiceAccount") => none("identity, not network"),
        ("", "PersistentVolume" | "PersistentVolumeClaim") => none("storage; volumes are taken as bound"),
        ("", "LimitRange" | "ResourceQuota") => none("resource limits are not enforced"),
        ("", "Event" | "ComponentStatus" | "Binding" | "PodTemplate") => none("a record, not network"),
        ("batch", "CronJob") => none("it starts pods at a time of day; add the Job, or the pod, that it starts"),
        ("networking.k8s.io", "NetworkPolicy") => missing("policy is not enforced: traffic that it forbids passes here"),
        ("networking.k8s.io", "Ingress") => missing("no ingress controller is modelled: ask the Service behind it"),
        ("networking.k8s.io", "IngressClass") => none("it names an ingress controller"),
        ("networking.k8s.io", "ServiceCIDR" | "IPAddress") => missing("Service ranges come from --service-cluster-ip-range"),
        ("policy.networking.k8s.io", _) => missing("policy is not enforced: traffic that it forbids passes here"),
        ("gateway.networking.k8s.io", _) => missing("no gateway controller is modelled"),
        ("rbac.authorization.k8s.io", _) => none("permissions, not network"),
        ("storage.k8s.io", _) => none("storage"),
        ("policy", "PodDisruptionBudget" | "PodSecurityPolicy") => none("admission and eviction, not network"),
        ("scheduling.k8s.io" | "node.k8s.io" | "resource.k8s.io", _) => none("scheduling, not network"),
        ("autoscaling", _) => none("replicas stay as the workload says"),
        ("admissionregistration.k8s.io", _) => missing("webhooks are not called: they may change pods on a real cluster"),
        ("apiextensions.k8s.io", _) => none("it declares a kind"),
        ("apiregistration.k8s.io" | "coordination.k8s.io" | "flowcontrol.apiserver.k8s.io", _) => {
            none("the API server's own business")
        }
        ("certificates.k8s.io" | "events.k8s.io" | "authentication.k8s.io" | "authorization.k8s.io", _) => {
            none("the API server's own business")
        }
        ("kind.x-k8s.io", _) => none("the configuration of kind itself; here --nodes, --cni and the cluster's flags"),
        ("kustomize.config.k8s.io", _) => none("a recipe for kustomize; give what `kubectl kustomize` prints"),
        ("kubeadm.k8s.io" | "kubelet.config.k8s.io" | "kubeproxy.config.k8s.io", _) => {
            none("a component's configuration; here the cluster's flags")
        }
        _ if served_version(kind).is_some() => {
            let served = served_version(kind).unwrap_or_default();
            missing(&format!("Kubernetes 1.35 does not serve {api_version} {kind}; write `apiVersion: {served}`"))
        }
        (group, _) if touches_network(group) => missing("a kind of an add-on that is not modelled and touches the network"),
        (group, kind) if !group.contains('.') => missing(&format!("Kubernetes 1.35 has no kind {kind} in {api_version}")),
        _ => none("a custom kind that pktlab does not know"),
    }
}

/// The apiVersion under which a kind with an effect is served, for those who wrote another.
fn served_version(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Pod" | "Service" | "Endpoints" | "Node" | "Namespace" | "ReplicationController" => "v1",
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => "apps/v1",
        "Job" | "CronJob" => "batch/v1",
        "EndpointSlice" => "discovery.k8s.io/v1",
        "Ingress" | "IngressClass" | "NetworkPolicy" => "networking.k8s.io/v1",
        _ => return None,
    })
}

/// Groups of add-ons whose objects change where packets go.
fn touches_network(group: &str) -> bool {
    const SUFFIXES: [&str; 14] = [
        "antrea.io",
        "antrea.tanzu.vmware.com",
        "cilium.io",
        "consul.hashicorp.com",
        "elbv2.k8s.aws",
        "k8s.cni.cncf.io",
        "k8s.ovn.org",
        "kubeovn.io",
        "linkerd.io",
        "metallb.io",
        "metallb.universe.tf",
        "networking.istio.io",
        "projectcalico.org",
        "security.istio.io",
    ];
    SUFFIXES.iter().any(|suffix| group == *suffix || group.ends_with(&format!(".{suffix}")))
}
