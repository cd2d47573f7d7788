//! A run as a pcapng file: one interface block a device, a comment on each packet that names the step.

use std::collections::BTreeMap;

use sim_core::pcap::{Capture, Direction, Frame, LinkType};
use stack::Network;
use stack::trace::Record;

use super::{TraceInput, exchange};

/// The capture of every device of the network, as `tcpdump -i any` in each namespace would have it. Whole frames only where the
/// run was traced with `TraceMode::Frames`.
pub fn pcapng(network: &Network) -> Vec<u8> {
    let mut capture = Capture::new(concat!("pktlab ", env!("CARGO_PKG_VERSION")));
    let tracer = network.sim.tracer();
    // Names of packets, as the trace prints them.
    let shown = exchange(network, &TraceInput::default());
    let mut comments: BTreeMap<u32, String> = BTreeMap::new();
    for packet in &shown.packets {
        for step in &packet.steps {
            comments.insert(step.seq, format!("{} ({}) step {}: {} {}", packet.id, packet.cause, step.seq, step.stage, step.text));
        }
    }
    let mut interfaces = BTreeMap::new();
    for (at, stamped) in tracer.records().iter().enumerate() {
        let (dev, frame, direction) = match stamped.record {
            Record::Receive { dev, frame } | Record::DevIn { dev, frame } => (dev, frame, Direction::In),
            Record::Transmit { dev, frame } | Record::DevOut { dev, frame } => (dev, frame, Direction::Out),
            _ => continue,
        };
        if frame.kept == 0 {
            continue;
        }
        let interface = *interfaces.entry((stamped.node, dev)).or_insert_with(|| {
            let name = format!("{}/{}", network.sim.name(stamped.node), network.netns(stamped.node).devices.get(dev).name);
            capture.interface(&name, LinkType::Ethernet)
        });
        let comment = comments.get(&(at as u32 + 1)).map_or("", String::as_str);
        let frame = Frame { time: stamped.time, bytes: &tracer.bytes(frame), full_len: u32::from(frame.full), direction, comment };
        capture.frame(interface, &frame);
    }
    capture.finish()
}
