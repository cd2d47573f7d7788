use super::*;

/// Sends back what it receives, while the first byte lasts.
struct Echo;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Seen {
    In(u8),
    Woken,
    Wire(WireEvent),
}

impl WireRecord for Seen {
    fn wire(_: PortNo, event: WireEvent) -> Seen {
        Seen::Wire(event)
    }
}

impl TraceRecord for Seen {
    fn snap_mut(&mut self) -> Option<&mut Snap> {
        None
    }
}

impl Node for Echo {
    type Record = Seen;

    fn receive(&mut self, cx: &mut Cx<'_, Seen>, port: PortNo, mut packet: Packet) {
        let left = packet.bytes()[0];
        cx.record(packet.id(), Seen::In(left));
        if left == 0 {
            return cx.recycle(packet);
        }
        packet.bytes_mut()[0] -= 1;
        cx.transmit(port, packet);
    }

    fn wake(&mut self, cx: &mut Cx<'_, Seen>) {
        cx.record(PacketId(0), Seen::Woken);
    }

    fn link_changed(&mut self, _: &mut Cx<'_, Seen>, _: PortNo, _: bool) {}
}

fn pair(config: LinkConfig) -> (Sim<Echo>, NodeId) {
    let mut sim = Sim::new(1, TraceMode::Frames);
    let (a, b) = (sim.add_node("a", Echo), sim.add_node("b", Echo));
    sim.connect((a, PortNo(0)), (b, PortNo(0)), config);
    (sim, a)
}

fn send(sim: &mut Sim<Echo>, from: NodeId, bytes: &[u8]) {
    sim.with(from, |_, cx| {
        let packet = cx.packet(bytes, None, Cause(0));
        cx.transmit(PortNo(0), packet);
    });
}

#[test]
fn a_delay_moves_the_clock_and_a_veth_does_not() {
    for (delay, expected) in [(SimTime::ZERO, SimTime::ZERO), (SimTime::from_micros(10), SimTime::from_micros(40))] {
        let (mut sim, a) = pair(LinkConfig { delay, ..LinkConfig::default() });
        send(&mut sim, a, &[3]);
        assert_eq!(sim.run(), Halt::Idle);
        assert_eq!((sim.now(), sim.events()), (expected, 4));
    }
}

#[test]
fn a_rate_spaces_frames_by_their_length() {
    let (mut sim, a) = pair(LinkConfig { rate_bps: 8_000, ..LinkConfig::default() });
    send(&mut sim, a, &[0; 10]);
    send(&mut sim, a, &[0; 10]);
    sim.run();
    let times: Vec<u64> = sim.tracer().records().iter().map(|r| r.time.as_nanos()).collect();
    assert_eq!(times, [10_000_000, 20_000_000]);
}

#[test]
fn what_loops_within_one_instant_is_stopped() {
    let (mut sim, a) = pair(LinkConfig::default());
    sim.set_limits(10, 1_000);
    send(&mut sim, a, &[200]);
    assert_eq!(sim.run(), Halt::InstantLimit);
}

#[test]
fn the_wire_reports_what_befell_a_frame() {
    for (config, event) in [
        (LinkConfig { loss_ppm: MILLION, ..LinkConfig::default() }, WireEvent::Lost),
        (LinkConfig { max_frame: 2, ..LinkConfig::default() }, WireEvent::TooBig),
    ] {
        let (mut sim, a) = pair(config);
        send(&mut sim, a, &[0, 0, 0]);
        sim.run();
        assert_eq!(sim.tracer().records().get(0).expect("one record").record, Seen::Wire(event));
    }
    let (mut sim, a) = pair(LinkConfig::default());
    let link = sim.link_at(a, PortNo(0)).expect("plugged in");
    sim.set_link_up(link, false);
    send(&mut sim, a, &[0]);
    sim.disconnect((a, PortNo(0)));
    send(&mut sim, a, &[0]);
    sim.run();
    let seen: Vec<Seen> = sim.tracer().records().iter().map(|r| r.record).collect();
    assert_eq!(seen, [Seen::Wire(WireEvent::LinkDown), Seen::Wire(WireEvent::Unplugged)]);
}

#[test]
fn one_wake_is_armed_at_a_time_and_the_earliest_wins() {
    let (mut sim, a) = pair(LinkConfig::default());
    sim.with(a, |_, cx| {
        cx.wake_at(SimTime(50));
        cx.wake_at(SimTime(20));
        cx.wake_at(SimTime(30));
    });
    sim.run();
    assert_eq!(sim.tracer().records().iter().map(|r| r.time.0).collect::<Vec<_>>(), [20]);
}

#[test]
fn duplication_and_reordering_keep_the_total_order() {
    let config = LinkConfig { delay: SimTime(100), duplicate_ppm: 300_000, reorder_ppm: 300_000, ..LinkConfig::default() };
    let run = || {
        let (mut sim, a) = pair(config);
        for n in 0..50 {
            send(&mut sim, a, &[n % 4]);
        }
        sim.run();
        sim.tracer().records().iter().map(|r| (r.time, r.node, r.packet, r.record)).collect::<Vec<_>>()
    };
    let first = run();
    assert!(first.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    assert_eq!(first, run(), "the same seed gives the same run");
}

#[test]
fn lineage_names_the_parent() {
    let (mut sim, a) = pair(LinkConfig::default());
    let (parent, child) = sim.with(a, |_, cx| {
        let packet = cx.packet(&[1], None, Cause(1));
        let copy = cx.copy(&packet, Cause(2));
        (packet.id(), copy.id())
    });
    let lineage = sim.tracer().lineage(child).expect("traced");
    assert_eq!((lineage.parent, lineage.cause, lineage.node), (Some(parent), Cause(2), a));
}
