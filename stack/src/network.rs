//! Namespaces joined by links: what spans two of them, and the way from outside into one.

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::{LinkConfig, LinkId, NodeId, PacketId, Sim, TraceMode};

use crate::app::{self, AppId, Client, Server};
use crate::command::{Command, CommandError};
use crate::errno::Errno;
use crate::netns::Netns;
use crate::provenance::{ProvId, Provenances};

/// A network of namespaces.
#[derive(Debug)]
pub struct Network {
    /// The engine.
    pub sim: Sim<Netns>,
    /// Who made what.
    pub provenances: Provenances,
    by_name: BTreeMap<Arc<str>, NodeId>,
}

impl Network {
    /// An empty network.
    pub fn new(seed: u64, mode: TraceMode) -> Network {
        Network { sim: Sim::new(seed, mode), provenances: Provenances::default(), by_name: BTreeMap::new() }
    }

    /// `ip netns add`: a namespace with a loopback device that is down. The name must be new.
    ///
    /// # Errors
    /// `Exist`.
    pub fn add_netns(&mut self, name: &str) -> Result<NodeId, Errno> {
        if self.by_name.contains_key(name) {
            return Err(Errno::Exist);
        }
        let id = self.sim.add_node(name, Netns::new(name));
        self.by_name.insert(name.into(), id);
        Ok(id)
    }

    /// The namespace of a name.
    pub fn named(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(name).copied()
    }

    /// All namespaces, by name.
    pub fn names(&self) -> impl Iterator<Item = (&str, NodeId)> {
        self.by_name.iter().map(|(name, id)| (&**name, *id))
    }

    /// A namespace.
    pub fn netns(&self, id: NodeId) -> &Netns {
        self.sim.node(id)
    }

    /// Joins two new devices, one in each namespace, by a link: a veth pair where `config` is the default, else a cable. Both
    /// devices are down. MACs derive from the names (`<namespace>/<device>`).
    ///
    /// # Errors
    /// `Exist` where a name is taken in its namespace.
    pub fn join(&mut self, a: (NodeId, &str), b: (NodeId, &str), config: LinkConfig, prov: ProvId) -> Result<LinkId, Errno> {
        let _ = (a, b, config, prov);
        Err(Errno::OpNotSupp)
    }

    /// Runs a command in a namespace, and returns what the tool would have printed to standard output.
    ///
    /// # Errors
    /// What the tool would have printed to standard error, and its exit code.
    pub fn apply(&mut self, ns: NodeId, command: &Command, prov: ProvId) -> Result<String, CommandError> {
        let _ = (ns, command, prov);
        Err(CommandError { message: String::new(), exit: 1, place: None, unsupported: true })
    }

    /// Sends a raw frame (Ethernet header first) out of a device, as an `AF_PACKET` socket does: netfilter is not passed.
    ///
    /// # Errors
    /// `NoDev`, `NetDown`.
    pub fn inject(&mut self, ns: NodeId, device: &str, frame: &[u8]) -> Result<PacketId, Errno> {
        let _ = (ns, device, frame);
        Err(Errno::OpNotSupp)
    }

    /// Starts a server in a namespace.
    ///
    /// # Errors
    /// As `bind(2)` and `listen(2)`.
    pub fn serve(&mut self, ns: NodeId, server: Server) -> Result<AppId, Errno> {
        self.sim.with(ns, |netns, cx| app::serve(netns, cx, server))
    }

    /// Starts a client in a namespace; run the network, then read [`crate::app::Apps::answer`].
    pub fn ask(&mut self, ns: NodeId, client: Client) -> AppId {
        self.sim.with(ns, |netns, cx| app::ask(netns, cx, client))
    }
}
