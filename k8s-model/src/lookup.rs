//! Finding the nodes, pods and Services of a cluster by the names that a person types.

use std::net::IpAddr;

use crate::api::Service;
use crate::cluster::{Cluster, ClusterNode, ClusterPod, PodState};

impl Cluster {
    /// A node by its name.
    pub fn node(&self, name: &str) -> Option<&ClusterNode> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// A pod by its name; where no pod has it, the first running pod of the workload of that name.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&ClusterPod> {
        let mut here = self.pods.iter().filter(|pod| pod.meta.namespace == namespace);
        let exact = here.clone().find(|pod| pod.meta.name == name);
        exact.or_else(|| {
            here.find(|pod| pod.state == PodState::Running && pod.workload.as_ref().is_some_and(|workload| workload.name == name))
        })
    }

    /// The pod with an address; pods on the host's network have none of their own.
    pub fn pod_by_ip(&self, ip: IpAddr) -> Option<&ClusterPod> {
        self.pods.iter().find(|pod| pod.has_netns() && pod.ips.contains(&ip))
    }

    /// The node with an address.
    pub fn node_by_ip(&self, ip: IpAddr) -> Option<&ClusterNode> {
        self.nodes.iter().find(|node| node.ips.contains(&ip))
    }

    /// A Service by its name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        let found = self.services.binary_search_by(|service| service.meta.key().cmp(&(namespace, name)));
        found.ok().map(|index| &self.services[index])
    }

    /// The Service with an address: clusterIP, external address or that of a load balancer.
    pub fn service_by_ip(&self, ip: IpAddr) -> Option<&Service> {
        self.services.iter().find(|service| {
            service.cluster_ips.addresses().contains(&ip)
                || service.external_ips.contains(&ip)
                || service.lb_ingress.iter().any(|ingress| ingress.ip == Some(ip))
        })
    }

    /// The network namespace of a pod: its own, `NAMESPACE/NAME`, or that of its node; none if it does not run.
    pub fn netns_of(&self, pod: &ClusterPod) -> Option<String> {
        match pod.state {
            PodState::Running if pod.spec.host_network => pod.node.clone(),
            PodState::Running if pod.has_netns() => Some(pod.meta.full_name()),
            _ => None,
        }
    }
}
