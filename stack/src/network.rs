//! Namespaces joined by links: what spans two of them.

use sim_core::Sim;

use crate::netns::Netns;

/// A network of namespaces.
#[derive(Debug)]
pub struct Network {
    /// The engine.
    pub sim: Sim<Netns>,
}
