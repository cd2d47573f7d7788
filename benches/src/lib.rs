//! What the benchmarks measure, once: [`Chain`] is B1 (hop rate) and, traced, B10 (the cost of a full trace).
//!
//! - `benches/hops.rs`: criterion.
//! - `src/bin/hops.rs`: one run as one JSON line, for the side-by-side run with the peers (`sidebyside.py`).

use sim_core::{Halt, LinkConfig, NodeId, SimTime, TraceMode};
use stack::{Command, Network, ProvId};

/// A chain of Linux routers between two hosts: cables or veth pairs, a static route each way, forwarding on, no rules.
///
/// ```text
///   host a --- r1 --- r2 --- ... --- rN --- host b
/// ```
#[derive(Debug)]
pub struct Chain {
    /// The network.
    pub network: Network,
    first: NodeId,
    links: u64,
    frame: Vec<u8>,
}

/// What one run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Packets sent by host a.
    pub sent: u64,
    /// Link traversals.
    pub hops: u64,
    /// Records that the trace holds.
    pub records: u64,
}

/// Bytes of UDP payload, as the peers send.
pub const PAYLOAD: usize = 64;
/// Sent before the clock runs on, so that packets are in flight on every link.
const INTERVAL: SimTime = SimTime(1_000);

impl Chain {
    /// A chain of `routers`, with this one-way delay on each link; a delay of zero is a veth pair.
    ///
    /// # Panics
    /// Where the network cannot be built: a bug.
    pub fn new(routers: usize, delay: SimTime, mode: TraceMode) -> Chain {
        let mut network = Network::new(1, TraceMode::Off);
        let last = routers + 1;
        let nodes: Vec<NodeId> = (0..=last).map(|at| network.add_netns(&format!("n{at}")).expect("a new name")).collect();
        let config = LinkConfig { delay, ..LinkConfig::default() };
        for at in 0..last {
            network.join((nodes[at], "d1"), (nodes[at + 1], "d0"), config, ProvId::default()).expect("new names");
        }
        for (at, &node) in nodes.iter().enumerate() {
            let mut lines = vec!["ip link set lo up".to_owned(), "sysctl -w net.ipv4.ip_forward=1".to_owned()];
            if at < last {
                lines.push(format!("ip addr add 10.8.{at}.1/30 dev d1"));
                lines.push("ip link set d1 up".to_owned());
            }
            if at > 0 {
                lines.push(format!("ip addr add 10.8.{}.2/30 dev d0", at - 1));
                lines.push("ip link set d0 up".to_owned());
            }
            for line in lines {
                run(&mut network, node, &line);
            }
        }
        for (at, &node) in nodes.iter().enumerate() {
            if at + 1 < last {
                run(&mut network, node, &format!("ip route add 10.8.{}.0/30 via 10.8.{at}.2", last - 1));
            }
            if at > 1 {
                run(&mut network, node, &format!("ip route add 10.8.0.0/30 via 10.8.{}.1", at - 1));
            }
            // As the peers do: the way there is known.
            if at < last {
                let next = network.netns(nodes[at + 1]);
                let mac = next.devices.get(next.devices.named("d0").expect("joined above")).mac;
                run(&mut network, node, &format!("ip neigh replace 10.8.{at}.2 lladdr {mac} dev d1"));
            }
        }
        // Host b takes the packets without a word: nothing listens there, and errors are not sent back along the chain.
        run(&mut network, nodes[last], "ip route add blackhole 10.8.0.1/32");
        network.sim.run_until(SimTime::from_secs(10));
        let dst_mac = {
            let r1 = network.netns(nodes[1]);
            r1.devices.get(r1.devices.named("d0").expect("joined above")).mac
        };
        let src_mac = {
            let a = network.netns(nodes[0]);
            a.devices.get(a.devices.named("d1").expect("joined above")).mac
        };
        let frame = udp_frame(src_mac, dst_mac, [10, 8, 0, 1], [10, 8, (last - 1) as u8, 2]);
        network.sim.tracer_mut().set_mode(mode);
        Chain { network, first: nodes[0], links: last as u64, frame }
    }

    /// Sends this many packets through the whole chain.
    ///
    /// # Panics
    /// Where a packet is lost, or the run does not end: then what is measured is not what was asked.
    pub fn send(&mut self, packets: u64) -> Counters {
        let before = self.network.sim.frames_sent();
        for _ in 0..packets {
            self.network.inject(self.first, "d1", &self.frame).expect("d1 is up");
            let next = self.network.sim.now() + INTERVAL;
            self.network.sim.run_until(next);
        }
        let end = self.network.sim.now() + SimTime::from_secs(1);
        let halt = self.network.sim.run_until(end);
        assert!(matches!(halt, Halt::Idle | Halt::Until), "the run was cut off: {halt:?}");
        let hops = self.network.sim.frames_sent() - before;
        assert_eq!(hops, packets * self.links, "every packet crosses every link, and nothing else does");
        let records = self.network.sim.tracer().records().len() as u64;
        Counters { sent: packets, hops, records }
    }
}

fn run(network: &mut Network, node: NodeId, line: &str) {
    let command: Command = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
    network.apply(node, &command, ProvId::default()).unwrap_or_else(|error| panic!("{line}: {error}"));
}

fn udp_frame(src_mac: stack::Mac, dst_mac: stack::Mac, src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2(src_mac.0, dst_mac.0).ipv4(src, dst, 64).udp(9, 9);
    let payload = [0u8; PAYLOAD];
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, &payload).expect("writing into memory does not fail");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_crosses_every_link_with_and_without_delay_and_trace() {
        for delay in [SimTime::ZERO, SimTime::from_micros(10)] {
            for mode in [TraceMode::Off, TraceMode::Headers] {
                let counters = Chain::new(8, delay, mode).send(50);
                assert_eq!(counters.hops, 450);
                assert_eq!(counters.records > 0, mode != TraceMode::Off);
            }
        }
    }
}
