//! Who reaches whom: every pod (or namespace) asks every Service and every pod that listens.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use sim_core::TraceMode;
use stack::app::L4;

use crate::ends::{End, EndKind, Port};
use crate::load::Loaded;
use crate::outcome::OutcomeClass;
use crate::problem::{Problem, Problems};
use crate::question::{Proto, Question};
use crate::report::{MODEL, Model};

/// More cells than this are refused.
const MAX_CELLS: usize = 250_000;

/// The JSON document of a matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matrix {
    /// `pktlab.matrix/1`.
    pub schema: &'static str,
    /// What is modelled.
    pub model: Model,
    /// The seed.
    pub seed: u64,
    /// Who asks, in order.
    pub sources: Vec<String>,
    /// Whom, in order.
    pub destinations: Vec<String>,
    /// One row for each source.
    pub cells: Vec<Vec<Cell>>,
    /// What the answers rest on besides the input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assumptions: Vec<String>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// How it ended.
    pub outcome: OutcomeClass,
    /// The stable code.
    pub code: &'static str,
    /// The kernel's word, where a packet was dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the application sees.
    pub symptom: String,
}

/// Asks everything, in one network.
///
/// # Errors
/// The network cannot be built, or has nobody to ask.
pub fn matrix(loaded: &Loaded) -> Result<Matrix, Problems> {
    let mut world = loaded.converged(TraceMode::Headers)?;
    let mut sources: Vec<End> = Vec::new();
    let mut destinations: Vec<(End, Proto)> = Vec::new();
    let plain = |kind: EndKind| End { cluster: None, kind };
    match &world.cluster {
        Some(cluster) => {
            let system = |namespace: &str| namespace == "kube-system";
            for pod in cluster.pods.iter().filter(|pod| pod.has_netns() && !system(&pod.meta.namespace)) {
                let (namespace, name) = (pod.meta.namespace.clone(), pod.meta.name.clone());
                sources.push(plain(EndKind::Pod { namespace, name, port: None }));
            }
            for service in cluster.services.iter().filter(|service| service.external_name.is_none() && !service.is_headless()) {
                for port in &service.ports {
                    let Some(proto) = proto(port.protocol) else { continue };
                    let (namespace, name) = (service.meta.namespace.clone(), service.meta.name.clone());
                    let kind = EndKind::Service { namespace, name, port: Some(Port::Number(port.port)) };
                    destinations.push((plain(kind), proto));
                }
            }
            let mut ports: BTreeMap<&str, Vec<(u16, L4)>> = BTreeMap::new();
            for (netns, server) in &world.servers {
                ports.entry(netns).or_default().push((server.port, server.l4));
            }
            for pod in cluster.pods.iter().filter(|pod| pod.has_netns() && !system(&pod.meta.namespace)) {
                let mut open = ports.get(pod.meta.full_name().as_str()).cloned().unwrap_or_default();
                open.sort_unstable();
                for (port, l4) in open {
                    let (namespace, name) = (pod.meta.namespace.clone(), pod.meta.name.clone());
                    let kind = EndKind::Pod { namespace, name, port: Some(Port::Number(port)) };
                    destinations.push((plain(kind), if l4 == L4::Udp { Proto::Udp } else { Proto::Tcp }));
                }
            }
        }
        None => {
            for (name, _) in world.network.names() {
                let kind = EndKind::Netns { name: name.to_owned(), port: None };
                sources.push(plain(kind.clone()));
                destinations.push((plain(kind), Proto::Icmp));
            }
        }
    }
    if sources.is_empty() {
        return Err(Problem::whole("matrix", "there is no pod that could ask")
            .help("give manifests with -f, or a scenario with -s")
            .into());
    }
    if sources.len() * destinations.len() > MAX_CELLS {
        let message = format!("{} sources times {} destinations are more than {MAX_CELLS}", sources.len(), destinations.len());
        return Err(Problem::whole("matrix", message).help("ask with `probe` about those that matter").into());
    }
    let mut cells = Vec::new();
    for from in &sources {
        let mut row = Vec::new();
        for (to, proto) in &destinations {
            let question = Question { proto: Some(*proto), ..Question::new(from.clone(), to.clone()) };
            let answer = world.ask(&question)?.answer;
            row.push(Cell { outcome: answer.outcome, code: answer.code, reason: answer.reason, symptom: answer.symptom });
        }
        cells.push(row);
    }
    Ok(Matrix {
        schema: "pktlab.matrix/1",
        model: MODEL,
        seed: loaded.seed,
        sources: sources.iter().map(End::to_string).collect(),
        destinations: destinations
            .iter()
            .map(|(end, proto)| if *proto == Proto::Udp { format!("{end} (udp)") } else { end.to_string() })
            .collect(),
        cells,
        assumptions: world.not_modelled(),
    })
}

fn proto(protocol: k8s_model::api::service::Protocol) -> Option<Proto> {
    match protocol {
        k8s_model::api::service::Protocol::Tcp => Some(Proto::Tcp),
        k8s_model::api::service::Protocol::Udp => Some(Proto::Udp),
        k8s_model::api::service::Protocol::Sctp => None,
    }
}

impl Matrix {
    /// A table: a letter for each answer, columns by number.
    pub fn text(&self) -> String {
        let width = self.sources.iter().map(String::len).max().unwrap_or(0);
        let mut text = String::new();
        for (at, destination) in self.destinations.iter().enumerate() {
            let _ = writeln!(text, "{:>width$}  {:>3}  {destination}", if at == 0 { "to" } else { "" }, at + 1);
        }
        let _ = write!(text, "\n{:<width$}  ", "from");
        for at in 1..=self.destinations.len() {
            let _ = write!(text, "{at:>4}");
        }
        text.push('\n');
        for (source, row) in self.sources.iter().zip(&self.cells) {
            let _ = write!(text, "{source:<width$}  ");
            for cell in row {
                let _ = write!(text, "{:>4}", letter(cell.outcome));
            }
            text.push('\n');
        }
        text.push_str(
            "\n.  delivered   R  rejected   X  dropped   ?  left the model   O  looped   N  unresolved   !  not modelled\n",
        );
        let mut other: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for cell in self.cells.iter().flatten().filter(|cell| cell.outcome != OutcomeClass::Delivered) {
            *other.entry((cell.code, cell.symptom.as_str())).or_default() += 1;
        }
        for ((code, symptom), count) in other {
            let title = crate::code::page(code).map_or("", |page| page.title);
            let _ = writeln!(text, "{count:>4} times {code} {title}: {symptom}");
        }
        for assumption in &self.assumptions {
            let _ = writeln!(text, "{assumption}");
        }
        text
    }

    /// 3 where something rests on what is not modelled.
    pub fn exit_code(&self) -> u8 {
        let unsupported = self.cells.iter().flatten().any(|cell| cell.outcome == OutcomeClass::Unsupported);
        if unsupported || !self.assumptions.is_empty() { 3 } else { 0 }
    }
}

fn letter(outcome: OutcomeClass) -> char {
    match outcome {
        OutcomeClass::Delivered => '.',
        OutcomeClass::Rejected => 'R',
        OutcomeClass::Dropped => 'X',
        OutcomeClass::LeftModel => '?',
        OutcomeClass::Looped => 'O',
        OutcomeClass::Unresolved => 'N',
        OutcomeClass::Unsupported => '!',
    }
}
