//! Ids are handles into the arenas of one run. What must be stable across edits is keyed by names (see [`crate::choice`]).

/// A node: one network namespace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u32);

/// A port of a node, where a link ends. Numbered by the node, in the order in which it made them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortNo(pub u16);

/// A link between two ports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u32);

/// A packet, from the moment in which it was made until it ends. A copy is another packet, whose parent this one is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PacketId(pub u32);
