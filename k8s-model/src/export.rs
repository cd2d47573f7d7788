//! `export rules`: the rules of a node as text: as kube-proxy writes them, all that the node has, or as the kernel gives them
//! back.

use std::fmt::Write as _;

use stack::{Network, TraceMode};

use crate::cluster::Cluster;
use crate::error::{InputError, InputErrors};
use crate::network::{ApplyError, PlanCommand};
use crate::node_rules::{FULL_SYNC, RuleSet, node_rules};
use crate::provenance::by;

/// What kube-proxy writes on a node for a family (4 or 6) in a full sync, byte for byte: `export rules --form restore`.
///
/// # Errors
/// There is no such node.
pub fn export_rules(cluster: &Cluster, node: &str, family: u8) -> Result<String, InputErrors> {
    let sets = rules_of(cluster, node)?;
    Ok(sets.iter().filter(|set| set.title == FULL_SYNC && set.family == family).map(|set| set.text.text.as_str()).collect())
}

/// Every rule that the cluster writes on a node for a family, each set headed by a comment that names its writer: given to the
/// tool at once or one after another, they make the node. `export rules --all`.
///
/// # Errors
/// There is no such node.
pub fn export_all_rules(cluster: &Cluster, node: &str, family: u8) -> Result<String, InputErrors> {
    let mut result = String::new();
    for set in rules_of(cluster, node)?.into_iter().filter(|set| set.family == family) {
        let _ = writeln!(result, "# {} ({})", set.title, set.command());
        result.push_str(&set.text.text);
    }
    Ok(result)
}

/// Every rule of a node as `iptables-save`, or `ip6tables-save` for family 6, prints it: `export rules --form save`.
///
/// # Errors
/// There is no such node, or a rule is not modelled.
pub fn export_saved_rules(cluster: &Cluster, node: &str, family: u8) -> Result<String, ExportError> {
    let sets = rules_of(cluster, node)?;
    let mut network = Network::new(0, TraceMode::Off);
    let ns = network.add_netns(node).map_err(|errno| ApplyError::Namespace(node.to_owned(), errno))?;
    let save = if family == 4 { "iptables-save" } else { "ip6tables-save" };
    let mut run = |line: &str, set: Option<RuleSet>| {
        let command =
            PlanCommand { netns: node.to_owned(), line: line.to_owned(), stdin: set.map(|set| set.text), prov: by("export") };
        let parsed = command.command(&mut network.provenances);
        let (netns, line) = (node.to_owned(), line.to_owned());
        let parsed = parsed.map_err(|error| ApplyError::Parse { netns: netns.clone(), line: line.clone(), error })?;
        network.apply(ns, &parsed, stack::ProvId::default()).map_err(|error| ApplyError::Command { netns, line, error })
    };
    for set in sets.into_iter().filter(|set| set.family == family) {
        run(set.command(), Some(set))?;
    }
    Ok(run(save, None)?)
}

/// Why rules could not be exported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The input is wrong.
    #[error(transparent)]
    Input(#[from] InputErrors),
    /// A rule could not be loaded.
    #[error(transparent)]
    Rules(#[from] ApplyError),
}

fn rules_of(cluster: &Cluster, node: &str) -> Result<Vec<RuleSet>, InputErrors> {
    match cluster.node(node) {
        Some(node) => Ok(node_rules(cluster, node)),
        None => {
            let names: Vec<&str> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
            let help = format!("the nodes are {}", names.join(", "));
            Err(InputError::whole("cluster", format!("there is no node {node}")).help(help).into())
        }
    }
}
