//! The invariant on records: in a namespace a packet's records begin with Receive, Originate or Resume, and end with exactly one
//! of Transmit, Deliver, Drop, Queue, Consume.

use std::collections::BTreeMap;

use sim_core::{NodeId, PacketId, Tracer};
use stack::trace::{NO_PACKET, Record};

/// The first place where a run breaks the grammar, in words; none where it holds everywhere. A packet may still be on its way
/// when the run ends.
pub fn violation(tracer: &Tracer<Record>) -> Option<String> {
    let mut open: BTreeMap<(NodeId, PacketId), bool> = BTreeMap::new();
    for (at, stamped) in tracer.records().iter().enumerate() {
        if stamped.packet == NO_PACKET {
            continue;
        }
        let begun = open.entry((stamped.node, stamped.packet)).or_insert(false);
        let say = |what: &str| {
            Some(format!("record {at}, packet {}, node {}: {what}: {:?}", stamped.packet.0, stamped.node.0, stamped.record))
        };
        match stamped.record {
            Record::Receive { .. } | Record::Originate { .. } | Record::Resume { .. } => {
                if *begun {
                    return say("begins twice");
                }
                *begun = true;
            }
            Record::Transmit { .. }
            | Record::Deliver { .. }
            | Record::Drop { .. }
            | Record::Queue { .. }
            | Record::Consume { .. } => {
                if !*begun {
                    return say("ends before it began");
                }
                *begun = false;
            }
            // What befalls a frame on the wire comes after Transmit; a connection may leave the table at any time; a socket or an
            // app that got the packet goes on, and may draw what it answers.
            Record::Wire { .. }
            | Record::Conntrack { .. }
            | Record::Socket { .. }
            | Record::App { .. }
            | Record::Choice { .. }
            | Record::Neigh { .. } => {}
            _ if !*begun => return say("is recorded outside of begin and end"),
            _ => {}
        }
    }
    None
}
