//! How a question ended: one class, one code, the kernel's reason, and what the application sees.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The class of an outcome.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeClass {
    /// It arrived, and an answer came back.
    #[serde(alias = "Delivered")]
    Delivered,
    /// Somebody said no: a reset, or an ICMP error.
    #[serde(alias = "Rejected")]
    Rejected,
    /// It, or the answer, ended on the way.
    #[serde(alias = "Dropped")]
    Dropped,
    /// It left what pktlab knows.
    #[serde(alias = "LeftModel")]
    LeftModel,
    /// It went in a circle.
    #[serde(alias = "Looped")]
    Looped,
    /// The name has no address.
    #[serde(alias = "Unresolved")]
    Unresolved,
    /// It met something that is not modelled.
    #[serde(alias = "Unsupported")]
    Unsupported,
}

impl OutcomeClass {
    /// All of them.
    pub const ALL: [OutcomeClass; 7] = [
        OutcomeClass::Delivered,
        OutcomeClass::Rejected,
        OutcomeClass::Dropped,
        OutcomeClass::LeftModel,
        OutcomeClass::Looped,
        OutcomeClass::Unresolved,
        OutcomeClass::Unsupported,
    ];

    /// The word, as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            OutcomeClass::Delivered => "delivered",
            OutcomeClass::Rejected => "rejected",
            OutcomeClass::Dropped => "dropped",
            OutcomeClass::LeftModel => "left_model",
            OutcomeClass::Looped => "looped",
            OutcomeClass::Unresolved => "unresolved",
            OutcomeClass::Unsupported => "unsupported",
        }
    }
}

impl fmt::Display for OutcomeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What came of a question.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Answer {
    /// The question's name.
    pub name: String,
    /// Who asked.
    pub from: String,
    /// Whom.
    pub to: String,
    /// How.
    pub proto: crate::question::Proto,
    /// How it ended.
    pub outcome: OutcomeClass,
    /// The stable code: `pktlab explain` has a page for it.
    pub code: &'static str,
    /// The kernel's word, where a packet was dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the application sees.
    pub symptom: String,
    /// HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Who got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_to: Option<DeliveredTo>,
    /// The source address that the receiver sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_seen: Option<std::net::IpAddr>,
    /// Whether that is another one than it was sent from.
    pub masqueraded: bool,
    /// What a Service can pick, with `--explore`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointShare>,
    /// The rules that changed the packet's fate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decided_by: Vec<DecidedBy>,
    /// Where it ended, if not at its goal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<EndedAt>,
    /// What to collect to follow it further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collect: Option<String>,
    /// What the answer rests on besides the input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assumptions: Vec<String>,
    /// What was expected and does not hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<String>,
    /// Whether the expectation holds; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
}

/// Who got a packet.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct DeliveredTo {
    /// Its node, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its Kubernetes namespace, for pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name, for pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Its network namespace.
    pub netns: String,
    /// The address that it was delivered to.
    pub ip: std::net::IpAddr,
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// One endpoint that can be picked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EndpointShare {
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<std::net::IpAddr>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The pod, as `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// `1/3`.
    pub probability: String,
    /// How a question that goes there ends.
    pub outcome: OutcomeClass,
}

/// A rule that changed the packet's fate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DecidedBy {
    /// Network namespace.
    pub netns: String,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// Number in its chain, from 1; absent for a policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The rule.
    pub rule: String,
    /// What it decided.
    pub verdict: &'static str,
    /// Who made it, for which object, from which place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
}

/// Where a packet ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EndedAt {
    /// Network namespace.
    pub netns: String,
    /// Device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Which packet.
    pub packet: String,
    /// Why that packet exists: `original`, `reply`, ...
    pub cause: &'static str,
}

impl DeliveredTo {
    /// `pod default/web-1 (10.244.1.2:8080) on kind-worker`.
    pub fn describe(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let address = if self.ip.is_ipv4() || self.port.is_none() { self.ip.to_string() } else { format!("[{}]", self.ip) };
        match (&self.namespace, &self.pod, &self.node) {
            (Some(namespace), Some(pod), Some(node)) => format!("pod {namespace}/{pod} ({address}{port}) on {node}"),
            (_, _, Some(node)) => format!("node {node} ({address}{port})"),
            _ => format!("{} ({address}{port})", self.netns),
        }
    }
}
