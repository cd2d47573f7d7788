//! The engine under pktlab: virtual time, a total order of events, nodes and links, packets with lineage.
//!
//! In reading order:
//!
//! - [`time`]: virtual time in nanoseconds.
//! - [`id`]: the ids of nodes, ports, links and packets.
//! - [`packet`]: an owned buffer with headroom, rewritten in place; where it came from.
//! - [`queue`]: the total order (time, then sequence): an ordered queue plus the FIFO of the present instant.
//! - [`link`]: what joins two ports: delay, rate, loss, duplication, reordering, MTU, up or down.
//! - [`choice`]: every random decision, drawn from the seed and a stable key, recorded, replayable.
//! - [`trace`]: fixed-size records and the bytes that they point to.
//! - [`sim`]: [`Sim`], the only place that holds two nodes, and [`Cx`], the powers of a node during one event.
//! - [`topology`]: a petgraph view of nodes and links, for validation, layout and underlay paths.
//! - [`pcap`]: pcapng files, one interface block a device, a comment on each packet.
//!
//! Deliberately elsewhere: everything that knows IP or Linux is in `pktlab-stack`; this crate is tested with a node of ten
//! lines that echoes.
//!
//! Invariant: the same nodes, links, inputs and seed give the same events, records and bytes, on every run and build.

pub mod choice;
pub mod id;
pub mod link;
pub mod packet;
pub mod pcap;
pub mod queue;
pub mod sim;
pub mod time;
pub mod topology;
pub mod trace;

pub use choice::{Arms, Choice, ChoiceKey, Purpose};
pub use id::{LinkId, NodeId, PacketId, PortNo};
pub use link::{LinkConfig, WireEvent};
pub use packet::{Cause, Packet};
pub use sim::{Cx, Halt, Node, Sim, WireRecord};
pub use time::SimTime;
pub use trace::{Memo, Records, Snap, Stamped, TraceMode, TraceRecord, Tracer};
