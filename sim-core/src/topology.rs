//! A petgraph view of nodes and links. A view, never the store: it is made when asked for.

use petgraph::algo::connected_components;
use petgraph::graph::{NodeIndex, UnGraph};
use petgraph::visit::EdgeRef;

use crate::id::{LinkId, NodeId};
use crate::sim::{Node, Sim};

/// The nodes of a run, joined by its links that are up.
#[derive(Debug)]
pub struct Topology {
    /// Node weights are ids, in order, so that `NodeIndex::new(id.0)` is the node `id`; edge weights are links.
    pub graph: UnGraph<NodeId, LinkId>,
    names: Vec<String>,
}

impl Topology {
    /// The view of a run as it stands.
    pub fn of<N: Node>(sim: &Sim<N>) -> Topology {
        let mut graph = UnGraph::new_undirected();
        let mut names = Vec::new();
        for (id, _) in sim.nodes() {
            graph.add_node(id);
            names.push(sim.name(id).to_owned());
        }
        for link in sim.links().filter(|&link| sim.link_is_up(link)) {
            let [(a, port), (b, _)] = sim.link_ends(link);
            if sim.link_at(a, port) == Some(link) {
                graph.add_edge(index(a), index(b), link);
            }
        }
        Topology { graph, names }
    }

    /// The name of a node.
    pub fn name(&self, node: NodeId) -> &str {
        &self.names[node.0 as usize]
    }

    /// How many islands there are that no link joins.
    pub fn islands(&self) -> usize {
        connected_components(&self.graph)
    }

    /// Whether some links form a loop: harmless among routers, a storm among bridges without STP.
    pub fn has_loop(&self) -> bool {
        let mut seen = petgraph::unionfind::UnionFind::new(self.graph.node_count());
        self.graph.edge_references().any(|edge| !seen.union(edge.source(), edge.target()))
    }

    /// The fewest nodes from `from` to `to`, both included: the underlay path. None where no links lead there.
    pub fn path(&self, from: NodeId, to: NodeId) -> Option<Vec<NodeId>> {
        let (_, path) = petgraph::algo::astar(&self.graph, index(from), |at| at == index(to), |_| 1u32, |_| 0)?;
        Some(path.into_iter().map(|at| self.graph[at]).collect())
    }

    /// The view as a Graphviz document.
    pub fn dot(&self) -> String {
        let label = self.graph.map(|_, id| self.name(*id).to_owned(), |_, link| format!("link {}", link.0));
        petgraph::dot::Dot::new(&label).to_string()
    }
}

fn index(id: NodeId) -> NodeIndex {
    NodeIndex::new(id.0 as usize)
}
