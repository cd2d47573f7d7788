//! Names of chains: a prefix, and 16 characters of a hash, since iptables allows 28.

use data_encoding::BASE32;
use sha2::{Digest, Sha256};

use crate::api::Protocol;

/// Characters of the hash that a name keeps.
const HASH_CHARS: usize = 16;

/// What a chain of a Service port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// `KUBE-SVC-`: spreads over the endpoints of policy Cluster.
    Cluster,
    /// `KUBE-SVL-`: spreads over the endpoints of policy Local.
    Local,
    /// `KUBE-EXT-`: traffic from outside.
    External,
    /// `KUBE-FW-`: `loadBalancerSourceRanges`.
    Firewall,
}

/// The chain of a Service port; `name` is `namespace/name:port`, or `namespace/name` for a port without a name.
pub fn service_chain(kind: ChainKind, name: &str, protocol: Protocol) -> String {
    let prefix = match kind {
        ChainKind::Cluster => "KUBE-SVC-",
        ChainKind::Local => "KUBE-SVL-",
        ChainKind::External => "KUBE-EXT-",
        ChainKind::Firewall => "KUBE-FW-",
    };
    format!("{prefix}{}", hash(&format!("{name}{}", protocol.lower())))
}

/// The chain of an endpoint of a Service port; `endpoint` is `ip:port`, `[ip]:port` for IPv6.
pub fn endpoint_chain(name: &str, protocol: Protocol, endpoint: &str) -> String {
    format!("KUBE-SEP-{}", hash(&format!("{name}{}{endpoint}", protocol.lower())))
}

fn hash(text: &str) -> String {
    let mut encoded = BASE32.encode(&Sha256::digest(text.as_bytes()));
    encoded.truncate(HASH_CHARS);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_real_nodes() {
        let svc = |name, protocol| service_chain(ChainKind::Cluster, name, protocol);
        assert_eq!(svc("kube-system/kube-dns:dns", Protocol::Udp), "KUBE-SVC-TCOU7JCQXEZGVUNU");
        assert_eq!(svc("kube-system/kube-dns:dns-tcp", Protocol::Tcp), "KUBE-SVC-ERIFXISQEP7F7OF4");
        assert_eq!(svc("kube-system/kube-dns:metrics", Protocol::Tcp), "KUBE-SVC-JD5MR3NA4I4DYORP");
        assert_eq!(svc("default/kubernetes:https", Protocol::Tcp), "KUBE-SVC-NPX46M4PTMTKRN6Y");
        let sep = endpoint_chain;
        assert_eq!(sep("kube-system/kube-dns:dns", Protocol::Udp, "10.244.0.3:53"), "KUBE-SEP-6E7XQMQ4RAYOWTTM");
        assert_eq!(sep("kube-system/kube-dns:dns-tcp", Protocol::Tcp, "10.244.0.2:53"), "KUBE-SEP-IT2ZTR26TO4XFPTO");
        assert_eq!(sep("default/kubernetes:https", Protocol::Tcp, "172.18.0.3:6443"), "KUBE-SEP-QKX4QX54UKWK6JIY");
    }
}
